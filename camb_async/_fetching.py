"""Open a preview's link, and take in what is behind it, by rules of our own.

The client session knows neither the key nor cookies nor the environment. No
redirect is followed by aiohttp: each hop is checked like the link itself.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from http import HTTPStatus

import aiohttp
from yarl import URL

from ._audio import BEGINNING, tells_its_length
from ._links import CheckedResolver, LinkRules
from ._refusals import is_retryable
from ._version import __version__
from .errors import DownloadError, LinkExpiredError


#: Bytes of one preview; a real one has less than a hundredth of it.
FILE_MAX = 512 * 1024 * 1024
#: Seconds without an answer or a byte, or with less than RATE_MIN bytes a second,
#: that end a try.
IDLE_TIMEOUT = 30.0
#: Bytes a second.
RATE_MIN = 1024

_REDIRECTS_MAX = 5
_EXPIRED = frozenset({HTTPStatus.FORBIDDEN, HTTPStatus.GONE})
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_PAGES = frozenset({"text/html", "application/xhtml+xml", "application/json"})


class TransientError(DownloadError):
    """This try failed, and the next may not."""


def download_session(rules: LinkRules) -> aiohttp.ClientSession:
    """Return a client session that reaches only what the rules allow."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, resolver=CheckedResolver(rules)),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        timeout=aiohttp.ClientTimeout(total=None, sock_read=IDLE_TIMEOUT),
        headers={
            "Accept-Encoding": "identity",
            "User-Agent": f"camb-async/{__version__}",
        },
    )


@contextlib.asynccontextmanager
async def opened(
    client: aiohttp.ClientSession, rules: LinkRules, link: str
) -> AsyncGenerator[aiohttp.ClientResponse]:
    """Open a link, following redirects as far as the rules allow.

    Raises:
        TransientError: the server is busy or failing.
        LinkExpiredError: it refuses the link.
        DownloadError: the link, or what it leads to, is no preview.
        TimeoutError: there is no answer.
    """
    for _ in range(_REDIRECTS_MAX + 1):
        url = rules.check(link)
        # This covers resolving the name, too, for which aiohttp has no timeout.
        async with asyncio.timeout(IDLE_TIMEOUT):
            response = await client.get(url, allow_redirects=False)
        async with response:
            location = response.headers.get("location")
            if response.status in _REDIRECTS and location is not None:
                link = _joined(url, location)
                continue
            _check_answer(response)
            yield response
            return
    message = f"A preview's link was redirected more than {_REDIRECTS_MAX} times."
    raise DownloadError(message)


def _joined(url: URL, location: str) -> str:
    try:
        return str(url.join(URL(location, encoded=True)))
    except (ValueError, IndexError):  # the latter for //[]x@
        message = "A preview's link was redirected to something that is no URL."
        raise DownloadError(message) from None


def _check_answer(response: aiohttp.ClientResponse) -> None:
    status = response.status
    if status in _EXPIRED:
        message = (
            f"A preview's link was refused ({status}), as expired links are. Fetch the "
            "result again for new links; if they are refused, too, the run is gone."
        )
        raise LinkExpiredError(message)
    if is_retryable(status, response.headers):
        message = f"A preview's server answered {status}."
        raise TransientError(message)
    if status != HTTPStatus.OK:
        message = f"A preview's server answered {status} instead of a file."
        raise DownloadError(message)
    if response.content_type in _PAGES:
        message = (
            f"A preview's link leads to {response.content_type}, not to audio (is a "
            "proxy or a captive portal in between?)."
        )
        raise DownloadError(message)
    encoding = response.headers.get("content-encoding", "identity")
    if encoding.strip().lower() != "identity":
        message = f"A preview came as {encoding[:20]!r}, which was not asked for."
        raise DownloadError(message)


class Intake:
    """Follows the body of one answer: is it too large, too slow, whole?"""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self.total = response.content_length
        self.received = 0
        self.beginning = b""
        self._framed = self.total is not None or _is_chunked(response)
        self._loop = asyncio.get_running_loop()
        self._window = self._loop.time(), 0
        _check_size(self.total or 0)

    def take(self, chunk: bytes) -> None:
        """Take note of bytes that came.

        Raises:
            DownloadError: they are too many.
            TimeoutError: too few came in a window of time.
        """
        if len(self.beginning) < BEGINNING:
            self.beginning += chunk[: BEGINNING - len(self.beginning)]
        self.received += len(chunk)
        _check_size(self.received)
        since, before = self._window
        now = self._loop.time()
        if now - since >= IDLE_TIMEOUT:
            if self.received - before < RATE_MIN * (now - since):
                raise TimeoutError
            self._window = now, self.received

    def check_whole(self) -> None:
        """Refuse a body that may have been cut.

        A length or chunks that fall short are an error of aiohttp's. A body that
        just ends with its connection must tell by itself how long it is.

        Raises:
            TransientError: it is empty, or nobody can tell.
        """
        if not self.received:
            message = "A preview came without a single byte."
            raise TransientError(message)
        if not self._framed and not tells_its_length(self.beginning, self.received):
            message = (
                "A preview ended with its connection, so nobody can tell whether it is "
                "whole; it was not kept."
            )
            raise TransientError(message)


def _is_chunked(response: aiohttp.ClientResponse) -> bool:
    return "chunked" in response.headers.get("transfer-encoding", "").lower()


def _check_size(size: int) -> None:
    if size > FILE_MAX:
        message = f"A preview has more than {FILE_MAX} bytes, the most that is fetched."
        raise DownloadError(message)
