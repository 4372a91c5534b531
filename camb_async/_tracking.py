"""One task's watch: what it has seen, what that means, and when to look again.

Theory. A watch is fed one poll at a time: ``saw`` a state, or ``missed`` because
the poll failed. Each answers with a step: the transition to report, if there is
one, and the seconds until the next poll, or None when the watch is over.

- A change of the status text is a transition, and so is first sight.
- A final status ends the watch, with the error that belongs to it.
- A failed poll is not a failed task. It is tried again with back-off, until the
  deadline, unless the answer is definitive (see DEFINITIVE). 404 is definitive
  only after nothing else has been answered for the policy's grace, because a
  task may not be visible right after it was created.
- A watch whose polls fail asks no less often than the schedule says, so that it is
  back within one interval, and more often only as the retry budget allows.
- Whoever waits may stop waiting (``give_up``): that too ends in one transition.

Nothing here reads a clock or a random source: ``now`` is a monotonic reading in
seconds, ``at`` the wall clock in UTC, ``unit`` a random number in [0, 1).

The same task may be waited for by the watcher's iterator (the *listing*) and by
any number of waiters. The listing's part is ``context``, ``added_at``,
``deadline_at`` and what the iterator was told; the rest belongs to the polls.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from math import inf, isnan
from types import MappingProxyType
from typing import Any, NamedTuple, cast

import attrs

from ._budget import RetryBudget
from ._guard import DELAY_MAX, GuardedSchedule
from .adaptive import Eta
from .errors import (
    APIStatusError,
    AuthenticationError,
    ConfigurationError,
    DeadlineExceededError,
    NotFoundError,
    PaymentRequiredError,
    PermissionDeniedError,
    SessionClosedError,
    TaskError,
    TaskFailedError,
    TaskPaymentRequiredError,
    TaskTimeoutError,
    ValidationError,
    showable,
)
from .models import TaskRef, TaskState, TaskStatus, Transition
from .policies import RetryPolicy


#: Errors that say the same of every task of the session: all watches end.
SESSION_WIDE = (AuthenticationError, ConfigurationError, SessionClosedError)

#: Answers that no further poll would change: the watch ends with them.
DEFINITIVE = (
    *SESSION_WIDE,
    PaymentRequiredError,
    PermissionDeniedError,
    ValidationError,
)

#: Seconds; a deadline this far away is none.
_FOREVER = 1e12

_VERDICTS: Mapping[TaskStatus, tuple[type[TaskError], str]] = MappingProxyType(
    {
        TaskStatus.ERROR: (
            TaskFailedError,
            "Review the inputs (the text, the description) and create it again.",
        ),
        TaskStatus.TIMEOUT: (
            TaskTimeoutError,
            (
                "The service gave up on it: create it again with less to do, or "
                "contact Camb.ai support with the task id."
            ),
        ),
        TaskStatus.PAYMENT_REQUIRED: (
            TaskPaymentRequiredError,
            "Add credits to the account, then create it again.",
        ),
    }
)


def verdict(task: TaskRef, state: TaskState) -> TaskError | None:
    """Return the error that a final state stands for; None for SUCCESS."""
    status = state.status
    if status is TaskStatus.SUCCESS:
        return None
    if state.lacks_credits:
        status = TaskStatus.PAYMENT_REQUIRED
    reason = state.exception_reason or ""
    error_class, advice = _VERDICTS[status]
    reason = f" ({showable(reason)})" if reason else ""
    said = showable(str(state.message)) if state.message else ""
    said = f" The service says: {said}" if said else ""
    text = (
        f"{task.kind.value} task {task.task_id} ended as "
        f"{state.raw_status}{reason}.{said} {advice}"
    )
    return error_class(text, task=task, state=state)


def check_deadline(seconds: float | None) -> float | None:
    """Return how long a task is given, in seconds; None if there is no limit.

    Raises:
        TypeError: it is neither a number nor None.
        ValueError: it is negative or not a number.
    """
    if seconds is None:
        return None
    try:
        is_endless = seconds > _FOREVER
    except TypeError:
        message = f"deadline must be a number of seconds, or None, not {seconds!r}"
        raise TypeError(message) from None
    if is_endless:
        return None
    if isnan(seconds) or seconds < 0:
        message = f"deadline must be seconds of at least 0, or None, not {seconds!r}"
        raise ValueError(message)
    return seconds


def deadline_error(
    task: TaskRef, state: TaskState | None, elapsed: float, cause: Exception | None
) -> DeadlineExceededError:
    """Return the error for a task that was waited for long enough."""
    seen = "no status was ever seen"
    if state is not None:
        seen = f"still {showable(state.raw_status)}"
    text = (
        f"{task.kind.value} task {task.task_id}: {seen} after {elapsed:.1f} s, when "
        "the deadline passed. The remote task was left alone: wait for the same id "
        "again to go on."
    )
    error = DeadlineExceededError(text, task=task, state=state, elapsed=elapsed)
    if cause is not None:
        error.__cause__ = cause
        error.add_note(f"The last poll failed: {cause}")
    return error


@attrs.frozen
class Rules:
    """What a watcher lays down for all of its tasks."""

    schedule: GuardedSchedule
    retry: RetryPolicy
    budget: RetryBudget = attrs.field(factory=RetryBudget)


class Step(NamedTuple):
    """What to do after a poll: report this, and poll again in ``delay`` seconds."""

    transition: Transition | None
    delay: float | None


@attrs.define(eq=False, weakref_slot=False)
class Tracker:
    """One task being watched. ``began_at`` is the clock reading at age zero."""

    task: TaskRef
    began_at: float
    age_known: bool
    entry: float = 0.0
    state: TaskState | None = None
    seen_at: float | None = None
    polls: int = 0
    failures: int = 0
    error: Exception | None = None
    missing_since: float | None = None
    over: bool = False

    listed: bool = False
    context: Any = None
    added_at: float = 0.0
    deadline_at: float = inf
    told: TaskState | None = None
    told_at: float | None = None

    @property
    def outcome(self) -> TaskState | Exception:
        """What a watch that is over came to."""
        return self.error or cast("TaskState", self.state)

    def saw(
        self,
        state: TaskState,
        rules: Rules,
        *,
        asked: float,
        now: float,
        at: datetime,
        muted: bool = False,
    ) -> Step:
        """Take note of an answer to the poll that left at ``asked``.

        ``muted`` holds back a change that is not final, because the reader has
        too many of this task's changes to read already; it is reported, merged
        with what comes after it, once there is room again.
        """
        self.polls += 1
        rules.budget.earn()
        self.failures = 0
        self.error = None
        self.missing_since = None
        pending_at, self.seen_at = self.seen_at, asked
        self.state = state
        if state.is_final:
            self.error = verdict(self.task, state)
            self._learn(rules.schedule, pending_at, now - self.began_at)
            return self._end(now, at)
        delay = rules.schedule.next_delay(
            self.task, now - self.began_at, age_known=self.age_known
        )
        return Step(None if muted else self.change(now, at), delay)

    def missed(
        self,
        error: Exception,
        rules: Rules,
        *,
        now: float,
        at: datetime,
        unit: float,
    ) -> Step:
        """Take note of a poll that failed, and decide whether to insist."""
        self.polls += 1
        rules.budget.earn()
        self.failures += 1
        self.error = error
        grace_left = self._grace_left(error, rules.retry, now)
        if isinstance(error, DEFINITIVE) or grace_left == 0.0:
            return self._end(now, at)
        # What the task was at this age is not known, so nothing may be learnt of it.
        delay = rules.schedule.next_delay(
            self.task, now - self.began_at, age_known=False
        )
        sooner = min(rules.retry.backoff(self.failures, unit), grace_left)
        if sooner < delay and rules.budget.spend(now):
            delay = sooner
        asked_for = error.retry_after if isinstance(error, APIStatusError) else None
        return Step(None, max(delay, min(asked_for or 0.0, DELAY_MAX)))

    def worth(self, rules: Rules, now: float) -> float:
        """Return what it is worth to poll now, for where not all can be polled."""
        asked = self.began_at if self.seen_at is None else self.seen_at
        return rules.schedule.priority(
            self.task,
            asked - self.began_at,
            now - self.began_at,
            age_known=self.age_known,
        )

    def eta(self, rules: Rules, now: float) -> Eta | None:
        """Return when the task is likely to be done, if anything is known of it."""
        return rules.schedule.eta(
            self.task, now - self.began_at, age_known=self.age_known
        )

    def change(self, now: float, at: datetime) -> Transition | None:
        """Return the transition to what was seen last, if the iterator lacks it."""
        if not self.listed or self.state is None:
            return None
        previous, since = self.told, self.told_at
        if self.seen_at is not None:
            self.told_at = self.seen_at
        if previous is not None and previous.raw_status == self.state.raw_status:
            return None
        self.told = self.state
        return self._transition(previous, None, since, now, at)

    def give_up(self, rules: Rules, now: float, at: datetime) -> Transition | None:
        """End the listing's part because its deadline has passed."""
        self._learn(rules.schedule, self.seen_at, inf)
        error = deadline_error(self.task, self.state, now - self.added_at, self.error)
        return self.refuse(error, now, at)

    def refuse(
        self, error: Exception | None, now: float, at: datetime
    ) -> Transition | None:
        """End the listing's part; None when nothing is listed."""
        if not self.listed:
            return None
        self.listed = False
        return self._transition(self.told, error, self.told_at, now, at)

    def _end(self, now: float, at: datetime) -> Step:
        self.over = True
        return Step(self.refuse(self.error, now, at), None)

    def _transition(
        self,
        previous: TaskState | None,
        error: Exception | None,
        since: float | None,
        now: float,
        at: datetime,
    ) -> Transition:
        return Transition(
            task=self.task,
            previous=None if previous is None else previous.status,
            state=self.state,
            error=error,
            at=at,
            elapsed=now - self.added_at,
            uncertainty=None if previous is None or since is None else now - since,
            polls=self.polls,
            context=self.context,
        )

    def _grace_left(self, error: Exception, retry: RetryPolicy, now: float) -> float:
        """Return the seconds for which a 404 is still no verdict; inf for others."""
        if not isinstance(error, NotFoundError):
            if isinstance(error, APIStatusError):
                self.missing_since = None
            return inf
        if self.missing_since is None:
            self.missing_since = now
        return max(0.0, self.missing_since + retry.not_found_grace - now)

    def _learn(
        self, schedule: GuardedSchedule, pending_at: float | None, upper: float
    ) -> None:
        if self.age_known:
            lower = 0.0 if pending_at is None else pending_at - self.began_at
            schedule.learn(
                self.task, max(lower, 0.0), max(upper, 0.0), entry=self.entry
            )
