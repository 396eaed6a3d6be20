"""Two network namespaces: the lab in one, slackwater in the other, a cable that can be cut.

`python -m tests.sweep --group network` runs itself again under `unshare --net`; in there is the
lab. slackwater runs in a second namespace. It reaches the lab's loopback addresses over a veth
pair: nftables translates on both ends. A cut drops the packets of one port, both ways, in
slackwater's namespace: nobody gets an answer, nobody is told. All of it is gone with its
processes; nothing of the machine's own network is touched.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path

HERE, THERE = "10.99.0.1", "10.99.0.2"  # in namespaces of our own: no clash possible
INSIDE = "SLACKWATER_SWEEP_INSIDE"
# Ports that no socket of the lab gets by itself (ip_local_port_range). With the ports of
# slackwater's own sockets, the balancer's next connection to a server could want one that is taken
# by a translated connection, and be translated too: its server would see a port that the balancer
# does not know, as of a client that came past it.
NAT_PORTS = "10000-30000"

_LAB_RULES = f"""
table ip sweep {{
  chain in {{
    type nat hook prerouting priority -100;
    iifname sweep0 ip daddr {HERE} dnat to 127.0.0.1
  }}
  chain seen {{
    type nat hook input priority 100;
    iifname sweep0 meta l4proto tcp snat to 127.0.0.1:{NAT_PORTS}
  }}
}}"""
_SLACKWATER_RULES = f"""
table ip sweep {{
  set gone {{
    type inet_service;
  }}
  chain out {{
    type nat hook output priority -100;
    ip daddr 127.0.0.1 dnat to {HERE}
  }}
  chain through {{
    type nat hook postrouting priority 100;
    oifname sweep1 masquerade
  }}
  chain cut_out {{
    type filter hook output priority 0;
    tcp dport @gone drop
  }}
  chain cut_in {{
    type filter hook input priority 0;
    tcp sport @gone drop
  }}
}}"""


def reason_against() -> str:
    """Why namespaces cannot be used here; empty when they can."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    missing = [p for p in ("unshare", "nsenter", "ip", "nft") if shutil.which(p) is None]
    if missing:
        return f"not installed: {', '.join(missing)}"
    probe = ["unshare", "--net", "nft", _LAB_RULES]
    tried = subprocess.run(probe, capture_output=True, text=True, check=False)
    return "" if tried.returncode == 0 else f"no namespaces here: {tried.stderr.strip()[:80]}"


class Network:
    """Made inside `unshare --net`; `ports` maps old server, new server and balancer to ports."""

    def __init__(self) -> None:
        self.ports: dict[str, tuple[int, ...]] = {}
        _run("ip", "link", "set", "lo", "up")
        self._holder = subprocess.Popen(
            ["unshare", "--net", "sleep", "infinity"], stdin=subprocess.DEVNULL)
        self._wait_for_namespace()
        pid = str(self._holder.pid)
        _run("ip", "link", "add", "sweep0", "type", "veth", "peer", "name", "sweep1", "netns", pid)
        _run("ip", "addr", "add", f"{HERE}/24", "dev", "sweep0")
        _run("ip", "link", "set", "sweep0", "up")
        Path("/proc/sys/net/ipv4/conf/sweep0/route_localnet").write_text("1")
        _run("nft", _LAB_RULES)
        self._there("ip", "link", "set", "lo", "up")
        self._there("ip", "addr", "add", f"{THERE}/24", "dev", "sweep1")
        self._there("ip", "link", "set", "sweep1", "up")
        # /proc/sys/net shows the namespace of whoever opens it.
        self._there("sh", "-c", "for i in all lo sweep1; do "
                    "echo 1 > /proc/sys/net/ipv4/conf/$i/route_localnet; done")
        self._there("nft", _SLACKWATER_RULES)

    def command(self, words: list[str]) -> list[str]:
        """The same command in slackwater's namespace, with the same pid."""
        return ["nsenter", f"--net=/proc/{self._holder.pid}/ns/net", *words]

    def cut(self, whom: str) -> None:
        """No packet to or from these ports any more."""
        ports = ", ".join(map(str, self.ports[whom]))
        self._there("nft", f"add element ip sweep gone {{ {ports} }}")

    def heal(self) -> None:
        """The cable is whole again."""
        self._there("nft", "flush set ip sweep gone")

    def close(self) -> None:
        """End the second namespace."""
        self._holder.kill()
        self._holder.wait()

    def _there(self, *words: str) -> None:
        _run(*self.command(list(words)))

    def _wait_for_namespace(self) -> None:
        mine = Path("/proc/self/ns/net").readlink()
        end = time.monotonic() + 5
        while Path(f"/proc/{self._holder.pid}/ns/net").readlink() == mine:
            if time.monotonic() > end:
                raise TimeoutError("the second namespace was not made")
            time.sleep(0.005)


def _run(*words: str) -> None:
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        raise OSError(f"{' '.join(words)[:200]}: {done.stderr.strip()}")
