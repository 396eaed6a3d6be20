"""The table of the sweep: which fault, at which step, and which ends are the right ones."""

from __future__ import annotations

import random
from dataclasses import dataclass

STEPS = (
    "TakeLocks", "MakeCanary", "RehearseCatchUp", "CloseIdle", "PauseApplier", "HoldClients",
    "SettleSessions", "FenceWrites", "WaitForReplay", "FenceForGood", "AimHold", "PromoteNew",
    "SendClients", "CloseLeftovers", "Persist", "FollowNew", "ProveIt",
)
COMMIT = STEPS.index("PromoteNew")
UNDOABLE = ("TakeLocks", "PauseApplier", "HoldClients", "FenceWrites", "FenceForGood", "AimHold")
KINDS = ("before", "lost", "after", "verify", "undo", "kill", "killed", "killgroup")

# What the world does, just before a step.
WORLD = (
    "kill old", "kill new", "kill balancer", "hang old", "hang new", "hang balancer",
    "restart balancer", "reload balancer", "begin to reload balancer",
    "hang slackwater", "stop replication", "lag by a lock", "lag by a global lock",
)
NETWORK = ("cut old", "cut new", "cut balancer")
DISK = ("disk full at the start", "disk fills up")
WORLD_STEPS = (
    "TakeLocks", "RehearseCatchUp", "CloseIdle", "PauseApplier", "HoldClients", "SettleSessions",
    "FenceWrites", "WaitForReplay", "FenceForGood", "AimHold", "PromoteNew", "SendClients",
    "CloseLeftovers", "Persist", "FollowNew", "ProveIt",
)


@dataclass(frozen=True)
class Case:
    """One line of the table.

    `inject` is for SLACKWATER_INJECT; `action` is what the test does to the world just before
    `step`; `expected` are the outcomes that are right (empty: any of the five that is true).
    """

    group: str
    name: str
    step: str
    inject: str = ""
    action: str = ""
    expected: tuple[str, ...] = ()
    recover_inject: str = ""
    delay_ms: float | None = None  # kill -9 of the process group so long after its first event

    @property
    def title(self) -> str:
        return f"{self.name} {self.step}".strip()


def injected() -> list[Case]:
    """Every step fails in every way."""
    found = []
    for step in STEPS:
        early = STEPS.index(step) <= COMMIT
        for kind in KINDS:
            if kind == "undo":
                if step in UNDOABLE:
                    later = STEPS[STEPS.index(step) + 1]
                    inject = f"undo:{step};before:{later};verify:{later}"
                    found.append(Case("inject", "undo", step, inject, expected=("stuck",)))
                continue
            ends = _end(kind, step, early)
            found.append(Case("inject", kind, step, f"{kind}:{step}", expected=ends))
    return found


def _end(kind: str, step: str, early: bool) -> tuple[str, ...]:
    if kind in ("kill", "killed", "killgroup"):
        return ("killed",)
    if kind in ("lost", "after"):
        return ("done",)
    if kind == "before":
        # A look may find that there is nothing to do: the canary's table is there, for instance.
        return ("undone", "done") if early else ("stuck", "done")
    if step == "PromoteNew":
        return ("stuck",)  # both ways are barred: the look lies, and the new server accepts writes
    return ("undone",) if early else ("stuck",)


def world() -> list[Case]:
    """What servers, balancers, replication and slackwater's own machine do, at each step."""
    return [Case("world", name, step, action=name) for name in WORLD for step in WORLD_STEPS]


def network() -> list[Case]:
    """The network between slackwater and one of the others is cut, and comes back later."""
    return [Case("network", name, step, action=name) for name in NETWORK for step in WORLD_STEPS]


def disk() -> list[Case]:
    """The journal's disk is full."""
    cases = [Case("disk", DISK[0], "", action=DISK[0], expected=("refused",))]
    for step in ("TakeLocks", "HoldClients", "FenceForGood", "PromoteNew", "FollowNew"):
        cases.append(Case("disk", DISK[1], step, action=DISK[1], expected=("done",)))
    for step in ("FenceForGood", "SendClients"):
        inject = f"killed:{step}"
        cases.append(Case("disk", "disk full, killed", step, inject, DISK[1], ("killed",)))
    return cases


def recoveries() -> list[Case]:
    """Killed, and recover killed too: the second recover has to do it."""
    found = []
    for step, again in (
        ("FenceWrites", "HoldClients"), ("AimHold", "FenceForGood"), ("AimHold", "HoldClients"),
        ("PromoteNew", "SendClients"), ("PromoteNew", "FollowNew"), ("SendClients", "Persist"),
    ):
        early = STEPS.index(step) < COMMIT
        second = f"undo:{again}" if early else f"killed:{again}"
        found.append(Case("recover", f"killed, {second.split(':')[0]} {again} in recover,", step,
                          f"killed:{step}", expected=("killed",), recover_inject=second))
    return found


def randomly(count: int, seed: int, longest_ms: float = 120.0) -> list[Case]:
    """kill -9 of the whole process group at any moment of the first step and those behind it."""
    draw = random.Random(seed)
    delays = [draw.uniform(0.0, longest_ms) for _ in range(count)]
    return [Case("random", f"kill -9 of the group {d:.1f} ms after its first word", "", delay_ms=d,
                 expected=("killed", "done")) for d in delays]


def every(count: int, seed: int) -> list[Case]:
    """The full sweep."""
    return [*injected(), *world(), *disk(), *recoveries(), *randomly(count, seed), *network()]


def quick(seed: int) -> list[Case]:
    """A part of it in which each step and each kind of fault is at least once."""
    found: list[Case] = []
    by_kind = {kind: [c for c in injected() if c.name == kind] for kind in KINDS}
    for number, step in enumerate(STEPS):
        kind = ("killed", "before", "lost", "verify", "after", "kill", "killgroup")[number % 7]
        found += [c for c in by_kind[kind] if c.step == step]
    found += [c for c in by_kind["undo"] if c.step in ("HoldClients", "FenceForGood")]
    places = ("FenceForGood", "PromoteNew", "SendClients", "FenceWrites", "WaitForReplay",
              "FenceForGood", "PromoteNew", "AimHold", "SendClients", "FenceWrites",
              "WaitForReplay", "WaitForReplay", "WaitForReplay")
    found += [c for name, step in zip(WORLD, places, strict=True)
              for c in world() if (c.name, c.step) == (name, step)]
    found += [c for c in world() if c.title == "kill old TakeLocks"]  # before anything is noted
    found += [c for c in disk() if c.step in ("", "PromoteNew")][:2]
    found += recoveries()[1:2] + randomly(2, seed)
    return found + [c for c in network() if c.step == "FenceForGood"]
