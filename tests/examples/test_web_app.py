"""The web application over HTTP: orders, streams, visitors, refusals, its end."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from camb_async.simulator import Fault

from .web_app_client import (
    Event,
    Server,
    Service,
    Visitor,
    need_web,
    running,
    start,
)


need_web()


@pytest.fixture(scope="module")
def service() -> Generator[Service]:
    """Provide a service whose tasks end when a test says so."""
    with Service.running() as service:
        yield service


@pytest.fixture(scope="module")
def server(service: Service) -> Generator[Server]:
    """Provide the application; each test comes as a visitor of its own."""
    with running(service, heartbeat=0.5) as server:
        yield server


@pytest.fixture
def visitor(server: Server) -> Visitor:
    """Provide a new visitor."""
    return Visitor.of(server)


@pytest.fixture(scope="module")
def refusing() -> Generator[tuple[Service, Server]]:
    """Provide a service and a server that watches nothing: all orders fail."""
    with Service.running() as service, running(service) as server:
        yield service, server


def settled(events: Iterator[Event], voice_id: str = "") -> Any:
    """Return the first card that is no longer running and has its previews.

    With an id, that of another voice is none.
    """
    for event in events:
        cards = event.data["voices"] if event.name == "snapshot" else [event.data]
        for card in cards:
            done = card["previews"] is not None or not card["succeeded"]
            if not card["running"] and done and voice_id in ("", card["id"]):
                return card
    pytest.fail("The stream ended before the voice did.")


def test_voice_is_streamed_from_order_to_previews(
    service: Service, visitor: Visitor
) -> None:
    """An open page sees each step without asking again."""
    with visitor.events() as events:
        assert [] == next(events).data["voices"]

        ordered = visitor.order("A calm voice", "Hello")
        sent = next(events).data
        pending = next(events).data
        service.end(ordered, "SUCCESS")
        ready = settled(events)

    assert ordered["id"] == sent["id"] == pending["id"] == ready["id"]
    assert ("Sent", "In the making", "Ready") == (
        sent["title"],
        pending["title"],
        ready["title"],
    )
    assert ("PENDING", "SUCCESS") == (pending["status"], ready["status"])
    assert ("A calm voice", "Hello") == (ready["description"], ready["text"])
    assert 2 == ready["previews"]


def test_case_48_a_reconnecting_browser_gets_what_it_missed(
    service: Service, visitor: Visitor
) -> None:
    """By the header of the browser or the parameter of the page: no snapshot."""
    with visitor.events() as events:
        assert "snapshot" == next(events).name

        quiet, busy = visitor.order("quiet"), visitor.order("busy")
        seen: dict[str, str] = {}
        last_id = ""
        while seen != {quiet["id"]: "PENDING", busy["id"]: "PENDING"}:
            event = next(events)
            seen[event.data["id"]] = event.data["status"]
            last_id = event.last_id
    service.end(busy, "TIMEOUT")
    with visitor.events() as elsewhere:
        settled(elsewhere)
    with visitor.events(last_event_id=last_id) as events:
        by_header = next(events)
    with visitor.events(f"?last_event_id={last_id}") as events:
        by_parameter = next(events)

    assert "voice" == by_header.name
    assert (busy["id"], "Timed out") == (by_header.data["id"], by_header.data["title"])
    assert by_header == by_parameter


def test_cursor_of_another_life_gets_a_snapshot(visitor: Visitor) -> None:
    """What a page saw before a restart says nothing."""
    ordered = visitor.order()
    with visitor.events(last_event_id="0badcafe-1") as events:
        event = next(events)

    assert "snapshot" == event.name
    assert [ordered["id"]] == [card["id"] for card in event.data["voices"]]
    assert event.last_id.startswith(event.data["life"])


def test_idle_stream_beats(visitor: Visitor) -> None:
    """A page can tell silence from death."""
    with visitor.everything() as events:
        names = [next(events).name for _ in range(4)]

    assert ["hello", "snapshot", "beat", "beat"] == names


def test_case_48_visitors_see_and_touch_only_their_own(
    service: Service, server: Server, visitor: Visitor
) -> None:
    """Another browser gets nothing, even with the id of a voice."""
    ordered = visitor.order()
    service.end(ordered, "SUCCESS")
    with visitor.events() as events:
        settled(events)
    audio = f"/voices/{ordered['id']}/previews/1"
    other = Visitor.of(server)
    with other.events() as events:
        assert [] == next(events).data["voices"]

    assert 200 == visitor.get(audio).status
    assert 404 == other.get(audio).status
    assert 404 == other.post(f"/voices/{ordered['id']}/watch").status
    assert 404 == other.post(f"/voices/{ordered['id']}/previews").status


def test_audio_is_passed_on_without_the_key(service: Service, visitor: Visitor) -> None:
    """Whole, by ranges, and when the link has expired meanwhile."""
    ordered = visitor.order()
    service.end(ordered, "SUCCESS", run_id=4711)
    with visitor.events() as events:
        settled(events)
    path = f"/voices/{ordered['id']}/previews/2"
    whole = visitor.get(path)
    part = visitor.get(path, range="bytes=0-3")
    service.expire_links()
    again = visitor.get(path)

    assert (200, b"RIFF") == (whole.status, whole.body[:4])
    assert "audio/wav" == whole.headers["content-type"]
    assert (206, b"RIFF") == (part.status, part.body)
    assert f"bytes 0-3/{len(whole.body)}" == part.headers["content-range"]
    assert (200, whole.body) == (again.status, again.body)
    assert 404 == visitor.get(f"/voices/{ordered['id']}/previews/3").status
    fetched = service.requests("/previews/4711/")
    assert fetched
    assert not any("x-api-key" in request.headers for request in fetched)
    assert not any("cookie" in request.headers for request in fetched)


def test_previews_that_cannot_be_found_are_looked_for_again(
    service: Service, visitor: Visitor
) -> None:
    """The card says so, and a button asks again."""
    ordered = visitor.order()
    service.fail("404", "/text-to-voice-result/4712")
    service.end(ordered, "SUCCESS", run_id=4712)
    again = f"/voices/{ordered['id']}/previews"
    with visitor.events() as events:
        while not (card := next(events).data).get("previews_failed"):
            pass
        assert card["previews"] is None

        assert 204 == visitor.post(again).status
        assert 2 == settled(events)["previews"]

    assert 409 == visitor.post(again).status


def test_given_up_voice_is_watched_again(service: Service, visitor: Visitor) -> None:
    """What the service did not end itself may be taken up again."""
    ordered = visitor.order()
    again = f"/voices/{ordered['id']}/watch"
    assert 409 == visitor.post(again).status

    service.fail("403", f"/text-to-voice/{ordered['task_id']}")
    with visitor.events() as events:
        card = settled(events)
        assert ("No longer watched", True) == (card["title"], card["can_resume"])

        assert 204 == visitor.post(again).status
        service.end(ordered, "SUCCESS")
        assert "Ready" == settled(events)["title"]


@pytest.mark.parametrize(
    ("fault", "status", "words"),
    [
        ("402", 402, "out of credits"),
        ("422", 422, "did not accept"),
        ("429", 429, "Too many orders"),
        ("401", 502, "key was refused"),
        ("403", 502, "may not order"),
        ("500", 502, "in trouble"),
        ("post_lost", 502, "not known whether"),
        ("bad_json", 502, "not known whether"),
        ("redirect", 502, "did not accept"),
    ],
)
def test_failed_order_is_explained(
    refusing: tuple[Service, Server], fault: str, status: int, words: str
) -> None:
    """Nothing is sent twice, and the form is told what happened."""
    service, server = refusing
    visitor = Visitor.of(server)
    before = len(service.requests("/text-to-voice"))
    service.fail(fault, "/text-to-voice")
    reply = visitor.post("/voices", {"description": "calm", "text": "Hello"})

    assert status == reply.status
    assert words in reply.json["title"]
    assert reply.json["advice"]
    assert before + 1 == len(service.requests("/text-to-voice"))
    with visitor.events() as events:
        assert [] == next(events).data["voices"]


def test_refused_field_is_marked(refusing: tuple[Service, Server]) -> None:
    """What the service says of a field stands at that field."""
    service, server = refusing
    issue = {"loc": ["body", "voice_description"], "msg": "Too short", "type": "x"}
    service.fail(Fault("http", status=422, body={"detail": [issue]}), "/text-to-voice")
    reply = Visitor.of(server).post("/voices", {"description": "a", "text": "b"})

    assert {"description": "Too short"} == reply.json["fields"]


@pytest.mark.parametrize(
    ("fields", "wrong"),
    [
        ({}, {"description", "text"}),
        ({"description": "  ", "text": "Hello"}, {"description"}),
        ({"description": 7, "text": "Hello"}, {"description"}),
        ({"description": "calm", "text": "x" * 1001}, {"text"}),
    ],
)
def test_incomplete_orders_are_not_sent(
    visitor: Visitor, fields: object, wrong: set[str]
) -> None:
    """Each field that is missing or too long is named."""
    reply = visitor.post("/voices", fields)

    assert 422 == reply.status
    assert wrong == set(reply.json["fields"])


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"sec_fetch_site": "cross-site"}, 403),
        ({"sec_fetch_site": "same-site"}, 403),
        ({"sec_fetch_site": "none"}, 403),
        ({"content_type": "text/plain"}, 415),
        ({"content_type": "application/x-www-form-urlencoded"}, 415),
        ({"host": "evil.example"}, 400),
        ({"cookie": "visitor=guess"}, 403),
    ],
    ids=str,
)
def test_requests_of_other_pages_are_refused(
    service: Service, server: Server, headers: dict[str, str], status: int
) -> None:
    """Another site cannot spend the visitor's credits."""
    visitor = Visitor.of(server)
    fields = {"description": "foreign", "text": "Hello"}
    if "cookie" in headers:
        visitor.cookie = ""

    assert status == visitor.post("/voices", fields, **headers).status
    posted = [request.body for request in service.requests("/text-to-voice")]
    assert not any(b"foreign" in body for body in posted)


@pytest.mark.parametrize(
    ("origin", "status"),
    [("http://127.0.0.1:{port}", 422), ("http://evil.example", 403), ("null", 403)],
)
def test_older_browsers_tell_by_origin(
    visitor: Visitor, origin: str, status: int
) -> None:
    """Without Sec-Fetch-Site the Origin counts."""
    headers = {"Origin": origin.format(port=visitor.port)}

    assert status == visitor.post("/voices", {}, sec_fetch_site="", **headers).status


@pytest.mark.parametrize(
    ("body", "status"), [(["no", "object"], 400), ("x" * 70_000, 413)]
)
def test_odd_bodies_are_refused(visitor: Visitor, body: object, status: int) -> None:
    """Neither the wrong shape nor too much."""
    assert status == visitor.post("/voices", body).status


def test_case_48_a_stream_needs_a_visitor(server: Server) -> None:
    """Who has no cookie has no voices."""
    assert 403 == Visitor(server.port).get("/events").status


def test_streams_are_limited(visitor: Visitor) -> None:
    """One browser cannot take all connections."""
    with contextlib.ExitStack() as stack:
        for _ in range(12):
            next(stack.enter_context(visitor.events()))
        refused = visitor.get("/events")

    assert (503, "10") == (refused.status, refused.headers["retry-after"])


@pytest.mark.parametrize("path", ["/", "/static/app.js", "/nowhere", "/events"])
def test_every_answer_is_confined(server: Server, path: str) -> None:
    """The policy is on all of them, refusals too."""
    headers = Visitor(server.port).get(path).headers

    assert "default-src 'none'" in headers["content-security-policy"]
    assert "unsafe" not in headers["content-security-policy"]
    assert "nosniff" == headers["x-content-type-options"]


def test_cookie_is_for_this_site_only(server: Server) -> None:
    """Scripts cannot read it, other sites cannot use it, and it stays the same."""
    visitor = Visitor(server.port)
    cookie = visitor.get("/").headers["set-cookie"]
    visitor.cookie = cookie.partition(";")[0]

    assert "httponly" in cookie.lower()
    assert "samesite=lax" in cookie.lower()
    assert "set-cookie" not in visitor.get("/").headers


@pytest.mark.parametrize(
    ("by", "code"),
    [(signal.SIGTERM, -signal.SIGTERM), (signal.SIGINT, 130)],
    ids=["SIGTERM", "SIGINT"],
)
def test_server_stops_at_once_with_streams_open(
    service: Service, by: signal.Signals, code: int
) -> None:
    """Each stream ends in good order, and nothing is complained about."""
    with running(service) as server, contextlib.ExitStack() as stack:
        visitor = Visitor.of(server)
        visitor.order()
        streams = [stack.enter_context(visitor.events()) for _ in range(5)]
        for events in streams:
            next(events)
        asked = time.monotonic()
        outcome = server.stop(by)
        took = time.monotonic() - asked

        assert (code, "") == outcome
        assert took < 4.0
        for events in streams:
            assert all(event.name == "voice" for event in events)


def test_order_under_way_gets_a_last_word_when_the_server_stops() -> None:
    """It may have been ordered, and that is what the browser and the log say."""
    with (
        Service.running() as service,
        running(service) as server,
        ThreadPoolExecutor() as pool,
    ):
        visitor = Visitor.of(server)
        service.fail("hang", "/text-to-voice")
        fields = {"description": "under way", "text": "Hello"}
        reply = pool.submit(visitor.post, "/voices", fields)
        while not any(b"under way" in r.body for r in service.requests("/text-to-v")):
            time.sleep(0.01)
        _code, complaints = server.stop()

        assert "not known whether" in reply.result().json["title"]
        assert "its task may exist" in complaints
        assert "Traceback" not in complaints


def test_without_a_key_the_simulator_stands_in() -> None:
    """It says so on the terminal and to the page, and orders work."""
    with running(None) as server:
        visitor = Visitor.of(server)
        with visitor.everything() as events:
            hello = next(events)
        ordered = visitor.order()

    assert "simulator" in server.greeting
    assert hello.data["simulated"]
    assert ordered["running"]


def test_bad_key_is_refused_before_the_start(service: Service, tmp_path: Path) -> None:
    """In one line, without showing it."""
    with pytest.raises(pytest.fail.Exception) as caught:
        start(service, tmp_path / "web_app.db", key="not a key")

    assert "error: The API key holds a character" in str(caught.value)
    assert "not a key" not in str(caught.value)
    assert "Traceback" not in str(caught.value)


def test_taken_port_is_refused(
    service: Service, server: Server, tmp_path: Path
) -> None:
    """In one line."""
    with pytest.raises(pytest.fail.Exception, match="cannot be had"):
        start(service, tmp_path / "web_app.db", port=server.port)


def test_taken_file_is_refused(service: Service, tmp_path: Path) -> None:
    """In one line, which names the process that has it."""
    with (
        running(service, tmp_path / "web_app.db") as server,
        pytest.raises(pytest.fail.Exception, match="is held by process") as caught,
    ):
        start(service, tmp_path / "web_app.db")

    assert str(server.process.pid) in str(caught.value)
    assert "Traceback" not in str(caught.value)


def test_killed_server_goes_on_where_it_stopped(
    service: Service, tmp_path: Path
) -> None:
    """The page shows what was ordered, and its end that came meanwhile."""
    with running(service, tmp_path / "web_app.db") as server:
        visitor = Visitor.of(server)
        early, late = visitor.order("early"), visitor.order("late")
        server.process.kill()
        server.process.communicate()
    service.end(early, "SUCCESS")
    with running(service, tmp_path / "web_app.db", port=server.port):
        with visitor.events() as events:
            shown = {card["id"] for card in next(events).data["voices"]}
        with visitor.events() as events:
            done = settled(events, early["id"])
            service.end(late, "TIMEOUT")
            timed_out = settled(events, late["id"])

    assert {early["id"], late["id"]} == shown
    assert ("Ready", 2) == (done["title"], done["previews"])
    assert "Timed out" == timed_out["title"]
