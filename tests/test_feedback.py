"""Vector-PRF against Pyserini's classes and against sums done by hand."""

import numpy as np
import pytest

from pyserini_ext.errors import InputError
from pyserini_ext.feedback.vector import Average, Rocchio
from pyserini_ext.hits import Hits


class Memory:
    """A store of a few vectors."""

    def __init__(self, vectors):
        self.by_docid = vectors

    def vectors(self, docids):
        size = len(next(iter(self.by_docid.values())))
        return np.array([self.by_docid[d] for d in docids], np.float32).reshape(len(docids), size)


def test_average_is_the_mean_of_query_and_documents():
    store = Memory({"a": [0, 3], "b": [3, 0], "c": [9, 9]})
    refined = Average(depth=2).refine(
        None, np.array([[3.0, 3.0]], np.float32), [Hits("abc", [3.0, 2.0, 1.0])], store
    )
    np.testing.assert_array_equal(refined, [[2.0, 2.0]])


def test_rocchio_adds_the_top_and_subtracts_the_bottom():
    store = Memory({"a": [1, 0], "b": [0, 1], "c": [4, 4]})
    rocchio = Rocchio(depth=3, alpha=1.0, beta=2.0, gamma=0.5, topk=2, bottomk=1)
    refined = rocchio.refine(
        None, np.array([[1.0, 1.0]], np.float32), [Hits("abc", [3.0, 2.0, 1.0])], store
    )
    np.testing.assert_array_equal(refined, [[1 + 1 - 2, 1 + 1 - 2]])


def test_reproduction_settings_are_the_defaults():
    rocchio = Rocchio()
    assert (rocchio.depth, rocchio.alpha, rocchio.beta, rocchio.topk, rocchio.bottomk) == (
        5,
        0.4,
        0.6,
        5,
        0,
    )
    assert Average().depth == 3


def test_no_feedback_keeps_the_query():
    query = np.array([[0.5, -2.0]], np.float32)
    for method in (Average(), Rocchio(), Rocchio(depth=4, bottomk=2)):
        np.testing.assert_array_equal(
            method.refine(None, query, [Hits([], [])], Memory({"a": [1, 1]})), query
        )


def test_too_few_documents_never_count_twice():
    store = Memory({"a": [1, 0], "b": [0, 1]})
    rocchio = Rocchio(depth=6, alpha=1, beta=1, gamma=1, topk=3, bottomk=3)
    query = np.zeros((1, 2), np.float32)
    refined = rocchio.refine(None, query, [Hits("ab", [2.0, 1.0])], store)
    np.testing.assert_array_equal(refined, [[0.5, 0.5]])


@pytest.mark.parametrize(
    "bad",
    [
        {"depth": 0},
        {"depth": 3, "topk": 2, "bottomk": 2},
        {"bottomk": -1},
        {"depth": 2, "bottomk": 2},
        {"topk": 0},
        {"alpha": float("nan")},
    ],
)
def test_impossible_settings_are_refused(bad):
    with pytest.raises(InputError):
        Rocchio(**bad)


@pytest.mark.parametrize("dimension", [1, 3, 97, 384])
@pytest.mark.parametrize("depth", [1, 2, 5, 20])
def test_equals_pyserini_to_the_last_bit(dimension, depth):
    from pyserini_ext.jvm import pyserini_import

    with pyserini_import():
        from pyserini.search.faiss._prf import (
            DenseVectorAveragePrf,
            DenseVectorRocchioPrf,
            PrfDenseSearchResult,
        )
    random = np.random.default_rng(dimension * 100 + depth)
    queries = random.standard_normal((4, dimension)).astype(np.float32)
    documents = random.standard_normal((50, dimension)).astype(np.float32)
    store = Memory({str(i): v for i, v in enumerate(documents)})
    picks = [random.choice(50, depth, replace=False) for _ in queries]
    feedback = [Hits([str(i) for i in p], np.arange(depth, 0, -1.0)) for p in picks]
    candidates = {
        str(n): [PrfDenseSearchResult(str(i), 0.0, documents[i]) for i in p]
        for n, p in enumerate(picks)
    }
    qids = [str(n) for n in range(4)]
    np.testing.assert_array_equal(
        Average(depth).refine(None, queries, feedback, store),
        DenseVectorAveragePrf().get_batch_prf_q_emb(qids, queries, candidates),
    )
    for top, bottom in ((depth, 0), (max(depth // 2, 1), depth // 2)):
        ours = Rocchio(depth, 0.4, 0.6, 0.1, top, bottom)
        theirs = DenseVectorRocchioPrf(0.4, 0.6, 0.1, top, bottom)
        np.testing.assert_array_equal(
            ours.refine(None, queries, feedback, store),
            theirs.get_batch_prf_q_emb(qids, queries, candidates),
        )
