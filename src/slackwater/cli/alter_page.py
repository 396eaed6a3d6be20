"""What `alter lint` prints: for people, JSON, SARIF, and GitHub's annotations."""

from __future__ import annotations

import json
from typing import Any

from slackwater import __version__
from slackwater.errors import Refused, UsageError
from slackwater.facts import statement_text
from slackwater.operations.alter.lint import Linted, LintReport
from slackwater.rules.alter import advice
from slackwater.rules.alter.cost import Cost, pages
from slackwater.rules.alter.judge import RULES
from slackwater.rules.alter.statements import head
from slackwater.rules.alter.verdict import Finding, Level, Side

_MARKS = {Level.SAFE: "ok", Level.SETTING: "setting", Level.COMPLY: "APPLICATION",
          Level.REFUSED: "REFUSED"}
_SARIF = {Level.SAFE: "note", Level.SETTING: "note", Level.COMPLY: "warning",
          Level.REFUSED: "error"}
_GITHUB = {Level.SAFE: "notice", Level.SETTING: "notice", Level.COMPLY: "warning",
           Level.REFUSED: "error"}


def form(*, as_json: bool, sarif: bool, github: bool) -> str:
    """Which one was asked for. Raises UsageError for several."""
    asked = [n for n, on in (("json", as_json), ("sarif", sarif), ("github", github)) if on]
    if len(asked) > 1:
        raise UsageError("give only one of --json, --sarif and --github")
    return asked[0] if asked else "text"


def page(report: LintReport, form: str, name: str) -> str:
    """The report in that form."""
    if form == "json":
        return json.dumps(report_json(report, name))
    if form == "sarif":
        return json.dumps(_sarif(name, _results(report, name)))
    if form == "github":
        return "\n".join([*(_annotation(_GITHUB[f.level], f.rule.id, _message(f),
                                        s.statement.line, name)
                            for s in report.statements for f in s.findings),
                          *(_annotation("notice", n.rule.id, f"{n.table}: {n.says}", 1, name)
                            for n in report.notes)])
    return _text(report)


def refused(error: Refused, form: str, name: str) -> str:
    """A file that could not even be judged."""
    if form == "json":
        return json.dumps({"operation": "alter lint", "file": name, "outcome": "refused",
                           "verdict": "refused", "reasons": error.reasons, "hint": error.hint,
                           "statements": []})
    if form == "sarif":
        return json.dumps(_sarif(name, [_result("not-understood", "error", str(error), name, 1)]))
    return f"::error file={name},line=1::{_escaped(str(error))}"


def report_json(report: LintReport, name: str) -> dict[str, Any]:
    """For --json."""
    first, other = report.links.first, report.links.other
    return {
        "operation": "alter lint", "file": name, "database": report.database,
        "outcome": "refused" if report.level is Level.REFUSED else "done",
        "verdict": report.level.word, "server": report.server,
        "settings": {
            s: {"server": t.traits.name, "binlog_format": t.format, "binlog_row_image": t.image,
                "binlog_row_metadata": t.metadata, t.traits.conversion_setting:
                ",".join(sorted(t.conversions))}
            for s, t in (("altered_first", first), ("other", other))},
        "needs": {
            "altered_first": {first.traits.conversion_setting: sorted(report.forward)},
            "other": {other.traits.conversion_setting: sorted(report.back)}},
        "statements": [_statement_json(s) for s in report.statements],
        "notes": [n.as_json() for n in report.notes],
    }


def _statement_json(linted: Linted) -> dict[str, Any]:
    return {
        "line": linted.statement.line, "sql": statement_text.words(linted.statement.text),
        "kind": str(linted.kind),
        "tables": linted.tables, "verdict": linted.level.word,
        "findings": [f.as_json() for f in linted.findings],
        "cost": linted.cost.as_json() if linted.cost else None,
    }


def _text(report: LintReport) -> str:
    lines = []
    for each in report.statements:
        lines.append(f"line {each.statement.line}: {head(each.statement)}")
        for item in each.findings:
            lines += _finding(item)
        if each.cost is not None:
            lines.append(f"    {_cost(each.cost)}")
    for note in report.notes:
        lines.append(f"  note: {note.table}: {note.says} ({note.rule.id})")
    first = report.links.first.traits.conversion_setting
    if report.forward:
        lines.append(f"until the switchover the server that is altered first needs {first} ="
                     f" '{','.join(sorted(report.forward))}'")
    if report.back:
        lines.append("between switchover and finish the other one needs"
                     f" {report.links.other.traits.conversion_setting} ="
                     f" '{','.join(sorted(report.back))}'")
    lines.append(f"{report.database} on {report.server}: {report.level.says}")
    return "\n".join(lines)


def _finding(item: Finding) -> list[str]:
    lines = [f"  {_MARKS[item.level]:>11}  {item.what}  ({item.rule.id})"]
    pad = " " * 15
    if item.forward == item.back and item.forward.level:
        lines.append(f"{pad}{_side(item.forward)}")
    for way, side in (("old to new", item.forward), ("new to old", item.back)):
        if side.level and item.forward != item.back:
            lines.append(f"{pad}{way}: {_side(side)}")
    lines += [f"{pad}until finished the application {gate}" for gate in item.until_finished]
    lines += [f"{pad}check: {check}" for check in item.checks]
    if item.level >= Level.COMPLY:
        lines.append(f"{pad}why: {item.rule.why}")
        if item.rule.instead:
            lines.append(f"{pad}instead: {item.rule.instead}")
    return lines


def _side(side: Side) -> str:
    setting = f" [{','.join(sorted(side.modes))}]" if side.modes else ""
    return f"{side.level.says}: {side.why}{setting}"


def _cost(cost: Cost) -> str:
    if not cost.seconds[1]:
        how = f" ({cost.algorithm}{f', LOCK={cost.lock}' if cost.lock else ''})"
        how = how if cost.algorithm else ""
        if not cost.rows and cost.algorithm != "INSTANT":
            return f"no rows are known of that it would take time for{how}"
        return f"the server does it at once{how}"
    low, high = cost.seconds
    how = f"{cost.algorithm or 'COPY'}, LOCK={cost.lock or 'SHARED'}"
    stall = "replication stands still meanwhile" if cost.stalls else "replication goes on"
    return (f"{how}: some {low:g} to {high:g} s on each server, {stall}; "
            f"about {pages(cost.disk)} of disk")


def _results(report: LintReport, name: str) -> list[dict[str, Any]]:
    found = [_result(f.rule.id, _SARIF[f.level], _message(f), name, s.statement.line)
             for s in report.statements for f in s.findings]
    return found + [_result(n.rule.id, "note", f"{n.table}: {n.says}", name, 1)
                    for n in report.notes]


def _message(item: Finding) -> str:
    parts = [f"{item.what}: {item.level.says}"]
    parts += [s.why for s in (item.forward, item.back) if s.why]
    parts += [f"until finished the application {g}" for g in item.until_finished]
    if item.level >= Level.COMPLY and item.rule.instead:
        parts.append(f"instead: {item.rule.instead}")
    return ". ".join(dict.fromkeys(parts))


def _result(rule: str, level: str, text: str, name: str, line: int) -> dict[str, Any]:
    place = {"artifactLocation": {"uri": name}, "region": {"startLine": line}}
    return {"ruleId": rule, "level": level, "message": {"text": text},
            "locations": [{"physicalLocation": place}]}


def _sarif(name: str, results: list[dict[str, Any]]) -> dict[str, Any]:
    rules = [{"id": r.id, "shortDescription": {"text": r.title}, "fullDescription": {"text": r.why},
              "help": {"text": r.instead or r.why}} for r in (*RULES, *advice.RULES)]
    return {
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json", "version": "2.1.0",
        "runs": [{"tool": {"driver": {"name": "slackwater", "version": __version__,
                                      "rules": rules}}, "results": results}],
    }


def _annotation(level: str, rule: str, text: str, line: int, name: str) -> str:
    title = _escaped(rule, of_value=True)
    return (f"::{level} file={_escaped(name, of_value=True)},line={line},"
            f"title={title}::{_escaped(text)}")


def _escaped(text: str, *, of_value: bool = False) -> str:
    """As GitHub's workflow commands want it."""
    text = text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
    return text.replace(":", "%3A").replace(",", "%2C") if of_value else text
