"""The linter against a real pair: hundreds of changes, both directions, verdict beside outcome.

    python -m tests.alter.matrix SERVER [FORMAT] [IMAGE] [--all]      e.g. mariadb-10.11 ROW FULL

For each change there are tables that have it on one server only; a client writes to the source,
the replica applies, the other server gets the change too, and both tables are compared.
f: the old schema's server is the source; b: the new one's is, and the application is the old one;
g: the same, and the application uses what is new.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from tests.alter import cases, more_cases, odd_cases
from tests.alter.cases import Case
from tests.alter.real import RealPair, real_pair

from slackwater.facts.alter_diff import Change, Kind, table_changes
from slackwater.facts.alter_link import PairSettings, Settings
from slackwater.facts.alter_script import split
from slackwater.facts.server import ServerAddress
from slackwater.outside.mysql import schema as mysql_schema
from slackwater.outside.mysql.dialect import alter_traits
from slackwater.outside.mysql.session import Session
from slackwater.outside.server_programs import Program, installed
from slackwater.rules.alter import advice, statements
from slackwater.rules.alter.judge import judge, modes
from slackwater.rules.alter.verdict import Finding, Level, Note

EQUAL, SILENT = "equal", "SILENT"
NL, L, U = "ALL_NON_LOSSY", "ALL_LOSSY", "ALL_UNSIGNED"
_NAMES = {NL: "NL", L: "L", U: "U"}


@dataclass
class Job:
    """One table pair: a case in one direction under one conversion setting."""

    case: Case
    number: int
    way: str  # f, b, g
    modes: frozenset[str]
    outcome: str = ""
    app: dict[str, int] = field(default_factory=dict)  # statement: error, on the source

    @property
    def table(self) -> str:
        return f"t{self.number}" + "".join(_NAMES[m].lower() for m in sorted(self.modes))

    @property
    def database(self) -> str:
        return f"m{self.way}"


@dataclass
class Judged:
    """A case, what the linter says, and what really happened."""

    case: Case
    findings: list[Finding]
    ddl_error: str = ""
    notes: list[Note] = field(default_factory=list)
    jobs: list[Job] = field(default_factory=list)

    @property
    def level(self) -> Level:
        return max((f.level for f in self.findings), default=Level.SAFE)

    def outcome(self, way: str) -> str:
        """Of a direction, as the table prints it."""
        return " ".join(
            (f"{','.join(_NAMES[m] for m in sorted(j.modes))}:" if j.modes else "") + j.outcome
            for j in self.jobs if j.way == way)

    def faults(self) -> list[str]:
        """What the verdict did not say."""
        if self.level >= Level.COMPLY:
            return []
        found = [f"{j.way} {j.outcome}" for j in self.jobs
                 if j.way in "fb" and j.outcome != EQUAL]
        gated = any(f.until_finished for f in self.findings)
        if not gated:
            found += [f"g {j.outcome} and nothing forbids it" for j in self.jobs
                      if j.way == "g" and j.outcome != EQUAL]
        return found

    def refused_in_vain(self) -> bool:
        """Whether some setting each way makes a refused change work after all."""
        if self.level is not Level.REFUSED:
            return False
        return bool(self.jobs) and all(
            any(j.outcome == EQUAL for j in self.jobs if j.way == way) for way in "fb")


def all_cases(program: Program) -> list[Case]:
    """Those that this vendor can do."""
    return [c for c in (*cases.types(), *more_cases.others(), *odd_cases.odd())
            if c.only in ("", program.vendor)]


def run(program: Program, chosen: Sequence[Case], form: str, image: str, place: Path
        ) -> list[Judged]:
    """Make a pair and hold the linter against it."""
    options = (f"--binlog-format={form}", f"--binlog-row-image={image}")
    with real_pair(program, place, *options) as pair:
        pair.both(*(f"CREATE DATABASE m{way} CHARACTER SET utf8mb4" for way in "vfbg"))
        judged = asyncio.run(_verdicts(pair, chosen))
        for number, each in enumerate(judged):
            each.jobs = [] if each.ddl_error else _jobs(each, number, form, pair.mariadb)
        jobs = [job for each in judged for job in each.jobs]
        _prepare(pair, jobs)
        for setting in sorted({job.modes for job in jobs}, key=sorted):
            _write(pair, [job for job in jobs if job.modes == setting], setting, form)
        _failures_of_the_application(jobs)
        for job in jobs:
            _compare(pair, job)
        return judged


async def _verdicts(pair: RealPair, chosen: Sequence[Case]) -> list[Judged]:
    link = pair.quiet[1]
    link.run("USE mv")
    for number, case in enumerate(chosen):
        _create(link.run, case, f"t{number}")
    at = ServerAddress("b", "root", socket=str(pair.servers[1].socket))
    async with await Session.open(at) as session:
        await session.run("USE mv")
        before = await mysql_schema.definitions(session, "mv", limit_s=120)
        errors = {}
        for number, case in enumerate(chosen):
            try:
                link.run(case.ddl.format(t=f"t{number}"))
            except Exception as error:
                errors[number] = str(error)
        after = await mysql_schema.definitions(session, "mv", limit_s=120)
        traits = alter_traits(session.flavour)
        variables = {r["Variable_name"].lower(): r["Value"]
                     for r in await session.rows("SHOW GLOBAL VARIABLES")}
    own = Settings.read(variables, traits)
    links = PairSettings(own, own)
    found = []
    for number, case in enumerate(chosen):
        name = f"t{number}"
        if number in errors:
            found.append(Judged(case, [], errors[number]))
            continue
        changes = table_changes(before[name], after[name]) or [
            Change(Kind.NOTHING, name, None, None, before[name], after[name])]
        findings = judge(changes, links)
        refusal = statements.refusal(split(case.ddl.format(t=name))[0])
        found.append(Judged(case, [*findings, *([refusal] if refusal else [])],
                            notes=advice.replaces(changes, links)))
    return found


def _jobs(each: Judged, number: int, form: str, mariadb: bool) -> list[Job]:
    if each.level is Level.REFUSED:
        if not each.case.try_refused:
            return []
        settings = [frozenset[str]()]
        if form != "STATEMENT":
            settings += [frozenset({NL}), frozenset({NL, L})]
            settings += [] if mariadb else [frozenset({NL, U}), frozenset({NL, L, U})]
        return [Job(each.case, number, way, s) for s in settings for way in "fb"]
    forward, back = modes(each.findings, forward=True), modes(each.findings, forward=False)
    jobs = [Job(each.case, number, "f", forward), Job(each.case, number, "b", back)]
    if each.case.new_values or each.case.new_writes:
        jobs.append(Job(each.case, number, "g", back))
    return jobs


def _create(run: object, case: Case, table: str) -> None:
    assert callable(run)
    run("SET SESSION sql_mode = ''")
    for statement in case.setup:
        run(statement.format(t=table))
    key = case.key.format(t=table)
    run(f"CREATE TABLE {table} (id INT NOT NULL, {case.columns}, z VARCHAR(10) NOT NULL DEFAULT"
        f" 'z'{case.tail}, {key}) CHARACTER SET utf8mb4 {case.options}")
    if _writable(case):
        run(f"INSERT INTO {table} (id, c) VALUES (1, {case.mild})")
        run(f"INSERT IGNORE INTO {table} (id, c) VALUES (2, {case.mild})")
    else:
        run(f"INSERT INTO {table} (id) VALUES (1), (2)")
    run("SET SESSION sql_mode = @@GLOBAL.sql_mode")


def _writable(case: Case) -> bool:
    return " AS (" not in case.columns


def _prepare(pair: RealPair, jobs: Iterable[Job]) -> None:
    def make(side: int) -> None:
        link = pair.quiet[side]
        for job in jobs:
            link.run(f"USE {job.database}")
            _create(link.run, job.case, job.table)
            if (side == 1) == (job.way == "f"):
                link.run(job.case.ddl.format(t=job.table))

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(make, (0, 1)))


def workload(job: Job, form: str) -> list[str]:
    """What the application writes; under MIXED one statement that comes as a row."""
    case = job.case
    values = case.values if job.way != "g" else (*case.values, *case.new_values)
    done = ["UPDATE {t} SET z = 'first' WHERE id = 1"]
    if _writable(case):
        for at, value in enumerate(values):  # each once as inserted, once as updated to
            done.append(f"INSERT INTO {{t}} (id, c, z) VALUES ({10 + at}, {value}, 'i{at}')")
            other = values[(at + 1) % len(values)]
            done.append(f"INSERT INTO {{t}} (id, c) VALUES ({30 + at}, {other})")
            done.append(f"UPDATE {{t}} SET c = {value} WHERE id = {30 + at}")
        done.append(f"INSERT INTO {{t}} (id, c) VALUES (60, {case.mild})")
    else:
        done += ["INSERT INTO {t} (id, z) VALUES (10, 'i'), (60, 'j')"]
    done += ["UPDATE {t} SET z = 'w' WHERE id = 10", "DELETE FROM {t} WHERE id = 60",
             "DELETE FROM {t} WHERE id = 2", *case.writes]
    if job.way == "g":
        done += case.new_writes
    if form == "MIXED":
        done.append("UPDATE {t} SET z = LEFT(UUID(), 8) WHERE id IN (1, 10)")
    return [s.format(t=job.table) for s in done]


def _write(pair: RealPair, jobs: Sequence[Job], setting: frozenset[str], form: str) -> None:
    """All writes of one conversion setting, a transaction for each table."""
    pair.convert(setting)
    named = {(job.database, job.table): job for job in jobs}
    pair.a.run("SET SESSION sql_mode = @@GLOBAL.sql_mode, SESSION timestamp = 1700000000")
    for job in jobs:
        pair.a.run(f"USE {job.database}")
        pair.a.run("BEGIN")
        for statement in workload(job, form):
            if code := pair.a.code(statement):
                job.app[statement] = code
        pair.a.run("COMMIT")
    for database, table, code in pair.caught_up():
        job = named.get((database, table)) or named[database, table[:-1]]  # its parent
        job.outcome = job.outcome or f"E{code}"
    pair.a.run("SET SESSION timestamp = DEFAULT")


def _failures_of_the_application(jobs: Sequence[Job]) -> None:
    """What the old application could do on the old schema, it must be able to do on the new."""
    could = {j.number: {s.replace(j.table, "") for s in j.app} for j in jobs if j.way == "f"}
    for job in jobs:
        if job.way == "b" and not job.outcome:
            more = [c for s, c in job.app.items()
                    if s.replace(job.table, "") not in could.get(job.number, set())]
            if more:
                job.outcome = f"app{more[0]}"


def _compare(pair: RealPair, job: Job) -> None:
    """Give the other server the change too, then look."""
    if job.outcome:
        return
    late = pair.quiet[0 if job.way == "f" else 1]
    late.run(f"USE {job.database}")
    if code := late.code(job.case.ddl.format(t=job.table)):
        job.outcome = f"ddl{code}"
        return
    ask = f"SELECT * FROM {job.database}.{job.table}"
    one, other = (sorted(map(repr, link.tuples(ask))) for link in pair.quiet)
    job.outcome = EQUAL if one == other else SILENT


def report(judged: Sequence[Judged], *, everything: bool = True) -> tuple[str, int, int]:
    """The table, how many verdicts were too good, and how many refused what works."""
    lines, wrong, vain = [], 0, 0
    for each in judged:
        faults, in_vain = each.faults(), each.refused_in_vain()
        wrong += bool(faults)
        vain += in_vain
        mark = "WRONG" if faults else "vain" if in_vain else ""
        if everything or mark:
            said = each.ddl_error or (
                f"f {each.outcome('f')} | b {each.outcome('b')} | g {each.outcome('g') or '-'}")
            rules = ",".join(dict.fromkeys(f.rule.id for f in each.findings if f.level))
            word = "-" if each.ddl_error else each.level.word
            lines.append(f"{mark:6}{each.case.name[:52]:53}{word:12}{said}  [{rules}]")
    counts = Counter(e.level.word for e in judged if not e.ddl_error)
    lines.append(f"{len(judged)} changes: " + ", ".join(f"{n} {w}" for w, n in counts.items())
                 + f", {sum(bool(e.ddl_error) for e in judged)} that the server refuses; "
                 f"{wrong} verdicts too good, {vain} refused in vain")
    return "\n".join(lines), wrong, vain


def program_named(name: str) -> Program:
    """An installed server, such as mariadb-10.11."""
    return next(p for p in installed() if p.name == name)


def main(words: Sequence[str]) -> int:
    """Print the table of one server, format and image."""
    words = [w for w in words if w != "--all"]
    name, form, image = (*words, *("mariadb-10.11", "ROW", "FULL")[len(words):])[:3]
    program = program_named(name)
    with tempfile.TemporaryDirectory(prefix="slackwater-matrix-", dir="/dev/shm") as folder:
        place = Path(folder)
        place.chmod(0o711)
        begun = time.monotonic()
        judged = run(program, all_cases(program), form, image, place)
    text, wrong, _ = report(judged, everything="--all" in sys.argv)
    print(f"{text}\n{name} {form} {image}: {time.monotonic() - begun:.0f} s")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
