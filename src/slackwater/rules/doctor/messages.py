"""What the error numbers and texts of clients mean. The numbers are MySQL's and MariaDB's own."""

from __future__ import annotations

import re
from dataclasses import dataclass

from slackwater.facts.doctor.finding import Cause
from slackwater.rules.doctor import causes as c


@dataclass(frozen=True)
class Meaning:
    """One message. `causes` are the possible ones, the most usual first."""

    says: str
    causes: tuple[Cause, ...]


_LOST = (c.IDLE_TIMEOUT, c.SERVER_SHUTDOWN, c.KILLED, c.STRAY_OUTPUT, c.FORKED, c.PACKET_TOO_BIG,
         c.PROXY_CLOSED, c.MIDDLEBOX, c.SERVER_CRASH, c.OOM_KILL)
_NO_SERVER = (c.NOT_RUNNING, c.SERVER_CRASH, c.SERVER_SHUTDOWN)

CODES = {
    1040: Meaning("Too many connections: max_connections was reached.", (c.TOO_MANY,)),
    1042: Meaning("The server could not resolve the client's address.", (c.DNS,)),
    1043: Meaning("Bad handshake: TLS on one side only, or not a MySQL client.",
                  (c.TLS_OR_PLUGIN, c.NOT_A_CLIENT)),
    1044: Meaning("This account may not use that database.", (c.ACCESS_DENIED,)),
    1045: Meaning("Access denied: wrong password, or no such account from that host.",
                  (c.ACCESS_DENIED,)),
    1053: Meaning("The server is being shut down.", (c.SERVER_SHUTDOWN,)),
    1077: Meaning("The server shut down in order.", (c.SERVER_SHUTDOWN,)),
    1129: Meaning("This client's host is blocked, after max_connect_errors broken handshakes.",
                  (c.HOST_BLOCKED, c.NOT_A_CLIENT)),
    1130: Meaning("No account may come from this host.", (c.ACCESS_DENIED, c.DNS)),
    1152: Meaning("The server aborted a connection.", (c.CLIENT_VANISHED, c.IDLE_TIMEOUT)),
    1153: Meaning("The statement was bigger than max_allowed_packet; the server hung up.",
                  (c.PACKET_TOO_BIG,)),
    1156: Meaning("The server got bytes that are no protocol, and hung up.",
                  (c.STRAY_OUTPUT, c.FORKED, c.FOREIGN_BYTES)),
    1158: Meaning("The server lost the client while it read from it.",
                  (c.CLIENT_VANISHED, c.MIDDLEBOX)),
    1159: Meaning("The server waited too long for the client.",
                  (c.IDLE_TIMEOUT, c.IDLE_TRANSACTION)),
    1160: Meaning("The server lost the client while it wrote to it.",
                  (c.CLIENT_VANISHED, c.CLIENT_NOT_READING)),
    1161: Meaning("The client did not take its answer in net_write_timeout.",
                  (c.CLIENT_NOT_READING,)),
    1184: Meaning("The server aborted a connection.", (c.CLIENT_VANISHED, c.IDLE_TIMEOUT)),
    1203: Meaning("This user has max_user_connections connections.", (c.TOO_MANY,)),
    1226: Meaning("This account is over a limit of its own (MAX_USER_CONNECTIONS and the like).",
                  (c.TOO_MANY,)),
    1251: Meaning("The client is too old for the account's authentication.", (c.TLS_OR_PLUGIN,)),
    1317: Meaning("A statement was interrupted; the connection lives.", (c.QUERY_STOPPED,)),
    1698: Meaning("Access denied by a plugin such as unix_socket.", (c.ACCESS_DENIED,)),
    1835: Meaning("The server got a malformed packet.", (c.FOREIGN_BYTES, c.FORKED)),
    1927: Meaning("The session was ended with KILL.", (c.KILLED,)),
    1969: Meaning("max_statement_time ended the statement; the connection lives.",
                  (c.QUERY_STOPPED,)),
    2002: Meaning("No connection to the server's socket.", _NO_SERVER),
    2003: Meaning("No connection to the server's port.", _NO_SERVER),
    2005: Meaning("The server's name could not be resolved.", (c.NOT_RUNNING,)),
    2006: Meaning("The connection was closed before this statement was sent.", _LOST),
    2013: Meaning("The connection was lost while a statement ran or was sent.",
                  (c.SERVER_CRASH, c.OOM_KILL, c.KILLED, c.SERVER_SHUTDOWN, c.CLIENT_TIMEOUT,
                   c.IDLE_TIMEOUT, c.STRAY_OUTPUT, c.FORKED, c.PACKET_TOO_BIG, c.SILENT_DROP,
                   c.MIDDLEBOX)),
    2014: Meaning("Commands out of sync: the client used a connection that was not free.",
                  (c.OUT_OF_ORDER, c.FORKED)),
    2020: Meaning("An answer was bigger than the client's own max_allowed_packet.",
                  (c.PACKET_TOO_BIG,)),
    2026: Meaning("TLS failed.", (c.TLS_OR_PLUGIN, c.STRAY_OUTPUT)),
    2027: Meaning("The client got a malformed packet.", (c.FORKED, c.OUT_OF_ORDER)),
    2055: Meaning("The connection was lost; the message tells the system's error.", _LOST),
    2059: Meaning("The client lacks the account's authentication plugin.", (c.TLS_OR_PLUGIN,)),
    2061: Meaning("The authentication plugin wants TLS or the server's public key.",
                  (c.TLS_OR_PLUGIN,)),
    3024: Meaning("max_execution_time ended the statement; the connection lives.",
                  (c.QUERY_STOPPED,)),
    3032: Meaning("The server is in offline mode.", (c.SERVER_SHUTDOWN,)),
    3159: Meaning("The server insists on TLS (require_secure_transport).", (c.TLS_OR_PLUGIN,)),
    3169: Meaning("The session was ended with KILL.", (c.KILLED,)),
    4031: Meaning("The server closed the session, which had asked nothing for wait_timeout.",
                  (c.IDLE_TIMEOUT,)),
}

# The first that matches decides; texts of clients, drivers and the server's error log.
TEXTS: tuple[tuple[re.Pattern[str], Meaning], ...] = tuple(
    (re.compile(pattern, re.IGNORECASE), meaning) for pattern, meaning in (
        (r"got timeout reading communication packets|disconnected by the server because of"
         r" inactivity|Idle timeout|wait_timeout", CODES[4031]),
        (r"got a packet bigger than|Packet for query is too large|max_allowed_packet", CODES[1153]),
        (r"timeout writing communication packets", CODES[1161]),
        (r"error writing communication packets", CODES[1160]),
        (r"error reading communication packets", CODES[1158]),
        (r"packets? out of order|packet sequence number wrong|sequence_id|malformed packet"
         r"|mysqlnd cannot.*sync|busy buffer", Meaning(
             "Bytes of somebody else were in the connection, or two used it at once.",
             (c.STRAY_OUTPUT, c.FORKED, c.OUT_OF_ORDER, c.FOREIGN_BYTES))),
        (r"commands out of sync|unread result found|cannot execute queries while", CODES[2014]),
        (r"reading initial communication packet", Meaning(
            "The server, or a proxy before it, closed or hung before its greeting.",
            (c.TOO_MANY, c.HOST_BLOCKED, c.DNS, c.NOT_RUNNING, c.SLOW_LOGIN))),
        (r"reading authorization packet|reading final connect information|waiting for initial"
         r" communication", Meaning("The connection was lost during the login.",
                                    (c.SLOW_LOGIN, c.TLS_OR_PLUGIN, c.DNS))),
        (r"alert[_ ]unexpected[_ ]message", Meaning(
            "Bytes that were not encrypted came into a connection with TLS.",
            (c.STRAY_OUTPUT, c.FORKED, c.FOREIGN_BYTES))),
        (r"connection was killed|session was killed", CODES[1927]),
        (r"this connection closed normally without authentication", Meaning(
            "Something connected to the server and did not log in.", (c.NOT_A_CLIENT,))),
        (r"too many connections", CODES[1040]),
        (r"is blocked because of many connection errors", CODES[1129]),
        (r"access denied", CODES[1045]),
        (r"caching_sha2|authentication plugin|Public Key Retrieval", CODES[2059]),
        (r"ssl|tls|certificate", CODES[2026]),
        (r"max_statement_time|maximum statement execution|query execution was interrupted",
         CODES[1317]),
        (r"out of memory: killed process|oom-kill", Meaning(
            "The kernel killed a process for lack of memory.", (c.OOM_KILL,))),
        (r"mysqld got signal|got exception", Meaning("The server crashed.", (c.SERVER_CRASH,))),
        (r"timed? ?out|ETIMEDOUT|timeout|deadline exceeded", Meaning(
            "The client gave up waiting.", (c.CLIENT_TIMEOUT, c.SILENT_DROP, c.MIDDLEBOX))),
        (r"refused|can't connect|cannot connect|ECONNREFUSED|no such file", CODES[2003]),
        (r"gone away", CODES[2006]),
        (r"lost connection|unexpected EOF|connection lost|PROTOCOL_CONNECTION_LOST"
         r"|communications link failure|connection (was )?reset|ECONNRESET|broken pipe|EPIPE"
         r"|invalid connection|bad connection|closed|end of (file|stream|communication)",
         CODES[2013]),
    )
)
