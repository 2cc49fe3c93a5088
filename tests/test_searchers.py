"""Dense, interpolated and feedback searchers against a pipeline written in plain float64."""

import faiss
import numpy as np
import pytest

from pyserini_ext.errors import InputError
from pyserini_ext.feedback.vector import Average, Rocchio
from pyserini_ext.fusion import Interpolation
from pyserini_ext.hits import Hits
from pyserini_ext.index.open import open_vectors
from pyserini_ext.run import Run
from pyserini_ext.search.base import Searcher
from pyserini_ext.search.dense import DenseSearcher
from pyserini_ext.search.feedback import FeedbackSearcher
from pyserini_ext.search.staged import InterpolatedSearcher

N, D = 80, 8
DOCIDS = [f"d{i:02}" for i in range(N)]
QUERIES = ["one", "two", "three"]
QIDS = ["1", "2", "3"]


class Encoder:
    """A query is the seed of its vector."""

    def encode(self, queries):
        seeds = [sum(q.encode()) for q in queries]
        return np.array([np.random.default_rng(s).standard_normal(D) for s in seeds], np.float32)


class Sparse(Searcher):
    """Sparse scores from a table; most documents match nothing."""

    def __init__(self, table):
        self.table, self.calls = table, 0

    def batch_search(self, queries, qids, k=10, threads=1):
        self.calls += 1
        return Run(
            (qid, Hits(list(self.table[q]), np.array(list(self.table[q].values()), np.float32))[:k])
            for q, qid in zip(queries, qids, strict=True)
        )

    def score(self, queries, docids):
        return [
            np.array([self.table[q].get(d, 0) for d in wanted], np.float32)
            for q, wanted in zip(queries, docids, strict=True)
        ]


@pytest.fixture(scope="module")
def documents():
    return np.random.default_rng(11).standard_normal((N, D)).astype(np.float32)


@pytest.fixture(scope="module")
def dense(documents, tmp_path_factory):
    folder = tmp_path_factory.mktemp("flat")
    index = faiss.IndexFlatIP(D)
    index.add(documents)
    faiss.write_index(index, str(folder / "index"))
    (folder / "docid").write_text("".join(f"{d}\n" for d in DOCIDS))
    return DenseSearcher(open_vectors(folder), Encoder())


@pytest.fixture(scope="module")
def sparse():
    random = np.random.default_rng(5)
    return Sparse(
        {
            q: {DOCIDS[i]: float(random.integers(1, 40)) / 4 for i in random.choice(N, 12)}
            for q in QUERIES
        }
    )


def ranked(scores):
    return sorted(scores.items(), key=lambda pair: (-pair[1], pair[0]))


class Reference:
    """The whole pipeline over all documents, in float64 and dictionaries."""

    def __init__(self, documents, sparse):
        self.documents = documents.astype(np.float64)
        self.sparse = sparse.table

    def dense(self, vector):
        return dict(zip(DOCIDS, self.documents @ vector, strict=True))

    def mix(self, query, vector, alpha, k):
        """Interpolate the two top-k lists, both completed with exact scores, min-max."""
        dense, sparse = self.dense(vector), self.sparse[query]
        pool = {d for d, _ in ranked(dense)[:k]} | {d for d, _ in ranked(sparse)[:k]}

        def scaled(scores):
            scores = {d: scores.get(d, 0.0) for d in pool}
            low, high = min(scores.values()), max(scores.values())
            return {d: (s - low) / (high - low) for d, s in scores.items()}

        s, t = scaled(sparse), scaled(dense)
        return {d: alpha * s[d] + (1 - alpha) * t[d] for d in pool}

    def rocchio(self, vector, docids, a, b):
        return a * vector + b * np.mean([self.documents[DOCIDS.index(d)] for d in docids], axis=0)

    def feedback(self, query, when, alpha, k, depth, a, b, iterations=1):
        vector = Encoder().encode([query])[0].astype(np.float64)
        for _ in range(iterations):
            before = when in ("before", "both")
            scores = self.mix(query, vector, alpha, k) if before else self.dense(vector)
            vector = self.rocchio(vector, [d for d, _ in ranked(scores)[:depth]], a, b)
        after = when in ("after", "both")
        return ranked(self.mix(query, vector, alpha, k) if after else self.dense(vector))[:k]


def same(hits, expected):
    assert [h.docid for h in hits] == [d for d, _ in expected]
    np.testing.assert_allclose(hits.scores, [s for _, s in expected], atol=1e-5)


@pytest.mark.parametrize("when", [None, "before", "after", "both"])
@pytest.mark.parametrize("iterations", [1, 3])
@pytest.mark.parametrize("k", [10, 25, N])
@pytest.mark.parametrize("alpha", [0.0, 0.4, 1.0])
def test_feedback_and_interpolation_equal_the_reference(
    documents, dense, sparse, when, iterations, k, alpha
):
    searcher = FeedbackSearcher(
        dense,
        Rocchio(depth=4, alpha=0.4, beta=0.6),
        sparse if when else None,
        when,
        Interpolation(alpha) if when else None,
        iterations=iterations,
    )
    run = searcher.batch_search(QUERIES, QIDS, k)
    reference = Reference(documents, sparse)
    for query, qid in zip(QUERIES, QIDS, strict=True):
        # The two ends of the weight tie documents that one side alone would tell apart.
        expected = reference.feedback(query, when, alpha, k, 4, 0.4, 0.6, iterations)
        if alpha == 1.0 and when:
            np.testing.assert_allclose(
                run[qid].scores, [s for _, s in expected], atol=1e-5, err_msg=query
            )
            if when == "after":
                continue
        same(run[qid], expected)


@pytest.mark.parametrize("missing", ["rescore", "minimum", "zero"])
@pytest.mark.parametrize("normalise", ["none", "min-max", "z-score", "softmax", "rank"])
def test_interpolation_without_feedback_fuses_the_two_lists(dense, sparse, missing, normalise):
    rule = Interpolation(0.3, normalise=normalise, missing=missing)
    both = InterpolatedSearcher(dense, sparse, rule)
    run = both.batch_search(QUERIES, QIDS, 15)
    own, other = dense.batch_search(QUERIES, QIDS, 15), sparse.batch_search(QUERIES, QIDS, 15)
    for query, qid in zip(QUERIES, QIDS, strict=True):
        d, s = own[qid], other[qid]
        if missing == "rescore":
            pool = sorted({*d.docids, *s.docids})
            d = Hits(pool, dense.score([query], [pool])[0])
            s = Hits(pool, sparse.score([query], [pool])[0])
        expected = rule.fuse(s, d, 15)
        assert [h.docid for h in run[qid]] == [h.docid for h in expected]
        np.testing.assert_allclose(run[qid].scores, expected.scores, atol=1e-6)


def test_a_batch_equals_one_by_one_and_search_equals_batch_search(dense, sparse):
    searcher = FeedbackSearcher(dense, Average(3), sparse, "both", alpha=0.5)
    run = searcher.batch_search(QUERIES, QIDS, 20)
    for query, qid in zip(QUERIES, QIDS, strict=True):
        single = searcher.search(query, 20)
        assert [h.docid for h in single] == [h.docid for h in run[qid]]
        np.testing.assert_allclose(single.scores, run[qid].scores, atol=1e-6)
    topics = dict(zip(QIDS, QUERIES, strict=True))
    whole = searcher.run(topics, k=20, batch_size=2, progress=False)
    assert [[h.docid for h in hits] for hits in whole.values()] == [
        [h.docid for h in hits] for hits in run.values()
    ]


def test_a_grid_equals_separate_searches_and_retrieves_once(dense, sparse):
    rules = [Interpolation(a) for a in (0.0, 0.5, 1.0)]
    for make in (
        lambda rule: InterpolatedSearcher(dense, sparse, rule),
        lambda rule: FeedbackSearcher(dense, Rocchio(), sparse, "both", rule),
    ):
        apart = [make(rule).batch_search(QUERIES, QIDS, 10) for rule in rules]
        sparse.calls = 0
        grid = make(rules[0]).batch_stages(QUERIES, QIDS, 10, rules=rules)
        assert sparse.calls == 1
        assert [dict(list(stages.values())[-1]) for stages in grid] == [dict(r) for r in apart]


def test_stages_are_named_and_do_not_change_the_result(dense, sparse):
    searcher = FeedbackSearcher(dense, Rocchio(), sparse, "both", alpha=0.5, iterations=2)
    (stages,) = searcher.batch_stages(QUERIES, QIDS, 10, every=True)
    assert list(stages) == [
        "dense",
        "sparse",
        "before-1",
        "feedback-1",
        "before-2",
        "feedback-2",
        "after",
    ]
    assert dict(stages["after"]) == dict(searcher.batch_search(QUERIES, QIDS, 10))
    assert dict(stages["dense"]) == dict(dense.batch_search(QUERIES, QIDS, 10))
    assert dict(stages["sparse"]) == dict(sparse.batch_search(QUERIES, QIDS, 10))


def test_renormalised_vectors_have_unit_length_and_keep_the_ranking(dense):
    plain = FeedbackSearcher(dense, Rocchio())
    unit = FeedbackSearcher(dense, Rocchio(), renormalise=True)
    vectors = dense.encode(QUERIES)
    feedback = list(dense.batch_search(QUERIES, QIDS, 5).values())
    refined = unit.refine(QUERIES, vectors, feedback)
    np.testing.assert_allclose(np.linalg.norm(refined, axis=1), 1, atol=1e-6)
    for qid in QIDS:
        assert [h.docid for h in plain.batch_search(QUERIES, QIDS, 9)[qid]] == [
            h.docid for h in unit.batch_search(QUERIES, QIDS, 9)[qid]
        ]


def test_separate_depths_bound_the_lists(dense, sparse):
    both = InterpolatedSearcher(
        dense, sparse, Interpolation(0.5, missing="zero"), dense_hits=3, sparse_hits=2
    )
    (stages,) = both.batch_stages(QUERIES, QIDS, 50, every=True)
    assert {len(h) for h in stages["dense"].values()} == {3}
    assert {len(h) for h in stages["sparse"].values()} == {2}
    assert max(len(h) for h in stages["interpolated"].values()) <= 5


def test_a_query_without_hits_keeps_its_vector(dense):
    vectors = dense.encode(QUERIES)
    some = dense.store.search(vectors, 5)
    refined = FeedbackSearcher(dense, Rocchio()).refine(
        QUERIES, vectors, [some[0], Hits([], []), *some[2:]]
    )
    np.testing.assert_array_equal(refined[1], vectors[1])
    assert not np.array_equal(refined[0], vectors[0])


def test_a_feedback_document_that_only_the_sparse_side_found_has_its_vector_looked_up(
    documents, dense
):
    only = Sparse({q: {"d77": 9.0} for q in QUERIES})
    rule = Interpolation(1.0)
    searcher = FeedbackSearcher(dense, Average(1), only, "before", rule)
    run = searcher.batch_search(QUERIES, QIDS, 3)
    for query, qid in zip(QUERIES, QIDS, strict=True):
        vector = (Encoder().encode([query])[0] + documents[77]) / 2
        expected = ranked(dict(zip(DOCIDS, (documents @ vector).tolist(), strict=True)))[:3]
        same(run[qid], expected)


def test_documents_without_vectors_follow_the_policy(dense):
    stranger = Sparse({q: {"stranger": 9.0, "d01": 5.0} for q in QUERIES})
    for policy, kept in (("zero", True), ("skip", False)):
        searcher = DenseSearcher(dense.store, Encoder(), missing_vector=policy)
        both = FeedbackSearcher(searcher, Average(2), stranger, "both", alpha=0.9)
        hits = both.batch_search(QUERIES, QIDS, N + 1)["1"]
        assert ("stranger" in hits.docids) is kept
        assert np.isfinite(hits.scores).all()
    with pytest.raises(InputError, match="'stranger' has no vector"):
        InterpolatedSearcher(dense, stranger, alpha=0.5).batch_search(QUERIES, QIDS, 5)


def test_faulty_feedback_methods_are_named(dense):
    class Faulty:
        depth = 2

        def refine(self, queries, vectors, feedback, store):
            return vectors[:, :3] if self.depth == 2 else vectors * np.nan

    faulty = Faulty()
    with pytest.raises(
        InputError, match=r"Faulty returned vectors of shape \(3, 3\), not \(3, 8\)"
    ):
        FeedbackSearcher(dense, faulty).batch_search(QUERIES, QIDS, 5)
    faulty.depth = 3
    with pytest.raises(InputError, match="Faulty returned a vector that is not finite"):
        FeedbackSearcher(dense, faulty).batch_search(QUERIES, QIDS, 5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"interpolate": "sometimes"}, "choose one of before, after, both"),
        ({"interpolate": "before"}, "needs both a sparse searcher"),
        ({"alpha": 0.5}, "without interpolate"),
        ({"iterations": 0}, "at least 1"),
    ],
)
def test_contradictory_arguments_are_refused(dense, arguments, message):
    with pytest.raises(InputError, match=message):
        FeedbackSearcher(dense, Rocchio(), **arguments)


def test_bad_batches_are_refused(dense):
    for queries, qids, k, message in (
        (QUERIES, ["1", "2"], 5, "3 queries but 2 qids"),
        (QUERIES, ["1", "2", "1"], 5, "'1' comes twice"),
        (QUERIES, QIDS, 0, "k is 0"),
    ):
        with pytest.raises(InputError, match=message):
            dense.batch_search(queries, qids, k)
