"""What to tell a visitor whose order was not taken: a table of words, and no I/O.

Each says whether something may have been ordered all the same.
"""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from camb_async import (
    APIConnectionError,
    AuthenticationError,
    CambError,
    PaymentRequiredError,
    PermissionDeniedError,
    RateLimitError,
    ServerError,
    SubmissionUnknownError,
    ValidationError,
)


@attrs.frozen(kw_only=True)
class Problem:
    """Why no voice was ordered, in words for a person, and as an HTTP status.

    ``fields`` names what is wrong with single fields of the form.
    """

    status: int
    title: str
    advice: str
    fields: Mapping[str, str] = attrs.field(factory=dict[str, str])
    retry_after: float | None = None


def problem_of(error: CambError) -> Problem:
    """Return the words for a create call that failed."""
    fitting = (words for kind, words in _PROBLEMS.items() if isinstance(error, kind))
    problem = next(fitting, _OTHER_PROBLEM)
    if isinstance(error, ValidationError):
        return attrs.evolve(problem, fields=_fields(error))
    if isinstance(error, RateLimitError):
        return attrs.evolve(problem, retry_after=error.retry_after)
    return problem


LEFT_UNKNOWN = Problem(
    status=502,
    title="It is not known whether this was ordered",
    advice=(
        "It was sent, and no answer came. Look in the Camb.ai studio before you send "
        "it again: a second voice would be billed."
    ),
)
LEFT_UNWRITTEN = Problem(
    status=500,
    title="It was ordered, and could not be written down",
    advice=(
        "Look for it in the Camb.ai studio, and do not send it again: a second voice "
        "would be billed."
    ),
)
# The first class that fits counts.
_PROBLEMS: Mapping[type[CambError], Problem] = {
    SubmissionUnknownError: LEFT_UNKNOWN,
    ServerError: Problem(
        status=502,
        title="Camb.ai is in trouble",
        advice=(
            "It answered with an error. The voice may have been ordered all the same: "
            "look in the Camb.ai studio before you send it again."
        ),
    ),
    APIConnectionError: Problem(
        status=503,
        title="Camb.ai could not be reached",
        advice="Nothing was sent and nothing is billed. Try again in a moment.",
    ),
    PaymentRequiredError: Problem(
        status=402,
        title="The account is out of credits",
        advice="Add credits to the Camb.ai account, then send it again.",
    ),
    ValidationError: Problem(
        status=422,
        title="Camb.ai did not accept this",
        advice="Correct what is marked, then send it again. Nothing was ordered.",
    ),
    RateLimitError: Problem(
        status=429,
        title="Too many orders at once",
        advice="Nothing was ordered. Wait a moment, then send it again.",
    ),
    AuthenticationError: Problem(
        status=502,
        title="The API key was refused",
        advice="Nothing was ordered. Whoever runs this page must check CAMB_API_KEY.",
    ),
    PermissionDeniedError: Problem(
        status=502,
        title="The account may not order voices",
        advice="Nothing was ordered. Whoever runs this page must check the account.",
    ),
}
_OTHER_PROBLEM = Problem(
    status=502,
    title="Camb.ai did not accept this",
    advice="Nothing was ordered. If it happens again, contact support.",
)


def _fields(error: ValidationError) -> dict[str, str]:
    names = {"text": "text", "voice_description": "description"}
    return {
        names[last]: issue.msg[:200]
        for issue in error.issues
        if issue.loc and isinstance(last := issue.loc[-1], str) and last in names
    }
