"""The files by which hypervisors and backup programs call freeze and thaw: install, remove."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from slackwater.errors import Refused

MARK = "# Written by `slackwater hooks install"
KEPT = ".before-slackwater"  # a hook of somebody else's that ours takes the place of
LOG = "/var/log/slackwater/hooks.log"
KINDS = ("vmware", "qemu", "scripts")


@dataclass(frozen=True)
class Limits:
    """For one kind of host, as `slackwater freeze` takes them."""

    within: str
    hold: str


# VMware gives the whole operation 15 minutes, Veeam 10; qemu-ga sets no limit, its callers do;
# Velero and Azure give a hook 30 s.
LIMITS = {
    "vmware": Limits("60s", "300s"), "qemu": Limits("30s", "120s"), "scripts": Limits("20s", "60s"),
}


@dataclass(frozen=True)
class File:
    """One file to install. `replaces`: what is there already is kept beside it, and comes back."""

    path: str  # absolute, below the root
    text: str
    mode: int = 0o755
    replaces: bool = False


def files(kind: str, command: list[str], words: list[str], limits: Limits, *,
          legacy: bool = False) -> list[File]:
    """What belongs to a kind of host. `command` runs slackwater, `words` say which servers."""
    head = _head(kind, command, words, limits)
    rotate = File("/etc/logrotate.d/slackwater", _ROTATE.format(mark=f"{MARK}`.", log=LOG), 0o644)
    if kind == "vmware":
        if not legacy:
            script = "/etc/vmware-tools/backupScripts.d/90-slackwater"
            return [File(script, head + _BY_WORD), rotate]
        return [
            File("/usr/sbin/pre-freeze-script", head + "do_freeze\n"),
            File("/usr/sbin/post-thaw-script", head + _AFTER),
            rotate,
        ]
    if kind == "qemu":
        return [File("/etc/qemu/fsfreeze-hook", head + _QEMU, replaces=True), rotate]
    return [
        File("/etc/slackwater/hooks/pre-snapshot", head + "do_freeze\n"),
        File("/etc/slackwater/hooks/post-snapshot", head + "do_thaw\n"),
        File("/etc/slackwater/hooks/snapshot-failed", head + "do_abandon\n"),
        rotate,
    ]


def in_the_way(root: Path, kind: str, words: list[str], *, legacy: bool) -> list[str]:
    """Why these would undo what ours do that are there already: the other way of the same host,
    whose freeze would be the second, or the same files for other servers."""
    reasons = []
    if kind == "vmware":
        for file in files(kind, [], [], LIMITS[kind], legacy=not legacy):
            if "logrotate" not in file.path and _ours(root, file.path):
                reasons.append(f"{file.path} is installed: VMware would call both, and the second"
                               " freeze is refused; remove that first (with --remove)")
    wanted = files(kind, [], [], LIMITS[kind], legacy=legacy)
    for path in (f.path for f in wanted if "logrotate" not in f.path and _ours(root, f.path)):
        there = _servers(_at(root, path).read_text(errors="replace"))
        if there and not there <= _named(words):
            reasons.append(f"{path} freezes {_say(there)}, and would freeze {_say(_named(words))}"
                           " only: name all of them, or take that away first (with --remove)")
            break
    return reasons


_THAWS = re.compile(r"^do_thaw\(\) \{ exec (.*); \}$", re.MULTILINE)


def _servers(text: str) -> set[tuple[str, str]]:
    """(configuration, server) of a hook of ours."""
    found = _THAWS.search(text)
    return _named(shlex.split(found[1])) if found else set()


def _named(words: list[str]) -> set[tuple[str, str]]:
    pairs = list(pairwise(words))
    configs = [value for name, value in pairs if name == "--config"]
    return {(c, value) for c in configs for name, value in pairs if name == "--server"}


def _say(servers: set[tuple[str, str]]) -> str:
    return ", ".join(f"{server} of {config}" for config, server in sorted(servers))


def install(root: Path, wanted: list[File]) -> list[str]:
    """Write them; what was done, for people. Raises Refused before anything is touched."""
    strangers = [f.path for f in wanted
                 if _there(root, f.path) and not _ours(root, f.path) and not f.replaces]
    if strangers:
        raise Refused("cannot install the hooks", [f"{p} is there and is not ours"
                                                   for p in strangers],
                      hint="move it away, or call slackwater from it yourself")
    told = []
    for file in wanted:
        path = _at(root, file.path)
        path.parent.mkdir(parents=True, exist_ok=True)
        if _there(root, file.path) and not _ours(root, file.path):
            path.rename(path.with_name(path.name + KEPT))
            told.append(f"kept {file.path} as {file.path}{KEPT}; ours calls it")
        new = path.with_name(path.name + ".new")
        new.write_text(file.text)
        new.chmod(file.mode)
        new.replace(path)
        told.append(f"wrote {file.path}")
    _at(root, LOG).parent.mkdir(parents=True, exist_ok=True, mode=0o750)
    return told


def remove(root: Path, wanted: list[File], *, keep: set[str]) -> list[str]:
    """Remove what is ours, and bring back what it took the place of. Safe to repeat."""
    told = []
    for file in wanted:
        path = _at(root, file.path)
        if file.path in keep or not _ours(root, file.path):
            continue
        path.unlink()
        told.append(f"removed {file.path}")
        kept = path.with_name(path.name + KEPT)
        if kept.exists():
            kept.rename(path)
            told.append(f"brought back {file.path}")
    return told


def _at(root: Path, path: str) -> Path:
    return root / path.lstrip("/")


def _there(root: Path, path: str) -> bool:
    return _at(root, path).exists() or _at(root, path).is_symlink()


def _ours(root: Path, path: str) -> bool:
    try:
        return MARK in _at(root, path).read_text(errors="replace")
    except OSError:
        return False


def _head(kind: str, command: list[str], words: list[str], limits: Limits) -> str:
    run, which = shlex.join(command), shlex.join(words)
    return f"""#!/bin/sh
{MARK} {kind}`; it will be replaced there. What it prints goes to {LOG}.
log=${{SLACKWATER_HOOK_LOG:-{LOG}}}
# In a shell of its own first: a redirection of `exec` or `:` that fails ends the shell.
( : >>"$log" ) 2>/dev/null || log=/dev/null
exec >>"$log" 2>&1
echo "$(date -u +%Y-%m-%dT%H:%M:%SZ) $0 $*"
# slackwater takes the shell's place: a host that cancels ends the process that it began, no other.
do_freeze() {{ exec {run} freeze {which} --within {limits.within} --hold {limits.hold}; }}
do_thaw() {{ exec {run} thaw {which}; }}
do_abandon() {{ exec {run} thaw {which} --abandon; }}
"""


# The last command's exit code is the script's.
_BY_WORD = """case "$(echo "$1" | tr A-Z a-z)" in
  freeze) do_freeze ;;
  thaw) do_thaw ;;
  freezefail) do_abandon ;;
  *) echo "unknown word: $1"; exit 64 ;;
esac
"""
_AFTER = """case "$(echo "$1" | tr A-Z a-z)" in
  freezefail) do_abandon ;;
  *) do_thaw ;;
esac
"""
# The wrapper that QEMU ships ends in `exit 0` whatever failed: this one does not. Ours freezes
# last and thaws first, so that the database waits for nobody else.
_QEMU = """hook=$(readlink -f "$0")
kept=$hook""" + KEPT + """
others() {
  for each in "$hook.d"/* "$kept"; do
    case "$each" in *~ | *.bak | *.orig | *.rpm* | *.sample | *.dpkg-*) continue ;; esac
    [ -f "$each" ] && [ -x "$each" ] || continue
    # The wrapper that was there would run the same directory once more.
    [ "$each" != "$kept" ] || ! grep -q 'fsfreeze-hook[.]d' "$each" || continue
    "$each" "$1" || { echo "$each $1 failed with $?"; [ "$1" = thaw ] || return 1; }
  done
}
# The shell has more to do: what ends it, ends the freeze.
freeze_here() {
  do_freeze &
  child=$!
  trap 'kill -TERM "$child" 2>/dev/null' TERM INT HUP
  wait "$child"
  code=$?
  while kill -0 "$child" 2>/dev/null; do
    wait "$child"
    code=$?
  done
  trap - TERM INT HUP
  return $code
}
case "$1" in
  freeze)
    others freeze && freeze_here && exit 0
    others thaw # qemu-ga calls nobody's thaw when a freeze has failed
    exit 1 ;;
  thaw)
    (do_thaw); code=$?
    others thaw
    exit $code ;;
  *) echo "unknown word: $1"; exit 64 ;;
esac
"""
_ROTATE = """{mark}
{log} {{
    monthly
    rotate 12
    compress
    missingok
    notifempty
    create 0640 root root
}}
"""
