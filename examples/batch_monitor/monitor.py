"""The run: create what is left, watch all of it, and leave in good order."""

from __future__ import annotations

import asyncio

import attrs

from camb_async import CambSession, FixedInterval, TaskWatcher

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

    def __init__(self, camb: CambSession, batch: Batch, options: Options) -> None:
        self._camb = camb
        self._batch = batch
        self._options = options
        self._creator: Creator | None = None
        self._following: asyncio.Task[None] | None = None
        self.watcher: TaskWatcher | None = None
        self.interrupted = False

    @property
    def trouble(self) -> Trouble | None:
        """Why rows were left unsent, if that is so."""
        return self._creator.trouble if self._creator else None

    @property
    def creating(self) -> int:
        """How many create calls are under way."""
        return self._creator.in_flight if self._creator else 0

    @property
    def likely_left(self) -> float | None:
        """Seconds in which nine of ten tasks under way are likely done, if known."""
        if self.watcher is None:
            return None
        etas = [self.watcher.eta(each.task) for each in self.watcher.watched()]
        known = [eta.high for eta in etas if eta is not None]
        return max(known, default=None)

    def interrupt(self) -> None:
        """Have ``run`` return soon. Create calls under way get their answer."""
        self.interrupted = True
        if self._creator is not None:
            self._creator.stop()
        if self._following is not None and not self.creating:
            self._following.cancel()

    async def run(self) -> None:
        """Work until nothing is left to do, or ``interrupt`` is called."""
        to_send = self._to_send()
        if not to_send and not self._batch.left():
            return
        self._batch.note(Started(service=self._options.service))
        interval = self._options.interval
        schedule = None if interval is None else FixedInterval(interval)
        async with self._camb.watch(
            schedule=schedule, deadline=self._options.deadline, keep_open=True
        ) as watcher:
            self.watcher = watcher
            watching = Watching(self._camb, watcher, self._batch)
            creator = self._creator = Creator(self._camb, self._batch, watching.add)
            if self.interrupted:
                return
            async with asyncio.TaskGroup() as group:
                self._following = group.create_task(watching.run())
                await creator.run(to_send, self._options.concurrency)
                watcher.close()
                if self.interrupted:
                    self._following.cancel()

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
