"""One operation at a time works on a pair; what a dead one has left is known and ended."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pymysql
import pytest
from tests.servers.command import slackwater
from tests.sweep.pair import python

from slackwater import config
from slackwater.errors import Refused
from slackwater.lab.facts import LabFacts
from slackwater.operations.pair_lock import LOCK, mark_name
from slackwater.operations.pair_world import PairWorld
from slackwater.operations.reopen import reopen_old
from slackwater.operations.switchover.switchover import PromoteNew
from slackwater.outside.mysql import server as mysql_server

pytestmark = [pytest.mark.servers, pytest.mark.one_flavour]


@contextlib.contextmanager
def locked(lab: LabFacts, server: str, *names: str) -> Iterator[Any]:
    """A session of slackwater's account that has these locks, as a lost process leaves it."""
    password = (Path(lab.config).parent / "slackwater.password").read_text().strip()
    session = pymysql.connect(
        unix_socket=str(lab.servers[server]["socket"]), user="slackwater", password=password
    )
    try:
        with session.cursor() as cursor:
            for name in names:
                cursor.execute("SELECT GET_LOCK(%s, 0)", (name,))
                assert cursor.fetchone() == (1,)
        yield session
    finally:
        session.close()


def test_a_second_operation_is_refused(lab: LabFacts) -> None:
    with locked(lab, "b", LOCK):
        said = slackwater(lab, "switchover")
    assert (said.report["outcome"], said.code) == ("refused", 1)
    assert said.report["reasons"] == [
        "another slackwater works on this pair (its lock is on b)"
    ]
    assert slackwater(lab, "status").report["active"] == "a"


def test_a_file_with_another_name_for_the_pair_is_kept_away(lab: LabFacts, tmp_path: Path) -> None:
    other, said = tmp_path / "other.toml", tmp_path / "said"
    other.write_text(lab.config.read_text().replace("[pairs.lab]", "[pairs.shop]").replace(
        str(Path(lab.config).parent / "state"), str(tmp_path)))
    check = f"env -u SLACKWATER_INJECT {shlex.join(python('slackwater', 'check', '--json'))}"
    report = slackwater(
        lab, "switchover", inject=f"run:HoldClients:{check} --config {other} > {said} || true",
    ).report
    assert report["outcome"] == "done", report
    assert ("another slackwater works on this pair (its lock is on a and b)"
            in json.loads(said.read_text())["refusals"])


def test_clients_are_not_held_by_who_has_lost_the_lock(lab: LabFacts, tmp_path: Path) -> None:
    """As after a sleep of our machine that was longer than our sessions live."""
    ids = "SELECT ID AS i FROM information_schema.PROCESSLIST WHERE USER = 'slackwater'"
    killer = tmp_path / "kill.py"
    killer.write_text(f"""
from tests.servers.fixtures import sql
for row in sql({str(lab.servers["b"]["socket"])!r}, {ids!r}):
    sql({str(lab.servers["b"]["socket"])!r}, f"KILL {{row['i']}}")
""")
    report = slackwater(
        lab, "switchover", inject=f"run:HoldClients:{sys.executable} {killer}").report
    assert report["outcome"] == "undone", report
    assert report["reasons"][0].startswith("HoldClients: server b"), report
    assert slackwater(lab, "status").report["active"] == "a"


def test_recover_ends_the_sessions_of_its_own_dead_process_and_no_others(lab: LabFacts) -> None:
    assert slackwater(lab, "switchover", inject="kill:HoldClients").code == -9
    journal = next((Path(lab.config).parent / "state").glob("*.jsonl")).stem
    lock = LOCK
    with locked(lab, "b", lock):  # somebody else's
        said = slackwater(lab, "recover")
        assert (said.report["outcome"], said.code) == ("refused", 1)
        assert "another slackwater holds the lock on b" in said.report["reasons"][0]
    with (
        locked(lab, "b", mark_name(journal, "control"), lock) as control,
        locked(lab, "b", mark_name(journal, "spare")) as spare,
        locked(lab, "a", mark_name(journal, "lock")) as fence,
    ):
        said = slackwater(lab, "recover")
        assert (said.report["recovered"][0]["outcome"], said.code) == ("undone", 0), said
        for dead in (control, spare, fence):
            with pytest.raises(pymysql.err.OperationalError):
                dead.ping(reconnect=False)
    assert (said.report["from"], said.report["to"]) == ("a", "b")


def test_the_next_operation_ends_what_an_ended_one_left(lab: LabFacts) -> None:
    """As after a network cut, in which the server was not told that the sessions had ended."""
    state = Path(lab.config).parent / "state"
    said = slackwater(lab, "switchover", inject="before:HoldClients")
    assert said.report["outcome"] == "undone", said
    (ended,) = state.glob("*.jsonl")
    other = "another slackwater works on this pair (its lock is on b)"
    whole = ended.read_text()
    ended.write_text(whole.replace('"event": "ended"', '"event": "told"'))  # still at work
    with locked(lab, "b", mark_name(ended.stem, "control"), LOCK):
        assert other in slackwater(lab, "check").report["refusals"]
    ended.write_text(whole)
    with locked(lab, "b", LOCK):  # somebody else's
        assert other in slackwater(lab, "check").report["refusals"]
    with (
        locked(lab, "a", mark_name(ended.stem, "control"), LOCK) as old,
        locked(lab, "b", mark_name(ended.stem, "spare"), LOCK) as new,
    ):
        assert slackwater(lab, "check").report["refusals"] == []
        said = slackwater(lab, "switchover")
        assert (said.report["outcome"], said.code) == ("done", 0), said
        for dead in (old, new):
            with pytest.raises(pymysql.err.OperationalError):
                dead.ping(reconnect=False)


def test_a_restart_ends_what_an_ended_one_left_too(lab: LabFacts) -> None:
    said = slackwater(lab, "switchover", inject="before:HoldClients")
    assert said.report["outcome"] == "undone", said
    (ended,) = (Path(lab.config).parent / "state").glob("*.jsonl")
    with locked(lab, "b", LOCK):  # somebody else's
        assert slackwater(lab, "restart", "b").report["outcome"] == "undone"
    with locked(lab, "b", mark_name(ended.stem, "control"), LOCK):
        said = slackwater(lab, "restart", "b")
    assert (said.report["outcome"], said.code) == ("done", 0), said


def test_a_server_that_comes_back_later_is_claimed_before_it_is_judged(lab: LabFacts) -> None:
    async def judge() -> bool:
        world = PairWorld(config.load(lab.config), "lab")
        try:
            await world.connect()
            world.unreachable["b"] = "it could not be reached when recover began"
            with locked(lab, "b", LOCK):
                with pytest.raises(Refused, match="the lock on b"):
                    await PromoteNew("a", "b").passed(world)
                await mysql_server.set_read_only(await world.session("a"), True)
                with pytest.raises(Refused, match="the lock on b"):
                    await reopen_old(world, "a", "b")
                assert await world.writable("a") is False
            await reopen_old(world, "a", "b")
            session = await world.session("b")
            owner = await mysql_server.lock_owner(session, LOCK)
            return owner == session.connection_id and not world.unreachable
        finally:
            await world.close()

    assert asyncio.run(judge())


def test_recover_says_what_it_would_do_and_what_the_configuration_lacks(lab: LabFacts) -> None:
    assert slackwater(lab, "switchover", inject="kill:SettleSessions").code == -9
    planned = slackwater(lab, "recover", "--plan", "--pair", "lab").report["plans"][0]
    acts = [(s["act"], s["name"]) for s in planned["steps"]]
    assert (planned["way"], acts) == (
        "undo what was begun",
        [("undo", s) for s in ("HoldClients", "PauseApplier", "TakeLocks")],
    )
    assert slackwater(lab, "recover", "--pair", "shop").code == 78
    whole = lab.config.read_text()
    lab.config.write_text(whole.replace("lb1]", "lb9]").replace('"lb1"', '"lb9"'))
    said = slackwater(lab, "recover")
    assert said.code == 78
    assert "began with balancers.lb1, which pair lab does not have (any more)" in said.errors
    assert said.report["outcome"] == "stuck"
    lab.config.write_text(whole)
    said = slackwater(lab, "recover", "--pair", "lab")
    assert (said.code, said.report["outcome"]) == (0, "done")
    assert [r["outcome"] for r in said.report["recovered"]] == ["undone"]
    assert slackwater(lab, "recover", "--plan").report["plans"] == []
