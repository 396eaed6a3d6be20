"""What a machine is asked about its gate and its sockets: `answer` here, or there over SSH.

Sent to other hosts: standard library, `gate_` and `sent_` modules only; Python 3.8 or later.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import signal
import time
from collections.abc import Callable
from typing import Any, Dict  # noqa: UP035  (Python 3.8)

from slackwater.outside.gate import holder as gate_holder
from slackwater.outside.gate import rules as gate_rules
from slackwater.outside.gate.netlink import Netfilter
from slackwater.outside.gate.queue import Queue
from slackwater.outside.gate.running import runs, started
from slackwater.outside.sent_sockets import keepers, peers

SLOW = ("end", "clean")  # they may wait; the others take a millisecond or so
_PACKAGE_MANAGERS = ("unattended-upgr", "apt-get", "apt", "dpkg", "aptitude", "packagekitd")


def main(order: dict[str, Any]) -> None:
    """Hold ports as ordered; or, where `order` has `serve`, answer each line of standard input
    with a line of JSON until it ends."""
    if "serve" not in order:
        gate_holder.main(order)
        return
    lines = b""
    while data := os.read(0, 1 << 16):
        *whole, lines = (lines + data).split(b"\n")
        for line in whole:
            said = _said(json.loads(line))
            os.write(1, (json.dumps(said) + "\n").encode())


def _said(order: dict[str, Any]) -> dict[str, Any]:
    try:
        return {"answer": answer(order)}
    except OSError as error:
        return {"errno": error.errno, "why": str(error)}


def answer(order: dict[str, Any]) -> Any:
    """Plain JSON values. Raises OSError."""
    return _ANSWERS[order["ask"]](order)


def _probe(_order: dict[str, Any]) -> dict[str, str]:
    """Probe -> why it fails and what to do, "" when it works; see facts.gate.ability_from."""
    found = dict.fromkeys(("nftables", "queue", "nft-queue", "xt-queue"), "")
    try:
        net = Netfilter()
    except OSError as error:
        found["nftables"] = _advice("nftables", error)
        return found
    with net:
        for name, way in (("nftables", "drop"), ("nft-queue", "nfqueue"),
                          ("xt-queue", "iptables-nfqueue")):  # fmt: skip
            try:
                gate_rules.check(net, way, 1)
            except OSError as error:
                found[name] = _advice(name, error)
    try:
        Queue(1).close()
    except OSError as error:
        found["queue"] = _advice("queue", error)
    return found


def _advice(name: str, error: OSError) -> str:
    if error.errno in (errno.EPERM, errno.EACCES):
        who = "not root" if os.geteuid() else "root, but without CAP_NET_ADMIN"
        return (f"{who}: netfilter cannot be changed; run as root (sudo), or give the container "
                "NET_ADMIN (docker run --cap-add NET_ADMIN)")  # fmt: skip
    what, todo = {
        "nftables": ("the kernel has no nf_tables (inet, with timed sets)", "modprobe nf_tables"),
        "queue": ("the kernel has no nfnetlink_queue", "modprobe nfnetlink_queue"),
        "nft-queue": ("nftables in this kernel has no queue statement", "modprobe nft_queue"),
        "xt-queue": ("nor can it use the NFQUEUE target of iptables",
                     "modprobe nft_compat xt_NFQUEUE"),
    }[name]  # fmt: skip
    return f"{what} ({error.strerror}): try `{todo}` as root on the host"


def _held(order: dict[str, Any]) -> list[int]:
    """The ports that a table holds now."""
    with Netfilter() as net:
        return sorted(gate_rules.held_ports(net, order["table"]))


def _end(order: dict[str, Any]) -> None:
    """End the holders of these tables and take out what they left."""
    with Netfilter() as net:
        left = set(order["tables"]).intersection(gate_rules.tables(net))
        for table in left:  # of a holder that died, or was asked to open before it shut
            if order.get("kill"):
                _kill(table)
            gate_rules.release(net, table)
        if left:
            gate_holder.clean(net)


def _kill(table: str) -> None:
    """The process that this table is named after, if it is still that one."""
    pid, _, start = table[len(gate_rules.PREFIX):].partition("-")
    if pid.isdigit() and started(int(pid)) == start:
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(pid), signal.SIGKILL)


def _dead(net: Netfilter) -> list[str]:
    dead = []
    for name in gate_rules.tables(net):
        pid, _, start = name[len(gate_rules.PREFIX):].partition("-")
        if not pid.isdigit() or started(int(pid)) != start:
            dead.append(name)
    return dead


def _leftovers(_order: dict[str, Any]) -> list[str]:
    """Tables of holds whose holder is gone."""
    with Netfilter() as net:
        return _dead(net)


def _clean(order: dict[str, Any]) -> None:
    """Remove what dead holders left, after the kernel has let go of their ports by itself."""
    with Netfilter() as net:
        end = time.monotonic() + float(order["within_s"])
        while any(gate_rules.held_ports(net, name) for name in _dead(net)):
            if time.monotonic() > end:
                break
            time.sleep(0.05)
        gate_holder.clean(net)


def _command(order: dict[str, Any]) -> dict[str, Any]:
    """What a command of `far_command` printed from byte `begin` on, and whether it has ended.
    Waits up to `wait_s` for something new."""
    end = time.monotonic() + float(order["wait_s"])
    while True:
        alive = runs(order["pid"], str(order["started"]), order["files"])
        output = _read(order["files"] + ".output", order["begin"])
        if output or not alive or time.monotonic() > end:
            break
        time.sleep(0.02)
    code = _read(order["files"] + ".exit", 0).strip()
    ended = os.stat(order["files"] + ".exit").st_mtime if code else None  # noqa: PTH116
    return {"alive": alive, "output": output.decode("latin-1"), "ended": ended,
            "exit_code": int(code) if code else None}


def _read(path: str, begin: int) -> bytes:
    try:
        with open(path, "rb") as file:  # noqa: PTH123
            file.seek(begin)
            return file.read(1 << 16)
    except OSError:
        return b""


def _packages(order: dict[str, Any]) -> list[str]:
    """Who uses the package manager whose lock is `order["lock"]`; [] when nobody does."""
    try:
        with open(order["lock"], "a") as file:  # noqa: PTH123
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            fcntl.lockf(file, fcntl.LOCK_UN)
            return []
    except BlockingIOError:
        return _package_managers() or [f"somebody holds {order['lock']}"]


def _package_managers() -> list[str]:
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):  # noqa: PTH208
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as file:  # noqa: PTH123
                line = file.read().replace(b"\0", b" ").decode(errors="replace").strip()
            with open(f"/proc/{pid}/comm") as file:  # noqa: PTH123
                name = file.read().strip()
        except OSError:
            continue
        if name.startswith(_PACKAGE_MANAGERS) or "unattended-upgrade" in line:
            found.append(f"process {pid} ({line[:60]})")
    return found


_Answer = Callable[[Dict[str, Any]], Any]  # noqa: UP006  (Python 3.8)
_ANSWERS: dict[str, _Answer] = {
    "probe": _probe, "held": _held, "end": _end, "leftovers": _leftovers, "clean": _clean,
    "packages": _packages, "command": _command,
    "peers": lambda order: peers(order["port"]),
    "keepers": lambda order: keepers(order["port"], order["path"]),
}
