"""A package is upgraded below a running server, on a copy of this machine that is thrown away.

The package is a small one whose scripts do what Debian's server package does: stop the server
before it is unpacked, restart it when it is configured, by invoke-rc.d. Played by
test_packages.py: `python -m tests.maintain.packages SCENE`, in a network namespace of its own.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from bench.hold_package import on_a_copy
from tests.maintain import alone, scene
from tests.servers.patience import eventually

from slackwater.lab.instance import Instance, installed
from slackwater.operations.hold.below import INSTALLING

NAME = "mariadb-plugin-slackwater"
POLICY = Path("/usr/sbin/policy-rc.d")
WAS = "#!/bin/sh\nexit 104\n"
HERE = Path("/srv/slackwater-packages")
ASKED = HERE / "asked"  # service actions that got through
GO = HERE / "go"  # the newer package's configuration waits for it

_BUILD = """set -eu
cd "$1"
for version in 1 2; do
  mkdir -p "$version/DEBIAN" "$version/usr/lib/slackwater-test"
  echo "$version" >"$version/usr/lib/slackwater-test/version"
  printf 'Package: %s\\nVersion: %s\\nArchitecture: all\\nMaintainer: none <none@localhost>\\n\
Description: a test\\n' "$2" "$version" >"$version/DEBIAN/control"
  printf '#!/bin/sh\\nset -e\\ninvoke-rc.d mariadb stop\\n' >"$version/DEBIAN/preinst"
  printf '#!/bin/sh\\nset -e\\n[ "$1" = configure ] || exit 0\\n\
i=0; while [ %s != 1 ] && [ ! -e %s ] && [ $i -lt 600 ]; do i=$((i+1)); sleep 0.05; done\\n\
invoke-rc.d mariadb restart || exit 1\\ninvoke-rc.d slackwater-other restart\\n' "$version" "$3" \
    >"$version/DEBIAN/postinst"
  chmod 755 "$version"/DEBIAN/p*inst
done
dpkg-deb --build 1 one.deb >/dev/null
mkdir repository
dpkg-deb --build 2 "repository/$2_2_all.deb" >/dev/null
cd repository
{
  dpkg-deb --field "$2_2_all.deb"
  echo "Filename: ./$2_2_all.deb"
  echo "Size: $(stat -c %s "$2_2_all.deb")"
  echo "SHA256: $(sha256sum "$2_2_all.deb" | cut -d' ' -f1)"
} >Packages
rm -rf /etc/apt/sources.list /etc/apt/sources.list.d /var/lib/apt/lists
mkdir -p /var/lib/apt/lists/partial /etc/apt/sources.list.d
echo "deb [trusted=yes] copy:$PWD ./" >/etc/apt/sources.list
apt-get -o APT::Sandbox::User=root update >/dev/null
dpkg --install ../one.deb >/dev/null 2>&1
"""


def prepare() -> Instance:
    """A server, the older package, the newer one in a repository, and a policy of somebody's."""
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    HERE.mkdir(mode=0o755)
    subprocess.run(["sh", "-c", _BUILD, "sh", str(HERE), NAME, str(GO)], check=True)
    for service in ("mariadb", "slackwater-other"):
        script = Path("/etc/init.d", service)
        script.write_text(f'#!/bin/sh\necho "{service} $1" >>{ASKED}\n')
        script.chmod(0o755)
    POLICY.write_text(WAS)
    POLICY.chmod(0o755)
    return alone.make(next(p for p in installed() if p.name == "mariadb-10.11"), HERE)


def words(*more: str) -> tuple[str | Path, ...]:
    """The command line of the upgrade."""
    return ("upgrade", "s", NAME, *more, "--json", "--config", alone.config(HERE))


def upgraded(server: Instance) -> dict[str, Any]:
    """To its end, under load."""
    GO.touch()
    with alone.Loaded(alone.target(server), scene.plan()) as load:
        scene.under_way(load)
        done = alone.slackwater(*words())
        scene.goes_on(load)
    return scene.seen(done, load, HERE)


def killed(server: Instance) -> dict[str, Any]:
    """slackwater is killed while the package is half done; `recover` is there before its end."""
    with alone.Loaded(alone.target(server), scene.plan()) as load:
        _cut_off(load)
        meanwhile = subprocess.run([POLICY, "mariadb", "stop", "2"], check=False).returncode
        recover = subprocess.Popen(
            alone.command("recover", "--json", "--config", alone.config(HERE)), text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert recover.stderr is not None
        for line in recover.stderr:
            if '"unwinding"' in line:
                break
        scene.goes_on(load)
        waits = recover.poll() is None
        GO.touch()
        out, err = recover.communicate(timeout=scene.MOST_S)
        scene.goes_on(load)
    done = subprocess.CompletedProcess("recover", recover.returncode, out, err)
    return scene.seen(done, load, HERE) | {"meanwhile": meanwhile, "waited": waits}


def broken(server: Instance) -> dict[str, Any]:
    """dpkg and its scripts are killed as well: `recover` brings the package to its end."""
    with alone.Loaded(alone.target(server), scene.plan()) as load:
        _cut_off(load)
        (journal,) = (HERE / "state").glob("*.jsonl")
        events = [json.loads(line) for line in journal.read_text().splitlines() if line.strip()]
        (noted,) = (e["value"] for e in events if e.get("key") == INSTALLING)
        os.killpg(noted["pid"], signal.SIGKILL)
        GO.touch()
        done = alone.slackwater("recover", "--json", "--config", alone.config(HERE))
        scene.goes_on(load)
    return scene.seen(done, load, HERE)


def _cut_off(load: alone.Loaded) -> None:
    """Begin, and kill slackwater while the package is configured."""
    scene.under_way(load)
    process = alone.until_step("InstallBelow", *words())
    eventually(lambda: status() == "half-configured", "the package is being configured")
    process.kill()
    process.communicate()


def status() -> str:
    """What dpkg says of the package."""
    return subprocess.run(["dpkg-query", "-W", "-f", "${db:Status-Status}", NAME], check=True,
                          capture_output=True, text=True).stdout


SCENES = {f.__name__: f for f in (upgraded, killed, broken)}


def main() -> int:
    """Play a scene and print what was seen."""
    if len(sys.argv) == 2:
        return on_a_copy([sys.executable, "-m", "tests.maintain.packages", sys.argv[1], "there"])
    server = prepare()
    pid = server.pid
    try:
        said = SCENES[sys.argv[1]](server)
        left = [p.name for p in POLICY.parent.glob("policy-rc.d*")]
        version = Path("/usr/lib/slackwater-test/version").read_text().strip()
        said |= {
            "restarted": Instance.load(HERE / "s").pid != pid, "status": status(),
            "version": version, "policy": POLICY.read_text(), "policies": left,
            "asked": ASKED.read_text().splitlines() if ASKED.exists() else [],
        }
        print(json.dumps(said, default=str))
    finally:
        Instance.load(HERE / "s").stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
