"""The API's description in the documentation. `python -m tests.registry.openapi` renews it."""

from __future__ import annotations

import json
from pathlib import Path

from slackwater.facts.pools import Pool
from slackwater.outside.registry.store_file import FileStore
from slackwater.service.registry import api
from slackwater.service.registry.keeper import Keeper
from slackwater.service.registry.roster import Roster

PAGE = Path(__file__).resolve().parents[2] / "docs/reference/registry-openapi.json"


def text() -> str:
    """As the code has it now."""
    roster = Roster(FileStore(Path("/nowhere")), {"web": Pool("web")})
    app = api.make(roster, Keeper(roster, {}, probe_s=1.0), allow_loopback=False)
    return json.dumps(app.openapi(), indent=1) + "\n"


if __name__ == "__main__":
    PAGE.write_text(text())
