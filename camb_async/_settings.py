"""What a session is told about where to go and with which key, checked.

The key is a Secret: a str that does not show itself, so that a traceback with
local variables, a debugger or a log of headers shows three asterisks.
"""

from __future__ import annotations

import asyncio
import inspect
import os
from collections.abc import Awaitable, Callable, Mapping
from ipaddress import ip_address
from typing import Final
from urllib.parse import urlsplit

import attrs
from multidict import CIMultiDict

from ._refusals import Reply
from ._version import __version__
from .errors import APIConnectionError, CambError, ConfigurationError


#: Where the service is documented to be.
DEFAULT_BASE_URL = "https://client.camb.ai/apis"
KEY_HEADER = "x-api-key"

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
    # The value is never shown: a mistyped one may hold a password or a key.
    refusal = (
        "The base URL cannot be used: it must be https://HOST[:PORT][/PATH] (plain "
        "http for loopback hosts only) without user, query or fragment. It comes "
        "from the base_url argument, or from CAMB_BASE_URL."
    )
    if not given.isascii() or not given.isprintable() or " " in given:
        raise ConfigurationError(refusal)
    try:
        parts = urlsplit(given)
        host, _port = parts.hostname, parts.port
    except ValueError:
        raise ConfigurationError(refusal) from None
    secure = parts.scheme == "https" or (parts.scheme == "http" and is_loopback(host))
    extra = "@" in parts.netloc or "?" in given or "#" in given
    if not host or not secure or extra:
        raise ConfigurationError(refusal)
    return given.rstrip("/")


def is_loopback(host: str | None) -> bool:
    """Return whether a host name or address is this machine itself."""
    if host == "localhost":
        return True
    try:
        return ip_address(host or "").is_loopback
    except ValueError:
        return False


def check_key(key: object) -> Secret:
    """Return the key, ready to be sent.

    Raises:
        ConfigurationError: there is none, or it cannot be a header.
    """
    if not isinstance(key, str):
        message = f"The API key must be a str, not {type(key).__name__}."
        raise ConfigurationError(message)
    key = key.strip()
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
    return Secret(key)


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

    def redact(self, reply: Reply) -> Reply:
        """Return the answer without the key, should a server have echoed it."""
        key = self.key.encode()
        if key not in reply.body:
            return reply
        return attrs.evolve(reply, body=reply.body.replace(key, b"***"))


class KeyRing:
    """Holds the credentials, and asks for the key if that is somebody's to say."""

    def __init__(self, api_key: ApiKey | None) -> None:
        self.credentials: Credentials | None = None
        self._provider: Callable[[], str | Awaitable[str]] | None = None
        self._asking = asyncio.Lock()
        if callable(api_key):
            self._provider = api_key
        else:
            given = os.environ.get("CAMB_API_KEY", "") if api_key is None else api_key
            self.credentials = Credentials(check_key(given))

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

    async def renew(self, refused: Credentials) -> Credentials | None:
        """Return other credentials than those refused; None if there are none.

        Raises:
            ConfigurationError: what the provider returned is no key.
            APIConnectionError: the provider failed.
        """
        if self._provider is None:
            return None
        async with self._asking:
            if self.credentials is refused:
                key = await self._ask()
                if key == refused.key:
                    return None
                self.credentials = Credentials(key)
            return self.credentials

    async def _ask(self) -> Secret:
        assert self._provider is not None  # noqa: S101 - both callers know
        try:
            key = self._provider()
            if inspect.isawaitable(key):
                key = await key
        except CambError:
            raise
        except Exception as error:
            message = f"The api_key callable raised {type(error).__name__}."
            raise APIConnectionError(message, request_sent=False) from error
        return check_key(key)
