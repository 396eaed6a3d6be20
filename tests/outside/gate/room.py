"""What the tests of the gate share: ports, clients, and who has been served."""

import asyncio
import subprocess
import sys

from bench.hold.people import Clients
from tests.servers.patience import PATIENCE

from slackwater.facts.gate import COSTS, GateAbility

PORT, OTHER = 3306, 8080
LIMIT_S = 20 * PATIENCE
DROP = GateAbility("drop", COSTS["drop"])


async def all_wait(count, *gates):
    """Until so many clients wait (as the holders' beats tell)."""
    end = asyncio.get_running_loop().time() + LIMIT_S
    while (seen := sum(held.held for held in gates)) < count:
        assert asyncio.get_running_loop().time() < end, f"only {seen} of {count} wait"
        await asyncio.sleep(0.01)


def requests(count=30, hosts=("127.0.0.1", "::1"), port=PORT, **more):
    return Clients(hosts, port, count, 0.3, **more)


async def served(clients, count=30):
    at, errors = await asyncio.to_thread(clients.result)
    assert (len(at), errors) == (count, [])
    return at


SLACKWATER = f"""
import asyncio, os, signal, sys


from slackwater.outside.gate import gate


async def main():
    held = gate.Gate([{PORT}], ability=await gate.ability(), cap_s=float(sys.argv[1]))
    await held.close()
    if sys.argv[2:]:
        held.hold_for_command()
    print(held.holder_pid, flush=True)
    await asyncio.sleep(3600)
asyncio.run(main())
"""


def start_slackwater(cap_s, *more):
    process = subprocess.Popen(
        [sys.executable, "-c", SLACKWATER, str(cap_s), *more], stdout=subprocess.PIPE, text=True)
    return process, int(process.stdout.readline())
