"""Which links may be fetched: they come from outside, so each is checked.

https only, and no address inside a private network unless its host is allowed by
name. While the API itself is on loopback (the simulator), loopback links are fine.
"""

from __future__ import annotations

from ipaddress import ip_address
from socket import AddressFamily

import aiohttp
import attrs
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from ._settings import is_loopback
from .errors import DownloadError


@attrs.frozen
class LinkRules:
    """Which links may be fetched."""

    loopback: bool
    allowed_hosts: frozenset[str]

    def check(self, link: str) -> URL:
        """Return the link as a URL that is sent byte for byte as it came.

        Raises:
            DownloadError: it is not a link, or leads where it must not.
        """
        if not link.isascii() or not link.isprintable() or " " in link:
            message = "A preview's link is not a URL; fetch the result again."
            raise DownloadError(message)
        try:
            url = URL(link, encoded=True)
            host, user = url.host, url.user
        except ValueError:
            host, user = None, None
            url = URL()
        secure = url.scheme == "https" or (
            url.scheme == "http" and self.loopback and is_loopback(host)
        )
        if not host or user is not None or not secure:
            message = (
                "A preview's link is refused: it must be https, with a host and "
                f"without a user. It begins with {url.scheme[:20]!r}."
            )
            raise DownloadError(message)
        self._check_literal(host)
        return url

    def may_reach(self, host: str, address: str) -> bool:
        """Return whether a host may be reached at the address it resolved to."""
        if host in self.allowed_hosts:
            return True
        ip = ip_address(address.partition("%")[0])
        return ip.is_global or (self.loopback and ip.is_loopback)

    def _check_literal(self, host: str) -> None:
        try:
            ip_address(host)
        except ValueError:
            return  # a name: the resolver checks what it stands for
        if not self.may_reach(host, host):
            raise _private(host)


def _private(host: str) -> DownloadError:
    return DownloadError(
        f"A preview's link leads to {host}, inside a private network. If that is "
        "meant, pass allow_hosts with that name."
    )


class CheckedResolver(AbstractResolver):
    """Resolves names, and refuses those that lead where links must not."""

    def __init__(self, rules: LinkRules) -> None:
        self._rules = rules
        self._resolver = aiohttp.ThreadedResolver()

    async def resolve(
        self,
        host: str,
        port: int = 0,
        family: AddressFamily = AddressFamily.AF_INET,
    ) -> list[ResolveResult]:
        """Return the addresses of the host that may be reached.

        Raises:
            DownloadError: there are none.
        """
        found = await self._resolver.resolve(host, port, family)
        allowed = [r for r in found if self._rules.may_reach(host, r["host"])]
        if not allowed:
            raise _private(host)
        return allowed

    async def close(self) -> None:
        """Close the resolver that does the work."""
        await self._resolver.close()
