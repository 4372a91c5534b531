"""Hold requests back until the pacer lets them leave: calls first, then polls.

A call is made by somebody who waits for it; calls are served in order. A poll can
wait, and says what it is worth (see URGENCY); the more valuable goes first.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from copy import copy
from random import Random
from typing import Final

from ._pacing import Pacer
from ._ranking import URGENCY, Ranking
from .errors import CambError
from .policies import Limits


# One turn in so many is a poll's, however many calls there are.
_POLLS_SHARE: Final = 4

_Turn = asyncio.Future[None]


class Limiter:
    """The queue at the session's door. Belongs to the loop it is made in."""

    def __init__(self, limits: Limits) -> None:
        self.pacer = Pacer(limits)
        self._loop = asyncio.get_running_loop()
        self._random = Random()
        self._calls: OrderedDict[_Turn, None] = OrderedDict()
        self._polls: Ranking[_Turn] = Ranking()
        self._turns = 0
        self._timer: asyncio.TimerHandle | None = None
        self._held = False

    @property
    def waiting(self) -> int:
        """How many requests wait to leave."""
        return len(self._calls) + len(self._polls)

    async def acquire(self) -> None:
        """Wait until a request may leave. Each must be followed by ``release``.

        Raises:
            CambError: whatever ``refuse_all`` was called with meanwhile.
        """
        now = self._loop.time()
        free = not (self.waiting or self._held)
        if free and self.pacer.delay(now) == 0.0:
            self.pacer.leave(now)
            return
        turn = self._loop.create_future()
        urgency = URGENCY.get()
        if urgency is None:
            self._calls[turn] = None
        else:
            self._polls.put(turn, lambda _turn, at: urgency(at), now)
        self._pump()
        try:
            await turn
        except asyncio.CancelledError:
            self._calls.pop(turn, None)
            self._polls.discard(turn)
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                self.pacer.take_back()
                self._pump()
            raise
        self.pacer.left(self._loop.time())

    def release(self) -> None:
        """Give the slot back."""
        self.pacer.back()
        if self.waiting:
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
        while self.waiting:
            turn = self._next(0.0)
            if not turn.done():
                turn.set_exception(copy(error))
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _next(self, now: float) -> _Turn:
        self._turns += 1
        if self._polls and not (self._calls and self._turns % _POLLS_SHARE):
            return self._polls.take(now, self._random.random())
        return self._calls.popitem(last=False)[0]

    def _pump(self) -> None:
        while self.waiting and not self._held:
            now = self._loop.time()
            delay = self.pacer.delay(now, self.waiting)
            if delay is None:
                return
            if delay > 0.0:
                self._pump_after(now + delay)
                return
            turn = self._next(now)
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
