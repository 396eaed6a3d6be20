"""A further server of a lab: a replica that hangs off either of the pair's."""

from __future__ import annotations

import asyncio
import json
import re

from tests.servers.patience import PATIENCE

from slackwater.lab import accounts
from slackwater.lab.facts import LabFacts
from slackwater.lab.instance import Instance


def add_replica(lab: LabFacts, name: str, source: str, more: str = "") -> Instance:
    """Behind `source`, in the lab's directory and in the pair's table; `more`: lines of its own
    in the configuration."""
    program, passwords = lab.instance(source).program, {
        user: (lab.directory / f"{user}.password").read_text().strip()
        for user in ("slackwater", "app", "repl")}
    replica = Instance.create(
        program, lab.directory / name, server_id=ord(name) - ord("a") + 1, mark=lab.directory,
        extra=(accounts.starts_read_only(program.is_mariadb),))
    replica.start(60 * PATIENCE)

    async def join() -> None:
        await accounts.make_accounts(replica, passwords)
        await accounts.set_writable(replica, False)
        await accounts.log_in(replica, "slackwater", passwords["slackwater"])
        await accounts.follow(replica, lab.instance(source), passwords["repl"])
        await accounts.wait_replicated(replica, 20 * PATIENCE)

    asyncio.run(join())
    text = lab.config.read_text()
    if "replicas = [" in text:
        text = re.sub(r"replicas = \[([^]]*)\]", rf'replicas = [\1, "{name}"]', text)
    else:
        text = text.replace("[pairs.lab]\n", f'[pairs.lab]\nreplicas = ["{name}"]\n')
    lab.config.write_text(
        f"{text}\n[servers.{name}]\naddress = {json.dumps(replica.address)}\n{more}")
    return replica
