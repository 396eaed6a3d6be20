"""A copy by files: a program that hangs is not waited for, and nothing is left of one cut off."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from tests.servers.patience import eventually

from slackwater.errors import OutsideError, StepFailed
from slackwater.facts.server import ServerAddress
from slackwater.operations.setup import copy_backup
from slackwater.operations.setup.copy_backup import StreamBackup
from slackwater.outside import stream
from slackwater.outside.host import Host
from slackwater.outside.mysql import physical_copy
from slackwater.outside.mysql.logical_copy import Progress
from slackwater.outside.mysql.physical_copy import Place


def test_prepare_that_hangs_is_ended(tmp_path: Path) -> None:
    program = tmp_path / "mariadb-backup"
    program.write_text(f"#!/bin/sh\necho $$ >{tmp_path}/pid\necho began >&2\nexec sleep 60\n")
    program.chmod(0o755)

    async def run() -> None:
        async with asyncio.timeout(20):
            await physical_copy.prepare(
                Host(), Place(program=str(program)), str(tmp_path), limit_s=1.0)

    with pytest.raises(StepFailed, match="did not end within 1 s: began"):
        asyncio.run(run())
    pid = (tmp_path / "pid").read_text().strip()
    eventually(lambda: not Path(f"/proc/{pid}").exists(), "the end of the program")


class Watch:
    """Nobody looks."""

    def __init__(self) -> None:
        self.pace, self.figures, self.progress = None, dict[str, Any](), Progress(0, 0)

    def show(self) -> None:
        pass


@pytest.mark.parametrize(("out", "into", "who"), [
    ("exec >&-; exec sleep 60", "cat >/dev/null", "mariadb-backup on a's host"),
    ("echo data", "cat >/dev/null; exec sleep 60", "mbstream on b's host"),
    ("exec sleep 60", "cat >/dev/null", "mariadb-backup on a's host"),
])
def test_the_end_of_a_stream_that_does_not_come(
    out: str, into: str, who: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def backup(*_: object, **__: object) -> stream.Stream:
        return await stream.begin(Host(), ["sh", "-c", out])

    monkeypatch.setattr(physical_copy, "backup", backup)
    with pytest.raises(StepFailed, match=f"{who} did nothing for 0.5 s"):
        _stream(into, Place(), monkeypatch, STALL_S=0.5)


@pytest.mark.parametrize(("says", "helps"), [
    ("Was only able to copy log from 1 to 2, not 3; try increasing innodb_log_file_size", "faster"),
    ("Waiting for log copy thread to read lsn 3", "less to do"),
])
def test_ended_by_its_guard_while_it_waits_for_the_redo_log_the_way_on_is_named(
    says: str, helps: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "mariadb-backup"
    program.write_text("#!/bin/sh\necho 'Executing BACKUP STAGE BLOCK_COMMIT' >&2\n"
                       f"echo '{says}' >&2\nexec sleep 60\n")
    program.chmod(0o755)
    with pytest.raises(StepFailed, match=r"it blocked commits for 0.2 s") as failed:
        _stream("cat >/dev/null", Place(program=str(program)), monkeypatch, HOLD_S=0.2)
    hint = failed.value.hint or ""
    assert helps in hint and "the same command again" in hint and "--method dump" in hint


def _stream(into: str, place: Place, monkeypatch: pytest.MonkeyPatch, **limits: float) -> None:
    """The step's stream into a program of ours; `limits` are those of the module."""

    async def placed(*_: object, **__: object) -> Place:
        return place

    async def login(*_: object) -> ServerAddress:
        return ServerAddress("a", user="u")

    async def size(*_: object) -> int:
        return 1

    async def unpack(*_: object, **__: object) -> stream.Stream:
        return await stream.begin(Host(), ["sh", "-c", into])

    for name, value in ({"place": placed, "login": login, "_size": size} | limits).items():
        monkeypatch.setattr(copy_backup, name, value)
    monkeypatch.setattr(physical_copy, "unpack", unpack)
    monkeypatch.setattr(stream, "END_S", 0.1)
    world: Any = type("World", (), {"hosts": {"a": Host(), "b": Host()}})
    watch: Any = Watch()

    async def run() -> None:
        try:
            async with asyncio.timeout(20):
                await copy_backup._stream(world, StreamBackup("a", "b"), "/nowhere", watch)
        finally:
            await asyncio.sleep(0.2)  # the loop hears of the programs' ends

    asyncio.run(run())


class Server:
    """Has databases; a session that is `cut` ends right after it has made one."""

    def __init__(self) -> None:
        self.databases, self.broken, self.cut = set[str](), None, True

    async def run(self, sql: str, *_: object, **__: object) -> None:
        words = sql.split()
        if words[:2] == ["CREATE", "DATABASE"]:
            self.databases.add(words[2])
            if self.cut:
                self.broken = "cut off"
                raise OutsideError("a", "connection lost", sent=True)
        elif words[:2] == ["DROP", "DATABASE"]:
            self.databases.discard(words[-1])


@pytest.mark.parametrize("cut", ["a", "b", ""])
def test_the_database_of_a_moment_does_not_stay(cut: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Made to see that files are a server's own. Cut off there, the undo takes it away, also that
    of `recover`, which knows what was noted."""
    servers = {"a": Server(), "b": Server()}

    class World:
        hosts = dict.fromkeys(servers)

        def __init__(self, notes: dict[str, Any]) -> None:
            self.notes = notes

        def note(self, key: str, value: Any) -> None:
            self.notes[key] = value

        async def session(self, name: str) -> Server:
            return servers[name]

    async def place(*_: object) -> Place:
        return Place(real="/data")

    async def none(*_: object, **__: object) -> bool:
        return True

    monkeypatch.setattr(copy_backup, "place", place)
    monkeypatch.setattr(physical_copy, "exists", none)
    monkeypatch.setattr(physical_copy, "remove", none)
    step, world = StreamBackup("a", "b"), World({})
    for name, server in servers.items():
        server.cut = name == cut

    async def begin() -> None:
        for name in servers:
            await copy_backup._is_its_own(world, name)  # type: ignore[arg-type]

    if cut:
        with pytest.raises(OutsideError):
            asyncio.run(begin())
        assert servers[cut].databases
    else:
        asyncio.run(begin())
        assert not any(s.databases for s in servers.values())
    for server in servers.values():
        server.broken = None
    asyncio.run(step.undo(World(dict(world.notes))))  # type: ignore[arg-type]
    assert not any(s.databases for s in servers.values())
