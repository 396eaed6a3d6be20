"""Change a schema on the passive, switch over, later on the other server; and the way back."""

from __future__ import annotations

from typing import Any

from slackwater.facts.alter_state import FINISHED, Change
from slackwater.operations.alter import store
from slackwater.operations.alter.around import (
    CatchUp,
    NothingIsLost,
    SameOnBoth,
    StayActive,
    TakePair,
)
from slackwater.operations.alter.backfill import Backfill
from slackwater.operations.alter.conversions import (
    KeepConversions,
    PutBackConversions,
    SetConversions,
)
from slackwater.operations.alter.record import (
    BeginToFinish,
    BeginToRestore,
    MarkFinished,
    MarkHalfDone,
    MarkReverted,
    MarkUndone,
    RecordChange,
    RecordData,
)
from slackwater.operations.alter.statements import (
    AlterOther,
    AlterPassive,
    AlterReplicas,
    RestoreSchema,
)
from slackwater.operations.look import look
from slackwater.operations.pair_asked import still_configured
from slackwater.operations.pair_lock import claim
from slackwater.operations.pair_world import PairWorld
from slackwater.operations.switchover import switchover
from slackwater.plan.journal import Past
from slackwater.plan.step import Outcome, Plan, Step
from slackwater.rules.agreement import agreement

ALTER, FINISH, REVERT = "alter", "alter-finish", "alter-revert"
DATA_ONLY = "data_only"  # among the arguments of an ALTER's plan that only changes rows
Steps = list[Step[PairWorld]]


def plan(pair: str, asked: switchover.Asked, change: Change) -> Plan[PairWorld]:
    """The passive is changed, then a switchover makes it the active one."""
    old, new, servers = asked.old, asked.new, (asked.old, asked.new, *asked.replicas)
    changed = (new, *asked.replicas)
    first, *rest = switchover.plan(pair, asked).steps
    steps: Steps = [
        first,
        RecordChange(old, change.id, store.to_text(change)),
        SetConversions(old, change.id, servers, tuple(
            sorted({*change.modes_first, *change.modes_other}))),
        AlterPassive(old, new, change.id),
        *([AlterReplicas(old, asked.replicas, change.id)] if asked.replicas else []),
        CatchUp(old, changed, asked.lag_s),
        *_keeping(rest, new, servers, change.id),
        MarkHalfDone(new, change.id),
    ]
    return Plan(ALTER, f"change a schema of pair {pair}: {new}, and a switchover to it",
                tuple(steps), {**asked.arguments(pair), "document": store.to_text(change)})


def _keeping(
    steps: list[Step[PairWorld]], active: str, servers: tuple[str, ...], change: str
) -> Steps:
    """A switchover's steps, with conversions looked after before replication turns round."""
    found: Steps = []
    for step in steps:
        if step.name == "FollowNew":
            found.append(KeepConversions(active, servers, change))
        found.append(step)
    return found


def plan_again(arguments: dict[str, Any]) -> Plan[PairWorld]:
    """The plan of a journal."""
    if DATA_ONLY in arguments:
        change = store.from_text(arguments["document"])
        return plan_data(arguments["pair"], change, arguments["lag_s"])
    pair, asked, values = _asked(arguments)
    return plan(pair, asked, store.from_text(values["document"]))


def same_statements(arguments: dict[str, Any], statements: tuple[str, ...]) -> bool:
    """Whether a journal's change is of these statements."""
    return store.from_text(arguments["document"]).file == statements


def _asked(arguments: dict[str, Any]) -> tuple[str, switchover.Asked, dict[str, Any]]:
    theirs = {"pair", *switchover.Asked.__dataclass_fields__}
    pair, asked = switchover.Asked.read({k: arguments[k] for k in theirs})
    return pair, asked, {k: v for k, v in arguments.items() if k not in theirs}


def plan_finish(
    pair: str, change: Change, lag_s: float, *, accept_loss: bool = False,
    skip_data: bool = False,
) -> Plan[PairWorld]:
    """The other server, passive now, gets the new schema too; then the data statements run."""
    active, other = change.first, change.other
    servers = (active, other, *change.replicas)
    steps: Steps = [
        TakePair(active, other),
        NothingIsLost(active, other, change.id, accept_loss, True),
        BeginToFinish(active, other, change.id),
        StayActive(active, other),
        AlterOther(active, other, change.id),
        CatchUp(active, (other, *change.replicas), lag_s),
        SameOnBoth(active, (other, *change.replicas), change.id),
        PutBackConversions(active, servers, change.id),
        *_backfill(active, (other, *change.replicas), change, skip_data),
        MarkFinished(active, change.id, skip_data=skip_data),
    ]
    return Plan(FINISH, f"finish a schema change of pair {pair}: {other}", tuple(steps), {
        "pair": pair, "old": other, "new": active, "replicas": list(change.replicas),
        "balancers": [], "lag_s": lag_s, "accept_loss": accept_loss,
        "document": store.to_text(change), "skip_data": skip_data,
    })


def _backfill(
    active: str, servers: tuple[str, ...], change: Change, skip: bool = False
) -> Steps:
    """Nothing where there are no data statements."""
    return [Backfill(active, servers, change.id, len(change.data), skip)] if change.data else []


def plan_data(pair: str, change: Change, lag_s: float) -> Plan[PairWorld]:
    """A file with data statements only: nobody is switched over."""
    active, other = change.first, change.other
    steps: Steps = [
        TakePair(active, other),
        RecordData(active, change.id, store.to_text(change)),
        StayActive(active, other),
        CatchUp(active, (other, *change.replicas), lag_s),
        *_backfill(active, (other, *change.replicas), change),
        MarkFinished(active, change.id),
    ]
    return Plan(ALTER, f"change rows of pair {pair}, on {active} in chunks", tuple(steps), {
        DATA_ONLY: True, "pair": pair, "old": other, "new": active,
        "replicas": list(change.replicas), "balancers": [], "lag_s": lag_s,
        "document": store.to_text(change),
    })


def finish_again(arguments: dict[str, Any]) -> Plan[PairWorld]:
    """The plan of a journal."""
    return plan_finish(arguments["pair"], store.from_text(arguments["document"]),
                       arguments["lag_s"], accept_loss=arguments["accept_loss"],
                       skip_data=arguments.get("skip_data", False))


def plan_revert(
    pair: str, asked: switchover.Asked, change: Change, *,
    switch: bool, restore: bool, given: tuple[str, ...] = (), accept_loss: bool = False,
) -> Plan[PairWorld]:
    """Back to the old schema. `switch`: its server is not active now; `restore`: the server with
    the new schema gets the old one again, by statements that are `given` or follow from both."""
    active, changed = change.other, (change.first, *change.replicas)
    servers = (active, *changed)
    steps: Steps = []
    if switch:
        first, *rest = switchover.plan(pair, asked).steps
        steps = [
            first,
            NothingIsLost(change.first, active, change.id, accept_loss, False),
            SetConversions(change.first, change.id, servers, tuple(
                sorted({*change.modes_first, *change.modes_other})), stay=True),
            CatchUp(change.first, (active, *change.replicas), asked.lag_s),
            *_keeping(rest, active, servers, change.id),
            MarkReverted(active, change.id),
        ]
    else:
        steps = [TakePair(active, change.first), BeginToRestore(active, change.id),
                 StayActive(active, change.first)]
    if restore:
        steps += [
            RestoreSchema(active, changed, change.id, given, not accept_loss),
            *([] if switch else [CatchUp(active, changed, asked.lag_s)]),
            PutBackConversions(active, servers, change.id),
            MarkUndone(active, change.id),
        ]
    title = f"switch back to {active}, and its old schema" if switch else (
        f"give {change.first} the old schema again")
    return Plan(REVERT, f"revert a schema change of pair {pair}: {title}", tuple(steps), {
        **asked.arguments(pair), "document": store.to_text(change), "switch": switch,
        "restore": restore, "given": list(given), "accept_loss": accept_loss,
    })


def revert_again(arguments: dict[str, Any]) -> Plan[PairWorld]:
    """The plan of a journal."""
    pair, asked, values = _asked(arguments)
    return plan_revert(
        pair, asked, store.from_text(values["document"]), switch=values["switch"],
        restore=values["restore"], given=tuple(values["given"]),
        accept_loss=values["accept_loss"],
    )


async def resume(world: PairWorld, past: Past) -> None:
    """Before recovering: the configuration has what the journal names, and the locks are ours."""
    if past.planned["arguments"]["balancers"]:
        await switchover.resume(world, past)
        return
    still_configured(world, past)
    await claim(world)


async def settled(
    world: PairWorld, plan: Plan[PairWorld]
) -> tuple[Outcome, str] | None:
    """Of one that could not be finished or undone: everyone agrees, and the change has ended."""
    seen = await look(world, knock=False)
    held = any(b.state.holding or b.state.hold for b in seen.balancers.values())
    active = agreement(seen).active
    if active is None or held:
        return None
    change = await store.read(
        await world.session(active), store.from_text(plan.arguments["document"]).id
    )
    if change is not None and change.open:
        return None
    finished = change is not None and change.state == FINISHED
    word = change.state if change is not None else "not known to the servers"
    return (Outcome.DONE if finished else Outcome.UNDONE), f"the schema change is {word}"
