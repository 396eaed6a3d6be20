"""Where it cannot be, and what is no port: a refusal that says what to do."""

import asyncio
import shutil
import subprocess
import sys

import pytest
from tests.outside.gate.room import DROP, PORT

from slackwater.errors import OutsideError, Refused, UsageError
from slackwater.facts.gate import GateAbility
from slackwater.outside.gate import gate


def test_a_kernel_that_refuses_is_told_and_nothing_stays(space):
    """This way does not exist: the holder says so, `close` raises, the port is open."""
    unable = GateAbility("nfqueue", "")
    if asyncio.run(gate.ability()).way == "nfqueue":
        pytest.skip("this kernel has nft's queue statement")
    with pytest.raises(OutsideError, match="holder of port 3306"):
        asyncio.run(gate.Gate([PORT], ability=unable).close())


@pytest.mark.parametrize("ports", [[], [0], [70000], [3306, -1]])
def test_ports_that_are_none(ports):
    with pytest.raises(UsageError):
        gate.Gate(ports, ability=DROP)


ASK = """
import asyncio, os, sys
from slackwater.outside.gate import gate
if sys.argv[1] == "nobody":  # after the imports: Python may be where only root looks
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
found = asyncio.run(gate.ability())
print(repr(found.way)); print(*found.missing, sep="\\n")
"""
REDUCED = ["setpriv", "--bounding-set", "-net_admin", "--inh-caps", "-all"]


@pytest.mark.parametrize(("before", "who", "says"), [
    ([], "nobody", "not root"), (REDUCED, "root", "root, but without CAP_NET_ADMIN"),
])  # fmt: skip
def test_without_the_right_to_it_a_refusal_says_what_to_do(before, who, says, space):
    if before and not shutil.which("setpriv"):
        pytest.skip("setpriv is not installed")
    command = [*before, sys.executable, "-c", ASK, who]
    said = subprocess.run(command, check=True, capture_output=True, text=True)
    way, *missing = said.stdout.splitlines()
    assert way == "''" and len(missing) == 1
    assert missing[0].startswith(says)
    assert "sudo" in missing[0] and "--cap-add NET_ADMIN" in missing[0]
    with pytest.raises(Refused, match="NET_ADMIN"):
        gate.Gate([PORT], ability=GateAbility("", "", tuple(missing)))
