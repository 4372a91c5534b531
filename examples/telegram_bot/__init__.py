"""A Telegram bot that makes voices from descriptions, for many chats at once."""
