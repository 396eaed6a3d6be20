"""`balancer show` and `install`: whose balancer it is, and who is active; never a guess."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from slackwater.cli.balancer import active_of, app
from slackwater.errors import UsageError

GONE = {"b": "server b (10.0.0.2:3306): no route to host"}


@pytest.mark.parametrize(("a", "b", "silent", "written", "active"), [
    (True, False, {}, None, "a"),
    (True, False, {}, "a", "a"),
    (True, False, {}, "b", None),  # a stale file: a reload would send clients to b
    (False, False, {}, "a", None),
    (True, True, {}, "a", None),
    (True, None, GONE, "a", "a"),
    (True, None, GONE, None, None),  # b may accept them too
    (True, None, GONE, "b", None),
    (True, False, GONE, None, "a"),  # b does not run
    (False, None, GONE, "b", "b"),
    (False, None, GONE, "a", None),
    (None, None, {"a": "no answer", **GONE}, "a", "a"),
    (None, None, {"a": "no answer", **GONE}, None, None),
])
def test_who_is_active(
    a: bool | None, b: bool | None, silent: dict[str, str], written: str | None, active: str | None
) -> None:
    found, why_not = active_of(("a", "b"), {"a": a, "b": b}, silent, written)
    assert found == active
    assert (why_not == []) == (active is not None)
    for name, why in silent.items():
        assert active or f"{name} cannot be asked: {why}" in why_not


def test_a_balancer_is_of_one_pair(tmp_path: Path) -> None:
    """The file of a pair never gets the servers of another one."""
    text = "".join(f"""
[servers.{n}]
address = "10.0.0.{i}:3306"
""" for i, n in enumerate("abcd", 1)) + """
[accounts.slackwater]
password_env = "SLACKWATER_TEST_PW"
""" + "".join(f"""
[balancers.lb{i}]
runtime = "unix:/run/haproxy/admin.sock"
frontend = "10.0.0.9:330{i}"
pin = "unix:/run/haproxy/pin{i}.sock"
holds_map = "/etc/haproxy/holds{i}.map"
config_file = "{tmp_path}/lb{i}.cfg"
""" for i in (1, 2, 3)) + """
[pairs.one]
servers = ["a", "b"]
balancers = ["lb1"]
[pairs.two]
servers = ["c", "d"]
balancers = ["lb2"]
"""
    file = tmp_path / "slackwater.toml"
    file.write_text(text)

    def show(*words: str) -> str:
        done = CliRunner().invoke(app, ["show", *words, "--config", str(file)],
                                  catch_exceptions=False)
        return done.stdout

    assert "server a 10.0.0.1:3306" in show("lb1", "--active", "a")  # its pair need not be named
    assert "server d 10.0.0.4:3306" in show("lb2", "--active", "c", "--pair", "two")
    for command in ("show", "install"):
        with pytest.raises(UsageError, match="lb1 is not one of pair two, but of pair one"):
            CliRunner().invoke(app, [command, "lb1", "--pair", "two", "--active", "c", "--config",
                                     str(file)], catch_exceptions=False)
    with pytest.raises(UsageError, match="lb3 is of no pair"):
        show("lb3", "--pair", "one", "--active", "a")
    assert not list(tmp_path.glob("*.cfg"))
