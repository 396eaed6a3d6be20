"""Each guardrail alone: it says nothing of a healthy pair, and one clear reason of a sick one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from tests.rules.builder import WISH, balancer, channel, pair, server, session

from slackwater.facts.alter_state import Change
from slackwater.facts.pair import AtAddress, Passing, Road
from slackwater.rules import guardrails
from slackwater.rules.guardrails import RULES, refusals, roles

CHANGE = Change("1", "half done", 0.0, "shop", ("ALTER TABLE t FORCE",), "b", "a")

MYSQL = {"version": "8.0.36", "variables": {"log_replica_updates": "ON", "super_read_only": "OFF"}}


def b(*channels, **changes):
    return server("b", *(channels or (channel("a"),)), **changes)


def a(*channels, **changes):
    return server("a", *(channels or (channel("b"),)), **changes)


def variables(**values):
    return {"variables": {k: str(v) for k, v in values.items()}}


BUSY = session(command="Query", idle_ms=None, running_s=60.0, info="SELECT SLEEP(100)")


NO_SUCH = Road("10.0.0.2:3306", None, None)
OLD_ADDRESS = Road("10.0.0.2:3306", "10.0.0.9:3306", "10.0.0.9:3306")
OLD_IN_FILE = Road("10.0.0.2:3306", "10.0.0.2:3306", "10.0.0.9:3306")


def with_replica(*channels):
    servers = {"a": a(), "b": b(), "r": server("r", *channels)}
    return pair(servers=servers, replicas=("r",))


# rule, the pair that it refuses, what it says
CASES = [
    ("everything_is_reachable", pair(unreachable={"balancer lb1": "no route"}),
     "cannot reach balancer lb1: no route"),
    ("nobody_else_works", pair(worked_on=("a", "b")),
     "another slackwater works on this pair (its lock is on a and b)"),
    ("it_can_be_recorded", pair(no_record="cannot write in the state directory /var/lib/sw"),
     "cannot write in the state directory /var/lib/sw: set [state] directory"),
    ("versions_are_known", pair(b=b(version="10.4.8-MariaDB")),
     "b: MariaDB 10.4.8 is too old: slackwater needs at least 10.5"),
    ("versions_are_known", pair(a=a(version="5.7.1"), b=b(version="5.7.30")),
     "a: MySQL 5.7.1 is too old: slackwater needs at least 5.7.8"),
    ("same_vendor_and_not_older", pair(b=b(version="8.0.36")),
     "a is MariaDB 10.11.6, b is MySQL 8.0.36: not the same vendor"),
    ("same_vendor_and_not_older", pair(b=b(version="10.6.9-MariaDB")),
     "b (MariaDB 10.6.9) is older than a (MariaDB 10.11.6): it could not be replicated back"),
    ("server_ids_differ", pair(b=b(**variables(server_id=1))),
     "a and b have the same server_id 1: give each its own"),
    ("server_ids_differ", pair(b=b(**variables(server_id=1)), a=a()), "same server_id 1"),
    ("replicas_follow", with_replica(), "replica r follows neither a nor b"),
    ("replicas_follow", with_replica(channel("a", sql_running=False, sql_error="1062: twice")),
     "replica r: replication does not run: 1062: twice"),
    ("replicas_follow", with_replica(channel("a", delay_s=600)),
     "replica r is a delayed replica (by 600 s): a row would not arrive there in time"),
    ("replicas_follow", with_replica(channel("a", filters=(("Replicate_Do_DB", "shop"),))),
     "replica r leaves slackwater.canary out (Replicate_Do_DB = shop): a row would not arrive"),
    ("replicas_follow", with_replica(channel("a", seconds_behind=90)),
     "replica r is 90 s behind: a row would not arrive there in time"),
    ("addresses_answer", pair(a=a(at_address=AtAddress("10.0.0.1:3306", "no answer in time"))),
     "a does not answer at its address 10.0.0.1:3306, though it does by its socket: no answer"),
    ("addresses_answer", pair(b=b(at_address=AtAddress("10.0.0.2:3306", server_id=9))),
     "at the address of b, 10.0.0.2:3306, another server answers than by its socket (server_id 9"),
    ("binary_logs_are_on", pair(b=b(**variables(log_bin="OFF"))),
     "b: the binary log is off (log_bin)"),
    ("binary_logs_are_on", pair(a=a(**variables(log_slave_updates="OFF"))),
     "a: log_replica_updates (log_slave_updates) is off"),
    ("binary_logs_are_on", pair(a=a(version="5.7.30", **variables(gtid_mode="ON_PERMISSIVE"))),
     "a: gtid_mode is ON_PERMISSIVE, not ON"),
    ("binary_logs_are_on", pair(a=a(binlog_filters=(("Binlog_Ignore_DB", "mysql,log"),))),
     "a leaves databases out of its binary log (Binlog_Ignore_DB = mysql,log): what is written"),
    ("passive_replicates", pair(b=server("b")),
     "b does not replicate from a: set the pair up both ways"),
    ("passive_replicates", pair(b=b(channel("r"))), "b does not replicate from a"),
    ("passive_replicates", pair(b=b(channel("a", io_running=False, io_error="1236: purged"))),
     "b: replication's I/O thread does not run: 1236: purged"),
    ("passive_replicates",
     pair(b=b(channel("a", source_server_id=0, io_running=False, io_error="2003: refused"))),
     "b: replication's I/O thread does not run: 2003: refused"),
    ("passive_replicates", pair(b=b(channel("a", sql_running=False))),
     "b: replication's SQL thread does not run: stopped"),
    ("passive_replicates", pair(b=b(channel("a", auto_position=False))),
     "b replicates by file and position, not by GTID"),
    ("passive_replicates", pair(b=b(channel("a", delay_s=3600))),
     "b is a delayed replica (by 3600 s)"),
    ("passive_replicates", pair(b=b(channel("a", filters=(("Replicate_Do_DB", "shop"),)))),
     "b has replication filters (Replicate_Do_DB = shop)"),
    ("way_back_replicates", pair(a=server("a")), "a does not replicate from b"),
    ("way_back_replicates", pair(a=a(channel("b", io_running=False))),
     "a: replication's I/O thread does not run: stopped"),
    ("way_back_replicates",
     pair(a=a(channel("b"), channel("r", channel="other", sql_running=False))),
     "a: its other channel, 'other' from 10.0.0.3:3306, does not run: stopped"),
    ("lag_is_small", pair(b=b(channel("a", seconds_behind=30))),
     "b is 30 s behind; the limit is 1 s"),
    ("lag_is_small", pair(b=b(channel("a", seconds_behind=None))),
     "b: the server does not know its lag"),
    ("no_errant_transactions", pair(b=b(executed="0-2-101")),
     "b has transactions that a lacks (0-2-101): somebody wrote to the passive server"),
    ("no_errant_transactions", pair(b=b(executed="0-1-100,7-2-1")),
     "b has transactions that a lacks (7-2-1)"),
    ("nothing_long_runs", pair(a=a(sessions=(session(),), transactions={7: 90.4})),
     "a: app@10.0.0.7:53412 [session 7] has a transaction open for 90 s (limit 5 s)"),
    ("nothing_long_runs", pair(b=b(sessions=(BUSY,))),
     "b: app@10.0.0.7:53412 [session 7] has run one statement for 60 s: SELECT SLEEP(100)"),
    ("nothing_prepared", pair(a=a(prepared_xa=2)), "a has 2 prepared XA transaction(s)"),
    ("nothing_prepared", pair(b=b(prepared_xa=1)), "b has 1 prepared XA transaction(s)"),
    ("nothing_prepared", pair(a=a(prepared_xa=None)),
     "a: cannot tell whether XA transactions are prepared"),
    ("pin_outlasts_the_hold", pair(a=a(**variables(connect_timeout=6))),
     "a: connect_timeout is 6 s, too short for a hold of 5 s"),
    ("starts_read_only", pair(a=a(read_only_unset=True)),
     "a would accept writes after a restart: read_only = ON is not in its option file"),
    ("starts_read_only", pair(b=b(persisted_writable=True)),
     "b may accept writes after a restart: read_only = OFF was persisted there"),
    ("nobody_writes_past_read_only",
     pair(a=a(sessions=(session(user="root"),), privileged=("root", "dba"))),
     "a: root is connected and may write in spite of read_only"),
    ("clients_have_accounts", pair(a=a(accounts=(("app", "10.%", False),)), b=b(accounts=())),
     "b has no account app, which a has: its clients would get error 1045"),
    ("accounts_are_open",
     pair(a=a(accounts=(("app", "10.%", False),)), b=b(shut={("app", "10.%"): "locked"})),
     "b: the account app@10.% is locked there, and not on a: who comes with it would get error 41"),
    ("new_server_lets_clients_in", pair(b=b(**variables(offline_mode="ON"))),
     "b: offline_mode is on: clients would get error 3032"),
    ("new_server_lets_clients_in", pair(b=b(**variables(require_secure_transport="ON"))),
     "b: require_secure_transport is on, and not on a: clients without TLS"),
    ("new_server_lets_clients_in",
     pair(b=b(**variables(transaction_read_only="ON", tx_read_only="ON"))),
     "b: transaction_read_only is on: writes of new sessions would get error 1792"),
    ("new_server_lets_clients_in", pair(b=b(**variables(max_user_connections="20"))),
     "b allows 20 connections an account (max_user_connections), a any number"),
    ("no_events", pair(b=b(enabled_events=3)),
     "b has 3 enabled event(s) and a running event scheduler"),
    ("no_events", pair(a=a(enabled_events=1)),
     "on both first, and afterwards, before it is ON again, ALTER EVENT … ENABLE on b"),
    ("room_for_everyone", pair(b=b(**variables(max_connections=480))),
     "b allows 480 connections, a 500: make them equal"),
    ("room_for_everyone", pair(balancers={"lb1": balancer(limit=0)}),
     "balancer lb1 lets in any number of clients at once"),
    ("room_for_everyone", pair(balancers={"l1": balancer(limit=300), "l2": balancer(limit=300)}),
     "the balancers let in up to 600 clients at once, but b allows 500"),
    ("room_for_everyone", pair(a=a(threads=495)), "a has 495 of 500 connections in use"),
    ("own_privileges", pair(b=b(missing_privileges=("SUPER", "RELOAD"))),
     "b: slackwater's account lacks SUPER, RELOAD"),
    ("no_cluster", pair(a=a(**variables(wsrep_on="ON"))), "a is a Galera node"),
    ("no_cluster", pair(a=a(**variables(group_replication_group_name="8a94f357"))),
     "a is a member of a replication group"),
    ("balancers_can_hold", pair(balancers={"lb1": balancer(lacks=("no Lua",))}),
     "balancer lb1: no Lua"),
    ("balancers_can_hold", pair(balancers={"lb1": balancer(holding=True, answers=None)}),
     "balancer lb1: a hold is in force already; it ends by itself"),
    ("balancers_agree", pair(balancers={"lb1": balancer("b", answers="a")}),
     "balancer lb1 sends clients to b, but a is the one that accepts writes"),
    ("balancers_agree", pair(balancers={"lb1": balancer(None)}),
     "balancer lb1 sends clients to nobody, but a is"),
    ("balancers_agree", pair(balancers={"lb1": balancer(answers="b")}),
     "balancer lb1: behind its frontend answers b"),
    ("balancers_know_the_servers", pair(balancers={"lb1": balancer(roads={"b": OLD_ADDRESS})}),
     "balancer lb1 has server b at 10.0.0.9:3306, but slackwater.toml at 10.0.0.2:3306: clients"),
    ("balancers_know_the_servers", pair(balancers={"lb1": balancer(roads={"b": NO_SUCH})}),
     "balancer lb1 has no server b: `slackwater balancer install lb1`"),
    ("balancers_know_the_servers", pair(balancers={"lb1": balancer(roads={"b": OLD_IN_FILE})}),
     "the file of balancer lb1 has server b at 10.0.0.9:3306, but slackwater.toml at 10.0.0.2:330"),
    ("nobody_bypasses", pair(bypassing=(session(program="mysqldump"),)),
     "a: app@10.0.0.7:53412 (mysqldump) [session 7] is connected past the balancers, or by an "
     "old process that a reload of HAProxy left: have it use them"),
    ("nobody_bypasses", pair(passing=Passing(40.2, ("app@10.0.0.9",))),
     "a: some 40 connections a second come past the balancers and end soon (seen: app@10.0.0.9)"),
    ("no_change_half_done", pair(change=CHANGE), "a schema change is open: half done: b has the"),
]  # fmt: skip


def ask(name, seen, wish=WISH):
    return list(getattr(guardrails, name)(seen, wish))


@pytest.mark.parametrize("rule", RULES, ids=lambda r: r.__name__)
def test_says_nothing_of_a_healthy_pair(rule):
    assert list(rule(pair(), WISH)) == []


@pytest.mark.parametrize(("name", "seen", "said"), CASES, ids=[c[0] for c in CASES])
def test_refuses(name, seen, said):
    reasons = ask(name, seen)
    assert len(reasons) == 1
    assert said in reasons[0]


@pytest.mark.parametrize(("name", "seen", "said"), CASES, ids=[c[0] for c in CASES])
def test_the_whole_list_has_that_reason_and_never_breaks(name, seen, said):
    assert any(said in reason for reason in refusals(seen, WISH))


def test_every_rule_has_a_case_a_docstring_and_a_line_in_the_docs():
    names = {rule.__name__ for rule in RULES}
    assert {case[0] for case in CASES} == names
    page = Path(__file__).parents[2] / "docs/explanation/guardrails.md"
    rows = [line.split("`")[1] for line in page.read_text().splitlines() if line.startswith("| `")]
    assert rows == [rule.__name__ for rule in RULES]
    for rule in RULES:
        first = (rule.__doc__ or "").splitlines()[0]
        assert first and first in page.read_text()


# What a rule must let pass.


def test_newer_passive_is_fine():
    assert ask("same_vendor_and_not_older", pair(b=b(version="11.8.2-MariaDB"))) == []
    assert ask("same_vendor_and_not_older", pair(b=b(version="10.11.2-MariaDB"))) == []


def test_a_pin_that_lasts_and_a_read_only_that_somebody_set_are_fine():
    assert ask("pin_outlasts_the_hold", pair(a=a(**variables(connect_timeout=10)))) == []
    short = replace(WISH, hold_s=2.0)
    assert ask("pin_outlasts_the_hold", pair(a=a(**variables(connect_timeout=5))), short) == []
    for told in (None, False):
        assert ask("starts_read_only", pair(a=a(read_only_unset=told))) == []
    implied = pair(b=b(read_only_unset=True))  # by super_read_only in the file
    assert ask("starts_read_only", implied) == []


def test_an_address_that_is_its_own_and_one_that_nobody_knocks_at_are_fine():
    for fine in (AtAddress("10.0.0.1:3306", server_id=1), AtAddress("10.0.0.1:3306")):
        assert ask("addresses_answer", pair(a=a(at_address=fine))) == []
    passive = b(at_address=AtAddress("10.0.0.2:3306", "no route from here"))
    assert ask("addresses_answer", pair(b=passive)) == []


def test_lag_below_the_limit_is_fine():
    seen = pair(b=b(channel("a", seconds_behind=1)))
    assert ask("lag_is_small", seen) == []
    assert ask("lag_is_small", seen, replace(WISH, lag_s=0.2)) == [], "it tells whole seconds only"
    stopped = pair(b=b(channel("a", sql_running=False, seconds_behind=None)))
    assert ask("lag_is_small", stopped) == [], "another rule says that"


def test_what_the_active_is_ahead_is_fine():
    assert ask("no_errant_transactions", pair(b=b(executed="0-1-90"))) == []


def test_a_young_transaction_and_a_session_at_rest_are_fine():
    old_rest = session(idle_ms=1e7)
    assert ask("nothing_long_runs", pair(a=a(sessions=(old_rest,), transactions={7: 2.0}))) == []


def test_an_applier_in_a_long_transaction_is_nobody_to_wait_for():
    assert ask("nothing_long_runs", pair(b=b(transactions={99: 600.0}))) == []


def test_privileged_accounts_that_are_not_connected_are_fine():
    assert ask("nobody_writes_past_read_only", pair(a=a(privileged=("root",)))) == []


def test_accounts_of_the_machine_itself_of_replicas_and_roles_need_not_be_on_both_servers():
    own = (("backup", "localhost", False), ("reader", "", False), ("replica_b", "10.0.0.2", True))
    assert ask("clients_have_accounts", pair(a=a(accounts=own), b=b(accounts=()))) == []
    connected = (session(user="backup"),)
    assert ask("clients_have_accounts",
               pair(a=a(accounts=own, sessions=connected), b=b(accounts=()))) != []
    anyone = (("app", "%", False),)
    assert ask("clients_have_accounts",
               pair(a=a(accounts=anyone), b=b(accounts=(("", "%", False),)))) == []
    assert ask("clients_have_accounts", pair(a=a(accounts=anyone), b=b(accounts=None))) == []


def test_an_account_that_is_locked_on_both_or_on_the_old_server_alone_is_not_the_switchovers():
    accounts, locked = (("app", "%", False),), {("app", "%"): "locked"}
    assert ask("accounts_are_open",
               pair(a=a(accounts=accounts, shut=locked), b=b(shut=locked))) == []
    assert ask("accounts_are_open", pair(a=a(accounts=accounts, shut=locked))) == []
    assert ask("accounts_are_open", pair(a=a(), b=b(shut=locked))) == []


def test_what_is_the_same_on_both_or_of_the_old_server_alone_keeps_nobody_out():
    strict = variables(require_secure_transport="ON", max_user_connections="20")
    assert ask("new_server_lets_clients_in", pair(a=a(**strict), b=b(**strict))) == []
    assert ask("new_server_lets_clients_in", pair(a=a(**strict))) == []


def test_a_binary_log_without_the_servers_own_databases_and_a_filter_beside_ours_are_fine():
    own = (("Binlog_Ignore_DB", "mysql,sys"),)
    assert ask("binary_logs_are_on", pair(a=a(binlog_filters=own))) == []
    beside = with_replica(channel("a", filters=(("Replicate_Ignore_DB", "tmp"),)))
    assert ask("replicas_follow", beside) == []


def test_bypassing_is_allowed_when_it_is_asked_for():
    wish = replace(WISH, settle_bypassing=True)
    assert ask("nobody_bypasses", pair(bypassing=(session(),)), wish) == []


def test_a_crowd_past_the_balancers_is_counted():
    *named, rest = ask("nobody_bypasses", pair(bypassing=(session(),) * 317))
    assert len(named) == 10
    assert rest == "a: 307 more sessions are connected past the balancers (all: app)"


def test_all_reasons_at_once():
    seen = pair(a=server("a"), b=b(missing_privileges=("SUPER",)),
                bypassing=(session(),), unreachable={"r": "down"})
    reasons = refusals(seen, WISH)
    assert len(reasons) == 4
    assert reasons[0] == "cannot reach r: down"


def test_a_server_that_was_not_seen_is_a_reason_and_no_traceback():
    seen = pair(unreachable={"b": "connection refused"})
    seen = replace(seen, servers={"a": seen.servers["a"]})
    assert refusals(seen, WISH) == ["cannot reach b: connection refused"]


# Who is old and who is new.


@pytest.mark.parametrize(
    ("seen", "to", "said"),
    [
        (pair(), "c", "c is not one of the pair's servers (a, b)"),
        (pair(), "a", "a is the active server already"),
        (pair(a=a(**variables(read_only="ON"))), None, "no server of the pair accepts writes"),
        (pair(b=b(**variables(read_only="OFF"))), None, "both a and b accept writes"),
        (pair(unreachable={"b": "no route"}), None, "cannot reach b: no route"),
    ],
)
def test_nobody_can_say_who(seen, to, said):
    [reason] = roles(seen, to)
    assert said in reason


@pytest.mark.parametrize("to", [None, "b"])
def test_roles(to):
    assert roles(pair(), to) == ("a", "b")
    swapped = pair(a=a(**variables(read_only="ON")), b=b(**variables(read_only="OFF")))
    assert roles(swapped, None) == ("b", "a")


def test_an_unreachable_replica_does_not_hide_who_is_who():
    assert roles(pair(unreachable={"r": "down"}), None) == ("a", "b")
