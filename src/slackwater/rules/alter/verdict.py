"""The words of the linter: a level, one side for each direction, and a finding of both."""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from slackwater.facts.alter_diff import Change
from slackwater.facts.alter_link import Link, PairSettings


class Level(enum.IntEnum):
    """How much it takes; the worst of all parts is that of the whole."""

    SAFE = 0
    SETTING = 1
    COMPLY = 2
    REFUSED = 3

    @property
    def word(self) -> str:
        """As in reports: `safe`, `setting`, `application` or `refused`."""
        return ("safe", "setting", "application", "refused")[self]

    @property
    def says(self) -> str:
        return (
            "safe", "safe with a named setting for the duration",
            "needs the application to comply", "refused",
        )[self]


NON_LOSSY, LOSSY, UNSIGNED = "ALL_NON_LOSSY", "ALL_LOSSY", "ALL_UNSIGNED"


@dataclass(frozen=True)
class Side:
    """The judgement for one direction. `modes`: what the replica's conversion setting must have."""

    level: Level = Level.SAFE
    why: str = ""
    modes: frozenset[str] = frozenset()
    signed: bool = False  # ALL_UNSIGNED must not be among them

    def worse(self, other: Side) -> Side:
        """Both together."""
        first, second = (self, other) if self.level >= other.level else (other, self)
        why = "; ".join(dict.fromkeys(w for w in (first.why, second.why) if w))
        return Side(first.level, why, self.modes | other.modes, self.signed or other.signed)


SAFE = Side()


def refused(why: str) -> Side:
    """Values would differ in silence, or replication would stop."""
    return Side(Level.REFUSED, why)


def comply(why: str) -> Side:
    """Right only if the application keeps to a rule."""
    return Side(Level.COMPLY, why)


@dataclass(frozen=True)
class Rule:
    """An entry of the reference: `instead` is a way to the goal in safe steps ("" if none)."""

    id: str
    title: str
    why: str
    instead: str = ""


@dataclass(frozen=True)
class Finding:
    """What is said of one change. `until_finished`: what the application may not do till then;
    `checks`: how to see that it complies, or that nothing is lost."""

    rule: Rule
    table: str
    what: str
    forward: Side = SAFE
    back: Side = SAFE
    until_finished: tuple[str, ...] = ()
    checks: tuple[str, ...] = ()

    @property
    def level(self) -> Level:
        return max(self.forward.level, self.back.level)

    def as_json(self) -> dict[str, Any]:
        """For --json."""
        return {
            "rule": self.rule.id, "title": self.rule.title, "table": self.table,
            "change": self.what, "verdict": self.level.word,
            "old_to_new": _side(self.forward), "new_to_old": _side(self.back),
            "until_finished": list(self.until_finished), "checks": list(self.checks),
            "instead": self.rule.instead if self.level >= Level.COMPLY else "",
        }


def _side(side: Side) -> dict[str, Any]:
    return {"verdict": side.level.word, "why": side.why, "modes": sorted(side.modes)}


@dataclass(frozen=True)
class Note:
    """Advice that changes no verdict."""

    rule: Rule
    table: str
    says: str

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "rule": self.rule.id}


def finding(
    rule: Rule, change: Change, what: str, judge: Callable[[Link], Side], links: PairSettings,
    *, gates: Sequence[str] = (), checks: Sequence[str] = (),
) -> Finding:
    """Ask `judge` about both directions and put the answers together."""
    return Finding(rule, change.table, what, judge(links.forward), judge(links.back),
                   tuple(gates), tuple(checks))
