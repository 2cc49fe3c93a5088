"""ColBERT-PRF from end to end: every round, every interpolation, the command, in float64 loops."""

import json
from collections import Counter
from itertools import pairwise
from typing import ClassVar

import numpy as np
import pytest

import pyserini_ext as px
from pyserini_ext.encode.__main__ import main as encode
from pyserini_ext.errors import InputError
from pyserini_ext.hits import Hits
from pyserini_ext.index.tokens_writer import TokenWriter
from pyserini_ext.rescore.query_tokens import QueryTokens
from pyserini_ext.run import Run
from pyserini_ext.search.__main__ import main as search
from pyserini_ext.search.base import Searcher

QUERIES, QIDS = ["a", "b c", "d e f"], ["1", "2", "3"]
DOCIDS = [f"d{i}" for i in range(12)]
METHOD = {"depth": 2, "clusters": 99, "expansions": 4, "beta": 0.8, "nearest": 3}
"""More clusters than the feedback has tokens: each is a cluster, whatever k-means does."""


class Letters:
    """A random vector for each word."""

    def encode_queries(self, queries):
        words = [query.split() for query in queries]
        mask = np.array([[i < len(own) for i in range(3)] for own in words])
        vectors = np.zeros((*mask.shape, 8), dtype=np.float32)
        for row, own in enumerate(words):
            for place, word in enumerate(own):
                vectors[row, place] = np.random.default_rng(ord(word)).standard_normal(8)
        return QueryTokens(vectors, mask)


class Sparse(Searcher):
    """Scores that have nothing to do with the query; half of the documents are not found."""

    SCORES: ClassVar[dict[str, float]] = {d: float(i * 7 % 12) for i, d in enumerate(DOCIDS)}

    def batch_search(self, queries, qids, k=10, threads=1):
        found = DOCIDS[::2]
        return Run({qid: Hits(found, [self.SCORES[d] for d in found]).head(k) for qid in qids})

    def score(self, queries, docids):
        return [np.array([self.SCORES[d] for d in own], np.float32) for own in docids]


@pytest.fixture
def late(tmp_path):
    rng = np.random.default_rng(1)
    offsets = np.concatenate([[0], np.cumsum(rng.integers(1, 7, len(DOCIDS)))])
    ids = rng.integers(-1, 9, offsets[-1])
    with TokenWriter(tmp_path / "s", 8) as out:
        out.append_tokens(DOCIDS, rng.standard_normal((offsets[-1], 8)), offsets, ids)
    return px.MultiVectorSearcher(tmp_path / "s", Letters())


def documents(late):
    """The tokens of each document: (id, vector) in float64."""
    store = late.store
    data = store.documents.rows.data[:, :8].astype(float)
    return {
        docid: list(zip(store.token_ids.ids[start:stop].tolist(), data[start:stop], strict=True))
        for docid, (start, stop) in zip(
            store.docids, pairwise(store.documents.offsets), strict=True
        )
    }


def scored(late, vectors):
    """MaxSim of every document; query tokens are rounded to float16, as the kernels have them."""
    own = [v.astype(np.float32).astype(np.float16).astype(float) for v in vectors]
    return {
        docid: sum(max(q @ v for _, v in tokens) for q in own)
        for docid, tokens in documents(late).items()
    }


def expanded(late, vectors, feedback):
    """The query with what ColBERT-PRF adds, from the definition."""
    held = documents(late)
    everything = [token for tokens in held.values() for token in tokens]
    found = []
    for _, vector in (token for docid in feedback for token in held[docid]):
        near = sorted(everything, key=lambda token: ((token[1] - vector) ** 2).sum())
        names = [name for name, _ in near[: METHOD["nearest"]] if name >= 0]
        if names:
            token = Counter(names).most_common(1)[0][0]
            df = sum(any(name == token for name, _ in tokens) for tokens in held.values())
            found.append((np.log((len(held) + 1) / (df + 1)), vector))
    found.sort(key=lambda pair: -pair[0])
    return [*vectors, *(METHOD["beta"] * idf * v for idf, v in found[: METHOD["expansions"]])]


def first(scores, k):
    return sorted(scores, key=lambda docid: (-scores[docid], docid))[:k]


def mixed(dense, alpha=0.3):
    """Min-max over all documents of both sides, as the default rule does where k is no limit."""
    tables = []
    for table in (Sparse.SCORES, dense):
        low, high = min(table.values()), max(table.values())
        tables.append({d: (score - low) / (high - low) for d, score in table.items()})
    return {d: alpha * tables[0][d] + (1 - alpha) * tables[1][d] for d in dense}


def wanted(late, row, when):
    tokens = Letters().encode_queries(QUERIES)
    own = [v.astype(float) for v in tokens.vectors[row][tokens.mask[row]]]
    dense = scored(late, own)
    ranked = mixed(dense) if when in ("before", "both") else dense
    again = scored(late, expanded(late, own, first(ranked, METHOD["depth"])))
    return mixed(again) if when in ("after", "both") else again


def assert_run(run, late, when, k=12):
    for row, hits in enumerate(run.values()):
        scores = wanted(late, row, when)
        assert hits.docids.tolist() == first(scores, k)
        np.testing.assert_allclose(hits.scores, [scores[d] for d in hits.docids], atol=2e-3)


@pytest.mark.parametrize("again", [True, False])
@pytest.mark.parametrize("when", [None, "before", "after", "both"])
def test_every_round_in_loops(late, when, again):
    sides = {"sparse": Sparse(), "interpolate": when, "alpha": 0.3} if when else {}
    method = px.ColBERTPRF(**METHOD, search=again)
    searcher = px.FeedbackSearcher(late, method, **sides)
    # Twelve documents: all are ranked in each round, so reranking and searching are the same.
    assert_run(searcher.batch_search(QUERIES, QIDS, k=12), late, when)


def test_reranking_keeps_the_documents_of_the_first_round(late):
    method = px.ColBERTPRF(**METHOD, search=False)
    run = px.FeedbackSearcher(late, method, dense_hits=4).batch_search(QUERIES, QIDS, k=4)
    before = late.batch_search(QUERIES, QIDS, k=4)
    for row, (qid, hits) in enumerate(run.items()):
        assert set(hits.docids) == set(before[qid].docids)
        scores = {d: s for d, s in wanted(late, row, None).items() if d in hits.docids}
        assert hits.docids.tolist() == first(scores, 4)


def test_one_query_at_a_time(late):
    searcher = px.FeedbackSearcher(late, px.ColBERTPRF(**METHOD))
    together = searcher.batch_search(QUERIES, QIDS, k=12)
    for query, qid in zip(QUERIES, QIDS, strict=True):
        alone = searcher.search(query, k=12)
        assert alone.docids.tolist() == together[qid].docids.tolist()


def test_a_store_without_token_ids_is_refused_before_a_search(tmp_path):
    with TokenWriter(tmp_path / "s", 8) as out:
        out.append_tokens(["d1"], np.ones((1, 8)), np.array([0, 1]))
    late = px.MultiVectorSearcher(tmp_path / "s", Letters())
    with pytest.raises(InputError, match="encode again with"):
        px.FeedbackSearcher(late, px.ColBERTPRF())


TEXTS = {
    "d1": "the wing of an aeroplane in a slipstream",
    "d2": "heat flows through a metal plate",
    "d3": "lift and drag of a thin wing",
    "d4": "music for string instruments",
    "d5": "measuring the temperature of a hot plate",
}


@pytest.fixture(scope="module")
def encoded(tmp_path_factory, minilm_path):
    folder = tmp_path_factory.mktemp("encoded")
    rows = [json.dumps({"id": docid, "contents": text}) for docid, text in TEXTS.items()]
    (folder / "corpus.jsonl").write_text("\n".join(rows))
    (folder / "queries.tsv").write_text("1\tlift of a wing\n2\thot metal\n")
    given = ["--corpus", str(folder / "corpus.jsonl"), "--encoder", "minilm", "--to", "multivector"]
    assert encode([*given, "--output", str(folder / "tokens")]) == 0
    assert encode([*given, "--output", str(folder / "pooled"), "--clusters", "3"]) == 0
    return folder


def command(folder, *options, index="tokens"):
    output = folder / "run.txt"
    given = ["--index", str(folder / index), "--topics", str(folder / "queries.tsv"), "--quiet"]
    search([*given, "--prf", "colbert-prf", *options, "--output", str(output)])
    return Run.read(output)


@pytest.mark.parametrize("tokens_from", ["collection", "feedback"])
def test_the_command(encoded, tokens_from):
    options = ["--prf-depth", "2", "--prf-arg", "clusters=6", "--prf-arg", "expansions=3"]
    run = command(encoded, *options, "--prf-arg", f"tokens-from={tokens_from}")
    late = px.MultiVectorSearcher(encoded / "tokens")
    method = px.ColBERTPRF(depth=2, clusters=6, expansions=3, tokens_from=tokens_from)
    searcher = px.FeedbackSearcher(late, method)
    for qid, query in (("1", "lift of a wing"), ("2", "hot metal")):
        hits = searcher.search(query, k=5)
        assert run[qid].docids.tolist() == hits.docids.tolist()
        np.testing.assert_allclose(run[qid].scores, hits.scores, atol=1e-4)
        assert hits.docids[0] == {"1": "d3", "2": "d2"}[qid]
        # The original query tokens count as before: scores only grow by what is added.
        assert hits.scores[0] > late.search(query, k=1).scores[0]
    reranked = command(encoded, *options, "--prf-arg", f"tokens-from={tokens_from}",
                       "--prf-arg", "search=false")  # fmt: skip
    assert reranked["1"].docids.tolist() == run["1"].docids.tolist()


@pytest.mark.parametrize(
    ("options", "index", "message"),
    [
        ([], "pooled", r"encode again with python -m .* without --clusters"),
        (["--prf-arg", "clusters=10"], "tokens", "there must be more clusters"),
        (["--prf-arg", "fb_embs=5"], "tokens", "fb_embs"),
    ],
)
def test_mistakes_on_the_command_line(encoded, options, index, message):
    with pytest.raises(InputError, match=message):
        command(encoded, *options, index=index)
