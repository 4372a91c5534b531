"""What to tell a visitor: how a voice stands, and what to do next.

A table of words, and no I/O. The icon and the action are those that the service's
documentation advises for a status.
"""

from __future__ import annotations

import json
from bisect import bisect_left, bisect_right
from collections.abc import Mapping

import attrs

from camb_async import (
    DeadlineExceededError,
    Eta,
    Guidance,
    NotFoundError,
    PaymentRequiredError,
    TaskError,
    TaskFailedError,
    TaskParkedError,
    TaskPaymentRequiredError,
    TaskState,
    TaskStatus,
    TaskTimeoutError,
    Transition,
)


@attrs.frozen(kw_only=True)
class Outcome:
    """How a voice stands, in words for a person.

    Attributes:
        tone: ``busy``, ``good``, ``bad`` or ``lost`` (nobody knows); for colours.
        title: one or two words.
        advice: a sentence or two: what it means and what to do.
        guidance: the documented icon and action.
        said: what the service itself said, if it said anything.
        can_resume: whether watching again may help.
    """

    tone: str
    title: str
    advice: str
    guidance: Guidance
    said: str = ""
    can_resume: bool = False


#: Seconds: from and to when a voice is likely to be done; no end is None.
Left = tuple[int, int | None]

# No range is told to the second: it would seem to know more than anybody does.
_ROUND_SECONDS = (0, 5, 10, 15, 20, 30, 45, 60, 90, 120, 180, 300, 600, 1200, 1800)


def left_of(eta: Eta) -> Left:
    """Return a range with round ends, which holds what is likely left."""
    after = bisect_left(_ROUND_SECONDS, eta.high)
    return (
        _ROUND_SECONDS[bisect_right(_ROUND_SECONDS, eta.low) - 1],
        _ROUND_SECONDS[after] if after < len(_ROUND_SECONDS) else None,
    )


def outcome_of(latest: Transition) -> Outcome:
    """Return the words for a voice whose latest transition is this."""
    if latest.error is not None:
        return _ended(latest.error, latest.state)
    if latest.succeeded:
        return _READY if latest.run_id is not None else _READY_WITHOUT_RUN
    if latest.status is TaskStatus.PENDING:
        return _PENDING
    return attrs.evolve(_UNKNOWN, said=status_of(latest))


def status_of(latest: Transition) -> str:
    """Return the service's own word for how a voice stands; empty if it had none."""
    return "" if latest.state is None else latest.state.raw_status[:60]


#: A voice of which nothing has been heard yet.
SENT = Outcome(
    tone="busy",
    title="Sent",
    advice="The order is in. Its first status will be here in a moment.",
    guidance=TaskStatus.PENDING.guidance,
)
_PENDING = Outcome(
    tone="busy",
    title="In the making",
    advice="Nothing to do but wait. This page updates by itself.",
    guidance=TaskStatus.PENDING.guidance,
)
_UNKNOWN = Outcome(
    tone="busy",
    title="In an unknown state",
    advice=(
        "The service uses a status that its documentation does not list. The voice "
        "is still being watched; if this lasts, contact support."
    ),
    guidance=TaskStatus.UNKNOWN.guidance,
)
_READY = Outcome(
    tone="good",
    title="Ready",
    advice="Listen to the previews and download the voice you like best.",
    guidance=TaskStatus.SUCCESS.guidance,
)
_READY_WITHOUT_RUN = Outcome(
    tone="lost",
    title="Ready, but out of reach",
    advice=(
        "The service says that it is done, but not where the result is. Contact "
        "support and name the task (see Details)."
    ),
    guidance=TaskStatus.UNKNOWN.guidance,
)

_ENDS: Mapping[type[Exception], Outcome] = {
    TaskPaymentRequiredError: Outcome(
        tone="bad",
        title="Out of credits",
        advice="Add credits to the Camb.ai account, then order this voice again.",
        guidance=TaskStatus.PAYMENT_REQUIRED.guidance,
    ),
    TaskFailedError: Outcome(
        tone="bad",
        title="Failed",
        advice=(
            "Review what you wrote, change it if something could be unclear or not "
            "allowed, and order again."
        ),
        guidance=TaskStatus.ERROR.guidance,
    ),
    TaskTimeoutError: Outcome(
        tone="bad",
        title="Timed out",
        advice=(
            "The service took too long and gave up. Order it again; if that does not "
            "help, contact support and name the task (see Details)."
        ),
        guidance=TaskStatus.TIMEOUT.guidance,
    ),
    DeadlineExceededError: Outcome(
        tone="lost",
        title="Not finished in time",
        advice=(
            "The service may finish it yet, but this page stopped asking. Watch it "
            "again, or look in the Camb.ai studio."
        ),
        guidance=TaskStatus.TIMEOUT.guidance,
        can_resume=True,
    ),
    TaskParkedError: Outcome(
        tone="lost",
        title="No longer watched",
        advice=(
            "Servers of this page stopped one after the other while they watched it. "
            "The voice itself may be finished: watch it again when they run well."
        ),
        guidance=TaskStatus.UNKNOWN.guidance,
        can_resume=True,
    ),
    NotFoundError: Outcome(
        tone="bad",
        title="Not found",
        advice=(
            "The service does not know this task any more. Order it again, or contact "
            "support and name the task (see Details)."
        ),
        guidance=TaskStatus.UNKNOWN.guidance,
    ),
    PaymentRequiredError: Outcome(
        tone="lost",
        title="Out of credits",
        advice=(
            "The service does not answer before there are credits. Add some to the "
            "Camb.ai account, then watch this voice again."
        ),
        guidance=TaskStatus.PAYMENT_REQUIRED.guidance,
        can_resume=True,
    ),
}
_OTHER_END = Outcome(
    tone="lost",
    title="No longer watched",
    advice=(
        "The service refused to say how this voice is doing. Watch it again; if that "
        "does not help, contact support and name the task (see Details)."
    ),
    guidance=TaskStatus.UNKNOWN.guidance,
    can_resume=True,
)


def _ended(error: Exception, state: TaskState | None) -> Outcome:
    outcome = _ENDS.get(type(error), _OTHER_END)
    said = _what_it_said(state) if isinstance(error, TaskError) else ""
    return attrs.evolve(outcome, said=said)


def _what_it_said(state: TaskState | None) -> str:
    if state is None:
        return ""
    message = state.message
    if isinstance(message, Mapping):
        message = json.dumps(message, ensure_ascii=False, default=str)
    reason = state.exception_reason
    return " ".join(part for part in (message, reason and f"({reason})") if part)[:500]
