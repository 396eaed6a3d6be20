"""Files and programs of a host: the same contract on this machine and over a real SSH."""

from __future__ import annotations

import asyncio
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from real_sshd import Sshd, sshd

from slackwater.errors import OutsideError
from slackwater.facts.destination import Destination
from slackwater.outside.host import Host

pytestmark = pytest.mark.servers


@pytest.fixture(params=["here", "over ssh"])
def where(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[str | None]:
    if request.param == "here":
        yield None
        return
    with sshd(tmp_path, monkeypatch) as server:
        yield server.destination


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sshd]:
    with sshd(tmp_path, monkeypatch) as it:
        yield it


def on(where: str | None, test):
    async def run():
        host = Host(where)
        try:
            await test(host)
        finally:
            await host.close()

    asyncio.run(run())


def test_a_file_is_replaced_whole_and_keeps_its_mode(where, tmp_path):
    path = tmp_path / "it's a $(file).cfg"
    path.write_text("before\n")
    path.chmod(0o640)
    text = "after\n'quotes' $HOME \\ ünï\n" * 2000

    async def test(host):
        await host.replace(path, text)
        assert await host.read(path) == path.read_text() == text
        assert stat.S_IMODE(path.stat().st_mode) == 0o640
        assert await host.exists(path)
        assert not list(path.parent.glob("*.new")), "nothing is left beside it"
        await host.remove(path)
        assert not await host.exists(path)
        await host.remove(path)  # twice is no error

    on(where, test)


def test_what_cannot_be_done_says_where_and_why(where, tmp_path):
    async def test(host):
        with pytest.raises(OutsideError, match=r"none\.cfg.*No such file") as caught:
            await host.read(tmp_path / "none.cfg")
        assert caught.value.sent is False
        with pytest.raises(OutsideError, match="cannot write"):
            await host.replace(tmp_path / "nowhere" / "x.cfg", "x")
        assert await host.may_write(tmp_path)
        assert not await host.may_write(tmp_path / "nowhere")
        assert await host.has("sh")
        assert not await host.has("no-such-program")

    on(where, test)


def test_a_program_gets_its_input_and_a_time_limit(where):
    async def test(host):
        assert await host.run(["sh", "-c", "cat; exit 3"], "said\n") == (3, "said\n")
        with pytest.raises(OutsideError, match=r"within 0\.2 s"):
            await host.run(["sleep", "30"], limit_s=0.2)
        assert (await host.run(["true"]))[0] == 0  # the host can be used again

    on(where, test)


def test_a_host_that_is_not_known_is_refused(server):
    (server.home / ".ssh/known_hosts").write_text("")

    async def test(host):
        with pytest.raises(OutsideError, match="known_hosts") as caught:
            await host.run(["true"])
        assert caught.value.sent is False
        assert "ssh -o BatchMode=yes" in caught.value.hint

    on(server.destination, test)


def test_a_key_that_is_not_accepted_is_said(server):
    (server.home / ".ssh/id_ed25519").unlink()

    async def test(host):
        with pytest.raises(OutsideError, match="cannot log in"):
            await host.run(["true"])

    on(server.destination, test)


def test_nobody_there_is_said_without_waiting(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))

    async def test(host):
        with pytest.raises(OutsideError, match=r"(?i)ssh 127\.0\.0\.1:1: .*"):
            await host.run(["true"])

    on("127.0.0.1:1", test)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("lb1", Destination("lb1")),
        ("root@lb1.example.com", Destination("lb1.example.com", "root")),
        ("ops@10.0.0.5:2222", Destination("10.0.0.5", "ops", 2222)),
        ("[2001:db8::5]:22", Destination("2001:db8::5", "", 22)),
    ],
)
def test_destinations(text, found):
    assert Destination.parse(text) == found


@pytest.mark.parametrize(
    "text", ["", "a b", "-oProxyCommand=x", "u@", "h:", "u@h:x", "a@b@c", "h;x"]
)
def test_what_is_no_destination(text):
    with pytest.raises(ValueError, match="USER"):
        Destination.parse(text)
