"""etcd's own JSON gateway (v3): one request each. No client library of etcd is kept well."""

from __future__ import annotations

import base64
import json
import ssl
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Any

import httpx

from slackwater.errors import OutsideError

PAGE = 1000
MOST_PARTS = 100  # etcd takes 128 operations in one transaction, those within parts included
TRY_LIMIT_S = 1.5  # of one member of the cluster, before the next one is asked


@dataclass(frozen=True)
class KeyValue:
    """One key as it is now. `changed`: the revision of its last change. `there`: not deleted."""

    key: str
    value: str
    changed: int
    there: bool = True


@dataclass(frozen=True)
class Part:
    """One change among others: `success` if everything compares, else `failure`."""

    compare: Sequence[dict[str, Any]] = ()
    success: Sequence[dict[str, Any]] = ()
    failure: Sequence[dict[str, Any]] = ()


@dataclass(frozen=True)
class Done:
    """What became of a part. `found`: what its `look`s saw."""

    succeeded: bool
    revision: int
    found: tuple[KeyValue, ...] = ()


class Etcd:
    """A cluster by its client addresses; any that answers will do.

    All requests that go through here may be sent twice: each says what shall be, or compares
    first. Raises OutsideError.
    """

    def __init__(self, endpoints: Sequence[str], *, user: str = "", password: str = "",
                 ca: str = "") -> None:
        self.where = f"etcd {', '.join(endpoints)}"
        self._endpoints = [e.rstrip("/") for e in endpoints]
        self._user, self._password, self._token = user, password, ""
        tls: ssl.SSLContext | bool = any(e.startswith("https:") for e in endpoints)
        if tls and ca:
            tls = ssl.create_default_context(cafile=ca)
        self._http = httpx.AsyncClient(
            timeout=TRY_LIMIT_S, verify=tls, trust_env=False,
            limits=httpx.Limits(max_connections=20, max_keepalive_connections=10))

    async def range(self, key: str, *, prefix: bool = False, limit: int = 0
                    ) -> tuple[int, list[KeyValue]]:
        """The store's revision, and the key, or all keys that begin with it, as of then.

        In pages, so that none takes long, however many there are.
        """
        said: dict[str, Any] = {"key": _code(key)}
        if prefix:
            said |= {"range_end": _code(_end(key)), "limit": limit or PAGE}
        pairs: list[KeyValue] = []
        revision = 0
        while True:
            found = await self._ask("kv/range", said)
            revision = revision or int(found["header"]["revision"])
            pairs += [_pair(kv) for kv in found.get("kvs", [])]
            if limit or not found.get("more") or not pairs:
                return revision, pairs
            said |= {"key": _code(pairs[-1].key + "\0"), "revision": str(revision)}

    async def parts(self, parts: Sequence[Part]) -> list[Done]:
        """Several changes in one request, each by itself; no key twice. At most MOST_PARTS."""
        said = {"compare": [], "success": [{"request_txn": {
            "compare": list(p.compare), "success": list(p.success), "failure": list(p.failure),
        }} for p in parts]}
        answer = await self._ask("kv/txn", said)
        revision = int(answer["header"]["revision"])
        done = []
        for each in answer.get("responses", []):
            inner = each["response_txn"]
            found = [_pair(kv) for r in inner.get("responses", [])
                     for kv in r.get("response_range", {}).get("kvs", [])]
            done.append(Done(bool(inner.get("succeeded", False)), revision, tuple(found)))
        return done

    async def grant(self, ttl_s: int) -> int:
        """A new lease."""
        found = await self._ask("lease/grant", {"TTL": ttl_s, "ID": 0})
        return int(found["ID"])

    async def keep_alive(self, lease: int) -> bool:
        """Renew a lease; False when there is none any more."""
        found = await self._ask("lease/keepalive", {"ID": str(lease)})
        return int(found.get("result", {}).get("TTL", 0)) > 0

    async def watch(self, prefix: str, after: int) -> AsyncGenerator[list[KeyValue] | None]:
        """The changes of keys that begin with prefix after that revision, as they come, for ever.

        None: some are not known any more (compacted); then it ends.
        """
        said = {"create_request": {"key": _code(prefix), "range_end": _code(_end(prefix)),
                                   "start_revision": str(after + 1)}}
        try:
            async with self._http.stream(
                "POST", f"{self._endpoints[0]}/v3/watch", json=said, headers=self._heads(),
                timeout=httpx.Timeout(TRY_LIMIT_S, read=None),
            ) as answer:
                async for line in answer.aiter_lines():
                    result = json.loads(line).get("result", {}) if line.strip() else {}
                    if result.get("canceled"):
                        break
                    if events := result.get("events"):
                        yield [_pair(e["kv"], there=e.get("type") != "DELETE") for e in events]
        except (httpx.HTTPError, ValueError) as error:
            self._next()
            raise OutsideError(self.where, f"cannot watch: {error!r}", sent=False) from error
        yield None

    async def close(self) -> None:
        """Close all connections."""
        await self._http.aclose()

    async def _ask(self, what: str, said: dict[str, Any]) -> dict[str, Any]:
        troubles = []
        for _ in self._endpoints:
            at = self._endpoints[0]
            try:
                return await self._ask_one(at, what, said)
            except (httpx.HTTPError, ValueError, KeyError) as error:
                troubles.append(f"{at}: {str(error) or type(error).__name__}")
                self._next()
        raise OutsideError(self.where, "; ".join(troubles), sent=True)

    async def _ask_one(self, at: str, what: str, said: dict[str, Any]) -> dict[str, Any]:
        if self._user and not self._token:
            await self._log_in(at)
        answer = await self._http.post(f"{at}/v3/{what}", json=said, headers=self._heads())
        found: dict[str, Any] = answer.json()
        if answer.status_code == 401:
            self._token = ""
        if answer.status_code != 200 or "error" in found:
            why = found.get("error", answer.status_code)
            raise ValueError(why.get("message", why) if isinstance(why, dict) else str(why))
        return found

    async def _log_in(self, at: str) -> None:
        said = {"name": self._user, "password": self._password}
        answer = await self._http.post(f"{at}/v3/auth/authenticate", json=said)
        token = answer.json().get("token", "")
        if not token:
            raise ValueError(f"it does not let {self._user} in")
        self._token = token

    def _heads(self) -> dict[str, str]:
        return {"Authorization": self._token} if self._token else {}

    def _next(self) -> None:
        self._endpoints.append(self._endpoints.pop(0))


def put(key: str, value: str, lease: int = 0) -> dict[str, Any]:
    """For a part: set a key."""
    said = {"key": _code(key), "value": _code(value)}
    return {"request_put": said | ({"lease": str(lease)} if lease else {})}


def delete(key: str) -> dict[str, Any]:
    """For a part: remove a key."""
    return {"request_delete_range": {"key": _code(key)}}


def look(key: str) -> dict[str, Any]:
    """For a part: see a key."""
    return {"request_range": {"key": _code(key)}}


def either(part: Part) -> dict[str, Any]:
    """For a part: another within it."""
    return {"request_txn": {"compare": list(part.compare), "success": list(part.success),
                            "failure": list(part.failure)}}


def there(key: str) -> dict[str, Any]:
    """For a part: somebody has made it."""
    return {"key": _code(key), "target": "MOD", "result": "GREATER", "mod_revision": "0"}


def bound(key: str, lease: int) -> dict[str, Any]:
    """For a part: it is there, and ends with that lease."""
    return {"key": _code(key), "target": "LEASE", "result": "EQUAL", "lease": str(lease)}


def unchanged(key: str, revision: int) -> dict[str, Any]:
    """For a part: nobody has changed it since; revision 0: it is not there."""
    return {"key": _code(key), "target": "MOD", "result": "EQUAL", "mod_revision": str(revision)}


def _pair(kv: dict[str, Any], *, there: bool = True) -> KeyValue:
    return KeyValue(_plain(kv["key"]), _plain(kv.get("value", "")), int(kv["mod_revision"]), there)


def _code(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def _plain(text: str) -> str:
    return base64.b64decode(text).decode(errors="replace")


def _end(prefix: str) -> str:
    return prefix[:-1] + chr(ord(prefix[-1]) + 1)
