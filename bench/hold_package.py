"""The distribution's server package is installed again while clients write: who sees it?

    sudo .venv/bin/python -m bench.hold_package [--runs 3]

Root, Debian or Ubuntu with mariadb-server-core installed. Makes a server of its own that runs from
/usr/sbin/mariadbd, in a network namespace of its own, loads it with 150 connection-per-request
writes a second, and runs `slackwater upgrade s mariadb-server-core --reinstall`. The files of the
package are replaced by the same ones; other servers that run from them go on.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys

from tests.maintain.scene import PACKAGE


def main() -> int:
    """Print a row for each run; exit code 1 if a client failed or a write was lost."""
    asked = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    asked.add_argument("--runs", type=int, default=3)
    runs = asked.parse_args().runs
    if os.geteuid() != 0:
        print("packages can only be installed as root", file=sys.stderr)
        return 1
    fetch = ["apt-get", "-y", "--download-only", "install", "--reinstall", PACKAGE]
    subprocess.run(fetch, check=True, stdout=subprocess.DEVNULL)  # inside there is no network
    name = subprocess.run(["/usr/sbin/mariadbd", "--version"], capture_output=True, text=True,
                          check=True).stdout.split("Ver ")[1].rsplit(".", 1)[0]
    bad = False
    print("| run | outcome | ports held | package | clients held | writes | failed | lost |")
    print("|---|---|---|---|---|---|---|---|")
    for number in range(1, runs + 1):
        words = ["unshare", "--net", sys.executable, "-m", "tests.maintain.scene", "package",
                 "mariadb-" + ".".join(name.split(".")[:2])]
        done = subprocess.run(words, capture_output=True, text=True, check=True)
        seen = json.loads(done.stdout.splitlines()[-1])
        said, load = seen["said"], seen["load"]
        failed = sum(load["errors"].values())
        bad = bad or bool(failed or load["lost"] or seen["code"])
        gate = said.get("gate", {})
        print(f"| {number} | {said['outcome']} | {gate.get('shut_ms', 0):.0f} ms "
              f"| {said.get('command_ms', 0):.0f} ms | {gate.get('held', 0)} | {load['acked']} "
              f"| {failed} | {load['lost']} |", flush=True)
        if said.get("reasons"):
            print("  because", "; ".join(said["reasons"]))
    return int(bad)


if __name__ == "__main__":
    sys.exit(main())
