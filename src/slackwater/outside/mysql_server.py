"""INTERIM: replaced by branch mysql."""

from __future__ import annotations

from slackwater.facts.replication import ReplicaStatus
from slackwater.facts.server import VARIABLES, ClientSession, server_facts, BinlogPosition, is_on
from slackwater.outside.mysql_session import Session
import re


def m(s): return s.flavour.mariadb


async def variables(s):
    rows = await s.rows("SHOW GLOBAL VARIABLES", limit_s=3)
    return {r["Variable_name"].lower(): str(r["Value"]) for r in rows}


async def look(s, name):
    v = await variables(s)
    st = {r["Variable_name"].lower(): r["Value"] for r in await s.rows("SHOW GLOBAL STATUS WHERE Variable_name IN ('Uptime','Threads_connected')", limit_s=3)}
    return server_facts(name, v, st, None, tuple(await replica_status(s)))


async def replica_status(s):
    sql = "SHOW ALL SLAVES STATUS" if m(s) else ("SHOW REPLICA STATUS" if s.flavour.min_mysql(8,0,22) else "SHOW SLAVE STATUS")
    return [ReplicaStatus.parse(r) for r in await s.rows(sql, limit_s=3)]


async def set_read_only(s, on):
    if on:
        await s.run("SET GLOBAL read_only=1" if m(s) else "SET GLOBAL super_read_only=1", limit_s=2)
    else:
        await s.run("SET GLOBAL read_only=0", limit_s=2)


async def is_writable(s, limit_s=2.0):
    return not is_on(str(await s.value("SELECT @@GLOBAL.read_only", limit_s=limit_s)))


async def prepare_lock(s, *, wait_timeout_s, lock_wait_timeout_s):
    await s.run(f"SET SESSION wait_timeout={wait_timeout_s}, lock_wait_timeout={lock_wait_timeout_s}")


async def lock_all(s, limit_s):
    await s.run("FLUSH TABLES WITH READ LOCK", limit_s=limit_s)


async def executed_text(s):
    if m(s):
        return str(await s.value("SELECT @@GLOBAL.gtid_binlog_pos"))
    return str(await s.value("SELECT @@GLOBAL.gtid_executed")).replace("\n", "")


async def wait_executed(s, text, limit_s):
    if m(s):
        return await s.value("SELECT MASTER_GTID_WAIT(%s,%s)", text, limit_s, limit_s=limit_s+1) == 0
    return await s.value("SELECT WAIT_FOR_EXECUTED_GTID_SET(%s,%s)", text, limit_s, limit_s=limit_s+1) == 0


async def has_executed(s, text):
    return await wait_executed(s, text, 0.05)


async def client_sessions(s, exclude):
    if m(s):
        rows = await s.rows("SELECT ID,USER,HOST,DB,COMMAND,TIME_MS,STATE,LEFT(INFO,100) INFO FROM information_schema.PROCESSLIST WHERE USER NOT IN ('system user','event_scheduler') AND COMMAND NOT IN ('Binlog Dump','Daemon')")
    else:
        rows = await s.rows("""SELECT t.PROCESSLIST_ID ID, t.PROCESSLIST_USER USER, t.PROCESSLIST_HOST HOST, t.PROCESSLIST_DB DB, t.PROCESSLIST_COMMAND COMMAND, (me.TIMER_START - e.TIMER_END)/1e9 TIME_MS, '' STATE, '' INFO
            FROM performance_schema.threads t LEFT JOIN performance_schema.events_statements_current e ON e.THREAD_ID=t.THREAD_ID AND e.END_EVENT_ID IS NOT NULL
            JOIN performance_schema.threads mt ON mt.PROCESSLIST_ID=CONNECTION_ID() JOIN performance_schema.events_statements_current me ON me.THREAD_ID=mt.THREAD_ID
            WHERE t.TYPE='FOREGROUND' AND t.PROCESSLIST_COMMAND NOT LIKE 'Binlog Dump%' AND t.PROCESSLIST_COMMAND <> 'Daemon' AND t.NAME LIKE '%one_connection'""")
    return [ClientSession(id=r["ID"], user=r["USER"] or "", host=r["HOST"] or "", db=r["DB"] or "", command=r["COMMAND"], state=r["STATE"] or "", info=r["INFO"] or "", idle_ms=float(r["TIME_MS"] or 0) if r["COMMAND"]=="Sleep" else None) for r in rows if r["ID"] not in exclude]


async def open_transactions(s):
    text = (await s.rows("SHOW ENGINE INNODB STATUS"))[0]["Status"]
    out = {}
    for part in text.split("---TRANSACTION ")[1:]:
        a = re.search(r"ACTIVE (?:\(PREPARED\) )?(\d+) sec", part.split("\n")[0])
        i = re.search(r"(?:MySQL|MariaDB) thread id (\d+)", part)
        if a and i:
            out[int(i[1])] = float(a[1])
    return out


async def close_idle(s, ids, rest_ms):
    done = []
    for i in ids:
        if m(s):
            await s.run(f"BEGIN NOT ATOMIC IF (SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE ID={i} AND COMMAND='Sleep' AND TIME_MS>={rest_ms}) THEN KILL {i}; END IF; END")
            done.append(i)
        else:
            await kill(s, i)
            done.append(i)
    return done


async def kill(s, i):
    try:
        await s.run(f"KILL {i}")
    except Exception as e:
        if getattr(e, "code", 0) != 1094:
            raise


async def end_session(s, i):
    await kill(s, i)
    return bool(await s.value("SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE ID=%s", i))


async def take_lock(s, name):
    return await s.value("SELECT GET_LOCK(%s,0)", name) == 1


async def release_lock(s, name):
    await s.run("SELECT RELEASE_LOCK(%s)", name)


async def lock_owner(s, name):
    return await s.value("SELECT IS_USED_LOCK(%s)", name)


async def server_id(s):
    return int(await s.value("SELECT @@GLOBAL.server_id"))


async def start_replica(s):
    await s.run("START SLAVE" if m(s) or not s.flavour.min_mysql(8,0,22) else "START REPLICA")


async def privileged_users(s): return []
async def prepared_xa(s): return len(await s.rows("XA RECOVER"))
async def enabled_events(s): return 0
async def missing_privileges(s): return []
async def programs(s, ids): return {}
