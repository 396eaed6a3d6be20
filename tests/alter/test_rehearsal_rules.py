"""What a rehearsal blames on the change, and how logs are read, without a server."""

from __future__ import annotations

from slackwater.facts.alter_script import split
from slackwater.facts.rehearsal import Difference, Error, Ran, Seen, Spoken, Way
from slackwater.facts.statement_log import ALIKE, chosen, fingerprint, read
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
    entries = [("1", "d", f"INSERT INTO t VALUES ({n}, 'x'), (1, 'y')") for n in range(20)]
    entries += [("1", "e", "INSERT INTO t VALUES (1, 'x')"), ("1", "d", "SELECT 'cut off ...")]
    heard = chosen("a log", entries)
    assert len(heard.statements) == ALIKE + 1
    assert sum(heard.left_out.values()) == 20 - ALIKE + 1


def test_what_differs_anyway_hides_nothing_else() -> None:
    """Another row of the same table, or another reason to stop, is the change's."""
    def lost(*keys: int) -> tuple[Difference, ...]:
        return tuple(Difference("d.t", f"id={n}", {"a": "1"}, None, (n,)) for n in keys)

    before = seen(Way.NEITHER, ok(1), ok(2), Ran(3, 1, stopped=Error(1032, "x")),
                  differences=lost(1))
    forward = seen(Way.REPLICA, ok(1), ok(2), Ran(3, 1, stopped=Error(1677, "y")),
                   differences=lost(1, 2))
    said = judge(WRITES, before, forward, seen(Way.SOURCE, ok(1), ok(2), ok(3)))
    assert [(p.harm, p.numbers) for p in said.problems] == [
        (Harm.STOPS, (3,)), (Harm.DIFFERS, (2,))]
    # A key that is drawn anew each time: as many as always.
    forward = seen(Way.REPLICA, ok(1), ok(2), ok(3), differences=lost(2))
    assert not judge(WRITES, before, forward, seen(Way.SOURCE, ok(1), ok(2), ok(3))).problems


def test_alike() -> None:
    """Statements with another number of values, or names in ANSI quotes, are others."""
    def shape(text: str, *, ansi: bool = False) -> str:
        return fingerprint(split(text)[0], ansi=ansi)

    assert shape("INSERT INTO t VALUES (1, 2)") != shape("INSERT INTO t VALUES (1, 2, 3)")
    assert shape("INSERT INTO t VALUES (1, 2)") == shape("INSERT INTO t VALUES (1, 2), (3, 'x')")
    assert shape("SELECT 1 FROM t WHERE a IN (1, 2)") == shape("SELECT 3 FROM t WHERE a IN (1)")
    names = ('INSERT INTO "a" VALUES (1)', 'INSERT INTO "b" VALUES (1)')
    assert len({shape(n, ansi=True) for n in names}) == 2
    assert len({shape(n) for n in names}) == 1
    assert len(chosen("a log", [("", "d", f'DELETE FROM "t{n}"') for n in range(9)], ansi=True
                      ).statements) == 9


LOG = """2026-11-21T10:00:00.1Z\t    8 Connect\troot@localhost on d using Socket
2026-11-21T10:00:00.1Z\t    9 Connect\troot@localhost on d using Socket
2026-11-21T10:00:00.1Z\t    8 Query\tSET NAMES utf8mb4, SESSION sql_mode='', autocommit=0
2026-11-21T10:00:00.1Z\t    9 Query\tINSERT INTO t VALUES (1)
2026-11-21T10:00:00.1Z\t    8 Query\tset @@session.time_zone = '+02:00', @x = (SELECT MAX(a), 1)
2026-11-21T10:00:00.1Z\t    8 Query\tINSERT INTO t VALUES (2)
2026-11-21T10:00:00.1Z\t    8 Query\tSET sql_mode='ANSI', GLOBAL time_zone='x', NAMES gbk
2026-11-21T10:00:00.1Z\t    8 Query\tSELECT 2 FROM t WHERE a IN (SELECT 1 ORDER BY 1)
2026-11-21T10:00:00.1Z\t    8 Connect\troot@localhost on d using Socket
2026-11-21T10:00:00.1Z\t    8 Query\tWITH q AS (SELECT REPLACE(a, 1, 2)) SELECT a FROM q ORDER BY a
"""


def test_what_sessions_set() -> None:
    """Each statement under what its own session had set; what is not repeated is counted."""
    heard = read(LOG, "d")
    assert [[u.text for u in s.under] for s in heard.statements] == [
        [],
        ["SET NAMES utf8mb4", "SET SESSION sql_mode=''", "SET @@session.time_zone = '+02:00'",
         "SET @x = (SELECT MAX(a), 1)"],
        ["SET NAMES utf8mb4", "SET @@session.time_zone = '+02:00'", "SET @x = (SELECT MAX(a), 1)",
         "SET sql_mode='ANSI'"],
        []]
    assert set(heard.left_out) == {f"not replayed: SET {n}"
                                   for n in ("autocommit", "GLOBAL time_zone", "NAMES gbk")}
    assert [(s.reads, s.ordered) for s in heard.statements[2:]] == [(True, False), (True, True)]


def test_writes_that_leave_other_rows_on_the_new_schema() -> None:
    def way(which: Way, a: str, b: str, order: str = "") -> Seen:
        found = seen(which, ok(1), ok(2), Ran(3, 2, ("a",), "same", order=order))
        found.columns = {"d.t": frozenset(("id", "a", "b"))}
        found.left = {"d.t": {"id=1": {"id": "1", "a": a, "b": b, "new": a}}}
        found.wrote = {"d.t": {"id=1": [2]}}
        return found

    statements = [*WRITES[:2], Spoken(3, "d", "SELECT a FROM t ORDER BY a", True)]
    said = judge(statements, way(Way.NEITHER, "5", "x", "1"), way(Way.REPLICA, "5", "y", "1"),
                 way(Way.SOURCE, "7", "z", "2"))
    assert said.notes == [
        "statement 3 returns its rows in another order on the new schema",
    ]
    said = judge(statements, way(Way.NEITHER, "5", "x"), way(Way.REPLICA, "5", "x"),
                 way(Way.SOURCE, "7", "x"))
    assert said.notes == ["the same writes leave other rows in d.t (statements 2): row id=1: a is "
                          "7 on the new schema, 5 on the old one"]


def test_bodies_are_no_statements_of_their_own() -> None:
    """A log has what makes a program as one entry; what is in its body was not said then."""
    body = "BEGIN DECLARE v INT DEFAULT 1; DELETE FROM t; IF v THEN DELETE FROM u; END IF; END"
    made = [f"CREATE PROCEDURE p(x INT) {body}",
            f"CREATE DEFINER=`a`@`%` TRIGGER x BEFORE INSERT ON t FOR EACH ROW {body}",
            f"ALTER EVENT e ON SCHEDULE EVERY 1 DAY DO {body}",
            "BEGIN NOT ATOMIC DELETE FROM t; END"]
    heard = chosen("a log", [("1", "d", text) for text in made])
    assert heard.statements == []
    assert sum(heard.left_out.values()) == len(made)
    several = "CREATE TABLE event (a INT); DELETE FROM t"
    assert [s.text for s in chosen("a log", [("1", "d", several)]).statements] == ["DELETE FROM t"]


def test_a_client_of_one_byte_letters() -> None:
    """The log has its bytes, and they mean what they meant; what comes back is read as UTF-8."""
    heard = read("SET NAMES latin1; SELECT 'caf\udce9'; SET NAMES 'latin1' COLLATE latin1_bin", "d")
    assert [u.text for u in heard.statements[0].under] == [
        "SET character_set_client = LATIN1, character_set_connection = LATIN1"]
    assert dict(heard.left_out) == {"not replayed: SET NAMES 'latin1'": 1}
