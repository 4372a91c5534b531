"""``watch --store``: watch what a store holds, and tell of it, until all is over."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import TypeVar

import attrs

from camb_async import (
    CambSession,
    Limits,
    StoreError,
    TaskRef,
    TaskStore,
    Transition,
    store_at,
    work,
)

from .board import Board
from .live import Show, choose_lines, choose_showing
from .observed import at_work, telling_of_stores
from .screen import Screen
from .summary import resume_command
from .watch import WatchOptions, conclude, scheduled


#: Transitions that are read, and acknowledged, together.
_BATCH = 250
#: Seconds until a store that failed is tried again; the worker tells of it.
_AGAIN_SECONDS = 1.0

_ReturnT = TypeVar("_ReturnT")


async def watch_stored(
    where: str, tasks: Sequence[TaskRef], options: WatchOptions, screen: Screen
) -> int:
    """Add tasks to a store, watch all that is there, and return the exit code.

    What has ended is acknowledged when all is over: so the same command, run again
    after a kill, finds these ends in the store, and does not watch the tasks anew.

    Raises:
        AuthenticationError: the key was refused; the tasks stay in the store.
        ConfigurationError: there is no usable key or base URL.
        StoreError: the store cannot be used.
    """
    board = Board([])
    showing = choose_showing(screen, as_json=options.as_json)
    session = CambSession(limits=Limits(max_rate=options.max_rate))
    with (
        telling_of_stores(screen),
        scheduled(session.base_url, options, screen) as schedule,
    ):
        async with session as camb, store_at(where) as store:
            job = partial(work, camb, store, capacity=sys.maxsize, schedule=schedule)
            reading = _Reading(store, board)
            try:
                # Before the work: a task that ended in between would be added anew.
                await reading.catch_up(choose_lines(screen, as_json=options.as_json))
                new = [task for task in tasks if task not in board.ended]
                await store.add(new, deadline=options.deadline)
                async with (
                    at_work(job) as (_, watcher),
                    showing(watcher, board) as show,
                ):
                    await reading.until_over(show)
            except asyncio.CancelledError:
                _say_how_to_resume(where, screen)
                raise
    if board.ended:
        board.tasks, board.total = list(board.ended), len(board.ended)
        conclude(board, watcher.stats(), screen, *_store_option(where))
    else:
        screen.tell("camb-async: the store has no tasks, so there is nothing to watch")
    return board.exit_code


@attrs.frozen
class _Reading:
    """Tells of what is recorded. The ends are acknowledged last."""

    store: TaskStore
    board: Board
    _ends: list[Transition] = attrs.field(factory=list[Transition], init=False)

    async def catch_up(self, show: Show) -> bool:
        """Tell of all that is there; return whether there was anything."""
        found = False
        while batch := await _insist(lambda: self.store.deliver(_BATCH)):
            found = True
            for transition in batch:
                self._take(transition)
                show(transition)
            told = [each for each in batch if not each.is_final]
            await _insist(partial(self.store.ack, told))
        return found

    async def until_over(self, show: Show) -> None:
        """Tell of everything until no task is watched and nothing is left to tell."""
        over = False
        while True:
            news = self.store.transitions_changed()
            if await self.catch_up(show):
                continue
            if over:
                break
            # What ended the last watch was recorded before: look once more.
            watching = await _insist(self.store.watching)
            self.board.total = len(self.board.ended) + watching
            over = not watching
            if not over:
                await news.wait()
        await _insist(lambda: self.store.ack(self._ends))

    def _take(self, transition: Transition) -> None:
        self.board.take(transition)
        if transition.is_final:
            self._ends.append(transition)


async def _insist(call: Callable[[], Awaitable[_ReturnT]]) -> _ReturnT:
    while True:
        try:
            return await call()
        except StoreError as error:
            if not error.retryable:
                raise
        await asyncio.sleep(_AGAIN_SECONDS)


def _say_how_to_resume(where: str, screen: Screen) -> None:
    screen.tell(
        "camb-async: interrupted; what is unfinished goes on remotely, and stays in "
        "the store"
    )
    screen.tell(f"To resume: {resume_command([], *_store_option(where))}")


def _store_option(where: str) -> tuple[str, ...]:
    """Return the option that names the store, without what must not be shown."""
    if os.environ.get("CAMB_STORE") == where:
        return ()
    return ("--store", "DSN" if "://" in where else where)
