"""What every command says at its end."""

from __future__ import annotations

import os


def say(text: str) -> None:
    """Print a result; a reader or terminal that is gone must not change the exit code."""
    try:
        print(text, flush=True)
    except OSError:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)  # or Python fails again when it closes standard output
        os.close(null)
