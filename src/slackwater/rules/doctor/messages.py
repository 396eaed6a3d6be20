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
# Drivers that have one text for 2006 and 2013 do not tell whether a statement was under way.
EITHER = Meaning("The connection was lost, before a statement or during one.",
                  (*_LOST, c.CLIENT_TIMEOUT, c.SILENT_DROP))
_MISUSE = Meaning("The client used a connection that was not free.", (c.OUT_OF_ORDER, c.FORKED))

CODES = {
    1040: Meaning("Too many connections: max_connections was reached.", (c.TOO_MANY,)),
    1041: Meaning("The server, or its host, is out of memory.", (c.NO_RESOURCES,)),
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
    1135: Meaning("The server could not make a thread for a new connection.", (c.NO_RESOURCES,)),
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
    1205: Meaning("A statement waited for another's lock for innodb_lock_wait_timeout; the"
                  " connection lives.", (c.LOCK_WAIT,)),
    1213: Meaning("A deadlock: this transaction was rolled back; the connection lives.",
                  (c.LOCK_WAIT,)),
    1226: Meaning("This account is over a limit of its own (MAX_USER_CONNECTIONS and the like).",
                  (c.TOO_MANY,)),
    1251: Meaning("The client is too old for the account's authentication.", (c.TLS_OR_PLUGIN,)),
    1317: Meaning("A statement was interrupted; the connection lives.", (c.QUERY_STOPPED,)),
    1698: Meaning("Access denied by a plugin such as unix_socket.", (c.ACCESS_DENIED,)),
    1835: Meaning("The server got a malformed packet.", (c.FOREIGN_BYTES, c.FORKED)),
    1820: Meaning("The account's password has expired.", (c.ACCESS_DENIED,)),
    1862: Meaning("The account's password has expired.", (c.ACCESS_DENIED,)),
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
    2012: Meaning("The connection was lost during the login.",
                  (c.SLOW_LOGIN, c.TLS_OR_PLUGIN, c.DNS)),
    2049: Meaning("The server speaks a protocol of logins that is too old for the client.",
                  (c.TLS_OR_PLUGIN,)),
    2054: Meaning("The client lacks the account's authentication plugin.", (c.TLS_OR_PLUGIN,)),
    2059: Meaning("The client lacks the account's authentication plugin.", (c.TLS_OR_PLUGIN,)),
    2061: Meaning("The authentication plugin wants TLS or the server's public key.",
                  (c.TLS_OR_PLUGIN,)),
    3024: Meaning("max_execution_time ended the statement; the connection lives.",
                  (c.QUERY_STOPPED,)),
    3032: Meaning("The server is in offline mode: it ended its clients' sessions and lets none in.",
                  (c.OFFLINE,)),
    3118: Meaning("The account is locked.", (c.ACCESS_DENIED,)),
    3159: Meaning("The server insists on TLS (require_secure_transport).", (c.TLS_OR_PLUGIN,)),
    3169: Meaning("The session was ended with KILL.", (c.KILLED,)),
    4150: Meaning("The account is blocked after max_password_errors wrong passwords (MariaDB).",
                  (c.ACCESS_DENIED,)),
    4151: Meaning("The account is locked (MariaDB).", (c.ACCESS_DENIED,)),
    4031: Meaning("The server closed the session, which had asked nothing for wait_timeout.",
                  (c.IDLE_TIMEOUT,)),
}

# The first that matches decides; texts of clients, drivers, pools and the server's error log.
TEXTS: tuple[tuple[re.Pattern[str], Meaning], ...] = tuple(
    (re.compile(pattern, re.IGNORECASE), meaning) for pattern, meaning in (
        (r"lock wait timeout|lock_wait_timeout", CODES[1205]),
        (r"deadlock found", CODES[1213]),
        (r"obtaining a connection from the pool|obtain a connection from the pool"
         r"|request timed out after|QueuePool limit|all pooled connections are in use"
         r"|acquiring a connection|pool timed out|pool (is )?(exhausted|empty|full)"
         r"|no connections available|queue limit reached", Meaning(
             "The program's own pool had no free connection in time; no server was asked.",
             (c.POOL_EXHAUSTED, c.TOO_MANY))),
        (r"got timeout reading communication packets|disconnected by the server because of"
         r" inactivity|Idle timeout|wait_timeout|closing bad idle connection|shorter maxLifetime",
         CODES[4031]),
        (r"got a packet bigger than|Packet for query is too large|max_allowed_packet"
         r"|packet too large", CODES[1153]),
        (r"timeout writing communication packets", CODES[1161]),
        (r"error writing communication packets", CODES[1160]),
        (r"commands out of sync|unread result found|cannot execute queries while|busy buffer"
         r"|connection is in use by|waiting for a result, try again|already an open DataReader"
         r"|mysqlnd cannot.*sync|another (command|query|operation) (is )?(already )?in progress"
         r"|readexactly\(\) called while another", _MISUSE),
        (r"packets? (received )?out[- _]of[- _]order|packet sequence number wrong|sequence_id"
         r"|malformed packet|unexpected sequence", Meaning(
             "Bytes of somebody else were in the connection, or two used it at once.",
             (c.STRAY_OUTPUT, c.FORKED, c.OUT_OF_ORDER, c.FOREIGN_BYTES))),
        (r"reading initial communication packet|handshake inactivity", Meaning(
            "The server, or a proxy before it, closed or hung before its greeting.",
            (c.TOO_MANY, c.HOST_BLOCKED, c.DNS, c.NOT_RUNNING, c.SLOW_LOGIN))),
        (r"reading authorization packet|reading final connect information|waiting for initial"
         r" communication|sending authentication information|sending connection information",
         CODES[2012]),
        (r"alert[_ ]unexpected[_ ]message", Meaning(
            "Bytes that were not encrypted came into a connection with TLS.",
            (c.STRAY_OUTPUT, c.FORKED, c.FOREIGN_BYTES))),
        (r"connection was killed|session was killed", CODES[1927]),
        (r"this connection closed normally without authentication", Meaning(
            "Something connected to the server and did not log in.", (c.NOT_A_CLIENT,))),
        (r"error reading communication packets", CODES[1158]),
        (r"too many connections", CODES[1040]),
        (r"max_user_connections", CODES[1203]),
        (r"is blocked because of many connection errors", CODES[1129]),
        (r"access denied", CODES[1045]),
        (r"is not allowed to connect to this", CODES[1130]),
        (r"can't get hostname|could not be resolved", CODES[1042]),
        (r"unknown (MySQL |MariaDB )?(server )?host|no such host|ENOTFOUND|EAI_AGAIN"
         r"|name or service not known|name resolution|getaddrinfo|nodename nor servname",
         CODES[2005]),
        (r"caching_sha2|authentication (plugin|protocol|method)|Public Key Retrieval"
         r"|old insecure auth|AUTH_MODE|native password", CODES[2059]),
        (r"\bssl|openssl|\btls|certificate", CODES[2026]),
        (r"max_statement_time|max_execution_time|maximum statement execution"
         r"|query execution was interrupted", CODES[1317]),
        (r"out of memory: killed process|oom-?kill", Meaning(
            "The kernel killed a process for lack of memory.", (c.OOM_KILL,))),
        (r"(mysqld|mariadbd) got (signal|exception)|got exception|starting crash recovery"
         r"|code=(killed|dumped)", Meaning(
             "The server died.", (c.SERVER_CRASH, c.OOM_KILL))),
        (r"server shutdown in progress|normal shutdown|received shutdown|forcing close of thread"
         r"|shutdown complete", CODES[1053]),
        (r"offline mode", CODES[3032]),
        (r"can't create a new thread|too many open files|EMFILE", CODES[1135]),
        (r"(\bconnect\b|dial tcp).*(timed? ?out|ETIMEDOUT|timeout"
         r"|\b110\b|\b115\b)|has not received any packets|Unable to connect to any of",
         Meaning("An attempt to connect was not answered.",
                 (c.NOT_RUNNING, c.DNS, c.SLOW_LOGIN, c.CLIENT_TIMEOUT))),
        (r"timed? ?out|ETIMEDOUT|timeout|deadline exceeded|context cancell?ed", Meaning(
            "The client gave up waiting.", (c.CLIENT_TIMEOUT, c.SILENT_DROP, c.MIDDLEBOX))),
        (r"refused|(can't|cannot|couldn't|could not|unable to) connect|ECONNREFUSED|no such file"
         r"|no route to host|EHOSTUNREACH", CODES[2003]),
        (r"after connection closed|connection not available|not connected|already closed"
         r"|must be valid and open|in closed state|after fatal error|ENQUEUE_AFTER"
         r"|InterfaceError\W+\(?0, ''|^\W*0, ''|closed MySQL connection|pool is closed", Meaning(
             "The program uses a connection that it, or its driver, has given up already: an"
             " earlier error tells why.", (c.OUT_OF_ORDER, *_LOST))),
        (r"gone away", CODES[2006]),
        (r"while sending \w+ packet|error while reading", Meaning(
            "The connection was closed while this statement was sent (mysqlnd).",
            (c.IDLE_TIMEOUT, c.PACKET_TOO_BIG, *(x for x in _LOST if x not in (
                c.IDLE_TIMEOUT, c.PACKET_TOO_BIG))))),
        (r"lost connection", CODES[2013]),
        (r"unexpected EOF|connection lost|PROTOCOL_CONNECTION_LOST|bytes at EOF"
         r"|communications? link failure|connection (was )?reset|ECONNRESET|broken pipe|EPIPE"
         r"|invalid connection|bad connection|closed|end of (the )?(file|stream|communication)"
         r"|reading result set's header|unexpectedly lost|(can ?not|failed to) read response"
         r"|stream has failed|expected to read \d+|error communicating with|EOFError"
         r"|error 104\b|\bEOF\b", EITHER),
    )
)
