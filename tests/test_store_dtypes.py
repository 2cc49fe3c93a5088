"""Vector stores of every dtype: what is written is read back, searched exactly, and checked."""

import json

import numpy as np
import pytest

from pyserini_ext.errors import InputError
from pyserini_ext.index.manifest import FORMAT, checksum
from pyserini_ext.index.matrix import MatrixStore
from pyserini_ext.index.matrix_writer import MatrixWriter
from pyserini_ext.rescore.quantise import DTYPES, dequantise, quantise, stride_of
from pyserini_ext.rescore.rows import METRICS, listed
from pyserini_ext.rescore.scoring import rescore

N, D = 250, 21
RNG = np.random.default_rng(0)
VECTORS = (RNG.standard_normal((N, D)) * RNG.uniform(0.1, 4, (N, 1))).astype(np.float32)
VECTORS[17] = 0
QUERIES = RNG.standard_normal((9, D)).astype(np.float32)
DOCIDS = [f"doc{i}" for i in range(N)]


def write(path, dtype, vectors=VECTORS, docids=DOCIDS, metric="ip"):
    with MatrixWriter(path, vectors.shape[1], dtype=dtype, metric=metric) as out:
        out.append(docids[:100], vectors[:100])
        out.append(docids[100:], vectors[100:])
    return MatrixStore(path)


def expected(dtype):
    """What is kept of the vectors, by the definitions."""
    exact = VECTORS.astype(np.float64)
    if dtype == "int8":
        scale = (np.abs(VECTORS).max(axis=1) / np.float32(127)).astype(np.float64)[:, None]
        return np.rint(np.divide(exact, scale, out=np.zeros_like(exact), where=scale > 0)) * scale
    if dtype == "binary":
        return np.where(exact >= 0, 1.0, -1.0)
    return VECTORS.astype(dtype).astype(np.float64)


def reference(dtype, metric):
    """Scores of all documents in float64."""
    x, q = expected(dtype), QUERIES.astype(np.float64)
    if dtype == "binary":
        q = np.where(q >= 0, 1.0, -1.0)
    if metric == "l2":
        return -((x - q[:, None]) ** 2).sum(axis=2)
    if metric == "ip":
        return q @ x.T
    lengths = np.linalg.norm(x, axis=1) * np.linalg.norm(q, axis=1)[:, None]
    return q @ x.T / np.where(lengths == 0, 1, lengths)


@pytest.mark.parametrize("dtype", DTYPES)
def test_vectors_are_read_back_as_they_are_defined(tmp_path, dtype):
    store = write(tmp_path / "s", dtype)
    store.verify()
    assert store.stored.dtype == dtype
    assert store.stored.data.shape == (N, stride_of(dtype, D))
    assert store.stored.data.strides[0] % 32 == 0
    assert store.stored.data.ctypes.data % 32 == 0
    assert not store.stored.data[:, (3 if dtype == "binary" else D) :].any()
    taken = store.take(np.array([249, 0, 17, 0]))
    assert taken.dtype == np.float32
    np.testing.assert_allclose(taken, expected(dtype)[[249, 0, 17, 0]], rtol=1e-6)
    np.testing.assert_array_equal(store.vectors(["doc3", "doc1"]), store.take(np.array([3, 1])))
    assert store.rows(["doc3", "absent"]).tolist() == [3, -1]
    assert store.rows(["doc3"]).dtype == np.int32
    mapped = store.stored
    store.load()
    assert store.stored.data.flags.owndata
    np.testing.assert_array_equal(store.take(np.arange(N)), dequantise(mapped, slice(None)))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("block", [None, 7])
def test_search_and_rescoring_equal_the_reference(tmp_path, monkeypatch, dtype, metric, block):
    store = write(tmp_path / "s", dtype, metric=metric)
    if block:
        monkeypatch.setattr("pyserini_ext.index.matrix.BLOCK_BYTES", block * 4 * D)
    exact = reference(dtype, metric)
    for k in (1, 30, N + 5):
        found = store.search(QUERIES, k, threads=2)
        every = rescore(QUERIES, [range(N)] * 9, store.stored, k=k, metric=metric)
        for i, hits in enumerate(found):
            # By the row, as the best first of equals is the lowest.
            best = np.sort(-exact[i], kind="stable")[:k]
            np.testing.assert_allclose(hits.scores, -best, rtol=1e-6, atol=2e-5)
            part = slice(every.offsets[i], every.offsets[i + 1])
            np.testing.assert_allclose(every.scores[part], -best, rtol=1e-6, atol=2e-5)
            if dtype == "binary":
                rows = np.argsort(-exact[i], kind="stable")[:k]
                assert set(hits.docids) == {DOCIDS[row] for row in rows}
                assert every.positions[part].tolist() == rows.tolist()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("metric", METRICS)
def test_scores_of_candidates_are_those_of_the_search(tmp_path, dtype, metric):
    store = write(tmp_path / "s", dtype, metric=metric)
    hits = store.search(QUERIES, 40)
    rows = listed([store.rows(own.docids) for own in hits])
    again = store.score(QUERIES, rows).reshape(9, 40)
    for own, scores in zip(hits, again, strict=True):
        np.testing.assert_allclose(own.scores, scores, rtol=1e-6, atol=3e-5)


def test_a_store_of_version_1_is_still_read(tmp_path):
    (tmp_path / "docids.txt").write_text("".join(f"{docid}\n" for docid in DOCIDS))
    np.save(tmp_path / "vectors.npy", VECTORS)
    manifest = {"format": FORMAT, "version": 1, "dtype": "float32", "dimension": D, "count": N}
    manifest["sha256"] = checksum(tmp_path)
    (tmp_path / "store.json").write_text(json.dumps(manifest))
    old = MatrixStore(tmp_path)
    old.verify()
    new = write(tmp_path / "new", "float32")
    np.testing.assert_array_equal(old.take(np.arange(N)), new.take(np.arange(N)))
    for a, b in zip(old.search(QUERIES, 20), new.search(QUERIES, 20), strict=True):
        assert a == b
    lists = [range(N)] * 9
    a, b = (rescore(QUERIES, lists, store.stored, k=20) for store in (old, new))
    np.testing.assert_array_equal(a.positions, b.positions)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_changed_byte_in_any_file_is_found(tmp_path, dtype):
    store = write(tmp_path / "s", dtype)
    names = [*store.manifest.arrays, "docids.txt"]
    assert ("scales.npy" in names) == (dtype == "int8")
    for name in names:
        content = bytearray((tmp_path / "s" / name).read_bytes())
        content[-2] ^= 1
        (tmp_path / "s" / name).write_bytes(content)
        with pytest.raises(InputError, match="is damaged: sha256"):
            MatrixStore(tmp_path / "s").verify()
        content[-2] ^= 1
        (tmp_path / "s" / name).write_bytes(content)
    MatrixStore(tmp_path / "s").verify()


def test_files_and_manifest_must_agree(tmp_path):
    write(tmp_path / "s", "int8")
    manifest = tmp_path / "s" / "store.json"
    good = json.loads(manifest.read_text())
    for change, message in (
        ({"dtype": "int4"}, "is damaged"),
        ({"metric": "dot"}, "is damaged"),
        ({"stride": 21}, "is damaged"),
        ({"count": 7}, r"of shape \(250, 32\), store.json says int8 of shape \(7, 32\)"),
        ({"version": 3}, "version 3, this pyserini-ext reads 1 and 2"),
        ({"dtype": "float16"}, "vectors.npy is int8"),
    ):
        manifest.write_text(json.dumps(good | change))
        with pytest.raises(InputError, match=message):
            MatrixStore(tmp_path / "s")
    manifest.write_text(json.dumps(good))
    (tmp_path / "s" / "scales.npy").unlink()
    with pytest.raises(InputError, match=r"scales\.npy is missing"):
        MatrixStore(tmp_path / "s")


@pytest.mark.parametrize("dtype", DTYPES)
def test_an_interrupted_store_goes_on_to_the_same_bytes(tmp_path, dtype):
    whole = write(tmp_path / "whole", dtype)

    def stopped():
        with MatrixWriter(tmp_path / "x", D, dtype=dtype) as out:
            out.append(DOCIDS[:60], VECTORS[:60])
            raise RuntimeError("stopped")

    with pytest.raises(RuntimeError, match="stopped"):
        stopped()
    assert not (tmp_path / "x").exists()
    for name in whole.manifest.arrays:  # what was written behind the last commit goes
        with (tmp_path / "x.part" / name).open("ab") as file:
            file.write(b"rest")
    with MatrixWriter(tmp_path / "x", D, resume=True, dtype=dtype) as out:
        out.append(DOCIDS[60:], VECTORS[60:])
    for file in (tmp_path / "whole").iterdir():
        assert (tmp_path / "x" / file.name).read_bytes() == file.read_bytes()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_value_that_is_no_number_is_refused_with_its_document(tmp_path, dtype, bad):
    vectors = VECTORS.copy()
    vectors[5, 3] = bad
    with MatrixWriter(tmp_path / "s", D, dtype=dtype) as out:
        with pytest.raises(InputError, match="document 'doc5' has values that are not finite"):
            out.append(DOCIDS, vectors)
        assert out.count == 0
    with pytest.raises(InputError, match="row 5 has values that are not finite"):
        quantise(vectors, dtype)


def test_what_float16_cannot_hold_is_refused_with_its_document(tmp_path):
    vectors = VECTORS.copy()
    vectors[8, 0] = -65530
    with (
        MatrixWriter(tmp_path / "s", D, dtype="float16") as out,
        pytest.raises(InputError, match="document 'doc8' has values beyond 65504"),
    ):
        out.append(DOCIDS, vectors)
    vectors[8, 0] = -65504
    assert quantise(vectors, "float16").data[8, 0] == -65504


@pytest.mark.parametrize("size", [0, 1e-45, 1e-40, 1e-37, 1e-20, 1, 1e20, 3e38])
def test_int8_holds_rows_of_any_size(size):
    rows = quantise(np.array([[size, -size, size / 2, 0]]), "int8")
    assert np.abs(rows.data.astype(int)).max() in (0, 127)
    error = np.abs(dequantise(rows, slice(None))[0] - np.array([size, -size, size / 2, 0]))
    assert error.max() <= max(size / 254 * 1.0001, 2e-36)


def test_binary_signs_of_zeros():
    bits = quantise(np.array([[0.0, -0.0, -1e-45, 1.0]]), "binary").data[0, 0]
    assert bits == 0b11010000


def test_names_that_are_none_are_refused(tmp_path):
    with pytest.raises(InputError, match="choose one of float32, float16, int8, binary"):
        MatrixWriter(tmp_path / "s", 4, dtype="float64")
    with pytest.raises(InputError, match="choose one of ip, cosine, l2"):
        MatrixWriter(tmp_path / "s", 4, metric="dot")


def test_an_empty_store(tmp_path):
    for dtype in DTYPES:
        with MatrixWriter(tmp_path / dtype, 3, dtype=dtype):
            pass
        store = MatrixStore(tmp_path / dtype)
        store.verify()
        assert [len(hits) for hits in store.search(np.ones((2, 3)), 5)] == [0, 0]
        assert store.score(np.ones((1, 3), np.float32), listed([[]])).shape == (0,)
