"""Passwords: from a file with the right mode, the environment, or a MySQL option file."""

from __future__ import annotations

import configparser
import os
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
    text = _private_text(path)
    parser = configparser.ConfigParser(
        allow_no_value=True, strict=False, interpolation=None, comment_prefixes=("#", ";", "!")
    )
    try:
        parser.read_string(text)
    except configparser.Error as error:
        # The error's own text quotes lines of the file, and one of them holds the password.
        raise ConfigError(f"{path} is not a MySQL option file ({type(error).__name__})") from None
    for section in ("slackwater", "client"):
        value = parser.get(section, "password", fallback=None)
        if value is not None:
            return value.strip().strip("\"'")
    raise ConfigError(f"{path} has no password in [slackwater] or [client]")
