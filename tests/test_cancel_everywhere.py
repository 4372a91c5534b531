"""Every public coroutine, cancelled at each of its awaits in turn.

A call is run again and again, and cut off at its first await, at its second, and
so on, until it comes to its end untouched. Counted are the awaits of all tasks
that belong to the call. The simulator has a thread of its own, so what is counted,
and what is left behind, is the client's alone.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Generator
from contextvars import ContextVar, copy_context
from pathlib import Path
from typing import Any, TypeVar

import anyio
import attrs
import pytest

from camb_async import (
    CambSession,
    FixedInterval,
    Limits,
    ServerError,
    SqliteStore,
    TaskState,
    TaskWatcher,
    work,
)
from camb_async.simulator import Fault, ThreadedSimulator

from .downloading import PREVIEWS, RUN
from .helpers import QUICK, open_files, run, settled


ResultT = TypeVar("ResultT")

ONE_AT_A_TIME = Limits(max_in_flight=1, max_rate=None)
PREVIEW_SIZE = 32_044
# A task that is pending for ever.
OTHER = "other"
# Descriptors of one connection: the client's end, and the simulator's.
CONNECTION = 2


# How a call is cut off.


@attrs.define
class Cut:
    """Cuts a call off when it waits for the ``number``-th time.

    With ``late``, only when what it waits for has come, and it is about to go on.
    """

    number: int
    late: bool
    count: int = 0
    cancel: Callable[[], object] = lambda: None
    over: bool = False
    made: bool = False
    strict: bool = False

    def waits(self, for_what: object) -> None:
        """Take note that a task of the call waits."""
        self.count += 1
        if self.count != self.number:
            return
        if self.late and asyncio.isfuture(for_what):
            for_what.add_done_callback(self._make)
        else:
            asyncio.get_running_loop().call_soon(self._make)

    def _make(self, _come: object = None) -> None:
        if not self.over:
            self.made = True
            self.cancel()


current_cut: ContextVar[Cut | None] = ContextVar("current_cut", default=None)


class Counted(Coroutine[Any, Any, ResultT]):
    """A coroutine that tells a cut of each time that it waits."""

    def __init__(self, inner: Coroutine[Any, Any, ResultT], cut: Cut) -> None:
        self._inner = inner
        self._cut = cut

    def send(self, value: Any) -> Any:
        """Go on until the next await."""
        for_what = self._inner.send(value)
        self._cut.waits(for_what)
        return for_what

    def throw(self, *error: Any) -> Any:
        """Go on with an error until the next await."""
        for_what = self._inner.throw(*error)
        self._cut.waits(for_what)
        return for_what

    def close(self) -> None:
        """Give it up."""
        self._inner.close()

    def __await__(self) -> Generator[Any, Any, ResultT]:
        return self._inner.__await__()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


def make_task(
    loop: asyncio.AbstractEventLoop, inner: Any, **options: Any
) -> asyncio.Task[Any]:
    """Make a task, counted if it belongs to a call (a task factory)."""
    cut = current_cut.get()
    if cut is not None:
        inner = Counted(inner, cut)
    return asyncio.Task(inner, loop=loop, **options)


Way = Callable[[Cut, Awaitable[object]], Awaitable[None]]


async def cancel(cut: Cut, call: Awaitable[object]) -> None:
    """Cut a call off by ``Task.cancel``: nothing but the cancellation comes out."""
    task = asyncio.current_task()
    assert task is not None
    cut.cancel = task.cancel
    cut.strict = True
    try:
        await call
    finally:
        cut.over = True


async def scope(cut: Cut, call: Awaitable[object]) -> None:
    """Cut a call off by an anyio scope, which insists."""
    with anyio.CancelScope() as cancel_scope:
        cut.cancel = cancel_scope.cancel
        try:
            await call
        finally:
            cut.over = True
    if cancel_scope.cancelled_caught:
        raise asyncio.CancelledError


async def timeout(cut: Cut, call: Awaitable[object]) -> None:
    """Cut a call off by an ``asyncio.timeout`` that is over just then."""
    loop = asyncio.get_running_loop()
    time = asyncio.timeout(None)
    cut.cancel = lambda: time.reschedule(loop.time())
    try:
        async with time:
            try:
                await call
            finally:
                cut.over = True
    except TimeoutError:
        assert time.expired()
        raise asyncio.CancelledError from None


# What is cut off.


@attrs.frozen
class Case:
    """What a call may use: all of it is its own."""

    open: Callable[[], CambSession]
    camb: CambSession
    task_id: str
    directory: Path

    def watch(self) -> TaskWatcher:
        """Return a watcher that polls often."""
        return self.camb.watch([self.task_id], schedule=FixedInterval(0.01))


async def wait(case: Case) -> None:
    """Wait by the session."""
    await case.camb.wait(case.task_id, schedule=FixedInterval(0.01))


async def create(case: Case) -> None:
    """Create a task."""
    description = " ".join(["A calm, warm voice, unhurried and clear."] * 4)
    await case.camb.create_text_to_voice(text="Hello", voice_description=description)


async def enter_and_leave(case: Case) -> None:
    """Enter a session, use it, and leave it."""
    async with case.open() as camb:
        await camb.poll(case.task_id)


async def iterate(case: Case) -> None:
    """Enter a watcher, read all of it, and leave it."""
    async with case.watch() as watcher:
        assert ["PENDING", "SUCCESS"] == [t.status async for t in watcher]


async def leave_early(case: Case) -> None:
    """Leave a watcher while a poll is under way."""
    async with case.watch() as watcher:
        await anext(watcher)


async def work_through(case: Case) -> None:
    """Have a store worked through, and read it."""
    path = case.directory.with_suffix(".db")
    async with SqliteStore(path) as store:
        await store.add(case.task_id)
        schedule = FixedInterval(0.01)
        await work(case.camb, store, until_empty=True, schedule=schedule)
        assert 2 == len([t async for t in store.transitions(until_empty=True)])


async def wait_by_watcher(case: Case) -> None:
    """Wait by a watcher."""
    async with case.watch() as watcher:
        await watcher.wait(case.task_id)


CALLS: dict[str, Callable[[Case], Awaitable[object]]] = {
    "poll": lambda case: case.camb.poll(case.task_id),
    "get_task_status": lambda case: case.camb.get_task_status(case.task_id),
    "wait": wait,
    "create": create,
    "result": lambda case: case.camb.get_text_to_voice_result(RUN),
    "download": lambda case: case.camb.download_previews(RUN, case.directory),
    "session": enter_and_leave,
    "watcher": iterate,
    "watcher, left early": leave_early,
    "watcher.wait": wait_by_watcher,
    "store": work_through,
}


# What happens meanwhile.


@attrs.frozen(kw_only=True)
class Weather:
    """What a call meets.

    ``first_keys`` are what the key callable answers before it tells the good one;
    None stands for a session that has its key. ``neighbour`` is another call,
    from "before" or "behind" in the queue, which nothing may happen to.
    """

    fault: Fault | None = None
    path: str = ""
    warm: bool = False
    first_keys: tuple[str, ...] | None = None
    neighbour: str | None = None


WEATHERS = {
    "good": Weather(),
    "warm": Weather(warm=True),
    "503": Weather(fault=Fault("503")),
    "503 of a preview": Weather(fault=Fault("503"), path=PREVIEWS),
    "drip": Weather(fault=Fault("drip", seconds=0.0)),
    "queue": Weather(neighbour="before", warm=True),
    "slow key": Weather(first_keys=()),
    "401": Weather(first_keys=("old-key",)),
    "401 beside another": Weather(first_keys=("old-key",), neighbour="behind"),
}


@contextlib.asynccontextmanager
async def opened(
    simulator: ThreadedSimulator, weather: Weather
) -> AsyncGenerator[tuple[CambSession, Callable[[], CambSession]]]:
    """Open a session, and say how another of its kind is opened."""

    def make() -> CambSession:
        keys = iter(weather.first_keys or ())

        async def key() -> str:
            await asyncio.sleep(0.001)
            return next(keys, simulator.api_key)

        return CambSession(
            simulator.api_key if weather.first_keys is None else key,
            base_url=simulator.base_url,
            limits=ONE_AT_A_TIME,
            retry=QUICK,
        )

    async with make() as camb:
        yield camb, make


@attrs.frozen
class Trial:
    """A call in a weather, to be cut off in one way."""

    simulator: ThreadedSimulator
    directory: Path
    call: Callable[[Case], Awaitable[object]]
    weather: Weather
    way: Way

    async def everywhere(self, *, late: bool, stride: int) -> int:
        """Cut the call off at each await, later ones rarer; return how many it has."""
        asyncio.get_running_loop().set_task_factory(make_task)
        cut = Cut(1, late)
        while True:
            await self._once(cut, self.directory / f"{late}-{cut.number}")
            if cut.count < cut.number:
                return cut.count
            cut = Cut(cut.number + 1 + cut.number // stride, late)

    async def _once(self, cut: Cut, directory: Path) -> None:
        task_id = self.simulator.add_task(answers=["PENDING", "SUCCESS"])
        before = open_files()
        async with opened(self.simulator, self.weather) as (camb, make):
            if self.weather.warm:
                await camb.poll(OTHER)
            self._brew()
            case = Case(make, camb, task_id, directory)
            await self._meet(cut, case)
            self.simulator.heal()
            await look_around(camb)
            await settled(before + CONNECTION)
        await settled(before)
        assert sizes(directory) <= {PREVIEW_SIZE}, "a part of a file"

    def _brew(self) -> None:
        if self.weather.fault is not None:
            self.simulator.fail(self.weather.fault, path=self.weather.path)
        if self.weather.neighbour is not None:
            self.simulator.fail(Fault("slow", seconds=0.003), task_id=OTHER)

    def _start(self, cut: Cut, case: Case) -> asyncio.Task[None]:
        """Start the call as a task, counted with all tasks that it starts."""

        async def main() -> None:
            await self.way(cut, self.call(case))

        current_cut.set(cut)
        return asyncio.create_task(main())

    async def _meet(self, cut: Cut, case: Case) -> None:
        """Have the call and its neighbour end; only the call may end badly."""
        neighbours: list[asyncio.Task[TaskState]] = []
        if self.weather.neighbour == "before":
            neighbours.append(asyncio.create_task(case.camb.poll(OTHER)))
        task = copy_context().run(self._start, cut, case)
        if self.weather.neighbour == "behind":
            neighbours.append(asyncio.create_task(case.camb.poll(OTHER)))
        await asyncio.wait([task, *neighbours])
        assert task.cancelled() or not (cut.made and cut.strict), "swallowed"
        for neighbour in neighbours:
            assert "PENDING" == neighbour.result().raw_status
        if not task.cancelled():
            error = task.exception()
            assert error is None or (self.weather.fault and type(error) is ServerError)


def sizes(directory: Path) -> set[int]:
    """Return the sizes of all files in a directory, hidden ones too."""
    return {path.stat().st_size for path in directory.glob("*")}


async def look_around(camb: CambSession) -> None:
    """No task is left, and no slot is lost."""
    assert {asyncio.current_task()} == asyncio.all_tasks()
    async with asyncio.timeout(5):
        assert "PENDING" == (await camb.poll(OTHER)).raw_status


@pytest.fixture(scope="module")
def simulator() -> Generator[ThreadedSimulator]:
    """Run a simulator in a thread of its own, with a run and a task for ever."""
    with ThreadedSimulator() as threaded:
        threaded.add_task(run_id=RUN, after=0)
        threaded.add_task(OTHER, answers=["PENDING"])
        yield threaded


@pytest.mark.parametrize("weather", WEATHERS)
@pytest.mark.parametrize("call", CALLS)
def test_a_call_may_be_cancelled_at_any_await(
    simulator: ThreadedSimulator, tmp_path: Path, call: str, weather: str
) -> None:
    """The cancellation comes out, and nothing of the call remains."""
    trial = Trial(simulator, tmp_path, CALLS[call], WEATHERS[weather], cancel)

    for late in (False, True):
        assert 1 <= run(trial.everywhere(late=late, stride=3))


@pytest.mark.slow
@pytest.mark.parametrize("weather", WEATHERS)
@pytest.mark.parametrize("way", [cancel, scope, timeout], ids=lambda way: way.__name__)
@pytest.mark.parametrize("call", CALLS)
def test_a_call_may_be_cut_off_at_every_await(
    simulator: ThreadedSimulator, tmp_path: Path, call: str, way: Way, weather: str
) -> None:
    """By cancel, by a scope, by a timeout: at each single await."""
    trial = Trial(simulator, tmp_path, CALLS[call], WEATHERS[weather], way)

    for late in (False, True):
        assert 1 <= run(trial.everywhere(late=late, stride=10_000))


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("way", [scope, timeout], ids=lambda way: way.__name__)
def test_a_call_may_be_cut_off_by_scopes(
    simulator: ThreadedSimulator, tmp_path: Path, call: str, way: Way
) -> None:
    """An anyio scope and ``asyncio.timeout`` end a call like ``Task.cancel``."""
    trial = Trial(simulator, tmp_path, CALLS[call], WEATHERS["slow key"], way)

    assert 1 <= run(trial.everywhere(late=False, stride=3))
