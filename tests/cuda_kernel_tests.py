"""What the CUDA kernels are held to, in test_cuda_emulated.py and on a GPU in test_cuda_gpu.py.

Each of those has the fixtures `device` and `backend`.
"""

from itertools import pairwise

import cuda_cases as cases
import numpy as np
import pytest

from pyserini_ext.errors import InputError
from pyserini_ext.feedback.vector import Average, Rocchio
from pyserini_ext.index.tokens_writer import TokenWriter
from pyserini_ext.rescore import cuda_plan, cuda_topk
from pyserini_ext.rescore.cuda import CudaBackend
from pyserini_ext.rescore.cuda_feedback import average_weights, rocchio_weights
from pyserini_ext.rescore.cuda_rows import PAIR_BYTES
from pyserini_ext.rescore.maxsim import TokenRows, maxsim
from pyserini_ext.rescore.query_tokens import QueryTokens
from pyserini_ext.rescore.rows import METRICS, Candidates, StoredRows
from pyserini_ext.search.multivector import MultiVectorSearcher


@pytest.fixture
def rng():
    return np.random.default_rng(7)


@pytest.mark.parametrize("dimension", cases.DIMENSIONS)
@pytest.mark.parametrize(("dtype", "metric"), cases.CELLS)
def test_scores_of_ragged_lists(backend, rng, dtype, metric, dimension):
    rows = cases.stored(dtype, 12, dimension, rng)
    candidates = cases.lists([0, 1, 37, 0, 5], 12, rng)
    queries = rng.standard_normal((5, dimension)).astype(np.float32)
    found = backend.score(queries, candidates, rows, metric)
    cases.assert_scores(found, *cases.answer(queries, candidates, rows, metric))


@pytest.mark.parametrize(("dtype", "metric"), cases.CELLS)
def test_many_candidates_fill_several_blocks(device, backend, rng, dtype, metric):
    device.multiprocessors = 1  # so that blocks get more than one round of candidates
    rows = cases.stored(dtype, 300, 65, rng)
    candidates = cases.lists([700, 1, 300], 300, rng)
    queries = rng.standard_normal((3, 65)).astype(np.float32)
    found = backend.score(queries, candidates, rows, metric)
    cases.assert_scores(found, *cases.answer(queries, candidates, rows, metric))


@pytest.mark.parametrize("dtype", cases.DTYPES)
def test_rows_longer_than_the_vector(backend, rng, dtype):
    rows = cases.stored(dtype, 9, 100, rng, pad=64)
    candidates = cases.lists([9], 9, rng)
    queries = rng.standard_normal((1, 100)).astype(np.float32)
    found = backend.score(queries, candidates, rows, "ip")
    cases.assert_scores(found, *cases.answer(queries, candidates, rows, "ip"))


def test_every_int8_value_is_converted_exactly(backend):
    data = np.arange(-128, 128, dtype=np.int8)[:, None]
    rows = StoredRows(data, "int8", 1, np.ones(256, dtype=np.float32))
    candidates = Candidates(np.arange(256, dtype=np.int32), np.array([0, 256]))
    found = backend.score(np.ones((1, 1), dtype=np.float32), candidates, rows, "ip")
    np.testing.assert_array_equal(found, data[:, 0])


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_nan_and_infinity_pass_through(backend, rng, dtype, metric):
    rows = cases.stored(dtype, 6, 33, rng)
    rows.data[1, 0], rows.data[2, 32], rows.data[3, 5], rows.data[4] = np.nan, np.inf, -np.inf, 0
    candidates = cases.lists([0, 30, 30, 30], 6, rng)
    queries = rng.standard_normal((4, 33)).astype(np.float32)
    queries[2, 7], queries[3] = np.inf, 0
    found = backend.score(queries, candidates, rows, metric)
    cases.assert_scores(found, *cases.answer(queries, candidates, rows, metric))


@pytest.mark.parametrize("dtype", cases.DTYPES)
def test_streaming_gives_the_same_bits(device, backend, rng, dtype):
    rows = cases.stored(dtype, 60, 50, rng)
    candidates = cases.lists([40, 0, 90], 60, rng)
    queries = rng.standard_normal((3, 50)).astype(np.float32)
    half = 30 * cuda_plan.row_bytes(rows)
    small = CudaBackend(on=device, memory=130 * PAIR_BYTES + half)
    found = small.score(queries, candidates, rows, "cosine")
    assert len(device.launched) > 1
    np.testing.assert_array_equal(found, backend.score(queries, candidates, rows, "cosine"))


@pytest.mark.parametrize("alpha", [None, 0.3])
@pytest.mark.parametrize("k", [1, 10, 100])
def test_best_is_a_stable_sort(backend, rng, k, alpha):
    rows = cases.stored("binary", 50, 7, rng)  # few different scores: ties everywhere
    candidates = cases.lists([0, 1, 2, 31, 32, 33, 600, 0], 50, rng)
    queries = rng.standard_normal((8, 7)).astype(np.float32)
    sparse = None
    expected = backend.score(queries, candidates, rows, "ip")
    if alpha is not None:
        sparse = rng.integers(0, 3, len(expected)).astype(np.float32)
        expected = alpha * sparse.astype(np.float64) + (1 - alpha) * expected.astype(np.float64)
    best = backend.best(queries, candidates, rows, "ip", k, sparse, alpha or 0.0)
    positions = cases.ranked(expected, candidates.offsets, k)
    np.testing.assert_array_equal(best.positions, positions)
    starts = np.repeat(candidates.offsets[:-1], np.diff(best.offsets))
    np.testing.assert_array_equal(best.scores, expected[starts + positions])
    assert best.scores.dtype == expected.dtype


@pytest.mark.parametrize(("k", "sparse"), [(1, True), (1000, False), (30000, True)])
def test_best_of_lists_longer_than_a_block_sorts(device, rng, k, sparse):
    offsets = np.cumsum([0, 4096, 4097, 3, 8200, 0])
    scores = rng.integers(-9, 9, offsets[-1]).astype(np.float32)
    for value in (np.nan, np.inf, -np.inf, -0.0):
        scores[rng.integers(0, len(scores), 40)] = value
    first = scores[::-1].copy() if sparse else None
    steps = cuda_topk.Steps(device, device.put(scores), offsets, k, first, 0.25)
    steps.launch()
    best = steps.result()
    with np.errstate(invalid="ignore"):
        expected = 0.25 * first.astype(float) + 0.75 * scores.astype(float) if sparse else scores
    positions = cases.ranked(expected, offsets, k)
    np.testing.assert_array_equal(best.positions, positions)
    starts = np.repeat(offsets[:-1], np.diff(best.offsets))
    np.testing.assert_array_equal(best.scores, expected[starts + positions])


@pytest.mark.parametrize("most", [1, 40, 100])
def test_batches_of_queries_change_nothing(backend, rng, monkeypatch, most):
    rows = cases.stored("int8", 50, 33, rng)
    candidates = cases.lists([0, 30, 50, 1, 0, 7, 0], 50, rng)
    queries = rng.standard_normal((7, 33)).astype(np.float32)
    sparse = rng.standard_normal(88).astype(np.float32)
    scores = backend.score(queries, candidates, rows, "l2")
    best = backend.best(queries, candidates, rows, "l2", 5, sparse, 0.5)
    monkeypatch.setattr("pyserini_ext.rescore.cuda.LARGEST_BATCH", most)
    np.testing.assert_array_equal(backend.score(queries, candidates, rows, "l2"), scores)
    for found, expected in zip(
        backend.best(queries, candidates, rows, "l2", 5, sparse, 0.5), best, strict=True
    ):
        np.testing.assert_array_equal(found, expected)
        assert found.dtype == expected.dtype


def test_nothing_to_score(backend):
    rows = StoredRows(np.empty((0, 5), dtype=np.float32), "float32", 5)
    candidates = Candidates(np.empty(0, dtype=np.int32), np.zeros(3, dtype=np.int64))
    best = backend.best(np.ones((2, 5), dtype=np.float32), candidates, rows, "ip", 10)
    assert best.offsets.tolist() == [0, 0, 0]
    assert len(best.positions) == len(best.scores) == 0


def test_a_store_is_brought_once_and_freed_with_its_rows(backend, rng):
    rows = cases.stored("float32", 5, 8, rng)
    for _ in range(2):
        backend.score(np.ones((1, 8), np.float32), cases.lists([3], 5, rng), rows, "ip")
    assert len(backend._rows) == 1
    del rows
    assert not backend._rows


def test_too_little_memory_is_told(device, rng):
    rows = cases.stored("float32", 5, 8, rng)
    with pytest.raises(InputError, match="fewer queries at a time or use device cpu"):
        CudaBackend(on=device, memory=10).score(
            np.ones((1, 8), np.float32), cases.lists([3], 5, rng), rows, "ip"
        )


def test_too_long_vectors_are_told(backend, rng):
    rows = cases.stored("float32", 2, 40000, rng)
    with pytest.raises(InputError, match="40000 dimensions"):
        backend.score(np.ones((1, 40000), np.float32), cases.lists([2], 2, rng), rows, "ip")


@pytest.mark.parametrize("dimension", [97, 384, 1024, 4096])
@pytest.mark.parametrize("dtype", ["float32", "float16", "int8"])
@pytest.mark.parametrize("metric", METRICS)
def test_shared_rows_give_the_same_bits(device, backend, rng, dtype, metric, dimension):
    rows = cases.stored(dtype, 15, dimension, rng)
    candidates = cases.lists([3, 0, 40, 7, 1, 0, 0, 9, 9, 2, 30], 15, rng)
    queries = rng.standard_normal((11, dimension)).astype(np.float32)
    grouped = CudaBackend(on=device, grouped=True)
    found = grouped.score(queries, candidates, rows, metric)
    assert device.launched[-1].startswith("grouped") == (cuda_plan.row_bytes(rows) > 256)
    np.testing.assert_array_equal(found, backend.score(queries, candidates, rows, metric))


@pytest.mark.parametrize("memory", [None, 60000])
@pytest.mark.parametrize("dimension", cases.DIMENSIONS)
@pytest.mark.parametrize("dtype", ["float32", "float16", "int8"])
def test_feedback_as_the_feedback_methods(device, rng, dtype, dimension, memory):
    rows = cases.stored(dtype, 20, dimension, rng)
    candidates = cases.lists([5, 0, 1, 3, 2], 20, rng)
    queries = rng.standard_normal((5, dimension)).astype(np.float32)
    counts, vectors = np.diff(candidates.offsets), cases.vectors_of(rows)
    for method, weights in (
        (Average(depth=5), average_weights(counts)),
        (Rocchio(depth=5), rocchio_weights(counts, 0.4, 0.6)),
        (
            Rocchio(depth=5, topk=2, bottomk=2, gamma=0.3),
            rocchio_weights(counts, 0.4, 0.6, 0.3, 2, 2),
        ),
    ):
        backend = CudaBackend(on=device, memory=memory)
        found = backend.feedback(queries, candidates, rows, *weights)
        for i, (begin, end) in enumerate(pairwise(candidates.offsets)):
            own = vectors[candidates.rows[begin:end]]
            query = queries[i].astype(np.float64)
            expected = method.combine(query, own) if len(own) else query
            np.testing.assert_allclose(
                found[i], expected, rtol=0, atol=3e-6 * max(1, abs(own).max(initial=0))
            )


def tokens(lengths, dimension, rng, masked):
    """Documents of so many random tokens each."""
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    rows = cases.stored("float16", offsets[-1], dimension, rng)
    return TokenRows(rows, offsets, rng.random(offsets[-1]) < 0.7 if masked else None)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize(
    ("dimension", "length"),
    # More tokens of more dimensions take long in the emulation.
    [(d, t) for d in (*cases.DIMENSIONS, 128) for t in (1, 16, 32, 70) if d < 300 or t < 32],
)
def test_maxsim_of_ragged_documents(device, backend, rng, dimension, length, masked):
    documents = tokens([0, 1, 7, 8, 9, 15, 16, 17, 40], dimension, rng, masked)
    candidates = cases.lists([0, 11, 1], 9, rng)
    queries = rng.standard_normal((3, length, dimension)).astype(np.float32)
    mask = rng.random((3, length)) < 0.6 if masked else None
    found = backend.maxsim(queries, candidates, documents, mask)
    expected = maxsim(queries, candidates, documents, mask, np.float64)
    longest = np.sqrt(dimension) * length * dimension**0.5
    cases.assert_scores(found, expected, 2e-6 * longest)
    direct = "maxsim_direct" if dimension == 4096 else "maxsim_staged"
    assert device.launched[-1] == direct or device.shared_bytes > 200 << 10


def test_maxsim_streams_with_the_same_bits(device, backend, rng):
    documents = tokens(rng.integers(0, 30, 40), 100, rng, True)
    candidates = cases.lists([30, 0, 25], 40, rng)
    queries = rng.standard_normal((3, 5, 100)).astype(np.float32)
    small = CudaBackend(on=device, memory=55 * PAIR_BYTES + len(documents.rows) * 100)
    found = small.maxsim(queries, candidates, documents)
    assert len(device.launched) > 1
    np.testing.assert_array_equal(found, backend.maxsim(queries, candidates, documents))


def test_maxsim_hands_nan_on_where_it_is_looked_at(backend, rng):
    documents = tokens([3, 3, 3, 3], 16, rng, False)
    documents.rows.data[1, 3], documents.rows.data[4, 0] = np.nan, np.inf
    documents.rows.data[7, 2] = np.nan
    mask = np.ones(12, dtype=bool)
    mask[7] = False
    documents = TokenRows(documents.rows, documents.offsets, mask)
    candidates = cases.lists([12], 4, rng)
    queries = rng.standard_normal((1, 4, 16)).astype(np.float32)
    found = backend.maxsim(queries, candidates, documents)
    expected = maxsim(queries, candidates, documents, dtype=np.float64)
    assert np.isnan(expected).any()
    cases.assert_scores(found, expected, 1e-4)


def test_late_interaction_through_its_searcher(device, backend, rng, tmp_path):
    lengths = [3, 0, 8, 1, 5]
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    with TokenWriter(tmp_path / "tokens", 16) as out:
        vectors = rng.standard_normal((offsets[-1], 16)).astype(np.float32)
        out.append_tokens([f"d{i}" for i in range(len(lengths))], vectors, offsets)
    mask = np.array([[True, True, True], [True, False, False]])
    queries = QueryTokens(rng.standard_normal((2, 3, 16)).astype(np.float32), mask)
    late = MultiVectorSearcher(tmp_path / "tokens", backend=backend)
    plain = MultiVectorSearcher(tmp_path / "tokens", backend="numpy")
    asked = [["d0", "d1", "d4"], ["d2"]]
    for found, expected in zip(
        late.score_vectors(queries, asked), plain.score_vectors(queries, asked), strict=True
    ):
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    runs = [each.search_vectors(queries, ["1", "2"], 3) for each in (late, plain)]
    for qid in ("1", "2"):
        assert runs[0][qid].docids.tolist() == runs[1][qid].docids.tolist()
        np.testing.assert_allclose(runs[0][qid].scores, runs[1][qid].scores, rtol=1e-5)
    assert set(device.launched) == {"maxsim_staged"}
