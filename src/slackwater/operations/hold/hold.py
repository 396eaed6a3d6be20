"""Any command while new connections wait instead of fail."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Self

from slackwater import clock
from slackwater.config import Config
from slackwater.errors import StepFailed
from slackwater.operations.hold.clients import LockServers, WaitForCalm, WaitForClients
from slackwater.operations.hold.command import FinishCommand, StartCommand, still_runs
from slackwater.operations.hold.health import BEFORE, ProveHealth, Remember
from slackwater.operations.hold.replicas import FollowAgain, LetReplicasGo
from slackwater.operations.hold.sockets import KeepSockets
from slackwater.operations.hold.world import HoldWorld, Scope
from slackwater.outside import tcp_table
from slackwater.outside.gate import gate
from slackwater.outside.mysql import server as mysql_server
from slackwater.plan.journal import Past
from slackwater.plan.step import Outcome, Plan, Seen, Step
from slackwater.rules import crowd

HOLD_S = 8.0  # clients give up connecting after 10 s or so
TTL_S = 3.0  # the kernel lets go by itself when nobody has refreshed it for so long
CALM_LIMIT_S = 10.0
FOLLOW_LIMIT_S = 60.0
COMMAND_OVER_S = 10.0


@dataclass(frozen=True)
class Asked:
    """What was asked for. All limits in seconds.

    `on`: the machine that is worked on, by SSH; "" for this one. `ports`: what the gate holds
    there; () for none. `needs_s`: how long the command took the last times. `must_restart`: the
    command has to have restarted the servers. `says`: how ports are held there, and what it costs.
    `one_way`: nobody is held and nobody waits, so a MySQL 5.6 will do too.
    `kept`: listening sockets of the (one) server that `keepers` keep open meanwhile.
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
    one_way: bool = False
    on: str = ""
    says: str = ""
    kept: tuple[str, ...] = ()
    keepers: tuple[str, ...] = ()

    @property
    def scope(self) -> Scope:
        return Scope(self.name, self.servers, self.others)

    def arguments(self) -> dict[str, Any]:
        """Plain values that rebuild the plan after a crash."""
        return asdict(self)

    @classmethod
    def read(cls, arguments: dict[str, Any]) -> Self:
        """From a journal; what is not ours is left out."""
        ours = {f.name for f in dataclasses.fields(cls)}
        values: dict[str, Any] = {k: _frozen(v) for k, v in arguments.items() if k in ours}
        return cls(**values)


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def plan(asked: Asked) -> Plan[HoldWorld]:
    """The list of steps of `slackwater hold`."""
    on = ", ".join(asked.servers)
    held = f"ports {', '.join(map(str, asked.ports))}" if asked.ports else "nothing"
    held += f" of {asked.on}" if asked.on else ""
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
        LockServers(servers, asked.close_stragglers, asked.one_way),
        Remember(servers, others),
        WaitForCalm(servers, asked.older_than_s, CALM_LIMIT_S),
        *((KeepSockets(servers[0], asked.kept, asked.keepers),) if asked.kept else ()),
        *((ShutGate(ports, servers, asked.hold_s, asked.says),) if gated else ()),
        WaitForClients(servers, ports, asked.quiet_s, asked.close_stragglers),
        *((LetReplicasGo(servers, others),) if others else ()),
        StartCommand(asked.command, asked.needs_s),
        FinishCommand(asked.command_limit_s),
        ProveHealth(servers, asked.same_version, asked.must_restart, asked.back_limit_s),
        *((OpenGate(ports),) if gated else ()),
        *((FollowAgain(servers, others, FOLLOW_LIMIT_S),) if others else ()),
    )


@dataclass(frozen=True)
class ShutGate(Step[HoldWorld]):
    """Let new connections to TCP port {ports} wait, for at most {hold_s} s{how}"""

    ports: tuple[int, ...]
    servers: tuple[str, ...]
    hold_s: float
    says: str = ""
    limit_s: ClassVar[float] = 15.0
    undo_limit_s: ClassVar[float] = 20.0

    @property
    def how(self) -> str:
        """Which gate it is, and what it costs."""
        return f": {self.says}" if self.says else ""

    async def precheck(self, world: HoldWorld) -> list[str]:
        """This machine can hold ports, and a way to the servers stays open."""
        reasons = unreachable_ports(world.config, self.servers, self.ports, world.on)
        able = await gate.ability(world.host)
        if not able.way:
            reasons += [f"cannot hold ports here: {why}" for why in able.missing or (able.says,)]
        return reasons

    async def do(self, world: HoldWorld) -> None:
        able = await gate.ability(world.host)
        if not able.way:
            raise StepFailed(f"cannot hold ports here: {'; '.join(able.missing)}")
        world.figures["gate_way"] = able.way
        world.gate = gate.Gate(
            self.ports, ability=able, ttl_s=TTL_S, cap_s=self.hold_s, host=world.host)
        for name in self.servers:
            if (port := world.port(name)) in self.ports:
                before = world.notes[BEFORE][name]["settings"]["max_connections"]
                world.gate.fits(port, crowd.room(int(before)))
        await world.gate.prepare()
        world.shut_at = clock.mono()
        await world.gate.close()

    async def verify(self, world: HoldWorld) -> Seen:
        shut = world.gate is not None and await world.gate.verify()
        return Seen.DONE if shut else Seen.NOT_DONE

    async def undo(self, world: HoldWorld) -> None:
        await _command_over(world)
        await open_gate(world)


async def _command_over(world: HoldWorld) -> None:
    """Whatever is believed of the command: as long as it runs, the server may be down or about to
    be, and who was let in would be refused. At most to the end of the hold."""
    until = clock.mono() + min(world.left_s(), COMMAND_OVER_S)
    while await still_runs(world) and clock.mono() < until:
        await asyncio.sleep(0.02)


@dataclass(frozen=True)
class OpenGate(Step[HoldWorld]):
    """Let in everybody who waits at TCP port {ports}"""

    ports: tuple[int, ...]
    no_undo: ClassVar[str] = "only forward"
    limit_s: ClassVar[float] = 20.0

    async def do(self, world: HoldWorld) -> None:
        await open_gate(world)

    async def verify(self, world: HoldWorld) -> Seen:
        return Seen.NOT_DONE if world.gate is not None else Seen.DONE


async def open_gate(world: HoldWorld) -> None:
    """Open our gate if it is shut, and what a dead holder of ours left; note the figures."""
    if world.gate is None:
        with contextlib.suppress(OSError):  # who may not look could not have held either
            if await gate.leftovers(world.host):
                await gate.clean(world.host)
        return
    report = await world.gate.open()
    world.gate = None
    world.figures["gate"] = dict(asdict(report))
    if paced := crowd.paced(report):
        world.figures["paced"] = paced
        world.tell({"at": clock.unix(), "event": "told", "text": paced})
    if world.shut_at is not None:
        world.figures["hold_ms"] = round((clock.mono() - world.shut_at) * 1000, 1)
    if report.ended_by == "cap":
        world.figures["let_go_early"] = (
            "the hold reached its limit before the server was back: clients were let go then"
        )


async def settled(world: HoldWorld, plan: Plan[HoldWorld]) -> tuple[Outcome, str] | None:
    """Of a hold that could not be finished: the servers are well, and nobody waits any more."""
    asked = Asked.read(plan.arguments)
    if world.command is None or BEFORE not in world.notes:
        return None
    await world.command.look()
    if world.command.alive:
        return None
    prove = ProveHealth(asked.servers, asked.same_version, False, 1.0)
    if await prove.verify(world) is not Seen.DONE:
        return None
    with contextlib.suppress(OSError):
        if await gate.leftovers(world.host):
            return None
    code = world.command.exit_code
    how = "without telling how" if code is None else f"with exit code {code}"
    on = ", ".join(asked.servers)
    return Outcome.DONE, f"{on} healthy, nobody is held; the command had ended {how}"


def took_s(asked: Asked, operation: str, past: Sequence[Past]) -> float:
    """The longest time that the same command took in the last five holds; 0 when none is known."""
    times = []
    for one in past:
        planned, ended = one.planned, [e for e in one.events if e["event"] == "ended"]
        if planned.get("operation") != operation or not ended:
            continue
        before = Asked.read(planned["arguments"]) if planned.get("arguments") else None
        if before is None or (before.servers, before.command) != (asked.servers, asked.command):
            continue
        if ended[-1]["outcome"] == Outcome.DONE:
            ms = {s["name"]: s["ms"] for s in ended[-1]["steps"]}
            away = ("FinishCommand", "RestartAfter", "ProveHealth")
            times.append(sum(ms.get(name, 0.0) for name in away) / 1000)
    return round(max(times[-5:], default=0.0), 2)


async def says(world: HoldWorld, ports: Sequence[int]) -> str:
    """How ports are held on that machine, what it costs, and how many its servers take at once.
    "" for no ports. Raises OutsideError."""
    if not ports:
        return ""
    able = await gate.ability(world.host)
    if not able.way:
        return able.says
    await world.connect()
    found = [able.says]
    for name in world.scope.servers:
        if name not in world.unreachable and world.port(name) in ports:
            facts = await mysql_server.look(await world.session(name), name)
            found.append(crowd.says(name, facts.max_connections, paced=able.way != "drop"))
    return "; ".join(found)


def too_long(asked: Asked) -> list[str]:
    """The reason to refuse when the command is known to outlast the hold."""
    if not asked.ports or asked.needs_s + asked.quiet_s <= asked.hold_s:
        return []
    if asked.needs_s < asked.hold_s - 1.0:
        return []
    return [f"the last times the command and the way back took {asked.needs_s:.1f} s, and clients "
            f"are held for {asked.hold_s:g} s: they would be let in to a server that is down; give "
            "--limit, below the clients' connect timeout (10 s or so)"]


def unreachable_ports(
    config: Config, servers: tuple[str, ...], ports: tuple[int, ...], on: str
) -> list[str]:
    """Why the servers could not be reached, or their ports not be held, while these ports of the
    machine `on` are."""
    reasons = []
    for name in servers:
        table = config.servers[name]
        host, _, port = table.address.rpartition(":")
        if int(port) not in ports:
            continue
        there = table.ssh == on if on or table.ssh else tcp_table.is_local(host.strip("[]"))
        if not there:
            where = on or "this machine"
            reasons.append(f"{name} ({table.address}) is not on {where}: its port can only be held "
                           f"where it listens; give servers.{name}.ssh in the file, or run "
                           "slackwater there")
        elif table.socket is None:
            reasons.append(f"{name} is only reached by the port that is to be held: its health "
                           f"could not be looked at; give servers.{name}.socket in the file")
    return reasons
