"""The live table: what moves, what has ended, and how far it all is."""

from __future__ import annotations

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
    TaskRef,
    TaskStatus,
    Transition,
    WatchedTask,
    WatcherStats,
)

from .board import Board
from .output import outcome_of, status_word
from .screen import printable


_ID_SHOWN = 13
#: Lines of the frame that are no tasks: heading, rule, spaces, bar, "more".
_OTHER_LINES = 8
_WIDTH_MAX = 88
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

    def __rich_console__(
        self, console: Console, options: ConsoleOptions
    ) -> RenderResult:
        height = (options.height or console.height) - _OTHER_LINES
        yield self.within(max(3, height), min(console.width, _WIDTH_MAX))

    def within(self, rows: int, width: int) -> RenderableType:
        """Return the picture with at most so many tasks, the moving ones first."""
        table = _empty_table(width)
        moving = [each for each in self.moving if each.task not in self.board.ended]
        for watched in moving[:rows]:
            table.add_row(*_moving_row(watched))
        room = max(0, rows - len(moving))
        latest = _worth_a_look(self.board)[:room]
        for transition in latest:
            style = "dim" if transition.succeeded else None
            table.add_row(*_ended_row(transition), style=style)
        shown = min(rows, len(moving)) + len(latest)
        more = max(0, self.board.total - shown)
        rest = Text(f" +{more:,} more" if more else "", style="dim")
        return Group(table, rest, Text(), self._progress(width), Text())

    def _progress(self, width: int) -> RenderableType:
        total, ended = self.board.total, len(self.board.ended)
        words = (
            f"{ended:,} of {total:,} finished",
            f"{self.stats.polls:,} polls",
            f"{self.board.ridden_out(self.stats):,} faults ridden out",
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


def _empty_table(width: int) -> Table:
    table = Table(
        box=None, width=width, padding=(0, 1), header_style="bold", pad_edge=True
    )
    table.add_column("task", width=_ID_SHOWN, no_wrap=True)
    table.add_column("state", width=20, no_wrap=True)
    table.add_column("age", width=8, justify="right", no_wrap=True)
    table.add_column("polls", width=6, justify="right", no_wrap=True)
    table.add_column("next", ratio=1, no_wrap=True)
    return table


def _moving_row(watched: WatchedTask) -> tuple[RenderableType, ...]:
    return (
        short_id(watched.task),
        _state_of(watched),
        f"{watched.elapsed:.1f} s",
        str(watched.polls),
        _next_poll(watched),
    )


def moving_line(watched: WatchedTask) -> Text:
    """Return how a task stands in one line, without its id."""
    state, next_poll = _state_of(watched), _next_poll(watched)
    return Text(" · ").join([state, Text(f"{watched.elapsed:.1f} s"), next_poll])


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


def _ended_row(transition: Transition) -> tuple[RenderableType, ...]:
    status = transition.status or TaskStatus.UNKNOWN
    run_id = transition.run_id
    if transition.succeeded:
        follow_up = "" if run_id is None else f"run {run_id}"
    else:
        follow_up = status.guidance.action
    return (
        short_id(transition.task),
        _state(status, outcome_of(transition)),
        f"{transition.elapsed:.1f} s",
        str(transition.polls),
        follow_up,
    )


def short_id(task: TaskRef) -> str:
    """Return a task's id so short that it fits its column."""
    name = str(task)
    return name if len(name) <= _ID_SHOWN else name[: _ID_SHOWN - 1] + "…"


def _state(status: TaskStatus, word: str) -> Text:
    return Text(f"{status.guidance.icon} {printable(word)}", style=STYLES[status])
