"""Which links may be fetched: they come from outside, so each is checked.

https only, and no address inside a private network unless its host is allowed by
name. While the API itself is on loopback (the simulator), loopback links are fine.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from socket import AddressFamily

import aiohttp
import attrs
from aiohttp.abc import ResolveResult
from yarl import URL

from ._settings import is_loopback
from .errors import DownloadError, showable


# IPv6-only networks reach IPv4 hosts through these addresses.
_NAT64 = IPv6Network("64:ff9b::/96")
_LAST_32_BITS = 0xFFFFFFFF


def _normal(host: str) -> str:
    return host.lower().rstrip(".")


def _normal_hosts(hosts: Iterable[str]) -> frozenset[str]:
    return frozenset(map(_normal, hosts))


@attrs.frozen
class LinkRules:
    """Which links may be fetched."""

    loopback: bool
    allowed_hosts: frozenset[str] = attrs.field(converter=_normal_hosts)

    def check(self, link: str) -> URL:
        """Return the link as a URL that is sent byte for byte as it came.

        Raises:
            DownloadError: it is not a link, or leads where it must not.
        """
        url, host = _parse(link)
        secure = url.scheme == "https" or (
            url.scheme == "http" and self.loopback and is_loopback(host)
        )
        if not host or "@" in url.raw_authority or not secure:
            message = (
                "A preview's link is refused: it must be https, with a host and "
                f"without a user. It begins with {url.scheme[:20]!r}."
            )
            raise DownloadError(message)
        self._check_literal(host)
        return url

    def may_reach(self, host: str, address: str) -> bool:
        """Return whether a host may be reached at the address it resolved to."""
        if _normal(host) in self.allowed_hosts:
            return True
        ip = ip_address(address.partition("%")[0])
        return _is_public(ip) or (self.loopback and ip.is_loopback)

    def _check_literal(self, host: str) -> None:
        try:
            ip_address(host)
        except ValueError:
            # A name: the resolver checks what it stands for. But 127.1 and
            # 2130706433 are no names, and would get past every resolver.
            if not host.replace(".", "").isdigit():
                return
        else:
            if self.may_reach(host, host):
                return
        raise _private(host)


def _parse(link: str) -> tuple[URL, str | None]:
    try:
        if link.isascii() and link.isprintable() and " " not in link:
            url = URL(link, encoded=True)
            return url, url.raw_host  # only asking for the parts checks them
    except (ValueError, IndexError):  # the latter for https://[]x@
        pass
    message = "A preview's link is not a URL; fetch the result again."
    raise DownloadError(message)


def _is_public(ip: IPv4Address | IPv6Address) -> bool:
    if isinstance(ip, IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour
        if ip in _NAT64:
            inner = IPv4Address(int(ip) & _LAST_32_BITS)
        if inner is not None:
            return _is_public(inner)
    return ip.is_global and not ip.is_multicast and not ip.is_reserved


def _private(host: str) -> DownloadError:
    return DownloadError(
        f"A preview's link leads to {showable(host)}, inside a private network. If "
        "that is meant, pass allow_hosts with that name."
    )


class CheckedResolver(aiohttp.ThreadedResolver):
    """Resolves names, and refuses those that lead where links must not."""

    def __init__(self, rules: LinkRules) -> None:
        super().__init__()
        self._rules = rules

    async def resolve(
        self,
        host: str,
        port: int = 0,
        family: AddressFamily = AddressFamily.AF_INET,
    ) -> list[ResolveResult]:
        """Return the addresses of the host that may be reached.

        Raises:
            OSError: the name could not be resolved.
            DownloadError: there are none, or it is no name.
        """
        try:
            found = await super().resolve(host, port, family)
        except UnicodeError:
            message = f"A preview's link leads to {host[:80]!r}, which is no host."
            raise DownloadError(message) from None
        allowed = [r for r in found if self._rules.may_reach(host, r["host"])]
        if not allowed:
            raise _private(host)
        return allowed
