"""The one error that a user is meant to read."""

from __future__ import annotations


class InputError(ValueError):
    """Something the user gave cannot be used.

    The message names the value, what was expected and what to do about it. Commands print it
    without a traceback and exit with status 2; in a notebook it is an ordinary ``ValueError``.
    """
