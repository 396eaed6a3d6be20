"""Single values of slackwater.toml: each as it is, or a ValueError that says what to write."""

from __future__ import annotations

import re

from slackwater.facts.destination import Destination


def host_port(text: str) -> tuple[str, int]:
    """Split `host:port` or `[v6]:port`; raises ValueError saying what to write."""
    found = re.fullmatch(r"(\[[0-9A-Fa-f:.%]+\]|[A-Za-z0-9._-]+):([0-9]{1,5})", text)
    if not found or not 0 < int(found[2]) < 65536:
        raise ValueError("write HOST:PORT, for example 10.0.0.5:3306 or [2001:db8::5]:3306")
    return found[1].strip("[]"), int(found[2])


def address(text: str) -> str:
    """An address as it is, if it is one."""
    host_port(text)
    return text


def endpoint(text: str) -> str:
    """A unix socket or an address, as it is."""
    kind, _, rest = text.partition(":")
    if kind == "unix" and rest.startswith("/"):
        return text
    if kind == "tcp":
        host_port(rest)
        return text
    raise ValueError("write unix:/path/to/socket or tcp:HOST:PORT")


def name(text: str) -> str:
    """A name that HAProxy takes too."""
    # HAProxy's sections and servers bear these names, and `hold` is a server of ours.
    if not re.fullmatch(r"[A-Za-z0-9_-]+", text) or text == "hold":
        raise ValueError("use letters, digits, _ and - (and not the name `hold`)")
    return text


def user(text: str) -> str:
    """An account's name. Without one the driver would take the operating system's user."""
    if not text.strip():
        raise ValueError('write the name of an account, such as "slackwater"')
    return text


def variable(text: str) -> str:
    """The name of an environment variable."""
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", text):
        raise ValueError("write the NAME of an environment variable, not the password")
    return text


def destination(text: str) -> str:
    """Where SSH goes."""
    Destination.parse(text)
    return text


def host_pattern(text: str) -> str:
    """A host as accounts have it."""
    if not re.fullmatch(r"[A-Za-z0-9:._%/-]+", text):
        raise ValueError("write a host as in CREATE USER: 10.0.0.5, 10.0.0.% or db1.example.com")
    return text
