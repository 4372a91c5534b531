"""Fetch preview files from wherever their links point, without the key.

Downloads have a connection pool of their own, which knows neither the key nor
cookies nor the environment, and are not counted against the session's limits.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from http import HTTPStatus
from pathlib import Path
from random import Random
from types import MappingProxyType

import aiohttp
from yarl import URL

from ._files import NewFile
from ._links import CheckedResolver, LinkRules
from ._version import __version__
from .errors import DownloadError, LinkExpiredError
from .models import DownloadProgress, TextToVoiceResult
from .policies import RetryPolicy


logger = logging.getLogger("camb_async")

#: Bytes of one preview; a real one has less than a hundredth of it.
FILE_MAX = 512 * 1024 * 1024
#: Seconds without a byte, or with less than RATE_MIN a second, that end a try.
IDLE_TIMEOUT = 30.0
#: Bytes a second.
RATE_MIN = 1024

_AT_ONCE = 4
_REDIRECTS_MAX = 5
_WRITE_SIZE = 256 * 1024
_EXPIRED = frozenset({HTTPStatus.FORBIDDEN, HTTPStatus.GONE})
_TRY_AGAIN = frozenset({408, 425, 429, 500, 502, 503, 504})
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_PAGES = frozenset({"text/html", "application/xhtml+xml", "application/json"})

_EXTENSIONS: Mapping[str, str] = MappingProxyType(
    {
        "audio/wav": ".wav",
        "audio/x-wav": ".wav",
        "audio/wave": ".wav",
        "audio/vnd.wave": ".wav",
        "audio/mpeg": ".mp3",
        "audio/mp3": ".mp3",
        "audio/flac": ".flac",
        "audio/x-flac": ".flac",
        "audio/ogg": ".ogg",
        "audio/mp4": ".m4a",
        "audio/x-m4a": ".m4a",
        "audio/aac": ".aac",
        "audio/webm": ".webm",
    }
)
# Storage services often do not know what they store; the file does.
_BEGINNINGS: tuple[tuple[bytes, str], ...] = (
    (b"RIFF", ".wav"),
    (b"ID3", ".mp3"),
    (b"\xff\xfb", ".mp3"),
    (b"\xff\xf3", ".mp3"),
    (b"fLaC", ".flac"),
    (b"OggS", ".ogg"),
)
_UNNAMED = frozenset({"application/octet-stream", "binary/octet-stream", ""})

Refresh = Callable[[], Awaitable[TextToVoiceResult]]
OnProgress = Callable[[DownloadProgress], None]


class Download:
    """The download of all previews of one result."""

    def __init__(
        self,
        result: TextToVoiceResult,
        directory: Path,
        *,
        rules: LinkRules,
        retry: RetryPolicy,
        refresh: Refresh,
        overwrite: bool,
        on_progress: OnProgress | None,
    ) -> None:
        self._result = result
        self._directory = directory
        self._rules = rules
        self._retry = retry
        self._refresh = refresh
        self._refreshing = asyncio.Lock()
        self._overwrite = overwrite
        self._on_progress = on_progress
        self._random = Random()  # noqa: S311 - jitter, not secrets

    async def run(self) -> list[Path]:
        """Fetch every preview, a few at a time; all or an error.

        Files that were complete when another failed stay where they are.
        """
        if not self._result.previews:
            message = f"Run {self._result.run_id} has no previews."
            raise DownloadError(message)
        self._check_free()
        async with aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=_AT_ONCE, resolver=CheckedResolver(self._rules)
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            timeout=aiohttp.ClientTimeout(
                total=None, sock_connect=IDLE_TIMEOUT, sock_read=IDLE_TIMEOUT
            ),
            headers={
                "Accept-Encoding": "identity",
                "User-Agent": f"camb-async/{__version__}",
            },
        ) as client:
            try:
                async with asyncio.TaskGroup() as group:
                    tasks = [
                        group.create_task(self._fetch(client, index))
                        for index in range(len(self._result.previews))
                    ]
            except ExceptionGroup as errors:
                failure = errors.exceptions[0]
            else:
                return [task.result() for task in tasks]
        # The first failure stands for all: one cause is not worth a group.
        raise failure

    async def _fetch(self, client: aiohttp.ClientSession, index: int) -> Path:
        link = self._result.previews[index]
        attempt, refreshed = 1, False
        while True:
            try:
                return await self._try(client, index, link)
            except LinkExpiredError:
                if refreshed:
                    raise
                refreshed = True
                link = await self._fresh_link(index, link)
            except _TransientError as error:
                if attempt >= self._retry.attempts:
                    message = f"{error} This was try {attempt}; try again later."
                    raise DownloadError(message) from error.__cause__
                unit = self._random.random()
                await asyncio.sleep(self._retry.backoff(attempt, unit))
                attempt += 1

    async def _fresh_link(self, index: int, old: str) -> str:
        async with self._refreshing:
            if self._result.previews[index] == old:
                self._result = await self._refresh()
        if index >= len(self._result.previews):
            message = f"Preview {index + 1} is gone from run {self._result.run_id}."
            raise LinkExpiredError(message)
        return self._result.previews[index]

    async def _try(self, client: aiohttp.ClientSession, index: int, link: str) -> Path:
        try:
            async with _opened(client, self._rules, link) as response:
                return await self._save(response, index)
        except (aiohttp.ClientError, TimeoutError) as error:
            message = f"Preview {index + 1} broke off ({type(error).__name__})."
            raise _TransientError(message) from error
        except FileExistsError as error:
            raise _exists(Path(error.filename)) from error
        except OSError as error:
            message = f"Preview {index + 1} could not be written: {error}."
            raise DownloadError(message) from error

    async def _save(self, response: aiohttp.ClientResponse, index: int) -> Path:
        total = _announced_length(response)
        received, beginning = 0, b""
        pace = _Pace()
        async with NewFile(self._directory) as file:
            buffer = bytearray()
            async for chunk in response.content.iter_any():
                received += len(chunk)
                _check_size(received)
                pace.check(received)
                beginning = beginning or bytes(chunk[:16])
                buffer += chunk
                if len(buffer) >= _WRITE_SIZE:
                    await file.write(bytes(buffer))
                    buffer.clear()
                self._tell(index, received, total)
            await file.write(bytes(buffer))
            _check_whole(response, received, beginning)
            name = f"{self._stem(index)}{_extension(response, beginning)}"
            path = await file.publish(name, overwrite=self._overwrite)
        self._tell(index, received, received, path)
        return path

    def _check_free(self) -> None:
        if self._overwrite:
            return
        for index in range(len(self._result.previews)):
            for there in self._directory.glob(f"{self._stem(index)}.*"):
                raise _exists(there)

    def _stem(self, index: int) -> str:
        return f"{self._result.run_id}-{index + 1}"

    def _tell(
        self, index: int, received: int, total: int | None, path: Path | None = None
    ) -> None:
        if self._on_progress is None:
            return
        progress = DownloadProgress(
            run_id=self._result.run_id,
            index=index,
            count=len(self._result.previews),
            received=received,
            total=total,
            path=path,
        )
        try:
            self._on_progress(progress)
        except Exception:
            # A display that fails is no reason to lose a download.
            logger.warning("on_progress failed; it is called no more", exc_info=True)
            self._on_progress = None


def _exists(path: Path) -> DownloadError:
    return DownloadError(
        f"{path} is there already and was not touched: pass overwrite=True, or "
        "another directory."
    )


class _TransientError(DownloadError):
    """This try failed, and the next may not."""


class _Pace:
    """Ends a download that trickles: too few bytes in a window of time."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._since = self._loop.time()
        self._received = 0

    def check(self, received: int) -> None:
        """Take note of the bytes received so far.

        Raises:
            TimeoutError: there were too few since the window began.
        """
        now = self._loop.time()
        if now - self._since < IDLE_TIMEOUT:
            return
        if received - self._received < RATE_MIN * (now - self._since):
            raise TimeoutError
        self._since, self._received = now, received


@contextlib.asynccontextmanager
async def _opened(
    client: aiohttp.ClientSession, rules: LinkRules, link: str
) -> AsyncGenerator[aiohttp.ClientResponse]:
    """Open a link, following redirects as far as the rules allow."""
    for _ in range(_REDIRECTS_MAX + 1):
        url = rules.check(link)
        async with client.get(url, allow_redirects=False) as response:
            location = response.headers.get("location")
            if response.status in _REDIRECTS and location is not None:
                link = str(url.join(URL(location, encoded=True)))
                continue
            _check_answer(response)
            yield response
            return
    message = f"A preview's link was redirected more than {_REDIRECTS_MAX} times."
    raise DownloadError(message)


def _check_answer(response: aiohttp.ClientResponse) -> None:
    status = response.status
    if status in _EXPIRED:
        message = (
            f"A preview's link was refused ({status}), as expired links are. Fetch the "
            "result again for new links; if they are refused, too, the run is gone."
        )
        raise LinkExpiredError(message)
    if status in _TRY_AGAIN:
        message = f"A preview's server answered {status}."
        raise _TransientError(message)
    if status != HTTPStatus.OK:
        message = f"A preview's server answered {status} instead of a file."
        raise DownloadError(message)
    if response.content_type in _PAGES:
        message = (
            f"A preview's link leads to {response.content_type}, not to audio (is a "
            "proxy or a captive portal in between?)."
        )
        raise DownloadError(message)


def _announced_length(response: aiohttp.ClientResponse) -> int | None:
    length = response.content_length
    if length is not None:
        _check_size(length)
    return length


def _check_size(size: int) -> None:
    if size > FILE_MAX:
        message = f"A preview has more than {FILE_MAX} bytes, the most that is fetched."
        raise DownloadError(message)


def _check_whole(
    response: aiohttp.ClientResponse, received: int, beginning: bytes
) -> None:
    """Refuse a body that may have been cut.

    A length or chunks that fall short are an error of aiohttp's. A body that just
    ends with its connection must tell by itself how long it is, as WAV does.
    """
    headers = response.headers
    if "content-length" in headers or "transfer-encoding" in headers:
        return
    told = int.from_bytes(beginning[4:8], "little") + 8
    if not beginning.startswith(b"RIFF") or told != received:
        message = (
            "A preview ended with its connection, so nobody can tell whether it is "
            "whole; it was not kept."
        )
        raise _TransientError(message)


def _extension(response: aiohttp.ClientResponse, beginning: bytes) -> str:
    content_type = response.headers.get("content-type", "").partition(";")[0]
    content_type = content_type.strip().lower()
    known = _EXTENSIONS.get(content_type)
    if known is None and content_type in _UNNAMED:
        for start, extension in _BEGINNINGS:
            if beginning.startswith(start):
                return extension
    return known or ".bin"
