"""What answers other than a good one mean: errors, retries, waits, redirects."""

from __future__ import annotations

import json
import math
import pickle
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from multidict import CIMultiDict

from camb_async._refusals import (
    RETRY_AFTER_MAX,
    Reply,
    error_from,
    excerpt,
    header,
    invalid,
    is_retryable,
    retry_after,
)
from camb_async.errors import (
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
)


DATE = "Wed, 21 Oct 2015 07:28:00 GMT"
LONE_SURROGATE = b'"\\ud800"'

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["detail", "error", "loc", "msg", "type"]) | st.text(),
            inner,
            max_size=4,
        )
    ),
    max_leaves=8,
)
bodies = st.binary(max_size=300) | json_values.map(lambda v: json.dumps(v).encode())
# Header values as an HTTP client hands them over: bytes that are no UTF-8 escaped.
header_texts = st.text() | st.binary(max_size=80).map(
    lambda data: data.decode("utf-8", "surrogateescape")
)
header_names = st.sampled_from(
    [
        "Location",
        "Retry-After",
        "retry-after-ms",
        "Date",
        "x-request-id",
        "X-Should-Retry",
    ]
)
replies = st.builds(
    Reply,
    st.integers(100, 599).filter(lambda status: status != 200),
    st.dictionaries(header_names, header_texts, max_size=4),
    bodies,
)


def answer(status: int, body: Any = b"", **headers: str) -> Reply:
    """Return an answer; a body that is not bytes is sent as JSON."""
    if not isinstance(body, bytes):
        body = json.dumps(body).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Reply(status, CIMultiDict(named), body)


def status_error(reply: Reply) -> APIStatusError:
    """Return the error for an answer, which must be one of an HTTP status."""
    error = error_from(reply)
    assert isinstance(error, APIStatusError)

    return error


# Which error.


@pytest.mark.parametrize(
    ("status", "error_class", "advice"),
    [
        (400, APIStatusError, "was not accepted"),
        (401, AuthenticationError, "check CAMB_API_KEY"),
        (402, PaymentRequiredError, "Add credits"),
        (403, PermissionDeniedError, "the account that owns the task"),
        (404, NotFoundError, "check the id, the kind"),
        (408, APIStatusError, "was not accepted"),
        (409, APIStatusError, "was not accepted"),
        (413, APIStatusError, "was not accepted"),
        (418, APIStatusError, "was not accepted"),
        (422, ValidationError, "Correct what is named"),
        (425, APIStatusError, "was not accepted"),
        (429, RateLimitError, "lower Limits.max_rate"),
        (499, APIStatusError, "was not accepted"),
        (500, ServerError, "try again later"),
        (502, ServerError, "try again later"),
        (503, ServerError, "try again later"),
        (520, ServerError, "try again later"),
        (599, ServerError, "try again later"),
    ],
)
def test_each_status_has_its_error_and_advice(
    status: int, error_class: type[APIStatusError], advice: str
) -> None:
    """The class tells what happened, and the message what to do next."""
    error = status_error(answer(status, b"oops"))

    assert error_class is type(error)
    assert f"The API answered {status}: oops. " in str(error)
    assert advice in str(error)
    assert (status, "oops") == (error.status_code, error.body_excerpt)


@pytest.mark.parametrize("status", [100, 101, 103, 201, 202, 204, 206, 299])
def test_a_good_status_other_than_200_is_not_what_was_promised(status: int) -> None:
    """An answer nobody documented is not taken for a state."""
    error = error_from(answer(status, b"{}"))

    assert isinstance(error, InvalidResponseError)
    assert (status, "{}", True) == (
        error.status_code,
        error.body_excerpt,
        error.retryable,
    )


def test_what_else_the_answer_says_is_kept() -> None:
    """Request id, wait and whether to try again are on the error."""
    error = status_error(
        answer(503, b"", X_Request_ID="r-77", Retry_After="7", x_should_retry="false")
    )

    assert ("r-77", 7.0, False) == (
        error.request_id,
        error.retry_after,
        error.retryable,
    )
    assert "The API answered 503. The service" in str(error)


def test_a_request_id_is_short_and_printable() -> None:
    """It goes into logs, and a server may send anything."""
    error = status_error(answer(500, b"", X_Request_ID="\x1b[2J" + "r" * 8000))

    assert " [2J" + "r" * 196 == error.request_id


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"error": "Invalid API key", "status": 401}, "Invalid API key"),
        ({"detail": "Not authenticated"}, "Not authenticated"),
        ({"detail": "this", "error": "that"}, "this"),
        ({"message": "other"}, '{"message": "other"}'),
        ({"detail": {"code": 5}}, '{"detail": {"code": 5}}'),
        ({"detail": []}, '{"detail": []}'),
        (["a"], '["a"]'),
        (b"<html>\r\nbusy</html>", "a web page"),
        (b"<html><TITLE> 502\x07Bad</TITLE>", "a web page, “502 Bad”"),
        (b"[" * 100_000, "[" * 80),
        (b"9" * 5000, "9" * 80),
        (b"\xff\xfe", "\N{REPLACEMENT CHARACTER}" * 2),
    ],
    ids=[
        "error",
        "detail",
        "both",
        "neither",
        "object",
        "empty list",
        "list",
        "html",
        "titled html",
        "deep",
        "huge int",
        "no utf-8",
    ],
)
def test_both_envelopes_are_read_and_anything_else_is_quoted(
    body: Any, said: str
) -> None:
    """The service says why in one of two ways, or something else answers."""
    error = status_error(answer(401, body))

    assert f"The API answered 401: {said}. The API key was refused" in str(error)


@pytest.mark.parametrize(
    "body",
    [
        b'{"detail": ' + LONE_SURROGATE + b"}",
        b'{"error": ' + LONE_SURROGATE + b"}",
        b'{"detail": [{"loc": [' + LONE_SURROGATE + b'], "msg": "m", "type": "t"}]}',
        b'{"detail": [{"loc": ["b"], "msg": ' + LONE_SURROGATE + b', "type": "t"}]}',
    ],
    ids=["detail", "error", "loc", "msg"],
)
def test_half_a_character_in_an_error_body_is_still_an_error_of_ours(
    body: bytes,
) -> None:
    """JSON can spell what UTF-8 cannot; the message can be encoded nevertheless."""
    error = status_error(answer(422, body))

    assert str(error).encode()


# 422.


Issues = tuple[ValidationIssue, ...]

DETAILS: list[tuple[Any, Issues]] = [
    (
        [{"loc": ["body", 0, "text"], "msg": "short", "type": "value_error"}],
        (ValidationIssue(("body", 0, "text"), "short", "value_error"),),
    ),
    (
        [{"loc": ["path", "run_id"], "msg": "a", "type": "b", "ctx": {}}],
        (ValidationIssue(("path", "run_id"), "a", "b"),),
    ),
    ([{}], (ValidationIssue((), "", ""),)),
    (
        [{"loc": "body", "msg": 5, "type": None}],
        (ValidationIssue((), "5", "None"),),
    ),
    (
        [{"loc": [1.5, None, ["x"]]}],
        (ValidationIssue(("1.5", "None", "['x']"), "", ""),),
    ),
    (["text", 5, None, {"msg": "x"}], (ValidationIssue((), "x", ""),)),
    ("text", ()),
    ({"loc": ["body"]}, ()),
    (None, ()),
]


@pytest.mark.parametrize(
    ("detail", "issues"),
    DETAILS,
    ids=[
        "int in loc",
        "str in loc",
        "empty",
        "odd types",
        "odd locs",
        "odd items",
        "text",
        "object",
        "null",
    ],
)
def test_a_422_says_where_and_why(detail: Any, issues: Issues) -> None:
    """The issues are kept as values, however odd the envelope is."""
    error = error_from(answer(422, {"detail": detail}))

    assert isinstance(error, ValidationError)
    assert issues == error.issues


@pytest.mark.parametrize("value", [True, False])
def test_a_truth_value_in_a_loc_is_no_index(value: bool) -> None:  # noqa: FBT001
    """A place is a name or a number."""
    error = error_from(answer(422, {"detail": [{"loc": [value]}]}))

    assert isinstance(error, ValidationError)
    assert (str(value),) == error.issues[0].loc


def test_a_422_message_names_the_first_issues() -> None:
    """Five places are enough to go on with; all are on the error, up to 100."""
    detail = [{"loc": ["body", n], "msg": f"bad{n}", "type": "t"} for n in range(500)]
    error = error_from(answer(422, {"detail": detail}))

    assert isinstance(error, ValidationError)
    assert "422: body.0: bad0; body.1: bad1; " in str(error)
    assert "bad4" in str(error)
    assert "bad5" not in str(error)
    assert len(error.issues) == 100


# What may be shown.


@given(st.binary(max_size=2000))
@example("\N{SNOWMAN}".encode() * 300)
@example(b"\x1b[31mred\x00\r\n\t\x7f\xc2\x85")
def test_an_excerpt_is_short_and_printable(body: bytes) -> None:
    """At most 200 characters, none of which does anything to a terminal."""
    shown = excerpt(body)

    assert len(shown) <= 200
    assert shown.isprintable()


def test_an_excerpt_is_the_beginning() -> None:
    """What is printable stays as it is, and what is not becomes a space."""
    assert "a b c" == excerpt(b"a\nb\x00c")
    assert "x" * 200 == excerpt(b"x" * 5000)
    assert "\N{SNOWMAN}" * 200 == excerpt("\N{SNOWMAN}".encode() * 300)


@pytest.mark.parametrize("length", [10, 5_000])
def test_an_excerpt_shows_no_query_of_a_link(length: int) -> None:
    """A signed link opens what it leads to, and logs are read by many."""
    signature = "%2Bsecret+" * (length // 10)
    body = f'["https://h/1.wav?Signature={signature}", "http:\\/\\/h\\/2?a=secret"]'

    assert "secret" not in excerpt(body.encode())
    assert excerpt(body.encode()).startswith('["https://h/1.wav?***')


def test_an_invalid_answer_shows_its_beginning() -> None:
    """Status, reason and excerpt are in the message, the excerpt on the error."""
    error = invalid(answer(200, b"<html>\n" * 100), "it is a web page")

    assert str(error).startswith("The API answered 200, but it is a web page.")
    assert repr(error.body_excerpt) in str(error)
    assert error.body_excerpt.startswith("<html> <html>")
    assert len(error.body_excerpt) == 200


def test_a_reply_does_not_show_its_contents() -> None:
    """Headers and body stay out of a repr, which may end in a log."""
    assert "Reply(status=200)" == repr(answer(200, b"secret", Set_Cookie="secret"))


@given(replies)
def test_any_answer_is_an_error_of_ours(reply: Reply) -> None:
    """Whatever a server sends: one of our errors, which shows no control codes."""
    error = error_from(reply)

    assert isinstance(error, CambError)
    assert str(error).isprintable()
    assert len(str(error)) < 3000
    assert pickle.loads(pickle.dumps(error)).args == error.args  # noqa: S301 - ours


@pytest.mark.parametrize("depth", [50, 500, 900, 990, 1500])
@pytest.mark.parametrize("place", ["loc", "msg", "type"])
def test_a_deep_error_body_is_an_error_of_ours(depth: int, place: str) -> None:
    """What can just be parsed cannot break what is done with it."""
    deep = b"[" * depth + b"]" * depth
    body = b'{"detail":[{"%s":[%s]}]}' % (place.encode(), deep)

    assert isinstance(error_from(answer(422, body)), ValidationError)


# Which may be tried again.


@pytest.mark.parametrize("status", range(400, 600))
def test_the_table_of_what_may_be_tried_again(status: int) -> None:
    """408, 425, 429 and 5xx, without 501 and 505."""
    expected = status in {408, 425, 429} or (
        500 <= status <= 599 and status not in {501, 505}
    )

    assert expected is is_retryable(status, {})
    assert expected is status_error(answer(status)).retryable


@pytest.mark.parametrize("status", [400, 404, 429, 500, 501])
def test_the_server_has_the_last_word_on_trying_again(status: int) -> None:
    """``x-should-retry`` overrides the table, either way and in any letter case."""
    assert is_retryable(status, {"X-Should-Retry": "true"})
    assert not is_retryable(status, {"x-should-retry": "false"})


@pytest.mark.parametrize("said", ["", "1", "yes", "perhaps", "truefalse"])
def test_an_unclear_word_on_trying_again_is_ignored(said: str) -> None:
    """Only the two words count."""
    assert is_retryable(500, {"x-should-retry": said})
    assert not is_retryable(400, {"x-should-retry": said})


# How long to wait.


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("5", 5.0),
        ("1.5", 1.5),
        ("0", 0.0),
        ("0.0", 0.0),
        ("007", 7.0),
        (" 5\t", 5.0),
        ("86400", 86_400.0),
        ("86401", 86_400.0),
        ("999999999999999", 86_400.0),
        ("-1", None),
        ("+5", None),
        ("nan", None),
        ("inf", None),
        ("Infinity", None),
        ("1e400", None),
        ("1e3", None),
        ("0x10", None),
        ("5.", None),
        (".5", None),
        ("4" * 4400, None),
        ("0." + "3" * 4400, None),
        ("\N{ARABIC-INDIC DIGIT THREE}", None),
        ("\N{FULLWIDTH DIGIT FIVE}", None),
        ("1_000", None),
        ("5, 10", None),
        ("5;", None),
        ("5\n", None),
        ("5\N{NO-BREAK SPACE}", None),
        ("", None),
        ("soon", None),
        ("Wed, 21 Oct 2015 07:28:30 GMT", 30.0),
        ("Wednesday, 21-Oct-15 07:28:30 GMT", 30.0),
        ("Wed Oct 21 07:28:30 2015", 30.0),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0.0),
        ("Wed, 21 Oct 2015 07:27:00 GMT", 0.0),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0.0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 86_400.0),
        ("Wed, 21 Oct 99999 07:28:30 GMT", None),
        ("Wed, 99 Oct 2015 07:28:30 GMT", None),
        ("Wed, 21 Oct 2015 07:28:30 +9999", None),
        ("Wed, 21 Oct", None),
        ("1 1 1 1 1 1", None),
        ("\N{ARABIC-INDIC DIGIT TWO}1 Oct 2015 07:28:30 GMT", None),
        ("Wed, 21 Oct 2015 07:28:30 GMT" + " " * 5000 + "x", None),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_retry_after_is_a_number_or_a_date(value: str, seconds: float | None) -> None:
    """Plain seconds, or a date against the answer's own; the rest is ignored."""
    headers = {"retry-after": value, "date": DATE}

    assert seconds == retry_after(headers)
    assert seconds == status_error(Reply(429, headers, b"")).retry_after


@pytest.mark.parametrize(
    ("in_ms", "seconds"),
    [("1500", 1.5), ("0.5", 0.0005), ("0", 0.0), ("99999999999", 86_400.0)],
)
def test_retry_after_ms_wins(in_ms: str, seconds: float) -> None:
    """The finer header is believed if it can be read."""
    headers = {"Retry-After-Ms": in_ms, "Retry-After": "7"}

    assert seconds == retry_after(headers)


@pytest.mark.parametrize("in_ms", ["", "soon", "-1", "nan", "1e400", "1_000"])
def test_an_unreadable_retry_after_ms_leaves_the_other(in_ms: str) -> None:
    """The coarser header still counts."""
    assert retry_after({"retry-after-ms": in_ms, "retry-after": "7"}) == 7.0


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"retry-after": DATE},
        {"retry-after": DATE, "date": ""},
        {"retry-after": DATE, "date": "yesterday"},
        {"date": DATE},
    ],
    ids=["nothing", "no date", "empty date", "odd date", "date only"],
)
def test_a_date_needs_the_answers_own_date(headers: dict[str, str]) -> None:
    """No clock of ours says how long it is until a server's time."""
    assert retry_after(headers) is None


@pytest.fixture(params=["America/New_York", "Asia/Tokyo", "UTC"])
def zone(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[str]:
    """Let this process be in another time zone."""
    monkeypatch.setenv("TZ", request.param)
    time.tzset()
    yield request.param
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("zone")
@pytest.mark.parametrize(
    ("then", "now"),
    [
        ("Wed, 21 Oct 2015 07:28:30 GMT", DATE),
        ("Wednesday, 21-Oct-15 07:28:30 GMT", DATE),
        ("Wed Oct 21 07:28:30 2015", DATE),
        ("Wed, 21 Oct 2015 07:28:30 GMT", "Wed Oct 21 07:28:00 2015"),
        ("Wed, 21 Oct 2015 07:28:30 -0000", DATE),
    ],
    ids=["date", "rfc 850", "asctime", "asctime now", "no zone"],
)
def test_where_this_machine_stands_does_not_matter(then: str, now: str) -> None:
    """All three forms of an HTTP date are in UTC, also the one that does not say."""
    assert retry_after({"retry-after": then, "date": now}) == 30.0


@given(
    st.datetimes(datetime(1980, 1, 1), datetime(9000, 1, 1)),  # noqa: DTZ001
    st.integers(0, 86_400),
)
def test_a_date_is_measured_against_the_date(now: datetime, seconds: int) -> None:
    """The difference of the two dates is what the server asks for."""
    now = now.replace(tzinfo=UTC, microsecond=0)
    then = now + timedelta(seconds=seconds)
    headers = {
        "Retry-After": format_datetime(then, usegmt=True),
        "Date": format_datetime(now, usegmt=True),
    }

    assert float(seconds) == retry_after(headers)


@given(st.dictionaries(header_names, header_texts))
def test_no_headers_break_the_wait(headers: dict[str, str]) -> None:
    """Whatever they say: nothing, or a number of seconds within a day."""
    seconds = retry_after(headers)

    assert seconds is None or 0.0 <= seconds <= RETRY_AFTER_MAX
    assert seconds is None or not math.isnan(seconds)


@pytest.mark.parametrize("name", ["x-request-id", "X-Request-Id", "X-REQUEST-ID"])
def test_a_header_is_found_in_any_letter_case(name: str) -> None:
    """Names are compared as HTTP does, also in a plain dict."""
    assert "r-1" == header({"Date": DATE, name: "r-1"}, "x-request-id")
    assert header({"Date": DATE}, "x-request-id") is None


# Redirects.


@pytest.mark.parametrize("status", [300, 301, 302, 303, 304, 307, 308, 399])
def test_every_redirect_is_unexpected(status: int) -> None:
    """No redirect is followed, and none is tried again."""
    error = error_from(answer(status, b"", Location="https://h.example/login"))

    assert isinstance(error, UnexpectedRedirectError)
    assert (status, "https://h.example/login", False) == (
        error.status_code,
        error.location,
        error.retryable,
    )
    assert "a redirect to https://h.example/login." in str(error)
    assert "check the base URL" in str(error)


@pytest.mark.parametrize(
    ("location", "shown"),
    [
        ("https://h.example:8443/a/b?key=SECRET#SECRET", "https://h.example:8443/a/b"),
        ("https://SECRET:SECRET@h.example/a", "https://h.example/a"),
        ("https://SECRET@SECRET@h.example/a", "https://h.example/a"),
        ("http://h.example", "http://h.example"),
        ("//h.example/a?SECRET", "//h.example/a"),
        ("/a/b?SECRET", "/a/b"),
        ("a/b#SECRET", "a/b"),
        ("?SECRET", ""),
        ("", ""),
        ("http://[::1/a?SECRET", "an unreadable address"),
    ],
)
def test_a_redirect_shows_where_to_and_never_the_query(
    location: str, shown: str
) -> None:
    """Scheme, host and path help; user, query and fragment may be secret."""
    error = error_from(answer(302, b"", Location=location))

    assert isinstance(error, UnexpectedRedirectError)
    assert shown == error.location
    assert "SECRET" not in str(error)


def test_a_redirect_to_nowhere_is_one_too() -> None:
    """Without a Location there is nothing to show."""
    error = error_from(answer(302))

    assert isinstance(error, UnexpectedRedirectError)
    assert error.location is None


@pytest.mark.parametrize(
    "location",
    ["/\x1b[31mred", "https://h.example/\x07\x9b", "/\udcff", "/" + "a" * 5000],
    ids=["escape", "bell", "half a character", "long"],
)
def test_where_a_redirect_leads_is_safe_to_show(location: str) -> None:
    """A server cannot write to a terminal through its Location, or fill a log."""
    error = error_from(answer(302, b"", Location=location))

    assert str(error).isprintable()
    assert len(str(error)) < 600
