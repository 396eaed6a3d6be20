"""The registry's tables in MySQL or MariaDB, reached only through these procedures.

Web servers' accounts have EXECUTE on the first group, the registry's on the second, nobody has
rights on the tables; the procedures run as an account that cannot log in. Each checks what it is
given, since a row ends up in a balancer's file (where it is checked again).
"""

from __future__ import annotations

import re
from collections.abc import Iterable

FOR_SERVERS = ("register_member", "register_member_lease", "drain_member", "deregister_member")
FOR_REGISTRY = ("put_member", "renew_member", "forget_member", "list_members", "list_shares",
                "put_share", "read_revision")
OWNER = "'slackwater_owner'@'localhost'"
STALE = 45001  # MYSQL_ERRNO of "older than what is known"
_ACCOUNT = re.compile(r"'?([A-Za-z0-9_.-]{1,32})'?@'?([A-Za-z0-9_.:%/-]{1,60})'?")
_NAME = re.compile(r"[A-Za-z0-9_]{1,60}")

_TABLES = (
    """CREATE TABLE IF NOT EXISTS member (
  pool VARCHAR(32) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  id VARCHAR(63) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  address VARCHAR(45) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  port SMALLINT UNSIGNED NOT NULL,
  weight TINYINT UNSIGNED NOT NULL,
  colour VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  draining TINYINT UNSIGNED NOT NULL,
  lease DOUBLE NOT NULL,
  boot BIGINT UNSIGNED NOT NULL,
  seq BIGINT UNSIGNED NOT NULL,
  account VARCHAR(100) NOT NULL,
  renewed DATETIME(6) NOT NULL,
  PRIMARY KEY (pool, id)
) ENGINE = InnoDB""",
    """CREATE TABLE IF NOT EXISTS share (
  pool VARCHAR(32) CHARACTER SET ascii COLLATE ascii_bin NOT NULL PRIMARY KEY,
  revision BIGINT UNSIGNED NOT NULL,
  parts VARCHAR(500) CHARACTER SET ascii COLLATE ascii_bin NOT NULL
) ENGINE = InnoDB""",
    """CREATE TABLE IF NOT EXISTS revision (
  one TINYINT UNSIGNED NOT NULL PRIMARY KEY,
  number BIGINT UNSIGNED NOT NULL
) ENGINE = InnoDB""",
    "INSERT IGNORE INTO revision VALUES (1, 0)",
    """CREATE TABLE IF NOT EXISTS history (
  number BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
  at DATETIME(6) NOT NULL,
  account VARCHAR(100) NOT NULL,
  what VARCHAR(20) NOT NULL,
  pool VARCHAR(32) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  id VARCHAR(63) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  detail VARCHAR(200) NOT NULL
) ENGINE = InnoDB""",
)

_GRAMMAR = r"""
  IF p_pool IS NULL OR NOT p_pool REGEXP '^[a-z][a-z0-9_-]{0,31}$' THEN
    SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'pool: letters, digits, _ and - only';
  END IF;
  IF p_id IS NULL OR NOT p_id REGEXP '^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$' THEN
    SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'id: letters, digits, ., _ and - only';
  END IF;"""
_GRAMMAR_OF_ALL = _GRAMMAR + r"""
  IF INET6_ATON(p_address) IS NULL THEN
    SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'address: an IP address';
  END IF;
  IF p_port IS NULL OR p_port < 1 OR p_port > 65535 THEN
    SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'port: 1 to 65535';
  END IF;
  IF p_weight IS NULL OR p_weight < 1 OR p_weight > 100 THEN
    SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'weight: 1 to 100';
  END IF;
  IF p_colour IS NULL OR NOT p_colour REGEXP '^([a-z][a-z0-9_-]{0,15})?$' THEN
    SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'colour: letters, digits, _ and - only';
  END IF;
  IF p_lease IS NULL OR (p_lease <> 0 AND (p_lease < 3 OR p_lease > 3600)) THEN
    SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'lease: 3 to 3600 seconds, or 0';
  END IF;"""
_UNDO = """
  DECLARE EXIT HANDLER FOR SQLEXCEPTION BEGIN ROLLBACK; RESIGNAL; END;"""
_COUNT = "\n  UPDATE revision SET number = number + 1 WHERE one = 1;"
_KEY = "p_pool VARCHAR(64), p_id VARCHAR(128)"
# Who calls, and from where. USER() is the client's also inside a procedure of another account.
_CALLER = """
  DECLARE v_account VARCHAR(100) DEFAULT SUBSTRING_INDEX(USER(), '@', 1);
  DECLARE v_host VARCHAR(255) DEFAULT SUBSTRING_INDEX(USER(), '@', -1);
  DECLARE v_owner VARCHAR(100) DEFAULT NULL;
  DECLARE v_address VARCHAR(45) DEFAULT NULL;"""
_OWN = """
  SELECT account, address INTO v_owner, v_address FROM member
    WHERE pool = p_pool AND id = p_id FOR UPDATE;
  IF v_owner IS NOT NULL AND v_owner <> v_account THEN
    SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'this member is another account''s';
  END IF;
  IF v_address IS NOT NULL AND INET6_ATON(v_host) IS NOT NULL
      AND INET6_ATON(v_host) <> INET6_ATON(v_address) THEN
    SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'this member has another address than the caller';
  END IF;"""
_NOTE = """
  INSERT INTO history (at, account, what, pool, id, detail)
    VALUES (UTC_TIMESTAMP(6), {account}, '{what}', p_pool, p_id, {detail});"""


def _note(what: str, detail: str = "''", account: str = "v_account") -> str:
    return _NOTE.format(what=what, detail=detail, account=account)


def _procedures() -> Iterable[tuple[str, str, str]]:
    """Name, parameters, body."""
    given = "p_address VARCHAR(64), p_port INT, p_weight INT, p_colour VARCHAR(64)"
    yield "register_member_lease", f"{_KEY}, {given}, p_lease DOUBLE", f"""{_CALLER}{_UNDO}
  -- The address is the caller's own. Where the server knows its clients by name only, the caller
  -- says it.
  IF INET6_ATON(v_host) IS NOT NULL THEN
    IF p_address IS NOT NULL AND INET6_ATON(p_address) <> INET6_ATON(v_host) THEN
      SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'address: not the address of the caller';
    END IF;
    SET p_address = v_host;
  END IF;{_GRAMMAR_OF_ALL}
  START TRANSACTION;{_OWN.replace("v_address IS NOT NULL AND", "FALSE AND")}
  IF NOT EXISTS (SELECT 1 FROM member WHERE pool = p_pool AND id = p_id AND address = p_address
      AND port = p_port AND weight = p_weight AND colour = p_colour AND draining = 0
      AND lease = p_lease AND boot = 0) THEN
    REPLACE INTO member VALUES (p_pool, p_id, p_address, p_port, p_weight, p_colour, 0, p_lease,
      0, 0, v_account, UTC_TIMESTAMP(6));{_COUNT}{
    _note("register", "CONCAT(p_address, ' ', p_port, ' weight ', p_weight, ' ', p_colour)")}
  ELSE
    UPDATE member SET renewed = UTC_TIMESTAMP(6) WHERE pool = p_pool AND id = p_id;
  END IF;
  COMMIT;"""
    yield "register_member", f"{_KEY}, {given}", """
  -- For a start-up script: nothing is renewed, probes say whether it lives.
  CALL register_member_lease(p_pool, p_id, p_address, p_port, p_weight, p_colour, 0);"""
    for name, act in (
        ("drain", "UPDATE member SET draining = 1 WHERE pool = p_pool AND id = p_id"),
        ("deregister", "DELETE FROM member WHERE pool = p_pool AND id = p_id"),
    ):
        yield f"{name}_member", _KEY, f"""{_CALLER}{_UNDO}{_GRAMMAR}
  START TRANSACTION;{_OWN}
  {act};{_COUNT}{_note(name)}
  COMMIT;"""
    yield from _procedures_of_registry(given)


def _procedures_of_registry(given: str) -> Iterable[tuple[str, str, str]]:
    more = "p_draining INT, p_lease DOUBLE, p_boot BIGINT UNSIGNED, p_seq BIGINT UNSIGNED"
    yield "put_member", f"{_KEY}, {given}, {more}", f"""
  DECLARE v_boot BIGINT UNSIGNED DEFAULT 0;
  DECLARE v_seq BIGINT UNSIGNED DEFAULT 0;{_UNDO}{_GRAMMAR_OF_ALL}
  START TRANSACTION;
  SELECT COALESCE(MAX(boot), 0), COALESCE(MAX(seq), 0) INTO v_boot, v_seq FROM member
    WHERE pool = p_pool AND id = p_id FOR UPDATE;
  IF p_boot > 0 AND v_boot > 0 AND (v_boot > p_boot OR (v_boot = p_boot AND v_seq > p_seq)) THEN
    SIGNAL SQLSTATE '45000' SET MYSQL_ERRNO = {STALE}, MESSAGE_TEXT = 'older than what is known';
  END IF;
  REPLACE INTO member VALUES (p_pool, p_id, p_address, p_port, p_weight, p_colour, p_draining,
    p_lease, p_boot, p_seq, SUBSTRING_INDEX(USER(), '@', 1), UTC_TIMESTAMP(6));{_COUNT}{
    _note("put", "CONCAT(p_address, ' ', p_port, ' weight ', p_weight, ' ', p_colour, "
          "IF(p_draining, ' draining', ''))", "SUBSTRING_INDEX(USER(), '@', 1)")}
  COMMIT;"""
    yield "renew_member", f"{_KEY}, p_boot BIGINT UNSIGNED, p_seq BIGINT UNSIGNED", """
  UPDATE member SET renewed = UTC_TIMESTAMP(6), boot = p_boot, seq = p_seq
    WHERE pool = p_pool AND id = p_id;
  SELECT COUNT(*) AS there FROM member WHERE pool = p_pool AND id = p_id;"""
    yield "forget_member", f"{_KEY}, p_silent DOUBLE", f"""{_UNDO}
  START TRANSACTION;
  DELETE FROM member WHERE pool = p_pool AND id = p_id AND
    (p_silent = 0 OR TIMESTAMPDIFF(MICROSECOND, renewed, UTC_TIMESTAMP(6)) > p_silent * 1000000);
  IF ROW_COUNT() > 0 THEN{_COUNT}{_note("forget", account="SUBSTRING_INDEX(USER(), '@', 1)")}
  END IF;
  COMMIT;"""
    yield "list_members", "", """
  SELECT pool, id, address, port, weight, colour, draining, lease, boot, seq,
    TIMESTAMPDIFF(MICROSECOND, renewed, UTC_TIMESTAMP(6)) / 1000000 AS age FROM member;"""
    yield "list_shares", "", """
  SELECT pool, revision, parts FROM share;"""
    yield "put_share", ("p_pool VARCHAR(64), p_revision BIGINT UNSIGNED, p_parts VARCHAR(500)"
                        ), f"""
  DECLARE v_revision BIGINT UNSIGNED DEFAULT 0;{_UNDO}
  START TRANSACTION;
  SELECT COALESCE(MAX(revision), 0) INTO v_revision FROM share WHERE pool = p_pool FOR UPDATE;
  IF v_revision + 1 = p_revision THEN
    REPLACE INTO share VALUES (p_pool, p_revision, p_parts);{_COUNT}
    SELECT 1 AS kept;
  ELSE
    SELECT 0 AS kept;
  END IF;
  COMMIT;"""
    yield "read_revision", "", """
  SELECT number FROM revision WHERE one = 1;"""


def schema(database: str) -> list[str]:
    """The statements that make database, tables and procedures; safe to repeat."""
    if not _NAME.fullmatch(database):
        raise ValueError("database: letters, digits and _ only")
    statements = [
        f"CREATE DATABASE IF NOT EXISTS {database} DEFAULT CHARACTER SET utf8mb4",
        f"USE {database}",
        # Procedures keep the mode they were made in: a value that does not fit is an error.
        "SET SESSION sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION'",
        f"CREATE USER IF NOT EXISTS {OWNER} ACCOUNT LOCK",
        f"GRANT SELECT, INSERT, UPDATE, DELETE, EXECUTE ON {database}.* TO {OWNER}",
        *_TABLES,
    ]
    for name, parameters, body in _procedures():
        statements += [
            f"DROP PROCEDURE IF EXISTS {name}",
            f"CREATE DEFINER = {OWNER} PROCEDURE {name}({parameters})\n"
            f"SQL SECURITY DEFINER\nBEGIN{body}\nEND",
        ]
    return statements


def grants(database: str, *, servers: Iterable[str], registry: Iterable[str]) -> list[str]:
    """GRANT EXECUTE for accounts (`web@10.0.0.%`) that are there already. Raises ValueError."""
    found = []
    for names, accounts in ((FOR_SERVERS, servers), (FOR_REGISTRY, registry)):
        for account in accounts:
            parts = _ACCOUNT.fullmatch(account)
            if not parts:
                raise ValueError(f"not an account: {account!r}; write web@10.0.0.%")
            found += [f"GRANT EXECUTE ON PROCEDURE {database}.{name} TO '{parts[1]}'@'{parts[2]}'"
                      for name in names]
    return found


def script(statements: Iterable[str]) -> str:
    """The statements for the `mysql` client, which takes a procedure only with a delimiter."""
    lines = []
    for statement in statements:
        if statement.startswith("CREATE DEFINER"):
            lines += ["DELIMITER //", f"{statement} //", "DELIMITER ;"]
        else:
            lines.append(f"{statement};")
    return "\n".join(lines) + "\n"
