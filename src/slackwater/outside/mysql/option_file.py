"""A server's option file: asked of the server program itself before it is put in place."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from slackwater.errors import OutsideError
from slackwater.outside.host import Host

_NAMES = ("mariadbd", "mysqld")
_FOLDERS = ("sbin", "bin", "libexec")
_STAMP = re.compile(r"^[0-9-]+[T ][0-9:.]+Z?\s+\d+\s+")
VALIDATE_LIMIT_S = 30.0


async def why_not(
    host: Host, directory: Path, text: str, variables: Mapping[str, str], *, mariadb: bool
) -> str:
    """Why the server would not start with such a file, in its own words, or "".

    MySQL has --validate-config (8.0.16 and newer); the others are asked for their help with the
    file, for which they read all of it. "" too where the program is not found on that host: the
    restart will tell then, and the file is put back.
    """
    program = await daemon(host, variables)
    if program is None:
        return ""
    # Not *.cnf: no server reads it.
    draft = directory / ".slackwater-draft"
    try:
        fault = await _ask(host, program, draft, text, variables, mariadb)
        # What it says of an empty file too is not about these settings (a directory that only
        # its own start-up script knows, for example).
        same = fault and fault == await _ask(host, program, draft, "[mysqld]\n", variables, mariadb)
        return "" if same else fault
    finally:
        await host.remove(draft)


async def _ask(
    host: Host, program: Path, draft: Path, text: str, variables: Mapping[str, str], mariadb: bool
) -> str:
    await host.replace(draft, text)
    first = [str(program), f"--defaults-file={draft}"]
    base = [f"--basedir={variables.get('basedir', '/usr')}",
            f"--datadir={variables.get('datadir', '')}", "--user=mysql"]
    if not mariadb:
        code, said = await host.run([*first, "--validate-config", *base], limit_s=VALIDATE_LIMIT_S)
        if "unknown option '--validate-config'" not in said:
            return _fault(code, said)
    code, said = await host.run([*first, "--verbose", "--help", *base], limit_s=VALIDATE_LIMIT_S)
    return _fault(code, said)


def _fault(code: int, said: str) -> str:
    wrong = [line for line in said.splitlines()
             if "[ERROR]" in line or "unknown variable" in line or "unknown option" in line]
    if wrong:
        return _STAMP.sub("", wrong[0]).strip()
    return f"it ended with exit code {code}: {said.strip()[-200:]}" if code else ""


async def daemon(host: Host, variables: Mapping[str, str]) -> Path | None:
    """The server's program on that host; None where it is not found."""
    base = Path(variables.get("basedir") or "/usr")
    for folder in _FOLDERS:
        for name in _NAMES:
            path = base / folder / name
            try:
                if (await host.run(["test", "-x", str(path)]))[0] == 0:
                    return path
            except OutsideError:
                return None
    return None
