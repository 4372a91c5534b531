"""The tasks the simulated service knows: what each answers, and when."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from random import Random
from types import EllipsisType
from typing import Any
from uuid import UUID

import attrs

from camb_async.kinds import TaskKind
from camb_async.models import TaskStatus

from .answers import Answer, status_answer
from .faults import FAULTS, Fault
from .scenarios import Scenario


ScriptEntry = str | Fault | Mapping[str, Any] | Sequence[Any]

_PENDING = status_answer("PENDING")


@attrs.define
class SimulatedTask:
    """One task: pending until ``ends_at`` (loop time), or following a script.

    A scripted task answers each request with its next step; the last repeats.
    """

    kind: TaskKind
    ends_at: float
    final: Answer
    script: Iterator[Answer | Fault] | None = None
    _told: Answer | None = None

    def answer(self, now: float) -> Answer | Fault:
        """Return what the next status request is answered with."""
        if self.script is None:
            return self.truth(now)
        step = next(self.script)
        if isinstance(step, Answer):
            self._told = step
        return step

    def truth(self, now: float) -> Answer:
        """Return the status as it is, apart from any fault and taking no step."""
        if self._told is not None:
            return self._told
        return _PENDING if now < self.ends_at else self.final


@attrs.frozen(kw_only=True)
class Outcome:
    """How a task ends, as a status answer tells it."""

    status: str
    run_id: int | None
    exception_reason: str | None = None
    message: str | Mapping[str, Any] | None = None

    def answer(self, status: str) -> Answer:
        """Return the status answer of this text; only a success has a run id."""
        if not TaskStatus(status).is_final:
            return status_answer(status)
        return status_answer(
            status,
            run_id=self.run_id if TaskStatus(status) is TaskStatus.SUCCESS else None,
            exception_reason=self.exception_reason,
            message=self.message,
        )

    def step(self, entry: ScriptEntry) -> Answer | Fault:
        """Return a script's entry in the form in which it is sent."""
        if isinstance(entry, Fault):
            return entry
        if not isinstance(entry, str):
            return Answer.json(200, entry)
        return Fault(entry) if entry in FAULTS else self.answer(entry)


class TaskBook:
    """All tasks by id, and the runs that can be fetched.

    What becomes of a created task depends on the seed and on how many were
    created before, and on nothing else.
    """

    def __init__(self, scenario: Scenario, seed: int, speed: float) -> None:
        self.scenario = scenario
        self._seed = seed
        self._speed = speed
        self._tasks: dict[str, SimulatedTask] = {}
        self._runs: set[int] = set()
        self._created = itertools.count()
        self._added = Random(f"{seed}/added")
        self._faults = Random(f"{seed}/faults")
        self._run_ids = itertools.count(Random(seed).randint(1000, 9999))

    def __len__(self) -> int:
        return len(self._tasks)

    def create(self, kind: TaskKind, now: float) -> str:
        """Add a task whose fate the scenario decides; return its id."""
        random = Random(f"{self._seed}/{next(self._created)}")
        task_id = _uuid(random)
        fate = self.scenario.draw_fate(random)
        outcome = Outcome(
            status=fate.status,
            run_id=self.allocate_run(kind),
            exception_reason=fate.exception_reason,
            message=fate.message,
        )
        self._tasks[task_id] = SimulatedTask(
            kind, now + fate.duration / self._speed, outcome.answer(fate.status)
        )
        return task_id

    def add(
        self,
        task_id: str | None,
        kind: TaskKind,
        outcome: Outcome,
        ends_at: float,
        answers: Sequence[ScriptEntry] | None,
    ) -> str:
        """Add a task as described, in place of one of that id; return its id."""
        name = _uuid(self._added) if task_id is None else task_id
        script = None
        if answers is not None:
            steps = [outcome.step(entry) for entry in answers]
            if not steps:
                message = "answers must not be empty: the last of them repeats"
                raise ValueError(message)
            script = itertools.chain(steps, itertools.repeat(steps[-1]))
        final = outcome.answer(outcome.status)
        self._tasks[name] = SimulatedTask(kind, ends_at, final, script)
        return name

    def allocate_run(
        self, kind: TaskKind, run_id: int | EllipsisType | None = ...
    ) -> int | None:
        """Register and return a run id: the given one, or for ``...`` a new one."""
        if run_id is None:
            return None
        if isinstance(run_id, EllipsisType):
            run_id = next(
                number for number in self._run_ids if number not in self._runs
            )
        if kind is TaskKind.TEXT_TO_VOICE:
            self._runs.add(run_id)
        return run_id

    def find(self, task_id: str, kinds: Sequence[TaskKind]) -> SimulatedTask | None:
        """Return the task of that id if it is of one of these kinds."""
        task = self._tasks.get(task_id)
        return task if task is not None and task.kind in kinds else None

    def answer(self, task: SimulatedTask, now: float) -> Answer | Fault:
        """Return what the next status request for a task is answered with."""
        if task.script is None:
            fault = self.scenario.draw_fault(self._faults)
            if fault is not None:
                return fault
        return task.answer(now)

    def has_run(self, run_id: int) -> bool:
        """Tell whether text-to-voice has a run of that id."""
        return run_id in self._runs


def _uuid(random: Random) -> str:
    return str(UUID(int=random.getrandbits(128), version=4))
