"""The values: statuses and their guidance, task refs, states, transitions."""

from __future__ import annotations

import copy
import itertools
import pickle
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, cast

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from camb_async.errors import (
    CambError,
    DeadlineExceededError,
    InvalidTaskIdError,
    TaskFailedError,
)
from camb_async.kinds import TaskKind
from camb_async.models import (
    Guidance,
    TaskRef,
    TaskState,
    TaskStatus,
    TextToVoiceResult,
    Transition,
    WatchedTask,
    WatcherStats,
)


AT = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
TASK = TaskRef("abc", TaskKind.DUB, AT)
SUCCESS = TaskState(TaskStatus.SUCCESS, run_id=8827)
PENDING = TaskState(TaskStatus.PENDING)
FAILED = TaskState(
    TaskStatus.ERROR, "Error", None, "INTERNAL_ERROR", {"why": {"code": [1, 2]}}
)
FAILURE = TaskFailedError("It failed.", task=TASK, state=FAILED)

DOCUMENTED = ["SUCCESS", "PENDING", "TIMEOUT", "ERROR", "PAYMENT_REQUIRED"]
ID_CHARACTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.~"

task_ids = st.text(ID_CHARACTERS, min_size=1, max_size=256).filter(
    lambda text: text not in {".", ".."}
)


def transition(state: TaskState | None, error: Exception | None = None) -> Transition:
    """Return a transition to this state or error."""
    return Transition(
        task=TASK,
        previous=TaskStatus.PENDING,
        state=state,
        error=error,
        at=AT,
        elapsed=12.5,
        uncertainty=0.5,
        polls=3,
        context={"chat": 7},
    )


VALUES: list[Any] = [
    Guidance("i", "act"),
    TASK,
    SUCCESS,
    FAILED,
    transition(SUCCESS),
    TextToVoiceResult(8827, ("https://h/1.wav", "https://h/2.wav")),
    WatchedTask(task=TASK, state=None, elapsed=1.0, polls=0, next_poll=2.0, error=None),
    WatcherStats(
        watching=1,
        in_flight=1,
        failing=0,
        polls=5,
        failed_polls=1,
        transitions=2,
        finished={TaskStatus.SUCCESS: 1},
        lag_p99=0.01,
    ),
]
each_value = pytest.mark.parametrize("value", VALUES, ids=lambda v: type(v).__name__)


def repickled(value: Any) -> Any:
    """Return the value after a journey to another process."""
    return pickle.loads(pickle.dumps(value))  # noqa: S301 - our own bytes


def fields_of(value: Any) -> tuple[attrs.Attribute[Any], ...]:
    """Return the fields of the value's class."""
    cls = cast("type[attrs.AttrsInstance]", type(value))
    fields: tuple[attrs.Attribute[Any], ...] = attrs.fields(cls)
    return fields


# Statuses.


@pytest.mark.parametrize("text", DOCUMENTED)
def test_a_status_is_read_in_any_letter_case(text: str) -> None:
    """Upper, lower, capitalised or mixed: it is the same status."""
    spellings = {text, text.lower(), text.title(), text.swapcase(), text.capitalize()}

    assert {TaskStatus[text]} == {TaskStatus(spelling) for spelling in spellings}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "QUEUED",
        "PROCESSING",
        "FAILED",
        "completed",
        " SUCCESS",
        "SUCCESS\n",
        "PAYMENT REQUIRED",
        "PAYMENT-REQUIRED",
        "\N{CYRILLIC CAPITAL LETTER ER}ENDING",
        "x" * 10_000,
    ],
    ids=lambda text: repr(text[:20]),
)
def test_any_other_text_is_unknown(text: str) -> None:
    """A text that is not documented is neither an error nor final."""
    assert TaskStatus.UNKNOWN is TaskStatus(text)


@pytest.mark.parametrize(
    "text",
    [
        "\N{LATIN SMALL LETTER LONG S}uccess",
        "SUCCE\N{LATIN SMALL LETTER SHARP S}",
        "T\N{LATIN SMALL LETTER DOTLESS I}MEOUT",
    ],
    ids=["long s", "sharp s", "dotless i"],
)
def test_letters_that_only_turn_into_a_status_are_unknown(text: str) -> None:
    """Another letter is another text, even if its upper case looks documented."""
    assert TaskStatus.UNKNOWN is TaskStatus(text)


@given(st.text())
def test_every_text_is_some_status(text: str) -> None:
    """No text raises, and only the four documented ends are final."""
    status = TaskStatus(text)

    assert status.is_final is (status in DOCUMENTED and status != "PENDING")


@pytest.mark.parametrize("value", [None, 5, b"SUCCESS", ["SUCCESS"]], ids=repr)
def test_what_is_no_text_is_no_status(value: Any) -> None:
    """A status is text; anything else is the caller's mistake."""
    with pytest.raises(ValueError, match="not a valid TaskStatus"):
        TaskStatus(value)


def test_statuses_are_the_documented_ones_and_unknown() -> None:
    """The members are spelt as documented, and one stands for the rest."""
    assert [*DOCUMENTED, "UNKNOWN"] == list(TaskStatus)


@pytest.mark.parametrize(
    ("text", "final", "icon", "action"),
    [
        ("SUCCESS", True, "\N{WHITE HEAVY CHECK MARK}", "download_voice"),
        ("PENDING", False, "\N{HOURGLASS WITH FLOWING SAND}", "wait"),
        ("TIMEOUT", True, "\N{ALARM CLOCK}", "retry_or_contact"),
        ("ERROR", True, "\N{CROSS MARK}", "review_inputs"),
        ("PAYMENT_REQUIRED", True, "\N{CREDIT CARD}", "add_credits"),
        (
            "QUEUED",
            False,
            "\N{INFORMATION SOURCE}\N{VARIATION SELECTOR-16}",
            "contact_support",
        ),
    ],
)
def test_guidance_is_the_documented_table(
    text: str,
    final: bool,  # noqa: FBT001
    icon: str,
    action: str,
) -> None:
    """Icon, action and whether it is final are those of the documentation."""
    status = TaskStatus(text)

    assert Guidance(icon, action) == status.guidance
    assert final is status.is_final


# Which task.


@given(task_ids)
def test_an_id_of_allowed_characters_is_taken_as_it_is(task_id: str) -> None:
    """Letters, digits and four signs, 1 to 256 of them, make an id."""
    assert task_id == TaskRef(task_id).task_id


@pytest.mark.parametrize(
    "task_id",
    [
        "",
        ".",
        "..",
        "a/b",
        "../../admin",
        "a?x=1",
        "a#f",
        "%2e%2e",
        "a%2Fb",
        "a\nb",
        "a\n",
        "\n",
        "a\r",
        "a\0",
        "a b",
        " a",
        "a\\b",
        "a;b",
        "a:b",
        "a@b",
        "\N{LATIN SMALL LETTER E WITH ACUTE}",
        "\N{ARABIC-INDIC DIGIT THREE}",
        "a\N{ZERO WIDTH SPACE}",
        "\udcff",
        "a" * 257,
        "a" * 10_000,
        b"abc",
        5,
        None,
        True,
        ["abc"],
        object(),
    ],
    ids=lambda value: repr(value)[:20],
)
@pytest.mark.parametrize("make", [TaskRef, TaskRef.of], ids=["ref", "of"])
def test_an_id_that_could_not_be_in_a_path_is_refused(
    make: Callable[[Any], TaskRef], task_id: Any
) -> None:
    """Nothing that a path could misread becomes a task, and nothing huge is shown."""
    with pytest.raises(InvalidTaskIdError, match="Not a task id") as caught:
        make(task_id)

    assert len(str(caught.value)) < 400


@given(st.text() | st.text(ID_CHARACTERS + "/?#%:\n\0 ", max_size=10))
def test_an_id_is_taken_or_refused_by_its_characters_alone(text: str) -> None:
    """The rule, said once more in another way, holds for any text."""
    allowed = (
        0 < len(text) <= 256
        and set(text) <= set(ID_CHARACTERS)
        and text not in {".", ".."}
    )
    try:
        taken = TaskRef(text).task_id == text
    except InvalidTaskIdError:
        taken = False

    assert allowed is taken


@pytest.mark.parametrize("task_id", ["...", "a..b", ".a", "~", "-", "a" * 256])
def test_odd_ids_that_are_safe_are_taken(task_id: str) -> None:
    """Dots are refused only where a path gives them a meaning."""
    assert task_id == TaskRef(task_id).task_id


def test_a_plain_id_is_text_to_voice() -> None:
    """Wherever a task is taken, a str is the id of a text-to-voice task."""
    assert TaskRef("abc", TaskKind.TEXT_TO_VOICE) == TaskRef.of("abc")
    assert TASK is TaskRef.of(TASK)


def test_a_kind_may_be_given_by_its_value() -> None:
    """The kind is converted, and one that does not exist is refused."""
    by_value: Any = "dub"

    assert TaskKind.DUB is TaskRef("abc", by_value).kind
    with pytest.raises(ValueError, match="'nope' is not a valid TaskKind"):
        TaskRef("abc", "nope")  # pyright: ignore[reportArgumentType]


@given(task_ids, st.sampled_from(TaskKind))
def test_parse_reads_what_str_writes(task_id: str, kind: TaskKind) -> None:
    """A ref survives the way to a command line and back."""
    ref = TaskRef(task_id, kind)

    assert ref == TaskRef.parse(str(ref))


@pytest.mark.parametrize(
    ("text", "ref"),
    [
        ("abc", TaskRef("abc")),
        ("text-to-voice:abc", TaskRef("abc")),
        ("dub:abc", TaskRef("abc", TaskKind.DUB)),
        ("dub", TaskRef("dub")),
    ],
)
def test_parse_reads_ids_with_and_without_a_kind(text: str, ref: TaskRef) -> None:
    """Before a colon stands the kind; without one it is text-to-voice."""
    assert ref == TaskRef.parse(text)


@pytest.mark.parametrize(
    "text",
    ["", ":", "dub:", ":abc", "dub:a:b", "nope:abc", "Dub:abc", "DUB:abc", " dub:a"],
    ids=repr,
)
def test_parse_refuses_what_is_no_task(text: str) -> None:
    """A kind that does not exist is as wrong as an id that cannot be."""
    with pytest.raises(InvalidTaskIdError, match="Not a task"):
        TaskRef.parse(text)


def test_parse_names_the_kinds() -> None:
    """Who mistypes a kind is told all of them, and not shown the whole text."""
    with pytest.raises(InvalidTaskIdError) as caught:
        TaskRef.parse("x" * 10_000 + ":abc")

    assert all(kind.value in str(caught.value) for kind in TaskKind)
    assert len(str(caught.value)) < 500


def test_only_parse_reads_a_kind() -> None:
    """In a program, a colon in an id is a mistake and not a kind."""
    with pytest.raises(InvalidTaskIdError):
        TaskRef.of("dub:abc")


def test_created_at_is_no_part_of_which_task_it_is() -> None:
    """Refs are equal, and hash alike, by id and kind alone; case matters."""
    assert {TaskRef("abc", TaskKind.DUB)} == {TASK}
    assert TaskRef("abc") != TASK
    assert TaskRef("ABC", TaskKind.DUB) != TASK
    assert "TaskRef(task_id='abc', kind=<TaskKind.DUB: 'dub'>)" == repr(TASK)


@pytest.mark.parametrize(
    "created_at",
    [datetime(2026, 3, 1), "2026-03-01", 1e9, AT.date()],  # noqa: DTZ001
    ids=["naive", "text", "seconds", "date"],
)
def test_created_at_has_a_time_zone(created_at: Any) -> None:
    """A time that could mean several moments is refused."""
    with pytest.raises(ValueError, match="created_at must be a datetime that has"):
        TaskRef("abc", created_at=created_at)


def test_created_at_may_be_in_any_time_zone() -> None:
    """An aware datetime is taken whatever its zone."""
    east = AT.astimezone(timezone(timedelta(hours=5)))

    assert AT == TaskRef("abc", created_at=east).created_at


# What was seen.


def test_a_state_has_the_status_as_its_raw_text_if_nothing_else() -> None:
    """Who makes up a state need not spell the status twice."""
    assert "PENDING" == PENDING.raw_status
    assert "Error" == FAILED.raw_status


@pytest.mark.parametrize("status", TaskStatus)
def test_a_state_is_final_with_its_status(status: TaskStatus) -> None:
    """SUCCESS without a run id is as final as any."""
    assert status.is_final is TaskState(status).is_final


def test_a_run_id_of_zero_is_a_run_id() -> None:
    """Zero is passed on, and is not taken for none."""
    state = TaskState(TaskStatus.SUCCESS, run_id=0)

    assert state.run_id == 0
    assert transition(state).run_id == 0
    assert TaskState(TaskStatus.SUCCESS) != state


def test_a_state_with_a_mapping_can_be_hashed() -> None:
    """A message that cannot be hashed does not keep states out of sets."""
    assert {FAILED} == {copy.deepcopy(FAILED)}


@pytest.mark.parametrize(
    ("state", "error", "is_final", "succeeded"),
    [
        (PENDING, None, False, False),
        (TaskState(TaskStatus.UNKNOWN, "QUEUED"), None, False, False),
        (SUCCESS, None, True, True),
        (TaskState(TaskStatus.SUCCESS), None, True, True),
        (FAILED, FAILURE, True, False),
        (PENDING, OSError("given up"), True, False),
        (SUCCESS, OSError("given up"), True, False),
        (None, OSError("never seen"), True, False),
        (None, None, False, False),
    ],
)
def test_a_transition_knows_whether_it_is_the_last(
    *,
    state: TaskState | None,
    error: Exception | None,
    is_final: bool,
    succeeded: bool,
) -> None:
    """It is final with a final status or an error, and succeeded without one."""
    this = transition(state, error)

    assert (is_final, succeeded) == (this.is_final, this.succeeded)


def test_a_transition_has_shortcuts_to_what_it_is_about() -> None:
    """Id, status and run id need no digging, and are None if never seen."""
    seen, unseen = transition(SUCCESS), transition(None, OSError())

    assert ("abc", "SUCCESS", 8827) == (seen.task_id, seen.status, seen.run_id)
    assert ("abc", None, None) == (unseen.task_id, unseen.status, unseen.run_id)


def test_raise_for_status_raises_the_error_itself() -> None:
    """The error comes out as it went in, and without one the transition does."""
    good = transition(SUCCESS)

    assert good is good.raise_for_status()
    with pytest.raises(TaskFailedError) as caught:
        transition(FAILED, FAILURE).raise_for_status()
    assert FAILURE is caught.value


def test_a_transition_with_an_error_travels() -> None:
    """What a process pool gets of an error is the whole of it."""
    error = DeadlineExceededError("Enough.", task=TASK, state=PENDING, elapsed=9.0)
    error.add_note("The last poll failed.")
    travelled = repickled(transition(PENDING, error))
    there = travelled.error

    assert isinstance(there, DeadlineExceededError)
    assert vars(error) == vars(there)
    assert transition(PENDING, error) == attrs.evolve(travelled, error=error)


def test_a_transition_raises_after_its_journey() -> None:
    """An error that was pickled can still be caught by its class."""
    with pytest.raises(CambError, match=r"^It failed\.$"):
        repickled(transition(FAILED, FAILURE)).raise_for_status()


# Values as such.


@each_value
@pytest.mark.parametrize(
    "travel", [repickled, copy.copy, copy.deepcopy], ids=["pickle", "copy", "deepcopy"]
)
def test_values_travel_whole(travel: Callable[[Any], Any], value: Any) -> None:
    """Pickled or copied, a value is equal to itself, and so is its repr."""
    travelled = travel(value)

    assert value == travelled
    assert repr(value) == repr(travelled)


@each_value
def test_values_are_frozen_and_slotted(value: Any) -> None:
    """No field can be set, and no other attribute added."""
    for name in (fields_of(value)[0].name, "another"):
        with pytest.raises((attrs.exceptions.FrozenInstanceError, AttributeError)):
            setattr(value, name, 1)

    assert not hasattr(value, "__dict__")


@each_value
def test_values_differ_where_a_field_does(value: Any) -> None:
    """Each compared field counts in a comparison, and other types never match."""
    fields = [field for field in fields_of(value) if field.eq]
    changes = {"task_id": "other", "kind": TaskKind.TTS, "run_id": 9}
    others = [
        attrs.evolve(value, **{field.name: changes.get(field.name, "other")})
        for field in fields
    ]

    assert all(value != other for other in others)
    assert all(a != b for a, b in itertools.combinations(others, 2))
    assert value != attrs.astuple(value)


@each_value
def test_a_repr_shows_every_compared_field(value: Any) -> None:
    """What tells two values apart can be seen."""
    shown = repr(value)

    assert shown.startswith(f"{type(value).__name__}(")
    assert all(
        f"{field.name}={getattr(value, field.name)!r}" in shown
        for field in fields_of(value)
        if field.eq
    )


def test_created_at_travels_though_it_is_not_compared() -> None:
    """What no comparison sees is not lost in a pickle."""
    assert AT == repickled(TASK).created_at


@pytest.mark.parametrize("bad", ["../../evil", "/etc/x", "7", -1, True, 1.0, None])
def test_a_result_has_a_run_id_that_may_name_files(bad: Any) -> None:
    """Also one that was made by hand, of what came from outside."""
    with pytest.raises(ValueError, match="whole number"):
        TextToVoiceResult(bad, ())
