"""Whether a server is, after maintenance, what it was before."""

from __future__ import annotations

from slackwater.facts.health import Before
from slackwater.facts.server import ServerFacts


def wrong(before: Before, now: ServerFacts, *, same_version: bool) -> list[str]:
    """Every way in which the server is not as it has to be; empty when it is healthy.

    `read_only` is not judged here: it can be put back. Without `same_version` it may be newer.
    """
    reasons = []
    was, is_now = before.flavour, now.flavour
    if is_now.vendor != was.vendor or is_now < was:
        reasons.append(f"it was {was} and is {is_now} now")
    elif same_version and is_now != was:
        reasons.append(f"it was {was} and is {is_now} now: the restart brought another version")
    for name in before.replicating:
        channel = next((c for c in now.replication if c.channel == name), None)
        word = f" ({name})" if name else ""
        if channel is None:
            reasons.append(f"its replication{word} is gone")
        elif not channel.running:
            why = "; ".join(channel.errors) or "stopped, or not connected yet"
            reasons.append(f"its replication{word} does not run: {why}")
    return reasons


def changed_settings(before: Before, now: ServerFacts) -> dict[str, list[str | None]]:
    """Settings that are not what they were: somebody had SET GLOBAL them, or files changed."""
    is_now = {k: v for k, v in now.variables.items() if k in before.settings}
    return {
        name: [was, is_now.get(name)]
        for name, was in before.settings.items() if is_now.get(name) != was
    }
