"""The web application as people see it, in a real Chromium without a window."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from .web_app_client import (
    CHROMIUM,
    ROOT,
    Front,
    Server,
    Service,
    need,
    need_web,
    running,
)


need_web()
need(importlib.util.find_spec("playwright"), "playwright")
need(CHROMIUM.exists(), f"{CHROMIUM} (Debian's package chromium)")

from playwright.sync_api import (  # noqa: E402
    Browser,
    BrowserContext,
    Locator,
    Page,
    expect,
    sync_playwright,
)


if TYPE_CHECKING:
    from collections.abc import Sequence

LONG = (
    "A warm, unhurried woman in her sixties with a soft Scottish accent, who sounds "
    "as if she were reading a bedtime story to a child by the fire."
)
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
PHONE = {"width": 390, "height": 844}
DESK = {"viewport": {"width": 1200, "height": 1010}, "reduced_motion": "reduce"}
_PICTURES = ROOT / "docs" / "images"

expect.set_options(timeout=15_000)


@pytest.fixture(scope="module")
def service() -> Generator[Service]:
    """Provide a service whose tasks end when a test says so."""
    with Service.running() as service:
        yield service


@pytest.fixture(scope="module")
def server(service: Service) -> Generator[Server]:
    """Provide the application."""
    with running(service) as server:
        yield server


@pytest.fixture(scope="module")
def browser() -> Generator[Browser]:
    """Provide a browser; each test has contexts of its own."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        yield browser
        browser.close()


@pytest.fixture
def context(browser: Browser) -> Generator[BrowserContext]:
    """Provide a visitor's browser, in which no script may fail."""
    with opened(browser) as context:
        yield context


@contextmanager
def opened(browser: Browser, **options: Any) -> Generator[BrowserContext]:
    """Open a context: cookies of its own, thus a visitor of its own."""
    context = browser.new_context(**options)
    context.set_default_timeout(15_000)
    failures: list[str] = []
    context.on("weberror", lambda failure: failures.append(str(failure.error)))
    yield context
    context.close()

    assert [] == failures


@pytest.fixture
def page(context: BrowserContext, server: Server) -> Page:
    """Provide the page, live."""
    return visit(context, server)


@pytest.fixture
def database(request: pytest.FixtureRequest) -> str:
    """Provide an empty database, made in a thread: here is Playwright's event loop."""
    with ThreadPoolExecutor(1) as elsewhere:
        dsn: str = elsewhere.submit(request.getfixturevalue, "dsn").result()
    return dsn


def visit(context: BrowserContext, server: Server | Front) -> Page:
    """Open the page and wait until it is live."""
    page = context.new_page()
    page.goto(server.url)
    expect(page.get_by_text("Live", exact=True)).to_be_visible()
    return page


def order(page: Page, description: str = LONG, text: str = "Hello there") -> Locator:
    """Order a voice through the form; return its card, in the making."""
    page.get_by_label("What is the voice like?").fill(description)
    page.get_by_label("What does it say?").fill(text)
    page.get_by_role("button", name="Make this voice").click()
    expect(page.locator("#sent")).to_contain_text("Sent")
    newest = page.locator(".voice").first
    expect(newest).to_contain_text("In the making")
    # Later voices come before it, so it is named for good.
    return page.locator(f".voice[data-id='{newest.get_attribute('data-id')}']")


def end(service: Service, voice: Locator, status: str, **outcome: Any) -> None:
    """Have the task of a card end."""
    task_id = voice.locator(".task").text_content()
    service.end({"task_id": task_id}, status, **outcome)


def duration(audio: Locator) -> Any:
    """Return the seconds that a player found in its file."""
    return audio.evaluate(
        """audio => audio.readyState > 0 ? audio.duration : new Promise(resolve =>
           audio.addEventListener("loadedmetadata", () => resolve(audio.duration)))"""
    )


def test_voice_from_form_to_sound_in_every_tab_of_a_browser(
    service: Service, server: Server, browser: Browser, page: Page
) -> None:
    """Pending, then ready and playable, without a reload, here and there."""
    tab = visit(page.context, server)
    loads: list[str] = []
    page.on("load", lambda _: loads.append("again"))
    voice = order(page)
    expect(voice).to_contain_text("Nothing to do but wait")
    expect(voice.locator(".status")).to_have_text("PENDING")
    expect(page).to_have_title("1 in the making · Voices from words")
    expect(tab.locator(".voice")).to_contain_text("In the making")

    end(service, voice, "SUCCESS")
    expect(voice.locator(".title")).to_have_text("Ready")
    expect(voice).to_contain_text("download the voice you like best")
    expect(voice.locator("audio")).to_have_count(2)
    expect(page.locator("#announcer")).to_contain_text("Ready: A warm")
    expect(tab.locator(".voice .title")).to_have_text("Ready")
    first = voice.locator("audio").first
    expect(first).to_have_attribute("controls", "")

    assert 0.9 < duration(first) < 1.1
    assert first.evaluate(
        """audio => new Promise(resolve => {
             audio.addEventListener("timeupdate", () =>
               audio.currentTime > 0 && resolve(true));
             audio.muted = true;
             audio.play();
           })"""
    )
    assert 0.9 < duration(tab.locator("audio").last) < 1.1
    assert [] == loads
    with opened(browser) as elsewhere:
        stranger = visit(elsewhere, server)
        expect(stranger.get_by_text("Nothing here yet")).to_be_visible()
        expect(stranger.locator(".voice")).to_have_count(0)


def test_download_has_a_name(service: Service, page: Page) -> None:
    """The link saves the file under a name that says what it is."""
    voice = order(page)
    end(service, voice, "SUCCESS")
    with page.expect_download() as download:
        voice.get_by_role("link", name="Download preview 2").click()

    assert "preview-2.wav" == download.value.suggested_filename


def test_failures_show_what_to_do(service: Service, page: Page) -> None:
    """Each unhappy end has a sentence, the service's words, and a way on."""
    failed, late, poor = order(page), order(page), order(page)
    end(service, failed, "ERROR", message="Too shy.", exception_reason="BAD_MOOD")
    end(service, late, "TIMEOUT")
    end(service, poor, "PAYMENT_REQUIRED")

    expect(failed.locator(".title")).to_have_text("Failed")
    expect(failed).to_contain_text("Review what you wrote")
    expect(failed).to_contain_text("Camb.ai says: Too shy. (BAD_MOOD)")
    expect(failed.locator(".action")).to_have_text("review inputs")
    expect(late.locator(".title")).to_have_text("Timed out")
    expect(late).to_contain_text("contact support")
    expect(poor.locator(".title")).to_have_text("Out of credits")
    expect(poor).to_contain_text("Add credits")
    expect(poor.locator("audio")).to_have_count(0)

    failed.get_by_role("button", name="Use these words again").click()
    expect(page.get_by_label("What is the voice like?")).to_have_value(LONG)
    expect(page.get_by_label("What is the voice like?")).to_be_focused()


def test_form_explains_what_it_will_not_send(service: Service, page: Page) -> None:
    """Missing, short and refused: each has words where one looks for them."""
    description = page.get_by_label("What is the voice like?")
    page.get_by_role("button", name="Make this voice").click()
    expect(page.get_by_role("alert")).to_contain_text("Something is missing")
    expect(page.locator("#description-error")).to_have_text("Write something here.")
    expect(description).to_be_focused()
    expect(description).to_have_attribute("aria-invalid", "true")

    description.fill("A calm voice")
    expect(page.locator("#description-error")).to_be_hidden()
    expect(page.locator("#description-hint")).to_contain_text(
        "At least 18 words and 100 characters, or the voice may not be made "
        "(so far 3 and 12)."
    )
    voice = order(page, "A calm voice")
    end(service, voice, "SUCCESS")
    expect(voice.locator(".title")).to_have_text("Ready")

    description.fill(LONG)
    expect(page.locator("#description-hint")).to_contain_text("enough to go by")


def test_refused_order_is_explained(browser: Browser) -> None:
    """What was written stays in the form, to be sent once more."""
    with (
        Service.running() as service,
        running(service) as server,
        opened(browser) as context,
    ):
        page = visit(context, server)
        service.fail("402", "/text-to-voice")
        page.get_by_role("button", name="Use an example").click()
        page.get_by_role("button", name="Make this voice").click()
        expect(page.get_by_role("alert")).to_contain_text("Add credits")
        expect(page.get_by_label("What does it say?")).not_to_be_empty()

        page.get_by_role("button", name="Make this voice").click()
        expect(page.get_by_role("alert")).to_be_hidden()
        expect(page.locator(".voice")).to_have_count(1)


EVIL = (
    "<img src=x onerror='document.title=`owned`'>"
    "</script><script>document.title='owned'</script>"
    "\"'><svg/onload=document.title='owned'>"
    "</template><b>bold</b> &lt;b&gt;"
)


def test_case_48_markup_is_shown_as_text(service: Service, page: Page) -> None:
    """Whether a visitor wrote it or the service said it."""
    voice = order(page, EVIL, EVIL)
    end(service, voice, "ERROR", message=EVIL[:200], exception_reason=EVIL[200:])
    expect(voice.locator(".title")).to_have_text("Failed")
    page.reload()
    expect(voice.locator(".title")).to_have_text("Failed")

    assert EVIL == voice.locator(".description").text_content()
    assert EVIL == voice.locator(".text").text_content()
    assert EVIL[:150] in str(voice.locator(".said").text_content())
    assert 0 == voice.locator("img, script, svg, b").count()
    assert "owned" not in page.title()


def test_page_survives_a_restart_of_the_server(
    service: Service, browser: Browser, tmp_path: Path
) -> None:
    """It says that it reconnects, comes back by itself, and nothing is lost."""
    with opened(browser) as context:
        with running(service, tmp_path / "web_app.db") as server:
            page = visit(context, server)
            voice = order(page)
            server.process.kill()
            server.process.communicate()
            expect(page.locator("#connection")).to_contain_text("Reconnecting")
            page.get_by_role("button", name="Use an example").click()
            page.get_by_role("button", name="Make this voice").click()
            expect(page.get_by_role("alert")).to_contain_text("did not answer")

        end(service, voice, "SUCCESS")
        with running(service, tmp_path / "web_app.db", port=server.port):
            expect(page.locator("#connection")).to_have_text("Live")
            expect(voice.locator("audio")).to_have_count(2)
            expect(page.locator(".voice")).to_have_count(1)


@pytest.mark.slow
def test_two_servers_are_one_page_and_one_may_die(
    service: Service, browser: Browser, database: str
) -> None:
    """Each shows what was ordered at the other, and goes on with what it watched."""
    with (
        opened(browser) as context,
        running(service, database, lease=2.0) as first,
        running(service, database, lease=2.0) as second,
        Front.running(first, second) as front,
    ):
        page, elsewhere = visit(context, front), visit(context, second)
        voice = order(page)
        there = elsewhere.locator(".voice")
        expect(there).to_contain_text("In the making")
        order(elsewhere)
        expect(page.locator(".voice")).to_have_count(2)

        first.process.kill()
        first.process.communicate()
        end(service, voice, "SUCCESS")
        expect(voice.locator("audio")).to_have_count(2)
        expect(page.locator("#connection")).to_have_text("Live")
        expect(elsewhere.locator("audio")).to_have_count(2)


def test_page_comes_back_after_silence_and_errors(
    service: Service, browser: Browser
) -> None:
    """A proxy's error page and a connection that died without a word."""
    with running(service, heartbeat=0.4) as server, opened(browser) as context:
        page = context.new_page()
        page.route("**/events*", lambda route: route.fulfill(status=502), times=1)
        page.goto(server.url)
        expect(page.locator("#connection")).to_contain_text("No connection yet")
        expect(page.locator("#connection")).to_have_text("Live")
        server.process.send_signal(signal.SIGSTOP)
        expect(page.locator("#connection")).to_contain_text("Reconnecting")
        server.process.send_signal(signal.SIGCONT)
        expect(page.locator("#connection")).to_have_text("Live")


def test_card_that_plays_is_left_alone_by_news(service: Service, page: Page) -> None:
    """News of one voice does not touch the player of another."""
    voice = order(page)
    end(service, voice, "SUCCESS")
    audio = voice.locator("audio").first
    audio.evaluate("audio => { audio.mark = 'the same'; }")
    other = order(page)
    end(service, other, "TIMEOUT")
    expect(other.locator(".title")).to_have_text("Timed out")

    assert "the same" == audio.evaluate("audio => audio.mark")


def test_what_is_likely_left_is_a_range(service: Service, page: Page) -> None:
    """A voice in the making has a bar and a range, and one that ended has neither."""
    first, second = order(page), order(page)
    likely = {
        first.get_attribute("data-id"): [20, 45],
        second.get_attribute("data-id"): [90, None],
    }
    body = (
        'event: hello\ndata: {"heartbeat": 10, "simulated": false}\n\n'
        f"event: likely\ndata: {json.dumps(likely)}\n\n"
    )
    stream = "**/events*"
    page.route(
        stream,
        lambda route: route.fulfill(body=body, content_type="text/event-stream"),
    )
    page.evaluate("window.dispatchEvent(new Event('online'))")
    expect(first.locator(".range")).to_have_text("Likely done in 0:20 to 0:45")
    expect(second.locator(".range")).to_have_text("Likely done in more than 1:30")
    box = first.locator(".bar").bounding_box()

    assert box is not None
    assert box["width"] > 50

    page.unroute(stream)
    end(service, first, "SUCCESS")
    expect(first.locator(".title")).to_have_text("Ready")
    expect(first.locator(".likely")).to_be_hidden()


def test_hidden_tabs_share_one_connection(
    service: Service, server: Server, page: Page
) -> None:
    """Of all that nobody looks at one goes on; the others catch up when shown."""
    tabs = [page, visit(page.context, server), visit(page.context, server)]
    voice = order(page)
    closed: list[Page] = []
    for tab in tabs:
        tab.on("requestfailed", lambda request: closed.append(request.frame.page))
        look(tab, hidden=True)
    while len(closed) < len(tabs) - 1:
        page.wait_for_timeout(20)
    end(service, voice, "SUCCESS")
    (kept,) = [tab for tab in tabs if tab not in closed]
    expect(kept.locator(".voice .title")).to_have_text("Ready")
    expect(kept).to_have_title("✓ 1 done · Voices from words")
    let_go = closed[0]

    assert 2 == len(closed)
    assert "In the making" == let_go.locator(".voice .title").text_content()

    look(let_go, hidden=False)
    expect(let_go.locator(".voice .title")).to_have_text("Ready")


def look(tab: Page, *, hidden: bool) -> None:
    """Have a page believe that it is hidden, or shown."""
    tab.evaluate(
        """hidden => {
             Object.defineProperty(document, "hidden",
               { value: hidden, configurable: true });
             document.dispatchEvent(new Event("visibilitychange"));
           }""",
        arg=hidden,
    )
    if hidden:
        # Whoever asked for the lock before this has been answered by now.
        tab.evaluate("navigator.locks.query()")


def test_phone_needs_no_sideways_scrolling(
    service: Service, server: Server, browser: Browser
) -> None:
    """Not even for a word that never ends."""
    with opened(browser, viewport=PHONE, color_scheme="dark") as context:
        page = visit(context, server)
        voice = order(page, "endless" * 100, "w" * 500)
        end(service, voice, "ERROR", message="e" * 400)
        ready = order(page)
        end(service, ready, "SUCCESS")
        expect(ready.locator("audio")).to_have_count(2)
        expect(voice.locator(".title")).to_have_text("Failed")
        voice.locator("summary").click()

        assert PHONE["width"] == page.evaluate("document.documentElement.scrollWidth")


@pytest.mark.skipif(
    not os.environ.get("CAMB_SCREENSHOTS"), reason="draws the pictures of the docs"
)
def test_pictures_for_the_docs(
    service: Service, server: Server, browser: Browser
) -> None:
    """One for a desk, one for a phone, of what really runs."""
    _PICTURES.mkdir(parents=True, exist_ok=True)
    with opened(browser, **DESK) as context:
        page = visit(context, server)
        show_some(service, page)
        page.screenshot(path=_PICTURES / "web_app.png")
        state = context.storage_state()
    with opened(
        browser,
        viewport=PHONE,
        device_scale_factor=2,
        color_scheme="dark",
        reduced_motion="reduce",
        storage_state=state,
    ) as context:
        page = visit(context, server)
        expect(page.locator("audio")).to_have_count(2)
        duration(page.locator("audio").last)
        page.evaluate("document.querySelector('#list-title').scrollIntoView()")
        page.screenshot(path=_PICTURES / "web_app_phone.png")


def show_some(service: Service, page: Page) -> None:
    """Bring about one voice of each sort."""
    orders: Sequence[tuple[str, str]] = (
        (
            "An old ship's captain, gravelly and slow, who enjoys every word of it.",
            "She was a fine ship, and she knew the way home.",
        ),
        (LONG, "Once upon a time there was a lighthouse that could sing."),
        (
            "A calm airport announcer who seems to know that you will be late.",
            "Passengers for Lisbon, please take your time.",
        ),
    )
    failed, ready, _running = (order(page, *words) for words in orders)
    end(
        service,
        failed,
        "ERROR",
        message="The text was refused by the content filter.",
        exception_reason="HARMFUL_CONTENT_DETECTED",
    )
    end(service, ready, "SUCCESS")
    expect(failed.locator(".title")).to_have_text("Failed")
    expect(ready.locator("audio")).to_have_count(2)
    duration(ready.locator("audio").last)
    page.get_by_label("What is the voice like?").fill("A brisk young radio host")
