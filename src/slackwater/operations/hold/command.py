"""The command inside a hold: its start is the commit point, its exit code decides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from slackwater import clock
from slackwater.errors import StepFailed
from slackwater.operations.hold.world import HoldWorld
from slackwater.outside import command, far_command
from slackwater.plan.step import Seen, Step

STARTING = "starting"  # noted on disk right before the command is begun
COMMAND = "command"
# Nobody is there to answer, and nothing else may restart the server meanwhile.
ENVIRONMENT = {
    "DEBIAN_FRONTEND": "noninteractive", "APT_LISTCHANGES_FRONTEND": "none",
    "NEEDRESTART_SUSPEND": "1", "NEEDRESTART_MODE": "l",
}


@dataclass(frozen=True)
class StartCommand(Step[HoldWorld]):
    """Run: {line}"""

    command: tuple[str, ...]
    needs_s: float  # what it took the last times
    commit: ClassVar[bool] = True
    no_undo: ClassVar[str] = "what a command has done cannot be taken back; from here only forward"

    @property
    def line(self) -> str:
        """The command for people."""
        return " ".join(self.command)

    async def precheck(self, world: HoldWorld) -> list[str]:
        """The program is there."""
        if world.host.here or not self.command:
            why = command.missing(self.command)
            return [why] if why else []
        if await world.host.has(self.command[0]):
            return []
        return [f"there is no program {self.command[0]!r} on {world.host.where} to run"]

    async def do(self, world: HoldWorld) -> Seen:
        if world.left_s() < self.needs_s:
            raise StepFailed(
                f"only {world.left_s():.1f} s are left of the hold, and the last times the command "
                f"took {self.needs_s:.1f} s: too late to begin"
            )
        world.note(STARTING, clock.unix())
        if world.gate is not None:
            world.gate.hold_for_command()
        world.command = await begin(world, self.command)
        if world.gate is not None:
            world.gate.hold_while(
                world.command.pid, world.command.started, world.command.files)
        world.note(COMMAND, world.command.noted())
        return Seen.DONE

    async def verify(self, world: HoldWorld) -> Seen:
        begun = world.command is not None or COMMAND in world.notes
        return Seen.DONE if begun else Seen.NOT_DONE

    async def passed(self, world: HoldWorld) -> Seen:
        """After a crash: it may have begun as soon as that was noted, and then only forward."""
        return Seen.DONE if STARTING in world.notes else Seen.NOT_DONE


@dataclass(frozen=True)
class FinishCommand(Step[HoldWorld]):
    """Wait at most {limit_run_s} s for its end; its exit code decides"""

    limit_run_s: float
    forward_tries: ClassVar[int] = 1
    no_undo: ClassVar[str] = "it only waits"

    @property
    def limit_s(self) -> float:  # type: ignore[override]
        return self.limit_run_s + 2 * command.END_GRACE_S

    async def do(self, world: HoldWorld) -> Seen:
        running = found(world)
        begun = float(world.notes[STARTING])
        left_s = max(1.0, begun + self.limit_run_s - clock.unix())
        try:
            code = await running.wait(left_s, world.show)
        finally:
            ended = running.ended or clock.unix()
            world.figures["command_ms"] = round((ended - begun) * 1000, 1)
            world.figures["output"] = running.output
        world.figures["exit_code"] = code
        if code is None:
            raise StepFailed("the command was killed, or ended without telling how; its output is "
                             f"in {running.output}")
        if code != 0:
            last = last_words(running.tail())
            raise StepFailed(f"the command ended with exit code {code}; its last words: {last}")
        return Seen.DONE

    async def verify(self, world: HoldWorld) -> Seen:
        running = found(world)
        await running.look()
        done = not running.alive and running.exit_code == 0
        return Seen.DONE if done else Seen.NOT_DONE


async def begin(
    world: HoldWorld, words: Sequence[str], what: str = ""
) -> command.Command | far_command.FarCommand:
    """Begin a command that outlives us on the machine that is worked on; its output is kept beside
    the journal, for another than the hold's own with `what` in the name. Raises StepFailed."""
    if world.journal is None:
        raise StepFailed("no journal: nowhere to keep the command's output")
    path = world.journal.path
    output = path.with_name(f"{path.stem}{what and '-' + what}.output")
    if world.host.here:
        return command.start(words, output=output, environment=ENVIRONMENT)
    return await far_command.start(world.host, words, output=output, environment=ENVIRONMENT)


def again(
    world: HoldWorld, noted: Mapping[str, Any]
) -> command.Command | far_command.FarCommand:
    """A command that was begun once, from what was noted of it."""
    return far_command.again(world.host, noted) if "far" in noted else command.again(noted)


def found(world: HoldWorld) -> command.Command | far_command.FarCommand:
    """The command that was begun, also by a slackwater that was killed. Raises StepFailed."""
    if world.command is None:
        if COMMAND not in world.notes:
            raise StepFailed("slackwater was killed just as the command began: nobody knows "
                             "whether it ran")
        world.command = again(world, world.notes[COMMAND])
    return world.command


async def still_runs(world: HoldWorld) -> bool:
    """Whether the command that was begun has not ended, whatever else is believed of it: the server
    may be about to be stopped. Raises OutsideError when nobody can tell."""
    running = found(world) if COMMAND in world.notes else world.command
    if running is not None and running.alive:
        await running.look()
    return running is not None and running.alive


def last_words(text: str) -> str:
    """The last lines of an output, as one."""
    return " / ".join(line.strip() for line in text.splitlines()[-3:]) or "(none)"

