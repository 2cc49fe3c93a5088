"""RM3 and sparse retrieval with feedback, against NumPy in float64; what cannot be combined."""

import json
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyserini_ext import widen
from pyserini_ext.errors import InputError
from pyserini_ext.feedback.rm3 import RM3
from pyserini_ext.feedback.vector import Rocchio
from pyserini_ext.fusion.interpolation import Interpolation
from pyserini_ext.hits import Hits
from pyserini_ext.index.idf import idf_sha256
from pyserini_ext.index.impact import build_impact_index
from pyserini_ext.run import Run
from pyserini_ext.search.__main__ import main as search
from pyserini_ext.search.feedback import FeedbackSearcher
from pyserini_ext.search.impact import ImpactSearcher
from pyserini_ext.search.options import parse_args
from pyserini_ext.search.staged import InterpolatedSearcher
from pyserini_ext.search.term_feedback import TermFeedbackSearcher

TOKENS = [f"tok{number}" for number in range(40)]
COUNT = 150


# -- the formula -----------------------------------------------------------------------------------


class Store:
    def __init__(self, documents):
        self.documents = documents

    def vectors(self, docids):
        return [self.documents[docid] for docid in docids]


def reference(documents, scores, weighting):
    """P(t|R) of all tokens, over a matrix of documents by tokens, not cut."""
    matrix = np.array([[d.get(t, 0) for t in TOKENS] for d in documents], dtype=np.float64)
    scores = np.array(scores, dtype=np.float64)
    weights = {
        "scores": scores if scores.sum() else scores + 1,
        "softmax": np.exp(scores - scores.max()),
        "uniform": np.ones(len(scores)),
    }[weighting]
    lengths = matrix.sum(axis=1, keepdims=True)
    return weights / weights.sum() @ (matrix / np.where(lengths, lengths, 1))


def cut(model, terms):
    order = np.argsort(-model, kind="stable")[:terms]
    kept = np.zeros_like(model)
    kept[order] = model[order]
    return kept / kept.sum() if kept.any() else kept


def mix(query, model, original):
    start = np.array([query.get(t, 0) for t in TOKENS], dtype=np.float64)
    if not model.any():
        return start
    return start.sum() * (original * start / start.sum() + (1 - original) * model)


def as_array(weights):
    return np.array([weights.get(token, 0) for token in TOKENS])


numbers = st.integers(0, 6)
vectors = st.dictionaries(st.sampled_from(TOKENS[:8]), numbers, max_size=6)


@settings(max_examples=200, deadline=None)
@given(
    documents=st.lists(vectors, min_size=1, max_size=6),
    scores=st.lists(numbers, min_size=6, max_size=6),
    query=st.dictionaries(st.sampled_from(TOKENS[:8]), st.floats(0.1, 5), min_size=1, max_size=4),
    depth=st.integers(1, 7),
    terms=st.integers(1, 9),
    original=st.sampled_from([0, 0.3, 0.5, 1]),
    weighting=st.sampled_from(["scores", "softmax", "uniform"]),
)
def test_expanded_queries_are_those_of_numpy(
    documents, scores, query, depth, terms, original, weighting
):
    scores = sorted(scores[: len(documents)], reverse=True)
    docids = [f"d{number}" for number in range(len(documents))]
    hits = Hits(docids, np.array(scores, dtype=np.float32), ranked=True)
    method = RM3(depth, terms, original, weighting)
    whole = reference(documents[:depth], scores[:depth], weighting)
    model = as_array(method.relevance_model(documents[:depth], np.array(scores[:depth])))
    kept = model > 0
    assert kept.sum() == min(terms, (whole > 0).sum())
    if kept.any():
        np.testing.assert_allclose(model[kept], whole[kept] / whole[kept].sum())
        # Which of equal tokens is cut may hang on the last digit of a sum.
        assert whole[kept].min() >= whole[~kept].max() - 1e-12
    store = Store(dict(zip(docids, documents, strict=True)))
    (found,) = method.refine_terms(None, [query], [hits], store)
    np.testing.assert_allclose(as_array(found), mix(query, model, original))
    assert sum(found.values()) == pytest.approx(sum(query.values()))
    if original == 1:
        assert found == pytest.approx(query)


def test_a_query_without_feedback_stays_as_it_is():
    queries = [{"a": 2.0}, {"b": 1.0}]
    hits = [Hits([], []), Hits(["1"], [3.0])]
    assert RM3().refine_terms(None, queries, hits, Store({"1": {}})) == queries
    assert RM3().refine_terms(None, [], [], Store({})) == []


@pytest.mark.parametrize(
    "wrong",
    [{"depth": 0}, {"terms": 0}, {"original_weight": 1.5}, {"weighting": "length"}],
)
def test_parameters_out_of_range_are_named(wrong):
    with pytest.raises(InputError, match=f"{next(iter(wrong))} of rm3 is"):
        RM3(**wrong)


# -- the searcher ----------------------------------------------------------------------------------


class Words:
    def __init__(self, idf=None):
        self.idf = idf
        self.idf_sha256 = idf_sha256(idf) if idf else None

    def encode(self, query):
        return {t: self.idf.get(t, 1.0) if self.idf else 1.0 for t in dict.fromkeys(query.split())}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    rng = random.Random(3)
    folder = tmp_path_factory.mktemp("corpus")
    rows = [
        {
            "id": f"d{n}",
            "vector": {t: rng.uniform(0.2, 3) for t in rng.sample(TOKENS, rng.randint(1, 9))},
        }
        for n in range(COUNT)
    ]
    (folder / "v.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return folder


QUERIES = {f"q{n}": " ".join(random.Random(n).sample(TOKENS, 3)) for n in range(8)}
QUERIES["none"] = "nothing"


def expected_hits(searcher, weights, units, k):
    docids = [f"d{n}" for n in range(COUNT)]
    scores = {}
    for docid, vector in zip(docids, searcher.document_vectors(docids), strict=True):
        if any(t in vector and w for t, w in weights.items()):
            scores[docid] = sum(
                float(np.float32(w * units.get(t, 1))) * vector.get(t, 0)
                for t, w in weights.items()
            )
    return Hits(list(scores), np.array(list(scores.values()), dtype=np.float32)).head(k)


@pytest.mark.parametrize("stored", [True, False])
@pytest.mark.parametrize("mode", ["plain", "query", "premultiplied"])
def test_second_round_is_that_of_numpy(corpus, tmp_path, mode, stored):
    build_impact_index(
        corpus,
        tmp_path / "i",
        mode="query" if mode == "plain" else mode,
        idf=None if mode == "plain" else "collection",
        store_docvectors=stored,
        progress=False,
    )
    idf = ImpactSearcher(tmp_path / "i", Words()).idf
    searcher = ImpactSearcher(tmp_path / "i", Words(idf or None))
    method = RM3(depth=4, terms=7, original_weight=0.4)
    found = TermFeedbackSearcher(searcher, method).run(QUERIES, 20, threads=2, progress=False)
    units = idf if mode == "query" else {}
    first = searcher.run(QUERIES, 4, progress=False)
    for qid, text in QUERIES.items():
        vectors = [
            {t: w * units.get(t, 1) for t, w in vector.items()}
            for vector in searcher.document_vectors(list(first[qid].docids))
        ]
        weights = np.zeros(len(TOKENS))
        if vectors:
            query = dict.fromkeys(text.split(), 1)
            model = reference(vectors, first[qid].scores, "scores")
            weights = mix(query, cut(model, 7), 0.4)
        named = {t: w for t, w in zip(TOKENS, weights, strict=True) if w}
        expected = expected_hits(searcher, named, units, 20)
        assert set(found[qid].docids) == set(expected.docids)
        np.testing.assert_allclose(found[qid].scores, expected.scores, rtol=1e-5)


def test_both_modes_expand_alike(corpus, tmp_path):
    expanded = {}
    for mode in ("query", "premultiplied"):
        build_impact_index(
            corpus, tmp_path / mode, mode=mode, idf="collection", scale=1e5, progress=False
        )
        idf = ImpactSearcher(tmp_path / mode, Words()).idf
        searcher = ImpactSearcher(tmp_path / mode, Words(idf))
        queries = [QUERIES["q1"], QUERIES["q2"]]
        expanded[mode] = TermFeedbackSearcher(searcher, RM3(), iterations=2).expand(queries)
    for query, premultiplied in zip(*expanded.values(), strict=True):
        assert {t: w / idf[t] for t, w in query.items()} == pytest.approx(premultiplied, rel=1e-4)
        assert sum(premultiplied.values()) == pytest.approx(3)


def test_weights_of_another_table_are_used_as_they_are(corpus, tmp_path):
    build_impact_index(corpus, tmp_path / "i", idf="collection", progress=False)
    searcher = TermFeedbackSearcher(ImpactSearcher(tmp_path / "i", Words()), RM3(depth=1, terms=40))
    hits = searcher.searcher.search(QUERIES["q1"], 1)
    (vector,) = searcher.searcher.document_vectors([hits[0].docid])
    (weights,) = searcher.expand([QUERIES["q1"]])
    share = {t: 1.5 * impact / sum(vector.values()) for t, impact in vector.items()}
    for token in QUERIES["q1"].split():
        share[token] = share.get(token, 0) + 0.5
    assert weights == pytest.approx(share)


def test_the_expanded_query_scores_given_documents_and_is_interpolated(corpus, tmp_path):
    build_impact_index(corpus, tmp_path / "i", progress=False)
    plain = ImpactSearcher(tmp_path / "i", Words())
    rm3 = TermFeedbackSearcher(plain, RM3(original_weight=0.2))
    queries, qids = list(QUERIES.values()), list(QUERIES)
    run = rm3.batch_search(queries, qids, COUNT)
    scores = rm3.score(queries, [hits.docids.tolist() for hits in run.values()])
    for hits, found in zip(run.values(), scores, strict=True):
        np.testing.assert_array_equal(hits.scores, found)
    assert run != plain.batch_search(queries, qids, COUNT)
    only = InterpolatedSearcher(plain, rm3, Interpolation(alpha=1.0))
    first = only.batch_search(queries[:3], qids[:3], 5)
    for qid in qids[:3]:
        assert [hit.docid for hit in first[qid]] == [hit.docid for hit in run[qid].head(5)]


class Bad:
    depth = 2

    def __init__(self, answer):
        self.answer = answer

    def refine_terms(self, queries, weights, feedback, store):
        return self.answer


@pytest.mark.parametrize(
    ("answer", "message"),
    [([], "gave no"), ([3], "gave no"), ([{"a": -1}], "weight -1"), ([{"a": np.nan}], "nan")],
)
def test_what_a_method_must_not_give_is_named(corpus, tmp_path, answer, message):
    build_impact_index(corpus, tmp_path / "i", progress=False)
    searcher = TermFeedbackSearcher(ImpactSearcher(tmp_path / "i", Words()), Bad(answer))
    with pytest.raises(InputError, match=f"feedback method Bad .*{message}"):
        searcher.search(QUERIES["q1"])


# -- weights given as they are ---------------------------------------------------------------------


def test_weights_are_searched_as_they_are(corpus, tmp_path):
    build_impact_index(
        corpus, tmp_path / "i", mode="premultiplied", idf="collection", progress=False
    )
    searcher = ImpactSearcher(tmp_path / "i", Words())
    one = searcher.search_weights([{"tok1": 1, "tok2": 1}], ["q"], 9)["q"]
    assert one == searcher.search("tok1 tok2", 9)
    half = searcher.search_weights([{"tok1": 0.5, "tok2": 0.5}], ["q"], 9)["q"]
    np.testing.assert_array_equal(half.scores, one.scores / 2)
    (scores,) = searcher.score_weights([{"tok1": 0.5, "tok2": 0.5}], [half.docids.tolist()])
    np.testing.assert_array_equal(half.scores, scores)
    with pytest.raises(InputError, match="query q: the weight of 'tok1' is -1"):
        searcher.search_weights([{"tok1": -1}], ["q"])


# -- what belongs together -------------------------------------------------------------------------


def test_searchers_and_methods_of_two_kinds_are_refused(corpus, tmp_path):
    build_impact_index(corpus, tmp_path / "i", progress=False)
    searcher = ImpactSearcher(tmp_path / "i", Words())
    with pytest.raises(InputError, match="Rocchio does not refine query tokens"):
        TermFeedbackSearcher(searcher, Rocchio())
    with pytest.raises(InputError, match=r"RM3 changes the weights .* FeedbackSearcher has not"):
        TermFeedbackSearcher(object.__new__(FeedbackSearcher), RM3())
    with pytest.raises(InputError, match="iterations is 0"):
        TermFeedbackSearcher(searcher, RM3(), 0)


SPARSE = ["--sparse-index", "s", "--sparse-searcher", "inference-free"]
DENSE = ["--index", "i", "--encoder", "minilm"]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ([*SPARSE, "--prf", "rocchio"], "--prf rocchio refines dense query vectors; add --index"),
        ([*DENSE, "--prf", "rm3"], "--prf rm3 refines the tokens .* add --sparse-index"),
        (["--sparse-index", "s", "--prf", "rm3"], "which the searcher bm25 does not have"),
        ([*DENSE, *SPARSE, "--prf", "rm3"], "say --interpolate as well"),
        ([*DENSE, *SPARSE, "--prf", "rm3", "--interpolate", "both"], "say --interpolate$"),
        ([*SPARSE, "--prf", "rm3", "--prf-renormalise"], "dense vectors, not --prf rm3"),
        ([*SPARSE, "--prf", "rm3", "--rocchio-beta", "1"], "only applies to --prf rocchio"),
    ],
)
def test_options_of_two_kinds_are_refused(wrong, message):
    with pytest.raises(InputError, match=message):
        parse_args(["--topics", "t", "--output", "o", *wrong])


def test_dense_feedback_of_pyserini_and_of_python_refuses_it():
    with pytest.raises(InputError, match="'rm3' does not work on one vector"):
        widen._feedback("rm3", 10, ())


def test_the_command_does_what_the_searcher_does(tmp_path, minilm_path):
    texts = {
        "1": "a sound wave in air",
        "2": "cold air at sea",
        "3": "light waves",
        "4": "sea sand",
    }
    rows = [{"id": d, "vector": dict.fromkeys(text.split(), 1)} for d, text in texts.items()]
    (tmp_path / "v.jsonl").write_text("\n".join(map(json.dumps, rows)))
    build_impact_index(
        tmp_path / "v.jsonl", tmp_path / "i", idf="collection", store_docvectors=True,
        progress=False,
    )  # fmt: skip
    (tmp_path / "t.tsv").write_text("q\tsound wave\nr\tlight\n")
    given = ["--sparse-index", str(tmp_path / "i"), "--sparse-searcher", "inference-free"]
    given += ["--sparse-encoder", "bm25-impact", "--topics", str(tmp_path / "t.tsv"), "--quiet"]
    options = ["--prf-depth", "2", "--prf-arg", "terms=5", "--prf-iterations", "2"]
    saved = ["--output", str(tmp_path / "o.txt"), "--save-stages"]
    search([*given, "--prf", "rm3", *options, *saved])
    search([*given, "--output", str(tmp_path / "plain.txt")])
    plain, stage = Run.read(tmp_path / "plain.txt"), Run.read(tmp_path / "o.sparse.txt")
    assert {qid: list(hits) for qid, hits in stage.items()} == {
        qid: list(hits) for qid, hits in plain.items()
    }
    searcher = TermFeedbackSearcher(
        ImpactSearcher(tmp_path / "i", "bm25-impact"), RM3(depth=2, terms=5), 2
    )
    run = searcher.run({"q": "sound wave", "r": "light"}, progress=False)
    written = Run.read(tmp_path / "o.txt")
    for qid, hits in run.items():
        assert [hit.docid for hit in written[qid]] == [hit.docid for hit in hits]
        np.testing.assert_allclose(written[qid].scores, hits.scores, atol=1e-5)
    assert [hit.docid for hit in run["q"]][:2] == ["1", "2"]
