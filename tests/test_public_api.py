"""The names that users import, and what they were promised about them."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from types import FunctionType, ModuleType
from typing import Any

import pytest

import camb_async
from camb_async import errors


PROMISED = {
    # values
    "Guidance",
    "TaskKind",
    "TaskRef",
    "TaskState",
    "TaskStatus",
    "TextToVoiceResult",
    "Transition",
    "WatcherStats",
    # session and watcher
    "CambSession",
    "Limits",
    "RetryPolicy",
    "StatusSource",
    "TaskWatcher",
    # stores
    "PostgresStore",
    "SqliteStore",
    "StoredTask",
    "TaskStore",
    "work",
    # schedules
    "AdaptiveSchedule",
    "Eta",
    "FixedInterval",
    "PollSchedule",
    "ShareOfAge",
    # errors
    "APIConnectionError",
    "APIStatusError",
    "APITimeoutError",
    "AuthenticationError",
    "CambError",
    "ConfigurationError",
    "DeadlineExceededError",
    "DownloadError",
    "InvalidResponseError",
    "InvalidTaskIdError",
    "LinkExpiredError",
    "NotFoundError",
    "PaymentRequiredError",
    "PermissionDeniedError",
    "RateLimitError",
    "ServerError",
    "SessionClosedError",
    "StoreError",
    "SubmissionUnknownError",
    "TaskError",
    "TaskFailedError",
    "TaskPaymentRequiredError",
    "TaskTimeoutError",
    "UnexpectedRedirectError",
    "ValidationError",
    "ValidationIssue",
    "WatcherClosedError",
}

POSITIONAL = inspect.Parameter.POSITIONAL_OR_KEYWORD
KEYWORD = inspect.Parameter.KEYWORD_ONLY
NEEDED = inspect.Parameter.empty

each_name = pytest.mark.parametrize("name", camb_async.__all__)


def members_of(cls: type) -> dict[str, object]:
    """Return what a class defines for its users: methods and properties."""
    return {
        name: value
        for name, value in vars(cls).items()
        if not name.startswith("_")
        and isinstance(value, FunctionType | property | classmethod | staticmethod)
    }


def test_the_list_is_sorted_and_has_no_name_twice() -> None:
    """A list that people read is in order."""
    assert sorted(set(camb_async.__all__)) == camb_async.__all__


def test_every_promised_name_is_there() -> None:
    """The contract's names are public."""
    assert set() == PROMISED - set(camb_async.__all__)


def test_every_error_is_public() -> None:
    """What can be raised can be caught by name."""
    defined = {
        name
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, errors.CambError)
    }
    public = {
        name
        for name in camb_async.__all__
        if isinstance(getattr(camb_async, name), type)
        and issubclass(getattr(camb_async, name), errors.CambError)
    }

    assert defined == public


@each_name
def test_every_name_can_be_imported(name: str) -> None:
    """``from camb_async import`` works for each name of the list."""
    namespace: dict[str, object] = {}
    exec(f"from camb_async import {name}", namespace)  # noqa: S102 - our own names

    assert getattr(camb_async, name) is namespace[name]


def test_a_star_import_brings_the_list_and_no_more() -> None:
    """Nobody's namespace is filled with our tools."""
    namespace: dict[str, object] = {}
    exec("from camb_async import *", namespace)  # noqa: S102 - our own names

    assert set(camb_async.__all__) == set(namespace) - {"__builtins__"}


def test_there_are_no_stray_public_names() -> None:
    """What has no underscore and is no module is meant for users."""
    strays = {
        name
        for name, value in vars(camb_async).items()
        if not name.startswith("_") and not isinstance(value, ModuleType)
    }

    assert set() == strays - set(camb_async.__all__) - {"annotations"}


@pytest.mark.parametrize("name", [n for n in camb_async.__all__ if n[0] != "_"])
def test_every_name_has_a_docstring(name: str) -> None:
    """Each class, and each method and property of it, says what it is."""
    thing = getattr(camb_async, name)
    own = vars(thing)["__doc__"] if isinstance(thing, type) else thing.__doc__
    assert own

    members = members_of(thing) if isinstance(thing, type) else {}
    silent = [n for n, member in members.items() if not member.__doc__]
    assert [] == silent


def test_the_package_says_what_it_is() -> None:
    """It has a docstring and a version."""
    assert camb_async.__doc__
    assert camb_async.__version__.count(".") == 2


PROMISES: list[tuple[Callable[..., Any], dict[str, tuple[object, object]]]] = [
    (
        camb_async.CambSession,
        {
            "api_key": (POSITIONAL, None),
            "base_url": (KEYWORD, None),
            "client_session": (KEYWORD, None),
            "limits": (KEYWORD, None),
            "retry": (KEYWORD, None),
            "request_timeout": (KEYWORD, 30.0),
        },
    ),
    (
        camb_async.CambSession.create_text_to_voice,
        {
            "text": (KEYWORD, NEEDED),
            "voice_description": (KEYWORD, NEEDED),
            "project_name": (KEYWORD, None),
            "project_description": (KEYWORD, None),
            "folder_id": (KEYWORD, None),
        },
    ),
    (camb_async.CambSession.poll, {"task": (POSITIONAL, NEEDED)}),
    (camb_async.CambSession.get_task_status, {"task": (POSITIONAL, NEEDED)}),
    (
        camb_async.CambSession.get_text_to_voice_result,
        {"run_id": (POSITIONAL, NEEDED)},
    ),
    (
        camb_async.CambSession.wait,
        {
            "task": (POSITIONAL, NEEDED),
            "deadline": (KEYWORD, 3600.0),
            "schedule": (KEYWORD, None),
        },
    ),
    (camb_async.CambSession.watch, {"tasks": (POSITIONAL, ())}),
    (
        camb_async.TaskWatcher,
        {
            "source": (POSITIONAL, NEEDED),
            "tasks": (POSITIONAL, ()),
            "schedule": (KEYWORD, None),
            "deadline": (KEYWORD, 3600.0),
            "keep_open": (KEYWORD, False),
        },
    ),
    (
        camb_async.TaskWatcher.add,
        {
            "task": (POSITIONAL, NEEDED),
            "context": (KEYWORD, None),
            "started_at": (KEYWORD, None),
        },
    ),
    (camb_async.TaskWatcher.discard, {"task": (POSITIONAL, NEEDED)}),
    (camb_async.TaskWatcher.poll_now, {"task": (POSITIONAL, NEEDED)}),
    (camb_async.TaskWatcher.wait, {"task": (POSITIONAL, NEEDED)}),
    (
        camb_async.work,
        {
            "camb": (POSITIONAL, NEEDED),
            "store": (POSITIONAL, NEEDED),
            "capacity": (KEYWORD, 2000),
            "until_empty": (KEYWORD, False),
        },
    ),
    (camb_async.SqliteStore, {"path": (POSITIONAL, NEEDED)}),
    (
        camb_async.PostgresStore,
        {"dsn": (POSITIONAL, NEEDED), "lease": (KEYWORD, 30.0)},
    ),
    (camb_async.store_at, {"where": (POSITIONAL, NEEDED)}),
    (
        camb_async.SqliteStore.add,
        {
            "tasks": (POSITIONAL, NEEDED),
            "context": (KEYWORD, None),
            "deadline": (KEYWORD, 3600.0),
        },
    ),
    (camb_async.SqliteStore.discard, {"task": (POSITIONAL, NEEDED)}),
    (camb_async.SqliteStore.transitions, {"until_empty": (KEYWORD, False)}),
    (
        camb_async.PollSchedule.next_delay,
        {
            "task": (POSITIONAL, NEEDED),
            "age": (POSITIONAL, NEEDED),
            "age_known": (KEYWORD, True),
        },
    ),
    (
        camb_async.PollSchedule.learn,
        {
            "task": (POSITIONAL, NEEDED),
            "lower": (POSITIONAL, NEEDED),
            "upper": (POSITIONAL, NEEDED),
            "entry": (KEYWORD, 0.0),
        },
    ),
]


@pytest.mark.parametrize(
    ("called", "promised"), PROMISES, ids=lambda value: getattr(value, "__name__", "")
)
def test_calls_take_what_was_promised(
    called: Callable[..., Any], promised: dict[str, tuple[object, object]]
) -> None:
    """Each promised argument is there, with its kind and its default."""
    parameters = inspect.signature(called).parameters
    found = {
        name: (parameters[name].kind, parameters[name].default)
        for name in promised
        if name in parameters
    }

    assert promised == found


@pytest.mark.parametrize(
    "name", ["add", "discard", "poll_now", "close", "stats", "__len__", "__contains__"]
)
def test_a_watcher_is_told_things_without_awaiting(name: str) -> None:
    """These are plain methods, so they can be called from anywhere in the loop."""
    assert not inspect.iscoroutinefunction(getattr(camb_async.TaskWatcher, name))
