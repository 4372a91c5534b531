"""What was learnt, as plain values and back; whoever wrote them is not trusted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import inf
from typing import Any, cast

from ._durations import Observation
from ._experience import AGE_MAX, BIAS_MAX, MEMORY


VERSION = 1


def plain(seen: Iterable[Observation], bias: float) -> dict[str, Any]:
    """Return one kind's experience as JSON can hold it."""
    tasks = [
        [lower, None if upper == inf else upper, *([entry] if entry else [])]
        for lower, upper, entry in seen
    ]
    return {"tasks": tasks, "bias": bias}


def recalled(data: Mapping[str, Any]) -> tuple[list[Observation], float]:
    """Return one kind's experience, at most as much as is remembered.

    Raises:
        ValueError: the values are not what ``plain`` returns.
    """
    tasks: list[Any] = field(data, "tasks", list)[-MEMORY:]
    bias = _number(data.get("bias"), BIAS_MAX) or 1.0
    return [_observation(task) for task in tasks], bias


def field(data: Any, name: str, of: type) -> Any:
    """Return a field of this type from what should be a mapping.

    Raises:
        ValueError: it is no mapping, or has no such field.
    """
    value = cast("Any", data).get(name) if isinstance(data, Mapping) else None
    if isinstance(value, of) and not isinstance(value, bool):
        return value
    message = f"Not something learnt: no {of.__name__} under {name!r}"
    raise ValueError(message)


def _observation(task: Any) -> Observation:
    match task:
        case [lower, upper] | [lower, upper, _]:
            entry = 0.0 if task[2:] == [] else task[2]
            ended = inf if upper is None else _number(upper, AGE_MAX)
            seen = Observation(_number(lower, AGE_MAX), ended, _number(entry, AGE_MAX))
            if seen.lower <= ended and ended:
                return seen
        case _:
            pass
    message = f"Not something learnt: a task is {task!r:.80}"
    raise ValueError(message)


def _number(value: Any, most: float) -> float:
    """Return a number from zero to ``most``, and nothing else."""
    if type(value) in (int, float) and 0.0 <= value <= most:
        return float(value)
    message = f"Not something learnt: {value!r:.80} where a number should be"
    raise ValueError(message)
