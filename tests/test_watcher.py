"""The watcher over a fake source, in virtual time."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections import Counter
from collections.abc import Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import anyio
import pytest

from camb_async import (
    APIStatusError,
    AuthenticationError,
    CambError,
    DeadlineExceededError,
    FixedInterval,
    InvalidTaskIdError,
    Limits,
    NotFoundError,
    PaymentRequiredError,
    PermissionDeniedError,
    RateLimitError,
    RetryPolicy,
    ServerError,
    ShareOfAge,
    TaskFailedError,
    TaskKind,
    TaskPaymentRequiredError,
    TaskRef,
    TaskState,
    TaskStatus,
    TaskTimeoutError,
    TaskWatcher,
    Transition,
    ValidationError,
    WatcherClosedError,
)

from .fakes import FakeStatusSource, refused, state
from .virtual_time import run, virtual_loop
from .watching import EVERY_SECOND, read_all, texts, watch


def error(error_class: type[APIStatusError], status: int) -> CambError:
    """Return what the API's refusal with this status raises."""
    return error_class("said no", status_code=status)


def test_each_change_is_reported_once_and_in_order() -> None:
    """Repeated statuses are no transitions; first sight is one."""
    script = ["PENDING", "PENDING", "QUEUED", "QUEUED", "PENDING", "SUCCESS"]
    transitions = watch(FakeStatusSource({"a": script}), "a")

    assert ["PENDING", "QUEUED", "PENDING", "SUCCESS"] == texts(transitions)
    assert [
        None,
        TaskStatus.PENDING,
        TaskStatus.UNKNOWN,
        TaskStatus.PENDING,
    ] == [t.previous for t in transitions]
    assert [1, 3, 5, 6] == [t.polls for t in transitions]
    assert [False, False, False, True] == [t.is_final for t in transitions]


def test_a_transition_tells_when_and_how_surely() -> None:
    """Elapsed counts from the add, uncertainty back to the poll before."""
    first, last = watch(
        FakeStatusSource({"a": ["PENDING", "PENDING", "SUCCESS"]}, latency=0.25), "a"
    )

    assert first.uncertainty is None
    assert pytest.approx(0.25) == first.elapsed
    assert last.uncertainty == pytest.approx(1.0 + 0.25 + 0.25, abs=0.15)
    assert last.elapsed == pytest.approx(3 * 0.25 + 2 * 1.0, abs=0.25)
    assert timedelta(0) == last.at.utcoffset()


@pytest.mark.parametrize(
    ("ending", "error_class"),
    [
        (state("SUCCESS", 7), None),
        (state("SUCCESS", 0), None),
        (TaskState(TaskStatus.SUCCESS), None),
        (state("ERROR"), TaskFailedError),
        (state("error"), TaskFailedError),
        (state("TIMEOUT"), TaskTimeoutError),
        (state("PAYMENT_REQUIRED"), TaskPaymentRequiredError),
        (
            TaskState(TaskStatus.ERROR, exception_reason="PAYMENT_REQUIRED"),
            TaskPaymentRequiredError,
        ),
    ],
    ids=str,
)
def test_a_final_status_ends_the_watch_with_its_error(
    ending: TaskState, error_class: type[CambError] | None
) -> None:
    """Each of the four final statuses is one final transition."""
    transitions = watch(FakeStatusSource({"a": ["PENDING", ending]}), "a")
    last = transitions[-1]

    assert 2 == len(transitions)
    assert ending == last.state
    assert last.is_final
    assert (error_class is None) == last.succeeded
    if error_class is None:
        assert last is last.raise_for_status()
    else:
        with pytest.raises(error_class) as caught:
            last.raise_for_status()
        assert ending == caught.value.state  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("refusal", "error_class"),
    [
        (error(AuthenticationError, 401), AuthenticationError),
        (error(PaymentRequiredError, 402), PaymentRequiredError),
        (error(PermissionDeniedError, 403), PermissionDeniedError),
        (error(ValidationError, 422), ValidationError),
    ],
    ids=["401", "402", "403", "422"],
)
def test_a_definitive_answer_ends_the_watch(
    refusal: CambError, error_class: type[CambError]
) -> None:
    """No further poll would change it, so there is none."""
    source = FakeStatusSource({"a": ["PENDING", refusal]})
    transitions = watch(source, "a")

    assert isinstance(transitions[-1].error, error_class)
    assert ["PENDING", "PENDING"] == texts(transitions)
    assert 2 == len(source.asked)


@pytest.mark.parametrize(
    "fault",
    [
        refused(),
        error(ServerError, 503),
        error(RateLimitError, 429),
        ValueError("a bug in the source"),
        asyncio.CancelledError(),
        TimeoutError(),
        None,
        {"status": "PENDING"},
    ],
    ids=repr,
)
def test_a_failed_poll_never_ends_a_task(fault: Any) -> None:
    """Twelve in a row are ridden out, whatever the source raises, or returns."""
    source = FakeStatusSource({"a": ["PENDING", *[fault] * 12, "SUCCESS"]})
    transitions = watch(source, "a")

    assert ["PENDING", "SUCCESS"] == texts(transitions)
    assert 14 == transitions[-1].polls


def test_a_404_is_final_only_after_its_grace() -> None:
    """A task that nobody ever saw is given up after not_found_grace seconds."""
    source = FakeStatusSource({"a": [error(NotFoundError, 404)]})
    (last,) = watch(source, "a")

    assert isinstance(last.error, NotFoundError)
    assert last.state is None
    assert last.status is None
    assert pytest.approx(10.0, abs=0.1) == last.elapsed


def test_a_404_is_ridden_out_when_something_else_is_answered() -> None:
    """The grace starts anew with each other answer."""
    missing = error(NotFoundError, 404)
    source = FakeStatusSource(
        {"a": ["PENDING", missing, "PENDING", *[missing] * 3, "PENDING", "SUCCESS"]}
    )

    assert ["PENDING", "SUCCESS"] == texts(watch(source, "a"))


def test_a_poll_that_hangs_does_not_hold_up_the_deadline() -> None:
    """The last poll is given two seconds."""
    source = FakeStatusSource(latency=1000.0)
    (last,) = watch(source, "a", deadline=10.0)

    assert isinstance(last.error, DeadlineExceededError)
    assert last.state is None
    assert last.elapsed == pytest.approx(12.0, abs=0.05)


@pytest.mark.parametrize("deadline", [0.4, 0.9, 2.1, 6.2, 14.4])
def test_no_deadline_is_lost_in_rounding(deadline: float) -> None:
    """Sums of these and two seconds do not subtract back to what they were."""
    (last,) = watch(FakeStatusSource(latency=1000.0), "a", deadline=deadline)

    assert pytest.approx(deadline + 2.0, abs=0.05) == last.elapsed


def test_no_deadline_means_no_deadline() -> None:
    """With None a task is watched for as long as it takes."""
    source = FakeStatusSource({"a": [*["PENDING"] * 200, "SUCCESS"]})
    last = watch(source, "a", deadline=None, schedule=FixedInterval(60.0))[-1]

    assert last.succeeded
    assert 3600.0 < last.elapsed


def test_deadlines_are_per_add() -> None:
    """Each task has its own; the watcher's is the default."""

    async def main() -> dict[str, float]:
        async with TaskWatcher(
            FakeStatusSource(), ["a"], deadline=30.0, schedule=EVERY_SECOND
        ) as watcher:
            watcher.add("b", deadline=5.0)
            watcher.add("c", deadline=0)
            return {t.task_id: t.elapsed for t in await read_all(watcher) if t.is_final}

    ended = run(main())

    assert {"a": 30.0, "b": 5.0, "c": 0.0} == pytest.approx(ended, abs=0.05)


def test_a_bad_task_touches_no_other() -> None:
    """One refused task among many changes nothing for the rest."""
    scripts: dict[str, list[Any]] = {
        f"t{n}": ["PENDING", "SUCCESS"] for n in range(100)
    }
    scripts["t50"] = [error(PermissionDeniedError, 403)]
    transitions = watch(FakeStatusSource(scripts), *scripts)
    finals = {t.task_id: t for t in transitions if t.is_final}

    assert 100 == len(finals)
    assert ["t50"] == [name for name, t in finals.items() if not t.succeeded]


def test_a_refused_key_ends_every_watch_and_all_polling() -> None:
    """After a 401 there is no new request, and each task has its final."""
    scripts: dict[str, list[Any]] = {f"t{n}": ["PENDING"] for n in range(50)}
    scripts["t7"] = ["PENDING", "PENDING", error(AuthenticationError, 401)]
    source = FakeStatusSource(scripts)
    transitions = watch(source, *scripts)
    finals = [t for t in transitions if t.is_final]
    refusal = source.polls("t7")[-1]

    assert 50 == len(finals)
    assert all(isinstance(t.error, AuthenticationError) for t in finals)
    assert all(t.status is TaskStatus.PENDING for t in finals)
    assert refusal == max(at for at, _ in source.asked)


def test_add_is_idempotent_while_watched_and_a_finished_task_may_come_again() -> None:
    """Two finals for two adds, one for an add that was repeated meanwhile."""

    async def main() -> tuple[list[str | None], int]:
        source = FakeStatusSource({"a": ["PENDING", "SUCCESS"]})
        async with TaskWatcher(source, schedule=EVERY_SECOND) as watcher:
            watcher.add("a", context=1)
            watcher.add("a", context=2)
            watcher.add(TaskRef("a", created_at=datetime.now(UTC)))
            count = len(watcher)
            first = await read_all(watcher)
            watcher.add("a", context=3)
            again = await read_all(watcher)
        contexts = [t.context for t in first + again]
        assert [1, 1, 3] == contexts

        return texts(first + again), count

    assert (["PENDING", "SUCCESS", "SUCCESS"], 1) == run(main())


def test_context_comes_back_on_every_transition() -> None:
    """A bot's chat id, or any object, is handed through."""

    async def main() -> list[Any]:
        source = FakeStatusSource({"a": ["PENDING", "SUCCESS"]})
        async with TaskWatcher(source, schedule=EVERY_SECOND) as watcher:
            watcher.add("a", context=chat)
            return [t.context async for t in watcher]

    chat = object()

    assert [chat, chat] == run(main())


def test_discard_gives_no_final_and_drops_what_is_unread() -> None:
    """A discarded task is silent, even where transitions of it were queued."""

    async def main() -> tuple[list[Transition], bool, bool]:
        source = FakeStatusSource({"b": ["PENDING", "PENDING", "SUCCESS"]})
        async with TaskWatcher(source, ["a", "b"], schedule=EVERY_SECOND) as watcher:
            await asyncio.sleep(0.5)
            discarded = watcher.discard("a"), watcher.discard("a")
            assert "a" not in watcher
            assert "b" in watcher

            return await read_all(watcher), *discarded

    transitions, first, second = run(main())

    assert (True, False) == (first, second)
    assert ["b", "b"] == [t.task_id for t in transitions]


def test_discard_in_flight_ignores_the_answer_and_add_starts_anew() -> None:
    """An answer to a poll of the old watch is not taken for the new one's."""

    async def main() -> list[Transition]:
        source = FakeStatusSource({"a": ["ERROR", "SUCCESS"]}, latency=1.0)
        async with TaskWatcher(source, ["a"], schedule=EVERY_SECOND) as watcher:
            await asyncio.sleep(0.5)
            watcher.discard("a")
            watcher.add("a")
            return await read_all(watcher)

    assert ["SUCCESS"] == texts(run(main()))


def test_discarding_the_last_task_ends_the_iteration() -> None:
    """A reader that waits is told that nothing is left."""

    async def main() -> list[Transition]:
        async with TaskWatcher(FakeStatusSource(), ["a"]) as watcher:
            await anext(watcher)
            asyncio.get_running_loop().call_later(5, watcher.discard, "a")
            return await read_all(watcher)

    assert [] == run(main())


def test_poll_now_does_not_wait_for_the_schedule() -> None:
    """A hint from elsewhere brings the next poll forward, once."""

    async def main() -> tuple[list[float], bool]:
        source = FakeStatusSource(latency=0.1)
        async with TaskWatcher(
            source, ["a"], schedule=FixedInterval(1000.0)
        ) as watcher:
            await asyncio.sleep(10)
            assert watcher.poll_now("a")
            assert watcher.poll_now("a")
            await asyncio.sleep(1)
            return source.polls("a"), watcher.poll_now("b")

    polls, unknown = run(main())

    assert [0.0, 10.0] == polls
    assert not unknown


def test_batch_ends_and_service_goes_on_until_close() -> None:
    """With keep_open the iteration waits for more tasks."""

    async def main() -> list[str]:
        source = FakeStatusSource({"a": ["SUCCESS"], "b": ["SUCCESS"]})
        async with TaskWatcher(source, ["a"], keep_open=True) as watcher:
            loop = asyncio.get_running_loop()
            loop.call_later(100, watcher.add, "b")
            loop.call_later(200, watcher.close)
            seen = [t.task_id async for t in watcher]
            with pytest.raises(WatcherClosedError, match="after close"):
                watcher.add("c")
        assert 200.0 == pytest.approx(loop.time())

        return seen

    assert ["a", "b"] == run(main())


def test_close_finishes_what_is_there() -> None:
    """After close the tasks that are watched are still watched to their end."""

    async def main() -> list[Transition]:
        source = FakeStatusSource({"a": [*["PENDING"] * 5, "SUCCESS"]})
        async with TaskWatcher(
            source, ["a"], keep_open=True, schedule=EVERY_SECOND
        ) as watcher:
            watcher.close()
            return await read_all(watcher)

    assert ["PENDING", "SUCCESS"] == texts(run(main()))


def test_an_empty_batch_ends_at_once() -> None:
    """There is nothing to wait for."""
    assert [] == watch(FakeStatusSource())


def test_several_readers_share_one_stream() -> None:
    """Each transition goes to exactly one of them, and all of them end."""

    async def main() -> list[list[Transition]]:
        names = [f"t{n}" for n in range(30)]
        source = FakeStatusSource({name: ["PENDING", "SUCCESS"] for name in names})
        async with TaskWatcher(source, names, schedule=EVERY_SECOND) as watcher:
            return await asyncio.gather(*(read_all(watcher) for _ in range(4)))

    parts = run(main())
    seen = Counter((t.task_id, t.status) for part in parts for t in part)

    assert 60 == len(seen)
    assert {1} == set(seen.values())


def test_a_cancelled_anext_swallows_nothing() -> None:
    """Readers that time out again and again still see every transition once."""

    async def main() -> list[Transition]:
        names = [f"t{n}" for n in range(10)]
        script = ["PENDING", *["PENDING"] * 3, "SUCCESS"]
        source = FakeStatusSource(dict.fromkeys(names, script), latency=0.01)
        seen: list[Transition] = []
        async with TaskWatcher(source, names, schedule=EVERY_SECOND) as watcher:
            while True:
                try:
                    seen.append(await asyncio.wait_for(anext(watcher), 0.003))
                except TimeoutError:
                    continue
                except StopAsyncIteration:
                    return seen

    seen = run(main())

    assert 20 == len(seen)
    assert 10 == sum(t.is_final for t in seen)


def test_a_reader_cancelled_as_it_is_woken_passes_the_turn_on() -> None:
    """The other reader gets what the cancelled one was woken for."""

    async def main() -> Transition:
        source = FakeStatusSource({"a": ["SUCCESS"]}, latency=1.0)
        async with TaskWatcher(source, ["a"]) as watcher:
            first = asyncio.ensure_future(anext(watcher))
            second = asyncio.ensure_future(anext(watcher))
            await asyncio.sleep(0.5)
            loop = asyncio.get_running_loop()

            def cancel_just_after(_task: TaskRef) -> None:
                loop.call_soon(lambda: loop.call_soon(first.cancel))

            source.on_poll = cancel_just_after
            with contextlib.suppress(asyncio.CancelledError):
                await first
            if first.cancelled():
                return await second
            second.cancel()
            return first.result()

    assert run(main()).succeeded


def test_a_reader_may_be_cancelled_as_the_block_is_left() -> None:
    """The cancelled reader is cancelled, and nothing else happens."""

    async def main() -> bool:
        async with TaskWatcher(FakeStatusSource(), keep_open=True) as watcher:
            reader = asyncio.ensure_future(read_all(watcher))
            await asyncio.sleep(1)
            reader.cancel()
        await asyncio.wait([reader])
        return reader.cancelled()

    assert run(main())


def test_a_lone_task_is_polled_at_once() -> None:
    """A task of unknown age may be finished already."""
    source = FakeStatusSource({"a": ["SUCCESS"]})
    (only,) = watch(source, "a")

    assert [0.0] == source.polls("a")
    assert only.elapsed == 0.0


def test_a_task_that_has_just_begun_is_polled_by_the_schedule() -> None:
    """With a known age the first poll waits for the schedule's first delay."""
    source = FakeStatusSource({"a": ["SUCCESS"]})
    watch(source, TaskRef("a", created_at=datetime.now(UTC)), schedule=ShareOfAge())
    (at,) = source.polls("a")

    assert pytest.approx(0.5, abs=0.15) == at


def test_an_old_task_is_polled_at_once_and_then_by_its_age() -> None:
    """started_at counts, as created_at does."""

    async def main() -> list[float]:
        source = FakeStatusSource({"a": ["PENDING", "SUCCESS"]})
        async with TaskWatcher(source, schedule=ShareOfAge(cap=100.0)) as watcher:
            watcher.add("a", started_at=datetime.now(UTC) - timedelta(seconds=100))
            await read_all(watcher)
        return source.polls("a")

    first, second = run(main())

    assert 0.0 == first
    assert 12.0 - 0.1 <= second - first <= 18.0 + 0.1


def test_no_more_polls_at_once_than_the_limits_allow() -> None:
    """The pollers are as many as the source's max_in_flight."""
    names = [f"t{n}" for n in range(100)]
    source = FakeStatusSource(
        {name: ["PENDING", "SUCCESS"] for name in names},
        latency=0.3,
        limits=Limits(max_in_flight=7),
    )
    watch(source, *names)

    assert 7 == source.most_in_flight


def test_waiters_and_the_iterator_share_one_stream_of_polls() -> None:
    """Ten waiters cost as many polls as one."""

    async def main() -> tuple[list[TaskState], int, list[Transition]]:
        source = FakeStatusSource({"a": [*["PENDING"] * 4, "SUCCESS"]})
        async with TaskWatcher(source, ["a"], schedule=EVERY_SECOND) as watcher:
            states = await asyncio.gather(*(watcher.wait("a") for _ in range(10)))
            return states, len(source.asked), await read_all(watcher)

    states, polls, transitions = run(main())

    assert [state("SUCCESS")] * 10 == states
    assert 5 == polls
    assert ["PENDING", "SUCCESS"] == texts(transitions)


def test_what_only_waiters_asked_for_is_not_reported() -> None:
    """A wait leaves nothing behind for the iterator."""

    async def main() -> list[Transition]:
        source = FakeStatusSource({"a": ["PENDING", "SUCCESS"]})
        async with TaskWatcher(source, schedule=EVERY_SECOND) as watcher:
            await watcher.wait("a")
            assert 0 == len(watcher)

            return await read_all(watcher)

    assert [] == run(main())


def test_adding_a_task_that_is_waited_for_reports_what_is_known() -> None:
    """First sight of the iterator is a change, though the task was polled before."""

    async def main() -> tuple[list[Transition], list[float]]:
        source = FakeStatusSource({"a": [*["PENDING"] * 9, "SUCCESS"]})
        async with TaskWatcher(source, schedule=EVERY_SECOND) as watcher:
            waiter = asyncio.ensure_future(watcher.wait("a"))
            await asyncio.sleep(4.5)
            watcher.add("a", context="later")
            transitions = await read_all(watcher)
            await waiter
        return transitions, source.polls("a")

    (first, last), polls = run(main())

    assert first.previous is None
    assert first.uncertainty is None
    assert 0.0 == first.elapsed
    assert last.succeeded
    assert 10 == len(polls)


def test_polling_stops_when_the_last_waiter_is_gone() -> None:
    """Cancelling a wait cancels only that wait."""

    async def main() -> tuple[int, int]:
        source = FakeStatusSource()
        async with TaskWatcher(source, schedule=EVERY_SECOND) as watcher:
            one = asyncio.ensure_future(watcher.wait("a"))
            two = asyncio.ensure_future(watcher.wait("a"))
            await asyncio.sleep(3.5)
            one.cancel()
            await asyncio.sleep(3.0)
            before = len(source.asked)
            assert not two.done()

            two.cancel()
            await asyncio.sleep(10.0)
            assert 0 == len(watcher)

            return before, len(source.asked)

    before, after = run(main())

    assert before == after
    assert before >= 6


def test_each_waiter_has_its_own_deadline() -> None:
    """One gives up after its last poll while the other goes on waiting."""

    async def main() -> tuple[float, TaskState]:
        source = FakeStatusSource({"a": [*["PENDING"] * 20, "SUCCESS"]})
        loop = asyncio.get_running_loop()
        async with TaskWatcher(source, schedule=EVERY_SECOND) as watcher:
            patient = asyncio.ensure_future(watcher.wait("a"))
            await asyncio.sleep(1)
            with pytest.raises(DeadlineExceededError) as caught:
                await watcher.wait("a", deadline=4.25)
            assert pytest.approx(4.25, abs=0.05) == caught.value.elapsed

            return loop.time(), await patient

    at, final = run(main())

    assert pytest.approx(5.25, abs=0.05) == at
    assert state("SUCCESS") == final


def test_a_deadline_of_the_listing_does_not_end_a_wait() -> None:
    """The iterator gets its final; the waiter waits on."""

    async def main() -> tuple[list[Transition], TaskState]:
        source = FakeStatusSource({"a": [*["PENDING"] * 20, "SUCCESS"]})
        async with TaskWatcher(source, schedule=EVERY_SECOND) as watcher:
            watcher.add("a", deadline=5.0)
            waiter = asyncio.ensure_future(watcher.wait("a", deadline=None))
            transitions = await read_all(watcher)
            return transitions, await waiter

    transitions, final = run(main())

    assert isinstance(transitions[-1].error, DeadlineExceededError)
    assert state("SUCCESS") == final


def test_discard_leaves_waiters_alone() -> None:
    """Who waits goes on waiting when the iterator loses interest."""

    async def main() -> TaskState:
        source = FakeStatusSource({"a": [*["PENDING"] * 5, "SUCCESS"]})
        async with TaskWatcher(source, ["a"], schedule=EVERY_SECOND) as watcher:
            waiter = asyncio.ensure_future(watcher.wait("a"))
            await asyncio.sleep(2.5)
            watcher.discard("a")
            assert [] == await read_all(watcher)

            return await waiter

    assert state("SUCCESS") == run(main())


def test_waiters_raise_errors_of_their_own() -> None:
    """Equal errors, not one object whose tracebacks mix."""

    async def main() -> list[BaseException]:
        source = FakeStatusSource({"a": ["ERROR"]})
        async with TaskWatcher(source) as watcher:
            outcomes = await asyncio.gather(
                watcher.wait("a"), watcher.wait("a"), return_exceptions=True
            )
        return [o for o in outcomes if isinstance(o, BaseException)]

    one, two = run(main())

    assert one is not two
    assert isinstance(one, TaskFailedError)
    assert str(one) == str(two)


def test_leaving_the_block_leaves_no_task_behind() -> None:
    """Polls under way are cancelled, timers too, and a running loop ends."""

    async def main() -> tuple[set[asyncio.Task[Any]], list[Transition], int]:
        source = FakeStatusSource(latency=5.0)
        async with TaskWatcher(source, [f"t{n}" for n in range(50)]) as watcher:
            reader = asyncio.ensure_future(read_all(watcher))
            waiter = asyncio.ensure_future(watcher.wait("w"))
            await asyncio.sleep(1.0)
        transitions = await reader
        with pytest.raises(WatcherClosedError, match="left"):
            await waiter
        return (
            asyncio.all_tasks() - {asyncio.current_task()},
            transitions,
            source.in_flight,
        )

    tasks, transitions, in_flight = run(main())

    assert set() == tasks
    assert [] == transitions
    assert 0 == in_flight


def test_what_is_unread_can_be_read_after_the_block() -> None:
    """Nothing that was seen is lost because the block ended."""

    async def main() -> list[Transition]:
        async with TaskWatcher(FakeStatusSource({"a": ["SUCCESS"]}), ["a"]) as watcher:
            await asyncio.sleep(1)
        transitions = await read_all(watcher)
        with pytest.raises(WatcherClosedError, match="left"):
            await read_all(watcher)
        return transitions

    assert ["SUCCESS"] == texts(run(main()))


def _use_unentered(watcher: TaskWatcher) -> list[Coroutine[Any, Any, Any]]:
    return [anext(watcher), watcher.wait("a"), read_all(watcher)]


def test_a_watcher_outside_its_block_says_what_to_do() -> None:
    """Before, after and twice: each is a WatcherClosedError."""

    async def main() -> None:
        watcher = TaskWatcher(FakeStatusSource(), ["a"])
        assert 0 == len(watcher)
        assert "a" not in watcher
        assert "not entered" in repr(watcher)
        for use in _use_unentered(watcher):
            with pytest.raises(WatcherClosedError, match="async with"):
                await use
        with pytest.raises(WatcherClosedError, match="async with"):
            watcher.add("b")
        async with watcher:
            assert "open, watching 1" in repr(watcher)
        assert "left" in repr(watcher)
        with pytest.raises(WatcherClosedError, match="left"):
            watcher.add("b")
        with pytest.raises(WatcherClosedError, match="left"):
            await watcher.wait("b")
        with pytest.raises(WatcherClosedError, match="once"):
            await watcher.__aenter__()

    run(main())


@pytest.mark.parametrize("bad", [".", "a/b", "", "a b", "x" * 257, 5, None])
def test_bad_ids_are_refused_before_any_poll(bad: Any) -> None:
    """In the constructor, in add, in wait, in discard and in poll_now."""

    async def main() -> list[tuple[float, str]]:
        source = FakeStatusSource()
        with pytest.raises(InvalidTaskIdError):
            TaskWatcher(source, [bad])
        async with TaskWatcher(source) as watcher:
            assert bad not in watcher
            for method in (watcher.add, watcher.discard, watcher.poll_now):
                with pytest.raises(InvalidTaskIdError):
                    method(bad)
            with pytest.raises(InvalidTaskIdError):
                await watcher.wait(bad)
        return source.asked

    assert [] == run(main())


def test_a_lone_id_is_not_taken_for_many() -> None:
    """A str is an iterable of letters; that is never meant."""
    with pytest.raises(TypeError, match="several"):
        TaskWatcher(FakeStatusSource(), "abc")


@pytest.mark.parametrize("seconds", [-1.0, float("nan")])
def test_a_deadline_is_a_number_of_seconds(seconds: float) -> None:
    """Negative and NaN are refused wherever one is given."""

    async def main() -> None:
        with pytest.raises(ValueError, match="deadline"):
            TaskWatcher(FakeStatusSource(), deadline=seconds)
        async with TaskWatcher(FakeStatusSource()) as watcher:
            with pytest.raises(ValueError, match="deadline"):
                watcher.add("a", deadline=seconds)
            with pytest.raises(ValueError, match="deadline"):
                await watcher.wait("a", deadline=seconds)
            for began in (datetime(2026, 1, 1), "2026-01-01"):  # noqa: DTZ001
                with pytest.raises(ValueError, match="time zone"):
                    watcher.add("a", started_at=cast("datetime", began))
            assert 0 == len(watcher)

    run(main())


def test_kinds_are_told_apart() -> None:
    """The same id of two kinds is two tasks; a str means text-to-voice."""

    async def main() -> tuple[int, bool, bool, bool]:
        async with TaskWatcher(
            FakeStatusSource(), ["a", TaskRef("a", TaskKind.DUB)]
        ) as watcher:
            return (
                len(watcher),
                "a" in watcher,
                TaskRef("a", TaskKind.DUB) in watcher,
                TaskRef("a", TaskKind.TTS) in watcher,
            )

    assert (2, True, True, False) == run(main())


def test_stats_count_what_happened() -> None:
    """Every figure is about this watcher."""

    async def main() -> None:
        source = FakeStatusSource(
            {
                "a": ["PENDING", "SUCCESS"],
                "b": [refused(), "ERROR"],
                "c": [error(PermissionDeniedError, 403)],
                "d": [refused()],
            }
        )
        async with TaskWatcher(
            source, ["a", "b", "c", "d"], schedule=EVERY_SECOND
        ) as watcher:
            await asyncio.sleep(3)
            stats = watcher.stats()
            assert 1 == stats.watching
            assert 1 == stats.failing
            assert 0 == stats.in_flight
            assert len(source.asked) == stats.polls
            assert len(source.polls("d")) + 2 == stats.failed_polls
            assert 4 == stats.transitions
            assert {
                TaskStatus.SUCCESS: 1,
                TaskStatus.ERROR: 1,
                TaskStatus.UNKNOWN: 1,
            } == stats.finished
            assert 0.0 <= stats.lag_p99 <= 0.05

            (only,) = watcher.watched()
            assert TaskRef("d") == only.task
            assert only.state is None
            assert only.error is not None
            assert pytest.approx(3.0) == only.elapsed

            # It may be called up at this very moment, and then is not a moment later.
            await asyncio.sleep(0.0 if only.next_poll is not None else 0.05)
            (only,) = watcher.watched()
            assert only.next_poll is not None

    run(main())


@pytest.mark.parametrize("delay", [float("nan"), -5.0, float("inf"), 0.0])
def test_a_schedule_that_errs_cannot_stop_a_watch(delay: float) -> None:
    """Odd delays are made usable ones."""

    class Odd(FixedInterval):
        def next_delay(
            self, task: TaskRef, age: float, *, age_known: bool = True
        ) -> float:
            del task, age, age_known
            return delay

    source = FakeStatusSource({"a": ["PENDING", "SUCCESS"]}, latency=0.01)
    last = watch(source, "a", schedule=Odd(), deadline=None)[-1]

    assert last.succeeded


def test_the_schedule_learns_from_tasks_of_known_age() -> None:
    """It is told between which two polls a task ended, or that it was given up."""
    learnt: list[tuple[str, float, float, float]] = []

    class Learning(FixedInterval):
        def learn(
            self, task: TaskRef, lower: float, upper: float, *, entry: float = 0.0
        ) -> None:
            learnt.append((task.task_id, lower, upper, entry))

    now = datetime.now(UTC)
    source = FakeStatusSource(
        {"new": ["PENDING", "SUCCESS"], "old": ["SUCCESS"], "unknown": ["SUCCESS"]}
    )
    watch(
        source,
        TaskRef("new", created_at=now),
        TaskRef("old", created_at=now - timedelta(seconds=60)),
        TaskRef("stuck", created_at=now),
        "unknown",
        schedule=Learning(10.0),
        deadline=25.0,
    )
    by_id = {task_id: rest for task_id, *rest in learnt}

    assert {"new", "old", "stuck"} == set(by_id)
    assert by_id["new"] == pytest.approx([10.0, 20.0, 0.0], abs=2.2)
    assert by_id["old"] == pytest.approx([0.0, 60.0, 60.0], abs=0.5)
    assert by_id["stuck"][1] == float("inf")
    assert by_id["stuck"][0] >= 20.0 - 2.0


def test_an_outage_is_logged_once_and_so_is_its_end(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """One record when polling starts to fail and one when it recovers."""
    caplog.set_level("INFO", "camb_async")
    source = FakeStatusSource({"a": ["PENDING", *[refused()] * 6, "SUCCESS"]})
    watch(source, "a")
    messages = [r.getMessage() for r in caplog.records]

    assert 1 == sum("fails" in m for m in messages)
    assert 1 == sum("works after 6" in m for m in messages)


def test_backoff_of_a_watch_follows_the_policy_of_the_source() -> None:
    """Delays after failures stay below the policy's bounds, as the budget allows."""
    retry = RetryPolicy(backoff_initial=0.1, backoff_max=0.4)
    source = FakeStatusSource({"a": [*[refused()] * 15, "SUCCESS"]}, retry=retry)
    watch(source, "a")
    polls = source.polls("a")
    gaps = [b - a for a, b in itertools.pairwise(polls)]

    assert max(gaps) <= 0.4 + 0.021
    assert gaps[0] <= 0.1 + 0.021


def test_thousands_of_tasks_end_each_exactly_once() -> None:
    """Random faults and endings; one final per task, with its own status."""
    names = [f"t{n}" for n in range(2_000)]
    endings = ["SUCCESS", "ERROR", "TIMEOUT", "PAYMENT_REQUIRED"]
    scripts: dict[str, list[Any]] = {
        name: ["PENDING", refused(), *["PENDING"] * (n % 5), endings[n % 4]]
        for n, name in enumerate(names)
    }
    transitions = watch(
        FakeStatusSource(scripts, latency=0.05, limits=Limits(max_in_flight=200)),
        *names,
    )
    finals = {t.task_id: t.status for t in transitions if t.is_final}

    assert 4_000 == len(transitions)
    assert {name: TaskStatus(endings[n % 4]) for n, name in enumerate(names)} == finals


def test_a_process_that_was_held_up_for_long_makes_its_last_poll() -> None:
    """However long after the deadline it goes on, it looks before it gives up."""

    async def main() -> list[Transition]:
        source = FakeStatusSource({"a": ["PENDING", "SUCCESS"]})
        async with TaskWatcher(source, ["a"], deadline=60, schedule=EVERY_SECOND) as w:
            await asyncio.sleep(0.5)
            virtual_loop().sleep_through(5000)
            return await read_all(w)

    assert ["PENDING", "SUCCESS"] == texts(run(main()))


def test_a_herd_at_one_deadline_makes_all_its_last_polls() -> None:
    """Where all must look at once, each has its turn, though it takes a while."""
    names = [f"t{n}" for n in range(200)]
    source = FakeStatusSource(latency=0.5, limits=Limits(max_in_flight=10))

    def finish(task: TaskRef) -> None:
        if asyncio.get_running_loop().time() >= 50.0:
            source.script(task.task_id, "SUCCESS")

    source.on_poll = finish
    transitions = watch(source, *names, deadline=50.0, schedule=FixedInterval(1000.0))

    assert 200 == sum(t.succeeded for t in transitions)


def test_a_last_poll_whose_turn_never_comes_is_given_up() -> None:
    """A source that hangs holds up the end, but not for ever."""
    source = FakeStatusSource(latency=1e6, limits=Limits(max_in_flight=1))
    transitions = watch(source, "a", "b", deadline=10.0)
    ended = {t.task_id: t.elapsed for t in transitions}

    assert pytest.approx({"a": 12.0, "b": 70.0}, abs=0.1) == ended


def test_a_task_that_changes_often_holds_up_no_other() -> None:
    """Tasks take turns with a reader that is slower than one of them."""

    async def main() -> float:
        flapping = ["S0", "S1"] * 10_000
        source = FakeStatusSource({"a": flapping, "b": [*["PENDING"] * 20, "SUCCESS"]})
        async with TaskWatcher(
            source, ["a", "b"], schedule=FixedInterval(0.5)
        ) as watcher:
            async for transition in watcher:
                if transition.succeeded:
                    break
                await asyncio.sleep(1)
        return asyncio.get_running_loop().time()

    assert run(main()) < 15.0


def test_close_before_the_block_finishes_what_is_there() -> None:
    """The first tasks are watched; there is just no more to come."""

    async def main() -> list[Transition]:
        watcher = TaskWatcher(FakeStatusSource({"a": ["SUCCESS"]}), ["a"])
        watcher.close()
        async with watcher:
            return await read_all(watcher)

    assert ["SUCCESS"] == texts(run(main()))


@pytest.mark.parametrize("deadline", [1e308, float("inf")])
def test_a_deadline_beyond_all_time_is_none(deadline: float) -> None:
    """Such a number is not computed with."""
    source = FakeStatusSource({"a": ["PENDING", "SUCCESS"]})

    assert watch(source, "a", deadline=deadline)[-1].succeeded


def test_a_poll_that_is_due_as_the_scope_ends_harms_nothing() -> None:
    """The pollers may be cancelled already when the clock says that it is time."""
    complaints: list[dict[str, Any]] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _loop, context: complaints.append(context))
        with anyio.move_on_after(10):
            async with TaskWatcher(
                FakeStatusSource(), ["a"], deadline=10, schedule=FixedInterval(3.0)
            ) as watcher:
                await read_all(watcher)

    run(main())

    assert [] == complaints


def test_a_task_taken_up_again_repeats_no_transition() -> None:
    """What was seen before a restart is where the story goes on."""
    source = FakeStatusSource({"a": ["PENDING", "PENDING", "QUEUED", "SUCCESS"]})
    began = datetime.now(UTC) - timedelta(seconds=500)

    async def main() -> list[Transition]:
        async with TaskWatcher(source, schedule=EVERY_SECOND) as watcher:
            watcher.add("a", started_at=began, last_state=state("PENDING"))
            return await read_all(watcher)

    first, final = run(main())

    assert (TaskStatus.PENDING, "QUEUED") == (first.previous, texts([first])[0])
    assert first.uncertainty == pytest.approx(1.0, abs=0.2)
    assert (TaskStatus.UNKNOWN, TaskStatus.SUCCESS) == (final.previous, final.status)


@pytest.mark.parametrize(("seconds_ago", "expected"), [(500, 500.0), (None, None)])
def test_a_state_from_elsewhere_may_be_as_old_as_its_task(
    seconds_ago: int | None, expected: float | None
) -> None:
    """The first change from it is no more certain than that; or nobody knows."""
    source = FakeStatusSource({"a": ["QUEUED", "SUCCESS"]})
    began = None
    if seconds_ago is not None:
        began = datetime.now(UTC) - timedelta(seconds=seconds_ago)

    async def main() -> list[Transition]:
        async with TaskWatcher(source, schedule=EVERY_SECOND) as watcher:
            watcher.add("a", started_at=began, last_state=state("PENDING"))
            return await read_all(watcher)

    first, final = run(main())

    assert first.uncertainty == pytest.approx(expected, abs=10.0)
    assert final.uncertainty == pytest.approx(1.0, abs=0.2)


def test_a_task_taken_up_again_may_end_unseen() -> None:
    """Its last state is the one from before, also at the deadline."""
    source = FakeStatusSource({"a": [refused()]})

    async def main() -> list[Transition]:
        async with TaskWatcher(source, schedule=EVERY_SECOND) as watcher:
            watcher.add("a", deadline=3.0, last_state=state("PENDING"))
            return await read_all(watcher)

    (final,) = run(main())

    assert (TaskStatus.PENDING, TaskStatus.PENDING) == (final.previous, final.status)
    assert isinstance(final.error, DeadlineExceededError)
    assert "still PENDING" in str(final.error)


def test_a_task_that_has_ended_is_not_taken_up_again() -> None:
    """There would be nothing to report."""

    async def main() -> None:
        async with TaskWatcher(FakeStatusSource()) as watcher:
            with pytest.raises(ValueError, match="ended already, as SUCCESS"):
                watcher.add("a", last_state=state("SUCCESS"))
            assert 0 == len(watcher)

    run(main())


def test_a_batch_is_all_that_is_there() -> None:
    """At least one transition, at most as many as wanted, and an end."""
    names = [f"t{n}" for n in range(10)]
    source = FakeStatusSource({name: ["SUCCESS"] for name in names})

    async def main() -> list[int]:
        sizes: list[int] = []
        async with TaskWatcher(source, names, schedule=EVERY_SECOND) as watcher:
            await asyncio.sleep(5)
            sizes.append(len(await watcher.next_batch(3)))
            sizes.append(len(await watcher.next_batch()))
            with pytest.raises(StopAsyncIteration):
                await watcher.next_batch()
        return sizes

    assert [3, 7] == run(main())


def test_a_cancelled_batch_swallows_nothing() -> None:
    """Who waits for one and gives up leaves the next transition where it is."""
    source = FakeStatusSource({"a": ["PENDING", "SUCCESS"]})

    async def main() -> list[Transition]:
        read: list[Transition] = []
        async with TaskWatcher(source, ["a"], schedule=FixedInterval(3)) as watcher:
            while True:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(0.7):
                        try:
                            read += await watcher.next_batch()
                        except StopAsyncIteration:
                            return read

    assert ["PENDING", "SUCCESS"] == texts(run(main()))


def test_what_cannot_be_asked_is_refused_at_once() -> None:
    """Task ids in place of the session would watch nothing, or fail for an hour."""
    with pytest.raises(TypeError, match="such as a CambSession, not list"):
        TaskWatcher(["a"])  # type: ignore[arg-type]
