"""The distribution's MariaDB server package is upgraded, and installed again, while clients write.

    sudo .venv/bin/python -m bench.hold_package [--runs 3] [--rate 60] [--limit 8] [--inside-hold]

Root, Debian or Ubuntu. All of it happens on a copy of this machine that is thrown away: an overlay
of its disk whose changes are in memory, with processes and a network of its own. There the package
before the newest is installed, as a service with its own 151 connections, by its own scripts; the
service is loaded with connection-per-request writes (60 s connect timeout); then `slackwater
upgrade` to the newest version (a real upgrade), and `slackwater upgrade --reinstall` as often as
asked for.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.maintain import alone
from tests.servers.patience import PATIENCE, eventually

from slackwater.lab.directory import write_private
from slackwater.lab.instance import Instance, installed
from slackwater.lab.load_plan import LoadPlan

PACKAGES = ("mariadb-server", "mariadb-server-core")
OTHERS = ("mariadb-client", "mariadb-client-core", "mariadb-backup")  # of the same version
SOCKET = Path("/run/mysqld/mysqld.sock")
PLACE = Path("/srv/slackwater-bench")

_DISK = """
set -e
mount -t tmpfs -o mode=0755 tmpfs "$1"
mkdir "$1/changes" "$1/work" "$1/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$1/changes,workdir=$1/work" "$1/root"
mount -t proc proc "$1/root/proc"
mount --rbind /dev "$1/root/dev"
mount -t tmpfs -o mode=0755 tmpfs "$1/root/run"
mount -t tmpfs -o mode=1777 tmpfs "$1/root/tmp"
mkdir -p "$1/root/run/lock" "$1/root$PWD"
mount --bind "$PWD" "$1/root$PWD"  # this checkout may be below /tmp, or on another disk
# No init runs here: without a runlevel the packages' scripts would start no service.
printf '#!/bin/sh\\necho N 2\\n' >"$1/root/usr/sbin/runlevel.new"
chmod 755 "$1/root/usr/sbin/runlevel.new"
mv "$1/root/usr/sbin/runlevel.new" "$1/root/usr/sbin/runlevel"
root=$1/root
shift
exec chroot "$root" "$@"
"""


def main() -> int:
    """Exit code 1 if a client failed, a write was lost, or a package was not as it should be."""
    asked = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    asked.add_argument("--runs", type=int, default=3, help="how often it is installed again")
    asked.add_argument("--rate", type=float, default=60.0, help="writes a second")
    asked.add_argument("--limit", type=float, default=8.0, help="longest hold in seconds")
    asked.add_argument("--inside-hold", action="store_true", help="install while clients wait")
    asked.add_argument("--stage", default="", help=argparse.SUPPRESS)
    options = asked.parse_args()
    if os.geteuid() != 0:
        print("packages can only be installed as root", file=sys.stderr)
        return 1
    inside = ("--inside-hold",) if options.inside_hold else ()
    again = [sys.executable, "-m", "bench.hold_package", "--runs", str(options.runs),
             "--rate", str(options.rate), "--limit", str(options.limit), *inside]
    if not options.stage:
        return on_a_copy([*again, "--stage", "packages"])
    if options.stage == "packages":
        _fetch(_versions())
        return subprocess.run(["unshare", "--net", *again, "--stage", "play"], check=False,
                              cwd=Path.cwd()).returncode
    return play(options.runs, options.rate, options.limit, inside)


def on_a_copy(words: list[str]) -> int:
    """Run it where this machine's files can be changed without changing them."""
    with tempfile.TemporaryDirectory(prefix="slackwater-copy-") as place:
        inside = ["env", "-C", str(Path.cwd()), *words]
        apart = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--propagation",
                 "private"]
        return subprocess.run([*apart, "sh", "-c", _DISK, "sh", place, *inside],
                              check=False).returncode


def _versions() -> list[str]:
    """The versions that can be had, the newest first."""
    said = subprocess.run(["apt-cache", "madison", PACKAGES[0]], capture_output=True, text=True,
                          check=True).stdout
    return list(dict.fromkeys(line.split("|")[1].strip() for line in said.splitlines()))


def _install(version: str, *more: str) -> None:
    have = subprocess.run(["dpkg-query", "-W", "-f", "${Package}\n"], capture_output=True,
                          text=True, check=True).stdout.split()
    names = [*PACKAGES, *(o for o in OTHERS if o in have or o == "mariadb-client")]
    words = ["apt-get", "-y", "--allow-downgrades", "--no-install-recommends", *more, "install",
             *(f"{name}={version}" for name in names)]
    log = Path("/tmp/apt.log")
    with log.open("ab") as file:
        done = subprocess.run(words, stdout=file, stderr=file, check=False,
                              env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"})
    if done.returncode:
        raise SystemExit(f"{' '.join(words)}: {log.read_text()[-1500:]}")


def _fetch(versions: list[str]) -> None:
    """Everything that will be installed; where it is, there is no network."""
    for version in versions[:2]:
        _install(version, "--download-only")
        _install(version, "--download-only", "--reinstall")


def play(runs: int, rate: float, limit_s: float, inside: tuple[str, ...]) -> int:
    """Install the older version, and work on it under load. Prints a row for each run."""
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    versions = _versions()
    _install(versions[min(1, len(versions) - 1)])
    server = _service()
    print(f"installed: {versions[min(1, len(versions) - 1)]}; {rate:g} writes a second")
    print("| run | outcome | version | packages below | ports held | command | clients held "
          "| writes | failed | lost |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    bad = 0
    upgrades = [("upgrade", ())] if len(versions) > 1 else []
    reinstalls = [("reinstall", ("--reinstall",))] * runs
    for name, more in [*upgrades, *reinstalls]:
        seen = _upgrade(server, rate, limit_s, (*more, *inside))
        said, load = seen["said"], seen["load"]
        failed = sum(load["errors"].values())
        bad += bool(failed or load["lost"] or seen["code"])
        gate = said.get("gate", {})
        print(f"| {name} | {said.get('outcome')} | {seen['version']} "
              f"| {said.get('packages_ms', 0):.0f} ms "
              f"| {gate.get('shut_ms', 0):.0f} ms ({gate.get('ended_by')}) "
              f"| {said.get('command_ms', 0):.0f} ms | {gate.get('held', 0)} | {load['acked']} "
              f"| {failed} | {load['lost']} |", flush=True)
        for line in [*said.get("reasons", []), *load["faults"]]:
            print("  because", line)
        if "system_tables" in said:
            print("  mariadb-upgrade:", said["system_tables"])
        if not said:
            print(seen["err"])
    if bad:
        subprocess.run(["sh", "-c", f"tail -n 60 {PLACE}/state/*.output"], check=False)
    subprocess.run(["/etc/init.d/mariadb", "stop"], stdout=subprocess.DEVNULL, check=False)
    return int(bool(bad))


def _service() -> Instance:
    """The service, with the accounts of a lab and a slackwater.toml."""
    PLACE.mkdir(mode=0o711)
    directory = PLACE / "s"
    directory.mkdir()
    (directory / "sock").symlink_to(SOCKET)
    program = next(p for p in installed() if p.is_mariadb)
    server = Instance(program, directory, 1, 3306, PLACE)
    try:
        eventually(SOCKET.exists, "the package's scripts started the service", limit_s=60)
    except AssertionError as error:
        raise SystemExit(f"{error}: {Path('/tmp/apt.log').read_text()[-3000:]}") from error
    alone.prepare(server)
    write_private(PLACE / "password", alone.PASSWORD + "\n")
    alone.write_config(server, PLACE, "/etc/init.d/mariadb restart")
    text = alone.config(PLACE).read_text().replace(str(server.socket), str(SOCKET))
    alone.config(PLACE).write_text(text)
    return server


def _upgrade(
    server: Instance, rate: float, limit_s: float, more: tuple[str, ...]
) -> dict[str, Any]:
    plan = LoadPlan(seconds=600, rate=rate, pooled=0, pooled_tested=0,
                    connect_limit_s=60 * PATIENCE)
    with alone.Loaded(alone.target(server), plan) as load:
        eventually(lambda: load.acked >= rate, "the load runs", limit_s=60)
        done = alone.slackwater(
            "upgrade", "s", *more, "--limit", str(limit_s), "--json",
            "--config", alone.config(PLACE), timeout=300)
        after = load.acked + rate
        eventually(lambda: load.acked >= after, "the load goes on", limit_s=60)
    assert load.report is not None
    version = subprocess.run(["dpkg-query", "-W", "-f", "${Version}", PACKAGES[0]],
                             capture_output=True, text=True, check=True).stdout
    lines = done.stdout.strip().splitlines()
    return {"code": done.returncode, "said": json.loads(lines[-1]) if lines else {},
            "err": done.stderr[-3000:], "load": alone.summary(load.report), "version": version}


if __name__ == "__main__":
    sys.exit(main())
