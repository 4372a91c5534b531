"""What an HTTP answer other than a good one means, as a typed error.

Which statuses may be tried again, what each of the API's asks the user to do, and how
long it may ask to wait are tables and rules of this module alone.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from types import MappingProxyType
from typing import cast
from urllib.parse import urlsplit

import attrs

from .errors import (
    SHOWN_MAX,
    APIStatusError,
    AuthenticationError,
    CambError,
    InvalidResponseError,
    NotFoundError,
    PaymentRequiredError,
    PermissionDeniedError,
    RateLimitError,
    ServerError,
    UnexpectedRedirectError,
    ValidationError,
    ValidationIssue,
    showable,
)


#: Seconds; a longer Retry-After is taken for this.
RETRY_AFTER_MAX = 86_400.0

_ISSUES_MAX = 100


@attrs.frozen
class Reply:
    """One answer of the server, or, with a ``flaw``, what could be read of it."""

    status: int
    headers: Mapping[str, str] = attrs.field(repr=False)
    body: bytes = attrs.field(repr=False)
    flaw: str | None = attrs.field(default=None, repr=False)


def invalid(reply: Reply, why: str) -> InvalidResponseError:
    """Return the error for an answer that is not what the API promises."""
    shown = excerpt(reply.body)
    return InvalidResponseError(
        f"The API answered {reply.status}, but {why}. Reading again may help. "
        f"The answer begins: {shown!r}",
        status_code=reply.status,
        body_excerpt=shown,
    )


def excerpt(body: bytes) -> str:
    """Return the beginning of a body as text that is safe to show.

    Links lose their queries, because a signed one opens what it leads to.
    """
    text = body[: 4 * SHOWN_MAX].decode("utf-8", "replace")
    return showable(_QUERY.sub(r"\1***", text))


_QUERY = re.compile(r"""(https?:[^\s"'<>?]*\?)[^\s"'<>]+""", re.IGNORECASE)

# What an HTTP status means: the error, and what to do about it.
_STATUS_ERRORS: Mapping[int, tuple[type[APIStatusError], str]] = MappingProxyType(
    {
        401: (
            AuthenticationError,
            (
                "The API key was refused: check CAMB_API_KEY, or make a new key in the "
                "studio's API section."
            ),
        ),
        402: (PaymentRequiredError, "Add credits to the account, then try again."),
        403: (
            PermissionDeniedError,
            "The key is valid but may not do this: use the account that owns the task.",
        ),
        404: (
            NotFoundError,
            (
                "No such task or run: check the id, the kind, and the base URL if one "
                "was given, and that the task belongs to this account."
            ),
        ),
        422: (ValidationError, "Correct what is named, then try again."),
        429: (RateLimitError, "Too many requests: lower Limits.max_rate, or wait."),
    }
)
_SERVER_ERROR = (ServerError, "The service is in trouble: try again later.")
_OTHER_ERROR = (APIStatusError, "The request was not accepted.")

_RETRYABLE = frozenset({408, 425, 429})
# 501 and 505 say that this request will never work.
_NOT_RETRYABLE = frozenset({501, 505})


def is_retryable(status: int, headers: Mapping[str, str]) -> bool:
    """Return whether a read that was answered so may be made again.

    The server's ``x-should-retry`` header, if there is one, has the last word.
    """
    said = header(headers, "x-should-retry")
    if said in ("true", "false"):
        return said == "true"
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return status not in _NOT_RETRYABLE
    return status in _RETRYABLE


def error_from(reply: Reply) -> CambError:
    """Return the error for an answer whose HTTP status is not 200."""
    status = reply.status
    if 300 <= status < 400:  # noqa: PLR2004 - the redirects
        return _redirect_error(reply)
    if status < 300:  # noqa: PLR2004 - 201, 204 ...: good, but not what is promised
        return invalid(reply, "only 200 was promised")
    standard = _SERVER_ERROR if status >= 500 else _OTHER_ERROR  # noqa: PLR2004
    error_class, advice = _STATUS_ERRORS.get(status, standard)
    detail = _detail(reply)
    error = error_class(
        f"The API answered {status}{_what_it_says(reply, detail)}. {advice}",
        status_code=status,
        body_excerpt=excerpt(reply.body),
        request_id=_request_id(reply),
        retry_after=retry_after(reply.headers),
        retryable=is_retryable(status, reply.headers),
    )
    if isinstance(error, ValidationError):
        error.issues = _issues(detail)
    return error


def _request_id(reply: Reply) -> str | None:
    said = header(reply.headers, "x-request-id")
    return None if said is None else showable(said)


def _redirect_error(reply: Reply) -> UnexpectedRedirectError:
    location = header(reply.headers, "location")
    target = None
    if location is not None:
        try:
            parts = urlsplit(location)
            host = parts.netloc.rpartition("@")[2]
            shown = parts._replace(netloc=host, query="", fragment="").geturl()
            target = showable(shown)
        except ValueError:
            target = "an unreadable address"
    return UnexpectedRedirectError(
        f"The API answered {reply.status}, a redirect to {target}. It was not "
        "followed, because the key goes nowhere else: check the base URL.",
        status_code=reply.status,
        location=target,
    )


def _detail(reply: Reply) -> object:
    """Return what an error body says: two envelopes are in use, or it is no JSON."""
    try:
        document = json.loads(reply.body)
    except (ValueError, RecursionError):
        return None
    if not isinstance(document, dict):
        return None
    envelope = cast("dict[str, object]", document)
    return envelope.get("detail", envelope.get("error"))


def _what_it_says(reply: Reply, detail: object) -> str:
    issues = _issues(detail)
    if issues:
        said = "; ".join(
            f"{'.'.join(map(str, issue.loc))}: {issue.msg}" for issue in issues[:5]
        )
    elif isinstance(detail, str):
        said = detail.rstrip(". ")
    elif reply.body.lstrip()[:1] == b"<":
        title = _TITLE.search(reply.body)
        said = "a web page" + (f", “{excerpt(title[1])}”" if title else "")
    else:
        said = excerpt(reply.body)[:80]
    return f": {showable(said)}" if said else ""


def _issues(detail: object) -> tuple[ValidationIssue, ...]:
    if not isinstance(detail, list):
        return ()
    items = cast("list[object]", detail)[:_ISSUES_MAX]
    return tuple(
        _issue(cast("dict[str, object]", item))
        for item in items
        if isinstance(item, dict)
    )


def _issue(item: Mapping[str, object]) -> ValidationIssue:
    loc = item.get("loc")
    parts = cast("list[object]", loc) if isinstance(loc, list) else []
    return ValidationIssue(
        loc=tuple(part if type(part) is int else str(part) for part in parts),
        msg=str(item.get("msg", "")),
        type=str(item.get("type", "")),
    )


def header(headers: Mapping[str, str], name: str) -> str | None:
    """Return a header's value, whatever case its name is in; None if absent."""
    for key, value in headers.items():
        if key.lower() == name:
            return value
    return None


_TITLE = re.compile(rb"<title>\s*([^<]{1,80})", re.IGNORECASE)
_SECONDS = re.compile(r"[0-9]{1,15}(?:\.[0-9]{1,15})?", re.ASCII)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds that the server asks to wait; None if it does not say.

    ``retry-after-ms`` wins over ``Retry-After``, which is a number of seconds or
    an HTTP date, measured against the answer's own Date so that no clock of ours
    matters. Anything else is ignored. At most a day is returned.
    """
    in_ms = (header(headers, "retry-after-ms") or "").strip(" \t")
    if _SECONDS.fullmatch(in_ms):
        return min(float(in_ms) / 1000.0, RETRY_AFTER_MAX)
    value = (header(headers, "retry-after") or "").strip(" \t")
    if _SECONDS.fullmatch(value):
        return min(float(value), RETRY_AFTER_MAX)
    then, now = _http_date(value), _http_date(header(headers, "date"))
    if then is None or now is None:
        return None
    return min(max(0.0, then - now), RETRY_AFTER_MAX)


def _http_date(value: str | None) -> float | None:
    if not value or len(value) > 64 or not value.isascii():  # noqa: PLR2004
        return None
    try:
        date = parsedate_to_datetime(value)
        # HTTP dates are in GMT, whether they say so or not.
        return (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
