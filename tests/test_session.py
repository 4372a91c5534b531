"""The session and its transport, on real sockets against the simulator."""

from __future__ import annotations

import asyncio
import gc
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from opentelemetry import trace

from camb_async import (
    APIConnectionError,
    APIStatusError,
    APITimeoutError,
    AuthenticationError,
    CambError,
    CambSession,
    ConfigurationError,
    DeadlineExceededError,
    FixedInterval,
    InvalidResponseError,
    Limits,
    RateLimitError,
    RetryPolicy,
    ServerError,
    SessionClosedError,
    ShortDescriptionWarning,
    SubmissionUnknownError,
    TaskFailedError,
    TaskKind,
    TaskRef,
    TaskStatus,
    ValidationError,
)
from camb_async.simulator import Fault, Simulator

from .helpers import (
    DESCRIPTION,
    FREE,
    QUICK,
    SOON,
    run,
    run_in_virtual_time,
    served,
)


def test_the_whole_flow_of_a_voice() -> None:
    """Create, wait, fetch the result: all on one session."""

    async def main() -> None:
        async with served(speed=20) as (simulator, camb):
            task = await camb.create_text_to_voice(
                text="Hello.", voice_description=DESCRIPTION, folder_id=3
            )
            state = await camb.wait(task)
            assert state.run_id is not None
            result = await camb.get_text_to_voice_result(state.run_id)
            assert state.run_id == result.run_id
            assert 2 == len(result.previews)
            assert task.created_at is not None
            sent = simulator.requests[0]
            assert "application/json" == sent.headers["Content-Type"]
            assert b'"folder_id": 3' in sent.body
            assert b"project_name" not in sent.body

    run(main())


FAULTS: list[tuple[str, type[CambError]]] = [
    ("reset_mid_body", InvalidResponseError),
    ("500", ServerError),
    ("500_html", ServerError),
    ("502_html", ServerError),
    ("503", ServerError),
    ("504_html", ServerError),
    ("429_no_header", RateLimitError),
    ("408", APIStatusError),
    ("gzip_bomb", InvalidResponseError),
    ("huge_body", InvalidResponseError),
]


@pytest.mark.parametrize(("fault", "error_class"), FAULTS, ids=[n for n, _ in FAULTS])
def test_a_transient_fault_is_one_failed_poll_and_a_retried_read(
    fault: str, error_class: type[CambError]
) -> None:
    """``poll`` tells what it was; ``get_task_status`` and ``wait`` ride it out."""

    async def main() -> None:
        async with served() as (simulator, camb):
            task = simulator.add_task(
                answers=[fault, fault, "PENDING", fault, "SUCCESS"]
            )
            with pytest.raises(error_class) as caught:
                await camb.poll(task)
            assert type(caught.value) is error_class or fault == "408"
            assert caught.value.retryable
            state = await camb.get_task_status(task)
            assert TaskStatus.PENDING is state.status
            assert (await camb.wait(task, schedule=SOON)).run_id is not None

    run(main())


def test_a_connection_reset_is_a_connection_error() -> None:
    """A read is repeated once by aiohttp on an idle connection; the rest is ours."""

    async def main() -> None:
        async with served() as (simulator, camb):
            task = simulator.add_task(status="SUCCESS", after=0)
            simulator.fail("reset", times=2)
            with pytest.raises(APIConnectionError) as caught:
                await camb.poll(task)
            assert not isinstance(caught.value, APITimeoutError)
            assert caught.value.request_sent
            simulator.fail("reset", times=3)
            assert (await camb.get_task_status(task)).is_final

    run(main())


@pytest.mark.parametrize("count", [4, 12])
def test_503s_in_a_row_are_ridden_out(count: int) -> None:
    """More of them than a single read would be tried."""

    async def main() -> None:
        async with served() as (simulator, camb):
            task = simulator.add_task(answers=["PENDING", *["503"] * count, "SUCCESS"])
            state = await camb.wait(task, schedule=SOON)
            assert TaskStatus.SUCCESS is state.status

    run(main())


def test_an_answered_create_is_an_answer() -> None:
    """4xx and 5xx are told as they are; a 5xx with a note."""

    async def main() -> None:
        async with served() as (simulator, camb):
            simulator.fail("422")
            with pytest.raises(ValidationError) as refused:
                await camb.create_text_to_voice(text="a", voice_description=DESCRIPTION)
            assert refused.value.issues
            simulator.fail("500")
            with pytest.raises(ServerError) as failed:
                await camb.create_text_to_voice(text="a", voice_description=DESCRIPTION)
            assert "may have been created" in failed.value.__notes__[0]

    run(main())


def test_a_short_description_is_warned_about_and_sent() -> None:
    """The documentation has a minimum; the service decides."""

    async def main() -> None:
        async with served() as (_, camb):
            with pytest.warns(ShortDescriptionWarning, match="18") as warned:
                await camb.create_text_to_voice(text="a", voice_description="A voice.")
            assert __file__ == warned[0].filename

    run(main())


def test_wait_raises_what_became_of_the_task() -> None:
    """A task that failed, and a deadline that passed."""

    async def main() -> None:
        async with served() as (simulator, camb):
            failing = simulator.add_task(
                status="ERROR", after=0, exception_reason="PROCESSING_ERROR"
            )
            with pytest.raises(TaskFailedError, match="PROCESSING_ERROR"):
                await camb.wait(failing)
            slow = simulator.add_task(after=1000)
            with pytest.raises(DeadlineExceededError) as caught:
                await camb.wait(slow, deadline=0.2)
            assert TaskStatus.PENDING is caught.value.state.status  # type: ignore[union-attr]
            assert 0.2 <= caught.value.elapsed < 0.21

    run_in_virtual_time(main())


def test_a_lone_host_is_not_taken_for_many(tmp_path: Path) -> None:
    """A str is an iterable of letters; that is never meant."""

    async def main() -> None:
        async with served() as (_, camb):
            with pytest.raises(TypeError, match="several"):
                await camb.download_previews(1, tmp_path, allow_hosts="host")

    run(main())


def test_every_kind_is_read_at_its_own_path() -> None:
    """A TaskRef of each kind gets its status."""

    async def main() -> None:
        async with served() as (simulator, camb):
            for kind in TaskKind:
                task = simulator.add_task(kind=kind, status="SUCCESS", after=0)
                state = await camb.get_task_status(TaskRef(task, kind))
                assert state.is_final, kind

    run(main())


PROJECT_RESULTS: list[dict[str, object]] = [{"run_id": 8827, "project_details": {}}]


@pytest.mark.parametrize(
    ("kind", "done"),
    [
        (TaskKind.PROJECT_SETUP, PROJECT_RESULTS),
        (TaskKind.DUB_ALT_FORMAT, "bare_string"),
        (TaskKind.AUDIO_SEPARATION, "bare_string"),
    ],
    ids=str,
)
def test_kinds_with_a_status_of_their_own_are_waited_for(
    kind: TaskKind, done: Any
) -> None:
    """A list of results, or a bare text, where others have an object."""

    async def main() -> None:
        async with served() as (simulator, camb):
            task = TaskRef(
                simulator.add_task(kind=kind, answers=["PENDING", "SUCCESS", done]),
                kind,
            )
            await camb.poll(task)
            await camb.poll(task)
            state = await camb.wait(task)
            assert "SUCCESS" == state.raw_status
            assert state.run_id == (8827 if isinstance(done, list) else None)

    run(main())


@pytest.mark.parametrize("bad", [-1, "7", True, 1.5])
def test_a_bad_run_id_sends_nothing(bad: Any) -> None:
    """A task id in its place is a common mix-up."""

    async def main() -> None:
        async with served() as (simulator, camb):
            with pytest.raises(ValueError, match="SUCCESS"):
                await camb.get_text_to_voice_result(bad)
            assert 0 == len(simulator.requests)

    run(main())


def test_closing_the_session_fails_what_waits_to_leave() -> None:
    """Queued requests end with SessionClosedError, and watches with them."""

    async def main() -> None:
        limits = Limits(max_in_flight=1, max_rate=None)
        async with served(limits=limits) as (simulator, camb):
            tasks = [simulator.add_task(answers=["hang"]) for _ in range(3)]
            waits = [asyncio.ensure_future(camb.wait(task)) for task in tasks]
            await asyncio.sleep(0.1)
            await camb.__aexit__(None, None, None)
            outcomes = await asyncio.wait_for(
                asyncio.gather(*waits, return_exceptions=True), 5
            )
            assert [SessionClosedError] * 3 == [type(o) for o in outcomes]

    run(main())


def test_a_borrowed_session_is_given_back_as_it_was() -> None:
    """It is not closed, and has none of our headers."""

    async def main() -> None:
        async with Simulator() as simulator, aiohttp.ClientSession() as borrowed:
            async with CambSession(
                simulator.api_key, base_url=simulator.base_url, client_session=borrowed
            ) as camb:
                await camb.poll(simulator.add_task())
            assert not borrowed.closed
            assert "x-api-key" not in borrowed.headers

    run(main())


def test_a_borrowed_session_that_was_closed_is_named() -> None:
    """RuntimeError would say nothing of whose it is."""

    async def main() -> None:
        async with Simulator() as simulator:
            borrowed = aiohttp.ClientSession()
            async with CambSession(
                simulator.api_key, base_url=simulator.base_url, client_session=borrowed
            ) as camb:
                await borrowed.close()
                with pytest.raises(SessionClosedError, match="closed"):
                    await camb.poll("a")

    run(main())


def test_the_environment_gives_key_and_base_url(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """``CambSession()`` is enough where both are set."""

    async def main() -> None:
        async with Simulator() as simulator:
            monkeypatch.setenv("CAMB_API_KEY", simulator.api_key + "\n")
            monkeypatch.setenv("CAMB_BASE_URL", simulator.base_url + "/")
            async with CambSession() as camb:
                await camb.poll(simulator.add_task())

    run(main())


def test_bad_settings_are_refused_in_the_constructor() -> None:
    """Before any request, without showing what was wrong."""
    with pytest.raises(ConfigurationError, match="CAMB_API_KEY"):
        CambSession("")
    with pytest.raises(ConfigurationError, match="loopback"):
        CambSession("key", base_url="http://example.com")
    with pytest.raises(ValueError, match="request_timeout"):
        CambSession("key", request_timeout=0)


def test_a_refused_key_is_asked_for_again_once() -> None:
    """With a callable a key may change while the session lives."""

    async def main() -> None:
        keys = ["old", "new"]
        asked: list[str] = []

        async def provider() -> str:
            key = keys[min(len(asked), 1)]
            asked.append(key)
            return key

        async with (
            Simulator(api_key="new") as simulator,
            CambSession(provider, base_url=simulator.base_url, limits=FREE) as camb,
        ):
            task = simulator.add_task()
            await asyncio.gather(*(camb.poll(task) for _ in range(20)))
            assert ["old", "new"] == asked
            simulator.api_key = "newest"
            with pytest.raises(AuthenticationError):
                await camb.poll(task)
            assert ["old", "new", "new"] == asked

    run(main())


@pytest.mark.parametrize("at_once", [1, 2])
def test_a_renewal_that_is_cancelled_refuses_nobody(at_once: int) -> None:
    """Who waits behind it, or was refused beside it, asks for the key in turn."""

    async def main() -> int:
        asked = 0
        renewing = asyncio.Event()

        async def provider() -> str:
            nonlocal asked
            asked += 1
            if asked == 2:
                renewing.set()
                await asyncio.sleep(3600)
            return "old" if asked == 1 else "new"

        limits = Limits(max_in_flight=at_once, max_rate=None)
        async with (
            Simulator(api_key="new") as simulator,
            CambSession(provider, base_url=simulator.base_url, limits=limits) as camb,
        ):
            task = simulator.add_task()
            calls = [asyncio.create_task(camb.poll(task)) for _ in range(3)]
            await renewing.wait()
            while len(simulator.requests) < at_once:  # noqa: ASYNC110 - nothing tells
                await asyncio.sleep(0)
            calls.pop(0).cancel()
            async with asyncio.timeout(5):
                await asyncio.gather(*calls)
        return asked

    assert 3 == run(main())


def test_a_refusal_is_heeded_before_the_next_request_leaves() -> None:
    """With one slot, one refused request is all that is sent."""

    async def main() -> None:
        async with served(limits=Limits(max_in_flight=1, max_rate=None)) as (sim, camb):
            sim.api_key = "revoked"
            outcomes = await asyncio.gather(
                *(camb.poll(f"t{n}") for n in range(5)), return_exceptions=True
            )
            assert [AuthenticationError] * 5 == [type(o) for o in outcomes]
            assert 1 == len(sim.requests)
            sim.api_key = "simulator-key"
            await camb.poll(sim.add_task())

    run(main())


def test_a_new_key_is_used_by_all_that_waited() -> None:
    """What waits for its turn is signed as it leaves, not as it came."""

    async def main() -> None:
        keys = ["old", "new"]
        limits = Limits(max_in_flight=4, max_rate=None)
        async with (
            Simulator(api_key="new") as simulator,
            CambSession(
                lambda: keys.pop(0), base_url=simulator.base_url, limits=limits
            ) as camb,
        ):
            task = simulator.add_task()
            await asyncio.gather(*(camb.poll(task) for _ in range(100)))
            refused = [r for r in simulator.requests if r.answer == 401]
            assert len(refused) <= 4

    run(main())


def test_a_key_that_stays_bad_is_not_tried_for_each_request() -> None:
    """A provider that repeats itself is asked once for all that were refused."""

    async def main() -> None:
        asked: list[str] = []

        async def provider() -> str:
            await asyncio.sleep(0.01)
            asked.append("bad")
            return asked[-1]

        limits = Limits(max_in_flight=8, max_rate=None)
        async with (
            Simulator() as simulator,
            CambSession(provider, base_url=simulator.base_url, limits=limits) as camb,
        ):
            outcomes = await asyncio.gather(
                *(camb.poll(f"t{n}") for n in range(50)), return_exceptions=True
            )
            assert [AuthenticationError] * 50 == [type(o) for o in outcomes]
            assert len(simulator.requests) <= 8
            assert ["bad", "bad"] == asked

    run(main())


def test_a_create_that_was_cut_off_by_closing_may_have_happened() -> None:
    """A request under way ends at once, with a borrowed session, too."""

    async def main() -> None:
        async with Simulator() as simulator, aiohttp.ClientSession() as borrowed:
            simulator.fail("hang", times=None)
            async with CambSession(
                simulator.api_key, base_url=simulator.base_url, client_session=borrowed
            ) as camb:
                reading = asyncio.ensure_future(camb.poll("a"))
                creating = asyncio.ensure_future(
                    camb.create_text_to_voice(text="a", voice_description=DESCRIPTION)
                )
                await asyncio.sleep(0.1)
            await asyncio.wait([reading, creating], timeout=2)
            assert isinstance(reading.exception(), SessionClosedError)
            assert isinstance(creating.exception(), SubmissionUnknownError)

    run(main())


def test_after_a_401_a_key_that_works_again_is_used() -> None:
    """A refusal ends what was going on, and not the session."""

    async def main() -> None:
        async with served() as (simulator, camb):
            key, simulator.api_key = simulator.api_key, "revoked"
            task = simulator.add_task(after=0)
            with pytest.raises(AuthenticationError):
                await camb.wait(task)
            simulator.api_key = key
            assert TaskStatus.SUCCESS is (await camb.wait(task)).status

    run(main())


def test_an_error_says_what_was_tried() -> None:
    """How often, for how long, and why not once more."""

    async def note(*answers: str | Fault, retry: RetryPolicy = QUICK) -> str:
        async with served(retry=retry) as (simulator, camb):
            task = simulator.add_task("mine", answers=answers)
            with pytest.raises(CambError) as caught:
                await camb.get_task_status(task)
            (said,) = caught.value.__notes__
            return said

    async def main() -> None:
        definitive = await note("503", "403")
        persistent = await note("503")
        impatient = await note(Fault("429", retry_after="100"))
        assert "GET /apis/text-to-voice/mine: try 2 of 5, 0." in definitive
        assert "would change nothing" in definitive
        assert "try 5 of 5" in persistent
        assert "try 1 of 5" in impatient
        assert "more patience" in impatient

    run(main())


def test_reads_share_a_budget_of_further_tries() -> None:
    """When everything fails, not everything is sent five times."""

    async def main() -> None:
        async with served() as (simulator, camb):
            simulator.fail("500", times=None)
            errors = await asyncio.gather(
                *(camb.get_task_status(f"t{n}") for n in range(200)),
                return_exceptions=True,
            )
            assert {ServerError} == {type(error) for error in errors}
            # 200 first tries, a reserve of 20, and one more for each 20 requests.
            assert 220 <= len(simulator.requests) <= 231
            assert any("so much fails" in e.__notes__[0] for e in errors)  # type: ignore[union-attr]

    run(main())


def test_an_unknown_status_is_warned_of_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Whoever reads the log learns of news, and is not flooded with them."""

    async def main() -> None:
        async with served() as (simulator, camb):
            for name in "ab":
                simulator.add_task(name, answers=["QUEUED", "HALF-DONE", "SUCCESS"])
            async with camb.watch(list("ab"), schedule=SOON) as watcher:
                async for _ in watcher:
                    pass
            for number in range(300):
                simulator.add_task("c", answers=[f"STEP {number}"])
                await camb.get_task_status("c")

    run(main())
    said = [r.getMessage() for r in caplog.records if "no status" in r.getMessage()]

    assert 1 == sum("'QUEUED'" in line for line in said)
    assert 1 == sum("'HALF-DONE'" in line for line in said)
    assert 100 == len(said)


def test_cancelled_polls_leave_no_socket_and_no_slot() -> None:
    """Cancelling in the queue, on the way and in mid-body frees what was taken."""

    async def main() -> None:
        limits = Limits(max_in_flight=4, max_rate=None)
        async with served(limits=limits) as (simulator, camb):
            for fault in ("hang", "drip"):
                task = simulator.add_task(answers=[fault])
                calls = [asyncio.ensure_future(camb.poll(task)) for _ in range(12)]
                await asyncio.sleep(0.15)
                for call in calls:
                    call.cancel()
                await asyncio.wait(calls)
                assert all(call.cancelled() for call in calls)
            good = simulator.add_task()
            async with asyncio.timeout(2):
                await asyncio.gather(*(camb.poll(good) for _ in range(12)))

    run(main())
    gc.collect()


def test_the_client_sends_only_what_it_must() -> None:
    """Key, agent, what is accepted; no body and no cookies."""

    async def main() -> None:
        async with served() as (simulator, camb):
            await camb.poll(simulator.add_task())
            sent = {
                name.lower(): v for name, v in simulator.requests[0].headers.items()
            }
            assert {"host", "x-api-key", "accept", "accept-encoding", "user-agent"} == (
                set(sent)
            )
            assert sent["user-agent"].startswith("camb-async/")

    run(main())


def test_the_active_span_is_told_to_the_api(tmp_path: Path) -> None:
    """A traceparent is sent where a span is active, and only there."""
    context = trace.SpanContext(
        0x0AF7, 0xB7AD, is_remote=False, trace_flags=trace.TraceFlags(1)
    )

    async def main() -> list[str | None]:
        async with served(speed=100) as (simulator, camb):
            task = simulator.add_task(after=0)
            await camb.poll(task)
            with trace.use_span(trace.NonRecordingSpan(context)):
                state = await camb.wait(task)
                await camb.download_previews(state.run_id or 0, tmp_path)
            return [
                request.headers.get("traceparent") for request in simulator.requests
            ]

    sent = run(main())
    parent = f"00-{0x0AF7:032x}-{0xB7AD:016x}-01"

    assert [None, parent, parent, None, None] == sent


def _storm(simulator: Simulator, count: int) -> dict[str, tuple[str, int | None]]:
    """Add scripted tasks a quarter of whose answers are faults."""
    faults: list[str | Fault] = [
        *("reset", "truncate_content_length", "500_html", "502_html", "503"),
        *("html_200", "bad_json", "404", "429_no_header"),
        Fault("429", retry_after="0.01"),
    ]
    endings = ["SUCCESS"] * 7 + ["ERROR", "TIMEOUT", "PAYMENT_REQUIRED"]
    expected: dict[str, tuple[str, int | None]] = {}
    for n in range(count):
        status = endings[n % len(endings)]
        answers: list[str | Fault] = ["PENDING", "QUEUED", "PENDING", status]
        answers.insert(n % 4, faults[n % len(faults)])
        run_id = n if status == "SUCCESS" else None
        task = simulator.add_task(answers=answers, run_id=run_id)
        expected[task] = (status, run_id)
    return expected


def test_two_thousand_tasks_in_a_storm_end_once_each_and_right() -> None:
    """A quarter of all answers is faulty; twenty tasks are discarded half-way."""

    async def main() -> None:
        retry = RetryPolicy(backoff_initial=0.02, backoff_max=0.2)
        async with served(retry=retry) as (simulator, camb):
            expected = _storm(simulator, 2000)
            dropped, gone = list(expected)[::100], list[str]()
            finals: dict[str, tuple[str, int | None]] = {}
            count = 0
            async with camb.watch(expected, schedule=FixedInterval(0.1)) as watcher:
                async for transition in watcher:
                    count += 1
                    if count == 1000:
                        gone = [t for t in dropped if t not in finals]
                        for task in gone:
                            watcher.discard(task)
                    if transition.is_final:
                        assert transition.task_id not in finals

                        state = transition.state
                        assert state is not None
                        finals[transition.task_id] = (state.raw_status, state.run_id)
            for task in gone:
                del expected[task]
            assert gone
            assert expected == finals

    run_in_virtual_time(main())
