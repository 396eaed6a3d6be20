"""Look at a pair, judge a change, and say what would be done about it, or why not."""

from __future__ import annotations

import dataclasses
import secrets
from dataclasses import dataclass

from slackwater import clock
from slackwater.facts.alter_state import ALTERING, FINISHING, HALF_DONE, REVERTED, Change
from slackwater.facts.pair import PairSeen
from slackwater.operations.alter import alter
from slackwater.operations.alter.given import tried
from slackwater.operations.alter.judge import Verdict, has_data, judge, statements
from slackwater.operations.alter.look import lacks_conversions, lost_values, room
from slackwater.operations.look import look
from slackwater.operations.pair_world import PairWorld
from slackwater.operations.switchover import switchover
from slackwater.outside.mysql import alter as mysql_alter
from slackwater.outside.mysql import server as mysql_server
from slackwater.plan.step import Plan
from slackwater.rules import guardrails
from slackwater.rules.alter_run import first_of_all, rejoin_first, says, way_back

__all__ = ["Limits", "propose", "propose_finish", "propose_revert", "statements"]

ANY_LAG_S = 10 * 86400.0  # it is waited for, before anybody is held


@dataclass(frozen=True)
class Limits:
    """What the command line and the configuration say: seconds."""

    hold_s: float
    grace_s: float
    lag_s: float
    oldest_transaction_s: float
    settle_bypassing: bool = False


Found = tuple[Plan[PairWorld] | None, list[str]]


def _asked(world: PairWorld, old: str, new: str, limits: Limits) -> switchover.Asked:
    world.figures.update({"from": old, "to": new})
    return switchover.Asked(old, new, tuple(world.balancers), world.replicas,
                            limits.hold_s, limits.grace_s, limits.lag_s)


def _refusals(seen: PairSeen, old: str, new: str, limits: Limits) -> list[str]:
    return guardrails.refusals(seen, guardrails.Wish(
        old, new, ANY_LAG_S, limits.oldest_transaction_s, limits.settle_bypassing,
        limits.hold_s, change=True,
    ))


async def propose(
    world: PairWorld, text: str, database: str, limits: Limits, *, complies: bool = False,
    overwrite: bool = False,
) -> Found:
    """The plan of a change, and why not to walk it. `complies`, `overwrite`: a person's word that
    the application does what the verdict asks, and that data statements may change what is there.
    """
    seen = await look(world)
    roles = guardrails.roles(seen, None)
    if isinstance(roles, list):
        return None, roles
    old, new = roles
    reasons = _refusals(seen, old, new, limits)
    session = await world.session(new)
    if not database:
        names = await mysql_alter.schemas(session)
        if len(names) != 1:
            return None, [*reasons, "which database? name it with --database: "
                          + (", ".join(names) or "there is none")]
        database = names[0]
    if lacks := await _rights(world, database, data=has_data(text)):
        return None, [*reasons, *lacks]  # nor is it judged, which takes the same rights
    gates: list[str] = []
    if seen.change is not None:
        change, more = _same(seen.change, database, statements(text), old, new)
        if change is None:
            return None, [*reasons, more]
        # Whoever began it has stopped the applier, and may be gone with its journal.
        stopped = f"{new}: replication's SQL thread does not run: stopped"
        reasons = [r for r in reasons if r != stopped]
    else:
        verdict = await judge(world, new, database, text)
        gates += verdict.gates
        reasons += _for_good(verdict, overwrite)
        if verdict.data and not verdict.statements:
            return await _propose_data(world, seen, (old, new), database, verdict, limits,
                                       overwrite=overwrite)
        change, found = await _new_change(world, old, new, database, verdict, complies)
        reasons += found
    if change is None:
        return None, reasons
    world.figures.update({
        "change": change.id, "database": database, "statements": len(change.statements),
        "data_statements": len(change.data), "until_finished": gates,
    })
    return alter.plan(world.name, _asked(world, old, new, limits), change), reasons


def _same(
    open_: Change, database: str, statements: tuple[str, ...], active: str, passive: str
) -> tuple[Change | None, str]:
    """The open change, if it is this one and can go on; else why not."""
    if (open_.database, open_.file) != (database, statements):
        return None, f"another schema change is open: {says(open_, active)}"
    if open_.state not in (ALTERING, REVERTED) or open_.first != passive:
        return None, says(open_, active)
    return open_, ""


async def _propose_data(
    world: PairWorld, seen: PairSeen, roles: tuple[str, str], database: str, verdict: Verdict,
    limits: Limits, *, overwrite: bool,
) -> Found:
    """The plan of a file that has data statements only: in place of a switchover's rules those of
    a finish."""
    active, passive = roles
    change = dataclasses.replace(
        _change(world, active, passive, database, verdict), state=FINISHING)
    world.figures.update({"change": change.id, "database": database, "statements": 0,
                          "data_statements": len(change.data)})
    return alter.plan_data(world.name, change, limits.lag_s), [
        *_replicates(seen, change), *verdict.reasons, *_for_good(verdict, overwrite)]


def _for_good(verdict: Verdict, overwrite: bool) -> list[str]:
    return [] if overwrite else [f"{what} (say --accept-overwrite when that is meant)"
                                 for what in verdict.for_good]


def _change(
    world: PairWorld, first: str, other: str, database: str, verdict: Verdict
) -> Change:
    now = clock.unix()
    return Change(
        id=f"{clock.text(now)[:19].replace(':', '').replace('-', '')}-{secrets.token_hex(3)}",
        state=ALTERING, since=now, database=database, statements=verdict.statements,
        first=first, other=other, replicas=world.replicas, modes_first=verdict.modes_first,
        modes_other=verdict.modes_other, began=now, data=verdict.data,
    )


async def _new_change(
    world: PairWorld, old: str, new: str, database: str, verdict: Verdict, complies: bool
) -> tuple[Change | None, list[str]]:
    """Judged, and with everything that has to be looked at before it is begun."""
    passive = await world.session(new)
    reasons = list(verdict.reasons)
    if not complies:
        reasons += [f"{why} (say --application-complies when it does)"
                    for why in verdict.complies]
    if not verdict.statements or not verdict.tables:
        return None, reasons or [f"no table of {database} is changed by it"]
    before = await mysql_alter.definitions(passive, database, verdict.tables)
    for name in (old, *world.replicas):
        texts = await mysql_alter.definitions(
            await world.session(name), database, verdict.tables
        )
        differ = [t for t in verdict.tables if texts[t] != before[t]]
        if differ:
            reasons.append(f"{', '.join(differ)}: defined differently on {new} and {name} already")
    told = []
    for name in (new, old, *world.replicas):
        lacks, says_ = await room(world, name, verdict.disk)
        reasons += lacks
        told += [says_] if says_ else []
    world.figures["disk"] = told
    change = _change(world, new, old, database, verdict)
    return dataclasses.replace(change, before=before), reasons


async def _rights(world: PairWorld, database: str, *, data: bool) -> list[str]:
    """What our account lacks for a change of this database, on every server."""
    found = []
    for name in (*world.pair, *world.replicas):
        if name in world.unreachable:
            continue  # which another rule says
        lacks = await mysql_server.missing_for_alter(
            await world.session(name), database, data=data)
        if lacks:
            found.append(f"{name}: slackwater's account lacks {', '.join(lacks)} (`slackwater pair "
                         f"grants --alter {database}` prints the statements)")
    return found


async def propose_finish(
    world: PairWorld, limits: Limits, *, accept_loss: bool, skip_data: bool = False
) -> Found:
    """The plan of `alter finish`. `skip_data`: leave the data statements that are not done."""
    seen = await look(world, knock=False)
    change = seen.change
    if change is None:
        return None, [_nothing_open(seen)]
    roles = guardrails.roles(seen, None)
    if isinstance(roles, list):
        return None, roles
    if change.state == FINISHING and change.complete(change.first) and change.complete(
        change.other
    ):
        # Both have the new schema: the rest is done by whichever is active, as after a failover.
        change = dataclasses.replace(change, first=roles[0], other=roles[1])
    if change.state not in (HALF_DONE, FINISHING) or roles[0] != change.first:
        return None, [
            f"there is nothing to finish: {says(change, roles[0], first_of_all(seen))}"]
    reasons = rejoin_first(seen) + await _mended(world, change, _replicates(seen, change))
    reasons += await _rights(world, change.database, data=bool(change.data))
    if not reasons and not accept_loss and change.state == HALF_DONE:
        found = await lost_values(world, change.first, change)
        reasons += [f"{r}: {change.other} never got them, and would have other values; take them "
                    "out first (and write them again after `alter finish`)" for r in found]
    world.figures.update({"change": change.id, "database": change.database})
    return alter.plan_finish(world.name, change, limits.lag_s, accept_loss=accept_loss,
                             skip_data=skip_data), reasons


def _replicates(seen: PairSeen, change: Change) -> list[str]:
    wish = guardrails.Wish(change.first, change.other, ANY_LAG_S, ANY_LAG_S, change=True)
    rules = (guardrails.everything_is_reachable, guardrails.own_privileges,
             guardrails.passive_replicates)
    return [r for ask in rules for r in ask(seen, wish)]


async def _mended(world: PairWorld, change: Change, reasons: list[str]) -> list[str]:
    """Without those that the plan itself mends: a server that was restarted has forgotten which
    types to convert, so its applier stopped; it is told again, and goes on."""
    for server in (change.first, change.other):
        if await lacks_conversions(world, change, server):
            begin = f"{server}: replication's SQL thread does not run"
            reasons = [r for r in reasons if not r.startswith(begin)]
    return reasons


def _nothing_open(seen: PairSeen) -> str:
    where = ", ".join(seen.unreachable) or ""
    return "no schema change is open" + (f" (not reached: {where})" if where else "")


async def propose_revert(
    world: PairWorld, limits: Limits, *, given_text: str | None, accept_loss: bool
) -> Found:
    """The plan of `alter revert`. `given_text`: a person's own statements for the way back."""
    seen = await look(world)
    change = seen.change
    if change is None:
        return None, [_nothing_open(seen)]
    roles = guardrails.roles(seen, None)
    if isinstance(roles, list):
        return None, roles
    active, passive = roles
    if change.state == FINISHING or change.touched(change.other):
        return None, [f"not reversible: {says(change, active)}"]
    switch = active == change.first
    old, new = (change.first, change.other) if switch else (active, passive)
    reasons = _refusals(seen, old, new, limits) if switch else _replicates_back(seen, change)
    reasons = await _mended(world, change, reasons)
    reasons += await _rights(world, change.database, data=False)
    if switch and not reasons and not accept_loss:
        found = await lost_values(world, change.first, change)
        reasons += [f"{r}: {change.other} does not have them (take them out first, or lose them "
                    "with --accept-loss)" for r in found]
    now = await mysql_alter.definitions(
        await world.session(change.first), change.database, change.tables
    )
    given: tuple[str, ...] = ()
    if given_text is not None:
        given, wrong = await tried(world, passive, change, now, given_text)
        reasons += wrong
    back = way_back(change.before, now)
    restore = bool(given) or not back.lost
    if not restore:
        keeps = (f"{change.first} keeps the new schema: {'; '.join(back.lost)}; give statements "
                 "with --with, or copy it again (`slackwater pair rejoin`)")
        world.figures["keeps"] = keeps
        if not switch:
            reasons.append(keeps)
    world.figures.update({"change": change.id, "database": change.database})
    asked = _asked(world, old, new, limits)
    return alter.plan_revert(
        world.name, asked, change, switch=switch, restore=restore, given=given,
        accept_loss=accept_loss,
    ), reasons


def _replicates_back(seen: PairSeen, change: Change) -> list[str]:
    wish = guardrails.Wish(change.other, change.first, ANY_LAG_S, ANY_LAG_S, change=True)
    rules = (guardrails.everything_is_reachable, guardrails.own_privileges)
    return rejoin_first(seen) + [r for ask in rules for r in ask(seen, wish)]
