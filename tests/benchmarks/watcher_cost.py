"""CPU per poll of a whole watcher, against a coroutine per task around aiohttp.

Run it: ``python -m tests.benchmarks.watcher_cost [ROUNDS]``. 2,000 tasks are polled
about once in two seconds over real sockets, by each in turn, in one process.
"""

from __future__ import annotations

import asyncio
import gc
import random
import statistics
import sys
import time
from collections.abc import Callable, Coroutine, Sequence

import aiohttp
import attrs

from camb_async import CambSession, FixedInterval, Limits, TaskWatcher

from .peers import IDS, KEY
from .status_server import status_server


INTERVAL = 2.0
SECONDS = 4.0


@attrs.frozen
class Row:
    """What a poll took in one way of watching: microseconds of CPU, by round."""

    way: str
    rounds: Sequence[float]


#: Watches for so many seconds, once settled; returns the CPU of a poll.
Way = Callable[[str, float], Coroutine[None, None, float]]


async def coroutines(base_url: str, seconds: float) -> float:
    """Poll as most people do; return the CPU of one poll, in microseconds."""
    polls = 0
    headers = {"x-api-key": KEY}
    connector = aiohttp.TCPConnector(limit=32)
    async with aiohttp.ClientSession(headers=headers, connector=connector) as client:

        async def follow(task_id: str) -> None:
            nonlocal polls
            await asyncio.sleep(random.random() * INTERVAL)
            while True:
                url = f"{base_url}/text-to-voice/{task_id}"
                async with client.get(url) as response:
                    state = await response.json()
                polls += 1
                if state["status"] != "PENDING":
                    return
                await asyncio.sleep(INTERVAL * random.uniform(0.9, 1.1))

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(follow(task_id)) for task_id in IDS]
            cost = await measured(lambda: polls, seconds)
            for task in tasks:
                task.cancel()
    return cost


async def watcher(base_url: str, seconds: float) -> float:
    """Poll with a TaskWatcher; return the CPU of one poll, in microseconds."""
    limits = Limits(max_in_flight=32, max_rate=None)
    async with (
        CambSession(KEY, base_url=base_url, limits=limits) as camb,
        TaskWatcher(camb, IDS, schedule=FixedInterval(INTERVAL)) as watching,
    ):
        return await measured(lambda: watching.stats().polls, seconds)


async def measured(polls: Callable[[], int], seconds: float) -> float:
    """Return the CPU per poll of what is going on, once it has settled."""
    await asyncio.sleep(INTERVAL * 1.2)
    gc.collect()
    before, polled = time.process_time(), polls()
    await asyncio.sleep(seconds)
    return (time.process_time() - before) / (polls() - polled) * 1e6


WAYS: dict[str, Way] = {"a coroutine per task": coroutines, "TaskWatcher": watcher}


def rows(rounds: int = 5, seconds: float = SECONDS) -> list[Row]:
    """Return what is printed, as data: each way in turn, so many times."""
    costs: dict[str, list[float]] = {name: [] for name in WAYS}
    with status_server() as base_url:
        for _ in range(rounds):
            for name, way in WAYS.items():
                costs[name].append(round(asyncio.run(way(base_url, seconds)), 1))
    return [Row(name, each) for name, each in costs.items()]


def main() -> None:
    """Print both medians, and the median of the rounds' ratios."""
    theirs, ours = found = rows(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
    ratios = [
        our / their for our, their in zip(ours.rounds, theirs.rounds, strict=True)
    ]
    print(  # noqa: T201
        ", ".join(f"{row.way} {statistics.median(row.rounds):.0f} us" for row in found)
        + f", ratio {statistics.median(ratios):.2f}"
        f" (rounds {min(ratios):.2f} to {max(ratios):.2f})"
    )


if __name__ == "__main__":
    main()
