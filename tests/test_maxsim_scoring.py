"""MaxSim by every backend, held to the NumPy reference in float64."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_maxsim import made

from pyserini_ext.errors import InputError
from pyserini_ext.rescore import maxsim_scoring
from pyserini_ext.rescore.maxsim import maxsim
from pyserini_ext.rescore.maxsim_scoring import score_maxsim, search_maxsim
from pyserini_ext.rescore.rows import Candidates
from pyserini_ext.rescore.scoring import unavailable

BACKENDS = [name for name, reason in unavailable().items() if reason is None]


@pytest.mark.parametrize("backend", BACKENDS)
@given(data=st.data())
@settings(max_examples=40, deadline=None)
def test_as_the_reference(backend, data):
    lengths = data.draw(st.lists(st.integers(0, 9), min_size=1, max_size=9))
    wanted = data.draw(st.lists(st.integers(0, 20), min_size=1, max_size=5))
    tokens = data.draw(st.integers(0, 9))
    dimension = data.draw(st.integers(1, 40))
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    mask = rng.random(sum(lengths)) < 0.7 if data.draw(st.booleans()) else None
    documents = made(lengths, dimension, rng, mask)
    offsets = np.concatenate([[0], np.cumsum(wanted)]).astype(np.int64)
    candidates = Candidates(rng.integers(0, len(lengths), offsets[-1]).astype(np.int32), offsets)
    queries = rng.standard_normal((len(wanted), tokens, dimension))
    seen = rng.random((len(wanted), tokens)) < 0.7
    found = score_maxsim(queries, candidates, documents, seen, backend=backend)
    assert found.dtype == np.float32
    reference = maxsim(queries, candidates, documents, seen, np.float64)
    np.testing.assert_allclose(found, reference, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("step", [1, 7, 1000])
def test_a_search_keeps_the_best_of_all(monkeypatch, backend, step):
    monkeypatch.setattr(maxsim_scoring, "BLOCK_SCORES", step * 3)
    rng = np.random.default_rng(5)
    lengths = rng.integers(0, 6, 50)
    documents = made(lengths, 12, rng)
    queries = rng.standard_normal((3, 6, 12))
    seen = rng.random((3, 6)) < 0.8
    everything = Candidates(np.tile(np.arange(50, dtype=np.int32), 3), np.arange(4) * 50)
    reference = maxsim(queries, everything, documents, seen, np.float64).reshape(3, 50)
    scores, rows = search_maxsim(queries, documents, 48, seen, backend=backend)
    filled = np.count_nonzero(lengths)
    for own, best, numbers in zip(reference, scores, rows, strict=True):
        order = np.argsort(-own, kind="stable")[:filled]
        assert numbers[:filled].tolist() == order.tolist()
        np.testing.assert_allclose(best[:filled], own[order], rtol=1e-5, atol=1e-4)
        assert (numbers[filled:] == -1).all()


@pytest.mark.parametrize("backend", BACKENDS)
def test_nan_infinity_and_nothing(backend):
    rng = np.random.default_rng(2)
    documents = made([2, 3, 0, 2], 9, rng)
    documents.rows.data[3, 0] = np.nan
    documents.rows.data[5, :] = 0
    queries = rng.standard_normal((1, 5, 9))
    found = score_maxsim(queries, [[0, 1, 2, 3]], documents, backend=backend)
    assert np.isfinite(found[[0, 3]]).all()
    assert np.isnan(found[1])
    assert found[2] == -np.inf
    nothing = np.zeros((1, 5), dtype=bool)
    found = score_maxsim(queries, [[0, 1, 2, 3]], documents, nothing, backend=backend)
    assert found.tolist() == [0, 0, 0, 0]
    assert not len(score_maxsim(queries, [[]], documents, backend=backend))


def test_threads_change_nothing():
    if "numba" not in BACKENDS:
        pytest.skip("numba is not installed")
    rng = np.random.default_rng(7)
    documents = made(rng.integers(1, 40, 3000), 64, rng)
    queries = rng.standard_normal((4, 9, 64))
    candidates = [rng.integers(0, 3000, 2000) for _ in queries]
    one, three = (
        score_maxsim(queries, candidates, documents, backend="numba", threads=n) for n in (1, 3)
    )
    np.testing.assert_array_equal(one, three)
    scores, rows = search_maxsim(queries, documents, 5, backend="numba", threads=3)
    np.testing.assert_array_equal(
        scores, score_maxsim(queries, rows, documents, backend="numba").reshape(4, 5)
    )


def test_what_does_not_fit_is_told():
    documents = made([2, 3], 4, np.random.default_rng(0))
    with pytest.raises(InputError, match="candidate 2 is not among"):
        score_maxsim(np.ones((1, 2, 4)), [[2]], documents)
    with pytest.raises(InputError, match="expected \\(q, tokens, 4\\)"):
        search_maxsim(np.ones((1, 2, 5)), documents, 3)
    with pytest.raises(InputError, match="k is 0"):
        search_maxsim(np.ones((1, 2, 4)), documents, 0)
    with pytest.raises(InputError, match="backend='fast'"):
        score_maxsim(np.ones((1, 2, 4)), [[0]], documents, backend="fast")
