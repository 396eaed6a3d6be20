"""Passwords: from a file with the right mode, the environment, or a MySQL option file."""

from __future__ import annotations

import os
import re
import secrets
import stat
from pathlib import Path

from slackwater.errors import ConfigError


def read_password(
    *, file: Path | None = None, variable: str | None = None, option_file: Path | None = None
) -> str:
    """The password from whichever source is given. Raises ConfigError, never with the secret."""
    if variable is not None:
        value = os.environ.get(variable)
        if value is None:
            raise ConfigError(
                f"the environment has no {variable}, which password_env names",
                hint=f"export {variable}, or use password_file",
            )
        return value
    if file is not None:
        return _private_text(file).rstrip("\r\n")
    assert option_file is not None
    return _from_option_file(option_file.expanduser())


def make_or_read(path: Path) -> str:
    """The password in a file; made, and the file with it (mode 0600), where there is none.

    Raises ConfigError when it cannot be made or read.
    """
    path = path.expanduser()
    if not path.exists():
        # One sign of each kind that a password policy may ask for; a replica of MySQL 5.7 takes at
        # most 32.
        password = f"{secrets.token_urlsafe(18)}-aA1".replace("_", "x")
        try:
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(handle, "w") as file:
                file.write(password + "\n")
                file.flush()
                os.fsync(file.fileno())
        except FileExistsError:
            pass  # made at the same moment
        except OSError as error:
            raise ConfigError(f"cannot make the password file {path}: {error.strerror}",
                              hint=f"make its directory: mkdir -p {path.parent}") from error
    return read_password(file=path)


def _private_text(path: Path) -> str:
    try:
        mode = path.stat().st_mode
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read the password file {path}: {error}") from error
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise ConfigError(
            f"the password file {path} may be read by others (mode {stat.S_IMODE(mode):04o})",
            hint=f"chmod 600 {path}",
        )
    return text


def _from_option_file(path: Path) -> str:
    """The password as MySQL's own programs read it: of the last line that gives one.

    The errors quote no line: one of them holds the password.
    """
    found: dict[str, str] = {}
    section = ""
    for number, whole in enumerate(_private_text(path).splitlines(), 1):
        line = whole.strip(" \t\r\n\f\v")
        if not line or line[0] in "#;!":  # `!include` too: what it names is not read
            continue
        if line.startswith("["):
            section, closed, _ = line[1:].partition("]")
            if not closed:
                raise ConfigError(f"{path} is not a MySQL option file (line {number})")
            section = section.strip()
            continue
        if not section:
            raise ConfigError(f"{path} is not a MySQL option file (line {number} is before any "
                              "[section])")
        key, equals, value = _without_comment(line).partition("=")
        if equals and key.strip() == "password":
            found[section] = _unquoted(value.strip())
    for name in ("slackwater", "client"):
        if name in found:
            return found[name]
    raise ConfigError(f"{path} has no password in [slackwater] or [client]")


def _without_comment(line: str) -> str:
    """A line up to its comment: a # that is in no quotes."""
    quote, escaped = "", False
    for at, sign in enumerate(line):
        if sign in "'\"" and not escaped and quote in ("", sign):
            quote = "" if quote else sign
        elif sign == "#" and not quote:
            return line[:at]
        escaped = sign == "\\" and not escaped and bool(quote)
    return line


def _unquoted(value: str) -> str:
    """A value without its quotes, and with what its escapes stand for."""
    if len(value) > 1 and value[0] in "'\"" and value[0] == value[-1]:
        value = value[1:-1]
    return re.sub(r"\\(.)", lambda m: _ESCAPES.get(m[1], m[0]), value)


_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "s": " ", '"': '"', "'": "'", "\\": "\\"}
