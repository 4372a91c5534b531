"""The run: create what is left, watch all of it, and leave in good order."""

from __future__ import annotations

import asyncio

import attrs

from camb_async import CambSession, FixedInterval, TaskStore, WatcherStats

from .batch import Batch, ExitCode, Trouble
from .creating import Creator, unknown
from .ledger import Stage, Started
from .watching import Watching


# The first of these that holds for a row, or for the batch, is told.
_PRECEDENCE = (ExitCode.AUTHENTICATION, ExitCode.PAYMENT, ExitCode.FAILED)


@attrs.frozen(kw_only=True)
class Options:
    """How to run. Times are in seconds.

    Attributes:
        service: whom the session talks to, as the journal is to call it.
        concurrency: creates under way at one time.
        deadline: how long each task is given.
        interval: the time between two polls; None lets the default schedule say.
        recreate_unknown: whether rows that may have a task are sent once more.
    """

    service: str
    concurrency: int = 4
    deadline: float = 3600.0
    interval: float | None = None
    recreate_unknown: bool = False


class Monitor:
    """One process's work on a batch."""

    def __init__(
        self, camb: CambSession, store: TaskStore, batch: Batch, options: Options
    ) -> None:
        self._batch = batch
        self._options = options
        interval = options.interval
        watching = self._watching = Watching(
            camb,
            store,
            batch,
            schedule=None if interval is None else FixedInterval(interval),
            deadline=options.deadline,
            on_trouble=self._give_up,
        )
        self._creator = Creator(camb, batch, watching.add)
        self._following: asyncio.Task[None] | None = None
        self.interrupted = False

    @property
    def trouble(self) -> Trouble | None:
        """Why rows were left unsent, if that is so."""
        return self._creator.trouble

    @property
    def creating(self) -> int:
        """How many create calls are under way."""
        return self._creator.in_flight

    @property
    def stats(self) -> WatcherStats | None:
        """What watching has taken so far; None before it begins."""
        watcher = self._watching.watcher
        return None if watcher is None else watcher.stats()

    @property
    def likely_left(self) -> float | None:
        """Seconds in which nine of ten tasks under way are likely done, if known."""
        watcher = self._watching.watcher
        if watcher is None:
            return None
        etas = [watcher.eta(each.task) for each in watcher.watched()]
        return max((eta.high for eta in etas if eta is not None), default=None)

    def interrupt(self) -> None:
        """Have ``run`` return soon. Create calls under way get their answer."""
        self.interrupted = True
        self._creator.stop()
        if self._following is not None and not self.creating:
            self._following.cancel()

    async def run(self) -> None:
        """Work until nothing is left to do, or ``interrupt`` is called."""
        to_send = self._to_send()
        if self.interrupted or not (to_send or self._batch.left()):
            return
        self._batch.note(Started(service=self._options.service))
        all_created = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            self._following = group.create_task(self._watching.run(all_created))
            await self._creator.run(to_send, self._options.concurrency)
            all_created.set()
            if self.interrupted:
                self._following.cancel()

    def _give_up(self, trouble: Trouble) -> None:
        self._creator.trouble = self._creator.trouble or trouble
        self.interrupt()

    def exit_code(self) -> ExitCode:
        """Return what the process tells about the whole batch."""
        codes = {trouble.code for trouble in self._batch.troubles.values()}
        if self.trouble is not None:
            codes.add(self.trouble.code)
        for progress in self._batch.ledger.rows.values():
            if progress.finished and progress.finished.advice == "add_credits":
                codes.add(ExitCode.PAYMENT)
        if len(self._batch.numbers(Stage.DOWNLOADED)) < len(self._batch.rows):
            codes.add(ExitCode.FAILED)
        return next((code for code in _PRECEDENCE if code in codes), ExitCode.SUCCESS)

    def _to_send(self) -> list[int]:
        unanswered = self._batch.numbers(Stage.UNANSWERED)
        if self._options.recreate_unknown:
            return self._batch.numbers(Stage.WAITING, Stage.UNANSWERED)
        for number in unanswered:
            self._batch.settle(number, unknown(self._batch.progress(number).error))
        return self._batch.numbers(Stage.WAITING)
