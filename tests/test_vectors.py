"""Vector stores: every kind of FAISS index and our own matrix give the right vectors and hits."""

import gc
import json

import faiss
import numpy as np
import pytest

from pyserini_ext.errors import InputError
from pyserini_ext.index.manifest import FORMAT, checksum
from pyserini_ext.index.matrix import MatrixStore
from pyserini_ext.index.open import open_vectors
from pyserini_ext.rescore.rows import listed
from pyserini_ext.search.dense import DenseSearcher

N, D = 300, 16
EXACT = ["Flat", "IDMap,Flat", "HNSW16,Flat", "IVF8,Flat"]
LOSSY = ["PQ4x4", "SQ8", "PCA8,Flat", "OPQ4_8,IVF4,PQ4x4", "IVF8,SQ8"]


@pytest.fixture(scope="module")
def vectors():
    matrix = np.random.default_rng(3).standard_normal((N, D)).astype(np.float32)
    return matrix / np.linalg.norm(matrix, axis=1, keepdims=True)


def save_faiss(folder, index, docids):
    folder.mkdir()
    faiss.write_index(index, str(folder / "index"))
    (folder / "docid").write_text("".join(f"{d}\n" for d in docids))
    return folder


def make(folder, factory, vectors, metric=faiss.METRIC_INNER_PRODUCT):
    index = faiss.index_factory(D, factory, metric)
    index.train(vectors)
    if factory.startswith("IDMap"):
        index = faiss.IndexIDMap2(faiss.IndexFlatIP(D))
        index.add_with_ids(vectors, np.arange(N))
    else:
        index.add(vectors)
    return save_faiss(folder, index, [f"doc{i}" for i in range(N)])


def save_matrix(folder, vectors):
    folder.mkdir()
    np.save(folder / "vectors.npy", vectors)
    (folder / "docids.txt").write_text("".join(f"doc{i}\n" for i in range(len(vectors))))
    manifest = {
        "format": FORMAT,
        "version": 1,
        "dtype": "float32",
        "dimension": vectors.shape[1],
        "count": len(vectors),
        "sha256": checksum(folder),
    }
    (folder / "store.json").write_text(json.dumps(manifest))
    return folder


@pytest.mark.parametrize("factory", EXACT + LOSSY)
def test_vectors_of_a_faiss_index_are_what_it_reconstructs(tmp_path, vectors, factory):
    folder = make(tmp_path / "index", factory, vectors)
    store = open_vectors(folder)
    raw = faiss.read_index(str(folder / "index"))
    if "IVF" in factory:
        faiss.extract_index_ivf(raw).make_direct_map()
    asked = ["doc7", "doc0", "doc299", "doc7"]
    expected = np.array([raw.reconstruct(i) for i in (7, 0, 299, 7)])
    np.testing.assert_array_equal(store.vectors(asked), expected)
    if factory in EXACT:
        np.testing.assert_array_equal(store.vectors(asked), vectors[[7, 0, 299, 7]])


@pytest.mark.parametrize("factory", EXACT + LOSSY)
@pytest.mark.parametrize("k", [1, 10, 1000])
def test_hits_of_a_faiss_index_are_those_of_faiss(tmp_path, vectors, factory, k):
    folder = make(tmp_path / "index", factory, vectors)
    queries = vectors[:3] + 0.1
    scores, rows = faiss.read_index(str(folder / "index")).search(queries, min(k, N))
    for hits, s, r in zip(open_vectors(folder).search(queries, k), scores, rows, strict=True):
        expected = {f"doc{row}": score for row, score in zip(r, s, strict=True) if row >= 0}
        assert hits.as_dict() == pytest.approx(expected, abs=0)


@pytest.mark.parametrize("k", [1, 7, 299, 300, 5000])
@pytest.mark.parametrize("queries", [1, 25])
def test_every_exact_store_equals_the_float64_reference(tmp_path, vectors, k, queries):
    wanted = np.random.default_rng(k).standard_normal((queries, D)).astype(np.float32)
    reference = wanted.astype(np.float64) @ vectors.astype(np.float64).T
    stores = [
        open_vectors(make(tmp_path / "flat", "Flat", vectors)),
        open_vectors(save_matrix(tmp_path / "matrix", vectors)),
    ]
    for store in stores:
        for hits, exact in zip(store.search(wanted, k, threads=2), reference, strict=True):
            best = np.argsort(-exact)[:k]
            assert [h.docid for h in hits] == [f"doc{i}" for i in best]
            np.testing.assert_allclose(hits.scores, exact[best], atol=1e-5)


def test_a_matrix_larger_than_a_block_gives_the_same_hits(tmp_path, vectors, monkeypatch):
    store = MatrixStore(save_matrix(tmp_path / "matrix", vectors))
    whole = store.search(vectors[:5], 20)
    monkeypatch.setattr("pyserini_ext.index.matrix.BLOCK_BYTES", 7 * 4 * D)
    assert [[h.docid for h in hits] for hits in store.search(vectors[:5], 20)] == [
        [h.docid for h in hits] for hits in whole
    ]


def test_an_l2_index_gives_negative_distances_and_scores_documents_alike(tmp_path, vectors):
    store = open_vectors(make(tmp_path / "l2", "Flat", vectors, faiss.METRIC_L2))
    (hits,) = store.search(vectors[:1] + 0.05, 5)
    again = store.similarity(vectors[0] + np.float32(0.05), store.vectors(hits.docids))
    np.testing.assert_allclose(hits.scores, again, atol=1e-6)
    assert hits.scores.max() < 0


def test_equal_vectors_tie_by_docid(tmp_path):
    index = faiss.IndexFlatIP(2)
    index.add(np.ones((3, 2), np.float32))
    store = open_vectors(save_faiss(tmp_path / "ties", index, ["c", "a", "b"]))
    assert [h.docid for h in store.search(np.ones((1, 2)), 3)[0]] == ["a", "b", "c"]


def test_the_policy_for_missing_vectors_is_explicit(tmp_path, vectors):
    store = open_vectors(make(tmp_path / "index", "Flat", vectors))
    with pytest.raises(InputError, match="document 'absent' has no vector"):
        store.vectors(["doc1", "absent"])
    np.testing.assert_array_equal(store.vectors(["absent", "doc1"], missing="skip"), vectors[[1]])
    zero = store.vectors(["absent", "doc1"], missing="zero")
    np.testing.assert_array_equal(zero, np.stack([np.zeros(D), vectors[1]]))
    with pytest.raises(InputError, match="choose one of error, skip, zero"):
        store.vectors(["doc1"], missing="ignore")
    assert store.vectors([]).shape == (0, D)


@pytest.mark.parametrize("metric", [faiss.METRIC_INNER_PRODUCT, faiss.METRIC_L2])
@pytest.mark.parametrize("factory", ["Flat", "HNSW16,Flat", "IVF8,Flat", "PQ4x4"])
def test_candidates_are_scored_exactly_whatever_the_store(
    tmp_path, vectors, monkeypatch, factory, metric
):
    store = open_vectors(make(tmp_path / "index", factory, vectors, metric))
    assert (store.stored is not None) == (factory in ("Flat", "HNSW16,Flat"))
    rng = np.random.default_rng(5)
    queries = rng.standard_normal((4, D)).astype(np.float32)
    lists = [rng.integers(0, N, n) for n in (40, 0, 1, 25)]
    x = [store.take(own).astype(np.float64) for own in lists]
    l2 = metric == faiss.METRIC_L2
    exact = [
        -((own - query) ** 2).sum(axis=1) if l2 else own @ query.astype(np.float64)
        for own, query in zip(x, queries, strict=True)
    ]
    monkeypatch.setattr("pyserini_ext.index.vectors.GATHER_BYTES", 7 * 4 * D)
    found = store.score(queries, listed(lists))
    np.testing.assert_allclose(found, np.concatenate(exact), atol=1e-5)
    best = store.rescore(queries, listed(lists), 5)
    assert best.offsets.tolist() == [0, 5, 5, 6, 11]
    scores = np.concatenate([np.sort(own)[::-1][:5] for own in exact])
    np.testing.assert_allclose(best.scores, scores, atol=1e-5)
    both = store.rescore(queries, listed(lists), 5, np.ones(66, np.float32), 0.25)
    np.testing.assert_allclose(both.scores, 0.25 + 0.75 * scores, atol=1e-5)
    assert both.positions.tolist() == best.positions.tolist()


@pytest.mark.parametrize("policy", ["error", "skip", "zero"])
def test_a_searcher_scores_lists_as_one_query_at_a_time(tmp_path, vectors, policy):
    store = open_vectors(make(tmp_path / "index", "Flat", vectors, faiss.METRIC_L2))
    searcher = DenseSearcher(store, missing_vector=policy)
    queries = vectors[:3] + np.float32(0.5)
    lists = [["doc4", "doc9", "doc4"], [], ["doc1"]]
    if policy != "error":
        lists[2] = ["absent", "doc1", "gone"]
    found = searcher.score_vectors(queries, lists)
    assert [len(own) for own in found] == [3, 0, len(lists[2])]
    for query, own, scores in zip(queries, lists, found, strict=True):
        for docid, score in zip(own, scores, strict=True):
            if docid in ("absent", "gone"):
                zero = -float((query.astype(np.float64) ** 2).sum())
                assert np.isnan(score) if policy == "skip" else score == pytest.approx(zero)
            else:
                document = vectors[int(docid[3:])]
                assert score == pytest.approx(-((document - query) ** 2).sum(), rel=1e-5)
    if policy == "error":
        with pytest.raises(
            InputError, match=r"'absent' has no vector in .* \(1 of 2 are missing\)"
        ):
            searcher.score_vectors(queries[:2], [["doc1"], ["absent"]])
    with pytest.raises(InputError, match="3 query vectors but 2 lists"):
        searcher.score_vectors(queries, lists[:2])
    assert searcher.score_vectors(queries[:0], []) == []


def test_rows_of_an_index_outlive_its_store(tmp_path, vectors):
    stored = open_vectors(make(tmp_path / "index", "Flat", vectors)).stored
    gc.collect()
    np.testing.assert_array_equal(stored.data, vectors)


def test_duplicate_docids_search_but_do_not_look_up(tmp_path):
    index = faiss.IndexFlatIP(1)
    index.add(np.array([[1.0], [3.0], [2.0]], np.float32))
    store = open_vectors(save_faiss(tmp_path / "twice", index, ["a", "a", "b"]))
    assert store.search(np.ones((1, 1)), 3)[0].as_dict() == {"a": 3.0, "b": 2.0}
    with pytest.raises(InputError, match="docid 'a' stands for several vectors"):
        store.vectors(["b"])


def test_options_reach_the_index_or_are_refused(tmp_path, vectors):
    ivf = make(tmp_path / "ivf", "PCA8,IVF8,Flat", vectors)
    hnsw = make(tmp_path / "hnsw", "HNSW16,Flat", vectors)
    flat = make(tmp_path / "flat", "Flat", vectors)
    assert len(open_vectors(ivf, nprobe=8).search(vectors[:1], N)[0]) == N
    assert len(open_vectors(ivf, nprobe=1).search(vectors[:1], N)[0]) < N
    assert open_vectors(hnsw, ef_search=77).index.hnsw.efSearch == 77
    for folder, wrong in (
        (flat, {"nprobe": 3}),
        (flat, {"ef_search": 3}),
        (ivf, {"ef_search": 9}),
        (hnsw, {"ef_search": 0}),
        (save_matrix(tmp_path / "matrix", vectors), {"nprobe": 3}),
    ):
        with pytest.raises(InputError):
            open_vectors(folder, **wrong)


def test_a_wrong_dimension_is_explained(tmp_path, vectors):
    store = open_vectors(make(tmp_path / "index", "Flat", vectors))
    with pytest.raises(InputError, match=r"dimension 4 but the index .* has 16"):
        store.search(np.ones((1, 4)), 1)


def test_damaged_folders_are_refused(tmp_path, vectors):
    with pytest.raises(InputError, match="no such index folder"):
        open_vectors(tmp_path / "absent")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no vectors"):
        open_vectors(tmp_path / "empty")
    faulty = make(tmp_path / "short", "Flat", vectors)
    (faulty / "docid").write_text("doc0\n")
    with pytest.raises(InputError, match="300 vectors but 1 docids"):
        open_vectors(faulty)
    (faulty / "index").write_bytes(b"not an index")
    with pytest.raises(InputError, match="not a readable FAISS index"):
        open_vectors(faulty)
    matrix = save_matrix(tmp_path / "matrix", vectors)
    MatrixStore(matrix).verify()
    np.save(matrix / "vectors.npy", vectors + 1)
    with pytest.raises(InputError, match="is damaged: sha256"):
        MatrixStore(matrix).verify()
    np.save(matrix / "vectors.npy", vectors[:9])
    with pytest.raises(InputError, match=r"of shape \(9, 16\), store.json says"):
        MatrixStore(matrix)
    (matrix / "store.json").write_text("{}")
    with pytest.raises(InputError, match="is damaged"):
        MatrixStore(matrix)
