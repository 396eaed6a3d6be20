"""Reasons not to begin a switchover. Each rule is one function: facts in, reasons out.

Where a rule comes from (which tool has it, or which outage taught it) is in
docs/explanation/guardrails.md, in the same order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from slackwater.facts.failover import PARKED_PORT
from slackwater.facts.pair import CANARY, EXPIRED, LOCKED, PairSeen, ServerSeen
from slackwater.facts.replication import ReplicaStatus
from slackwater.rules.alter_run import says
from slackwater.rules.bars import bars
from slackwater.rules.filters import leaves_out_clients, left_out
from slackwater.rules.roads import wrong_roads

Reasons = Iterable[str]
# Connections that are not clients': ours, replication's, an administrator's.
SPARE_CONNECTIONS = 10
BYPASSING_NAMED = 10
LOOPBACK = ("localhost", "127.0.0.1", "::1")
SHUT = {
    LOCKED: ("error 4151 or 3118", "ALTER USER … ACCOUNT UNLOCK"),
    EXPIRED: ("error 1820 or 1862", "give it its password again"),
}
# The pin is taken a moment before the hold.
PIN_SPARE_S = 2.0
# A row has to arrive on every replica before the switchover is done.
REPLICA_LAG_S = 10.0


@dataclass(frozen=True)
class Wish:
    """What is to be begun: writes move from `old` to `new`; limits in seconds."""

    old: str
    new: str
    lag_s: float
    oldest_transaction_s: float
    settle_bypassing: bool = False
    hold_s: float = 5.0
    change: bool = False  # it is a schema change's own switchover


Rule = Callable[[PairSeen, Wish], Reasons]
RULES: list[Rule] = []


def rule(function: Rule) -> Rule:
    """Register a guardrail; they are asked in the order of this file."""
    RULES.append(function)
    return function


def refusals(seen: PairSeen, wish: Wish) -> list[str]:
    """Every reason not to begin, from every rule; empty when all is well."""
    if wish.old not in seen.servers or wish.new not in seen.servers:
        return list(everything_is_reachable(seen, wish))  # the other rules ask both servers
    return [reason for ask in RULES for reason in ask(seen, wish)]


def roles(seen: PairSeen, to: str | None) -> tuple[str, str] | list[str]:
    """(old, new) for a switchover, or the reasons why nobody can say."""
    reasons = [f"cannot reach {n}: {why}" for n, why in seen.unreachable.items() if n in seen.pair]
    if reasons:
        return reasons
    if to is not None and to not in seen.pair:
        return [f"{to} is not one of the pair's servers ({', '.join(seen.pair)})"]
    active = seen.active()
    if active is None:
        writable = seen.writable()
        if not writable:
            return ["no server of the pair accepts writes: read_only is on everywhere; "
                    "`slackwater recover` finishes what was cut off, or set read_only = 0 on the "
                    "server that the balancers point at"]
        return [f"both {' and '.join(writable)} accept writes: make one read-only first "
                "(SET GLOBAL read_only = 1), and compare their data"]
    if to == active:
        return [f"{to} is the active server already"]
    return active, seen.other(active)


def _pair(seen: PairSeen) -> list[tuple[str, ServerSeen]]:
    return [(n, seen.servers[n]) for n in seen.pair if n in seen.servers]


def _channel(seen: PairSeen, replica: str, source: str) -> ReplicaStatus | None:
    """The channel by which `replica` follows `source`, found by the source's server id.

    A channel that never connected knows no id (0); the only channel there is must be meant.
    """
    source_id = seen.servers[source].facts.server_id
    channels = seen.servers[replica].facts.replication
    known = next((c for c in channels if c.source_server_id == source_id), None)
    if known is None and len(channels) == 1 and not channels[0].source_server_id:
        return channels[0]
    return known


@rule
def everything_is_reachable(seen: PairSeen, wish: Wish) -> Reasons:
    """What cannot be asked cannot be moved safely, nor moved back."""
    for name, why in seen.unreachable.items():
        yield f"cannot reach {name}: {why}"


@rule
def nobody_else_works(seen: PairSeen, wish: Wish) -> Reasons:
    """Two slackwaters at once would undo each other's work."""
    if seen.worked_on:
        yield ("another slackwater works on this pair (its lock is on "
               f"{' and '.join(seen.worked_on)})")


@rule
def it_can_be_recorded(seen: PairSeen, wish: Wish) -> Reasons:
    """What is on no record cannot be undone, or finished, after a crash."""
    if seen.no_record:
        yield (f"{seen.no_record}: set [state] directory in slackwater.toml, or run as a user that "
               "may write there")


@rule
def versions_are_known(seen: PairSeen, wish: Wish) -> Reasons:
    """Only versions whose behaviour was measured."""
    for name, server in _pair(seen):
        reason = server.facts.flavour.unsupported_reason()
        if reason:
            yield f"{name}: {reason}"


@rule
def same_vendor_and_not_older(seen: PairSeen, wish: Wish) -> Reasons:
    """A source newer than its replica may write what the replica cannot read."""
    old, new = (seen.servers[n].facts for n in (wish.old, wish.new))
    if old.flavour.vendor != new.flavour.vendor:
        yield f"{wish.old} is {old.flavour}, {wish.new} is {new.flavour}: not the same vendor"
    elif new.flavour.older_series_than(old.flavour):
        yield (f"{wish.new} ({new.flavour}) is older than {wish.old} ({old.flavour}): it could "
               "not be replicated back; upgrade it first")


@rule
def server_ids_differ(seen: PairSeen, wish: Wish) -> Reasons:
    """Servers with the same id ignore each other's events."""
    names: dict[int, list[str]] = {}
    for name, server in seen.servers.items():
        names.setdefault(server.facts.server_id, []).append(name)
    for server_id, same in names.items():
        if len(same) > 1:
            yield f"{' and '.join(same)} have the same server_id {server_id}: give each its own"


@rule
def addresses_answer(seen: PairSeen, wish: Wish) -> Reasons:
    """slackwater knocks at the old server's address while clients are held."""
    for name, server in _pair(seen):
        at = server.at_address
        if at is None:
            continue
        if at.error and name == wish.old:
            yield (f"{name} does not answer at its address {at.address}, though it does by its "
                   f"socket: {at.error}")
        if at.server_id not in (None, server.facts.server_id):
            yield (f"at the address of {name}, {at.address}, another server answers than by its "
                   f"socket (server_id {at.server_id}, not {server.facts.server_id})")


@rule
def binary_logs_are_on(seen: PairSeen, wish: Wish) -> Reasons:
    """Each must be able to be the other's source, and pass on what it replicates."""
    for name, server in _pair(seen):
        if not server.facts.log_bin:
            yield f"{name}: the binary log is off (log_bin)"
        elif not server.facts.log_replica_updates:
            yield f"{name}: log_replica_updates (log_slave_updates) is off"
        if server.facts.gtid_mode != "ON":
            yield f"{name}: gtid_mode is {server.facts.gtid_mode}, not ON"
        filters = [f for f in server.binlog_filters if leaves_out_clients(f)]
        if filters:
            names = ", ".join(f"{option} = {value}" for option, value in filters)
            yield (f"{name} leaves databases out of its binary log ({names}): what is written to "
                   "them does not arrive on the other server")


@rule
def passive_replicates(seen: PairSeen, wish: Wish) -> Reasons:
    """The new server must be following the old one now."""
    yield from _replicates(seen, wish.new, wish.old)


@rule
def way_back_replicates(seen: PairSeen, wish: Wish) -> Reasons:
    """The old server must follow the new one from the first moment on."""
    yield from _replicates(seen, wish.old, wish.new)
    meant = _channel(seen, wish.old, wish.new)
    for channel in seen.servers[wish.old].facts.replication:
        if meant is not None and channel is not meant and not channel.running:
            why = "; ".join(channel.errors) or "stopped"
            yield (f"{wish.old}: its other channel, {channel.channel!r} from "
                   f"{channel.source_host}:{channel.source_port}, does not run: {why}: the "
                   "switchover would start it; start or remove it yourself first")


def _replicates(seen: PairSeen, replica: str, source: str) -> Reasons:
    channel = _channel(seen, replica, source)
    if channel is None:
        yield (f"{replica} does not replicate from {source}: set the pair up both ways "
               "(docs/howto/prepare-a-pair.md)")
        return
    if channel.source_port == PARKED_PORT:
        yield (f"{replica} follows nobody since a failover: `slackwater pair rejoin` brings "
               f"{source} back")
        return
    if not channel.io_running:
        yield f"{replica}: replication's I/O thread does not run: {channel.io_error or 'stopped'}"
    if not channel.sql_running:
        yield f"{replica}: replication's SQL thread does not run: {channel.sql_error or 'stopped'}"
    if not channel.auto_position:
        yield f"{replica} replicates by file and position, not by GTID"
    if channel.delay_s:
        yield f"{replica} is a delayed replica (by {channel.delay_s} s)"
    if channel.filters:
        names = ", ".join(f"{column} = {value}" for column, value in channel.filters)
        yield (f"{replica} has replication filters ({names}): what they leave out would be missing "
               "after the switchover")


@rule
def replicas_follow(seen: PairSeen, wish: Wish) -> Reasons:
    """A further replica that does not replicate now would be found out past the commit point."""
    ids = {seen.servers[n].facts.server_id for n in seen.pair if n in seen.servers}
    for name in seen.replicas:
        if name not in seen.servers:
            continue  # unreachable, which another rule says
        channels = seen.servers[name].facts.replication
        following = [c for c in channels if c.source_server_id in ids]
        if not following:
            yield f"replica {name} follows neither {wish.old} nor {wish.new}"
        for channel in following:
            if not channel.running:
                why = "; ".join(channel.errors) or "stopped"
                yield f"replica {name}: replication does not run: {why}"
            elif why_not := _hears_late(channel):
                yield (f"replica {name} {why_not}: a row would not arrive there in time to prove "
                       "that it follows; take it out of the pair's `replicas` in slackwater.toml")


def _hears_late(channel: ReplicaStatus) -> str:
    """Why a row of ours does not soon arrive by this channel; "" when it does."""
    if channel.delay_s:
        return f"is a delayed replica (by {channel.delay_s} s)"
    if filtered := left_out(CANARY, channel.filters):
        return f"leaves {CANARY} out ({filtered})"
    if (channel.seconds_behind or 0) > REPLICA_LAG_S:
        return f"is {channel.seconds_behind} s behind"
    return ""


@rule
def lag_is_small(seen: PairSeen, wish: Wish) -> Reasons:
    """What lags must be waited for while clients are held."""
    channel = _channel(seen, wish.new, wish.old)
    if channel is None or not channel.sql_running:
        return
    if channel.seconds_behind is None:
        yield f"{wish.new}: the server does not know its lag (Seconds_Behind is NULL)"
    elif channel.seconds_behind > max(wish.lag_s, 1):
        yield f"{wish.new} is {channel.seconds_behind} s behind; the limit is {wish.lag_s:g} s"


@rule
def no_errant_transactions(seen: PairSeen, wish: Wish) -> Reasons:
    """What only the passive has would conflict, or break replication, later."""
    old, new = (seen.servers[n].facts.executed for n in (wish.old, wish.new))
    if type(old) is not type(new):
        return  # not the same vendor, which another rule says
    if not old.contains(new):  # type: ignore[arg-type]  # both of one kind
        errant = new.subtract(old)  # type: ignore[arg-type]
        yield (f"{wish.new} has transactions that {wish.old} lacks ({errant}): somebody "
               "wrote to the passive server; bring them over or remove them first")


@rule
def nothing_long_runs(seen: PairSeen, wish: Wish) -> Reasons:
    """An old transaction would outlast the grace and be cut; a long statement delays the lock."""
    for name in (wish.old, wish.new):
        server = seen.servers[name]
        by_id = {s.id: s for s in server.sessions}
        for session_id, age_s in server.transactions.items():
            if age_s > wish.oldest_transaction_s and session_id in by_id:
                yield (f"{name}: {by_id[session_id].who()} has a transaction open for "
                       f"{age_s:.0f} s (limit {wish.oldest_transaction_s:g} s)")
        for session in server.sessions:
            if not session.sleeping and (session.running_s or 0) > wish.oldest_transaction_s:
                yield (f"{name}: {session.who()} has run one statement for "
                       f"{session.running_s or 0:.0f} s: {session.info}")


@rule
def nothing_prepared(seen: PairSeen, wish: Wish) -> Reasons:
    """A prepared XA transaction holds locks, and cannot be committed on a read-only server."""
    for name, server in _pair(seen):
        if server.prepared_xa is None:
            yield (f"{name}: cannot tell whether XA transactions are prepared: slackwater's "
                   "account needs XA_RECOVER_ADMIN")
        if server.prepared_xa:
            yield (f"{name} has {server.prepared_xa} prepared XA transaction(s): "
                   "XA RECOVER lists them")


@rule
def nobody_writes_past_read_only(seen: PairSeen, wish: Wish) -> Reasons:
    """Accounts with SUPER or READ ONLY ADMIN write in spite of read_only."""
    for name in (wish.old, wish.new):
        server = seen.servers[name]
        connected = {s.user for s in server.sessions} & set(server.privileged)
        for user in sorted(connected):
            yield (f"{name}: {user} is connected and may write in spite of read_only (SUPER or "
                   "READ ONLY ADMIN): take that privilege from it, or disconnect it")


@rule
def clients_have_accounts(seen: PairSeen, wish: Wish) -> Reasons:
    """A client whose account only the old server has cannot log in to the new one."""
    old, new = seen.servers[wish.old], seen.servers[wish.new]
    if old.accounts is None or new.accounts is None:
        return
    there = {user for user, _, _ in new.accounts}
    connected = {s.user for s in old.sessions}
    # A role of MariaDB has no host. Who replicates, or comes from the server's own machine, is no
    # client, unless it is connected: a balancer may be there too.
    needed = {user for user, host, replicates in old.accounts
              if host and (user in connected or not (replicates or host in LOOPBACK))}
    for user in sorted(needed - there) if "" not in there else ():
        yield (f"{wish.new} has no account {user}, which {wish.old} has: its clients would get "
               f"error 1045 after the switchover; make it on {wish.new} too, or drop it")


@rule
def accounts_are_open(seen: PairSeen, wish: Wish) -> Reasons:
    """A client whose account is locked or expired only on the new server is lost there."""
    old, new = seen.servers[wish.old], seen.servers[wish.new]
    connected = {s.user for s in old.sessions}
    for user, host, _ in sorted(old.accounts or ()):
        why = new.shut.get((user, host))
        of_the_machine = host in LOOPBACK and user not in connected
        if why is None or (user, host) in old.shut or of_the_machine:
            continue
        error, mend = SHUT[why]
        yield (f"{wish.new}: the account {user}@{host} is {why} there, and not on {wish.old}: who "
               f"comes with it would get {error} after the switchover; {mend} on {wish.new} "
               "(with sql_log_bin = 0)")


@rule
def new_server_lets_clients_in(seen: PairSeen, wish: Wish) -> Reasons:
    """A setting of the new server alone may keep clients out that slackwater itself passes."""
    old, new = (seen.servers[n].facts for n in (wish.old, wish.new))
    yield from bars(old, new)


@rule
def no_events(seen: PairSeen, wish: Wish) -> Reasons:
    """Scheduled events would run on the wrong server, or on none."""
    for name in (wish.old, wish.new):
        count = seen.servers[name].enabled_events
        if count:
            yield (f"{name} has {count} enabled event(s) and a running event scheduler: they would "
                   "not move with the writes; SET GLOBAL event_scheduler = OFF on both first, and "
                   f"afterwards, before it is ON again, ALTER EVENT … ENABLE on {wish.new}")


@rule
def room_for_everyone(seen: PairSeen, wish: Wish) -> Reasons:
    """All clients come to the new server at once."""
    old, new = seen.servers[wish.old].facts, seen.servers[wish.new].facts
    if new.max_connections < old.max_connections:
        yield (f"{wish.new} allows {new.max_connections} connections, {wish.old} "
               f"{old.max_connections}: make them equal")
    limits = {n: b.state.servers[wish.new].limit for n, b in seen.balancers.items()
              if wish.new in b.state.servers}
    for name, limit in limits.items():
        if not limit:
            yield (f"balancer {name} lets in any number of clients at once: those above "
                   f"max_connections would get error 1040 after the hold; give server {wish.new} "
                   "a maxconn (`slackwater balancer show` does)")
    if sum(limits.values()) > new.max_connections - SPARE_CONNECTIONS:
        yield (f"the balancers let in up to {sum(limits.values())} clients at once, but {wish.new} "
               f"allows {new.max_connections} connections, of which {SPARE_CONNECTIONS} are for "
               "others: lower maxconn or raise max_connections")
    for name, server in _pair(seen):
        if server.facts.threads_connected > server.facts.max_connections - SPARE_CONNECTIONS:
            yield (f"{name} has {server.facts.threads_connected} of "
                   f"{server.facts.max_connections} connections in use")


@rule
def pin_outlasts_the_hold(seen: PairSeen, wish: Wish) -> Reasons:
    """The pin is a client that does not log in: the server ends it after connect_timeout."""
    timeout_s = seen.servers[wish.old].facts.connect_timeout_s
    if 0 < timeout_s < wish.hold_s + PIN_SPARE_S:
        yield (f"{wish.old}: connect_timeout is {timeout_s} s, too short for a hold of "
               f"{wish.hold_s:g} s: SET GLOBAL connect_timeout = 10, or a shorter hold")


@rule
def starts_read_only(seen: PairSeen, wish: Wish) -> Reasons:
    """A server that restarts must not accept writes by itself, beside the other one."""
    for name, server in _pair(seen):
        if server.read_only_unset and not server.facts.read_only:
            yield (f"{name} would accept writes after a restart: read_only = ON is not in its "
                   "option file (docs/howto/prepare-a-pair.md)")
        if server.persisted_writable:
            yield (f"{name} may accept writes after a restart: read_only = OFF was persisted "
                   "there, which overrules read_only in its option file: RESET PERSIST read_only")


@rule
def own_privileges(seen: PairSeen, wish: Wish) -> Reasons:
    """slackwater finds out now, and not in the middle, that it may not do a thing."""
    for name, server in seen.servers.items():
        if server.missing_privileges:
            yield f"{name}: slackwater's account lacks {', '.join(server.missing_privileges)}"


@rule
def no_cluster(seen: PairSeen, wish: Wish) -> Reasons:
    """Galera and Group Replication have a primary of their own choosing."""
    for name, server in _pair(seen):
        variables = server.facts.variables
        if variables.get("wsrep_on", "OFF").upper() in ("ON", "1"):
            yield f"{name} is a Galera node, not one of an active-passive pair"
        if variables.get("group_replication_group_name"):
            yield f"{name} is a member of a replication group, not one of an active-passive pair"


@rule
def balancers_can_hold(seen: PairSeen, wish: Wish) -> Reasons:
    """Each balancer must have what a hold needs."""
    for name, balancer in seen.balancers.items():
        for lack in balancer.lacks:
            yield f"balancer {name}: {lack}"
        if balancer.state.holding:
            yield f"balancer {name}: a hold is in force already; it ends by itself"


@rule
def balancers_agree(seen: PairSeen, wish: Wish) -> Reasons:
    """What the database says and where the balancers send clients must be one and the same."""
    for name, balancer in seen.balancers.items():
        state = balancer.state
        if not state.holding and state.active != wish.old:
            yield (f"balancer {name} sends clients to {state.active or 'nobody'}, but "
                   f"{wish.old} is the one that accepts writes")
        if balancer.answers is not None and balancer.answers != wish.old:
            yield f"balancer {name}: behind its frontend answers {balancer.answers}"


@rule
def balancers_know_the_servers(seen: PairSeen, wish: Wish) -> Reasons:
    """A balancer that has another address of a server loses the clients that it sends there."""
    yield from wrong_roads(seen)


@rule
def nobody_bypasses(seen: PairSeen, wish: Wish) -> Reasons:
    """Who does not come through a balancer is neither held nor sent to the new server."""
    if wish.settle_bypassing:
        return
    many = len(seen.bypassing) - BYPASSING_NAMED
    for session in seen.bypassing[:BYPASSING_NAMED]:
        yield (f"{wish.old}: {session.who()} is connected past the balancers, or by an old process "
               "that a reload of HAProxy left: have it use them, or close such sessions too with "
               "--settle-bypassing")
    if many > 0:
        users = ", ".join(sorted({s.user for s in seen.bypassing}))
        yield f"{wish.old}: {many} more sessions are connected past the balancers (all: {users})"
    if seen.passing is not None and not seen.bypassing:
        who = f" (seen: {', '.join(seen.passing.who[:5])})" if seen.passing.who else ""
        yield (f"{wish.old}: some {seen.passing.per_s:.0f} connections a second come past the "
               f"balancers and end soon{who}: after the switchover each would find a read-only "
               "server; have them use the balancers, or accept that with --settle-bypassing")


@rule
def no_change_half_done(seen: PairSeen, wish: Wish) -> Reasons:
    """While schemas differ, going back may lose what only the new one holds."""
    if seen.change is not None and not wish.change:
        yield f"a schema change is open: {says(seen.change, seen.active())}"
