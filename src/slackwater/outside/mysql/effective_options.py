"""What a server would read from its option files and its command line if it started now."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from slackwater.errors import OutsideError
from slackwater.outside.host import Host
from slackwater.outside.mysql.option_file import VALIDATE_LIMIT_S, daemon

_FILE_OPTIONS = ("--no-defaults", "--defaults-file", "--defaults-extra-file",
                 "--defaults-group-suffix")  # fmt: skip
_PREFIX = re.compile(r"^(loose|skip|disable|enable)_")
_OFF = frozenset({"skip", "disable"})


async def effective(host: Host, variables: Mapping[str, str]) -> dict[str, str] | None:
    """Options by names as variables spell them, each with the value that counts: the last one.

    The program itself reads the files, with the arguments of the process that runs now. None
    where that process or the program is not to be seen from that host. A switch without a value
    is "ON", with `skip-` or `disable-` before it "OFF".
    """
    words = await _command_line(host, variables)
    program = await daemon(host, variables) if words else None
    if program is None:
        return None
    files = [w for w in words[1:] if w.partition("=")[0] in _FILE_OPTIONS]
    try:
        code, said = await host.run(
            [str(program), *files, "--print-defaults"], limit_s=VALIDATE_LIMIT_S)
    except OutsideError:
        return None
    _, found, listed = said.partition("arguments:")
    if code or not found:
        return None
    return parse([f"--{option}" for option in listed.strip().removeprefix("--").split(" --")]
                 + [w for w in words[1:] if w not in files])


def parse(arguments: Iterable[str]) -> dict[str, str]:
    """Options by names as variables spell them, of arguments as a server takes them."""
    found = {}
    for word in arguments:
        if not word.startswith("--"):
            continue
        name, sign, value = word[2:].strip().partition("=")
        name, value = name.replace("-", "_").lower(), value if sign else "ON"
        while prefix := _PREFIX.match(name):
            name = name[prefix.end():]
            value = "OFF" if prefix[1] in _OFF else value
        found[name] = value
    return found


async def places(host: Host, directory: Path, name: str, *, but: Path) -> list[str]:
    """Option files near `directory` that set `name`, without the file `but`."""
    spelt = name.replace("_", "[-_]")
    setting = f"^[[:space:]]*(loose[-_]|skip[-_]|disable[-_]|enable[-_])*{spelt}[[:space:]]*(=|$)"
    find = 'grep -lsE "$1" "$2"/*.cnf "$2"/*/*.cnf "$3"/*'
    try:
        _, said = await host.run(
            ["sh", "-c", find, "sh", setting, str(directory.parent), str(directory)])
    except OutsideError:
        return []
    return [p for p in dict.fromkeys(said.split("\n")) if p and Path(p) != but]


async def _command_line(host: Host, variables: Mapping[str, str]) -> list[str]:
    """The arguments of the running server, its program first; [] where they are not to be seen."""
    pid_file = Path(variables.get("datadir", "/")) / variables.get("pid_file", "")
    try:
        pid = int((await host.read(pid_file)).strip())
        code, said = await host.run(["cat", f"/proc/{pid}/cmdline"])
    except (OutsideError, OSError, ValueError):
        return []
    return said.rstrip("\0").split("\0") if code == 0 and said else []
