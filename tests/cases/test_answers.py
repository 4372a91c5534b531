"""Cases 9 to 13: answers that are HTTP 200, and yet not what was asked for."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from camb_async import (
    DeadlineExceededError,
    DownloadError,
    InvalidResponseError,
    TaskStatus,
)
from camb_async.simulator import Fault
from tests.downloading import PREVIEWS, RESULT, RUN, finished
from tests.helpers import SOON, run, served


JSON = {"Content-Type": "application/json"}


def body(text: str | bytes) -> Fault:
    """Return the fault that answers 200 with this body, labelled as JSON."""
    data = text.encode() if isinstance(text, str) else text
    return Fault("http", status=200, body=data, headers=JSON)


def pending(more: str) -> Fault:
    """Return the fault that answers PENDING, and one more field."""
    return body(f'{{"status": "PENDING", {more}}}')


def ridden_out(fault: Fault | str) -> InvalidResponseError:
    """Return what one poll makes of a fault that a watch and a read ride out."""

    async def main() -> InvalidResponseError:
        async with served() as (simulator, camb):
            task = simulator.add_task(answers=[fault, "PENDING", fault, "SUCCESS"])
            with pytest.raises(InvalidResponseError) as caught:
                await camb.poll(task)
            assert TaskStatus.PENDING is (await camb.get_task_status(task)).status
            async with camb.watch([task], schedule=SOON) as watcher:
                (final,) = [transition async for transition in watcher]
                assert 1 == watcher.stats().failed_polls
            assert final.succeeded

            simulator.add_task(run_id=RUN, after=0)
            simulator.fail(fault, path=RESULT)
            assert (await camb.get_text_to_voice_result(RUN)).previews

            return caught.value

    error = run(main())

    assert error.retryable
    assert "Reading again may help" in str(error)
    assert len(error.body_excerpt) <= 200
    assert str(error).isprintable()
    assert len(str(error)) < 500
    return error


# 9: a good status, and no answer of the API.


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        ("html_200", "captive portal"),
        (body("<html>\n<title>Sign in</title>"), "captive portal"),
        (Fault("http", status=200, body="Everything is fine."), "not JSON"),
        (Fault("http", status=200, body=b""), "its body is empty"),
        ("204", "only 200 was promised"),
        (Fault("http", status=202, body={"status": "SUCCESS"}), "only 200"),
    ],
    ids=str,
)
def test_case_09_what_the_api_would_not_say_is_shown(
    fault: Fault | str, says: str
) -> None:
    """The error says what came and begins to quote it; the next poll is fine."""
    error = ridden_out(fault)

    assert says in str(error)
    assert repr(error.body_excerpt) in str(error)
    assert error.status_code is not None
    assert 200 <= error.status_code < 300


def test_case_09_an_answer_is_read_whatever_its_label() -> None:
    """What is strictly an answer of the API counts, even if called plain text."""

    async def main() -> None:
        async with served() as (simulator, camb):
            task = simulator.add_task(answers=["PENDING", "wrong_type", "SUCCESS"])
            states = [await camb.poll(task) for _ in range(3)]
            assert ["PENDING", "PENDING", "SUCCESS"] == [s.raw_status for s in states]

    run(main())


# 10: a body that is nearly JSON.


@pytest.mark.parametrize(
    "fault",
    [
        *("bad_json", "bad_utf8", "deep_json", "huge_int", "nan", "dup_keys"),
        "empty_object",
        pytest.param(pending('"run_id": -Infinity'), id="minus infinity"),
        pytest.param(pending('"message": {"a": 1e999}'), id="beyond floats"),
        pytest.param(pending('"run_id": 7.5'), id="half a run"),
        pytest.param(pending('"run_id": 99999999999999999999'), id="20 digits"),
        pytest.param(pending('"message": {"a": NaN}'), id="nan within"),
        pytest.param(pending('"message": {"a": 1, "a": 2}'), id="twice within"),
        pytest.param(pending('"\\u0073tatus": "SUCCESS"'), id="twice, escaped"),
        pytest.param(pending('"new": ' + "9" * 5000), id="huge and unknown"),
        pytest.param(
            pending('"message": ' + '{"a":' * 99_999 + "1" + "}" * 99_999),
            id="deep objects",
        ),
        pytest.param(body("[" * 100_000), id="deep without an end"),
        pytest.param(body('{"status": "PENDING"}{"status": "SUCCESS"}'), id="two"),
        pytest.param(body(" \r\n"), id="blank"),
        pytest.param(body("null"), id="null"),
        pytest.param(body("7"), id="number"),
        pytest.param(body("[]"), id="list"),
        pytest.param(body(b"\x00" * 500), id="zeros"),
    ],
)
def test_case_10_what_is_not_strict_json_is_one_error(fault: Fault | str) -> None:
    """Whatever the parser chokes on, or would have let pass."""
    error = ridden_out(fault)

    assert InvalidResponseError is type(error)
    assert 200 == error.status_code
    assert error.body_excerpt
    assert repr(error.body_excerpt) in str(error)


@pytest.mark.parametrize("fault", ["not_gzip", "zstd"])
def test_case_10_an_encoding_nobody_asked_for_is_ridden_out(fault: str) -> None:
    """Whether it can be undone or not, the task is not lost."""

    async def main() -> None:
        async with served() as (simulator, camb):
            task = simulator.add_task(answers=[fault, "SUCCESS"])
            assert (await camb.wait(task, schedule=SOON)).is_final
            assert "identity" == simulator.requests[0].headers["Accept-Encoding"]

    run(main())


# 11: a status that nobody has documented.


def test_case_11_an_unknown_status_is_passed_on_and_not_final() -> None:
    """Its text is kept, each change is told, and the task goes on to its end."""
    answers = ["QUEUED", "QUEUED", "In progress", "null_status", "pending", "SUCCESS"]

    async def main() -> None:
        async with served() as (simulator, camb):
            task = simulator.add_task(answers=answers)
            async with camb.watch([task], schedule=SOON) as watcher:
                told = [t.state async for t in watcher if t.state is not None]
            assert [
                ("QUEUED", TaskStatus.UNKNOWN),
                ("In progress", TaskStatus.UNKNOWN),
                ("pending", TaskStatus.PENDING),
                ("SUCCESS", TaskStatus.SUCCESS),
            ] == [(state.raw_status, state.status) for state in told]

    run(main())


def test_case_11_an_unknown_status_is_warned_about_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Once for each text, however many tasks say it and how often."""
    caplog.set_level("WARNING", "camb_async")

    async def main() -> None:
        async with served() as (simulator, camb):
            answers = ["BREWING", "BREWING", "STEEPING", "BREWING", "SUCCESS"]
            tasks = [simulator.add_task(answers=answers) for _ in range(10)]
            async with camb.watch(tasks, schedule=SOON) as watcher:
                assert 40 == len([transition async for transition in watcher])

    run(main())
    told = [record.getMessage() for record in caplog.records]

    assert [1, 1] == [
        sum(text in message for message in told) for text in ("BREWING", "STEEPING")
    ]


def test_case_11_a_status_that_stays_unknown_ends_at_the_deadline() -> None:
    """The task is never dropped, and never taken for finished."""

    async def main() -> None:
        async with served() as (simulator, camb):
            task = simulator.add_task(answers=["unknown_status"])
            with pytest.raises(DeadlineExceededError, match="still QUEUED") as caught:
                await camb.wait(task, schedule=SOON, deadline=0.1)
            assert caught.value.state is not None
            assert TaskStatus.UNKNOWN is caught.value.state.status

    run(main())


def test_case_11_an_unknown_status_is_safe_to_show() -> None:
    """A server cannot write to a terminal, or break a log, through a status."""

    async def main() -> None:
        async with served() as (simulator, camb):
            rude = Fault("unknown_status", status="\x1b[2J\nQUEUED")
            task = simulator.add_task(answers=[rude])
            with pytest.raises(DeadlineExceededError, match="QUEUED") as caught:
                await camb.wait(task, schedule=SOON, deadline=0.05)
            assert str(caught.value).isprintable()

    run(main())


@pytest.mark.parametrize("fault", ["lower_case", "bare_string", "extra_fields"])
def test_case_11_a_known_status_is_known_in_any_dress(fault: str) -> None:
    """In lower case, alone, or among fields nobody has heard of."""

    async def main() -> None:
        async with served() as (simulator, camb):
            task = simulator.add_task(after=0)
            simulator.fail(fault, times=None)
            assert TaskStatus.SUCCESS is (await camb.wait(task)).status

    run(main())


def test_case_11_a_null_status_is_no_status() -> None:
    """It says nothing about the task, so the next poll has to."""
    assert "status" in str(ridden_out("null_status"))


# 12: a task that was finished, and is not.


def test_case_12_a_final_status_stays_final() -> None:
    """Each task ends once and is asked for no more, though others are polled on."""

    async def main() -> None:
        async with served() as (simulator, camb):
            answers: list[Any] = ["PENDING", "SUCCESS", "regress"]
            tasks = [simulator.add_task(answers=answers) for _ in range(100)]
            last = simulator.add_task(after=0.5)
            async with camb.watch([*tasks, last], schedule=SOON) as watcher:
                told = [transition async for transition in watcher]
            finals = Counter(t.task_id for t in told if t.is_final)
            assert Counter([*tasks, last]) == finals
            assert all(t.succeeded for t in told if t.is_final)
            asked = Counter(r.path.rpartition("/")[2] for r in simulator.requests)
            assert {2} == {asked[task] for task in tasks}

    run(main())


def test_case_12_all_who_wait_are_told_the_same_end() -> None:
    """A waiter and the iterator share the answer that was final."""

    async def main() -> None:
        async with served() as (simulator, camb):
            task = simulator.add_task(answers=["SUCCESS", "regress"])
            async with camb.watch([task], schedule=SOON) as watcher:
                state = await watcher.wait(task)
                (final,) = [transition async for transition in watcher]
            assert final.state is state
            assert 1 == len(simulator.requests)

    run(main())


# 13: a success without a result.


def test_case_13_success_without_a_run_id_has_no_result(tmp_path: Path) -> None:
    """It is passed on as it is; asking for the result is what fails."""

    async def main() -> None:
        async with served() as (simulator, camb):
            task = simulator.add_task(answers=["success_no_run_id"])
            state = await camb.wait(task)
            assert TaskStatus.SUCCESS is state.status
            assert state.run_id is None
            before = len(simulator.requests)
            with pytest.raises(InvalidResponseError, match="no run_id"):
                await camb.get_text_to_voice_result(state.run_id)
            with pytest.raises(InvalidResponseError, match="no run_id"):
                await camb.download_previews(state.run_id, tmp_path)
            assert before == len(simulator.requests)

    run(main())


def test_case_13_a_result_without_previews_says_which_run(tmp_path: Path) -> None:
    """There may be none; fetching them is what fails."""

    async def main() -> None:
        async with finished() as (simulator, camb):
            simulator.fail("no_previews", times=None, path=RESULT)
            assert () == (await camb.get_text_to_voice_result(RUN)).previews
            with pytest.raises(DownloadError, match="Run 7 has no previews"):
                await camb.download_previews(RUN, tmp_path)

    run(main())

    assert [] == list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("previews", "error_class"),
    [
        (("file:///etc/passwd", 7, None), InvalidResponseError),
        ("https://files.example/one.wav", InvalidResponseError),
        (None, InvalidResponseError),
        (("soon",), DownloadError),
        (("",), DownloadError),
        (("https://",), DownloadError),
        (("file:///etc/passwd",), DownloadError),
    ],
    ids=str,
)
def test_case_13_what_is_no_link_is_never_fetched(
    tmp_path: Path, previews: Any, error_class: type[Exception]
) -> None:
    """What is no text quotes the answer; what is no link says so."""

    async def main() -> None:
        async with finished() as (simulator, camb):
            bad = Fault("bad_previews", previews=previews)
            simulator.fail(bad, times=None, path=RESULT)
            with pytest.raises((InvalidResponseError, DownloadError)) as caught:
                await camb.download_previews(RUN, tmp_path)
            assert error_class is type(caught.value)
            if isinstance(caught.value, InvalidResponseError):
                assert '{"previews": ' in caught.value.body_excerpt
            assert not [r for r in simulator.requests if PREVIEWS in r.path]

    run(main())

    assert [] == list(tmp_path.iterdir())
