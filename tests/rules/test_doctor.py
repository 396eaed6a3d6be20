"""Rules whose facts cannot be had on every machine."""

from __future__ import annotations

from slackwater.facts.doctor.finding import Sure
from slackwater.facts.doctor.host import Connection, Held, HostSeen, Process
from slackwater.facts.doctor.server import HostCount, Sample, ServerSeen
from slackwater.rules.doctor import host, server


def seen(uptime: int = 100_000, **more: object) -> ServerSeen:
    sample = Sample(0.0, {"uptime": uptime})
    return ServerSeen("s", "MySQL", sample, sample, {"max_connect_errors": "100"}, 3600.0,
                      **more)  # type: ignore[arg-type]


def test_a_blocked_host_is_named_and_an_old_block_is_not() -> None:
    counts = {"SUM_CONNECT_ERRORS": 100, "COUNT_HOST_BLOCKED_ERRORS": 3}
    found = server.findings(seen(hosts=(HostCount("10.0.0.7", counts, 5.0),)))
    (blocked,) = [f for f in found if f.cause.id == "host-blocked"]
    assert blocked.sure is Sure.CERTAIN and blocked.hits == "10.0.0.7"
    old = server.findings(seen(hosts=(HostCount("10.0.0.7", counts, 90000.0),)))
    assert "host-blocked" not in {f.cause.id for f in old}


def test_a_kill_by_the_kernel() -> None:
    line = "the kernel: Out of memory: Killed process 7 (mysqld)"
    (found,) = [f for f in server.findings(seen(100, kernel=(line,))) if f.cause.id == "oom-kill"]
    assert line in found.evidence
    assert found.sure is not Sure.CERTAIN  # no log says that it was this server
    old = server.findings(seen(kernel=(line,)))  # it has run since long before
    assert "oom-kill" not in {f.cause.id for f in old}


def on_the_wire(**of: object) -> HostSeen:
    link = Connection(7, "tcp", "10.0.0.1:4000", "10.0.0.2:3306", **of)  # type: ignore[arg-type]
    return HostSeen("h", {7: link}, {1: Process(1, "app")}, (Held(1, 5, 7, True),))


def test_what_nobody_acknowledges() -> None:
    (found,) = host.findings(on_the_wire(unsent=80, timer="retransmit", retransmits=5))
    assert (found.cause.id, found.sure) == ("silent-drop", Sure.LIKELY)


def test_idle_beyond_a_middlebox_is_a_note_unless_keepalive_protects() -> None:
    (found,) = host.findings(on_the_wire(idle_ms=400_000))
    assert (found.cause.id, found.sure) == ("middlebox", Sure.NOTE)
    assert host.findings(on_the_wire(idle_ms=400_000, timer="keepalive", timer_ms=60_000)) == []
