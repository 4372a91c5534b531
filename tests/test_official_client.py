"""The official client against the simulator: a second opinion on both."""

from __future__ import annotations

import asyncio
import io
import wave

import httpx
import pytest
from camb.client import AsyncCambAI
from camb.core.api_error import ApiError
from camb.errors import UnprocessableEntityError

from camb_async.simulator import Simulator


def _client(simulator: Simulator, http: httpx.AsyncClient) -> AsyncCambAI:
    return AsyncCambAI(
        api_key=simulator.api_key, base_url=simulator.base_url, httpx_client=http
    )


async def _finish(client: AsyncCambAI, task_id: str) -> int | None:
    while True:
        result = await client.text_to_voice.get_text_to_voice_status(task_id)
        if result.status != "PENDING":
            assert "SUCCESS" == result.status

            run_id: int | None = result.run_id
            return run_id
        await asyncio.sleep(0.02)


def test_creates_polls_and_fetches_a_voice() -> None:
    """All of text-to-voice works with camb-sdk, down to audio that plays."""

    async def main() -> None:
        async with Simulator(speed=20) as simulator, httpx.AsyncClient() as http:
            client = _client(simulator, http)
            created = await client.text_to_voice.create_text_to_voice(
                text="Hello there", voice_description="A calm and friendly voice"
            )
            assert created.task_id is not None

            run_id = await _finish(client, created.task_id)
            result = await client.text_to_voice.get_text_to_voice_result(run_id)

            assert result.previews is not None
            assert 2 == len(result.previews)

            for link in result.previews:
                audio = await http.get(link)
                with wave.open(io.BytesIO(audio.content)) as wav:
                    assert 16_000 == wav.getframerate()

    asyncio.run(main())


def test_understands_the_simulators_refusals() -> None:
    """A wrong key and a task id in place of a run id fail as camb-sdk knows it."""

    async def main() -> None:
        async with Simulator() as simulator, httpx.AsyncClient() as http:
            client = _client(simulator, http)
            task_id = simulator.add_task()
            with pytest.raises(UnprocessableEntityError):
                await client.text_to_voice.get_text_to_voice_result(
                    task_id  # pyright: ignore[reportArgumentType]
                )
            simulator.api_key = "another"
            with pytest.raises(ApiError) as caught:
                await client.text_to_voice.get_text_to_voice_status(task_id)

            assert 401 == caught.value.status_code

    asyncio.run(main())
