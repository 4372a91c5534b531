"""Everything that can go wrong, as one tree.

    CambError
    ├── ConfigurationError
    ├── SessionClosedError, WatcherClosedError
    ├── InvalidTaskIdError (also a ValueError)
    ├── APIConnectionError
    │   └── APITimeoutError
    ├── InvalidResponseError
    ├── UnexpectedRedirectError
    ├── APIStatusError
    │   ├── AuthenticationError 401   ├── PaymentRequiredError 402
    │   ├── PermissionDeniedError 403 ├── NotFoundError 404
    │   ├── ValidationError 422       ├── RateLimitError 429
    │   └── ServerError 5xx
    ├── SubmissionUnknownError
    ├── TaskError
    │   ├── TaskFailedError  ├── TaskTimeoutError  └── TaskPaymentRequiredError
    ├── DeadlineExceededError
    ├── DownloadError
    │   └── LinkExpiredError
    ├── StoreError
    └── TaskParkedError

The message says what happened and what to do next; the data is on attributes.
Every error can be pickled and copied, and none ever holds the API key.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import attrs


if TYPE_CHECKING:
    from collections.abc import Callable

    from .models import TaskRef, TaskState


#: Characters of somebody else's text that a message or an excerpt shows.
SHOWN_MAX = 200


def showable(text: str) -> str:
    """Return the beginning of a foreign text, safe for a terminal and a log."""
    return "".join(c if c.isprintable() else " " for c in text[:SHOWN_MAX])


def _rebuild(cls: type[CambError], args: tuple[Any, ...]) -> CambError:
    return cls.__new__(cls, *args)


class CambError(Exception):
    """The root of the tree: ``except CambError`` catches all of this library.

    ``retryable`` tells whether the same read may succeed if it is made again.
    """

    retryable: bool = False

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message

    def __str__(self) -> str:
        return self.message

    def __reduce__(
        self,
    ) -> tuple[Callable[..., CambError], tuple[Any, ...], dict[str, Any]]:
        return _rebuild, (type(self), self.args), self.__dict__

    def __copy__(self) -> Self:
        """Return an equal error for another raiser, so that tracebacks stay apart."""
        copied = type(self).__new__(type(self), *self.args)
        copied.__dict__.update(self.__dict__)
        if hasattr(self, "__notes__"):
            copied.__notes__ = list(self.__notes__)
        copied.__cause__ = self.__cause__
        copied.__suppress_context__ = self.__suppress_context__
        return copied


class ConfigurationError(CambError):
    """A setting cannot be used: no API key, or a key or base URL that is not one.

    The message never shows the value that was refused.
    """


class SessionClosedError(CambError):
    """The session was used before ``async with``, after it, or in another loop.

    ``request_sent`` tells whether a request was under way when it was closed.
    """

    request_sent: bool = False


class WatcherClosedError(CambError):
    """The watcher was used outside its block, or asked for more after ``close()``."""


class InvalidTaskIdError(CambError, ValueError):
    """A task id that could not be part of a URL path; nothing was sent."""


class APIConnectionError(CambError):
    """No answer came: the connection failed, was refused, or broke off.

    ``request_sent`` tells whether the request may have reached the server; it is
    False when no connection was made.
    """

    retryable = True

    def __init__(self, message: str, *, request_sent: bool = True) -> None:
        super().__init__(message)
        self.request_sent = request_sent


class APITimeoutError(APIConnectionError):
    """No answer came within the request timeout."""


class InvalidResponseError(CambError):
    """An answer that is not what the API promises: HTML, cut, too large, misshapen.

    ``status_code`` is the HTTP status, or None when there was none to read.
    ``body_excerpt`` holds at most 200 characters of the body.
    """

    retryable = True

    def __init__(
        self, message: str, *, status_code: int | None = None, body_excerpt: str = ""
    ) -> None:
        super().__init__(message)
        self.status_code = status_code
        self.body_excerpt = body_excerpt


class UnexpectedRedirectError(CambError):
    """The API answered with a redirect, which is never followed.

    Following it could hand the key to another server. ``location`` is where it
    pointed (scheme, host and path; the query is left out).
    """

    def __init__(self, message: str, *, status_code: int, location: str | None) -> None:
        super().__init__(message)
        self.status_code = status_code
        self.location = location


class APIStatusError(CambError):
    """The API answered with an HTTP error status.

    Attributes:
        status_code: the HTTP status.
        body_excerpt: at most 200 characters of the body.
        request_id: what the server called this request, if it did.
        retry_after: seconds to wait before the next try, if the server said so.
        retryable: whether a read with this answer may be made again.
    """

    def __init__(
        self,
        message: str,
        *,
        status_code: int,
        body_excerpt: str = "",
        request_id: str | None = None,
        retry_after: float | None = None,
        retryable: bool = False,
    ) -> None:
        super().__init__(message)
        self.status_code = status_code
        self.body_excerpt = body_excerpt
        self.request_id = request_id
        self.retry_after = retry_after
        self.retryable = retryable


class AuthenticationError(APIStatusError):
    """401: the API key is missing, wrong or revoked."""


class PaymentRequiredError(APIStatusError):
    """402: the account has no credits for this request."""


class PermissionDeniedError(APIStatusError):
    """403: the key is valid but may not do this."""


class NotFoundError(APIStatusError):
    """404: the API knows no such task or run."""


@attrs.frozen
class ValidationIssue:
    """One reason for a 422: where (``loc``), what (``msg``) and its ``type``."""

    loc: tuple[str | int, ...]
    msg: str
    type: str


class ValidationError(APIStatusError):
    """422: the request was understood and refused; ``issues`` says where and why."""

    issues: tuple[ValidationIssue, ...] = ()


class RateLimitError(APIStatusError):
    """429: too many requests; ``retry_after`` says how long to wait, if known."""


class ServerError(APIStatusError):
    """5xx: the API failed or is overloaded."""


class SubmissionUnknownError(CambError):
    """A create call was sent and no usable answer came: the task may exist.

    It is never sent again by itself, because a second task would be billed.
    """


class TaskError(CambError):
    """The task ended without a result. ``task`` and ``state`` say which and how."""

    def __init__(self, message: str, *, task: TaskRef, state: TaskState) -> None:
        super().__init__(message)
        self.task = task
        self.state = state


class TaskFailedError(TaskError):
    """The service ended the task with status ERROR."""


class TaskTimeoutError(TaskError):
    """The service ended the task with status TIMEOUT (its own limit, not yours)."""


class TaskPaymentRequiredError(TaskError):
    """The task ended for want of credits.

    Either its status is PAYMENT_REQUIRED, or it is ERROR with that as the reason.
    """


class DeadlineExceededError(CambError):
    """Your deadline passed before the task ended. The remote task is left alone.

    ``state`` is what was seen last (None if nothing ever was), ``elapsed`` the
    seconds it was waited for. Wait again with the same task to go on.
    """

    def __init__(
        self, message: str, *, task: TaskRef, state: TaskState | None, elapsed: float
    ) -> None:
        super().__init__(message)
        self.task = task
        self.state = state
        self.elapsed = elapsed


class TaskParkedError(CambError):
    """A task ended one worker after the other, and a store gives it to no other.

    The remote task is left alone, and nothing is known to be wrong with it. Find out
    what ends the workers, and add the task again: that is another watch. ``state`` is
    what was seen last (None if nothing ever was).
    """

    def __init__(self, message: str, *, task: TaskRef, state: TaskState | None) -> None:
        super().__init__(message)
        self.task = task
        self.state = state


class DownloadError(CambError):
    """A preview could not be downloaded whole; nothing was put in its place."""


class LinkExpiredError(DownloadError):
    """A preview's link was refused even after the result was fetched again."""


class StoreError(CambError):
    """A store of tasks cannot be opened, read or written.

    ``retryable`` tells whether the same may work later: a full disk, a file that
    somebody else has locked. What was recorded before is not touched.
    """

    def __init__(self, message: str, *, retryable: bool = False) -> None:
        super().__init__(message)
        self.retryable = retryable
