"""``python -m pyserini_ext.search``: retrieval, feedback and interpolation to a run file."""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, cast

from pyserini_ext.command import run_command
from pyserini_ext.errors import InputError
from pyserini_ext.files import write_json
from pyserini_ext.fusion.interpolation import Interpolation, alpha_path
from pyserini_ext.plugins import create
from pyserini_ext.provenance import beside, describe
from pyserini_ext.rescore.backend import Backend
from pyserini_ext.rescore.scoring import make_backend
from pyserini_ext.run import Run, RunWriter
from pyserini_ext.search.arguments import (
    existing,
    holds_tokens,
    merge,
    prf_options,
    refines_terms,
    rules,
    sparse_options,
    takes_guide,
)
from pyserini_ext.search.base import Searcher
from pyserini_ext.search.dense import DenseSearcher
from pyserini_ext.search.feedback import FeedbackSearcher
from pyserini_ext.search.guided import GuidedSearcher, check_guided
from pyserini_ext.search.options import parse_args
from pyserini_ext.search.rescoring import RescoringSearcher
from pyserini_ext.search.staged import InterpolatedSearcher, StagedSearcher
from pyserini_ext.search.term_feedback import TermFeedbackSearcher
from pyserini_ext.search.vector_searcher import VectorSearcher
from pyserini_ext.topics import load_topics

STAGED = StagedSearcher | TermFeedbackSearcher
"""Searchers that can return what led to their result."""


def build(args: argparse.Namespace) -> Searcher:
    """Put the searcher together that the options describe."""
    # What is quick to refuse is made first: it should not cost loading an index or a model.
    backend = _backend(args) if args.index or args.rescore_store else "auto"
    feedback = create("feedback", args.prf, **prf_options(args)) if args.prf else None
    if takes_guide(args):
        check_guided(feedback, args.interpolate)
    sparse = _sparse(args) if args.sparse_index else None
    if feedback is not None and refines_terms(args):
        sparse = TermFeedbackSearcher(cast("Any", sparse), feedback, args.prf_iterations or 1)
        feedback = None
    if not args.index and not args.rescore_store:
        assert sparse is not None
        return sparse
    dense = _dense(args, backend)
    if takes_guide(args):
        assert sparse is not None
        return GuidedSearcher(
            dense,
            feedback,
            sparse,
            args.interpolate,
            rules(args)[0] if args.interpolate else None,
            renormalise=bool(args.prf_renormalise),
            rescore=bool(args.rescore_store),
            dense_hits=args.dense_hits,
            sparse_hits=args.sparse_hits,
        )
    if feedback is not None:
        return FeedbackSearcher(
            dense,
            feedback,
            sparse,
            args.interpolate,
            rules(args)[0] if args.interpolate else None,
            iterations=args.prf_iterations or 1,
            renormalise=bool(args.prf_renormalise),
            rescore=bool(args.rescore_store),
            dense_hits=args.dense_hits,
            sparse_hits=args.sparse_hits,
            texts=args.prf_text,
        )
    if args.rescore_store:
        assert sparse is not None
        return RescoringSearcher(
            sparse,
            dense,
            rules(args)[0] if args.interpolate else None,
            depth=args.sparse_hits,
            early_stop=args.early_stopping,
        )
    if sparse is not None:
        return InterpolatedSearcher(
            dense,
            sparse,
            rules(args)[0],
            dense_hits=args.dense_hits,
            sparse_hits=args.sparse_hits,
        )
    return dense


def _backend(args: argparse.Namespace) -> Backend:
    # Devices that only torch knows encode queries; the CPU then rescores.
    device = args.device if (args.device or "").startswith(("cpu", "cuda")) else None
    return make_backend(args.rescore_backend or "auto", device, args.threads)


def _dense(args: argparse.Namespace, backend: str | Backend) -> VectorSearcher:
    if holds_tokens(args):
        return _late(args, backend)
    from pyserini_ext.encode import make_encoder

    options = {
        "device": args.device,
        "pooling": args.pooling,
        "normalise": args.l2_norm,
        "query_prefix": args.query_prefix,
        "max_length": args.max_length,
    }
    encoder = make_encoder(args.encoder, **merge(options, args.encoder_arg, "--encoder-arg"))
    return DenseSearcher(
        args.index or args.rescore_store,
        encoder,
        backend=backend,
        missing_vector=args.missing_vector or "error",
        ef_search=args.ef_search,
        nprobe=args.nprobe,
    )


def _late(args: argparse.Namespace, backend: str | Backend) -> VectorSearcher:
    options = merge({"device": args.device}, args.encoder_arg, "--encoder-arg")
    flags = {
        "index": args.index or args.rescore_store,
        "encoder": args.encoder,
        "missing_vector": args.missing_vector,
        "backend": backend,
        "encoder_options": options,
    }
    return create("searcher", "multi-vector", **merge(flags, args.index_arg, "--index-arg"))


def _sparse(args: argparse.Namespace) -> Searcher:
    name = args.sparse_searcher or "bm25"
    return create("searcher", name, index=args.sparse_index, **sparse_options(args))


class Output:
    """The run files of one command, of every stage and weight, written batch by batch.

    Parameters
    ----------
    args : Namespace
    stack : ExitStack
        Closes the files: all of them appear when it closes well, none when it does not.
    """

    def __init__(self, args: argparse.Namespace, stack: ExitStack) -> None:
        self.args, self.stack = args, stack
        self.writers: dict[Path, RunWriter] = {}

    def path(self, stage: str | None, alpha: float | None) -> Path:
        """Return the file of a stage (``None``: the result) under a weight."""
        path = Path(self.args.output)
        if stage is not None:
            path = path.with_name(f"{path.stem}.{stage}{path.suffix}")
        return path if alpha is None else alpha_path(path, alpha, len(self.args.alpha or [0.5]))

    def write(self, stages: Mapping[str, Run], alpha: float, first: bool) -> None:
        """Write one batch under one weight; stages without a weight come with the first."""
        *earlier, result = stages
        for stage in earlier if self.args.save_stages else ():
            weighted = stage not in ("dense", "sparse")
            if weighted or first:
                self._write(self.path(stage, alpha if weighted else None), stages[stage])
        self._write(self.path(None, alpha), stages[result])

    def _write(self, path: Path, run: Run) -> None:
        if path not in self.writers:
            writer = RunWriter(path, format=self.args.output_format, tag=self.args.tag)
            self.writers[path] = self.stack.enter_context(writer)
        for qid, hits in run.items():
            self.writers[path].write(qid, hits.without([qid]) if self.args.remove_query else hits)


def search_batch(
    searcher: Searcher,
    queries: Sequence[str],
    qids: Sequence[str],
    args: argparse.Namespace,
    weights: Sequence[Interpolation],
) -> list[Mapping[str, Run]]:
    """Return, for each weight, the runs by stage of one batch."""
    if isinstance(searcher, STAGED) and (args.save_stages or len(weights) > 1):
        # A plugin that interpolates knows its own weight.
        grid = weights if args.interpolate else None
        return list(
            searcher.batch_stages(
                queries, qids, args.hits, args.threads, grid, every=args.save_stages
            )
        )
    return [{"result": searcher.batch_search(queries, qids, args.hits, args.threads)}]


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command."""
    args = parse_args(argv)
    started = time.perf_counter()
    topics = load_topics(args.topics)
    searcher = build(args)
    if args.save_stages and not isinstance(searcher, STAGED):
        raise InputError("--save-stages: this search has a single stage; leave the option out")
    weights = rules(args)
    ready = time.perf_counter()

    from tqdm import tqdm

    qids = list(topics)
    with ExitStack() as stack:
        output = Output(args, stack)
        bar = stack.enter_context(
            tqdm(total=len(qids), unit="query", disable=True if args.quiet else None)
        )
        for start in range(0, len(qids), args.batch_size):
            batch = qids[start : start + args.batch_size]
            queries = [topics[qid] for qid in batch]
            found = search_batch(searcher, queries, batch, args, weights)
            for number, (stages, rule) in enumerate(zip(found, weights, strict=True)):
                output.write(stages, rule.alpha, first=number == 0)
            bar.update(len(batch))
    finished = time.perf_counter()

    dense = getattr(searcher, "dense", searcher)
    backend = {"rescore_backend": dense.backend.name} if isinstance(dense, VectorSearcher) else {}
    record = describe(
        vars(args),
        {"topics": args.topics, **existing(args)},
        **backend,
        queries=len(qids),
        runs=[str(path) for path in output.writers],
        seconds={"start": round(ready - started, 3), "search": round(finished - ready, 3)},
    )
    for rule in weights:
        write_json(beside(output.path(None, rule.alpha)), record)
    for path in output.writers:
        print(path)


if __name__ == "__main__":
    run_command(main)
