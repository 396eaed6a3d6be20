"""The catalogue: every cause that the doctor knows. The page doctor-causes.md is made of it."""

from __future__ import annotations

from slackwater.facts.doctor.finding import Cause

STRAY_OUTPUT = Cause(
    "stray-output", "What the process or a child prints goes into the database connection",
    "The connection is descriptor 0, 1 or 2, because the program closed that one before it"
    " connected. Whatever it or a child writes there is sent to the server in the middle of the"
    " protocol; the server answers \"Got packets out of order\" and hangs up, and the next"
    " statement fails with \"server has gone away\".",
    "Never close standard input, output or error: open /dev/null on them (perl: open STDERR, '>>',"
    " '/dev/null'; shell: 2>/dev/null and not 2>&-; daemons: dup2 /dev/null on 0, 1 and 2).",
    "On the client's host, before it happens: /proc/PID/fd/{0,1,2}. By --capture, when it happens.",
)
FOREIGN_BYTES = Cause(
    "foreign-bytes", "Bytes that are no protocol came through a connection that had logged in",
    "The server got a packet out of order (error 1156) from a session, and hung up. Something else"
    " writes into the socket: a child's output (stray-output), two processes on one session"
    " (forked), or two threads without a lock.",
    "On the client's host `slackwater doctor` names the process; `--capture` shows the text.",
    "MySQL 8+: error 1156 by account. MariaDB: only with the plugin SQL_ERROR_LOG. 5.7: nowhere.",
)
FORKED = Cause(
    "forked", "A process and its fork use the same session",
    "Both write into one connection, so each gets the other's answers, or packets out of order; and"
    " a child that ends says goodbye for its parent, whose next statement fails with 2013 or 2006.",
    "Connect after the fork. Where the parent has to connect first: perl DBI AutoInactiveDestroy"
    " => 1, PHP and Python: the child leaves with _exit or uses none of the parent's objects.",
    "On the client's host: one socket in several processes of one exec. The server sees nothing.",
)
INHERITED = Cause(
    "inherited", "A child has its parent's connection",
    "The descriptor had no close-on-exec, so a program that the client started has it too. When the"
    " client closes or ends, the session stays on the server, with its locks, till the child ends.",
    "Set close-on-exec on the connection (libmariadb and libmysqlclient do not), or start children"
    " with their descriptors closed (Python close_fds, which is its default).",
    "On the client's host: the socket in another program's /proc/PID/fd. When the child alone has"
    " it: the last data is older than the child, or the server says that another pid logged in.",
)
NO_CLOEXEC = Cause(
    "no-cloexec", "Connections that every child will inherit",
    "libmariadb, libmysqlclient and the drivers above them open their sockets without"
    " close-on-exec. Harmless in a program that starts no others.",
    "As for `inherited`, where the program starts others that live long.",
    "On the client's host: bit 02000000 of flags in /proc/PID/fdinfo/N.",
)
SERVER_CLOSED = Cause(
    "server-closed", "The server or a proxy has closed a connection that the client still keeps",
    "The client has not noticed yet: its next statement fails with 2006 or 2013. It was idle too"
    " long, was killed, the server was restarted, or a fork of it said goodbye (forked).",
    "Test connections when they are taken from the pool, and let the pool give them up earlier than"
    " the server does (its maximum idle time below wait_timeout).",
    "On the client's host: state CLOSE_WAIT (TCP only).",
)
SILENT_DROP = Cause(
    "silent-drop", "What the client sends is not acknowledged",
    "A firewall, NAT or load balancer forgot the connection, or the server's host is gone: the"
    " client hangs until its own timeout, or some 15 minutes.",
    "Keepalive below the middlebox's limit (AWS NLB 350 s, Azure 240 s, IPVS and Docker swarm"
    " 900 s; Linux's own default is 7200 s): net.ipv4.tcp_keepalive_time=120, or tcp_user_timeout.",
    "On the client's host: unsent bytes and retransmissions.",
)
MIDDLEBOX = Cause(
    "middlebox", "Idle longer than common middleboxes remember",
    "Firewalls, NAT and load balancers forget idle connections, often without telling either end.",
    "Keepalive below their limit (net.ipv4.tcp_keepalive_time=120 and SO_KEEPALIVE), and a pool"
    " that gives connections up earlier.",
    "On the client's host: idle time, and the keepalive timer.",
)
PROXY_CLOSED = Cause(
    "proxy-closed", "Something between client and server closed the connection",
    "A proxy or load balancer ended it, most often for being idle (HAProxy: timeout client and"
    " timeout server), or because it was reloaded; or a firewall that had forgotten it reset it.",
    "Give the proxy a longer limit than the pool's and wait_timeout, or a pool that gives"
    " connections up earlier than the proxy.",
    "By --watch: the connection ends, and no server tells why, or the server still has its session."
    " The server counts a client that vanished.",
)
IDLE_TIMEOUT = Cause(
    "idle-timeout", "The server closes sessions that ask nothing for too long",
    "After wait_timeout (interactive_timeout for command lines) without a statement the server"
    " hangs up; MySQL from 8.0.24 on sends error 4031 first.",
    "A pool that gives connections up earlier than wait_timeout, or tests them when taken; close"
    " what is not used. Raising wait_timeout helps only if the client's pauses are bounded.",
    "MySQL 8+: error 4031 by account. MariaDB and 5.7: \"Got timeout reading\" in the error log.",
)
IDLE_TRANSACTION = Cause(
    "idle-transaction", "The server closes sessions that rest inside a transaction",
    "idle_transaction_timeout (or its readonly and write variants; MariaDB) is on.",
    "End transactions before waiting for anything else; or raise the variable.",
    "The error log says only \"Got timeout reading\": the variables tell it from wait_timeout.",
)
KILLED = Cause(
    "killed", "Somebody ends sessions with KILL",
    "The client sees error 2013 at its next statement; the server sends no reason.",
    "Find who: pt-kill, a pool manager, an administrator, slackwater's own switchover.",
    "The error log has nothing. MySQL: statement digests and statement/sql/kill by account (also"
    " 5.7). MariaDB: Com_kill, and 1927 with the plugin SQL_ERROR_LOG.",
)
QUERY_STOPPED = Cause(
    "query-stopped", "A statement was stopped; its connection lives",
    "KILL QUERY, max_statement_time or max_execution_time ended it (1317, 1969, 3024). That is no"
    " lost connection.",
    "Raise the limit for that statement, or make it faster.",
    "The client's error number. MySQL 8+: by account. MariaDB: Max_statement_time_exceeded.",
)
LOCK_WAIT = Cause(
    "lock-wait", "A statement gave up waiting for another's lock; its connection lives",
    "innodb_lock_wait_timeout ended the wait (1205), or a deadlock rolled one of two transactions"
    " back (1213). That is no lost connection.",
    "Try the transaction again; make transactions shorter, and take locks in one order.",
    "The client's error number. SHOW ENGINE INNODB STATUS has the last deadlock.",
)
POOL_EXHAUSTED = Cause(
    "pool-exhausted", "The program's own pool has no free connection",
    "All connections of the pool are in use, or were never given back; no server had a part in it.",
    "Give connections back in every path (with, using, defer, try-with-resources), make statements"
    " faster, or the pool larger.",
    "The pool's own message and counters; the server shows the pool's sessions asleep or at work.",
)
NO_RESOURCES = Cause(
    "no-resources", "The server could not take a connection for lack of descriptors, threads or"
    " memory",
    "accept() failed, or no thread could be made (1135, 1041): new clients are dropped without a"
    " greeting, or wait.",
    "Raise open_files_limit (systemd: LimitNOFILE), the limit of tasks (TasksMax), or the memory.",
    "Connection_errors_accept, Connection_errors_internal; \"Error in accept\" in the error log.",
)
OFFLINE = Cause(
    "offline-mode", "The server is in offline mode",
    "SET GLOBAL offline_mode = ON ends the sessions of ordinary accounts, and lets none in (3032).",
    "SET GLOBAL offline_mode = OFF when the work is done; switch over before such work.",
    "The variable offline_mode (MySQL), and error 3032 by account.",
)
HALF_SENT = Cause(
    "half-sent", "A statement came by half: client and server wait for each other",
    "The client, or something between, sent less than a packet's head announced (or a byte or two"
    " of something else came): the server waits for the rest, and the client for an answer.",
    "Give the client a read timeout; look for what the program writes into its socket, and for lost"
    " packets (MTU) between the two.",
    "On the client's host with slackwater.toml: the client waits in a call for an answer, and the"
    " server says that its session sleeps. No counter, no log.",
)
SERVER_SHUTDOWN = Cause(
    "server-shutdown", "The server was stopped and started",
    "Every connection that is older than the start was lost.",
    "Switch over first (`slackwater switchover`), or let clients reconnect and try again.",
    "Uptime, and the shutdown's line in the error log.",
)
SERVER_CRASH = Cause(
    "server-crash", "The server died",
    "It crashed or was killed with SIGKILL: every connection of that time was lost.",
    "A \"got signal\" report in the error log goes to the server's developers; otherwise look"
    " for who killed it (the kernel for lack of memory, an impatient service manager).",
    "A start in the error log with no shutdown before it.",
)
OOM_KILL = Cause(
    "oom-kill", "The kernel killed the server for lack of memory",
    "All its connections were lost at once; clients see 2013, then 2003 or 2002.",
    "Lower innodb_buffer_pool_size and what each session may take, or give it more memory.",
    "The kernel's log (\"Out of memory: Killed process\"), oom_kill in the cgroup's memory.events.",
)
PACKET_TOO_BIG = Cause(
    "packet-too-big", "A statement was bigger than max_allowed_packet",
    "The server reads no further and hangs up: the client sees 1153, or 2006 while it writes.",
    "Raise max_allowed_packet on the server (and in the client), or send less at once.",
    "MySQL 8+: error 1153 by account. All others: the error log.",
)
CLIENT_VANISHED = Cause(
    "client-vanished", "Clients ended without saying goodbye",
    "The client was killed, crashed, or closed its socket without COM_QUIT; or something between"
    " reset the connection.",
    "Look on the client's host for what ended at that time; close connections in the program.",
    "MySQL 8+: error 1158 (1160 amid an answer) by account. All others: \"Got an error reading\".",
)
CLIENT_NOT_READING = Cause(
    "client-not-reading", "A client did not take its answer",
    "The client stopped reading a result for net_write_timeout, and the server hung up.",
    "Fetch results at once and work on them later; or raise net_write_timeout for that session.",
    "MySQL 8+: error 1161 by account. The error log: 5.7 \"Got timeout writing\", MariaDB \"Got an"
    " error writing\".",
)
NOT_A_CLIENT = Cause(
    "not-a-client", "Something connects and does not log in",
    "Port scans, TCP health checks of load balancers, HTTP to this port. Nobody loses a session by"
    " it, but 100 of them in a row (max_connect_errors) block a host.",
    "Let health checks log in (HAProxy: option mysql-check user), or exempt them by"
    " max_connect_errors.",
    "Aborted_connects; the address: performance_schema.host_cache (not of 127.0.0.1), error log.",
)
ACCESS_DENIED = Cause(
    "access-denied", "Logins are refused",
    "Wrong password, no such account, or no right from that host (1045, 1044, 1130, 1698). A client"
    " that lacks the account's plugin can look so, too: it sends no password.",
    "Set the password on both sides, and the account's host part for where clients come from.",
    "MySQL 8+: 1045 by account. MariaDB: Access_denied_errors, and its error log.",
)
TOO_MANY = Cause(
    "too-many-connections", "max_connections was reached",
    "New clients get error 1040; those that are in stay.",
    "Smaller pools or a proxy in front; raise max_connections only with the memory for it.",
    "Connection_errors_max_connections, and 1040 in the client.",
)
HOST_BLOCKED = Cause(
    "host-blocked", "A host is blocked for too many broken handshakes",
    "After max_connect_errors in a row every connection from there gets 1129 in place of a"
    " greeting.",
    "MySQL: TRUNCATE TABLE performance_schema.host_cache. MariaDB, 5.7: FLUSH HOSTS. Then find what"
    " connects without logging in from there, and raise max_connect_errors.",
    "performance_schema.host_cache, and 1129 in the client.",
)
DNS = Cause(
    "dns", "The server cannot resolve its clients' names",
    "Each login waits for DNS and may be refused for the name.",
    "skip_name_resolve=ON (accounts by address then), or mend DNS.",
    "The error log (\"could not be resolved\"), performance_schema.host_cache COUNT_NAMEINFO_*.",
)
TLS_OR_PLUGIN = Cause(
    "tls-or-plugin", "Client and server do not agree on TLS or on how to log in",
    "require_secure_transport, TLS versions, or an authentication plugin that one side lacks (3159,"
    " 2026, 2059, 2061, 1251). Known pairs: a client of MySQL 9 has no mysql_native_password,"
    " which MariaDB and MySQL 5.7 give to accounts; one older than MySQL 5.7.23 or Connector/C 3.0"
    " has no caching_sha2_password, which MySQL 8 and newer give.",
    "Update the client's library, or give the account a plugin that it knows.",
    "The client's error number. MySQL 8+: error 3159, host_cache's COUNT_SSL_ERRORS and"
    " COUNT_NO_AUTH_PLUGIN_ERRORS. Ssl_accepts without Ssl_finished_accepts; MariaDB:"
    " Aborted_connects without Aborted_connects_preauth and Access_denied_errors.",
)
SLOW_LOGIN = Cause(
    "slow-login", "A login took longer than connect_timeout",
    "The client's host was too busy, the network loses packets, or it never meant to log in.",
    "Raise connect_timeout; look for lost packets between the two.",
    "The error log; Aborted_connects.",
)
NO_TRACE = Cause(
    "no-trace", "This server would not tell",
    "Some causes leave no trace here as it is set up.",
    "MySQL 8+: log_error_verbosity=3. MariaDB: INSTALL SONAME 'sql_errlog', log_warnings=2.",
    "The server's own settings.",
)
CLIENT_TIMEOUT = Cause(
    "client-timeout", "The client's own limit ended the wait",
    "read_timeout, connect_timeout or the like of the driver was shorter than the statement. The"
    " server still works on it and finds nobody to answer.",
    "Raise the client's limit, or make the statement faster; max_execution_time ends it on the"
    " server too.",
    "The client's message (\"timed out\").",
)
NOT_RUNNING = Cause(
    "not-running", "Nobody listens there",
    "The server is down, listens elsewhere (bind_address, skip_networking, another socket), or a"
    " firewall is between.",
    "Look whether it runs, and where it listens: `ss -ltnxp`.",
    "The client's error 2002 or 2003; the server's status.",
)
OUT_OF_ORDER = Cause(
    "client-misuse", "One connection is used by two at once, or not to the end",
    "Two threads without a lock, a result not fetched before the next statement, or an asynchronous"
    " task cancelled in the middle.",
    "One connection for each thread and task; fetch or free each result; close a connection whose"
    " statement was cancelled.",
    "The client's error (2014, \"packet sequence number wrong\").",
)

CAUSES = tuple(c for c in globals().values() if isinstance(c, Cause))
BY_ID = {c.id: c for c in CAUSES}
