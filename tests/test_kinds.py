"""The table of task kinds, held against the collected facts, row by row."""

from __future__ import annotations

import pickle
from collections.abc import MutableMapping
from typing import cast

import attrs
import pytest

from camb_async.kinds import PATHS, KindPaths, TaskKind


# kind: create, status, result, bulk result
FACTS: dict[str, tuple[str, str, str | None, str | None]] = {
    "text-to-voice": (
        "/text-to-voice",
        "/text-to-voice/{task_id}",
        "/text-to-voice-result/{run_id}",
        None,
    ),
    "tts": ("/tts", "/tts/{task_id}", "/tts-result/{run_id}", "/tts-results"),
    "translated-tts": (
        "/translated-tts",
        "/translated-tts/{task_id}",
        "/tts-result/{run_id}",
        "/tts-results",
    ),
    "translate": (
        "/translate",
        "/translate/{task_id}",
        "/translation-result/{run_id}",
        "/translation-results",
    ),
    "transcribe": (
        "/transcribe",
        "/transcribe/{task_id}",
        "/transcription-result/{run_id}",
        "/transcription-results",
    ),
    "sub": ("/sub", "/sub/{task_id}", "/sub-result/{run_id}", "/sub-results"),
    "text-to-sound": (
        "/text-to-sound",
        "/text-to-sound/{task_id}",
        "/text-to-sound-result/{run_id}",
        "/text-to-sound-results",
    ),
    "audio-separation": (
        "/audio-separation",
        "/audio-separation/{task_id}",
        "/audio-separation-result/{run_id}",
        "/audio-separation-results",
    ),
    "dub": ("/dub", "/dub/{task_id}", "/dub-result/{run_id}", "/dubbing-results"),
    "dub-alt-format": (
        "/dub-alt-format/{run_id}/{language}",
        "/dub-alt-format/{task_id}",
        None,
        None,
    ),
    "story": (
        "/story",
        "/story/{task_id}",
        "/story-result/{run_id}",
        "/stories-results",
    ),
    "story-setup": ("/story-setup", "/story/{task_id}", None, None),
    "translated-story": (
        "/translated-story/{run_id}",
        "/translated-story/{task_id}",
        "/translated-story-result/{run_id}/{language}",
        None,
    ),
    "project-setup": (
        "/project-setup",
        "/project-setup/{task_id}",
        "/project-setup-result/{run_id}",
        "/project-setup-results",
    ),
}


@pytest.mark.parametrize("name", FACTS)
def test_each_kind_is_served_where_the_facts_say(name: str) -> None:
    """Every path of every kind is the documented one, letter by letter."""
    assert FACTS[name] == attrs.astuple(PATHS[TaskKind(name)])


def test_the_kinds_are_those_of_the_facts() -> None:
    """No kind is missing, none is made up, and each has its paths."""
    assert list(FACTS) == list(TaskKind)
    assert set(TaskKind) == set(PATHS)


def test_text_to_voice_is_the_first_kind() -> None:
    """The kind that everything is about comes first."""
    assert "text-to-voice" == next(iter(TaskKind))


@pytest.mark.parametrize(
    "kind", [kind for kind in TaskKind if kind is not TaskKind.STORY_SETUP]
)
def test_a_kind_is_named_after_its_status_path(kind: TaskKind) -> None:
    """The value of a kind is the segment its status is read at."""
    assert f"/{kind.value}/{{task_id}}" == PATHS[kind].status


def test_a_kind_that_is_none_is_refused() -> None:
    """Unlike a status, a kind is never guessed."""
    with pytest.raises(ValueError, match="not a valid TaskKind"):
        TaskKind("Text-To-Voice")


def test_the_table_cannot_be_changed() -> None:
    """Neither a row nor a cell can be replaced."""
    table = cast("MutableMapping[TaskKind, KindPaths]", PATHS)
    with pytest.raises(TypeError):
        table[TaskKind.TTS] = KindPaths("/a", "/b")
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        PATHS[TaskKind.TTS].status = "/x"  # type: ignore[misc] # pyright: ignore[reportAttributeAccessIssue]

    assert not hasattr(PATHS[TaskKind.TTS], "__dict__")


def test_kinds_travel() -> None:
    """A kind and its paths come out of a pickle as they went in."""
    row = (TaskKind.DUB, PATHS[TaskKind.DUB])

    assert row == pickle.loads(pickle.dumps(row))  # noqa: S301 - our own bytes
