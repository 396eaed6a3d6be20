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


# What each driver, pool and log says, and what it is first of all.
DRIVERS = {
    "idle-timeout": (
        "PHP Warning:  mysqli::query(): MySQL server has gone away in /srv/a.php on line 7",
        "SQLSTATE[HY000]: General error: 2006 MySQL server has gone away",
        "PHP Notice:  PDO::query(): Error while sending QUERY packet. PID=4711",
        "Warning: mysqli_query(): Error reading result set's header",
        "MySQLdb.OperationalError: (2006, '')",
        "mysql.connector.errors.OperationalError: 2055: Lost connection to MySQL server at"
        " 'db:3306', system error: 32 Broken pipe",
        "peewee.OperationalError: (4031, 'The client was disconnected by the server because of"
        " inactivity. See wait_timeout and interactive_timeout for configuring this behavior.')",
        "[mysql] packets.go:122: closing bad idle connection: EOF",
        "[mysql] 2026/11/21 packets.go:37: unexpected EOF", "driver: bad connection",
        "invalid connection", "read tcp 10.0.0.1:4711->10.0.0.2:3306: read: connection reset by"
        " peer", "write tcp 10.0.0.1:4711->10.0.0.2:3306: write: broken pipe",
        "com.mysql.cj.jdbc.exceptions.CommunicationsException: Communications link failure",
        "java.io.EOFException: Can not read response from server. Expected to read 4 bytes, read 0"
        " bytes before connection was unexpectedly lost.",
        "HikariPool-1 - Failed to validate connection (No operations allowed after connection"
        " closed.). Possibly consider using a shorter maxLifetime value.",
        "Error: Connection lost: The server closed the connection. PROTOCOL_CONNECTION_LOST",
        "Error: read ECONNRESET", "Error: write EPIPE",
        "MySql.Data.MySqlClient.MySqlException: Reading from the stream has failed.",
        "System.IO.EndOfStreamException: Attempted to read past the end of the stream.",
        "MySqlConnector: Expected to read 4 header bytes but only received 0.",
        "Mysql2::Error::ConnectionError: MySQL server has gone away",
        "sqlx: error communicating with database: Connection reset by peer (os error 104)",
        "sqlx: expected to read 4 bytes, got 0 bytes at EOF",
    ),
    "server-crash": (
        "(2013, 'Lost connection to MySQL server during query ([Errno 104] Connection reset by"
        " peer)')",
        "DBD::MariaDB::db do failed: Lost connection to server during query",
        "2026-11-21T08:31:36Z mysqld got signal 11 ;",
        "InnoDB: Starting crash recovery from checkpoint LSN=42",
        "mariadb.service: Main process exited, code=killed, status=9/KILL",
    ),
    "client-misuse": (
        "Commands out of sync; you can't run this command now",
        "commands out of sync. Did you run multiple statements at once?",
        "[mysql] packets.go:446: busy buffer", "mysql.connector: Unread result found",
        "SQLSTATE[HY000]: General error: 2014 Cannot execute queries while other unbuffered"
        " queries are active.",
        "This connection is in use by: #<Thread:0x0 run>",
        "There is already an open DataReader associated with this Connection which must be closed",
        "pymysql.err.InterfaceError: (0, '')", "MySQL Connection not available.",
        "RuntimeError: readexactly() called while another coroutine is already waiting",
        "Error: Cannot enqueue Query after fatal error.",
        "Can't add new command when connection is in closed state",
        "Connection must be valid and open.", "No operations allowed after connection closed.",
    ),
    "stray-output": (
        "Error: Packets out of order. Got: 80 Expected: 1 PROTOCOL_PACKETS_OUT_OF_ORDER",
        "MySqlConnector: Packet received out-of-order. Expected 1; got 114.",
        "ERROR 2027 (HY000): Received malformed packet", "malformed packet",
        "ERROR 1156 (08S01): Got packets out of order",
    ),
    "client-timeout": (
        "java.net.SocketTimeoutException: Read timed out", "context deadline exceeded",
        "read tcp 10.0.0.1:4711->10.0.0.2:3306: i/o timeout",
        "Timeout waiting for a response from the last query. (waited 5 seconds)",
        "Error: PROTOCOL_SEQUENCE_TIMEOUT: Query inactivity timeout",
        "The Command Timeout expired before the operation completed.",
    ),
    "pool-exhausted": (
        "HikariPool-1 - Connection is not available, request timed out after 30000ms.",
        "QueuePool limit of size 5 overflow 10 reached, connection timed out, timeout 30.00",
        "Knex: Timeout acquiring a connection. The pool is probably full.",
        "could not obtain a connection from the pool within 5.000 seconds",
        "error connecting: Timeout expired.  The timeout period elapsed prior to obtaining a"
        " connection from the pool.",
        "pool timed out while waiting for an open connection",
    ),
    "lock-wait": (
        "ERROR 1205 (HY000): Lock wait timeout exceeded; try restarting transaction",
        "(1213, 'Deadlock found when trying to get lock; try restarting transaction')", "1205",
    ),
    "query-stopped": (
        "ERROR 1317 (70100): Query execution was interrupted",
        "ERROR 1969 (70100): Query execution was interrupted (max_statement_time exceeded)",
        "ERROR 3024 (HY000): Query execution was interrupted, maximum statement execution time"
        " exceeded",
    ),
    "not-running": (
        "SQLSTATE[HY000] [2002] Connection refused", "SQLSTATE[HY000] [2002] No such file or"
        " directory", "dial tcp 127.0.0.1:3306: connect: connection refused",
        "Unable to connect to any of the specified MySQL hosts.",
        "(2003, \"Can't connect to MySQL server on 'db' (timed out)\")", "connect ETIMEDOUT",
        "ERROR 2003 (HY000): Can't connect to MySQL server on 'db:3306' (110)",
        "dial tcp: lookup db on 10.0.0.53:53: no such host", "getaddrinfo ENOTFOUND db",
        "The last packet sent successfully to the server was 0 milliseconds ago. The driver has"
        " not received any packets from the server.",
    ),
    "tls-or-plugin": (
        "The server requested authentication method unknown to the client [caching_sha2_password]",
        "ER_NOT_SUPPORTED_AUTH_MODE: Client does not support authentication protocol requested by"
        " server", "this user requires mysql native password authentication.",
        "ERROR 2026 (HY000): TLS/SSL error: certificate verify failed",
        "x509: certificate signed by unknown authority",
    ),
    "slow-login": (
        "ERROR 2013 (HY000): Lost connection to server at 'reading authorization packet', system"
        " error: 0",
        "ERROR 2013 (HY000): Lost connection to MySQL server at 'sending authentication"
        " information', system error: 32",
    ),
    "server-shutdown": (
        "ERROR 1053 (08S01): Server shutdown in progress",
        "[Warning] [MY-010909] [Server] mysqld: Forcing close of thread 12  user: 'app'.",
        "2026-11-21 8:31 0 [Note] mariadbd (initiated by: root[root] @ localhost []): Normal"
        " shutdown",
    ),
    "killed": ("ERROR 1927 (70100): Connection was killed",
               "3169: The session was killed because of an operator"),
    "oom-kill": ("Memory cgroup out of memory: Killed process 4711 (mariadbd) total-vm:1234kB",),
    "too-many-connections": ("Error 1040: Too many connections", "1203",
                             "User app already has more than 'max_user_connections' active"),
    "dns": ("ERROR 1042 (HY000): Can't get hostname for your address",
            "[Warning] IP address '10.0.0.7' could not be resolved: Name or service not known"),
    "packet-too-big": ("PacketTooBigException: Packet for query is too large (1,234 > 1,048,576).",
                       "ERROR 1153 (08S01): Got a packet bigger than 'max_allowed_packet' bytes",),
    "client-vanished": (
        "Aborted connection 7 to db: 'd' user: 'u' host: 'h' (Got an error reading communication"
        " packets)", "1158", "1160", "1184"),
    "client-not-reading": ("Got timeout writing communication packets", "1161"),
    "offline-mode": ("ERROR 3032 (HY000): The server is currently in offline mode",),
    "no-resources": ("ERROR 1135 (HY000): Can't create a new thread (errno 11)",
                     "[ERROR] Error in accept: Too many open files"),
    "access-denied": ("ERROR 1045 (28000): Access denied for user 'u'@'h' (using password: YES)",
                      "Host '10.0.0.7' is not allowed to connect to this MariaDB server"),
}


@pytest.mark.parametrize(("first", "text"), [(f, t) for f, ts in DRIVERS.items() for t in ts])
def test_what_drivers_pools_and_logs_say(first: str, text: str) -> None:
    found = explain(text)
    assert found and found.causes[0].id == first, found


def test_what_a_text_tells_besides() -> None:
    found = explain("Packet sequence number wrong - got 45 expected 1")
    assert found and "the letter '-'" in found.more[0]
    found = explain("The last packet successfully received from the server was 28,800,123"
                    " milliseconds ago. Communications link failure")
    assert found and "wait_timeout" in found.more[0]
    found = explain("(2003, \"Can't connect to MySQL server on 'h' ([Errno 113] No route)\")")
    assert found and "no route" in found.more[0]
    found = explain("Lost connection to MySQL server at 'reading initial communication packet',"
                    " system error: 104")
    assert found and "reset" in found.more[0] and found.causes[0].id == "too-many-connections"


def test_unknown_words_are_not_guessed() -> None:
    assert explain("the moon is full") is None
    assert explain("2026-11-21 something happened") is None
    assert explain("ERROR 1064 (42000): You have an error in your SQL syntax") is None


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
