"""Create the tasks of a batch: a few at a time, and none of them twice."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator
from random import Random

from camb_async import (
    APIConnectionError,
    CambError,
    CambSession,
    PaymentRequiredError,
    RateLimitError,
    ServerError,
    SubmissionUnknownError,
    TaskRef,
)

from .batch import LOOK_IN_THE_STUDIO, Batch, Trouble, is_refused_key
from .ledger import Created, Creating, Refused, Unknown


#: So many creates without an answer, one after the other, end the creating.
UNANSWERED_MAX = 5


class Creator:
    """Sends rows until there are no more, or something says that it should stop.

    Args:
        camb: the session to create with.
        batch: where it is written down.
        on_created: told of each new task, once it is safe in the journal.
    """

    def __init__(
        self,
        camb: CambSession,
        batch: Batch,
        on_created: Callable[[int, TaskRef], Awaitable[None]],
    ) -> None:
        self._camb = camb
        self._batch = batch
        self._on_created = on_created
        self._stopped = asyncio.Event()
        self._unanswered = 0
        self._random = Random()
        self.in_flight = 0
        #: Why no more is sent, once that is so.
        self.trouble: Trouble | None = None

    def stop(self) -> None:
        """Send no more. What was sent is still waited for."""
        self._stopped.set()

    async def run(self, numbers: Iterable[int], concurrency: int) -> None:
        """Send these rows, at most ``concurrency`` at one time."""
        rest = iter(numbers)
        async with asyncio.TaskGroup() as group:
            for _ in range(concurrency):
                group.create_task(self._work(rest))

    async def _work(self, rest: Iterator[int]) -> None:
        while not self._stopped.is_set():
            number = next(rest, None)
            if number is None:
                return
            await self._create(number)

    async def _create(self, number: int) -> None:
        attempts = self._camb.retry.attempts
        for attempt in range(1, attempts + 1):
            try:
                task = await self._send(number)
            except (SubmissionUnknownError, ServerError) as error:
                self._give_up(number, error)
            except CambError as error:
                # The service said no, or heard nothing: there is no task.
                self._batch.note(Refused(row=number, error=str(error)))
                if _may_be_sent_again(error) and attempt < attempts:
                    await self._pause(attempt, error)
                    if self._stopped.is_set():
                        return
                    continue
                self._refuse(number, error)
            else:
                self._unanswered = 0
                await self._batch.sync()
                await self._on_created(number, task)
            break
        await self._batch.sync()

    async def _send(self, number: int) -> TaskRef:
        row = self._batch.rows[number]
        self._batch.note(Creating(row=number, digest=row.digest))
        self.in_flight += 1
        try:
            await self._batch.sync()
            task = await self._camb.create_text_to_voice(
                text=row.text, voice_description=row.description, project_name=row.name
            )
        finally:
            self.in_flight -= 1
        assert task.created_at is not None  # noqa: S101 - create calls tell it
        self._batch.note(Created(row=number, task_id=task.task_id, at=task.created_at))
        return task

    def _give_up(self, number: int, error: CambError) -> None:
        self._batch.note(Unknown(row=number, error=str(error)))
        trouble = unknown(str(error))
        self._batch.settle(number, trouble)
        self._brake(trouble)

    def _refuse(self, number: int, error: CambError) -> None:
        trouble = Trouble.of(error)
        if is_refused_key(error) or isinstance(error, PaymentRequiredError):
            # It is not about this row, which will be sent when the cause is gone.
            self.trouble = self.trouble or trouble
            self.stop()
            return
        self._batch.settle(number, trouble)
        if isinstance(error, APIConnectionError):
            self._brake(trouble)
        else:
            self._unanswered = 0

    def _brake(self, trouble: Trouble) -> None:
        """Stop before a service that is down leaves hundreds of rows unknown."""
        self._unanswered += 1
        if self._unanswered >= UNANSWERED_MAX:
            self.trouble = self.trouble or trouble
            self.stop()

    async def _pause(self, attempt: int, error: CambError) -> None:
        asked_for: float = getattr(error, "retry_after", None) or 0.0
        backoff = self._camb.retry.backoff(attempt, self._random.random())
        try:
            async with asyncio.timeout(max(backoff, asked_for)):
                await self._stopped.wait()
        except TimeoutError:
            pass


def unknown(error: str | None) -> Trouble:
    """Return the trouble with a row that may have a task."""
    reason = error or "the process was stopped before the answer came"
    return Trouble(f"unknown: {LOOK_IN_THE_STUDIO} ({reason})", LOOK_IN_THE_STUDIO)


def _may_be_sent_again(error: CambError) -> bool:
    if isinstance(error, APIConnectionError):
        return not error.request_sent
    return isinstance(error, RateLimitError)
