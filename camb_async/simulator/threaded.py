"""The simulator for code that is not async, or whose event loop is its own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from functools import update_wrapper
from threading import Thread
from types import TracebackType
from typing import Concatenate, ParamSpec, Self, TypeVar

from .scenarios import Scenario
from .server import Request, Simulator


_P = ParamSpec("_P")
_R = TypeVar("_R")


def _relayed(
    method: Callable[Concatenate[Simulator, _P], _R],
) -> Callable[Concatenate[ThreadedSimulator, _P], _R]:
    def call(this: ThreadedSimulator, /, *args: _P.args, **kwargs: _P.kwargs) -> _R:
        return this.relay(lambda simulator: method(simulator, *args, **kwargs))

    return update_wrapper(call, method)


class ThreadedSimulator:
    """A Simulator in a thread and an event loop of its own: a plain ``with``.

    Any number of threads and event loops may use it, one after the other or at
    once. Arguments, attributes and methods are those of Simulator, and each
    method has been carried out when it returns.

        with ThreadedSimulator(speed=10) as simulator:
            subprocess.run(["camb-async", "status", simulator.add_task()], ...)

    Raises:
        ValueError: there is no such scenario, or ``speed`` is not above 0.
    """

    def __init__(
        self,
        scenario: Scenario | str | None = None,
        *,
        api_key: str = "simulator-key",
        seed: int = 0,
        speed: float = 1.0,
        port: int = 0,
    ) -> None:
        self._simulator = Simulator(
            scenario, api_key=api_key, seed=seed, speed=speed, port=port
        )
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event
        self._thread: Thread

    def __repr__(self) -> str:
        return repr(self._simulator)

    @property
    def base_url(self) -> str:
        """Where a client is pointed to, known once the block is entered."""
        return self._simulator.base_url

    @property
    def api_key(self) -> str:
        """The only key that is accepted; set it to revoke the one before."""
        return self._simulator.api_key

    @api_key.setter
    def api_key(self, api_key: str) -> None:
        self._simulator.api_key = api_key

    @property
    def requests(self) -> Sequence[Request]:
        """The latest 100,000 requests until now, the oldest first."""
        return self._simulator.requests.copy()

    add_task = _relayed(Simulator.add_task)
    fail = _relayed(Simulator.fail)
    heal = _relayed(Simulator.heal)
    expire_links = _relayed(Simulator.expire_links)

    def relay(self, work: Callable[[Simulator], _R]) -> _R:
        """Return what ``work`` makes of the Simulator, in the simulator's thread.

        Raises:
            RuntimeError: the simulator is not running.
        """

        async def call() -> _R:
            return work(self._simulator)

        if self._loop is None:
            message = "The simulator is not running: use it inside its `with` block"
            raise RuntimeError(message)
        return asyncio.run_coroutine_threadsafe(call(), self._loop).result()

    def __enter__(self) -> Self:
        if self._loop is not None:
            message = "This simulator is already running"
            raise RuntimeError(message)
        started: Future[asyncio.AbstractEventLoop] = Future()
        self._thread = Thread(
            target=lambda: asyncio.run(self._serve(started)),
            name="camb-simulator",
            daemon=True,
        )
        self._thread.start()
        try:
            self._loop = started.result()
        except OSError:
            self._thread.join()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        loop, self._loop = self._loop, None
        if loop is not None:
            loop.call_soon_threadsafe(self._stop.set)
            self._thread.join()

    async def _serve(self, started: Future[asyncio.AbstractEventLoop]) -> None:
        self._stop = asyncio.Event()
        try:
            async with self._simulator:
                started.set_result(asyncio.get_running_loop())
                await self._stop.wait()
        except OSError as error:
            # The port is taken: that is for the one who entered to know.
            started.set_exception(error)
