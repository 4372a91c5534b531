"""Hold requests back until the pacer lets them leave, first come first served."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from copy import copy

from ._pacing import Pacer
from .errors import CambError
from .policies import Limits


class Limiter:
    """The queue at the session's door. Belongs to the loop it is made in."""

    def __init__(self, limits: Limits) -> None:
        self.pacer = Pacer(limits)
        self._loop = asyncio.get_running_loop()
        self._queue: OrderedDict[asyncio.Future[None], None] = OrderedDict()
        self._timer: asyncio.TimerHandle | None = None
        self._held = False

    @property
    def waiting(self) -> int:
        """How many requests wait to leave."""
        return len(self._queue)

    async def acquire(self) -> None:
        """Wait until a request may leave. Each must be followed by ``release``.

        Raises:
            CambError: whatever ``refuse_all`` was called with meanwhile.
        """
        now = self._loop.time()
        free = not (self._queue or self._held)
        if free and self.pacer.delay(now) == 0.0:
            self.pacer.leave(now)
            return
        turn = self._loop.create_future()
        self._queue[turn] = None
        self._pump()
        try:
            await turn
        except asyncio.CancelledError:
            self._queue.pop(turn, None)
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                self.pacer.take_back()
                self._pump()
            raise
        self.pacer.left(self._loop.time())

    def release(self) -> None:
        """Give the slot back."""
        self.pacer.back()
        if self._queue:
            self._pump()

    def hold(self) -> None:
        """Let nothing leave until ``go_on``."""
        self._held = True

    def go_on(self) -> None:
        """Let requests leave again."""
        self._held = False
        self._pump()

    def refuse_all(self, error: CambError) -> None:
        """Fail everything that is waiting to leave."""
        queue, self._queue = self._queue, OrderedDict()
        for turn in queue:
            if not turn.done():
                turn.set_exception(copy(error))
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _pump(self) -> None:
        while self._queue and not self._held:
            now = self._loop.time()
            delay = self.pacer.delay(now, len(self._queue))
            if delay is None:
                return
            if delay > 0.0:
                self._pump_after(now + delay)
                return
            turn, _ = self._queue.popitem(last=False)
            if not turn.done():  # as it is when its owner is being cancelled
                self.pacer.leave(now)
                turn.set_result(None)

    def _pump_after(self, when: float) -> None:
        if self._timer is not None:
            if self._timer.when() <= when:
                return
            self._timer.cancel()
        self._timer = self._loop.call_at(when, self._timer_fired)

    def _timer_fired(self) -> None:
        self._timer = None
        self._pump()
