"""A session with two slots through all that can end a call: none gets stuck."""

# The slots are counted from inside.
# pyright: reportPrivateUsage=false

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from random import Random

import attrs
import pytest

from camb_async import CambError, CambSession, Limits
from camb_async.simulator import Simulator
from tests.helpers import QUICK, run

from .figures import open_files


CALLERS = 20
CALLS = 60
FAULTS = (
    "500",
    "503",
    "429_no_header",
    "401",
    "404",
    "reset",
    "reset_mid_body",
    "truncate_chunked",
    "garbage",
    "bad_json",
    "endless_body",
    "idle_close",
    "hang",
    "drip",
)
VOICE = (
    "A calm woman in her forties with a light Irish accent, unhurried and clear, a "
    "little amused, close to the microphone."
)


@attrs.define
class Storm:
    """Many callers who do not know of each other, and a service in trouble."""

    simulator: Simulator
    camb: CambSession
    random: Random
    under_way: list[asyncio.Task[None]] = attrs.field(factory=list[asyncio.Task[None]])
    outcomes: Counter[str] = attrs.field(factory=Counter[str])

    async def rage(self) -> None:
        """Have all callers make all their calls."""
        async with asyncio.TaskGroup() as group:
            for _ in range(CALLERS):
                group.create_task(self._call_on())

    async def _call_on(self) -> None:
        calls = (self._poll, self._read, self._result, self._create)
        for number in range(CALLS):
            if self.random.random() < 0.2:
                self.simulator.heal()  # one trouble at a time
                self.simulator.fail(self.random.choice(FAULTS))
            if self.random.random() < 0.02:
                self.simulator.api_key = f"key-{number}"
            outcome = await self._end(self.random.choice(calls))
            self.outcomes[outcome] += 1

    async def _end(self, call: Callable[[], Awaitable[object]]) -> str:
        """Make a call that may be cancelled at any time; return what became of it."""
        calling = asyncio.ensure_future(self._make(call))
        self.under_way.append(calling)
        patience = self.random.choice([0.0, 0.01, 0.1, 1.0, None])
        await asyncio.wait([calling], timeout=patience)
        calling.cancel()
        await asyncio.wait([calling])
        self.under_way.remove(calling)
        if calling.cancelled():
            return "cancelled"
        error = calling.exception()
        assert error is None or isinstance(error, CambError)
        return "answered" if error is None else type(error).__name__

    async def _make(self, call: Callable[[], Awaitable[object]]) -> None:
        try:
            await call()
        finally:
            # Its slot was given to somebody just now, who may be one of these.
            if self.random.random() < 0.3:
                self.random.choice(self.under_way[:4]).cancel()

    async def _poll(self) -> object:
        return await self.camb.poll("task")

    async def _read(self) -> object:
        return await self.camb.get_task_status("task")

    async def _result(self) -> object:
        return await self.camb.get_text_to_voice_result(7)

    async def _create(self) -> object:
        return await self.camb.create_text_to_voice(text="x", voice_description=VOICE)


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("seed", range(2))
def test_no_slot_gets_stuck(seed: int) -> None:
    """After failures, cancellations, timeouts and new keys a call is answered."""

    async def main() -> Counter[str]:
        files = open_files()
        async with Simulator() as simulator:
            simulator.add_task("task", run_id=7)

            async def key() -> str:
                await asyncio.sleep(0.005)
                return simulator.api_key

            async with CambSession(
                key,
                base_url=simulator.base_url,
                limits=Limits(max_in_flight=2, max_rate=None),
                retry=QUICK,
                request_timeout=0.3,
            ) as camb:
                storm = Storm(simulator, camb, Random(seed))
                await storm.rage()
                simulator.heal()
                assert 0 == camb._calls._limiter.pacer.in_flight
                await asyncio.wait_for(camb.get_task_status("task"), 10.0)
                assert 0 == camb._calls._limiter.pacer.in_flight
                assert not camb._calls._limiter.waiting
        assert files == open_files()
        return storm.outcomes

    outcomes = run(main())

    assert outcomes.keys() >= {
        "answered",
        "cancelled",
        "AuthenticationError",
        "SubmissionUnknownError",
    }, outcomes
