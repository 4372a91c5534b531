"""``add``, ``work`` and ``tail``: the three sides of a store that processes share."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import attrs

from camb_async import CambSession, Limits, TaskRef, store_at, work

from .exits import ExitCode
from .live import choose_lines
from .memory import remembering
from .observed import Held, Polls, telling_of_stores
from .runner import beside
from .screen import Screen


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
        async with session as camb, store_at(where) as store:
            polls, held = Polls(camb), Held(store)
            screen.tell(f"camb-async: works on at most {options.capacity:,} tasks")
            try:
                async with (
                    beside(polls.tell_of_an_outage(screen)),
                    beside(_tell_now_and_then(polls, held, screen)),
                ):
                    await work(
                        polls,
                        held.store,
                        capacity=options.capacity,
                        until_empty=options.until_empty,
                        schedule=schedule,
                    )
            finally:
                screen.tell(_standing(polls, f"gave back {held.given_back:,}"))
    return ExitCode.SUCCESS


async def _tell_now_and_then(polls: Polls, held: Held, screen: Screen) -> None:
    told = ""
    while True:
        await asyncio.sleep(_TELL_SECONDS)
        line = _standing(polls, f"holds {len(held):,}")
        if line != told:
            screen.tell(line)
        told = line


def _standing(polls: Polls, holding: str) -> str:
    return (
        f"camb-async: {holding} tasks; {polls.count:,} polls, "
        f"{polls.failed:,} of them failed"
    )


async def tail(where: str, screen: Screen, *, as_json: bool, until_empty: bool) -> int:
    """Write transitions as they are recorded; return the exit code.

    Raises:
        StoreError: the store cannot be used.
    """
    show = choose_lines(screen, as_json=as_json)
    with telling_of_stores(screen):
        async with store_at(where) as store:
            # To come back for the next one says that this one was written.
            async for transition in store.transitions(until_empty=until_empty):
                show(transition)
    return ExitCode.SUCCESS
