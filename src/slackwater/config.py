"""slackwater.toml: read it, check it, and say exactly what is wrong with it."""

from __future__ import annotations

import difflib
import os
import stat
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PositiveFloat

from slackwater.errors import ConfigError
from slackwater.outside.secrets import read_password

DEFAULT_FILES = (Path("slackwater.toml"), Path("/etc/slackwater/slackwater.toml"))


def host_port(text: str) -> tuple[str, int]:
    """Split `host:port` or `[v6]:port`; raises ValueError saying what to write."""
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise ValueError("write HOST:PORT, for example 10.0.0.5:3306")
    return host.strip("[]"), int(port)


def _address(text: str) -> str:
    host_port(text)
    return text


def _endpoint(text: str) -> str:
    kind, _, rest = text.partition(":")
    if kind == "unix" and rest.startswith("/"):
        return text
    if kind == "tcp":
        host_port(rest)
        return text
    raise ValueError("write unix:/path/to/socket or tcp:HOST:PORT")


def _name(text: str) -> str:
    if not text or not all(c.isalnum() or c in "_-" for c in text) or text == "hold":
        raise ValueError("use letters, digits, _ and - (and not the name `hold`)")
    return text


Address = Annotated[str, AfterValidator(_address)]
Endpoint = Annotated[str, AfterValidator(_endpoint)]
Name = Annotated[str, AfterValidator(_name)]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ServerTable(_Table):
    """One database server. `address` is what balancers and the other server use."""

    address: Address
    socket: Path | None = None  # slackwater's own way in, where it runs on the same machine


class AccountTable(_Table):
    """How slackwater logs in; exactly one source of the password."""

    user: str = "slackwater"
    password_file: Path | None = None
    password_env: str | None = None
    option_file: Path | None = None
    tls: Literal["off", "preferred", "required"] = "preferred"
    ca: Path | None = None

    @pydantic.model_validator(mode="after")
    def _one_source(self) -> AccountTable:
        given = [self.password_file, self.password_env, self.option_file]
        if sum(g is not None for g in given) != 1:
            raise ValueError("give exactly one of password_file, password_env, option_file")
        return self


class BalancerTable(_Table):
    """One HAProxy in front of the pair."""

    runtime: Endpoint
    frontend: Address
    pin: Endpoint
    holds_map: Path
    config_file: Path
    backend: Name = "pair"
    # How many clients it lets in to a server at once, the rest wait: below the server's
    # max_connections (MySQL's own default is 151), all balancers together.
    maxconn: Annotated[int, Field(ge=1)] = 140
    main_config: Path = Path("/etc/haproxy/haproxy.cfg")


class PairTable(_Table):
    """Two servers of which one is active, and what stands around them."""

    servers: Annotated[tuple[Name, ...], Field(min_length=2, max_length=2)]
    balancers: Annotated[tuple[Name, ...], Field(min_length=1)]
    replicas: tuple[Name, ...] = ()


class LimitsTable(_Table):
    """All in seconds."""

    # The longest that a client is held; clients give up connecting after 10 s or so.
    hold: Annotated[float, Field(gt=0, le=8)] = 5.0
    grace: PositiveFloat = 1.0  # how long sessions get to end their transactions, in the hold
    lag: PositiveFloat = 1.0  # replication lag above which nothing is begun
    oldest_transaction: PositiveFloat = 5.0  # a transaction or statement older than that refuses


class StateTable(_Table):
    """Where journals and locks are."""

    directory: Path | None = None


class Config(_Table):
    """The whole of slackwater.toml. Raises pydantic.ValidationError; use `load`."""

    servers: dict[Name, ServerTable]
    accounts: dict[Literal["slackwater"], AccountTable]
    balancers: dict[Name, BalancerTable] = {}
    pairs: dict[Name, PairTable] = {}
    limits: LimitsTable = LimitsTable()
    state: StateTable = StateTable()
    lab: bool = False
    path: Path = Field(default=Path(), exclude=True)

    @pydantic.model_validator(mode="after")
    def _names_exist(self) -> Config:
        for pair_name, pair in self.pairs.items():
            for kind, known in (("servers", self.servers), ("replicas", self.servers),
                                ("balancers", self.balancers)):
                for name in getattr(pair, kind):
                    if name not in known:
                        table = "servers" if kind == "replicas" else kind
                        raise ValueError(
                            f"pairs.{pair_name}.{kind} names {name!r}, but there is no "
                            f"[{table}.{name}]{_nearest(name, list(known))}"
                        )
            if pair.servers[0] == pair.servers[1]:
                raise ValueError(f"pairs.{pair_name}.servers names {pair.servers[0]!r} twice")
        return self

    @property
    def state_directory(self) -> Path:
        """Configured, or where the system keeps state for this user."""
        if self.state.directory:
            return self.state.directory
        if os.geteuid() == 0:
            return Path("/var/lib/slackwater")
        home = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state"
        return Path(home) / "slackwater"

    def pair(self, name: str | None) -> tuple[str, PairTable]:
        """The pair of that name, or the only one. Raises ConfigError."""
        if name is None and len(self.pairs) == 1:
            return next(iter(self.pairs.items()))
        if name in self.pairs:
            return name, self.pairs[name]
        known = ", ".join(self.pairs) or "none"
        ask = "there is more than one pair; name one with --pair" if name is None else (
            f"there is no pair {name!r}{_nearest(name, list(self.pairs))}")
        raise ConfigError(f"{self.path}: {ask}", hint=f"pairs in the file: {known}")

    def password(self) -> str:
        """The password of slackwater's account. Raises ConfigError; never prints it."""
        account = self.accounts["slackwater"]
        return read_password(
            file=account.password_file, variable=account.password_env,
            option_file=account.option_file,
        )


def find(asked: Path | None) -> Path:
    """The configuration file to use. Raises ConfigError naming where it was looked for."""
    if asked is not None:
        return asked
    for path in DEFAULT_FILES:
        if path.exists():
            return path
    looked = " or ".join(str(p) for p in DEFAULT_FILES)
    raise ConfigError(
        f"no configuration: there is no {looked}",
        hint="give one with --config FILE; `slackwater lab up` makes a complete example",
    )


def load(path: Path) -> Config:
    """Read and check a configuration file. Raises ConfigError with every fault found."""
    try:
        mode = path.stat().st_mode
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot read it: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not TOML: {error}") from error
    if mode & stat.S_IWOTH:
        raise ConfigError(f"{path}: everybody may write it", hint=f"chmod o-w {path}")
    try:
        config = Config.model_validate(data)
    except pydantic.ValidationError as error:
        faults = [_fault(path, e) for e in error.errors()]  # type: ignore[arg-type]
        raise ConfigError("\n".join(faults), hint="docs/reference/configuration.md lists all keys"
                          ) from error
    return config.model_copy(update={"path": path})


def _fault(path: Path, error: dict[str, Any]) -> str:
    where = [str(p) for p in error["loc"] if p != "[key]"]
    key = ".".join(where) or "(the whole file)"
    kind, value = error["type"], error.get("input")
    if kind == "extra_forbidden":
        return f"{path}: {key}: unknown key{_nearest(where[-1], _keys_beside(where))}"
    if kind == "missing":
        return f"{path}: {key}: this key is missing"
    message = str(error["msg"]).removeprefix("Value error, ")
    shown = "" if isinstance(value, dict) or _secret(where) else f" = {value!r}"
    return f"{path}: {key}{shown}: {message}"


def _secret(where: list[str]) -> bool:
    return any("password" in part for part in where)


def _keys_beside(where: list[str]) -> list[str]:
    tables: dict[str, type[BaseModel]] = {
        "servers": ServerTable, "accounts": AccountTable, "balancers": BalancerTable,
        "pairs": PairTable, "limits": LimitsTable, "state": StateTable,
    }
    table = Config if len(where) == 1 else tables.get(where[0], Config)
    return [k for k in table.model_fields if k != "path"]


def _nearest(word: str, known: list[str]) -> str:
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    if close:
        return f"; did you mean {close[0]!r}?"
    return f"; known: {', '.join(known)}" if known else ""
