"""What is seen while it runs: bars on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections.abc import AsyncGenerator, Callable, Coroutine
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.padding import Padding
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from camb_async import TaskStatus

from .batch import Batch
from .monitor import Monitor
from .report import Tally


_FRAME_SECONDS = 0.125
#: A frame may take this share of the time, unless the next would come too late.
_FRAME_SHARE = 0.1
_FRAME_SECONDS_MAX = 2.0
_LINE_SECONDS = 5.0
_BAR_WIDTH = 40
_ROUND_SECONDS = (5, 10, 20, 30, 45, 60, 90, 120, 180, 300, 600, 1200, 1800, 2700)

_STYLES = {
    TaskStatus.SUCCESS: "green",
    TaskStatus.PENDING: "cyan",
    TaskStatus.TIMEOUT: "yellow",
    TaskStatus.ERROR: "red",
    TaskStatus.PAYMENT_REQUIRED: "magenta",
    TaskStatus.UNKNOWN: "dim",
}


@contextlib.asynccontextmanager
async def shown(
    batch: Batch, monitor: Monitor, console: Console
) -> AsyncGenerator[None, None]:
    """Show a batch while the block runs."""
    began = time.monotonic()
    if console.is_terminal and not console.is_dumb_terminal:
        live = Live(
            console=console,
            auto_refresh=False,
            transient=False,
            get_renderable=lambda: frame(batch, monitor, time.monotonic() - began),
        )
        with live:
            async with _beside(_paint(live)):
                yield
    else:

        def tell() -> None:
            line = f"{line_of(Tally.of(batch))} after {time.monotonic() - began:.0f} s"
            console.print(line, soft_wrap=True)

        async with _beside(_tell_now_and_then(tell)):
            yield
        tell()


def line_of(tally: Tally) -> str:
    """Return how far a batch is, in one line."""
    parts = [
        f"created {tally.created}/{tally.total}",
        f"finished {tally.finished}",
        f"downloaded {tally.downloaded}",
    ]
    parts += [
        f"{status} {count}"
        for status, count in sorted(
            (status or "NEW", count) for status, count in tally.statuses.items()
        )
    ]
    if tally.unanswered:
        parts.append(f"unanswered {tally.unanswered}")
    return ", ".join(parts)


def frame(batch: Batch, monitor: Monitor, elapsed: float) -> RenderableType:
    """Return the picture of a batch as it is now."""
    tally = Tally.of(batch)
    bars = Table.grid(padding=(0, 2))
    bars.add_column(min_width=10)
    bars.add_column(width=_BAR_WIDTH)
    bars.add_column(justify="right")
    failed = tally.finished - tally.succeeded
    for name, count, total, style in (
        ("created", tally.created, tally.total, "blue"),
        ("finished", tally.finished, tally.total, "cyan"),
        ("downloaded", tally.downloaded, max(0, tally.total - failed), "green"),
    ):
        bar = ProgressBar(
            total=max(1, total),
            completed=count,
            width=_BAR_WIDTH,
            complete_style=style,
            finished_style=style,
        )
        bars.add_row(name, bar, Text(f"{count}/{total}", style="bold"))
    return Padding(
        Group(bars, Text(""), _statuses(tally), _costs(monitor, elapsed)), (1, 1, 0, 1)
    )


def roughly(seconds: float) -> str:
    """Return a time rounded up so far that it does not count down."""
    for most in _ROUND_SECONDS:
        if seconds <= most:
            return f"{most} s" if most < 120 else f"{most // 60} min"  # noqa: PLR2004
    return f"{math.ceil(seconds / 3600)} h"


def _statuses(tally: Tally) -> Text:
    line = Text()
    for status in TaskStatus:
        count = tally.statuses[status]
        if count:
            line.append(f"{status.guidance.icon} {status} ", style=_STYLES[status])
            line.append(f"{count}   ", style="bold")
    for what, count in (
        ("not polled yet", tally.statuses[None]),
        ("unanswered", tally.unanswered),
    ):
        if count:
            line.append(f"{what} ", style="dim")
            line.append(f"{count}   ")
    return line


def _costs(monitor: Monitor, elapsed: float) -> Text:
    parts = [f"{elapsed:.0f} s"]
    stats = monitor.stats
    if stats is not None:
        parts += [f"{stats.polls} polls", f"{stats.failed_polls} ridden out"]
    left = monitor.likely_left
    if left is not None:
        parts.append(f"nine of ten under way are likely done in {roughly(left)}")
    if monitor.interrupted:
        under_way = f" once {monitor.creating} creates are answered"
        parts.append("stopping" + under_way * bool(monitor.creating))
    elif monitor.trouble is not None:
        parts.append("creates have stopped; what was created is watched to its end")
    return Text(" · ".join(parts), style="dim")


@contextlib.asynccontextmanager
async def _beside(work: Coroutine[Any, Any, None]) -> AsyncGenerator[None, None]:
    task = asyncio.ensure_future(work)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait({task})


async def _paint(live: Live) -> None:
    while True:
        began = time.perf_counter()
        live.refresh()
        took = time.perf_counter() - began
        pause = min(took / _FRAME_SHARE, _FRAME_SECONDS_MAX)
        await asyncio.sleep(max(_FRAME_SECONDS, pause))


async def _tell_now_and_then(tell: Callable[[], None]) -> None:
    while True:
        await asyncio.sleep(_LINE_SECONDS)
        tell()
