"""The web application's parts that need no server: board, table, words, links."""

from __future__ import annotations

import asyncio
import itertools
import sqlite3
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import attrs
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
    SqliteStore,
    SubmissionUnknownError,
    TaskFailedError,
    TaskParkedError,
    TaskPaymentRequiredError,
    TaskRef,
    TaskState,
    TaskStatus,
    TaskStore,
    TaskTimeoutError,
    TextToVoiceResult,
    Transition,
    UnexpectedRedirectError,
    ValidationError,
    ValidationIssue,
)
from camb_async.simulator import Simulator
from tests.helpers import DESCRIPTION, run, served

from .web_app_client import need_web


need_web()

from examples.web_app.board import Board, Cursor  # noqa: E402
from examples.web_app.desk import Desk  # noqa: E402
from examples.web_app.orders import Orders, OrdersError, open_orders  # noqa: E402
from examples.web_app.outcomes import SENT, left_of, outcome_of  # noqa: E402
from examples.web_app.previews import (  # noqa: E402
    OutsideResolver,
    PreviewError,
    Previews,
    link_session,
)
from examples.web_app.problems import LEFT_UNWRITTEN, problem_of  # noqa: E402
from examples.web_app.stream import event_stream  # noqa: E402
from examples.web_app.voice import Voice, card  # noqa: E402


ANN, BOB = "ann", "bob"
TASK = TaskRef("t1")
numbers = itertools.count()


def new(visitor: str = ANN, **fields: Any) -> Voice:
    """Return a voice that was just ordered."""
    number = next(numbers)
    told: dict[str, Any] = {
        "voice_id": f"v{number}",
        "visitor": visitor,
        "task": TaskRef(f"t{number}"),
        "description": "calm",
        "text": "Hello",
        "began": float(number),
    }
    return Voice(**(told | fields))


def order(board: Board, visitor: str = ANN) -> Voice:
    """Put a voice on the board."""
    voice = new(visitor)
    board.put(voice)
    shown = board.find(visitor, voice.voice_id)
    assert shown is not None
    return shown


def change(board: Board, voice: Voice, latest: Transition) -> Voice:
    """Put a voice on the board as a transition leaves it."""
    changed = voice.after(latest)
    assert changed is not None
    changed = attrs.evolve(changed, version=voice.version + 1)
    board.put(changed)
    return changed


def transition(
    voice: Voice | None = None,
    status: TaskStatus | None = TaskStatus.SUCCESS,
    *,
    error: Exception | None = None,
    key: tuple[str, int] = ("watch", 1),
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
        key=key,
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
        pending = change(board, first, transition(first, TaskStatus.PENDING))
        change(board, pending, transition(first, run_id=1, key=("watch", 2)))
        update = board.since(ANN, cursor)

        assert not update.whole
        assert [first.voice_id] == ids(update.voices)
        assert "SUCCESS" == update.voices[0].status
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
        assert [] == board.surplus(ANN)

        change(board, second, transition(second))
        assert board.has_room(ANN)
        assert [second.voice_id] == board.surplus(ANN)

        assert ANN == board.remove(second.voice_id)
        assert board.remove(second.voice_id) is None
        third = order(board)
        update = board.since(ANN, cursor)

        assert update.whole
        assert {first.voice_id, third.voice_id} == set(ids(update.voices))

    def test_room_is_limited_overall(self) -> None:
        """One visitor's finished voice may go for another's new one."""
        board = Board("life", overall=2)
        old = order(board, ANN)
        order(board, BOB)
        cursor = board.since(ANN, None).cursor
        change(board, old, transition(old))

        assert [old.voice_id] == board.surplus(BOB)
        board.remove(old.voice_id)
        assert 1 == len(board)
        assert board.since(ANN, cursor).whole
        assert () == board.since(ANN, cursor).voices

    def test_older_version_is_no_news(self) -> None:
        """Two looks at the table may overtake one another."""
        board = Board("life")
        voice = order(board)
        ended = change(board, voice, transition(voice))

        assert not board.put(voice)
        assert not board.put(ended)
        assert {voice.voice_id: 2} == board.versions()

    @pytest.mark.parametrize(
        "text", [None, "", "-", "5", "a-", "a-x", "a-²", "a-" + "9" * 5000, "a-1 "]
    )
    def test_nonsense_is_no_cursor(self, text: str | None) -> None:
        """Browsers send back what they were told; others send anything."""
        assert Cursor.parse(text) is None

    def test_cursor_is_read_back(self) -> None:
        """An event's id is a cursor in writing."""
        assert Cursor("a-b", 7) == Cursor.parse(str(Cursor("a-b", 7)))


class TestVoice:
    """What is written down of a voice, and what a transition does to it."""

    def test_what_was_heard_before_changes_nothing(self) -> None:
        """Neither twice, nor after what came later; another watch begins anew."""
        voice = new()
        ended = voice.after(transition(voice, key=("watch", 2), run_id=1))
        assert ended is not None

        assert ended.after(transition(voice, key=("watch", 2), run_id=1)) is None
        assert ended.after(transition(voice, TaskStatus.PENDING)) is None
        again = ended.after(transition(voice, TaskStatus.PENDING, key=("other", 1)))
        assert again is not None
        assert again.is_running

    def test_resumed_voice_runs_again(self) -> None:
        """Its end is forgotten, not its beginning."""
        latest = transition(None, None, error=CambError("no"))
        began = latest.at.timestamp() - 4.0
        ended = new(began=began).after(latest)
        assert ended is not None
        assert not ended.is_running
        assert 4.0 == card(ended, began + 99.0)["seconds"]

        resumed = ended.resumed()

        assert (True, SENT) == (resumed.is_running, resumed.outcome)
        assert 8.0 == card(resumed, began + 8.0)["seconds"]

    def test_previews_are_counted(self) -> None:
        """A count takes back an earlier failure."""
        voice = new().after(transition(run_id=0))
        assert voice is not None
        failed = voice.with_previews(None)
        found = failed.with_previews(2)

        assert voice.lacks_previews
        assert failed.previews_failed
        assert not failed.lacks_previews
        assert (2, False) == (found.previews, found.previews_failed)

    def test_what_is_written_down_is_read_back(self) -> None:
        """Words, times and all."""
        task = TaskRef("t", created_at=datetime.now(UTC))
        voice = new(task=task).after(transition(run_id=7))
        assert voice is not None
        read = Voice.load(voice.dump(), 5)

        assert attrs.evolve(voice, version=5) == read
        assert task.created_at == read.task.created_at


class TestOrders:
    """The table that processes share, in a file and in a database."""

    @pytest.fixture(params=["file", "database"])
    def where(self, request: pytest.FixtureRequest, tmp_path: Path) -> str:
        """Provide a place for it."""
        if request.param == "file":
            return str(tmp_path / "orders")
        return str(request.getfixturevalue("dsn"))

    def test_changes_of_two_processes_are_both_kept(self, where: str) -> None:
        """Whoever is slower looks again and changes what the other one left."""
        voice = new()

        async def main() -> None:
            async with open_orders(where) as orders, open_orders(where) as other:
                await orders.add(voice)
                tries: list[int | None] = []

                async def quicker() -> None:
                    await other.change(voice.voice_id, lambda v: v.with_previews(2))

                def slower(seen: Voice) -> Voice:
                    tries.append(seen.previews)
                    return attrs.evolve(seen, status="HUM")

                await changed_meanwhile(orders, voice.voice_id, quicker, slower)
                both = await other.get(voice.voice_id)

                assert [None, 2] == tries
                assert both is not None
                assert ("HUM", 2, 3) == (both.status, both.previews, both.version)
                assert {voice.voice_id: 3} == await orders.versions()

                await other.remove(voice.voice_id)
                assert await orders.change(voice.voice_id, slower) is None

        run(main())

    def test_a_table_that_cannot_be_had(self, tmp_path: Path) -> None:
        """Each kind says so by the same error."""

        async def main(where: str) -> None:
            with pytest.raises(OrdersError):
                async with open_orders(where):
                    pass

        run(main(str(tmp_path / "missing" / "orders")))
        run(main("postgresql://camb@127.0.0.1:9/none"))


async def changed_meanwhile(
    orders: Orders, voice_id: str, meanwhile: Any, how: Any
) -> None:
    """Change a voice, with something that happens between the look and the change."""
    get, waiting = orders.get, [meanwhile]

    async def get_first(voice_id: str) -> Voice | None:
        voice = await get(voice_id)
        while waiting:
            await waiting.pop()()
        return voice

    orders.get = get_first  # type: ignore[method-assign]
    await orders.change(voice_id, how)
    orders.get = get  # type: ignore[method-assign]


STATE = TaskState(TaskStatus.ERROR, exception_reason="WHY", message={"de": "Nein"})


class TestWords:
    """Every outcome has a title, a sentence and the recommended action."""

    @pytest.mark.parametrize(
        ("latest", "title", "action", "tone"),
        [
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
        self, latest: Transition, title: str, action: str, tone: str
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
                TaskParkedError("", task=TASK, state=None),
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


@attrs.frozen
class Counter:
    """A desk at which nobody watches or reads, and what lies behind it."""

    desk: Desk
    store: TaskStore
    orders: Orders


@asynccontextmanager
async def counter_at(where: Path, camb: CambSession) -> AsyncGenerator[Counter]:
    """Provide one."""
    async with (
        link_session(local=True) as http,
        SqliteStore(where / "web_app.db") as store,
        open_orders(str(where / "orders.db")) as orders,
    ):
        yield Counter(Desk(camb, store, orders, Previews(camb, http)), store, orders)


def test_what_was_written_down_and_no_more_is_watched_later(tmp_path: Path) -> None:
    """A process may be killed between the two."""
    ended = new().after(transition())
    assert ended is not None

    async def main() -> None:
        async with counter_at(tmp_path, CambSession("key")) as counter:
            await counter.orders.add(new())
            await counter.orders.add(ended)
            await counter.desk.open()
            await counter.desk.open()

            assert 1 == await counter.store.watching()
            assert 1 == len(counter.desk.board.running(ANN))

    run(main())


def test_order_that_cannot_be_written_down_is_explained(tmp_path: Path) -> None:
    """It is paid for, so nobody should send it again."""

    async def main() -> None:
        async with (
            served() as (_simulator, camb),
            counter_at(tmp_path, camb) as counter,
        ):
            with sqlite3.connect(tmp_path / "orders.db") as other:
                other.execute("drop table web_app_voice")
            other.close()
            order = counter.desk.order(ANN, description=DESCRIPTION, text="Hello")

            assert LEFT_UNWRITTEN == await order

    run(main())


def test_what_is_likely_left_is_streamed(tmp_path: Path) -> None:
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
            counter_at(tmp_path, camb) as counter,
        ):
            desk = counter.desk
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
