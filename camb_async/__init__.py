"""Wait well for many Camb.ai voice tasks at once."""

from __future__ import annotations

import logging

from ._version import __version__
from ._watch import StatusSource
from .adaptive import AdaptiveSchedule, Eta
from .errors import (
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
from .kinds import TaskKind
from .models import (
    DownloadProgress,
    Guidance,
    TaskRef,
    TaskState,
    TaskStatus,
    TextToVoiceResult,
    Transition,
    WatchedTask,
    WatcherStats,
)
from .policies import Limits, RetryPolicy
from .schedules import FixedInterval, PollSchedule, ShareOfAge
from .session import CambSession, ShortDescriptionWarning
from .stores import PostgresStore, SqliteStore, StoredTask, TaskStore, store_at, work
from .watcher import TaskWatcher


__all__ = [
    "APIConnectionError",
    "APIStatusError",
    "APITimeoutError",
    "AdaptiveSchedule",
    "AuthenticationError",
    "CambError",
    "CambSession",
    "ConfigurationError",
    "DeadlineExceededError",
    "DownloadError",
    "DownloadProgress",
    "Eta",
    "FixedInterval",
    "Guidance",
    "InvalidResponseError",
    "InvalidTaskIdError",
    "Limits",
    "LinkExpiredError",
    "NotFoundError",
    "PaymentRequiredError",
    "PermissionDeniedError",
    "PollSchedule",
    "PostgresStore",
    "RateLimitError",
    "RetryPolicy",
    "ServerError",
    "SessionClosedError",
    "ShareOfAge",
    "ShortDescriptionWarning",
    "SqliteStore",
    "StatusSource",
    "StoreError",
    "StoredTask",
    "SubmissionUnknownError",
    "TaskError",
    "TaskFailedError",
    "TaskKind",
    "TaskParkedError",
    "TaskPaymentRequiredError",
    "TaskRef",
    "TaskState",
    "TaskStatus",
    "TaskStore",
    "TaskTimeoutError",
    "TaskWatcher",
    "TextToVoiceResult",
    "Transition",
    "UnexpectedRedirectError",
    "ValidationError",
    "ValidationIssue",
    "WatchedTask",
    "WatcherClosedError",
    "WatcherStats",
    "__version__",
    "store_at",
    "work",
]

logging.getLogger(__name__).addHandler(logging.NullHandler())
