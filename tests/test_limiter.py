"""The queue at the session's door."""

from __future__ import annotations

import asyncio

from camb_async import Limits
from camb_async._limiter import Limiter

from .virtual_time import run


def test_who_gives_up_leaves_nothing_in_the_queue() -> None:
    """Calls with short timeouts do not pile up behind one that waits long."""

    async def main() -> None:
        limiter = Limiter(Limits(max_in_flight=1, max_rate=None))
        await limiter.acquire()
        patient = asyncio.ensure_future(limiter.acquire())
        for _ in range(100):
            try:
                async with asyncio.timeout(0.1):
                    await limiter.acquire()
            except TimeoutError:
                pass
        waiting = limiter.waiting
        limiter.release()
        await patient
        limiter.release()

        assert 1 == waiting
        assert (0, 0) == (limiter.waiting, limiter.pacer.in_flight)

    run(main())


def test_first_come_first_served() -> None:
    """One slot is handed on in the order in which it was asked for."""

    async def main() -> None:
        limiter = Limiter(Limits(max_in_flight=1, max_rate=None))
        served: list[int] = []

        async def call(number: int) -> None:
            await limiter.acquire()
            served.append(number)
            await asyncio.sleep(1)
            limiter.release()

        async with asyncio.TaskGroup() as group:
            for number in range(20):
                group.create_task(call(number))

        assert list(range(20)) == served

    run(main())
