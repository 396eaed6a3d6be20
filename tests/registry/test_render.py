"""No accepted member changes the meaning of a balancer's file: the real balancers are asked."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.registry.rig import KINDS, Balancer, needs

from slackwater.facts.members import COLOUR_FORM, ID_FORM, Member, Shares
from slackwater.facts.pools import Pool
from slackwater.outside.registry import apache, haproxy, nginx
from slackwater.rules.registry import colours

RENDER = {"haproxy": haproxy.render, "apache": apache.render, "nginx": nginx.render}
ADDRESSES = st.one_of(st.ip_addresses(v=4).map(str), st.ip_addresses(v=6).map(str))
WORDS = st.one_of(st.from_regex(ID_FORM.replace("$", r"\Z"), fullmatch=True),
                  st.sampled_from(["server", "down", "default", "weight", "0", "status.-", "a..b",
                                   "backend", "x-1_", "A" * 63, "9"]))
ROWS = st.lists(st.tuples(WORDS, ADDRESSES, st.integers(1, 65535), st.integers(1, 100),
                          st.from_regex(COLOUR_FORM.replace("$", r"\Z"), fullmatch=True),
                          st.booleans()), max_size=8)
ENTRY = {
    "haproxy": re.compile(r"^    server (\S+) (\S+) weight \d+ check", re.MULTILINE),
    "apache": re.compile(r'^    BalancerMember "http://([^"]+)" route=(\S+) ', re.MULTILINE),
    "nginx": re.compile(r"^    server (\S+) weight=\d+ [^;#]+; # (\S+)$", re.MULTILINE),
}


def accepted(rows: list[tuple[str, str, int, int, str, bool]]) -> list[Member]:
    found = {}
    for name, address, port, weight, colour, draining in rows:
        try:
            found[name] = Member("web", name, address, port, weight, colour, draining)
        except ValueError:
            continue
    return list(found.values())


@pytest.mark.servers
@pytest.mark.parametrize("kind", KINDS)
def test_each_file_is_taken_and_says_what_is_meant(
    kind: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    needs(kind)
    room = tmp_path_factory.mktemp("r")
    balancer = Balancer(kind, room / kind)
    pools = [Pool("web", check="/health"), Pool("other")]

    @settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
    @given(ROWS)
    def each(rows: list[tuple[str, str, int, int, str, bool]]) -> None:
        members = accepted(rows)
        view = colours.view("web", members, {m.id for m in members if not m.draining}, Shares())
        text = RENDER[kind](pools, [view])
        balancer.file.write_text(text)
        check = subprocess.run(_check(balancer), capture_output=True, text=True, check=False,
                               timeout=60)
        assert check.returncode == 0, f"{text}\n{check.stdout}{check.stderr}"
        found = {frozenset(pair) for pair in ENTRY[kind].findall(text)}
        assert found == {frozenset((t.id, t.endpoint)) for t in view.targets}
        assert len(text.splitlines()) == len(RENDER[kind](pools, []).splitlines()) + max(
            0, len(view.targets) - (kind == "nginx" and bool(view.targets)))

    each()


def _check(balancer: Balancer) -> list[str]:
    return {
        "haproxy": ["haproxy", "-c", "-q", "-f", str(balancer.main), "-f", str(balancer.file)],
        "apache": ["apache2", "-d", str(balancer.directory), "-f", str(balancer.main), "-t"],
        "nginx": ["nginx", "-t", "-q", "-c", str(balancer.main)],
    }[balancer.kind]


def test_the_state_of_servers_is_read_by_its_head() -> None:
    head = "1\n# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_uweight " \
           "srv_port"
    seen = haproxy.parse_state(f"{head}\n3 web 1 w1 10.0.0.7 2 8 10 8080\n\n")
    assert seen["w1"].idle and seen["w1"].port == 8080
    assert haproxy.parse_state(f"{head}\n") == {}
    with pytest.raises(ValueError, match="find"):
        haproxy.parse_state("Can't find backend.\n\n")


def test_what_is_so_needs_no_command() -> None:
    member = Member("web", "w1", "10.0.0.7", 80)
    view = colours.view("web", [member], {"w1"}, Shares())
    seen = {"w1": haproxy.Seen("10.0.0.7", 80, 10, 0)}
    assert list(haproxy.changes("web", view, seen)) == []


def test_a_file_that_is_refused_is_not_put_in_place(tmp_path: Path) -> None:
    import asyncio

    from slackwater.errors import OutsideError
    from slackwater.outside.registry.balancer import Files

    place = tmp_path / "file"
    place.write_text("what works\n")
    files = Files(place, ("sh", "-c", "echo no good; exit 1"), ("true",))
    with pytest.raises(OutsideError, match="no good"):
        asyncio.run(files.place("x", "something else\n"))
    assert place.read_text() == "what works\n"
