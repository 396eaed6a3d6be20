"""What was seen of a gate: whether this machine can hold ports, and how a hold went."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Way = Literal["nfqueue", "iptables-nfqueue", "drop", ""]

COSTS: dict[Way, str] = {
    "nfqueue": "held clients go on some milliseconds after the release (NFQUEUE, by nftables)",
    "iptables-nfqueue": "held clients go on some milliseconds after the release (NFQUEUE, by the "
    "target of iptables: this kernel's nftables has no queue statement)",
    "drop": "held clients go on when their next retransmission comes, mostly 0.2 to 1 s after the "
    "release and up to as long as the hold itself (packets are dropped: no NFQUEUE here)",
    "": "ports cannot be held on this machine",
}


@dataclass(frozen=True)
class GateAbility:
    """How ports can be held on a machine.

    `way`: the best that is possible, "" for none. `says`: one line for people: what it costs.
    `missing`: why a better way, or any, is not possible, each with what to do about it.
    """

    way: Way
    says: str
    missing: tuple[str, ...] = ()


@dataclass(frozen=True)
class GateReport:
    """One hold of ports, after its end.

    `held`: clients that waited (told apart by address, port and first sequence number; 0 where
    packets are dropped: nobody sees them then). `packets`: connection requests that waited, with
    repeated ones. `longest_ms`: the longest wait of a client in the gate. `lag_ms`: from the
    order to open until the last one that waited was let through. `shut_ms`: how long the gate
    was shut. `restarts`: how often the holder died or hung and was replaced. `in_turn`: clients
    who were let in one by one as others left, since more waited than the server takes at once.
    `room`: port -> how many clients the server behind it could take then; {} where nobody knew.
    """

    held: int
    packets: int
    longest_ms: float
    lag_ms: float
    shut_ms: float
    way: Way
    ended_by: Literal["asked", "cap", "orphaned", "lost"] = "asked"
    restarts: int = 0
    in_turn: int = 0
    room: Mapping[int, int] = field(default_factory=dict)


def ability_from(errors: dict[str, str]) -> GateAbility:
    """Decide the way from what the probes said: probe -> why it failed ("": it works).

    Probes: `nftables` (a table with a timed set and a late drop), `queue` (a queue that this
    process listens to), `nft-queue` and `xt-queue` (a rule that sends packets to a queue).
    """
    if errors["nftables"]:
        return GateAbility("", COSTS[""], (errors["nftables"],))
    if errors["queue"]:
        return GateAbility("drop", COSTS["drop"], (errors["queue"],))
    if not errors["nft-queue"]:
        return GateAbility("nfqueue", COSTS["nfqueue"])
    if not errors["xt-queue"]:
        way: Way = "iptables-nfqueue"
        return GateAbility(way, COSTS[way], (errors["nft-queue"],))
    return GateAbility("drop", COSTS["drop"], (errors["nft-queue"], errors["xt-queue"]))
