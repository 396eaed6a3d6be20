"""The running lab as a target of the load."""

from __future__ import annotations

from pathlib import Path

from slackwater.config import host_port
from slackwater.lab import facts
from slackwater.lab.load_plan import Target


def lab_target(config: Path | None = None) -> Target:
    """The lab whose slackwater.toml this is, or this user's running lab.

    Servers are looked at through their sockets. Raises Refused when there is no such lab.
    """
    lab = facts.read(None if config is None else config.absolute().parent)
    return Target(
        frontends=tuple(host_port(balancer["frontend"]) for balancer in lab.balancers.values()),
        user=lab.app["user"],
        password=Path(lab.app["password_file"]).read_text(encoding="utf-8").strip(),
        database=lab.app["database"],
        servers=tuple((name, str(server["socket"])) for name, server in lab.servers.items()),
    )
