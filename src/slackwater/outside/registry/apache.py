"""Apache's mod_proxy_balancer: one `<Proxy balancer://POOL>` a pool, in a file of ours.

The site's configuration has, once:

    <IfDefine !SLACKWATER_REGISTRY>
      Define SLACKWATER_REGISTRY /var/lib/slackwater-registry/apache.conf
    </IfDefine>
    Include ${SLACKWATER_REGISTRY}
    ProxyPass "/" "balancer://web/"

so that a candidate can be checked in its place with `-C "Define SLACKWATER_REGISTRY …"`.
"""

from __future__ import annotations

from collections.abc import Sequence

from slackwater.facts.members import PoolView, Target
from slackwater.facts.pools import Pool
from slackwater.outside.registry.balancer import Files, header, only

CHECK = ("apache2ctl", "-t", "-C", "Define SLACKWATER_REGISTRY {file}")
RELOAD = ("sudo", "-n", "/usr/bin/systemctl", "reload", "apache2.service")
MAX_ROUTE = 63  # Apache's own limit is 95; ours is an id's


def render(pools: Sequence[Pool], views: Sequence[PoolView]) -> str:
    """The whole file."""
    lines = header("Apache")
    for pool, view in only(pools, views):
        lines += ["", f'<Proxy "balancer://{pool.name}">']
        lines += [f"    {_member(pool, target)}" for target in view.targets]
        lines += ["    ProxySet lbmethod=byrequests", "</Proxy>"]
    return "\n".join(lines) + "\n"


def _member(pool: Pool, target: Target) -> str:
    scheme = "http" if pool.mode == "http" else "ws"
    # retry=1: who failed to connect is asked again after a second. status +N (drain): sessions
    # that stick to it go on.
    status = " status=+N" if target.idle else ""
    return (f'BalancerMember "{scheme}://{target.endpoint}" route={target.id} '
            f"loadfactor={target.weight} retry=1 connectiontimeout=2 timeout={pool.timeout_s}"
            f"{status}")


class Apache:
    """One Apache with a part of its configuration. See outside/registry/balancer.py."""

    def __init__(self, name: str, files: Files, pools: Sequence[Pool]) -> None:
        self.name = name
        self.where = f"balancer {name} ({files.file})"
        self._files = files
        self._pools = [p for p in pools if p.mode == "http"]
        self._loaded = ""

    async def has_members(self) -> bool:
        """Whether the file in place has any."""
        return self._files.differs(render(self._pools, []))

    async def at_once(self, views: Sequence[PoolView]) -> bool:
        """Nothing but a reload changes Apache for good."""
        return render(self._pools, views) == self._loaded

    async def settle(self, views: Sequence[PoolView]) -> bool:
        """Check, replace, reload; nothing of it when the file would not change."""
        text = render(self._pools, views)
        changed = await self._files.place(self.where, text)
        # After our own start nobody knows what is loaded: what is in the file, unless a reload
        # failed before. So a file that did not change counts as loaded only if we loaded it.
        if not changed and text == self._loaded:
            return False
        await self._files.load(self.where)
        self._loaded = text
        return True

    async def still(self, views: Sequence[PoolView]) -> None:
        """Apache reads the file whenever others reload it, so there is nothing to see to."""
