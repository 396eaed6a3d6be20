"""registry.toml: what the registry of a balancer's host needs, and no password of a database pair.

A file of its own: the registry runs as its own unprivileged user on the balancer's host, and
slackwater.toml, with its accounts, is none of its business.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic
from pydantic import BaseModel, ConfigDict, Field

from slackwater.config import Address, Endpoint, File, Name, Seconds, Words
from slackwater.errors import ConfigError
from slackwater.facts.members import DEFAULT_LEASE_S
from slackwater.facts.pools import Pool
from slackwater.rules.registry.leases import Limits

DEFAULT_FILES = (Path("registry.toml"), Path("/etc/slackwater/registry.toml"))
Share = Annotated[float, Field(gt=0, le=1, strict=True)]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class TlsTable(_Table):
    """The registry's certificate and its key."""

    certificate: File
    key: File


class StoreTable(_Table):
    """Where members are kept."""

    kind: Literal["file", "mysql", "etcd"] = "file"
    address: Address | None = None  # mysql
    socket: File | None = None  # mysql
    database: Name = "slackwater_registry"  # mysql
    user: str = ""  # mysql, etcd
    password_file: File | None = None  # mysql, etcd
    tls: Literal["off", "preferred", "required"] = "preferred"  # mysql
    ca: File | None = None  # mysql, etcd
    endpoints: tuple[str, ...] = ()  # etcd
    prefix: str = "/slackwater/registry/"  # etcd
    poll: Seconds = 0.5  # mysql: how often it is asked whether something changed

    @pydantic.model_validator(mode="after")
    def _complete(self) -> StoreTable:
        if self.kind == "mysql" and not (self.address or self.socket):
            raise ValueError('mysql needs address = "HOST:PORT", or socket')
        if self.kind == "mysql" and not (self.user and self.password_file):
            raise ValueError("mysql needs user and password_file")
        if self.kind == "etcd" and not self.endpoints:
            raise ValueError('etcd needs endpoints = ["http://127.0.0.1:2379"]')
        return self


class PoolTable(_Table):
    """One pool of members."""

    mode: Literal["http", "tcp"] = "http"
    check: str = ""
    networks: tuple[str, ...] = ()
    min_members: Annotated[int, Field(ge=1, strict=True)] = 1
    timeout: Annotated[int, Field(ge=1, strict=True)] = 60


class BalancerTable(_Table):
    """One balancer on this host."""

    kind: Literal["apache", "nginx", "haproxy"]
    file: File
    reload: Words | None = None
    check: Words | None = None  # with {file} where the candidate goes
    runtime: Endpoint | None = None  # haproxy
    main: tuple[File, ...] = (Path("/etc/haproxy/haproxy.cfg"),)  # haproxy: its other files
    pid_file: File | None = None
    pools: tuple[Name, ...] = ()  # none: all

    @pydantic.model_validator(mode="after")
    def _runtime(self) -> BalancerTable:
        if self.kind == "haproxy" and self.runtime is None:
            raise ValueError('haproxy needs runtime = "unix:/run/haproxy/admin.sock"')
        return self


class LimitsTable(_Table):
    """Seconds, and shares of a pool."""

    probe: Seconds = 2.0  # how often each member is asked
    quiet: Seconds = 0.25  # a reload waits for so long without a change …
    longest: Seconds = 5.0  # … but not longer than this
    between_reloads: Seconds = 1.5
    freeze_above: Share = 0.3
    per_pass: Share = 0.15
    dead_over: Seconds = 30.0
    come_back: Seconds = DEFAULT_LEASE_S  # what was known is lost: time to renew


class Settings(_Table):
    """The whole of registry.toml."""

    listen: Address = "127.0.0.1:8440"
    directory: File = Path("/var/lib/slackwater-registry")
    allow_loopback: Annotated[bool, Field(strict=True)] = False
    tls: TlsTable | None = None
    store: StoreTable = StoreTable()
    limits: LimitsTable = LimitsTable()
    pools: dict[Name, PoolTable] = {}
    balancers: dict[Name, BalancerTable] = {}

    @pydantic.model_validator(mode="after")
    def _fits(self) -> Settings:
        if not self.pools:
            raise ValueError("there is no pool: write [pools.web]")
        for name, table in self.pools.items():
            pool_of(name, table)
        for name, balancer in self.balancers.items():
            for pool in balancer.pools:
                if pool not in self.pools:
                    raise ValueError(f"balancers.{name}.pools names {pool}, which is no pool")
        return self

    @property
    def keys(self) -> Path:
        """The file of the nodes' keys."""
        return self.directory / "keys.json"

    def known_pools(self) -> dict[str, Pool]:
        """All pools by name."""
        return {name: pool_of(name, table) for name, table in self.pools.items()}

    def pools_of(self, balancer: str) -> list[Pool]:
        """A balancer's pools."""
        named = self.balancers[balancer].pools
        return [p for name, p in self.known_pools().items() if not named or name in named]

    def rules(self, pool: str) -> Limits:
        """What the rules of leases go by in this pool."""
        limits = self.limits
        return Limits(freeze_above=limits.freeze_above, per_pass=limits.per_pass,
                      dead_over_s=limits.dead_over, min_members=self.pools[pool].min_members)


def pool_of(name: str, table: PoolTable) -> Pool:
    """A pool's table as the rest of the code knows it. Raises ValueError."""
    return Pool(name, table.mode, table.check, table.networks, table.min_members, table.timeout)


def find(asked: Path | None) -> Path:
    """The file to read. Raises ConfigError."""
    if asked is not None:
        return asked
    for path in DEFAULT_FILES:
        if path.exists():
            return path
    looked = " or ".join(str(p) for p in DEFAULT_FILES)
    raise ConfigError(f"no configuration of the registry: there is no {looked}",
                      hint="docs/howto/registry.md has one to begin with")


def load(path: Path) -> Settings:
    """Read and check it. Raises ConfigError with every fault."""
    try:
        said: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot read it: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not TOML: {error}") from error
    try:
        return Settings.model_validate(said)
    except pydantic.ValidationError as error:
        faults = []
        for each in error.errors():
            key = ".".join(str(p) for p in each["loc"] if p != "[key]")
            message = str(each["msg"]).removeprefix("Value error, ")
            faults.append(f"{path}: {key + ': ' if key else ''}{message}")
        raise ConfigError("\n".join(faults), hint="docs/reference/configuration.md lists all keys"
                          ) from error
