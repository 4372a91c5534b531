"""The session: one key, one budget of requests, the endpoints as methods."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import aiohttp
from yarl import URL

from ._calls import Calls
from ._downloads import Download
from ._links import LinkRules
from ._settings import ApiKey, KeyRing, hide, is_loopback, read_base_url, refuse_proxy
from ._statuses import Statuses
from ._wire import read_previews, read_task_id
from .adaptive import AdaptiveSchedule
from .errors import (
    APIConnectionError,
    InvalidResponseError,
    InvalidTaskIdError,
    ServerError,
    SessionClosedError,
    SubmissionUnknownError,
)
from .kinds import PATHS, TaskKind
from .models import DownloadProgress, TaskRef, TaskState, TextToVoiceResult
from .policies import Limits, RetryPolicy
from .schedules import PollSchedule
from .watcher import TaskWatcher


# Below these, the documentation says, a description is not processed successfully.
DESCRIPTION_WORDS_MIN = 18
DESCRIPTION_LENGTH_MIN = 100

_CREATE_PATH: Final = PATHS[TaskKind.TEXT_TO_VOICE].create
_RESULT_PATH: Final = PATHS[TaskKind.TEXT_TO_VOICE].result or ""


class ShortDescriptionWarning(UserWarning):
    """A voice description is shorter than the documentation asks for."""


class CambSession:
    """A session with the Camb.ai task API. Use it as ``async with``.

    Args:
        api_key: the key, or a callable (plain or async) that returns it and is
            asked again when the service refuses the key; ``$CAMB_API_KEY`` by
            default. It is sent to the base URL's origin and nowhere else.
        base_url: where the API is; ``$CAMB_BASE_URL`` by default, else the
            service itself. Plain http is accepted for loopback hosts only.
        client_session: an aiohttp session to borrow; it is not closed.
        limits: what is sent at the most, over all watchers and calls.
        retry: how failed reads are made again.
        schedule: when tasks are polled, for all watchers and waits of the session
            that are not given another; an AdaptiveSchedule by default, which learns
            from all of them how long tasks take.
        request_timeout: seconds for one request, from when it may leave.

    Raises:
        ConfigurationError: no key, a key that cannot be a header, or a base URL
            that cannot be used. The value is never shown.
        ValueError: the request timeout is not above 0.
    """

    def __init__(
        self,
        api_key: ApiKey | None = None,
        *,
        base_url: str | None = None,
        client_session: aiohttp.ClientSession | None = None,
        limits: Limits | None = None,
        retry: RetryPolicy | None = None,
        schedule: PollSchedule | None = None,
        request_timeout: float = 30.0,
    ) -> None:
        api_key = hide(api_key)  # from tracebacks that show local variables
        self.limits: Final = limits or Limits()
        self.retry: Final = retry or RetryPolicy()
        self.schedule: Final[PollSchedule] = schedule or AdaptiveSchedule()
        self.base_url: Final = read_base_url(base_url)
        if not request_timeout > 0:
            message = f"request_timeout must be above 0, not {request_timeout!r}"
            raise ValueError(message)
        self._calls: Final = Calls(KeyRing(api_key), self.retry)
        # What all watchers of the session have in common; see StatusSource.
        self.retry_budget: Final = self._calls.budget
        self.refusal_listeners: Final = self._calls.refusal_listeners
        self._request_timeout: Final = request_timeout
        self._borrowed: Final = client_session
        self._statuses: Final = Statuses(self.base_url)

    def __repr__(self) -> str:
        # A traceback that shows variables may ask while this is being made.
        calls = getattr(self, "_calls", None)
        if calls is None:
            return "<CambSession, not made>"
        state = "open" if calls.is_open else "closed"
        return f"<CambSession {state}, {self.base_url}>"

    def __del__(self, _warn: Callable[..., None] = warnings.warn) -> None:
        calls: Calls | None = getattr(self, "_calls", None)
        if calls is not None and calls.is_open:
            message = (
                f"{self!r} was abandoned while open: use it as "
                "`async with CambSession() as camb:`, which closes it."
            )
            _warn(message, ResourceWarning, source=self)

    async def __aenter__(self) -> Self:
        if self._borrowed is not None and self._borrowed.trust_env:
            refuse_proxy(self.base_url)
        self._calls.open(self.limits, self._request_timeout, self._borrowed)
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._calls.close()

    async def poll(self, task: TaskRef | str) -> TaskState:
        """Ask once for the status of a task. This is what a watcher calls.

        Returns:
            What the answer said, whatever the status.

        Raises:
            InvalidTaskIdError: it is not a task id; nothing was sent.
            APIConnectionError: no answer came.
            InvalidResponseError: the answer is not what the API promises.
            UnexpectedRedirectError: the answer is a redirect.
            APIStatusError: the answer is an HTTP error.
            ConfigurationError: the api_key callable gave what is no key.
            SessionClosedError: the session is not open in this event loop.
        """
        url = self._statuses.url(TaskRef.of(task))
        return self._statuses.read(await self._calls.send("GET", url))

    async def get_task_status(self, task: TaskRef | str) -> TaskState:
        """Return the status of a task, trying again if the read fails.

        At most ``retry.attempts`` requests are made, with exponential back-off
        and at least as far apart as the server asks for. Fewer are made while so
        much fails that the session's retry budget is used up.

        Returns:
            What the answer said, whatever the status.

        Raises:
            CambError: as ``poll``, from the last try. A server that asks to wait
                longer than ``retry.backoff_max`` ends it at once; the error's
                ``retry_after`` tells how long.
        """
        url = self._statuses.url(TaskRef.of(task))
        return await self._calls.read(url, self._statuses.read)

    async def wait(
        self,
        task: TaskRef | str,
        *,
        deadline: float | None = 3600.0,
        schedule: PollSchedule | None = None,
    ) -> TaskState:
        """Wait until a task has succeeded.

        For more than a few tasks at once a TaskWatcher costs less.

        Args:
            task: a TaskRef, or the id of a text-to-voice task.
            deadline: seconds to wait at the most; None for no limit.
            schedule: when to poll; the session's own by default.

        Returns:
            The state with status SUCCESS.

        Raises:
            TaskError: the service ended the task without a result.
            DeadlineExceededError: the deadline passed; the task goes on remotely.
            APIStatusError: the API refused to tell (401, 402, 403, 404, 422).
            ConfigurationError: the api_key callable gave what is no key.
            InvalidTaskIdError: it is not a task id; nothing was sent.
            SessionClosedError: the session is not open in this event loop.
            ValueError: the deadline is negative or not a number.
        """
        ref = TaskRef.of(task)
        self._calls.check_open()
        async with TaskWatcher(self, schedule=schedule, deadline=deadline) as watcher:
            return await watcher.wait(ref)

    def watch(
        self,
        tasks: Iterable[TaskRef | str] = (),
        *,
        schedule: PollSchedule | None = None,
        deadline: float | None = 3600.0,
        keep_open: bool = False,
    ) -> TaskWatcher:
        """Return a TaskWatcher over this session; the arguments are its own.

        Raises:
            InvalidTaskIdError: one of the tasks is not a task id.
            TypeError: the tasks are one task, and not several.
            ValueError: the deadline is negative or not a number.
        """
        return TaskWatcher(
            self, tasks, schedule=schedule, deadline=deadline, keep_open=keep_open
        )

    async def create_text_to_voice(
        self,
        *,
        text: str,
        voice_description: str,
        project_name: str | None = None,
        project_description: str | None = None,
        folder_id: int | None = None,
    ) -> TaskRef:
        """Ask for a voice that fits a description.

        The request is sent once. It is never repeated by itself, because the
        service knows no idempotency key and a second task would be billed.

        Args:
            text: what the previews say.
            voice_description: what the voice is like; the documentation asks for
                at least 18 words and 100 characters (shorter ones give a warning).
            project_name: what the run is called in the studio.
            project_description: a note to it.
            folder_id: the studio folder to put it into.

        Warns:
            ShortDescriptionWarning: the description is shorter than that.

        Returns:
            The task, with ``created_at`` set.

        Raises:
            SubmissionUnknownError: it was sent and no usable answer came: the
                task may exist.
            APIConnectionError: no connection was made; it may be tried again.
            APIStatusError: the service refused it. After a 5xx the task may exist
                nevertheless; the error has a note that says so.
            UnexpectedRedirectError: the answer is a redirect.
            ConfigurationError: the api_key callable gave what is no key.
            SessionClosedError: the session is not open in this event loop.
        """
        _warn_if_short(voice_description)
        fields = {
            "text": text,
            "voice_description": voice_description,
            "project_name": project_name,
            "project_description": project_description,
            "folder_id": folder_id,
        }
        return await self._create(
            {name: value for name, value in fields.items() if value is not None}
        )

    async def _create(self, fields: Mapping[str, str | int]) -> TaskRef:
        url = URL(self.base_url + _CREATE_PATH, encoded=True)
        try:
            reply = await self._calls.send("POST", url, json.dumps(fields).encode())
            return TaskRef(read_task_id(reply), created_at=datetime.now(UTC))
        except ServerError as error:
            error.add_note("The task may have been created nevertheless.")
            raise
        except (
            APIConnectionError,
            SessionClosedError,
            InvalidResponseError,
            InvalidTaskIdError,
        ) as error:
            if not getattr(error, "request_sent", True):
                raise
            message = (
                "The create call was sent and no usable answer came, so the task may "
                f"exist: look in the studio before sending it again. ({error})"
            )
            raise SubmissionUnknownError(message) from error

    async def get_text_to_voice_result(self, run_id: int | None) -> TextToVoiceResult:
        """Return the preview links of a finished run, trying again if that fails.

        Args:
            run_id: the ``run_id`` of a task that succeeded (not its task id). None
                is taken for what it is, a SUCCESS that the service gave no run.

        Returns:
            The links, in the service's order; there may be none.

        Raises:
            CambError: as ``get_task_status``.
            InvalidResponseError: also where the run id is None.
            ValueError: the run id is not a whole number of at least 0.
        """
        if run_id is None:
            message = (
                "The task has no run_id, so it has no result to fetch: the service "
                "said SUCCESS without one, or the task has not succeeded yet."
            )
            raise InvalidResponseError(message)
        if isinstance(run_id, bool) or not isinstance(run_id, int) or run_id < 0:
            message = (
                f"run_id must be a whole number of at least 0, not {run_id!r}: it "
                "comes with SUCCESS, as the run_id of the state"
            )
            raise ValueError(message)
        path = _RESULT_PATH.format(run_id=run_id)
        return await self._calls.read(
            URL(self.base_url + path, encoded=True),
            lambda reply: read_previews(reply, run_id),
        )

    async def download_previews(
        self,
        run: int | TextToVoiceResult | None,
        directory: str | os.PathLike[str],
        *,
        overwrite: bool = False,
        on_progress: Callable[[DownloadProgress], None] | None = None,
        allow_hosts: Iterable[str] = (),
    ) -> list[Path]:
        """Put the previews of a finished run into a directory.

        Each file appears whole or not at all, named ``RUN-NUMBER`` with the
        extension of its content type (``8827-1.wav``). Previews are fetched
        without the key, over connections of their own. A link that has expired is
        replaced by fetching the result once more.

        Args:
            run: the run id (``state.run_id``), or its result if that was fetched
                already.
            directory: where the files go; it is made if it does not exist.
            overwrite: whether files of these names may be replaced.
            on_progress: called in the event loop as bytes arrive.
            allow_hosts: names of hosts that may be inside a private network.

        Returns:
            The files, in the order of the result's links.

        Raises:
            DownloadError: a file could not be fetched whole, is there already,
                or its link is refused; its cause tells more. Files that were
                complete by then stay.
            LinkExpiredError: the links are refused even when fetched again.
            CambError: as ``get_text_to_voice_result``, for the links.
            ValueError: likewise.
            TypeError: ``allow_hosts`` is one name, and not several.
        """
        if isinstance(allow_hosts, str):
            message = f"allow_hosts is several names; for one, pass [{allow_hosts!r}]"
            raise TypeError(message)
        result = run
        if not isinstance(result, TextToVoiceResult):
            result = await self.get_text_to_voice_result(result)
        rules = LinkRules(
            loopback=is_loopback(URL(self.base_url).host),
            allowed_hosts=frozenset(allow_hosts),
        )
        run_id = result.run_id
        return await Download(
            result,
            Path(directory),
            rules=rules,
            retry=self.retry,
            refresh=lambda: self.get_text_to_voice_result(run_id),
            overwrite=overwrite,
            on_progress=on_progress,
        ).run()


def _warn_if_short(description: str) -> None:
    words, length = len(description.split()), len(description)
    if words < DESCRIPTION_WORDS_MIN or length < DESCRIPTION_LENGTH_MIN:
        warnings.warn(
            f"The voice description has {words} words and {length} characters; the "
            f"documentation asks for at least {DESCRIPTION_WORDS_MIN} and "
            f"{DESCRIPTION_LENGTH_MIN}, else the voice may not be made.",
            ShortDescriptionWarning,
            stacklevel=3,
        )
