"""Which of two things said about one member is the later one."""

from __future__ import annotations

from slackwater.facts.members import Record


def why_stale(old: Record | None, new: Record) -> str:
    """Why `new` must not replace `old`; "" when it may.

    A member numbers its starts (boot) and what it says since (seq), so a renewal that was on its
    way for long cannot undo a drain. Who does not number (boot 0: a start-up script) is taken at
    its word: its requests are fresh and signed.
    """
    if old is None or new.boot == 0 or old.boot == 0:
        return ""
    if (new.boot, new.seq) > (old.boot, old.seq):
        return ""
    return f"it is older than what is known (boot {old.boot}, seq {old.seq})"
