"""What was done, as events, and what they add up to; no file.

A create call is billed and cannot be repeated safely, so what counts is the order:

    creating   is on the disk before the request leaves
    created    follows the answer, and from then on the row is only watched
    refused    follows an answer which means that nothing was created
    unknown    says that nobody knows; so does a "creating" with nothing after it
    finished   is what the service said in the end; downloaded, that the files are here

``Ledger`` is the sum of these events; the file they are written to is the journal.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from enum import Enum, auto

import attrs
from cattrs.preconf.json import JsonConverter, make_converter
from cattrs.strategies import configure_tagged_union

from camb_async import TaskRef, TaskStatus


def now() -> datetime:
    """Return the time as it is written down."""
    return datetime.now(UTC)


@attrs.frozen(kw_only=True)
class Started:
    """A process began to work on the batch. ``service`` is whom it talks to."""

    service: str
    at: datetime = attrs.field(factory=now)


@attrs.frozen(kw_only=True)
class Creating:
    """A row is about to be sent; ``digest`` tells which text and description."""

    row: int
    digest: str
    at: datetime = attrs.field(factory=now)


@attrs.frozen(kw_only=True)
class Created:
    """A row has a task, and is never sent again."""

    row: int
    task_id: str
    at: datetime = attrs.field(factory=now)


@attrs.frozen(kw_only=True)
class Refused:
    """The service did not create a task; the row may be sent again."""

    row: int
    error: str
    at: datetime = attrs.field(factory=now)


@attrs.frozen(kw_only=True)
class Unknown:
    """Nobody knows whether a row has a task."""

    row: int
    error: str
    at: datetime = attrs.field(factory=now)


@attrs.frozen(kw_only=True)
class Finished:
    """The service has ended a task; the times are the watcher's, in seconds."""

    row: int
    status: TaskStatus
    run_id: int | None
    reason: str | None
    error: str | None
    advice: str | None
    uncertainty: float | None
    polls: int
    at: datetime = attrs.field(factory=now)


@attrs.frozen(kw_only=True)
class Downloaded:
    """The audio of a row is here; ``files`` are relative to the directory."""

    row: int
    files: tuple[str, ...]
    at: datetime = attrs.field(factory=now)


RowEvent = Creating | Created | Refused | Unknown | Finished | Downloaded
Event = Started | RowEvent


class Stage(Enum):
    """How far a row is."""

    WAITING = auto()
    UNANSWERED = auto()
    CREATED = auto()
    FINISHED = auto()
    DOWNLOADED = auto()


@attrs.frozen(kw_only=True)
class Progress:
    """All that is written about one row."""

    stage: Stage = Stage.WAITING
    digest: str = ""
    task: TaskRef | None = None
    error: str | None = None
    finished: Finished | None = None
    files: tuple[str, ...] = ()

    @property
    def is_over(self) -> bool:
        """Whether nothing is left to do: the audio is here, or the task failed."""
        failed = self.finished is not None and self.finished.error is not None
        return self.stage is Stage.DOWNLOADED or failed

    @property
    def elapsed(self) -> float | None:
        """Seconds from the creation to when the end was noticed, over restarts."""
        created_at = self.task.created_at if self.task else None
        if created_at is None or self.finished is None:
            return None
        return max(0.0, (self.finished.at - created_at).total_seconds())


class JournalError(Exception):
    """The journal cannot be used as it is; the message says what to do."""


@attrs.define
class Ledger:
    """What the events add up to.

    ``sessions`` are the times of the processes that worked on it: when each began,
    and the last event of each.
    """

    service: str | None = None
    rows: dict[int, Progress] = attrs.field(factory=dict[int, Progress])
    sessions: list[tuple[datetime, datetime]] = attrs.field(
        factory=list[tuple[datetime, datetime]]
    )

    def of(self, row: int) -> Progress:
        """Return what is known about a row."""
        return self.rows.get(row) or Progress()

    def apply(self, event: Event) -> None:
        """Take note of an event.

        Raises:
            JournalError: the event cannot follow what came before.
        """
        if isinstance(event, Started):
            self.service = event.service
            self.sessions.append((event.at, event.at))
            return
        before = self.of(event.row)
        if before.stage not in _FOLLOWS[type(event)]:
            what = type(event).__name__.lower()
            message = f"row {event.row} cannot be {what} after {before.stage.name}"
            raise JournalError(message)
        self.rows[event.row] = _after(before, event)
        if self.sessions:
            began, last = self.sessions[-1]
            self.sessions[-1] = (began, max(last, event.at))


# Which event may follow in which stage of a row.
_FOLLOWS: Mapping[type[RowEvent], frozenset[Stage]] = {
    Creating: frozenset({Stage.WAITING, Stage.UNANSWERED}),
    Created: frozenset({Stage.UNANSWERED}),
    Refused: frozenset({Stage.UNANSWERED}),
    Unknown: frozenset({Stage.UNANSWERED}),
    Finished: frozenset({Stage.CREATED}),
    Downloaded: frozenset({Stage.FINISHED}),
}


def _after(before: Progress, event: RowEvent) -> Progress:
    match event:
        case Creating():
            return Progress(stage=Stage.UNANSWERED, digest=event.digest)
        case Created():
            task = TaskRef(event.task_id, created_at=event.at)
            return attrs.evolve(before, stage=Stage.CREATED, task=task)
        case Refused():
            return Progress(stage=Stage.WAITING, error=event.error)
        case Unknown():
            return attrs.evolve(before, error=event.error)
        case Finished():
            return attrs.evolve(before, stage=Stage.FINISHED, finished=event)
        case Downloaded():
            return attrs.evolve(before, stage=Stage.DOWNLOADED, files=event.files)


def replay(lines: Iterable[bytes]) -> Ledger:
    """Return what the lines of a journal add up to.

    Raises:
        JournalError: a line is not an event, or cannot follow those before it.
    """
    ledger = Ledger()
    for number, line in enumerate(lines, start=1):
        try:
            ledger.apply(parse(line))
        except (ValueError, JournalError) as error:
            message = (
                f"line {number} of the journal is damaged ({error}): repair it by "
                "hand, or start over in another directory"
            )
            raise JournalError(message) from error
    return ledger


def parse(line: bytes) -> Event:
    """Return the event in a line.

    Raises:
        ValueError: there is none.
    """
    fields = json.loads(line)
    try:
        return _converter.structure(fields, Event)  # type: ignore[arg-type]
    except (KeyError, TypeError, AttributeError) as error:
        message = f"not an event: {error!r}"
        raise ValueError(message) from error


def dump(event: Event) -> bytes:
    """Return an event as a line."""
    fields = _converter.unstructure(event, Event)
    return json.dumps(fields).encode() + b"\n"


def intact(content: bytes) -> int:
    """Return how many bytes of a journal are whole lines.

    A process that is killed while it writes leaves a torn last line. What it told
    had not happened yet or is asked for again, so the line is dropped.
    """
    return content.rfind(b"\n") + 1


def _tag(event_class: type[Event]) -> str:
    return event_class.__name__.lower()


def _make_converter() -> JsonConverter:
    converter = make_converter(detailed_validation=False)
    configure_tagged_union(Event, converter, tag_generator=_tag, tag_name="event")
    return converter


_converter = _make_converter()
