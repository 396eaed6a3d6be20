"""Debian's package manager: what it would do, who uses it, what is on hold."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

from slackwater.errors import StepFailed
from slackwater.facts.packages import Change, parse_simulation
from slackwater.outside.command import run

LOCK = Path("/var/lib/dpkg/lock-frontend")
ARCHIVES = Path("/var/cache/apt/archives")
FROZEN = Path("/etc/mysql/FROZEN")
# What holds the server's program and starts it; libraries and clients may wait for another day.
_SERVERS = re.compile(r"^(mariadb|mysql|mysql-community|percona)-server(-core)?(-[\d.]+)?$")
_WORKERS = ("unattended-upgr", "apt-get", "apt", "dpkg", "aptitude", "packagekitd")
_QUIET = {"DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C"}
OPTIONS = ("-y", "-o", "DPkg::Lock::Timeout=2", "--no-install-recommends")


def missing() -> str:
    """Why packages cannot be managed here, or ""."""
    if shutil.which("apt-get") is None:
        return "there is no apt-get here: only Debian's and Ubuntu's packages are known"
    if os.geteuid() != 0:
        return "packages can only be installed as root: run it with sudo"
    return ""


def words(packages: Sequence[str], *, reinstall: bool) -> tuple[str, ...]:
    """What comes behind `apt-get` and its options."""
    return ("install", "--reinstall" if reinstall else "--only-upgrade", *packages)


async def installed_servers() -> tuple[str, ...]:
    """Names of the installed packages that are database servers."""
    show = "${Package} ${db:Status-Abbrev}\n"
    _, said = await run(["dpkg-query", "-W", "-f", show], limit_s=20)
    lines = (line.split() for line in said.splitlines())
    return tuple(w[0] for w in lines if len(w) > 1 and w[1] == "ii" and _SERVERS.match(w[0]))


async def simulate(packages: Sequence[str], *, reinstall: bool) -> tuple[Change, ...]:
    """What installing these would change. Raises StepFailed with what apt-get says."""
    command = ["apt-get", "--simulate", "--allow-change-held-packages", *OPTIONS,
               *words(packages, reinstall=reinstall)]
    code, said = await run(command, limit_s=60, environment=_QUIET)
    if code:
        raise StepFailed(f"apt-get cannot do it: {' / '.join(said.strip().splitlines()[-3:])}")
    return parse_simulation(said)


async def download(
    packages: Sequence[str], *, reinstall: bool, files: Sequence[str], limit_s: float
) -> None:
    """Fetch the packages, install nothing. Raises StepFailed, also if a file is not there then."""
    command = ["apt-get", "--download-only", "--allow-change-held-packages", *OPTIONS,
               *words(packages, reinstall=reinstall)]
    code, said = await run(command, limit_s=limit_s, environment=_QUIET)
    if code:
        last = " / ".join(said.strip().splitlines()[-3:])
        raise StepFailed(f"the packages could not be downloaded: {last}")
    if absent := [file for file in files if not Path(file).exists()]:
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


async def run_triggers(limit_s: float) -> None:
    """Run the triggers that `install` has put off. Raises StepFailed."""
    code, said = await run(["dpkg", "--configure", "--pending"], limit_s=limit_s,
                           environment=_QUIET)
    if code:
        raise StepFailed(f"dpkg --configure --pending: {said.strip()[-300:]}")


async def configured(packages: Sequence[str]) -> bool:
    """Whether all of these are installed and configured."""
    show = "${db:Status-Status}\n"
    code, said = await run(["dpkg-query", "-W", "-f", show, *packages], limit_s=20)
    return not code and set(said.split()) <= {"installed"}


async def unfinished() -> str:
    """What dpkg has left to do from before, in its words; "" for nothing."""
    _, said = await run(["dpkg", "--audit"], limit_s=30)
    return " ".join(said.split())


async def held() -> frozenset[str]:
    """Packages on hold (apt-mark hold)."""
    _, said = await run(["apt-mark", "showhold"], limit_s=20)
    return frozenset(said.split())


async def mark(packages: Sequence[str], *, hold: bool) -> None:
    """Put packages on hold, or take them off. Raises StepFailed."""
    if not packages:
        return
    code, said = await run(["apt-mark", "hold" if hold else "unhold", *packages], limit_s=30)
    if code:
        raise StepFailed(f"apt-mark: {said.strip()}")


def busy() -> str:
    """Who uses the package manager now; "" when nobody does, or we may not know."""
    try:
        with LOCK.open("a") as file:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            fcntl.lockf(file, fcntl.LOCK_UN)
            return ""
    except BlockingIOError:
        return ", ".join(_workers()) or f"somebody holds {LOCK}"
    except OSError:
        return ""


def _workers() -> list[str]:
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            name = (entry / "comm").read_text().strip()
        except OSError:
            continue
        if name.startswith(_WORKERS) or "unattended-upgrade" in line:
            found.append(f"process {entry.name} ({line.strip()[:60]})")
    return found
