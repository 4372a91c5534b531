"""Lets ``python -m camb_async`` do what ``camb-async`` does."""

from __future__ import annotations

from camb_async.cli import main


if __name__ == "__main__":
    main()
