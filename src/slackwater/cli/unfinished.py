"""Operations that something may be left of: which are this configuration's, and what to say."""

from __future__ import annotations

import getpass
from dataclasses import dataclass
from pathlib import Path

from slackwater import config
from slackwater.config import Config
from slackwater.errors import ConfigError
from slackwater.plan import journal
from slackwater.plan.journal import JournalError, Past


@dataclass(frozen=True)
class Left:
    """What is unfinished, for those that only look: `here` of this configuration, `away` of
    another one for the same servers. `unread`: why the journals tell nothing."""

    here: list[Past]
    away: list[Past]
    unread: str = ""

    def lines(self, settings: Config) -> list[str]:
        """For people, one a line."""
        unread = [f"unfinished operations cannot be told: {self.unread}"] if self.unread else []
        return [left_line(settings, p) for p in self.here] + [*map(away_line, self.away)] + unread


def left(settings: Config, pair: str | None) -> Left:
    """What is unfinished; that the journals cannot be read is told too. Never raises."""
    try:
        every = elsewhere(settings, pair)
        return Left(unfinished(settings, pair), [p for p in every if concerns(settings, p)])
    except JournalError as error:
        return Left([], [], f"{error} ({error.hint})")


def unfinished(settings: Config, pair: str | None) -> list[Past]:
    """Operations of this configuration that something may be left of. Raises JournalError."""
    return [p for p in _left(settings, pair) if not _of_another(settings, p)]


def elsewhere(settings: Config, pair: str | None) -> list[Past]:
    """As `unfinished`, of other configurations that have the same state directory."""
    return [p for p in _left(settings, pair) if _of_another(settings, p)]


def concerns(settings: Config, past: Past) -> bool:
    """Whether an operation of another configuration works on servers or balancers of this one.

    Two files may have other servers under the same names, and then neither has to do with the
    other. Where its file tells nothing any more, it may be about ours.
    """
    name = str(past.planned.get("pair", ""))
    try:
        theirs = _places(config.load(Path(past.planned["config"])), name)
    except ConfigError:
        return True
    return not theirs or bool(theirs & _places(settings, name))


def _places(settings: Config, name: str) -> set[tuple[str, ...]]:
    """Where the servers and balancers are that an operation of this name works on."""
    kind, _, server = name.partition(".")
    if name in settings.pairs or name in settings.sources:
        group = settings.group(name)
        servers, balancers = group.servers, group.balancers
    elif kind == "server" and server in settings.servers:
        servers, balancers = (server,), ()
    else:
        servers, balancers = tuple(settings.servers), tuple(settings.balancers)
    found: set[tuple[str, ...]] = {("address", settings.servers[s].address) for s in servers}
    found |= {("socket", t.ssh or "", str(t.socket)) for t in map(settings.servers.get, servers)
              if t and t.socket}
    return found | {("balancer", t.ssh or "", t.runtime, t.backend)
                    for t in map(settings.balancers.get, balancers) if t}


def looked_in(settings: Config) -> str:
    """Where unfinished operations were looked for, and as whom: others may have theirs."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = "a user without a name"
    return f"{settings.state_directory} ({user} on {journal.process()['host']})"


def _left(settings: Config, pair: str | None) -> list[Past]:
    every = journal.unfinished(settings.state_directory)
    return [p for p in every if pair in (None, p.planned.get("pair"))]


def _of_another(settings: Config, past: Past) -> bool:
    """Its servers may be others under the same names: only its own file tells. If that file is
    gone, this one may be what became of it."""
    file = past.planned.get("config", "")
    return bool(file) and file != str(settings.path.resolve()) and Path(file).exists()


def left_line(settings: Config, past: Past) -> str:
    """An unfinished operation, for people: what to do about it."""
    if under_way(settings, past):
        return f"operation {past.id} is under way"
    return f"operation {past.id} is unfinished: `slackwater recover`"


def away_line(past: Past) -> str:
    """An unfinished operation of another configuration, for people."""
    return (f"operation {past.id} was begun with another configuration and is unfinished: "
            f"`slackwater recover --config {past.planned['config']}`")


def under_way(settings: Config, past: Past) -> bool:
    """Whether a slackwater of this machine works on what the operation works on, right now.

    The kernel is asked who has the lock: to try it would keep others from it for a moment.
    """
    path = settings.state_directory / f"pair-{past.planned.get('pair')}.lock"
    try:
        owner, inode = path.read_text().strip(), path.stat().st_ino
        locks = Path("/proc/locks").read_text()
    except OSError:
        return False  # nobody ever locked it, or we may not look
    held = [line.split() for line in locks.splitlines() if " FLOCK " in line and "->" not in line]
    return any(f[4] == owner and f[5].rpartition(":")[2] == str(inode) for f in held)
