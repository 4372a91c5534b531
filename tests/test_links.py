"""Which links may be fetched, decided without a network."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from camb_async import CambSession, DownloadError, RetryPolicy, TextToVoiceResult
from camb_async._links import CheckedResolver, LinkRules

from .helpers import run


ONE_TRY = RetryPolicy(attempts=1)
OUTSIDE = LinkRules(loopback=False, allowed_hosts=frozenset())
AT_HOME = LinkRules(loopback=True, allowed_hosts=frozenset())

PRIVATE_ADDRESSES = [
    "127.0.0.1",
    "127.9.9.9",
    "0.0.0.0",  # noqa: S104 - refused, not bound
    "10.0.0.1",
    "172.16.0.1",
    "192.168.1.1",
    "100.64.0.1",
    "169.254.169.254",
    "198.18.0.1",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "::1",
    "::",
    "fe80::1",
    "fd00::1",
    "ff02::1",
    "::127.0.0.1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "64:ff9b::a00:1",
    "2002:7f00:1::",
]
PUBLIC_ADDRESSES = [
    "93.184.215.14",
    "2606:2800:21f:cb07:6820:80da:af6b:8b2c",
    "::ffff:8.8.8.8",
    "64:ff9b::808:808",
]


def in_url(address: str) -> str:
    """Return an address as it is written in a URL."""
    return f"[{address}]" if ":" in address else address


@pytest.mark.parametrize(
    "link",
    [
        "https://files.example/a%2Fb/%zz;x?Signature=%2B%2f+%20;&a=b%3D",
        "https://files.example:8443/x?a=b=c&&d",
        "https://FILES.example/x",
        "https://xn--bcher-kva.example/x",
        "https://93.184.215.14/x",
    ],
)
def test_a_good_link_is_sent_byte_for_byte(link: str) -> None:
    """Neither encoding nor case is touched: the bytes are signed."""
    url = OUTSIDE.check(link)

    assert link == str(url)
    assert link.endswith(url.raw_path_qs)


@pytest.mark.parametrize(
    "link",
    [
        "",
        "no link",
        "/previews/1.wav",
        "//files.example/x",
        "file:///etc/passwd",
        "data:audio/wav;base64,UklGRg==",
        "ftp://files.example/x",
        "javascript:alert(1)",
        "http://files.example/x",
        "http://127.0.0.1/x",
        "https:///x",
        "https://user@files.example/x",
        "https://user:secret@files.example/x",
        "https://@files.example/x",
        "https://files.example\\@evil.example/x",
        "https://files.example:99999/x",
        "https://files.example:port/x",
        "https://[::1/x",
        "https://[nonsense]/x",
        "https://[]x@",
        "https://files.example/a b",
        "https://files.example/\r\nX-Evil: 1",
        "https://files.example/\x00",
        "https://bücher.example/x",
    ],
)
def test_what_is_no_https_link_is_refused(link: str) -> None:
    """Also what parsers disagree about."""
    with pytest.raises(DownloadError):
        OUTSIDE.check(link)


@pytest.mark.parametrize("address", PRIVATE_ADDRESSES)
def test_a_private_address_is_refused(address: str) -> None:
    """As a literal in the link, and as what a name stands for."""
    assert not OUTSIDE.may_reach("files.example", address)
    with pytest.raises(DownloadError, match="allow_hosts"):
        OUTSIDE.check(f"https://{in_url(address)}/x")


@pytest.mark.parametrize("address", PUBLIC_ADDRESSES)
def test_a_public_address_is_fine(address: str) -> None:
    """Also an IPv4 address that is reached over IPv6."""
    assert OUTSIDE.may_reach("files.example", address)
    assert OUTSIDE.check(f"https://{in_url(address)}/x")


@pytest.mark.parametrize(
    "host", ["2130706433", "127.1", "0177.0.0.1", "127.0.0.1.", "1.2.3.4.5"]
)
def test_a_number_that_is_no_address_is_refused(host: str) -> None:
    """The operating system would read some of them as 127.0.0.1."""
    for rules in (OUTSIDE, AT_HOME):
        with pytest.raises(DownloadError):
            rules.check(f"https://{host}/x")


def test_a_refusal_is_short_however_long_the_host() -> None:
    """A link can be as long as an answer, and a log should not be."""
    with pytest.raises(DownloadError, match="private network") as caught:
        OUTSIDE.check(f"https://{'1' * 100_000}/x")

    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "127.1.2.3"])
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_loopback_is_fine_at_home(scheme: str, host: str) -> None:
    """While the API itself is on loopback."""
    assert AT_HOME.check(f"{scheme}://{host}:8080/x")


@pytest.mark.parametrize(
    "link",
    ["http://files.example/x", "https://10.0.0.1/x", "http://10.0.0.1/x"],
)
def test_nothing_else_is_fine_at_home(link: str) -> None:
    """Plain http and private networks stay refused."""
    with pytest.raises(DownloadError):
        AT_HOME.check(link)


def test_a_host_can_be_allowed_by_name() -> None:
    """In any letter case, with or without the last dot; still https only."""
    rules = LinkRules(
        loopback=False, allowed_hosts=frozenset({"Files.Corp.", "10.0.0.7"})
    )

    assert rules.check("https://10.0.0.7/x")
    assert rules.may_reach("files.corp", "10.0.0.1")
    assert rules.may_reach("FILES.corp.", "10.0.0.1")
    assert not rules.may_reach("other.corp", "10.0.0.1")
    with pytest.raises(DownloadError):
        rules.check("http://10.0.0.7/x")


@given(st.text() | st.from_regex(r"https?://[ -~]{0,40}"))
def test_any_text_is_a_link_or_refused(text: str) -> None:
    """Nothing but a DownloadError comes out, whatever goes in."""
    try:
        url = AT_HOME.check(text)
    except DownloadError:
        return

    assert url.raw_host
    assert url.raw_user is None
    assert url.scheme in {"http", "https"}


Resolve = Callable[..., Awaitable[list[Any]]]


def standing_for(*addresses: str) -> Resolve:
    """Return a resolver's method for which every name is at these addresses."""

    async def resolve(
        _self: object, host: str, port: int = 0, _family: int = 0
    ) -> list[dict[str, Any]]:
        return [
            {
                "hostname": host,
                "host": address,
                "port": port,
                "family": socket.AF_INET6 if ":" in address else socket.AF_INET,
                "proto": 0,
                "flags": 0,
            }
            for address in addresses
        ]

    return resolve


async def resolved(rules: LinkRules, host: str) -> list[str]:
    """Return the addresses that a host may be reached at."""
    resolver = CheckedResolver(rules)
    return [found["host"] for found in await resolver.resolve(host, 443)]


def test_only_the_public_addresses_of_a_name_are_tried(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A name with both kinds of address is reached at the public one."""
    answers = standing_for("10.0.0.1", "93.184.215.14", "fe80::1%eth0")
    monkeypatch.setattr(aiohttp.ThreadedResolver, "resolve", answers)

    assert ["93.184.215.14"] == run(resolved(OUTSIDE, "files.example"))


def test_an_allowed_name_is_really_connected_to(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """With TLS: a server that speaks none gets a ClientHello and no more."""
    greetings: list[bytes] = []

    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        greetings.append(await reader.read(3))
        writer.close()
        await writer.wait_closed()

    async def main() -> None:
        monkeypatch.setattr(
            aiohttp.ThreadedResolver, "resolve", standing_for("127.0.0.1")
        )
        server = await asyncio.start_server(greet, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        result = TextToVoiceResult(7, (f"https://files.corp:{port}/x",))
        async with server, CambSession("key", retry=ONE_TRY) as camb:
            with pytest.raises(DownloadError, match="private network"):
                await camb.download_previews(result, tmp_path)
            assert [] == greetings
            with pytest.raises(DownloadError, match="broke off"):
                await camb.download_previews(
                    result, tmp_path, allow_hosts=["FILES.corp"]
                )

    run(main())

    assert b"\x16\x03\x01" == greetings[0]


@pytest.mark.parametrize("host", ["a" * 64 + ".example", "a..example"])
def test_a_name_that_cannot_be_one_is_refused(host: str) -> None:
    """The codec for host names raises something else altogether."""

    async def main() -> None:
        with pytest.raises(DownloadError, match="no host"):
            await resolved(OUTSIDE, host)

    run(main())


def test_localhost_resolves_at_home_only() -> None:
    """For real, without a resolver made up."""

    async def main() -> None:
        assert await resolved(AT_HOME, "localhost")
        with pytest.raises(DownloadError, match="private network"):
            await resolved(OUTSIDE, "localhost")

    run(main())
