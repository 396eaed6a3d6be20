"""What a comparison leaves in the state directory. No server."""

from __future__ import annotations

import os
from pathlib import Path

from slackwater.operations.compare import compare
from slackwater.operations.compare.compare import Asked
from slackwater.operations.compare.state import Progress


def test_the_directory_is_nobody_else_s(tmp_path: Path) -> None:
    """Also where a comparison is the first that needs it, whatever the umask."""
    before = os.umask(0o022)
    try:
        locked, written = tmp_path / "one/state.json", tmp_path / "two/state.json"
        os.close(compare._only_one(Asked("lab", ("a", "b"), state=locked)))
        Progress(written, ["a", "b"]).write()
    finally:
        os.umask(before)
    assert [p.parent.stat().st_mode & 0o777 for p in (locked, written)] == [0o700, 0o700]
