"""Messages of clients and drivers as they are in the wild."""

from __future__ import annotations

import json
import subprocess

import pytest
from tests.doctor.doctor import COMMAND

from slackwater.rules.doctor.explain import explain
from slackwater.rules.doctor.messages import CODES


@pytest.mark.parametrize(("text", "first"), [
    ("2006", "idle-timeout"),
    ("ERROR 2006 (HY000): MySQL server has gone away", "idle-timeout"),
    ("(2006, \"MySQL server has gone away (BrokenPipeError(32, 'Broken pipe'))\")", "idle-timeout"),
    ("DBD::mysql::st execute failed: MySQL server has gone away", "idle-timeout"),
    ("ERROR 4031 (HY000): The client was disconnected by the server because of inactivity.",
     "idle-timeout"),
    ("Packet sequence number wrong - got 45 expected 1", "stray-output"),
    ("Packets out of order. Expected 1 received 58. Packet size=1852", "stray-output"),
    ("ERROR 2013 (HY000): Lost connection to MySQL server at 'reading initial communication"
     " packet', system error: 0", "too-many-connections"),
    ("Lost connection to MySQL server during query (timed out)", "client-timeout"),
    ("(1040, 'Too many connections')", "too-many-connections"),
    ("Host '10.0.0.7' is blocked because of many connection errors; unblock with 'mysqladmin"
     " flush-hosts'", "host-blocked"),
    ("Got a packet bigger than 'max_allowed_packet' bytes", "packet-too-big"),
    ("com.mysql.cj.jdbc.exceptions.CommunicationsException: Communications link failure",
     "server-crash"),
    ("packets.go:36: unexpected EOF", "server-crash"),
    ("Error: Connection lost: The server closed the connection. PROTOCOL_CONNECTION_LOST",
     "server-crash"),
    ("2026-11-21  8:31:36 4 [Warning] Aborted connection 4 to db: 'd' user: 'u' host: 'h' (Got"
     " timeout reading communication packets)", "idle-timeout"),
    ("Authentication plugin 'caching_sha2_password' cannot be loaded", "tls-or-plugin"),
    ("connect ECONNREFUSED 127.0.0.1:3306", "not-running"),
    ("3024", "query-stopped"),
    ("(2006, \"MySQL server has gone away (SSLEOFError(8, 'EOF occurred in violation of protocol"
     " (_ssl.c:2427)'))\")", "idle-timeout"),
    ("ERROR 1045 (28000): Plugin caching_sha2_password could not be loaded: libc.so.6: version"
     " `GLIBC_2.33' not found", "tls-or-plugin"),
    ("ERROR 2059 (HY000): Authentication plugin 'mysql_native_password' cannot be loaded",
     "tls-or-plugin"),
    ("(2003, \"Can't connect to MySQL server on '127.0.0.1' ([SSL: TLSV1_ALERT_PROTOCOL_VERSION]"
     " tlsv1 alert protocol version)\")", "tls-or-plugin"),
])  # fmt: skip
def test_what_a_message_means(text: str, first: str) -> None:
    found = explain(text)
    assert found and found.causes[0].id == first


def test_what_a_text_tells_besides() -> None:
    found = explain("Packet sequence number wrong - got 45 expected 1")
    assert found and "the letter '-'" in found.more[0]
    found = explain("The last packet successfully received from the server was 28,800,123"
                    " milliseconds ago. Communications link failure")
    assert found and "wait_timeout" in found.more[0]


def test_unknown_words_are_not_guessed() -> None:
    assert explain("the moon is full") is None
    assert explain("2026-11-21 something happened") is None


@pytest.mark.parametrize("code", CODES)
def test_every_number_alone_is_explained(code: int) -> None:
    found = explain(str(code))
    assert found and found.code == code and found.causes


def test_the_command() -> None:
    done = subprocess.run([*COMMAND, "explain", "1129", "--json"], capture_output=True, text=True,
                          check=True, timeout=60)
    assert json.loads(done.stdout)["causes"][0]["id"] == "host-blocked"
    done = subprocess.run([*COMMAND, "explain", "the", "moon"], capture_output=True, text=True,
                          check=False, timeout=60)
    assert done.returncode == 64 and "number" in done.stderr
