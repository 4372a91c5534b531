"""The error tree: its shape, and errors as values that travel and stay quiet."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import TypeVar

import attrs
import pytest

from camb_async import errors
from camb_async.errors import (
    APIConnectionError,
    APIStatusError,
    APITimeoutError,
    AuthenticationError,
    CambError,
    ConfigurationError,
    DeadlineExceededError,
    DownloadError,
    InvalidResponseError,
    InvalidTaskIdError,
    LinkExpiredError,
    NotFoundError,
    PaymentRequiredError,
    PermissionDeniedError,
    RateLimitError,
    ServerError,
    SessionClosedError,
    StoreError,
    SubmissionUnknownError,
    TaskError,
    TaskFailedError,
    TaskParkedError,
    TaskPaymentRequiredError,
    TaskTimeoutError,
    UnexpectedRedirectError,
    ValidationError,
    ValidationIssue,
    WatcherClosedError,
)
from camb_async.models import TaskRef, TaskState, TaskStatus


TREE: dict[type[Exception], type[Exception]] = {
    CambError: Exception,
    ConfigurationError: CambError,
    SessionClosedError: CambError,
    WatcherClosedError: CambError,
    InvalidTaskIdError: CambError,
    APIConnectionError: CambError,
    APITimeoutError: APIConnectionError,
    InvalidResponseError: CambError,
    UnexpectedRedirectError: CambError,
    APIStatusError: CambError,
    AuthenticationError: APIStatusError,
    PaymentRequiredError: APIStatusError,
    PermissionDeniedError: APIStatusError,
    NotFoundError: APIStatusError,
    ValidationError: APIStatusError,
    RateLimitError: APIStatusError,
    ServerError: APIStatusError,
    SubmissionUnknownError: CambError,
    TaskError: CambError,
    TaskFailedError: TaskError,
    TaskTimeoutError: TaskError,
    TaskPaymentRequiredError: TaskError,
    DeadlineExceededError: CambError,
    DownloadError: CambError,
    LinkExpiredError: DownloadError,
    StoreError: CambError,
    TaskParkedError: CambError,
}

TASK = TaskRef("abc")
STATE = TaskState(TaskStatus.ERROR, run_id=7, message={"why": ["so"]})
ISSUE = ValidationIssue(("body", 0, "text"), "too short", "value_error")


def refused(error_class: type[APIStatusError], status: int) -> APIStatusError:
    """Return an error with every attribute set."""
    return error_class(
        "It was refused.",
        status_code=status,
        body_excerpt="no",
        request_id="r-1",
        retry_after=1.5,
        retryable=True,
    )


def invalid_input() -> ValidationError:
    """Return a 422 with an issue."""
    error = ValidationError("Bad.", status_code=422)
    error.issues = (ISSUE,)
    return error


EXAMPLES: list[CambError] = [
    CambError("Something."),
    ConfigurationError("No key."),
    SessionClosedError("Closed."),
    WatcherClosedError("Closed."),
    InvalidTaskIdError("Not an id."),
    APIConnectionError("Refused.", request_sent=False),
    APITimeoutError("Late."),
    InvalidResponseError("HTML.", status_code=200, body_excerpt="<html>"),
    UnexpectedRedirectError("Moved.", status_code=302, location="https://h/x"),
    refused(APIStatusError, 400),
    refused(AuthenticationError, 401),
    refused(PaymentRequiredError, 402),
    refused(PermissionDeniedError, 403),
    refused(NotFoundError, 404),
    invalid_input(),
    refused(RateLimitError, 429),
    refused(ServerError, 500),
    SubmissionUnknownError("Perhaps."),
    TaskError("Ended.", task=TASK, state=STATE),
    TaskFailedError("Failed.", task=TASK, state=STATE),
    TaskTimeoutError("Timed out.", task=TASK, state=STATE),
    TaskPaymentRequiredError("Pay.", task=TASK, state=STATE),
    DeadlineExceededError("Enough.", task=TASK, state=None, elapsed=3.5),
    DownloadError("Cut."),
    LinkExpiredError("Expired."),
    StoreError("Full.", retryable=True),
    TaskParkedError("Parked.", task=TASK, state=None),
]

ErrorT = TypeVar("ErrorT", bound=CambError)


def repickled(error: ErrorT) -> ErrorT:
    """Return the error after a journey to another process."""
    travelled = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes
    assert isinstance(travelled, type(error))

    return travelled


WAYS: list[Callable[[CambError], CambError]] = [repickled, copy.copy, copy.deepcopy]
each_error = pytest.mark.parametrize("error", EXAMPLES, ids=lambda e: type(e).__name__)
each_way = pytest.mark.parametrize("travel", WAYS, ids=["pickle", "copy", "deepcopy"])


def test_the_tree_is_the_documented_one() -> None:
    """Each error has the documented parent, and there is no other error."""
    defined = {
        value: value.__bases__[0]
        for value in vars(errors).values()
        if isinstance(value, type) and issubclass(value, Exception)
    }

    assert TREE == defined


@pytest.mark.parametrize("error_class", TREE, ids=lambda c: c.__name__)
def test_the_tree_in_the_docstring_names_every_error(
    error_class: type[Exception],
) -> None:
    """The module's own drawing of the tree leaves no error out."""
    assert error_class.__name__ in str(errors.__doc__).replace(",", " ").split()


def test_every_error_has_an_example_here() -> None:
    """The tests below see every class of the tree."""
    assert set(TREE) == {type(error) for error in EXAMPLES}


def test_an_invalid_task_id_is_a_value_error_too() -> None:
    """Who knows nothing of the tree catches a ValueError."""
    assert (InvalidTaskIdError, CambError, ValueError) == InvalidTaskIdError.__mro__[:3]


@each_error
def test_str_is_the_message(error: CambError) -> None:
    """The text of an error is its message, and so are its args."""
    assert (error.message, (error.message,)) == (str(error), error.args)


@each_way
@each_error
def test_an_error_travels_whole(
    error: CambError, travel: Callable[[CambError], CambError]
) -> None:
    """Pickling and copying keep the class, the text and every attribute."""
    travelled = travel(error)

    assert (type(error), error.args) == (type(travelled), travelled.args)
    assert vars(error) == vars(travelled)
    assert error is not travelled


@each_way
def test_notes_travel_with_an_error(travel: Callable[[CambError], CambError]) -> None:
    """What was noted on an error is on its copy."""
    error = ServerError("Down.", status_code=500)
    error.add_note("The task may have been created nevertheless.")

    assert error.__notes__ == travel(error).__notes__


@each_way
def test_a_note_on_the_copy_is_not_on_the_original(
    travel: Callable[[CambError], CambError],
) -> None:
    """Two raisers of one error write their notes on their own."""
    error = ServerError("Down.", status_code=500)
    error.add_note("first")
    travel(error).add_note("second")

    assert ["first"] == error.__notes__


def test_a_copy_keeps_the_cause_and_leaves_the_traceback() -> None:
    """A copy can be raised by somebody else, with the same cause."""
    cause = OSError("cut")
    error = APIConnectionError("Broken.")
    error.__cause__ = cause
    with pytest.raises(APIConnectionError):
        raise error
    copied = copy.copy(error)

    assert cause is copied.__cause__
    assert copied.__traceback__ is None
    assert error.__traceback__ is not None


@pytest.mark.parametrize("suppressed", [True, False], ids=["hidden", "shown"])
def test_a_copy_shows_its_context_as_the_original_does(suppressed: bool) -> None:  # noqa: FBT001
    """Copying an error without a cause does not hide what was being handled."""
    error = CambError("Something.")
    error.__suppress_context__ = suppressed

    assert suppressed is copy.copy(error).__suppress_context__


@pytest.mark.parametrize(
    ("error", "retryable"),
    [
        (CambError("x"), False),
        (ConfigurationError("x"), False),
        (SessionClosedError("x"), False),
        (InvalidTaskIdError("x"), False),
        (APIConnectionError("x"), True),
        (APITimeoutError("x"), True),
        (InvalidResponseError("x"), True),
        (UnexpectedRedirectError("x", status_code=302, location=None), False),
        (APIStatusError("x", status_code=500), False),
        (APIStatusError("x", status_code=500, retryable=True), True),
        (SubmissionUnknownError("x"), False),
        (TaskFailedError("x", task=TASK, state=STATE), False),
        (DeadlineExceededError("x", task=TASK, state=None, elapsed=1.0), False),
        (DownloadError("x"), False),
    ],
    ids=lambda value: type(value).__name__,
)
def test_retryable(error: CambError, retryable: bool) -> None:  # noqa: FBT001
    """Only what another read may mend calls itself retryable."""
    assert retryable is error.retryable


def test_defaults_say_what_is_not_known() -> None:
    """An error whose details are unknown does not make them up."""
    bare = ValidationError("x", status_code=422)

    assert (422, "", None, None, ()) == (
        bare.status_code,
        bare.body_excerpt,
        bare.request_id,
        bare.retry_after,
        bare.issues,
    )
    assert APIConnectionError("x").request_sent
    assert InvalidResponseError("x").status_code is None


def test_an_issue_is_a_value() -> None:
    """A validation issue is equal by content, hashable, frozen and slotted."""
    assert ISSUE == pickle.loads(pickle.dumps(ISSUE))  # noqa: S301 - our own bytes
    assert {ISSUE} == {attrs.evolve(ISSUE)}
    assert attrs.evolve(ISSUE, msg="other") != ISSUE
    assert not hasattr(ISSUE, "__dict__")
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        ISSUE.msg = "other"  # type: ignore[misc] # pyright: ignore[reportAttributeAccessIssue]
