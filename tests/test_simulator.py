"""The simulator as a service: creating, watching and fetching, over real HTTP."""

from __future__ import annotations

import asyncio
import gc
import io
import json
import wave
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import aiohttp
import pytest
from yarl import URL

from camb_async.kinds import PATHS, TaskKind
from camb_async.models import TaskStatus
from camb_async.simulator import Fault, Scenario, Simulator
from camb_async.simulator.routes import CREATE_PATHS, PREFIX, RESULT_PATH, STATUS_PATHS


DESCRIPTION = {"text": "Hello there", "voice_description": "A calm, friendly voice"}
FIELDS = {"status", "run_id", "exception_reason", "message"}


class Client:
    """A plain HTTP client that knows nothing but the simulator's address."""

    def __init__(self, simulator: Simulator, http: aiohttp.ClientSession) -> None:
        self.simulator = simulator
        self.http = http

    async def ask(
        self, path: str, method: str = "GET", **options: Any
    ) -> tuple[int, Any]:
        """Return HTTP status and JSON body of one API request."""
        headers = {"x-api-key": self.simulator.api_key}
        if isinstance(options.get("data"), str | bytes):
            headers["Content-Type"] = "application/json"
        options.setdefault("headers", headers)
        url = URL(self.simulator.base_url + path, encoded=True)
        async with self.http.request(method, url, **options) as response:
            return response.status, await response.json(content_type=None)

    async def create(self) -> str:
        """Create a text-to-voice task and return its id."""
        status, body = await self.ask("/text-to-voice", "POST", json=DESCRIPTION)
        assert 200 == status

        return str(body["task_id"])

    async def status(self, task_id: str) -> Any:
        """Return the status body of a text-to-voice task."""
        status, body = await self.ask(f"/text-to-voice/{task_id}")
        assert 200 == status

        return body

    async def fetch(self, url: str, **options: Any) -> tuple[int, bytes]:
        """Return HTTP status and body of a link, which is sent as it is."""
        async with self.http.get(URL(url, encoded=True), **options) as response:
            return response.status, await response.read()


@asynccontextmanager
async def connected(
    scenario: Scenario | str | None = None, **options: Any
) -> AsyncGenerator[Client]:
    """Start a simulator and a client of it."""
    async with (
        Simulator(scenario, **options) as simulator,
        aiohttp.ClientSession() as http,
    ):
        yield Client(simulator, http)


def served(test: Callable[[Client], Awaitable[None]], **options: Any) -> None:
    """Run a test against a simulator of its own."""

    async def main() -> None:
        async with connected(**options) as client:
            await test(client)

    asyncio.run(main())


def test_a_task_succeeds_after_about_two_seconds() -> None:
    """Created, pending, successful: with the four fields of the service."""

    async def test(client: Client) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        task_id = await client.create()
        body = await client.status(task_id)

        assert 4 == UUID(task_id).version
        assert {"status": "PENDING"} | dict.fromkeys(FIELDS - {"status"}) == body

        while body["status"] == "PENDING":
            await asyncio.sleep(0.005)
            body = await client.status(task_id)

        assert 0.15 <= loop.time() - began < 1.5
        assert "SUCCESS" == body["status"]
        assert FIELDS == body.keys()
        assert body["run_id"] > 0

    served(test, speed=10)


def test_previews_play_and_differ() -> None:
    """Each run has two links to WAV files of about a second, all different."""

    async def test(client: Client) -> None:
        client.simulator.add_task(run_id=1)
        client.simulator.add_task(run_id=2)
        sounds: set[bytes] = set()
        for run_id in (1, 2):
            status, body = await client.ask(f"/text-to-voice-result/{run_id}")

            assert 200 == status
            assert 2 == len(body["previews"])

            for link in body["previews"]:
                status, audio = await client.fetch(link)

                assert 200 == status

                sounds.add(audio)
        for audio in sounds:
            with wave.open(io.BytesIO(audio)) as wav:
                frames = wav.readframes(wav.getnframes())

                assert (1, 2, 16_000) == wav.getparams()[:3]
                assert 16_000 == wav.getnframes()
                assert max(frames) > 0
        assert 4 == len(sounds)

    served(test)


def test_preview_links_are_checked_byte_by_byte() -> None:
    """A link whose query was decoded and encoded again is refused."""

    async def test(client: Client) -> None:
        client.simulator.add_task(run_id=1)
        _, body = await client.ask("/text-to-voice-result/1")
        link: str = body["previews"][0]

        assert {"%2B", "%2F", "+"} == {s for s in ("%2B", "%2F", "+") if s in link}
        assert 200 == (await client.fetch(link))[0]

        target = client.simulator.requests[-1].path

        assert link.endswith(target)

        for altered in (
            link.replace("%2B", "+"),
            link.replace("%2F", "/"),
            link.replace("+", "%20"),
            link.replace("%3D", "="),
            link.replace("1.wav", "2.wav"),
            link.partition("?")[0],
        ):
            assert 403 == (await client.fetch(altered))[0]

    served(test)


def test_preview_links_expire_when_told_to() -> None:
    """Old links are refused, links asked for anew work."""

    async def test(client: Client) -> None:
        client.simulator.add_task(run_id=1)
        _, old = await client.ask("/text-to-voice-result/1")
        client.simulator.expire_links()
        _, new = await client.ask("/text-to-voice-result/1")

        assert 403 == (await client.fetch(old["previews"][0]))[0]
        assert 200 == (await client.fetch(new["previews"][0]))[0]

    served(test)


def test_previews_are_served_in_parts() -> None:
    """Ranges work as RFC 9110 says, guarded by If-Range, and HEAD has no body."""

    async def test(client: Client) -> None:
        client.simulator.add_task(run_id=1)
        _, body = await client.ask("/text-to-voice-result/1")
        link: str = body["previews"][0]
        _, whole = await client.fetch(link)
        size = len(whole)

        async def part(**headers: str) -> tuple[int, bytes]:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            return await client.fetch(link, headers=named)

        assert (206, whole[:10]) == await part(Range="bytes=0-9")
        assert (206, whole[100:]) == await part(Range="bytes=100-")
        assert (206, whole[-7:]) == await part(Range="bytes=-7")
        assert (416, b"") == await part(Range=f"bytes={size}-")
        assert (200, whole) == await part(Range="bytes=-")
        assert (200, whole) == await part(Range="bytes=0-9", If_Range='"other"')

        async with client.http.head(URL(link, encoded=True)) as response:
            assert str(size) == response.headers["Content-Length"]

            etag = response.headers["ETag"]

        assert (206, whole[:10]) == await part(Range="bytes=0-9", If_Range=etag)

    served(test)


@pytest.mark.parametrize(
    ("body", "loc", "kind"),
    [
        ({}, ["body", "text"], "missing"),
        ({"text": "Hi"}, ["body", "voice_description"], "missing"),
        ({**DESCRIPTION, "text": 7}, ["body", "text"], "string_type"),
        ({**DESCRIPTION, "text": None}, ["body", "text"], "string_type"),
        ({**DESCRIPTION, "folder_id": "x"}, ["body", "folder_id"], "int_type"),
        ({**DESCRIPTION, "folder_id": True}, ["body", "folder_id"], "int_type"),
        (["text"], ["body"], "model_attributes_type"),
        ('{"text": ', ["body", 9], "json_invalid"),
        ("", ["body"], "missing"),
        (b"\xff", ["body", 0], "json_invalid"),
    ],
)
def test_a_bad_create_call_is_refused(
    body: object, loc: list[object], kind: str
) -> None:
    """The refusal is a 422 with FastAPI's details, and creates nothing."""

    async def test(client: Client) -> None:
        data = body if isinstance(body, str | bytes) else json.dumps(body)
        status, answer = await client.ask("/text-to-voice", "POST", data=data)

        assert 422 == status
        assert loc == answer["detail"][0]["loc"]
        assert kind == answer["detail"][0]["type"]
        assert "0 tasks" in repr(client.simulator)

    served(test)


@pytest.mark.parametrize(
    ("content_type", "status"),
    [
        ("application/json", 200),
        ("Application/JSON; charset=utf-8", 200),
        ("application/vnd.voice+json", 200),
        ("application/octet-stream", 422),
        ("application/x-www-form-urlencoded", 422),
        ("text/json", 422),
        ("", 422),
    ],
)
def test_json_is_read_only_if_it_is_called_so(content_type: str, status: int) -> None:
    """A body without the right Content-Type is no object, as with FastAPI."""

    async def test(client: Client) -> None:
        headers = {
            "x-api-key": client.simulator.api_key,
            "Content-Type": content_type,
        }
        answered, body = await client.ask(
            "/text-to-voice", "POST", data=json.dumps(DESCRIPTION), headers=headers
        )

        assert status == answered
        assert status == 200 or "model_attributes_type" == body["detail"][0]["type"]

    served(test)


def test_a_missing_field_is_worded_as_fastapi_does() -> None:
    """The body of this 422 is exactly the documented one."""

    async def test(client: Client) -> None:
        expected = {"loc": ["body", "text"], "msg": "Field required", "type": "missing"}
        sent = {"voice_description": "Deep"}
        answer = await client.ask("/text-to-voice", "POST", json=sent)

        assert (422, {"detail": [expected]}) == answer

    served(test)


def test_optional_fields_may_be_left_out_or_null() -> None:
    """Null is what official clients send for a field that was not given."""

    async def test(client: Client) -> None:
        sent = {**DESCRIPTION, "project_name": None, "folder_id": 3, "other": [1]}
        status, _ = await client.ask("/text-to-voice", "POST", json=sent)

        assert 200 == status

    served(test)


@pytest.mark.parametrize("key", [None, "", "wrong", "Simulator-key"])
def test_the_key_is_required(key: str | None) -> None:
    """Without the right key every API route answers the documented 401."""

    async def test(client: Client) -> None:
        headers = {} if key is None else {"x-api-key": key}
        expected = (401, {"error": "Invalid API key", "status": 401})
        for method, path in (
            ("GET", f"/text-to-voice/{client.simulator.add_task()}"),
            ("GET", "/text-to-voice-result/1"),
            ("POST", "/text-to-voice"),
        ):
            assert expected == await client.ask(path, method, headers=headers)

    served(test)


def test_the_key_can_be_revoked() -> None:
    """Once the accepted key is another, the first one is refused."""

    async def test(client: Client) -> None:
        task_id = client.simulator.add_task()
        headers = {"x-api-key": client.simulator.api_key}
        path = f"/text-to-voice/{task_id}"

        assert 200 == (await client.ask(path, headers=headers))[0]

        client.simulator.api_key = "another"

        assert 401 == (await client.ask(path, headers=headers))[0]
        assert 200 == (await client.ask(path))[0]

    served(test)


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("GET", "/text-to-voice/unknown", (404, {"detail": "Not found."})),
        ("GET", "/text-to-voice/", (404, {"detail": "Not Found"})),
        ("GET", "/nowhere/1", (404, {"detail": "Not Found"})),
        ("PUT", "/nowhere", (404, {"detail": "Not Found"})),
        ("GET", "/text-to-voice-result/7", (404, {"detail": "Not found."})),
        ("GET", "/text-to-voice", (405, {"detail": "Method Not Allowed"})),
        ("DELETE", "/text-to-voice/1", (405, {"detail": "Method Not Allowed"})),
        ("POST", "/text-to-voice-result/1", (405, {"detail": "Method Not Allowed"})),
    ],
)
def test_what_is_not_there_is_refused(
    method: str, path: str, expected: tuple[int, Any]
) -> None:
    """Unknown ids, paths and methods are refused in FastAPI's words."""

    async def test(client: Client) -> None:
        assert expected == await client.ask(path, method)

    served(test)


def test_a_task_id_is_no_run_id() -> None:
    """A result path with anything but an integer is a 422, as pydantic words it."""

    async def test(client: Client) -> None:
        status, body = await client.ask(
            f"/text-to-voice-result/{await client.create()}"
        )

        assert 422 == status
        assert ["path", "run_id"] == body["detail"][0]["loc"]
        assert "int_parsing" == body["detail"][0]["type"]

    served(test)


@pytest.mark.parametrize("path", STATUS_PATHS)
def test_every_kind_has_its_status_paths(path: str) -> None:
    """A task is found at the paths of its kind, and at no other kind's."""

    async def test(client: Client) -> None:
        for kind in TaskKind:
            task_id = client.simulator.add_task(kind=kind, after=0)
            status, _ = await client.ask(path.format(task_id=task_id))

            assert (200 if kind in STATUS_PATHS[path] else 404) == status

    served(test)


def test_the_clients_paths_are_the_simulators() -> None:
    """Two lists that were written down apart from each other agree."""
    for kind, paths in PATHS.items():
        assert kind is CREATE_PATHS[paths.create]
        assert kind in STATUS_PATHS[paths.status]

    assert RESULT_PATH == PATHS[TaskKind.TEXT_TO_VOICE].result


@pytest.mark.parametrize("path", CREATE_PATHS)
def test_every_kind_can_be_created(path: str) -> None:
    """Other kinds take any body and answer a task id, which can be watched."""

    async def test(client: Client) -> None:
        kind = CREATE_PATHS[path]
        filled = path.format(run_id=5, language=1)
        with aiohttp.MultipartWriter() as form:
            form.append("sound", {"Content-Type": "audio/wav"})
        body: Any = json.dumps(DESCRIPTION) if kind is TaskKind.TEXT_TO_VOICE else form
        status, created = await client.ask(filled, "POST", data=body)

        assert 200 == status

        where = PATHS[kind].status.format(task_id=created["task_id"])

        assert 200 == (await client.ask(where))[0]

    served(test)


def test_added_tasks_end_as_told() -> None:
    """Status, reason and message are told once ``after`` is over."""

    async def test(client: Client) -> None:
        added = client.simulator.add_task(
            "mine",
            status=TaskStatus.ERROR,
            after=5,
            exception_reason="PROCESSING_ERROR",
            message={"hint": "shorter"},
        )

        assert "mine" == added
        assert "PENDING" == (await client.status("mine"))["status"]

        await asyncio.sleep(0.55)
        expected = {
            "status": "ERROR",
            "run_id": None,
            "exception_reason": "PROCESSING_ERROR",
            "message": {"hint": "shorter"},
        }

        assert expected == await client.status("mine")

    served(test, speed=10)


def test_run_ids_are_unique_or_as_told() -> None:
    """Run ids are positive and never shared; 0 and None are told if asked for."""

    async def test(client: Client) -> None:
        add = client.simulator.add_task
        ids = [add(after=0), add(after=0), add(after=0, run_id=0)]
        ids.append(add(after=0, run_id=None))
        first, second, zero, none = [
            (await client.status(task_id))["run_id"] for task_id in ids
        ]

        assert 0 < first != second > 0
        assert 0 == zero
        assert none is None
        assert 200 == (await client.ask("/text-to-voice-result/0"))[0]

    served(test)


def test_a_script_is_followed_and_its_end_repeats() -> None:
    """Texts, bodies and faults come in order; the last entry repeats for ever."""

    async def test(client: Client) -> None:
        task_id = client.simulator.add_task(
            run_id=3,
            answers=["PENDING", "queued", "503", {"a": 1}, ["b"], "SUCCESS"],
        )
        path = f"/text-to-voice/{task_id}"
        answers = [await client.ask(path) for _ in range(7)]

        assert "PENDING" == answers[0][1]["status"]
        assert "queued" == answers[1][1]["status"]
        assert (503, {"detail": "Service Unavailable"}) == answers[2]
        assert (200, {"a": 1}) == answers[3]
        assert (200, ["b"]) == answers[4]
        assert ("SUCCESS", 3) == (answers[5][1]["status"], answers[5][1]["run_id"])
        assert answers[5] == answers[6]

    served(test)


def test_a_scripted_fault_tells_what_was_told_last() -> None:
    """The truth behind a fault is the step before it, or else the timed state."""

    async def test(client: Client) -> None:
        add = client.simulator.add_task
        told = add(answers=["SUCCESS", "lower_case"], run_id=4)
        await client.status(told)

        assert "success" == (await client.status(told))["status"]

        untold = add(answers=["lower_case"], after=0, status="TIMEOUT")

        assert "timeout" == (await client.status(untold))["status"]

    served(test)


def test_a_scripted_fault_is_one_step_of_its_script() -> None:
    """Whatever it asks for the truth, the entry after it is still to come."""

    async def test(client: Client) -> None:
        task = client.simulator.add_task(answers=["PENDING", "lower_case", "SUCCESS"])
        answers = [(await client.status(task))["status"] for _ in range(3)]

        assert ["PENDING", "pending", "SUCCESS"] == answers

    served(test)


def test_a_task_of_the_same_id_replaces_the_first() -> None:
    """So that a test can let a pending task end."""

    async def test(client: Client) -> None:
        client.simulator.add_task("t", answers=["PENDING"])

        assert "PENDING" == (await client.status("t"))["status"]

        client.simulator.add_task("t", after=0)

        assert "SUCCESS" == (await client.status("t"))["status"]

    served(test)


def test_ordered_faults_come_as_often_as_ordered() -> None:
    """``fail`` counts matching requests only, and ``heal`` forgets the rest."""

    async def test(client: Client) -> None:
        simulator = client.simulator
        first, second = simulator.add_task(), simulator.add_task()

        async def statuses(task_id: str, count: int) -> list[int]:
            path = f"/text-to-voice/{task_id}"
            return [(await client.ask(path))[0] for _ in range(count)]

        simulator.fail("503", times=2)
        simulator.fail(Fault("429", retry_after="7"), task_id=second)

        assert [503, 503, 200] == await statuses(first, 3)
        assert [429, 200] == await statuses(second, 2)

        simulator.fail("500", times=None, path="/text-to-voice-result/")

        assert [200] == await statuses(first, 1)
        assert [500] * 3 == [
            (await client.ask("/text-to-voice-result/1"))[0] for _ in range(3)
        ]

        simulator.heal()

        assert 404 == (await client.ask("/text-to-voice-result/1"))[0]

    served(test)


def test_the_log_holds_requests_as_they_came() -> None:
    """Target and body byte by byte, headers in any case, and what was answered."""

    async def test(client: Client) -> None:
        simulator = client.simulator
        simulator.fail("503", path="/text-to-voice/%7E")
        await client.ask("/text-to-voice/%7E%2F?run_id=%2B+1")
        await client.ask("/text-to-voice", "POST", data=b'{"text": "\xc3\xa9"}')
        got, posted = simulator.requests

        assert f"{PREFIX}/text-to-voice/%7E%2F?run_id=%2B+1" == got.path
        assert ("GET", b"", "503") == (got.method, got.body, got.answer)
        assert simulator.api_key == got.headers["X-API-Key"]
        assert ("POST", 422) == (posted.method, posted.answer)
        assert b'{"text": "\xc3\xa9"}' == posted.body
        assert got.at <= posted.at <= asyncio.get_running_loop().time()

    served(test)


def test_escaped_ids_are_unescaped() -> None:
    """An id is found however its characters were escaped in the path."""

    async def test(client: Client) -> None:
        client.simulator.add_task("a~b")

        assert "PENDING" == (await client.status("a%7Eb"))["status"]

    served(test)


def test_it_can_be_used_twice() -> None:
    """A second block is the service restarted: its tasks are still known."""

    async def main() -> None:
        simulator = Simulator()
        for _ in range(2):
            async with simulator, aiohttp.ClientSession() as http:
                client = Client(simulator, http)
                simulator.add_task("kept" if not simulator.requests else None)

                assert "PENDING" == (await client.status("kept"))["status"]

        assert 2 == len(simulator.requests)
        assert "<Simulator stopped, 2 tasks>" == repr(simulator)

    asyncio.run(main())


def test_the_port_can_be_chosen() -> None:
    """The same port can be had again at once, and not while it is in use."""

    async def main() -> None:
        async with Simulator() as simulator:
            port = URL(simulator.base_url).port or 0
            with pytest.raises(OSError, match="in use"):
                await Simulator(port=port).__aenter__()
        async with Simulator(port=port) as simulator:
            assert f"http://127.0.0.1:{port}/apis" == simulator.base_url

    asyncio.run(main())


def test_it_cannot_be_entered_while_it_runs() -> None:
    """Two servers on one book of tasks would be a riddle."""

    async def main() -> None:
        async with Simulator() as simulator:
            with pytest.raises(RuntimeError, match="already running"):
                await simulator.__aenter__()

    asyncio.run(main())


def test_it_stops_at_once_and_leaves_nothing_behind() -> None:
    """Answers under way are cut off; no task and no socket is left."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        before = asyncio.all_tasks()
        async with aiohttp.ClientSession() as http:
            async with Simulator() as simulator:
                client = Client(simulator, http)
                for fault in ("hang", "slow", "drip", "endless_body"):
                    simulator.add_task(fault, answers=[fault])
                polls = [
                    asyncio.create_task(client.ask(f"/text-to-voice/{name}"))
                    for name in ("hang", "slow", "drip", "endless_body")
                ]
                while len(simulator.requests) < len(polls):  # noqa: ASYNC110 - a log
                    await asyncio.sleep(0.01)
                began = loop.time()

            assert loop.time() - began < 2

            outcomes = await asyncio.gather(*polls, return_exceptions=True)

            assert all(isinstance(o, aiohttp.ClientError) for o in outcomes)

        assert before == asyncio.all_tasks()

    asyncio.run(main())
    gc.collect()


@pytest.mark.parametrize("speed", [0, -1])
def test_speed_is_above_zero(speed: float) -> None:
    """Time that stands still or runs backwards is refused."""
    with pytest.raises(ValueError, match="speed must be a number above 0"):
        Simulator(speed=speed)


def test_mistakes_are_named() -> None:
    """Unknown names and senseless numbers are refused with what is known."""

    async def main() -> None:
        simulator = Simulator()
        with pytest.raises(ValueError, match="known: reset,"):
            simulator.fail("rest")
        with pytest.raises(ValueError, match="times must be at least 1"):
            simulator.fail("reset", times=0)
        with pytest.raises(ValueError, match="answers must not be empty"):
            simulator.add_task(answers=[])

    asyncio.run(main())


def test_a_fault_may_be_for_one_method_only() -> None:
    """A create can be made to fail while statuses are read."""

    async def main() -> list[int | str]:
        async with Simulator() as simulator, aiohttp.ClientSession() as client:
            task_id = simulator.add_task()
            simulator.fail("402", method="POST", times=None)
            url = f"{simulator.base_url}/text-to-voice"
            headers = {"x-api-key": simulator.api_key}
            await client.get(f"{url}/{task_id}", headers=headers)
            await client.post(url, headers=headers, json={})
            return [request.answer for request in simulator.requests]

    assert [200, "402"] == asyncio.run(main())
