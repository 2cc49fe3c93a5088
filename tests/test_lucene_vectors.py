"""Vectors in Lucene indexes, against numpy and Pyserini's own dense Lucene searchers."""

import json

import numpy as np
import pytest

from pyserini_ext import jvm
from pyserini_ext.errors import InputError
from pyserini_ext.feedback.vector import Average, Rocchio
from pyserini_ext.index.lucene_vectors import LuceneVectorStore, similarity_of
from pyserini_ext.index.open import open_vectors
from pyserini_ext.search.dense import DenseSearcher
from pyserini_ext.search.feedback import FeedbackSearcher

COUNT, DIMENSION = 1200, 16
KINDS = ("hnsw", "flat", "hnsw-quantised", "flat-quantised")


@pytest.fixture(scope="module")
def vectors():
    rng = np.random.default_rng(0)
    matrix = rng.normal(size=(COUNT, DIMENSION)).astype(np.float32)
    matrix[100:120] = matrix[100]  # equal scores, whatever the query
    return matrix / np.linalg.norm(matrix, axis=1, keepdims=True)


@pytest.fixture(scope="module")
def docids():
    return [f"d{(number * 7919) % COUNT}" for number in range(COUNT)]


@pytest.fixture(scope="module")
def queries(vectors):
    rng = np.random.default_rng(1)
    matrix = rng.normal(size=(9, DIMENSION)).astype(np.float32)
    matrix[0] = vectors[100]
    return matrix / np.linalg.norm(matrix, axis=1, keepdims=True)


def build(folder, kind, docids, vectors, threads=1):
    source = folder / "source"
    source.mkdir(parents=True)
    # Several files, so that several threads make several segments.
    for part in range(3):
        lines = [
            json.dumps({"docid": docid, "contents": "", "vector": vector.tolist()}) + "\n"
            for docid, vector in list(zip(docids, vectors, strict=True))[part::3]
        ]
        (source / f"{part}.jsonl").write_text("".join(lines))
    name = "IndexHnswDenseVectors" if "hnsw" in kind else "IndexFlatDenseVectors"
    arguments = ["-collection", "JsonDenseVectorCollection", "-input", str(source)]
    arguments += ["-generator", "DenseVectorDocumentGenerator", "-threads", str(threads)]
    arguments += ["-index", str(folder / "index")]
    if "quantised" in kind:
        old = "anserini-1." in jvm.fatjar().name
        arguments.append("-quantize.int8" if old else "-quantize.sqv")
    jvm.autoclass(f"io.anserini.index.{name}").main(arguments)
    return folder / "index"


@pytest.fixture(scope="module")
def indexes(tmp_path_factory, docids, vectors):
    folder = tmp_path_factory.mktemp("vectors")
    return {kind: build(folder / kind, kind, docids, vectors) for kind in KINDS}


@pytest.mark.parametrize("kind", KINDS)
def test_vectors_read_back_are_those_indexed(indexes, kind, docids, vectors):
    store = open_vectors(indexes[kind])
    assert isinstance(store, LuceneVectorStore)
    assert (len(store), store.dimension, store.metric) == (COUNT, DIMENSION, "ip")
    assert store.hnsw == ("hnsw" in kind)
    order = np.random.default_rng(2).permutation(COUNT)
    shuffled = [docids[number] for number in order]
    assert np.array_equal(store.vectors(shuffled), vectors[order])
    assert store.docids[store.rows(shuffled)].tolist() == shuffled
    twice = store.vectors([docids[5], docids[3], docids[5]])
    assert np.array_equal(twice, vectors[[5, 3, 5]])
    assert store.take(np.empty(0, np.int64)).shape == (0, DIMENSION)


def test_documents_without_vector_follow_the_policy(indexes, docids, vectors):
    store = LuceneVectorStore(indexes["hnsw"])
    asked = [docids[1], "nowhere", docids[2]]
    assert store.rows(asked)[1] == -1
    with pytest.raises(InputError, match="'nowhere' has no vector"):
        store.vectors(asked)
    assert np.array_equal(store.vectors(asked, "skip"), vectors[[1, 2]])
    assert np.array_equal(store.vectors(asked, "zero")[1], np.zeros(DIMENSION))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("k", [1, 10, 100])
def test_hits_are_those_of_pyserini(indexes, kind, queries, k):
    with jvm.pyserini_import():
        from pyserini.search.lucene import LuceneFlatDenseSearcher, LuceneHnswDenseSearcher
    pyserini = LuceneHnswDenseSearcher if "hnsw" in kind else LuceneFlatDenseSearcher
    theirs = pyserini(str(indexes[kind]))
    store = LuceneVectorStore(indexes[kind])
    found = store.search(queries, k)
    for query, hits in zip(queries, found, strict=True):
        expected = theirs.search(query.tolist(), k)
        assert hits.docids.tolist() == [hit.docid for hit in expected]
        lucene = np.array([hit.score for hit in expected], dtype=np.float32)
        # Lucene's vector kernels add in an order that compilation may change.
        assert np.abs(hits.scores - similarity_of(lucene, "DOT_PRODUCT")).max() < 5e-7


@pytest.mark.parametrize("threads", [1, 2])
def test_flat_scores_are_inner_products(indexes, queries, docids, vectors, threads):
    found = LuceneVectorStore(indexes["flat"]).search(queries, COUNT + 9, threads=threads)
    row = {docid: number for number, docid in enumerate(docids)}
    for query, hits in zip(queries, found, strict=True):
        assert len(hits) == COUNT
        exact = vectors[[row[docid] for docid in hits.docids]] @ query
        assert np.abs(hits.scores - exact).max() < 1e-6


def test_similarity_scores_as_the_search_does(indexes, queries):
    store = LuceneVectorStore(indexes["flat"])
    (hits,) = store.search(queries[1], 20)
    scores = store.similarity(queries[1], store.vectors(hits.docids))
    assert np.abs(scores - hits.scores).max() < 1e-6


def test_default_beam_grows_with_k_where_pyserini_loses_hits(indexes, queries):
    found = LuceneVectorStore(indexes["hnsw"]).search(queries, 500)
    assert {len(hits) for hits in found} == {500}


def test_a_wider_beam_finds_what_is_exact(indexes, queries):
    exact = LuceneVectorStore(indexes["flat"]).search(queries, 10)
    wide = LuceneVectorStore(indexes["hnsw"], ef_search=COUNT).search(queries, 10)
    assert [hits.docids.tolist() for hits in wide] == [hits.docids.tolist() for hits in exact]


def test_several_segments_look_like_one(tmp_path, docids, vectors, queries):
    path = build(tmp_path, "flat", docids, vectors, threads=3)
    store = LuceneVectorStore(path)
    assert np.array_equal(store.vectors(docids), vectors)
    row = {docid: number for number, docid in enumerate(docids)}
    for query, hits in zip(queries, store.search(queries, 10), strict=True):
        exact = vectors[[row[docid] for docid in hits.docids]] @ query
        assert np.abs(hits.scores - np.sort(vectors @ query)[::-1][:10]).max() < 1e-6
        assert np.abs(hits.scores - exact).max() < 1e-6


def test_options_and_queries_that_cannot_be_used_are_named(indexes, queries):
    with pytest.raises(InputError, match=r"ef_search=50 does not apply to the flat index"):
        LuceneVectorStore(indexes["flat"], ef_search=50)
    with pytest.raises(InputError, match="ef_search is 0"):
        LuceneVectorStore(indexes["hnsw"], ef_search=0)
    narrow = LuceneVectorStore(indexes["hnsw"], ef_search=5)
    with pytest.raises(InputError, match="k=6 hits cannot come out of a search with ef_search=5"):
        narrow.search(queries, 6)
    with pytest.raises(InputError, match=f"dimension 3 but the index .* has {DIMENSION}"):
        narrow.search(np.zeros((1, 3), np.float32), 1)
    with pytest.raises(InputError, match="NaN"):
        narrow.search(np.full((1, DIMENSION), np.nan, np.float32), 1)
    with pytest.raises(InputError, match=f"rows must lie in 0 … {COUNT - 1}"):
        narrow.take(np.array([COUNT]))


def test_folders_that_hold_no_vectors_are_named(tmp_path):
    with pytest.raises(InputError, match="is not a Lucene index"):
        LuceneVectorStore(tmp_path)
    source = tmp_path / "source"
    source.mkdir()
    (source / "d.jsonl").write_text('{"id": "1", "contents": "word"}\n')
    arguments = "-collection JsonCollection -generator DefaultLuceneDocumentGenerator -threads 1"
    index = str(tmp_path / "index")
    jvm.autoclass("io.anserini.index.IndexCollection").main(
        [*arguments.split(), "-input", str(source), "-index", index]
    )
    with pytest.raises(InputError, match="holds no vectors"):
        LuceneVectorStore(index)


@pytest.mark.parametrize(
    ("function", "similarity", "score"),
    [
        ("DOT_PRODUCT", [-1, -0.5, 0, 0.5, 1], lambda x: (1 + x) / 2),
        ("COSINE", [-1, -0.5, 0, 0.5, 1], lambda x: (1 + x) / 2),
        (
            "MAXIMUM_INNER_PRODUCT",
            [-9, -0.5, 0, 0.5, 9],
            lambda x: x + 1 if x >= 0 else 1 / (1 - x),
        ),
        ("EUCLIDEAN", [-9, -0.5, 0], lambda x: 1 / (1 - x)),
    ],
)
def test_lucene_scores_are_mapped_back(function, similarity, score):
    scores = np.array([score(value) for value in similarity], dtype=np.float32)
    back = similarity_of(scores, function)
    assert back.dtype == np.float32
    assert back.tolist() == pytest.approx(similarity, abs=1e-6)


def test_an_unknown_similarity_is_refused():
    with pytest.raises(InputError, match="OTHER"):
        similarity_of(np.ones(1, np.float32), "OTHER")


@pytest.mark.parametrize("kind", ["hnsw", "flat"])
@pytest.mark.parametrize("method", [Average(3), Rocchio(5), Rocchio(6, bottomk=2)])
def test_feedback_over_lucene_equals_numpy(indexes, kind, method, queries, docids, vectors):
    class Encoder:
        def encode(self, texts):
            return queries[[int(text) for text in texts]]

    beam = {"ef_search": COUNT} if kind == "hnsw" else {}
    searcher = FeedbackSearcher(DenseSearcher(indexes[kind], Encoder(), **beam), method)
    # Query 0 has twenty equal best documents, so that the choice among them would be compared.
    qids = [str(number) for number in range(1, len(queries))]
    run = searcher.batch_search(qids, qids, 20)
    for number, hits in enumerate(run.values(), start=1):
        best = np.argsort(-(vectors @ queries[number]))[: method.depth]
        refined = method.combine(queries[number].astype(np.float64), vectors[best].astype(float))
        exact = vectors @ refined
        expected = np.sort(exact)[::-1][:20]
        np.testing.assert_allclose(hits.scores, expected, atol=1e-5)
        found = [docids.index(docid) for docid in hits.docids]
        np.testing.assert_allclose(exact[found], expected, atol=1e-5)
