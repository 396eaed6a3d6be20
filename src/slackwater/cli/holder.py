"""`python -m slackwater.cli.holder FD NAME`: the process that holds a freeze's lock.

Begun by `slackwater freeze`, never by a person. NAME is only there to be seen in a process list.
"""

from __future__ import annotations

import asyncio
import sys

from slackwater.operations.snapshot.freeze_holder import hold
from slackwater.outside.gate.holder_process import Channel


async def _main(descriptor: int) -> None:
    channel = await Channel.of(descriptor)
    try:
        await hold(channel)
    finally:
        channel.close()


if __name__ == "__main__":
    asyncio.run(_main(int(sys.argv[1])))
