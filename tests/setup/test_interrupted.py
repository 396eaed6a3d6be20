"""`pair setup` and somebody who presses Ctrl-C: it ends, says what is true, and the same command
again goes on."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tests.servers.patience import PATIENCE, eventually
from tests.setup.behind import SLOW_MS, all_of, applies, behind, in_world, status, word
from tests.setup.scene import Scene, scene
from tests.setup.stories import journals, killed_at, many, named, verified

from slackwater.operations.setup import slices
from slackwater.operations.setup.catch_up import CatchUp
from slackwater.operations.setup.follow import Follow
from slackwater.operations.setup.look import SetupWorld
from slackwater.outside.mysql import semi_sync
from slackwater.outside.mysql import setup as mysql_setup
from slackwater.outside.mysql.session import Session
from slackwater.plan.faults import VARIABLE

pytestmark = pytest.mark.servers
ONE = "mariadb-10.11"


@pytest.mark.parametrize("name", [ONE, "mysql-9.7"])
def test_as_a_server_is_told_whom_to_follow(
    name: str, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer is lost with it: undone is what was asked for, all the same."""
    with scene(named(name), place) as made:
        made.setup()
        _apart(made)
        _follow_cut_off(made, monkeypatch)
        assert not made.sql("a", f"SHOW {word(made)} STATUS")


def test_what_it_followed_before_is_left_alone(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with scene(named(ONE), place) as made:
        made.setup()
        _apart(made)
        all_of(made, "a", "CHANGE MASTER TO MASTER_HOST = '127.0.0.1', MASTER_PORT = 1")
        _follow_cut_off(made, monkeypatch, done=False)
        assert made.sql("a", "SHOW SLAVE STATUS")[0]["Master_Port"] == 1


def _apart(made: Scene) -> None:
    for name in "ab":
        all_of(made, name, f"STOP {word(made)}", f"RESET {word(made)} ALL")


def _follow_cut_off(
    made: Scene, monkeypatch: pytest.MonkeyPatch, *, done: bool = True
) -> None:
    follow, step = mysql_setup.follow, Follow("a", "b", tls=False, ring=True)

    async def cut_off(*args: Any, **more: Any) -> None:
        if done:
            await follow(*args, **more)
        raise asyncio.CancelledError

    async def begin(world: SetupWorld) -> None:
        with contextlib.suppress(asyncio.CancelledError):
            await step.do(world)
        await step.undo(world)

    monkeypatch.setattr(mysql_setup, "follow", cut_off)
    in_world(made, begin)


@pytest.mark.parametrize("name", [ONE, "mysql-9.7"])
def test_twice_while_a_replica_that_there_was_rests(
    name: str, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It applies again, whatever comes between."""
    monkeypatch.setattr(slices, "REST_S", 30)

    async def twice(world: SetupWorld) -> None:
        waiting = asyncio.ensure_future(CatchUp("b", "a", SLOW_MS).do(world))
        session = await Session.open(world.servers["b"].at)
        while not waiting.done() and await applies(session):
            await asyncio.sleep(0.005)
        assert not waiting.done()
        while not waiting.done():
            waiting.cancel()
            await asyncio.sleep(0)
        assert waiting.cancelled()
        await session.close()

    with scene(named(name), place) as made:
        behind(made, begun=False)
        made.sql("b", f"START {word(made)}")
        in_world(made, twice)
        assert status(made)[0].running


def test_as_a_replica_is_to_give_word(place: Path) -> None:
    """Its I/O thread ends sooner for that, and only for that."""
    asked = "SHOW GLOBAL VARIABLES LIKE 'rpl_semi_sync_slave_kill_conn_timeout'"

    async def cut_off(world: SetupWorld) -> None:
        session = await world.session("b")
        stopping = asyncio.ensure_future(semi_sync.stop_receiving(session))
        while not stopping.done():
            await asyncio.sleep(0.001)
            if made.sql("b", asked) != before:
                stopping.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await stopping

    with scene(named("mariadb-11.8"), place, pair_lines=["semi_sync = true"]) as made:
        made.setup()
        before = made.sql("b", asked)
        os.kill(made.servers["a"].pid or 0, signal.SIGSTOP)
        try:
            in_world(made, cut_off)
        finally:
            os.kill(made.servers["a"].pid or 0, signal.SIGCONT)
        eventually(lambda: made.sql("b", asked) == before, "the setting as it was")


def test_between_its_parts(place: Path) -> None:
    """Accounts have been made by then, so it is not true that nothing was touched."""
    with scene(named(ONE), place) as made:
        for after_s in (0.0, 0.05):
            prepared = partial(_prepared, made, journals(made))
            said = _interrupted(made, prepared, after_s)
            assert [p["outcome"] for p in said["parts"]] == ["done", "undone"], said
            assert (said["outcome"], said["code"]) == ("undone", 2)
            assert said["reasons"] == ["interrupted before anything else was touched"]
            assert "accounts and settings" in str(said["stays"])
            assert "pair setup` again" in said["next"]
            for account in made.sql("b", "SELECT User AS u, Host AS h FROM mysql.user"
                                         " WHERE User = 'slackwater'"):
                made.sql("b", f"DROP USER {account['u']}@'{account['h']}'")
        made.setup()
        verified(made)


def test_while_it_undoes_what_is_left(place: Path) -> None:
    """Whoever wants that to end does not want a copy to begin."""
    with scene(named(ONE), place) as made:
        many(made)
        assert killed_at(made, "CatchUp.b", later=(0,))
        known = journals(made)[-1]
        said = _interrupted(made, lambda: '"recovering"' in known.read_text(), 0)
        assert (said["outcome"], said["code"]) == ("undone", 2), said
        assert len(said["parts"]) == 1
        assert "interrupted before anything else was touched" in said["reasons"]
        made.setup()
        verified(made)


def test_while_it_looks(place: Path) -> None:
    with scene(named(ONE), place) as made:
        server = made.servers["b"].pid
        assert server is not None
        os.kill(server, signal.SIGSTOP)  # a look waits for it
        try:
            said = _interrupted(made, lambda: _looked_at(made), 0.05)
        finally:
            os.kill(server, signal.SIGCONT)
        assert (said["outcome"], said["code"]) == ("refused", 1)
        assert said["reasons"] == ["interrupted before anything was touched"]


def test_again_and_again_until_the_very_end(place: Path) -> None:
    """The report and the exit code are there all the same."""
    hammer = place / "hammer"
    hammer.write_text("#!/bin/sh\n(while kill -INT $1; do sleep 0.003; done) >/dev/null 2>&1 &\n")
    hammer.chmod(0o755)
    with scene(named(ONE), place) as made:
        inject = {VARIABLE: f"run:MakeAccounts.b:{hammer} $PPID"}
        done = subprocess.run(
            made.words("pair", "setup", "--json"), capture_output=True, text=True, check=False,
            timeout=60 * PATIENCE, env=os.environ | inject)
        assert (done.returncode, json.loads(done.stdout)["outcome"]) == (2, "undone"), done.stderr
        made.setup()
        verified(made)


def _prepared(made: Scene, known: list[Path]) -> bool:
    text = "".join(j.read_text() for j in journals(made) if j not in known)
    return '"pair-settings"' in text and '"ended"' in text


def _looked_at(made: Scene) -> bool:
    there = made.sql("a", "SHOW PROCESSLIST")
    return len([r for r in there if r["User"] == "root"]) > 1


def _interrupted(made: Scene, until: Callable[[], bool], after_s: float) -> dict[str, Any]:
    """Ctrl-C that long after `until` is true; what was said, and the exit code."""
    process = subprocess.Popen(made.words("pair", "setup", "--json"), text=True,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        while not until():
            assert process.poll() is None, process.communicate()
            time.sleep(0.001)
        time.sleep(after_s)
        process.send_signal(signal.SIGINT)
        out, errors = process.communicate(timeout=60 * PATIENCE)
        assert out, errors
        return json.loads(out.splitlines()[-1]) | {"code": process.returncode}
    finally:
        process.kill()
        process.communicate(timeout=20 * PATIENCE)
