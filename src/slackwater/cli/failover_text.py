"""What people ask first after a failover or a rejoin, in words."""

from __future__ import annotations

from typing import Any


def failover_text(figures: dict[str, Any]) -> str:
    """What was lost, what became of the old server, what to do next."""
    lines = []
    if "traffic_ms" in figures:
        lines.append(f"{figures['to']} accepts writes since {figures['traffic_ms']:.0f} ms after "
                     "the command")
    old = figures.get("from", "the old server")
    lines.append(f"{old}: {figures.get('fenced', 'not fenced')}")
    if told := figures.get("missing"):
        lines.append(f"may be missing: {told['words']}")
    if ids := figures.get("took_over"):
        lines.append(f"it took the place of what was unfinished: {', '.join(ids)}")
    if server := figures.get("semi_sync_off"):
        lines.append(f"{server} does not wait for a replica's word (semi-sync) until `slackwater "
                     "pair rejoin`")
    lines += [f"a risk: {risk}" for risk in figures.get("risks", [])]
    if "next" in figures:
        lines.append(figures["next"])
    return "".join(f"\n  {line}" for line in lines)


def rejoin_text(figures: dict[str, Any]) -> str:
    """What the old server had of its own, and how it is now."""
    lines = []
    if extra := figures.get("extra"):
        lines.append(extra["words"])
    if "rejoined" in figures:
        lines.append(figures["rejoined"])
    lines += [f"{name} does not wait for a replica's word (semi-sync), the other server does"
              for name in figures.get("semi_sync_off", [])]
    return "".join(f"\n  {line}" for line in lines)
