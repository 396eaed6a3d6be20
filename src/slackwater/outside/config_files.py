"""Where slackwater.toml is looked for, for those that only ask whether there is one."""

from __future__ import annotations

from pathlib import Path

DEFAULT_FILES = (Path("slackwater.toml"), Path("/etc/slackwater/slackwater.toml"))
