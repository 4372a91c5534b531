"""Watch the tasks of a batch with one watcher, and fetch the audio.

This is the part that a store could take over, with as many processes as you like:
it asks for nothing but rows with tasks, and says nothing but how they ended.
"""

from __future__ import annotations

import asyncio

from camb_async import (
    CambError,
    CambSession,
    TaskError,
    TaskRef,
    TaskStatus,
    TaskWatcher,
    Transition,
)

from .batch import Batch, Trouble, advice_on
from .ledger import Downloaded, Finished, Stage


_DOWNLOADS_MAX = 4


class Watching:
    """Follows a watcher whose tasks have their row's number as the context."""

    def __init__(self, camb: CambSession, watcher: TaskWatcher, batch: Batch) -> None:
        self._camb = camb
        self.watcher = watcher
        self._batch = batch
        self._downloads = asyncio.Semaphore(_DOWNLOADS_MAX)

    def add(self, number: int, task: TaskRef) -> None:
        """Watch the task of a row."""
        self.watcher.add(task, context=number)

    async def run(self) -> None:
        """Go on until the watcher is closed, every task over, all audio here."""
        for number in self._batch.numbers(Stage.CREATED):
            task = self._batch.progress(number).task
            assert task is not None  # noqa: S101 - that is the stage
            self.add(number, task)
        async with asyncio.TaskGroup() as group:
            for number in self._batch.numbers(Stage.FINISHED):
                if not self._batch.progress(number).is_over:
                    group.create_task(self._download(number))
            async for transition in self.watcher:
                if self._take(transition):
                    group.create_task(self._download(transition.context))

    def _take(self, transition: Transition) -> bool:
        """Take note of a transition; return whether there is audio to fetch."""
        number: int = transition.context
        if transition.status is not None:
            self._batch.statuses[number] = transition.status
        if not transition.is_final:
            return False
        error = transition.error
        if error is not None and not isinstance(error, TaskError):
            # The watch is over and the task is not: the same command goes on.
            assert isinstance(error, CambError)  # noqa: S101 - the library's own
            self._batch.settle(number, Trouble.of(error))
            return False
        status = transition.status or TaskStatus.UNKNOWN
        self._batch.note(
            Finished(
                row=number,
                status=status,
                run_id=transition.run_id,
                reason=transition.state.exception_reason if transition.state else None,
                error=None if error is None else str(error),
                advice=None if error is None else advice_on(error, status),
                uncertainty=transition.uncertainty,
                polls=transition.polls,
                at=transition.at,
            )
        )
        if error is not None:
            self._batch.settle(number)
        return error is None

    async def _download(self, number: int) -> None:
        finished = self._batch.progress(number).finished
        if finished is None or finished.run_id is None:
            self._batch.settle(
                number, Trouble("the service told no run id", "contact_support")
            )
            return
        directory = self._batch.audio_directory(number)
        try:
            async with self._downloads:
                # What is there already was left by a process that was killed.
                paths = await self._camb.download_previews(
                    finished.run_id, directory, overwrite=True
                )
        except CambError as error:
            self._batch.settle(number, Trouble.of(error))
            return
        files = tuple(
            path.relative_to(self._batch.directory).as_posix() for path in paths
        )
        self._batch.note(Downloaded(row=number, files=files))
        self._batch.settle(number)
        await self._batch.sync()
