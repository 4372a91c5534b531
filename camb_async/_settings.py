"""What a session is told about where to go and with which key, checked.

The key is a Secret: a str that does not show itself, so that a traceback with
local variables, a debugger or a log of headers shows three asterisks.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import os
from collections.abc import Awaitable, Callable, Mapping
from copy import copy
from http import HTTPStatus
from ipaddress import ip_address
from typing import Final, TypeVar
from urllib.parse import quote, urlsplit
from urllib.request import getproxies, proxy_bypass

import attrs
from multidict import CIMultiDict
from yarl import URL

from ._refusals import Reply
from ._version import __version__
from .errors import (
    APIConnectionError,
    APITimeoutError,
    CambError,
    ConfigurationError,
)


#: Where the service is documented to be.
DEFAULT_BASE_URL = "https://client.camb.ai/apis"
KEY_HEADER = "x-api-key"
#: Seconds that an async api_key callable is given: all requests wait for it.
ASK_TIMEOUT = 30.0

_KEY_LENGTH_USUAL = 8

ValueT = TypeVar("ValueT")

ApiKey = str | Callable[[], str | Awaitable[str]]


class Secret(str):
    """A text that is sent but never shown."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'***'"


def read_base_url(base_url: str | None) -> str:
    """Return the base URL without a slash at its end.

    None stands for ``$CAMB_BASE_URL``, else the service's own.

    Raises:
        ConfigurationError: it is not https (plain http is for loopback hosts
            only), or has a user, a query or a fragment.
    """
    given = base_url or os.environ.get("CAMB_BASE_URL") or DEFAULT_BASE_URL
    if not _can_be_base(given):
        # The value is never shown: a mistyped one may hold a password or a key.
        message = (
            "The base URL cannot be used: it must be https://HOST[:PORT][/PATH] (plain "
            "http for loopback hosts only) without user, query or fragment. It comes "
            "from the base_url argument, or from CAMB_BASE_URL."
        )
        raise ConfigurationError(message)
    return given.rstrip("/")


def _can_be_base(given: str) -> bool:
    if not given.isascii() or not given.isprintable():
        return False
    if any(character in given for character in " \\@?#"):
        return False
    try:
        url = URL(given, encoded=True)
        host, _port = url.host, url.port
        _ = urlsplit(given).port  # which is stricter about brackets and ports
    except ValueError:
        return False
    secure = url.scheme == "https" or (url.scheme == "http" and is_loopback(host))
    return bool(host) and secure


def refuse_proxy(base_url: str) -> None:
    """Refuse a proxy of the environment that would see the key.

    Raises:
        ConfigurationError: there is one, for a base URL of plain http.
    """
    url = URL(base_url)
    if url.scheme != "http" or "http" not in getproxies():
        return
    if not proxy_bypass(url.host or ""):
        message = (
            "The base URL is plain http, so the proxy that the environment names "
            "would see the key: except the host by NO_PROXY."
        )
        raise ConfigurationError(message)


def is_loopback(host: str | None) -> bool:
    """Return whether a host name or address is this machine itself."""
    if host == "localhost":
        return True
    try:
        return ip_address(host or "").is_loopback
    except ValueError:
        return False


def hide(key: ValueT) -> ValueT | Secret:
    """Return a key that does not show itself; anything else as it is."""
    return Secret(key) if isinstance(key, str) else key


def check_key(key: object) -> Secret:
    """Return the key, ready to be sent.

    Raises:
        ConfigurationError: there is none, or it cannot be a header.
    """
    if not isinstance(key, str):
        message = f"The API key must be a str, not {type(key).__name__}."
        raise ConfigurationError(message)
    key = Secret(key.strip())
    if not key:
        message = (
            "No API key: set CAMB_API_KEY, or pass api_key. Keys are made in the API "
            "section of the Camb.ai studio."
        )
        raise ConfigurationError(message)
    if not all("!" <= character <= "~" for character in key):
        message = (
            "The API key holds a character that no key has (a space, a line break, "
            "an invisible or non-ASCII character): copy it again. It is not shown."
        )
        raise ConfigurationError(message)
    return key


def _headers(key: Secret) -> Mapping[str, str]:
    return CIMultiDict(
        {
            KEY_HEADER: key,
            "Accept": "application/json",
            "Accept-Encoding": "identity",
            "User-Agent": f"camb-async/{__version__}",
        }
    )


class Credentials:
    """One key, and the headers that every request carries with it."""

    def __init__(self, key: Secret) -> None:
        self.key: Final = key
        self.headers: Final = _headers(key)
        # As it is, and as it would stand in JSON or in a URL.
        forms = {str(key), json.dumps(key)[1:-1], quote(key, safe="")}
        self._forms = tuple(map(Secret, forms))

    def redact(self, reply: Reply) -> Reply:
        """Return the answer without the key, should a server have echoed it."""
        body, headers = reply.body, reply.headers
        good = reply.status == HTTPStatus.OK
        if good and len(self.key) < _KEY_LENGTH_USUAL:
            return reply  # a word like "test" may well be part of the answer
        for form in self._forms:
            body = body.replace(form.encode(), b"***")
        if not good:
            headers = {name: self._hidden(value) for name, value in headers.items()}
        elif body == reply.body:
            return reply
        return attrs.evolve(reply, headers=headers, body=body)

    def _hidden(self, text: str) -> str:
        for form in self._forms:
            text = text.replace(form, "***")
        return text


class KeyRing:
    """Holds the credentials, and asks for the key if that is somebody's to say."""

    def __init__(self, api_key: ApiKey | None) -> None:
        api_key = hide(api_key)
        self.credentials: Credentials | None = None
        self._provider: Callable[[], str | Awaitable[str]] | None = None
        self._asking = asyncio.Lock()
        self.asked = 0
        self._failure: APIConnectionError | None = None
        if callable(api_key):
            self._provider = api_key
        else:
            if api_key is None:
                api_key = hide(os.environ.get("CAMB_API_KEY", ""))
            self.credentials = Credentials(check_key(api_key))

    def enter_loop(self) -> None:
        """Belong to the running event loop, as a lock does once it was waited for."""
        self._asking = asyncio.Lock()

    async def obtain(self) -> Credentials:
        """Return the credentials, asking the provider the first time.

        Raises:
            ConfigurationError: what the provider returned is no key.
            APIConnectionError: the provider failed.
        """
        async with self._asking:
            if self.credentials is None:
                self.credentials = Credentials(await self._ask())
            return self.credentials

    async def renew(self, refused: Credentials, asked: int) -> bool:
        """Return whether there are other credentials than those refused.

        The provider is asked once for all that were refused together: not again
        if it was since ``asked``, the count of askings when the request left. If it
        failed then, it failed for all of them.

        Raises:
            ConfigurationError: what the provider returned is no key.
            APIConnectionError: the provider failed.
        """
        if self._provider is None:
            return False
        async with self._asking:
            if self.asked == asked and self.credentials is refused:
                key = await self._ask_again()
                if key != refused.key:
                    self.credentials = Credentials(key)
            elif self.credentials is refused and self._failure is not None:
                raise copy(self._failure)
            return self.credentials is not refused

    async def _ask_again(self) -> Secret:
        self._failure = None
        try:
            return await self._ask()
        except APIConnectionError as error:
            self._failure = copy(error)
            raise

    async def _ask(self) -> Secret:
        assert self._provider is not None  # noqa: S101 - both callers know
        self.asked += 1
        try:
            key = hide(self._provider())
            if inspect.isawaitable(key):
                key = hide(await _in_time(key))
        except asyncio.CancelledError:
            self.asked -= 1  # nobody was told anything: the next one asks again
            raise
        except CambError:
            raise
        except Exception as error:
            message = f"The api_key callable raised {type(error).__name__}."
            raise APIConnectionError(message, request_sent=False) from error
        return check_key(key)


async def _in_time(asking: Awaitable[str]) -> str:
    scope = asyncio.timeout(ASK_TIMEOUT)
    try:
        async with scope:
            return hide(await asking)
    except TimeoutError:
        if not scope.expired():
            raise
    message = f"The api_key callable gave no key within {ASK_TIMEOUT:g} s."
    raise APITimeoutError(message, request_sent=False)
