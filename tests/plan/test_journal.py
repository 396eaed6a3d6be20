"""The journal: on disk before we act, whole after a crash, and never a reason to stop midway."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import os
import resource
import signal
import stat
import subprocess
import sys
import textwrap

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.plan.memory_world import BEFORE, World, make, no_reasons

from slackwater.plan import journal
from slackwater.plan.journal import RESERVED_BYTES, Journal, JournalError
from slackwater.plan.step import Outcome


def test_only_the_owner_may_read_it(tmp_path):
    record = Journal.create(tmp_path / "state", "switchover")
    assert stat.S_IMODE(record.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(record.path.parent.stat().st_mode) == 0o700
    record.close()


def test_space_is_reserved_and_given_back(tmp_path):
    record = Journal.create(tmp_path, "switchover")
    assert record.path.stat().st_size == RESERVED_BYTES
    assert record.path.stat().st_blocks * 512 >= RESERVED_BYTES, "reserved, not a hole"
    record.write("planned", operation="switchover")
    assert record.path.stat().st_size == RESERVED_BYTES
    record.close()
    text = record.path.read_text()
    assert text.endswith("}\n") and text.count("\n") == 1
    assert json.loads(text)["event"] == "planned"


def test_each_event_is_synced_before_write_returns(tmp_path, monkeypatch):
    record = Journal.create(tmp_path, "x")
    synced = []
    real = os.fdatasync
    monkeypatch.setattr(os, "fdatasync", lambda fd: (synced.append(fd), real(fd)))
    record.write("started", step="Hold")
    assert len(synced) == 1
    record.close()


def test_notes_steps_and_outcome(tmp_path):
    record = Journal.create(tmp_path, "x")
    record.write("planned", operation="x", arguments={"to": "b"})
    record.write("started", step="Hold")
    record.write("noted", key="position", value="0-1-5")
    record.write("noted", key="position", value="0-1-7")
    past = journal.read(record.path)
    assert past.unfinished and past.outcome is None
    assert past.notes == {"position": "0-1-7"}
    assert past.steps("started") == ["Hold"]
    assert past.planned["arguments"] == {"to": "b"}
    record.write("ended", outcome="stuck")
    assert journal.read(record.path).unfinished
    record.write("ended", outcome="undone")
    assert not journal.read(record.path).unfinished
    record.close()
    assert past.id == record.id


@pytest.mark.parametrize("torn", [b"", b'{"at": 1, "ev', b'{"at": 1, "event": "done"}'])
@pytest.mark.parametrize("reserve", [b"", b"\n" * 100, b"\0" * 100],
                         ids=["cut", "reserved", "blank"])
def test_a_reopened_journal_loses_nothing(torn, reserve, tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_bytes(b'{"at": 0, "event": "planned"}\n' + torn + reserve)
    before = [e["event"] for e in journal.read(path).events]
    record = Journal.reopen(path)
    record.write("recovering")
    record.write("ended", outcome="undone")
    record.close()
    after = [e["event"] for e in journal.read(path).events]
    assert after == [*before, "recovering", "ended"]


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.binary(max_size=200), st.integers(0, 400))
def test_reading_never_fails(tmp_path, garbage, cut):
    path = tmp_path / "x.jsonl"
    whole = b'{"at": 0, "event": "planned"}\n{"at": 1, "event": "started", "step": "Hold"}\n'
    path.write_bytes(whole[:cut] + garbage)
    past = journal.read(path)
    assert len(past.events) >= whole[:cut].count(b"\n")
    assert past.unfinished in (True, False)


def test_all_operations_oldest_first(tmp_path):
    records = [Journal.create(tmp_path, name) for name in ("z", "m", "a")]
    for at, record in enumerate(records):
        record.path.write_text(json.dumps({"at": at, "event": "planned", "operation": "x"}) + "\n")
    assert [p.id for p in journal.read_all(tmp_path)] == [r.id for r in records]
    assert journal.read_all(tmp_path / "nowhere") == []


@contextlib.contextmanager
def as_nobody():
    """Root may read everything; for a moment we are not root."""
    mine = os.geteuid()
    if mine == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(mine)


def test_a_directory_that_cannot_be_read_is_not_an_empty_one(tmp_path):
    Journal.create(tmp_path / "state", "switchover").close()
    (tmp_path / "state").chmod(0)
    with as_nobody(), pytest.raises(JournalError, match="cannot read the journals") as caught:
        journal.read_all(tmp_path / "state")
    assert "Permission denied" in str(caught.value) and "as the user" in caught.value.hint
    (tmp_path / "state").chmod(0o700)
    (tmp_path / "file").write_text("")
    with pytest.raises(JournalError, match="cannot read the journals"):
        journal.read_all(tmp_path / "file")


def test_a_directory_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(JournalError, match="cannot begin the journal") as caught:
        Journal.create(tmp_path / "file", "x")
    assert "[state] directory" in caught.value.hint


def test_no_room_to_reserve_leaves_no_file(tmp_path):
    """A real limit of the kernel: a file may not grow beyond 1,000 bytes."""
    code = textwrap.dedent("""
        import pathlib, resource, signal, sys
        from slackwater.plan.journal import Journal, JournalError
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
        try:
            Journal.create(pathlib.Path(sys.argv[1]), "x")
        except JournalError as error:
            print(error)
    """)
    done = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True,
                          check=True, timeout=30)
    assert "cannot reserve space for the journal" in done.stdout
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def no_file_may_grow():
    """The kernel refuses to let any file of this process grow beyond the reserved size."""
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (RESERVED_BYTES, limits[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    signal.signal(signal.SIGXFSZ, handler)


def test_a_disk_that_fills_up_does_not_stop_an_operation(no_file_may_grow, tmp_path):
    runner, _ = make(tmp_path, World())
    no_file_may_grow()
    report = _run(runner)
    assert report.outcome is Outcome.DONE
    assert not runner.journal.lost


@pytest.mark.parametrize("step", ["Hold", "Fence", "Promote", "Send"])
def test_a_journal_that_cannot_be_written(step, tmp_path, monkeypatch):
    """Before the commit the operation is undone; after it, finished, and the hole is told."""
    world = World()
    runner, _ = make(tmp_path, world)
    real = os.pwrite
    full: list[bool] = []

    def pwrite(fd, data, offset):
        if f'"started", "step": "{step}"'.encode() in data:
            full.append(True)
        if full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(fd, data, offset)

    monkeypatch.setattr(os, "pwrite", pwrite)
    report = _run(runner)
    if step == "Send":
        assert report.outcome is Outcome.DONE
        assert any("No space left" in line for line in report.figures["journal_lost"])
    else:
        assert report.outcome is Outcome.UNDONE
        assert world.state == BEFORE
        assert "No space left on device" in report.reasons[0]
        assert step not in [c.split()[0] for c in world.changes]


def _run(runner):
    try:
        return asyncio.run(runner.run(no_reasons))
    finally:
        runner.journal.close()
