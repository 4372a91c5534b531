"""Where to go and with which key: what is refused, and what is never shown."""

from __future__ import annotations

import asyncio
import json
import pickle
import traceback
from collections.abc import Awaitable, Callable, Mapping
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from multidict import CIMultiDict
from yarl import URL

from camb_async import _settings
from camb_async._refusals import Reply, error_from
from camb_async._settings import (
    DEFAULT_BASE_URL,
    Credentials,
    KeyRing,
    Secret,
    check_key,
    is_loopback,
    read_base_url,
)
from camb_async._version import __version__
from camb_async.errors import (
    APIConnectionError,
    APITimeoutError,
    AuthenticationError,
    CambError,
    ConfigurationError,
)


CANARY = "canary-5f2e77"
LOOPBACK = ["localhost", "LocalHost", "127.0.0.1", "127.0.0.2", "127.255.1.9", "[::1]"]


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the settings of whoever runs the tests out of them."""
    monkeypatch.delenv("CAMB_API_KEY", raising=False)
    monkeypatch.delenv("CAMB_BASE_URL", raising=False)


def everything_about(error: BaseException, *, with_locals: bool = True) -> str:
    """Return all that a log could hold of an error: locals, causes, pickle."""
    texts: list[str] = []
    seen: BaseException | None = error
    while seen is not None:
        told = traceback.TracebackException.from_exception(
            seen, capture_locals=with_locals
        )
        texts += [*told.format(), str(seen), repr(seen), repr(seen.args)]
        seen = seen.__cause__ or seen.__context__
    pickled = pickle.dumps(error).decode("latin-1")
    return "\n".join([*texts, pickled])


def refusal(call: Callable[[], object]) -> ConfigurationError:
    """Return the error of a call that must refuse a setting."""
    with pytest.raises(ConfigurationError) as caught:
        call()
    return caught.value


# The base URL.


@pytest.mark.parametrize(
    ("given", "read"),
    [
        ("https://client.camb.ai/apis", "https://client.camb.ai/apis"),
        ("https://client.camb.ai/apis/", "https://client.camb.ai/apis"),
        ("https://h", "https://h"),
        ("https://h//", "https://h"),
        ("https://h:8443/a/b", "https://h:8443/a/b"),
        ("HTTPS://Host/A", "HTTPS://Host/A"),
        ("https://10.0.0.1/apis", "https://10.0.0.1/apis"),
        ("https://[2001:db8::1]:8443", "https://[2001:db8::1]:8443"),
        ("https://xn--bcher-kva.example", "https://xn--bcher-kva.example"),
    ],
)
def test_https_is_taken_anywhere(given: str, read: str) -> None:
    """Host, port and path are kept as they are, without slashes at the end."""
    assert read == read_base_url(given)


@pytest.mark.parametrize("host", LOOPBACK)
def test_plain_http_is_taken_on_loopback(host: str) -> None:
    """A simulator on this machine needs no certificate."""
    assert f"http://{host}:8080/apis" == read_base_url(f"http://{host}:8080/apis/")


@pytest.mark.parametrize(
    "host",
    [
        "client.camb.ai",
        "localhost.evil.example",
        "evil.localhost",
        "127.0.0.1.evil.example",
        "128.0.0.1",
        "126.255.255.255",
        "0.0.0.0",  # noqa: S104 - it is refused
        "10.0.0.1",
        "169.254.169.254",
        "127.1",
        "2130706433",
        "0x7f000001",
        "0177.0.0.1",
        "[::2]",
        "[::]",
        "[::ffff:10.0.0.1]",
        "localhost%2eevil.example",
        "localhost\\.evil.example",
    ],
)
def test_plain_http_is_refused_anywhere_else(host: str) -> None:
    """The key would travel readable, also to what only looks like loopback."""
    refusal(lambda: read_base_url(f"http://{host}/apis"))


@pytest.mark.parametrize(
    "given",
    [
        "client.camb.ai/apis",
        "//client.camb.ai",
        "ftp://h",
        "file:///etc/passwd",
        "ws://localhost",
        "https:",
        "https://",
        "https:///apis",
        "https://:443",
        "https://user@h",
        "https://user:password@h",
        "https://@h",
        "https://h?",
        "https://h?x=1",
        "https://h#",
        "https://h#x",
        "https://h:port",
        "https://h:99999",
        "https://h:-1",
        "https://[::1",
        "https://[::1]x",
        "https://h\\@evil.example",
        "https://h /apis",
        " https://h",
        "https://h\n",
        "https://h\t/apis",
        "https://h\x00",
        "https://h\x7f",
        "https://b\N{LATIN SMALL LETTER U WITH DIAERESIS}cher.example",
        "https://h\N{ZERO WIDTH SPACE}",
        "https://h\N{FULLWIDTH SOLIDUS}evil",
    ],
    ids=repr,
)
def test_what_is_no_plain_base_url_is_refused(given: str) -> None:
    """User, query, fragment, odd characters, another scheme: none is guessed at."""
    error = refusal(lambda: read_base_url(given))

    assert "https://HOST[:PORT][/PATH]" in str(error)
    assert "CAMB_BASE_URL" in str(error)


@given(
    st.text(max_size=30)
    | st.builds(
        "{}{}".format,
        st.sampled_from(["https://", "http://", "http://localhost"]),
        st.text("ab1.:/@?#[]%\\-;&=", max_size=12),
    )
)
@example("https://h\\x")
@example("https://xn--a")
def test_what_is_taken_can_be_requested(given: str) -> None:
    """Two parsers agree on the host, so nobody is surprised at the first request."""
    try:
        taken = read_base_url(given or "x")
    except ConfigurationError:
        return
    url = URL(taken + "/text-to-voice/abc", encoded=True)

    assert url.host
    assert url.user is None
    assert url.path.endswith("/text-to-voice/abc")
    assert "https" == url.scheme or is_loopback(url.host)


@pytest.mark.parametrize("given", [None, ""])
def test_the_base_url_comes_from_the_environment(
    given: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without an argument the variable counts, and without that the service."""
    default = read_base_url(given)
    monkeypatch.setenv("CAMB_BASE_URL", "http://localhost:1/apis/")
    from_variable = read_base_url(given)
    monkeypatch.setenv("CAMB_BASE_URL", "")

    assert "https://client.camb.ai/apis" == default == DEFAULT_BASE_URL
    assert "http://localhost:1/apis" == from_variable
    assert default == read_base_url(given)
    assert "https://h" == read_base_url("https://h")


def test_a_bad_base_url_in_the_environment_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The variable is checked like the argument."""
    monkeypatch.setenv("CAMB_BASE_URL", "http://client.camb.ai/apis")

    assert "CAMB_BASE_URL" in str(refusal(lambda: read_base_url(None)))


@pytest.mark.parametrize(
    "pattern",
    ["https://user:{}@h", "https://h/?key={}", "https://h:{}", "{}", "https://[{}]"],
)
def test_a_refused_base_url_is_not_shown(
    pattern: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mistyped one may hold a password; no log of the error does."""
    monkeypatch.setenv("CAMB_BASE_URL", pattern.format(CANARY))
    error = refusal(lambda: read_base_url(None))

    assert CANARY not in everything_about(error, with_locals=False)


@pytest.mark.parametrize(
    ("host", "is_one"),
    [
        ("localhost", True),
        ("127.0.0.1", True),
        ("127.255.255.254", True),
        ("::1", True),
        ("0.0.0.0", False),  # noqa: S104 - it is not one
        ("::", False),
        ("example.com", False),
        ("", False),
        (None, False),
    ],
)
def test_loopback(host: str | None, *, is_one: bool) -> None:
    """Only this machine itself is loopback; names are not looked up."""
    assert is_one is is_loopback(host)


# The key.


@pytest.mark.parametrize(
    "given",
    ["abc", " abc", "abc\n", "\tabc\r\n", "abc\N{NO-BREAK SPACE}", "\N{EM SPACE}abc "],
    ids=repr,
)
def test_a_key_is_stripped_of_what_surrounds_it(given: str) -> None:
    """A line break from a file, a space from the clipboard: the key is the same."""
    key = check_key(given)

    assert "abc" == key
    assert isinstance(key, Secret)


@pytest.mark.parametrize(
    "bad",
    [
        "a b",
        "a\nb",
        "a\r\nx-evil: 1",
        "a\0b",
        "a\tb",
        "a\x7f",
        "a\x1b[0m",
        "a\N{ZERO WIDTH SPACE}",
        "\N{ZERO WIDTH NO-BREAK SPACE}a",
        "a\N{LATIN SMALL LETTER E WITH ACUTE}",
        "a\udcff",
        "\N{FULLWIDTH LATIN SMALL LETTER A}",
    ],
    ids=ascii,
)
def test_a_key_that_cannot_be_a_header_is_refused(bad: str) -> None:
    """No key has such characters, and no message shows the value."""
    error = refusal(lambda: check_key(CANARY + bad))

    assert "copy it again" in str(error)
    assert CANARY not in str(error)


@given(st.text())
def test_a_key_is_printable_ascii_or_refused(text: str) -> None:
    """Whatever is taken can stand in a header as it is."""
    try:
        key = check_key(text)
    except ConfigurationError:
        assert (
            not text.strip().isascii()
            or not text.strip().isprintable()
            or (not text.strip() or " " in text.strip())
        )

        return

    assert text.strip() == key
    assert all(33 <= byte <= 126 for byte in key.encode("ascii"))


@pytest.mark.parametrize("given", ["", " ", "\n", "\N{NO-BREAK SPACE}"], ids=ascii)
def test_an_empty_key_is_a_missing_one(given: str) -> None:
    """The error names the variable, and where keys are made."""
    error = refusal(lambda: check_key(given))

    assert "set CAMB_API_KEY, or pass api_key" in str(error)
    assert "studio" in str(error)


@pytest.mark.parametrize("given", [None, 5, b"abc", ["abc"]], ids=repr)
def test_a_key_is_text(given: object) -> None:
    """The error names the type and not the value."""
    error = refusal(lambda: check_key(given))

    assert f"must be a str, not {type(given).__name__}." in str(error)


def test_the_key_comes_from_the_argument_or_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An argument wins, even an empty one; without both there is no key."""
    missing = refusal(lambda: KeyRing(None))
    monkeypatch.setenv("CAMB_API_KEY", "from-variable\n")

    assert "No API key" in str(missing)
    assert "from-variable" == credentials_of(KeyRing(None)).key
    assert "given" == credentials_of(KeyRing("given")).key
    assert "No API key" in str(refusal(lambda: KeyRing("")))


# What is never shown.


def test_a_secret_is_sent_and_not_shown() -> None:
    """It is the text it stands for, and its repr is three asterisks."""
    secret = Secret(CANARY)

    assert CANARY == secret
    assert CANARY.encode() == secret.encode()
    assert "'***'" == repr(secret) == f"{secret!r}" == ascii(secret)


WRAPS: dict[str, Callable[[Secret], object]] = {
    "list": lambda secret: [secret],
    "tuple": lambda secret: (secret,),
    "dict": lambda secret: {"x-api-key": secret},
    "set": lambda secret: {secret},
    "multidict": lambda secret: CIMultiDict({"x-api-key": secret}),
    "its copy": lambda secret: CIMultiDict({"x-api-key": secret}).copy(),
    "namespace": lambda secret: SimpleNamespace(key=secret),
    "credentials": Credentials,
    "their attributes": lambda secret: vars(Credentials(secret)),
    "headers": lambda secret: Credentials(secret).headers,
    "plain headers": lambda secret: dict(Credentials(secret).headers),
    "ring": KeyRing,
    "its attributes": lambda secret: vars(KeyRing(secret)),
    "arguments": lambda secret: ConfigurationError(secret).args,
}


@pytest.mark.parametrize("wrap", WRAPS.values(), ids=WRAPS)
def test_no_container_shows_a_secret(wrap: Callable[[Secret], object]) -> None:
    """Lists, mappings, headers, our own objects: what they hold stays hidden."""
    shown = repr(wrap(Secret(CANARY)))

    assert CANARY not in shown


def send(credentials: Credentials) -> None:
    """Fail with the key all over the local variables."""
    key, headers, both = credentials.key, credentials.headers, [credentials.key]
    message = f"failed with {len(key) + len(headers) + len(both)} things at hand"
    raise CambError(message)


def test_no_traceback_shows_a_secret() -> None:
    """Not even one with the local variables of every frame."""
    with pytest.raises(CambError) as caught:
        send(credentials_of(KeyRing(CANARY)))

    assert CANARY not in everything_about(caught.value)


@pytest.mark.parametrize("bad", [CANARY + "\N{ZERO WIDTH SPACE}", f"a {CANARY}"])
def test_no_traceback_shows_a_key_that_was_refused(
    bad: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A key with a typo is still nearly the key, wherever it came from."""
    monkeypatch.setenv("CAMB_API_KEY", bad)
    del bad
    error = refusal(lambda: KeyRing(None))

    assert CANARY not in everything_about(error)


def test_no_traceback_shows_a_key_that_a_provider_returned() -> None:
    """A callable's key is as secret, also when it cannot be used."""
    ring = KeyRing(lambda: CANARY + "\N{ZERO WIDTH SPACE}")
    error = refusal(lambda: asyncio.run(ring.obtain()))

    assert CANARY not in everything_about(error)


# What every request carries.


def credentials_of(ring: KeyRing) -> Credentials:
    """Return the credentials that a ring has already."""
    assert ring.credentials is not None

    return ring.credentials


def test_the_headers_of_every_request() -> None:
    """The key, and what we take: plain JSON, with our name and version."""
    headers = Credentials(Secret("abc")).headers

    assert {
        "x-api-key": "abc",
        "Accept": "application/json",
        "Accept-Encoding": "identity",
        "User-Agent": f"camb-async/{__version__}",
    } == dict(headers)


def test_an_answer_without_the_key_is_left_alone() -> None:
    """Nothing is copied when there is nothing to hide."""
    reply = Reply(200, {}, b'{"status": "PENDING"}')

    assert reply is Credentials(Secret(CANARY)).redact(reply)


def test_a_good_answer_is_cleared_of_the_key_too() -> None:
    """A state may end in a log as easily as an error."""
    headers = {"Date": "today"}
    reply = Reply(200, headers, json.dumps({"message": f"{CANARY}!"}).encode())

    assert Reply(200, headers, b'{"message": "***!"}') == Credentials(
        Secret(CANARY)
    ).redact(reply)


ECHOES: list[tuple[str, Mapping[str, str], bytes]] = [
    (CANARY, {}, f"no such key: {CANARY}".encode()),
    (CANARY, {}, json.dumps({"error": f"{CANARY}, {CANARY}"}).encode()),
    (f'{CANARY}"q\\', {}, json.dumps({"error": f'{CANARY}"q\\'}).encode()),
    (f"/{CANARY}+=", {}, f"GET /?key=%2F{CANARY}%2B%3D".encode()),
    (CANARY, {"x-request-id": CANARY}, b"no"),
    (CANARY, {"X-Request-ID": f"r-{CANARY}-1"}, CANARY.encode()),
]


@pytest.mark.parametrize(
    ("key", "headers", "body"),
    ECHOES,
    ids=["text", "json", "escaped", "quoted", "header", "both"],
)
def test_a_key_that_a_server_echoes_is_not_in_the_error(
    key: str, headers: Mapping[str, str], body: bytes
) -> None:
    """However it comes back, it ends on no error that we raise."""
    reply = Credentials(Secret(key)).redact(Reply(401, headers, body))
    error = error_from(reply)

    assert isinstance(error, AuthenticationError)
    assert CANARY not in everything_about(error)
    assert CANARY not in f"{vars(error)}"


def test_a_key_in_a_redirect_is_not_in_the_error() -> None:
    """A server that puts the key into its Location is not quoted with it."""
    reply = Reply(302, {"Location": f"https://h.example/{CANARY}/x"}, b"")
    error = error_from(Credentials(Secret(CANARY)).redact(reply))

    assert CANARY not in everything_about(error)


# The ring.


class Provider:
    """Returns one key after the other, slowly if it is asynchronous."""

    def __init__(self, *keys: Any) -> None:
        self.keys = list(keys)
        self.asked = 0

    def now(self) -> Any:
        """Return the next key, or raise it."""
        self.asked += 1
        key = self.keys.pop(0)
        if isinstance(key, BaseException):
            raise key
        return key

    async def later(self) -> Any:
        """Return the next key after a while."""
        await asyncio.sleep(0)
        return self.now()


WAYS: list[Callable[[Provider], Callable[[], Any]]] = [
    lambda provider: provider.now,
    lambda provider: provider.later,
]
each_way = pytest.mark.parametrize("way", WAYS, ids=["plain", "async"])
Way = Callable[[Provider], Callable[[], str | Awaitable[str]]]


@each_way
def test_a_provider_is_asked_when_the_key_is_needed(way: Way) -> None:
    """Not before the first request, and not again for the second."""
    provider = Provider(" one\n")
    ring = KeyRing(way(provider))
    before = (ring.credentials, provider.asked)

    async def main() -> tuple[Credentials, Credentials]:
        return await ring.obtain(), await ring.obtain()

    first, second = asyncio.run(main())

    assert (None, 0) == before
    assert first is second is ring.credentials
    assert ("one", 1) == (first.key, provider.asked)


@each_way
def test_many_who_need_the_key_at_once_ask_once(way: Way) -> None:
    """A thousand polls that start together are one question."""
    provider = Provider("one")
    ring = KeyRing(way(provider))

    async def main() -> list[Credentials]:
        return await asyncio.gather(*(ring.obtain() for _ in range(1000)))

    obtained = asyncio.run(main())

    assert 1 == len({id(credentials) for credentials in obtained})
    assert provider.asked == 1


@each_way
def test_a_refused_key_is_renewed_once_for_all(way: Way) -> None:
    """All who were refused with the old key get the new one for one question."""
    provider = Provider("old", "new")
    ring = KeyRing(way(provider))

    async def main() -> tuple[Credentials, list[bool]]:
        old = await ring.obtain()
        asked = ring.asked
        return old, await asyncio.gather(*(ring.renew(old, asked) for _ in range(50)))

    old, renewed = asyncio.run(main())

    assert [True] * 50 == renewed
    assert ("old", "new") == (old.key, credentials_of(ring).key)
    assert provider.asked == 2


@each_way
def test_the_same_key_again_is_no_renewal(way: Way) -> None:
    """All that were refused together ask once; a later question may have news."""
    provider = Provider("old", "old\n", "new")
    ring = KeyRing(way(provider))

    async def main() -> tuple[bool, bool, bool]:
        old = await ring.obtain()
        asked = ring.asked
        first, together = await ring.renew(old, asked), await ring.renew(old, asked)
        return first, together, await ring.renew(old, ring.asked)

    first, together, later = asyncio.run(main())

    assert (False, False, True) == (first, together, later)
    assert ("new", 3) == (credentials_of(ring).key, provider.asked)


def test_a_fixed_key_has_no_renewal() -> None:
    """A key that was given as text is what it is."""
    ring = KeyRing("abc")

    async def main() -> tuple[Credentials, bool]:
        obtained = await ring.obtain()
        return obtained, await ring.renew(obtained, ring.asked)

    obtained, renewed = asyncio.run(main())

    assert obtained is ring.credentials
    assert not renewed


@each_way
@pytest.mark.parametrize("failure", [OSError("vault"), KeyError("x")], ids=repr)
def test_a_provider_that_fails_is_no_answer(way: Way, failure: Exception) -> None:
    """Nothing was sent, the cause is chained, and the next question may succeed."""
    provider = Provider(failure, "one")
    ring = KeyRing(way(provider))

    async def main() -> Credentials:
        with pytest.raises(APIConnectionError) as caught:
            await ring.obtain()
        error = caught.value
        assert f"The api_key callable raised {type(failure).__name__}." == str(error)
        assert failure is error.__cause__
        assert not error.request_sent

        return await ring.obtain()

    assert "one" == asyncio.run(main()).key


@each_way
def test_a_provider_may_raise_our_own_errors(way: Way) -> None:
    """What is said in our words is not wrapped."""
    error = ConfigurationError("The vault is sealed.")

    with pytest.raises(ConfigurationError) as caught:
        asyncio.run(KeyRing(way(Provider(error))).obtain())
    assert error is caught.value


@each_way
@pytest.mark.parametrize("key", ["", None, 5, "a b", b"abc"], ids=repr)
def test_a_provider_that_returns_no_key_is_a_misconfiguration(
    way: Way, key: object
) -> None:
    """What it returns is checked like any key."""
    ring = KeyRing(way(Provider(key)))

    with pytest.raises(ConfigurationError):
        asyncio.run(ring.obtain())
    assert ring.credentials is None


def test_a_renewal_that_fails_leaves_the_old_key() -> None:
    """The ring is not broken by a provider that is down for a moment."""
    provider = Provider("old", OSError("vault"), "new")
    ring = KeyRing(provider.now)

    async def main() -> bool:
        old = await ring.obtain()
        with pytest.raises(APIConnectionError):
            await ring.renew(old, ring.asked)
        assert old is ring.credentials

        return await ring.renew(old, ring.asked)

    assert asyncio.run(main())
    assert "new" == credentials_of(ring).key


def test_who_is_cancelled_while_asking_leaves_the_question_to_the_next() -> None:
    """The lock is free again, and the next in line asks for itself."""
    provider = Provider("one")

    async def slow() -> str:
        if provider.asked == 0:
            provider.asked += 1
            await asyncio.sleep(3600)
        return str(provider.now())

    ring = KeyRing(slow)

    async def main() -> Credentials:
        first = asyncio.create_task(ring.obtain())
        second = asyncio.create_task(ring.obtain())
        await asyncio.sleep(0)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        return await second

    assert "one" == asyncio.run(main()).key
    assert provider.asked == 2


def test_a_provider_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """All requests wait for the key, so it must not take for ever."""
    monkeypatch.setattr(_settings, "ASK_TIMEOUT", 0.05)
    provider = Provider("one")

    async def stuck_at_first() -> str:
        if provider.asked == 0:
            provider.asked += 1
            await asyncio.Event().wait()
        return str(provider.now())

    ring = KeyRing(stuck_at_first)

    async def main() -> Credentials:
        with pytest.raises(APITimeoutError, match=r"no key within 0\.05 s") as caught:
            await ring.obtain()
        assert not caught.value.request_sent

        return await ring.obtain()

    assert "one" == asyncio.run(main()).key
