"""Whether a server will take at its next start what slackwater's file says."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from slackwater.facts.setup import parse_settings
from slackwater.outside.host import Host
from slackwater.outside.mysql.effective_options import effective, places
from slackwater.rules.setup.settings import read_after


async def not_taken(
    host: Host, path: Path, text: str, variables: Mapping[str, str]
) -> list[str]:
    """What it would not take from the file at `path`, which says `text`, with what to do. [] also
    where nobody can tell (the server's process or its program is not on that host)."""
    own = parse_settings(text)
    then = await effective(host, variables)
    if then is None:
        return []
    if not any(name in then for name in own):
        return [f"the server does not read {path}: config_dir has to be a directory that its "
                "option files include (!includedir)"]
    reasons = []
    for name, value in read_after(own, then):
        others = await places(host, path.parent, name, but=path)
        where = " or ".join(others) if others else "its command line"
        reasons.append(f"{name} = {value or 'nothing'} would overrule {path}, which says "
                       f"{own[name]}: take it out of {where}")
    return reasons
