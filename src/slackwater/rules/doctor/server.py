"""What one server's counters, settings and log tell of lost connections."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from slackwater.facts.doctor.error_log import Kind, Line, Return
from slackwater.facts.doctor.finding import Cause, Finding, Sure
from slackwater.facts.doctor.server import KNOCKER, ErrorCount, HostCount, ServerSeen
from slackwater.rules.doctor import causes

Rule = Callable[[ServerSeen], Iterator[Finding]]
_LISTED = 4
_NEAR_A_BLOCK = 0.5  # of max_connect_errors
_IDLE_TRX = ("idle_transaction_timeout", "idle_readonly_transaction_timeout",
             "idle_write_transaction_timeout")


def findings(seen: ServerSeen) -> list[Finding]:
    """All findings of one server, the surest first."""
    found = [finding for rule in RULES for finding in rule(seen)]
    return sorted(found, key=lambda f: -f.sure)


def _finding(seen: ServerSeen, cause: Cause, sure: Sure, evidence: list[str],
             hits: str = "") -> Finding:
    return Finding(cause, sure, seen.name, tuple(evidence), hits)


def _errors(found: list[ErrorCount]) -> list[str]:
    return [f"error {e.number} for {e.account or 'no account (before a login)'}: {e.count} times,"
            f" last {max(0.0, e.last_s):.0f} s ago" for e in found]


def _lines(found: list[Line]) -> list[str]:
    shown = [line.text for line in found[-_LISTED:]]
    return ([f"{len(found)} such lines in the log, the last:"] if len(found) > 1 else []) + shown


def _who(errors: list[ErrorCount], lines: list[Line]) -> str:
    accounts = [e.account for e in errors] + [line.account for line in lines]
    return ", ".join(dict.fromkeys(a for a in accounts if a))


def _timeouts(seen: ServerSeen) -> Iterator[Finding]:
    errors = seen.errors(4031, 1159)
    lines = seen.log.of(Kind.TIMEOUT)
    if not errors and not lines:
        return
    limits = [f"{name} = {seen.variables[name]} s (its default for new sessions)"
              for name in ("wait_timeout", "interactive_timeout") if name in seen.variables]
    evidence = [*_errors(errors), *_lines(lines), *limits]
    hits = _who(errors, lines)
    on = [f"{name} = {seen.variables[name]} s" for name in _IDLE_TRX if seen.number(name)]
    if on:
        yield _finding(seen, causes.IDLE_TRANSACTION, Sure.LIKELY, [*evidence, *on], hits)
        yield _finding(seen, causes.IDLE_TIMEOUT, Sure.POSSIBLE, evidence, hits)
    elif _IDLE_TRX[0] in seen.variables and seen.uptime_s < min(
            seen.number(name) or 0 for name in ("wait_timeout", "interactive_timeout")):
        # MariaDB logs both ends alike, and this one was not by the default.
        own = (f"the server is up for {seen.uptime_s} s only: that session had a limit of its own,"
               " wait_timeout or (less usual) one of idle_transaction_timeout")
        yield _finding(seen, causes.IDLE_TIMEOUT, Sure.LIKELY, [*evidence, own], hits)
    else:
        yield _finding(seen, causes.IDLE_TIMEOUT, Sure.CERTAIN, evidence, hits)


def _foreign(seen: ServerSeen) -> Iterator[Finding]:
    errors = seen.errors(1156, 1157, 1835)
    lines = seen.log.of(Kind.OUT_OF_ORDER)
    if errors or lines:
        yield _finding(seen, causes.FOREIGN_BYTES, Sure.CERTAIN, _errors(errors) + _lines(lines),
                       _who(errors, lines))


def _killed(seen: ServerSeen) -> Iterator[Finding]:
    digests = [k for k in seen.kills if k.last_s is not None and k.last_s <= seen.since_s]
    whole = [k for k in digests if "QUERY" not in k.what]
    by = [f"{k.what}: {k.count} times since the server's start"
          for k in seen.kills if k.last_s is None]
    log = seen.log.of(Kind.KILLED)
    if whole or log:
        evidence = [f"{k.what.strip()}: {k.count} times, last {max(0.0, k.last_s or 0):.0f} s ago"
                    for k in whole] + by + _lines(log)
        yield _finding(seen, causes.KILLED, Sure.CERTAIN, evidence, _who([], log))
    elif not digests and (kills := seen.recent("com_kill")):
        yield _killed_by_counters(seen, kills)
    stopped = [k for k in digests if "QUERY" in k.what]
    errors = seen.errors(1317, 1969, 3024)
    over = {name: count for name in ("Max_statement_time_exceeded", "Max_execution_time_exceeded")
            if (count := seen.recent(name.lower()))}
    if stopped or errors or over:
        evidence = [f"{k.what.strip()}: {k.count} times" for k in stopped] + _errors(errors)
        evidence += [f"{name}: {count}" for name, count in over.items()]
        yield _finding(seen, causes.QUERY_STOPPED, Sure.NOTE, evidence)


def _killed_by_counters(seen: ServerSeen, kills: int) -> Finding:
    """Ends that the log does not explain, where KILL was used: MariaDB logs every other end."""
    aborted = seen.recent("aborted_clients")
    logged = len([line for line in seen.log.lines if "Aborted connection" in line.text
                  and "unauthenticated" not in line.text])
    evidence = [f"Com_kill grew by {kills} (KILL QUERY counts too)",
                f"Aborted_clients grew by {aborted}, and the log tells of {logged}"]
    tells = bool(seen.log.source) and (seen.number("log_warnings") or 0) > 1
    if aborted == 0 or (tells and aborted <= logged):
        return _finding(seen, causes.QUERY_STOPPED, Sure.NOTE, evidence)
    return _finding(seen, causes.KILLED, Sure.CERTAIN if tells else Sure.POSSIBLE, evidence)


def _restarts(seen: ServerSeen) -> Iterator[Finding]:
    for back in seen.log.returns:
        evidence = [f"before: {back.before.text}", f"after:  {back.ready.text}",
                    f"up for {seen.uptime_s} s now"]
        hits = "every connection that is older than that start"
        if back.in_order:
            yield _finding(seen, causes.SERVER_SHUTDOWN, Sure.CERTAIN, evidence, hits)
        elif back.crash is None and (shot := _shot(seen, back)):
            yield _finding(seen, causes.OOM_KILL, Sure.CERTAIN,
                           [*shot, *([seen.cgroup] if seen.cgroup else []), *evidence], hits)
        elif back.crash is None and seen.cgroup and not seen.kernel:
            yield _finding(seen, causes.OOM_KILL, Sure.LIKELY, [seen.cgroup, *evidence], hits)
        else:
            told = back.crash.text if back.crash else "no shutdown, and no report of a crash"
            yield _finding(seen, causes.SERVER_CRASH, Sure.CERTAIN, [told, *evidence], hits)
    if seen.last.status.get("uptime", 0) < seen.first.status.get("uptime", 0):
        yield _finding(seen, causes.SERVER_SHUTDOWN, Sure.LIKELY,
                       ["Uptime went back between the two samples"])
    elif seen.young and not seen.log.source:
        yield _finding(seen, causes.SERVER_SHUTDOWN, Sure.NOTE,
                       [f"it was started {seen.uptime_s} s ago; its log, which would tell why,"
                        " could not be read"])


def _shot(seen: ServerSeen, back: Return) -> list[str]:
    """What the kernel says of killing that life of the server, and not another one's."""
    return [line for line in seen.kernel if not back.pid or f"process {back.pid} " in line]


def _too_big(seen: ServerSeen) -> Iterator[Finding]:
    errors, lines = seen.errors(1153), seen.log.of(Kind.TOO_BIG)
    if errors or lines:
        limit = f"max_allowed_packet = {seen.variables.get('max_allowed_packet')} bytes"
        yield _finding(seen, causes.PACKET_TOO_BIG, Sure.CERTAIN,
                       [*_errors(errors), *_lines(lines), limit], _who(errors, lines))


def _clients(seen: ServerSeen) -> Iterator[Finding]:
    blocked, log = seen.errors(1161), seen.log.of(Kind.WRITE_TIMEOUT)
    limit = f"net_write_timeout = {seen.variables.get('net_write_timeout')} s"
    if blocked or log:
        yield _finding(seen, causes.CLIENT_NOT_READING, Sure.CERTAIN,
                       [*_errors(blocked), *_lines(log), limit], _who(blocked, log))
    writing = seen.log.of(Kind.WRITE_ERROR)
    if writing:  # MariaDB says so for both
        yield _finding(seen, causes.CLIENT_NOT_READING, Sure.LIKELY, [*_lines(writing), limit],
                       _who([], writing))
    gone, lines = seen.errors(1158), seen.log.of(Kind.READ_ERROR)
    # MySQL counts one for a session that was ended with KILL, too.
    ended = sum(k.count for k in seen.kills if k.last_s is not None and "QUERY" not in k.what)
    gone = gone if sum(e.count for e in gone) > ended else []
    if gone or lines:
        # A note: programs that end so lose nothing themselves, and they are everywhere.
        yield _finding(seen, causes.CLIENT_VANISHED, Sure.NOTE, _errors(gone) + _lines(lines),
                       _who(gone, lines))
    elif not seen.young and (grew := seen.grew("aborted_clients")) and not _explained(seen):
        yield _finding(seen, causes.CLIENT_VANISHED, Sure.NOTE,
                       [f"Aborted_clients grew by {grew} between the two samples"])


def _explained(seen: ServerSeen) -> bool:
    kinds = (Kind.TIMEOUT, Kind.TOO_BIG, Kind.WRITE_TIMEOUT, Kind.WRITE_ERROR, Kind.KILLED)
    return bool(seen.errors(4031, 1159, 1153, 1161, 1156) or seen.log.of(*kinds)
                or seen.recent("com_kill"))


def _no_login(seen: ServerSeen) -> Iterator[Finding]:
    lines = seen.log.of(Kind.NO_LOGIN)
    errors = seen.errors(1156, 1158, 1835, logged_in=False)
    limit = seen.number("max_connect_errors") or 0
    hosts = [h for h in seen.hosts if h.counts.get("COUNT_HANDSHAKE_ERRORS")]
    near = [h for h in hosts if h.counts.get("SUM_CONNECT_ERRORS", 0) >= limit * _NEAR_A_BLOCK]
    grew = seen.grew("aborted_connects")
    if lines or errors or hosts or grew:
        evidence = [_host(h) for h in hosts] + _errors(errors) + _lines(lines)
        evidence += [f"Aborted_connects grew by {grew} between the two samples"] if grew else []
        sure = Sure.POSSIBLE if near else Sure.NOTE
        yield _finding(seen, causes.NOT_A_CLIENT, sure, evidence)


def _host(host: HostCount) -> str:
    shown = ", ".join(f"{name} {n}" for name, n in sorted(host.counts.items()))
    return f"host {host.ip}: {shown}"


def _logins(seen: ServerSeen) -> Iterator[Finding]:
    slow, early = seen.log.of(Kind.SLOW_LOGIN), seen.errors(1159, logged_in=False)
    if slow or early:
        limit = f"connect_timeout = {seen.variables.get('connect_timeout')} s"
        yield _finding(seen, causes.SLOW_LOGIN, Sure.LIKELY,
                       [*_errors(early), *_lines(slow), limit])
    elif alike := [x for x in seen.log.of(Kind.NO_LOGIN) if "closed normally" in x.text]:
        yield _finding(seen, causes.SLOW_LOGIN, Sure.NOTE, [
            f"{len(alike)} lines of not-a-client: MariaDB logs a login that took longer than"
            f" connect_timeout ({seen.variables.get('connect_timeout')} s) just so"])
    lines = [line for line in seen.log.of(Kind.DENIED) if KNOCKER not in line.text]
    errors = seen.errors(1045, 1130) + seen.errors(1045, 1130, logged_in=False)
    counted = seen.recent("access_denied_errors")
    if lines or errors or counted:
        evidence = [*_errors(errors), *_lines(lines)]
        evidence += [f"Access_denied_errors: {counted}"] if counted else []
        # MariaDB's counter has denied statements in it too, which are no lost connection.
        sure = Sure.CERTAIN if lines or errors else Sure.NOTE
        yield _finding(seen, causes.ACCESS_DENIED, sure, evidence, _who(errors, []))
    tls = seen.errors(3159) + seen.errors(3159, logged_in=False)
    names = ("COUNT_SSL_ERRORS", "COUNT_NO_AUTH_PLUGIN_ERRORS", "COUNT_AUTH_PLUGIN_ERRORS")
    hosts = [h for h in seen.hosts if _recent(h, seen) and any(h.counts.get(n) for n in names)]
    if tls or hosts:
        asks = f"require_secure_transport = {seen.variables.get('require_secure_transport')}"
        yield _finding(seen, causes.TLS_OR_PLUGIN, Sure.CERTAIN if tls else Sure.LIKELY,
                       [*_errors(tls), *map(_host, hosts), asks])


def _handshakes(seen: ServerSeen) -> Iterator[Finding]:
    """Logins that were given up in the middle, as far as counters tell."""
    begun, ended = (s.status.get("ssl_accepts", 0) - s.status.get("ssl_finished_accepts", 0)
                    for s in (seen.first, seen.last))
    under_way = sum(s.user == "unauthenticated user" for s in seen.sessions)
    failed, of = min(begun, ended) - under_way, seen.last.status.get("ssl_accepts", 0)
    if failed > 0:  # more may be under way at any time, but not one of a hundred
        sure = Sure.POSSIBLE if seen.young and failed * 100 > of else Sure.NOTE
        yield _finding(seen, causes.TLS_OR_PLUGIN, sure, [
            f"{failed} of {of} TLS handshakes since the server's start were not finished",
            f"tls_version = {seen.variables.get('tls_version')}"])
    if "aborted_connects_preauth" not in seen.last.status:
        return
    other = ("aborted_connects_preauth", "access_denied_errors", "connection_errors_accept",
             "connection_errors_internal", "connection_errors_max_connections",
             "connection_errors_peer_address")
    left = seen.recent("aborted_connects") - sum(seen.recent(name) for name in other)
    if left > 0 and seen.limited:
        yield _finding(seen, causes.TOO_MANY, Sure.POSSIBLE, [
            f"{left} logins were ended that were not refused for their password; accounts with a"
            f" limit of their own, which MariaDB does not log: {', '.join(seen.limited)}"])
    elif left > 0 and not seen.log.of(Kind.SLOW_LOGIN):
        yield _finding(seen, causes.TLS_OR_PLUGIN, Sure.POSSIBLE, [
            f"{left} clients began to log in, were not refused, and gave it up (Aborted_connects"
            " without Aborted_connects_preauth and Access_denied_errors): as one does that lacks"
            " the account's plugin, such as a client of MySQL 9 with mysql_native_password"])


def _recent(host: HostCount, seen: ServerSeen) -> bool:
    return host.last_error_s is not None and host.last_error_s <= seen.since_s


def _closed_doors(seen: ServerSeen) -> Iterator[Finding]:
    """The server takes no client, or could not."""
    refused = seen.errors(3032) + seen.errors(3032, logged_in=False)
    if refused or seen.variables.get("offline_mode") == "ON":
        yield _finding(seen, causes.OFFLINE, Sure.CERTAIN, [
            *_errors(refused), f"offline_mode = {seen.variables.get('offline_mode')}"],
            "every account without SUPER or CONNECTION_ADMIN")
    lines = seen.log.of(Kind.NO_RESOURCES)
    names = ("Connection_errors_accept", "Connection_errors_internal")
    counted = [f"{name}: {count}" for name in names if (count := seen.recent(name.lower()))]
    if lines or counted:
        yield _finding(seen, causes.NO_RESOURCES, Sure.CERTAIN if lines else Sure.LIKELY, [
            *counted, *_lines(lines), f"open_files_limit = {seen.variables['open_files_limit']}"],
            "new clients")


def _limits(seen: ServerSeen) -> Iterator[Finding]:
    lines = seen.log.of(Kind.TOO_MANY)
    refused = seen.recent("connection_errors_max_connections")
    if lines or refused:
        yield _finding(seen, causes.TOO_MANY, Sure.CERTAIN, [
            f"Connection_errors_max_connections: {refused}", *_lines(lines),
            f"max_connections = {seen.variables.get('max_connections')}; at most"
            f" {seen.last.status.get('max_used_connections')} were used at once"])
    its_own = seen.errors(1203, 1226) + seen.errors(1203, 1226, logged_in=False)
    if its_own:
        yield _finding(seen, causes.TOO_MANY, Sure.CERTAIN, [
            *_errors(its_own), "a limit of the account itself (max_user_connections and the like)"],
            _who(its_own, []))
    hosts = [h for h in seen.hosts if h.counts.get("COUNT_HOST_BLOCKED_ERRORS")]
    errors = seen.errors(1129) + seen.errors(1129, logged_in=False)
    blocked = seen.log.of(Kind.BLOCKED)
    if [h for h in hosts if _recent(h, seen)] or errors or blocked:
        yield _finding(seen, causes.HOST_BLOCKED, Sure.CERTAIN, [
            *map(_host, hosts), *_errors(errors), *_lines(blocked),
            f"max_connect_errors = {seen.variables.get('max_connect_errors')}"],
            ", ".join(h.ip for h in hosts))
    names = [h for h in seen.hosts if any(n.startswith("COUNT_NAMEINFO_") for n in h.counts)]
    unresolved = seen.log.of(Kind.DNS)
    if names or unresolved:
        yield _finding(seen, causes.DNS, Sure.LIKELY, [*map(_host, names), *_lines(unresolved)])


def _memory(seen: ServerSeen) -> Iterator[Finding]:
    if seen.kernel and seen.young and not seen.log.source:
        # There may be others on this host: without the log nobody knows whose end that was.
        yield _finding(seen, causes.OOM_KILL, Sure.NOTE, [
            *seen.kernel, "which server that was, its log would tell, which could not be read"])


def _blindness(seen: ServerSeen) -> Iterator[Finding]:
    """What this server would not tell, should it happen."""
    lacks = []
    if not seen.error_summary and "sql_error_log_filename" not in seen.variables:
        lacks.append("no errors by account: foreign bytes in a connection leave no trace here")
    verbosity = seen.number("log_error_verbosity")
    if verbosity is not None and verbosity < 3:
        lacks.append(f"log_error_verbosity = {verbosity}: aborted connections are not logged")
    elif verbosity is None and (seen.number("log_warnings") or 0) < 2:
        lacks.append(f"log_warnings = {seen.variables.get('log_warnings')}: aborted connections"
                     " are not logged")
    if lacks:
        yield _finding(seen, causes.NO_TRACE, Sure.NOTE, lacks)


RULES: tuple[Rule, ...] = (
    _timeouts, _foreign, _killed, _restarts, _too_big, _clients, _no_login, _logins,
    _handshakes, _closed_doors, _limits,
    _memory, _blindness,
)
