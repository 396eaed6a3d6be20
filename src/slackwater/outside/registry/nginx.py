"""nginx: one `upstream` a pool, in a file of ours that the site includes in its `http` block.

    include /var/lib/slackwater-registry/nginx.conf;
    server { location / { proxy_pass http://web; } }

A candidate is checked by `nginx -t` in a configuration of a few lines around it, since an
`include` takes no variable; a reload that would not load is refused by nginx's main process,
which then goes on with what it has.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from slackwater.errors import OutsideError
from slackwater.facts.members import PoolView, Target
from slackwater.facts.pools import Pool
from slackwater.outside.registry.balancer import Files, header, only

RELOAD = ("sudo", "-n", "/usr/bin/systemctl", "reload", "nginx.service")
# nginx refuses an upstream without servers. `down`: it is never asked.
NOBODY = "server 127.0.0.1:9 down; # nobody yet"


def check(around: Path) -> tuple[str, ...]:
    """The command that checks a candidate by the file that `write_around` makes."""
    return ("nginx", "-t", "-q", "-c", str(around))


def render(pools: Sequence[Pool], views: Sequence[PoolView]) -> str:
    """The whole file."""
    lines = header("nginx")
    for pool, view in only(pools, views):
        lines += ["", f"upstream {pool.name} {{"]
        lines += [f"    {_server(target)}" for target in view.targets] or [f"    {NOBODY}"]
        lines += ["}"]
    return "\n".join(lines) + "\n"


def _server(target: Target) -> str:
    # A member that fails to connect is left out for a second; the next one is asked.
    state = "down" if target.idle else "max_fails=1 fail_timeout=1s"
    return f"server {target.endpoint} weight={target.weight} {state}; # {target.id}"


def around_text(file: Path, directory: Path) -> str:
    """A whole configuration with nothing in it but that file."""
    return (f"pid {directory}/.nginx-check.pid;\nerror_log stderr;\nevents {{ }}\n"
            f"http {{\n    access_log off;\n    include {file};\n}}\n")


class Nginx:
    """One nginx with a part of its configuration. See outside/registry/balancer.py."""

    def __init__(self, name: str, files: Files, pools: Sequence[Pool]) -> None:
        self.name = name
        self.where = f"balancer {name} ({files.file})"
        self._pools = [p for p in pools if p.mode == "http"]
        self._loaded = ""
        self._around = files.file.with_name(f".{files.file.name}.around")
        # nginx starts new workers first, and tells the old ones a tenth of a second later.
        self._files = replace(files, check=files.check or check(self._around),
                              leaving="shutting down")

    async def has_members(self) -> bool:
        """Whether the file in place has any."""
        return self._files.differs(render(self._pools, []))

    async def at_once(self, views: Sequence[PoolView]) -> bool:
        """Only a reload changes nginx."""
        return render(self._pools, views) == self._loaded

    async def settle(self, views: Sequence[PoolView]) -> bool:
        """Check, replace, reload; nothing of it when the file would not change."""
        text = render(self._pools, views)
        candidate = self._files.file.with_name(f".{self._files.file.name}.candidate")
        try:
            self._around.write_text(around_text(candidate, self._around.parent))
        except OSError as error:
            raise OutsideError(self.where, f"cannot write {self._around}: {error}", sent=False
                               ) from error
        changed = await self._files.place(self.where, text)
        if not changed and text == self._loaded:
            return False
        await self._files.load(self.where)
        self._loaded = text
        return True

    async def still(self, views: Sequence[PoolView]) -> None:
        """nginx reads the file whenever others reload it, so there is nothing to see to."""
