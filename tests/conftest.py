"""What every test gets: real servers on demand, and an eye on processes left behind."""

from __future__ import annotations

import signal

import pytest

pytest_plugins = ["tests.servers.fixtures"]

# Those with long tests first, so that two processes (`make test`) end at about the same time.
# Whoever starts us behind a shell's `&`, or with nohup, has us ignore these, and all that we start:
# then nothing that a test interrupts would be interrupted.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)

LONG = ("alter_run", "setup", "failover", "sweep", "maintain", "registry", "snapshot", "alter",
        "compare", "doctor", "outside")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: _place(item.path.parent.name))


def _place(room: str) -> int:
    return LONG.index(room) if room in LONG else len(LONG)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """The lines that tests recorded as "table", such as the failure sweep's, in their order."""
    reports = [r for some in terminalreporter.stats.values() for r in some]
    lines = [value for report in reports if getattr(report, "when", "") == "call"
             for name, value in report.user_properties if name == "table"]
    if lines:
        terminalreporter.section("table")
        terminalreporter.write_line("\n".join(map(str, dict.fromkeys(lines))))
