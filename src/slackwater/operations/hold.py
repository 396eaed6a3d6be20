"""Any command while new connections wait instead of fail."""

from __future__ import annotations

import dataclasses
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

from slackwater import clock
from slackwater.config import Config
from slackwater.errors import StepFailed
from slackwater.operations.hold_clients import LockServers, WaitForCalm, WaitForClients
from slackwater.operations.hold_command import FinishCommand, StartCommand
from slackwater.operations.hold_health import FollowAgain, ProveHealth, Remember
from slackwater.operations.hold_world import HoldWorld, Scope
from slackwater.outside import gate, tcp_table
from slackwater.plan.step import Plan, Seen, Step

HOLD_S = 8.0  # clients give up connecting after 10 s or so
TTL_S = 3.0  # the kernel lets go by itself when nobody has refreshed it for so long
CALM_LIMIT_S = 10.0
FOLLOW_LIMIT_S = 60.0


@dataclass(frozen=True)
class Asked:
    """What was asked for. All limits in seconds.

    `ports`: what the gate holds on this machine; () for none. `needs_s`: how long the command took
    the last times. `must_restart`: the command has to have restarted the servers.
    """

    name: str
    servers: tuple[str, ...]
    others: tuple[str, ...]
    ports: tuple[int, ...]
    command: tuple[str, ...]
    hold_s: float = HOLD_S
    quiet_s: float = 3.0
    older_than_s: float = 5.0
    close_stragglers: bool = False
    command_limit_s: float = 300.0
    back_limit_s: float = 60.0
    needs_s: float = 0.0
    same_version: bool = False
    must_restart: bool = False

    @property
    def scope(self) -> Scope:
        return Scope(self.name, self.servers, self.others)

    def arguments(self) -> dict[str, Any]:
        """Plain values that rebuild the plan after a crash."""
        return asdict(self)

    @classmethod
    def read(cls, arguments: dict[str, Any]) -> Asked:
        """From a journal; what is not ours is left out."""
        ours = {f.name for f in dataclasses.fields(cls)}
        values = {k: tuple(v) if isinstance(v, list) else v for k, v in arguments.items()}
        return cls(**{k: v for k, v in values.items() if k in ours})


def plan(asked: Asked) -> Plan[HoldWorld]:
    """The list of steps of `slackwater hold`."""
    on = ", ".join(asked.servers)
    held = f"ports {', '.join(map(str, asked.ports))}" if asked.ports else "nothing"
    title = f"hold {held} while {on} is worked on: {' '.join(asked.command)}"
    return Plan("hold", title, steps(asked), asked.arguments())


def plan_again(arguments: dict[str, Any]) -> Plan[HoldWorld]:
    """The plan of a journal, from its `arguments`."""
    return plan(Asked.read(arguments))


def steps(asked: Asked) -> tuple[Step[HoldWorld], ...]:
    """The steps that hold, restart and upgrade share."""
    servers, others, ports = asked.servers, asked.others, asked.ports
    gated = bool(ports)
    return (
        LockServers(servers, asked.close_stragglers),
        Remember(servers, others),
        WaitForCalm(servers, asked.older_than_s, CALM_LIMIT_S),
        *((ShutGate(ports, servers, asked.hold_s),) if gated else ()),
        WaitForClients(servers, ports, asked.quiet_s, asked.close_stragglers),
        StartCommand(asked.command, asked.needs_s),
        FinishCommand(asked.command_limit_s),
        ProveHealth(servers, asked.same_version, asked.must_restart, asked.back_limit_s),
        *((OpenGate(ports),) if gated else ()),
        FollowAgain(servers, others, FOLLOW_LIMIT_S),
    )


@dataclass(frozen=True)
class ShutGate(Step[HoldWorld]):
    """Let new connections to ports {ports} wait, for at most {hold_s} s"""

    ports: tuple[int, ...]
    servers: tuple[str, ...]
    hold_s: float

    async def precheck(self, world: HoldWorld) -> list[str]:
        """This machine can hold ports, and a way to the servers stays open."""
        reasons = unreachable_ports(world.config, self.servers, self.ports)
        able = await gate.ability()
        if not able.way:
            reasons += [f"cannot hold ports here: {why}" for why in able.missing or (able.says,)]
        return reasons

    async def do(self, world: HoldWorld) -> None:
        able = await gate.ability()
        if not able.way:
            raise StepFailed(f"cannot hold ports here: {'; '.join(able.missing)}")
        world.figures["gate_way"] = able.way
        world.gate = gate.Gate(self.ports, ability=able, ttl_s=TTL_S, cap_s=self.hold_s)
        world.shut_at = clock.mono()
        await world.gate.close()

    async def verify(self, world: HoldWorld) -> Seen:
        shut = world.gate is not None and await world.gate.verify()
        return Seen.DONE if shut else Seen.NOT_DONE

    async def undo(self, world: HoldWorld) -> None:
        await open_gate(world)


@dataclass(frozen=True)
class OpenGate(Step[HoldWorld]):
    """Let everybody who waits at ports {ports} in"""

    ports: tuple[int, ...]
    no_undo: ClassVar[str] = "only forward"

    async def do(self, world: HoldWorld) -> Seen | None:
        await open_gate(world)
        return None

    async def verify(self, world: HoldWorld) -> Seen:
        return Seen.NOT_DONE if world.gate is not None else Seen.DONE


async def open_gate(world: HoldWorld) -> None:
    """Open our gate if it is shut, and what a dead holder of ours left; note the figures."""
    if world.gate is None:
        if await gate.leftovers():
            await gate.clean()
        return
    report = await world.gate.open()
    world.gate = None
    world.figures["gate"] = dict(asdict(report))
    if world.shut_at is not None:
        world.figures["hold_ms"] = round((clock.mono() - world.shut_at) * 1000, 1)
    if report.ended_by == "cap":
        world.figures["let_go_early"] = (
            "the hold reached its limit before the server was back: clients were let go then"
        )


def unreachable_ports(
    config: Config, servers: tuple[str, ...], ports: tuple[int, ...]
) -> list[str]:
    """Why the servers could not be reached, or their ports not be held, while these ports are."""
    reasons = []
    for name in servers:
        table = config.servers[name]
        host, _, port = table.address.rpartition(":")
        if int(port) not in ports:
            continue
        if not tcp_table.is_local(host.strip("[]")):
            reasons.append(f"{name} ({table.address}) is not on this machine: its port can only be "
                           "held where it listens; run slackwater there")
        elif table.socket is None:
            reasons.append(f"{name} is only reached by the port that is to be held: its health "
                           f"could not be looked at; give servers.{name}.socket in the file")
    return reasons
