"""What this process is for. Set by `start`: who calls a command from Python lives on after it."""

from __future__ import annotations

one_command = False  # it ends with the command that it runs
