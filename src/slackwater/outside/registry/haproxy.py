"""HAProxy: members change at its runtime socket at once, and then in its file.

The file, loaded beside the site's own with one more `-f`, has one backend a pool, with the same
members: a reload by whomever loses nothing, and we need none (but for a backend that the
running process does not have, or has with other settings). Dynamic servers take nothing from
`default-server`: every parameter is said. What the process has is read before it is changed,
not remembered.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from slackwater.errors import OutsideError
from slackwater.facts.members import PoolView, Target
from slackwater.facts.pools import Pool
from slackwater.outside.haproxy.runtime import Runtime
from slackwater.outside.registry.balancer import Files, header, only

RELOAD = ("sudo", "-n", "/usr/bin/systemctl", "reload", "haproxy.service")
# Two refused connections are enough to be left out until the next check passes.
PARAMETERS = ("check inter 2s fall 2 rise 1 "
              "observe layer4 error-limit 2 on-error mark-down")
_COMMANDS_A_LINE = 40  # a line has to fit HAProxy's buffer (16 KiB)
_MAINT, _DRAIN = 0x01 | 0x04, 0x08 | 0x10  # bits of srv_admin_state


def check(main: Sequence[str]) -> tuple[str, ...]:
    """The command that checks a candidate together with the site's own files."""
    words = ["haproxy", "-c", "-q"]
    for file in main:
        words += ["-f", file]
    return (*words, "-f", "{file}")


def render(pools: Sequence[Pool], views: Sequence[PoolView]) -> str:
    """The whole file."""
    lines = header("HAProxy")
    for pool, view in only(pools, views):
        lines += ["", f"backend {pool.name}", f"    mode {pool.mode}", "    balance roundrobin",
                  # Each retry goes to another member, at once: not a second later to the same.
                  "    option redispatch 1", "    retries 5",
                  "    timeout connect 2s", "    timeout queue 10s",
                  f"    timeout server {pool.timeout_s}s"]
        if pool.mode == "http":
            # A member that was killed answers nothing: what can be asked twice is.
            lines += ["    retry-on conn-failure empty-response",
                      "    http-request disable-l7-retry if ! { method GET HEAD OPTIONS }"]
        if pool.check:
            lines += [f"    option httpchk GET {pool.check}"]
        lines += [f"    server {t.id} {t.endpoint} weight {0 if t.idle else t.weight} {PARAMETERS}"
                  for t in view.targets]
    return "\n".join(lines) + "\n"


def _settings(text: str) -> list[str]:
    """A file but for its members: how often is tried again, limits, checks."""
    return [line for line in text.splitlines() if not line.startswith("    server ")]


@dataclass(frozen=True)
class Seen:
    """A server as the process has it."""

    address: str
    port: int
    weight: int
    admin: int

    @property
    def idle(self) -> bool:
        return bool(self.admin & _DRAIN) or self.weight == 0

    @property
    def maint(self) -> bool:
        return bool(self.admin & _MAINT)


def parse_state(text: str) -> dict[str, Seen]:
    """The servers of one backend from `show servers state`. Raises ValueError."""
    lines = [line for line in text.splitlines() if line.strip()]
    if len(lines) < 2 or not lines[1].startswith("# "):
        raise ValueError(text.strip()[:200] or "no answer")
    names = lines[1][2:].split()
    found = {}
    for line in lines[2:]:
        row = dict(zip(names, line.split(), strict=False))
        found[row["srv_name"]] = Seen(row["srv_addr"], int(row["srv_port"]),
                                      int(row["srv_uweight"]), int(row["srv_admin_state"]))
    return found


def changes(pool: str, view: PoolView, seen: dict[str, Seen]) -> Iterator[str]:
    """The commands that make the running backend what it shall be."""
    for target in view.targets:
        yield from _one(f"{pool}/{target.id}", target, seen.get(target.id))
    gone = seen.keys() - {t.id for t in view.targets}
    for name in sorted(gone):
        if not seen[name].maint:
            yield f"set server {pool}/{name} state maint"
        yield f"del server {pool}/{name}"  # refused while it has connections; tried again later


def _one(at: str, target: Target, seen: Seen | None) -> Iterator[str]:
    if seen is None:
        yield f"add server {at} {target.endpoint} weight {target.weight} {PARAMETERS}"
        yield f"enable health {at}"
        yield f"set server {at} state {'drain' if target.idle else 'ready'}"
        return
    if (seen.address, seen.port) != (target.address, target.port):
        yield f"set server {at} addr {target.address} port {target.port}"
    if not target.idle and seen.weight != target.weight:
        yield f"set server {at} weight {target.weight}"
    if seen.maint or seen.idle != target.idle:
        yield f"set server {at} state {'drain' if target.idle else 'ready'}"


class HAProxy:
    """One HAProxy with a part of its configuration. See outside/registry/balancer.py."""

    def __init__(
        self, name: str, files: Files, pools: Sequence[Pool], runtime: str
    ) -> None:
        self.name = name
        self.where = f"balancer {name} ({runtime})"
        self._files, self._pools = files, list(pools)
        self._runtime = Runtime(runtime, name=name)
        self._done: dict[str, PoolView] = {}  # what the process has been told, by pool
        self._reload = False

    async def has_members(self) -> bool:
        """Whether the file in place has any, or the process, which is told first."""
        if self._files.differs(render(self._pools, [])):
            return True
        with contextlib.suppress(OutsideError, ValueError):
            for pool in self._pools:
                if parse_state(await self._runtime.send(f"show servers state {pool.name}")):
                    return True
        return False

    async def at_once(self, views: Sequence[PoolView]) -> bool:
        """Tell the process; False when it lacks a backend, which only a reload gives it."""
        whole = True
        for pool, view in only(self._pools, views):
            if self._done.get(pool.name) != view:
                whole = await self._tell(pool.name, view) and whole
        return whole

    async def settle(self, views: Sequence[PoolView]) -> bool:
        """The file; a reload only where the process lacks a backend, or has another than ours."""
        text = render(self._pools, views)
        if _settings(self._files.text()) != _settings(text):
            self._reload = True  # what a backend does is in the file only, not at the socket
        if self._reload:
            # Or we are killed before the reload, and next time the file is as it shall be.
            self._files.note_reload(self.where, owed=True)
        await self._files.place(self.where, text)
        if not self._files.owes_reload:
            return False
        await self._files.load(self.where)
        self._reload = False
        self._files.note_reload(self.where, owed=False)
        self._done.clear()
        if not await self.at_once(views):
            raise OutsideError(self.where, "lacks a backend after its reload too", sent=True,
                               hint=f"does it load {self._files.file} (-f)?")
        return True

    async def still(self, views: Sequence[PoolView]) -> None:
        """Read what the process has, and mend it: it may have been restarted."""
        self._done.clear()
        await self.at_once(views)

    async def _tell(self, pool: str, view: PoolView) -> bool:
        said = await self._runtime.send(f"show servers state {pool}")
        try:
            seen = parse_state(said)
        except ValueError:
            self._reload = True
            return False
        commands = list(changes(pool, view, seen))
        answers = []
        for begin in range(0, len(commands), _COMMANDS_A_LINE):
            answers.append(await self._runtime.send(*commands[begin:begin + _COMMANDS_A_LINE]))
        if not commands:
            self._done[pool] = view
            return True
        # Its words differ by version; what it has now does not.
        now = parse_state(await self._runtime.send(f"show servers state {pool}"))
        open_ = [c for c in changes(pool, view, now) if not c.startswith("del server")]
        if open_:
            self._done.pop(pool, None)
            words = " / ".join(" ".join(a.split()) for a in answers if a.strip())[:300]
            raise OutsideError(self.where, f"did not do: {open_[0]} ({words})", sent=True)
        # Who still has connections stays in maintenance, and is deleted at a later look.
        leftovers = now.keys() - {t.id for t in view.targets}
        if leftovers:
            self._done.pop(pool, None)
        else:
            self._done[pool] = view
        return True
