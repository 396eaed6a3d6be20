"""The registry's HTTP API: one idempotent PUT registers and renews; drain and DELETE remove."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import Body, FastAPI, HTTPException, Path, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from slackwater import __version__, clock
from slackwater.errors import OutsideError
from slackwater.facts import members
from slackwater.facts.members import Member, Record, Shares, is_loopback, lies_in
from slackwater.outside.registry.store import Stale
from slackwater.rules.registry import pace
from slackwater.service.registry.gate import Caller
from slackwater.service.registry.keeper import Keeper
from slackwater.service.registry.report import health, pool_report
from slackwater.service.registry.roster import Answer, Roster, unfit

PoolName = Annotated[str, Path(pattern=members.POOL_FORM, description="A pool of registry.toml.")]
MemberId = Annotated[str, Path(pattern=members.ID_FORM, description="The member's own name.")]
Counter = Annotated[int, Field(ge=0, le=members.MAX_COUNTER, strict=True)]
Wait = Annotated[
    Literal["applied"] | None,
    Query(description="Answer when every balancer has it, or after `timeout`."),
]
Timeout = Annotated[float, Query(ge=0, le=30, description="Seconds.")]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Registration(_Model):
    """What a member says of itself, each time in full."""

    port: Annotated[int, Field(ge=1, le=65535, strict=True)]
    address: Annotated[
        str | None, Field(max_length=45, description="Left out: the one that the request is from.")
    ] = None
    weight: Annotated[int, Field(ge=1, le=members.MAX_WEIGHT, strict=True)] = (
        members.DEFAULT_WEIGHT)
    colour: Annotated[
        str, Field(pattern=members.COLOUR_FORM, description="The version it runs; may be empty.")
    ] = ""
    state: Annotated[
        Literal["up", "drain"], Field(description="`drain`: nothing new; what it has goes on.")
    ] = "up"
    lease: Annotated[
        float, Field(ge=0, le=members.MAX_LEASE_S, allow_inf_nan=False,
                     description="Seconds without a renewal after which it is suspected; 3 at "
                                 "least. 0: never renewed, only probes say that it lives.")
    ] = members.DEFAULT_LEASE_S
    boot: Annotated[Counter, Field(description="Goes up with each start of the member.")] = 0
    seq: Annotated[Counter, Field(description="Goes up with each request since.")] = 0


class Registered(_Model):
    """The answer to a registration or removal."""

    revision: Annotated[int, Field(description="Goes up with each change of any pool.")]
    applied: Annotated[bool, Field(description="Every balancer has it. Only with `wait`.")]
    stored: Annotated[bool, Field(description="The store has it; else it is told later.")]
    address: str | None = None
    lease: Annotated[float, Field(description="The lease that was granted, in seconds.")] = 0.0
    renew_after: Annotated[float, Field(description="When to renew, in seconds.")] = 0.0


class Division(_Model):
    """How a pool's traffic is divided among colours."""

    shares: Annotated[
        dict[Annotated[str, Field(pattern=members.COLOUR_FORM, min_length=1)],
             Annotated[int, Field(ge=0, le=100, strict=True)]],
        Field(max_length=8, description="Percent by colour; 100 together. Empty: no colours."),
    ]
    revision: Annotated[Counter, Field(ge=1, description="One above the pool's present one.")]


class Divided(_Model):
    """The answer to a division."""

    revision: int
    applied: bool


class Trouble(_Model):
    """Why a request was refused. `time`: the registry's clock, with refused signatures."""

    detail: str
    time: int | None = None


REFUSALS: dict[int | str, dict[str, Any]] = {
    code: {"model": Trouble, "description": words} for code, words in {
        400: "It breaks the grammar.", 401: "Not signed, badly signed, late, or a repetition.",
        403: "The key is not for this.", 404: "There is no such pool.",
        408: "Too slow.", 409: "Older than what is known, or another member has the address.",
        413: "Too large.", 422: "It breaks the grammar.", 431: "Headers too large.",
        503: "The store cannot be reached.",
    }.items()
}
SIGNED: dict[str, Any] = {"security": [{"signature": []}]}


class _Api:
    """The routes' common part: whom they are for, and when they answer."""

    def __init__(self, roster: Roster, keeper: Keeper, *, allow_loopback: bool) -> None:
        self.roster, self.keeper, self.allow_loopback = roster, keeper, allow_loopback

    def caller(self, request: Request, pool: str, member: str = "") -> Caller:
        """Who asks, if the key is for this pool and member. Raises HTTPException."""
        caller: Caller = request.scope["caller"]
        key = caller.key
        why = key.why_not(pool, member) if member else (
            f"the key {key.name} is not for the pool {pool}"
            if key.pools and pool not in key.pools else "")
        if why:
            raise HTTPException(403, why)
        if pool not in self.roster.pools:
            raise HTTPException(404, f"there is no pool {pool}")
        return caller

    async def answer(
        self, answer: Answer, record: Record | None, key: tuple[str, str], wait: str | None,
        timeout: float,
    ) -> Registered:
        """What a member is told, now or when it is in effect."""
        applied = False
        if wait:
            applied = await self.keeper.wait_applied(key, answer.revision, timeout)
        said = Registered(revision=answer.revision, applied=applied, stored=answer.stored)
        if record is not None:
            said.address, said.lease = record.member.address, record.lease_s
            said.renew_after = pace.renew_after_s(record.lease_s)
        return said


def make(roster: Roster, keeper: Keeper, *, allow_loopback: bool) -> FastAPI:
    """The application. In front of it stands the gate, which proves who asks."""
    app = FastAPI(title="slackwater registry", version=__version__, docs_url=None, redoc_url=None,
                  description="Servers join and leave their load balancer by themselves.")
    _describe(app)
    api = _Api(roster, keeper, allow_loopback=allow_loopback)
    _routes_of_members(app, api)
    _routes_of_shares(app, api)
    _routes_to_look(app, api)
    return app


def _routes_of_members(app: FastAPI, api: _Api) -> None:
    roster = api.roster

    @app.put("/v1/pools/{pool}/members/{member}", responses=REFUSALS, openapi_extra=SIGNED)
    async def register(
        request: Request, pool: PoolName, member: MemberId, said: Registration,
        wait: Wait = None, timeout: Timeout = 5.0,
    ) -> Registered:
        """Register a member, renew its lease, or change it: always the same request."""
        caller = api.caller(request, pool, member)
        try:
            record = _record(pool, member, said, caller, roster.count,
                             allow_loopback=api.allow_loopback)
        except ValueError as error:
            raise HTTPException(422, str(error)) from None
        if why := unfit(record, roster.known_pools[pool]):
            raise HTTPException(403, why)
        try:
            done = await roster.put(record)
        except (Stale, ValueError) as error:
            raise HTTPException(409, str(error)) from None
        return await api.answer(done, record, record.member.key, wait, timeout)

    @app.delete("/v1/pools/{pool}/members/{member}", responses=REFUSALS, openapi_extra=SIGNED)
    async def deregister(
        request: Request, pool: PoolName, member: MemberId,
        wait: Wait = None, timeout: Timeout = 5.0,
    ) -> Registered:
        """Forget a member. One that is not known is forgotten already."""
        api.caller(request, pool, member)
        done = await roster.remove((pool, member))
        return await api.answer(done, None, (pool, member), wait, timeout)


def _routes_of_shares(app: FastAPI, api: _Api) -> None:
    roster, keeper = api.roster, api.keeper

    @app.put("/v1/pools/{pool}/shares", responses=REFUSALS, openapi_extra=SIGNED)
    async def divide(
        request: Request, pool: PoolName, said: Annotated[Division, Body()],
        wait: Wait = None, timeout: Timeout = 5.0,
    ) -> Divided:
        """Divide a pool's traffic among the colours of its members. For keys of administrators."""
        caller = api.caller(request, pool)
        if caller.key.role != "admin":
            raise HTTPException(403, f"the key {caller.key.name} is not for this")
        try:
            shares = Shares(tuple(sorted(said.shares.items())), said.revision)
        except ValueError as error:
            raise HTTPException(422, str(error)) from None
        try:
            kept = await roster.put_shares(pool, shares)
        except (OutsideError, TimeoutError) as error:
            raise HTTPException(503, str(error) or "the store does not answer") from None
        if not kept:
            raise HTTPException(409, "somebody else has changed the pool: its revision is "
                                     f"{roster.shares.get(pool, Shares()).revision}")
        applied = bool(wait) and await keeper.wait_applied((pool, ""), roster.revision, timeout)
        return Divided(revision=shares.revision, applied=applied)


def _routes_to_look(app: FastAPI, api: _Api) -> None:
    roster, keeper = api.roster, api.keeper

    @app.get("/v1/pools", responses=REFUSALS, openapi_extra=SIGNED)
    async def pools(request: Request) -> dict[str, Any]:
        """Every pool that the key is for."""
        key = request.scope["caller"].key
        return {"pools": [pool_report(roster, keeper, p) for p in sorted(roster.pools)
                          if not key.pools or p in key.pools], **health(roster, keeper)}

    @app.get("/v1/pools/{pool}", responses=REFUSALS, openapi_extra=SIGNED)
    async def one_pool(request: Request, pool: PoolName) -> dict[str, Any]:
        """The members of a pool, their states, and what its balancers have."""
        api.caller(request, pool)
        return pool_report(roster, keeper, pool) | health(roster, keeper)

    @app.get("/v1/health")
    async def healthy() -> dict[str, Any]:
        """Whether the registry runs, with its store and its balancers; for anybody."""
        full = health(roster, keeper)
        return {"ok": True, "store": bool(not full["store"]["away"]), "time": int(clock.unix()),
                "balancers": all(not b["trouble"] for b in full["balancers"])}


def _record(
    pool: str, member: str, said: Registration, caller: Caller, count: int, *,
    allow_loopback: bool,
) -> Record:
    """What was said, as it is kept. Raises ValueError, HTTPException."""
    address = said.address or caller.address
    made = Member(pool, member, members.plain_address(address), said.port, said.weight, said.colour,
                  said.state == "drain")
    if is_loopback(made.address) and not allow_loopback:
        raise ValueError(f"address: {made.address} is another machine for each balancer")
    key = caller.key
    elsewhere = made.address != caller.address
    if elsewhere and key.role != "admin" and not (key.networks
                                                  and lies_in(made.address, key.networks)):
        raise HTTPException(403, f"{made.address} is not the address of the caller, "
                                 f"{caller.address}, nor in the networks of the key {key.name}")
    if made.weight > key.max_weight:
        raise HTTPException(403, f"the key {key.name} allows a weight of {key.max_weight}")
    return Record(made, pace.lease_s(said.lease, count), said.boot, said.seq)


def _describe(app: FastAPI) -> None:
    """How requests are signed, for the description; and refusals in one form."""
    plain = app.openapi

    def described() -> dict[str, Any]:
        found = plain()
        found["components"].setdefault("securitySchemes", {})["signature"] = {
            "type": "apiKey", "in": "header", "name": "X-SW-Signature",
            "description": "HMAC-SHA256 in hex over method, path with query, X-SW-Time, X-SW-Nonce "
                           "and the SHA-256 of the body in hex, joined by newlines; with X-SW-Key, "
                           "the key's name.",
        }
        return found

    app.openapi = described  # type: ignore[method-assign]

    @app.exception_handler(RequestValidationError)
    async def not_valid(request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        where = ".".join(str(p) for p in first["loc"] if p not in ("body", "path", "query"))
        return JSONResponse({"detail": f"{where or 'body'}: {first['msg']}"}, 422)
