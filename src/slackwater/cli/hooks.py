"""`slackwater hooks`: what calls freeze and thaw when a host takes a snapshot."""

from __future__ import annotations

import enum
import json
import shutil
import sys
from pathlib import Path
from typing import Annotated

import typer

from slackwater import config
from slackwater.cli.freeze import duration
from slackwater.cli.frozen import ServersOption, servers_asked
from slackwater.cli.options import ConfigOption, JsonOption
from slackwater.cli.say import say
from slackwater.errors import Refused
from slackwater.operations.snapshot import hooks
from slackwater.operations.snapshot.hooks import LIMITS, File, Limits

app = typer.Typer(help="Hooks for hypervisors and backup programs.", no_args_is_help=True,
                  rich_markup_mode=None)


class Kind(enum.StrEnum):
    """Who calls."""

    VMWARE = "vmware"
    QEMU = "qemu"
    SCRIPTS = "scripts"


@app.callback()
def _hooks() -> None:
    """Hooks for hypervisors and backup programs."""


@app.command("install")
def install(
    kind: Annotated[Kind, typer.Argument(help="vmware, qemu, or scripts (Veeam, Velero, AWS, "
                                              "Azure and others that run a script).")],
    plan: Annotated[bool, typer.Option("--plan", help="Print the files; touch nothing.")] = False,
    remove: Annotated[bool, typer.Option("--remove", help="Remove them again.")] = False,
    server: ServersOption = None,
    within: Annotated[str | None, typer.Option("--within", help="Longest time for a freeze.")]
    = None,
    hold: Annotated[str | None, typer.Option("--hold", help="Longest time for a lock.")] = None,
    legacy: Annotated[
        bool, typer.Option("--legacy", help="vmware: /usr/sbin/pre-freeze-script and "
                           "post-thaw-script, for tools without backupScripts.d.")
    ] = False,
    root: Annotated[Path, typer.Option("--root", help="Below this directory.")] = Path("/"),
    file: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Install the files by which a kind of host calls freeze and thaw.

    Several instances on one machine: name each with --server; all are frozen, or none.
    """
    settings = config.load(config.find(file))
    limits = LIMITS[kind.value]
    limits = Limits(within or limits.within, hold or limits.hold)
    duration(limits.within), duration(limits.hold)
    words = ["--config", str(settings.path.resolve())]
    for name in servers_asked(settings, server):
        words += ["--server", name]
    wanted = hooks.files(kind.value, _command(), words, limits, legacy=legacy)
    if not remove and (reasons := hooks.in_the_way(root, kind.value, words, legacy=legacy)):
        raise Refused("cannot install the hooks", reasons)
    if plan:
        told = [f"{'remove' if remove else 'write'} {f.path}" for f in wanted]
        if not as_json and not remove:
            told = [f"--- {f.path} (mode {f.mode:04o})\n{f.text}" for f in wanted]
    elif remove:
        told = hooks.remove(root, wanted, keep=_still_needed(root, kind))
    else:
        told = hooks.install(root, wanted)
    say(json.dumps({"operation": "hooks install", "kind": kind.value, "told": told})
        if as_json else "\n".join(told) or "nothing to do")


def _command() -> list[str]:
    beside = Path(sys.executable).with_name("slackwater")
    found = str(beside) if beside.exists() else shutil.which("slackwater")
    return [found] if found else [sys.executable, "-m", "slackwater"]


def _still_needed(root: Path, leaving: Kind) -> set[str]:
    """The log's rotation stays while another kind is installed."""
    for kind in Kind:
        for legacy in (False, True):
            files: list[File] = hooks.files(kind.value, [], [], LIMITS[kind.value], legacy=legacy)
            if kind is not leaving and any((root / f.path.lstrip("/")).exists()
                                           for f in files if "logrotate" not in f.path
                                           and not f.replaces):
                return {"/etc/logrotate.d/slackwater"}
    return set()
