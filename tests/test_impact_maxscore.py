"""Searching impact indexes over several windows and segments, against NumPy."""

import json

import numpy as np
import pytest

from pyserini_ext.index.impact import build_impact_index
from pyserini_ext.search.impact import ImpactSearcher

DOCUMENTS, TOKENS, LARGEST = 9000, 40, 9


class Encoded:
    """Queries that are encoded already: JSON."""

    def encode(self, query):
        return json.loads(query)


@pytest.fixture(scope="module")
def impacts():
    """Impacts by document and token: frequent and rare tokens, and many equal scores."""
    numbers = np.random.default_rng(5)
    stands = numbers.random((DOCUMENTS, TOKENS)) < 0.9 / np.arange(1, TOKENS + 1)
    return np.where(stands, numbers.integers(1, LARGEST + 1, stands.shape), 0)


@pytest.fixture(scope="module")
def index(impacts, tmp_path_factory):
    folder = tmp_path_factory.mktemp("windows")
    with (folder / "vectors.jsonl").open("w") as out:
        for number, row in enumerate(impacts):
            vector = {f"t{t}": int(row[t]) for t in np.flatnonzero(row)}
            out.write(json.dumps({"id": f"{number:05d}", "vector": vector}) + "\n")
    build_impact_index(folder, folder / "index", scale=1, progress=False)
    return folder / "index"


def expected(impacts, weights, k):
    scores = np.zeros(DOCUMENTS)
    matched = np.zeros(DOCUMENTS, dtype=bool)
    for token, weight in weights.items():
        column = impacts[:, int(token[1:])]
        scores += (np.float32(weight) * column.astype(np.float32)).astype(np.float64)
        matched |= column > 0
    scores = scores.astype(np.float32)
    order = [d for d in np.argsort(-scores, kind="stable") if matched[d]][:k]
    return [f"{d:05d}" for d in order], scores[order]


@pytest.mark.parametrize("k", [1, 10, 300, 5000, 20_000])
@pytest.mark.parametrize("whole", [True, False])
def test_hits_are_those_of_numpy(index, impacts, k, whole):
    searcher = ImpactSearcher(index, Encoded())
    numbers = np.random.default_rng(k)
    for size in (1, 2, 3, 6, 20):
        tokens = numbers.choice(TOKENS, size, replace=False)
        weights = {
            f"t{t}": float(numbers.integers(1, 5) if whole else numbers.random() * 3 + 0.01)
            for t in tokens
        }
        hits = searcher.search(json.dumps(weights), k=k)
        docids, scores = expected(impacts, weights, k)
        assert hits.docids.tolist() == docids
        assert np.array_equal(hits.scores, scores)


def test_a_token_of_one_document_and_one_of_nearly_all(index, impacts):
    searcher = ImpactSearcher(index, Encoded())
    rare = min(range(TOKENS), key=lambda t: (impacts[:, t] > 0).sum())
    weights = {"t0": 0.5, f"t{rare}": 40.0, "absent": 3.0}
    docids, scores = expected(impacts, {t: w for t, w in weights.items() if t != "absent"}, 50)
    hits = searcher.search(json.dumps(weights), k=50)
    assert hits.docids.tolist() == docids
    assert np.array_equal(hits.scores, scores)


def test_a_token_asked_for_again_is_remembered(index):
    searcher = ImpactSearcher(index, Encoded())
    queries = [json.dumps({"t3": 1.0, f"t{t}": 2.0}) for t in range(4, 20)]
    alone = [searcher.search(query, k=20) for query in queries]
    together = searcher.batch_search(queries, [str(i) for i in range(16)], k=20, threads=4)
    assert alone == list(together.values())
