"""What is unfinished: whose it is, who works on it, and what recover believes after a crash."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import time
from pathlib import Path

import pytest
from tests.servers.command import slackwater
from tests.servers.fixtures import app_session, sql
from tests.servers.patience import PATIENCE, eventually
from tests.sweep.pair import environment, python

from slackwater import config
from slackwater.cli.operate import only_one
from slackwater.cli.unfinished import left
from slackwater.errors import StepFailed
from slackwater.lab.facts import LabFacts
from slackwater.operations.pair_world import PairWorld
from slackwater.operations.reopen import reopen_old
from slackwater.outside.haproxy.config import read_active, with_active
from slackwater.plan import journal
from slackwater.plan.journal import Journal

pytestmark = [pytest.mark.servers, pytest.mark.one_flavour]


def typed(*words: object) -> subprocess.CompletedProcess[str]:
    """A command as a person types it."""
    return subprocess.run(
        python("slackwater", *map(str, words)), env=environment(), capture_output=True, text=True,
        stdin=subprocess.DEVNULL, timeout=60 * PATIENCE, check=False)


def test_an_operation_is_its_own_configurations(lab: LabFacts) -> None:
    """A copy of the file takes up nothing, but says what is left; another file with the same names
    and the same state directory, of other servers, has nothing to do with it."""
    other, staging = lab.config.with_name("copy.toml"), lab.config.with_name("staging.toml")
    other.write_text(lab.config.read_text())
    assert slackwater(lab, "switchover", inject="kill:HoldClients").code == -9
    assert config.load(other).state_directory == config.load(lab.config).state_directory
    named = f"is unfinished: `slackwater recover --config {lab.config}`"
    for command, code in (("recover", 3), ("recover --plan", 3), ("status", 1), ("check", 1)):
        done = typed(*command.split(), "--config", other)
        assert done.returncode == code and named in " ".join(done.stdout.split()), done
        assert "Nothing to recover" not in done.stdout
    done = typed("switchover", "--config", other)
    assert done.returncode == 1 and named in done.stderr, done
    staging.write_text(elsewhere_of(lab))
    assert not left(config.load(staging), "lab").lines(config.load(staging))
    done = typed("recover", "--plan", "--config", staging)
    assert (done.returncode, "Nothing to recover." in done.stdout) == (0, True), done
    assert f"recover --config {lab.config}` (other servers)" in done.stdout
    assert slackwater(lab, "recover").report["recovered"][0]["outcome"] == "undone"


def elsewhere_of(lab: LabFacts) -> str:
    """The lab's configuration for servers and balancers that are none of its own."""
    text = lab.config.read_text()
    for server in lab.servers.values():
        text = text.replace(str(server["address"]), f"192.0.2.1{server['port'] % 10}:3306")
        text = text.replace(str(server["socket"]), f"/nowhere/{server['port']}")
    return text.replace(str(lab.balancers["lb1"]["runtime"]), "unix:/nowhere/lb1")


def test_what_is_under_way_is_not_called_unfinished(lab: LabFacts) -> None:
    assert slackwater(lab, "switchover", inject="kill:HoldClients").code == -9
    settings = config.load(lab.config)
    with only_one(settings, "lab"):
        said = slackwater(lab, "check").report["refusals"]
        assert any("is under way" in reason for reason in said), said
        assert slackwater(lab, "status").report["under_way"]
    said = slackwater(lab, "check").report["refusals"]
    assert any("is unfinished: `slackwater recover`" in reason for reason in said), said
    assert slackwater(lab, "status").report["under_way"] == []


@pytest.mark.parametrize("waited_s", [0, 6])
def test_what_a_machine_that_died_forgot_is_undone_too(lab: LabFacts, waited_s: float) -> None:
    """Of the steps between HoldClients and PromoteNew nothing has to be on the disk. Before the
    hold's deadline, and after it, when clients were let in to the read-only server."""
    assert slackwater(lab, "switchover", inject="kill:PromoteNew").code == -9
    [path] = config.load(lab.config).state_directory.glob("**/*-switchover-*.jsonl")
    lines = path.read_text().rstrip("\n").splitlines()
    forgotten = next(n for n, line in enumerate(lines)
                     if '"started"' in line and '"SettleSessions"' in line)
    assert any('"AimHold"' in line for line in lines[forgotten:])
    path.write_text("\n".join(lines[:forgotten]) + "\n" * 4096)
    time.sleep(waited_s)
    said = slackwater(lab, "recover").report
    assert said["recovered"][0]["outcome"] == "undone", said
    assert slackwater(lab, "status").report["active"] == "a"
    with app_session(lab, lab.balancers["lb1"]["frontend"]) as client, client.cursor() as cursor:
        cursor.execute("CREATE TABLE slackwater_lab.let_in (id INT)")
    assert sql(lab.servers["a"]["socket"], "SELECT * FROM information_schema.TABLES"
                                           " WHERE TABLE_NAME = 'let_in'")


def test_journals_that_cannot_be_read_are_not_none(lab: LabFacts) -> None:
    """Nor does an empty state directory say that all is well where nobody can write."""
    other = lab.config.with_name("other-user.toml")
    state = other.with_name("other-state")
    own = f'directory = "{config.load(lab.config).state_directory}"'
    assert own in lab.config.read_text()
    other.write_text(lab.config.read_text().replace(own, f'directory = "{state}"'))
    assert "Nothing to recover." in typed("recover", "--config", other).stdout
    sql(lab.servers["a"]["socket"], "SET GLOBAL read_only = 1")
    said = typed("recover", "--config", other)
    assert said.returncode == 3 and "Nothing to recover" not in said.stdout, said
    assert "no server of it accepts writes" in said.stdout and str(state) in said.stdout
    sql(lab.servers["a"]["socket"], "SET GLOBAL read_only = 0")

    assert not state.exists()
    state.write_text("a directory that nobody can read, root included")
    said = typed("recover", "--config", other)
    assert (said.returncode, said.stdout) == (3, ""), said
    assert "cannot read the journals in" in said.stderr
    for command in ("status", "check"):
        said = typed(command, "--config", other)
        assert said.returncode == 1, said
        assert "unfinished operations cannot be told" in " ".join(said.stdout.split()), said
    assert typed("history", "--config", other).returncode == 3
    said = typed("switchover", "--config", other)
    assert said.returncode == 1, said


def test_after_a_crash_a_server_that_clients_are_sent_to_may_accept_writes(lab: LabFacts) -> None:
    """It cannot be asked, and we had not begun to promote it: but others may have."""
    assert slackwater(lab, "switchover").report["outcome"] == "done"

    cut_off = lab.config.with_name("cut-off.toml")  # we do not reach b; the balancer does
    cut_off.write_text(lab.config.read_text().replace(str(lab.servers["b"]["socket"]), "/gone"))

    async def back(recovering: bool) -> bool | None:
        world = PairWorld(config.load(cut_off), "lab")
        world.recovering = recovering
        try:
            with contextlib.suppress(Exception):
                await world.connect()
            await reopen_old(world, "a", "b")
            return await world.writable("a")
        finally:
            await world.close()

    with pytest.raises(StepFailed, match="balancer lb1 sends clients to it"):
        asyncio.run(back(recovering=True))
    lab.instance("b").kill()

    def down() -> bool:
        try:
            return asyncio.run(back(recovering=True)) is True
        except StepFailed:
            return False

    eventually(down, "the balancer has seen that b is dead, so no client writes there")


def test_a_balancers_file_is_made_anew_for_who_is_active(lab: LabFacts) -> None:
    """Never for the first server of the configuration, nor as a stale file says: a reload would
    send clients there."""
    file = Path(lab.balancers["lb1"]["config_file"])
    assert slackwater(lab, "switchover").report["outcome"] == "done"

    def install() -> tuple[int, str | None]:
        done = typed("balancer", "install", "lb1", "--config", lab.config)
        return done.returncode, read_active(file.read_text()) if file.exists() else None

    assert install() == (0, "b")
    file.write_text(with_active(file.read_text(), "a"))
    assert install() == (1, "a")
    file.unlink()
    assert install() == (0, "b")  # the servers say so
    file.unlink()
    for name in "ab":
        lab.instance(name).kill()
    assert install() == (1, None)
    typed("balancer", "install", "lb1", "--active", "b", "--config", lab.config)
    assert read_active(file.read_text()) == "b"


def test_an_operation_that_came_to_nothing_takes_nobodys_place(tmp_path: Path) -> None:
    def begun(name: str, outcome: str) -> Journal:
        made = Journal.create(tmp_path, name)
        made.write("planned", operation=name)
        made.write("started", step="x")
        made.write("ended", outcome=outcome)
        return made

    stuck, came_to_nothing = begun("switchover", "stuck"), begun("failover", "undone")
    stuck.write("taken over", by=came_to_nothing.id)
    assert [p.id for p in journal.unfinished(tmp_path)] == [stuck.id]
    done = begun("failover", "done")
    stuck.write("taken over", by=done.id)
    assert journal.unfinished(tmp_path) == []
