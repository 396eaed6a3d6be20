"""Freeze and thaw for hooks: a lock that outlives the hook, and the proof that it held."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from slackwater import __version__, clock
from slackwater.config import Config
from slackwater.errors import Refused, StepFailed
from slackwater.facts.backup import Coordinates, LockKind
from slackwater.operations.snapshot import records
from slackwater.operations.snapshot.records import BAD, GOOD, Record
from slackwater.outside import state_file
from slackwater.outside.gate import holder_process
from slackwater.outside.gate.holder_process import Holder
from slackwater.outside.process import ProcessId

HOLDER = "slackwater.cli.holder"
AFTER_S = 8.0  # over the limit: for a holder to begin on a busy machine, and to clean up
THAW_LIMIT_S = 6.0
GONE_LIMIT_S = 3.0
COORDINATES_NAME = "slackwater-snapshot.json"


@dataclass(frozen=True)
class Asked:
    """What a freeze is asked for; limits in seconds, as in backup_moment.Wanted."""

    server: str
    lock: LockKind
    within_s: float
    hold_s: float
    grace_s: float
    coordinates_file: Path | None = None  # None: in the data directory, where that is possible


@dataclass(frozen=True)
class ServerSays:
    """What is known of the server before: for the record and for the coordinates file."""

    version: str
    datadir: str
    basedir: str
    uuid: str
    local: bool  # it runs on this machine
    settings: dict[str, str] = field(default_factory=dict)  # that a copy cannot be read without
    log_bin: str = ""  # base name of its binary log, when that is in the data directory
    places: dict[str, str] = field(default_factory=dict)  # outside.places.outside


class Place:
    """The files of one server's freeze, on a file system that nobody freezes where there is one."""

    def __init__(self, config: Config, server: str) -> None:
        self.directory = _runtime_directory(config)
        self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.state = self.directory / f"{server}.json"
        self.socket = self.directory / f"{server}.sock"
        self.lock = self.directory / f"{server}.lock"


def _runtime_directory(config: Config) -> Path:
    if config.state.directory is not None:
        return config.state.directory / "freeze"
    if os.geteuid() == 0:
        return Path("/run/slackwater")  # gone after a boot, as the holder is
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    return Path(runtime) / "slackwater" if runtime else config.state_directory / "freeze"


async def freeze(config: Config, asked: Asked, says: ServerSays) -> dict[str, Any]:
    """Freeze one server; returns what to report, and then the lock is held. Raises Refused or
    StepFailed (or is cancelled), and then nothing is left of it."""
    place = Place(config, asked.server)
    fd = state_file.only_one(place.lock)
    if fd is None:
        state = state_file.read(place.state) or {}
        since = clock.text(state["since"]) if "since" in state else "this moment"
        raise Refused(
            f"cannot freeze {asked.server}",
            [f"it is frozen already, or being frozen, since {since}"
             f" (process {state.get('pid', 'unknown')})"],
            hint=f"`slackwater thaw --server {asked.server}` ends that one",
        )
    try:
        _clean_up(config, place)
        return await _freeze(config, asked, says, place, fd)
    finally:
        os.close(fd)  # the holder has it too, if it lives


def _clean_up(config: Config, place: Place) -> None:
    """Remove what a freeze left that nobody thawed: its holder is dead, or it were locked."""
    if (old := state_file.read(place.state)) is not None:
        why = old.get("ended") or "its holder died"
        records.judge(config, str(old.get("id")), BAD, f"{why}; nobody thawed it")
        remove_coordinates(old)
    for path in (place.state, place.socket):
        path.unlink(missing_ok=True)


async def _freeze(
    config: Config, asked: Asked, says: ServerSays, place: Place, fd: int
) -> dict[str, Any]:
    snapshot = records.new_id(asked.server)
    begun = clock.mono()
    holder = await Holder.begin(HOLDER, [asked.server], keep=[fd])
    written: dict[str, Any] = {}
    try:
        await holder.channel.say({
            "id": snapshot, "config": str(config.path.resolve()), "server": asked.server,
            "lock": asked.lock.value, "until": begun + asked.within_s, "hold_s": asked.hold_s,
            "grace_s": asked.grace_s, "state": str(place.state), "socket": str(place.socket),
        })
        left_s = begun + asked.within_s - clock.mono()
        said = await _hear(holder, "locked", max(0.0, left_s) + AFTER_S)
        written = _write(config, asked, says, place, snapshot, holder, said)
        await holder.channel.say({"stay": True})
        await _hear(holder, "kept", 5.0)
    except BaseException:
        await asyncio.shield(holder.end())
        for path in (place.state, place.socket):
            path.unlink(missing_ok=True)
        remove_coordinates(written)
        if written:
            records.judge(config, snapshot, BAD, "the freeze failed")
        raise
    holder.leave()
    return {
        "server": asked.server, "snapshot": snapshot, "lock": asked.lock.value, **said,
        "coordinates_file": written["coordinates_file"], "hold_s": asked.hold_s,
        "took_ms": round((clock.mono() - begun) * 1000, 1),
    }


async def _hear(holder: Holder, word: str, limit_s: float) -> Any:
    try:
        async with asyncio.timeout(limit_s):
            said = await holder.channel.hear()
    except TimeoutError:
        raise StepFailed(f"the lock's holder said nothing within {limit_s:g} s") from None
    if said is None:
        raise StepFailed("the lock's holder died")
    if "failed" in said:
        raise StepFailed(said["failed"], hint=said.get("hint", ""))
    return said[word]


def write_coordinates(
    file: Path, snapshot: str, server: str, says: ServerSays, lock: LockKind,
    found: dict[str, Any],
) -> None:
    """What later tells which moment a copy shows. Raises OSError."""
    state_file.write(file, {
        "slackwater": __version__, "id": snapshot, "server": server,
        "taken": clock.text(clock.unix()), "version": says.version, "server_uuid": says.uuid,
        "lock": lock.value, "settings": says.settings, "log_bin": says.log_bin,
        "basedir": says.basedir, "datadir": str(Path(says.datadir).resolve()),
        "places": says.places, **found,
    }, like=file.parent)


def _write(
    config: Config, asked: Asked, says: ServerSays, place: Place, snapshot: str, holder: Holder,
    said: dict[str, Any],
) -> dict[str, Any]:
    """Coordinates into the snapshot, the state for thaw, the record. Writers wait meanwhile."""
    now = clock.unix()
    file = asked.coordinates_file or coordinates_file(says)
    if file is not None:
        write_coordinates(file, snapshot, asked.server, says, asked.lock, said["coordinates"])
    process = holder.process
    state = {
        "id": snapshot, "server": asked.server, "since": now, "hold_s": asked.hold_s,
        "pid": process.pid if process else 0, "started": process.started if process else 0,
        "connection_id": said["connection_id"], "server_uuid": says.uuid,
        "coordinates_file": str(file) if file else None, "ended": None,
    }
    state_file.write(place.state, state)
    records.save(config, Record(
        snapshot, asked.server, says.version, asked.lock.value, "freeze", now,
        said["coordinates"], says.basedir,
    ))
    return state


def coordinates_file(says: ServerSays) -> Path | None:
    """In the data directory, where we can write there."""
    directory = Path(says.datadir)
    if says.local and directory.is_dir() and os.access(directory, os.W_OK):
        return directory / COORDINATES_NAME
    return None


def remove_coordinates(state: dict[str, Any]) -> None:
    """From the living data, where it would be in later snapshots that it says nothing of."""
    file = state.get("coordinates_file")
    found = state_file.read(Path(file)) if file else None
    if file and found and found.get("id") == state.get("id"):
        with contextlib.suppress(OSError):
            Path(file).unlink()


@dataclass(frozen=True)
class Thawed:
    """How a freeze ended. `why` it is not consistent, or ""."""

    snapshot: str
    held_ms: float | None
    why: str
    coordinates: Coordinates | None


async def thaw(config: Config, server: str, *, abandon: bool = False) -> Thawed:
    """End a server's freeze, and judge its snapshot. `abandon`: it is no good in any case.

    Raises Refused when there is nothing to thaw.
    """
    place = Place(config, server)
    state = state_file.read(place.state)
    if state is None:
        raise Refused(f"cannot thaw {server}", ["it is not frozen"],
                      hint="a freeze that failed leaves nothing; see its exit code and its log")
    said = await _ask(place, state)
    why = said.get("why") or ("" if said.get("held") else "the holder could not say")
    if abandon:
        why = "the snapshot was given up" + (f"; {why}" if why else "")
    records.judge(config, state["id"], BAD if why else GOOD, why)
    remove_coordinates(state)
    for path in (place.state, place.socket):
        path.unlink(missing_ok=True)
    record = records.load(config, state["id"])
    known = record.coordinates if record else None
    return Thawed(state["id"], said.get("held_ms"), why,
                  Coordinates.from_json(known) if known else None)


async def _ask(place: Place, state: dict[str, Any]) -> dict[str, Any]:
    """What the holder says; a silent one is ended, which frees its lock."""
    process = ProcessId(int(state["pid"]), int(state["started"]))
    process.signal(signal.SIGCONT)  # somebody may have stopped it; then it can tell the truth
    try:
        said = await holder_process.ask(
            place.socket, {"thaw": state["id"]}, limit_s=THAW_LIMIT_S
        )
    except TimeoutError:
        process.signal(signal.SIGKILL)
        process.wait_gone(2.0)
        return {"why": f"its holder (process {process.pid}) did not answer and was ended"}
    if said is not None:
        # The next freeze can begin when this returns; its lock is free already.
        if not process.wait_gone(GONE_LIMIT_S) and process.signal(signal.SIGKILL):
            process.wait_gone(GONE_LIMIT_S)
        return said | ({"why": said["error"]} if "error" in said else {})
    latest = state_file.read(place.state) or state
    if process.alive:  # its socket is gone, it is not: a lock of its own must not stay
        process.signal(signal.SIGKILL)
        process.wait_gone(2.0)
    return {"why": latest.get("ended") or "its holder is gone, and the lock with it"}
