"""Causes that need the kernel's or another version's help: memory, TLS, plugins, and each client's
own words for what happened to it."""

from __future__ import annotations

import contextlib
import os
import ssl
import subprocess
from functools import partial
from pathlib import Path

import pymysql
import pytest
from tests.doctor.clients import LANGUAGES, Client, client
from tests.doctor.conftest import options
from tests.doctor.doctor import causes, evidence, finding
from tests.doctor.memory_group import memory_group
from tests.doctor.test_server import app, ask, named
from tests.servers.fixtures import sql
from tests.servers.patience import PATIENCE, eventually

from slackwater.lab.instance import Instance
from slackwater.outside import server_programs as programs
from slackwater.rules.doctor.explain import explain

pytestmark = pytest.mark.servers


@options("--max-allowed-packet=1G")
def test_the_kernel_kills_it_for_lack_of_memory(it: Instance) -> None:
    """A real kill: its memory cgroup has too little for one statement."""
    with contextlib.suppress(OSError), Path("/dev/kmsg").open("rb"):
        with memory_group(200 << 20) as group:
            link = app(it, max_allowed_packet=1 << 30)
            (group / "cgroup.procs").write_text(str(it.pid))
            with pytest.raises(pymysql.err.OperationalError):
                link.query("SELECT LENGTH(REPEAT('x', 900000000))")
            assert it.process and it.process.wait_gone(20 * PATIENCE)
            link._force_close()
        it.start(60 * PATIENCE)
        said = ask(it)
        named(said, "oom-kill")
        assert "out of memory" in evidence(said, "oom-kill").lower()
        return
    pytest.skip("the kernel's log may not be read here")


@options("--tls-version=TLSv1.3")
def test_no_common_version_of_tls(it: Instance) -> None:
    if it.program.is_mariadb or it.program.version < (8,):
        pytest.skip("MariaDB 10 has no certificate of its own, MySQL 5.7 no TLS 1.3")
    old = ssl.create_default_context()
    old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
    old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises((pymysql.err.OperationalError, ssl.SSLError)) as caught:
        app(it, ssl=old)
    found = explain(str(caught.value))
    assert found and found.causes[0].id == "tls-or-plugin"
    said = ask(it)
    assert finding(said, "tls-or-plugin")["sure"] == "possible"
    assert causes(said, "certain", "likely") == set(), said["findings"]


def test_a_client_of_a_version_that_does_not_agree(it: Instance) -> None:
    """MySQL 9's client has no mysql_native_password any more; MariaDB's accounts have."""
    nine = next((p for p in programs.installed() if p.name == "mysql-9.7"), None)
    tool = nine and nine.tool("mysql")
    if tool is None or it.program.name == "mysql-9.7":
        pytest.skip("MySQL 9's client with another server")
    done = subprocess.run(
        [str(tool), "--no-defaults", "-h127.0.0.1", f"-P{it.port}", "-uapp", "-e", "SELECT 1"],
        env={**os.environ, "MYSQL_PWD": "geheim"}, capture_output=True, text=True, check=False,
        timeout=60 * PATIENCE)
    assert done.returncode and "2059" in done.stderr, done.stderr
    found = explain(done.stderr)
    assert found and found.causes[0].id == "tls-or-plugin"
    said = ask(it)
    assert causes(said, "certain", "likely") == set(), said["findings"]
    if it.program.is_mariadb:  # MySQL 5.7 counts it as it counts a port scan
        assert finding(said, "tls-or-plugin")["sure"] == "possible"


def test_each_client_in_its_own_words(it: Instance) -> None:
    """What Perl, PHP, Python and C say when their session was ended: explained with its cause."""
    def lost(one: Client, word: str, cause: str) -> None:
        said = one.say(word)
        assert said.startswith("error"), said
        found = explain(said)
        assert found and cause in [c.id for c in found.causes], said

    def gone(one: Client) -> bool:
        return not sql(it.socket, "SELECT 1 FROM information_schema.PROCESSLIST WHERE ID = %s",
                       one.session_id)

    with contextlib.ExitStack() as idle:
        sql(it.socket, "SET GLOBAL wait_timeout = 1")
        resting = [idle.enter_context(client(language, "open", "", it.port))
                   for language in LANGUAGES]
        sql(it.socket, "SET GLOBAL wait_timeout = 28800")
        for language in LANGUAGES:
            with client(language, "open", "", it.port) as one:
                sql(it.socket, "KILL %s", one.session_id)
                eventually(lambda: gone(one), "it was killed")
                lost(one, "query", "killed")
            with client(language, "open", "", it.port) as one:
                lost(one, "big", "packet-too-big")
            with client(language, "closed", "", it.port) as one:
                assert one.say("warn") == "warned"
                lost(one, "query", "stray-output")
        for one in resting:
            eventually(partial(gone, one), "the server closed it")
            lost(one, "query", "idle-timeout")
