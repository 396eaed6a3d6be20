"""Every kind of operation, and how one that was left unfinished is taken up again."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Generic

from slackwater.cli.operate import AnyWorld
from slackwater.config import Config
from slackwater.errors import UsageError
from slackwater.operations.agreed import agreed
from slackwater.operations.alter import alter
from slackwater.operations.failover import failover, rejoin
from slackwater.operations.hold import clients, hold, restart, upgrade
from slackwater.operations.hold.world import HoldWorld
from slackwater.operations.pair_world import PairWorld
from slackwater.operations.pool import pool
from slackwater.operations.pool.world import PoolWorld
from slackwater.operations.setup import prepare, setup
from slackwater.operations.setup.look import SetupWorld
from slackwater.operations.snapshot import snapshot
from slackwater.operations.snapshot.snapshot import SnapshotWorld
from slackwater.operations.switchover import switchover
from slackwater.plan.journal import Past
from slackwater.plan.step import Outcome, Plan


@dataclass(frozen=True)
class Kind(Generic[AnyWorld]):
    """How an operation of this kind is taken up again from its journal's first event.

    `resume` comes before it is recovered: it claims what it works on (raises Refused, or
    ConfigError where the file has changed). `settled` is asked when it could not be finished:
    somebody may have seen to it since; it returns the outcome that holds then, and why.
    """

    plan_again: Callable[[dict[str, Any]], Plan[AnyWorld]]
    world: Callable[[Config, dict[str, Any]], AnyWorld]
    resume: Callable[[AnyWorld, Past], Coroutine[Any, Any, None]]
    settled: Callable[[AnyWorld, Plan[AnyWorld]], Awaitable[tuple[Outcome, str] | None]]


async def _agreed(
    world: PairWorld, plan: Plan[PairWorld]
) -> tuple[Outcome, str] | None:
    """Of a switchover or a failover: somebody has brought the pair in order since."""
    active = await agreed(world)
    if active is None:
        return None
    outcome = Outcome.DONE if active == plan.arguments["new"] else Outcome.UNDONE
    return outcome, f"everyone agrees that {active} is active, and a row of it arrived everywhere"


def _pair_of(settings: Config, planned: dict[str, Any]) -> PairWorld:
    return PairWorld(settings, planned["pair"])


def _held(settings: Config, planned: dict[str, Any]) -> HoldWorld:
    asked = hold.Asked.read(planned["arguments"])
    return HoldWorld(settings, asked.scope, on=asked.on)


def _snapshot_of(settings: Config, planned: dict[str, Any]) -> SnapshotWorld:
    return SnapshotWorld(settings, snapshot.Asked.read(planned["arguments"]).server)


def _setup_of(settings: Config, planned: dict[str, Any]) -> SetupWorld:
    return SetupWorld(settings, settings.group(planned["pair"]))


def _pool_of(settings: Config, planned: dict[str, Any]) -> PoolWorld:
    return PoolWorld(settings, pool.Asked.read(planned["arguments"]).pool)


KINDS: dict[str, Kind[Any]] = {
    "pair-settings": Kind(prepare.plan_again, _setup_of, setup.resume,
                          setup.settled),
    "pair-setup": Kind(setup.plan_again, _setup_of, setup.resume, setup.settled),
    "failover": Kind(failover.plan_again, _pair_of, failover.resume, _agreed),
    "rejoin": Kind(rejoin.plan_again, _pair_of, rejoin.resume, _agreed),
    rejoin.CLOSE: Kind(rejoin.close_again, _pair_of, rejoin.resume, _agreed),
    alter.ALTER: Kind(alter.plan_again, _pair_of, alter.resume, alter.settled),
    alter.FINISH: Kind(alter.finish_again, _pair_of, alter.resume, alter.settled),
    alter.REVERT: Kind(alter.revert_again, _pair_of, alter.resume, alter.settled),
    "switchover": Kind(switchover.plan_again, _pair_of, switchover.resume, _agreed),
    "hold": Kind(hold.plan_again, _held, clients.resume, hold.settled),
    "restart": Kind(restart.plan_again, _held, clients.resume, hold.settled),
    "upgrade": Kind(upgrade.plan_again, _held, clients.resume, hold.settled),
    "pool": Kind(pool.plan_again, _pool_of, pool.resume, pool.settled),
    "snapshot": Kind(snapshot.plan_again, _snapshot_of, snapshot.resume, snapshot.settled),
}


def kind_of(past: Past) -> Kind[Any]:
    """How an operation is recovered. Raises UsageError for one that nobody knows."""
    operation = past.planned.get("operation")
    if operation not in KINDS:
        raise UsageError(f"this slackwater does not know the operation in {past.path}")
    return KINDS[operation]
