"""The gate's rules beside other people's."""

import asyncio
import os
import shutil
import signal
import subprocess

import pytest
from tests.outside.gate.room import LIMIT_S, OTHER, PORT, all_wait, requests, served

from slackwater.outside.gate import gate

FOREIGN = """
table inet others {
  set banned { type ipv4_addr; flags timeout; timeout 1d; }
  chain in { type filter hook input priority 0; policy accept; ip saddr @banned drop; }
  chain early { type filter hook input priority -10; policy accept; tcp dport 9 drop; }
}
table ip6 more {
  chain in { type filter hook input priority 10; udp dport 9 drop; }
}
"""


def rule_sets():
    said = subprocess.run(["nft", "-s", "list", "ruleset"], capture_output=True, check=True)
    saved = [subprocess.run([f"{p}-save"], capture_output=True, check=True).stdout
             for p in ("iptables", "ip6tables") if shutil.which(p)]  # fmt: skip
    lines = [line for s in saved for line in s.splitlines() if not line.startswith(b"#")]
    return said.stdout, lines


@pytest.mark.parametrize("how", ["opened", "killed"])
def test_other_rules_are_untouched(how, able, server):
    if not shutil.which("nft"):
        pytest.skip("nft is not installed")
    subprocess.run(["nft", "-f", "-"], input=FOREIGN.encode(), check=True)
    if shutil.which("iptables"):
        rule = ["-A", "INPUT", "-p", "udp", "--dport", "9", "-j", "DROP"]
        subprocess.run(["iptables", *rule], check=True)
        subprocess.run(["ip6tables", *rule], check=True)
    before = rule_sets()
    assert before[0].count(b"chain") >= 3

    async def scene():
        held = gate.Gate([PORT, OTHER], ability=able)
        await held.close()
        during = rule_sets()
        assert before[1] == during[1] and before[0] != during[0]
        if how == "killed":
            os.kill(held.holder_pid, signal.SIGKILL)
        await held.open()

    try:
        asyncio.run(scene())
        assert rule_sets() == before
    finally:
        subprocess.run(["nft", "flush", "ruleset"], check=True)


def test_a_flushed_rule_set_is_put_back(able, server):
    if not shutil.which("nft"):
        pytest.skip("nft is not installed")

    async def scene():
        held = gate.Gate([PORT], ability=able, cap_s=60)
        await held.close()
        await asyncio.to_thread(subprocess.run, ["nft", "flush", "ruleset"], check=True)
        end = asyncio.get_running_loop().time() + LIMIT_S
        while not await held.verify():
            assert asyncio.get_running_loop().time() < end
            await asyncio.sleep(0.01)
        clients = requests(6)
        await all_wait(6, held)
        assert (await held.open()).restarts == 0
        await served(clients, 6)

    asyncio.run(scene())
