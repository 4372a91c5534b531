"""The values that callers hand in and get back: frozen, slotted, picklable."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self

import attrs

from .errors import InvalidTaskIdError
from .kinds import TaskKind


@attrs.frozen
class Guidance:
    """What the service's documentation advises for a status: an icon, an action."""

    icon: str
    action: str


class TaskStatus(StrEnum):
    """How far a task is, in the service's words.

    ``TaskStatus(text)`` reads a status in any letter case; a text that the
    documentation does not list is UNKNOWN, which is not final.
    """

    SUCCESS = "SUCCESS"
    PENDING = "PENDING"
    TIMEOUT = "TIMEOUT"
    ERROR = "ERROR"
    PAYMENT_REQUIRED = "PAYMENT_REQUIRED"
    UNKNOWN = "UNKNOWN"

    @classmethod
    def _missing_(cls, value: object) -> TaskStatus | None:
        if not isinstance(value, str):
            return None
        # Beyond ASCII there are letters whose upper case is that of another.
        text = value.upper() if value.isascii() else ""
        return cls.__members__.get(text, cls.UNKNOWN)

    @property
    def is_final(self) -> bool:
        """Whether the service says no more after this status."""
        return self in _FINAL

    @property
    def guidance(self) -> Guidance:
        """The documented icon and recommended action for this status."""
        return _GUIDANCE.get(self, _CONTACT_SUPPORT)


# Both tables are those of the status endpoint's documentation.
_FINAL = frozenset(
    {
        TaskStatus.SUCCESS,
        TaskStatus.TIMEOUT,
        TaskStatus.ERROR,
        TaskStatus.PAYMENT_REQUIRED,
    }
)
_GUIDANCE: Mapping[TaskStatus, Guidance] = MappingProxyType(
    {
        TaskStatus.SUCCESS: Guidance("✅", "download_voice"),
        TaskStatus.PENDING: Guidance("⏳", "wait"),
        TaskStatus.TIMEOUT: Guidance("⏰", "retry_or_contact"),
        TaskStatus.ERROR: Guidance("❌", "review_inputs"),
        TaskStatus.PAYMENT_REQUIRED: Guidance("💳", "add_credits"),
    }
)
_CONTACT_SUPPORT = Guidance("ℹ️", "contact_support")  # noqa: RUF001 - the documented icon

_TASK_ID = re.compile(r"(?!\.{1,2}\Z)[A-Za-z0-9._~-]{1,256}\Z")


def _check_task_id(_ref: object, _field: object, value: str) -> None:
    if isinstance(value, str) and _TASK_ID.match(value):
        return
    shown = repr(value[:40]) if isinstance(value, str) else type(value).__name__
    message = (
        f"Not a task id: {shown}. A task id is 1 to 256 letters, digits, "
        "'-', '_', '.' or '~', and neither '.' nor '..'; nothing was sent."
    )
    raise InvalidTaskIdError(message)


def _check_aware(_ref: object, _field: object, value: datetime | None) -> None:
    if value is None:
        return
    if not isinstance(value, datetime) or value.utcoffset() is None:
        message = "created_at must be a datetime that has a time zone, or None"
        raise ValueError(message)


@attrs.frozen
class TaskRef:
    """Which task: its id, its kind, and when it was created if that is known.

    Two refs are equal when id and kind are; ``created_at`` (an aware datetime)
    only tells the poll schedule how old the task is.

    Raises:
        InvalidTaskIdError: the id could not be part of a URL path.
        ValueError: the kind is none of TaskKind, or ``created_at`` has no time zone.
    """

    task_id: str = attrs.field(validator=_check_task_id)
    kind: TaskKind = attrs.field(default=TaskKind.TEXT_TO_VOICE, converter=TaskKind)
    created_at: datetime | None = attrs.field(
        default=None, eq=False, repr=False, validator=_check_aware
    )

    def __str__(self) -> str:
        """Return the form that ``parse`` reads: ``ID``, or ``kind:ID``."""
        if self.kind is TaskKind.TEXT_TO_VOICE:
            return self.task_id
        return f"{self.kind.value}:{self.task_id}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``"ID"`` (text-to-voice) or ``"kind:ID"``, as the CLI takes them.

        Raises:
            InvalidTaskIdError: the kind is none of TaskKind, or the id is bad.
        """
        if not isinstance(text, str) or ":" not in text:
            return cls(text)
        kind, _, task_id = text.partition(":")
        if kind not in TaskKind.__members__.values():
            message = (
                f"Not a task: {text[:80]!r}. Before the colon stands a kind, one of: "
                f"{', '.join(TaskKind)}."
            )
            raise InvalidTaskIdError(message)
        return cls(task_id, TaskKind(kind))

    @classmethod
    def of(cls, task: TaskRef | str) -> TaskRef:
        """Return ``task`` as a ref; a plain str is the id of a text-to-voice task.

        Raises:
            InvalidTaskIdError: it is neither a ref nor a usable id.
        """
        return task if isinstance(task, TaskRef) else cls(task)


@attrs.frozen
class TaskState:
    """What one answer of the status endpoint said.

    Attributes:
        status: the status as an enum member.
        raw_status: the status text as it was sent.
        run_id: the run whose result can be fetched; 0 is a valid id.
        exception_reason: the service's reason for a failure; None for "NONE".
        message: text or mapping, as it was sent.
    """

    status: TaskStatus
    raw_status: str = attrs.field(
        default=attrs.Factory(lambda self: self.status.value, takes_self=True)
    )
    run_id: int | None = None
    exception_reason: str | None = None
    message: str | Mapping[str, Any] | None = attrs.field(default=None, hash=False)

    @property
    def is_final(self) -> bool:
        """Whether the service says no more after this state."""
        return self.status.is_final

    @property
    def lacks_credits(self) -> bool:
        """Whether the task ended for want of credits: as a status, or as a reason."""
        told = {self.status.value, (self.exception_reason or "").upper()}
        return self.is_final and TaskStatus.PAYMENT_REQUIRED.value in told


@attrs.frozen
class Transition:
    """One change of one task's status, or its end.

    Attributes:
        task: which task.
        previous: the status before; None at first sight.
        state: what was seen; None if the task ended without ever being seen.
        error: why this task will not succeed; None while it may, or did.
        at: when the change was noticed, an aware datetime in UTC.
        elapsed: seconds since the task was added (monotonic).
        uncertainty: how many seconds before ``at`` the change may have
            happened; None at first sight, and where nobody knows.
        polls: how many polls of this task were answered or failed so far.
        context: the object that was given to ``add``.
        key: what a store has recorded it under, for your idempotency: which watch
            (another one for each add) and which of its transitions, from 1; None
            if it comes from a watcher.
    """

    task: TaskRef
    previous: TaskStatus | None
    state: TaskState | None
    error: Exception | None
    at: datetime
    elapsed: float
    uncertainty: float | None
    polls: int
    context: Any = None
    key: tuple[str, int] | None = None

    @property
    def task_id(self) -> str:
        """The id of the task."""
        return self.task.task_id

    @property
    def status(self) -> TaskStatus | None:
        """The status that was seen; None if none ever was."""
        return None if self.state is None else self.state.status

    @property
    def run_id(self) -> int | None:
        """The run whose result can be fetched, once there is one."""
        return None if self.state is None else self.state.run_id

    @property
    def is_final(self) -> bool:
        """Whether this is the last transition of this watch."""
        return self.error is not None or (
            self.state is not None and self.state.is_final
        )

    @property
    def succeeded(self) -> bool:
        """Whether the task ended in SUCCESS."""
        return self.error is None and self.status is TaskStatus.SUCCESS

    def raise_for_status(self) -> Self:
        """Return this transition, or raise its ``error`` if it has one.

        Raises:
            TaskError: the service ended the task without a result.
            DeadlineExceededError: your deadline passed.
            APIStatusError: the API refused to tell (401, 402, 403, 404, 422).
            CambError: another one that ended the watch, such as TaskParkedError.
        """
        if self.error is not None:
            raise self.error
        return self


def _check_run_id(_result: object, _field: object, value: int) -> None:
    # Files are named after it, so it must not be a path.
    if type(value) is not int or value < 0:
        message = f"run_id must be a whole number of at least 0, not {value!r}"
        raise ValueError(message)


@attrs.frozen
class TextToVoiceResult:
    """The preview links of one run, in the service's order; fetch without a key.

    Raises:
        ValueError: the run id is not a whole number of at least 0.
    """

    run_id: int = attrs.field(validator=_check_run_id)
    previews: tuple[str, ...]


@attrs.frozen(kw_only=True)
class DownloadProgress:
    """How far the download of one preview is.

    Attributes:
        run_id: the run whose previews are fetched.
        index: which preview, from 0.
        count: how many previews the run has.
        received: bytes received so far; a try that failed starts over.
        total: bytes there are; None if the server does not say.
        path: where the file is, once it is complete; None before.
    """

    run_id: int
    index: int
    count: int
    received: int
    total: int | None
    path: Path | None = None


@attrs.frozen(kw_only=True)
class WatchedTask:
    """How one watched task stands right now, for tables and logs.

    Attributes:
        task: which task.
        state: what was seen last; None before the first answer.
        elapsed: seconds since it was added.
        polls: how many polls were answered or failed so far.
        next_poll: seconds until the next poll; None while one is under way.
        error: why polling it fails at the moment; None while it works.
        context: the object that was given to ``add``.
    """

    task: TaskRef
    state: TaskState | None
    elapsed: float
    polls: int
    next_poll: float | None
    error: Exception | None
    context: Any = None


@attrs.frozen(kw_only=True)
class WatcherStats:
    """What a watcher is doing and has done since it was entered.

    Attributes:
        watching: tasks being watched now.
        in_flight: polls under way now.
        failing: watched tasks whose last poll failed.
        polls: polls answered or failed.
        failed_polls: those that failed.
        transitions: transitions reported.
        finished: finished tasks per last seen status (UNKNOWN: never seen).
        lag_p99: seconds by which all but the slowest 1% of the last 1024 polls
            left after they were due; 0.0 before the first.
    """

    watching: int
    in_flight: int
    failing: int
    polls: int
    failed_polls: int
    transitions: int
    finished: Mapping[TaskStatus, int]
    lag_p99: float
