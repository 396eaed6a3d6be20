"""A finding: one cause, what proves it, how sure that is, whom it hits, and the cure."""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any


class Sure(enum.IntEnum):
    """How sure a finding is; the worst one is the exit code of `slackwater doctor`."""

    NOTE = 0  # worth knowing; no reason to act now
    POSSIBLE = 1
    LIKELY = 2
    CERTAIN = 3

    @property
    def word(self) -> str:
        return self.name.lower()


@dataclass(frozen=True)
class Cause:
    """A row of the catalogue (rules/doctor/causes.py): what is the same for all its findings."""

    id: str
    title: str
    why: str  # how it makes clients lose their connection
    cure: str
    seen_by: str  # where its traces are, and where there are none


@dataclass(frozen=True)
class Finding:
    """One cause at one place. `evidence` is what was seen, a line each; `hits` says who loses."""

    cause: Cause
    sure: Sure
    where: str  # this host, or a server
    evidence: tuple[str, ...]
    hits: str = ""

    def as_json(self) -> dict[str, Any]:
        """Plain data, with the cause's texts in it."""
        said = asdict(self)
        cause = said.pop("cause")
        return {
            "cause": cause["id"], "title": cause["title"], **said, "sure": self.sure.word,
            "why": cause["why"], "cure": cause["cure"],
        }


def worst(findings: Iterable[Finding]) -> Sure:
    """The highest degree among them; NOTE when there is none."""
    return max((f.sure for f in findings), default=Sure.NOTE)
