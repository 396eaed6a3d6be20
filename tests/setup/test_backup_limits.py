"""A program of a copy by files that hangs is not waited for, and what was begun is undone."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest
from tests.servers.patience import eventually

from slackwater.errors import StepFailed
from slackwater.operations.setup import copy_backup
from slackwater.operations.setup.copy_backup import StreamBackup
from slackwater.outside import stream
from slackwater.outside.host import Host
from slackwater.outside.mysql import physical_copy
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
    eventually(lambda: not os.path.exists(f"/proc/{pid}"), "the end of the program")


class Watch:
    """Nobody looks."""

    class progress:
        bytes = 0

        @staticmethod
        async def moved(_bytes: int, _rows: int) -> None:
            pass

    def __init__(self) -> None:
        self.pace, self.figures = None, dict[str, Any]()

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
    async def begin(script: str) -> stream.Stream:
        return await stream.begin(Host(), ["sh", "-c", script])

    async def none(*_: object, **__: object) -> Any:
        return Place()

    async def size(*_: object) -> int:
        return 1

    async def backup(*_: object, **__: object) -> stream.Stream:
        return await begin(out)

    async def unpack(*_: object, **__: object) -> stream.Stream:
        return await begin(into)

    for name, value in (("place", none), ("login", none), ("_size", size), ("STALL_S", 0.5)):
        monkeypatch.setattr(copy_backup, name, value)
    monkeypatch.setattr(physical_copy, "backup", backup)
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

    with pytest.raises(StepFailed, match=f"{who} did nothing for 0.5 s"):
        asyncio.run(run())
