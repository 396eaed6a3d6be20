"""Every error that slackwater raises on purpose, with what a person should do about it."""

from __future__ import annotations

EXIT_DONE = 0
EXIT_REFUSED = 1
EXIT_UNDONE = 2
EXIT_STUCK = 3  # also for "unknown": a person has to look
EXIT_USAGE = 64
EXIT_CONFIG = 78


class SlackwaterError(Exception):
    """Base of all. `str(error)` says what, where and why; `hint` says what to do."""

    exit_code = EXIT_STUCK

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class UsageError(SlackwaterError):
    """The command line asks for something that makes no sense."""

    exit_code = EXIT_USAGE


class ConfigError(SlackwaterError):
    """slackwater.toml is wrong; the message names file, key and value."""

    exit_code = EXIT_CONFIG


class Refused(SlackwaterError):
    """An operation was not begun. `reasons` lists every one, not only the first."""

    exit_code = EXIT_REFUSED

    def __init__(self, what: str, reasons: list[str], *, hint: str = "") -> None:
        super().__init__(f"{what}: " + "; ".join(reasons), hint=hint)
        self.reasons = reasons


class OutsideError(SlackwaterError):
    """Something in the world failed.

    `where` names it (``server a (127.0.0.1:3306)``). `sent` says whether the request may have
    taken effect: False = it certainly did not, True = it may have (the reply was lost).
    `refused` is True when nobody listens there: the program is not running.
    """

    def __init__(
        self, where: str, message: str, *, sent: bool, hint: str = "", refused: bool = False
    ) -> None:
        super().__init__(f"{where}: {message}", hint=hint)
        self.where = where
        self.sent = sent
        self.refused = refused


class StepFailed(SlackwaterError):
    """A step was done, answered, and is not what it should be."""
