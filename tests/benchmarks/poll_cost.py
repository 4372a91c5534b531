"""CPU of one ``camb.poll`` against aiohttp's own ``get`` and ``json``.

Run it: ``python -m tests.benchmarks.poll_cost [ROUNDS]``. The variants take turns
in one process; only the ratio of the medians carries over to another machine.
"""

from __future__ import annotations

import asyncio
import gc
import statistics
import sys
import time
from collections.abc import Awaitable, Callable

import aiohttp

from camb_async import CambSession, Limits

from .status_server import status_server


TASK_ID = "0f6d2c1e-7b1a-4f0e-9c55-2a6f3e8d4b10"
POLLS = 4000

Poll = Callable[[], Awaitable[object]]


async def cpu_per_poll(poll: Poll, concurrency: int) -> float:
    """Return the microseconds of CPU that one poll took in this process."""

    async def poller() -> None:
        for _ in range(POLLS // concurrency):
            await poll()

    gc.collect()
    gc.disable()
    try:
        before = time.process_time()
        await asyncio.gather(*(poller() for _ in range(concurrency)))
        return (time.process_time() - before) / POLLS * 1e6
    finally:
        gc.enable()


async def compare(base_url: str, rounds: int) -> None:
    """Print a line per concurrency: both medians, and their ratio."""
    key = "benchmark-key"
    url = f"{base_url}/text-to-voice/{TASK_ID}"
    limits = Limits(max_in_flight=1000, max_rate=None)
    async with (
        aiohttp.ClientSession(
            headers={"x-api-key": key}, connector=aiohttp.TCPConnector(limit=0)
        ) as plain,
        CambSession(key, base_url=base_url, limits=limits) as camb,
    ):

        async def plain_poll() -> object:
            async with plain.get(url) as response:
                return await response.json()

        async def camb_poll() -> object:
            return await camb.poll(TASK_ID)

        variants: dict[str, Poll] = {"aiohttp": plain_poll, "camb_async": camb_poll}
        for concurrency in (1, 50, 200):
            taken: dict[str, list[float]] = {name: [] for name in variants}
            for number in range(rounds + 1):
                for name, poll in variants.items():
                    cost = await cpu_per_poll(poll, concurrency)
                    if number:  # the first round warms up
                        taken[name].append(cost)
            medians = {name: statistics.median(costs) for name, costs in taken.items()}
            ratios = [
                ours / theirs
                for ours, theirs in zip(
                    taken["camb_async"], taken["aiohttp"], strict=True
                )
            ]
            print(  # noqa: T201
                f"concurrency {concurrency:>3}: "
                + ", ".join(f"{name} {cost:.0f} us" for name, cost in medians.items())
                + f", ratio {medians['camb_async'] / medians['aiohttp']:.2f}"
                f" (rounds {min(ratios):.2f} to {max(ratios):.2f})"
            )


def main() -> None:
    """Run the comparison for the number of rounds given on the command line."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 7
    with status_server() as base_url:
        asyncio.run(compare(base_url, rounds))


if __name__ == "__main__":
    main()
