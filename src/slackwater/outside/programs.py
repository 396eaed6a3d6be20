"""Programs that we start and watch."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence


async def start_with_stderr(command: Sequence[str]) -> asyncio.subprocess.Process:
    """Start it with our standard input and output, and a pipe for its standard error."""
    return await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.PIPE)
