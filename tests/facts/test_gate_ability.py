"""Which way a gate takes, from what the probes said."""

import pytest

from slackwater.facts.gate import COSTS, ability_from

WORKS = {"nftables": "", "queue": "", "nft-queue": "", "xt-queue": ""}


@pytest.mark.parametrize(("failing", "way", "missing"), [
    ([], "nfqueue", []),
    (["xt-queue"], "nfqueue", []),
    (["nft-queue"], "iptables-nfqueue", ["nft-queue"]),
    (["nft-queue", "xt-queue"], "drop", ["nft-queue", "xt-queue"]),
    (["queue"], "drop", ["queue"]),
    (["nftables", "queue", "nft-queue", "xt-queue"], "", ["nftables"]),
])  # fmt: skip
def test_the_best_way_that_works_and_why_no_better(failing, way, missing):
    found = ability_from(WORKS | {name: f"no {name}" for name in failing})
    assert (found.way, found.says) == (way, COSTS[way])
    assert list(found.missing) == [f"no {name}" for name in missing]
