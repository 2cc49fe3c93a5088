"""The options of ``python -m pyserini_ext.search``."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from pyserini_ext.fusion.interpolation import CONVENTIONS, POLICIES
from pyserini_ext.fusion.normalise import NORMALISERS
from pyserini_ext.index.vectors import MISSING
from pyserini_ext.rescore.scoring import BACKENDS
from pyserini_ext.run import FORMATS
from pyserini_ext.search.checks import check
from pyserini_ext.search.refining import WHEN
from pyserini_ext.search.rescoring import DEPTH, EARLY_STOP

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

  # dense queries refined by what BM25 thinks of their pool (GQR)
  python -m pyserini_ext.search --index npl.faiss --encoder minilm --sparse-index npl.lucene \\
      --prf gqr --prf-arg steps=50 --topics npl.tsv --output gqr.txt

  # exact dense scores for the first 1000 documents of BM25, interpolated with BM25's own
  python -m pyserini_ext.search --sparse-index npl.lucene --rescore-store npl.vectors \\
      --encoder minilm --interpolate --alpha 0.3 --topics npl.tsv --output rescored.txt

  # late interaction over a multi-vector store, with ColBERT-PRF feedback
  python -m pyserini_ext.search --index npl.tokens --prf colbert-prf --topics npl.tsv \
      --output colbert-prf.txt

python -m pyserini_ext plugins lists the encoders, feedback methods and searchers to choose from.
Each run comes with a JSON of the same name that says how to make it again.
"""


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line, which checks each option by itself."""
    parser = argparse.ArgumentParser(
        prog="python -m pyserini_ext.search",
        description="Search an index, sparse or dense or both, with feedback; write a run file.",
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
    dense(
        "--index",
        metavar="FOLDER",
        help="FAISS, Lucene HNSW or flat index, vector store or multi-vector store",
    )
    dense(
        "--encoder",
        metavar="NAME",
        help="plugin, checkpoint folder or hub name (default: what a multi-vector store names)",
    )
    dense("--device", help="where queries are encoded (default: cpu) and documents rescored")
    dense("--pooling", choices=("cls", "mean", "last"), help="for checkpoints without a preset")
    dense("--l2-norm", action="store_true", default=None, help="normalise query vectors")
    dense("--query-prefix", metavar="TEXT", help="put before each query")
    dense("--max-length", type=int, help="tokens of a query")
    dense("--encoder-arg", action="append", metavar="NAME=VALUE", help="any option of the encoder")
    dense("--ef-search", type=int, help="breadth of an HNSW search")
    dense("--nprobe", type=int, help="lists visited in a FAISS IVF index")
    dense(
        "--index-arg",
        action="append",
        metavar="NAME=VALUE",
        help="multi-vector store: candidates=FOLDER (of index.muvera), depth=N, average=true",
    )
    dense("--missing-vector", choices=MISSING, help="document without vector (default: error)")

    sparse = parser.add_argument_group("sparse retrieval").add_argument
    sparse("--sparse-index", metavar="FOLDER", help="Lucene index")
    sparse(
        "--sparse-searcher",
        "--first-stage",
        metavar="NAME",
        help="searcher plugin (default: bm25)",
    )
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

    rescore = parser.add_argument_group("rescoring").add_argument
    rescore(
        "--rescore-store",
        metavar="FOLDER",
        help="vectors (a multi-vector store, too) that score what the sparse side found; takes the "
        "place of --index",
    )
    rescore("--rescore-backend", choices=("auto", *BACKENDS), help="default: auto, the fastest")
    rescore(
        "--early-stopping",
        choices=EARLY_STOP,
        help="leave out documents that cannot (bound) or will hardly (estimate) enter the result",
    )

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
    mix(
        "--sparse-hits",
        type=int,
        help=f"depth of the sparse list (default: --hits; to rescore at least {DEPTH})",
    )

    prf = parser.add_argument_group("feedback").add_argument
    prf(
        "--prf",
        "--prf-method",
        dest="prf",
        metavar="NAME",
        help="avg, rocchio, ance-prf, gqr, colbert-prf, rm3, …",
    )
    prf("--prf-depth", type=int, help="feedback documents (default: the method's own)")
    prf("--prf-iterations", type=int, help="rounds (default: 1)")
    prf("--prf-renormalise", action="store_true", default=None, help="refined vectors to length 1")
    prf(
        "--prf-encoder",
        "--ance-prf-encoder",
        metavar="CHECKPOINT",
        help="ance-prf: the query encoder of the second round",
    )
    prf(
        "--prf-text",
        metavar="PLACE",
        help="ance-prf: Lucene index that stores texts, or collection (default: --sparse-index)",
    )
    prf("--rocchio-alpha", type=float, help="default: 0.4")
    prf("--rocchio-beta", type=float, help="default: 0.6")
    prf("--rocchio-gamma", type=float, help="default: 0.1, used with --rocchio-bottomk")
    prf("--rocchio-topk", type=int, help="positive documents (default: all of --prf-depth)")
    prf("--rocchio-bottomk", type=int, help="negative documents (default: 0)")
    prf("--prf-arg", action="append", metavar="NAME=VALUE", help="any parameter of the method")

    return parser


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read and check the command line; nothing is opened."""
    args = make_parser().parse_args(argv)
    check(args)
    return args
