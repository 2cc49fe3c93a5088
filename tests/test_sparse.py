"""Sparse searchers against Pyserini's own, on a corpus full of ties and on Cranfield."""

import json
import random

import numpy as np
import pytest

from pyserini_ext import jvm
from pyserini_ext.errors import InputError
from pyserini_ext.hits import Hits
from pyserini_ext.search.sparse import BM25Searcher, PyseriniSearcher

WORDS = [f"term{number}" for number in range(30)]
COUNT = 1500


def index(folder, documents, *options, collection="JsonCollection"):
    """Index as ``pyserini.index.lucene`` does: by the same Java class, in this process."""
    source = folder / "source"
    source.mkdir(parents=True)
    lines = [json.dumps(document) + "\n" for document in documents]
    (source / "documents.jsonl").write_text("".join(lines), encoding="utf-8")
    arguments = {
        "-collection": collection,
        "-generator": "DefaultLuceneDocumentGenerator",
        "-input": str(source),
        "-index": str(folder / "index"),
        "-threads": "1",
    }
    flat = [word for pair in arguments.items() for word in pair]
    jvm.autoclass("io.anserini.index.IndexCollection").main([*flat, *options])
    return folder / "index"


def lucene_searcher(path):
    with jvm.pyserini_import():
        from pyserini.search.lucene import LuceneSearcher
    return LuceneSearcher(str(path))


def pairs(hits):
    return [(hit.docid, hit.score) for hit in hits]


@pytest.fixture(scope="module")
def queries():
    rng = random.Random(2)
    texts = [" ".join(rng.choices(WORDS, k=length)) for length in (1, 1, 2, 3, 5, 8, 20)]
    # Repeated words, unknown words, stop words alone, nothing, characters beyond Latin.
    # The long one scores over 32, where float32 swallows what Anserini subtracts from ties.
    texts += [
        "term1 term1 term1 term2",
        "term1 term2 term3 " * 30,
        "nowhere",
        "the of and",
        "",
        "naïve 東京 term3\nterm4",
    ]
    return {f"q{number}": text for number, text in enumerate(texts)}


@pytest.fixture(scope="module")
def ties(tmp_path_factory):
    """A corpus whose documents are so short and alike that most scores tie."""
    rng = random.Random(1)
    numbers = list(range(COUNT))
    rng.shuffle(numbers)
    documents = [
        {"id": f"d{n}", "contents": " ".join(rng.choices(WORDS, k=rng.choice([1, 2, 2, 3, 40])))}
        for n in numbers
    ]
    documents.append({"id": "é-1", "contents": "naïve 東京"})
    return index(tmp_path_factory.mktemp("ties"), documents, "-storeRaw")


@pytest.fixture(scope="module")
def bm25(ties):
    return BM25Searcher(ties)


@pytest.fixture(scope="module")
def theirs(ties):
    return lucene_searcher(ties)


@pytest.mark.parametrize("k", [1, 10, 1000, COUNT + 500])
def test_hits_and_scores_are_those_of_pyserini(bm25, theirs, queries, k):
    qids, texts = list(queries), list(queries.values())
    ours = bm25.batch_search(texts, qids, k)
    batch = theirs.batch_search(texts, qids, k, threads=2)
    assert list(ours) == qids
    for qid, text in queries.items():
        assert pairs(ours[qid]) == pairs(theirs.search(text, k)) == pairs(batch[qid])
    assert bm25.batch_search(texts, qids, k, threads=2) == ours


@pytest.mark.parametrize(("k1", "b"), [(0.0, 0.0), (1.2, 0.75), (2.0, 1.0)])
def test_parameters_are_those_of_pyserini(ties, queries, k1, b):
    theirs = lucene_searcher(ties)
    theirs.set_bm25(k1, b)
    ours = BM25Searcher(ties, k1=k1, b=b)
    for text in queries.values():
        assert pairs(ours.search(text, 50)) == pairs(theirs.search(text, 50))


def test_language_chooses_the_analyzer_of_pyserini(tmp_path):
    documents = [{"id": "1", "contents": "les chevaux"}, {"id": "2", "contents": "un cheval"}]
    path = index(tmp_path, documents, "-language", "fr")
    theirs = lucene_searcher(path)
    theirs.set_language("fr")
    found = BM25Searcher(path, language="fr").search("cheval")
    assert len(found) == 2
    assert pairs(found) == pairs(theirs.search("cheval"))


def test_queries_of_nothing_have_no_hits(bm25):
    run = bm25.batch_search(["", "the of", "term1"], ["a", "b", "c"], 5)
    assert [len(hits) for hits in run.values()] == [0, 0, 5]
    assert len(bm25.batch_search([], [])) == 0


def test_raw_scores_keep_the_order_and_differ_by_the_adjustment_only(ties, bm25, queries):
    raw = BM25Searcher(ties, adjust_ties=False)
    for text in queries.values():
        plain, adjusted = raw.search(text, 300), bm25.search(text, 300)
        assert plain.docids.tolist() == adjusted.docids.tolist()
        assert np.abs(plain.scores - adjusted.scores).max(initial=0) < 5.1e-5 + 300e-6
        # Without the adjustment the order is the total order of Hits.
        assert Hits(plain.docids, plain.scores) == plain


def test_score_of_given_documents_equals_the_search_bit_for_bit(ties, queries):
    raw = BM25Searcher(ties, adjust_ties=False)
    texts = list(queries.values())
    run = raw.batch_search(texts, list(queries), COUNT + 1)
    everything = [f"d{number}" for number in range(COUNT)]
    for threads in (1, 2):
        scores = raw.score(texts, [everything] * len(texts), threads=threads)
        for hits, found in zip(run.values(), scores, strict=True):
            expected = hits.as_dict()
            assert found.dtype == np.float32
            assert found.tolist() == [expected.get(docid, 0.0) for docid in everything]


def test_adjusted_scores_of_given_documents_are_rounded_as_in_a_search(bm25):
    hits = bm25.search("term1 term2 term3", 200)
    (scores,) = bm25.score(["term1 term2 term3"], [hits.docids[::-1]])
    difference = scores[::-1] - hits.scores
    assert np.abs(difference).max() < 2e-4 + 1e-6  # 1e-6 for each hit tied before, nothing else
    untied = np.flatnonzero(np.diff(hits.scores) < -2e-4)[0] + 1
    assert difference[0] == difference[untied] == 0


def test_score_takes_lists_of_any_length_and_repetitions(bm25):
    scores = bm25.score(["term1", "", "term2"], [["d1", "d1"], ["d2"], []])
    assert [found.shape for found in scores] == [(2,), (1,), (0,)]
    assert scores[0][0] == scores[0][1]
    assert scores[1][0] == 0
    assert bm25.score([], []) == []


def test_a_document_that_is_not_in_the_index_matches_nothing(bm25):
    (known,) = bm25.score(["term1"], [["d1"]])
    np.testing.assert_array_equal(bm25.score(["term1"], [["d1", "d99999"]])[0], [*known, 0])
    with pytest.raises(InputError, match="hold different collections"):
        bm25.score(["term1", "term2"], [["d99999"], ["d99998"]])
    with pytest.raises(InputError, match="1 queries but 2 lists"):
        bm25.score(["term1"], [["d1"], ["d2"]])


def test_contents_come_in_one_call(bm25):
    first, absent, unicode = bm25.contents(["d7", "nowhere", "é-1"])
    assert first.startswith("term")
    assert absent is None
    assert unicode == "naïve 東京"
    assert json.loads(bm25.stored(["é-1"])[0])["id"] == "é-1"


def test_contents_that_were_not_stored_are_named(tmp_path):
    path = index(tmp_path, [{"id": "1", "contents": "word"}])
    with pytest.raises(InputError, match="storeRaw"):
        BM25Searcher(path).contents(["1"])


def test_many_segments_rank_as_one(tmp_path, queries):
    rng = random.Random(5)
    folder = tmp_path / "many"
    source = folder / "source"
    source.mkdir(parents=True)
    for part in range(6):
        lines = [
            json.dumps({"id": f"{n}-{part}", "contents": " ".join(rng.choices(WORDS, k=2))}) + "\n"
            for n in range(40)
        ]
        (source / f"{part}.jsonl").write_text("".join(lines))
    arguments = "-collection JsonCollection -generator DefaultLuceneDocumentGenerator -threads 3"
    jvm.autoclass("io.anserini.index.IndexCollection").main(
        [*arguments.split(), "-input", str(source), "-index", str(folder / "index")]
    )
    ours, theirs = BM25Searcher(folder / "index"), lucene_searcher(folder / "index")
    for text in queries.values():
        for k in (7, 30):
            assert pairs(ours.search(text, k)) == pairs(theirs.search(text, k))
    everything = [f"{n}-{part}" for n in range(40) for part in range(6)]
    raw = BM25Searcher(folder / "index", adjust_ties=False)
    expected = raw.search("term1 term2", 1000).as_dict()
    (scores,) = raw.score(["term1 term2"], [everything])
    assert scores.tolist() == [expected.get(docid, 0.0) for docid in everything]


def test_cranfield_equals_pyserini(collections_dir, tmp_path):
    folder = collections_dir / "cranfield"
    with (folder / "corpus.jsonl").open(encoding="utf-8") as lines:
        documents = [
            {"id": d["_id"], "contents": f"{d['title']} {d['text']}".strip()}
            for d in map(json.loads, lines)
        ]
    with (folder / "queries.tsv").open(encoding="utf-8") as lines:
        topics = dict(line.rstrip("\n").split("\t") for line in lines)
    path = index(tmp_path, documents)
    run = BM25Searcher(path).run(topics, k=1000, threads=2, progress=False)
    theirs = lucene_searcher(path).batch_search(list(topics.values()), list(topics), 1000, 2)
    for qid in topics:
        assert pairs(run[qid]) == pairs(theirs[qid])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"k1": -1}, "k1=-1"),
        ({"b": 1.5}, "b=1.5"),
        ({"language": "xx"}, 'no analyzer for language "xx"'),
    ],
)
def test_options_that_cannot_be_used_are_named(ties, options, message):
    with pytest.raises(InputError, match=message):
        BM25Searcher(ties, **options)


def test_paths_that_are_no_index_are_named(tmp_path):
    with pytest.raises(InputError, match=r"no such sparse index: .*nowhere"):
        BM25Searcher(tmp_path / "nowhere")
    (tmp_path / "docid").write_text("1\n")
    with pytest.raises(InputError, match="holds a FAISS index"):
        BM25Searcher(tmp_path)
    with pytest.raises(InputError, match=r"neither a folder nor one of the .* prebuilt"):
        BM25Searcher("no-such-prebuilt-index")


def test_batches_that_could_lose_results_are_refused(bm25):
    with pytest.raises(InputError, match="comes twice"):
        bm25.batch_search(["a", "b"], ["1", "1"])
    with pytest.raises(InputError, match="k is 0"):
        bm25.search("term1", 0)


def test_a_query_of_too_many_terms_is_named(bm25):
    text = " ".join(f"word{number}" for number in range(1100))
    for threads in (1, 2):
        with pytest.raises(InputError, match=r"word0 word1 .*more than 1024 different terms"):
            bm25.batch_search([text, "term1"], ["a", "b"], threads=threads)


class OnlySearch:
    """What a user might wrap: no ``batch_search``."""

    def search(self, query, k=10, boost=1.0):
        return [Hits([query], [boost])[0]][:k]


def test_adapter_of_a_pyserini_searcher(theirs, bm25, queries):
    ours = PyseriniSearcher(theirs)
    run = ours.batch_search(list(queries.values()), list(queries), 20, threads=2)
    assert list(run) == list(queries)
    assert run["q0"] == Hits.from_pyserini(theirs.search(queries["q0"], 20))
    assert pairs(ours.search("term1", 3)) == pairs(bm25.search("term1", 3))
    with pytest.raises(InputError, match="LuceneSearcher of Pyserini cannot score"):
        ours.score(["term1"], [["d1"]])
    with pytest.raises(InputError, match="comes twice"):
        ours.batch_search(["a", "b"], ["1", "1"])


def test_adapter_of_an_object_with_search_alone():
    run = PyseriniSearcher(OnlySearch(), boost=2.0).batch_search(["x", "y"], ["1", "2"])
    assert [pairs(hits) for hits in run.values()] == [[("x", 2.0)], [("y", 2.0)]]
    with pytest.raises(InputError, match=r"no method search"):
        PyseriniSearcher(object())
