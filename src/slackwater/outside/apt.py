"""Debian's package manager: what it would do, who uses it, what is on hold.

On this machine or another: `host`. As root: on another host by sudo where the login is not root.
Raises OutsideError when the host cannot be asked.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from slackwater.errors import StepFailed
from slackwater.facts.packages import Change, parse_simulation
from slackwater.outside import sent
from slackwater.outside.host import Host

LOCK = Path("/var/lib/dpkg/lock-frontend")
ARCHIVES = Path("/var/cache/apt/archives")
FROZEN = Path("/etc/mysql/FROZEN")
# What holds the server's program and starts it; libraries and clients may wait for another day.
_SERVERS = re.compile(r"^(mariadb|mysql|mysql-community|percona)-server(-core)?(-[\d.]+)?$")
_QUIET = ("env", "DEBIAN_FRONTEND=noninteractive", "LC_ALL=C")
OPTIONS = ("-y", "-o", "DPkg::Lock::Timeout=2", "--no-install-recommends")

# $@: files. Prints the seconds.
_REHEARSAL = """set -eu
dir=$(mktemp -d /usr/.slackwater-rehearsal-XXXXXX)
trap 'rm -rf "$dir"' EXIT
begun=$(date +%s%N)
dpkg-query --search /usr/sbin/mariadbd /usr/sbin/mysqld >/dev/null 2>&1 || true
for file in "$@"; do dpkg-deb --extract "$file" "$dir"; done
sync -f "$dir"
echo "$begun $(date +%s%N)" | awk '{printf "%.3f\\n", ($2 - $1) / 1e9}'
"""


# $@: files. Each script of theirs, and those of the installed ones that run in an upgrade, each
# line behind the script's name and a tab.
_SCRIPTS = """set -eu
for file in "$@"; do
  name=$(dpkg-deb --field "$file" Package)
  for script in preinst postinst; do
    dpkg-deb --info "$file" $script 2>/dev/null | sed "s|^|$name.$script\t|" || true
  done
  for script in prerm postrm; do
    for old in /var/lib/dpkg/info/$name.$script /var/lib/dpkg/info/$name:*.$script; do
      [ ! -f "$old" ] || sed "s|^|${old##*/}\t|" "$old"
    done
  done
done
"""


async def missing(host: Host) -> str:
    """Why packages cannot be managed there, or ""."""
    if not await host.has("apt-get"):
        return f"there is no apt-get on {host.where}: only Debian's and Ubuntu's packages are known"
    if (await _run(host, ["id", "-u"], 10))[1].strip().splitlines()[-1:] != ["0"]:
        return (f"packages can only be installed as root (on {host.where}): run it with sudo"
                + ("" if host.here else ", or let this login use sudo without a password"))
    return ""


def words(packages: Sequence[str], *, reinstall: bool) -> tuple[str, ...]:
    """What comes behind `apt-get` and its options."""
    return ("install", "--reinstall" if reinstall else "--only-upgrade", *packages)


async def installed_servers(host: Host) -> tuple[str, ...]:
    """Names of the installed packages that are database servers."""
    show = "${Package} ${db:Status-Abbrev}\n"
    _, said = await _run(host, ["dpkg-query", "-W", "-f", show], 20)
    lines = (line.split() for line in said.splitlines())
    return tuple(w[0] for w in lines if len(w) > 1 and w[1] == "ii" and _SERVERS.match(w[0]))


async def simulate(host: Host, packages: Sequence[str], *, reinstall: bool) -> tuple[Change, ...]:
    """What installing these would change. Raises StepFailed with what apt-get says."""
    command = ["apt-get", "--simulate", "--allow-change-held-packages", *OPTIONS,
               *words(packages, reinstall=reinstall)]
    code, said = await _run(host, command, 60)
    if code:
        raise StepFailed(f"apt-get cannot do it: {' / '.join(said.strip().splitlines()[-3:])}")
    return parse_simulation(said)


async def download(
    host: Host, packages: Sequence[str], *, reinstall: bool, files: Sequence[str], limit_s: float
) -> None:
    """Fetch the packages, install nothing. Raises StepFailed, also if a file is not there then."""
    command = ["apt-get", "--download-only", "--allow-change-held-packages", *OPTIONS,
               *words(packages, reinstall=reinstall)]
    code, said = await _run(host, command, limit_s)
    if code:
        last = " / ".join(said.strip().splitlines()[-3:])
        raise StepFailed(f"the packages could not be downloaded: {last}")
    if absent := [file for file in files if not await host.exists(Path(file))]:
        raise StepFailed(f"downloaded, but not in the cache: {', '.join(absent)}")


def files(changes: Sequence[Change]) -> tuple[str, ...]:
    """Where their files are once they are downloaded."""
    return tuple(str(ARCHIVES / change.file) for change in changes)


def install(files: Sequence[str]) -> tuple[str, ...]:
    """The command that unpacks and configures these files and does nothing else.

    dpkg itself, since apt-get reads all its lists first, and runs triggers (the manual pages'
    index alone takes seconds) and hooks before it ends: the server would be away for all of them.
    """
    return ("dpkg", "--force-confdef", "--force-confold", "--no-triggers", "--install", *files)


def install_whole(files: Sequence[str]) -> tuple[str, ...]:
    """The same with all triggers, for when nobody waits."""
    return tuple(word for word in install(files) if word != "--no-triggers")


async def scripts(host: Host, files: Sequence[str]) -> dict[str, str]:
    """The scripts that installing these files runs: name -> text. Raises StepFailed."""
    code, said = await _run(host, ["sh", "-c", _SCRIPTS, "sh", *files], 30)
    if code:
        raise StepFailed(f"the packages' scripts cannot be read: {said.strip()[-300:]}")
    found: dict[str, list[str]] = {}
    for line in said.splitlines():
        name, _, text = line.partition("\t")
        found.setdefault(name, []).append(text)
    return {name: "\n".join(lines) for name, lines in found.items()}


async def run_install(
    host: Host, files: Sequence[str], limit_s: float, *, whole: bool = False
) -> None:
    """Do so now, when nobody waits. `whole`: with triggers. Raises StepFailed."""
    command = install_whole(files) if whole else install(files)
    code, said = await _run(host, command, limit_s)
    if code:
        raise StepFailed(f"dpkg --install: {said.strip()[-300:]}")


async def rehearse(host: Host, files: Sequence[str], limit_s: float) -> float:
    """Unpack these files beside everything, on the disk where they will go, and throw that away;
    seconds that it took. dpkg's own lists are read as well, so that they are in memory afterwards.
    Raises StepFailed."""
    code, said = await _run(host, ["sh", "-c", _REHEARSAL, "sh", *files], limit_s)
    found = said.strip().splitlines()[-1:]
    if code or not found:
        raise StepFailed(f"unpacking aside failed: {said.strip()[-300:]}")
    return float(found[0])


async def simple(host: Host, changes: Sequence[Change], *, reinstall: bool) -> frozenset[str]:
    """Those of the changes that the running server does not need, if they can be made without
    the others; their names."""
    names = [c.name for c in changes if c.new and c.beside_the_server]
    if not names or len(names) == len(changes):
        return frozenset()
    try:
        alone = await simulate(host, names, reinstall=reinstall)
    except StepFailed:
        return frozenset()
    return frozenset(names) if {c.name for c in alone} == set(names) else frozenset()


async def run_triggers(host: Host, limit_s: float) -> None:
    """Run the triggers that `install` has put off. Raises StepFailed."""
    code, said = await _run(host, ["dpkg", "--configure", "--pending"], limit_s)
    if code:
        raise StepFailed(f"dpkg --configure --pending: {said.strip()[-300:]}")


async def configured(host: Host, packages: Sequence[str]) -> bool:
    """Whether all of these are installed and configured."""
    show = "${db:Status-Status}\n"
    code, said = await _run(host, ["dpkg-query", "-W", "-f", show, *packages], 20)
    return not code and set(said.split()) <= {"installed"}


async def unfinished(host: Host) -> str:
    """What dpkg has left to do from before, in its words; "" for nothing."""
    _, said = await _run(host, ["dpkg", "--audit"], 30)
    return " ".join(said.split())


async def held(host: Host) -> frozenset[str]:
    """Packages on hold (apt-mark hold)."""
    _, said = await _run(host, ["apt-mark", "showhold"], 20)
    return frozenset(said.split())


async def mark(host: Host, packages: Sequence[str], *, hold: bool) -> None:
    """Put packages on hold, or take them off. Raises StepFailed."""
    if not packages:
        return
    code, said = await _run(host, ["apt-mark", "hold" if hold else "unhold", *packages], 30)
    if code:
        raise StepFailed(f"apt-mark: {said.strip()}")


async def busy(host: Host) -> str:
    """Who uses the package manager now; "" when nobody does, or we may not know."""
    try:
        return ", ".join(await sent.ask(host, "packages", lock=str(LOCK)))
    except OSError:
        return ""


async def _run(host: Host, command: Sequence[str], limit_s: float) -> tuple[int, str]:
    return await host.run(host.as_root([*_QUIET, *command]), limit_s=limit_s)
