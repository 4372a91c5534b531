"""The batch: its rows, what the journal knows of them, and the results file."""

from __future__ import annotations

import json
import re
from enum import IntEnum
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TextIO

import attrs

from camb_async import (
    APIStatusError,
    AuthenticationError,
    CambError,
    ConfigurationError,
    NotFoundError,
    PaymentRequiredError,
    PermissionDeniedError,
    RateLimitError,
    ServerError,
    TaskPaymentRequiredError,
    TaskStatus,
    TaskStore,
    UnexpectedRedirectError,
)

from .journal import Journal
from .ledger import Event, Finished, JournalError, Progress, Stage
from .rows import Row


RESULTS = "results.ndjson"


class ExitCode(IntEnum):
    """How the process ends."""

    SUCCESS = 0
    FAILED = 1
    USAGE = 2
    AUTHENTICATION = 3
    PAYMENT = 4
    INTERRUPTED = 130
    TERMINATED = 143


#: What to do about a row of which nobody knows whether it was created.
LOOK_IN_THE_STUDIO = "look in the studio"
_AGAIN = "run the same command again"

# The first line that fits an error says what to do about it.
_ADVICE: tuple[tuple[type[Exception], str], ...] = (
    (TaskPaymentRequiredError, TaskStatus.PAYMENT_REQUIRED.guidance.action),
    (PaymentRequiredError, TaskStatus.PAYMENT_REQUIRED.guidance.action),
    (AuthenticationError, "check CAMB_API_KEY"),
    (PermissionDeniedError, "check CAMB_API_KEY"),
    (ConfigurationError, "check CAMB_API_KEY"),
    (UnexpectedRedirectError, "check CAMB_BASE_URL"),
    (NotFoundError, _AGAIN),
    (RateLimitError, _AGAIN),
    (ServerError, _AGAIN),
    (APIStatusError, TaskStatus.ERROR.guidance.action),
)


def advice_on(error: Exception, status: TaskStatus | None = None) -> str:
    """Return what to do about an error, in the service's words where it has any."""
    for error_class, advice in _ADVICE:
        if isinstance(error, error_class):
            return advice
    if status is not None and status.is_final:
        return status.guidance.action
    return _AGAIN


def is_refused_key(error: Exception | None) -> bool:
    """Tell whether an error means that no call will succeed with this key."""
    refusals = (AuthenticationError, PermissionDeniedError, ConfigurationError)
    return isinstance(error, refusals)


@attrs.frozen
class Trouble:
    """Why this process is through with a row that has not got its voice."""

    error: str
    advice: str
    code: ExitCode = ExitCode.FAILED

    @classmethod
    def of(cls, error: CambError, status: TaskStatus | None = None) -> Self:
        """Return the trouble that an error makes."""
        code = ExitCode.FAILED
        if is_refused_key(error):
            code = ExitCode.AUTHENTICATION
        elif isinstance(error, PaymentRequiredError):
            code = ExitCode.PAYMENT
        return cls(str(error), advice_on(error, status), code)


@attrs.frozen(kw_only=True)
class Result:
    """What became of a row, as one line of the results. Times are in seconds."""

    row: int
    id: str | None
    name: str
    task_id: str | None
    status: str | None
    run_id: int | None
    files: tuple[str, ...]
    reason: str | None
    error: str | None
    advice: str | None
    elapsed: float | None
    uncertainty: float | None
    polls: int

    @classmethod
    def of(cls, row: Row, progress: Progress, trouble: Trouble | None) -> Self:
        """Return what the journal and this process know about a row."""
        finished = progress.finished or _NOT_FINISHED
        error, advice = finished.error, finished.advice
        if trouble is not None:
            error, advice = trouble.error, trouble.advice
        return cls(
            row=row.number,
            id=row.id,
            name=row.name,
            task_id=progress.task.task_id if progress.task else None,
            status=finished.status if progress.finished else None,
            run_id=finished.run_id,
            files=progress.files,
            reason=finished.reason,
            error=error,
            advice=advice,
            elapsed=_rounded(progress.elapsed),
            uncertainty=_rounded(finished.uncertainty),
            polls=finished.polls,
        )


_NOT_FINISHED = Finished(
    row=0,
    status=TaskStatus.UNKNOWN,
    run_id=None,
    reason=None,
    error=None,
    advice=None,
    uncertainty=None,
    polls=0,
)


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)


class Batch:
    """The rows with their journal; writes a line of results when a row is over.

    The journal is the truth and the results are a view of it: they are written anew
    when a batch goes on, so each row has one line, whatever killed the last process.
    """

    def __init__(self, rows: list[Row], journal: Journal, directory: Path) -> None:
        self.rows = {row.number: row for row in rows}
        self.directory = directory
        self.troubles: dict[int, Trouble] = {}
        self.statuses: dict[int, TaskStatus] = {}
        self._journal = journal
        self.ledger = journal.ledger
        self._results: TextIO

    def __enter__(self) -> Self:
        part = self.directory / f".{RESULTS}.part"
        self._results = part.open("w", encoding="utf-8")
        for number, progress in sorted(self.ledger.rows.items()):
            if progress.is_over:
                self._write(number)
        part.replace(self.directory / RESULTS)
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._results.close()

    def progress(self, number: int) -> Progress:
        """Return what the journal knows about a row."""
        return self.ledger.of(number)

    def numbers(self, *stages: Stage) -> list[int]:
        """Return the rows that are in one of these stages, in their order."""
        return [number for number in self.rows if self.progress(number).stage in stages]

    def left(self) -> list[int]:
        """Return the rows with which the same command would go on."""
        return [
            number
            for number in self.rows
            if not self.progress(number).is_over
            and self.progress(number).stage is not Stage.UNANSWERED
        ]

    def result(self, number: int) -> Result:
        """Return what is known about a row now."""
        return Result.of(
            self.rows[number], self.progress(number), self.troubles.get(number)
        )

    def note(self, event: Event) -> None:
        """Write an event into the journal."""
        self._journal.note(event)

    async def sync(self) -> None:
        """Wait until what was noted is safe."""
        await self._journal.sync()

    def settle(self, number: int, trouble: Trouble | None = None) -> None:
        """Write the line of a row with which this process is through."""
        if trouble is not None:
            self.troubles[number] = trouble
        self._write(number)

    def audio_directory(self, number: int) -> Path:
        """Return where the audio of a row belongs."""
        slug = re.sub(r"[^a-z0-9]+", "-", self.rows[number].name.lower())[:40]
        return self.directory / "audio" / f"{number:04}-{slug}".rstrip("-")

    def _write(self, number: int) -> None:
        fields: dict[str, Any] = attrs.asdict(self.result(number))
        self._results.write(json.dumps(fields, ensure_ascii=False) + "\n")
        self._results.flush()


async def check_empty_of_others(store: TaskStore, journal: Journal) -> None:
    """Refuse a store that watches what is none of this batch, before a row is sent.

    Raises:
        JournalError: it watches more tasks than this batch has under way.
        StoreError: it cannot be read.
    """
    progress = journal.ledger.rows.values()
    ours = sum(each.stage is Stage.CREATED for each in progress)
    watching = await store.watching()
    if watching > ours:
        message = (
            f"the store watches {watching:,} tasks, and this batch has {ours:,} under "
            "way: choose another --store"
        )
        raise JournalError(message)


def check_same(rows: list[Row], journal: Journal, service: str) -> None:
    """Refuse to go on with a batch that is another one.

    Raises:
        JournalError: a row that was sent is not what it was, or the tasks are on
            another service.
    """
    ledger = journal.ledger
    if ledger.service not in {None, service}:
        message = (
            f"this batch was begun on {ledger.service}, and now it is {service}: set "
            "CAMB_BASE_URL and CAMB_API_KEY as they were, or choose another directory"
        )
        raise JournalError(message)
    now = {row.number: row for row in rows}
    for number, progress in sorted(ledger.rows.items()):
        if progress.stage is Stage.WAITING:
            continue
        if number not in now or now[number].digest != progress.digest:
            what = "has changed" if number in now else "is gone"
            message = (
                f"row {number} {what} since it was sent: rows may only be added at the "
                "end. Undo that, or choose another directory"
            )
            raise JournalError(message)
