"""Fetch the previews of a run, a few at a time, each into a file of its own.

Downloads have connections of their own, so they cannot starve polls, and are not
counted against the session's limits.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from random import Random

import aiohttp

from ._audio import EXTENSIONS, UNKNOWN, extension
from ._fetching import Intake, TransientError, download_session, opened
from ._files import NewFile, refuse_existing
from ._links import LinkRules
from .errors import DownloadError, LinkExpiredError
from .models import DownloadProgress, TextToVoiceResult
from .policies import RetryPolicy


logger = logging.getLogger("camb_async")

_AT_ONCE = 4
#: Previews of one run; a real one has a few.
PREVIEWS_MAX = 100

Refresh = Callable[[], Awaitable[TextToVoiceResult]]
OnProgress = Callable[[DownloadProgress], None]


class Download:
    """The download of all previews of one result."""

    def __init__(
        self,
        result: TextToVoiceResult,
        directory: Path,
        *,
        rules: LinkRules,
        retry: RetryPolicy,
        refresh: Refresh,
        overwrite: bool,
        on_progress: OnProgress | None,
    ) -> None:
        self._run_id = result.run_id
        self._links = result.previews
        self._count = len(result.previews)
        self._directory = directory
        self._rules = rules
        self._retry = retry
        self._refresh = refresh
        self._refreshing = asyncio.Lock()
        self._refreshed = False
        self._slots = asyncio.Semaphore(_AT_ONCE)
        self._overwrite = overwrite
        self._on_progress = on_progress
        self._random = Random()

    async def run(self) -> list[Path]:
        """Fetch every preview, a few at a time; all or an error.

        Files that were complete when another failed stay where they are.
        """
        if not self._count:
            message = f"Run {self._run_id} has no previews."
            raise DownloadError(message)
        if self._count > PREVIEWS_MAX:
            message = (
                f"Run {self._run_id} has {self._count} previews; {PREVIEWS_MAX} are "
                "the most that are fetched. Is it a run of the service?"
            )
            raise DownloadError(message)
        if not self._overwrite:
            await refuse_existing(self._directory, self._possible_names())
        async with download_session(self._rules) as client:
            try:
                async with asyncio.TaskGroup() as group:
                    tasks = [
                        group.create_task(self._fetch(client, index))
                        for index in range(self._count)
                    ]
            except ExceptionGroup as errors:
                failure = errors.exceptions[0]
            else:
                return [task.result() for task in tasks]
        # The first failure stands for all: one cause is not worth a group.
        raise failure

    async def _fetch(self, client: aiohttp.ClientSession, index: int) -> Path:
        attempt = 0
        while True:
            attempt += 1
            try:
                async with self._slots:
                    return await self._fetch_valid(client, index)
            except TransientError as error:
                if attempt >= self._retry.attempts:
                    message = f"{error} This was try {attempt}; try again later."
                    raise DownloadError(message) from error.__cause__
            unit = self._random.random()
            await asyncio.sleep(self._retry.backoff(attempt, unit))

    async def _fetch_valid(self, client: aiohttp.ClientSession, index: int) -> Path:
        link = self._link(index)
        try:
            return await self._try(client, index, link)
        except LinkExpiredError:
            await self._refresh_links()
            fresh = self._link(index)
            if fresh == link:
                raise
        return await self._try(client, index, fresh)

    async def _refresh_links(self) -> None:
        async with self._refreshing:
            # Once for all previews: their links were made together.
            if self._refreshed:
                return
            result = await self._refresh()
            self._links, self._refreshed = result.previews, True

    def _link(self, index: int) -> str:
        if index >= len(self._links):
            message = f"Preview {index + 1} is gone from run {self._run_id}."
            raise LinkExpiredError(message)
        return self._links[index]

    async def _try(self, client: aiohttp.ClientSession, index: int, link: str) -> Path:
        try:
            async with opened(client, self._rules, link) as response:
                return await self._save(response, index)
        except (aiohttp.ClientError, OSError) as error:
            failure = TransientError(
                f"Preview {index + 1} broke off ({type(error).__name__})."
            )
            if not isinstance(error, aiohttp.ClientResponseError):
                failure.__cause__ = error
        # Raised here and not in the handler: what aiohttp makes of a bad answer
        # shows the link and its signature, and would be the error's context.
        raise failure

    async def _save(self, response: aiohttp.ClientResponse, index: int) -> Path:
        intake = Intake(response)
        async with NewFile(self._directory) as file:
            async for chunk in response.content.iter_any():
                intake.take(chunk)
                await file.write(chunk)
                self._tell(index, intake)
            intake.check_whole()
            kind = response.headers.get("content-type", "")
            path = await file.publish(
                f"{self._run_id}-{index + 1}{extension(kind, intake.beginning)}",
                overwrite=self._overwrite,
            )
        self._tell(index, intake, path)
        return path

    def _possible_names(self) -> list[str]:
        return [
            f"{self._run_id}-{index + 1}{ending}"
            for index in range(self._count)
            for ending in (*dict.fromkeys(EXTENSIONS.values()), UNKNOWN)
        ]

    def _tell(self, index: int, intake: Intake, path: Path | None = None) -> None:
        if self._on_progress is None:
            return
        progress = DownloadProgress(
            run_id=self._run_id,
            index=index,
            count=self._count,
            received=intake.received,
            total=intake.total if path is None else intake.received,
            path=path,
        )
        try:
            self._on_progress(progress)
        except Exception:
            # A display that fails is no reason to lose a download.
            logger.warning("on_progress failed; it is called no more", exc_info=True)
            self._on_progress = None
