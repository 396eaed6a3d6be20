"""How far a comparison has come, in a file, so that a later one can go on there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from slackwater import clock
from slackwater.facts.compare import KeyValues, TableResult
from slackwater.outside import state_file

WRITE_EVERY_S = 2.0


class Progress:
    """Results by table, and where the table that is being compared goes on."""

    def __init__(self, path: Path, servers: list[str]) -> None:
        self.path, self.servers = path, servers
        self.results: dict[str, list[TableResult]] = {}
        self.after: dict[str, KeyValues] = {}
        self._written = 0.0

    def load(self) -> bool:
        """Take up what an earlier run left; False when there is nothing of these servers."""
        said = state_file.read(self.path)
        if said is None or sorted(said.get("servers", [])) != sorted(self.servers):
            return False
        # After a switchover the reference is another one: what is finished stays, the rest begins.
        same = said["servers"] == self.servers
        for name, table in said["tables"].items():
            self.results[name] = [TableResult.read(r) for r in table["results"]]
            if same and table["after"] is not None:
                self.after[name] = tuple(table["after"])
        return True

    def finished(self, table: str) -> bool:
        """Whether that table was compared to its end."""
        found = self.results.get(table, [])
        return bool(found) and all(r.done or r.skipped for r in found)

    def walked(self, table: str, after: KeyValues | None) -> None:
        """A chunk of it is done; on disk every two seconds."""
        if after is None:
            self.after.pop(table, None)
        else:
            self.after[table] = after
        if clock.mono() - self._written > WRITE_EVERY_S:
            self.write()

    def write(self) -> None:
        """Put it on the disk."""
        self._written = clock.mono()
        tables: dict[str, Any] = {
            name: {
                "after": list(self.after[name]) if name in self.after else None,
                "results": [{**r.as_json(), "done": r.done} for r in results],
            }
            for name, results in self.results.items()
        }
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        state_file.write(self.path, {"servers": self.servers, "tables": tables})

    def remove(self) -> None:
        """The comparison is complete."""
        self.path.unlink(missing_ok=True)
