"""What the bot says: pure functions from what happened to words.

Everything is plain text, so that nothing a user or a server wrote can be taken
for markup.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import attrs

from camb_async import (
    APIConnectionError,
    APIStatusError,
    AuthenticationError,
    CambError,
    ConfigurationError,
    DeadlineExceededError,
    PaymentRequiredError,
    PermissionDeniedError,
    ServerError,
    StoreError,
    SubmissionUnknownError,
    TaskError,
    TaskParkedError,
    TaskPaymentRequiredError,
    TaskRef,
    TaskState,
    TaskStatus,
    Transition,
    UnexpectedRedirectError,
    ValidationError,
)


# What the documentation asks of a description.
WORDS_MIN: Final = 18
LENGTH_MIN: Final = 100

#: Characters of somebody else's words that are quoted at the most.
_QUOTE_MAX = 400
_TITLE_MAX = 48

HELP: Final = (
    "I make voices from descriptions.\n\n"
    "/voice - describe a voice, then tell me what it should say\n"
    "/cancel - leave the dialogue, or stop waiting for your voices (as an answer to "
    "one of my messages: for that voice only)\n"
    "/help - this text"
)
SIMULATED: Final = (
    "Just so you know: I have no Camb.ai key, so the voices come from a simulator "
    "and only hum. Some of them fail on purpose."
)
ASK_DESCRIPTION: Final = (
    "What is the voice like? Age, accent, pace, mood, how close to the microphone: "
    f"at least {WORDS_MIN} words work best."
)
ASK_TEXT: Final = "And what should the voice say?"
ASK_WORDS: Final = "I can only read text: please write it, or /cancel."
NO_SUCH_COMMAND: Final = "I do not know that command. /help lists those I know."
NOTHING_TO_CANCEL: Final = "There is nothing to cancel."
DIALOGUE_LEFT: Final = "Forgotten. /voice starts again."
ASKING: Final = "⏳ Asking Camb.ai for the voice…"
UNREACHABLE: Final = "⏳ Camb.ai cannot be reached at the moment; I keep trying…"

_ADVICE: Mapping[str, str] = MappingProxyType(
    {
        "download_voice": "Listen to the previews.",
        "wait": "Just wait.",
        "retry_or_contact": (
            "Try again with /voice, or contact Camb.ai support with the task id."
        ),
        "review_inputs": "Review the description and the text, then /voice again.",
        "add_credits": "The account needs credits: tell whoever runs this bot.",
        "contact_support": "Contact Camb.ai support with the task id.",
        "check_key": "Tell whoever runs this bot: its Camb.ai key was refused.",
        "look_first": (
            "The voice may be in the making all the same: whoever runs this bot can "
            "look in the Camb.ai studio. Look there before you send it again."
        ),
        "wait_longer": "It may still finish. Keep the task id, or try /voice again.",
        "try_later": "Try again later with /voice.",
    }
)


@attrs.frozen
class _Row:
    """What is said about a class of errors; ``what`` may name its attributes."""

    error_class: type[Exception]
    what: str
    action: str

    def about(self, error: Exception) -> str:
        return self.what.format_map(vars(error))


# The first row that fits decides, so a special case stands above its general one.
_ROWS = (
    _Row(
        DeadlineExceededError,
        "It is not finished, and I must not wait longer.",
        "wait_longer",
    ),
    _Row(TaskParkedError, "I stopped again and again, and lost it.", "wait_longer"),
    _Row(AuthenticationError, "Camb.ai does not let me in.", "check_key"),
    _Row(PermissionDeniedError, "Camb.ai does not let me in.", "check_key"),
    _Row(ConfigurationError, "Camb.ai does not let me in.", "check_key"),
    _Row(PaymentRequiredError, "The account has no credits.", "add_credits"),
    _Row(ValidationError, "Camb.ai does not take it.", "review_inputs"),
    _Row(SubmissionUnknownError, "I sent it, and no usable answer came.", "look_first"),
    _Row(ServerError, "Camb.ai failed (HTTP {status_code}).", "look_first"),
    _Row(APIStatusError, "Camb.ai refused it (HTTP {status_code}).", "try_later"),
    _Row(APIConnectionError, "Camb.ai cannot be reached.", "try_later"),
    _Row(StoreError, "It is ordered, and I cannot watch it.", "look_first"),
    _Row(UnexpectedRedirectError, "Camb.ai has moved.", "contact_support"),
    _Row(Exception, "Something went wrong.", "try_later"),
)


def welcome(*, simulated: bool) -> str:
    """Return what /start and /help answer."""
    return f"{HELP}\n\n{SIMULATED}" if simulated else HELP


def too_many(limit: int) -> str:
    """Return what is said to a chat that has as many voices under way as it may."""
    return (
        f"This chat already waits for {limit} voice{'s' if limit != 1 else ''}, the "
        "most I take at a time. Wait for one of them, or /cancel."
    )


def hint_for(description: str) -> str | None:
    """Return a kind word on a description below the documented minimum, or None."""
    words, length = len(description.split()), len(description)
    if words >= WORDS_MIN and length >= LENGTH_MIN:
        return None
    return (
        f"That has {words} words and {length} characters. Camb.ai asks for at least "
        f"{WORDS_MIN} and {LENGTH_MIN}, so this may fail; I try it all the same. "
        "(/cancel to describe the voice anew.)"
    )


def title_for(text: str) -> str:
    """Return a one-line title for the voice that says this text."""
    line = " ".join(text.split())
    return line if len(line) <= _TITLE_MAX else f"{line[: _TITLE_MAX - 1].rstrip()}…"


def cancelled(count: int) -> str:
    """Return what /cancel answers when it stopped the wait for some voices."""
    voices = "one voice" if count == 1 else f"{count} voices"
    return f"I no longer wait for {voices}."


def text_for(transition: Transition) -> str:
    """Return what the status message says after a transition."""
    if transition.succeeded:
        return _with_task(
            f"✅ Your voice was ready after {seconds(transition.elapsed)}. "
            "The previews are below.",
            transition.task_id,
        )
    if transition.error is not None:
        return _text_for_failure(transition, transition.error)
    return _with_task(
        _headline(transition.state, transition.elapsed), transition.task_id
    )


def text_while_watching(
    task: TaskRef,
    state: TaskState | None,
    elapsed: float,
    error: Exception | None = None,
) -> str:
    """Return what the status message says between two transitions."""
    lines = [_headline(state, elapsed)]
    if error is not None:
        lines.append("Camb.ai does not answer at the moment; I keep asking.")
    return _with_task("\n".join(lines), task.task_id)


def text_when_not_created(error: CambError) -> str:
    """Return what is said when the create call did not answer a task id."""
    said = ""
    if isinstance(error, ValidationError) and error.issues:
        issues = "; ".join(issue.msg for issue in error.issues)
        said = f"\nCamb.ai says: {_quote(issues)}"
    return f"❌ {_what_happened(error)}{said}\n{advice_for(error)}"


def text_when_undelivered(transition: Transition) -> str:
    """Return what is said when the voice is made and its previews do not arrive."""
    run = "" if transition.run_id is None else f" as run {transition.run_id}"
    return _with_task(
        "❌ The voice is made, but its previews did not come through. Look for it in "
        f"the Camb.ai studio{run}.",
        transition.task_id,
    )


def text_when_discarded(task: TaskRef) -> str:
    """Return what is said about a voice that /cancel stopped the wait for."""
    return _with_task(
        "🚫 Cancelled: I no longer wait for this voice. (A task that has begun "
        "cannot be stopped, and may still be billed.)",
        task.task_id,
    )


def text_when_stopped(task: TaskRef) -> str:
    """Return what is said about a voice while the bot does not run."""
    return _with_task(
        "⏸ I am switched off for now. The voice goes on at Camb.ai, and comes here "
        "when I am back.",
        task.task_id,
    )


def advice_for(error: Exception) -> str:
    """Return what to do about an error: the recommended action, in words."""
    if isinstance(error, TaskPaymentRequiredError):
        return _ADVICE["add_credits"]
    if isinstance(error, TaskError):
        return _ADVICE[error.state.status.guidance.action]
    return _ADVICE[_row_for(error).action]


def seconds(elapsed: float) -> str:
    """Return an elapsed time in words that change less often as it grows."""
    whole = int(elapsed)
    if whole < 60:  # noqa: PLR2004 - seconds of a minute
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    return f"{minutes} min" if minutes >= 10 else f"{minutes} min {rest // 10}0 s"  # noqa: PLR2004


def _text_for_failure(transition: Transition, error: Exception) -> str:
    state = error.state if isinstance(error, TaskError) else None
    icon = state.status.guidance.icon if state is not None else "❌"
    lines = [f"{icon} {_what_happened(error)} ({seconds(transition.elapsed)})"]
    if state is not None and state.message:
        lines.append(f"Camb.ai says: {_quote(str(state.message))}")
    lines.append(advice_for(error))
    return _with_task("\n".join(lines), transition.task_id)


def _headline(state: TaskState | None, elapsed: float) -> str:
    if state is None:
        return f"⏳ Waiting for a first answer · {seconds(elapsed)}"
    status = state.raw_status if state.status is TaskStatus.UNKNOWN else state.status
    return f"{state.status.guidance.icon} {_quote(status)} · {seconds(elapsed)}"


def _what_happened(error: Exception) -> str:
    if isinstance(error, TaskError):
        reason = error.state.exception_reason
        return error.state.raw_status + (f": {reason}" if reason else "")
    return _row_for(error).about(error)


def _row_for(error: Exception) -> _Row:
    return next(row for row in _ROWS if isinstance(error, row.error_class))


def _quote(text: str) -> str:
    text = text.strip()
    return text if len(text) <= _QUOTE_MAX else f"{text[: _QUOTE_MAX - 1]}…"


def _with_task(text: str, task_id: str) -> str:
    return f"{text}\nTask {task_id}"
