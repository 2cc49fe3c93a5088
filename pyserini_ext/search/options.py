"""The options of ``python -m pyserini_ext.search``, and which of them belong together."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

from pyserini_ext.errors import InputError
from pyserini_ext.fusion.interpolation import CONVENTIONS, POLICIES, Interpolation
from pyserini_ext.fusion.normalise import NORMALISERS
from pyserini_ext.index.vectors import MISSING
from pyserini_ext.plugins import load, parameters, read_options
from pyserini_ext.run import FORMATS
from pyserini_ext.search.feedback import WHEN

EXAMPLES = """\
examples:
  # BM25
  python -m pyserini_ext.search --sparse-index npl.lucene --topics npl.tsv --output bm25.txt

  # sparse retrieval without a model for queries, on an index of python -m pyserini_ext.index
  python -m pyserini_ext.search --sparse-index npl.impact --sparse-searcher inference-free \\
      --topics npl.tsv --output sparse.txt

  # dense retrieval, then Rocchio feedback on it
  python -m pyserini_ext.search --index npl.faiss --encoder minilm --topics npl.tsv \\
      --prf rocchio --prf-depth 5 --output rocchio.txt

  # BM25 interpolated before and after feedback, one run for each weight, every stage saved
  python -m pyserini_ext.search --index npl.faiss --encoder minilm --sparse-index npl.lucene \\
      --prf rocchio --interpolate both --alpha 0.3 0.5 0.7 --topics npl.tsv \\
      --output both.txt --save-stages

python -m pyserini_ext plugins lists the encoders, feedback methods and searchers to choose from.
Each run comes with a JSON of the same name that says how to make it again.
"""


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read and check the command line; nothing is opened."""
    parser = argparse.ArgumentParser(
        prog="python -m pyserini_ext.search",
        description="Search with dense retrieval, feedback and interpolation; write a run file.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--topics", required=True, help="TSV, JSONL, BEIR folder, or a name Pyserini knows")
    add("--output", required=True, metavar="FILE", help="the run to write")
    add("--output-format", choices=FORMATS, default="trec", help="default: %(default)s")
    add("--hits", type=int, default=1000, help="hits a query (default: %(default)s)")
    add("--threads", type=int, default=1, help="threads of the search (default: %(default)s)")
    add("--batch-size", type=int, default=64, help="queries at once (default: %(default)s)")
    add("--save-stages", action="store_true", help="also write the run of each stage")
    add("--remove-query", action="store_true", help="drop the hit whose docid is the query's id")
    add("--tag", default="pyserini-ext", help="last column of the run (default: %(default)s)")
    add("--quiet", action="store_true", help="no progress bar")

    dense = parser.add_argument_group("dense retrieval").add_argument
    dense("--index", metavar="FOLDER", help="FAISS, Lucene HNSW or flat index, or vector store")
    dense("--encoder", metavar="NAME", help="plugin, checkpoint folder or hub name")
    dense("--device", help="where queries are encoded (default: cpu)")
    dense("--pooling", choices=("cls", "mean", "last"), help="for checkpoints without a preset")
    dense("--l2-norm", action="store_true", default=None, help="normalise query vectors")
    dense("--query-prefix", metavar="TEXT", help="put before each query")
    dense("--max-length", type=int, help="tokens of a query")
    dense("--encoder-arg", action="append", metavar="NAME=VALUE", help="any option of the encoder")
    dense("--ef-search", type=int, help="breadth of an HNSW search")
    dense("--nprobe", type=int, help="lists visited in a FAISS IVF index")
    dense("--missing-vector", choices=MISSING, help="document without vector (default: error)")

    sparse = parser.add_argument_group("sparse retrieval").add_argument
    sparse("--sparse-index", metavar="FOLDER", help="Lucene index")
    sparse("--sparse-searcher", metavar="NAME", help="searcher plugin (default: bm25)")
    sparse("--k1", type=float, help="BM25 (default: 0.9)")
    sparse("--b", type=float, help="BM25 (default: 0.4)")
    sparse("--language", help="analyzer of the index (default: en)")
    sparse(
        "--sparse-encoder",
        metavar="NAME",
        help="query encoder of an impact index (default: what the index says)",
    )
    sparse("--min-idf", type=float, help="impact index: ignore terms with a lower idf")
    sparse("--sparse-arg", action="append", metavar="NAME=VALUE", help="any option of the searcher")

    mix = parser.add_argument_group("interpolation").add_argument
    mix(
        "--interpolate",
        nargs="?",
        const="after",
        choices=WHEN,
        help="before feedback, after it (default), or both; without --prf only one place exists",
    )
    mix("--alpha", type=float, nargs="+", help="weight of the sparse side; several: a run each")
    mix("--normalise", choices=tuple(NORMALISERS), help="default: min-max")
    mix("--missing", choices=POLICIES, help="a document one side lacks (default: rescore)")
    mix("--convention", choices=tuple(CONVENTIONS), help="default: convex")
    mix("--dense-hits", type=int, help="depth of the dense list (default: --hits)")
    mix("--sparse-hits", type=int, help="depth of the sparse list (default: --hits)")

    prf = parser.add_argument_group("feedback").add_argument
    prf("--prf", "--prf-method", dest="prf", metavar="NAME", help="avg, rocchio, rm3 or a plugin")
    prf("--prf-depth", type=int, help="feedback documents (default: the method's own)")
    prf("--prf-iterations", type=int, help="rounds (default: 1)")
    prf("--prf-renormalise", action="store_true", default=None, help="refined vectors to length 1")
    prf("--rocchio-alpha", type=float, help="default: 0.4")
    prf("--rocchio-beta", type=float, help="default: 0.6")
    prf("--rocchio-gamma", type=float, help="default: 0.1, used with --rocchio-bottomk")
    prf("--rocchio-topk", type=int, help="positive documents (default: all of --prf-depth)")
    prf("--rocchio-bottomk", type=int, help="negative documents (default: 0)")
    prf("--prf-arg", action="append", metavar="NAME=VALUE", help="any parameter of the method")

    args = parser.parse_args(argv)
    check(args)
    return args


NEEDS = {
    "--index": (
        "encoder",
        "device",
        "pooling",
        "l2_norm",
        "query_prefix",
        "max_length",
        "encoder_arg",
        "ef_search",
        "nprobe",
        "missing_vector",
        "interpolate",
    ),
    "--sparse-index": (
        "sparse_searcher",
        "k1",
        "b",
        "language",
        "sparse_encoder",
        "min_idf",
        "sparse_arg",
        "interpolate",
    ),
    "--interpolate": ("alpha", "normalise", "missing", "convention", "dense_hits", "sparse_hits"),
    "--prf": (
        "prf_depth",
        "prf_iterations",
        "prf_renormalise",
        "prf_arg",
        "rocchio_alpha",
        "rocchio_beta",
        "rocchio_gamma",
        "rocchio_topk",
        "rocchio_bottomk",
    ),
}
"""Options that mean nothing without another one."""


def check(args: argparse.Namespace) -> None:
    """Refuse contradictory options, so that none is silently ignored.

    Raises
    ------
    InputError
    """
    if not args.index and not args.sparse_index:
        raise InputError("nothing to search: give --index (dense), --sparse-index, or both")
    for needed, dependants in NEEDS.items():
        if getattr(args, needed.removeprefix("--").replace("-", "_")):
            continue
        for name in dependants:
            if getattr(args, name) is not None:
                raise InputError(f"{_flag(name)} has no effect without {needed}; add {needed}")
    if args.index and not args.encoder:
        raise InputError("--index needs --encoder, e.g. --encoder minilm")
    if args.index and args.sparse_index and not args.interpolate:
        raise InputError("both --index and --sparse-index are given; say --interpolate as well")
    if args.interpolate in ("before", "both") and not args.prf:
        raise InputError(
            f"--interpolate {args.interpolate} is about feedback; add --prf, or say --interpolate"
        )
    if args.prf != "rocchio":
        for name in NEEDS["--prf"]:
            if name.startswith("rocchio") and getattr(args, name) is not None:
                raise InputError(f"{_flag(name)} only applies to --prf rocchio, not {args.prf}")
    _check_sparse(args)
    _check_feedback(args)
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
            raise InputError(f"{_flag(name)} is {value}; it must be at least 1")
    if args.output_format == "msmarco" and args.tag != "pyserini-ext":
        raise InputError("--tag has no place in --output-format msmarco; leave it out")
    if args.alpha and len(set(args.alpha)) < len(args.alpha):
        raise InputError("--alpha names a weight twice")
    rules(args)


def refines_terms(args: argparse.Namespace) -> bool:
    """Whether the feedback method works on the tokens of sparse queries, not on dense vectors."""
    method = load("feedback", args.prf) if args.prf else None
    return hasattr(method, "refine_terms") and not hasattr(method, "refine")


def _check_feedback(args: argparse.Namespace) -> None:
    """Refuse a feedback method on the wrong side."""
    if not args.prf:
        return
    if not refines_terms(args):
        if not args.index:
            raise InputError(
                f"--prf {args.prf} refines dense query vectors; add --index (and --encoder), or "
                "choose a method for sparse queries, such as rm3"
            )
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


SPARSE = {
    "k1": "k1",
    "b": "b",
    "language": "language",
    "sparse_encoder": "encoder",
    "min_idf": "min_idf",
}
"""Flags for parameters of a sparse searcher, and the parameters' names."""


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
                f"{_flag(flag)} does not apply to the searcher {name}, which takes "
                f"{', '.join(option for option in taken if option != 'index')}; choose another "
                "with --sparse-searcher"
            )


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
    options: dict[str, object] = {"depth": args.prf_depth}
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


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def existing(args: argparse.Namespace) -> dict[str, Path]:
    """Return the inputs that lie on this machine, by role."""
    named = {"topics": args.topics, "index": args.index, "sparse_index": args.sparse_index}
    return {role: Path(name) for role, name in named.items() if name and Path(name).exists()}
