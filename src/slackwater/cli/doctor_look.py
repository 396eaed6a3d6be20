"""`slackwater doctor` where no server is to be asked: only this host is looked at.

Imported without typer, see `cli/start.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from slackwater import clock
from slackwater.cli.doctor_page import as_json as diagnosis_json
from slackwater.cli.doctor_page import page
from slackwater.operations.doctor import doctor
from slackwater.operations.doctor.doctor import Diagnosis
from slackwater.outside.config_files import DEFAULT_FILES
from slackwater.outside.processes import PORTS, Known


@dataclass(frozen=True)
class Look:
    """What is asked of one look."""

    known: Known = field(default_factory=Known)
    pids: tuple[int, ...] | None = None
    knock: bool = True
    as_json: bool = False


def plain(words: Sequence[str]) -> Look | None:
    """What these words ask, if it is no more than a look at this host; None: typer has to read
    them, and to say what is wrong with them."""
    if any(path.exists() for path in DEFAULT_FILES):
        return None
    numbers: dict[str, list[int]] = {"--pid": [], "--port": []}
    knock, as_json = True, False
    rest = iter(words)
    for word in rest:
        name, equals, value = word.partition("=")
        if name in numbers:
            value = value if equals else next(rest, "")
            if not (value.isascii() and value.isdigit()):
                return None
            numbers[name].append(int(value))
        elif word in ("--knock", "--no-knock"):
            knock = word == "--knock"
        elif word == "--json":
            as_json = True
        else:
            return None
    return Look(Known(PORTS | frozenset(numbers["--port"])), tuple(numbers["--pid"]) or None,
                knock, as_json)


def look(asked: Look) -> int:
    """Look, print what was found, and return the exit code."""
    found = doctor.of_host(doctor.look_at_host(asked.known, asked.pids, knock=asked.knock))
    show(found, as_json=asked.as_json)
    return int(found.worst)


def show(found: Diagnosis, *, as_json: bool) -> None:
    """Print a diagnosis."""
    at = clock.unix()
    if as_json:
        import json

        print(json.dumps(diagnosis_json(found, at)))
    else:
        print(page(found, at))
