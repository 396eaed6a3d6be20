"""The statements that make slackwater's accounts, for each kind of server."""

from __future__ import annotations

from slackwater.config import Config, Group
from slackwater.facts.flavour import Flavour, Vendor
from slackwater.operations.setup.accounts import own_hosts, replication_hosts
from slackwater.outside.mysql.account import alter_grants, own_grants
from slackwater.outside.mysql.setup import quoted
from slackwater.outside.mysql.setup_dialect import setup_dialect

KINDS = (
    ("MariaDB 10.5 to 11.x", Flavour(Vendor.MARIADB, (10, 11, 0))),
    ("MySQL 8 and 9", Flavour(Vendor.MYSQL, (9, 7, 0))),
    ("MySQL 5.7", Flavour(Vendor.MYSQL, (5, 7, 29))),
)


def statements(config: Config, group: Group, alter: str = "") -> str:
    """For people to run on every server; passwords are theirs to fill in. `alter`: a database
    whose schema is to be changed."""
    lines = ["SET SESSION sql_log_bin = 0;"]
    repl, own = config.accounts.replication, config.accounts.slackwater
    names = [quoted(own.user, h) for h in own_hosts(config, group.servers)]
    replicas = [quoted(repl.user, h) for h in replication_hosts(config, group.servers)
                ] if repl else []
    require = " REQUIRE SSL" if repl and repl.require_tls else ""
    lines += [f"CREATE USER {n} IDENTIFIED BY '…'{require};" for n in replicas]
    lines += [f"CREATE USER {n} IDENTIFIED BY '…';" for n in names]
    for title, flavour in KINDS:
        speaks = setup_dialect(flavour)
        rights = ", ".join((*speaks.replication_rights, *speaks.donor_rights))
        lines.append(f"-- {title}")
        lines += [f"GRANT {rights} ON *.* TO {n};" for n in replicas]
        grants = [*own_grants(flavour), *(alter_grants(flavour, alter) if alter else [])]
        lines += [f"{grant.format(n)};" for n in names for grant in grants]
    return "\n".join(lines)
