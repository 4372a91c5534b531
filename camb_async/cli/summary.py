"""The last words: how it went, and what to do next."""

from __future__ import annotations

import shlex

from rich.console import Group, RenderableType
from rich.text import Text

from camb_async import TaskRef, WatcherStats

from .board import Board
from .render import label_of
from .screen import counted


_IDS_SHOWN = 5


def summary(board: Board, stats: WatcherStats, *hints: str) -> RenderableType:
    """Return how many tasks ended how, what that took, and what to do next."""
    lines = [_headline(board), *_outcomes(board), _costs(board, stats)]
    if hints:
        lines += [Text(), *(Text(f" {hint}") for hint in hints)]
    return Group(*lines)


def _headline(board: Board) -> Text:
    ended = f"{len(board.ended):,} of {counted(board.total, 'task')} finished"
    return Text(f" {ended} in {board.elapsed:.1f} s", style="bold")


def _outcomes(board: Board) -> list[Text]:
    rows = [(*label_of(transition), count) for transition, count in board.outcomes()]
    width = max((label.cell_len for label, _, _ in rows), default=0)
    digits = max((len(f"{count:,}") for _, _, count in rows), default=0)
    return [
        Text.assemble(
            "   ",
            label,
            " " * (width - label.cell_len + 2),
            (f"{count:>{digits},}", "bold"),
            (f"  {action}", "dim"),
        )
        for label, action, count in rows
    ]


def _costs(board: Board, stats: WatcherStats) -> Text:
    each = stats.polls / max(1, len(board.tasks))
    polls = counted(stats.polls, "poll")
    faults = counted(board.ridden_out(stats), "fault")
    return Text(f" {polls}, {each:.1f} per task · {faults} ridden out", style="dim")


def resume_command(tasks: list[TaskRef], *options: str) -> str:
    """Return the command that goes on watching these tasks, shortened if long."""
    names = [str(task) for task in tasks[:_IDS_SHOWN]]
    dashes = ["--"] if any(name.startswith("-") for name in names) else []
    command = shlex.join(["camb-async", "watch", *options, *dashes, *names])
    more = len(tasks) - len(names)
    return f"{command} ... (and {more:,} more)" if more else command
