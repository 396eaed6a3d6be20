"""How a diagnosis is shown: a plain page that fits in a ticket, or JSON."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from slackwater import clock
from slackwater.facts.doctor.finding import Finding, Sure
from slackwater.operations.doctor.doctor import Diagnosis

if TYPE_CHECKING:
    from slackwater.rules.doctor.explain import Explained

_WIDTH = 96


def page(diagnosis: Diagnosis, at: float) -> str:
    """All of it as plain text, the surest finding first."""
    lines = [f"slackwater doctor, {clock.text(at)}", *(f"looked at {s}" for s in diagnosis.looked)]
    for number, finding in enumerate(diagnosis.findings, 1):
        lines += ["", *_finding(number, finding)]
    if not diagnosis.findings:
        lines += ["", "Nothing found."]
    elif diagnosis.worst is Sure.NOTE:
        lines += ["", "Nothing that loses connections was found; the notes are for reading."]
    if diagnosis.blind:
        lines += ["", "Not seen:", *(_wrap(b, "  - ") for b in diagnosis.blind)]
    return "\n".join(lines)


def event_page(finding: Finding, at: float) -> str:
    """One event of a watch."""
    return "\n".join([clock.text(at), *_finding(1, finding)])


def _finding(number: int, finding: Finding) -> list[str]:
    cause = finding.cause
    lines = [_wrap(f"{finding.sure.word.upper()}: {cause.title} [{cause.id}]", f"{number}. "),
             f"   where: {finding.where}"]
    lines += [_wrap(line, "   saw:   ", keep=True) for line in finding.evidence]
    if finding.hits:
        lines.append(_wrap(finding.hits, "   hits:  "))
    if finding.sure > Sure.NOTE:
        lines.append(_wrap(cause.why, "   why:   "))
    lines.append(_wrap(cause.cure, "   cure:  "))
    return lines


def _wrap(text: str, head: str, *, keep: bool = False) -> str:
    import textwrap  # JSON needs none

    return textwrap.fill(text, _WIDTH, initial_indent=head, subsequent_indent=" " * len(head),
                         break_long_words=not keep, break_on_hyphens=False)


def explanation(it: Explained) -> str:
    """An explained message as plain text."""
    lines = [_wrap(it.says, "")]
    lines += [_wrap(line, "  ") for line in it.more]
    lines += ["", "It can be, the most usual first:"]
    for cause in it.causes:
        lines += ["", _wrap(f"{cause.title} [{cause.id}]", "  - "),
                  _wrap(cause.seen_by, "    seen:  "), _wrap(cause.cure, "    cure:  ")]
    return "\n".join([*lines, "", "`slackwater doctor` on the client's host, and with"
                      " slackwater.toml, says which one it is."])


def explanation_json(it: Explained) -> dict[str, Any]:
    """An explained message as data."""
    return {"operation": "explain", "asked": it.asked, "code": it.code, "says": it.says,
            "more": list(it.more), "causes": [asdict(cause) for cause in it.causes]}


def as_json(diagnosis: Diagnosis, at: float, **more: Any) -> dict[str, Any]:
    """All of it as data."""
    return {
        "operation": "doctor", "at": clock.text(at), "worst": diagnosis.worst.word,
        "findings": [f.as_json() for f in diagnosis.findings],
        "looked_at": diagnosis.looked, "not_seen": diagnosis.blind, **more,
    }
