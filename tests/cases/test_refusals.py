"""Cases 14 to 18: answers that say no, or not now."""

from __future__ import annotations

import asyncio
from collections import Counter
from itertools import pairwise

import pytest

from camb_async import (
    APIStatusError,
    AuthenticationError,
    CambError,
    CambSession,
    FixedInterval,
    Limits,
    NotFoundError,
    PaymentRequiredError,
    PermissionDeniedError,
    RateLimitError,
    RetryPolicy,
    ServerError,
    TaskPaymentRequiredError,
    TaskStatus,
    Transition,
    UnexpectedRedirectError,
    ValidationError,
)
from camb_async.simulator import Fault, Simulator
from tests.helpers import DESCRIPTION, QUICK, SOON, served
from tests.helpers import run_in_virtual_time as run


FIVE = Limits(max_in_flight=5, max_rate=None)
DATE = "Wed, 21 Oct 2015 07:28:00 GMT"
#: Seconds by which a timer may be early, and a log of loop times with it.
EARLY = 0.005


def refused(simulator: Simulator) -> int:
    """Return how many requests were answered 401."""
    return sum(request.answer == 401 for request in simulator.requests)


def asked(simulator: Simulator) -> Counter[str]:
    """Return how many requests there were for each task."""
    return Counter(r.path.rpartition("/")[2] for r in simulator.requests)


def gaps(simulator: Simulator) -> list[float]:
    """Return the seconds between one request and the next."""
    return [after.at - before.at for before, after in pairwise(simulator.requests)]


# 14: the key is refused.


def test_case_14_a_refused_key_ends_a_thousand_watches_at_once() -> None:
    """Only what was under way is refused; all can be added again as they were."""

    async def main() -> None:
        async with served(limits=FIVE) as (simulator, camb):
            tasks = [simulator.add_task(after=1000) for _ in range(1000)]
            async with camb.watch(schedule=FixedInterval(0.3)) as watcher:
                for number, task in enumerate(tasks):
                    watcher.add(task, context=number)
                seen = [await anext(watcher) for _ in tasks]
                assert {TaskStatus.PENDING} == {t.status for t in seen}

                simulator.api_key = "revoked"
                finals = [transition async for transition in watcher]
            assert sorted(tasks) == sorted(t.task_id for t in finals)
            assert {AuthenticationError} == {type(t.error) for t in finals}
            assert {TaskStatus.PENDING} == {t.status for t in finals}
            assert refused(simulator) <= 5

            simulator.api_key = "simulator-key"
            async with camb.watch(schedule=FixedInterval(0.3)) as watcher:
                for final in finals:
                    watcher.add(final.task, context=final.context)
                again = [await anext(watcher) for _ in tasks]
            contexts = {t.task_id: t.context for t in again}
            assert {task: number for number, task in enumerate(tasks)} == contexts

    run(main())


def test_case_14_a_new_key_is_used_for_a_thousand_watches() -> None:
    """A callable that knows another key is asked once, and no watch ends."""
    keys: list[str] = []

    def provide() -> str:
        keys.append("new" if keys else "old")
        return keys[-1]

    async def main() -> None:
        async with (
            Simulator(api_key="new") as simulator,
            CambSession(provide, base_url=simulator.base_url, limits=FIVE) as camb,
        ):
            tasks = [simulator.add_task(after=0) for _ in range(1000)]
            async with camb.watch(tasks, schedule=SOON) as watcher:
                finals = [transition async for transition in watcher]
            assert sorted(tasks) == sorted(t.task_id for t in finals)
            assert all(t.succeeded for t in finals)
            assert 1 <= refused(simulator) <= 5
            assert ["old", "new"] == keys

    run(main())


def test_case_14_a_callable_that_repeats_itself_is_asked_once_more() -> None:
    """Then it is as with a key that cannot change."""
    keys: list[str] = []

    async def provide() -> str:
        await asyncio.sleep(0.05)  # in which nothing else may leave
        keys.append("old")
        return keys[-1]

    async def main() -> None:
        async with (
            Simulator(api_key="new") as simulator,
            CambSession(provide, base_url=simulator.base_url, limits=FIVE) as camb,
        ):
            tasks = [simulator.add_task(after=0) for _ in range(1000)]
            async with camb.watch(tasks, schedule=SOON) as watcher:
                finals = [transition async for transition in watcher]
            assert sorted(tasks) == sorted(t.task_id for t in finals)
            assert {AuthenticationError} == {type(t.error) for t in finals}
            assert len(simulator.requests) <= 5
            assert ["old", "old"] == keys

    run(main())


def test_case_14_a_callable_that_fails_as_the_key_changes_ends_no_watch() -> None:
    """It says nothing of the key: polls have failed, and the next one asks again."""
    answers: list[str | Exception] = ["old", OSError(), OSError(), "new"]

    def provide() -> str:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def main() -> None:
        async with (
            Simulator(api_key="new") as simulator,
            CambSession(
                provide, base_url=simulator.base_url, limits=FIVE, retry=QUICK
            ) as camb,
        ):
            tasks = [simulator.add_task(after=0) for _ in range(20)]
            async with camb.watch(tasks, schedule=SOON) as watcher:
                finals = [transition async for transition in watcher]
            assert sorted(tasks) == sorted(t.task_id for t in finals if t.succeeded)
            assert not answers

    run(main())


def test_case_14_all_watchers_of_the_session_end_at_once() -> None:
    """After one refusal no poll of another watcher leaves, however calm it is."""

    async def main() -> None:
        limits = Limits(max_in_flight=1, max_rate=None)
        async with served(limits=limits) as (simulator, camb):
            tasks = [simulator.add_task(after=1000) for _ in range(40)]
            async with (
                camb.watch(tasks[:20], schedule=SOON) as busy,
                camb.watch(tasks[20:], schedule=FixedInterval(0.5)) as calm,
            ):
                for watcher in [busy, calm] * 20:
                    await anext(watcher)
                simulator.api_key = "revoked"
                finals = [t async for t in busy] + [t async for t in calm]
            assert sorted(tasks) == sorted(t.task_id for t in finals)
            assert {AuthenticationError} == {type(t.error) for t in finals}
            assert {TaskStatus.PENDING} == {t.status for t in finals}
            assert 1 == refused(simulator)

    run(main())


def test_case_14_a_call_after_a_refusal_is_sent() -> None:
    """Who was told of it may ask again at once, and is answered by the server."""

    async def main() -> None:
        async with served() as (simulator, camb):
            key, simulator.api_key = simulator.api_key, "revoked"
            task = simulator.add_task(after=0)
            with pytest.raises(AuthenticationError):
                await camb.poll(task)
            simulator.api_key = key
            assert (await camb.poll(task)).is_final

    run(main())


def test_case_14_a_403_ends_that_task_only() -> None:
    """One among a hundred; the others end as they do."""

    async def main() -> None:
        async with served() as (simulator, camb):
            tasks = [simulator.add_task(after=0.1) for _ in range(99)]
            foreign = simulator.add_task(answers=["PENDING", "403"])
            async with camb.watch([*tasks, foreign], schedule=SOON) as watcher:
                finals = {t.task_id: t async for t in watcher if t.is_final}
            assert PermissionDeniedError is type(finals.pop(foreign).error)
            assert 2 == asked(simulator)[foreign]
            assert set(tasks) == set(finals)
            assert all(final.succeeded for final in finals.values())

    run(main())


# 15: no credits.


async def _without_credits(*answers: str | Fault) -> Transition:
    """Return the end of one task so answered, and see the others succeed."""
    async with served() as (simulator, camb):
        tasks = [simulator.add_task(after=0.1) for _ in range(20)]
        broke = simulator.add_task(answers=answers, exception_reason="PAYMENT_REQUIRED")
        async with camb.watch([*tasks, broke], schedule=SOON) as watcher:
            finals = {t.task_id: t async for t in watcher if t.is_final}
        end = finals.pop(broke)
        assert len(answers) == asked(simulator)[broke]
        assert set(tasks) == set(finals)
        assert all(final.succeeded for final in finals.values())

        return end


@pytest.mark.parametrize(
    ("answer", "error_class"),
    [
        ("402", PaymentRequiredError),
        ("PAYMENT_REQUIRED", TaskPaymentRequiredError),
        ("ERROR", TaskPaymentRequiredError),
    ],
)
def test_case_15_a_lack_of_credits_ends_that_task_only(
    answer: str, error_class: type[Exception]
) -> None:
    """As an HTTP status, as a status or as its reason: it says what to do."""
    end = run(_without_credits("PENDING", answer))

    assert error_class is type(end.error)
    assert "Add credits to the account" in str(end.error)
    with pytest.raises(error_class):
        end.raise_for_status()


def test_case_15_a_create_without_credits_is_not_sent_again() -> None:
    """The answer is told as it is, and the session goes on."""

    async def main() -> None:
        async with served() as (simulator, camb):
            simulator.fail("402", method="POST")
            with pytest.raises(PaymentRequiredError, match="Add credits"):
                await camb.create_text_to_voice(text="a", voice_description=DESCRIPTION)
            assert 1 == len(simulator.requests)
            await camb.create_text_to_voice(text="a", voice_description=DESCRIPTION)

    run(main())


# 16: a task that is not there, or not there yet.


def test_case_16_a_404_right_after_create_is_ridden_out() -> None:
    """A task may become visible a little later than its id."""

    async def main() -> None:
        async with served(speed=20) as (simulator, camb):
            task = await camb.create_text_to_voice(
                text="a", voice_description=DESCRIPTION
            )
            simulator.fail("404", times=3, task_id=task.task_id)
            assert (await camb.wait(task, schedule=SOON)).is_final
            assert 3 == sum(r.answer == "404" for r in simulator.requests)

    run(main())


def test_case_16_a_404_is_final_after_its_grace() -> None:
    """It is asked for through all of the grace, and no longer."""

    async def main() -> None:
        async with served() as (simulator, camb):
            with pytest.raises(NotFoundError, match="check the id, the kind"):
                await camb.wait("nobody-made-this", schedule=SOON)
            times = [request.at for request in simulator.requests]
            assert 2 <= len(times)
            assert times[-1] - times[0] >= QUICK.not_found_grace - EARLY

    run(main())


@pytest.mark.parametrize(
    "other", [Fault("slow", seconds=0.2), Fault("503_retry_after", retry_after="0.2")]
)
def test_case_16_any_other_answer_starts_the_grace_anew(other: Fault) -> None:
    """For longer than a grace in all, yet never one at a time."""

    async def main() -> None:
        async with served() as (simulator, camb):
            task = simulator.add_task(
                answers=["404", other, "404", other, "404", "SUCCESS"]
            )
            assert (await camb.wait(task, schedule=SOON)).is_final

    run(main())


# 17: which answers are worth another try.


TRIES = RetryPolicy(attempts=2, backoff_initial=0.001, backoff_max=0.01)


def _tries(**headers: str) -> dict[int, int]:
    """Return how often a read is sent that is answered by each of the statuses."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}

    async def main() -> dict[int, int]:
        tries: dict[int, int] = {}
        async with Simulator() as simulator:
            for status in range(400, 600):
                fault = Fault("http", status=status, headers=named)
                task = simulator.add_task(answers=[fault])
                # A session of its own: one that was refused much insists less.
                async with CambSession(
                    simulator.api_key, base_url=simulator.base_url, retry=TRIES
                ) as camb:
                    with pytest.raises(APIStatusError) as caught:
                        await camb.get_task_status(task)
                assert status == caught.value.status_code

                tries[status] = asked(simulator)[task]
                assert caught.value.retryable is (tries[status] == 2)
        return tries

    return run(main())


def test_case_17_the_table_of_what_is_tried_again() -> None:
    """408, 425, 429, and 5xx but for 501 and 505; everything else is told."""
    again = {408, 425, 429, *range(500, 600)} - {501, 505}

    assert {status: 1 + (status in again) for status in range(400, 600)} == _tries()


def test_case_17_the_server_may_say_to_try_again() -> None:
    """``x-should-retry: true`` overrides the table, whatever the status."""
    assert dict.fromkeys(range(400, 600), 2) == _tries(x_should_retry="true")


def test_case_17_the_server_may_say_not_to_try_again() -> None:
    """``x-should-retry: false`` overrides it, too."""
    assert dict.fromkeys(range(400, 600), 1) == _tries(x_should_retry="false")


def test_case_17_a_watch_ends_only_with_what_settles_the_matter() -> None:
    """Of all refusals of one task 402, 403 and 422; the others are ridden out."""

    async def main() -> None:
        async with served() as (simulator, camb):
            tasks = {
                simulator.add_task(answers=[Fault("http", status=status), "SUCCESS"]): (
                    status
                )
                for status in range(400, 600)
                if status != 401  # which is of the session, not of a task
            }
            async with camb.watch(tasks, schedule=SOON) as watcher:
                finals = [transition async for transition in watcher]
            ended = {tasks[t.task_id] for t in finals if not t.succeeded}
            assert len(tasks) == len(finals)
            assert {402, 403, 422} == ended

    run(main())


@pytest.mark.parametrize(
    ("fault", "error_class"),
    [
        ("400", APIStatusError),
        ("401", AuthenticationError),
        ("402", PaymentRequiredError),
        ("403", PermissionDeniedError),
        ("404", NotFoundError),
        ("422", ValidationError),
        (Fault("http", status=501), ServerError),
        ("redirect", UnexpectedRedirectError),
    ],
    ids=str,
)
def test_case_17_a_settled_answer_is_not_asked_for_again(
    fault: str | Fault, error_class: type[CambError]
) -> None:
    """The read is made once and tells what the server said."""

    async def main() -> None:
        async with served() as (simulator, camb):
            task = simulator.add_task(answers=[fault])
            with pytest.raises(error_class) as caught:
                await camb.get_task_status(task)
            assert not caught.value.retryable
            assert 1 == len(simulator.requests)

    run(main())


def test_case_17_a_read_gives_up_after_its_attempts() -> None:
    """Five tries by default, and a note that says so."""

    async def main() -> None:
        async with served() as (simulator, camb):
            task = simulator.add_task(answers=["503"])
            with pytest.raises(ServerError) as caught:
                await camb.get_task_status(task)
            assert 5 == len(simulator.requests)
            assert "try 5" in caught.value.__notes__[0]

    run(main())


# 18: how long the server asks to wait.


def _limited(**headers: str) -> Fault:
    """Return a 429 with these headers, and a Date of its own."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Fault(
        "http", status=429, body={"detail": "busy"}, headers={"Date": DATE, **named}
    )


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("5", 5.0),
        ("1.5", 1.5),
        ("  5 ", 5.0),
        ("999999999999999", 86_400.0),
        ("Wed, 21 Oct 2015 07:28:30 GMT", 30.0),
        ("Wednesday, 21-Oct-15 07:28:30 GMT", 30.0),
        ("Wed Oct 21 07:28:30 2015", 30.0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 86_400.0),
    ],
)
def test_case_18_more_patience_than_there_is_ends_a_read(
    value: str, seconds: float
) -> None:
    """It is asked once, and the error tells for how long to wait."""

    async def main() -> None:
        async with served() as (simulator, camb):
            task = simulator.add_task(answers=[_limited(Retry_After=value)])
            with pytest.raises(RateLimitError) as caught:
                await camb.get_task_status(task)
            assert seconds == caught.value.retry_after
            assert 1 == len(simulator.requests)

    run(main())


NO_WAIT = [
    *("0", "0.0", "-1", "+5", "nan", "inf", "Infinity", "1e400", "1e3", "0x10", "5."),
    *(".5", "4" * 4400, "\N{ARABIC-INDIC DIGIT THREE}", "1_000", "5, 10", "5;", ""),
    *("soon", "Wed, 21 Oct 99999 07:28:30 GMT", "Wed, 99 Oct 2015 07:28:30 GMT"),
    *("Thu, 01 Jan 1970 00:00:00 GMT", "Wed, 21 Oct 2015 07:28:30 +9999"),
]


@pytest.mark.parametrize("value", NO_WAIT, ids=lambda value: repr(value)[:40])
def test_case_18_what_is_no_time_to_wait_is_ignored(value: str) -> None:
    """A read and a watch go on by their own back-off, in either header."""

    async def main() -> None:
        async with served() as (simulator, camb):
            odd = _limited(Retry_After=value)
            fine = _limited(Retry_After_Ms=value)
            task = simulator.add_task(answers=[odd, fine, "PENDING", odd, "SUCCESS"])
            with pytest.raises(RateLimitError) as caught:
                await camb.poll(task)
            assert not caught.value.retry_after
            assert TaskStatus.PENDING is (await camb.get_task_status(task)).status
            assert (await camb.wait(task, schedule=SOON)).is_final

    run(main())


@pytest.mark.parametrize("value", ["0", "nan"])
@pytest.mark.parametrize("status", [429, 500])
def test_case_18_no_time_to_wait_is_no_reason_to_hurry(value: str, status: int) -> None:
    """Such answers in a row are met by back-off, not by a loop without a pause."""
    retry = RetryPolicy(backoff_initial=0.05, backoff_max=0.05)

    async def main() -> None:
        async with served(retry=retry) as (simulator, camb):
            odd = Fault("http", status=status, headers={"Retry-After": value})
            task = simulator.add_task(answers=[*[odd] * 8, "SUCCESS"])
            assert (await camb.wait(task, schedule=FixedInterval(0.05))).is_final
            assert 9 == len(simulator.requests)
            # Eight draws from 0 to 50 ms: one sum in sixty millions is less.
            assert sum(gaps(simulator)) >= 0.02

    run(main())


WAITS = [
    {"Retry_After": "0.2"},
    {"Retry_After_Ms": "200"},
    {"Retry_After_Ms": "200", "Retry_After": "7"},
    {"Retry_After_Ms": "nonsense", "Retry_After": "0.2"},
]


@pytest.mark.parametrize("headers", WAITS, ids=str)
@pytest.mark.parametrize("status", [429, 503])
def test_case_18_the_whole_session_waits_as_long_as_asked(
    headers: dict[str, str], status: int
) -> None:
    """Another task's poll leaves no sooner, nor does the same read again."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    retry = RetryPolicy(backoff_initial=0.001, backoff_max=1.0)

    async def main() -> None:
        async with served(retry=retry) as (simulator, camb):
            busy = Fault("http", status=status, headers=named)
            task = simulator.add_task(answers=[busy, busy, "SUCCESS"])
            with pytest.raises(APIStatusError):
                await camb.poll(task)
            await camb.poll(simulator.add_task())
            assert (await camb.get_task_status(task)).is_final
            first, _, last = gaps(simulator)
            assert 0.2 - EARLY <= first
            assert 0.2 - EARLY <= last

    run(main())


def test_case_18_a_date_is_measured_against_the_answers_own() -> None:
    """This machine's clock says another year, and does not matter."""
    retry = RetryPolicy(backoff_initial=0.001, backoff_max=2.0)
    date = "Wed, 21 Oct 2015 07:28:01 GMT"

    async def main() -> None:
        async with served(retry=retry) as (simulator, camb):
            task = simulator.add_task(answers=[_limited(Retry_After=date), "SUCCESS"])
            assert (await camb.get_task_status(task)).is_final
            assert 1.0 - EARLY <= gaps(simulator)[0]

    run(main())


def test_case_18_a_watch_is_parked_and_not_ended() -> None:
    """However long the server asks for: the task waits, until its deadline."""

    async def main() -> None:
        async with served() as (simulator, camb):
            short = _limited(Retry_After="0.3")
            task = simulator.add_task(answers=["PENDING", short, "SUCCESS"])
            assert (await camb.wait(task, schedule=SOON)).is_final
            assert 0.3 - EARLY <= gaps(simulator)[-1]

    run(main())
