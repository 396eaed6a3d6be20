"""Parts of the documentation that come from the code.

`python -m tests.docs.generated` renews them.
"""

from __future__ import annotations

import re
from pathlib import Path

from slackwater.cli.present import plan_text
from slackwater.facts.flavour import Flavour, Vendor
from slackwater.operations.switchover import switchover
from slackwater.outside.mysql.account import own_grants
from slackwater.rules import guardrails
from slackwater.rules.alter import advice
from slackwater.rules.alter.judge import RULES
from slackwater.rules.doctor.causes import CAUSES
from slackwater.rules.doctor.messages import CODES

ROOT = Path(__file__).resolve().parents[2]
VERSIONS = (
    ("MariaDB 10.5 to 11.x", Flavour(Vendor.MARIADB, (10, 11, 0))),
    ("MySQL 8 and 9", Flavour(Vendor.MYSQL, (9, 7, 0))),
    ("MySQL 5.7", Flavour(Vendor.MYSQL, (5, 7, 29))),
)


def plan_block() -> str:
    """The plan of a switchover, as `--plan` prints it."""
    asked = switchover.Asked(
        old="db1", new="db2", balancers=("lb1",), replicas=(),
        hold_limit_s=5.0, grace_s=1.0, lag_s=1.0,
    )
    return f"```text\n{plan_text(switchover.plan('shop', asked))}\n```"


def grants_block() -> str:
    """The grants that slackwater's account needs, for each kind of server."""
    account = "slackwater@'10.0.0.%'"
    everywhere = own_grants(VERSIONS[0][1])[0]
    lines = ["```sql", f"CREATE USER {account} IDENTIFIED BY '…';",
             f"{everywhere.format(account)};"]
    for title, flavour in VERSIONS:
        own = own_grants(flavour)
        assert own[0] == everywhere and own[-1].startswith("GRANT SELECT ON *.*")  # for `compare`
        lines += [f"-- {title}", *(f"{grant.format(account)};" for grant in own[1:-1])]
    return "\n".join([*lines, "```"])


def causes_block() -> str:
    """Every cause of the doctor, with its cure and where its trace is."""
    parts = []
    for cause in CAUSES:
        codes = ", ".join(str(n) for n, meaning in CODES.items() if cause in meaning.causes)
        parts += [f"## {cause.title}", "", f"`{cause.id}`. {cause.why}", "",
                  f"- **Cure**: {cause.cure}", f"- **Trace**: {cause.seen_by}",
                  *([f"- **Error numbers**: {codes}"] if codes else []), ""]
    return "\n".join(parts)


def alter_rules_block() -> str:
    """Every rule of `slackwater alter lint`, and its advice."""
    parts = []
    for title, rules in (("Rules", RULES), ("Advice", advice.RULES)):
        parts += [f"## {title}", ""]
        for rule in rules:
            parts += [f"### {rule.title}", "", f"`{rule.id}`. {rule.why}", ""]
            parts += [f"Instead: {rule.instead}.", ""] if rule.instead else []
    return "\n".join(parts)


BLOCKS = {
    ROOT / "README.md": ("plan", plan_block),
    ROOT / "docs/howto/prepare-a-pair.md": ("grants", grants_block),
    ROOT / "docs/reference/alter-rules.md": ("rules", alter_rules_block),
    ROOT / "docs/reference/doctor-causes.md": ("causes", causes_block),
}


def renewed(path: Path) -> str:
    """The text of a page with its block as the code has it now."""
    name, make = BLOCKS[path]
    mark, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
    text = path.read_text(encoding="utf-8")
    pattern = re.compile(re.escape(mark) + r"(.*?" + re.escape(end) + r")?", re.DOTALL)
    return pattern.sub(lambda _: f"{mark}\n{make()}\n{end}", text, count=1)


def undocumented_guardrails() -> list[str]:
    """Guardrails that docs/explanation/guardrails.md does not name."""
    text = (ROOT / "docs/explanation/guardrails.md").read_text(encoding="utf-8")
    return [r.__name__ for r in guardrails.RULES if f"`{r.__name__}`" not in text]


if __name__ == "__main__":
    for page in BLOCKS:
        page.write_text(renewed(page), encoding="utf-8")
