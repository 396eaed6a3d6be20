"""Whether a replica can begin with a snapshot: whose it is, what its source still has, and settings
of the two servers."""

from __future__ import annotations

from collections.abc import Collection

from slackwater.facts import gtid
from slackwater.facts.seed import Seed
from slackwater.facts.setup import ServerSetup
from slackwater.rules.setup.data import gone_for, missing

# Data that was written with one value cannot be read, or not rightly, with another.
_SAME = ("innodb_page_size", "innodb_data_file_path", "lower_case_table_names")
# A snapshot is one directory: a server whose files are in several has no place for it.
_PLACES = ("innodb_data_home_dir", "innodb_log_group_home_dir", "innodb_undo_directory",
           "aria_log_dir_path")


def why_not(
    seed: Seed, source: ServerSetup, target: ServerSetup, servers: Collection[str]
) -> list[str]:
    """Every reason why the target cannot begin with it and then replicate from the source."""
    return [*_whose(seed, source, servers), *_reaches(seed, source), *_fits(seed, target)]


def _whose(seed: Seed, source: ServerSetup, servers: Collection[str]) -> list[str]:
    if seed.server not in servers:
        return [f"it is of {seed.server}, which is none of these servers ({', '.join(servers)})"]
    now = source.variables.get("server_uuid", "")
    if seed.server == source.name and seed.uuid and now != seed.uuid:
        return [f"it is of another server: {source.name}'s server_uuid was {seed.uuid} then, and is"
                f" {now}"]
    return []


def _reaches(seed: Seed, source: ServerSetup) -> list[str]:
    if seed.flavour.vendor is not source.flavour.vendor:
        return []  # said elsewhere
    has = gtid.parse(seed.gtids, seed.flavour)
    if extra := missing(source, has):
        return [f"it has transactions that {source.name} has not ({extra}): it is no copy of"
                f" {source.name}'s data, or {source.name} has lost some"]
    if lost := gone_for(source, has):
        return [f"it is too old: what came after it is no longer in {source.name}'s binary log"
                f" ({lost}, purged); take a new one"]
    return []


def _fits(seed: Seed, target: ServerSetup) -> list[str]:
    name, reasons = target.name, []
    if not seed.flavour.same_series(target.flavour) or target.flavour < seed.flavour:
        reasons.append(f"it is of {seed.flavour}, and {name} is {target.flavour}: the same series,"
                       " and no older release, can read its files")
    reasons += [
        f"it was written with {setting} = {seed.settings[setting]}, and {name} has"
        f" {target.variables[setting]}"
        for setting in _SAME
        if setting in seed.settings and setting in target.variables
        and seed.settings[setting] != target.variables[setting]
    ]
    home = target.variables.get("datadir", "").rstrip("/")
    reasons += [
        f"{name} keeps files outside of its data directory: {setting} = {value}"
        for setting in _PLACES
        if (value := target.variables.get(setting, "")).rstrip("/") not in ("", ".", home)
    ]
    return reasons
