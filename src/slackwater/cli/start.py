"""Entry point of the command line: `slackwater COMMAND`.

A look at this host alone is the one command that people run where each tenth of a second counts;
reading its few words by hand spares it the libraries that the others need (bench/doctor).
"""

from __future__ import annotations

import gc
import sys

from slackwater.outside.standard_descriptors import guard_standard_descriptors


def main() -> None:
    """Do what the words of the command line ask; ends the process with the right exit code."""
    if sys.argv[1:2] == ["doctor"]:
        from slackwater.cli import doctor_look

        guard_standard_descriptors()
        asked = doctor_look.plain(sys.argv[2:])
        if asked is not None:
            try:
                sys.exit(doctor_look.look(asked))
            except KeyboardInterrupt:
                print("slackwater: interrupted", file=sys.stderr)
                sys.exit(130)
    from slackwater.cli import main as whole
    from slackwater.cli import process

    process.one_command = True
    try:
        whole.main()
    finally:  # what ends with the process need not be looked through first: 0.2 s of a busy core
        gc.freeze()
