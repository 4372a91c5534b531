"""Where the status of each task is, and what the answers say."""

from __future__ import annotations

import logging

from yarl import URL

from ._refusals import Reply
from ._wire import StatusReader
from .errors import showable
from .kinds import PATHS
from .models import TaskRef, TaskState, TaskStatus


logger = logging.getLogger("camb_async")

# About 600 bytes each.
_URLS_KEPT = 4096
# Of more unknown statuses than these the log is not told.
_STRANGE_MAX = 100


class Statuses:
    """What a session knows of statuses; nothing of it is per task for ever."""

    def __init__(self, base_url: str) -> None:
        self._prefixes = {
            kind: base_url + paths.status.removesuffix("{task_id}")
            for kind, paths in PATHS.items()
        }
        # A URL costs more to make than to keep.
        self._urls: dict[str, URL] = {}
        self._reader = StatusReader()
        self._strange: set[str] = set()

    def url(self, task: TaskRef) -> URL:
        """Return the URL of a task's status."""
        where = self._prefixes[task.kind] + task.task_id
        url = self._urls.get(where)
        if url is None:
            if len(self._urls) >= _URLS_KEPT:
                self._urls.clear()
            url = self._urls[where] = URL(where, encoded=True)
        return url

    def read(self, reply: Reply) -> TaskState:
        """Return what a status answer says.

        Raises:
            CambError: the answer is an error, or not what the API promises.
        """
        state = self._reader.read(reply)
        if state.status is TaskStatus.UNKNOWN:
            self._warn_of(state.raw_status)
        return state

    def _warn_of(self, unknown: str) -> None:
        """Tell the log of a status that nobody has documented, once for each."""
        if unknown not in self._strange and len(self._strange) < _STRANGE_MAX:
            self._strange.add(unknown)
            logger.warning(
                "The service says %r, which is no status that is known here. It is "
                "taken for one that is not final.",
                showable(unknown),
            )
