"""The handles of operations on pools: the registries that slackwater.toml names."""

from __future__ import annotations

import asyncio
from typing import Any

from slackwater.config import Config
from slackwater.errors import ConfigError, SlackwaterError
from slackwater.operations.world import World
from slackwater.outside.registry.client import Access, Client, secret_of


class PoolWorld(World):
    """One pool, as every registry has it."""

    def __init__(self, config: Config, pool: str) -> None:
        super().__init__(config, f"pool.{pool}")
        self.pool = pool
        self.clients = {each.url: Client(each) for each in accesses(config)}

    async def report(self, url: str) -> dict[str, Any]:
        """The pool as that registry has it now. Raises OutsideError."""
        return await self.clients[url].ask("GET", f"/v1/pools/{self.pool}")

    async def reports(self) -> dict[str, dict[str, Any]]:
        """The pool as each registry has it. Raises OutsideError."""
        found = await asyncio.gather(*(self.report(url) for url in self.clients))
        return dict(zip(self.clients, found, strict=True))

    async def close(self) -> None:
        """Close the connections."""
        for client in self.clients.values():
            try:
                await client.close()
            except (SlackwaterError, OSError):
                continue


def accesses(config: Config) -> list[Access]:
    """The registries of slackwater.toml. Raises ConfigError."""
    table = config.registry
    if table is None:
        raise ConfigError(f"{config.path}: there is no registry in it",
                          hint='write [registry] with urls = ["https://lb1:8440"] and key_file')
    name = table.key or table.key_file.name.removesuffix(".key")
    secret = secret_of(table.key_file)
    return [Access(url.rstrip("/"), name, secret, str(table.ca or "")) for url in table.urls]
