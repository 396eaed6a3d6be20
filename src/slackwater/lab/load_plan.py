"""What the load is asked to do, and against what."""

from __future__ import annotations

from dataclasses import dataclass, field

from slackwater.lab.wire_session import Place

TABLE = "slackwater_lab.writes"
CREATE_TABLE = (
    f"CREATE TABLE IF NOT EXISTS {TABLE} (id BIGINT AUTO_INCREMENT PRIMARY KEY,"
    # No unique key on n: a duplicate has to be visible, not impossible.
    " n BIGINT NOT NULL, kind TINYINT, KEY (n)) ENGINE=InnoDB"
)

# The kinds of client; a kind's position is what the table's column `kind` holds.
REQUEST, POOLED, TESTED = "request", "pooled", "tested"
KINDS = (REQUEST, POOLED, TESTED)


@dataclass(frozen=True)
class Target:
    """Where clients come in, who they are, and the servers behind, for looking afterwards.

    `servers` are (name, socket path or (host, port)) of both servers, reached directly.
    """

    frontends: tuple[tuple[str, int], ...]
    user: str
    password: str = field(repr=False)
    database: str = "slackwater_lab"
    servers: tuple[tuple[str, Place], ...] = ()


@dataclass(frozen=True)
class LoadPlan:
    """How much, for how long. Times are seconds, rates are per second."""

    seconds: float = 10.0
    rate: float = 1000.0  # connection-per-request writes a second, open loop
    pooled: int = 0  # pooled writers that trust their connection
    pooled_tested: int = 0  # pooled writers that ping before they use it
    pooled_rate: float = 20.0  # uses a second of each pooled writer
    transactions: float = 0.0  # share of the uses that are BEGIN, 2 INSERTs, COMMIT
    think_s: float = 0.0  # pause inside such a transaction, before its COMMIT
    connect_limit_s: float = 10.0  # until logged in; PyMySQL's default
    write_limit_s: float = 30.0
    drain_s: float = 12.0  # at the end: how long to wait for what is under way
    max_outstanding: int = 15_000  # more than that are skipped, and counted
    late_limit_s: float = 0.25  # a start later than that is skipped: no burst to catch up
    sources: int = 1  # spread over 127.0.0.1 … 127.0.0.N when the frontends are there
    catch_up_s: float = 30.0  # how long the passive may take to have every row
    until_file: str = ""  # stop as soon as this file exists

    def rejected(self) -> list[str]:
        """Every reason why this plan makes no sense."""
        found = []
        for name in ("seconds", "rate", "pooled", "pooled_tested", "pooled_rate", "think_s"):
            if getattr(self, name) < 0:
                found.append(f"{name} is negative")
        if not 0 <= self.transactions <= 1:
            found.append(f"transactions is a share from 0 to 1, not {self.transactions:g}")
        if not 1 <= self.sources <= 250:
            found.append(f"sources is 1 to 250, not {self.sources}")
        if self.rate == 0 and self.pooled == 0 and self.pooled_tested == 0:
            found.append("no client at all: give a rate or pooled writers")
        if self.pooled_rate == 0 and self.pooled + self.pooled_tested > 0:
            found.append("pooled writers need a pooled_rate above 0")
        return found
