"""The load's one thread: starts clients when they are due, and gives each its time limit.

One epoll loop in plain Python costs about 150 us of CPU for a connection-per-request write
(docs/decisions/0001-load-generator.md). Nothing in here waits except `epoll`.
"""

from __future__ import annotations

import gc
import heapq
import itertools
import resource
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from slackwater.lab import wire
from slackwater.lab.load_clients import PooledWriter, Request
from slackwater.lab.load_connection import CANNOT_CONNECT, Connection, Owner, Poller, clock
from slackwater.lab.load_plan import REQUEST, LoadPlan, Target
from slackwater.lab.load_record import Record

_PROGRAM = "slackwater lab load"
_LONGEST_SLEEP_S = 0.05  # so that a stop is seen soon
_STARTS_AT_ONCE = 32  # then answers are read before more requests are started
_STARTS_BETWEEN = 4  # looks at pools' answers
_SPARE_DESCRIPTORS = 100


class Engine:
    """One run of the load; `stop` may be set from a signal handler or another thread."""

    def __init__(self, target: Target, plan: LoadPlan) -> None:
        self.plan = plan
        self.stop = False
        self.outstanding = 0
        self.cpu_s = 0.0
        # Unique between runs: two runs never begin within as many ms as one has millions of rows.
        self.record = Record(time.time_ns() // 1_000_000 * 1_000_000)
        self._credentials = wire.Credentials(
            target.user, target.password, target.database, _PROGRAM
        )
        self._frontends = itertools.cycle(target.frontends)
        self._sources = itertools.cycle(_sources(plan.sources))
        self._poller = Poller()
        self._requests: deque[Request] = deque()  # by start: their limits end in this order
        self._writing: deque[Request] = deque()
        self._timers: list[tuple[float, int, Callable[[], None]]] = []
        self._timer_ids = itertools.count()
        self._share = 0.0
        tests = [False] * plan.pooled + [True] * plan.pooled_tested
        self._writers = [PooledWriter(self, tested=tested) for tested in tests]
        self._due = 0.0
        self._ended = False

    def connect(self, owner: Owner) -> Connection:
        """A connection through the next frontend. Raises OSError."""
        frontend = next(self._frontends)
        return Connection(self._poller, owner, frontend, self._credentials, next(self._sources),
                          prompt=isinstance(owner, PooledWriter))

    def at(self, when: float, act: Callable[[], None]) -> None:
        if not self._ended:
            heapq.heappush(self._timers, (when, next(self._timer_ids), act))

    def next_is_transaction(self) -> bool:
        """Deals transactions out evenly at the plan's share."""
        self._share += self.plan.transactions
        if self._share >= 1:
            self._share -= 1
            return True
        return False

    def run(self, progress: Callable[[str], None] | None = None) -> None:
        """Offer the load until its time is over or it is stopped; then wait for what is left."""
        before = time.process_time()
        with _many_descriptors() as limit, _no_garbage_pauses():
            cap = min(self.plan.max_outstanding, limit - _SPARE_DESCRIPTORS)
            begin = clock()
            self._stagger(begin)
            self._offer(begin, cap, progress)
            self._drain()
        self.cpu_s = time.process_time() - before

    def _stagger(self, begin: float) -> None:
        self._due = begin
        for i, writer in enumerate(self._writers):
            writer.first_use(begin + i / len(self._writers) / self.plan.pooled_rate)

    def _offer(self, begin: float, cap: int, progress: Callable[[str], None] | None) -> None:
        end, look = begin + self.plan.seconds, begin
        until = Path(self.plan.until_file) if self.plan.until_file else None
        told = begin
        while not self.stop and (now := clock()) < end:
            self._start_requests(now, end, cap)
            self._run_timers(now)
            if now >= look:
                look = now + 0.1
                self._end_overdue(now)
                if until is not None and until.exists():
                    return
            if progress is not None and now - told >= 1:
                told = now
                progress(self._progress_text(now - begin))
            self._poller.run_once(self._sleep_s(end, look))

    def _start_requests(self, now: float, end: float, cap: int) -> None:
        if self.plan.rate <= 0:
            return
        record, step = self.record, 1 / self.plan.rate
        started = 0
        while self._due <= now and self._due < end and started < _STARTS_AT_ONCE:
            late = now - self._due
            self._due += step
            if late > self.plan.late_limit_s or self.outstanding >= cap:
                record.skipped += 1
                continue
            record.late.append(late)
            self._start_request(clock())
            started += 1
            if started % _STARTS_BETWEEN == 0:
                self._poller.run_prompt()

    def _start_request(self, now: float) -> None:
        record = self.record
        record.begun[REQUEST] += 1
        self.outstanding += 1
        try:
            self._requests.append(Request(self, now))
        except OSError as error:
            self.outstanding -= 1
            text = f"this machine: {error.strerror}"
            record.fail(REQUEST, "connect", CANNOT_CONNECT, text, start=now, now=clock())

    def _run_timers(self, now: float) -> None:
        while self._timers and self._timers[0][0] <= now:
            heapq.heappop(self._timers)[2]()

    def _sleep_s(self, end: float, look: float) -> float:
        now = clock()
        wake = min(end, look, now + _LONGEST_SLEEP_S)
        if self.plan.rate > 0:
            wake = min(wake, self._due)
        if self._timers:
            wake = min(wake, self._timers[0][0])
        return max(0.0, wake - now)

    def _end_overdue(self, now: float) -> None:
        plan = self.plan
        while self._requests and self._requests[0].start + plan.connect_limit_s <= now:
            request = self._requests.popleft()
            if request.writing and not request.over:
                self._writing.append(request)
            elif not request.over:
                request.give_up(f"timed out after {plan.connect_limit_s:g} s")
        limit = plan.connect_limit_s + plan.write_limit_s
        while self._writing and self._writing[0].start + limit <= now:
            self._writing.popleft().give_up(f"no answer within {plan.write_limit_s:g} s")
        for writer in self._writers:
            if writer.busy and writer.limit <= now:
                writer.give_up("timed out")

    def _drain(self) -> None:
        """No new work; wait for the answers under way, then count what never came."""
        self._timers = [timer for timer in self._timers if not _is_use(timer[2])]
        self._ended = True
        end = clock() + self.plan.drain_s
        while self.outstanding and (now := clock()) < end:
            self._run_timers(now)
            self._end_overdue(now)
            self._poller.run_once(_LONGEST_SLEEP_S)
        self.record.unfinished = self.outstanding
        for request in itertools.chain(self._requests, self._writing):
            request.give_up("still unanswered when the load ended")
        for writer in self._writers:
            if writer.busy:
                writer.give_up("still unanswered when the load ended")
            writer.close()
        self._poller.close()

    def _progress_text(self, elapsed: float) -> str:
        record = self.record
        acked = sum(len(samples.ends) for samples in record.samples.values())
        errors = sum(fault.count for fault in record.errors.values())
        worst = max(samples.longest for samples in record.samples.values())
        return (
            f"{elapsed:5.0f} s  {acked:,} acknowledged ({acked / elapsed:,.0f}/s)  "
            f"{self.outstanding} under way  {errors} errors  "
            f"longest stall {worst * 1e3:.1f} ms  {record.skipped} skipped"
        )


def _is_use(act: Callable[[], None]) -> bool:
    return getattr(act, "__func__", None) is PooledWriter.use


def _sources(count: int) -> list[str]:
    return [""] if count == 1 else [f"127.0.0.{i + 1}" for i in range(count)]


@contextmanager
def _many_descriptors() -> Iterator[int]:
    """Raise the soft limit of open files to the hard one meanwhile; yields the limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 65_536 if hard == resource.RLIM_INFINITY else min(hard, 65_536)
    raised = max(soft, wanted)
    resource.setrlimit(resource.RLIMIT_NOFILE, (raised, hard))
    try:
        yield raised
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@contextmanager
def _no_garbage_pauses() -> Iterator[None]:
    """A full collection among 100,000 objects lasts tens of ms: it would look like a stall."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
