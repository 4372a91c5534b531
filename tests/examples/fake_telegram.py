"""A small Telegram Bot API server on loopback that remembers what was sent."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections import defaultdict
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self

import attrs
from aiohttp import web


BOT_ID = 4242
# Seconds; as long as a test may take, so that a busy machine is no failure.
_PATIENCE = 50.0

Fields = Mapping[str, Any]


@attrs.define(eq=False)
class Sent:
    """One message of the bot's, as the chat shows it."""

    message_id: int
    text: str = ""
    audio: bytes = attrs.field(default=b"", repr=False)
    filename: str = ""
    title: str = ""
    answers: int | None = None
    edited_at: list[float] = attrs.field(factory=list[float])
    texts: list[str] = attrs.field(factory=list[str])


@attrs.frozen
class Asked:
    """One request: the method, the chat, when it came and what it got."""

    method: str
    chat_id: int | None
    at: float
    answer: int | str


class RefusedError(Exception):
    """The request is answered with an error, as the Bot API words it."""

    def __init__(self, code: int, description: str, **parameters: int) -> None:
        super().__init__(description)
        self.code = code
        self.body: dict[str, Any] = {
            "ok": False,
            "error_code": code,
            "description": description,
        }
        if parameters:
            self.body["parameters"] = parameters


class FakeTelegram:
    """The server. Chats are private ones; a chat's id is its user's, too.

    ``trouble`` makes every answer a broken one; ``flood`` makes a chat refuse
    messages for whole seconds, as flood control does.
    """

    def __init__(self, token: str = f"{BOT_ID}:fake-token-for-tests") -> None:
        self.token = token
        self.url = ""
        self.asked: list[Asked] = []
        self.chats: defaultdict[int, dict[int, Sent]] = defaultdict(dict)
        self._updates: dict[int, Fields] = {}
        self._update_ids = itertools.count(1000)
        self._message_ids = itertools.count(1)
        self._trouble: str | None = None
        self._flooded: dict[int, float] = {}
        self._floods: dict[int, int] = {}
        self._changed = asyncio.Event()
        self._runner: web.AppRunner
        self._port = 0

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=64 * 1024 * 1024)
        app.router.add_post("/bot{token}/{method}", self._handle)
        self._runner = web.AppRunner(
            app, access_log=None, shutdown_timeout=0.05, handler_cancellation=True
        )
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self._port, reuse_address=True)
        await site.start()
        self._port = self._runner.addresses[0][1]
        self.url = f"http://127.0.0.1:{self._port}"
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._runner.cleanup()

    @property
    def connections(self) -> int:
        """How many connections clients hold open."""
        server = self._runner.server
        assert server is not None
        return len(server.connections)

    def say(self, chat_id: int, text: str | None, answers: int | None = None) -> None:
        """Have the chat's user write something; None stands for a picture."""
        message = self._message(chat_id)
        message["from"] = {"id": chat_id, "is_bot": False, "first_name": "Kim"}
        if text is not None:
            message["text"] = text
        if answers is not None:
            message["reply_to_message"] = self._message(chat_id, answers)
        self._updates[next(self._update_ids)] = message
        self._notify()

    def sent(self, chat_id: int) -> list[Sent]:
        """Return what the bot sent to the chat, as it reads now."""
        return list(self.chats[chat_id].values())

    def audio(self, chat_id: int) -> list[Sent]:
        """Return the audio that the chat got."""
        return [sent for sent in self.sent(chat_id) if sent.audio]

    def read(self, chat_id: int) -> str:
        """Return all that the chat shows now, a message a line."""
        return "\n".join(sent.text for sent in self.sent(chat_id))

    def count(self, method: str, answer: int | str | None = None) -> int:
        """Return how many requests there were, with this answer if one is given."""
        return sum(
            asked.method == method and answer in {None, asked.answer}
            for asked in self.asked
        )

    async def until(self, condition: Callable[[], bool]) -> None:
        """Return when the condition holds; it is looked at after each request."""
        async with asyncio.timeout(_PATIENCE):
            await self._wait(condition)

    async def until_read(self, chat_id: int, words: str) -> None:
        """Return when the chat shows these words."""
        await self.until(lambda: words in self.read(chat_id))

    async def until_asked(self, method: str, answer: int | str | None = None) -> None:
        """Return when there was such a request, with this answer if one is given."""
        await self.until(lambda: self.count(method, answer) > 0)

    @contextmanager
    def trouble(self, name: str) -> Generator[None]:
        """Break every answer: "drop", "drop_after", "502", "502_html", "garbage"."""
        self._trouble = name
        self._notify()
        try:
            yield
        finally:
            self._trouble = None

    def flood(self, chat_id: int, seconds: int) -> None:
        """Refuse the chat's next message or edit, and more for so many seconds."""
        self._floods[chat_id] = seconds

    async def _wait(self, condition: Callable[[], bool]) -> None:
        while True:
            changed = self._changed
            if condition():
                return
            await changed.wait()

    def _notify(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        fields: Fields = dict(await request.post())
        method = request.match_info["method"]
        chat_id = int(fields["chat_id"]) if "chat_id" in fields else None
        now = asyncio.get_running_loop().time()

        def log(answer: int | str) -> None:
            self.asked.append(Asked(method, chat_id, now, answer))
            self._notify()

        if self._trouble not in {None, "drop_after"}:
            log(self._trouble or "")
            return _broken(request, self._trouble or "")
        try:
            self._check(request.match_info["token"], chat_id, now)
            result = await getattr(self, f"_{method.lower()}")(fields, now)
        except RefusedError as refusal:
            log(refusal.code)
            return web.json_response(refusal.body, status=refusal.code)
        if self._trouble == "drop_after":
            log(self._trouble)
            return _broken(request, "drop")
        log(200)
        return web.json_response({"ok": True, "result": result})

    def _check(self, token: str, chat_id: int | None, now: float) -> None:
        if token != self.token:
            raise RefusedError(401, "Unauthorized")
        if chat_id is None:
            return
        seconds = self._floods.pop(chat_id, None)
        if seconds is not None:
            self._flooded[chat_id] = now + seconds
        left = self._flooded.get(chat_id, now) - now
        if left > 0:
            whole = int(left) + (left % 1 > 0)
            words = f"Too Many Requests: retry after {whole}"
            raise RefusedError(429, words, retry_after=whole)

    async def _getme(self, _fields: Fields, _now: float) -> Fields:
        return {"id": BOT_ID, "is_bot": True, "first_name": "B", "username": "b_bot"}

    async def _setmycommands(self, fields: Fields, _now: float) -> bool:
        return bool(json.loads(fields["commands"]))

    async def _getupdates(self, fields: Fields, _now: float) -> list[Fields]:
        offset = int(fields.get("offset", 0))
        for update_id in [id_ for id_ in self._updates if id_ < offset]:
            del self._updates[update_id]
        try:
            async with asyncio.timeout(float(fields.get("timeout", 0))):
                await self._wait(lambda: bool(self._updates or self._trouble))
        except TimeoutError:
            return []
        return [
            {"update_id": update_id, "message": message}
            for update_id, message in sorted(self._updates.items())
        ]

    async def _sendmessage(self, fields: Fields, _now: float) -> Fields:
        chat_id = int(fields["chat_id"])
        return self._keep(chat_id, text=fields["text"], texts=[fields["text"]])

    async def _editmessagetext(self, fields: Fields, now: float) -> Fields:
        chat_id, message_id = int(fields["chat_id"]), int(fields["message_id"])
        sent = self.chats[chat_id].get(message_id)
        if sent is None:
            raise RefusedError(400, "Bad Request: message to edit not found")
        if sent.text == fields["text"]:
            raise RefusedError(400, "Bad Request: message is not modified")
        sent.text = fields["text"]
        sent.texts.append(sent.text)
        sent.edited_at.append(now)
        return self._message(chat_id, message_id) | {"text": sent.text}

    async def _sendaudio(self, fields: Fields, _now: float) -> Fields:
        file: web.FileField = fields[fields["audio"].removeprefix("attach://")]
        reply = json.loads(fields["reply_parameters"])
        return self._keep(
            int(fields["chat_id"]),
            audio=file.file.read(),
            filename=file.filename,
            title=fields["title"],
            answers=reply["message_id"],
        )

    def _keep(self, chat_id: int, **content: Any) -> Fields:
        message = self._message(chat_id)
        sent = Sent(message["message_id"], **content)
        self.chats[chat_id][sent.message_id] = sent
        return message | {"text": sent.text or "a sound"}

    def _message(self, chat_id: int, message_id: int | None = None) -> dict[str, Any]:
        return {
            "message_id": message_id or next(self._message_ids),
            "date": 1_790_000_000,
            "chat": {"id": chat_id, "type": "private", "first_name": "Kim"},
        }


def _broken(request: web.Request, name: str) -> web.StreamResponse:
    if name == "502":
        body = {"ok": False, "error_code": 502, "description": "Bad Gateway"}
        return web.json_response(body, status=502)
    if name == "502_html":
        html = "<html><h1>502 Bad Gateway</h1></html>"
        return web.Response(text=html, content_type="text/html", status=502)
    assert request.transport is not None
    if name == "garbage":
        request.transport.write(b"SSH-2.0-not-a-web-server\r\n\r\n")
        request.transport.close()
    else:
        request.transport.abort()
    return web.Response()
