"""One task's watch: what is reported, what is insisted on, and how it ends."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from camb_async._budget import RetryBudget
from camb_async._guard import GuardedSchedule
from camb_async._tracking import (
    Rules,
    Step,
    Tracker,
    check_deadline,
    deadline_error,
    verdict,
)
from camb_async.errors import (
    APIConnectionError,
    APIStatusError,
    APITimeoutError,
    AuthenticationError,
    CambError,
    ConfigurationError,
    DeadlineExceededError,
    InvalidResponseError,
    NotFoundError,
    PaymentRequiredError,
    PermissionDeniedError,
    RateLimitError,
    ServerError,
    SessionClosedError,
    TaskError,
    TaskFailedError,
    TaskPaymentRequiredError,
    TaskTimeoutError,
    UnexpectedRedirectError,
    ValidationError,
)
from camb_async.kinds import TaskKind
from camb_async.models import TaskRef, TaskState, TaskStatus, Transition
from camb_async.policies import RetryPolicy


TASK = TaskRef("abc", TaskKind.DUB)
START = datetime(2026, 3, 1, tzinfo=UTC)


@attrs.define
class FakeSchedule:
    """A schedule that always says three seconds, and takes notes."""

    asked: list[tuple[float, bool]] = attrs.field(factory=list[tuple[float, bool]])
    learnt: list[tuple[float, float, float]] = attrs.field(
        factory=list[tuple[float, float, float]]
    )

    def next_delay(self, task: TaskRef, age: float, *, age_known: bool = True) -> float:
        """Return three seconds."""
        self.asked.append((age, age_known))
        return 3.0

    def learn(
        self, task: TaskRef, lower: float, upper: float, *, entry: float = 0.0
    ) -> None:
        """Take note."""
        self.learnt.append((lower, upper, entry))


@attrs.define
class Watch:
    """A tracker with its rules; ``now`` is when an answer came."""

    tracker: Tracker
    schedule: FakeSchedule = attrs.field(factory=FakeSchedule)
    retry: RetryPolicy = attrs.field(factory=RetryPolicy)
    budget: RetryBudget = attrs.field(factory=RetryBudget)

    @property
    def rules(self) -> Rules:
        """What the tracker goes by."""
        return Rules(GuardedSchedule(self.schedule), self.retry, self.budget)

    def saw(
        self,
        seen: str | TaskState,
        now: float,
        asked: float | None = None,
        *,
        muted: bool = False,
    ) -> Step:
        """Take in an answer."""
        state = TaskState(TaskStatus(seen), seen) if isinstance(seen, str) else seen
        return self.tracker.saw(
            state,
            self.rules,
            asked=now if asked is None else asked,
            now=now,
            at=when(now),
            muted=muted,
        )

    def missed(self, error: Exception, now: float, unit: float = 0.5) -> Step:
        """Take in a failed poll."""
        return self.tracker.missed(error, self.rules, now=now, at=when(now), unit=unit)


def when(now: float) -> datetime:
    """Return the wall clock at a monotonic reading."""
    return START + timedelta(seconds=now)


def watch(**details: Any) -> Watch:
    """Return the watch of a listed task that began at 100 and was added at 200."""
    given_details: dict[str, Any] = {
        "began_at": 100.0,
        "age_known": True,
        "listed": True,
        "added_at": 200.0,
        "context": "mine",
        **details,
    }
    return Watch(Tracker(TASK, **given_details))


def status_error(
    error_class: type[APIStatusError], status: int, retry_after: float | None = None
) -> APIStatusError:
    """Return an error of this class."""
    return error_class("No.", status_code=status, retry_after=retry_after)


def reported(step: Step) -> Transition:
    """Return the transition of a step that must have one."""
    assert step.transition is not None

    return step.transition


# What is reported.


def test_first_sight_is_a_transition() -> None:
    """The first status has no previous one, and no telling since when."""
    watched = watch()
    step = watched.saw("PENDING", now=205.0, asked=204.0)

    assert step.delay == 3.0
    assert step.transition == Transition(
        task=TASK,
        previous=None,
        state=TaskState(TaskStatus.PENDING),
        error=None,
        at=when(205.0),
        elapsed=5.0,
        uncertainty=None,
        polls=1,
        context="mine",
    )


def test_the_same_text_again_is_no_transition() -> None:
    """What has not changed is not reported, and is asked again on schedule."""
    watched = watch()
    watched.saw("PENDING", 201.0)

    assert Step(None, 3.0) == watched.saw("PENDING", 204.0)


@pytest.mark.parametrize(
    ("first", "second"),
    [("PENDING", "pending"), ("QUEUED", "PROCESSING"), ("PENDING", "QUEUED")],
)
def test_another_text_is_a_transition(first: str, second: str) -> None:
    """The text counts: two unknown statuses differ, and so do two spellings."""
    watched = watch()
    watched.saw(first, 201.0)
    change = reported(watched.saw(second, 204.0))

    assert TaskStatus(first) is change.previous
    assert change.state is not None
    assert second == change.state.raw_status
    assert not change.is_final


def test_uncertainty_reaches_back_to_the_last_poll_that_saw_the_old_status() -> None:
    """The change came after the last request whose answer was still the old one."""
    watched = watch()
    watched.saw("QUEUED", now=203.0, asked=201.0)
    watched.saw("QUEUED", now=208.0, asked=206.0)
    watched.missed(OSError("cut"), now=211.0)
    change = reported(watched.saw("PENDING", now=215.0, asked=214.0))
    end = reported(watched.saw("SUCCESS", now=220.0, asked=219.5))

    assert 215.0 - 206.0 == change.uncertainty
    assert 220.0 - 214.0 == end.uncertainty
    assert (4, 5) == (change.polls, end.polls)


def test_an_error_that_ends_the_watch_is_as_uncertain_as_a_change() -> None:
    """A definitive answer reports the old status, and since when it may be so."""
    watched = watch()
    watched.saw("QUEUED", now=203.0, asked=201.0)
    error = status_error(PermissionDeniedError, 403)
    end = reported(watched.missed(error, now=209.0))

    assert (TaskStatus.UNKNOWN, "QUEUED", error, 8.0) == (
        end.previous,
        end.state and end.state.raw_status,
        end.error,
        end.uncertainty,
    )


def test_a_muted_change_is_merged_with_the_next() -> None:
    """While the reader lags, changes are held back; the chain stays whole."""
    watched = watch()
    watched.saw("ONE", 201.0)
    held_back = watched.saw("TWO", 204.0, muted=True)
    change = reported(watched.saw("THREE", now=207.0, asked=206.5))

    assert Step(None, 3.0) == held_back
    assert change.state is not None
    assert (TaskStatus.UNKNOWN, "THREE", 6.0) == (
        change.previous,
        change.state.raw_status,
        change.uncertainty,
    )


def test_a_muted_change_is_reported_when_it_is_seen_again() -> None:
    """Once there is room, what was held back comes out though it is old news."""
    watched = watch()
    watched.saw("ONE", 201.0)
    watched.saw("TWO", 204.0, muted=True)
    change = reported(watched.saw("TWO", 207.0))

    assert change.state is not None
    assert ("TWO", 6.0) == (change.state.raw_status, change.uncertainty)


def test_a_muted_change_that_is_gone_again_is_not_reported() -> None:
    """There and back while nobody reads is no change."""
    watched = watch()
    watched.saw("ONE", 201.0)
    watched.saw("TWO", 204.0, muted=True)

    assert watched.saw("ONE", 207.0).transition is None


def test_a_muted_first_sight_is_still_first_sight() -> None:
    """Held back at first, the status has no previous one when it comes out."""
    watched = watch()
    watched.saw("ONE", 201.0, muted=True)
    change = reported(watched.saw("TWO", 204.0))

    assert (None, None) == (change.previous, change.uncertainty)


def test_an_end_is_never_muted() -> None:
    """A final status comes out however far the reader lags."""
    watched = watch()
    watched.saw("ONE", 201.0)
    watched.saw("TWO", 203.0, muted=True)
    end = reported(watched.saw("SUCCESS", 204.0, muted=True))

    assert end.succeeded
    assert (TaskStatus.UNKNOWN, 3.0) == (end.previous, end.uncertainty)


def test_nothing_is_reported_to_an_iterator_that_does_not_listen() -> None:
    """What only waiters asked for makes no transitions, but goes on as usual."""
    watched = watch(listed=False)
    pending = watched.saw("PENDING", 201.0)
    end = watched.saw("SUCCESS", 204.0)

    assert Step(None, 3.0) == pending
    assert Step(None, None) == end
    assert watched.tracker.over
    assert watched.tracker.change(205.0, when(205.0)) is None
    assert watched.tracker.refuse(OSError(), 205.0, when(205.0)) is None


def test_an_iterator_that_joins_is_told_what_is_known() -> None:
    """A task that waiters watch already is reported as soon as it is listed."""
    watched = watch(listed=False)
    watched.saw("QUEUED", now=203.0, asked=202.0)
    tracker = watched.tracker
    tracker.listed, tracker.added_at, tracker.context = True, 210.0, "late"
    first = tracker.change(210.0, when(210.0))
    second = reported(watched.saw("PENDING", now=215.0, asked=214.0))

    assert first is not None
    assert (None, TaskStatus.UNKNOWN, None, 0.0, "late") == (
        first.previous,
        first.status,
        first.uncertainty,
        first.elapsed,
        first.context,
    )
    assert (TaskStatus.UNKNOWN, 13.0, 5.0) == (
        second.previous,
        second.uncertainty,
        second.elapsed,
    )


def test_an_iterator_that_joins_before_an_answer_is_told_nothing() -> None:
    """Without a state there is nothing to report yet."""
    assert watch().tracker.change(201.0, when(201.0)) is None


def test_an_iterator_can_be_handed_a_state_that_no_poll_of_ours_saw() -> None:
    """A state that was set from outside is reported without a time of its own."""
    watched = watch(told=TaskState(TaskStatus.PENDING), told_at=190.0)
    watched.tracker.state = TaskState(TaskStatus.UNKNOWN, "QUEUED")
    change = watched.tracker.change(201.0, when(201.0))

    assert change is not None
    assert (TaskStatus.PENDING, 11.0) == (change.previous, change.uncertainty)


# What a final status means.


@pytest.mark.parametrize(
    ("state", "error_class", "words"),
    [
        (
            TaskState(TaskStatus.ERROR, exception_reason="INTERNAL_ERROR"),
            TaskFailedError,
            "ended as ERROR (INTERNAL_ERROR). Review the inputs",
        ),
        (
            TaskState(TaskStatus.ERROR, "Error", message="Too short"),
            TaskFailedError,
            "ended as Error. The service says: Too short Review the inputs",
        ),
        (
            TaskState(TaskStatus.TIMEOUT),
            TaskTimeoutError,
            "ended as TIMEOUT. The service gave up on it",
        ),
        (
            TaskState(TaskStatus.PAYMENT_REQUIRED),
            TaskPaymentRequiredError,
            "ended as PAYMENT_REQUIRED. Add credits",
        ),
        (
            TaskState(TaskStatus.ERROR, exception_reason="PAYMENT_REQUIRED"),
            TaskPaymentRequiredError,
            "ended as ERROR (PAYMENT_REQUIRED). Add credits",
        ),
    ],
    ids=["error", "message", "timeout", "payment", "payment as reason"],
)
def test_a_bad_end_is_an_error_with_advice(
    state: TaskState, error_class: type[TaskError], words: str
) -> None:
    """Each end has its error, which names the task and says what to do."""
    error = verdict(TASK, state)

    assert error is not None
    assert error_class is type(error)
    assert f"dub task abc {words}" in str(error)
    assert (TASK, state) == (error.task, error.state)


@pytest.mark.parametrize("reason", [None, "PAYMENT_REQUIRED"])
def test_success_is_no_error(reason: str | None) -> None:
    """A task that succeeded has no error, whatever else its answer holds."""
    assert verdict(TASK, TaskState(TaskStatus.SUCCESS, exception_reason=reason)) is None


def test_a_long_message_is_cut() -> None:
    """What the service says is quoted, but not without end."""
    error = verdict(TASK, TaskState(TaskStatus.ERROR, message={"a": "b" * 10_000}))

    assert len(str(error)) < 500


@pytest.mark.parametrize("text", ["SUCCESS", "success", "ERROR", "TIMEOUT"])
def test_a_final_status_ends_the_watch(text: str) -> None:
    """It is the last transition, with its error, and no further poll is wanted."""
    watched = watch()
    step = watched.saw(text, 204.0)
    end = reported(step)

    assert step.delay is None
    assert end.is_final
    assert end.error == watched.tracker.error
    assert (True, False) == (watched.tracker.over, watched.tracker.listed)


def test_the_outcome_is_the_state_or_the_error() -> None:
    """Waiters get SUCCESS as a state, and any other end as its error."""
    good, bad = watch(), watch()
    good.saw("SUCCESS", 204.0)
    bad.saw("ERROR", 204.0)

    assert TaskState(TaskStatus.SUCCESS) == good.tracker.outcome
    assert isinstance(bad.tracker.outcome, TaskFailedError)


# Failed polls.


@pytest.mark.parametrize(
    "error",
    [
        status_error(AuthenticationError, 401),
        status_error(PaymentRequiredError, 402),
        status_error(PermissionDeniedError, 403),
        status_error(ValidationError, 422),
        ConfigurationError("The provider returned no key."),
        SessionClosedError("Closed."),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_definitive_answer_ends_the_watch(error: Exception) -> None:
    """What no further poll would change is final at once."""
    watched = watch()
    watched.saw("PENDING", 201.0)
    step = watched.missed(error, 204.0)
    end = reported(step)

    assert step.delay is None
    assert (error, TaskStatus.PENDING, True) == (end.error, end.status, end.is_final)
    assert error is watched.tracker.outcome
    assert watched.tracker.over


@pytest.mark.parametrize(
    "error",
    [
        APIConnectionError("Refused."),
        APITimeoutError("Late."),
        InvalidResponseError("HTML."),
        UnexpectedRedirectError("Moved.", status_code=302, location=None),
        status_error(APIStatusError, 400),
        status_error(APIStatusError, 409),
        status_error(RateLimitError, 429),
        status_error(ServerError, 500),
        status_error(ServerError, 501),
        OSError("from a source of the user's"),
        LookupError(),
    ],
    ids=repr,
)
def test_a_failed_poll_is_not_a_failed_task(error: Exception) -> None:
    """A fault is ridden out, however often it comes back."""
    watched = watch()
    watched.saw("PENDING", 201.0)
    steps = [watched.missed(error, 201.0 + 60.0 * n) for n in range(1, 60)]

    assert {None} == {step.transition for step in steps}
    assert all(step.delay is not None and 0 < step.delay <= 15.0 for step in steps)
    assert not watched.tracker.over


@pytest.mark.parametrize("unit", [0.0, 0.25, 0.999])
def test_failures_back_off_as_the_policy_says(unit: float) -> None:
    """Each failure in a row waits longer, up to the schedule's own delay.

    A good answer starts over.
    """
    watched = watch()
    policy = watched.retry
    failed = [watched.missed(OSError(), 201.0, unit).delay for _ in range(9)]
    watched.saw("PENDING", 210.0)

    assert [min(3.0, policy.backoff(n, unit)) for n in range(1, 10)] == failed
    assert policy.backoff(1, unit) == watched.missed(OSError(), 211.0, unit).delay
    assert (11, 1) == (watched.tracker.polls, watched.tracker.failures)


def test_without_a_retry_budget_the_schedule_decides() -> None:
    """Where too much fails already, a failed poll brings no other one forward."""
    watched = watch()
    delays = [watched.missed(OSError(), 201.0, 0.0).delay for _ in range(60)]

    assert [0.0] * 20 == delays[:20]
    assert delays[20:].count(0.0) <= 3
    assert {0.0, 3.0} == set(delays)


def test_a_good_answer_forgets_the_error() -> None:
    """The error shown for a watch is that of the last poll, if it failed."""
    watched = watch()
    error = OSError("cut")
    watched.missed(error, 201.0)
    during = watched.tracker.error
    watched.saw("PENDING", 202.0)

    assert error is during
    assert watched.tracker.error is None


@pytest.mark.parametrize(
    ("asked_for", "delay"),
    [
        (None, 0.25),
        (0.0, 0.25),
        (0.1, 0.25),
        (7.0, 7.0),
        (86_400.0, 86_400.0),
        (math.inf, 86_400.0),
    ],
)
def test_the_server_is_not_asked_before_it_said(
    asked_for: float | None, delay: float
) -> None:
    """Retry-After holds if it is longer than the back-off."""
    error = status_error(RateLimitError, 429, asked_for)

    assert delay == watch().missed(error, 201.0, unit=0.5).delay


@pytest.mark.parametrize(
    "asked_for",
    [math.inf, math.nan, -5.0, "soon", "5", timedelta(seconds=5)],
    ids=repr,
)
def test_an_odd_retry_after_of_a_foreign_error_cannot_stop_a_watch(
    asked_for: Any,
) -> None:
    """Errors of another library may mean anything by that name."""

    class ForeignError(Exception):
        """An error of a user's source."""

        retry_after = asked_for

    step = watch().missed(ForeignError(), 201.0, unit=0.5)

    assert step.transition is None
    assert step.delay is not None
    assert 0.0 <= step.delay < math.inf


# 404.


MISSING = status_error(NotFoundError, 404)


def outcome_of(script: list[tuple[float, str | Exception]]) -> list[bool]:
    """Return after each of these polls whether the watch was over."""
    watched = watch()
    over: list[bool] = []
    for now, answer in script:
        if isinstance(answer, str):
            watched.saw(answer, now)
        else:
            watched.missed(answer, now)
        over.append(watched.tracker.over)
    return over


@pytest.mark.parametrize(
    ("script", "over"),
    [
        ([(0.0, MISSING), (9.9, MISSING), (10.0, MISSING)], [False, False, True]),
        ([(0.0, MISSING), (50.0, MISSING)], [False, True]),
        (
            [(0.0, MISSING), (9.0, "PENDING"), (11.0, MISSING), (21.0, MISSING)],
            [False, False, False, True],
        ),
        (
            [
                (0.0, MISSING),
                (9.0, status_error(ServerError, 500)),
                (11.0, MISSING),
                (21.0, MISSING),
            ],
            [False, False, False, True],
        ),
        (
            [(0.0, MISSING), (9.0, APIConnectionError("cut")), (11.0, MISSING)],
            [False, False, True],
        ),
        (
            [(0.0, "PENDING"), (60.0, MISSING), (69.0, MISSING), (70.0, MISSING)],
            [False, False, False, True],
        ),
    ],
    ids=["grace", "late", "seen", "answered", "no answer", "vanished"],
)
def test_404_is_final_after_its_grace(
    script: list[tuple[float, str | Exception]], over: list[bool]
) -> None:
    """It takes ten seconds in which nothing else was answered."""
    assert over == outcome_of(script)


def test_404_is_final_at_once_without_a_grace() -> None:
    """A grace of zero takes the first 404 for the truth."""
    watched = watch()
    watched.retry = RetryPolicy(not_found_grace=0.0)
    end = reported(watched.missed(MISSING, 201.0))

    assert MISSING is end.error


@given(st.floats(0.0, 20.0), st.floats(0.0, 1.0, exclude_max=True))
def test_a_404_is_asked_again_when_its_grace_ends(now: float, unit: float) -> None:
    """No back-off sleeps past the grace: the verdict comes in time."""
    watched = watch()
    watched.tracker.failures = 50
    watched.missed(MISSING, 0.0)
    step = watched.missed(MISSING, now, unit)

    if now >= 10.0:
        assert step.delay is None
    else:
        assert step.delay is not None
        assert 0.0 <= step.delay <= 10.0 - now


def test_a_404_with_a_retry_after_waits_as_told() -> None:
    """The server's wish holds for a 404, too."""
    error = status_error(NotFoundError, 404, 30.0)

    assert watch().missed(error, 201.0).delay == 30.0


# Giving up.


def test_the_deadline_ends_the_listing() -> None:
    """Giving up is one final transition with what was seen last."""
    watched = watch()
    watched.saw("PENDING", now=203.0, asked=202.0)
    end = watched.tracker.give_up(watched.rules, 260.0, when(260.0))
    again = watched.tracker.refuse(OSError(), 261.0, when(261.0))

    assert end is not None
    assert isinstance(end.error, DeadlineExceededError)
    assert (60.0, TaskState(TaskStatus.PENDING)) == (end.error.elapsed, end.state)
    assert (TaskStatus.PENDING, 58.0, True) == (
        end.previous,
        end.uncertainty,
        end.is_final,
    )
    assert again is None
    assert not watched.tracker.over


def test_giving_up_on_what_was_never_seen() -> None:
    """Without any answer there is no status, and the reason is noted."""
    watched = watch()
    watched.missed(OSError("no route"), 203.0)
    end = watched.tracker.give_up(watched.rules, 260.0, when(260.0))

    assert end is not None
    assert (None, None, None) == (end.previous, end.state, end.uncertainty)
    assert end.error is not None
    assert ["The last poll failed: no route"] == end.error.__notes__


@pytest.mark.parametrize(
    ("state", "words"),
    [
        (None, "no status was ever seen after 12.3 s"),
        (TaskState(TaskStatus.UNKNOWN, "QUEUED"), "still QUEUED after 12.3 s"),
    ],
)
def test_a_deadline_error_says_how_to_go_on(
    state: TaskState | None, words: str
) -> None:
    """It tells what was seen, for how long, and that the task is not lost."""
    error = deadline_error(TASK, state, 12.34, None)

    assert f"dub task abc: {words}" in str(error)
    assert "wait for the same id again" in str(error)
    assert (TASK, state, 12.34) == (error.task, error.state, error.elapsed)
    assert error.__cause__ is None


def test_a_deadline_error_has_the_last_failure_as_its_cause() -> None:
    """Who ran out of time because nothing worked is told what did not."""
    cause = APITimeoutError("Late.")
    error = deadline_error(TASK, None, 1.0, cause)

    assert cause is error.__cause__
    assert ["The last poll failed: Late."] == error.__notes__


# What the schedule is asked and told.


@pytest.mark.parametrize("age_known", [True, False])
def test_the_schedule_is_asked_with_the_age(age_known: bool) -> None:  # noqa: FBT001
    """Age counts from when the task began, up to the answer."""
    watched = watch(age_known=age_known)
    watched.saw("PENDING", now=205.0, asked=204.0)

    assert [(105.0, age_known)] == watched.schedule.asked


def test_the_schedule_learns_between_which_polls_the_task_ended() -> None:
    """It was pending when last asked, and finished when the answer came."""
    watched = watch(entry=100.0)
    watched.saw("PENDING", now=203.0, asked=201.0)
    watched.missed(OSError(), 205.0)
    watched.saw("ERROR", now=209.0, asked=208.0)

    assert [(101.0, 109.0, 100.0)] == watched.schedule.learnt


def test_a_task_found_finished_may_have_ended_at_any_age() -> None:
    """Without a poll that saw it pending, the lower bound is zero."""
    watched = watch(entry=100.0)
    watched.saw("SUCCESS", now=209.0, asked=208.0)

    assert [(0.0, 109.0, 100.0)] == watched.schedule.learnt


def test_a_task_given_up_took_longer_than_that() -> None:
    """The deadline teaches that the task was pending, and no more."""
    watched = watch()
    watched.saw("PENDING", now=203.0, asked=201.0)
    watched.tracker.give_up(watched.rules, 260.0, when(260.0))

    assert [(101.0, math.inf, 0.0)] == watched.schedule.learnt


def test_nothing_is_learnt_of_a_task_of_unknown_age() -> None:
    """Who does not know when it began cannot tell how long it took."""
    watched = watch(age_known=False)
    watched.saw("PENDING", 203.0)
    watched.tracker.give_up(watched.rules, 205.0, when(205.0))
    watched.saw("SUCCESS", 206.0)

    assert [] == watched.schedule.learnt


def test_a_definitive_answer_teaches_nothing() -> None:
    """A task that may not be seen has not ended."""
    watched = watch()
    watched.missed(status_error(PermissionDeniedError, 403), 203.0)

    assert [] == watched.schedule.learnt


def test_a_beginning_in_the_future_is_no_negative_age() -> None:
    """A clock that was set back teaches no time below zero."""
    watched = watch(began_at=300.0)
    watched.saw("PENDING", 203.0)
    watched.saw("SUCCESS", 206.0)

    assert [(0.0, 0.0, 0.0)] == watched.schedule.learnt


# Any story at all.


@attrs.frozen
class Poll:
    """One poll of a random story: what came, when it left, how long it took."""

    answer: str | Exception
    pause: float
    latency: float
    muted: bool
    unit: float


ANSWERS: list[str | Exception] = [
    "PENDING",
    "pending",
    "QUEUED",
    "SUCCESS",
    "Error",
    "TIMEOUT",
    APIConnectionError("cut"),
    status_error(ServerError, 503, 2.0),
    status_error(RateLimitError, 429, 40.0),
    MISSING,
    status_error(PermissionDeniedError, 403),
    OSError("foreign"),
]

polls = st.builds(
    Poll,
    # Mostly stories that go on for a while.
    answer=st.sampled_from(ANSWERS[:3] + ANSWERS[6:10])
    | st.sampled_from(ANSWERS[:3])
    | st.sampled_from(ANSWERS),
    pause=st.floats(0.0, 30.0),
    latency=st.floats(0.0, 3.0),
    muted=st.booleans(),
    unit=st.floats(0.0, 1.0, exclude_max=True),
)


@attrs.define
class Story:
    """A watch that is told a random story, and what is true of it."""

    watched: Watch = attrs.field(factory=watch)
    now: float = 200.0
    told: list[Transition] = attrs.field(factory=list[Transition])
    unmuted: list[tuple[float, str]] = attrs.field(factory=list[tuple[float, str]])
    missing: list[float] = attrs.field(factory=list[float])

    def tell(self, poll: Poll) -> Step:
        """Take in one poll."""
        asked = self.now + poll.pause
        self.now = asked + poll.latency
        if isinstance(poll.answer, str):
            self.missing.clear()
            final = TaskStatus(poll.answer).is_final
            if final or not poll.muted:
                self.unmuted.append((asked, poll.answer))
            return self.watched.saw(poll.answer, self.now, asked, muted=poll.muted)
        if isinstance(poll.answer, NotFoundError):
            self.missing.append(self.now)
        elif isinstance(poll.answer, APIStatusError):
            self.missing.clear()
        return self.watched.missed(poll.answer, self.now, poll.unit)

    def expects_end(self, answer: str | Exception) -> bool:
        """Return whether this answer ends the watch, by the rules in words."""
        if isinstance(answer, str):
            return TaskStatus(answer).is_final
        if isinstance(answer, NotFoundError):
            return self.now >= self.missing[0] + 10.0
        return isinstance(answer, PermissionDeniedError)

    def check(self, change: Transition) -> None:
        """Hold one transition against all that came before it."""
        before = self.told[-1] if self.told else None
        self.told.append(change)

        assert (before and before.status) is change.previous
        assert (change.uncertainty is None) is (change.previous is None)
        assert self.now - 200.0 == change.elapsed
        assert self.watched.tracker.polls == change.polls
        assert before is None or not before.is_final
        if before is not None and before.state is not None:
            # The old status was seen by a request that left this long ago.
            assert change.uncertainty is not None
            assert 0.0 <= change.uncertainty <= self.now - 200.0
            since = max(
                asked
                for asked, text in self.unmuted
                if text == before.state.raw_status and asked <= self.now
            )
            assert self.now - since == change.uncertainty


@given(st.lists(polls, max_size=40))
def test_any_story_ends_in_exactly_one_final_transition(script: list[Poll]) -> None:
    """Whatever is answered: a whole chain, one end, and nothing after it."""
    story = Story()
    for count, poll in enumerate(script, 1):
        step = story.tell(poll)
        if step.transition is not None:
            story.check(step.transition)
        over = story.expects_end(poll.answer)

        assert count == story.watched.tracker.polls
        assert over is (step.delay is None) is story.watched.tracker.over
        if over:
            break
        assert step.delay is not None
        assert 0.0 <= step.delay <= 40.0
        asked_for = getattr(poll.answer, "retry_after", None) or 0.0
        assert asked_for <= step.delay
        assert isinstance(poll.answer, str) or step.transition is None
    else:
        tracker, rules = story.watched.tracker, story.watched.rules
        end = tracker.give_up(rules, story.now, when(story.now))
        assert end is not None
        story.check(end)

    assert [False] * (len(story.told) - 1) + [True] == [
        change.is_final for change in story.told
    ]
    texts = [change.state.raw_status for change in story.told if change.state]
    changes = [
        text
        for at, (_, text) in enumerate(story.unmuted)
        if at == 0 or text != story.unmuted[at - 1][1]
    ]
    assert changes == texts[: len(changes)]
    assert len(changes) <= len(texts) <= len(changes) + 1


@given(st.lists(polls, max_size=30))
def test_any_story_teaches_possible_times(script: list[Poll]) -> None:
    """What a schedule learns is a time that was lived through, once at the most."""
    story = Story()
    for poll in script:
        if story.tell(poll).delay is None:
            break
    learnt = story.watched.schedule.learnt

    assert len(learnt) <= 1
    assert all(0.0 <= lower <= upper <= story.now - 100.0 for lower, upper, _ in learnt)


def test_errors_of_a_watch_are_ours_or_the_sources() -> None:
    """A watch wraps no error: what the source raised is what comes out."""
    own = CambError("Something new.")
    watched = watch()
    watched.missed(own, 201.0)

    assert own is watched.tracker.outcome


@pytest.mark.parametrize(
    ("seconds", "expected"), [(None, None), (0.0, 0.0), (3, 3), (1e13, None)]
)
def test_a_deadline_without_end_is_none(
    seconds: float | None, expected: float | None
) -> None:
    """What is as good as no deadline is taken for that."""
    assert expected == check_deadline(seconds)


@pytest.mark.parametrize("seconds", [-0.1, math.nan])
def test_a_deadline_that_is_no_time_is_refused(seconds: float) -> None:
    """A watcher and a store refuse it alike."""
    with pytest.raises(ValueError, match="deadline must be"):
        check_deadline(seconds)


@pytest.mark.parametrize("given", ["3", timedelta(seconds=3)])
def test_a_deadline_that_is_no_number_is_refused(given: Any) -> None:
    """The message says what is wanted."""
    with pytest.raises(TypeError, match="deadline must be a number of seconds"):
        check_deadline(given)
