"""A client of the registry's HTTP API that signs what it says."""

from __future__ import annotations

import json
import os
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx

from slackwater import clock
from slackwater.errors import ConfigError, OutsideError
from slackwater.outside.registry import signing, tls


class Refusal(OutsideError):
    """The registry said no: `status` is HTTP's."""

    def __init__(self, where: str, status: int, detail: str) -> None:
        super().__init__(where, f"refused ({status}): {detail}", sent=False)
        self.status, self.detail = status, detail


@dataclass(frozen=True)
class Access:
    """Where a registry is, and the key for it. The repr has no secret."""

    url: str
    key: str
    secret: str
    ca: str = ""

    def __repr__(self) -> str:
        return f"Access({self.url!r}, {self.key!r})"

    @property
    def place(self) -> tuple[str, int]:
        """Host and port. Raises ConfigError."""
        parts = urlsplit(self.url)
        try:
            port = parts.port or {"https": 443, "http": 80}[parts.scheme]
        except (KeyError, ValueError):
            port = 0
        if not parts.hostname or not port:
            raise ConfigError(f"not the address of a registry: {self.url!r}",
                              hint="write https://HOST:PORT")
        return parts.hostname, port


class Client:
    """One registry, seen from a node. Raises OutsideError; Refusal where it answered no."""

    def __init__(self, access: Access, *, limit_s: float = 10.0) -> None:
        self.access = access
        self.where = f"registry {access.url}"
        _ = access.place
        self._behind_s = 0.0  # of this machine's clock, behind the registry's
        # Reading the system's authorities takes longer than a request: only where they are needed.
        trusted: ssl.SSLContext | bool = access.url.startswith("https:")
        if trusted and access.ca:
            trusted = tls.trust(access.ca)
        self._http = httpx.AsyncClient(
            base_url=access.url, timeout=limit_s, verify=trusted, trust_env=False,
            limits=httpx.Limits(max_keepalive_connections=1, keepalive_expiry=20),
        )

    async def ask(self, method: str, path: str, said: dict[str, Any] | None = None
                  ) -> dict[str, Any]:
        """One signed request; `path` with its query. The JSON object of the answer."""
        answer = await self._send(method, path, said)
        if answer.status_code == 401 and self._set_clock(answer):
            answer = await self._send(method, path, said)
        try:
            found = answer.json()
        except ValueError:
            found = {}
        if answer.status_code != 200 or not isinstance(found, dict):
            detail = found.get("detail", "") if isinstance(found, dict) else ""
            raise Refusal(self.where, answer.status_code, str(detail) or "no reason given")
        return found

    async def close(self) -> None:
        """Close its connections."""
        await self._http.aclose()

    async def _send(self, method: str, path: str, said: dict[str, Any] | None) -> httpx.Response:
        body = json.dumps(said).encode() if said is not None else b""
        heads = signing.headers(self.access.key, self.access.secret, method, path, body,
                                at=clock.unix() + self._behind_s)
        if body:
            heads["content-type"] = "application/json"
        try:
            return await self._http.request(method, path, content=body, headers=heads)
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            why, hint = tls.why_not(error, self.access.place[0], self.access.ca)
            if why:
                raise OutsideError(self.where, why, sent=False, hint=hint) from error
            raise OutsideError(self.where, f"cannot connect: {error}", sent=False,
                               refused=True) from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            why = str(error) or type(error).__name__
            # A server of TLS hangs up on who does not speak it.
            hint = ("is it https://, not http://?" if self.access.url.startswith("http://")
                    and isinstance(error, httpx.RemoteProtocolError) else "")
            raise OutsideError(self.where, why, sent=True, hint=hint) from error

    def _set_clock(self, answer: httpx.Response) -> bool:
        """Take over the registry's clock for signing, when ours is off; whether it was."""
        try:
            theirs = answer.json().get("time")
        except (ValueError, AttributeError):
            return False
        if not isinstance(theirs, int):
            return False
        behind_s = theirs - clock.unix()
        if abs(behind_s - self._behind_s) < 1.5:
            return False
        self._behind_s = behind_s
        return True


def secret_of(path: Path) -> str:
    """A key's secret from its file. Raises ConfigError."""
    try:
        mode = path.stat().st_mode
        text = path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read the key in {path}: {error}") from error
    # systemd's credentials are for the service alone, by an access list that looks like a group's.
    credentials = os.environ.get("CREDENTIALS_DIRECTORY", "")
    if mode & 0o077 and not (credentials and path.parent == Path(credentials)):
        raise ConfigError(f"the key in {path} may be read by others", hint=f"chmod 600 {path}")
    if not text:
        raise ConfigError(f"{path} is empty", hint="`slackwater registry key new NAME` makes one")
    return text
