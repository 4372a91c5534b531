"""Faults of the body: HTTP 200, and something is wrong or odd inside."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable
from functools import lru_cache
from typing import Any, cast

import attrs

from .answers import JSON, TEXT, Answer, Call, status_answer


_FULL = '{"status": "SUCCESS", "run_id": %s, "exception_reason": null, "message": null}'


def _ok(text: str) -> Answer:
    return Answer(200, text.encode())


def _retold(call: Call, change: Callable[[dict[str, Any]], Any]) -> Answer:
    """Return the true answer with its body changed, if that is an object."""
    answer = call.truth()
    body = answer.loads()
    if not isinstance(body, dict):
        return answer
    return attrs.evolve(
        answer, body=json.dumps(change(cast("dict[str, Any]", body))).encode()
    )


def wrong_type(call: Call) -> Answer:
    """The true answer, labelled as plain text."""
    return attrs.evolve(call.truth(), headers=TEXT)


def bad_json(_call: Call) -> Answer:
    """JSON that breaks off, in a body that is whole."""
    return _ok('{"status": "PENDING", "run_id": ')


def bad_utf8(_call: Call) -> Answer:
    """JSON with bytes that are not UTF-8."""
    return Answer(200, b'{"status": "PENDING", "message": "\xff\xfe\xc3"}')


def deep_json(_call: Call, *, depth: int = 100_000) -> Answer:
    """Well-formed JSON, lists nested 100,000 deep."""
    return _ok("[" * depth + "]" * depth)


def huge_int(_call: Call, *, digits: int = 5_000) -> Answer:
    """A run id of 5,000 digits, more than Python converts."""
    return _ok(_FULL % ("9" * digits))


def nan(_call: Call) -> Answer:
    """A run id of NaN, which JSON does not have."""
    return _ok(_FULL % "NaN")


def dup_keys(_call: Call) -> Answer:
    """An object with two statuses: first PENDING, then SUCCESS."""
    return _ok('{"status": "PENDING", ' + _FULL[1:] % "1")


def empty_object(_call: Call) -> Answer:
    """An object without any field."""
    return _ok("{}")


def null_status(_call: Call) -> Answer:
    """A status of null."""
    return _ok('{"status": null, "run_id": null}')


def unknown_status(_call: Call, *, status: str = "QUEUED") -> Answer:
    """A status that is not documented: QUEUED."""
    return status_answer(status)


def lower_case(call: Call) -> Answer:
    """The true status in lower case."""
    return _retold(
        call, lambda body: {**body, "status": str(body.get("status")).lower()}
    )


def bare_string(call: Call) -> Answer:
    """The true status as a bare JSON string."""
    return _retold(call, lambda body: body.get("status"))


def extra_fields(call: Call) -> Answer:
    """The true answer and fields that nobody has heard of."""
    news = {"progress": 0.5, "eta": None, "trace": {"id": "f00", "spans": [1, 2]}}
    return _retold(call, lambda body: {**body, **news})


def success_no_run_id(_call: Call) -> Answer:
    """SUCCESS, and a run id of null."""
    return status_answer("SUCCESS")


def no_previews(_call: Call) -> Answer:
    """A result whose list of previews is empty."""
    return Answer.json(200, {"previews": []})


def bad_previews(
    _call: Call, *, previews: tuple[object, ...] = ("file:///etc/passwd", 7, None)
) -> Answer:
    """A result whose previews are no links that could be downloaded."""
    return Answer.json(200, {"previews": previews})


def null_task_id(_call: Call) -> Answer:
    """A create answer whose task id is null, and no task was created."""
    return Answer.json(200, {"task_id": None})


def regress(_call: Call) -> Answer:
    """PENDING, whatever was said before."""
    return status_answer("PENDING")


def huge_body(_call: Call, *, size: int = 2 * 1024 * 1024) -> Answer:
    """Well-formed JSON of 2 MiB."""
    return status_answer("PENDING", message="x" * size)


def gzip_bomb(_call: Call, *, size: int = 50_000_000) -> Answer:
    """About 50 kB on the wire that inflate to 50 MB of JSON."""
    return Answer(200, _gzip(size), (*JSON, ("Content-Encoding", "gzip")))


@lru_cache(maxsize=4)
def _gzip(size: int) -> bytes:
    chunk = b"x" * 1_000_000
    squeezer = zlib.compressobj(wbits=31)
    parts = [squeezer.compress(b'{"status": "PENDING", "message": "')]
    parts += [squeezer.compress(chunk) for _ in range(size // len(chunk))]
    parts += [squeezer.compress(b'"}'), squeezer.flush()]
    return b"".join(parts)


def not_gzip(call: Call, *, encoding: str = "gzip") -> Answer:
    """The true answer, labelled as gzip, which it is not."""
    return call.truth().with_headers(("Content-Encoding", encoding))


def zstd(call: Call) -> Answer:
    """The true answer as a frame of zstd, whether that was asked for or not."""
    answer = call.truth()
    framed = _zstd_frame(answer.body)
    labelled = answer.with_headers(("Content-Encoding", "zstd"))
    return attrs.evolve(labelled, body=framed)


def _zstd_frame(data: bytes) -> bytes:
    # Magic number, a header that holds the length, one last block, stored as it is.
    block = (len(data) << 3 | 1).to_bytes(3, "little")
    return b"\x28\xb5\x2f\xfd\xa0" + len(data).to_bytes(4, "little") + block + data


def set_cookie(call: Call, *, count: int = 5) -> Answer:
    """The true answer and five cookies."""
    cookies = [("Set-Cookie", f"sim{number}=1; Path=/") for number in range(count)]
    return call.truth().with_headers(*cookies)


def evil_filename(call: Call, *, name: str = "../../evil.wav") -> Answer:
    """The true answer, to be saved as ../../evil.wav."""
    disposition = f'attachment; filename="{name}"'
    return call.truth().with_headers(("Content-Disposition", disposition))


def slow(call: Call, *, seconds: float = 5.0) -> Answer:
    """The true answer after 5 simulated seconds."""
    return attrs.evolve(call.truth(), delay=seconds)
