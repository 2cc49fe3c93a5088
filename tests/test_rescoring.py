"""Rescoring what a first stage found, against plain float64, with and without early stopping."""

import faiss
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyserini_ext.errors import InputError
from pyserini_ext.feedback.vector import Rocchio
from pyserini_ext.fusion import Interpolation
from pyserini_ext.hits import Hits
from pyserini_ext.index.open import open_vectors
from pyserini_ext.run import Run
from pyserini_ext.search.base import Searcher
from pyserini_ext.search.dense import DenseSearcher
from pyserini_ext.search.early_stop import greatest_scores, interpolate_early
from pyserini_ext.search.feedback import FeedbackSearcher
from pyserini_ext.search.rescoring import RescoringSearcher

N, D = 300, 16
DOCIDS = [f"d{i:03}" for i in range(N)]
QUERIES = ["one", "two", "three", "nothing"]
QIDS = ["1", "2", "3", "4"]


class Encoder:
    def encode(self, queries):
        seeds = [sum(q.encode()) for q in queries]
        return np.array([np.random.default_rng(s).standard_normal(D) for s in seeds], np.float32)


class Sparse(Searcher):
    """Ranks by a table of scores; every list is a different part of the collection."""

    def __init__(self, docids=DOCIDS):
        random = np.random.default_rng(3)
        self.table = {
            query: Hits(
                docids[start : start + 200], random.integers(1, 60, 200).astype(np.float32) / 4
            )
            for start, query in zip((0, 50, 100), QUERIES, strict=False)
        }
        self.table["nothing"] = Hits([], np.empty(0, np.float32))

    def batch_search(self, queries, qids, k=10, threads=1):
        return Run((i, self.table[q].head(k)) for q, i in zip(queries, qids, strict=True))


@pytest.fixture(scope="module")
def documents():
    return np.random.default_rng(11).standard_normal((N, D)).astype(np.float32)


def flat(folder, vectors, docids, metric=faiss.METRIC_INNER_PRODUCT):
    index = faiss.IndexFlat(D, metric)
    index.add(vectors)
    faiss.write_index(index, str(folder / "index"))
    (folder / "docid").write_text("".join(f"{d}\n" for d in docids))
    return folder


@pytest.fixture(scope="module", params=["ip", "l2"])
def dense(request, documents, tmp_path_factory):
    metric = faiss.METRIC_L2 if request.param == "l2" else faiss.METRIC_INNER_PRODUCT
    folder = flat(tmp_path_factory.mktemp("flat"), documents, DOCIDS, metric)
    return DenseSearcher(open_vectors(folder), Encoder())


def dense_scores(dense, documents, query):
    return score_all(dense, documents, Encoder().encode([query])[0])


def score_all(dense, documents, vector):
    vector = vector.astype(np.float64)
    own = documents.astype(np.float64)
    if dense.store.metric == "l2":
        return dict(zip(DOCIDS, -((own - vector) ** 2).sum(axis=1), strict=True))
    return dict(zip(DOCIDS, own @ vector, strict=True))


def best(scores, k):
    return sorted(scores, key=lambda docid: (-scores[docid], docid))[:k]


@pytest.mark.parametrize("depth", [1, 30, None])
@pytest.mark.parametrize("k", [1, 7, 1000])
def test_ranks_the_candidates_by_their_dense_scores(dense, documents, depth, k):
    first = Sparse()
    run = RescoringSearcher(first, dense, depth=depth).batch_search(QUERIES, QIDS, k)
    for query, qid in zip(QUERIES, QIDS, strict=True):
        table = dense_scores(dense, documents, query)
        expected = {d: table[d] for d in first.table[query].head(depth or 1000).docids}
        assert run[qid].docids.tolist() == best(expected, k)
        np.testing.assert_allclose(
            run[qid].scores, [expected[d] for d in run[qid].docids], rtol=1e-5, atol=1e-5
        )


def test_all_documents_as_candidates_give_dense_retrieval(dense):
    every = Sparse()
    every.table = dict.fromkeys(QUERIES, Hits(DOCIDS, np.ones(N, np.float32)))
    ours = RescoringSearcher(every, dense).batch_search(QUERIES, QIDS, N)
    theirs = dense.batch_search(QUERIES, QIDS, N)
    for qid in QIDS:
        assert ours[qid].docids.tolist() == theirs[qid].docids.tolist()
        np.testing.assert_allclose(ours[qid].scores, theirs[qid].scores, rtol=2e-6, atol=2e-6)


@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
def test_interpolates_raw_scores(dense, documents, alpha):
    first, rule = Sparse(), Interpolation(alpha, normalise="none")
    run = RescoringSearcher(first, dense, rule).batch_search(QUERIES, QIDS, 50)
    for query, qid in zip(QUERIES, QIDS, strict=True):
        table = dense_scores(dense, documents, query)
        expected = {
            hit.docid: alpha * hit.score + (1 - alpha) * table[hit.docid]
            for hit in first.table[query]
        }
        ours = run[qid]
        np.testing.assert_allclose(
            ours.scores, [expected[d] for d in best(expected, 50)], rtol=1e-5, atol=1e-5
        )
        np.testing.assert_allclose(ours.scores, [expected[d] for d in ours.docids], 1e-5, 1e-5)


def test_a_grid_of_weights_scores_the_candidates_once(dense):
    calls = []
    counted = DenseSearcher(dense.store, Encoder())
    counted.score_vectors = lambda *given: calls.append(1) or dense.score_vectors(*given)
    searcher = RescoringSearcher(Sparse(), counted, alpha=0.5)
    rules = [Interpolation(alpha) for alpha in (0.1, 0.5, 0.9)]
    grid = searcher.batch_stages(QUERIES, QIDS, 20, rules=rules, every=True)
    assert len(calls) == 1
    assert [list(stages) for stages in grid] == [["sparse", "dense", "interpolated"]] * 3
    for rule, stages in zip(rules, grid, strict=True):
        alone = RescoringSearcher(Sparse(), dense, rule).batch_search(QUERIES, QIDS, 20)
        assert dict(stages["interpolated"]) == dict(alone)


@pytest.mark.parametrize("alpha", [0.05, 0.5, 0.95])
@pytest.mark.parametrize("k", [1, 10, 100])
def test_early_stopping_by_the_bound_changes_nothing(dense, alpha, k):
    rule = Interpolation(alpha, normalise="none")
    full = RescoringSearcher(Sparse(), dense, rule)
    early = RescoringSearcher(Sparse(), dense, rule, early_stop="bound")
    assert dict(early.batch_search(QUERIES, QIDS, k)) == dict(full.batch_search(QUERIES, QIDS, k))
    assert full.looked_up == 600
    assert early.looked_up <= full.looked_up
    if (alpha, k) == (0.95, 1):
        assert early.looked_up < full.looked_up


def test_an_estimate_looks_no_more_documents_up_than_the_bound(dense):
    rule = Interpolation(0.8, normalise="none")
    searchers = [
        RescoringSearcher(Sparse(), dense, rule, early_stop=s) for s in ("bound", "estimate")
    ]
    for searcher in searchers:
        searcher.batch_search(QUERIES, QIDS, 10)
    assert searchers[1].looked_up <= searchers[0].looked_up


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    n=st.integers(0, 400),
    k=st.integers(1, 50),
    alpha=st.floats(0, 1),
    levels=st.integers(1, 20),
)
def test_early_stopping_is_exact_for_any_scores_under_the_bound(seed, n, k, alpha, levels):
    random = np.random.default_rng(seed)
    docids = [f"d{i}" for i in random.permutation(n)]
    # Few levels make ties, at the boundary of the result as well.
    sparse = Hits(docids, random.integers(0, levels + 1, n).astype(np.float32))
    table = dict(
        zip(docids, random.integers(-levels, levels + 1, n).astype(np.float32), strict=True)
    )
    rule = Interpolation(alpha, normalise="none")

    def score(numbers, wanted):
        assert numbers == [0]
        return [np.array([table[d] for d in some], np.float32) for some in wanted]

    (early,), looked_up = interpolate_early([sparse], rule, k, score, np.array([float(levels)]))
    everything = Hits(docids, np.array([table[d] for d in docids], np.float32))
    assert early == rule.fuse(sparse, everything, k)
    assert looked_up <= n


@pytest.mark.parametrize("metric", ["ip", "cosine", "l2"])
def test_no_score_exceeds_the_greatest(metric):
    random = np.random.default_rng(1)
    queries = random.standard_normal((50, D)).astype(np.float32)
    rows = np.concatenate([queries * 3, random.standard_normal((50, D)).astype(np.float32)])
    longest = np.linalg.norm(rows.astype(np.float64), axis=1).max()
    products = queries @ rows.T
    scores = {
        "ip": products,
        "cosine": products
        / np.outer(np.linalg.norm(queries, axis=1), np.linalg.norm(rows, axis=1)),
        "l2": -((queries[:, None] - rows[None]) ** 2).sum(axis=2),
    }[metric]
    assert (scores.max(axis=1) <= greatest_scores(queries, metric, longest)).all()


def test_documents_without_a_vector(documents, tmp_path):
    folder = flat(tmp_path, documents[:250], DOCIDS[:250])
    with pytest.raises(InputError, match=r"d2\d\d' has no vector"):
        RescoringSearcher(Sparse(), DenseSearcher(folder, Encoder())).search("three", 200)
    skip = DenseSearcher(folder, Encoder(), missing_vector="skip")
    full = RescoringSearcher(Sparse(), skip, Interpolation(0.5, "none"))
    hits = full.search("three", 200)
    assert sorted(hits.docids) == DOCIDS[100:250]
    early = RescoringSearcher(Sparse(), skip, Interpolation(0.5, "none"), early_stop="bound")
    # How the store sums may depend on what else it is asked for.
    assert early.search("three", 200).docids.tolist() == hits.docids.tolist()
    np.testing.assert_allclose(early.search("three", 200).scores, hits.scores, atol=2e-6)


def test_feedback_rescores_the_same_candidates(dense, documents):
    first = Sparse()
    rocchio = Rocchio(depth=5, alpha=0.4, beta=0.6)
    searcher = FeedbackSearcher(dense, rocchio, first, rescore=True, sparse_hits=200)
    run = searcher.batch_search(QUERIES, QIDS, 20)
    for query, qid in zip(QUERIES[:3], QIDS, strict=False):
        table = dense_scores(dense, documents, query)
        top = best({d: table[d] for d in first.table[query].docids}, 5)
        rows = [DOCIDS.index(d) for d in top]
        vector = 0.4 * Encoder().encode([query])[0] + 0.6 * documents[rows].mean(axis=0)
        again = score_all(dense, documents, vector)
        again = {d: again[d] for d in first.table[query].docids}
        assert run[qid].docids.tolist() == best(again, 20)
    assert len(run["4"]) == 0


def test_feedback_on_rescored_lists_interpolates(dense):
    rule = Interpolation(0.5)
    searcher = FeedbackSearcher(dense, Rocchio(depth=3), Sparse(), "both", rule, rescore=True)
    (stages,) = searcher.batch_stages(QUERIES, QIDS, 100, every=True)
    assert list(stages) == ["dense", "sparse", "before", "feedback", "after"]
    candidates = set(Sparse().batch_search(QUERIES, QIDS, 1000)["1"].docids)
    for run in stages.values():
        assert len(run["1"]) == 100
        assert set(run["1"].docids) <= candidates


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"depth": 0}, "depth is 0"),
        ({"early_stop": "soon", "alpha": 0.5}, "'soon'; choose one of bound, estimate"),
        ({"early_stop": "bound"}, "needs interpolation"),
        ({"early_stop": "bound", "alpha": 0.5}, "needs normalise='none'"),
    ],
)
def test_refuses_what_cannot_be_right(dense, options, message):
    with pytest.raises(InputError, match=message):
        RescoringSearcher(Sparse(), dense, **options)


def test_refuses_a_searcher_without_vectors():
    with pytest.raises(InputError, match="Sparse has not; give a DenseSearcher"):
        RescoringSearcher(Sparse(), Sparse())


def test_feedback_needs_a_sparse_side_to_rescore(dense):
    with pytest.raises(InputError, match="rescore needs a sparse searcher"):
        FeedbackSearcher(dense, Rocchio(), rescore=True)
