"""What a PRF query encoder is trained on: queries, what a first stage found, texts, vectors."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from pyserini_ext.errors import InputError
from pyserini_ext.evaluate.qrels import read_qrels
from pyserini_ext.hits import Hits
from pyserini_ext.index.open import open_vectors
from pyserini_ext.index.vectors import VectorStore
from pyserini_ext.run import iter_run
from pyserini_ext.topics import load_topics

SEARCHED = 512
"""Queries searched at a time."""


@dataclass(frozen=True)
class PrfQueries:
    """Judged queries and the store that their documents' vectors are in.

    Attributes
    ----------
    train, dev : dict of str to str
        qid to text; only queries with a relevant document in the store.
    judged : dict of str to dict of str to int
        Of both.
    store : VectorStore
    """

    train: dict[str, str]
    dev: dict[str, str]
    judged: dict[str, dict[str, int]]
    store: VectorStore


class Found(NamedTuple):
    """What the first stage found for a query.

    Attributes
    ----------
    docids : list of str
        The first k.
    rows : ndarray of int32
        Of the store, best first, as deep as negatives are drawn.
    """

    docids: list[str]
    rows: np.ndarray


class PrfExample(NamedTuple):
    """A query to train on.

    Attributes
    ----------
    tokens : list of int
        Of query and feedback documents, as the model gets them.
    rows : ndarray of int32
        Of the store: what the first stage found.
    positives : ndarray of int32
        Of the store: documents known to be relevant.
    anchor : ndarray of float32, shape (dimension,), or None
        The query's Rocchio vector.
    topic : bool
        True: these are not pseudo-queries.
    """

    tokens: list[int]
    rows: np.ndarray
    positives: np.ndarray
    anchor: np.ndarray | None = None
    topic: bool = True


def read_queries(args: argparse.Namespace) -> PrfQueries:
    """Read queries and judgements, and hold some out.

    Raises
    ------
    InputError
        If no query has a relevant document with a vector, or none is left to train on.
    """
    store = open_vectors(args.index)
    if store.metric == "l2":
        raise InputError(
            f"{args.index} is searched by distance, but what is trained is the inner product; give "
            "an index for the inner product or the cosine"
        )
    judged = read_qrels(args.qrels)
    train = _usable(load_topics(args.topics), judged, store, args.qrels)
    dev: dict[str, str] = {}
    if args.dev_topics:
        own = read_qrels(args.dev_qrels)
        for qid, text in _usable(load_topics(args.dev_topics), own, store, args.dev_qrels).items():
            dev[qid], judged[qid] = text, own[qid]
        both = sorted(set(train) & set(dev))
        if both:
            raise InputError(
                f"{len(both)} queries (such as {both[0]!r}) are in --topics and in --dev-topics; "
                "the epoch would be chosen on queries that were trained on"
            )
    elif args.dev_fraction:
        qids = np.random.default_rng([args.seed, 4]).permutation(np.array(list(train), object))
        count = max(1, round(args.dev_fraction * len(qids)))
        if count >= len(qids):
            raise InputError(
                f"--dev-fraction {args.dev_fraction} of {len(qids)} queries leaves none to train on"
            )
        chosen = set(qids[:count])
        dev = {qid: text for qid, text in train.items() if qid in chosen}
        train = {qid: text for qid, text in train.items() if qid not in chosen}
    return PrfQueries(train, dev, judged, store)


def _usable(
    topics: dict[str, str], judged: dict[str, dict[str, int]], store: VectorStore, name: str
) -> dict[str, str]:
    usable = {q: t for q, t in topics.items() if len(positives(judged.get(q, {}), store))}
    if not usable:
        raise InputError(
            f"none of {len(topics)} queries has a relevant document with a vector: {name} judges "
            f"{len(topics.keys() & judged.keys())} of them; qids and docids must be those of the "
            "topics and of the index"
        )
    return usable


def positives(judged: dict[str, int], store: VectorStore) -> np.ndarray:
    """Return the rows of relevant documents, int32; those without a vector are left out."""
    rows = store.rows([docid for docid, grade in judged.items() if grade > 0])
    return rows[rows >= 0]


def first_stage(
    queries: PrfQueries, run: str | None, encoder: Any, k: int, depth: int, threads: int
) -> dict[str, Found]:
    """Return what a run file, or a search with the initial encoder, has for each query.

    Parameters
    ----------
    queries : PrfQueries
    run : str or None
        File.
    encoder : object or None
        Used where there is no run.
    k, depth, threads : int

    Returns
    -------
    dict of str to Found
        Queries for which nothing was found are left out.

    Raises
    ------
    InputError
        If the run has other queries or documents.
    """
    texts = queries.train | queries.dev
    store, deepest = queries.store, max(k, depth)
    lists = iter_run(run) if run else _searched(texts, store, encoder, deepest, threads)
    found = {}
    for qid, hits in lists:
        if qid in texts and len(hits):
            docids = hits.docids[:deepest]
            rows = store.rows(docids)
            if (rows < 0).any():
                raise store.lacks(docids[rows < 0], len(docids))
            found[qid] = Found(docids[:k].tolist(), rows[:depth])
    for role, some in (("training", queries.train), ("dev", queries.dev)):
        if some and not some.keys() & found.keys():
            raise InputError(f"{run or 'the first stage'} has hits for none of the {role} queries")
    return found


def _searched(
    texts: dict[str, str], store: VectorStore, encoder: Any, depth: int, threads: int
) -> Iterator[tuple[str, Hits]]:
    from tqdm import tqdm

    qids = list(texts)
    with tqdm(total=len(qids), unit="query", desc="first stage", delay=5) as bar:
        for start in range(0, len(qids), SEARCHED):
            some = qids[start : start + SEARCHED]
            vectors = store.check_queries(encoder.encode([texts[qid] for qid in some]))
            yield from zip(some, store.search(vectors, depth, threads), strict=True)
            bar.update(len(some))
