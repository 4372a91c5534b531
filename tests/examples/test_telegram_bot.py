"""The Telegram bot, from a user's message to the audio, over real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import io
import itertools
import logging
import os
import re
import signal
import sys
import wave
from collections.abc import AsyncGenerator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import anyio
import attrs
import pytest
from aiogram import Bot
from aiogram.client.session.aiohttp import AiohttpSession
from aiogram.client.telegram import PRODUCTION, TelegramAPIServer
from aiogram.exceptions import TelegramNetworkError, TelegramUnauthorizedError
from aiogram.methods import Response, SendMessage, TelegramMethod
from aiogram.methods.base import TelegramType
from yarl import URL

from camb_async import (
    CambSession,
    FixedInterval,
    SqliteStore,
    TaskFailedError,
    TaskRef,
    TaskState,
    TaskStatus,
    Transition,
)
from camb_async.simulator import Scenario, Simulator
from examples.telegram_bot import texts
from examples.telegram_bot.__main__ import run as run_bot
from examples.telegram_bot.bot import VoiceDispatcher, on_text, serve
from examples.telegram_bot.memory import remembered
from examples.telegram_bot.patience import Patience
from examples.telegram_bot.settings import (
    DiscreetFormatter,
    Settings,
    SettingsError,
)
from examples.telegram_bot.voices import Place, Preview, VoiceOptions, Voices
from tests import virtual_time
from tests.helpers import QUICK, run, served

from .fake_telegram import FakeTelegram, Sent


ROOT = Path(__file__).parents[2]
KIM = 11
DESCRIPTION = (
    "A calm woman in her forties with a light accent, unhurried and clear, sounding "
    "reassuring and a little amused, recorded close to the microphone."
)
EDIT_EVERY = 0.2
ENDLESS = Scenario(median=1e6)
QUICK_VOICES = VoiceOptions(refresh=0.1, pauses=(0.05, 0.1, 0.2, 0.4), grace=1.0)


class RememberingSession(CambSession):
    """A quick session that remembers which task was created for which text."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.created: dict[str, TaskRef] = {}

    async def create_text_to_voice(self, *, text: str, **fields: Any) -> TaskRef:
        """Create the task and remember it."""
        task = await super().create_text_to_voice(text=text, **fields)
        self.created[text] = task
        return task


@attrs.frozen
class World:
    """A running bot, and what it talks to."""

    telegram: FakeTelegram
    simulator: Simulator
    camb: RememberingSession
    dispatcher: VoiceDispatcher

    async def ask_for_voice(
        self, chat: int, text: str = "Good evening.", description: str = DESCRIPTION
    ) -> None:
        """Lead the dialogue of /voice in a chat, answer by answer."""
        asked = self.telegram.read(chat).count(texts.ASK_DESCRIPTION)
        self.telegram.say(chat, "/voice")
        await self.telegram.until(
            lambda: self.telegram.read(chat).count(texts.ASK_DESCRIPTION) > asked
        )
        asked = self.telegram.read(chat).count(texts.ASK_TEXT)
        self.telegram.say(chat, description)
        await self.telegram.until(
            lambda: self.telegram.read(chat).count(texts.ASK_TEXT) > asked
        )
        self.telegram.say(chat, text)

    def finish(self, text: str = "Good evening.") -> None:
        """Have the voice that says this succeed now."""
        self.simulator.add_task(self.camb.created[text].task_id, after=0.0)

    def status_message(self, chat: int) -> Sent:
        """Return the first message of the chat that tells of a voice."""
        return next(
            sent for sent in self.telegram.sent(chat) if texts.ASKING in sent.texts
        )


@contextlib.asynccontextmanager
async def running(
    scenario: Scenario | str | None = None,
    *,
    speed: float = 10.0,
    options: VoiceOptions = QUICK_VOICES,
) -> AsyncGenerator[World]:
    """Run the bot between a fake Telegram and the simulator; stop it kindly."""
    async with (
        FakeTelegram() as telegram,
        Simulator(scenario, speed=speed) as simulator,
        RememberingSession(
            simulator.api_key,
            base_url=simulator.base_url,
            retry=QUICK,
            schedule=FixedInterval(0.1),
        ) as camb,
        anyio.TemporaryDirectory() as directory,
        SqliteStore(f"{directory}/telegram_bot.db") as store,
    ):
        dispatcher = VoiceDispatcher()
        server = TelegramAPIServer.from_base(telegram.url)
        serving = asyncio.create_task(
            serve(
                Bot(telegram.token, session=AiohttpSession(api=server)),
                camb,
                store,
                dispatcher,
                options=options,
                patience=Patience(rate=500.0, pause=0.05),
                edit_every=EDIT_EVERY,
                handle_signals=False,
            )
        )
        await telegram.until_asked("getMe")
        try:
            yield World(telegram, simulator, camb, dispatcher)
        finally:
            await dispatcher.stop_polling()
        await serving
        await eventually(lambda: telegram.connections == 0)


async def eventually(condition: Callable[[], bool]) -> None:
    """Return when something outside of the fake Telegram has come true."""
    async with asyncio.timeout(50):
        while not condition():  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.01)


async def previews_of(camb: CambSession, task: TaskRef) -> list[bytes]:
    """Fetch a task's previews in another way than the bot does."""
    state = await camb.get_task_status(task)
    assert state.run_id is not None
    result = await camb.get_text_to_voice_result(state.run_id)
    async with aiohttp.ClientSession(requote_redirect_url=False) as client:
        return [await _get(client, link) for link in result.previews]


async def _get(client: aiohttp.ClientSession, link: str) -> bytes:
    async with client.get(URL(link, encoded=True), raise_for_status=True) as response:
        return await response.read()


def test_a_whole_dialogue_ends_in_audio() -> None:
    """/start, /voice, two answers: and two playable previews with their titles."""

    async def main() -> None:
        async with running() as world:
            telegram = world.telegram
            telegram.say(KIM, "/start")
            await telegram.until_read(KIM, "/voice - describe a voice")
            await world.ask_for_voice(KIM, "Good evening,\nand welcome.")
            await telegram.until_read(KIM, "✅ Your voice was ready")
            audio = telegram.audio(KIM)
            status = world.status_message(KIM)
            titles = [sent.title for sent in audio]

            assert ["Good evening, and welcome. (1 of 2)", titles[1]] == titles
            assert [status.message_id] * 2 == [sent.answers for sent in audio]
            assert all(sent.filename.endswith(".wav") for sent in audio)
            for sent in audio:
                with wave.open(io.BytesIO(sent.audio)) as file:
                    assert 16_000 == file.getnframes()
            (task,) = world.camb.created.values()

            assert task.task_id in status.text
            assert telegram.url not in telegram.read(KIM)

    run(main())


def test_one_message_is_edited_and_never_twice_within_the_pace() -> None:
    """Progress shows in one message, at its pace, and never says the same again."""

    async def main() -> None:
        async with running(ENDLESS) as world:
            telegram = world.telegram
            await world.ask_for_voice(KIM)
            await telegram.until_read(KIM, "⏳ PENDING · 1 s")
            world.finish()
            await telegram.until_read(KIM, "✅")
            status = world.status_message(KIM)
            gaps = [b - a for a, b in itertools.pairwise(status.edited_at)]

            assert 1 == sum("Task " in sent.text for sent in telegram.sent(KIM))
            assert len(status.texts) == len(set(status.texts))
            assert 0 == telegram.count("editMessageText", 400)
            assert min(gaps) >= EDIT_EVERY * 0.9, gaps
            assert 3 == telegram.count("sendMessage")

    run(main())


@pytest.mark.filterwarnings("ignore:The voice description has")
def test_a_short_description_is_warned_of_and_goes_on() -> None:
    """A description below the documented minimum earns a hint and still a voice."""

    async def main() -> None:
        async with running() as world:
            await world.ask_for_voice(KIM, description="A deep voice.")
            await world.telegram.until_read(KIM, "✅")
            shown = world.telegram.read(KIM)

            assert "That has 3 words and 13 characters." in shown
            assert "at least 18 and 100" in shown
            assert 2 == len(world.telegram.audio(KIM))

    run(main())


FAILURES = {
    TaskStatus.ERROR: "Review the description and the text",
    TaskStatus.TIMEOUT: "contact Camb.ai support",
    TaskStatus.PAYMENT_REQUIRED: "The account needs credits",
}


def test_failed_tasks_show_the_recommended_action() -> None:
    """The message ends with what happened, what was said, and what to do."""
    chats = range(100, 108)

    async def main() -> None:
        async with running(Scenario(outcomes=dict.fromkeys(FAILURES, 1))) as world:
            for chat in chats:
                await world.ask_for_voice(chat)
            await world.telegram.until(
                lambda: all("says: " in world.telegram.read(chat) for chat in chats)
            )
            shown = [world.status_message(chat).text for chat in chats]
            for status, advice in FAILURES.items():
                start = f"{status.guidance.icon} {status}"
                mine = [text for text in shown if text.startswith(start)]

                assert mine
                assert all(advice in text for text in mine)

    run(main())


def test_thirty_chats_get_each_its_own_audio() -> None:
    """Thirty dialogues at once, through one watcher, do not get mixed up."""
    chats = range(100, 130)

    async def main() -> None:
        async with running(Scenario(median=5.0, sigma=0.6)) as world:
            telegram, created = world.telegram, world.camb.created
            # All at once: the bot must handle a chat's messages in their order.
            for chat in chats:
                telegram.say(chat, "/voice")
                telegram.say(chat, DESCRIPTION)
                telegram.say(chat, f"This is for chat {chat}.")
            await telegram.until(
                lambda: all("✅" in telegram.read(chat) for chat in chats)
            )
            expected = {
                chat: await previews_of(
                    world.camb, created[f"This is for chat {chat}."]
                )
                for chat in chats
            }
            got = {
                chat: [sent.audio for sent in telegram.audio(chat)] for chat in chats
            }

            assert 30 == len(created)
            assert 60 == len({audio for pair in expected.values() for audio in pair})
            assert expected == got

    run(main())


def test_flood_control_is_honoured() -> None:
    """After a 429 a chat is left in peace for as long as Telegram asked for."""

    async def main() -> None:
        async with running(ENDLESS) as world:
            telegram = world.telegram
            await world.ask_for_voice(KIM)
            await telegram.until_read(KIM, "PENDING")
            telegram.flood(KIM, 1)
            await telegram.until_asked("editMessageText", 429)
            await world.ask_for_voice(KIM + 1, "Meanwhile.")
            await telegram.until_read(KIM + 1, "PENDING")
            world.finish()
            await telegram.until_read(KIM, "✅")

            assert 1 == telegram.count("editMessageText", 429)
            assert 2 == len(telegram.audio(KIM))

    run(main())


def test_flood_control_delays_answers_and_audio_only() -> None:
    """A 429 for an answer or for the audio is waited out, and nothing is lost."""

    async def main() -> None:
        async with running() as world:
            telegram = world.telegram
            telegram.flood(KIM, 1)
            await world.ask_for_voice(KIM)
            await telegram.until_read(KIM, texts.ASKING)
            telegram.flood(KIM, 1)
            await telegram.until(lambda: len(telegram.audio(KIM)) == 2)
            await telegram.until_read(KIM, "✅")

            assert 1 == telegram.count("sendMessage", 429)

    run(main())


def test_a_broken_network_to_telegram_is_ridden_out() -> None:
    """Whatever comes instead of answers for a while, the audio arrives after it."""

    async def main() -> None:
        async with running(ENDLESS) as world:
            telegram = world.telegram
            await world.ask_for_voice(KIM)
            await telegram.until_read(KIM, "PENDING")
            world.finish()
            for name in ("drop", "502", "502_html", "garbage"):
                with telegram.trouble(name):
                    await telegram.until(lambda: telegram.count("sendAudio", name) > 0)  # noqa: B023
            await telegram.until_read(KIM, "✅")
            telegram.say(KIM, "/help")
            await telegram.until_read(KIM, "/cancel - leave")

            assert 2 == len(telegram.audio(KIM))

    run(main())


def test_a_lost_answer_to_an_edit_does_no_harm() -> None:
    """An edit that was made, and whose answer was lost, is not fatal when repeated."""

    async def main() -> None:
        async with running(Scenario(outcomes={"ERROR": 1})) as world:
            telegram = world.telegram
            await world.ask_for_voice(KIM)
            await telegram.until_read(KIM, texts.ASKING)
            with telegram.trouble("drop_after"):
                await telegram.until_read(KIM, "❌")
            telegram.say(KIM, "/cancel")
            await telegram.until_read(KIM, texts.NOTHING_TO_CANCEL)

            assert telegram.read(KIM).count("❌") == 1

    run(main())


def test_a_restarted_telegram_server_is_found_again() -> None:
    """Refused connections are waited out while there is audio to send."""

    async def main() -> None:
        async with running() as world:
            telegram = world.telegram
            await world.ask_for_voice(KIM)
            await telegram.until_read(KIM, texts.ASKING)
            await telegram.__aexit__(None, None, None)
            await eventually(
                lambda: any("/previews/" in r.path for r in world.simulator.requests)
            )
            await telegram.__aenter__()
            await telegram.until_read(KIM, "✅")

            assert 2 == len(telegram.audio(KIM))

    run(main())


def test_a_bot_that_starts_before_the_network_waits_for_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Refused connections are waited out at the start, too."""

    async def main() -> None:
        async with FakeTelegram() as telegram:
            settings = Settings(
                token=telegram.token, server=TelegramAPIServer.from_base(telegram.url)
            )
        running = asyncio.create_task(run_bot(settings))
        with caplog.at_level(logging.INFO):
            await eventually(lambda: "GetMe: again in" in caplog.text)
        async with telegram:
            telegram.say(KIM, "/help")
            await telegram.until_read(KIM, texts.HELP)
            os.kill(os.getpid(), signal.SIGTERM)
            await running

    run(main())


def test_a_broken_network_to_camb_is_ridden_out_and_told() -> None:
    """While no status comes the message says so; then the voice comes all the same."""

    async def main() -> None:
        async with running(ENDLESS) as world:
            telegram, simulator = world.telegram, world.simulator
            await world.ask_for_voice(KIM)
            await telegram.until_read(KIM, "PENDING")
            simulator.fail("reset", times=None)
            await telegram.until_read(KIM, "does not answer at the moment")
            simulator.heal()
            world.finish()
            await telegram.until_read(KIM, "✅")

            assert 2 == len(telegram.audio(KIM))

    run(main())


def test_downloads_are_tried_again_later() -> None:
    """Previews that fail beyond one call's own tries are fetched again."""

    async def main() -> None:
        async with running() as world:
            world.simulator.fail("503", times=12, path="/previews/")
            world.simulator.fail("502_html", times=7, path="/text-to-voice-result/")
            await world.ask_for_voice(KIM)
            await world.telegram.until_read(KIM, "✅")

            assert 2 == len(world.telegram.audio(KIM))

    run(main())


def test_previews_that_never_come_are_told_of() -> None:
    """When the downloads are given up, the chat learns where the voice is."""

    async def main() -> None:
        async with running() as world:
            world.simulator.fail("403", times=None, path="/previews/")
            await world.ask_for_voice(KIM)
            await world.telegram.until_read(KIM, "did not come through")

            assert re.search(r"studio as run \d+\.", world.telegram.read(KIM))

    run(main())


CREATE_FAULTS = {
    "402": "The account needs credits",
    "422": "Review the description and the text",
    "post_lost": "The voice may be in the making all the same",
    "500": "The voice may be in the making all the same",
    "400": "Try again later",
    "401": "its Camb.ai key was refused",
}


def test_a_refused_create_call_is_explained_and_sent_once() -> None:
    """What the API says to a create call reaches the user, with what to do."""

    async def main() -> None:
        async with running() as world:
            for chat, (fault, advice) in enumerate(CREATE_FAULTS.items(), start=100):
                world.simulator.fail(fault, path="/text-to-voice")
                await world.ask_for_voice(chat)
                await world.telegram.until_read(chat, advice)

                assert world.status_message(chat).text.startswith("❌")
            assert [*CREATE_FAULTS] == [r.answer for r in world.simulator.requests]

    run(main())


def test_a_rate_limited_create_call_is_sent_again() -> None:
    """A 429 made no task, so the call is repeated until it gets through."""

    async def main() -> None:
        async with running() as world:
            world.simulator.fail("429_no_header", times=2, path="/text-to-voice")
            await world.ask_for_voice(KIM)
            await world.telegram.until_read(KIM, "✅")
            creates = [r for r in world.simulator.requests if r.method == "POST"]

            assert [429, 429, 200] == [_status(r.answer) for r in creates]

    run(main())


def _status(answer: int | str) -> int:
    return answer if isinstance(answer, int) else int(answer[:3])


def test_cancel_leaves_the_dialogue() -> None:
    """In the dialogue /cancel forgets what was said, and nothing is created."""

    async def main() -> None:
        async with running() as world:
            telegram = world.telegram
            telegram.say(KIM, "/cancel")
            await telegram.until_read(KIM, texts.NOTHING_TO_CANCEL)
            telegram.say(KIM, "/voice")
            await telegram.until_read(KIM, texts.ASK_DESCRIPTION)
            telegram.say(KIM, None)
            await telegram.until_read(KIM, texts.ASK_WORDS)
            telegram.say(KIM, "/nonsense")
            await telegram.until_read(KIM, texts.NO_SUCH_COMMAND)
            telegram.say(KIM, "/cancel")
            await telegram.until_read(KIM, texts.DIALOGUE_LEFT)
            telegram.say(KIM, DESCRIPTION)
            await telegram.until_read(KIM, texts.HELP)

            assert not world.simulator.requests

    run(main())


def test_cancel_stops_waiting_for_one_voice_or_all() -> None:
    """/cancel as an answer stops one voice, alone all of the chat's, no others."""

    async def main() -> None:
        async with running(ENDLESS) as world:
            telegram = world.telegram
            for chat in (KIM, KIM, KIM, KIM + 1):
                await world.ask_for_voice(chat)
            await telegram.until(lambda: telegram.read(KIM).count("PENDING") == 3)
            first = world.status_message(KIM)
            telegram.say(KIM, "/cancel", answers=first.message_id)
            await telegram.until_read(KIM, texts.cancelled(1))
            await telegram.until(lambda: first.text.startswith("🚫"))

            assert 2 == telegram.read(KIM).count("PENDING")
            telegram.say(KIM, "/cancel")
            await telegram.until_read(KIM, texts.cancelled(2))
            await telegram.until(lambda: telegram.read(KIM).count("🚫") == 3)
            await telegram.until_read(KIM + 1, "PENDING")
            polled = len(world.simulator.requests)
            await eventually(lambda: len(world.simulator.requests) > polled)
            (left,) = {r.path for r in list(world.simulator.requests)[polled:]}
            task_id = left.rpartition("/")[2]

            assert task_id in telegram.read(KIM + 1)

    run(main())


def test_a_chat_has_so_many_voices_at_a_time() -> None:
    """One voice more than allowed is refused, until another one has ended."""

    async def main() -> None:
        options = attrs.evolve(QUICK_VOICES, per_chat=1)
        async with running(ENDLESS, options=options) as world:
            telegram = world.telegram
            await world.ask_for_voice(KIM)
            await telegram.until_read(KIM, "PENDING")
            telegram.say(KIM, "/voice")
            await telegram.until_read(KIM, texts.too_many(1))
            telegram.say(KIM, "/cancel")
            await telegram.until_read(KIM, "🚫")
            await world.ask_for_voice(KIM, "One more.")
            await telegram.until_read(KIM, "PENDING")

            assert ["Good evening.", "One more."] == list(world.camb.created)

    run(main())


def test_a_deleted_message_touches_nothing_else() -> None:
    """A message that was deleted is edited in vain; the audio still comes."""

    async def main() -> None:
        async with running(ENDLESS) as world:
            telegram = world.telegram
            await world.ask_for_voice(KIM)
            await telegram.until_read(KIM, "PENDING")
            del telegram.chats[KIM][world.status_message(KIM).message_id]
            await telegram.until_asked("editMessageText", 400)
            world.finish()
            await telegram.until(lambda: len(telegram.audio(KIM)) == 2)
            await world.ask_for_voice(KIM + 1)
            await telegram.until_read(KIM + 1, "PENDING")

    run(main())


def test_stopping_says_goodbye_and_leaves_nothing_behind() -> None:
    """At the stop, waiting chats are told; no task, no connection remains."""

    async def main() -> None:
        async with running(ENDLESS) as world:
            await world.ask_for_voice(KIM)
            await world.telegram.until_read(KIM, "PENDING")
        shown = world.status_message(KIM).text

        assert shown.startswith("⏸ I am switched off")
        assert world.camb.created["Good evening."].task_id in shown

    run(main())


def test_stopping_amid_a_broken_network_is_quick() -> None:
    """A bot whose answers do not get through can be stopped all the same."""

    async def main() -> None:
        async with running(ENDLESS) as world:
            telegram = world.telegram
            await world.ask_for_voice(KIM)
            await telegram.until_read(KIM, "PENDING")
            telegram.say(KIM, "/help")
            with telegram.trouble("drop"):
                await telegram.until(lambda: telegram.count("sendMessage", "drop") > 1)
                async with asyncio.timeout(10):
                    await world.dispatcher.stop_polling()
            telegram.say(KIM, "nobody reads this")
            # The block's end would stop the polling once more.
            world.dispatcher.stop_polling = _nothing  # type: ignore[method-assign]

    run(main())


async def _nothing() -> None:
    pass


@attrs.define
class FakeRequests:
    """Stands for aiogram's way of making a request; remembers when it was asked."""

    error: Exception | None = None
    made_at: list[float] = attrs.field(factory=list[float])

    async def __call__(
        self, bot: Bot, method: TelegramMethod[TelegramType]
    ) -> Response[TelegramType]:
        """Answer, or fail."""
        self.made_at.append(asyncio.get_running_loop().time())
        if self.error is not None:
            raise self.error
        return Response[TelegramType](ok=True)


HELLO = SendMessage(chat_id=KIM, text="Hello.")


def test_messages_leave_at_a_bearable_rate() -> None:
    """Over all chats, no more messages a second are sent than were allowed."""

    async def main() -> None:
        requests, bot, patience = FakeRequests(), Bot("1:a"), Patience(rate=50.0)
        await asyncio.gather(*(patience(requests, bot, HELLO) for _ in range(6)))
        took = requests.made_at[-1] - requests.made_at[0]

        assert 6 == len(requests.made_at)
        assert took >= 5 / 50 * 0.9

    virtual_time.run(main())


def test_a_message_is_given_up_in_the_end() -> None:
    """A network that stays away ends in the error, after the seconds agreed on."""

    async def main() -> None:
        requests = FakeRequests(TelegramNetworkError(HELLO, "no network"))
        patience = Patience(insist=0.5, pause=0.1)
        with pytest.raises(TelegramNetworkError):
            await patience(requests, Bot("1:a"), HELLO)

        assert 2 <= len(requests.made_at) <= 3  # after 0.1 and 0.2 s, not 0.4

    virtual_time.run(main())


def test_the_docs_show_a_handler_as_it_is() -> None:
    """The page on bots quotes the source."""
    page = (ROOT / "docs" / "how-to" / "bots.md").read_text()

    assert inspect.getsource(on_text) in page


def test_a_refused_token_ends_the_bot(tmp_path: Path) -> None:
    """With a token that Telegram does not know, serving raises at once."""

    async def main() -> None:
        async with FakeTelegram() as telegram, Simulator() as simulator:
            server = TelegramAPIServer.from_base(telegram.url)
            bot = Bot("1:another-token", session=AiohttpSession(api=server))
            async with (
                CambSession(simulator.api_key, base_url=simulator.base_url) as camb,
                SqliteStore(tmp_path / "telegram_bot.db") as store,
            ):
                with pytest.raises(TelegramUnauthorizedError):
                    await serve(
                        bot, camb, store, VoiceDispatcher(), handle_signals=False
                    )

    run(main())


def test_without_a_key_it_simulates_until_it_is_terminated(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Without a Camb.ai key it says so and runs on a simulator; SIGTERM ends it."""

    async def main() -> None:
        async with FakeTelegram() as telegram:
            environment = {
                "TELEGRAM_BOT_TOKEN": telegram.token,
                "TELEGRAM_API_SERVER": telegram.url,
            }
            running = asyncio.create_task(
                run_bot(Settings.from_environment(environment))
            )
            telegram.say(KIM, "/start")
            await telegram.until_read(KIM, texts.SIMULATED)
            os.kill(os.getpid(), signal.SIGTERM)
            await running

    run(main())

    assert "CAMB_API_KEY is not set" in caplog.text
    assert "fake-token" not in caplog.text


@contextlib.asynccontextmanager
async def started(
    telegram: FakeTelegram,
    simulator: Simulator,
    store: str | Path,
    **environment: str,
) -> AsyncGenerator[asyncio.subprocess.Process]:
    """Start the bot as its users do."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-W", "always::ResourceWarning", "-m", "examples.telegram_bot"),
        cwd=ROOT,
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT),
            "TELEGRAM_BOT_TOKEN": telegram.token,
            "TELEGRAM_API_SERVER": telegram.url,
            "CAMB_API_KEY": simulator.api_key,
            "CAMB_BASE_URL": simulator.base_url,
            "STORE": str(store),
        }
        | environment,
        stderr=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


def test_the_command_logs_neither_the_token_nor_the_key(tmp_path: Path) -> None:
    """Not even when errors show the URL, which has the token in it."""

    async def main() -> None:
        async with (
            FakeTelegram() as telegram,
            Simulator(api_key="secret-of-camb", speed=10) as simulator,
            started(telegram, simulator, tmp_path / "bot.db") as process,
        ):
            for text in ("/voice", DESCRIPTION, "Hello."):
                telegram.say(KIM, text)
            await telegram.until_read(KIM, texts.ASKING)
            with telegram.trouble("garbage"):
                await telegram.until(
                    lambda: telegram.count("getUpdates", "garbage") > 0
                )
            await telegram.until_read(KIM, "✅")
            process.send_signal(signal.SIGINT)
            out, log = (text.decode() for text in await process.communicate())

            assert (0, "") == (process.returncode, out)
            assert "Warning:" not in log
            assert "/bot4242:(secret)/getUpdates" in log
            assert "fake-token" not in log
            assert "secret-of-camb" not in log

    run(main())


@pytest.fixture(params=["file", "dsn"])
def where(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Provide a place for a store: a file, or a database."""
    if request.param == "file":
        return str(tmp_path / "bot.db")
    return str(request.getfixturevalue("dsn"))


@pytest.mark.slow
def test_a_killed_bot_answers_the_chats_that_asked_once_it_is_back(where: str) -> None:
    """Each with its own audio, below the message that the first bot wrote."""
    texts_of = {chat: f"This is for chat {chat}." for chat in (KIM, KIM + 1)}

    async def main() -> None:
        async with (
            FakeTelegram() as telegram,
            Simulator(ENDLESS) as simulator,
            started(telegram, simulator, where) as process,
        ):
            for chat, text in texts_of.items():
                for each in ("/voice", DESCRIPTION, text):
                    telegram.say(chat, each)
            await eventually(lambda: len(_asked_for(simulator)) == 2)
            process.kill()
            await process.communicate()
            for task_id in _asked_for(simulator):
                simulator.add_task(task_id, after=0.0)
            async with started(telegram, simulator, where) as again:
                for chat in texts_of:
                    await telegram.until_read(chat, "✅")
                again.terminate()
                await again.communicate()
            for chat, text in texts_of.items():
                titles = [f"{text} ({n} of 2)" for n in (1, 2)]
                [status] = [m for m in telegram.sent(chat) if texts.ASKING in m.texts]

                assert titles == [sent.title for sent in telegram.audio(chat)]
                assert {status.message_id} == {m.answers for m in telegram.audio(chat)}
            creates = [r for r in simulator.requests if r.method == "POST"]
            assert 2 == len(creates)

    run(main())


def _asked_for(simulator: Simulator) -> set[str]:
    polls = (r.path.rpartition("/") for r in simulator.requests if r.method == "GET")
    return {task_id for path, _, task_id in polls if path.endswith("/text-to-voice")}


def test_what_was_ordered_before_a_restart_is_known_at_once(tmp_path: Path) -> None:
    """It counts for its chat, its message moves, and it can be cancelled for good."""
    place = Place(chat_id=KIM, message_id=1, title="Hello")
    options = attrs.evolve(QUICK_VOICES, per_chat=1)
    created = datetime.now(UTC) - timedelta(minutes=12)

    async def main() -> None:
        messenger = FailingMessenger()
        async with (
            served(schedule=FixedInterval(0.05)) as (simulator, camb),
            SqliteStore(tmp_path / "bot.db") as store,
        ):
            task = TaskRef(simulator.add_task(after=1e6), created_at=created)
            await store.add(task, context=place)
            async with Voices(camb, store, messenger, options) as voices:
                await eventually(lambda: not voices.has_room(KIM))

                assert voices.has_room(KIM + 1)
                assert place == voices.of_chat(KIM)[task].place
                await eventually(lambda: "PENDING · 12 min" in str(messenger.said))
                assert 1 == await voices.discard(KIM)
                assert not voices.of_chat(KIM)
                assert 0 == await store.watching()

    run(main())


def test_a_transition_that_comes_again_sends_nothing_again(tmp_path: Path) -> None:
    """What was sent of it is known by its key, and only the rest is sent."""
    place = Place(chat_id=KIM, message_id=1, title="Hello")

    async def main() -> None:
        messenger = FailingMessenger()
        async with (
            Simulator() as simulator,
            CambSession(simulator.api_key, base_url=simulator.base_url) as camb,
            SqliteStore(tmp_path / "bot.db") as store,
            Voices(camb, store, messenger, attrs.evolve(QUICK_VOICES, again=0.05)),
        ):
            task = simulator.add_task(after=0.0)
            await store.add(task, context=place)
            await eventually(lambda: "last" in messenger.said)

        assert ["Hello (1 of 2)", "Hello (2 of 2)"] == messenger.titles

    run(main())


class FailingMessenger:
    """A chat program that breaks down once, after one of two previews."""

    def __init__(self) -> None:
        self.titles: list[str] = []
        self.said: list[str] = []
        self._fails = True

    def show(self, place: Place, text: str, *, last: bool = False) -> None:
        """Note whether it was the last word."""
        self.said.append("last" if last else text)

    async def send_audio(self, place: Place, preview: Preview, title: str) -> None:
        """Take the first preview, fail at the second, and take it the next time."""
        if self.titles and self._fails:
            self._fails = False
            message = "out of order"
            raise RuntimeError(message)
        self.titles.append(title)


def test_what_one_run_learnt_the_next_one_knows(tmp_path: Path) -> None:
    """A signal ends the bot, and the duration of its voice is in the file."""
    file = tmp_path / "durations.json"

    async def main() -> None:
        async with (
            FakeTelegram() as telegram,
            Simulator(speed=10) as simulator,
            started(
                telegram, simulator, tmp_path / "bot.db", BOT_DURATIONS=str(file)
            ) as process,
        ):
            for text in ("/voice", DESCRIPTION, "Hello."):
                telegram.say(KIM, text)
            await telegram.until_read(KIM, "✅")
            process.send_signal(signal.SIGTERM)
            await process.communicate()

    run(main())

    with remembered(file) as schedule:
        (known,) = schedule.to_dict()["kinds"].values()

    assert 1 == len(known["tasks"])
    assert [file] == list(tmp_path.glob("durations*"))


@pytest.mark.parametrize("written", ["{", "[]", "[" * 100_000])
def test_a_memory_that_cannot_be_used(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, written: str
) -> None:
    """The bot runs without it, and says so in its log."""
    file = tmp_path / "durations.json"
    file.write_text(written)
    with remembered(file) as schedule:
        assert {} == schedule.to_dict()["kinds"]

    assert "cannot be used" in caplog.text
    assert '{"version"' in file.read_text()[:10]


def test_a_memory_that_cannot_be_kept(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A bot that stops does not fail for that."""
    with remembered(tmp_path / "missing" / "durations.json"):
        pass

    assert "cannot be written" in caplog.text


BAD_SETTINGS: dict[str, tuple[dict[str, str], str]] = {
    "no token": ({}, "@BotFather"),
    "no token at all": ({"TELEGRAM_BOT_TOKEN": "hunter2"}, "is not a token"),
    "no server": (
        {"TELEGRAM_BOT_TOKEN": "1:a", "TELEGRAM_API_SERVER": "hunter2"},
        "must be the http",
    ),
}


@pytest.mark.parametrize(
    ("environment", "hint"), BAD_SETTINGS.values(), ids=BAD_SETTINGS
)
def test_bad_settings_are_refused_without_showing_them(
    environment: dict[str, str], hint: str
) -> None:
    """What is wrong is said, and never what the value was."""
    with pytest.raises(SettingsError, match=hint) as caught:
        Settings.from_environment(environment)

    assert "hunter2" not in str(caught.value)


def test_settings_show_no_secret() -> None:
    """Neither their repr nor a formatted traceback has the token or the key."""
    settings = Settings.from_environment(
        {"TELEGRAM_BOT_TOKEN": "1:hunter2", "CAMB_API_KEY": "hunter3"}
    )
    formatter = DiscreetFormatter("%(message)s", settings.secrets)
    error = ValueError(settings.token, settings.camb_key)
    record = logging.LogRecord(
        *("name", logging.ERROR, "file.py", 1, "for %s", (settings.token,)),
        (ValueError, error, None),
    )
    text = formatter.format(record)

    assert PRODUCTION is settings.server
    assert "hunter" not in repr(settings)
    assert "hunter" not in text
    assert text.startswith("for 1:(secret)")


def _transition(
    status: TaskStatus, error: Exception | None, **state: Any
) -> Transition:
    return Transition(
        task=TaskRef("t-1"),
        previous=None,
        state=TaskState(status, **state),
        error=error,
        at=datetime.now(UTC),
        elapsed=75.0,
        uncertainty=None,
        polls=1,
    )


def test_the_text_of_a_transition() -> None:
    """A status becomes an icon, the word, the elapsed time and the task's id."""
    pending = texts.text_for(_transition(TaskStatus.PENDING, None))
    unknown = texts.text_for(
        _transition(TaskStatus.UNKNOWN, None, raw_status="REVIEWING")
    )

    assert "⏳ PENDING · 1 min 10 s\nTask t-1" == pending
    assert unknown.endswith("REVIEWING · 1 min 10 s\nTask t-1")


def test_texts_stay_short_whatever_the_service_says() -> None:
    """A long message is quoted in part, so that Telegram takes the whole."""
    state = TaskState(TaskStatus.ERROR, message="x" * 10_000)
    error = TaskFailedError("no", task=TaskRef("t-1"), state=state)
    text = texts.text_for(_transition(TaskStatus.ERROR, error))

    assert len(text) < 1000


@pytest.mark.parametrize(
    ("elapsed", "words"),
    [(0.9, "0 s"), (59.9, "59 s"), (60.0, "1 min 00 s"), (125.0, "2 min 00 s"),
     (599.0, "9 min 50 s"), (3600.0, "60 min")],
)  # fmt: skip
def test_elapsed_times_in_words(elapsed: float, words: str) -> None:
    """The longer it takes, the less often the words change."""
    assert words == texts.seconds(elapsed)
