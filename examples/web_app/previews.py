"""The audio of the previews: fetched here, without the key, and passed on.

A preview's link is signed: whoever has it has the audio. So the page gets a path
of this application instead, and only the visitor who ordered the voice is served.
The links come from another server's answer, so they are looked at before use:
https only, no address inside this network, no redirect.
"""

from __future__ import annotations

import re
import socket
from collections import OrderedDict
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from ipaddress import ip_address
from typing import Final

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send
from yarl import URL

from camb_async import CambSession


_RUNS_REMEMBERED = 256
_RANGE: Final = re.compile(r"bytes=[0-9]{0,15}-[0-9]{0,15}")
_EXPIRED = frozenset({HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND, HTTPStatus.GONE})
_PASSED_ON = ("Content-Length", "Content-Range", "Accept-Ranges", "ETag")
_EXTENSIONS = {
    "audio/flac": ".flac",
    "audio/mpeg": ".mp3",
    "audio/ogg": ".ogg",
    "audio/wav": ".wav",
    "audio/x-wav": ".wav",
}
_TIMEOUT = aiohttp.ClientTimeout(total=600, sock_connect=10, sock_read=30)


class PreviewError(Exception):
    """A preview cannot be had. The message is for the log, not for visitors."""


class Previews:
    """Finds the links of finished runs, and opens what they lead to."""

    def __init__(self, camb: CambSession, http: aiohttp.ClientSession) -> None:
        self._camb = camb
        self._http = http
        self._links: OrderedDict[int, tuple[str, ...]] = OrderedDict()

    async def links(self, run_id: int, *, fresh: bool = False) -> tuple[str, ...]:
        """Return the links of a run, from memory unless ``fresh`` ones are wanted.

        Raises:
            CambError: they could not be fetched.
        """
        known = self._links.get(run_id)
        if known is not None and not fresh:
            return known
        links = (await self._camb.get_text_to_voice_result(run_id)).previews
        self._links[run_id] = links
        self._links.move_to_end(run_id)
        if len(self._links) > _RUNS_REMEMBERED:
            self._links.popitem(last=False)
        return links

    async def open(
        self, run_id: int, number: int, byte_range: str | None
    ) -> RelayedAudio:
        """Return the audio of preview ``number`` (from 1), or a range of it.

        An expired link is fetched anew, once.

        Raises:
            CambError: the links could not be fetched.
            PreviewError: there is no such preview, or it cannot be had.
        """
        upstream = await self._get(await self.links(run_id), number, byte_range)
        if upstream.status in _EXPIRED:
            upstream.close()
            links = await self.links(run_id, fresh=True)
            upstream = await self._get(links, number, byte_range)
        try:
            return RelayedAudio(upstream, number)
        except PreviewError:
            upstream.close()
            raise

    async def _get(
        self, links: tuple[str, ...], number: int, byte_range: str | None
    ) -> aiohttp.ClientResponse:
        if not 1 <= number <= len(links):
            message = f"There is no preview {number} of {len(links)}"
            raise PreviewError(message)
        headers = {"Accept-Encoding": "identity"}
        if byte_range is not None and _RANGE.fullmatch(byte_range):
            headers["Range"] = byte_range
        link = self._check(links[number - 1])
        try:
            return await self._http.get(link, headers=headers, allow_redirects=False)
        except (aiohttp.ClientError, TimeoutError) as error:
            message = f"The preview's server did not answer: {error!r}"
            raise PreviewError(message) from error

    def _check(self, link: str) -> URL:
        """Return a link to follow, byte by byte as it is, because it is signed."""
        try:
            url = URL(link, encoded=True)
            host = url.host or ""
        except ValueError:
            message = "A preview's link is no link"
            raise PreviewError(message) from None
        local = is_local(self._camb.base_url)
        trusted = url.scheme == "http" and local and is_local(link)
        if trusted or (url.scheme == "https" and (local or not _is_inside(host))):
            return url
        message = f"A preview's link leads to {url.scheme}://{host}, which is refused"
        raise PreviewError(message)


class RelayedAudio(StreamingResponse):
    """Another server's audio, passed on while it arrives.

    Raises:
        PreviewError: the other server did not answer with audio.
    """

    def __init__(self, upstream: aiohttp.ClientResponse, number: int) -> None:
        kind = upstream.content_type
        if upstream.status not in (HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT):
            message = f"The preview's server answered {upstream.status}"
            raise PreviewError(message)
        if not kind.startswith("audio/") and not kind.endswith("/octet-stream"):
            message = f"The preview's server answered with {kind}, which is no audio"
            raise PreviewError(message)
        self._upstream = upstream
        name = f"preview-{number}{_EXTENSIONS.get(kind, '')}"
        headers = {
            "Cache-Control": "private, max-age=3600",
            "Content-Disposition": f'inline; filename="{name}"',
        }
        for passed_on in _PASSED_ON:
            if passed_on in upstream.headers:
                headers[passed_on] = upstream.headers[passed_on]
        super().__init__(
            self._chunks(),
            status_code=upstream.status,
            headers=headers,
            media_type=kind,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass it on, and hang up whatever happens."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._upstream.close()

    async def _chunks(self) -> AsyncIterator[bytes]:
        async for chunk in self._upstream.content.iter_chunked(64 * 1024):
            yield chunk


class OutsideResolver(AbstractResolver):
    """Finds the addresses of host names, but none inside this network."""

    def __init__(self) -> None:
        self._resolver = aiohttp.DefaultResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Return the public addresses of a host.

        Raises:
            OSError: there are none.
        """
        found = await self._resolver.resolve(host, port, family)
        outside = [address for address in found if not _is_inside(address["host"])]
        if not outside:
            message = f"{host} has no public address"
            raise OSError(message)
        return outside

    async def close(self) -> None:
        """Let go of what the resolver holds."""
        await self._resolver.close()


@asynccontextmanager
async def link_session(*, local: bool) -> AsyncGenerator[aiohttp.ClientSession]:
    """Provide a session for links: no key, no cookies, nothing from outside.

    ``local`` allows addresses inside this network, for a service that runs here.
    """
    connector = aiohttp.TCPConnector(
        limit=32, resolver=None if local else OutsideResolver()
    )
    async with aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=_TIMEOUT,
        auto_decompress=False,
    ) as session:
        yield session


def is_local(url: str) -> bool:
    """Return whether a URL leads to this machine."""
    host = URL(url, encoded=True).host or ""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def _is_inside(host: str) -> bool:
    """Return whether a host is an address that is not public. Names are not."""
    try:
        return not ip_address(host.partition("%")[0]).is_global
    except ValueError:
        return False
