"""`slackwater demo`: the whole story on a throwaway pair, with its report."""

from __future__ import annotations


def demo() -> None:
    """Bring up a throwaway pair, load it, switch it over and back, and report."""
    raise NotImplementedError
