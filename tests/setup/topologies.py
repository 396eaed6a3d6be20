"""Topologies from nothing to verified in one command, with TLS required and with TLS off."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.setup import full
from tests.setup.scene import Scene, scene
from tests.setup.stories import verified

from slackwater.lab.instance import Program


@dataclass(frozen=True)
class Topology:
    """So many servers: a pair and its replicas, or a source and its replicas."""

    title: str
    count: int
    source: bool
    data: bool


ALL = (
    Topology("pair, empty", 2, source=False, data=False),
    Topology("pair, full", 2, source=False, data=True),
    Topology("pair and a replica, full", 3, source=False, data=True),
    Topology("source and a replica, empty", 2, source=True, data=False),
    Topology("source and two replicas, full", 3, source=True, data=True),
)


def options(program: Program, place: Path, tls: bool) -> list[str]:
    """A server's options to have TLS, or to have none."""
    if not tls:
        return ["--tls-version="] if program.version >= (8, 4, 0) and not program.is_mariadb \
            else ["--skip-ssl"]
    if not program.is_mariadb:
        return []  # MySQL makes its own certificate
    certificate, key = place / "tls.crt", place / "tls.key"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
         "-nodes", "-subj", "/CN=a", "-days", "2", "-out", certificate, "-keyout", key],
        check=True, capture_output=True)
    key.chmod(0o644)  # the server has an account of its own
    return [f"--ssl-cert={certificate}", f"--ssl-key={key}"]


def from_nothing(program: Program, place: Path, shape: Topology, tls: bool) -> None:
    """One command, and each replica has what the source has, over TLS only if that is wanted."""
    with scene(program, place, shape.count, source=shape.source, require_tls=tls,
               extra=options(program, place, tls)) as made:
        if shape.data:
            full.fill(made, "a")
        made.setup()
        same(made, shape.data)
        for name in list(made.servers)[shape.source:]:
            status = replication(made, name)
            assert (status["SSL_Allowed"] == "Yes") is tls, (name, status)
            # It comes again soon after its source was restarted, and does not give up.
            assert status["Connect_Retry"] == 5, (name, status)
            assert status.get("Retry_Count", 86400) == 86400, (name, status)
        verified(made)


def no_tls_refused(program: Program, place: Path) -> None:
    """What is required and not there is named before anything is done."""
    with scene(program, place, require_tls=True, extra=options(program, place, False)) as made:
        said = made.refusals()
        for name in "ab":
            assert f"{name}: accounts.replication.require_tls is set, and this server has no TLS" \
                in said


def replication(made: Scene, name: str) -> dict[str, Any]:
    """SHOW REPLICA STATUS, without Master_ and Source_ before the names."""
    program = made.servers[name].program
    old = program.is_mariadb or program.version < (8, 4, 0)
    status = made.sql(name, f"SHOW {'SLAVE' if old else 'REPLICA'} STATUS")[0]
    return {k.removeprefix("Master_").removeprefix("Source_"): v for k, v in status.items()}


def same(made: Scene, data: bool) -> None:
    """Each replica has what `full` made."""
    want = full.contents(made, "a") if data else None
    for name in list(made.servers)[1:]:
        assert not data or full.contents(made, name) == want, f"{name} differs"
