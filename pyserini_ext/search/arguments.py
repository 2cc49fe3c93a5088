"""What the options of ``python -m pyserini_ext.search`` stand for: parameters, rules, inputs."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

from pyserini_ext.errors import InputError
from pyserini_ext.fusion.interpolation import Interpolation
from pyserini_ext.plugins import load, parameters, read_options

SPARSE = {
    "k1": "k1",
    "b": "b",
    "language": "language",
    "sparse_encoder": "encoder",
    "min_idf": "min_idf",
}
"""Flags for parameters of a sparse searcher, and the parameters' names."""


def refines_terms(args: argparse.Namespace) -> bool:
    """Whether the feedback method works on the tokens of sparse queries, not on dense vectors."""
    method = load("feedback", args.prf) if args.prf else None
    return hasattr(method, "refine_terms") and not hasattr(method, "refine")


def takes_guide(args: argparse.Namespace) -> bool:
    """Whether the feedback method learns from the scores of the sparse side."""
    method = load("feedback", args.prf) if args.prf else None
    return hasattr(method, "refine_guided") and not hasattr(method, "refine")


def holds_tokens(args: argparse.Namespace) -> bool:
    """Whether the vectors are a multi-vector store, which has one for each token."""
    place = args.index or args.rescore_store
    return bool(place) and (Path(place) / "tokens.json").is_file()


def sparse_options(args: argparse.Namespace) -> dict[str, object]:
    """Return the parameters of the sparse searcher that the command line gave."""
    flags = {parameter: getattr(args, flag) for flag, parameter in SPARSE.items()}
    return merge(flags, args.sparse_arg, "--sparse-arg")


def rules(args: argparse.Namespace) -> list[Interpolation]:
    """Return the interpolation for each ``--alpha`` (one by default)."""
    return [
        Interpolation(
            alpha=alpha,
            normalise=args.normalise,
            missing=args.missing,
            convention=args.convention or "convex",
        )
        for alpha in args.alpha or [0.5]
    ]


def prf_options(args: argparse.Namespace) -> dict[str, object]:
    """Return the parameters of the feedback method that the command line gave."""
    options: dict[str, object] = {"depth": args.prf_depth, "checkpoint": args.prf_encoder}
    if args.device and "device" in (parameters(load("feedback", args.prf)) or ()):
        options["device"] = args.device
    for name in ("alpha", "beta", "gamma", "topk", "bottomk"):
        options[name] = getattr(args, f"rocchio_{name}")
    return merge(options, args.prf_arg, "--prf-arg")


def merge(flags: Mapping[str, object], pairs: Sequence[str] | None, flag: str) -> dict[str, object]:
    """Join options that have a flag of their own with those given as ``NAME=VALUE``."""
    options = {name: value for name, value in flags.items() if value is not None}
    for name, value in read_options(pairs or ()).items():
        if name in options:
            raise InputError(f"{flag} {name}={value}: {name} is given twice")
        options[name] = value
    return options


def flag_of(name: str) -> str:
    """Return the flag of an option."""
    return "--" + name.replace("_", "-")


def existing(args: argparse.Namespace) -> dict[str, Path]:
    """Return the inputs that lie on this machine, by role."""
    roles = ("topics", "index", "sparse_index", "rescore_store", "prf_encoder", "prf_text")
    named = {role: getattr(args, role) for role in roles}
    return {role: Path(name) for role, name in named.items() if name and Path(name).exists()}
