"""What the exit code says: the one home of that rule.

A code tells what to do next. When several tasks failed for several reasons, the
first of PRECEDENCE wins: what holds for every task comes first (the key, the
credits, the network), then what is not over yet (the deadline: wait again), then
the tasks that failed for good.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum

from camb_async import (
    APIConnectionError,
    APIStatusError,
    AuthenticationError,
    ConfigurationError,
    DeadlineExceededError,
    DownloadError,
    InvalidResponseError,
    InvalidTaskIdError,
    NotFoundError,
    PaymentRequiredError,
    PermissionDeniedError,
    StoreError,
    SubmissionUnknownError,
    TaskError,
    TaskPaymentRequiredError,
    TaskState,
    TaskStatus,
    UnexpectedRedirectError,
    ValidationError,
)


class ExitCode(IntEnum):
    """How the process ends."""

    SUCCESS = 0
    FAILED = 1
    USAGE = 2
    AUTHENTICATION = 3
    PAYMENT = 4
    NETWORK = 5
    DEADLINE = 6
    INTERRUPTED = 130
    BROKEN_PIPE = 141
    TERMINATED = 143


# The first row that fits decides, so a special case stands above its general one.
_CODES: tuple[tuple[type[Exception], ExitCode], ...] = (
    (InvalidTaskIdError, ExitCode.USAGE),
    (StoreError, ExitCode.USAGE),
    (ConfigurationError, ExitCode.AUTHENTICATION),
    (AuthenticationError, ExitCode.AUTHENTICATION),
    (PermissionDeniedError, ExitCode.AUTHENTICATION),
    (PaymentRequiredError, ExitCode.PAYMENT),
    (TaskPaymentRequiredError, ExitCode.PAYMENT),
    (DeadlineExceededError, ExitCode.DEADLINE),
    (TaskError, ExitCode.FAILED),
    (NotFoundError, ExitCode.FAILED),
    (ValidationError, ExitCode.FAILED),
    (APIStatusError, ExitCode.NETWORK),
    (APIConnectionError, ExitCode.NETWORK),
    (InvalidResponseError, ExitCode.NETWORK),
    (UnexpectedRedirectError, ExitCode.NETWORK),
    (SubmissionUnknownError, ExitCode.NETWORK),
    (DownloadError, ExitCode.NETWORK),
)

PRECEDENCE = (
    ExitCode.AUTHENTICATION,
    ExitCode.PAYMENT,
    ExitCode.NETWORK,
    ExitCode.DEADLINE,
    ExitCode.FAILED,
    ExitCode.SUCCESS,
)

#: What to do about it, in two or three words.
ADVICE = {
    ExitCode.AUTHENTICATION: "check CAMB_API_KEY",
    ExitCode.PAYMENT: "add_credits",
    ExitCode.NETWORK: "try again",
    ExitCode.DEADLINE: "watch again",
    ExitCode.FAILED: "check the id",
}


def code_of_error(error: Exception | None) -> ExitCode:
    """Return the exit code that an error stands for; no error is a success."""
    if error is None:
        return ExitCode.SUCCESS
    if isinstance(error, StoreError) and error.retryable:
        # Its server is away, say; otherwise it is a wrong one that was named.
        return ExitCode.NETWORK
    for error_class, code in _CODES:
        if isinstance(error, error_class):
            return code
    return ExitCode.FAILED


def code_of_state(state: TaskState) -> ExitCode:
    """Return the exit code of one status: a task under way has not failed."""
    if not state.is_final or state.status is TaskStatus.SUCCESS:
        return ExitCode.SUCCESS
    return ExitCode.PAYMENT if state.lacks_credits else ExitCode.FAILED


def code_of_all(errors: Iterable[Exception | None]) -> ExitCode:
    """Return the exit code of many tasks' errors, by PRECEDENCE."""
    codes = {code_of_error(error) for error in errors}
    return next((code for code in PRECEDENCE if code in codes), ExitCode.SUCCESS)
