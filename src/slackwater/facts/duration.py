"""Lengths of time as people write them."""

from __future__ import annotations

import re

_FORM = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|min|h)?")
_SECONDS = {"ms": 0.001, "s": 1.0, "": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}


def seconds(text: str) -> float:
    """`500ms`, `30s`, `2m`, `1h`, or a bare number of seconds. Raises ValueError; above 0 only."""
    found = _FORM.fullmatch(text.strip())
    value = float(found[1]) * _SECONDS[found[2] or ""] if found else 0.0
    if value <= 0:
        raise ValueError("write a length of time such as 500ms, 30s or 2m")
    return value


def seconds_text(value: float) -> str:
    """For people: `12 s`, `4 min 10 s`, `2 h 5 min`."""
    whole = round(value)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
