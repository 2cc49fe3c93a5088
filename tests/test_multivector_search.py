"""The searcher of late interaction: everything, candidates by MUVERA, those of a first stage."""

import json
from itertools import pairwise

import numpy as np
import pytest

from pyserini_ext.encode.__main__ import main as encode
from pyserini_ext.encode.multivector import QueryTokens
from pyserini_ext.errors import InputError
from pyserini_ext.hits import Hits
from pyserini_ext.index import muvera
from pyserini_ext.index.tokens_writer import TokenWriter
from pyserini_ext.plugins import create
from pyserini_ext.run import Run
from pyserini_ext.search.__main__ import main as search
from pyserini_ext.search.base import Searcher
from pyserini_ext.search.multivector import MultiVectorSearcher

LENGTHS = [3, 6, 0, 2, 5, 1, 4, 7]
QUERIES = ["one", "three words here", "two words"]


class Words:
    """A random unit vector for each word."""

    def encode_queries(self, queries):
        mask = np.array([[i < len(q.split()) for i in range(3)] for q in queries])
        vectors = np.zeros((*mask.shape, 16), dtype=np.float32)
        for own, query in zip(vectors, queries, strict=True):
            for vector, word in zip(own, query.split(), strict=False):
                made = np.random.default_rng(sum(map(ord, word))).standard_normal(16)
                vector[:] = made / np.linalg.norm(made)
        return QueryTokens(vectors, mask)


class First(Searcher):
    """Gives documents 0 to 4, whatever is asked."""

    def batch_search(self, queries, qids, k=10, threads=1):
        return Run(
            {qid: Hits(["d0", "d1", "d2", "d3", "d4"][:k], np.arange(5.0)[:k]) for qid in qids}
        )


@pytest.fixture
def store(tmp_path):
    rng = np.random.default_rng(0)
    offsets = np.concatenate([[0], np.cumsum(LENGTHS)]).astype(np.int64)
    tokens = rng.standard_normal((offsets[-1], 16))
    tokens /= np.linalg.norm(tokens, axis=1, keepdims=True)
    docids = [f"d{i}" for i in range(len(LENGTHS))]
    with TokenWriter(tmp_path / "tokens", 16) as out:
        out.append_tokens(docids, tokens, offsets)
    return tmp_path / "tokens"


def exact(searcher, query):
    """Every document's score by loops in float64; None without tokens."""
    vectors, mask = Words().encode_queries([query])
    own = vectors[0][mask[0]].astype(np.float16).astype(float)
    data, bounds = (
        searcher.store.documents.rows.data.astype(float),
        searcher.store.documents.offsets,
    )
    found = {}
    for docid, (start, stop) in zip(searcher.store.docids, pairwise(bounds), strict=True):
        if start < stop:
            found[docid] = sum(max(q @ d for d in data[start:stop]) for q in own)
    return found


def assert_hits(hits, scores):
    wanted = sorted(scores.items(), key=lambda pair: -pair[1])
    assert hits.docids.tolist() == [docid for docid, _ in wanted]
    np.testing.assert_allclose(hits.scores, [score for _, score in wanted], atol=1e-4)


@pytest.mark.parametrize("backend", ["auto", "numpy"])
def test_all_documents_are_scored(store, backend):
    searcher = MultiVectorSearcher(store, Words(), backend=backend)
    run = searcher.batch_search(QUERIES, ["a", "b", "c"], k=20)
    for query, hits in zip(QUERIES, run.values(), strict=True):
        assert_hits(hits, exact(searcher, query))
    assert searcher.batch_search(QUERIES, ["a", "b", "c"], k=2)["b"] == run["b"].head(2)


def test_scores_of_given_documents(store):
    searcher = MultiVectorSearcher(store, Words())
    found = searcher.score(QUERIES, [["d5", "d0"], [], ["d2", "d7", "d7"]])
    first, last = exact(searcher, QUERIES[0]), exact(searcher, QUERIES[2])
    np.testing.assert_allclose(found[0], [first["d5"], first["d0"]], atol=1e-4)
    assert found[1].shape == (0,)
    assert found[2][0] == -np.inf
    np.testing.assert_allclose(found[2][1:], [last["d7"]] * 2, atol=1e-4)
    assert {own.dtype for own in found} == {np.dtype(np.float32)}
    with pytest.raises(InputError, match="'d9' is not in"):
        searcher.score(["one"], [["d1", "d9"]])
    average = MultiVectorSearcher(store, Words(), average=True)
    np.testing.assert_allclose(average.score(QUERIES, [["d0"]] * 3)[1], found_of(searcher, 1) / 3)
    hits = average.batch_search(QUERIES, ["a", "b", "c"])["c"]
    assert_hits(hits, {docid: score / 2 for docid, score in last.items()})


def found_of(searcher, number):
    return searcher.score(QUERIES, [["d0"]] * 3)[number]


def test_the_documents_of_a_first_stage(store):
    searcher = MultiVectorSearcher(store, Words(), first_stage=First())
    for query, hits in zip(QUERIES, searcher.batch_search(QUERIES, "abc").values(), strict=True):
        scores = exact(searcher, query)
        assert_hits(hits, {docid: scores[docid] for docid in ("d0", "d1", "d3", "d4")})
    few = MultiVectorSearcher(store, Words(), first_stage=First(), depth=2)
    assert set(few.search("one").docids) == {"d0", "d1"}


def test_candidates_by_encodings(store, tmp_path):
    sizes = ["--repetitions", "8", "--bits", "2", "--projected", "8"]
    muvera.main(["--input", str(store), "--output", str(tmp_path / "fde"), *sizes])
    whole = MultiVectorSearcher(store, Words()).batch_search(QUERIES, "abc")
    searcher = MultiVectorSearcher(store, Words(), candidates=tmp_path / "fde")
    assert searcher.batch_search(QUERIES, "abc") == whole
    shallow = MultiVectorSearcher(store, Words(), candidates=tmp_path / "fde", depth=3)
    vectors, mask = shallow.encode(QUERIES)
    first = shallow.candidates(vectors, mask, 3)
    for hits, found in zip(first, shallow.batch_search(QUERIES, "abc").values(), strict=True):
        assert set(found.docids) == set(hits.docids) - {"d2"}
    with TokenWriter(tmp_path / "other", 16) as out:
        out.append_tokens(["d0"], np.ones((1, 16)), np.array([0, 1]))
    with pytest.raises(InputError, match="were not made from"):
        MultiVectorSearcher(tmp_path / "other", Words(), candidates=tmp_path / "fde")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"depth": 0}, "depth is 0"),
        ({"depth": 5}, "depth is about"),
        ({"first_stage": "bm25"}, "belong together"),
        ({"first_index": "x"}, "belong together"),
        ({"first_stage": First(), "candidates": "x"}, "leave one out"),
        ({"backend": "fast"}, "choose one of auto"),
    ],
)
def test_arguments_that_contradict(store, options, message):
    with pytest.raises(InputError, match=message):
        MultiVectorSearcher(store, Words(), **options)


def test_a_store_that_does_not_name_its_encoder(store):
    with pytest.raises(InputError, match="give encoder="):
        MultiVectorSearcher(store).search("a")
    with pytest.raises(InputError, match="no encodings"):
        MultiVectorSearcher(store).candidates(np.ones((1, 1, 16)), np.ones((1, 1), bool), 3)


def test_the_commands(tmp_path, minilm_path):
    texts = ["sound is a wave", "the moon turns around the earth", "bread is baked from flour"]
    lines = [json.dumps({"id": f"d{i}", "contents": text}) for i, text in enumerate(texts)]
    (tmp_path / "corpus.jsonl").write_text("\n".join(lines))
    (tmp_path / "topics.tsv").write_text("1\twaves of sound\n2\tbaking bread\n")
    tokens, runs = str(tmp_path / "tokens"), tmp_path / "run.txt"
    corpus = ["--corpus", str(tmp_path / "corpus.jsonl"), "--output", tokens]
    assert encode([*corpus, "--encoder", "minilm", "--to", "multivector"]) == 0
    topics = ["--topics", str(tmp_path / "topics.tsv"), "--output", str(runs), "--quiet"]
    search([*topics, "--sparse-index", tokens, "--sparse-searcher", "multi-vector"])
    assert {qid: hits.docids[0] for qid, hits in Run.read(runs).items()} == {"1": "d0", "2": "d2"}
    # The encoder is the one that the store names.
    named = create("searcher", "multi-vector", index=tokens, encoder="minilm")
    read = Run.read(runs)["1"]
    np.testing.assert_allclose(named.search("waves of sound").scores, read.scores, atol=1e-4)
