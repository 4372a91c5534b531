"""Transitions and states as lines: aligned text for eyes and grep, or JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from camb_async import TaskError, TaskRef, TaskState, TaskStatus, Transition

from .screen import printable, with_notes


# The widest usual change: PENDING -> PAYMENT_REQUIRED.
_CHANGE_WIDTH = 27
#: Where nothing is known of the ids, they are taken to be UUIDs.
_ID_WIDTH, _ID_WIDTH_MAX = 36, 48

Formatter = Callable[[Transition], str]


def text_formatter(tasks: list[TaskRef]) -> Formatter:
    """Return what writes transitions as text, aligned for these tasks."""
    widths = (len(str(task)) for task in tasks)
    width = min(_ID_WIDTH_MAX, max(widths, default=_ID_WIDTH))
    return lambda transition: transition_line(transition, width)


def transition_line(transition: Transition, width: int = _ID_WIDTH) -> str:
    """Return one transition as one line.

    The first eight columns, split at white space, are always there.
    """
    at = transition.at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    before = transition.previous or "NEW"
    change = f"{before} -> {outcome_of(transition)}"
    columns = (
        at,
        f"{transition.task!s:<{width}}",
        f"{change:<{_CHANGE_WIDTH}}",
        f"{run_text(transition.run_id):<14}",
        f"{transition.elapsed:>7.1f}s",
        f"{transition.polls:>3} {'poll ' if transition.polls == 1 else 'polls'}",
        printable(reason_of(transition)),
    )
    return "  ".join(columns).rstrip()


def outcome_of(transition: Transition) -> str:
    """Return what a transition came to, as one word.

    That is the status, or the name of the error where it was no status that
    ended the watch.
    """
    error, state = transition.error, transition.state
    if error is not None and not isinstance(error, TaskError):
        return type(error).__name__
    return TaskStatus.UNKNOWN if state is None else status_word(state)


def status_word(state: TaskState) -> str:
    """Return the status as one word, an unknown one with its text."""
    if state.status is not TaskStatus.UNKNOWN:
        return state.status
    return f"UNKNOWN({printable('_'.join(state.raw_status.split()))})"


def run_text(run_id: int | None) -> str:
    """Return the run id as a column."""
    return "run_id=-" if run_id is None else f"run_id={run_id}"


def reason_of(transition: Transition) -> str:
    """Return why a task will not succeed; empty while it may, or did."""
    error = transition.error
    if error is None:
        return ""
    if not isinstance(error, TaskError):
        return with_notes(error)
    parts = (error.state.exception_reason, error.state.message)
    return ": ".join(str(part) for part in parts if part)


def transition_json(transition: Transition) -> str:
    """Return one transition as one JSON object in one line."""
    error = transition.error
    told = None if error is None else error_fields(type(error).__name__, error)
    return dump(
        {
            "task_id": transition.task_id,
            "kind": transition.task.kind,
            "previous": transition.previous,
            **_state_fields(transition.state),
            "is_final": transition.is_final,
            "succeeded": transition.succeeded,
            "error": told,
            "at": _iso(transition.at),
            "elapsed": rounded(transition.elapsed),
            "uncertainty": rounded(transition.uncertainty),
            "polls": transition.polls,
            **_stored_fields(transition),
        }
    )


def _stored_fields(transition: Transition) -> dict[str, Any]:
    if transition.key is None:
        return {}
    watch, seq = transition.key
    return {"key": {"watch": watch, "seq": seq}, "context": transition.context}


def error_fields(name: str, message: object) -> dict[str, str]:
    """Return an error as it is written in JSON."""
    return {"type": name, "message": with_notes(message)}


def state_line(task: TaskRef, state: TaskState) -> str:
    """Return one status as one line."""
    reason = printable(state.exception_reason or "")
    line = f"{task}  {status_word(state)}  {run_text(state.run_id)}  {reason}"
    return line.rstrip()


def state_json(task: TaskRef, state: TaskState) -> str:
    """Return one status as one JSON object in one line."""
    return dump(
        {
            "task_id": task.task_id,
            "kind": task.kind,
            **_state_fields(state),
            "is_final": state.is_final,
            "succeeded": state.status is TaskStatus.SUCCESS,
            "action": state.status.guidance.action,
            "at": _iso(datetime.now(UTC)),
        }
    )


def _state_fields(state: TaskState | None) -> dict[str, Any]:
    names = ("status", "raw_status", "run_id", "exception_reason", "message")
    return {name: getattr(state, name, None) for name in names}


def _iso(at: datetime) -> str:
    text = at.astimezone(UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")


def rounded(seconds: float | None) -> float | None:
    """Return seconds as they are written in JSON: to the millisecond."""
    return None if seconds is None else round(seconds, 3)


def dump(fields: Mapping[str, Any]) -> str:
    """Return one JSON object in one line."""
    return json.dumps(fields, default=_plain, separators=(", ", ": "))


def _plain(value: object) -> object:
    return dict(value) if isinstance(value, Mapping) else str(value)  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
