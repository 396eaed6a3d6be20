"""Members in a file on this machine: nothing else has to be installed.

Written beside, synced, and renamed, and then a copy the same way; a sum in it shows a file that
was damaged, and then the copy is read. Renewals are not written: after a start nobody expires
before three leases have passed. Changes that come while one is being written go into one next
write together.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from slackwater.errors import OutsideError
from slackwater.facts.members import Record, Shares, why_stale
from slackwater.outside.registry.store import Image, Stale

_FORM = 1


class FileStore:
    """A store (outside/registry/store.py) for one registry."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.name = f"file {path}"
        self._records: dict[tuple[str, str], Record] = {}
        self._shares: dict[str, Shares] = {}
        self.gone: frozenset[tuple[str, str]] = frozenset()  # see replace_all
        self._writing: asyncio.Lock = asyncio.Lock()
        self._asked = self._written = 0
        self._loaded = False

    async def load(self) -> Image:
        """What is on disk; of a damaged file its copy, and `faults` says so."""
        faults: list[str] = []
        if self._loaded:
            return self._image(faults)
        for path in (self.path, self._copy):
            try:
                found = await asyncio.to_thread(_read, path)
            except FileNotFoundError:
                continue
            except (OSError, ValueError) as error:
                faults.append(f"{path}: {error}")
                if path == self.path:
                    _keep_aside(path)
                continue
            self._records, self._shares, self.gone = found
            break
        self._loaded = True
        return self._image(faults)

    def _image(self, faults: list[str]) -> Image:
        return Image(tuple(self._records.values()), dict(self._shares), {}, tuple(faults))

    @property
    def _copy(self) -> Path:
        return self.path.with_name(self.path.name + ".copy")

    async def put(self, record: Record) -> None:
        """On disk before the return."""
        old = self._records.get(record.member.key)
        if old != record and (why := why_stale(old, record)):
            raise Stale(why)
        self._records[record.member.key] = record
        await self._write()

    async def renew(self, record: Record) -> None:
        """Only remembered: a later write has its seq."""
        if record.member.key not in self._records:
            await self.put(record)
        self._records[record.member.key] = record

    async def remove(self, pool: str, member: str, *, silent_s: float = 0.0) -> None:
        """On disk before the return."""
        # One that an earlier write could not take out is out of memory already, and on disk still.
        if self._records.pop((pool, member), None) is not None or self._written < self._asked:
            await self._write()

    async def put_shares(self, pool: str, shares: Shares) -> bool:
        """On disk before the return."""
        old = self._shares.get(pool, Shares())
        if shares.revision != old.revision + 1:
            return False
        self._shares[pool] = shares
        try:
            await self._write()
        except OutsideError:
            self._shares[pool] = old
            raise
        return True

    async def replace_all(
        self, records: Iterable[Record], shares: Mapping[str, Shares],
        gone: Iterable[tuple[str, str]] = (),
    ) -> None:
        """Keep these and nothing else: a list that another store is the truth of.

        `gone`: members that the other store has to forget yet.
        """
        self.gone = frozenset(gone)
        self._records = {r.member.key: r for r in records}
        self._shares = dict(shares)
        self._loaded = True
        await self._write()

    async def wait(self, limit_s: float) -> bool:
        """Nobody else writes here."""
        await asyncio.sleep(limit_s)
        return False

    async def close(self) -> None:
        """Nothing is open."""

    async def _write(self) -> None:
        self._asked += 1
        mine = self._asked
        async with self._writing:
            if self._written >= mine:
                return  # somebody's write had mine in it
            covers = self._asked
            try:
                # Copied here, in the loop, so that what is written is of one moment.
                text = _text(list(self._records.values()), dict(self._shares), self.gone)
                await asyncio.to_thread(_replace, self.path, self._copy, text)
            except OSError as error:
                raise OutsideError(self.name, f"cannot write: {error.strerror}", sent=False,
                                   hint="make room there; it is tried again") from error
            self._written = covers


def _text(
    records: list[Record], shares: dict[str, Shares], gone: frozenset[tuple[str, str]]
) -> bytes:
    said: dict[str, Any] = {
        "members": [r.as_json() for r in records],
        "shares": {p: {"revision": s.revision, "parts": dict(s.parts)} for p, s in shares.items()},
    }
    if gone:
        said["gone"] = sorted(gone)
    body = json.dumps(said, separators=(",", ":"))
    head = json.dumps({"form": _FORM, "sum": hashlib.sha256(body.encode()).hexdigest()})
    return f"{head}\n{body}\n".encode()


def _read(path: Path) -> tuple[
    dict[tuple[str, str], Record], dict[str, Shares], frozenset[tuple[str, str]]
]:
    head, _, body = path.read_bytes().partition(b"\n")
    try:
        told = json.loads(head)
        if told["form"] != _FORM:
            raise ValueError(f"form {told['form']} is not known to this slackwater")
        if hashlib.sha256(body.rstrip(b"\n")).hexdigest() != told["sum"]:
            raise ValueError("it is damaged (its sum is wrong)")
        said = json.loads(body)
        records = [Record.read(each) for each in said["members"]]
        shares = {pool: Shares(tuple(each["parts"].items()), each["revision"])
                  for pool, each in said["shares"].items()}
        gone = frozenset((str(pool), str(member)) for pool, member in said.get("gone", ()))
    except (KeyError, TypeError, AttributeError, json.JSONDecodeError) as error:
        raise ValueError(f"it is damaged ({type(error).__name__})") from None
    return {r.member.key: r for r in records}, shares, gone


def _replace(path: Path, copy: Path, text: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    _replace_one(path, text)
    # After it, so that one of both is whole at any time; when it fails the file is there still.
    with contextlib.suppress(OSError):
        _replace_one(copy, text)
    directory = os.open(path.parent, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _replace_one(path: Path, text: bytes) -> None:
    new = path.with_name(f".{path.name}.new")
    fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            new.unlink()
        raise


def _keep_aside(path: Path) -> None:
    """A damaged file is evidence."""
    with contextlib.suppress(OSError):
        path.replace(path.with_name(path.name + ".damaged"))
