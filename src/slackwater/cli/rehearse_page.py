"""What `alter rehearse` prints: for people, and JSON."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from slackwater.facts import statement_text
from slackwater.facts.rehearsal import Seen, Way
from slackwater.facts.statement_log import Heard
from slackwater.operations.alter.rehearse import Rehearsed
from slackwater.rules.rehearsal import Harm, Problem

_NAMES = {Way.NEITHER: "without-the-change", Way.REPLICA: "old-to-new", Way.SOURCE: "new-to-old"}
_MARKS = {Harm.BREAKS: "BREAKS", Harm.STOPS: "STOPS REPLICATION", Harm.DIFFERS: "DIFFERS",
          Harm.CHANGE: "CHANGE FAILS"}
_SHOWN = 20  # of a long list


@dataclass(frozen=True)
class Told:
    """A rehearsal with its file, database and server; times in unix seconds."""

    file: str
    database: str
    server: str
    heard: Heard
    done: Rehearsed
    notes: list[str]
    begun: float
    ended: float

    @property
    def all_notes(self) -> list[str]:
        judged = self.done.judgement
        idle = []
        if judged.idle:
            idle = [f"writes that changed no row prove little (statements {_list(judged.idle)}): "
                    "--sample N, or INSERTs before them, give them rows"]
        more = [f"{seen.more} more rows differ ({way})" for way, seen in self.done.seen.items()
                if seen.more]
        left = [f"{count} statements left out: {why}"
                for why, count in sorted(self.heard.left_out.items())]
        return [*self.notes, *self.heard.notes, *self.done.notes, *judged.notes, *more, *idle,
                *left]


def _list(numbers: list[int]) -> str:
    return ", ".join(map(str, numbers[:10])) + (", …" if len(numbers) > 10 else "")


def page(told: Told, *, as_json: bool) -> str:
    """The report in that form."""
    return json.dumps(_json(told)) if as_json else _readable(_text(told))


def _readable(text: str) -> str:
    """With \\x.. for the bytes that a file of statements had as no UTF-8."""
    return text.encode(errors="surrogateescape").decode(errors="backslashreplace")


def _json(told: Told) -> dict[str, Any]:
    judged = told.done.judgement
    return {
        "operation": "alter rehearse", "file": told.file, "database": told.database,
        "outcome": "refused" if judged.problems else "done",
        "server": told.server, "verdict": told.done.lint.level.word,
        "steps": [_step(seen) for seen in told.done.seen.values()],
        "statements": [
            {"number": s.number, "database": s.database, "sql": _readable(s.text),
             "under": [_readable(each.text) for each in s.under]}
            for s in told.heard.statements],
        "from": told.heard.form,
        "problems": [p.as_json() for p in judged.problems],
        "unjudged": [{"statement": n, "why": why} for n, why in judged.unjudged],
        "changed_nothing": judged.idle, "left_out": dict(told.heard.left_out),
        "notes": told.all_notes, "started": told.begun, "ended": told.ended,
    }


def _step(seen: Seen) -> dict[str, Any]:
    return {"name": _NAMES[seen.way], "state": "done", "ms": round(seen.seconds * 1000, 1),
            "statements": len(seen.ran)}


def _text(told: Told) -> str:
    judged, statements = told.done.judgement, told.heard.statements
    lines = [f"{len(statements)} statements from {told.heard.form}, both directions, on "
             f"{told.server}; the linter says: {told.done.lint.level.says}"]
    texts = {s.number: statement_text.statement(" ".join(s.text.split()))
             for s in statements}
    for each in judged.problems[:_SHOWN]:
        lines += _problem(each, texts)
    if len(judged.problems) > _SHOWN:
        lines.append(f"  … and {len(judged.problems) - _SHOWN} more (see --json)")
    for number, why in judged.unjudged[:_SHOWN]:
        lines.append(f"  not judged: statement {number} fails without the change too: {why}")
    if len(judged.unjudged) > _SHOWN:
        lines.append(f"  … and {len(judged.unjudged) - _SHOWN} more that are not judged")
    lines += [f"  note: {note}" for note in told.all_notes]
    count = len(judged.problems)
    lines.append(f"{count} {'thing goes' if count == 1 else 'things go'} wrong." if count else
                 f"Nothing breaks, stops or differs{_but(told)}.")
    return "\n".join(lines)


def _but(told: Told) -> str:
    """What that was not said of."""
    failed, left = len(told.done.judgement.unjudged), sum(told.heard.left_out.values())
    parts = [f"{count} {what}" for count, what in ((failed, "could not be judged"),
                                                   (left, "were left out")) if count]
    if not parts:
        return ""
    return f", of {len(told.heard.statements) - failed} statements; {' and '.join(parts)}"


def _problem(each: Problem, texts: dict[int, str]) -> list[str]:
    table = f"{each.table}: " if each.table else ""
    lines = [f"  {_MARKS[each.harm]} ({each.way.value}): {table}{each.why}"]
    for number in each.numbers[:3]:
        text = texts[number]
        lines.append(f"      {number}: {text if len(text) <= 120 else text[:119] + '…'}")
    if len(each.numbers) > 3:
        lines.append(f"      or {len(each.numbers) - 3} more")
    return lines
