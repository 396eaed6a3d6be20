"""A namespace of its own, a listener in it, and no rule of ours left behind."""

import asyncio

import pytest
from bench.hold.namespace import own_namespace, reason_against
from bench.hold.people import Server
from tests.outside.gate.room import PORT

from slackwater.outside.gate import gate
from slackwater.outside.gate import rules as gate_rules
from slackwater.outside.gate.netlink import Netfilter


@pytest.fixture(scope="module")
def space():
    if against := reason_against():
        pytest.skip(against)
    with own_namespace() as made:
        yield made


@pytest.fixture(scope="module")
def able(space):
    found = asyncio.run(gate.ability())
    if found.way in ("", "drop"):
        pytest.skip(f"no NFQUEUE: {'; '.join(found.missing)}")
    return found


@pytest.fixture
def server(space):
    made = Server(PORT)
    made.start()
    yield made
    made.stop()


@pytest.fixture(autouse=True)
def nothing_stays(space):
    yield
    with Netfilter() as net:
        left = gate_rules.tables(net)
        for table in left:
            gate_rules.remove(net, table)
    assert left == []
