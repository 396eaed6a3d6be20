"""The seam between running a change and the linter: what may be run, and what it takes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from slackwater.errors import Refused
from slackwater.facts.alter_script import What, what
from slackwater.operations.alter.lint import LintReport, read
from slackwater.operations.alter.lint_pair import lint_pair
from slackwater.operations.pair_world import PairWorld
from slackwater.rules.alter.statements import DATA_FOR_GOOD
from slackwater.rules.alter.verdict import Finding, Level


@dataclass(frozen=True)
class Verdict:
    """What the linter says of a change, as far as running it needs to know.

    `tables` are those that the statements change. `modes_first`: what the conversion setting of
    the new schema's servers must have while the old schema writes; `modes_other`: the other way
    round. `reasons`: why it is refused; `gates`: what the application may not do until the change
    is finished; `complies`: what it must comply with for the change to be right at all, which a
    person has to say.
    """

    statements: tuple[str, ...]
    tables: tuple[str, ...]
    modes_first: tuple[str, ...] = ()
    modes_other: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()
    gates: tuple[str, ...] = ()
    complies: tuple[str, ...] = ()
    disk: Mapping[str, int] = field(default_factory=dict)  # table: bytes while it is changed
    data: tuple[str, ...] = ()  # statements on rows, for when both servers have the new schema
    for_good: tuple[str, ...] = ()  # what those overwrite or remove: a person has to say


def statements(text: str) -> tuple[str, ...]:
    """The statements of a file, without comments around them; () when it cannot be taken apart."""
    try:
        return tuple(s.text for s in read(text, "the change"))
    except Refused:
        return ()


def has_data(text: str) -> bool:
    """Whether a file has data statements; False when it cannot be taken apart."""
    try:
        return any(what(s) is What.DATA for s in read(text, "the change"))
    except Refused:
        return False


async def judge(world: PairWorld, server: str, database: str, text: str) -> Verdict:
    """Judge a file of SQL on the server that would be altered first. Leaves nothing behind."""
    try:
        report = await lint_pair(world, read(text, "the change"), database)
    except Refused as refusal:
        return Verdict((), (), reasons=tuple(refusal.reasons))
    reasons = [_why(f) for f in report.findings if f.level is Level.REFUSED]
    comply = [f for f in report.findings if f.level is Level.COMPLY]
    return Verdict(
        tuple(s.statement.text for s in report.statements if s.kind is not What.DATA),
        _tables(report),
        tuple(sorted(report.forward)), tuple(sorted(report.back)), tuple(reasons),
        tuple(dict.fromkeys(g for f in report.findings for g in f.until_finished)),
        tuple(_why(f) for f in comply if f.rule is not DATA_FOR_GOOD),
        report.disk,
        tuple(s.statement.text for s in report.statements if s.kind is What.DATA),
        tuple(_side(f) for f in comply if f.rule is DATA_FOR_GOOD),
    )


def _tables(report: LintReport) -> tuple[str, ...]:
    return tuple(dict.fromkeys(
        t for s in report.statements if s.kind is not What.DATA for t in s.tables))


def _side(found: Finding) -> str:
    return f"{found.what}: {found.forward.why}"


def _why(found: Finding) -> str:
    said = "; ".join(dict.fromkeys(w for w in (found.forward.why, found.back.why) if w))
    more = f" (instead: {found.rule.instead})" if found.rule.instead else ""
    checks = f" (look: {'; '.join(found.checks)})" if found.checks else ""
    return f"{found.table + ': ' if found.table else ''}{found.what}: {said}{more}{checks}"
