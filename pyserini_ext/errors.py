"""The one error that a user is meant to read."""

from __future__ import annotations

import sys
from collections.abc import Callable


class InputError(ValueError):
    """Something the user gave cannot be used.

    The message names the value, what was expected and what to do about it. Commands print it
    without a traceback and exit with status 2; in a notebook it is an ordinary ``ValueError``.
    """


def exit_on_input_error(main: Callable[[], int | None]) -> None:
    """Run a command's ``main`` and leave the process the way a shell user expects.

    Parameters
    ----------
    main : callable
        Returns an exit status, ``None`` standing for success.
    """
    try:
        status = main()
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        status = 2
    except KeyboardInterrupt:
        print("interrupted: nothing half-written was left behind", file=sys.stderr)
        status = 130
    sys.exit(status or 0)
