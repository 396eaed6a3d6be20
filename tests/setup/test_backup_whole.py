"""A copy of files that lacks transactions is not taken for whole."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest
from tests.setup.behind import all_of, in_world
from tests.setup.scene import Scene, scene
from tests.setup.stories import can_backup, left_nothing, many, named

from slackwater.errors import StepFailed
from slackwater.facts.server import ServerAddress
from slackwater.operations.setup.copy_backup import StreamBackup
from slackwater.operations.setup.look import SetupWorld
from slackwater.outside.host import Host
from slackwater.outside.mysql import binlog_events, physical_copy
from slackwater.outside.mysql.session import Session

pytestmark = pytest.mark.servers

TABLES = ("CREATE DATABASE shop", "CREATE TABLE shop.t (n INT PRIMARY KEY)",
          "CREATE TABLE shop.m (n INT) ENGINE = MyISAM", "CREATE SEQUENCE shop.s CACHE 1",
          "INSERT INTO shop.t VALUES (1)")  # fmt: skip


def _at(made: Scene) -> tuple[str, int]:
    row = made.sql("a", "SHOW MASTER STATUS")[0]
    return str(row["File"]), int(row["Position"])


def _counted(made: Scene, after: tuple[str, int], upto: tuple[str, int]) -> int | None:
    async def count() -> int | None:
        at = ServerAddress("a", "root", socket=str(made.servers["a"].socket))
        async with await Session.open(at) as session:
            return await binlog_events.engine_commits(session, after, upto)

    return asyncio.run(count())


@pytest.mark.parametrize(("statements", "want"), [
    ((), 0),
    (("INSERT INTO shop.t VALUES (2)", "DELETE FROM shop.t"), 2),
    (("INSERT INTO shop.t VALUES (2)", "FLUSH LOGS", "FLUSH LOGS", "DELETE FROM shop.t"), 2),
    (("SELECT NEXTVAL(shop.s)", "INSERT INTO shop.m VALUES (1)", "FLUSH LOGS",
      "CREATE TABLE shop.v AS SELECT * FROM shop.t", "TRUNCATE shop.t"), 0),
    (("BEGIN", "INSERT INTO shop.m VALUES (1)", "INSERT INTO shop.t VALUES (2)", "ROLLBACK",
      "BEGIN", "INSERT INTO shop.t VALUES (3)", "INSERT INTO shop.t VALUES (4)", "COMMIT"), 1),
])
def test_what_innodb_has_committed_is_counted(
    statements: Sequence[str], want: int, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(binlog_events, "PAGE", 3)
    with scene(named("mariadb-10.11"), place, 1) as made:
        all_of(made, "a", *TABLES)
        before = _at(made)
        all_of(made, "a", *statements)
        after = _at(made)
        all_of(made, "a", "INSERT INTO shop.t VALUES (9)")
        assert _counted(made, before, after) == want
        assert _counted(made, (f"./{before[0]}", before[1]), after) == want
        assert _counted(made, (before[0], before[1] + 1), _at(made)) is None  # not an event's
        assert _counted(made, _at(made), before) is None
        assert _counted(made, ("other.000001", 4), after) is None


def test_a_copy_that_lacks_transactions_is_told_and_taken_away(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with scene(named("mariadb-10.11"), place) as made:
        can_backup(made)
        many(made)
        before = _at(made)
        made.sql("a", "INSERT INTO shop.many (v) VALUES ('the last')")

        async def ends_early(_host: Host, _copy: str) -> tuple[str, int]:
            return before

        async def copy(world: SetupWorld) -> None:
            step = StreamBackup("a", "b")
            await step.do(world)  # what mariadb-backup itself says ends where the copy is of
            await step.undo(world)
            monkeypatch.setattr(physical_copy, "innodb_position", ends_early)
            with pytest.raises(StepFailed, match=r"lacks 1 transaction"):
                await step.do(world)
            await step.undo(world)

        in_world(made, copy)
        left_nothing(made)
