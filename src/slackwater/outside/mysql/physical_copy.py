"""A server's data directory as files: mariadb-backup on the source's host, and putting its copy in
the place of the target's. Whoever calls has to be able to read them: root, or the server's user.
"""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from slackwater.errors import StepFailed
from slackwater.facts.server import ServerAddress
from slackwater.outside import stream
from slackwater.outside.host import Host
from slackwater.outside.stream import Stream

LONG_S = 6 * 3600.0
# In ms. Commits are blocked till it has looked at the redo log once more; its own way is 1000.
# Each look may catch the server as it writes there, and never come on from that place (MDEV-39468):
# 11.8.6, 500 writes a second, 20 to 30 s of copying: looking every 10 ms that was so in 18 of 21.
LOG_COPY = "--log-copy-interval=100"
STUCK = "Was only able to copy log"  # what it says then, or if the redo log is really too small
LEFT = ("failed", "going")  # ends of what is on its way out
# What a distribution or a person has put beside the data, and a copy does not bring.
_KEEP = "debian-*.flag *.pem *.crt *.key *.cnf"
_PATH = "PATH=$PATH:/usr/sbin:/sbin; export PATH\n"
# Who has a file open (by -samefile, find itself would be one of them).
_HOLDERS = _PATH + """
holders() {
  [ -e "$1" ] || return 0
  find -L /proc/[0-9]*/fd -maxdepth 1 -inum "$(stat -c %i -- "$1")" -printf '%D %p\\n' 2>/dev/null |
    grep "^$(stat -c %d -- "$1") " | cut -d/ -f3 | sort -u
}
"""
# $1: the data directory as the server says; $2: its basedir. Lines NAME=VALUE.
_LOOK = _HOLDERS + """
real=$(readlink -f -- "$1") && [ -r "$real/ibdata1" ] || { echo "hidden=1"; exit 0; }
echo "real=$real"
for pid in $(holders "$real/ibdata1"); do
  if kill -0 "$pid" 2>/dev/null; then echo "pid=$pid"; fi
done
for each in "$2/bin/mariadb-backup" mariadb-backup mariabackup; do
  found=$(command -v -- "$each") || continue
  echo "backup=$found"
  echo "version=$("$found" --version 2>&1 | tail -n 1)"
  break
done
for each in "$2/bin/mbstream" mbstream mariadb-mbstream; do
  found=$(command -v -- "$each") && { echo "mbstream=$found"; break; }
done
[ "$(stat -c %d -- "$real")" = "$(stat -c %d -- "$real/..")" ] || echo "mount=1"
[ -w "$real/.." ] && echo "parent=1"
command -v python3 >/dev/null && echo "python=1"
command -v zstd >/dev/null && echo "zstd=1"
exit 0
"""
# $1: a new directory; then the program that reads the stream, with `cat` or `zstd -dc` before it.
_UNPACK = """set -eu
umask 077
mkdir -- "$1"
pack=$2 program=$3
# What is written goes to the disk by and by: all at once it would hold up others who share it.
(while sleep 0.5 && kill -0 $$; do find "$1" -type f -mmin -1 -exec sync -d -- {} +; done) \
  </dev/null >/dev/null 2>&1 &
if [ "$pack" = zstd ]; then zstd -q -dc | "$program" -x -C "$1"; else "$program" -x -C "$1"; fi
"""
# A child that ends with our standard input: when we are gone it must not go on.
_WHILE_WE_LIVE = """
exec 3<&0
"$@" </dev/null & child=$!
(cat <&3; kill -KILL $child) >/dev/null 2>&1 & watch=$!
code=0; wait $child || code=$?
kill $watch 2>/dev/null || :
exit $code
"""
# $1: the prepared copy, $2: the data directory whose owner, mode and label it gets.
_LIKE = f"""set -eu
new=$1 old=$2
[ -s "$new/ibdata1" ] || {{ echo "the copy has no ibdata1"; exit 1; }}
cd "$old"
for each in {_KEEP}; do
  if [ -f "$each" ] && [ ! -e "$new/$each" ]; then cp -p -- "$each" "$new/"; fi
done
cd /
find "$new" -type d -exec chmod 755 {{}} + -o -type f -exec chmod 660 {{}} +
chmod --reference="$old" -- "$new"
chown -R --reference="$old" -- "$new"
if command -v chcon >/dev/null && [ -e /sys/fs/selinux/enforce ]; then
  chcon -R --reference="$old" -- "$new"
fi
sync -f -- "$new"
"""
# $1: the data directory. One such program at a time: that of a slackwater which was killed goes on
# to its end, and who comes after it waits. `stop_server`: SIGTERM to the server that has the
# directory open, until nobody has; $limit: seconds.
_ALONE = _HOLDERS + """set -eu
exec 9<"${1%/*}"
flock -w "$limit" 9 || { echo "another slackwater is at work there"; exit 1; }
stop_server() {
  end=$(($(date +%s) + limit)) told=
  while pids=$(holders "$1/ibdata1"); [ -n "$pids" ]; do
    if [ "$told" != "$pids" ]; then kill -TERM $pids 2>/dev/null || :; told=$pids; fi
    [ "$(date +%s)" -le "$end" ] || { echo "process $pids does not end"; exit 1; }
    sleep 0.05
  done
}
"""
# $1: the data directory, $2: what becomes it, $3: where it goes.
_REPLACE = _ALONE + """
[ ! -e "$3" ] || exit 0
[ -s "$2/ibdata1" ] || { echo "$2 is no whole copy"; exit 1; }
stop_server "$1"
mv -T -- "$1" "$3"
if [ -n "$(holders "$3/ibdata1")" ]; then
  mv -T -- "$3" "$1"; echo "somebody has started the server meanwhile"; exit 1
fi
mv -T -- "$2" "$1"
sync -- "${1%/*}"
"""
# $1: the data directory, $2: the one that was there. Says `down` when nobody has it open.
_BACK = _ALONE + """
if [ -e "$2" ]; then
  rm -rf -- "$2.failed"
  if [ -e "$1" ]; then stop_server "$1"; mv -T -- "$1" "$2.failed"; fi
  mv -T -- "$2" "$1"
  sync -- "${1%/*}"
fi
[ -n "$(holders "$1/ibdata1")" ] || echo down
"""


@dataclass(frozen=True)
class Place:
    """What a host says of one server's data directory. `pids`: who has it open and may be ended by
    us; `real` is "" when its files are not to be seen."""

    real: str = ""
    pids: tuple[str, ...] = ()
    program: str = ""
    version: str = ""
    mbstream: str = ""
    mount: bool = False
    parent: bool = False  # may be written
    python: bool = False
    zstd: bool = False

    def beside(self, word: str) -> str:
        """A directory beside it, on the same file system."""
        return f"{self.real}.slackwater-{word}"


async def look(host: Host, datadir: str, basedir: str) -> Place:
    """Look at a data directory on its host. Raises OutsideError."""
    words = host.as_root(["sh", "-c", _LOOK, "sh", datadir, basedir])
    _, said = await host.run(words, limit_s=15)
    lines = [line.partition("=") for line in said.splitlines() if "=" in line]
    one = {name: value for name, _, value in lines}
    return Place(
        one.get("real", ""), tuple(v for n, _, v in lines if n == "pid"), one.get("backup", ""),
        one.get("version", ""), one.get("mbstream", ""), "mount" in one, "parent" in one,
        "python" in one or host.here, "zstd" in one)


def login_file(at: ServerAddress) -> str:
    """An option file by which mariadb-backup logs in as slackwater does."""
    said = {"user": at.user, "password": at.password}
    said |= {"socket": at.socket} if at.socket else {
        "host": at.host, "port": str(at.port), "protocol": "tcp"}
    quoted = {n: v.replace("\\", "\\\\").replace('"', '\\"') for n, v in said.items() if v}
    lines = [f'{name} = "{value}"' for name, value in quoted.items()]
    return "\n".join([*(f"[{group}]\n" + "\n".join(lines) for group in
                        ("mariabackup", "mariadb-backup"))]) + "\n"


async def backup(
    host: Host, place: Place, at: ServerAddress, *, hold_s: float, packed: bool
) -> Stream:
    """Begin mariadb-backup there; the stream is mbstream's, packed by zstd if so asked. Its lines
    are those of `sent_backup`. Raises OutsideError."""
    source = (resources.files("slackwater.outside") / "sent_backup.py").read_text("utf-8")
    python = sys.executable if host.here else "python3"
    words = [python, "-I", "-S", "-c", source]
    begun = await stream.begin(host, words if host.here else host.as_root(words))
    order = {
        "program": place.program, "login": login_file(at), "hold_s": hold_s,
        "words": [f"--datadir={place.real}", "--parallel=2", LOG_COPY],
        "pack": ["zstd", "-q", "-1", "-c"] if packed else [],
    }
    await begun.write(json.dumps(order).encode() + b"\n")
    return begun


async def unpack(host: Host, place: Place, to: str, *, packed: bool) -> Stream:
    """Begin to write a stream of `backup` into a new directory. Raises OutsideError."""
    return await stream.begin(host, host.as_root(
        ["sh", "-c", _UNPACK, "sh", to, "zstd" if packed else "", place.mbstream]))


async def prepare(host: Host, place: Place, copy: str, *, limit_s: float = LONG_S) -> None:
    """Have the copy be as of one moment; at the limit it is ended. Raises OutsideError, StepFailed.
    """
    words = [place.program, "--no-defaults", "--prepare", f"--target-dir={copy}",
             "--use-memory=256M"]
    child = await stream.begin(host, host.as_root(["sh", "-c", _WHILE_WE_LIVE, "sh", *words]))
    tail: list[str] = []
    try:
        async with asyncio.timeout(limit_s):
            async for line in child.lines():
                tail = [*tail[-8:], line]
            code = await child.wait()
        if code:
            raise StepFailed(f"mariadb-backup --prepare failed on {host.where}: "
                             + " | ".join(tail)[-600:])
    except TimeoutError:
        raise StepFailed(f"mariadb-backup --prepare on {host.where} did not end within {limit_s:g}"
                         " s: " + " | ".join(tail)[-600:]) from None
    finally:
        await child.close()


async def position(host: Host, copy: str) -> tuple[str, int, str]:
    """Of a copy: the binary log's file and position on its source, and its GTIDs."""
    find = 'cat "$1"/mariadb_backup_binlog_info "$1"/xtrabackup_binlog_info 2>/dev/null; true'
    _, said = await host.run(host.as_root(["sh", "-c", find, "sh", copy]))
    words = said.split()
    if len(words) < 2 or not words[1].isdigit():
        raise StepFailed("mariadb-backup does not say where in the binary log its copy is")
    return words[0], int(words[1]), words[2] if len(words) > 2 else ""


async def innodb_position(host: Host, copy: str) -> tuple[str, int] | None:
    """Of a prepared copy: where in its source's binary log the last transaction is that InnoDB has
    in it; None for no transaction at all."""
    find = 'cat "$1"/xtrabackup_binlog_pos_innodb 2>/dev/null; true'
    _, said = await host.run(host.as_root(["sh", "-c", find, "sh", copy]))
    file, _, at = said.strip().rpartition("\t")
    return (file, int(at)) if file and at.isdigit() else None


async def make_alike(host: Host, copy: str, place: Place) -> None:
    """Owner, mode and what lay beside the data, as of the directory that it will replace."""
    await _script(host, _LIKE, copy, place.real, limit_s=600)


async def replace(host: Host, datadir: str, new: str, old: str, *, limit_s: int) -> None:
    """Stop the server that has the data directory open, and have `new` be it; what was there is at
    `old`. Nothing where that is so already. Raises StepFailed, OutsideError."""
    await _script(host, f"limit={int(limit_s)}\n{_REPLACE}", datadir, new, old,
                  limit_s=2 * limit_s + 30.0)


async def put_back(host: Host, datadir: str, old: str, *, limit_s: int) -> bool:
    """Have `old`, where it is, be the data directory again; whether its server is down now."""
    said = await _script(host, f"limit={int(limit_s)}\n{_BACK}", datadir, old,
                         limit_s=2 * limit_s + 30.0)
    return said.endswith("down")


async def remove(host: Host, *directories: str) -> None:
    """Take directories of ours away. Raises StepFailed."""
    assert all(".slackwater-" in Path(d).name for d in directories), directories
    await _script(host, 'rm -rf -- "$@"', *directories, limit_s=1800)


async def forget(host: Host, directory: str) -> None:
    """Throw a directory away, in one moment: from then on nobody can take it for whole."""
    await _script(host, '[ ! -e "$1" ] || { rm -rf -- "$1.going"; mv -T -- "$1" "$1.going"; }',
                  directory)
    await remove(host, directory + ".going")


async def exists(host: Host, path: str) -> bool:
    """Whether it is there, asked as who may see it. Raises OutsideError."""
    return (await host.run(host.as_root(["test", "-e", path])))[0] == 0


async def _script(host: Host, text: str, *arguments: str, limit_s: float = 30.0) -> str:
    code, said = await host.run(host.as_root(["sh", "-c", text, "sh", *arguments]),
                                limit_s=limit_s)
    if code:
        raise StepFailed(f"{arguments[0]} on {host.where}: {said.strip()[-400:]}")
    return said.strip()
