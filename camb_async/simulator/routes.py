"""Where the service listens, written down once more on purpose.

These tables are not taken from the client: a path that is wrong in one of the
two cannot agree with the other.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal
from urllib.parse import unquote

import attrs

from camb_async.kinds import TaskKind


PREFIX = "/apis"

CREATE_PATHS: Mapping[str, TaskKind] = {
    "/text-to-voice": TaskKind.TEXT_TO_VOICE,
    "/tts": TaskKind.TTS,
    "/translated-tts": TaskKind.TRANSLATED_TTS,
    "/translate": TaskKind.TRANSLATE,
    "/transcribe": TaskKind.TRANSCRIBE,
    "/sub": TaskKind.SUB,
    "/text-to-sound": TaskKind.TEXT_TO_SOUND,
    "/audio-separation": TaskKind.AUDIO_SEPARATION,
    "/dub": TaskKind.DUB,
    "/dub-alt-format/{run_id}/{language}": TaskKind.DUB_ALT_FORMAT,
    "/story": TaskKind.STORY,
    "/story-setup": TaskKind.STORY_SETUP,
    "/translated-story/{run_id}": TaskKind.TRANSLATED_STORY,
    "/project-setup": TaskKind.PROJECT_SETUP,
}

# A status path may serve more than one kind, and a kind have more than one path.
STATUS_PATHS: Mapping[str, tuple[TaskKind, ...]] = {
    "/text-to-voice/{task_id}": (TaskKind.TEXT_TO_VOICE,),
    "/tts/{task_id}": (TaskKind.TTS,),
    "/discord/tts/{task_id}": (TaskKind.TTS,),
    "/translated-tts/{task_id}": (TaskKind.TRANSLATED_TTS,),
    "/translate/{task_id}": (TaskKind.TRANSLATE,),
    "/transcribe/{task_id}": (TaskKind.TRANSCRIBE,),
    "/sub/{task_id}": (TaskKind.SUB,),
    "/text-to-sound/{task_id}": (TaskKind.TEXT_TO_SOUND,),
    "/audio-separation/{task_id}": (TaskKind.AUDIO_SEPARATION,),
    "/dub/{task_id}": (TaskKind.DUB,),
    "/discord/dub/{task_id}": (TaskKind.DUB,),
    "/twitter/dub/{task_id}": (TaskKind.DUB,),
    "/dub-alt-format/{task_id}": (TaskKind.DUB_ALT_FORMAT,),
    "/story/{task_id}": (TaskKind.STORY, TaskKind.STORY_SETUP),
    "/translated-story/{task_id}": (TaskKind.TRANSLATED_STORY,),
    "/project-setup/{task_id}": (TaskKind.PROJECT_SETUP,),
}

RESULT_PATH = "/text-to-voice-result/{run_id}"

_STATUS_HEADS = {
    PREFIX + path.removesuffix("/{task_id}"): kinds
    for path, kinds in STATUS_PATHS.items()
}
_RESULT_HEAD = PREFIX + RESULT_PATH.removesuffix("/{run_id}")
_CREATES = {
    PREFIX + path: kind for path, kind in CREATE_PATHS.items() if "{" not in path
}
_CREATES_WITH_PARAMETERS = [
    (re.compile(PREFIX + re.sub(r"\{\w+\}", "[^/]+", path)), kind)
    for path, kind in CREATE_PATHS.items()
    if "{" in path
]
_PREVIEW = re.compile(r"/previews/(-?[0-9]+/[0-9]+)\.wav")


@attrs.frozen
class Route:
    """What a request asks for: which action, on what, of which kinds."""

    action: Literal["status", "create", "result", "preview", "nothing", "refused"]
    argument: str = ""
    kinds: tuple[TaskKind, ...] = ()


def find(method: str, path: str) -> Route:
    """Return the route of a request; ``path`` is without its query.

    ``nothing`` means that nobody listens there, ``refused`` that only other
    methods are allowed: those are in ``argument``.
    """
    routes = {"GET": _find_get, "HEAD": _find_head, "POST": _find_post}
    finder = routes.get(method)
    route = finder(path) if finder else None
    if route is not None:
        return route
    allowed = [name for name, finder in routes.items() if finder(path)]
    if allowed:
        return Route("refused", ", ".join(allowed))
    return Route("nothing")


def _find_get(path: str) -> Route | None:
    head, _, tail = path.rpartition("/")
    if not tail:
        return None
    kinds = _STATUS_HEADS.get(head)
    if kinds is not None:
        return Route("status", unquote(tail), kinds)
    if head == _RESULT_HEAD:
        return Route("result", unquote(tail))
    return _find_head(path)


def _find_head(path: str) -> Route | None:
    preview = _PREVIEW.fullmatch(path)
    return Route("preview", preview[1]) if preview else None


def _find_post(path: str) -> Route | None:
    kind = _CREATES.get(path)
    if kind is not None:
        return Route("create", kinds=(kind,))
    for pattern, with_parameters in _CREATES_WITH_PARAMETERS:
        if pattern.fullmatch(path):
            return Route("create", kinds=(with_parameters,))
    return None
