"""Read the table of voices: CSV, or NDJSON with one object a line."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import attrs


# Below these, the documentation says, a description is not processed successfully.
WORDS_MIN = 18
LENGTH_MIN = 100

_REQUIRED = ("description", "text")
_SHOWN_MAX = 20


@attrs.frozen
class Row:
    """One voice to be made.

    Attributes:
        number: which one, from 1.
        line: where it stands in the file.
        description: what the voice is like.
        text: what its previews say.
        name: what the run is called in the studio, and the directory of its audio.
        id: your own key, handed back in the results; None if there is none.
    """

    number: int
    line: int
    description: str
    text: str
    name: str
    id: str | None = None

    @property
    def digest(self) -> str:
        """What tells whether this is the row that was sent before."""
        sent = json.dumps([self.text, self.description])
        return hashlib.sha256(sent.encode()).hexdigest()[:16]


class RowsError(Exception):
    """The table cannot be used. ``problems`` says why, with line numbers."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__(*problems)
        self.problems = problems

    def __str__(self) -> str:
        shown = self.problems[:_SHOWN_MAX]
        more = len(self.problems) - len(shown)
        return "\n".join([*shown, *([f"... and {more} more"] if more else [])])


@attrs.frozen
class _Record:
    """Fields as they were read, or what kept them from being read."""

    line: int
    fields: Mapping[str, Any]
    problem: str | None = None


def read_rows(path: Path, *, allow_short: bool = False) -> list[Row]:
    """Return the rows of a file, all of them or an error.

    Files called ``.csv`` are CSV, ``.ndjson`` and ``.jsonl`` are NDJSON; any other
    is taken for NDJSON if it begins with a brace.

    Args:
        path: where the file is.
        allow_short: whether to take descriptions that are shorter than what the
            service's documentation asks for.

    Raises:
        RowsError: something about the file is wrong; nothing was sent.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise RowsError([f"{path}: {error.strerror}"]) from error
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise RowsError([f"line {line}: not UTF-8"]) from error
    named = path.suffix.lower()
    is_json = named in {".ndjson", ".jsonl"} or (
        named != ".csv" and text.lstrip().startswith("{")
    )
    return parse_rows(text, is_json=is_json, allow_short=allow_short)


def parse_rows(text: str, *, is_json: bool, allow_short: bool = False) -> list[Row]:
    """Return the rows in a text, all of them or an error.

    Raises:
        RowsError: something about the text is wrong.
    """
    rows: list[Row] = []
    problems: list[str] = []
    lines_of_ids: dict[str, int] = {}
    for record in (_read_json if is_json else _read_csv)(text):
        row, wrong = _row(record, len(rows) + len(problems) + 1)
        wrong += _wrong_with(row, lines_of_ids, allow_short=allow_short) if row else []
        problems += [f"line {record.line}: {problem}" for problem in wrong]
        if row is not None:
            rows.append(row)
    if not rows and not problems:
        problems.append("there are no rows")
    if problems:
        raise RowsError(problems)
    return rows


def _row(record: _Record, number: int) -> tuple[Row | None, list[str]]:
    if record.problem is not None:
        return None, [record.problem]
    texts: dict[str, str] = {}
    wrong: list[str] = []
    for name in (*_REQUIRED, "name", "id"):
        value = record.fields.get(name)
        if name == "id" and isinstance(value, int) and not isinstance(value, bool):
            value = str(value)
        if value is not None and not isinstance(value, str):
            wrong.append(f"{name!r} is a {type(value).__name__}, not a text")
        elif value is not None and value.strip():
            texts[name] = value.strip()
        elif name in _REQUIRED:
            wrong.append(f"{name!r} is {'missing' if value is None else 'empty'}")
    if wrong:
        return None, wrong
    own_id = texts.get("id")
    name = texts.get("name") or own_id or f"row {number}"
    fields = (texts["description"], texts["text"], name, own_id)
    return Row(number, record.line, *fields), []


def _wrong_with(
    row: Row, lines_of_ids: dict[str, int], *, allow_short: bool
) -> list[str]:
    wrong: list[str] = []
    if row.id is not None:
        first = lines_of_ids.setdefault(row.id, row.line)
        if first != row.line:
            wrong.append(f"the id {row.id!r} is that of line {first}, too")
    words, length = len(row.description.split()), len(row.description)
    if not allow_short and (words < WORDS_MIN or length < LENGTH_MIN):
        wrong.append(
            f"the description has {words} words and {length} characters; the service "
            f"asks for at least {WORDS_MIN} and {LENGTH_MIN} (--allow-short sends it)"
        )
    return wrong


def _read_csv(text: str) -> Iterator[_Record]:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    header: list[str] | None = None
    line = 1
    while True:
        # A quoted field may go on for lines: a row stands where it begins.
        line = reader.line_num + 1
        try:
            cells = next(reader, None)
        except csv.Error as error:
            yield _Record(line, {}, f"not CSV: {error}")
            return
        if cells is None:
            return
        if not any(cell.strip() for cell in cells):
            continue
        if header is None:
            header = [cell.strip().lower() for cell in cells]
            problem = _wrong_with_header(header)
            if problem:
                yield _Record(line, {}, problem)
                return
        elif len(cells) != len(header):
            problem = f"{len(cells)} fields below {len(header)} columns"
            yield _Record(line, {}, f"{problem} (a comma in a text needs quotes)")
        else:
            yield _Record(line, dict(zip(header, cells, strict=True)))


def _wrong_with_header(header: list[str]) -> str | None:
    missing = [name for name in _REQUIRED if name not in header]
    if missing:
        return (
            f"no column {' and no column '.join(map(repr, missing))}; the first line "
            f"names the columns, and there are {', '.join(map(repr, header))}"
        )
    twice = sorted({name for name in header if name and header.count(name) > 1})
    return f"there are two columns {twice[0]!r}" if twice else None


def _read_json(text: str) -> Iterator[_Record]:
    # Not splitlines(): JSON may hold any other line separator as it is.
    for line, content in enumerate(text.split("\n"), start=1):
        if not content.strip():
            continue
        try:
            value: object = json.loads(content)
        except (ValueError, RecursionError) as error:
            yield _Record(line, {}, f"not JSON: {error}")
            continue
        if isinstance(value, dict):
            yield _Record(line, cast("dict[str, Any]", value))
        else:
            kind = type(value).__name__
            yield _Record(line, {}, f"a JSON {kind} instead of an object")
