"""``watch``: report every change of many tasks until each has ended."""

from __future__ import annotations

import asyncio
import contextlib
from contextlib import AbstractContextManager

import attrs

from camb_async import (
    CambSession,
    FixedInterval,
    Limits,
    PollSchedule,
    TaskRef,
    WatcherStats,
)

from .board import Board
from .exits import ExitCode, code_of_error
from .live import choose_showing, follow
from .memory import remembering
from .screen import Screen
from .summary import resume_command, summary


@attrs.frozen(kw_only=True)
class WatchOptions:
    """How to watch. Times are in seconds; None stands for no limit.

    Attributes:
        deadline: how long each task is given.
        interval: the time between two polls; None lets the default schedule say.
        max_rate: requests a second.
        memory: whether to keep what is learnt; None unless on this machine.
        as_json: whether to write JSON.
    """

    deadline: float | None
    interval: float | None
    max_rate: float | None
    memory: bool | None
    as_json: bool


async def watch(tasks: list[TaskRef], options: WatchOptions, screen: Screen) -> int:
    """Watch tasks until each has ended, and return the exit code.

    Raises:
        ConfigurationError: there is no usable key or base URL.
    """
    if not tasks:
        screen.tell("camb-async: no task ids were given, so there is nothing to watch")
        return ExitCode.SUCCESS
    board = Board(tasks)
    showing = choose_showing(screen, as_json=options.as_json)
    session = CambSession(limits=Limits(max_rate=options.max_rate))
    with scheduled(session.base_url, options, screen) as schedule:
        async with (
            session as camb,
            camb.watch(tasks, schedule=schedule, deadline=options.deadline) as watcher,
        ):
            try:
                await follow(watcher, board, showing)
            except asyncio.CancelledError:
                _say_how_to_resume(board, screen)
                raise
            conclude(board, watcher.stats(), screen)
    return board.exit_code


def scheduled(
    base_url: str, options: WatchOptions, screen: Screen
) -> AbstractContextManager[PollSchedule]:
    """Return the schedule to poll by, for the time of a ``with``."""
    if options.interval is not None:
        return contextlib.nullcontext(FixedInterval(options.interval))
    return remembering(base_url, screen, wanted=options.memory)


def conclude(board: Board, stats: WatcherStats, screen: Screen, *options: str) -> None:
    """Sum up a watch that is over, and say what to do next, with these options."""
    hints: list[str] = []
    if board.expired:
        hints.append(f"To wait longer: {resume_command(board.expired, *options)}")
    screen.err.print(summary(board, stats, *hints), soft_wrap=True)
    if board.exit_code in {ExitCode.AUTHENTICATION, ExitCode.PAYMENT}:
        errors = (transition.error for transition in board.ended.values())
        first = next(each for each in errors if code_of_error(each) is board.exit_code)
        screen.complain(first)


def _say_how_to_resume(board: Board, screen: Screen) -> None:
    left = board.unfinished
    screen.tell(
        f"camb-async: interrupted; {len(left):,} of {len(board.tasks):,} tasks are "
        "unfinished and go on remotely"
    )
    if left:
        screen.tell(f"To resume: {resume_command(left)}")
