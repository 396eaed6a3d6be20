"""No descriptor of ours ever becomes standard input, output or error."""

from __future__ import annotations

import os
import sys


def guard_standard_descriptors() -> None:
    """Open /dev/null on each of 0, 1, 2 that is closed.

    A connection that became one of them would take whatever the process, or a child, prints.
    Done at every `Session.open`; a program does it first of all, before its event loop, whose
    own sockets would take their places too.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            null = os.open(os.devnull, os.O_RDWR)
            if null != number:
                os.dup2(null, number)
                os.close(null)
            os.set_inheritable(number, True)
    # Python began without them: what is said to a standard error of None goes to standard output.
    if sys.stdout is None:
        sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115 - for good
    if sys.stderr is None:
        sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115 - for good
