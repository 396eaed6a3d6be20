"""Settings of the new server that keep out clients whom the old one lets in.

slackwater itself passes them: its account may, or its way there is another.
"""

from __future__ import annotations

from collections.abc import Iterator

from slackwater.facts.server import ServerFacts, is_on


def bars(old: ServerFacts, new: ServerFacts) -> Iterator[str]:
    """Each such setting, what clients would meet, and what to do."""
    def only_new(name: str) -> bool:
        return is_on(new.variables.get(name)) and not is_on(old.variables.get(name))

    if is_on(new.variables.get("offline_mode")):
        yield (f"{new.name}: offline_mode is on: clients would get error 3032 there; "
               "SET GLOBAL offline_mode = OFF")
    if only_new("require_secure_transport"):
        yield (f"{new.name}: require_secure_transport is on, and not on {old.name}: clients "
               "without TLS would get error 3159 (MariaDB: 1045) there; make it the same on both")
    # MySQL 5.7 has both names.
    read = next(filter(only_new, ("transaction_read_only", "tx_read_only")), None)
    if read:
        yield (f"{new.name}: {read} is on: writes of new sessions would get error 1792 there; "
               f"SET GLOBAL {read} = OFF")
    there, here = (int(s.variables.get("max_user_connections") or 0) for s in (new, old))
    if there and (not here or there < here):
        yield (f"{new.name} allows {there} connections an account (max_user_connections), "
               f"{old.name} {here or 'any number'}: make them equal")
