"""Where requests go, and what they take with them: cases 34 to 38."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from camb_async import (
    CambSession,
    ConfigurationError,
    DownloadError,
    LinkExpiredError,
    TextToVoiceResult,
    UnexpectedRedirectError,
)
from camb_async.simulator import Fault, Simulator
from tests.cli_process import CANARY
from tests.downloading import (
    AUDIO,
    ONE_TRY,
    PREVIEWS,
    RUN,
    TUNE,
    behind,
    by_name,
    fetched,
    finished,
    names,
    results_asked,
)
from tests.helpers import QUICK, run
from tests.raw_server import answer, raw_server, stranger
from tests.tls import certified, trusting


DESCRIPTION = "A calm and friendly voice that speaks slowly and clearly, " * 3


@contextlib.asynccontextmanager
async def lent(*, owned: bool) -> AsyncGenerator[aiohttp.ClientSession | None]:
    """Provide a client session to borrow, or None for a session's own."""
    if owned:
        yield None
        return
    async with aiohttp.ClientSession() as client_session:
        yield client_session


#: Redirects to a stranger on {port}, and back to where they come from.
TARGETS = {
    "other host": "http://localhost:{port}/text-to-voice/t",
    "other port": "http://127.0.0.1:{port}/text-to-voice/t",
    "other scheme": "https://127.0.0.1:{port}/text-to-voice/t",
    "no scheme": "//127.0.0.1:{port}/text-to-voice/t",
    "same origin": "{base_url}/text-to-voice/other",
    "no host": "/apis/text-to-voice/other",
}


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("owned", [True, False], ids=["owned", "borrowed"])
def test_case_34_no_redirect_of_the_api_is_followed(
    status: int, target: str, *, owned: bool
) -> None:
    """Wherever it leads and whatever was asked, the key goes nowhere else."""

    async def main() -> None:
        async with (
            stranger() as other,
            Simulator(api_key=CANARY) as simulator,
            lent(owned=owned) as borrowed,
            CambSession(
                CANARY,
                base_url=simulator.base_url,
                client_session=borrowed,
                retry=QUICK,
            ) as camb,
        ):
            location = TARGETS[target].format(
                port=other.port, base_url=simulator.base_url
            )
            fault = Fault("redirect", location=f"{location}?secret=1", status=status)
            simulator.fail(fault, times=None)
            for call in (
                camb.get_task_status("t"),
                camb.get_text_to_voice_result(7),
                camb.create_text_to_voice(text="a", voice_description=DESCRIPTION),
            ):
                with pytest.raises(UnexpectedRedirectError) as caught:
                    await call
                assert location == caught.value.location
                assert "secret" not in str(caught.value)
            assert [] == other.met
            assert 3 == len(simulator.requests)

    run(main())


def test_case_35_the_api_cannot_send_the_key_from_https_to_http() -> None:
    """It was sent over TLS, and is not sent again without."""

    async def main() -> None:
        async def serve(target: str, writer: asyncio.StreamWriter) -> None:
            to = f"Location: http://127.0.0.1:{other.port}{target}"
            writer.write(answer(b"", to, status="308 Permanent Redirect"))

        connector = aiohttp.TCPConnector(ssl=trusting())
        async with (
            stranger() as other,
            raw_server(serve, certified("127.0.0.1")) as server,
            aiohttp.ClientSession(connector=connector) as borrowed,
            CambSession(
                CANARY, base_url=server.origin, client_session=borrowed
            ) as camb,
        ):
            with pytest.raises(UnexpectedRedirectError):
                await camb.poll("t")
            assert f"x-api-key: {CANARY}" in server.heads[0]
            assert [] == other.met

    run(main())


def test_case_35_plain_http_is_for_this_machine_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As an argument and from the environment, before any request."""
    for url in ("http://client.camb.ai/apis", "http://127.0.0.1.nip.io", "http://10.1"):
        with pytest.raises(ConfigurationError, match="loopback"):
            CambSession(CANARY, base_url=url)
        monkeypatch.setenv("CAMB_BASE_URL", url)
        with pytest.raises(ConfigurationError, match="loopback"):
            CambSession(CANARY)


def standing_for(address: str) -> Any:
    """Return a resolver's method for which every name is at this address."""

    async def resolve(
        _self: object, host: str, port: int = 0, _family: int = 0
    ) -> list[dict[str, Any]]:
        return [
            {
                "hostname": host,
                "host": address,
                "port": port,
                "family": socket.AF_INET,
                "proto": 0,
                "flags": 0,
            }
        ]

    return resolve


def test_case_35_a_preview_cannot_come_from_https_by_http(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The link is https; where it leads by a redirect must be, too."""
    monkeypatch.setattr("aiohttp.connector._SSL_CONTEXT_VERIFIED", trusting())
    monkeypatch.setattr(aiohttp.ThreadedResolver, "resolve", standing_for("127.0.0.1"))

    async def main() -> None:
        async def serve(_target: str, writer: asyncio.StreamWriter) -> None:
            to = f"Location: http://files.example:{other.port}/x"
            writer.write(answer(b"", to, status="302 Found"))

        async with (
            stranger() as other,
            raw_server(serve, certified("files.example")) as server,
            CambSession(CANARY, retry=ONE_TRY) as camb,
        ):
            link = server.origin.replace("127.0.0.1", "files.example")
            for each in (link, link.replace("https", "http")):
                with pytest.raises(DownloadError, match="must be https"):
                    await camb.download_previews(
                        TextToVoiceResult(RUN, (each,)),
                        tmp_path,
                        allow_hosts=["files.example"],
                    )
            assert 1 == len(server.heads)
            assert [] == other.met

    run(main())

    assert [] == names(tmp_path)


def test_case_36_previews_are_fetched_without_key_cookies_netrc_or_proxy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the environment says, was answered before, or was borrowed."""
    netrc = tmp_path / ".netrc"
    netrc.write_text(f"machine localhost login me password {CANARY}\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("NETRC", raising=False)

    async def main() -> None:
        async with stranger() as proxy, aiohttp.ClientSession() as borrowed:
            for name in ("http_proxy", "https_proxy", "all_proxy"):
                monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
                monkeypatch.setenv(name.upper(), f"http://127.0.0.1:{proxy.port}")
            borrowed.headers["x-mine"] = CANARY
            async with finished(client_session=borrowed) as (simulator, camb):
                result = by_name(await camb.get_text_to_voice_result(RUN))
                cookie = {"Set-Cookie": "a=b; Path=/", "Location": "/previews/x"}
                simulator.fail(Fault("http", status=302, headers=cookie), path=PREVIEWS)
                simulator.fail("set_cookie", times=None, path=PREVIEWS)
                with pytest.raises(DownloadError, match="404"):
                    await camb.download_previews(result, tmp_path / "1")
                simulator.heal()
                await camb.download_previews(result, tmp_path / "2")
                sent = [r for r in simulator.requests if r.path.startswith(PREVIEWS)]
                assert len(sent) >= 4
                for request in sent:
                    allowed = {"host", "accept", "accept-encoding", "user-agent"}
                    assert allowed >= {name.lower() for name in request.headers}
                    assert "identity" == request.headers["Accept-Encoding"]
                    assert simulator.api_key not in str(request)
                    assert CANARY not in str(request)
            assert [] == proxy.met

    run(main())


def test_case_37_signed_links_arrive_byte_for_byte(tmp_path: Path) -> None:
    """The request target is that of the link, ``%2B`` and ``+`` and all."""

    async def main() -> None:
        async with finished() as (simulator, camb):
            result = await camb.get_text_to_voice_result(RUN)
            await camb.download_previews(result, tmp_path)
            origin = simulator.base_url.removesuffix("/apis")
            links = [link.removeprefix(origin) for link in result.previews]
            assert sorted(links) == sorted(fetched(simulator))
            assert all("%2B" in link and "+" in link for link in links)

    run(main())


def test_case_37_odd_targets_arrive_byte_for_byte_also_after_a_redirect(
    tmp_path: Path,
) -> None:
    """Whatever a library would like to tidy up, on the link and on the next hop."""
    odd = "/a%2fb/../c%7E;v=1/%E2%82%ac?X-Sig=a%2Bb+c%2F%3d%20;&&k&=v=#"
    target = odd.removesuffix("#")

    async def main() -> None:
        async def serve(asked: str, writer: asyncio.StreamWriter) -> None:
            if asked.startswith("/hop"):
                to = f"Location: {other.origin}{odd}"
                writer.write(answer(b"", to, status="302 Found"))
            else:
                writer.write(answer(TUNE, AUDIO))

        async with raw_server(serve) as server, raw_server(serve) as other:
            links = [server.origin + odd, server.origin + "/hop?%2B+"]
            async with behind(*links) as camb:
                await camb.download_previews(RUN, tmp_path)
            assert {target, "/hop?%2B+"} == set(server.targets)
            assert [target] == other.targets

    run(main())


def test_case_37_expired_links_are_fetched_once_more_for_all(tmp_path: Path) -> None:
    """One request for the result replaces the links of all previews."""

    async def main() -> None:
        async with finished() as (simulator, camb):
            result = await camb.get_text_to_voice_result(RUN)
            simulator.expire_links()
            await camb.download_previews(result, tmp_path)
            assert 2 == results_asked(simulator)
            assert 4 == len(fetched(simulator))

    run(main())

    assert ["7-1.wav", "7-2.wav"] == names(tmp_path)


@pytest.mark.parametrize("status", [403, 410])
def test_case_37_links_that_stay_refused_are_an_error(
    tmp_path: Path, status: int
) -> None:
    """After the result was fetched once more, and not more often."""

    async def main() -> None:
        async with finished() as (simulator, camb):
            refused = Fault("http", status=status)
            simulator.fail(refused, times=None, path=PREVIEWS)
            result = await camb.get_text_to_voice_result(RUN)
            old = tuple(f"{link}&old" for link in result.previews)
            with pytest.raises(LinkExpiredError, match=str(status)):
                await camb.download_previews(TextToVoiceResult(RUN, old), tmp_path)
            assert 2 == results_asked(simulator)
            assert 4 >= len(fetched(simulator))

    run(main())

    assert [] == names(tmp_path)


@pytest.mark.parametrize(
    "link",
    [
        "file:///etc/passwd",
        "data:audio/wav;base64,UklGRg==",
        "http://93.184.215.14/x",
        "http://user@127.0.0.1/x",
        "https://10.0.0.1/x",
        "https://169.254.169.254/latest/meta-data",
        "https://2130706433/x",
        "nonsense",
    ],
)
def test_case_38_links_that_lead_astray_are_refused(tmp_path: Path, link: str) -> None:
    """By themselves, and as the target of a redirect."""

    async def serve(_target: str, writer: asyncio.StreamWriter) -> None:
        writer.write(answer(b"", f"Location: {link}", status="307 Temporary Redirect"))

    async def main() -> None:
        async with raw_server(serve) as server:
            for entry in (link, server.origin):
                # A relative target is no way out of the server.
                limit = 6 if link == "nonsense" else 1
                async with behind(entry) as camb:
                    with pytest.raises(DownloadError):
                        await camb.download_previews(RUN, tmp_path / "new")
                assert limit >= len(server.heads)

    run(main())

    assert [] == names(tmp_path)


#: This machine, as it is written and as some would read it.
HERE = [
    *("127.0.0.1", "127.0.0.1.", "127.1", "127.0.1", "127.9.9.9", "0.0.0.0", "0"),  # noqa: S104
    *("2130706433", "0x7f000001", "0x7f.1", "0177.0.0.1", "017700000001", "127.0x1"),
    *("[::1]", "[::]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::127.0.0.1]"),
    *("[64:ff9b::7f00:1]", "[2002:7f00:1::]", "[fe80::1%25lo]", "[::1%25lo]"),
    *("localhost", "LOCALHOST", "localhost.", "a.localhost", "ip6-localhost"),
    *("①②⑦.⓪.⓪.①", "127。0。0。1", "%31%32%37.0.0.1", "127.0.0.1%00.example"),
]


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_case_38_this_machine_is_refused_in_every_spelling(
    tmp_path: Path, scheme: str
) -> None:
    """A result of the real service must not lead into this machine."""

    async def main() -> None:
        async with stranger() as other, CambSession("key", retry=ONE_TRY) as camb:
            for host in HERE:
                link = f"{scheme}://{host}:{other.port}/x"
                with pytest.raises(DownloadError):
                    await camb.download_previews(
                        TextToVoiceResult(RUN, (link,)), tmp_path
                    )
            assert [] == other.met

    run(main())

    assert [] == names(tmp_path)


@pytest.mark.parametrize("address", ["127.0.0.1", "10.0.0.1", "169.254.169.254"])
def test_case_38_a_name_for_a_private_address_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, address: str
) -> None:
    """By the whole download, at the moment the name is resolved, at once."""
    monkeypatch.setattr(aiohttp.ThreadedResolver, "resolve", standing_for(address))
    result = TextToVoiceResult(7, ("https://rebound.example/x?Signature=secret",))

    async def main() -> None:
        async with CambSession("key") as camb:
            with pytest.raises(DownloadError, match=r"rebound\.example") as caught:
                await camb.download_previews(result, tmp_path)
            assert "secret" not in str(caught.value)

    run(main())

    assert [] == names(tmp_path)


def test_case_38_a_name_that_is_rebound_while_a_link_is_followed_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Each hop is resolved, and checked, for itself."""

    async def main() -> None:
        async def serve(_target: str, writer: asyncio.StreamWriter) -> None:
            monkeypatch.setattr(
                aiohttp.ThreadedResolver, "resolve", standing_for("10.0.0.1")
            )
            to = f"Location: https://files.example:{other.port}/x"
            writer.write(answer(b"", to, status="302 Found"))

        async with stranger() as other, raw_server(serve) as server:
            async with behind(server.origin) as camb:
                with pytest.raises(DownloadError, match="private network"):
                    await camb.download_previews(RUN, tmp_path)
            assert 1 == len(server.heads)
            assert [] == other.met

    run(main())
