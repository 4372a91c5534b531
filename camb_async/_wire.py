"""What the API's answers mean: (status, headers, bytes) -> a model or an error.

Nothing here does I/O. The rules come from the API's documentation and OpenAPI
file, which require no field of a status body, and from what clients of the
service have met in practice.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from http import HTTPStatus
from math import isinf
from typing import Any, NoReturn, TypeVar, cast

import attrs
from cattrs import Converter, transform_error

from ._refusals import Reply, error_from, invalid
from .models import TaskState, TaskStatus, TextToVoiceResult


#: Bytes of an API answer, after inflation; real ones have a few hundred.
BODY_MAX = 1024 * 1024
_STATUS_LENGTH_MAX = 200
_RUN_ID_MAX = 2**63
_MEMO_SIZE = 1024
_MEMO_BODY_MAX = 1024


@attrs.frozen
class _StatusBody:
    status: str
    run_id: int | None = None
    exception_reason: Any = None
    message: Any = None


@attrs.frozen
class _CreatedBody:
    task_id: str | None = None


@attrs.frozen
class _PreviewsBody:
    previews: list[str]


_BodyT = TypeVar("_BodyT")


def _strict_str(value: object, _: object) -> str:
    if not isinstance(value, str):
        message = f"text expected, not {type(value).__name__}"
        raise TypeError(message)
    return value


def _strict_int(value: object, _: object) -> int:
    # Some of the service's prose shows run ids as strings of digits.
    if isinstance(value, str) and re.fullmatch(r"[0-9]{1,19}", value, re.ASCII):
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool):
        message = f"whole number expected, not {type(value).__name__}"
        raise TypeError(message)
    if abs(value) >= _RUN_ID_MAX:
        message = "whole number out of range"
        raise ValueError(message)
    return value


def _strict_texts(value: object, _: object) -> list[str]:
    # A text is a sequence of texts, too, but never one of links.
    if not isinstance(value, list):
        message = f"list expected, not {type(value).__name__}"
        raise TypeError(message)
    return [_strict_str(item, str) for item in cast("list[object]", value)]


_converter = Converter()
_converter.register_structure_hook(str, _strict_str)
_converter.register_structure_hook(int, _strict_int)
_converter.register_structure_hook_func(lambda shape: shape == list[str], _strict_texts)


class StatusReader:
    """Reads status bodies, and remembers those it has read: PENDING repeats."""

    def __init__(self) -> None:
        self._memo: dict[bytes, TaskState] = {}

    def read(self, reply: Reply) -> TaskState:
        """Return what a status answer says.

        Raises:
            CambError: the answer is an error, or not what the API promises.
        """
        if reply.status == HTTPStatus.OK and reply.flaw is None:
            known = self._memo.get(reply.body)
            if known is not None:
                return known
        state = _read_state(reply)
        # A mapping could be changed by whoever gets it, so it is never shared.
        if len(reply.body) <= _MEMO_BODY_MAX and not isinstance(state.message, Mapping):
            if len(self._memo) >= _MEMO_SIZE:
                self._memo.clear()
            self._memo[reply.body] = state
        return state


def _read_state(reply: Reply) -> TaskState:
    body = _structure(reply, _as_object(read_json(reply)), _StatusBody)
    if len(body.status) > _STATUS_LENGTH_MAX:
        raise invalid(reply, "its status is too long to be one")
    message: object = body.message
    if message is not None and not isinstance(message, str | dict):
        message = json.dumps(message)
    reason = body.exception_reason
    return TaskState(
        status=TaskStatus(body.status),
        raw_status=body.status,
        run_id=body.run_id,
        # "NONE" is how the service spells that there is no reason.
        exception_reason=None if reason in (None, "NONE") else str(reason),
        message=cast("str | dict[str, Any] | None", message),
    )


def _as_object(document: object) -> object:
    """Return the ordinary status object for the other forms that are documented.

    Older documentation of audio-separation and dub-alt-format has just the status
    as the body. The official SDK types the status of project-setup as the list of
    its results: where they are, the task has succeeded.
    """
    if isinstance(document, str):
        return {"status": document}
    run_id = _run_of_results(document)
    if run_id is not None:
        return {"status": TaskStatus.SUCCESS.value, "run_id": run_id}
    return document


def _run_of_results(document: object) -> object:
    if not isinstance(document, list) or not document:
        return None
    first = cast("list[object]", document)[0]
    if not isinstance(first, dict) or "project_details" not in first:
        return None
    return cast("dict[str, object]", first).get("run_id")


def read_task_id(reply: Reply) -> str:
    """Return the task id from the answer to a create call.

    Raises:
        CambError: the answer is an error, or holds no task id.
    """
    body = _structure(reply, read_json(reply), _CreatedBody)
    if not body.task_id:
        raise invalid(reply, "it holds no task_id")
    return body.task_id


def read_previews(reply: Reply, run_id: int) -> TextToVoiceResult:
    """Return the preview links from the answer to a result call.

    Raises:
        CambError: the answer is an error, or not a list of links.
    """
    body = _structure(reply, read_json(reply), _PreviewsBody)
    return TextToVoiceResult(run_id, tuple(body.previews))


def read_json(reply: Reply) -> Any:
    """Return the JSON document of a good answer.

    Raises:
        CambError: the answer is an error, or its body is not strict JSON.
    """
    if reply.status != HTTPStatus.OK:
        raise error_from(reply)
    if reply.flaw is not None:
        raise invalid(reply, reply.flaw)
    try:
        return json.loads(
            reply.body,
            parse_constant=_refuse_constant,
            parse_float=_finite,
            object_pairs_hook=_unique_keys,
        )
    except (ValueError, RecursionError) as error:
        why = _why_no_json(reply, error)
    # Raised here and not in the handler: as its context, the parser's error would
    # hold on to the whole document.
    raise invalid(reply, why)


def _refuse_constant(name: str) -> NoReturn:
    message = f"{name} is not JSON"
    raise ValueError(message)


def _finite(text: str) -> float:
    number = float(text)
    if isinf(number):
        message = "a number is beyond every float"
        raise ValueError(message)
    return number


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) != len(pairs):
        message = "a key stands twice"
        raise ValueError(message)
    return document


def _why_no_json(reply: Reply, error: Exception) -> str:
    if not reply.body:
        return "its body is empty"
    if reply.body.lstrip()[:1] == b"<":
        return "it is a web page (is a proxy or a captive portal in between?)"
    if isinstance(error, RecursionError):
        return "its JSON is nested too deeply"
    return f"its body is not JSON ({str(error)[:80]})"


def _structure(reply: Reply, document: object, shape: type[_BodyT]) -> _BodyT:
    if not isinstance(document, dict):
        kind = type(document).__name__
        raise invalid(reply, f"it is a JSON {kind}, where an object was promised")
    try:
        return _converter.structure(document, shape)
    except Exception as error:  # noqa: BLE001 - cattrs collects whatever hooks raise
        why = "; ".join(transform_error(error))[:300]
    raise invalid(reply, why)
