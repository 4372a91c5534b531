"""The web application's parts that need no server: board, words, links."""

from __future__ import annotations

import asyncio
import itertools
from datetime import UTC, datetime
from typing import Any

import pytest

from camb_async import (
    AdaptiveSchedule,
    APIConnectionError,
    AuthenticationError,
    CambError,
    CambSession,
    DeadlineExceededError,
    Eta,
    NotFoundError,
    PermissionDeniedError,
    SubmissionUnknownError,
    TaskFailedError,
    TaskPaymentRequiredError,
    TaskRef,
    TaskState,
    TaskStatus,
    TaskTimeoutError,
    TaskWatcher,
    TextToVoiceResult,
    Transition,
    UnexpectedRedirectError,
    ValidationError,
    ValidationIssue,
)
from camb_async.simulator import Simulator
from tests.helpers import DESCRIPTION, run

from .web_app_client import need_web


need_web()

from examples.web_app.board import Board, Cursor, Voice  # noqa: E402
from examples.web_app.desk import Desk  # noqa: E402
from examples.web_app.outcomes import card, left_of, outcome_of  # noqa: E402
from examples.web_app.previews import (  # noqa: E402
    OutsideResolver,
    PreviewError,
    Previews,
    link_session,
)
from examples.web_app.problems import problem_of  # noqa: E402
from examples.web_app.stream import event_stream  # noqa: E402


ANN, BOB = "ann", "bob"
TASK = TaskRef("t1")
numbers = itertools.count()


def order(board: Board, visitor: str = ANN, *, now: float = 0.0) -> Voice:
    """Put a voice on the board."""
    number = next(numbers)
    voice, _touched = board.add(
        visitor,
        f"v{number}",
        TaskRef(f"t{number}"),
        description="calm",
        text="Hello",
        now=now,
    )
    return voice


def transition(
    voice: Voice | None = None,
    status: TaskStatus | None = TaskStatus.SUCCESS,
    *,
    error: Exception | None = None,
    **state: Any,
) -> Transition:
    """Return a transition as a watcher reports it."""
    return Transition(
        task=TASK if voice is None else voice.task,
        previous=None,
        state=None if status is None else TaskState(status, **state),
        error=error,
        at=datetime.now(UTC),
        elapsed=1.0,
        uncertainty=None,
        polls=1,
        context=None if voice is None else voice.voice_id,
    )


def ids(voices: tuple[Voice, ...]) -> list[str]:
    """Return the voices' ids."""
    return [voice.voice_id for voice in voices]


class TestBoard:
    """What each reader is told."""

    def test_new_reader_gets_the_whole(self) -> None:
        """Without a cursor, everything is news."""
        board = Board("life")
        first, second = order(board), order(board)
        update = board.since(ANN, None)

        assert update.whole
        assert [first.voice_id, second.voice_id] == ids(update.voices)

    def test_reader_gets_what_it_missed_and_nothing_else(self) -> None:
        """What changed since the cursor comes, each voice as it is now."""
        board = Board("life")
        first, second = order(board), order(board)
        cursor = board.since(ANN, None).cursor
        board.apply(transition(first, TaskStatus.PENDING), now=1.0)
        board.apply(transition(first, run_id=1), now=2.0)
        update = board.since(ANN, cursor)

        assert not update.whole
        assert [first.voice_id] == ids(update.voices)
        assert TaskStatus.SUCCESS is update.voices[0].latest.status  # type: ignore[union-attr]
        assert () == board.since(ANN, update.cursor).voices
        assert second.voice_id not in ids(update.voices)

    def test_reader_may_stop_between_two_voices(self) -> None:
        """A voice's own number is a cursor: what comes after it is still news."""
        board = Board("life")
        first, second = order(board), order(board)
        update = board.since(ANN, Cursor("life", first.changed))

        assert [second.voice_id] == ids(update.voices)

    @pytest.mark.parametrize(
        "cursor",
        [Cursor("before", 1), Cursor("life", 99), None],
        ids=["another life", "from the future", "none"],
    )
    def test_unusable_cursor_means_the_whole(self, cursor: Cursor | None) -> None:
        """A reader from before a restart starts anew."""
        board = Board("life")
        order(board)

        assert board.since(ANN, cursor).whole

    def test_visitors_see_their_own(self) -> None:
        """What is another's is neither listed nor found."""
        board = Board("life")
        voice = order(board, ANN)

        assert () == board.since(BOB, None).voices
        assert board.find(BOB, voice.voice_id) is None
        assert voice == board.find(ANN, voice.voice_id)

    def test_oldest_finished_makes_room(self) -> None:
        """A dropped voice is gone for good, and readers are told by a whole."""
        board = Board("life", per_visitor=2)
        first, second = order(board), order(board)
        cursor = board.since(ANN, None).cursor
        assert not board.has_room(ANN)

        board.apply(transition(second), now=1.0)
        assert board.has_room(ANN)

        third = order(board)
        update = board.since(ANN, cursor)

        assert update.whole
        assert {first.voice_id, third.voice_id} == set(ids(update.voices))
        assert board.apply(transition(second), now=2.0) is None
        assert board.set_previews(second.voice_id, 2) is None

    def test_room_is_limited_overall(self) -> None:
        """One visitor's finished voice may go for another's new one."""
        board = Board("life", overall=2)
        old = order(board, ANN)
        order(board, BOB)
        cursor = board.since(ANN, None).cursor
        board.apply(transition(old), now=1.0)
        _voice, touched = board.add(BOB, "new", TASK, description="", text="", now=2.0)

        assert {ANN, BOB} == touched
        assert 2 == len(board)
        assert board.since(ANN, cursor).whole
        assert () == board.since(ANN, cursor).voices

    def test_a_paid_voice_is_never_refused(self) -> None:
        """With nothing finished to drop, it is one more than the limit."""
        board = Board("life", per_visitor=1)
        order(board)
        order(board)

        assert 2 == len(board)

    def test_resumed_voice_runs_again(self) -> None:
        """Its end is forgotten, not its beginning."""
        board = Board("life")
        voice = order(board, now=1.0)
        ended = board.apply(transition(voice, None, error=CambError("no")), now=5.0)
        assert ended is not None
        assert not ended.is_running
        assert 4.0 == card(ended, 99.0)["seconds"]

        resumed = board.resume(ended)

        assert resumed.is_running
        assert 8.0 == card(resumed, 9.0)["seconds"]

    def test_previews_are_counted(self) -> None:
        """A count takes back an earlier failure."""
        board = Board("life")
        voice = order(board)
        failed = board.set_previews(voice.voice_id, None)
        found = board.set_previews(voice.voice_id, 2)

        assert failed is not None
        assert failed.previews_failed
        assert found is not None
        assert (2, False) == (found.previews, found.previews_failed)

    @pytest.mark.parametrize(
        "text", [None, "", "-", "5", "a-", "a-x", "a-²", "a-" + "9" * 5000, "a-1 "]
    )
    def test_nonsense_is_no_cursor(self, text: str | None) -> None:
        """Browsers send back what they were told; others send anything."""
        assert Cursor.parse(text) is None

    def test_cursor_is_read_back(self) -> None:
        """An event's id is a cursor in writing."""
        assert Cursor("a-b", 7) == Cursor.parse(str(Cursor("a-b", 7)))


STATE = TaskState(TaskStatus.ERROR, exception_reason="WHY", message={"de": "Nein"})


class TestWords:
    """Every outcome has a title, a sentence and the recommended action."""

    @pytest.mark.parametrize(
        ("latest", "title", "action", "tone"),
        [
            (None, "Sent", "wait", "busy"),
            (transition(status=TaskStatus.PENDING), "In the making", "wait", "busy"),
            (transition(run_id=0), "Ready", "download_voice", "good"),
            (transition(), "Ready, but out of reach", "contact_support", "lost"),
            (
                transition(status=TaskStatus.UNKNOWN, raw_status="HUM"),
                "In an unknown state",
                "contact_support",
                "busy",
            ),
        ],
    )
    def test_states(
        self, latest: Transition | None, title: str, action: str, tone: str
    ) -> None:
        """As long as nothing went wrong, the status decides."""
        outcome = outcome_of(latest)

        assert (title, action, tone) == (
            outcome.title,
            outcome.guidance.action,
            outcome.tone,
        )
        assert outcome.advice
        assert not outcome.can_resume

    @pytest.mark.parametrize(
        ("error", "title", "action", "can_resume"),
        [
            (
                TaskFailedError("", task=TASK, state=STATE),
                "Failed",
                "review_inputs",
                False,
            ),
            (
                TaskTimeoutError("", task=TASK, state=STATE),
                "Timed out",
                "retry_or_contact",
                False,
            ),
            (
                TaskPaymentRequiredError("", task=TASK, state=STATE),
                "Out of credits",
                "add_credits",
                False,
            ),
            (
                DeadlineExceededError("", task=TASK, state=None, elapsed=1.0),
                "Not finished in time",
                "retry_or_contact",
                True,
            ),
            (
                AuthenticationError("", status_code=401),
                "No longer watched",
                "contact_support",
                True,
            ),
            (NotFoundError("", status_code=404), "Not found", "contact_support", False),
            (
                PermissionDeniedError("", status_code=403),
                "No longer watched",
                "contact_support",
                True,
            ),
        ],
        ids=lambda value: type(value).__name__,
    )
    def test_ends(
        self, error: Exception, title: str, action: str, *, can_resume: bool
    ) -> None:
        """When it ended, the error decides."""
        outcome = outcome_of(transition(status=TaskStatus.ERROR, error=error))

        assert (title, action, can_resume) == (
            outcome.title,
            outcome.guidance.action,
            outcome.can_resume,
        )

    def test_what_the_service_said_is_passed_on(self) -> None:
        """Message and reason, whatever form the message has."""
        error = TaskFailedError("", task=TASK, state=STATE)
        latest = transition(
            status=TaskStatus.ERROR,
            error=error,
            exception_reason="WHY",
            message={"de": "Nein"},
        )

        assert '{"de": "Nein"} (WHY)' == outcome_of(latest).said

    @pytest.mark.parametrize(
        ("error", "status", "word"),
        [
            (SubmissionUnknownError(""), 502, "billed"),
            (APIConnectionError("", request_sent=False), 503, "Nothing was sent"),
            (AuthenticationError("", status_code=401), 502, "CAMB_API_KEY"),
            (PermissionDeniedError("", status_code=403), 502, "account"),
            (
                UnexpectedRedirectError("", status_code=302, location=None),
                502,
                "Nothing was ordered",
            ),
        ],
        ids=lambda value: type(value).__name__,
    )
    def test_refused_orders(self, error: CambError, status: int, word: str) -> None:
        """Each says whether something may have been ordered."""
        problem = problem_of(error)

        assert status == problem.status
        assert word in problem.advice

    def test_refused_fields_are_marked(self) -> None:
        """The service's names of fields become the form's."""
        error = ValidationError("", status_code=422)
        error.issues = (
            ValidationIssue(("body", "voice_description"), "too short", "x"),
            ValidationIssue(("body", "folder_id"), "no such folder", "x"),
        )

        assert {"description": "too short"} == problem_of(error).fields


class FakeSession(CambSession):
    """A session that knows one result, and is never opened."""

    def __init__(self, base_url: str, link: str) -> None:
        super().__init__("key", base_url=base_url)
        self.link = link

    async def get_text_to_voice_result(self, run_id: int | None) -> TextToVoiceResult:
        """Return the one link."""
        return TextToVoiceResult(run_id or 0, (self.link,))


FAR, NEAR = "https://far.example/apis", "http://127.0.0.1:1/apis"


@pytest.mark.parametrize(
    ("base_url", "link"),
    [
        (FAR, "http://far.example/a.wav"),
        (FAR, "http://127.0.0.1/a.wav"),
        (FAR, "https://127.0.0.1/a.wav"),
        (FAR, "https://[::1]/a.wav"),
        (FAR, "https://[fe80::1%25eth0]/a.wav"),
        (FAR, "https://169.254.169.254/latest/meta-data"),
        (FAR, "https://10.0.0.1/a.wav"),
        (FAR, "file:///etc/passwd"),
        (FAR, "data:audio/wav;base64,AAAA"),
        (FAR, "//far.example/a.wav"),
        (FAR, ""),
        (FAR, "https://[/"),
        (NEAR, "http://far.example/a.wav"),
        (NEAR, "http://169.254.169.254/a.wav"),
    ],
)
def test_suspicious_links_are_not_followed(base_url: str, link: str) -> None:
    """Only https to a public address, or http on a machine that is itself all."""

    async def main() -> None:
        async with link_session(local=base_url == NEAR) as http:
            previews = Previews(FakeSession(base_url, link), http)
            with pytest.raises(PreviewError, match=r"which is refused|is no link"):
                await previews.open(1, 1, None)

    asyncio.run(main())


def test_names_of_this_network_are_not_resolved() -> None:
    """A public name may point inside."""

    async def main() -> None:
        resolver = OutsideResolver()
        try:
            with pytest.raises(OSError, match="no public address"):
                await resolver.resolve("localhost", 443)
        finally:
            await resolver.close()

    asyncio.run(main())


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.0, 0.0, (0, 0)),
        (4.9, 5.1, (0, 10)),
        (20.0, 20.0, (20, 20)),
        (61.0, 1e6, (60, None)),
    ],
)
def test_what_is_left_has_round_ends(
    low: float, high: float, expected: tuple[int, int | None]
) -> None:
    """A range holds what is expected, and changes now and then only."""
    assert expected == left_of(Eta(0.5, low, (low + high) / 2, high))


def test_what_is_likely_left_is_streamed() -> None:
    """A visitor is told of the voices in the making, and of nobody else's."""
    schedule = AdaptiveSchedule(seed=1)
    for number in range(9):
        schedule.learn(TaskRef(f"{number}"), 20.0, 40.0)
    schedule.to_dict()  # which brings it up to date

    async def main() -> None:
        async with (
            Simulator() as simulator,
            CambSession(
                simulator.api_key, base_url=simulator.base_url, schedule=schedule
            ) as camb,
            TaskWatcher(camb, keep_open=True) as watcher,
            link_session(local=True) as http,
        ):
            desk = Desk(camb, watcher, Previews(camb, http))
            voice = await desk.order(ANN, description=DESCRIPTION, text="Hello")
            await desk.order(BOB, description=DESCRIPTION, text="Hello")
            stream: Any = event_stream(desk, ANN, None, heartbeat=9.0, simulated=True)
            async for event in stream.body_iterator:
                if "likely" in str(getattr(event, "event", "")):
                    break
            told = desk.likely(ANN)

        assert isinstance(voice, Voice)
        assert [voice.voice_id] == list(told)
        assert 0 < told[voice.voice_id][0] < (told[voice.voice_id][1] or 0) < 120

    run(main())
