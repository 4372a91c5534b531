"""A source of statuses that does what its script says, without a network."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping

from camb_async import (
    APIConnectionError,
    Limits,
    RetryPolicy,
    TaskRef,
    TaskState,
    TaskStatus,
)


Answer = TaskState | BaseException | str


def state(text: str, run_id: int | None = None) -> TaskState:
    """Return the state that a status text stands for; SUCCESS has run 1."""
    if run_id is None and text == "SUCCESS":
        run_id = 1
    return TaskState(TaskStatus(text), raw_status=text, run_id=run_id)


class FakeStatusSource:
    """Answers each poll of a task with the next entry of its script.

    An entry is a status text, a state, or an exception to raise; the last entry
    repeats. A task without a script is PENDING for ever. ``latency`` seconds pass
    before each answer. ``asked`` is the log of polls: (loop time, task id).
    """

    def __init__(
        self,
        scripts: Mapping[str, Iterable[Answer]] | None = None,
        *,
        latency: float = 0.0,
        limits: Limits | None = None,
        retry: RetryPolicy | None = None,
    ) -> None:
        self._scripts = {k: list(v) for k, v in (scripts or {}).items()}
        self.latency = latency
        self.limits = limits or Limits()
        self.retry = retry or RetryPolicy()
        self.asked: list[tuple[float, str]] = []
        self.in_flight = 0
        self.most_in_flight = 0
        self.on_poll: Callable[[TaskRef], None] = lambda _task: None

    def script(self, task_id: str, *answers: Answer) -> None:
        """Set what a task answers from now on."""
        self._scripts[task_id] = list(answers)

    def polls(self, task_id: str) -> list[float]:
        """Return when a task was polled, in loop time."""
        return [at for at, asked in self.asked if asked == task_id]

    async def poll(self, task: TaskRef, /) -> TaskState:
        """Answer by the script."""
        self.asked.append((asyncio.get_running_loop().time(), task.task_id))
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            if self.latency:
                await asyncio.sleep(self.latency)
            self.on_poll(task)
        finally:
            self.in_flight -= 1
        script = self._scripts.get(task.task_id) or ["PENDING"]
        answer = script.pop(0) if len(script) > 1 else script[0]
        if isinstance(answer, BaseException):
            raise answer
        return state(answer) if isinstance(answer, str) else answer


def refused(text: str = "no route") -> APIConnectionError:
    """Return a transient fault."""
    return APIConnectionError(text)
