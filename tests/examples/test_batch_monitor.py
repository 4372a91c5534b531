"""The batch monitor: parts by themselves, the run, and processes that are stopped."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import io
import json
import os
import signal
import sys
import wave
from collections import Counter
from collections.abc import AsyncGenerator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import aiohttp
import attrs
import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from camb_async import (
    AdaptiveSchedule,
    CambSession,
    RetryPolicy,
    SqliteStore,
    TaskRef,
    TaskStatus,
    work,
)
from camb_async.simulator import Request, Scenario, Simulator
from examples.batch_monitor.app import command
from examples.batch_monitor.batch import Batch, ExitCode, check_same
from examples.batch_monitor.creating import UNANSWERED_MAX
from examples.batch_monitor.display import frame, line_of, roughly
from examples.batch_monitor.journal import Journal
from examples.batch_monitor.ledger import (
    Created,
    Creating,
    Downloaded,
    Event,
    Finished,
    JournalError,
    Ledger,
    Progress,
    Refused,
    RowEvent,
    Stage,
    Started,
    Unknown,
    dump,
    intact,
    parse,
    replay,
)
from examples.batch_monitor.monitor import Monitor, Options
from examples.batch_monitor.plot import draw
from examples.batch_monitor.report import Report, Spread, Tally, percentile
from examples.batch_monitor.rows import Row, RowsError, parse_rows, read_rows
from examples.batch_monitor.timeline import Timeline
from tests.helpers import FREE, run, served


_ROOT = Path(__file__).parent.parent.parent
_SHIPPED = _ROOT / "examples" / "batch_monitor" / "voices.csv"
#: Nothing that is written may ever contain this.
_KEY = "canary-77c1-never-show-me"
_LONG = (
    "A calm woman in her forties with a light accent, unhurried and clear, sounding "
    "reassuring and a little amused, recorded close to the microphone."
)
_RETRY = RetryPolicy(attempts=3, backoff_initial=0.01, backoff_max=0.05)
_FAULTY = Scenario(
    median=0.6,
    sigma=0.3,
    shortest=0.2,
    longest=1.5,
    outcomes={"SUCCESS": 8, "ERROR": 1, "TIMEOUT": 1},
    fault_rate=0.15,
    faults=("reset", "502_html", "bad_json", "html_200", "truncate_content_length"),
)
_QUICK = Scenario(median=0.3, longest=0.6)
_ENDLESS = Scenario(median=1000.0)
_SVG = "{http://www.w3.org/2000/svg}svg"
_AT = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def _rows(count: int) -> list[Row]:
    return [
        Row(n, n + 1, _LONG, f"text {n}", f"voice {n}") for n in range(1, count + 1)
    ]


def _table(directory: Path, count: int) -> Path:
    path = directory / "rows.ndjson"
    rows = (
        {"description": _LONG, "text": row.text, "id": n}
        for n, row in enumerate(_rows(count), start=1)
    )
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def _objects(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def _root_of(path: Path) -> str:
    return ET.parse(path).getroot().tag  # noqa: S314 - our own file


def _posts(simulator: Simulator) -> Counter[str]:
    """Return how often each text was sent to be created."""
    return Counter(
        json.loads(request.body)["text"]
        for request in simulator.requests
        if request.method == "POST"
    )


def _polls(simulator: Simulator) -> list[Request]:
    return [r for r in simulator.requests if "/text-to-voice/" in r.path]


def _check_audio(directory: Path, results: list[dict[str, Any]]) -> None:
    files = [directory / file for result in results for file in result["files"]]
    for file in files:
        with wave.open(str(file)) as audio:
            assert audio.getnframes() > 0

    assert sum(result["status"] == "SUCCESS" for result in results) * 2 == len(files)


# The table of voices


_HEAD = "description,text,name,id\n"
_GOOD = f'"{_LONG}",Hello'
_NO_COLUMN = (
    "line 1: no column 'description'; the first line names the columns, and there are "
    "'voice', 'text'"
)
_TOO_SHORT = (
    "line 2: the description has 3 words and 12 characters; the service asks for at "
    "least 18 and 100 (--allow-short sends it)"
)


@pytest.mark.parametrize(
    ("text", "is_json", "problems"),
    [
        pytest.param("", False, ["there are no rows"], id="empty"),
        pytest.param(_HEAD, False, ["there are no rows"], id="only a header"),
        pytest.param(
            "voice,text\nx,y\n",
            False,
            [_NO_COLUMN],
            id="no such column",
        ),
        pytest.param(
            "text,text,description\n",
            False,
            ["line 1: there are two columns 'text'"],
            id="a column twice",
        ),
        pytest.param(
            f"{_HEAD}{_GOOD},a,1\n\n{_GOOD},b\n",
            False,
            [
                "line 4: 3 fields below 4 columns (a comma in a text needs quotes)",
            ],
            id="too few fields",
        ),
        pytest.param(
            f'{_HEAD}"{_LONG}","two\nlines",a,1\n,,b,2\n',
            False,
            ["line 4: 'description' is empty", "line 4: 'text' is empty"],
            id="line numbers after a field of two lines",
        ),
        pytest.param(
            f'{_HEAD}{_GOOD},a,1\n"open\n',
            False,
            ["line 3: not CSV: unexpected end of data"],
            id="a quote left open",
        ),
        pytest.param(
            f"{_HEAD}{_GOOD},a,1\n{_GOOD},b,1\n",
            False,
            ["line 3: the id '1' is that of line 2, too"],
            id="an id twice",
        ),
        pytest.param(
            f"{_HEAD}A calm voice,Hello,a,1\n",
            False,
            [_TOO_SHORT],
            id="too short",
        ),
        pytest.param(
            '{"description": 5}\n\n[]\n{"a"\n',
            True,
            [
                "line 1: 'description' is a int, not a text",
                "line 1: 'text' is missing",
                "line 3: a JSON list instead of an object",
                "line 4: not JSON: Expecting ':' delimiter: line 1 column 5 (char 4)",
            ],
            id="json",
        ),
    ],
)
def test_what_is_wrong_with_a_table_is_told_by_line(
    text: str,
    is_json: bool,  # noqa: FBT001
    problems: list[str],
) -> None:
    """Each problem names the line on which its row begins."""
    with pytest.raises(RowsError) as caught:
        parse_rows(text, is_json=is_json)

    assert problems == caught.value.problems


def test_long_lists_of_problems_are_cut() -> None:
    """A file of another kind does not fill the screen."""
    with pytest.raises(RowsError) as caught:
        parse_rows("[]\n" * 100, is_json=True)

    assert "... and 80 more" == str(caught.value).splitlines()[-1]
    assert 21 == len(str(caught.value).splitlines())


@pytest.mark.parametrize("name", ["a.csv", "a.ndjson", "a.jsonl", "a.txt"])
def test_the_same_rows_are_read_from_csv_and_ndjson(tmp_path: Path, name: str) -> None:
    """Names default to the id, ids to nothing, and other columns are left alone."""
    path = tmp_path / name
    if name == "a.csv":
        content = (
            f'\ufeffID,Text,Mood,Description,Name\r\n7,Hello,x,"{_LONG}",\r\n'
            f',"two\nlines",y,"{_LONG}",Ann\r\n'
        )
    else:
        first = {"id": 7, "text": "Hello", "mood": 1, "description": _LONG}
        second = {"text": "two\nlines", "description": _LONG, "name": "Ann"}
        content = f"{json.dumps(first)}\n{json.dumps(second)}"
    path.write_text(content, newline="")

    first_row, second_row = read_rows(path)

    assert Row(1, 2 - (name != "a.csv"), _LONG, "Hello", "7", "7") == first_row
    assert ("two\nlines", "Ann", None) == (
        second_row.text,
        second_row.name,
        second_row.id,
    )


def test_files_that_cannot_be_read_are_told(tmp_path: Path) -> None:
    """A missing file and one that is not UTF-8 are refused in words."""
    with pytest.raises(RowsError, match="No such file"):
        read_rows(tmp_path / "none.csv")
    (tmp_path / "latin.csv").write_bytes(b"description,text\nx,caf\xe9\n")
    with pytest.raises(RowsError, match="line 2: not UTF-8"):
        read_rows(tmp_path / "latin.csv")


def test_the_shipped_table_is_long_enough_for_the_service() -> None:
    """All 25 descriptions hold what the documentation asks for, and differ."""
    rows = read_rows(_SHIPPED)

    assert 25 == len({row.description for row in rows}) == len(rows)
    assert 25 == len({row.text for row in rows})


# The ledger and the journal


def _finished(row: int, error: str | None = None, **fields: Any) -> Finished:
    status = TaskStatus.ERROR if error else TaskStatus.SUCCESS
    told: dict[str, Any] = {
        "status": status,
        "run_id": None if error else 0,
        "reason": None,
        "error": error,
        "advice": "review_inputs" if error else None,
        "uncertainty": 1.5,
        "polls": 4,
    }
    return Finished(row=row, **(told | fields))


_EVENTS: list[Event] = [
    Started(service="https://x.example", at=_AT),
    Creating(row=1, digest="d1", at=_AT),
    Created(row=1, task_id="t-1", at=_AT),
    Creating(row=2, digest="d2", at=_AT),
    Refused(row=2, error="no", at=_AT),
    Creating(row=3, digest="d3", at=_AT),
    Unknown(row=3, error="cut off", at=_AT),
    Creating(row=4, digest="d4", at=_AT),
    Created(row=4, task_id="t-4", at=_AT),
    _finished(4, at=_AT + timedelta(seconds=9)),
    Creating(row=5, digest="d5", at=_AT),
    Created(row=5, task_id="t-5", at=_AT),
    _finished(5, at=_AT),
    Downloaded(row=5, files=("audio/5.wav",), at=_AT),
    Creating(row=6, digest="d6", at=_AT),
    Created(row=6, task_id="t-6", at=_AT),
    _finished(6, "failed", at=_AT),
    Creating(row=7, digest="d7", at=_AT),
]


def test_a_journal_is_replayed_into_what_is_known_of_each_row() -> None:
    """Stages, tasks with their ages, and what is over."""
    ledger = replay(dump(event).rstrip() for event in _EVENTS)

    assert {
        1: Stage.CREATED,
        2: Stage.WAITING,
        3: Stage.UNANSWERED,
        4: Stage.FINISHED,
        5: Stage.DOWNLOADED,
        6: Stage.FINISHED,
        7: Stage.UNANSWERED,
    } == {row: progress.stage for row, progress in ledger.rows.items()}
    assert {5, 6} == {row for row, p in ledger.rows.items() if p.is_over}
    assert Progress() == ledger.of(8)
    assert TaskRef("t-1") == ledger.of(1).task
    assert _AT == ledger.rows[1].task.created_at  # type: ignore[union-attr]
    assert 9.0 == ledger.of(4).elapsed
    assert "https://x.example" == ledger.service
    assert [(_AT, _AT + timedelta(seconds=9))] == ledger.sessions


@pytest.mark.parametrize("event", _EVENTS, ids=lambda event: type(event).__name__)
def test_events_survive_being_written(event: Event) -> None:
    """A line holds all of an event."""
    line = dump(event)

    assert event == parse(line)
    assert 1 == line.count(b"\n")


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"{", "Expecting"),
        (b"[]", ""),
        (b'{"event": "other"}', ""),
        (b'{"event": "created", "row": 9, "task_id": "t", "at": "x"}', ""),
        (dump(Created(row=9, task_id="t")), "row 9 cannot be created after WAITING"),
        (dump(Creating(row=1, digest="d")), "row 1 cannot be creating after CREATED"),
    ],
    ids=["cut", "list", "unknown event", "no time", "never begun", "begun twice"],
)
def test_a_damaged_line_is_named(line: bytes, reason: str) -> None:
    """A batch does not go on from a journal that it cannot trust."""
    lines = [dump(event) for event in _EVENTS[:3]]

    with pytest.raises(
        JournalError, match="line 4 of the journal is damaged"
    ) as caught:
        replay([*lines, line])
    assert reason in str(caught.value)


_NEXT: dict[Stage, list[Callable[[int], RowEvent]]] = {
    Stage.WAITING: [lambda row: Creating(row=row, digest="d", at=_AT)],
    Stage.UNANSWERED: [
        lambda row: Created(row=row, task_id=f"t-{row}", at=_AT),
        lambda row: Refused(row=row, error="ä no\n", at=_AT),
        lambda row: Unknown(row=row, error="?", at=_AT),
    ],
    Stage.CREATED: [
        lambda row: _finished(row, at=_AT),
        lambda row: _finished(row, "failed", at=_AT),
    ],
    Stage.FINISHED: [lambda row: Downloaded(row=row, files=("a.wav",), at=_AT)],
    Stage.DOWNLOADED: [],
}


@given(
    steps=st.lists(st.tuples(st.integers(1, 4), st.integers(0, 2)), max_size=30),
    share=st.floats(0, 1),
)
def test_whenever_it_is_killed_no_row_is_sent_twice(
    steps: list[tuple[int, int]], share: float
) -> None:
    """Wherever the file is cut, a row that may have left is not to be sent."""
    ledger = Ledger()
    content, may_have_left = b"", dict[int, int]()
    for row, choice in steps:
        choices = _NEXT[ledger.of(row).stage]
        if choices:
            event = choices[choice % len(choices)](row)
            ledger.apply(event)
            content += dump(event)
            if isinstance(event, Creating):
                may_have_left[row] = len(content)
            elif isinstance(event, Refused):
                del may_have_left[row]
    cut = content[: round(len(content) * share)]

    after = replay(cut[: intact(cut)].splitlines())

    for row, since in may_have_left.items():
        assert since > len(cut) or after.of(row).stage is not Stage.WAITING


def test_a_torn_last_line_is_dropped_and_written_over(tmp_path: Path) -> None:
    """A process that was killed while it wrote does not stop the next one."""
    path = tmp_path / "new" / "journal.ndjson"
    with Journal(path) as journal:
        for event in _EVENTS[:2]:
            journal.note(event)
    path.write_bytes(path.read_bytes() + dump(_EVENTS[2])[:-9])

    with Journal(path) as journal:
        stage = journal.ledger.of(1).stage
        journal.note(_EVENTS[2])

    assert Stage.UNANSWERED is stage
    assert b"".join(map(dump, _EVENTS[:3])) == path.read_bytes()


def test_a_full_disk_leaves_no_half_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What could only be written in part is taken back."""
    path = tmp_path / "journal.ndjson"
    write, room = os.write, [10]

    def write_a_little(descriptor: int, data: bytes) -> int:
        if not room:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(descriptor, data[: room.pop()])

    with Journal(path) as journal:
        journal.note(_EVENTS[0])
        with monkeypatch.context() as patch:
            patch.setattr(os, "write", write_a_little)
            with pytest.raises(OSError, match="No space left"):
                journal.note(_EVENTS[1])
        journal.note(_EVENTS[3])

    assert dump(_EVENTS[0]) + dump(_EVENTS[3]) == path.read_bytes()


def test_a_journal_is_open_once(tmp_path: Path) -> None:
    """The second is refused, and may have it once the first is done."""
    path = tmp_path / "journal.ndjson"
    with (
        Journal(path),
        pytest.raises(JournalError, match="another process works on this batch"),
        Journal(path),
    ):
        pass

    with Journal(path) as journal:
        assert {} == journal.ledger.rows


def test_another_batch_is_not_gone_on_with(tmp_path: Path) -> None:
    """A row that was sent must be what it was, on the service it was sent to."""
    rows = _rows(3)
    with Journal(tmp_path / "journal.ndjson") as journal:
        journal.note(Started(service="https://a.example"))
        for row in rows[:2]:
            journal.note(Creating(row=row.number, digest=row.digest))
        journal.note(Refused(row=1, error="no"))

        changed = [attrs.evolve(row, text="new") for row in rows]
        check_same([changed[0], rows[1], changed[2]], journal, "https://a.example")
        with pytest.raises(JournalError, match="row 2 has changed"):
            check_same([rows[0], changed[1]], journal, "https://a.example")
        with pytest.raises(JournalError, match="row 2 is gone"):
            check_same(rows[:1], journal, "https://a.example")
        with pytest.raises(JournalError, match=r"begun on https://a\.example"):
            check_same(rows, journal, "https://b.example")


# Numbers and pictures


@pytest.mark.parametrize(
    ("values", "share", "expected"),
    [([3.0], 0.5, 3.0), ([4.0, 1.0, 3.0, 2.0], 0.5, 2.0), (range(1, 11), 0.9, 9)],
)
def test_percentiles(values: list[float], share: float, expected: float) -> None:
    """The smallest value that this share does not exceed."""
    assert expected == percentile(values, share)


def test_a_report_counts_each_row_once(tmp_path: Path) -> None:
    """Outcomes, times, advice: read from a journal that was written by hand."""
    rows = _rows(9)
    with Journal(tmp_path / "journal.ndjson") as journal:
        for event in _EVENTS:
            journal.note(event)
        with Batch(rows, journal, tmp_path) as batch:
            report = Report.of(batch)
            left = batch.left()

    assert (
        Tally(
            total=9,
            created=4,
            finished=3,
            downloaded=1,
            succeeded=2,
            unanswered=2,
            in_trouble=0,
            statuses=Counter({TaskStatus.SUCCESS: 2, TaskStatus.ERROR: 1, None: 1}),
        )
        == report.tally
    )
    assert Spread(p50=0.0, p90=9.0, longest=9.0, count=3) == report.to_finish
    assert Spread(p50=1.5, p90=1.5, longest=1.5, count=3) == report.lateness
    assert (12, 1, 3, 2) == (
        report.polls,
        report.files,
        report.unsent,
        report.unfinished,
    )
    assert [1, 2, 4, 8, 9] == left
    text = "\n".join(report.lines())
    assert "1 of 9 voices are here, in 1 files" in text
    assert "row 6    voice 6  review_inputs (ERROR)" in text
    assert "created 4/9, finished 3, downloaded 1" in line_of(report.tally)
    assert [5, 6] == [each["row"] for each in _objects(tmp_path / "results.ndjson")]


def _two_sessions() -> Ledger:
    ledger = Ledger()
    next_day = _AT + timedelta(days=1)
    events: list[Event] = [
        Started(service="s", at=_AT),
        Creating(row=1, digest="", at=_AT),
        Created(row=1, task_id="a", at=_AT + timedelta(seconds=1)),
        Creating(row=2, digest="", at=_AT),
        Created(row=2, task_id="b", at=_AT + timedelta(seconds=2)),
        _finished(1, at=_AT + timedelta(seconds=10)),
        Started(service="s", at=next_day),
        _finished(2, "failed", uncertainty=None, at=next_day + timedelta(seconds=5)),
    ]
    for event in events:
        ledger.apply(event)
    return ledger


def test_the_clock_stands_still_while_no_process_runs() -> None:
    """A batch that was resumed a day later is still a matter of seconds."""
    timeline = Timeline.of(_two_sessions())

    assert (1.0, 2.0) == timeline.created
    assert (10.0,) == timeline.resumed
    assert 15.0 == timeline.end
    assert [(10.0, 8.5, 1.5, True), (15.0, 15.0, None, False)] == [
        (mark.at, mark.may_have_ended, mark.lateness, mark.succeeded)
        for mark in timeline.marks
    ]


@pytest.mark.parametrize("ledger", [Ledger(), _two_sessions()], ids=["empty", "two"])
def test_pictures_are_svg_or_png(tmp_path: Path, ledger: Ledger) -> None:
    """Both kinds are whole, and the same batch draws the same SVG."""
    for name in ("a.svg", "b.svg", "a.png"):
        draw(Timeline.of(ledger), tmp_path / name)

    assert _SVG == _root_of(tmp_path / "a.svg")
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
    assert b"\x89PNG" == (tmp_path / "a.png").read_bytes()[:4]


# The run, in this process


@attrs.frozen
class _Bench:
    simulator: Simulator
    camb: CambSession
    store: SqliteStore
    batch: Batch
    monitor: Monitor


@contextlib.asynccontextmanager
async def _bench(
    tmp_path: Path, rows: list[Row], scenario: Scenario = _QUICK, **options: Any
) -> AsyncGenerator[_Bench, None]:
    async with (
        Simulator(scenario) as simulator,
        CambSession(
            simulator.api_key, base_url=simulator.base_url, retry=_RETRY, limits=FREE
        ) as camb,
        SqliteStore(tmp_path / "watches.db") as store,
    ):
        with (
            Journal(tmp_path / "journal.ndjson") as journal,
            Batch(rows, journal, tmp_path) as batch,
        ):
            chosen = Options(service=simulator.base_url, interval=0.1, **options)
            yield _Bench(
                simulator, camb, store, batch, Monitor(camb, store, batch, chosen)
            )


@pytest.mark.parametrize("kind", ["csv", "ndjson"])
def test_every_row_of_a_batch_has_one_result(tmp_path: Path, kind: str) -> None:
    """Faults cost polls and no rows; the audio is there and plays."""
    rows = read_rows(_SHIPPED)
    if kind == "ndjson":
        fields = ({"text": row.text, "description": row.description} for row in rows)
        path = tmp_path / "rows.ndjson"
        path.write_text("".join(json.dumps(each) + "\n" for each in fields))
        rows = read_rows(path)

    async def main() -> ExitCode:
        async with _bench(tmp_path, rows, _FAULTY) as bench:
            await bench.monitor.run()

            assert set(_posts(bench.simulator).values()) == {1}
            return bench.monitor.exit_code()

    code = run(main())
    results = _objects(tmp_path / "results.ndjson")
    failures = [result for result in results if result["status"] != "SUCCESS"]

    assert list(range(1, 26)) == sorted(result["row"] for result in results)
    assert ExitCode.FAILED is code
    assert 0 < len(failures) < 25
    assert {"review_inputs", "retry_or_contact"} >= {
        each["advice"] for each in failures
    }
    assert all(result["elapsed"] > 0 for result in results)
    _check_audio(tmp_path, results)


def test_a_create_call_that_was_refused_for_a_while_is_repeated(tmp_path: Path) -> None:
    """After a 429 nothing was created, so the row is sent again, by itself."""

    async def main() -> None:
        async with _bench(tmp_path, _rows(3), concurrency=1) as bench:
            bench.simulator.fail("429_no_header", times=2, path="/text-to-voice")
            await bench.monitor.run()

            assert [3, 1, 1] == sorted(_posts(bench.simulator).values(), reverse=True)
            assert ExitCode.SUCCESS is bench.monitor.exit_code()

    run(main())


@pytest.mark.parametrize(
    ("fault", "advice", "stage"),
    [
        ("post_lost", "look in the studio", Stage.UNANSWERED),
        ("500", "look in the studio", Stage.UNANSWERED),
        ("422", "review_inputs", Stage.WAITING),
        ("redirect", "check CAMB_BASE_URL", Stage.WAITING),
    ],
)
def test_a_create_call_that_failed_touches_no_other_row(
    tmp_path: Path, fault: str, advice: str, stage: Stage
) -> None:
    """The row is reported, and is unknown where it may have been created."""

    async def main() -> None:
        async with _bench(tmp_path, _rows(4), concurrency=1) as bench:
            bench.simulator.fail(fault, path="/text-to-voice")
            await bench.monitor.run()

            assert stage is bench.batch.progress(1).stage
            assert [2, 3, 4] == bench.batch.numbers(Stage.DOWNLOADED)
            assert ExitCode.FAILED is bench.monitor.exit_code()

    run(main())
    (result,) = (r for r in _objects(tmp_path / "results.ndjson") if r["row"] == 1)

    assert advice == result["advice"]
    assert result["error"]


def test_a_service_that_is_down_does_not_leave_all_rows_unknown(tmp_path: Path) -> None:
    """After some creates without an answer no more are sent."""

    async def main() -> None:
        async with _bench(tmp_path, _rows(30), concurrency=2) as bench:
            bench.simulator.fail("reset", times=None, path="/text-to-voice")
            await bench.monitor.run()

            assert _posts(bench.simulator).total() <= UNANSWERED_MAX + 1
            assert bench.monitor.trouble is not None

    run(main())


def test_a_download_that_failed_is_made_again_by_the_next_run(tmp_path: Path) -> None:
    """The task is over and its audio is not here, so that is what is left to do."""

    async def main(*, broken: bool) -> ExitCode:
        async with (
            served(speed=10, retry=_RETRY) as (simulator, camb),
            SqliteStore(tmp_path / "watches.db") as store,
        ):
            with (
                Journal(tmp_path / "journal.ndjson") as journal,
                Batch(_rows(1), journal, tmp_path) as batch,
            ):
                if broken:
                    simulator.fail("404", times=None, path="/text-to-voice-result")
                elif batch.progress(1).finished:
                    run_id = batch.progress(1).finished.run_id  # type: ignore[union-attr]
                    simulator.add_task(run_id=run_id)
                options = Options(service="s", interval=0.1)
                monitor = Monitor(camb, store, batch, options)
                await monitor.run()
                assert broken == (_posts(simulator).total() == 1)

                return monitor.exit_code()

    first = run(main(broken=True))
    (failed,) = _objects(tmp_path / "results.ndjson")
    second = run(main(broken=False))
    (result,) = _objects(tmp_path / "results.ndjson")

    assert (ExitCode.FAILED, ExitCode.SUCCESS) == (first, second)
    assert "404" in failed["error"]
    assert (None, 2) == (result["error"], len(result["files"]))


@pytest.mark.parametrize("deadline", [None, 0.0], ids=["its end", "its deadline"])
def test_what_nobody_read_in_time_is_read_by_the_next_run(
    tmp_path: Path, deadline: float | None
) -> None:
    """A process died before it read how a watch had ended: it is one result."""

    async def main() -> ExitCode:
        async with _bench(tmp_path, _rows(1)) as bench:
            pending = 0.0 if deadline is None else 1000.0
            task = TaskRef(bench.simulator.add_task(after=pending))
            for event in (
                Creating(row=1, digest=_rows(1)[0].digest),
                Created(row=1, task_id=task.task_id),
            ):
                bench.batch.note(event)
            await bench.store.add(task, context=1, deadline=deadline)
            await work(bench.camb, bench.store, until_empty=True)
            bench.simulator.add_task(task.task_id, after=0.0)
            await bench.monitor.run()

            assert not _posts(bench.simulator)
            assert 0 == await bench.store.watching()
            return bench.monitor.exit_code()

    code = run(main())
    (result,) = _objects(tmp_path / "results.ndjson")

    assert ExitCode.SUCCESS is code
    assert (None, 2) == (result["error"], len(result["files"]))


def test_a_store_of_something_else_is_left_alone(tmp_path: Path) -> None:
    """What it holds stays there, and the batch says that it needs one of its own."""

    async def main() -> None:
        async with _bench(tmp_path, _rows(2)) as bench:
            other = bench.simulator.add_task(after=0.0)
            await bench.store.add(other, context={"chat": 11})
            await work(bench.camb, bench.store, until_empty=True)
            await bench.monitor.run()

            assert bench.monitor.trouble is not None
            assert "choose another --store" == bench.monitor.trouble.advice
            assert ExitCode.FAILED is bench.monitor.exit_code()
            assert not bench.batch.numbers(Stage.UNANSWERED)
            first = await anext(aiter(bench.store.transitions()))
            assert other == first.task_id

    run(main())


def test_a_key_that_is_refused_later_ends_no_task(tmp_path: Path) -> None:
    """Creating and watching stop; with the right key the same command goes on."""

    async def main() -> tuple[ExitCode, ExitCode]:
        async with _bench(tmp_path, _rows(2), _ENDLESS) as bench:
            task = asyncio.ensure_future(bench.monitor.run())
            await _until(lambda: len(bench.batch.numbers(Stage.CREATED)) == 2)
            key, bench.simulator.api_key = bench.simulator.api_key, "another"
            await task
            refused = bench.monitor.exit_code()
            bench.simulator.api_key = key
            for number in (1, 2):
                ref = bench.batch.progress(number).task
                assert ref is not None
                bench.simulator.add_task(ref.task_id, after=0.0)
            options = Options(service=bench.simulator.base_url, interval=0.1)
            again = Monitor(bench.camb, bench.store, bench.batch, options)
            await again.run()
            return refused, again.exit_code()

    assert (ExitCode.AUTHENTICATION, ExitCode.SUCCESS) == run(main())


def test_the_display_shows_how_far_each_bar_is(tmp_path: Path) -> None:
    """On a terminal there are bars, counts of statuses, and what it costs."""

    async def main() -> str:
        async with _bench(tmp_path, _rows(3)) as bench:
            await bench.monitor.run()
            console = Console(file=io.StringIO(), force_terminal=True, width=100)
            with console.capture() as captured:
                console.print(frame(bench.batch, bench.monitor, 2.0))
            return captured.get()

    text = run(main())

    assert 3 == text.count("3/3")
    assert "✅ SUCCESS" in text
    assert " polls · 0 ridden out" in text


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(0.0, "5 s"), (61.0, "90 s"), (91.0, "2 min"), (2701.0, "1 h"), (3601.0, "2 h")],
)
def test_what_is_left_is_told_roughly(seconds: float, expected: str) -> None:
    """It is rounded up, so that it changes now and then only."""
    assert expected == roughly(seconds)


def test_the_display_tells_when_most_are_likely_done(tmp_path: Path) -> None:
    """What holds for the slowest of those under way holds for nine of ten."""

    async def main() -> tuple[str, str]:
        async with _bench(tmp_path, _rows(2), _ENDLESS) as bench:
            options = Options(service="s")
            monitor = Monitor(bench.camb, bench.store, bench.batch, options)
            console = Console(file=io.StringIO(), width=100)
            task = asyncio.ensure_future(monitor.run())
            await _until(
                lambda: monitor.stats is not None and monitor.stats.watching == 2
            )
            with console.capture() as before:
                console.print(frame(bench.batch, monitor, 2.0))
            _teach(bench.camb)
            with console.capture() as after:
                console.print(frame(bench.batch, monitor, 2.0))
            monitor.interrupt()
            await task
            return before.get(), after.get()

    before, after = run(main())

    assert "likely" not in before
    assert "nine of ten under way are likely done in 2 min" in " ".join(after.split())


def _teach(camb: CambSession) -> None:
    for number in range(9):
        camb.schedule.learn(TaskRef(f"{number}"), 90.0, 100.0)
    assert isinstance(camb.schedule, AdaptiveSchedule)
    camb.schedule.to_dict()  # which brings it up to date


# Processes that are started, stopped, and started again


class _Front:
    """Stands before a simulator, to hold or refuse create calls.

    ``hold`` are the numbers of the create calls, from 1, that wait for ``release``;
    from ``refuse_from`` on they are answered 402.
    """

    def __init__(self, simulator: Simulator) -> None:
        self.simulator = simulator
        self.hold: set[int] = set()
        self.release = asyncio.Event()
        self.refuse_from = 10**9
        self.arrived = 0
        self.base_url = ""

    async def handle(self, request: web.BaseRequest) -> web.Response:
        """Pass a request on, or do what was ordered."""
        body = await request.read()
        if request.method == "POST":
            self.arrived += 1
            if self.arrived >= self.refuse_from:
                return web.json_response({"detail": "Payment Required"}, status=402)
            if self.arrived in self.hold:
                await self.release.wait()
        origin = self.simulator.base_url.removesuffix("/apis")
        passed = {"x-api-key", "Content-Type"} & request.headers.keys()
        headers = {name: request.headers[name] for name in passed}
        async with (
            aiohttp.ClientSession(headers=headers) as client,
            client.request(
                request.method, origin + request.raw_path, data=body
            ) as reply,
        ):
            return web.Response(
                body=await reply.read(),
                status=reply.status,
                content_type=reply.content_type,
            )


@contextlib.asynccontextmanager
async def _front(scenario: Scenario = _QUICK) -> AsyncGenerator[_Front, None]:
    async with Simulator(scenario, api_key=_KEY) as simulator:
        front = _Front(simulator)
        runner = web.ServerRunner(web.Server(front.handle), shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0][:2]
        front.base_url = f"http://{host}:{port}/apis"
        try:
            yield front
        finally:
            front.release.set()
            await runner.cleanup()


@attrs.frozen
class _Ended:
    code: int | None
    out: str
    err: str


def _environment(base_url: str | None, key: str = _KEY) -> dict[str, str]:
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("CAMB_", "FORCE_COLOR", "TTY_"))
    }
    kept |= {"PYTHONPATH": str(_ROOT), "PYTHONWARNINGS": "error::ResourceWarning"}
    if base_url is not None:
        kept |= {"CAMB_BASE_URL": base_url, "CAMB_API_KEY": key}
    return kept


@contextlib.asynccontextmanager
async def _started(
    rows: Path, out: Path, *args: str, env: dict[str, str]
) -> AsyncGenerator[asyncio.subprocess.Process, None]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "examples.batch_monitor", str(rows)),
        *("--out", str(out), *args),
        env=env,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


async def _finish(process: asyncio.subprocess.Process) -> _Ended:
    out, err = await process.communicate()
    ended = _Ended(process.returncode, out.decode(), err.decode())
    assert "Traceback" not in ended.err
    assert "Warning" not in ended.err
    assert "was destroyed" not in ended.err
    assert _KEY not in ended.out + ended.err

    return ended


async def _whole(
    rows: Path, out: Path, *args: str, front: _Front, key: str = _KEY
) -> _Ended:
    env = _environment(front.base_url, key)
    async with _started(rows, out, "--interval", "0.1", *args, env=env) as process:
        return await _finish(process)


async def _resume_here(
    rows: Path, out: Path, front: _Front, *, recreate_unknown: bool = False
) -> ExitCode:
    """Do in this process what the same command would do, which takes less time."""
    options = Options(
        service=front.base_url, interval=0.1, recreate_unknown=recreate_unknown
    )
    async with (
        CambSession(_KEY, base_url=front.base_url, retry=_RETRY) as camb,
        SqliteStore(out / "watches.db") as store,
    ):
        with Journal(out / "journal.ndjson") as journal:
            table = read_rows(rows)
            check_same(table, journal, front.base_url)
            with Batch(table, journal, out) as batch:
                monitor = Monitor(camb, store, batch, options)
                await monitor.run()
                return monitor.exit_code()


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 - another process makes it true
            await asyncio.sleep(0.005)


def _noted(out: Path, event: str, count: int) -> bool:
    journal = out / "journal.ndjson"
    tag = f'"event": "{event}"'.encode()
    return journal.exists() and journal.read_bytes().count(tag) >= count


def _check_no_key(directory: Path) -> None:
    for path in directory.rglob("*"):
        assert path.is_dir() or _KEY.encode() not in path.read_bytes()


def test_a_batch_from_start_to_end(tmp_path: Path) -> None:
    """Results, audio, a report on stdout, a picture, and no key anywhere."""
    out = tmp_path / "out"

    async def main() -> _Ended:
        async with _front() as front:
            ended = await _whole(_table(tmp_path, 6), out, front=front)
            again = await _whole(_table(tmp_path, 6), out, front=front)

            assert 6 == front.arrived
            assert (0, ended.out) == (again.code, again.out)
            return ended

    ended = run(main())
    results = _objects(out / "results.ndjson")

    assert 0 == ended.code
    assert "6 of 6 voices are here, in 12 files" in ended.out
    assert "created 6/6, finished 6, downloaded 6" in ended.err
    assert {str(number) for number in range(1, 7)} == {each["id"] for each in results}
    assert _SVG == _root_of(out / "timeline.svg")
    _check_audio(out, results)
    _check_no_key(tmp_path)


def test_ctrl_c_in_the_middle_and_on_again(tmp_path: Path) -> None:
    """Create calls under way get their answer; then all goes on, and nothing twice."""
    rows, out = _table(tmp_path, 9), tmp_path / "out"

    async def main() -> tuple[_Ended, _Ended]:
        async with _front() as front:
            front.hold = {5, 6}
            env = _environment(front.base_url)
            args = ("--concurrency", "2", "--interval", "0.1")
            async with _started(rows, out, *args, env=env) as process:
                await _until(lambda: front.arrived == 6 and _noted(out, "finished", 1))
                process.send_signal(signal.SIGINT)
                assert process.stderr is not None
                line = b""
                while b"waiting for the answers to 2 create calls" not in line:
                    line = await process.stderr.readline()
                    assert line
                front.release.set()
                interrupted = await _finish(process)
            assert not _noted(out, "created", 7)
            resumed = await _whole(rows, out, front=front)

            assert {1} == set(_posts(front.simulator).values())
            assert 9 == len(_posts(front.simulator))
            return interrupted, resumed

    interrupted, resumed = run(main())

    assert (130, 0) == (interrupted.code, resumed.code)
    assert "-m examples.batch_monitor" in interrupted.err.splitlines()[-1]
    assert "rows left" in interrupted.err.splitlines()[-1]
    assert list(range(1, 10)) == sorted(
        result["row"] for result in _objects(out / "results.ndjson")
    )


@pytest.mark.parametrize(
    ("event", "count", "held"),
    [("creating", 1, 1), ("created", 3, 4), ("finished", 2, 6), ("downloaded", 4, 7)],
)
def test_a_kill_creates_nothing_twice(
    tmp_path: Path, event: str, count: int, held: int
) -> None:
    """Rows in doubt are reported, and sent again only when that is asked for."""
    rows, out = _table(tmp_path, 8), tmp_path / "out"

    async def main() -> None:
        async with _front() as front:
            front.hold = {held}
            env = _environment(front.base_url)
            async with _started(rows, out, "--interval", "0.1", env=env) as process:
                await _until(lambda: _noted(out, event, count))
                process.send_signal(signal.SIGKILL)
                await process.wait()
            known = {e["row"] for e in _objects_of(out) if e["event"] == "created"}
            sent = {e["row"] for e in _objects_of(out) if e["event"] == "creating"}
            front.release.set()
            code = await _resume_here(rows, out, front)
            results = _objects(out / "results.ndjson")
            in_doubt = {r["row"] for r in results if r["error"]}

            assert sent - known == in_doubt
            assert (1 if in_doubt else 0) == code
            assert list(range(1, 9)) == sorted(result["row"] for result in results)
            assert all(
                result["error"].startswith("unknown: look in the studio")
                for result in results
                if result["error"]
            )
            assert max(_posts(front.simulator).values()) == 1

            again = await _resume_here(rows, out, front, recreate_unknown=True)
            assert 0 == again
            assert 8 == len(_objects(out / "results.ndjson"))
            posts = _posts(front.simulator)
            assert all(
                posts[f"text {row}"] == 1 for row in range(1, 9) if row not in in_doubt
            )

    run(main())


@pytest.mark.slow
def test_a_killed_batch_goes_on_in_a_database(tmp_path: Path, dsn: str) -> None:
    """What the dead process watched is free again once its lease has ended."""
    rows, out = _table(tmp_path, 4), tmp_path / "out"

    async def main() -> _Ended:
        async with _front(_ENDLESS) as front:
            args = ("--interval", "0.1", "--store", dsn)
            env = _environment(front.base_url)
            async with _started(rows, out, *args, env=env) as process:
                await _until(
                    lambda: len({r.path for r in _polls(front.simulator)}) == 4
                )
                process.send_signal(signal.SIGKILL)
                await process.wait()
            for event in _objects_of(out):
                if event["event"] == "created":
                    front.simulator.add_task(event["task_id"], after=0.0)
            ended = await _whole(rows, out, "--store", dsn, front=front)

            assert {1} == set(_posts(front.simulator).values())
            return ended

    ended = run(main())

    assert 0 == ended.code
    assert "4 of 4 voices are here" in ended.out
    assert "secret-canary" not in ended.err


def _objects_of(out: Path) -> list[dict[str, Any]]:
    content = (out / "journal.ndjson").read_bytes()
    return [json.loads(line) for line in content[: intact(content)].splitlines()]


def test_a_second_process_is_refused(tmp_path: Path) -> None:
    """Two at once would create everything twice."""
    rows, out = _table(tmp_path, 2), tmp_path / "out"

    async def main() -> tuple[_Ended, _Ended]:
        async with _front() as front:
            front.hold = {1, 2}
            env = _environment(front.base_url)
            async with _started(rows, out, "--interval", "0.1", env=env) as process:
                await _until(lambda: front.arrived == 2)
                second = await _whole(rows, out, front=front)
                front.release.set()
                first = await _finish(process)
            assert 2 == front.arrived

            return first, second

    first, second = run(main())

    assert (0, 2) == (first.code, second.code)
    assert "another process works on this batch" in second.err


def test_a_store_of_something_else_is_refused_before_a_row_is_sent(
    tmp_path: Path,
) -> None:
    """What is created costs, so the look at the store comes first."""
    rows, store = _table(tmp_path, 2), tmp_path / "other.db"

    async def main() -> tuple[_Ended, int]:
        async with SqliteStore(store) as other:
            await other.add("foreign")
        async with _front() as front:
            options = ("--store", str(store))
            return await _whole(rows, tmp_path / "out", *options, front=front), (
                front.arrived
            )

    refused, arrived = run(main())

    assert (2, 0) == (refused.code, arrived)
    assert "choose another --store" in refused.err


def test_without_credits_what_was_created_is_still_watched(tmp_path: Path) -> None:
    """A 402 in the middle stops the creating; with credits the same command goes on."""
    rows, out = _table(tmp_path, 7), tmp_path / "out"

    async def main() -> tuple[_Ended, ExitCode]:
        async with _front() as front:
            front.refuse_from = 4
            broke = await _whole(rows, out, "--concurrency", "1", front=front)
            assert 4 == front.arrived
            assert 3 == len(_objects(out / "results.ndjson"))
            front.refuse_from = 10**9
            resumed = await _resume_here(rows, out, front)

            assert {1} == set(_posts(front.simulator).values())
            assert 7 == len(_objects(out / "results.ndjson"))
            return broke, resumed

    broke, resumed = run(main())

    assert (4, 0) == (broke.code, resumed)
    assert "3 of 7 voices are here" in broke.out
    assert "no more was created: The API answered 402" in broke.err
    assert "to go on with 4 rows" in broke.err


def test_a_refused_key_creates_nothing(tmp_path: Path) -> None:
    """The exit code says that it was the key, and the key is not shown."""
    rows, out = _table(tmp_path, 3), tmp_path / "out"

    async def main() -> _Ended:
        async with _front() as front:
            front.simulator.api_key = "another"
            return await _whole(rows, out, front=front)

    ended = run(main())

    assert 3 == ended.code
    assert "0 of 3 voices are here" in ended.out
    _check_no_key(tmp_path)


def test_the_built_in_simulator_says_so_and_cannot_be_resumed(tmp_path: Path) -> None:
    """Its tasks are gone with its process, which the next one tells."""
    out = tmp_path / "out"
    env = _environment(None)

    async def main() -> tuple[_Ended, _Ended]:
        async with _started(_SHIPPED, out, env=env) as process:
            await _until(lambda: _noted(out, "created", 5))
            process.send_signal(signal.SIGTERM)
            first = await _finish(process)
        async with _started(_SHIPPED, out, env=env) as process:
            return first, await _finish(process)

    first, second = run(main())

    assert (143, 2) == (first.code, second.code)
    assert "CAMB_API_KEY is not set" in first.err
    assert "has forgotten its tasks" in first.err
    assert "camb-async simulate --port 8899" in second.err


@pytest.mark.parametrize(
    ("content", "env", "code", "told"),
    [
        ("description,text\nx,\n", {}, 2, "line 2: 'text' is empty"),
        (_HEAD + _GOOD + ",,\n", {"CAMB_API_KEY": ""}, 3, "CAMB_API_KEY is not"),
    ],
    ids=["rows", "no key"],
)
def test_what_cannot_begin_sends_nothing(
    tmp_path: Path, content: str, env: dict[str, str], code: int, told: str
) -> None:
    """A bad table and a bad key are told before any request."""
    rows = tmp_path / "rows.csv"
    rows.write_text(content)

    async def main() -> _Ended:
        all_env = _environment("http://127.0.0.1:9/apis") | env
        async with _started(rows, tmp_path / "out", env=all_env) as process:
            return await _finish(process)

    ended = run(main())

    assert code == ended.code
    assert told in ended.err


def test_the_command_to_go_on_with_shows_no_password(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A DSN may hold one, and what is printed ends up in logs."""
    dsn = "postgresql://ann:secret-canary@db.example:5432/voices?x=y@z"
    monkeypatch.setattr(sys, "orig_argv", ["python", "a b.csv", "--store", dsn])

    shown = "'postgresql://ann:...@db.example:5432/voices?x=y@z'"
    assert f"python 'a b.csv' --store {shown}" == command()


def test_a_missing_extra_is_named(tmp_path: Path) -> None:
    """Who did not install the extra is told how to."""
    script = (
        "import runpy, sys; sys.modules['matplotlib'] = None; "
        "runpy.run_module('examples.batch_monitor', run_name='__main__')"
    )

    async def main() -> _Ended:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", script),
            env=_environment(None),
            cwd=tmp_path,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        return await _finish(process)

    ended = run(main())

    assert 2 == ended.code
    assert 'pip install ".[batch]"' in ended.err
