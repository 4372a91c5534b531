"""An event loop whose clock jumps to the next timer instead of waiting for it.

Sockets may be used within the process: over loopback, what was sent is there by
the next look at it. The outside world would be left behind.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar


ResultT = TypeVar("ResultT")


class NothingCanWakeError(AssertionError):
    """Every task waits, and there is no timer: a deadlock."""


class _JumpingSelector(selectors.DefaultSelector):
    """Advances a clock by the timeout that it is asked to wait."""

    now = 0.0

    def select(
        self, timeout: float | None = None
    ) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready:
            if timeout is None:
                raise NothingCanWakeError
            self.now += timeout
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """A loop in which a thousand seconds take no time at all.

    Without asyncio's debug mode, even where Python's development mode asks for it: it
    notes the whole stack wherever a future is made, which took ten times as long as
    all else. What it looks for are slow callbacks, and here no callback takes time.
    """

    def __init__(self) -> None:
        self._jumping = _JumpingSelector()
        super().__init__(self._jumping)
        self.set_debug(False)

    def time(self) -> float:
        """Return the virtual time, in seconds."""
        return self._jumping.now

    def sleep_through(self, seconds: float) -> None:
        """Let time pass in which nothing runs, as when a machine is asleep."""
        self._jumping.now += seconds


def run(main: Coroutine[Any, Any, ResultT]) -> ResultT:
    """Run a coroutine in virtual time, as ``asyncio.run`` does in real time."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main)


def virtual_loop() -> VirtualLoop:
    """Return the loop that runs, which is a virtual one."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)

    return loop
