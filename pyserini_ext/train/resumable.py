"""What the commands that train share: what tells one run from another, and going on with it."""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pyserini_ext.files import fingerprint

NOT_ASKED = ("main", "command", "output", "overwrite", "threads", "save_every")
"""Options that change nothing of the model."""


def run_training(
    args: argparse.Namespace,
    files: Mapping[str, str],
    train: Callable[[dict[str, Any], Path, Any], None],
) -> int:
    """Train, or go on where the same command was stopped.

    Parameters
    ----------
    args : Namespace
        With ``output``, ``overwrite``, ``threads`` and ``device``; checked.
    files : mapping of str to str
        Role to path of what the training reads.
    train : callable
        Given what was asked for, the folder of unfinished work, and the device (torch's).

    Returns
    -------
    int
        The exit status: 130 if the run was interrupted.

    Raises
    ------
    InputError
        If the unfinished work is that of another command.
    """
    # Only when this is called is it known that the command is worth the imports.
    import torch

    from pyserini_ext.encode.dense import torch_device

    if args.threads:
        torch.set_num_threads(args.threads)
    device = torch_device(args.device)
    part = Path(f"{args.output}.part")
    if args.overwrite:
        shutil.rmtree(part, ignore_errors=True)
    request = {name: value for name, value in vars(args).items() if name not in NOT_ASKED}
    request |= {role: fingerprint(path)["sha256"] for role, path in files.items()}
    if (part / "state.json").is_file():
        from pyserini_ext.train.loop import read_state

        print(f"going on behind step {read_state(part, request)['step']}", file=sys.stderr)
    try:
        train(request, part, device)
    except KeyboardInterrupt:
        print(f"interrupted; the same command goes on from {part}", file=sys.stderr)
        return 130
    return 0
