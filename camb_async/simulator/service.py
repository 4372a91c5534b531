"""What the service answers: decisions only, no socket and no clock."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any, cast

import attrs

from camb_async.kinds import TaskKind

from .answers import Answer
from .faults import Fault
from .previews import PreviewStore
from .routes import Route
from .tasks import TaskBook


_NOT_FOUND = Answer.detail(404, "Not found.")
_NOWHERE = Answer.detail(404, "Not Found")
_BAD_KEY = Answer.json(401, {"error": "Invalid API key", "status": 401})

# The fields of a create call: the JSON types, what pydantic says, and whether
# the field must be there.
_STRING = ((str,), "Input should be a valid string", "string_type")
_INTEGER = ((int,), "Input should be a valid integer", "int_type")
_FIELDS = {
    "text": (_STRING, True),
    "voice_description": (_STRING, True),
    "project_name": (_STRING, False),
    "project_description": (_STRING, False),
    "folder_id": (_INTEGER, False),
}


@attrs.frozen
class Asked:
    """One request, taken apart; ``at`` is the loop time it came at."""

    route: Route
    query: str
    headers: Mapping[str, str]
    body: bytes
    at: float


@attrs.define
class Service:
    """The endpoints over a book of tasks and a store of previews."""

    tasks: TaskBook
    previews: PreviewStore
    api_key: str
    origin: str = ""

    def answer(self, asked: Asked) -> Answer | Fault:
        """Return the answer to a request, or the fault to be made of it."""
        refusal = self._refuse(asked)
        if refusal is not None:
            return refusal
        actions: dict[str, Callable[[Asked], Answer | Fault]] = {
            "status": self._status,
            "create": self._create,
            "result": self._result,
            "preview": self._preview,
        }
        return actions[asked.route.action](asked)

    def truth(self, asked: Asked) -> Answer:
        """Return the answer to a request as it is when nothing goes wrong."""
        answer = self.answer(asked)
        return answer if isinstance(answer, Answer) else self.told(asked)

    def told(self, asked: Asked) -> Answer:
        """Return what is so of a task, without a step in its script."""
        task = self.tasks.find(asked.route.argument, asked.route.kinds)
        return _NOT_FOUND if task is None else task.truth(asked.at)

    def _refuse(self, asked: Asked) -> Answer | None:
        route = asked.route
        if route.action == "nothing":
            return _NOWHERE
        if route.action == "refused":
            allow = ("Allow", route.argument)
            return Answer.detail(405, "Method Not Allowed", allow)
        if route.action == "preview":
            return None
        if asked.headers.get("x-api-key") != self.api_key:
            return _BAD_KEY
        return None

    def _status(self, asked: Asked) -> Answer | Fault:
        task = self.tasks.find(asked.route.argument, asked.route.kinds)
        return _NOT_FOUND if task is None else self.tasks.answer(task, asked.at)

    def _create(self, asked: Asked) -> Answer:
        (kind,) = asked.route.kinds
        if kind is TaskKind.TEXT_TO_VOICE:
            issues = _issues(asked.headers, asked.body)
            if issues:
                return Answer.detail(422, issues)
        return Answer.json(200, {"task_id": self.tasks.create(kind, asked.at)})

    def _result(self, asked: Asked) -> Answer:
        try:
            run_id = int(asked.route.argument)
        except ValueError:
            text = (
                "Input should be a valid integer, unable to parse string as an integer"
            )
            return Answer.detail(422, [_issue("int_parsing", text, "path", "run_id")])
        if not self.tasks.has_run(run_id):
            return _NOT_FOUND
        return Answer.json(200, {"previews": self.previews.links(self.origin, run_id)})

    def _preview(self, asked: Asked) -> Answer:
        return self.previews.answer(asked.route.argument, asked.query, asked.headers)


def _issue(kind: str, message: str, *loc: str | int) -> dict[str, Any]:
    return {"loc": loc, "msg": message, "type": kind}


def _issues(headers: Mapping[str, str], body: bytes) -> list[dict[str, Any]]:
    """Return what is wrong with the body of a text-to-voice create call."""
    if not body:
        return [_issue("missing", "Field required", "body")]
    try:
        # As FastAPI does it: what is not called JSON is not read as JSON.
        fields = json.loads(body) if _is_json(headers) else body
    except ValueError as error:
        place = error.pos if isinstance(error, json.JSONDecodeError) else 0
        return [_issue("json_invalid", "JSON decode error", "body", place)]
    if not isinstance(fields, dict):
        text = "Input should be a valid dictionary or object to extract fields from"
        return [_issue("model_attributes_type", text, "body")]
    found = (_check(name, cast("dict[str, Any]", fields)) for name in _FIELDS)
    return [issue for issue in found if issue is not None]


def _is_json(headers: Mapping[str, str]) -> bool:
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    return re.fullmatch(r"application/(.+\+)?json", kind) is not None


def _check(name: str, fields: Mapping[str, Any]) -> dict[str, Any] | None:
    (types, message, kind), required = _FIELDS[name]
    if name not in fields:
        missing = _issue("missing", "Field required", "body", name)
        return missing if required else None
    value = fields[name]
    if type(value) in types or (value is None and not required):
        return None
    return _issue(kind, message, "body", name)
