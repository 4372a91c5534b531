"""``add``, ``work`` and ``tail``: the three sides of a store that processes share."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any

import anyio
import attrs

from camb_async import CambSession, Limits, TaskRef, TaskWatcher, store_at, work

from .exits import ExitCode
from .live import choose_lines, tell_of_an_outage
from .memory import remembering
from .observed import at_work, telling_of_stores
from .runner import beside
from .screen import Screen, counted, printable


#: Seconds between two lines of talk, where there is news.
_TELL_SECONDS = 30.0


@attrs.frozen(kw_only=True)
class WorkOptions:
    """How to work.

    Attributes:
        capacity: how many tasks are held at the most.
        max_rate: requests a second.
        until_empty: whether to end once nothing is left to watch.
        memory: whether to keep what is learnt; None unless on this machine.
    """

    capacity: int
    max_rate: float
    until_empty: bool
    memory: bool | None


async def add_tasks(
    where: str,
    tasks: Sequence[TaskRef],
    screen: Screen,
    *,
    context: object,
    deadline: float | None,
) -> int:
    """Add tasks to a store, and write to stdout how many of them are new.

    Raises:
        StoreError: the store cannot be used.
    """
    async with store_at(where) as store:
        new = await store.add(tasks, context=context, deadline=deadline)
    screen.write(str(new))
    return ExitCode.SUCCESS


async def work_for(where: str, options: WorkOptions, screen: Screen) -> int:
    """Watch tasks of a store, as one of its workers; return the exit code.

    Raises:
        AuthenticationError: the key was refused; the tasks stay in the store.
        ConfigurationError: there is no usable key or base URL.
        StoreError: the store cannot be used.
    """
    session = CambSession(limits=Limits(max_rate=options.max_rate))
    with (
        telling_of_stores(screen),
        remembering(session.base_url, screen, wanted=options.memory) as schedule,
    ):
        await _tell_if_new(where, screen)
        async with session as camb, store_at(where) as store:
            screen.tell(
                f"camb-async: works on at most {counted(options.capacity, 'task')}"
            )
            job = partial(
                work,
                camb,
                store,
                capacity=options.capacity,
                until_empty=options.until_empty,
                schedule=schedule,
            )
            await _tell_of(job, screen)
    return ExitCode.SUCCESS


async def _tell_if_new(where: str, screen: Screen) -> None:
    """Say so where nothing can have been added: the path may be mistyped."""
    if "://" not in where and not await anyio.Path(where).exists():
        screen.tell(f"camb-async: {printable(where)} is new, and has no tasks yet")


async def _tell_of(
    job: Callable[..., Coroutine[Any, Any, None]], screen: Screen
) -> None:
    last = ""
    try:
        async with at_work(job) as (working, watcher):
            try:
                async with beside(tell_of_an_outage(watcher, screen)):
                    await _tell_now_and_then(working, watcher, screen)
            finally:
                # Not where a refused key has ended all watches: its error tells.
                if not working.done():
                    last = _standing("gave back", watcher)
    finally:
        if last:
            screen.tell(last)


async def _tell_now_and_then(
    working: asyncio.Task[None], watcher: TaskWatcher, screen: Screen
) -> None:
    told = ""
    while not working.done():
        await asyncio.wait({working}, timeout=_TELL_SECONDS)
        line = _standing("holds", watcher)
        if line != told:
            screen.tell(line)
        told = line


def _standing(verb: str, watcher: TaskWatcher) -> str:
    stats = watcher.stats()
    return (
        f"camb-async: {verb} {counted(stats.watching, 'task')}; "
        f"{counted(stats.polls, 'poll')}, {stats.failed_polls:,} of them failed"
    )


async def tail(where: str, screen: Screen, *, as_json: bool, until_empty: bool) -> int:
    """Write transitions as they are recorded; return the exit code.

    Raises:
        StoreError: the store cannot be used.
    """
    show = choose_lines(screen, as_json=as_json)
    with telling_of_stores(screen):
        await _tell_if_new(where, screen)
        async with store_at(where) as store:
            # To come back for the next one says that this one was written.
            async for transition in store.transitions(until_empty=until_empty):
                show(transition)
    return ExitCode.SUCCESS
