"""The figures of an operation's report that people ask for first, as text."""

from __future__ import annotations

from typing import Any

from slackwater.cli.failover_text import failover_text, rejoin_text
from slackwater.plan.report import Report


def figures_text(report: Report) -> str:
    """The few figures that people ask for first."""
    text = _figures_text(report.figures)
    if slow := report.figures.get("being_reloaded"):
        text += (f"\n  {', '.join(slow)}: a reload seems to be under way that may have read the "
                 "file as it was; look with `slackwater status` when it has ended")
    return text


def _figures_text(figures: dict[str, Any]) -> str:
    if "missing" in figures or "fenced" in figures:
        return failover_text(figures)
    if "rejoined" in figures or "extra" in figures:
        return rejoin_text(figures)
    if "exit_code" in figures or "gate" in figures:
        return held_text(figures)
    if "hold_ms" not in figures:  # clients of a switchover may have noticed it all the same
        early = figures.get("sessions_closed_early")
        return f"\n  {early} session(s) that had rested for long were closed" if early else ""
    text = f"\n  clients were held for {figures['hold_ms']:.1f} ms"
    if "sessions_closed" in figures:  # recover does not know of those that were closed before it
        text += f"; {figures['sessions_closed']} idle session(s) closed"
        if early := figures.get("sessions_closed_early"):
            text += f" meanwhile, and {early} before that had rested for long"
    if figures.get("sessions_cut"):
        text += f"\n  cut at the end of the grace: {', '.join(figures['sessions_cut'])}"
    if past := figures.get("past_the_balancers"):
        who = f": {', '.join(past['sessions'])}" if past["sessions"] else ""
        text += (f"\n  {past['connections']} connection(s) came to {past['server']} past the "
                 f"balancers meanwhile, where they cannot write{who}")
    return text


def held_text(figures: dict[str, Any]) -> str:
    """What people ask first of held maintenance."""
    lines = []
    if gate := figures.get("gate"):
        seen = f"{gate['held']} client(s) waited, the longest {gate['longest_ms']:.0f} ms"
        lines.append(f"the ports were held for {gate['shut_ms']:.0f} ms ({gate['way']}); "
                     + (seen if gate["way"] != "drop" else "nobody can count dropped packets"))
    if early := figures.get("let_go_early"):
        lines.append(early)
    if closed := figures.get("sessions_closed"):
        lines.append(f"{closed} session(s) were closed between transactions")
    if "command_ms" in figures:
        lines.append(f"the command took {figures['command_ms'] / 1000:.1f} s; "
                     f"its output is in {figures['output']}")
    for name, seen in figures.get("versions", {}).items():
        was, now = seen["before"], seen["after"]
        lines.append(f"{name} runs {now}" + ("" if was == now else f"; it was {was}"))
    for name, on in figures.get("read_only_put_back", {}).items():
        lines.append(f"{name}: read_only was put back to {'on' if on else 'off'}, as before")
    for name, changed in figures.get("settings_changed", {}).items():
        said = ", ".join(f"{k}: {was} -> {now}" for k, (was, now) in changed.items())
        lines.append(f"{name}: settings are not what they were: {said}")
    return "".join(f"\n  {line}" for line in lines)
