"""The command line: ``camb-async``, or ``python -m camb_async``.

It needs the extra ``cli``; importing this package does not.
"""

from __future__ import annotations

import sys


_EXTRA = {"typer", "rich", "platformdirs"}
_MISSING = 'The command line needs an extra: pip install "camb-async[cli]"\n'


def main() -> None:
    """Run the command line with the arguments of this process, and exit."""
    try:
        from .app import run_app  # noqa: PLC0415 - they may be missing
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in _EXTRA:
            raise
        sys.stderr.write(_MISSING)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
    run_app()
