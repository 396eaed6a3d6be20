"""What a rehearsal blames on the change, and how logs are read, without a server."""

from __future__ import annotations

from slackwater.facts.rehearsal import Difference, Error, Ran, Seen, Spoken, Way
from slackwater.facts.statement_log import ALIKE, chosen, read
from slackwater.rules.rehearsal import Harm, judge

WRITES = [Spoken(n, "d", f"UPDATE t SET a = {n}", False) for n in (1, 2, 3)]


def seen(way: Way, *ran: Ran, differences: tuple[Difference, ...] = ()) -> Seen:
    return Seen(way, list(ran), list(differences))


def ok(number: int, rows: int = 1) -> Ran:
    return Ran(number, rows)


def test_what_also_happens_without_the_change_is_not_blamed_on_it() -> None:
    stop, wrong = Error(1677, "cannot"), Error(1054, "Unknown")
    differs = Difference("d.t", "id=1", {"a": "1"}, {"a": "2"}, (3,))
    before = seen(Way.NEITHER, Ran(1, error=wrong), Ran(2, 1, stopped=stop), ok(3),
                  differences=(differs,))
    same = (Ran(1, error=wrong), Ran(2, 1, stopped=stop), ok(3))
    said = judge(WRITES, before, seen(Way.REPLICA, *same, differences=(differs,)),
                 seen(Way.SOURCE, *same))
    assert said.problems == []
    assert [n for n, _ in said.unjudged] == [1]
    assert len(said.notes) == 2
    fresh = seen(Way.NEITHER, ok(1), ok(2), ok(3))
    said = judge(WRITES, fresh, seen(Way.REPLICA, *same, differences=(differs,)),
                 seen(Way.SOURCE, *same))
    assert [(p.harm, p.way, p.numbers) for p in said.problems] == [
        (Harm.BREAKS, Way.SOURCE, (1,)), (Harm.STOPS, Way.REPLICA, (2,)),
        (Harm.STOPS, Way.SOURCE, (2,)), (Harm.DIFFERS, Way.REPLICA, (3,))]


def test_a_row_that_a_stop_left_behind_is_no_silent_difference() -> None:
    lost = Difference("d.t", "id=1", {"a": "1"}, None, (2,))
    fresh = seen(Way.NEITHER, ok(1), ok(2), ok(3))
    forward = seen(Way.REPLICA, ok(1), Ran(2, 1, stopped=Error(1677, "x")),
                   Ran(3, 1, stopped=Error(1032, "y")), differences=(lost,))
    said = judge(WRITES, fresh, forward, seen(Way.SOURCE, ok(1), ok(2), ok(3)))
    assert [p.harm for p in said.problems] == [Harm.STOPS, Harm.STOPS]
    assert "may follow from statement 2" in said.problems[1].why


def test_a_change_that_the_other_server_cannot_take() -> None:
    fresh = seen(Way.NEITHER, ok(1, 0), ok(2), ok(3))
    back = Seen(Way.SOURCE, [ok(1, 4), ok(2), ok(3)], late=Error(1062, "Duplicate entry"))
    said = judge(WRITES, fresh, seen(Way.REPLICA, ok(1), ok(2), ok(3)), back)
    assert [p.harm for p in said.problems] == [Harm.CHANGE]
    assert said.idle == [1]
    assert said.notes == ["statement 1 changes 4 rows on the new schema, 0 on the old one"]


def test_what_reads_return() -> None:
    """Other values on the new schema are noted; those that change by themselves are not."""
    reads = [Spoken(n, "d", "SELECT 1", True) for n in (1, 2, 3)]

    def returned(way: Way, *results: str) -> Seen:
        return seen(way, *(Ran(n, 1, ("a",), r) for n, r in enumerate(results, 1)))

    said = judge(reads, returned(Way.NEITHER, "x", "x", "x"), returned(Way.REPLICA, "x", "x", "y"),
                 returned(Way.SOURCE, "x", "z", "z"))
    assert said.problems == []
    assert said.notes == ["statement 2 returns other values on the new schema (1 rows, 1 on the "
                          "old one)"]


def test_what_is_replayed() -> None:
    text = ("USE other; SET x = 1; BEGIN; INSERT INTO t VALUES (1); COMMIT; (SELECT 1);"
            "WITH q AS (SELECT 1) UPDATE t, q SET a = 1; SELECT ? FROM t; DROP TABLE t;"
            "SELECT 1 INTO OUTFILE 'x'")
    heard = read(text, "d")
    assert [(s.number, s.database, s.reads) for s in heard.statements] == [
        (1, "other", False), (2, "other", True), (3, "other", False)]
    assert heard.left_out["a prepared statement without its values"] == 1
    assert heard.left_out["not replayed: DROP"] == 1
    assert heard.left_out["writes a file"] == 1


def test_a_few_of_those_alike() -> None:
    entries = [("d", f"INSERT INTO t VALUES ({n}, 'x'), (1, 'y')") for n in range(20)]
    entries += [("e", "INSERT INTO t VALUES (1, 'x')"), ("d", "SELECT 'cut off ...")]
    heard = chosen("a log", entries)
    assert len(heard.statements) == ALIKE + 1
    assert sum(heard.left_out.values()) == 20 - ALIKE + 1
