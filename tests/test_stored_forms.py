"""What a store writes down comes back as it was, whoever reads it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from camb_async import (
    CambError,
    DeadlineExceededError,
    ServerError,
    StoreError,
    TaskRef,
    TaskState,
    TaskStatus,
    ValidationError,
    ValidationIssue,
)
from camb_async.stores._forms import (
    context_text,
    error_text,
    read_error,
    read_state,
    reading,
    state_text,
)

from .test_errors import EXAMPLES


# These forms are seen from inside only.
# pyright: reportPrivateUsage=false

TASK = TaskRef("abc")
PENDING = TaskState(TaskStatus.PENDING)

numbers = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
documents = st.recursive(
    st.none() | st.booleans() | numbers | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)
states = st.builds(
    TaskState,
    st.sampled_from(TaskStatus),
    st.text(max_size=20),
    st.none() | st.integers(0, 2**63),
    st.none() | st.text(max_size=20),
    st.none() | st.text(max_size=20) | st.dictionaries(st.text(), documents),
)


@given(documents)
def test_a_context_comes_back(context: Any) -> None:
    """Every JSON document is a context, in any script."""
    assert context == json.loads(context_text(context))


CIRCLE: list[object] = []
CIRCLE.append(CIRCLE)


def nested(depth: int) -> list[object]:
    """Return lists in lists."""
    outer: list[object] = []
    for _ in range(depth):
        outer = [outer]
    return outer


@pytest.mark.parametrize(
    "context",
    [object(), b"bytes", {1, 2}, (1, 2), {1: "a"}, {"at": TASK}, float("nan"), CIRCLE],
    ids=lambda each: type(each).__name__,
)
def test_what_json_cannot_hold_is_no_context(context: object) -> None:
    """A tuple would come back as a list, a key of int as text: all are refused."""
    with pytest.raises(ValueError, match=r"^The context cannot be stored: .*JSON"):
        context_text(context)


def test_a_context_that_is_too_deep_is_refused() -> None:
    """A recursion error is not let through."""
    with pytest.raises(ValueError, match="The context cannot be stored"):
        context_text(nested(100_000))


@given(states)
def test_a_state_comes_back(state: TaskState) -> None:
    """Whatever the service said is kept, word for word."""
    assert state == read_state(state_text(state))


def test_no_state_and_no_error_come_back() -> None:
    """There may be neither."""
    assert read_state(state_text(None)) is None
    assert read_error(error_text(None), TASK, None) is None


def test_a_message_of_another_mapping_is_stored() -> None:
    """A source of the user's own may use any mapping, with anything in it."""
    odd: Mapping[str, Any] = MappingProxyType({"at": TASK})
    state = read_state(state_text(TaskState(TaskStatus.ERROR, message=odd)))

    assert state is not None
    assert {"at": str(TASK)} == state.message


@pytest.mark.parametrize("error", EXAMPLES, ids=lambda error: type(error).__name__)
def test_an_error_comes_back(error: CambError) -> None:
    """Each class of the tree, with its data."""
    state = getattr(error, "state", None)
    back = read_error(error_text(error), TASK, state)

    assert type(error) is type(back)
    assert str(error) == str(back)
    assert vars(error) == vars(back)


def test_what_is_on_an_error_comes_back() -> None:
    """Issues, notes, task and state."""
    refused = ValidationError("No.", status_code=422, retryable=False)
    refused.issues = (ValidationIssue(("body", 0), "too short", "value_error"),)
    refused.add_note("The last poll failed.")
    back = read_error(error_text(refused), TASK, None)

    assert isinstance(back, ValidationError)
    assert refused.issues == back.issues
    assert ["The last poll failed."] == back.__notes__

    late = DeadlineExceededError("Late.", task=TASK, state=PENDING, elapsed=3.0)
    back = read_error(error_text(late), TASK, PENDING)
    assert isinstance(back, DeadlineExceededError)
    assert (TASK, PENDING, 3.0) == (back.task, back.state, back.elapsed)


@pytest.mark.parametrize("name", ["TomorrowsError", "SHOWN_MAX", "Any", "Exception"])
def test_an_error_of_an_unknown_class_is_a_camb_error(name: str) -> None:
    """Another version may know more; and only errors of ours are ever made."""
    form = '{"class": "%s", "message": "Oh.", "fields": {"new": 1}, "notes": []}'
    back = read_error(form % name, TASK, None)

    assert type(back) is CambError
    assert "Oh." == back.message


def test_an_error_of_somebody_else_keeps_its_words() -> None:
    """A source may raise anything; its class is not ours to make."""
    back = read_error(error_text(KeyError("abc")), TASK, None)

    assert type(back) is CambError
    assert "KeyError('abc')" == back.message


def test_no_pickle_is_written() -> None:
    """The form is plain JSON, for people and other programs."""
    form = json.loads(error_text(ServerError("Busy.", status_code=503)) or "")

    assert "ServerError" == form["class"]
    assert 503 == form["fields"]["status_code"]


def test_a_message_that_is_no_json_is_kept_as_text() -> None:
    """A source of the user's own may tell anything, and nothing gets stuck by it."""
    messages: tuple[Any, ...] = ({"seconds": float("inf")}, {(1, 2): 3})
    for message in messages:
        text = state_text(TaskState(TaskStatus.ERROR, "ERROR", message=message))

        assert text is not None
        assert "Infinity" not in text.replace("inf", "")
        assert read_state(text) is not None


def test_a_row_of_another_form_is_told_with_its_place() -> None:
    """Also one that a newer version has written, with a field more."""
    text = json.dumps({"status": "PENDING", "raw_status": "PENDING", "mood": "good"})
    with (
        pytest.raises(StoreError, match=r"voices\.db holds a row .* 'mood'") as caught,
        reading("voices.db"),
    ):
        read_state(text)

    assert not caught.value.retryable
