"""The kinds of Camb tasks and the paths each is served at, as facts.

Names are irregular (translate has translation-result, dub has dub-result but
dubbing-results), so no path is ever built by a rule: each is written down.
Paths were collected from the API documentation and the official SDK 1.6.6.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType

import attrs


class TaskKind(StrEnum):
    """What a task makes; the value is the path segment its status is read at.

    One exception: STORY_SETUP has no documented status path of its own, and is
    read at that of STORY.
    """

    TEXT_TO_VOICE = "text-to-voice"
    TTS = "tts"
    TRANSLATED_TTS = "translated-tts"
    TRANSLATE = "translate"
    TRANSCRIBE = "transcribe"
    SUB = "sub"
    TEXT_TO_SOUND = "text-to-sound"
    AUDIO_SEPARATION = "audio-separation"
    DUB = "dub"
    DUB_ALT_FORMAT = "dub-alt-format"
    STORY = "story"
    STORY_SETUP = "story-setup"
    TRANSLATED_STORY = "translated-story"
    PROJECT_SETUP = "project-setup"


@attrs.frozen
class KindPaths:
    """Where a kind of task is created, watched and fetched; None: not offered."""

    create: str
    status: str
    result: str | None = None
    bulk_result: str | None = None


PATHS: Mapping[TaskKind, KindPaths] = MappingProxyType(
    {
        TaskKind.TEXT_TO_VOICE: KindPaths(
            create="/text-to-voice",
            status="/text-to-voice/{task_id}",
            result="/text-to-voice-result/{run_id}",
        ),
        TaskKind.TTS: KindPaths(
            create="/tts",
            status="/tts/{task_id}",
            result="/tts-result/{run_id}",
            bulk_result="/tts-results",
        ),
        TaskKind.TRANSLATED_TTS: KindPaths(
            create="/translated-tts",
            status="/translated-tts/{task_id}",
            result="/tts-result/{run_id}",
            bulk_result="/tts-results",
        ),
        TaskKind.TRANSLATE: KindPaths(
            create="/translate",
            status="/translate/{task_id}",
            result="/translation-result/{run_id}",
            bulk_result="/translation-results",
        ),
        TaskKind.TRANSCRIBE: KindPaths(
            create="/transcribe",
            status="/transcribe/{task_id}",
            result="/transcription-result/{run_id}",
            bulk_result="/transcription-results",
        ),
        TaskKind.SUB: KindPaths(
            create="/sub",
            status="/sub/{task_id}",
            result="/sub-result/{run_id}",
            bulk_result="/sub-results",
        ),
        TaskKind.TEXT_TO_SOUND: KindPaths(
            create="/text-to-sound",
            status="/text-to-sound/{task_id}",
            result="/text-to-sound-result/{run_id}",
            bulk_result="/text-to-sound-results",
        ),
        TaskKind.AUDIO_SEPARATION: KindPaths(
            create="/audio-separation",
            status="/audio-separation/{task_id}",
            result="/audio-separation-result/{run_id}",
            bulk_result="/audio-separation-results",
        ),
        TaskKind.DUB: KindPaths(
            create="/dub",
            status="/dub/{task_id}",
            result="/dub-result/{run_id}",
            bulk_result="/dubbing-results",
        ),
        TaskKind.DUB_ALT_FORMAT: KindPaths(
            create="/dub-alt-format/{run_id}/{language}",
            status="/dub-alt-format/{task_id}",
        ),
        TaskKind.STORY: KindPaths(
            create="/story",
            status="/story/{task_id}",
            result="/story-result/{run_id}",
            bulk_result="/stories-results",
        ),
        TaskKind.STORY_SETUP: KindPaths(
            create="/story-setup",
            status="/story/{task_id}",
        ),
        TaskKind.TRANSLATED_STORY: KindPaths(
            create="/translated-story/{run_id}",
            status="/translated-story/{task_id}",
            result="/translated-story-result/{run_id}/{language}",
        ),
        TaskKind.PROJECT_SETUP: KindPaths(
            create="/project-setup",
            status="/project-setup/{task_id}",
            result="/project-setup-result/{run_id}",
            bulk_result="/project-setup-results",
        ),
    }
)
