"""Where SSH goes: `[user@]host[:port]`."""

from __future__ import annotations

import re
from dataclasses import dataclass

_FORM = re.compile(
    r"(?:(?P<user>[\w.-]+)@)?(?P<host>\[[0-9a-fA-F:.]+\]|[\w.-]+)(?::(?P<port>\d{1,5}))?"
)


@dataclass(frozen=True)
class Destination:
    """A host, with the user and the port where they are not SSH's own choice."""

    host: str
    user: str = ""
    port: int = 0  # 0: not said

    @classmethod
    def parse(cls, text: str) -> Destination:
        """Raises ValueError for another form."""
        found = _FORM.fullmatch(text)
        if found is None or found["host"].startswith("-"):
            raise ValueError("write [USER@]HOST[:PORT], for example root@10.0.0.5:22")
        return cls(found["host"].strip("[]"), found["user"] or "", int(found["port"] or 0))
