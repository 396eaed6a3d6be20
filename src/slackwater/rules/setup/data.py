"""Whose data counts, who needs a copy of it, and by which means."""

from __future__ import annotations

import enum
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from slackwater.facts.gtid import MariadbGtids, MysqlGtids
from slackwater.facts.setup import ServerSetup

# Below this a copy by SQL is over before a server has restarted into a clone.
SMALL = 64 * 2**20


class Means(enum.StrEnum):
    """How a target comes to what its source has."""

    NOTHING = "it replicates already"
    FOLLOW = "it has the data, and its source still has the binary log since then"
    SEED = "both are empty: it begins where its source is"
    COPY = "the data is copied"


@dataclass(frozen=True)
class Target:
    """What is done to one server. `method`: "" where nothing is copied; `overwrite`: data of its
    own is thrown away, as was asked for by name; `passed_over`: why a better method is not used;
    `unsure`: why its data may be another's than its source's."""

    name: str
    means: Means
    method: str = ""
    overwrite: bool = False
    note: str = ""
    passed_over: str = ""
    unsure: str = ""


@dataclass(frozen=True)
class Ways:
    """The means to copy to one target: each with why it cannot be used, or "". `unasked`: those
    that are taken last, unless asked for by name, and why."""

    why_not: Mapping[str, str]  # in the order in which they are to be tried for much data
    unasked: Mapping[str, str] = field(default_factory=dict)

    def best(self, size: int) -> str:
        """The method for so many bytes; "" when there is none."""
        usable = [name for name, why in self.why_not.items() if not why]
        usable.sort(key=lambda name: bool(self.unasked.get(name)))  # keeps their order
        if size < SMALL and "dump" in usable:
            return "dump"
        return usable[0] if usable else ""

    def passed_over(self, chosen: str, size: int) -> str:
        """Why those that come before the chosen one are not used."""
        said = []
        for name, why in self.why_not.items():
            if name == chosen:
                break
            if why := why or self.unasked.get(name, "") or (
                    "there is too little data for it" if size < SMALL else ""):
                said.append(f"{name}: {why}")
        return "; ".join(said)


def choose_source(
    servers: Mapping[str, ServerSetup], heads: tuple[str, ...], active: str | None,
    copies: Collection[str] = (),
) -> str | list[str]:
    """The head whose data counts and that takes writes; or the reasons why nobody can tell.
    `copies`: the last set-up had copied them, and was cut off."""
    if active is not None:
        if active not in heads:
            return [f"--active {active}: it must be one of {', '.join(heads)}"]
        return active
    if len(heads) == 1:
        return heads[0]
    full = [h for h in heads
            if servers[h].data and servers[h].marker is None and h not in copies]
    if len(full) == 1:
        return full[0]
    writable = [h for h in heads if servers[h].facts.writable]
    if not full:
        return writable[0] if len(writable) == 1 else heads[0]
    if len(writable) == 1:
        other = next(h for h in heads if h != writable[0])
        if not lacks(servers[other], servers[writable[0]]):
            return writable[0]
    said = " and ".join(heads)
    return [f"{said} both have data, and it cannot be told whose counts: say which one takes "
            f"writes with --active NAME, and that the other may lose its own with --overwrite NAME"]


def lacks(target: ServerSetup, source: ServerSetup) -> str:
    """What the target has and the source has not, as GTIDs; "" when it has nothing of its own."""
    extra = [] if not target.flavour.mariadb else [
        str(g) for g in _gtids(target.logged) if not _has(source, g)]
    return ",".join(extra) or _minus(target.facts.executed, source.facts.executed)


def missing(source: ServerSetup, gtids: MariadbGtids | MysqlGtids) -> str:
    """Which of these the source has not; "" when it has them all."""
    if isinstance(gtids, MysqlGtids):
        return _minus(gtids, source.facts.executed)
    each = [MariadbGtids.of([p]) for p in gtids.positions]
    return ",".join(str(g) for g in each if not _has(source, g))


def written_since(
    before: MariadbGtids | MysqlGtids, now: MariadbGtids | MysqlGtids, server_id: int, uuid: str
) -> str:
    """The one transaction that a server has written of its own since then (a MariaDB: in the domain
    of its server id); "" when there is none, or more than one."""
    if isinstance(before, MysqlGtids) and isinstance(now, MysqlGtids):
        own = dict(now.subtract(before).sources).get((uuid.lower(), ""), ())
        return f"{uuid.lower()}:{own[0][0]}" if len(own) == 1 and own[0][0] == own[0][1] else ""
    last = {d: (s, n) for d, s, n in _positions(before)}.get(server_id, (server_id, 0))
    found = {d: (s, n) for d, s, n in _positions(now)}.get(server_id)
    one = last[0] == server_id and found == (server_id, last[1] + 1)
    return f"{server_id}-{server_id}-{last[1] + 1}" if one else ""


def _minus(mine: MariadbGtids | MysqlGtids, theirs: MariadbGtids | MysqlGtids) -> str:
    if isinstance(mine, MysqlGtids) and isinstance(theirs, MysqlGtids):
        return str(mine.subtract(theirs))
    assert isinstance(mine, MariadbGtids) and isinstance(theirs, MariadbGtids)
    return str(mine.subtract(theirs))


def _gtids(text: str) -> list[MariadbGtids]:
    return [MariadbGtids.read(part) for part in text.replace(" ", "").split(",") if part]


def _has(source: ServerSetup, one: MariadbGtids) -> bool:
    """By domain and server: in one domain each server counts on, so the sequence alone says little
    of what another server wrote."""
    domain, server, sequence = one.positions[0]
    for each in _gtids(source.logged):
        d, s, n = each.positions[0]
        if (d, s) == (domain, server) and n >= sequence:
            return True
    # Seeded by a copy and not logged since: the position is all there is.
    return any(
        (d, s, n) == (domain, server, sequence) for d, s, n in _positions(source.facts.executed)
    )


def _positions(gtids: MariadbGtids | MysqlGtids) -> tuple[tuple[int, int, int], ...]:
    return gtids.positions if isinstance(gtids, MariadbGtids) else ()


def related(target: ServerSetup, source: ServerSetup) -> bool:
    """Whether the target has something that came from where the source's data came from.

    MariaDB numbers from 1 on every server, so equal GTIDs of two servers that never met mean
    nothing: only what a server has by replication, or was seeded with, counts.
    """
    mine, theirs = target.facts.executed, source.facts.executed
    if isinstance(mine, MysqlGtids) and isinstance(theirs, MysqlGtids):
        return mine.subtract(theirs) != mine
    if target.facts.server_id == source.facts.server_id:
        return False
    replicated = _gtids(target.variables.get("gtid_slave_pos", ""))
    return any(_has(source, each) for each in replicated)


def descends(target: ServerSetup, source: ServerSetup) -> bool:
    """Whether the target's data was once the source's, and has nothing added to it."""
    return related(target, source) and not lacks(target, source)


def purged(target: ServerSetup, source: ServerSetup) -> str:
    """What the target lacks and the source's binary log no longer has; "" when it has all."""
    return gone_for(source, target.facts.executed)


def gone_for(source: ServerSetup, has: MariadbGtids | MysqlGtids) -> str:
    """What somebody with these lacks and the source's binary log no longer has."""
    return _minus(source.purged, has)


def follows(target: ServerSetup, source: ServerSetup) -> bool:
    """Whether it replicates from there now, by GTID and without an error."""
    channel = target.channel
    if channel is None or not channel.running or channel.errors or not channel.auto_position:
        return False
    return channel.source_server_id == source.facts.server_id


def by_gtids_alone(target: ServerSetup, source: ServerSetup, at: tuple[str, int]) -> str:
    """Why a target that is to follow may have other data than the source (whose address is `at`),
    or "": where nothing but MariaDB's GTIDs says whose data it has."""
    channel = target.channel
    configured = channel is not None and (channel.source_host, channel.source_port) == at
    if not target.flavour.mariadb or configured or not (target.data or source.data):
        return ""
    return (f"it has no channel from {source.name}, and nothing but its GTIDs says that it has the "
            "data from there; in MariaDB another server with the same server id gives the same")


def in_use(target: ServerSetup, source: ServerSetup) -> str:
    """Why the target, the other server of a pair, is not made its passive by setting up: it takes
    writes now, and the source replicates from it; "" when it may be.

    Both may be open, as after a crash, and only people know which one takes the writes: what they
    say is done, but not under clients of the other.
    """
    name, channel = target.name, source.channel
    if not target.facts.writable or channel is None or (
            channel.source_server_id != target.facts.server_id):
        return ""
    if not source.facts.writable:
        return (f"{name} takes writes now, and {source.name} replicates from it: setting up would "
                f"swap the roles under its clients; `slackwater switchover` has {source.name} take "
                f"the writes (`slackwater failover`, if {name} is dead), and without --active all "
                "stays with its role")
    if target.clients:
        return (f"{name} takes writes now, {source.name} replicates from it, and clients are "
                f"connected to it, which would be closed to them: {', '.join(target.clients[:5])}; "
                f"if it is {source.name} that takes the writes, have them leave {name} first")
    return ""


def decide(
    target: ServerSetup, source: ServerSetup, ways: Ways, overwrite: Collection[str],
    method: str = "", again: bool = False, copy: bool = False,
) -> Target | str:
    """What to do with one target, or the reason why nothing is done. `again`: copy in any case
    (its name is in `overwrite`, and what it has of its own was shown and saved). `copy`: the last
    set-up had copied it from this source, and was cut off."""
    name = target.name
    if target.marker is not None:
        return _copy(target, source, ways, False, method, "a copy of it was cut off: anew")
    if follows(target, source) and not again:
        return Target(name, Means.NOTHING)
    ahead = lacks(target, source)
    if not target.data:
        note = f"its own transactions are forgotten: {ahead}" if ahead else ""
        if not ahead and descends(target, source) and not purged(target, source) and (
                not source.data or target.channel):
            return Target(name, Means.FOLLOW)
        if not source.data:
            return Target(name, Means.SEED, "dump", note=note)
        return _copy(target, source, ways, False, method, note)
    if ahead and related(target, source) and not again:
        return (f"{name} has transactions that {source.name} has not ({ahead}): it might be ahead, "
                "and its data is never thrown away then; look at them with mysqlbinlog, and use "
                f"`slackwater pair rejoin` (with --copy-again it saves them and copies the data "
                f"anew), or --active {name} if its data counts")
    if descends(target, source) and not again:
        gone = purged(target, source)
        if not gone:
            return Target(name, Means.FOLLOW)
        if name not in overwrite:
            return (f"{name} needs what {source.name}'s binary log no longer has ({gone}, purged): "
                    f"its data has to be copied anew; allow it with --overwrite {name}")
    elif copy and not ahead and not target.facts.writable:
        # Of a source that had no binary log before: nothing in the data says where it came from.
        return _copy(target, source, ways, False, method, "its set-up was cut off: anew")
    elif name not in overwrite:
        what = ", ".join(s.name for s in target.data[:5])
        return (f"{name} has data ({what}) that did not come from {source.name}: name it with "
                f"--overwrite {name} if that data may be thrown away")
    return _copy(target, source, ways, True, method, "")


def _copy(
    target: ServerSetup, source: ServerSetup, ways: Ways, overwrite: bool, method: str, note: str
) -> Target | str:
    if source.marker is not None:
        return (f"{source.name} itself is a copy that was cut off, of {source.marker.source}: its "
                "data is not whole; set it up as a replica first")
    chosen = method or ways.best(source.size)
    if why := ways.why_not.get(chosen, f"there is no way {chosen!r}" if chosen else ""):
        asked = "--from-snapshot" if chosen == "snapshot" else f"--method {chosen}"
        return f"{target.name}: {asked}: {why}"
    if not chosen:
        every = "; ".join(f"{name}: {why}" for name, why in ways.why_not.items())
        return f"{target.name}: the data of {source.name} cannot be copied: {every}"
    passed_over = "" if method else ways.passed_over(chosen, source.size)
    return Target(target.name, Means.COPY, chosen, overwrite, note, passed_over)
