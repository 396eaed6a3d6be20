"""Who comes in: signatures, their age, nonces, addresses, sizes; before anything else is done.

Plain ASGI in front of the application, so that garbage costs little. A refusal says as much as an
honest caller needs, and nothing about which keys there are.
"""

from __future__ import annotations

import asyncio
import json
import math
import re
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any

from slackwater import clock
from slackwater.facts.members import plain_address
from slackwater.outside.registry import signing
from slackwater.outside.registry.keys import Key, KeyRing

SKEW_S = 30
MAX_BODY = 4096
MAX_HEAD = 8192
BODY_LIMIT_S = 5.0
OPEN_PATHS = {"/v1/health", "/openapi.json"}

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

_TIME = re.compile(r"[0-9]{1,12}")
_NONCE = re.compile(r"[0-9a-f]{16,64}")
_SIGNATURE = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Caller:
    """Who asks, proven."""

    key: Key
    address: str


@dataclass(frozen=True)
class Refusal(Exception):
    """An answer before the application was asked."""

    status: int
    detail: str


class Nonces:
    """Each is good once. Kept for two spans of time, so memory is bounded by signed requests."""

    def __init__(self, span_s: float = 2.0 * SKEW_S) -> None:
        self._span_s, self._turned = span_s, -math.inf
        self._now: set[tuple[str, str]] = set()
        self._before: set[tuple[str, str]] = set()

    def use(self, key: str, nonce: str, now: float) -> bool:
        """Whether it had not been used."""
        if now - self._turned >= self._span_s:
            self._before = self._now if now - self._turned < 2 * self._span_s else set()
            self._now, self._turned = set(), now
        if (key, nonce) in self._now or (key, nonce) in self._before:
            return False
        self._now.add((key, nonce))
        return True


class Gate:
    """An ASGI application around another. `strikes(address)` is told of each refusal."""

    def __init__(self, app: App, ring: KeyRing, strikes: Callable[[str], None]) -> None:
        self._app, self._ring, self._strikes = app, ring, strikes
        self._nonces = Nonces()
        self._opened = clock.mono()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or (scope["path"] in OPEN_PATHS and scope["method"] == "GET"):
            await self._app(scope, receive, send)
            return
        address = (scope.get("client") or ("", 0))[0]
        try:
            said = _headers(scope)
            body = await _body(receive)
            scope["caller"] = self._known(scope, said, body, address)
        except Refusal as refusal:
            self._strikes(address)
            await _refuse(send, refusal)
            return
        await self._app(scope, _again(body, receive), send)

    def _known(
        self, scope: Scope, said: dict[str, str], body: bytes, address: str
    ) -> Caller:
        name, time = said.get(signing.KEY, ""), said.get(signing.TIME, "")
        nonce, signature = said.get(signing.NONCE, ""), said.get(signing.SIGNATURE, "")
        if not (name and _TIME.fullmatch(time) and _NONCE.fullmatch(nonce)
                and _SIGNATURE.fullmatch(signature)):
            raise Refusal(401, "not signed: see the headers that docs/reference/registry-api.md "
                               "names")
        key = self._ring.find(name, clock.mono())
        target = scope["raw_path"].decode("ascii", "replace")
        if scope["query_string"]:
            target += "?" + scope["query_string"].decode("ascii", "replace")
        right = signing.signature(key.secret if key else "", scope["method"], target, time, nonce,
                                  body)
        if key is None or not signing.same(right, signature):
            raise Refusal(401, "the signature is not valid")
        if not key.may_come_from(_plain(address)):
            raise Refusal(403, f"the key {name} may not be used from {address}")
        now = clock.unix()
        if abs(now - int(time)) > SKEW_S:
            raise Refusal(401, f"signed at another time than it is here: more than {SKEW_S} s off")
        # Nonces are forgotten with the process: what was signed before it began is not taken.
        if int(time) < math.floor(now - (clock.mono() - self._opened)):
            raise Refusal(401, "signed before this registry was started")
        if not self._nonces.use(name, nonce, clock.mono()):
            raise Refusal(401, "this very request was made before")
        return Caller(key, _plain(address))


def _headers(scope: Scope) -> dict[str, str]:
    found: dict[str, str] = {}
    if sum(len(name) + len(value) for name, value in scope["headers"]) > MAX_HEAD:
        raise Refusal(431, f"at most {MAX_HEAD} bytes of headers")
    for name, value in scope["headers"]:
        word = name.decode("latin-1")
        if word.startswith("x-sw-"):
            if word in found:
                raise Refusal(401, f"{word} is there twice")
            found[word] = value.decode("latin-1")
    return found


def _plain(address: str) -> str:
    try:
        return plain_address(address)
    except ValueError:
        raise Refusal(403, "the caller has no usable address") from None


async def _body(receive: Receive) -> bytes:
    parts, size = [], 0
    try:
        async with asyncio.timeout(BODY_LIMIT_S):
            while True:
                message = await receive()
                if message["type"] != "http.request":
                    raise Refusal(400, "cut off")
                parts.append(message.get("body", b""))
                size += len(parts[-1])
                if size > MAX_BODY:
                    raise Refusal(413, f"at most {MAX_BODY} bytes")
                if not message.get("more_body"):
                    return b"".join(parts)
    except TimeoutError:
        raise Refusal(408, f"the body took longer than {BODY_LIMIT_S:g} s") from None


def _again(body: bytes, receive: Receive) -> Receive:
    given = False

    async def once() -> MutableMapping[str, Any]:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return once


async def _refuse(send: Send, refusal: Refusal) -> None:
    body = json.dumps({"detail": refusal.detail, "time": int(clock.unix())}).encode()
    await send({"type": "http.response.start", "status": refusal.status, "headers": [
        (b"content-type", b"application/json"), (b"content-length", str(len(body)).encode()),
        (b"connection", b"close"),
    ]})
    await send({"type": "http.response.body", "body": body})
