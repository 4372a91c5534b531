"""Show what happens while it happens: a live table, or lines."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager
from functools import partial

import attrs
from rich.live import Live
from rich.style import StyleType
from rich.text import Text

from camb_async import TaskWatcher, Transition

from .board import Board
from .output import Formatter, text_formatter, transition_json, transition_line
from .render import Frame, label_of
from .runner import beside
from .screen import Screen, with_notes


_FRAME_SECONDS = 0.125
#: When no poll succeeded between two looks, that is told.
_OUTAGE_SECONDS = 1.0
#: A frame may take this share of the time, unless the next would come too late.
_FRAME_SHARE = 0.1
_FRAME_SECONDS_MAX = 2.0

#: Shows one transition.
Show = Callable[[Transition], None]
#: Yields what shows the transitions of a watch.
Showing = Callable[[TaskWatcher, Board], AbstractAsyncContextManager[Show]]


async def follow(watcher: TaskWatcher, board: Board, showing: Showing) -> None:
    """Show the transitions of a watcher until it has no more."""
    async with showing(watcher, board) as show:
        async for transition in watcher:
            board.take(transition)
            show(transition)


def choose_showing(
    screen: Screen, *, as_json: bool, keep_table: bool = False
) -> Showing:
    """Return the way of showing that fits the screen.

    On a terminal that is a live table; with ``keep_table`` it stays when all is
    over, without it each end is written above the table.
    """
    if as_json:
        return partial(_lines, screen, lambda _board: transition_json)
    if screen.live:
        return partial(_table, screen, keep=keep_table)
    return partial(_lines, screen, _text_for)


def choose_lines(screen: Screen, *, as_json: bool) -> Show:
    """Return what shows a transition of any task, in a line that is written at once.

    On a terminal an end has its colour.
    """
    if screen.live and not as_json:
        return lambda transition: screen.out.print(
            Text(transition_line(transition), style=_style_of(transition)),
            soft_wrap=True,
        )
    formatter = transition_json if as_json else transition_line
    return lambda transition: screen.write(formatter(transition))


async def tell_of_an_outage(watcher: TaskWatcher, screen: Screen) -> None:
    """Say once that nothing is answered, and why; a table shows it by itself."""
    was_down, answered = False, 0
    while True:
        await asyncio.sleep(_OUTAGE_SECONDS)
        before, stats = answered, watcher.stats()
        answered = stats.polls - stats.failed_polls
        is_down = 0 < stats.watching == stats.failing
        if was_down and is_down and answered == before:
            errors = (each.error for each in watcher.watched())
            error = next(each for each in errors if each is not None)
            screen.complain(f"no poll succeeds; it goes on: {with_notes(error)}")
            return
        was_down = is_down


def _style_of(transition: Transition) -> StyleType:
    return label_of(transition)[0].style if transition.is_final else ""


def _text_for(board: Board) -> Formatter:
    return text_formatter(board.tasks)


@contextlib.asynccontextmanager
async def _lines(
    screen: Screen,
    format_for: Callable[[Board], Formatter],
    watcher: TaskWatcher,
    board: Board,
) -> AsyncGenerator[Show, None]:
    formatter = format_for(board)
    async with beside(tell_of_an_outage(watcher, screen)):
        yield lambda transition: screen.write(formatter(transition))


@contextlib.asynccontextmanager
async def _table(
    screen: Screen, watcher: TaskWatcher, board: Board, *, keep: bool
) -> AsyncGenerator[Show, None]:
    live = Live(
        console=screen.out,
        auto_refresh=False,
        transient=not keep,
        get_renderable=lambda: Frame.of(watcher, board),
    )
    painter = _Painter(live, None if keep else _text_for(board))
    with live:
        try:
            async with beside(painter.run()):
                yield painter.show
        finally:
            painter.paint()


@attrs.define
class _Painter:
    """Refreshes the table, and writes above it what has ended since.

    Each writing draws the table anew, so the lines are written together.
    """

    live: Live
    formatter: Formatter | None
    _lines: list[Text] = attrs.field(factory=list[Text], init=False)

    def show(self, transition: Transition) -> None:
        if self.formatter is not None and transition.is_final:
            line = Text(self.formatter(transition), style=_style_of(transition))
            self._lines.append(line)

    def paint(self) -> None:
        if self._lines:
            lines, self._lines = self._lines, []
            self.live.console.print(Text("\n").join(lines), soft_wrap=True)
        self.live.refresh()

    async def run(self) -> None:
        while True:
            began = time.perf_counter()
            self.paint()
            took = time.perf_counter() - began
            pause = min(took / _FRAME_SHARE, _FRAME_SECONDS_MAX)
            await asyncio.sleep(max(_FRAME_SECONDS, pause))
