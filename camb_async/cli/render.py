"""The live table: what moves, what has ended, and how far it all is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Self

import attrs
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.padding import Padding
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from camb_async import (
    APIConnectionError,
    APIStatusError,
    APITimeoutError,
    Eta,
    TaskError,
    TaskRef,
    TaskStatus,
    TaskWatcher,
    Transition,
    WatchedTask,
    WatcherStats,
)

from .board import Board
from .exits import ADVICE, code_of_error
from .forecast import FORECAST_WIDTH, RANGE_WIDTH, Forecast, range_of
from .output import outcome_of, status_word
from .screen import counted, printable


_ID_SHOWN = 13
#: Lines of the frame that are no tasks: heading, rule, spaces, bar, "more".
_OTHER_LINES = 8
_WIDTH_MAX = 100
#: Columns of a terminal that has room for a range, for the polls beside it, for bars.
_RANGE_FROM, _POLLS_FROM, _BARS_FROM = 72, 88, 100
#: Seconds; what is due sooner is shown as under way.
_SOON = 0.05

STYLES = {
    TaskStatus.SUCCESS: "green",
    TaskStatus.PENDING: "cyan",
    TaskStatus.TIMEOUT: "yellow",
    TaskStatus.ERROR: "red",
    TaskStatus.PAYMENT_REQUIRED: "magenta",
    TaskStatus.UNKNOWN: "blue",
}


@attrs.frozen
class Frame:
    """One picture of a watch. It fits itself into the console it is shown on."""

    board: Board
    moving: list[WatchedTask]
    stats: WatcherStats
    eta: Callable[[TaskRef], Eta | None]

    @classmethod
    def of(cls, watcher: TaskWatcher, board: Board) -> Self:
        """Return the picture of a watch as it is now."""
        return cls(board, watcher.watched(), watcher.stats(), watcher.eta)

    def __rich_console__(
        self, console: Console, options: ConsoleOptions
    ) -> RenderResult:
        height = (options.height or console.height) - _OTHER_LINES
        yield self.within(max(3, height), min(console.width, _WIDTH_MAX))

    def within(self, rows: int, width: int) -> RenderableType:
        """Return the picture with at most so many tasks, the moving ones first."""
        moving = [each for each in self.moving if each.task not in self.board.ended]
        shown = [(watched, self.eta(watched.task)) for watched in moving[:rows]]
        columns = _Columns.fitting(width, foreseen=any(eta for _, eta in shown))
        table = columns.table(width)
        for watched, eta in shown:
            table.add_row(*columns.chosen(_moving_row(watched, eta)))
        room = max(0, rows - len(moving))
        latest = _worth_a_look(self.board)[:room]
        for transition in latest:
            style = "dim" if transition.succeeded else None
            table.add_row(*columns.chosen(_ended_row(transition)), style=style)
        more = max(0, self.board.total - len(shown) - len(latest))
        rest = Text(f" +{more:,} more" if more else "", style="dim")
        return Group(table, rest, Text(), self._progress(width), Text())

    def _progress(self, width: int) -> RenderableType:
        total, ended = self.board.total, len(self.board.ended)
        words = (
            f"{ended:,} of {total:,} finished",
            counted(self.stats.polls, "poll"),
            f"{counted(self.board.ridden_out(self.stats), 'fault')} ridden out",
            f"{self.board.elapsed:.1f} s",
        )
        text = Text(" · ".join(words), no_wrap=True, overflow="ellipsis")
        bar = ProgressBar(
            total=max(1, total),
            completed=ended,
            width=max(10, min(30, width - text.cell_len - 6)),
            complete_style="green",
            finished_style="green",
        )
        grid = Table.grid(padding=(0, 2))
        grid.add_row(bar, text)
        return Padding(grid, (0, 1), expand=False)


def _worth_a_look(board: Board) -> list[Transition]:
    """Return what has ended: failures before successes, the latest first."""
    latest_first = list(board.ended.values())[::-1]
    return sorted(latest_first, key=lambda transition: transition.succeeded)


@attrs.frozen
class _Row:
    """What there is to show of a task."""

    task: TaskRef
    state: Text
    elapsed: float
    polls: int
    left: RenderableType
    next: RenderableType


@attrs.frozen
class _Columns:
    """Which columns there are: ``left`` is the width of what may be left, or 0."""

    left: int
    polls: bool

    @classmethod
    def fitting(cls, width: int, *, foreseen: bool) -> Self:
        """Return those for a terminal: polls make room for what is foreseen."""
        if not foreseen or width < _RANGE_FROM:
            return cls(0, polls=True)
        left = RANGE_WIDTH if width < _BARS_FROM else FORECAST_WIDTH
        return cls(left, polls=width >= _POLLS_FROM)

    def table(self, width: int) -> Table:
        """Return a table without rows."""
        table = Table(
            box=None, width=width, padding=(0, 1), header_style="bold", pad_edge=True
        )
        table.add_column("task", width=_ID_SHOWN, no_wrap=True)
        table.add_column("state", width=19, no_wrap=True)
        table.add_column("age", width=8, justify="right", no_wrap=True)
        if self.polls:
            table.add_column("polls", width=5, justify="right", no_wrap=True)
        if self.left:
            table.add_column("likely left", width=self.left, no_wrap=True)
        table.add_column("next", ratio=1, no_wrap=True)
        return table

    def chosen(self, row: _Row) -> list[RenderableType]:
        """Return the cells of a row."""
        polls = [str(row.polls)] if self.polls else []
        left = [row.left] if self.left else []
        age = f"{row.elapsed:.1f} s"
        return [short_id(row.task), row.state, age, *polls, *left, row.next]


def _moving_row(watched: WatchedTask, eta: Eta | None) -> _Row:
    return _Row(
        watched.task,
        _state_of(watched),
        watched.elapsed,
        watched.polls,
        "" if eta is None else Forecast(watched.elapsed, eta),
        _next_poll(watched),
    )


def moving_line(watched: WatchedTask, eta: Eta | None) -> Text:
    """Return how a task stands in one line, without its id."""
    parts = [_state_of(watched), Text(f"{watched.elapsed:.1f} s")]
    if eta is not None:
        parts.append(Text(f"likely {range_of(eta)} left"))
    return Text(" · ").join([*parts, _next_poll(watched)])


def _state_of(watched: WatchedTask) -> Text:
    if watched.state is None:
        return _state(TaskStatus.PENDING, "not seen yet")
    return _state(watched.state.status, status_word(watched.state))


def _next_poll(watched: WatchedTask) -> Text:
    failing = watched.error is not None
    if watched.next_poll is None or watched.next_poll < _SOON:
        when = "asking again" if failing else "asking"
    else:
        when = f"{'again' if failing else 'poll'} in {watched.next_poll:.1f} s"
    if not failing:
        return Text(when)
    return Text(f"{when} ({_fault(watched.error)})", style="yellow")


def _fault(error: Exception | None) -> str:
    match error:
        case APIStatusError():
            return f"HTTP {error.status_code}"
        case APITimeoutError():
            return "timed out"
        case APIConnectionError():
            return "no answer"
        case _:
            return "bad answer"


def _ended_row(transition: Transition) -> _Row:
    label, action = label_of(transition)
    run_id = transition.run_id
    run = "" if run_id is None else f"run {run_id}"
    return _Row(
        transition.task,
        label,
        transition.elapsed,
        transition.polls,
        "",
        run if transition.succeeded else action,
    )


def label_of(transition: Transition) -> tuple[Text, str]:
    """Return an outcome with its icon, and what to do about it."""
    word, error = outcome_of(transition), transition.error
    if error is not None and not isinstance(error, TaskError):
        return Text(f"❗ {word}", style="yellow"), ADVICE[code_of_error(error)]
    status = transition.status or TaskStatus.UNKNOWN
    return _state(status, word), status.guidance.action


def short_id(task: TaskRef) -> str:
    """Return a task's id so short that it fits its column."""
    name = str(task)
    return name if len(name) <= _ID_SHOWN else name[: _ID_SHOWN - 1] + "…"


def _state(status: TaskStatus, word: str) -> Text:
    return Text(f"{status.guidance.icon} {printable(word)}", style=STYLES[status])
