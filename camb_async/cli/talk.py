"""What is told on stderr while one voice is made: lines, or what moves."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager

import attrs
from rich.live import Live
from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn
from rich.spinner import Spinner
from rich.text import Text

from camb_async import DownloadProgress, Transition

from .output import outcome_of
from .runner import beside
from .screen import Screen, printable


_FRAME_SECONDS = 0.1

OnProgress = Callable[[DownloadProgress], None]


def choose_talk(screen: Screen) -> Talk:
    """Return the way of telling that fits stderr, whatever stdout is."""
    return LiveTalk(screen) if screen.err_live else Talk(screen)


@attrs.frozen
class Talk:
    """A plain line for each thing that happens."""

    screen: Screen

    def say(self, line: str) -> None:
        """Tell one thing."""
        self.screen.tell(line)

    def changed(self, transition: Transition) -> None:
        """Tell of a change that is no failure."""
        self.say(f"{outcome_of(transition)} after {transition.elapsed:.1f} s")

    def working(self, _words: Callable[[], Text]) -> AbstractAsyncContextManager[None]:
        """Show that something is going on, which ``_words`` tells at any time."""
        return contextlib.nullcontext()

    def fetching(self) -> AbstractAsyncContextManager[OnProgress]:
        """Show how far downloads are; the block gets what they are told to."""

        def show(progress: DownloadProgress) -> None:
            if progress.path is not None:
                path = printable(progress.path)
                self.say(f"saved {path} ({progress.received:,} bytes)")

        return contextlib.nullcontext(show)


@attrs.frozen
class LiveTalk(Talk):
    """A spinner and bars; what has passed stays above them as lines."""

    def say(self, line: str) -> None:
        """Tell one thing, above what moves."""
        self.screen.err.print(Text(line), soft_wrap=True)

    def changed(self, transition: Transition) -> None:
        """Tell of the end only: the spinner tells of what comes before."""
        if transition.is_final:
            super().changed(transition)

    @contextlib.asynccontextmanager
    async def working(self, words: Callable[[], Text]) -> AsyncGenerator[None]:
        """Show a spinner."""
        spinner = Spinner("dots")

        def picture() -> Spinner:
            text = words()
            text.no_wrap, text.overflow = True, "ellipsis"
            spinner.update(text=text)
            return spinner

        live = Live(
            console=self.screen.err,
            auto_refresh=False,
            transient=True,
            get_renderable=picture,
        )
        async with _moving(live):
            yield

    @contextlib.asynccontextmanager
    async def fetching(self) -> AsyncGenerator[OnProgress]:
        """Show a bar for each download. The bars stay."""
        bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            DownloadColumn(),
            console=self.screen.err,
            auto_refresh=False,
        )
        ids: list[TaskID] = []

        def show(progress: DownloadProgress) -> None:
            while len(ids) < progress.count:
                ids.append(bars.add_task(f"preview {len(ids) + 1}", total=None))
            bars.update(
                ids[progress.index], total=progress.total, completed=progress.received
            )

        async with _moving(bars):
            yield show


@contextlib.asynccontextmanager
async def _moving(live: Live | Progress) -> AsyncGenerator[None]:
    async def repaint() -> None:
        while True:
            live.refresh()
            await asyncio.sleep(_FRAME_SECONDS)

    with live:
        async with beside(repaint()):
            yield
