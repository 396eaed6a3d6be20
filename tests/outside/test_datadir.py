"""Other files in the place of a server's own, and the way back from wherever that was cut off."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from pathlib import Path

import pytest

from slackwater.errors import StepFailed
from slackwater.outside import datadir
from slackwater.outside.datadir import Place, keep_logs_inside, strip

OLD = {"ibdata1": "old", "shop/t.ibd": "old", "auto.cnf": "old"}
NEW = {"ibdata1": "new", "shop/t.ibd": "new", "shop/u.ibd": "new"}


def fill(directory: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_text(text)


def files(place: Place) -> dict[str, str]:
    return {str(p.relative_to(place.datadir)): p.read_text()
            for p in place.datadir.rglob("*") if p.is_file() and place.work not in p.parents}


@pytest.fixture(params=["beside", "inside"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    (tmp_path / "data").mkdir()
    made = Place.of(tmp_path / "data")
    assert made.work.parent == tmp_path
    if request.param == "inside":  # as on a mount point
        made = Place(made.datadir, made.datadir / made.work.name)
    made.work.mkdir()
    fill(made.datadir, OLD)
    fill(made.new, NEW)
    return made


def test_swapped_and_back(place: Place) -> None:
    number = place.datadir.stat().st_ino
    place.swap()
    assert files(place) == NEW
    assert place.begun
    place.put_back()
    assert files(place) == OLD
    assert not place.begun
    asyncio.run(place.clear())
    assert not place.work.exists()
    assert place.datadir.stat().st_ino == number


@pytest.mark.parametrize("moves", range(8))
def test_cut_off_anywhere(place: Place, moves: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """After so many renames, both of the way there and, a second time, of the way back."""
    left = moves
    real = Path.rename

    def rename(self: Path, to: Path) -> Path:
        nonlocal left
        left -= 1
        if left < 0:
            raise OSError("cut off")
        return real(self, to)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", rename)
        with contextlib.suppress(OSError):
            place.swap()
        left = moves
        with contextlib.suppress(OSError):
            place.put_back()
    place.put_back()
    assert files(place) == OLD
    assert not place.begun


def test_what_was_the_data_is_forgotten_in_one_moment(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cut off while it is deleted: what takes its place stays, whoever undoes or goes on."""
    place.swap()

    async def some_of_it(words: Sequence[str], **_: object) -> tuple[int, str]:
        for path in Path(words[-1]).rglob("ibdata1"):
            path.unlink()
        raise asyncio.CancelledError

    with monkeypatch.context() as patch:
        patch.setattr(datadir.command, "run", some_of_it)
        with contextlib.suppress(asyncio.CancelledError):
            asyncio.run(place.forget())
    assert place.work.exists()
    assert not place.begun
    place.put_back()
    assert files(place) == NEW
    asyncio.run(place.forget())
    assert not place.work.exists()
    assert files(place) == NEW


def test_data_that_was_not_put_back_is_not_cleared_away(place: Place) -> None:
    place.swap()
    with pytest.raises(StepFailed, match="not put back"):
        asyncio.run(place.clear())
    place.put_back()
    assert files(place) == OLD
    asyncio.run(place.clear())


def test_a_copy_s_logs_are_its_own(tmp_path: Path) -> None:
    """An index with absolute paths names the logs of the server that runs."""
    index = tmp_path / "bin.index"
    index.write_text("/var/lib/mysql/bin.000001\n/var/lib/mysql/bin.000002\n")
    (tmp_path / "relay.index").write_text("./relay.000007\n")
    (tmp_path / "other.index").write_text("somebody's words\n")
    keep_logs_inside(tmp_path)
    assert index.read_text() == "./bin.000001\n./bin.000002\n"
    assert (tmp_path / "other.index").read_text() == "somebody's words\n"
    names = ("bin.000001", "bin.000002", "bin.000002.idx", "bin.state", "relay.000007", "auto.cnf",
             "master-x.info", "ibdata1", "db.pid", "mysql/user.frm")
    fill(tmp_path, dict.fromkeys(names, ""))
    strip(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["ibdata1", "mysql", "other.index"]


def test_whose_process_works_there(tmp_path: Path) -> None:
    (tmp_path / "pid").write_text("1\n")
    assert datadir.process_of(tmp_path, "pid") is None
    assert datadir.process_of(tmp_path, "no such file") is None
