"""What a store writes down, and back: contexts, states and errors, as JSON.

Nothing is pickled: a file must not be able to run code, and another version of the
library must be able to read it.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Generator, Mapping
from datetime import datetime
from typing import Any, cast

import attrs

from camb_async import errors
from camb_async.errors import (
    CambError,
    DeadlineExceededError,
    StoreError,
    TaskError,
    TaskParkedError,
)
from camb_async.models import TaskRef, TaskState, TaskStatus, Transition


# What stands beside an error anyway, or has a form of its own.
_APART = {"message", "task", "state", "issues", "__notes__"}


@contextlib.contextmanager
def reading(place: str) -> Generator[None]:
    """Raise what comes of a row that nobody of ours has written as a StoreError."""
    try:
        yield
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        message = (
            f"{place} holds a row that cannot be read ({error}): it was written by a "
            "newer camb_async, or changed by something else. Upgrade this one, or put "
            "a copy in its place."
        )
        raise StoreError(message) from error


def context_text(context: Any) -> str:
    """Return a context as JSON.

    Raises:
        ValueError: it would come back as something else, or not at all.
    """
    try:
        text = json.dumps(context, allow_nan=False)
        same = json.loads(text) == context
    except (TypeError, ValueError, RecursionError) as error:
        why = str(error)
    else:
        if same:
            return text
        why = "it would come back as something else"
    message = (
        f"The context cannot be stored: {why}. It must be JSON: None, bool, numbers, "
        "str, lists, and dicts whose keys are str."
    )
    raise ValueError(message)


def state_text(state: TaskState | None) -> str | None:
    """Return a state as JSON."""
    if state is None:
        return None
    form = {
        "status": state.status.value,
        "raw_status": state.raw_status,
        "run_id": state.run_id,
        "exception_reason": state.exception_reason,
        "message": _as_dict(state.message),
    }
    return _dumped(form, {"message": repr(state.message)})


def read_state(text: str | None) -> TaskState | None:
    """Return the state that a text stands for."""
    if text is None:
        return None
    form = json.loads(text)
    return TaskState(**(form | {"status": TaskStatus(form["status"])}))


def error_text(error: Exception | None) -> str | None:
    """Return an error as JSON: its class, its message, and what else is on it."""
    if error is None:
        return None
    known = error if isinstance(error, CambError) else CambError(repr(error))
    form = {
        "class": type(error).__name__,
        "message": known.message,
        "fields": {k: v for k, v in vars(known).items() if k not in _APART},
        "notes": getattr(error, "__notes__", []),
    }
    if isinstance(error, errors.ValidationError):
        form["issues"] = [attrs.asdict(issue) for issue in error.issues]
    return _dumped(form, {"fields": {}, "issues": []})


def _dumped(form: Mapping[str, Any], plainly: Mapping[str, Any]) -> str:
    # A source of the user's own may have put anything into what it tells, also what
    # has no form as JSON.
    try:
        return json.dumps(form, default=str, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        return json.dumps({**form, **plainly})


def read_error(
    text: str | None, task: TaskRef, state: TaskState | None
) -> CambError | None:
    """Return the error that a text stands for; a CambError if its class is unknown."""
    if text is None:
        return None
    form = json.loads(text)
    kind = _class_of(form["class"])
    error = kind.__new__(kind, form["message"])
    vars(error).update(form["fields"], message=form["message"])
    if isinstance(error, TaskError | DeadlineExceededError | TaskParkedError):
        vars(error).update(task=task, state=state)
    if isinstance(error, errors.ValidationError):
        error.issues = tuple(
            errors.ValidationIssue(tuple(each["loc"]), each["msg"], each["type"])
            for each in form.get("issues", ())
        )
    for note in form["notes"]:
        error.add_note(note)
    return error


def read_transition(row: Any, task: TaskRef, watch: str, at: datetime) -> Transition:
    """Return the transition of a row, given what each database has in its own form."""
    state, previous = read_state(row["state"]), row["previous"]
    return Transition(
        task=task,
        previous=None if previous is None else TaskStatus(previous),
        state=state,
        error=read_error(row["error"], task, state),
        at=at,
        elapsed=row["elapsed"],
        uncertainty=row["uncertainty"],
        polls=row["polls"],
        context=json.loads(row["context"]),
        key=(watch, row["seq"]),
    )


def _class_of(name: str) -> type[CambError]:
    kind = getattr(errors, name, None)
    if isinstance(kind, type) and issubclass(kind, CambError):
        return kind
    return CambError


def _as_dict(message: object) -> object:
    return (
        dict(cast("Mapping[str, Any]", message))
        if isinstance(message, Mapping)
        else message
    )
