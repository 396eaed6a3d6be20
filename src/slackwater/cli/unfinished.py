"""Operations that something may be left of: which are this configuration's, and what to say."""

from __future__ import annotations

from pathlib import Path

from slackwater.config import Config
from slackwater.plan import journal
from slackwater.plan.journal import Past


def unfinished(settings: Config, pair: str | None) -> list[Past]:
    """Operations of this configuration that something may be left of."""
    return [p for p in _left(settings, pair) if not _of_another(settings, p)]


def elsewhere(settings: Config, pair: str | None) -> list[Past]:
    """As `unfinished`, of other configurations that have the same state directory."""
    return [p for p in _left(settings, pair) if _of_another(settings, p)]


def _left(settings: Config, pair: str | None) -> list[Past]:
    every = journal.unfinished(settings.state_directory)
    return [p for p in every if pair in (None, p.planned.get("pair"))]


def _of_another(settings: Config, past: Past) -> bool:
    """Its servers may be others under the same names: only its own file tells. If that file is
    gone, this one may be what became of it."""
    file = past.planned.get("config", "")
    return bool(file) and file != str(settings.path.resolve()) and Path(file).exists()


def left_line(settings: Config, past: Past) -> str:
    """An unfinished operation, for people: what to do about it."""
    if under_way(settings, past):
        return f"operation {past.id} is under way"
    return f"operation {past.id} is unfinished: `slackwater recover`"


def under_way(settings: Config, past: Past) -> bool:
    """Whether a slackwater of this machine works on what the operation works on, right now.

    The kernel is asked who has the lock: to try it would keep others from it for a moment.
    """
    path = settings.state_directory / f"pair-{past.planned.get('pair')}.lock"
    try:
        owner, inode = path.read_text().strip(), path.stat().st_ino
        locks = Path("/proc/locks").read_text()
    except OSError:
        return False  # nobody ever locked it, or we may not look
    held = [line.split() for line in locks.splitlines() if " FLOCK " in line and "->" not in line]
    return any(f[4] == owner and f[5].rpartition(":")[2] == str(inode) for f in held)
