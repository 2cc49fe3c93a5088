"""MaxSim in NumPy, held to loops over tokens."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyserini_ext.errors import InputError
from pyserini_ext.rescore import maxsim as module
from pyserini_ext.rescore.maxsim import TokenRows, maxsim
from pyserini_ext.rescore.rows import Candidates, StoredRows


def made(lengths, dimension, rng, mask=None):
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    data = rng.standard_normal((offsets[-1], dimension)).astype(np.float16)
    return TokenRows(StoredRows(data, "float16", dimension), offsets, mask)


def by_loops(queries, candidates, documents, query_mask):
    found = []
    for i, query in enumerate(queries.astype(np.float16).astype(np.float64)):
        for document in candidates.rows[candidates.offsets[i] : candidates.offsets[i + 1]]:
            total = 0.0
            for t, token in enumerate(query):
                best = -np.inf
                for row in range(documents.offsets[document], documents.offsets[document + 1]):
                    if documents.mask is None or documents.mask[row]:
                        best = max(best, float(token @ documents.rows.data[row].astype(float)))
                total += best if query_mask[i, t] else 0.0
            found.append(total)
    return np.array(found)


@given(
    st.lists(st.integers(0, 5), min_size=1, max_size=6),
    st.lists(st.integers(0, 7), min_size=1, max_size=4),
    st.integers(0, 99),
)
def test_as_loops_over_tokens(lengths, wanted, seed):
    rng = np.random.default_rng(seed)
    documents = made(lengths, 4, rng, rng.random(sum(lengths)) < 0.7)
    offsets = np.concatenate([[0], np.cumsum(wanted)]).astype(np.int64)
    candidates = Candidates(rng.integers(0, len(lengths), offsets[-1]).astype(np.int32), offsets)
    queries = rng.standard_normal((len(wanted), 3, 4))
    mask = rng.random((len(wanted), 3)) < 0.7
    found = maxsim(queries, candidates, documents, mask, np.float64)
    np.testing.assert_allclose(found, by_loops(queries, candidates, documents, mask), rtol=1e-12)


def test_small_blocks_change_nothing(monkeypatch):
    rng = np.random.default_rng(3)
    documents = made(rng.integers(0, 9, 30), 8, rng)
    candidates = Candidates(rng.integers(0, 30, 80).astype(np.int32), np.array([0, 50, 50, 80]))
    queries = rng.standard_normal((3, 5, 8))
    whole = maxsim(queries, candidates, documents, dtype=np.float64)
    monkeypatch.setattr(module, "BLOCK_BYTES", 10 * 8 * 8)
    parts = maxsim(queries, candidates, documents, dtype=np.float64)
    np.testing.assert_allclose(parts, whole, rtol=1e-12)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"queries": np.ones((1, 2, 5))}, r"expected \(q, tokens, 4\)"),
        ({"queries": np.ones((2, 2, 4))}, "2 queries need 3 offsets"),
        ({"rows": [0, 3]}, "candidate 3 is not among the documents, 0 to 2"),
        ({"rows": [-1]}, "candidate -1"),
        ({"bounds": [0, 2, 1, 5]}, "do not grow from 0 to 5"),
        ({"bounds": [0, 2, 4, 6]}, "do not grow from 0 to 5"),
        ({"mask": np.ones(4, dtype=bool)}, "token mask"),
        ({"query_mask": np.ones((1, 3), dtype=bool)}, "query mask"),
        ({"dtype": "float32"}, "MaxSim takes float16"),
    ],
)
def test_what_does_not_fit_is_told(change, message):
    wanted = np.array(change.get("rows", [0, 1]), dtype=np.int32)
    documents = TokenRows(
        StoredRows(np.ones((5, 4), dtype=np.float16), change.get("dtype", "float16"), 4),
        np.array(change.get("bounds", [0, 2, 2, 5])),
        change.get("mask"),
    )
    with pytest.raises(InputError, match=message):
        maxsim(
            change.get("queries", np.ones((1, 2, 4))),
            Candidates(wanted, np.array([0, len(wanted)])),
            documents,
            change.get("query_mask"),
        )
