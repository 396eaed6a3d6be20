"""What a replica's error means, and what to do about it."""

from __future__ import annotations

import re

# A number that is not at the beginning may be one of a transaction or of a place in a log.
_MEANINGS = (
    (r"^1045\b|Access denied", "the source does not know the replication account, or its password "
     "is another one: run `slackwater pair setup` again, which sets it, or compare "
     "accounts.replication.password_file"),
    (r"^2061\b|caching_sha2", "the account's password cannot be sent without TLS"),
    (r"^1593\b|equal .*server ids", "both have the same server id"),
    (r"^(3158|3159|2026)\b|REQUIRE_SECURE|SSL connection error|TLS",
     "TLS between them does not work: look at ssl_cert, ssl_key and ssl_ca of the source"),
    (r"(^|error )1236\b.*(purged|not find GTID|Could not find|missing)|^13121\b|^13114\b.*purged",
     "the source's binary log no longer has what the replica needs: its data has to be copied "
     "anew, allow it with --overwrite"),
    (r"(^|error )1236\b.*(not in the master|which is not|diverged|connecting slave requested)"
     r"|errant",
     "the replica has transactions that the source never had (errant GTIDs)"),
    (r"^(200[2-5]|2013)\b|\((110|111|113)\b",
     "the source's port cannot be reached from there: look at firewalls and at bind_address"),
    (r"^(1062|1032|1146|1050)\b", "its data is not what the source's changes are for: "
     "it has to be copied anew, allow it with --overwrite"),
)


def explain(replica: str, source: str, error: str) -> str:
    """One text for people: who, what it means, and the server's own words."""
    meaning = next((says for pattern, says in _MEANINGS if re.search(pattern, error)), "")
    said = f"{replica} does not replicate from {source}"
    return f"{said}: {meaning} ({error})" if meaning else f"{said}: {error}"
