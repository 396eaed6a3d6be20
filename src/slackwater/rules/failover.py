"""Whether a failover may be begun: who is dead, who takes over, and every reason against it."""

from __future__ import annotations

from collections.abc import Iterable

from slackwater.facts.failover import (
    PARKED_PORT,
    REFUSES_US,
    BalancerView,
    FailoverSeen,
    Seen,
    Sight,
)

Reasons = Iterable[str]


def roles(
    sights: dict[str, Seen], says: dict[str, str | None], to: str | None
) -> tuple[str, str] | list[str]:
    """(old, new), or the reasons why nobody can say. `says`: balancer -> server it sends to."""
    names = list(sights)
    if to is not None and to not in names:
        return [f"{to} is not one of the pair's servers ({', '.join(names)})"]
    serving = [n for n in names if sights[n].sight is Sight.SERVES]
    if len(serving) == 2:
        return [f"both {' and '.join(serving)} accept writes: make one read-only first, and "
                "compare their data"]
    if serving:
        old = serving[0]
        new = names[1 - names.index(old)]
        if to == old:
            return [f"{to} is alive and accepts writes: it is the active server already"]
    elif to is not None:
        new, old = to, names[1 - names.index(to)]
    else:
        found = _by_silence(names, sights, says)
        if isinstance(found, list):
            return found
        old, new = found
    if sights[new].sight is not Sight.READ_ONLY:
        alive = f", and {old} is alive: {sights[old]}" if sights[old].sight.alive else ""
        return [f"there is nothing to promote: {new}: {sights[new]}{alive}"]
    return old, new


def _by_silence(
    names: list[str], sights: dict[str, Seen], says: dict[str, str | None]
) -> tuple[str, str] | list[str]:
    """Nobody accepts writes: who is left, or whom the balancers do not send to, takes over."""
    left = [n for n in names if sights[n].sight is Sight.READ_ONLY]
    if not left:
        return ["there is nothing to promote: " + "; ".join(f"{n}: {sights[n]}" for n in names)]
    if len(left) == 1:
        return names[1 - names.index(left[0])], left[0]
    sent = {s for s in says.values() if s in names}
    if len(sent) != 1:
        return [f"both {' and '.join(left)} are read-only, and the balancers do not say which was "
                "active: name the one to promote with --to"]
    old = sent.pop()
    return str(old), names[1 - names.index(str(old))]


def refusals(seen: FailoverSeen, old: str, new: str, apply_s: float) -> list[str]:
    """Every reason not to begin; empty when the failover may go on."""
    return [
        *_alive(seen, old, new),
        *_promotable(seen, old, new, apply_s),
        *_balancers(seen.balancers, old, new),
    ]


def _alive(seen: FailoverSeen, old: str, new: str) -> Reasons:
    """Traffic is not taken from a server that serves it: that is a switchover, without loss."""
    here, advice = seen.sights[old], f"`slackwater switchover --to {new}` moves it without loss"
    if here.flavour and (why := here.flavour.unsupported_reason()):
        yield f"{old}: {why}"
    # Whoever answers and is not the passive: of its source that knows no id after a restart of its
    # own, when it cannot reach it.
    own_id = seen.passive.facts.server_id if seen.passive else None
    reach = [n for n, b in seen.balancers.items()
             if own_id is not None and b.behind not in (None, own_id)
             and (b.behind != REFUSES_US or (b.state is not None and b.state.active == old))]
    if reach:
        yield (f"{old} is alive and serves its clients: through balancer {', '.join(reach)} it "
               f"answers; from here: {here}; {advice}")
        return
    if here.sight is Sight.ANSWERS:
        yield f"{old} is alive: {here}; {advice}"
    elif here.sight is Sight.SERVES:
        # Cut off from its clients, but not from us, it can be fenced and nothing is lost; one
        # that balancers were told not to use is somebody's intention.
        aside = [n for n, b in seen.balancers.items() if b.state and b.state.active != old]
        if aside:
            yield (f"{old} is alive and accepts writes, and balancer {', '.join(aside)} does not "
                   f"send clients to it: set it ready there; {advice}")
    elif here.sight is not Sight.READ_ONLY and seen.passive and seen.passive.receives():
        yield (f"{old} is alive: {new} receives new changes from it at this moment, though from "
               f"here it looks as if: {here}")


def _promotable(seen: FailoverSeen, old: str, new: str, apply_s: float) -> Reasons:
    """The passive must have been following, and have applied, or be about to apply, what it got."""
    passive = seen.passive
    if passive is None:
        yield f"there is nothing to promote: {new} could not be looked at: {seen.unseen}"
        return
    if reason := passive.facts.flavour.unsupported_reason():
        yield f"{new}: {reason}"
    if not passive.facts.log_bin or not passive.facts.log_replica_updates:
        yield f"{new} does not log what it replicates: it can be nobody's source"
    if passive.missing_privileges:
        yield f"{new}: slackwater's account lacks {', '.join(passive.missing_privileges)}"
    channel = passive.channel()
    if channel is None:
        count = len(passive.facts.replication)
        what = "replicates from nobody" if not count else f"has {count} channels"
        yield f"{new} {what}: it is not known to be a copy of {old}, so there is nothing to promote"
        return
    if channel.source_port == PARKED_PORT:
        yield f"{new} no longer replicates from {old} since a failover: `slackwater pair rejoin`"
        return
    if not channel.auto_position:
        yield f"{new} replicates by file and position, not by GTID"
    if channel.delay_s:
        yield (f"{new} is a delayed replica (by {channel.delay_s} s): set the delay to 0 and let "
               "it catch up first")
    if not channel.sql_running and not passive.changing:
        yield (f"{new} does not apply what it received: its SQL thread has stopped "
               f"({channel.sql_error or 'by hand'}); start it, then come back")
    elif channel.seconds_behind is not None and channel.seconds_behind > apply_s:
        yield (f"{new} lags: it is {channel.seconds_behind} s behind what it received, and may "
               f"take {apply_s:g} s to apply it; wait, or allow more with --apply-limit")
    if channel.io_state == "No":
        yield (f"{new} had stopped receiving before ({channel.io_error or 'stopped by hand'}), so "
               f"all that {old} wrote since would be lost; start its I/O thread, then come back")


def _balancers(views: dict[str, BalancerView] | object, old: str, new: str) -> Reasons:
    """Each must obey now: one that does not could send clients to the old server when it wakes."""
    assert isinstance(views, dict)
    for name, view in views.items():
        for lack in view.lacks:
            yield f"balancer {name}: {lack}"
        if view.state is None:
            continue
        if view.state.holding or view.state.hold:
            yield f"balancer {name}: a hold is in force; it ends by itself"
        for server in (old, new):
            if server not in view.state.servers:
                yield f"balancer {name} has no server {server}"


def risks(seen: FailoverSeen, old: str, new: str) -> list[str]:
    """What a failover cannot rule out, for the plan and the report."""
    here = seen.sights[old].sight
    found = [f"clients that reach {old} past the balancers are not cut off there"]
    if here in (Sight.HANGS, Sight.UNREACHABLE):
        found.append(f"{old} cannot be made read-only from here ({here}): when it wakes up it "
                     "accepts writes of clients that come past the balancers")
    elif here is Sight.NOT_RUNNING:
        found.append(f"{old} must not start with read_only off: see its option file")
    if seen.passive and (count := seen.passive.idle_events):
        found.append(f"{count} scheduled event(s) are disabled on {new}, as on any replica, and "
                     f"run nowhere until ALTER EVENT … ENABLE there; {old} must not run them when "
                     "it comes back")
    return found
