"""What it costs HAProxy to let clients wait, and how fast they are served afterwards.

    PYTHONPATH=src python bench/hold_waiting.py [--clients 3000] [--hold 3] [--runs 5] [--rate 500]

Two tables, each with medians. First: N clients wait in a hold of some seconds; HAProxy's share
of a core meanwhile (utime + stime of /proc/PID/stat), and the time from the release until the
last of them has its greeting, as seen by the clients. Budget: below 0.1 core, below 500 ms.
Second: how long hold() and release() take while new connections arrive at a steady rate.
The clients run in a process of their own, with plain sockets and epoll, to measure HAProxy.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import multiprocessing
import os
import resource
import select
import socket
import statistics
import sys
import time
from multiprocessing.connection import Connection
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "outside"))
from real_haproxy import Client, in_seconds, lab

from slackwater.errors import OutsideError
from slackwater.outside.haproxy.haproxy import HAProxy

TICKS = os.sysconf("SC_CLK_TCK")


def cpu_s(pid: int) -> float:
    """Processor seconds of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def serve(port_out: Connection) -> None:
    """A server that greets at once and keeps the connection: one epoll loop."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=4096)
    port_out.send(listener.getsockname()[1])
    listener.setblocking(False)
    poll = select.epoll()
    poll.register(listener, select.EPOLLIN)
    open_: dict[int, socket.socket] = {}
    while True:
        for fd, _ in poll.poll():
            if fd != listener.fileno():
                with contextlib.suppress(OSError):
                    if open_[fd].recv(4096):
                        continue
                poll.unregister(fd)
                open_.pop(fd).close()
                continue
            with contextlib.suppress(BlockingIOError):
                while True:
                    one, _ = listener.accept()
                    one.setblocking(False)
                    one.send(b"greeting\n")
                    open_[one.fileno()] = one
                    poll.register(one, select.EPOLLIN)


def wait_as_clients(port: int, count: int, out: Connection) -> None:
    """Connect `count` times, say so, then report when each was greeted, and how many were not."""
    poll = select.epoll()
    open_: dict[int, socket.socket] = {}
    for _ in range(count):
        one = socket.create_connection(("127.0.0.1", port))
        one.setblocking(False)
        open_[one.fileno()] = one
        poll.register(one, select.EPOLLIN)
    out.send("connected")
    greeted: list[float] = []
    lost = 0
    limit = time.monotonic() + 60
    while open_ and time.monotonic() < limit:
        for fd, _ in poll.poll(1):
            now = time.monotonic()
            data = b""
            with contextlib.suppress(OSError):
                data = open_[fd].recv(100)
            greeted.append(now) if data else None
            lost += not data
            poll.unregister(fd)
            open_.pop(fd).close()
    out.send((greeted, lost + len(open_)))


async def waiting(clients: int, hold_s: float, runs: int) -> None:
    print(f"{clients} clients wait in a hold of {hold_s:g} s")
    print(f"{'run':>6} {'core share':>11} {'first ms':>9} {'half ms':>8} {'all ms':>8} {'lost':>5}")
    rows = []
    async with servers() as (balancer, pid):
        for run in range(1, runs + 1):
            rows.append(await one_wait(balancer, pid, clients, hold_s))
            print(f"{run:>6}", row(rows[-1]))
    print("median", row(tuple(statistics.median(c) for c in zip(*rows, strict=True))))


def row(figures: tuple[float, ...]) -> str:
    share, first, half, last, lost = figures
    return f"{share:>11.3f} {first:>9.1f} {half:>8.1f} {last:>8.1f} {lost:>5g}"


async def one_wait(balancer: HAProxy, pid: int, clients: int, hold_s: float) -> tuple[float, ...]:
    await balancer.prepare_hold(active="a")
    await balancer.hold(active="a", back="a", deadline=in_seconds(hold_s + 20))
    began, cpu = time.monotonic(), cpu_s(pid)
    ours, theirs = multiprocessing.Pipe()
    port = int(balancer.at.frontend.rpartition(":")[2])
    process = multiprocessing.Process(target=wait_as_clients, args=(port, clients, theirs))
    process.start()
    try:
        await asyncio.to_thread(ours.recv)
        while (await balancer.look()).queued < clients:
            await asyncio.sleep(0.05)
        await asyncio.sleep(max(0.0, began + hold_s - time.monotonic()))
        share = (cpu_s(pid) - cpu) / (time.monotonic() - began)
        released = time.monotonic()
        await balancer.release(to="a")
        greeted, lost = await asyncio.to_thread(ours.recv)
    finally:
        process.join(5)
        process.kill()
    late = sorted((t - released) * 1000 for t in greeted)
    return share, late[0], late[len(late) // 2], late[-1], float(lost)


@contextlib.asynccontextmanager
async def servers():  # type: ignore[no-untyped-def]
    """HAProxy before two servers, each a process; yields its HAProxy object and its pid."""
    made = []
    async with lab(start=False, maxconn=9000) as it:
        at = it.pairs["pair"]
        text = Path(at.config_file).read_text()
        for server in it.servers["pair"].values():
            ours, theirs = multiprocessing.Pipe()
            process = multiprocessing.Process(target=serve, args=(theirs,), daemon=True)
            process.start()
            made.append(process)
            text = text.replace(f"127.0.0.1:{server.port}", f"127.0.0.1:{ours.recv()}")
        Path(at.config_file).write_text(text)
        await it.start()
        assert it.process is not None
        try:
            yield HAProxy(at, limit_s=10.0), it.process.pid
        finally:
            for process in made:
                process.kill()
                process.join(5)


def connect_steadily(frontend: str, rate: int, pipe: Connection) -> None:
    """A process: `rate` new connections a second until told; sends (waits in ms, errors)."""
    waits: list[float] = []
    failed: list[str] = []

    async def one() -> None:
        began = time.monotonic()
        try:
            client = await Client.connect(frontend)
            said = await client.greeted(10)
            client.close()
            if said != "greeting":
                raise OSError("closed without a greeting")
            waits.append((time.monotonic() - began) * 1000)
        except (OSError, TimeoutError) as error:
            failed.append(repr(error))

    async def load() -> None:
        async with asyncio.TaskGroup() as group:
            began, sent = time.monotonic(), 0
            while not pipe.poll():
                while sent < (time.monotonic() - began) * rate:
                    group.create_task(one())
                    sent += 1
                await asyncio.sleep(0.002)

    asyncio.run(load())
    pipe.send((waits, failed))


async def latency(rate: int, rounds: int) -> None:
    """hold(), 200 ms of waiting, release(), again and again under new connections."""
    times: dict[str, list[float]] = {"hold()": [], "release()": []}
    async with servers() as (balancer, _):
        ours, theirs = multiprocessing.Pipe()
        arguments = (balancer.at.frontend, rate, theirs)
        process = multiprocessing.Process(target=connect_steadily, args=arguments)
        process.start()
        try:
            await asyncio.sleep(0.5)
            for n in range(rounds):
                old, new = ("a", "b") if n % 2 == 0 else ("b", "a")
                await balancer.prepare_hold(active=old)
                began = time.perf_counter()
                await balancer.hold(active=old, back=old, deadline=in_seconds(10))
                times["hold()"].append((time.perf_counter() - began) * 1000)
                await asyncio.sleep(0.2)
                began = time.perf_counter()
                await balancer.release(to=new)
                times["release()"].append((time.perf_counter() - began) * 1000)
                await asyncio.sleep(0.1)
            ours.send("stop")
            waits, failed = await asyncio.to_thread(ours.recv)
        finally:
            process.join(5)
            process.kill()
    print(f"\n{rate} new connections a second, {rounds} holds of 200 ms, each to the other server")
    print(f"{len(waits)} served, {len(failed)} failed, longest wait {max(waits):.0f} ms")
    print(f"{'':>10} {'min ms':>8} {'median':>8} {'max':>8}")
    for name, each in times.items():
        low, middle, high = min(each), statistics.median(each), max(each)
        print(f"{name:>10} {low:>8.2f} {middle:>8.2f} {high:>8.2f}")


def main() -> None:
    parse = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parse.add_argument("--clients", type=int, default=3000)
    parse.add_argument("--hold", type=float, default=3.0)
    parse.add_argument("--runs", type=int, default=5)
    parse.add_argument("--rate", type=int, default=500)
    asked = parse.parse_args()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    multiprocessing.set_start_method("fork")
    try:
        asyncio.run(waiting(asked.clients, asked.hold, asked.runs))
        asyncio.run(latency(asked.rate, asked.runs * 4))
    except OutsideError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
