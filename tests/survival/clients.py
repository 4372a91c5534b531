"""The two clients, each used as its documentation shows, behind one face."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from importlib.metadata import version
from typing import Any, Protocol

import attrs
from camb.client import AsyncCambAI

from camb_async import CambSession, FixedInterval, RetryPolicy, TaskState, TaskWatcher


#: Seconds between two polls of a task that is pending, for both.
INTERVAL = 0.02
#: Seconds for one request, for both: their own would make the run long.
REQUEST_TIMEOUT = 2.0
_SHORT = RetryPolicy(backoff_initial=0.02, backoff_max=0.2, not_found_grace=2.0)
_TEXT = "Welcome aboard. Let me show you around."
_DESCRIPTION = (
    "A calm woman in her forties with a light Irish accent, unhurried and clear, "
    "a little amused, close to the microphone."
)

#: A key, or what tells the key of the moment.
Key = str | Callable[[], str]


@attrs.frozen
class Report:
    """What a client says of a task; ``size`` counts the characters of its message."""

    status: str
    run_id: object = None
    size: int = 0


class Session(Protocol):
    """What the probes do with a client."""

    async def create(self) -> str:
        """Create a task and return its id."""
        ...

    async def read(self, task_id: str) -> Report:
        """Ask for the status of a task."""
        ...

    async def wait(self, task_id: str, *, deadline: float | None = None) -> Report:
        """Ask until the task is finished; a deadline is passed on, if there is one."""
        ...

    async def links(self, run_id: object) -> Sequence[object]:
        """Return the links to the previews of a run."""
        ...


class Opening(Protocol):
    """What makes a session of a client."""

    def __call__(
        self, base_url: str, key: Key, request_timeout: float = REQUEST_TIMEOUT
    ) -> AbstractAsyncContextManager[Session]:
        """Return a session that is closed in the end; the timeout is in seconds."""
        ...


@attrs.frozen
class Client:
    """A client that can be opened for a base URL and a key."""

    name: str
    open: Opening


@attrs.frozen
class _Ours:
    camb: CambSession
    watcher: TaskWatcher

    async def create(self) -> str:
        task = await self.camb.create_text_to_voice(
            text=_TEXT, voice_description=_DESCRIPTION
        )
        return task.task_id

    async def read(self, task_id: str) -> Report:
        return _report(await self.camb.get_task_status(task_id))

    async def wait(self, task_id: str, *, deadline: float | None = None) -> Report:
        return _report(await self.watcher.wait(task_id, deadline=deadline))

    async def links(self, run_id: Any) -> Sequence[object]:
        return (await self.camb.get_text_to_voice_result(run_id)).previews


def _report(state: TaskState) -> Report:
    return Report(state.raw_status, state.run_id, len(str(state.message or "")))


@contextlib.asynccontextmanager
async def _open_ours(
    base_url: str, key: Key, request_timeout: float = REQUEST_TIMEOUT
) -> AsyncGenerator[Session]:
    async with (
        CambSession(
            key, base_url=base_url, retry=_SHORT, request_timeout=request_timeout
        ) as camb,
        camb.watch(schedule=FixedInterval(INTERVAL), keep_open=True) as watcher,
    ):
        yield _Ours(camb, watcher)


@attrs.frozen
class _Official:
    client: AsyncCambAI
    goes_on: Callable[[str], bool]

    async def create(self) -> str:
        created = await self.client.text_to_voice.create_text_to_voice(
            text=_TEXT, voice_description=_DESCRIPTION
        )
        return str(created.task_id)

    async def read(self, task_id: str) -> Report:
        result: Any = await self.client.text_to_voice.get_text_to_voice_status(task_id)
        size = len(str(getattr(result, "message", None) or ""))
        return Report(str(result.status), result.run_id, size)

    async def wait(self, task_id: str, *, deadline: float | None = None) -> Report:
        while True:
            report = await self.read(task_id)
            if not self.goes_on(report.status):
                return report
            await asyncio.sleep(INTERVAL)

    async def links(self, run_id: Any) -> Sequence[object]:
        result: Any = await self.client.text_to_voice.get_text_to_voice_result(run_id)
        return result.previews or ()


def _official(goes_on: Callable[[str], bool]) -> Client:
    @contextlib.asynccontextmanager
    async def open_official(
        base_url: str, key: Key, request_timeout: float = REQUEST_TIMEOUT
    ) -> AsyncGenerator[Session]:
        client = AsyncCambAI(
            # It takes a text only.
            api_key=key() if callable(key) else key,
            base_url=base_url,
            timeout=request_timeout,
        )
        try:
            yield _Official(client, goes_on)
        finally:
            # It has no way to be closed.
            wrapper = client._client_wrapper  # pyright: ignore[reportPrivateUsage]
            await wrapper.httpx_client.httpx_client.aclose()

    return Client(f"camb-sdk {version('camb-sdk')}", open_official)


OURS = Client("camb_async", _open_ours)
OFFICIAL = _official(lambda status: status == "PENDING")
#: The same with the loop of its README, which ends at SUCCESS and at nothing else.
OFFICIAL_README = _official(lambda status: status != "SUCCESS")
