"""What is promised about anything that comes from outside, as checks on bytes.

Each target takes any bytes, hands them to the code that reads them, and fails if
what comes out is neither sound nor an error of ours. ``seeds`` are real inputs,
to be altered.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from ipaddress import ip_address
from types import MappingProxyType
from urllib.parse import urlsplit

import attrs
from yarl import URL

from camb_async import _audio
from camb_async._fetching import _joined  # pyright: ignore[reportPrivateUsage]
from camb_async._links import LinkRules
from camb_async._refusals import RETRY_AFTER_MAX, Reply, error_from, retry_after
from camb_async._settings import is_loopback, read_base_url
from camb_async._wire import StatusReader, read_previews, read_task_id
from camb_async.errors import (
    APIStatusError,
    CambError,
    ConfigurationError,
    DownloadError,
    InvalidResponseError,
    InvalidTaskIdError,
    UnexpectedRedirectError,
)
from camb_async.models import TaskRef, TaskStatus


#: What readers of JSON, URLs, headers and dates stumble over.
PIECES = (
    *(b'"', b"\\", b"\\ud800", b"{", b"}", b"[", b"]", b"null", b"0", b"-1", b"1e999"),
    *(b"NaN", b"9" * 30, b'"status":', b'"run_id":', b'"detail":', b"[" * 50, b"{}"),
    *(b"@", b":", b"//", b"%", b"%25", b"..", b"[]", b"::1", b"127.0.0.1", b"\\@"),
    *(b"\n", b"\x00", b"\x1b[31m", b"\xff", b"\xe2\x80\xae", b"-9999", b"GMT", b" "),
)

_MESSAGE_MAX = 1000
_EXCERPT_MAX = 200


@attrs.frozen
class Target:
    """One check, and real inputs for it."""

    check: Callable[[bytes], None]
    seeds: tuple[bytes, ...]


def _check_error(error: CambError) -> None:
    """Check what holds for every error: it is short, and safe to show."""
    message = str(error)
    assert len(message) <= _MESSAGE_MAX, len(message)
    assert message.isprintable(), message
    assert len(getattr(error, "body_excerpt", "")) <= _EXCERPT_MAX


def status_body(data: bytes) -> None:
    """A status answer is a sound state, the same each time, or not valid."""
    reader, reply = StatusReader(), Reply(200, {}, data)
    try:
        state = reader.read(reply)
    except InvalidResponseError as error:
        _check_error(error)
        return
    assert TaskStatus(state.raw_status) is state.status
    assert state.run_id is None or type(state.run_id) is int
    assert state.run_id is None or abs(state.run_id) < 2**63
    assert state.exception_reason != "NONE"
    assert isinstance(state.message, str | dict | None)
    assert state == reader.read(reply)


def task_id(data: bytes) -> None:
    """The answer to a create call is a usable id, or an error of ours."""
    try:
        ref = TaskRef(read_task_id(Reply(200, {}, data)))
    except InvalidTaskIdError:
        return  # the text is that of test_models
    except InvalidResponseError as error:
        _check_error(error)
        return
    assert ref == TaskRef.parse(str(ref))
    assert ref.task_id.isascii()
    assert not set(ref.task_id) & set("/?#%:\\")


def previews(data: bytes) -> None:
    """The answer to a result call is a list of texts, or not valid."""
    try:
        result = read_previews(Reply(200, {}, data), 7)
    except InvalidResponseError as error:
        _check_error(error)
        return
    assert all(type(link) is str for link in result.previews)


def error_body(data: bytes) -> None:
    """Any other HTTP status, told by the first two bytes, is an error of ours."""
    status = 100 + int.from_bytes(data[:2], "big") % 500
    error = error_from(Reply(500 if status == 200 else status, {}, data[2:]))
    assert isinstance(
        error, APIStatusError | InvalidResponseError | UnexpectedRedirectError
    )
    _check_error(error)


def retry_after_headers(data: bytes) -> None:
    """Three lines, as three headers, are a wait of at most a day, or none."""
    wait, date, in_ms, *_ = [*data.decode("latin-1").split("\n"), "", ""]
    seconds = retry_after({"Retry-After": wait, "Date": date, "Retry-After-Ms": in_ms})
    assert seconds is None or 0.0 <= seconds <= RETRY_AFTER_MAX


def preview_link(data: bytes) -> None:
    """A link is sent as it came to a host that may be reached, or is refused."""
    link = data.decode("utf-8", "surrogateescape")
    for loopback in (False, True):
        try:
            url = LinkRules(loopback, frozenset()).check(link)
        except DownloadError as error:
            _check_error(error)
            continue
        assert url.raw_path_qs == _asked_for(link), url
        assert url.raw_user is None
        host = url.raw_host or ""
        assert host
        assert url.scheme == "https" or (loopback and is_loopback(host))
        assert _may_be_reached(host, loopback=loopback), host


def redirect(data: bytes) -> None:
    """Where a preview's server redirects to is a text to check, or no URL."""
    location = data.decode("utf-8", "surrogateescape")
    try:
        link = _joined(URL("https://files.example/a/b?c=%2B", encoded=True), location)
    except DownloadError as error:
        _check_error(error)
        return
    preview_link(link.encode("utf-8", "surrogateescape"))


def _asked_for(link: str) -> str:
    """Return the path and query of a link byte by byte; an empty query is none."""
    parts = re.fullmatch(r"[^:]+://[^/?#]*([^?#]*)(\??[^#]*)(?:#.*)?", link)
    assert parts is not None, link

    path, query = parts.groups()
    return (path or "/") + (query if query != "?" else "")


def _may_be_reached(host: str, *, loopback: bool) -> bool:
    try:
        address = ip_address(host)
    except ValueError:
        return True  # a name, which is the resolver's to judge
    return address.is_global or (loopback and address.is_loopback)


def base_url(data: bytes) -> None:
    """A base URL is one that two parsers read alike, or is refused unseen."""
    given = data.decode("utf-8", "surrogateescape") or "x"
    try:
        taken = read_base_url(given)
    except ConfigurationError as error:
        _check_error(error)
        return
    parts = urlsplit(taken)
    assert taken == given.rstrip("/")
    assert (parts.username, parts.password) == (None, None)
    assert not parts.query
    assert not parts.fragment
    assert parts.scheme == "https" or is_loopback(parts.hostname)


def task_text(data: bytes) -> None:
    """What a user types as a task is one, or refused in few words."""
    text = data.decode("utf-8", "surrogateescape")
    try:
        ref = TaskRef.parse(text)
    except InvalidTaskIdError as error:
        _check_error(error)
        return
    assert ref == TaskRef.parse(str(ref))
    assert text in {str(ref), f"{ref.kind.value}:{ref.task_id}"}


def audio(data: bytes) -> None:
    """A Content-Type and a file's beginning give one of few extensions."""
    named, _, beginning = data.partition(b"\n")
    found = _audio.extension(named.decode("latin-1"), beginning)
    assert found in {*_audio.EXTENSIONS.values(), _audio.UNKNOWN}
    assert isinstance(_audio.tells_its_length(beginning, len(data)), bool)


TARGETS: Mapping[str, Target] = MappingProxyType(
    {
        "status-body": Target(
            status_body,
            (
                b'{"status": "PENDING", "run_id": null}',
                b'{"status": "SUCCESS", "run_id": "8827", "message": null}',
                b'{"status": "ERROR", "exception_reason": "NONE", "message": "m"}',
                b'{"status": "TIMEOUT", "message": {"why": [1, 2.5e3, true]}}',
                b'[{"run_id": 7, "project_details": {"status": "x"}}]',
                b'"SUCCESS"',
                b"<html><title>502 Bad Gateway</title></html>",
            ),
        ),
        "error-body": Target(
            error_body,
            (
                b'\x01\x2d{"error": "Invalid API key", "status": 401}',
                b'\x01\x30{"detail": "Not found."}',
                b'\x01\x42{"detail": [{"loc": ["a", 0], "msg": "b", "type": "c"}]}',
                b"\x01\x92<html>\r\n<TITLE> 502 Bad Gateway</TITLE></html>",
            ),
        ),
        "retry-after": Target(
            retry_after_headers,
            (
                b"7",
                b"1.5\n\n1500",
                b"Wed, 21 Oct 2015 07:28:30 GMT\nWed, 21 Oct 2015 07:28:00 GMT",
                b"Wednesday, 21-Oct-15 07:28:30 GMT\nWed Oct 21 07:28:00 2015",
                b"Wed, 21 Oct 2015 07:28:30 -0330\nWed, 21 Oct 2015 07:28:00 -0000",
            ),
        ),
        "task-id": Target(
            task_id,
            (
                b'{"task_id": "0f6d2c1e-7b1a-4f0e-9c55-2a6f3e8d4b10"}',
                b'{"task_id": "a.b_c~d", "status": "PENDING"}',
                b'{"task_id": null}',
            ),
        ),
        "preview-link": Target(
            preview_link,
            (
                b"https://files.example/a%2Fb/%zz;x?Signature=%2B%2f+%20;&a=b%3D",
                b"https://93.184.215.14:8443/x",
                b"https://[2606:2800:21f:cb07:6820:80da:af6b:8b2c]/x",
                b"https://[::ffff:10.0.0.1]/x",
                b"http://127.0.0.1:8080/previews/1/1.wav?Expires=4102444800",
                b"https://user:secret@files.example/x",
            ),
        ),
        "redirect": Target(
            redirect,
            (
                b"/other/1.wav?Signature=%2B",
                b"../1.wav",
                b"//[2606:2800:21f:cb07:6820:80da:af6b:8b2c]:8443/x",
                b"https://user:secret@files.example/x#y",
            ),
        ),
        "base-url": Target(
            base_url,
            (
                b"https://client.camb.ai/apis/",
                b"http://[::1]:8080/apis",
                b"http://localhost:8080",
                b"https://user:password@h:8443/a?b#c",
            ),
        ),
        "previews": Target(
            previews,
            (
                b'{"previews": ["https://files.example/1.wav?a=%2B", "https://h/2"]}',
                b'{"previews": []}',
            ),
        ),
        "task-text": Target(
            task_text,
            (
                b"0f6d2c1e-7b1a-4f0e-9c55-2a6f3e8d4b10",
                b"dub:0f6d2c1e",
                b"text-to-voice:a.b",
            ),
        ),
        "audio": Target(
            audio,
            (
                b"audio/wav\nRIFF\x24\x00\x00\x00WAVEfmt ",
                b"audio/mpeg; charset=x\nID3\x04",
                b"application/octet-stream\nOggS",
            ),
        ),
    }
)
