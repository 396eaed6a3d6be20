"""What every test gets: real servers on demand, and an eye on processes left behind."""

from __future__ import annotations

pytest_plugins = ["tests.servers.fixtures"]
