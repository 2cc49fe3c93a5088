"""Searching impact indexes: against NumPy, and against Pyserini on its own indexes and on ours."""

import json
import random

import numpy as np
import pytest

from pyserini_ext import jvm
from pyserini_ext.errors import InputError
from pyserini_ext.hits import Hits
from pyserini_ext.index.idf import idf_sha256
from pyserini_ext.index.impact import Pruning, build_impact_index
from pyserini_ext.search.base import Searcher
from pyserini_ext.search.impact import Contribution, ImpactSearcher

TOKENS = [*(f"tok{number}" for number in range(30)), "##ing", "東京"]
COUNT = 1200
KS = (1, 10, 1000, COUNT + 500)


class Weights:
    """The weight of a word stands behind it, or is 1: ``a:2.5 b``."""

    def __init__(self, **attributes):
        self.__dict__.update(attributes)

    def encode(self, query):
        pairs = (word.partition(":") for word in query.split())
        return {token: float(weight or 1) for token, _, weight in pairs}


def random_queries(whole):
    rng = random.Random(7)
    texts = ["", "nowhere", "tok1", "tok1:3 nowhere", "every tok2", "every"]
    for length in (1, 2, 3, 3, 5, 8, 20):
        weights = [rng.randint(1, 5) if whole else rng.uniform(0, 4) for _ in range(length)]
        tokens = rng.sample(TOKENS, length)
        texts.append(" ".join(f"{t}:{w}" for t, w in zip(tokens, weights, strict=True)))
    return {f"q{number}": text for number, text in enumerate(texts)}


@pytest.fixture(scope="module")
def documents():
    """Few different weights, so that most scores tie; a token in every document; some empty."""
    rng = random.Random(5)
    numbers = list(range(COUNT))
    rng.shuffle(numbers)
    vectors = {
        f"d{n}": {t: rng.choice([1, 1, 2, 3]) for t in rng.sample(TOKENS, rng.choice([1, 2, 9]))}
        for n in numbers
    }
    return {docid: {**vector, "every": 1} for docid, vector in vectors.items()}


@pytest.fixture(scope="module")
def corpus(documents, tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    rows = [{"id": d, "contents": f"text of {d}", "vector": v} for d, v in documents.items()]
    for part in range(3):
        lines = [json.dumps(row) + "\n" for row in rows[part::3]]
        (folder / f"{part}.jsonl").write_text("".join(lines), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def ours(corpus, tmp_path_factory):
    path = tmp_path_factory.mktemp("ours") / "index"
    build_impact_index(corpus, path, scale=1, store_raw=True, progress=False)
    return path


@pytest.fixture(scope="module")
def theirs(corpus, tmp_path_factory):
    """The index that Pyserini makes of the same vectors."""
    options = "-collection JsonVectorCollection -generator DefaultLuceneDocumentGenerator"
    return anserini(corpus, tmp_path_factory.mktemp("theirs") / "index", options)


@pytest.fixture(scope="module")
def plugin(corpus, tmp_path_factory):
    """The index that Pyserini's command makes of the same vectors with our collection class."""
    options = "-collection SparseVectorCollection -generator SparseVectorDocumentGenerator"
    options += " -storeRaw -storeDocvectors"
    return anserini(corpus, tmp_path_factory.mktemp("plugin") / "index", options)


def anserini(corpus, path, options):
    options += f" -threads 2 -impact -pretokenized -input {corpus} -index {path}"
    jvm.autoclass("io.anserini.index.IndexCollection").main(options.split())
    return path


def lucene_impact_searcher(path, min_idf=0):
    with jvm.pyserini_import():
        from pyserini.search.lucene import LuceneImpactSearcher
    return LuceneImpactSearcher(str(path), Weights(), min_idf)


def pairs(hits):
    return [(hit.docid, hit.score) for hit in hits]


def expected_hits(impacts, weights, k):
    """Scores as Lucene computes them: float32 products, summed in float64, given as float32."""
    found = {}
    for docid, vector in impacts.items():
        parts = [np.float32(w) * np.float32(vector[t]) for t, w in weights.items() if t in vector]
        if parts:
            found[docid] = np.float32(np.sum(np.array(parts, dtype=np.float64)))
    scores = np.array(list(found.values()), dtype=np.float32)
    return Hits(list(found), scores).head(k)


# -- against Pyserini ------------------------------------------------------------------------------


@pytest.mark.parametrize("k", KS)
@pytest.mark.parametrize("index", ["ours", "theirs", "plugin"])
@pytest.mark.parametrize("whole", [True, False])
def test_hits_and_scores_are_those_of_pyserini(request, index, k, whole):
    path = request.getfixturevalue(index)
    queries = random_queries(whole)
    reference = lucene_impact_searcher(path)
    searcher = ImpactSearcher(path, Weights(), compatible=True)
    qids, texts = list(queries), list(queries.values())
    run = searcher.batch_search(texts, qids, k)
    batch = reference.batch_search(texts, qids, k, threads=2)
    for qid, text in queries.items():
        assert pairs(run[qid]) == pairs(reference.search(text, k)) == pairs(batch[qid])
    assert searcher.batch_search(texts, qids, k, threads=2) == run


@pytest.mark.parametrize("min_idf", [0, 1, 1.3, 100])
def test_tokens_of_low_idf_are_left_out_as_in_pyserini(theirs, min_idf):
    reference = lucene_impact_searcher(theirs, min_idf)
    searcher = ImpactSearcher(theirs, Weights(), min_idf=min_idf)
    for text in random_queries(True).values():
        assert pairs(searcher.search(text, 50)) == pairs(reference.search(text, 50))


def test_an_index_of_pyserini_is_searched_as_pyserini_does_unless_told_otherwise(theirs, ours):
    assert ImpactSearcher(theirs, Weights()).compatible
    assert not ImpactSearcher(ours, Weights()).compatible
    exact = ImpactSearcher(theirs, Weights(), compatible=False)
    assert len(exact.search("every", COUNT + 1)) == COUNT
    assert exact.search("tok1:0.5", 1)[0].score == 1.5


def test_all_indexes_hold_the_same(theirs, ours, plugin, documents):
    searchers = [ImpactSearcher(p, Weights(), compatible=False) for p in (theirs, ours, plugin)]
    for text in random_queries(False).values():
        first, *others = [searcher.search(text, COUNT) for searcher in searchers]
        assert others == [first, first]
    docids = [f"d{n}" for n in range(0, COUNT, 97)]
    for searcher in searchers:
        assert searcher.document_vectors(docids) == [documents[docid] for docid in docids]
    assert [searcher.contents(["d5"]) for searcher in searchers[1:]] == [["text of d5"]] * 2


def test_documents_without_postings_are_left_out_by_pyserinis_command(tmp_path):
    rows = [{"id": "1", "vector": {"a": 0.4, "b": 0.5}}, {"id": "2", "vector": {"a": 0.4}}]
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "v.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (tmp_path / "in" / "v.jsonl.about").write_text("{}")
    options = "-collection SparseVectorCollection -generator SparseVectorDocumentGenerator"
    searcher = ImpactSearcher(anserini(tmp_path / "in", tmp_path / "i", options), Weights())
    assert searcher.document_vectors(["1", "2"]) == [{"b": 1}, None]


# -- against NumPy ---------------------------------------------------------------------------------


@pytest.mark.parametrize("k", KS)
@pytest.mark.parametrize("scale", [1, 7.3, 100])
@pytest.mark.parametrize("pruning", [Pruning(), Pruning(mass=0.8, cap=6)], ids=["whole", "pruned"])
@pytest.mark.parametrize("mode", ["query", "premultiplied"])
def test_hits_and_scores_are_those_of_numpy(corpus, documents, tmp_path, mode, scale, pruning, k):
    build_impact_index(
        corpus,
        tmp_path / "i",
        mode=mode,
        scale=scale,
        idf="collection",
        pruning=pruning,
        progress=False,
    )
    searcher = ImpactSearcher(tmp_path / "i", Weights())
    impacts = dict(zip(documents, searcher.document_vectors(list(documents)), strict=True))
    queries = random_queries(False)
    run = searcher.batch_search(list(queries.values()), list(queries), k, threads=2)
    for qid, text in queries.items():
        weights = Weights().encode(text)
        if mode == "premultiplied":
            weights = dict.fromkeys(weights, 1)
        assert run[qid] == expected_hits(impacts, weights, k)
        assert run[qid].scores.dtype == np.float32


def test_premultiplied_scores_are_the_models_to_rounding(corpus, documents, tmp_path):
    build_impact_index(
        corpus, tmp_path / "i", mode="premultiplied", idf="collection", progress=False
    )
    searcher = ImpactSearcher(tmp_path / "i", Weights())
    idf = searcher.idf
    hits = searcher.search("tok1 tok2 tok3", COUNT)
    for docid, score in hits.as_dict().items():
        exact = sum(idf[t] * documents[docid].get(t, 0) for t in ("tok1", "tok2", "tok3"))
        assert abs(score / searcher.info["scale"] - exact) <= 3 * 0.5 / searcher.info["scale"]


# -- scores of given documents, explanations, texts ------------------------------------------------


@pytest.mark.parametrize("compatible", [True, False])
@pytest.mark.parametrize("threads", [1, 2])
def test_score_of_given_documents_equals_the_search(ours, documents, compatible, threads):
    searcher = ImpactSearcher(ours, Weights(), compatible=compatible)
    queries = list(random_queries(not compatible).values())
    everything = list(documents)
    run = searcher.batch_search(queries, [str(n) for n in range(len(queries))], COUNT + 1)
    scores = searcher.score(queries, [everything] * len(queries), threads=threads)
    for hits, found in zip(run.values(), scores, strict=True):
        expected = hits.as_dict()
        assert found.dtype == np.float32
        difference = [f - expected.get(d, 0.0) for f, d in zip(found, everything, strict=True)]
        # A search in Pyserini's way subtracts up to 1e-6 a hit from ties.
        assert np.abs(difference).max() <= (COUNT * 1e-6 if compatible else 0)
        if compatible:
            assert (found == np.round(found)).all()


def test_score_takes_lists_of_any_length(ours):
    searcher = ImpactSearcher(ours, Weights())
    scores = searcher.score(["tok1", "", "tok2"], [["d1", "d1", "nowhere"], ["d2"], []])
    assert [found.shape for found in scores] == [(3,), (1,), (0,)]
    assert scores[0][0] == scores[0][1]
    assert scores[0][2] == scores[1][0] == 0
    assert searcher.score([], []) == []
    with pytest.raises(InputError, match="hold different collections"):
        searcher.score(["tok1"], [["nowhere"]])
    with pytest.raises(InputError, match="1 queries but 2 lists"):
        searcher.score(["tok1"], [["d1"], ["d2"]])


def test_explanations_add_up_to_the_score(ours):
    searcher = ImpactSearcher(ours, Weights())
    query = "tok1:2.5 tok2 tok3:0.5 every:0.25 nowhere"
    for hit in searcher.search(query, 5):
        parts = searcher.explain(query, hit.docid)
        assert sum(part.score for part in parts) == pytest.approx(hit.score)
        assert [part.score for part in parts] == sorted((p.score for p in parts), reverse=True)
        assert Contribution("every", 0.25, 1, 0.25) in parts
    with pytest.raises(InputError, match="holds no document 'x'"):
        searcher.explain(query, "x")


def test_paths_are_those_of_the_current_folder(corpus, tmp_path, monkeypatch):
    jvm.start()
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "v.jsonl").write_text('{"id": "1", "vector": {"a": 1}}')
    monkeypatch.chdir(tmp_path / "folder")
    build_impact_index("v.jsonl", "i", progress=False)
    assert pairs(ImpactSearcher("i", Weights()).search("a")) == [("1", 100)]
    with pytest.raises(InputError, match=r"folder.v\.jsonl, line 1: "):
        build_impact_index("v.jsonl", "j", scale=1e9, progress=False)


def test_texts_and_vectors_are_read_back(ours, documents):
    searcher = ImpactSearcher(ours, Weights())
    assert searcher.contents(["d5", "nowhere"]) == ["text of d5", None]
    assert searcher.document_vectors(["d5", "nowhere", "d5"]) == [
        documents["d5"],
        None,
        documents["d5"],
    ]
    assert searcher.document_vectors([]) == []
    assert len(searcher) == COUNT
    assert isinstance(searcher, Searcher)


# -- encoders --------------------------------------------------------------------------------------


class Batched(Weights):
    def encode(self, query):
        raise AssertionError("encode_batch is there")

    def encode_batch(self, queries):
        return [Weights().encode(query) for query in queries]


def test_queries_are_encoded_a_batch_at_a_time_where_the_encoder_can(ours):
    one, many = ImpactSearcher(ours, Weights()), ImpactSearcher(ours, Batched())
    queries = random_queries(False)
    texts, qids = list(queries.values()), list(queries)
    assert one.batch_search(texts, qids) == many.batch_search(texts, qids)


@pytest.mark.parametrize("weight", ["-1", "nan", "inf"])
def test_weights_that_cannot_be_searched_are_named(ours, weight):
    with pytest.raises(InputError, match=f"query 'tok1:{weight}': the weight of 'tok1' is"):
        ImpactSearcher(ours, Weights()).search(f"tok1:{weight}")


def test_what_cannot_encode_is_refused(ours):
    with pytest.raises(InputError, match="encode"):
        ImpactSearcher(ours, encoder=3)

    class Dense:
        def encode(self, queries):
            return np.zeros((len(queries), 4))

    with pytest.raises(InputError, match=r"Dense gave no .* dense encoder"):
        ImpactSearcher(ours, Dense()).search("a")


def test_an_index_of_another_tokenizer_or_idf_is_refused(corpus, tmp_path):
    table = {"tok1": 2.0, "tok2": 1.0}
    build_impact_index(
        corpus, tmp_path / "i", mode="premultiplied", idf=table, tokenizer="bert", progress=False
    )
    fits = Weights(tokenizer_name="bert", idf_sha256=idf_sha256(table))
    for encoder in (fits, Weights(), Weights(tokenizer_name=None, idf_sha256=None)):
        assert len(ImpactSearcher(tmp_path / "i", encoder).search("tok1"))
    with pytest.raises(InputError, match="tokenizer bert, and the encoder has roberta"):
        ImpactSearcher(tmp_path / "i", Weights(tokenizer_name="roberta"))
    with pytest.raises(InputError, match="idf table"):
        ImpactSearcher(tmp_path / "i", Weights(idf_sha256=idf_sha256({"tok1": 2.5})))


def test_a_query_of_too_many_tokens_is_named(ours):
    text = " ".join(f"word{number}" for number in range(1100))
    with pytest.raises(InputError, match=r"query 2 of the batch has 1100 tokens .*limit is 1024"):
        ImpactSearcher(ours, Weights()).batch_search(["tok1", text], ["a", "b"])


@pytest.mark.parametrize("by_path", [True, False])
def test_a_named_encoder_takes_the_idf_of_the_collection_from_the_index(
    tmp_path, minilm_path, by_path
):
    rows = [
        {"id": "1", "vector": {"sound": 1, "wave": 1}},
        {"id": "2", "vector": {"wave": 2}},
        {"id": "3", "vector": {"light": 1}},
    ]
    (tmp_path / "v.jsonl").write_text("\n".join(map(json.dumps, rows)))
    build_impact_index(tmp_path / "v.jsonl", tmp_path / "i", idf="collection", progress=False)
    searcher = ImpactSearcher(tmp_path / "i", str(minilm_path) if by_path else "bm25-impact")
    idf = searcher.idf
    assert searcher.encode(["a sound wave wave"]) == [{t: idf[t] for t in ("sound", "wave")}]
    hits = searcher.search("a sound wave")
    exact = {"1": idf["sound"] + idf["wave"], "2": 2 * idf["wave"]}
    assert hits.as_dict() == pytest.approx({d: 100 * s for d, s in exact.items()}, rel=1e-6)


def test_names_of_encoders_are_read_as_pyserini_does(theirs, tmp_path):
    cached = tmp_path / "queries.jsonl"
    cached.write_text(json.dumps({"id": "1", "contents": "hello", "vector": {"tok1": 2}}) + "\n")
    hits = ImpactSearcher(theirs, str(cached)).search("hello", 5)
    assert pairs(hits) == pairs(ImpactSearcher(theirs, Weights()).search("tok1:2", 5))
