"""Hostile input: refused, nothing written, and those who behave do not notice."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.specs.openapi.checks import (
    response_schema_conformance,
    status_code_conformance,
)
from tests.registry.rig import Backend, Registry
from tests.servers.patience import PATIENCE, eventually

from slackwater import clock
from slackwater.outside.registry import signing
from slackwater.outside.registry.client import Access, Client, Refusal
from slackwater.service.registry import door, gate

PATH = "/v1/pools/web/members/w1"


@dataclass
class Scene:
    """A registry without balancers; keys: w1 (member), ops (admin), far (other network)."""

    registry: Registry
    backend: Backend
    keys: dict[str, Access]
    # Each test comes from another address: the door counts refusals by address.
    address: str = "127.0.1.1"

    @property
    def body(self) -> bytes:
        return json.dumps({"port": self.backend.port}).encode()

    def members(self) -> dict[str, dict[str, Any]]:
        report = self.ask("GET", "/v1/pools/web", key="ops")[1]
        return {m["id"]: m for m in report["members"]}

    def ask(self, method: str, path: str, body: bytes = b"", *, key: str = "w1",
            **changes: str) -> tuple[int, dict[str, Any]]:
        """One signed request, with headers changed behind the signature."""
        access = self.keys[key]
        heads = signing.headers(key, access.secret, method, path, body, at=clock.unix())
        return self.raw(method, path, body, {**heads, **changes})

    def raw(self, method: str, path: str, body: bytes, heads: dict[str, str]
            ) -> tuple[int, dict[str, Any]]:
        link = http.client.HTTPConnection("127.0.0.1", self.registry.port, timeout=30 * PATIENCE,
                                          source_address=(self.address, 0))
        try:
            link.request(method, path, body, {"content-type": "application/json", **heads})
            answer = link.getresponse()
            return answer.status, json.loads(answer.read() or b"{}")
        finally:
            link.close()


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    registry = Registry(tmp_path_factory.mktemp("g") / "r", "[pools.web]\n[pools.other]\n")
    keys = {
        "w1": registry.key("w1", pools=("web",), max_weight=50),
        "ops": registry.key("ops", role="admin"),
        "far": registry.key("far", networks=("10.0.0.0/24",), any_member=True),
    }
    backend = Backend("w1")
    try:
        backend.start()
        registry.start()
        yield Scene(registry, backend, keys)
    finally:
        registry.stop()
        backend.stop()


ADDRESSES = (f"127.0.{i}.{j}" for i in range(1, 9) for j in range(1, 250))


@pytest.fixture(autouse=True)
def another_address(scene: Scene) -> None:
    scene.address = next(ADDRESSES)


def test_a_signed_request_is_taken_and_a_repetition_is_not(scene: Scene) -> None:
    heads = signing.headers("w1", scene.keys["w1"].secret, "PUT", PATH, scene.body,
                            at=clock.unix())
    assert scene.raw("PUT", PATH, scene.body, heads)[0] == 200
    status, said = scene.raw("PUT", PATH, scene.body, heads)
    assert status == 401 and "before" in said["detail"]


@pytest.mark.parametrize("changes", [
    {"x-sw-signature": "0" * 64}, {"x-sw-signature": "é"}, {"x-sw-key": "ops"},
    {"x-sw-key": "nobody"}, {"x-sw-nonce": "a" * 16}, {"x-sw-nonce": "short"},
    {"x-sw-time": "1"}, {"x-sw-time": "9" * 12}, {"x-sw-time": "-5"}, {"x-sw-key": ""},
])  # fmt: skip
def test_forged_and_malformed(scene: Scene, changes: dict[str, str]) -> None:
    changes = {k: v.encode().decode("latin-1") for k, v in changes.items()}
    before = scene.members()
    assert scene.ask("PUT", PATH, b'{"port": 1}', **changes)[0] == 401
    assert scene.members().keys() == before.keys()


def test_another_body_or_path_than_was_signed(scene: Scene) -> None:
    heads = signing.headers("w1", scene.keys["w1"].secret, "PUT", PATH, b'{"port": 1}',
                            at=clock.unix())
    assert scene.raw("PUT", PATH, b'{"port": 2}', heads)[0] == 401
    assert scene.raw("DELETE", PATH, b'{"port": 1}', heads)[0] == 401
    assert scene.raw("PUT", PATH + "?wait=applied", b'{"port": 1}', heads)[0] == 401


@pytest.mark.parametrize("off_s", [-gate.SKEW_S - 5, gate.SKEW_S + 5])
def test_signed_at_another_time(scene: Scene, off_s: int) -> None:
    heads = signing.headers("w1", scene.keys["w1"].secret, "PUT", PATH, scene.body,
                            at=clock.unix() + off_s)
    status, said = scene.raw("PUT", PATH, scene.body, heads)
    assert status == 401 and abs(said["time"] - clock.unix()) < 60


def test_what_was_signed_before_a_restart_is_not_taken_after_it(scene: Scene) -> None:
    """Nonces are forgotten with the process."""
    heads = signing.headers("w1", scene.keys["w1"].secret, "PUT", PATH, scene.body,
                            at=clock.unix() - 20)
    status, said = scene.raw("PUT", PATH, scene.body, heads)
    # The registry of this test may be older than 20 s: then it is taken, once.
    assert (status, "started" in said.get("detail", "")) in [(401, True), (200, False)]


@pytest.mark.parametrize(("path", "body", "status"), [
    ("/v1/pools/other/members/w1", {}, 403),
    ("/v1/pools/web/members/w2", {}, 403),
    (PATH, {"weight": 51}, 403),
    (PATH, {"address": "10.0.0.7"}, 403),
    (PATH, {"address": "evil\nserver x 1.2.3.4"}, 422),
    (PATH, {"address": "169.254.169.254"}, 422),
    (PATH, {"colour": "b;lue"}, 422), (PATH, {"weight": 0}, 422), (PATH, {"port": "80"}, 422),
    (PATH, {"more": 1}, 422), (PATH, {"lease": 1}, 422), (PATH, {"lease": -1}, 422),
    (PATH, {"boot": 2**60}, 422), (PATH, {"state": "gone"}, 422),
    ("/v1/pools/we%0ab/members/w1", {}, 422), ("/v1/pools/web/members/w1%20x", {}, 422),
    ("/v1/pools/web/shares", {"shares": {}, "revision": 1}, 403),
])  # fmt: skip
def test_what_a_members_key_is_not_for(
    scene: Scene, path: str, body: dict[str, object], status: int
) -> None:
    text = json.dumps(body if "shares" in body else {"port": scene.backend.port, **body}).encode()
    assert scene.ask("PUT", path, text)[0] == status


def test_a_key_is_good_in_its_networks_only(scene: Scene) -> None:
    status, said = scene.ask("PUT", "/v1/pools/web/members/x", scene.body, key="far")
    assert status == 403 and scene.address in said["detail"]


def test_an_older_word_of_a_member_is_refused(scene: Scene) -> None:
    def say(seq: int, state: str) -> int:
        body = {"port": scene.backend.port, "boot": 7, "seq": seq, "state": state}
        return scene.ask("PUT", PATH, json.dumps(body).encode())[0]

    assert [say(5, "up"), say(6, "drain"), say(5, "up")] == [200, 200, 409]
    assert scene.members()["w1"]["state"] in ("draining", "checking")


def test_two_members_cannot_have_one_address(scene: Scene) -> None:
    scene.ask("PUT", PATH, scene.body)
    status, said = scene.ask("PUT", "/v1/pools/web/members/w9", scene.body, key="ops")
    assert status == 409 and "w1" in said["detail"]


def test_too_large(scene: Scene) -> None:
    assert scene.ask("PUT", PATH, b" " * (gate.MAX_BODY + 1))[0] == 413
    assert scene.raw("GET", "/v1/pools", b"", {"x-long": "a" * 60_000})[0] in (400, 431)


def test_headers_that_are_there_twice(scene: Scene) -> None:
    heads = signing.headers("w1", scene.keys["w1"].secret, "GET", "/v1/pools", b"", at=clock.unix())
    lines = [f"{k}: {v}" for k, v in heads.items()] + ["x-sw-key: ops"]
    with socket.create_connection(("127.0.0.1", scene.registry.port), timeout=30) as link:
        link.sendall(("GET /v1/pools HTTP/1.1\r\nHost: x\r\n" + "\r\n".join(lines) + "\r\n\r\n"
                      ).encode())
        assert b" 401 " in link.recv(4096).splitlines()[0]


def test_slow_clients_are_let_go(scene: Scene) -> None:
    """One that never ends its head, one that never ends its body."""
    half_heads = b"PUT /v1 HTTP/1.1\r\nHost: x\r\n"
    half_body = half_heads + b"Content-Length: 100\r\n\r\n{"
    links = [socket.create_connection(("127.0.0.1", scene.registry.port)) for _ in range(2)]
    try:
        for link, text in zip(links, (half_heads, half_body), strict=True):
            link.settimeout((door.REQUEST_LIMIT_S + 10) * PATIENCE)
            link.sendall(text)
        assert links[0].recv(100) == b""
        assert b" 408 " in links[1].recv(4096)
    except ConnectionResetError:
        pass
    finally:
        for link in links:
            link.close()


def test_garbage_from_one_address_does_not_hinder_another(scene: Scene) -> None:
    """Garbage comes from 127.0.0.2 for two seconds; renewals from 127.0.0.1 go on."""
    stop, sent = threading.Event(), 0

    def garbage() -> None:
        nonlocal sent
        while not stop.is_set():
            with contextlib.suppress(OSError), socket.create_connection(
                ("127.0.0.1", scene.registry.port), timeout=5, source_address=("127.0.0.2", 0),
            ) as link:
                link.sendall(b"PUT /v1/pools/web/members/w1 HTTP/1.1\r\nHost: x\r\n"
                             b"Content-Length: 0\r\n\r\n")
                link.recv(100)
            sent += 1

    threads = [threading.Thread(target=garbage) for _ in range(4)]
    for each in threads:
        each.start()
    try:
        eventually(lambda: sent > 200, "garbage comes")
        for _ in range(20):
            assert scene.ask("PUT", PATH, scene.body)[0] in (200, 409)
    finally:
        stop.set()
        for each in threads:
            each.join()
    file = (scene.registry.state / "members.json").read_text()
    assert '"id":"w1"' in file


def test_a_key_that_is_dropped_or_made_new_counts_at_once(scene: Scene) -> None:
    late = scene.registry.key("late", any_member=True)
    scene.keys["late"] = late
    assert scene.ask("GET", "/v1/pools", key="late")[0] in (200, 401)  # looked for at most 20/s
    eventually(lambda: scene.ask("GET", "/v1/health", key="late")[0] == 200, "it is up")
    clock_now = clock.mono()
    eventually(lambda: clock.mono() > clock_now + 0.1, "the keys may be looked at again")
    assert scene.ask("GET", "/v1/pools", key="late")[0] == 200


def test_the_clients_clock_may_be_wrong(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """An hour off: the client takes the registry's time over and signs anew."""
    now = clock.unix

    async def ask() -> dict[str, Any]:
        client = Client(scene.keys["ops"])
        try:
            return await client.ask("GET", "/v1/pools")
        finally:
            await client.close()

    monkeypatch.setattr(clock, "unix", lambda: now() + 3600)
    assert asyncio.run(ask())["pools"]


def test_a_wrong_key_is_not_tried_again(scene: Scene) -> None:
    async def ask() -> None:
        client = Client(Access(scene.registry.url, "w1", "wrong"))
        try:
            await client.ask("GET", "/v1/pools")
        finally:
            await client.close()

    with pytest.raises(Refusal, match="signature"):
        asyncio.run(ask())


def test_the_description_holds(scene: Scene) -> None:
    """schemathesis: whatever is sent, no server error, and no answer that is not described."""
    schema = schemathesis.openapi.from_url(f"{scene.registry.url}/openapi.json")
    operations = [result.ok() for result in schema.get_all_operations()]
    assert len(operations) == 6
    with requests.Session() as session:
        session.trust_env = False
        for operation in operations:

            @settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
            @given(case=operation.as_strategy())
            def each(case: schemathesis.Case) -> None:
                case.validate_response(_send(scene, session, case), checks=[
                    schemathesis.checks.not_a_server_error, status_code_conformance,
                    response_schema_conformance])

            each()


def _send(scene: Scene, session: requests.Session, case: schemathesis.Case) -> requests.Response:
    """What schemathesis made, signed with the operators' key, without its own waiting."""
    given_ = case.as_transport_kwargs(base_url=scene.registry.url)
    kept = {k: given_[k] for k in ("method", "url", "params", "data", "json", "headers")
            if k in given_}
    if isinstance(kept.get("params"), dict) and "timeout" in kept["params"]:
        kept["params"] = {**kept["params"], "timeout": 0}
    made = session.prepare_request(requests.Request(**kept))
    body = made.body or b""
    body = body.encode() if isinstance(body, str) else body
    heads = signing.headers("ops", scene.keys["ops"].secret, str(made.method), made.path_url, body,
                            at=clock.unix())
    made.headers.update(heads)
    return session.send(made, timeout=30 * PATIENCE)
