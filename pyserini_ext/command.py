"""What every command of this package does before and after its own work."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

from pyserini_ext.errors import InputError


def run_command(main: Callable[[], int | None]) -> None:
    """Run a command's ``main`` and leave the process the way a shell user expects.

    Idle OpenMP threads sleep instead of spinning, unless ``OMP_WAIT_POLICY`` says otherwise: torch
    and FAISS bring a pool of threads each, and on a busy machine the spinning threads of one take
    the cores from the other (encoding was several times slower).

    Parameters
    ----------
    main : callable
        Returns an exit status, ``None`` standing for success.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    try:
        status = main()
        sys.stdout.flush()
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        status = 2
    except KeyboardInterrupt:
        print("interrupted: nothing half-written was left behind", file=sys.stderr)
        status = 130
    except BrokenPipeError:
        # Who read the output, such as head, has seen enough. What is left in the buffer has
        # nowhere to go, and Python would complain about it at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 141
    sys.exit(status or 0)
