"""Which options of ``python -m pyserini_ext.search`` belong together, and what they say."""

from __future__ import annotations

import argparse
from pathlib import Path

from pyserini_ext.errors import InputError
from pyserini_ext.plugins import load, parameters
from pyserini_ext.search.arguments import (
    SPARSE,
    flag_of,
    holds_tokens,
    refines_terms,
    rules,
    takes_guide,
)
from pyserini_ext.search.rescoring import check_early_stop
from pyserini_ext.texts import reads_texts

NEEDS = {
    "--index": ("ef_search", "nprobe", "index_arg"),
    "--index or --rescore-store": (
        "encoder",
        "device",
        "pooling",
        "l2_norm",
        "query_prefix",
        "max_length",
        "encoder_arg",
        "missing_vector",
        "interpolate",
    ),
    "--rescore-store": ("rescore_backend", "early_stopping"),
    "--sparse-index": (
        "sparse_searcher",
        "k1",
        "b",
        "language",
        "sparse_encoder",
        "min_idf",
        "sparse_arg",
        "interpolate",
        "rescore_store",
    ),
    "--interpolate": ("alpha", "normalise", "missing", "convention", "dense_hits"),
    "--interpolate or --rescore-store": ("sparse_hits",),
    "--prf": (
        "prf_depth",
        "prf_iterations",
        "prf_renormalise",
        "prf_encoder",
        "prf_text",
        "prf_arg",
        "rocchio_alpha",
        "rocchio_beta",
        "rocchio_gamma",
        "rocchio_topk",
        "rocchio_bottomk",
    ),
}
"""Options that mean nothing without another one."""

SINGLE = (
    "pooling",
    "l2_norm",
    "query_prefix",
    "max_length",
    "ef_search",
    "nprobe",
    "prf_renormalise",
)
"""Options for one vector a text."""


def check(args: argparse.Namespace) -> None:
    """Refuse contradictory options, so that none is silently ignored.

    Raises
    ------
    InputError
    """
    if not args.index and not args.sparse_index and not args.rescore_store:
        raise InputError("nothing to search: give --index (dense), --sparse-index, or both")
    for needed, dependants in NEEDS.items():
        if any(getattr(args, _name(flag)) for flag in needed.split(" or ")):
            continue
        for name in dependants:
            if getattr(args, name) is not None:
                raise InputError(f"{flag_of(name)} has no effect without {needed}; add {needed}")
    if args.index and args.rescore_store:
        raise InputError(
            "both --index and --rescore-store are given: the dense side searches, or it rescores "
            "what the sparse side found; leave one out"
        )
    if (args.index or args.rescore_store) and not args.encoder and not holds_tokens(args):
        given = "--index" if args.index else "--rescore-store"
        raise InputError(f"{given} needs --encoder, e.g. --encoder minilm")
    _check_tokens(args)
    if args.index and args.sparse_index and not args.interpolate and not takes_guide(args):
        instead = "; give it as --prf-text if only its texts are wanted" * _reads_texts(args)
        raise InputError(
            f"both --index and --sparse-index are given; say --interpolate as well{instead}"
        )
    if args.interpolate in ("before", "both") and not args.prf:
        raise InputError(
            f"--interpolate {args.interpolate} is about feedback; add --prf, or say --interpolate"
        )
    if args.prf != "rocchio":
        for name in NEEDS["--prf"]:
            if name.startswith("rocchio") and getattr(args, name) is not None:
                raise InputError(f"{flag_of(name)} only applies to --prf rocchio, not {args.prf}")
    _check_sparse(args)
    _check_feedback(args)
    _check_rescoring(args)
    for name in (
        "hits",
        "threads",
        "batch_size",
        "max_length",
        "ef_search",
        "nprobe",
        "dense_hits",
        "sparse_hits",
        "prf_depth",
        "prf_iterations",
    ):
        value = getattr(args, name)
        if value is not None and value < 1:
            raise InputError(f"{flag_of(name)} is {value}; it must be at least 1")
    if args.output_format == "msmarco" and args.tag != "pyserini-ext":
        raise InputError("--tag has no place in --output-format msmarco; leave it out")
    if args.alpha and len(set(args.alpha)) < len(args.alpha):
        raise InputError("--alpha names a weight twice")
    rules(args)


def _reads_texts(args: argparse.Namespace) -> bool:
    """Whether the feedback method reads the text of documents."""
    return bool(args.prf) and reads_texts(load("feedback", args.prf))


def _check_texts(args: argparse.Namespace) -> None:
    """Refuse a method without the texts it reads, and a source of texts that nothing reads."""
    place = args.prf_text
    if not _reads_texts(args):
        if place is not None:
            raise InputError(f"--prf {args.prf} reads no text of documents; leave --prf-text out")
        return
    if place is None:
        name = args.sparse_searcher or "bm25"
        if not args.sparse_index or not hasattr(load("searcher", name), "contents"):
            raise InputError(
                f"--prf {args.prf} reads the text of documents; add --prf-text: a Lucene index "
                "built with --storeRaw, or the collection"
            )
    elif not Path(place).exists() and len(Path(place).parts) != 1:
        raise InputError(f"--prf-text: no such index or collection: {place}")


def _check_feedback(args: argparse.Namespace) -> None:
    """Refuse a feedback method on the wrong side."""
    if not args.prf:
        return
    taken = parameters(load("feedback", args.prf))
    if args.prf_encoder is not None and taken is not None and "checkpoint" not in taken:
        raise InputError(f"--prf {args.prf} has no encoder of its own; leave --prf-encoder out")
    _check_texts(args)
    if not refines_terms(args):
        if not args.index and not args.rescore_store:
            raise InputError(
                f"--prf {args.prf} refines dense query vectors; add --index (and --encoder), or "
                "choose a method for sparse queries, such as rm3"
            )
        if takes_guide(args):
            _check_guide(args)
        _check_kind(args)
        return
    name = args.sparse_searcher or "bm25"
    if not args.sparse_index:
        raise InputError(
            f"--prf {args.prf} refines the tokens of sparse queries; add --sparse-index (and "
            "--sparse-searcher inference-free), or choose a method for dense vectors, such as "
            "rocchio"
        )
    if not hasattr(load("searcher", name), "search_weights"):
        raise InputError(
            f"--prf {args.prf} changes the weights of query tokens, which the searcher {name} does "
            "not have; say --sparse-searcher inference-free or impact (RM3 for BM25: "
            "python -m pyserini_ext pyserini.search.lucene --rm3)"
        )
    if args.interpolate in ("before", "both"):
        raise InputError(
            f"--interpolate {args.interpolate} mixes what dense feedback starts from; with --prf "
            f"{args.prf} say --interpolate"
        )
    if args.prf_renormalise:
        raise InputError(f"--prf-renormalise is about dense vectors, not --prf {args.prf}")


def _check_kind(args: argparse.Namespace) -> None:
    """Refuse a method for one vector a query where there is one a token, or the reverse."""
    method, place = load("feedback", args.prf), args.index or args.rescore_store
    if takes_guide(args):
        fits = not holds_tokens(args) or getattr(method, "takes_tokens", False)
    else:
        fits = hasattr(method, "refine_tokens" if holds_tokens(args) else "refine")
    if not fits:
        kinds = ["one vector", "a vector for each token"]
        wanted, held = kinds if holds_tokens(args) else reversed(kinds)
        raise InputError(
            f"--prf {args.prf} refines queries of {wanted}, but {place} has {held}; choose another "
            "method (for tokens: colbert-prf, gqr) or another index"
        )


def _check_guide(args: argparse.Namespace) -> None:
    """Refuse guided feedback without a guide, and what it has no use for."""
    if not args.sparse_index:
        raise InputError(
            f"--prf {args.prf} needs a second searcher as its guide; add --sparse-index (and "
            "--sparse-searcher: any searcher, a dense one too)"
        )
    if args.prf_iterations is not None:
        raise InputError(
            f"--prf-iterations does not apply to --prf {args.prf}, whose steps are its own; use "
            "--prf-arg (for gqr: steps=50)"
        )


def _check_tokens(args: argparse.Namespace) -> None:
    """Refuse what only concerns indexes of one vector a document, or of many."""
    if not holds_tokens(args):
        if args.index_arg:
            raise InputError(
                f"--index-arg is about multi-vector stores, and {args.index} is none; leave it out"
            )
        return
    place = args.index or args.rescore_store
    for name in SINGLE:
        if getattr(args, name) is not None:
            raise InputError(
                f"{flag_of(name)} is about one vector for a text, but {place} has one for each "
                "token; leave it out (its encoder's options: --encoder-arg)"
            )


def _check_rescoring(args: argparse.Namespace) -> None:
    """Refuse early stopping where it could not be right."""
    if not args.early_stopping:
        return
    if args.prf and not refines_terms(args):
        raise InputError(
            f"--early-stopping leaves documents without a dense score, and --prf {args.prf} ranks "
            "by it; leave one out"
        )
    for rule in rules(args) if args.interpolate else [None]:
        check_early_stop(args.early_stopping, rule)


def _check_sparse(args: argparse.Namespace) -> None:
    """Refuse flags for what the chosen searcher does not take."""
    if not args.sparse_index:
        return
    name = args.sparse_searcher or "bm25"
    taken = parameters(load("searcher", name))
    if taken is None:
        return
    for flag, parameter in SPARSE.items():
        if getattr(args, flag) is not None and parameter not in taken:
            raise InputError(
                f"{flag_of(flag)} does not apply to the searcher {name}, which takes "
                f"{', '.join(option for option in taken if option != 'index')}; choose another "
                "with --sparse-searcher"
            )


def _name(flag: str) -> str:
    return flag.removeprefix("--").replace("-", "_")
