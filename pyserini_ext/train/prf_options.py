"""What the options of ``train ance-prf`` stand for: settings of the input, files."""

from __future__ import annotations

import argparse
from pathlib import Path

PAPER_WARMUP = 5000
"""Steps, of some 150,000 on MS MARCO."""

INPUT = ("template", "document", "separator", "max_length", "lowercase", "fill")
SETTINGS = ("k", "family", *INPUT, "pooling", "normalise", "missing_text")
"""Options that are those of :class:`~pyserini_ext.encode.ance_prf.AncePRF`."""


def inputs(args: argparse.Namespace) -> dict[str, str]:
    """Return what the training depends on and lies on this machine, by role."""
    roles = ("topics", "qrels", "index", "texts", "checkpoint", "run", "dev_topics", "dev_qrels")
    given = {role: getattr(args, role) for role in (*roles, "encoder")}
    return {role: path for role, path in given.items() if path and Path(path).exists()}
