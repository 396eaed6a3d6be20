"""A file is read to its end, or refused: characters are counted, not bytes."""

from __future__ import annotations

import io

import pytest

from slackwater.cli.alter_lint import beginning
from slackwater.errors import Refused
from slackwater.facts.alter_script import LONGEST
from slackwater.operations.alter.lint import read

LAST = "ALTER TABLE t ADD COLUMN last INT"


@pytest.mark.parametrize("sign", ["x", "é", "🌊"])
def test_a_file_of_as_many_characters_as_are_taken(sign: str) -> None:
    """In UTF-8 it is several times as many bytes."""
    head, tail = "ALTER TABLE t COMMENT '", f"';\n{LAST}"
    text = head + sign * (LONGEST - len(head + tail)) + tail
    assert beginning(io.BytesIO(text.encode())) == text
    assert [s.text for s in read(text, "x")][1:] == [LAST]
    with pytest.raises(Refused, match="cannot lint"):
        read(beginning(io.BytesIO((text + ";\r\n" + LAST).encode())), "x")


def test_line_ends_are_as_they_were_and_what_is_no_text_is_an_error() -> None:
    source = io.BytesIO(b"a 'x\r\ny'")
    assert beginning(source) == "a 'x\r\ny'"
    source.seek(0)  # it is still open
    with pytest.raises(UnicodeDecodeError):
        beginning(io.BytesIO(b"\xff"))
