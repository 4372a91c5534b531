"""What the tests on real sockets share."""

from __future__ import annotations

import asyncio
import contextlib
import os
from bisect import bisect_right
from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from typing import Any, TypeVar

from camb_async import CambSession, FixedInterval, Limits, RetryPolicy
from camb_async.simulator import Simulator

from .virtual_time import VirtualLoop


ResultT = TypeVar("ResultT")

#: Back-off short enough for tests, long enough to be seen.
QUICK = RetryPolicy(backoff_initial=0.01, backoff_max=0.05, not_found_grace=0.3)
FREE = Limits(max_in_flight=100, max_rate=None)
SOON = FixedInterval(0.02)

DESCRIPTION = (
    "A calm woman in her forties with a light accent, unhurried and clear, sounding "
    "reassuring and a little amused, recorded close to the microphone."
)


def run(
    main: Coroutine[Any, Any, ResultT],
    loop_factory: Callable[[], asyncio.AbstractEventLoop] | None = None,
) -> ResultT:
    """Run a coroutine and check that it leaves no task behind."""

    async def checked() -> ResultT:
        result = await main
        left = asyncio.all_tasks() - {asyncio.current_task()}
        assert not left, left

        return result

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        return runner.run(checked())


def run_in_virtual_time(main: Coroutine[Any, Any, ResultT]) -> ResultT:
    """Do the same where waiting takes no time, and a busy machine delays nothing."""
    return run(main, VirtualLoop)


def open_files() -> int:
    """Return how many files and sockets this process has open."""
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - no path is built


async def until(condition: Callable[[], bool]) -> None:
    """Wait until something is so, which it has to be before long."""
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - nobody else knows when it is so
            await asyncio.sleep(0.001)


async def settled(baseline: int) -> None:
    """Wait until no more files are open than before; closing takes a few rounds."""
    await until(lambda: open_files() <= baseline)


@contextlib.asynccontextmanager
async def served(
    scenario: str | None = None, *, speed: float = 1.0, **options: Any
) -> AsyncGenerator[tuple[Simulator, CambSession]]:
    """Run a simulator and a session with it."""
    options.setdefault("retry", QUICK)
    options.setdefault("limits", FREE)
    async with (
        Simulator(scenario, speed=speed) as simulator,
        CambSession(
            simulator.api_key, base_url=simulator.base_url, **options
        ) as session,
    ):
        yield simulator, session


def most_in_a_second(sent: Sequence[float]) -> int:
    """Return how many requests the busiest second saw, from their times in order."""
    return max(
        (bisect_right(sent, first + 1.0) - at for at, first in enumerate(sent)),
        default=0,
    )
