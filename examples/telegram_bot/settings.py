"""What the environment says, and logs that keep its secrets."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

import attrs
from aiogram.client.telegram import PRODUCTION, TelegramAPIServer
from aiogram.utils.token import TokenValidationError, validate_token


class SettingsError(Exception):
    """A setting is missing or cannot be used. The message never shows its value."""


@attrs.frozen(kw_only=True)
class Settings:
    """The bot's settings.

    Attributes:
        token: the bot's token, from @BotFather.
        server: the Bot API server to talk to.
        camb_key: the Camb.ai key; None to run on the simulator.
        store: the file or the DSN that keeps who waits for what.
        durations: where it is kept how long voices take; None to forget it.
    """

    token: str = attrs.field(repr=False)
    server: TelegramAPIServer = PRODUCTION
    camb_key: str | None = attrs.field(default=None, repr=False)
    store: str = attrs.field(default="telegram_bot.db", repr=False)
    durations: Path | None = None

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> Self:
        """Read the settings from environment variables.

        Raises:
            SettingsError: one of them is missing or cannot be used.
        """
        return cls(
            token=_read_token(environ.get("TELEGRAM_BOT_TOKEN", "").strip()),
            server=_read_server(environ.get("TELEGRAM_API_SERVER", "").strip()),
            camb_key=environ.get("CAMB_API_KEY", "").strip() or None,
            store=environ.get("STORE") or "telegram_bot.db",
            durations=Path(file) if (file := environ.get("BOT_DURATIONS")) else None,
        )

    @property
    def secrets(self) -> tuple[str, ...]:
        """What must not be logged: the part of the token that is secret, the key."""
        return tuple(filter(None, (self.token.partition(":")[2], self.camb_key)))


class DiscreetFormatter(logging.Formatter):
    """Formats records and masks secrets, wherever in them they are.

    The token is part of every URL that is sent to Telegram, and some errors of
    HTTP libraries show the URL.
    """

    def __init__(self, layout: str, secrets: tuple[str, ...]) -> None:
        super().__init__(layout)
        self._secrets = secrets

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as text, traceback included, without the secrets."""
        text = super().format(record)
        for secret in self._secrets:
            text = text.replace(secret, "(secret)")
        return text


def log_to_stderr(secrets: tuple[str, ...], level: int = logging.INFO) -> None:
    """Have everything logged to stderr, without the secrets."""
    handler = logging.StreamHandler()
    layout = "%(asctime)s %(levelname)s %(name)s: %(message)s"
    handler.setFormatter(DiscreetFormatter(layout, secrets))
    logging.basicConfig(level=level, handlers=[handler])
    logging.captureWarnings(capture=True)


def _read_token(text: str) -> str:
    if not text:
        message = (
            "TELEGRAM_BOT_TOKEN is not set: ask @BotFather for a bot and its token."
        )
        raise SettingsError(message)
    try:
        validate_token(text)
    except TokenValidationError:
        message = "TELEGRAM_BOT_TOKEN is not a token: it looks like 123456:ABC-DEF."
        raise SettingsError(message) from None
    return text


def _read_server(text: str) -> TelegramAPIServer:
    if not text:
        return PRODUCTION
    url = urlsplit(text)
    if url.scheme not in {"http", "https"} or not url.hostname:
        message = "TELEGRAM_API_SERVER must be the http or https URL of a server."
        raise SettingsError(message)
    return TelegramAPIServer.from_base(text)
