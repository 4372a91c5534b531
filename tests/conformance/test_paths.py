"""The client, the simulator and the document know the same paths."""

from __future__ import annotations

from camb_async.kinds import PATHS as CLIENT
from camb_async.kinds import TaskKind
from camb_async.simulator import routes

from .document import OPERATIONS, STATUS_PATHS


VOICE = CLIENT[TaskKind.TEXT_TO_VOICE]


def test_each_status_is_read_where_the_document_says() -> None:
    """Every kind's path is in the document, and the document has no other."""
    assert set(STATUS_PATHS) == {paths.status for paths in CLIENT.values()}


def test_the_simulator_serves_every_operation_of_the_document() -> None:
    """The method and the path lead to an action, and not to a refusal."""
    for method, path in OPERATIONS:
        target = routes.PREFIX + path.format(task_id="a", run_id=1)
        action = routes.find(method.upper(), target).action

        assert action in {"status", "create", "result"}, (method, path)


def test_the_simulator_reads_each_path_as_the_kinds_of_the_client() -> None:
    """A status path stands for the kinds that the client reads there."""
    for path in STATUS_PATHS:
        kinds = {kind for kind, paths in CLIENT.items() if paths.status == path}

        assert kinds == set(routes.STATUS_PATHS[path])


def test_both_create_each_kind_at_the_same_path() -> None:
    """The simulator's table, written by itself, is the client's the other way."""
    assert routes.CREATE_PATHS == {paths.create: kind for kind, paths in CLIENT.items()}


def test_text_to_voice_is_in_the_document_from_create_to_result() -> None:
    """The kind that can be created and fetched has all three of its operations."""
    assert VOICE.result is not None
    assert routes.RESULT_PATH == VOICE.result
    assert {
        ("post", VOICE.create),
        ("get", VOICE.status),
        ("get", VOICE.result),
    } <= set(OPERATIONS)
