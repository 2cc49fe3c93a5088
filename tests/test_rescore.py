"""Rescoring: every backend, dtype, metric and cut-off against float64, ties as a stable sort."""

import subprocess
import sys
from importlib import metadata

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyserini_ext.errors import InputError
from pyserini_ext.rescore.quantise import DTYPES, quantise
from pyserini_ext.rescore.rows import METRICS, Candidates, StoredRows, listed
from pyserini_ext.rescore.scoring import make_backend, rescore, score
from pyserini_ext.rescore.top import BestSoFar, best_positions, offsets_after

BACKENDS = ["numpy", "numba"]
DIMENSIONS = [1, 3, 97, 127, 384, 768, 1024, 4096]
TOLERANCE = {"float32": 2e-6, "float16": 2e-6, "int8": 2e-6, "binary": 1e-7}
"""Of the score, relative to the product of the lengths (ip), to 1, to the squared lengths."""


@pytest.fixture(params=BACKENDS)
def backend(request):
    if request.param == "numba":
        pytest.importorskip("numba")
    return request.param


def values(rows):
    """The vectors that stored rows stand for, in float64; written without the package's code."""
    data, d = np.asarray(rows.data), rows.dimension
    if rows.dtype == "binary":
        bits = [[(row[j // 8] >> (7 - j % 8)) & 1 for j in range(d)] for row in data]
        return np.array(bits, dtype=np.float64).reshape(len(data), d) * 2 - 1
    found = data[:, :d].astype(np.float64)
    return found * rows.scales[:, None].astype(np.float64) if rows.dtype == "int8" else found


def reference(queries, lists, rows, metric):
    """The scores of each query in float64, and what an error is relative to."""
    vectors, found = values(rows), []
    queries = np.asarray(queries, dtype=np.float32).astype(np.float64)
    if rows.dtype == "binary":
        queries = np.where(queries >= 0, 1.0, -1.0)
    with np.errstate(invalid="ignore"):
        for query, own in zip(queries, lists, strict=True):
            x = vectors[np.asarray(own, dtype=int)]
            lengths = np.linalg.norm(x, axis=1) * np.linalg.norm(query)
            if metric == "l2":
                found.append(-((x - query) ** 2).sum(axis=1))
            elif metric == "ip":
                found.append((x * query).sum(axis=1))
            else:
                found.append((x * query).sum(axis=1) / np.where(lengths == 0, 1, lengths))
    return found


def scale_of(queries, rows, metric):
    if metric == "cosine":
        return 1.0
    longest = np.linalg.norm(values(rows), axis=1).max(initial=0)
    query = np.sqrt(rows.dimension) if rows.dtype == "binary" else np.linalg.norm(queries, axis=1)
    return np.max(longest * query if metric == "ip" else (longest + query) ** 2, initial=1e-30)


def make(seed, count, dimension, dtype):
    rng = np.random.default_rng(seed)
    vectors = rng.standard_normal((count, dimension)) * rng.uniform(0.1, 3, (count, 1))
    vectors[rng.random(count) < 0.1] = 0
    return quantise(vectors, dtype)


def check(queries, lists, rows, metric, backend, k=None):
    """Compare scores and ranks with the reference."""
    exact = reference(queries, lists, rows, metric)
    allowed = TOLERANCE[rows.dtype] * scale_of(np.asarray(queries), rows, metric)
    found = score(queries, lists, rows, metric=metric, backend=backend, threads=2)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, np.concatenate([*exact, []]), rtol=0, atol=allowed)
    ranked = rescore(queries, lists, rows, k=k, metric=metric, backend=backend, threads=2)
    assert ranked.positions.dtype == np.int32
    assert ranked.offsets[-1] == len(ranked.positions) == len(ranked.scores)
    start = 0
    for i, own in enumerate(exact):
        scores = found[start : start + len(own)]
        start += len(own)
        best = np.argsort(-scores, kind="stable")[:k]
        part = slice(ranked.offsets[i], ranked.offsets[i + 1])
        assert ranked.positions[part].tolist() == best.tolist()
        np.testing.assert_array_equal(ranked.scores[part], scores[best])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("k", [None, 1, 10, 37, 1000])
def test_every_cell_equals_the_float64_reference(backend, dtype, metric, k):
    rows = make(1, 60, 100, dtype)
    rng = np.random.default_rng(2)
    lists = [rng.integers(0, 60, n) for n in (0, 1, 7, 8, 9, 37, 200)]
    check(rng.standard_normal((7, 100)), lists, rows, metric, backend, k)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("dimension", DIMENSIONS)
def test_every_dimension_equals_the_float64_reference(backend, dtype, metric, dimension):
    rows = make(dimension, 20, dimension, dtype)
    rng = np.random.default_rng(3)
    lists = [rng.integers(0, 20, n) for n in (11, 5)]
    check(rng.standard_normal((2, dimension)), lists, rows, metric, backend, 4)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.lists(st.integers(0, 14), max_size=40), max_size=6),
    st.sampled_from(sorted(DTYPES)),
    st.sampled_from(METRICS),
    st.one_of(st.none(), st.integers(1, 50)),
    st.sampled_from(BACKENDS),
)
def test_ragged_lists_with_duplicates(lists, dtype, metric, k, backend):
    if backend == "numba":
        pytest.importorskip("numba")
    rows = make(4, 15, 12, dtype)
    queries = np.random.default_rng(len(lists)).standard_normal((len(lists), 12))
    check(queries.reshape(len(lists), 12), lists, rows, metric, backend, k)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("metric", METRICS)
def test_many_candidates_of_one_query(backend, dtype, metric):
    rows = make(5, 300, 24, dtype)
    lists = [np.random.default_rng(6).integers(0, 300, 50_000)]
    check(np.random.default_rng(7).standard_normal((1, 24)), lists, rows, metric, backend, 100)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("metric", METRICS)
def test_nan_and_infinity_in_rows_give_what_arithmetic_gives(backend, dtype, metric):
    data = np.zeros((6, 16), dtype=DTYPES[dtype])
    data[:, :3] = [[1, 2, 3], [np.nan, 0, 1], [np.inf, 0, 0], [-np.inf, 1, 0], [0, 0, 0], [1, 2, 3]]
    rows = StoredRows(data, dtype, 3)
    queries = np.array([[1, 1, 1], [np.nan, 1, 1], [np.inf, 1, 0], [0, 1, 1]], dtype=np.float32)
    lists = [np.arange(6)] * 4
    exact = np.concatenate(reference(queries, lists, rows, metric)).astype(np.float32)
    found = score(queries, lists, rows, metric=metric, backend=backend)
    np.testing.assert_allclose(found, exact, rtol=1e-6)
    ranked = rescore(queries, lists, rows, k=6, metric=metric, backend=backend)
    for i, own in enumerate(exact.reshape(4, 6)):
        best = np.argsort(-own, kind="stable")
        assert ranked.positions[6 * i : 6 * i + 6].tolist() == best.tolist()


def test_queries_with_nan_against_integers_and_signs(backend):
    queries = np.array([[np.nan, 1, -1], [np.inf, 1, 1]], dtype=np.float32)
    vectors = np.array([[1.0, 2, 3], [0, 1, 0]])
    for metric in METRICS:
        found = score(
            queries, [[0, 1]] * 2, quantise(vectors, "int8"), metric=metric, backend=backend
        )
        assert np.isnan(found[:2]).all()
    # NaN has no sign; it counts as negative.
    found = score(queries, [[0, 1]] * 2, quantise(vectors, "binary"), backend=backend)
    assert found.tolist() == [-1, -1, 3, 3]


@pytest.mark.parametrize("metric", METRICS)
def test_every_value_of_float16_is_read_right(backend, metric):
    data = np.arange(1 << 16, dtype=np.uint16).view(np.float16).reshape(-1, 16)
    rows = StoredRows(data, "float16", 16)
    with np.errstate(invalid="ignore"):
        finite = np.isfinite(data).all(axis=1)
    query = np.zeros((1, 16), dtype=np.float32)
    for j in (0, 15):
        query[:] = 0
        query[0, j] = 1
        found = score(query, [np.arange(len(data))], rows, metric="ip", backend=backend)
        np.testing.assert_array_equal(found[finite], data[finite, j].astype(np.float32))
        assert np.isnan(found[~finite]).all()


def test_rows_that_are_not_filled_up_and_not_aligned(backend):
    rng = np.random.default_rng(8)
    for dtype in DTYPES:
        full = make(9, 30, 21, dtype)
        used = 3 if dtype == "binary" else 21
        raw = np.zeros(30 * used * full.data.itemsize + 1, dtype=np.uint8)
        bare = raw[1:].view(full.data.dtype).reshape(30, used)
        bare[:] = full.data[:, :used]
        rows = StoredRows(bare, dtype, 21, full.scales)
        for metric in METRICS:
            check(rng.standard_normal((2, 21)), [[3, 29, 3], range(30)], rows, metric, backend, 5)


def test_interpolation_is_that_of_fusion(backend):
    rows = make(10, 40, 16, "float32")
    rng = np.random.default_rng(11)
    queries, lists = rng.standard_normal((3, 16)), [rng.integers(0, 40, n) for n in (20, 0, 33)]
    sparse = rng.uniform(0, 20, 53).astype(np.float32)
    dense = score(queries, lists, rows, backend=backend).astype(np.float64)
    for alpha in (0, 0.3, 1):
        found = rescore(queries, lists, rows, k=15, sparse=sparse, alpha=alpha, backend=backend)
        assert found.scores.dtype == np.float64
        assert found.offsets.tolist() == [0, 15, 15, 30]
        both = alpha * sparse.astype(np.float64) + (1 - alpha) * dense
        for i, (start, stop) in enumerate([(0, 20), (20, 20), (20, 53)]):
            best = np.argsort(-both[start:stop], kind="stable")[:15]
            part = slice(found.offsets[i], found.offsets[i + 1])
            assert found.positions[part].tolist() == best.tolist()
            np.testing.assert_array_equal(found.scores[part], both[start:stop][best])


def numba_positions(scores, k):
    """What numba's heap ranks first."""
    top = pytest.importorskip("pyserini_ext.rescore.numba_top")
    offsets = np.array([0, 0, len(scores), len(scores)])
    kept = offsets_after(offsets, k)
    positions, best = np.empty(kept[-1], np.int32), np.empty(kept[-1], scores.dtype)
    top.rank_lists(scores, offsets, kept, 0, 3, positions, best)
    np.testing.assert_array_equal(best, scores[positions])
    return positions


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("positions", [best_positions, numba_positions])
def test_the_best_are_those_of_a_stable_sort(dtype, positions):
    rng = np.random.default_rng(12)
    pool = np.array([0.0, -0.0, 1, 2, np.nan, np.inf, -np.inf], dtype=dtype)
    for n in (0, 1, 2, 5, 50, 500):
        for p in (pool, pool[:2], rng.standard_normal(1000).astype(dtype)):
            scores = rng.choice(p, n)
            for k in (1, 2, n // 2 + 1, n + 1):
                expected = np.argsort(-scores, kind="stable")[:k]
                np.testing.assert_array_equal(positions(scores, k), expected)


def test_the_best_of_blocks_are_the_best_of_all():
    rng = np.random.default_rng(18)
    scores = rng.choice(np.array([0, 1, 2, np.nan, -np.inf], np.float32), (4, 300))
    scores[3, 5:] = np.nan
    best = BestSoFar(4, 40)
    for start in range(0, 300, 29):
        best.add(scores[:, start : start + 29], start)
    for own, found, rows in zip(scores, best.scores, best.rows, strict=True):
        finite = np.flatnonzero(own > -np.inf)
        expected = finite[np.argsort(-own[finite], kind="stable")][:40]
        assert rows[: len(expected)].tolist() == expected.tolist()
        np.testing.assert_array_equal(found[: len(expected)], own[expected])
        assert (rows[len(expected) :] == -1).all()


ROWS = make(13, 5, 8, "float32")
QUERY = np.zeros((1, 8))


@pytest.mark.parametrize(
    ("message", "arguments", "options"),
    [
        ("candidate row 5 is not in the store, which has rows 0 to 4", (QUERY, [[5]], ROWS), {}),
        ("candidate row -1 is not in the store", (QUERY, [[0, -1]], ROWS), {}),
        (r"queries have shape \(1, 7\), expected \(q, 8\)", (QUERY[:, :7], [[0]], ROWS), {}),
        (r"queries have shape \(8,\)", (QUERY[0], [[0]], ROWS), {}),
        ("1 queries need 2 offsets", (QUERY, [[0], [1]], ROWS), {}),
        ("offsets of the candidates go down",
         (np.zeros((2, 8)), Candidates(np.zeros(2, np.int32), np.array([0, 3, 2])), ROWS), {}),
        ("expected integers", (QUERY, [[0.5]], ROWS), {}),
        ("choose one of ip, cosine, l2", (QUERY, [[0]], ROWS), {"metric": "dot"}),
        ("k is 0", (QUERY, [[0]], ROWS), {"k": 0}),
        ("1 candidates but sparse scores of shape", (QUERY, [[0]], ROWS), {"sparse": [1.0, 2.0]}),
        ("alpha is nan", (QUERY, [[0]], ROWS), {"sparse": [1.0], "alpha": float("nan")}),
        ("backend='gpu'; choose one of auto", (QUERY, [[0]], ROWS), {"backend": "gpu"}),
        ("threads is 0", (QUERY, [[0]], ROWS), {"threads": 0}),
        ("device='tpu'; choose cpu", (QUERY, [[0]], ROWS), {"device": "tpu"}),
        ("does not run on device", (QUERY, [[0]], ROWS), {"backend": "numpy", "device": "cuda"}),
        ("does not run on device", (QUERY, [[0]], ROWS), {"backend": "cuda", "device": "cpu"}),
    ],
)  # fmt: skip
def test_what_cannot_be_scored_is_refused(message, arguments, options):
    with pytest.raises(InputError, match=message):
        rescore(*arguments, **({"backend": "numpy"} if "device" not in options else {}) | options)


def test_rows_far_out_of_int32_are_out_of_range_not_wrapped():
    with pytest.raises(InputError, match="candidate row 4294967296 is not in the store"):
        score(QUERY, [np.array([2**32])], ROWS)


def test_a_backend_that_does_not_work_is_said_and_auto_goes_on(monkeypatch):
    from pyserini_ext.rescore import numba_backend

    hint = "numba is not installed"
    cls = numba_backend.NumbaBackend
    monkeypatch.setattr(cls, "unavailable", classmethod(lambda _: hint))
    assert make_backend(device="cpu").name == "numpy"
    with pytest.raises(InputError, match=hint):
        make_backend("numba")


@pytest.mark.parametrize(
    ("needs", "reason"),
    [
        (
            ["llvmlite", "numpy<2.0,>=1.22"],
            "this numba works with NumPy below 2.0 only; pip install",
        ),
        (["llvmlite", "numpy<3.5,>=1.22"], None),
        (None, None),
        (metadata.PackageNotFoundError("numba"), "numba is not installed; pip install"),
    ],
)
def test_what_numba_needs_is_known_without_importing_it(monkeypatch, needs, reason):
    from pyserini_ext.rescore import numba_backend

    def requires(_):
        if isinstance(needs, Exception):
            raise needs
        return needs

    monkeypatch.setattr(numba_backend.metadata, "requires", requires)
    numba_backend._unavailable.cache_clear()
    try:
        found = numba_backend.NumbaBackend.unavailable()
    finally:
        numba_backend._unavailable.cache_clear()
    assert (found is None) if reason is None else found.startswith(reason)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("dimension", [3, 97, 384])
def test_the_score_of_a_row_does_not_depend_on_its_place(backend, dtype, metric, dimension):
    rows = make(16, 40, dimension, dtype)
    query = np.random.default_rng(17).standard_normal((1, dimension))
    alone = np.concatenate(
        [score(query, [[row]], rows, metric=metric, backend=backend) for row in range(40)]
    )
    for lists in (range(40), range(3, 17), [7] * 13):
        found = score(query, [lists], rows, metric=metric, backend=backend)
        np.testing.assert_array_equal(found, alone[list(lists)])


def test_threads_do_not_change_a_bit():
    pytest.importorskip("numba")
    rows = make(14, 2000, 96, "float32")
    rng = np.random.default_rng(15)
    queries, lists = rng.standard_normal((5, 96)), [rng.integers(0, 2000, 3001) for _ in range(5)]
    one, many = (
        rescore(queries, lists, rows, k=50, backend="numba", threads=threads) for threads in (1, 7)
    )
    np.testing.assert_array_equal(one.positions, many.positions)
    np.testing.assert_array_equal(one.scores, many.scores)


def test_importing_and_choosing_a_backend_loads_no_numba():
    code = (
        "import sys; from pyserini_ext.rescore.scoring import make_backend as m; "
        "print(m(device='cpu').name, 'numba' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.split()[1] == "False", done.stderr


def test_without_a_folder_for_compiled_code_it_works_all_the_same(tmp_path):
    pytest.importorskip("numba")
    code = """
import numba.core.caching as caching
caching.CacheImpl._locator_classes = []
import numpy as np
from pyserini_ext.rescore import numba_kernels
out = np.zeros(1, np.float32)
rows = np.zeros(1, np.int32)
numba_kernels.products(np.ones(3, np.float32), np.ones((1, 3), np.float32), rows, out)
print(out[0], type(numba_kernels.products._cache).__name__)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.split() == ["3.0", "NullCache"], done.stderr


def test_a_backend_is_made_once_and_used_again():
    worker = make_backend("numpy")
    assert rescore(QUERY, [[1]], ROWS, backend=worker).positions.tolist() == [0]
    with pytest.raises(InputError, match="settled when the backend was made"):
        rescore(QUERY, [[1]], ROWS, backend=worker, threads=1)


def test_lists_are_put_behind_one_another():
    rows, offsets = listed([[1, 2], [], np.array([0])])
    assert rows.tolist() == [1, 2, 0]
    assert offsets.tolist() == [0, 2, 2, 3]
