"""Have the tasks of a batch watched by a store, and fetch the audio.

The journal says which row has which task, the store what became of the task. So a
process may be killed between any two steps: the next one hands over the tasks whose
end is not in the journal, and to hand over what is watched already changes nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from camb_async import (
    CambError,
    CambSession,
    PollSchedule,
    StoreError,
    TaskError,
    TaskRef,
    TaskStatus,
    TaskStore,
    TaskWatcher,
    Transition,
    work,
)

from .batch import Batch, Trouble, advice_on
from .ledger import Downloaded, Finished, Stage


_DOWNLOADS_MAX = 4
_OTHERS = "the store holds tasks of something else: {} is none of this batch"


class Watching:
    """Follows a store whose tasks have their row's number as the context.

    Args:
        camb: the session to watch with.
        store: an open store, for this batch alone.
        batch: where it is written down.
        schedule: when to poll; None for the session's own.
        deadline: seconds that each task is given.
        on_trouble: told why watching cannot go on.

    Attributes:
        watcher: what does the work, to look at; None before it begins.
    """

    def __init__(
        self,
        camb: CambSession,
        store: TaskStore,
        batch: Batch,
        *,
        schedule: PollSchedule | None,
        deadline: float,
        on_trouble: Callable[[Trouble], None],
    ) -> None:
        self._camb = camb
        self._store = store
        self._batch = batch
        self._schedule = schedule
        self._deadline = deadline
        self._on_trouble = on_trouble
        self.watcher: TaskWatcher | None = None
        self._given_up: dict[int, Trouble] = {}
        self._downloads = asyncio.Semaphore(_DOWNLOADS_MAX)

    async def add(self, number: int, task: TaskRef) -> None:
        """Have the task of a row watched."""
        try:
            await self._store.add(task, context=number, deadline=self._deadline)
        except StoreError as error:
            self._on_trouble(Trouble.of(error))

    async def run(self, all_created: asyncio.Event) -> None:
        """Go on until there are no more tasks, every one is over, all audio here."""
        watched, ended = map(self._batch.numbers, (Stage.CREATED, Stage.FINISHED))
        try:
            async with asyncio.TaskGroup() as group:
                for number in ended:
                    if not self._batch.progress(number).is_over:
                        group.create_task(self._download(number))
                working = group.create_task(self._work())
                reading = group.create_task(self._read(group))
                for number in watched:
                    task = self._batch.progress(number).task
                    assert task is not None  # noqa: S101 - that is the stage
                    await self.add(number, task)
                await all_created.wait()
                # From now on an empty store means that this is the end.
                reading.cancel()
                await self._read(group, until_empty=True)
                working.cancel()
        finally:
            for number, trouble in self._given_up.items():
                self._batch.settle(number, trouble)

    async def _work(self) -> None:
        try:
            await work(
                self._camb,
                self._store,
                schedule=self._schedule,
                observe=self._look_at,
            )
        except CambError as error:
            self._on_trouble(Trouble.of(error))

    def _look_at(self, watcher: TaskWatcher) -> None:
        self.watcher = watcher

    async def _read(
        self, group: asyncio.TaskGroup, *, until_empty: bool = False
    ) -> None:
        async for transition in self._store.transitions(until_empty=until_empty):
            number = transition.context
            if not self._is_ours(transition):
                self._on_trouble(
                    Trouble(_OTHERS.format(transition.task), "choose another --store")
                )
                # Without coming back for the next one, so that it stays in the store.
                return
            if self._take(number, transition):
                group.create_task(self._download(number))

    def _is_ours(self, transition: Transition) -> bool:
        number = transition.context
        return (
            isinstance(number, int)
            and self._batch.progress(number).task == transition.task
        )

    def _take(self, number: int, transition: Transition) -> bool:
        """Take note of a transition; return whether there is audio to fetch."""
        if self._batch.progress(number).stage is not Stage.CREATED:
            return False  # It was delivered before.
        if transition.status is not None:
            self._batch.statuses[number] = transition.status
        if not transition.is_final:
            return False
        error = transition.error
        if error is not None and not isinstance(error, TaskError):
            # The watch is over and the task is not: the same command goes on.
            assert isinstance(error, CambError)  # noqa: S101 - the library's own
            self._given_up[number] = Trouble.of(error)
            return False
        self._given_up.pop(number, None)
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
