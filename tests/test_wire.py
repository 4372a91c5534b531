"""What good answers say: states, task ids and previews, read strictly."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from camb_async._refusals import Reply
from camb_async._wire import (
    BODY_MAX,
    StatusReader,
    read_json,
    read_previews,
    read_task_id,
)
from camb_async.errors import (
    AuthenticationError,
    CambError,
    InvalidResponseError,
    ServerError,
    UnexpectedRedirectError,
)
from camb_async.models import TaskState, TaskStatus, TextToVoiceResult


def answer(body: Any, status: int = 200) -> Reply:
    """Return an answer; a body that is not bytes is sent as JSON."""
    if not isinstance(body, bytes):
        body = json.dumps(body).encode()
    return Reply(status, {}, body)


def read(body: Any) -> TaskState:
    """Return the state that a status body stands for."""
    return StatusReader().read(answer(body))


def refusal(read: Callable[[Reply], object], body: Any) -> InvalidResponseError:
    """Return the error for a body that is not what the API promises."""
    with pytest.raises(InvalidResponseError) as caught:
        read(answer(body))
    return caught.value


def previews_of_7(reply: Reply) -> TextToVoiceResult:
    """Read the previews of run 7."""
    return read_previews(reply, 7)


READERS: dict[str, Callable[[Reply], object]] = {
    "status": lambda reply: StatusReader().read(reply),
    "task id": read_task_id,
    "previews": previews_of_7,
}
each_reader = pytest.mark.parametrize("reader", READERS.values(), ids=READERS)

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3)
    ),
    max_leaves=8,
)
status_bodies = st.fixed_dictionaries(
    {},
    optional={
        "status": st.sampled_from(["PENDING", "SUCCESS", "odd"]) | json_values,
        "run_id": json_values,
        "exception_reason": st.sampled_from(["NONE", "X"]) | json_values,
        "message": json_values,
        "task_id": json_values,
        "previews": json_values,
        "detail": json_values,
        "new": json_values,
    },
)
bodies = st.binary() | (json_values | status_bodies).map(
    lambda value: json.dumps(value).encode()
)


# Status bodies, by the collected facts.


@pytest.mark.parametrize("text", ["SUCCESS", "PENDING", "TIMEOUT", "ERROR"])
@pytest.mark.parametrize("run_id", [None, 8827])
def test_the_documented_body(text: str, run_id: int | None) -> None:
    """A status and a run id that may be null are all there has to be."""
    state = read({"status": text, "run_id": run_id})

    assert TaskState(TaskStatus[text], text, run_id) == state


def test_no_field_but_the_status_is_needed() -> None:
    """The seed marks nothing as required; without a status there is no state."""
    assert TaskState(TaskStatus.PENDING) == read({"status": "PENDING"})


@pytest.mark.parametrize(
    "body",
    [{}, {"run_id": 5}, {"Status": "SUCCESS"}, {"status": None}, {"detail": "x"}],
    ids=repr,
)
def test_a_body_without_a_status_is_no_state(body: Any) -> None:
    """A state is never guessed from what else is there."""
    error = refusal(READERS["status"], body)

    assert "$.status" in str(error)
    assert (200, json.dumps(body), True) == (
        error.status_code,
        error.body_excerpt,
        error.retryable,
    )


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("success", TaskStatus.SUCCESS),
        ("Payment_Required", TaskStatus.PAYMENT_REQUIRED),
        ("QUEUED", TaskStatus.UNKNOWN),
        ("FAILED", TaskStatus.UNKNOWN),
        ("completed", TaskStatus.UNKNOWN),
        ("", TaskStatus.UNKNOWN),
        ("x" * 200, TaskStatus.UNKNOWN),
    ],
)
def test_the_status_text_is_kept_as_it_was_sent(text: str, status: TaskStatus) -> None:
    """A new or odd status is not an error, and its spelling is not lost."""
    state = read({"status": text})

    assert (status, text) == (state.status, state.raw_status)


@pytest.mark.parametrize(
    "status", [5, 1.5, True, ["SUCCESS"], {"is": "SUCCESS"}, "x" * 201], ids=repr
)
def test_a_status_is_a_short_text(status: Any) -> None:
    """What is no text, or a page of it, is no status."""
    assert "status" in str(refusal(READERS["status"], {"status": status}))


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({}, None),
        ({"exception_reason": None}, None),
        ({"exception_reason": "NONE"}, None),
        ({"exception_reason": "PROCESSING_ERROR"}, "PROCESSING_ERROR"),
        ({"exception_reason": "PAYMENT_REQUIRED"}, "PAYMENT_REQUIRED"),
        ({"exception_reason": "SOMETHING_NEW"}, "SOMETHING_NEW"),
        ({"exception_reason": 5}, "5"),
    ],
    ids=repr,
)
def test_a_reason_of_none_is_no_reason(body: Any, reason: str | None) -> None:
    """The service spells the lack of a reason as a word; others pass as text."""
    assert reason == read({"status": "ERROR", **body}).exception_reason


@pytest.mark.parametrize(
    ("message", "kept"),
    [
        (None, None),
        ("", ""),
        ("Too short", "Too short"),
        ({"output_url": "https://h/x"}, {"output_url": "https://h/x"}),
        ({}, {}),
        (["a", {"b": 1}], '["a", {"b": 1}]'),
        (5, "5"),
        (False, "false"),
    ],
    ids=repr,
)
def test_a_message_is_text_or_a_mapping(message: Any, kept: object) -> None:
    """Both are kept raw, and what is neither is kept as its JSON."""
    assert kept == read({"status": "ERROR", "message": message}).message


@pytest.mark.parametrize("text", ["SUCCESS", "pending", "QUEUED"])
def test_a_bare_string_is_a_status(text: str) -> None:
    """Older documentation of some kinds has just the status as the body."""
    assert TaskState(TaskStatus(text), text) == read(text)


@pytest.mark.parametrize("body", [[], [{"status": "SUCCESS"}], None, 5, True, 1.5])
@each_reader
def test_a_document_that_is_no_object_is_refused(
    reader: Callable[[Reply], object], body: Any
) -> None:
    """The error names what came instead."""
    error = refusal(reader, body)

    assert f"a JSON {type(body).__name__}, where an object was promised" in str(error)


@pytest.mark.parametrize(
    ("run_id", "read_as"),
    [(0, 0), (None, None), (8827, 8827), ("8827", 8827), ("0", 0), (2**63 - 1,) * 2],
    ids=repr,
)
def test_a_run_id_is_a_whole_number(run_id: Any, read_as: int | None) -> None:
    """Zero is an id, null is none, and digits in quotes are a number."""
    assert read_as == read({"status": "SUCCESS", "run_id": run_id}).run_id


@pytest.mark.parametrize(
    "run_id",
    [
        True,
        1.0,
        "",
        "abc",
        "+5",
        "-5",
        " 5",
        "5\n",
        "1_000",
        "1.0",
        "\N{ARABIC-INDIC DIGIT THREE}",
        "9" * 19,
        "9" * 4000,
        2**63,
        -(2**63),
        [5],
        {},
    ],
    ids=lambda value: repr(value)[:20],
)
def test_what_is_no_whole_number_is_no_run_id(run_id: Any) -> None:
    """A run id is not rounded, trimmed or cut to fit."""
    error = refusal(READERS["status"], {"status": "SUCCESS", "run_id": run_id})

    assert "$.run_id" in str(error)


def test_success_without_a_run_id_is_passed_on() -> None:
    """The schema allows it; asking for the result is what fails."""
    state = read({"status": "SUCCESS", "run_id": None})

    assert state.is_final
    assert state.run_id is None


def test_unknown_fields_pass() -> None:
    """A field that the service adds tomorrow breaks nothing today."""
    state = read({"status": "PENDING", "progress": {"of": [1, 2]}, "eta": 5})

    assert TaskState(TaskStatus.PENDING) == state


# Strict JSON.


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"", "its body is empty"),
        (b" ", "its body is not JSON"),
        (b"<!DOCTYPE html><html>Log in</html>", "it is a web page"),
        (b" \n\t<html>", "it is a web page"),
        (b"SUCCESS", "its body is not JSON"),
        (b'{"status": "SUCCESS"', "its body is not JSON"),
        (b'{"status": "SUCCESS"} {}', "its body is not JSON"),
        (b"{'status': 'SUCCESS'}", "its body is not JSON"),
        (b'{"status": "SUCCESS",}', "its body is not JSON"),
        (b'{"status": "\xff"}', "its body is not JSON"),
        (b'{"status": "a\nb"}', "its body is not JSON"),
        (b'{"status": "SUCCESS", "run_id": NaN}', "NaN is not JSON"),
        (b'{"status": "SUCCESS", "x": Infinity}', "Infinity is not JSON"),
        (b'{"status": "SUCCESS", "x": [-Infinity]}', "-Infinity is not JSON"),
        (b'{"status": "PENDING", "status": "SUCCESS"}', "a key stands twice"),
        (b'{"status": "ERROR", "x": {"a": 1, "a": 1}}', "a key stands twice"),
        (b'{"status": "ERROR", "run_id": ' + b"9" * 5000 + b"}", "is not JSON"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"status":' * 100_000, "nested too deeply"),
    ],
    ids=lambda value: repr(value)[:40],
)
@each_reader
def test_only_strict_json_is_read(
    reader: Callable[[Reply], object], body: bytes, why: str
) -> None:
    """Each is one kind of error, says what is wrong, and shows how it begins."""
    error = refusal(reader, body)

    assert why in str(error)
    assert len(str(error)) < 700
    assert len(error.body_excerpt) <= 200
    assert error.body_excerpt.isprintable()
    assert error.__cause__ is None


@pytest.mark.parametrize("value", ["1e400", "-1e999"])
def test_a_number_beyond_every_float_is_not_read_as_infinity(value: str) -> None:
    """What comes out must be JSON again, and infinity is not."""
    body = b'{"status": "ERROR", "message": {"a": %s}}' % value.encode()
    try:
        message = read(body).message
    except InvalidResponseError:
        return

    assert json.dumps(message, allow_nan=False)


@pytest.mark.parametrize("depth", [10, 300, 900, 980, 990, 1000, 1500])
@pytest.mark.parametrize("field", ["message", "exception_reason", "run_id", "new"])
@pytest.mark.parametrize("ends", [(b"[", b"]"), (b'{"a":', b"}")], ids=["list", "map"])
def test_what_can_just_be_parsed_is_read_or_refused(
    ends: tuple[bytes, bytes], field: str, depth: int
) -> None:
    """At the limit of nesting, too, only errors of ours come out."""
    deep = ends[0] * depth + b"1" + ends[1] * depth
    body = b'{"status": "ERROR", "%s": %s}' % (field.encode(), deep)
    try:
        state = read(body)
    except InvalidResponseError:
        return

    assert TaskStatus.ERROR is state.status


@pytest.mark.parametrize(
    "body", [{"status": 5}, {"status": "S", "run_id": "x"}, [], {}], ids=repr
)
def test_a_misshapen_document_leaves_no_chain_of_causes(body: Any) -> None:
    """The user reads one error, and not how it was found."""
    error = refusal(READERS["status"], body)

    assert error.__cause__ is None
    assert error.__context__ is None
    assert len(str(error)) < 700


def test_an_unreadable_document_is_not_kept_by_its_error() -> None:
    """The parser's error holds all of it, which may be a mebibyte."""
    with pytest.raises(InvalidResponseError) as caught:
        read_json(Reply(200, {}, b"<" * 100_000))

    assert caught.value.__context__ is None


def test_the_cap_is_a_mebibyte() -> None:
    """Answers have a few hundred bytes; what is far larger is not read."""
    assert 2**20 == BODY_MAX


# Any answer at all.


@given(st.sampled_from(sorted(READERS)), bodies, st.integers(100, 599))
@example("status", b'{"status": "\\ud800"}', 200)
@example("status", b'{"status": 1e400, "run_id": 1e400}', 200)
@example("task id", b'{"task_id": "\\ud800"}', 200)
def test_any_answer_is_read_or_an_error_of_ours(
    name: str, body: bytes, status: int
) -> None:
    """Nothing a server sends raises anything but our errors."""
    try:
        value = READERS[name](Reply(status, {}, body))
    except CambError as error:
        value = error

    assert isinstance(value, CambError | TaskState | TextToVoiceResult | str)
    assert status == 200 or isinstance(value, CambError)


@given(bodies)
def test_any_good_answer_is_read_as_a_state_or_refused(body: bytes) -> None:
    """A state that comes out is sound in each of its fields."""
    try:
        state = read(body)
    except InvalidResponseError:
        return

    assert TaskStatus(state.raw_status) is state.status
    assert isinstance(state.run_id, int | None)
    assert not isinstance(state.run_id, bool)
    assert isinstance(state.exception_reason, str | None)
    assert "NONE" != state.exception_reason
    assert isinstance(state.message, str | dict | None)


@pytest.mark.parametrize(
    ("status", "error_class"),
    [
        (204, InvalidResponseError),
        (302, UnexpectedRedirectError),
        (401, AuthenticationError),
        (500, ServerError),
    ],
)
@each_reader
def test_another_http_status_is_an_error_whatever_the_body(
    reader: Callable[[Reply], object],
    status: int,
    error_class: type[CambError],
) -> None:
    """A good body does not make up for it."""
    with pytest.raises(error_class):
        reader(answer({"status": "SUCCESS", "task_id": "a", "previews": []}, status))


# What a reader remembers.


def test_a_body_that_repeats_is_read_once() -> None:
    """PENDING repeats: the same bytes give the same state."""
    reader = StatusReader()
    body = {"status": "PENDING", "run_id": None, "message": "soon"}

    assert reader.read(answer(body)) is reader.read(answer(body))


def test_two_readers_share_nothing() -> None:
    """What one session has read is not another's business."""
    first, second = read({"status": "PENDING"}), read({"status": "PENDING"})

    assert first == second
    assert first is not second


def test_a_mapping_is_never_shared() -> None:
    """Who changes the message of one task changes that of no other."""
    reader = StatusReader()
    body = {"status": "ERROR", "message": {"why": "so"}}
    first, second = reader.read(answer(body)), reader.read(answer(body))

    assert first == second
    assert isinstance(first.message, dict)
    assert first.message is not second.message


def test_a_body_is_not_remembered_for_another_http_status() -> None:
    """A good body under a bad status is still an error, and under a good one good."""
    reader = StatusReader()
    reader.read(answer({"status": "SUCCESS"}))
    with pytest.raises(ServerError):
        reader.read(answer({"status": "SUCCESS"}, 500))

    assert reader.read(answer({"status": "SUCCESS"})).is_final


def test_an_error_is_not_remembered() -> None:
    """Each bad answer has an error of its own."""
    reader = StatusReader()
    first, second = (refusal(reader.read, b"<html>") for _ in range(2))

    assert first is not second


def remembered(reader: StatusReader) -> dict[bytes, TaskState]:
    """Return what a reader remembers."""
    return reader._memo  # pyright: ignore[reportPrivateUsage]


def test_the_memory_of_a_reader_stays_small() -> None:
    """However many different bodies come, only so many are kept."""
    reader = StatusReader()
    sizes: set[int] = set()
    for run_id in range(3000):
        state = reader.read(answer({"status": "SUCCESS", "run_id": run_id}))
        sizes.add(len(remembered(reader)))

        assert run_id == state.run_id
    assert max(sizes) == 1024


def test_a_long_body_is_not_remembered() -> None:
    """A kilobyte of message is read each time and kept by nobody."""
    reader = StatusReader()
    reader.read(answer({"status": "ERROR", "message": "x" * 1024}))

    assert {} == remembered(reader)


# Creating, and the result.


def test_a_created_task_has_an_id() -> None:
    """Whatever else the answer says, the id is what counts."""
    assert "abc-1" == read_task_id(answer({"task_id": "abc-1", "status": "PENDING"}))


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"task_id": None},
        {"task_id": ""},
        {"task_id": 5},
        {"task_id": ["a"]},
        {"id": "a"},
        "abc",
    ],
    ids=repr,
)
def test_an_answer_without_a_task_id_is_refused(body: Any) -> None:
    """The official SDK types the id as optional, so it may be missing."""
    assert refusal(read_task_id, body).retryable


@pytest.mark.parametrize(
    "previews",
    [[], ["https://h/1.wav"], ["https://h/1.wav?a=%2B", "b", ""]],
    ids=repr,
)
def test_previews_are_kept_in_order_and_as_they_are(previews: list[str]) -> None:
    """How many there are is the service's to say, and links are not touched."""
    result = read_previews(answer({"previews": previews, "new": 1}), 8827)

    assert TextToVoiceResult(8827, tuple(previews)) == result


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"previews": None},
        {"previews": "https://h/1.wav"},
        {"previews": {"0": "https://h/1.wav"}},
        {"previews": [None]},
        {"previews": ["https://h/1.wav", 5]},
        {"previews": [["https://h/1.wav"]]},
        {"preview": []},
    ],
    ids=repr,
)
def test_previews_are_a_list_of_texts(body: Any) -> None:
    """The error names the place that is wrong."""
    assert "$.previews" in str(refusal(previews_of_7, body))


def test_json_is_read_as_it_is() -> None:
    """The reader of documents knows nothing of their shape."""
    assert [1, {"a": None}] == read_json(answer([1, {"a": None}]))


@pytest.mark.parametrize(
    "body",
    [
        "[]",
        "[1]",
        '[{"run_id": 1}]',
        '[{"project_details": {}}]',
        '[[{"run_id": 1, "project_details": {}}]]',
        '[{"run_id": "x", "project_details": {}}]',
    ],
)
def test_a_list_that_is_not_of_project_results_is_no_status(body: str) -> None:
    """Only where the results themselves came is success read from a list."""
    with pytest.raises(InvalidResponseError):
        StatusReader().read(Reply(200, {}, body.encode()))


def test_the_list_of_project_results_is_a_success() -> None:
    """The first of them names the run."""
    body = b'[{"run_id": 7, "project_details": {}}, {"run_id": 8}]'
    state = StatusReader().read(Reply(200, {}, body))

    assert TaskState(TaskStatus.SUCCESS, run_id=7) == state
