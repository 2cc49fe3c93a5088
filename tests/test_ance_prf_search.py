"""ANCE-PRF as a search: its texts, the whole pipeline against a plain one, Pyserini's command."""

import functools
import gzip
import json
import random
import subprocess
import sys

import faiss
import numpy as np
import pytest
from prf_checkpoints import TRANSFORMERS, ance_formula, pyserinis_ance, save_ance

from pyserini_ext import bridge
from pyserini_ext import texts as module
from pyserini_ext.collection import open_collection
from pyserini_ext.encode.ance_prf import AncePRF
from pyserini_ext.encode.presets import ANCE_MSMARCO
from pyserini_ext.errors import InputError
from pyserini_ext.feedback.vector import Average
from pyserini_ext.fusion.interpolation import Interpolation
from pyserini_ext.hits import Hits
from pyserini_ext.run import Run
from pyserini_ext.search.__main__ import main as search
from pyserini_ext.search.base import Searcher
from pyserini_ext.search.dense import DenseSearcher
from pyserini_ext.search.feedback import FeedbackSearcher
from pyserini_ext.search.options import parse_args
from pyserini_ext.search.sparse import BM25Searcher
from pyserini_ext.texts import CollectionTexts, open_texts

WORDS = ("wave", "light", "sound", "moon", "sea", "string", "violin", "heat", "cloud", "star")
QUERIES = {"1": "light wave", "2": "the sea and the moon", "3": "violin string", "4": "Heat"}
DEPTH = 3


def contents():
    chosen = random.Random(7)
    return {f"d{i}": " ".join(chosen.choices(WORDS, k=chosen.randint(3, 35))) for i in range(60)}


CONTENTS = contents()


def write_corpus(folder, documents=CONTENTS):
    folder.mkdir()
    lines = [json.dumps({"id": i, "contents": text}) + "\n" for i, text in documents.items()]
    (folder / "docs.jsonl").write_text("".join(lines))
    return folder


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """A corpus, Lucene indexes of it with and without texts, two checkpoints, vectors, topics."""
    root = tmp_path_factory.mktemp("ance-prf")
    corpus = write_corpus(root / "corpus")
    for name, stored in (("lucene", ["--storeRaw"]), ("bare", [])):
        arguments = ["--collection", "JsonCollection", "--input", str(corpus), "--threads", "1"]
        arguments += ["--generator", "DefaultLuceneDocumentGenerator", *stored]
        command = [sys.executable, "-m", "pyserini_ext", "pyserini.index.lucene", *arguments]
        subprocess.run([*command, "--index", str(root / name)], check=True, capture_output=True)
    save_ance(root / "ance")
    save_ance(root / "ance-prf", seed=5)
    vectors = ANCE_MSMARCO(root / "ance").encode_documents(list(CONTENTS.values()))
    index = faiss.IndexFlatIP(vectors.shape[1])
    index.add(vectors)
    (root / "faiss").mkdir()
    faiss.write_index(index, str(root / "faiss" / "index"))
    (root / "faiss" / "docid").write_text("".join(f"{docid}\n" for docid in CONTENTS))
    (root / "topics.tsv").write_text("".join(f"{q}\t{text}\n" for q, text in QUERIES.items()))
    return root


# Texts


def test_texts_of_a_collection_are_its_contents(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(
        b'\xef\xbb\xbf{"id": "x", "title": "T", "text": "caf\xc3\xa9"}\r\n\r\n\n'
        b'{"_id": "y", "contents": "two\\nlines"}\n{"docid": 7, "contents": ""}'
    )
    (tmp_path / "b.tsv").write_text("z\tonly text\nzz\ttitle\ttext\n")
    (tmp_path / "c.jsonl").write_text("\n")
    found = CollectionTexts(open_collection(tmp_path))
    assert len(found) == 5
    expected = ["T\ncafé", None, "only text", "two\nlines", "T\ncafé", "", "title\ntext"]
    assert found(["x", "nowhere", "z", "y", "x", "7", "zz"]) == expected
    assert found([]) == []
    assert str(found) == str(tmp_path)


def test_texts_of_a_collection_are_found_where_hashes_meet(tmp_path, monkeypatch):
    corpus = write_corpus(tmp_path / "corpus")
    monkeypatch.setattr(module, "_hash", lambda docid: len(docid))
    found = CollectionTexts(open_collection(corpus))
    docids = [*CONTENTS, "d99"]
    assert found(docids) == [CONTENTS.get(docid) for docid in docids]


def test_a_docid_that_comes_twice_and_a_packed_file_are_refused(tmp_path):
    line = '{"id": "x", "contents": "a"}\n'
    (tmp_path / "twice.jsonl").write_text(line * 2)
    with pytest.raises(InputError, match="has the docid 'x' twice"):
        open_texts(tmp_path / "twice.jsonl")
    with gzip.open(tmp_path / "packed.jsonl.gz", "wt") as out:
        out.write(line)
    with pytest.raises(InputError, match=r"packed.jsonl.gz is compressed.*gunzip"):
        open_texts(tmp_path / "packed.jsonl.gz")
    (tmp_path / "bad.jsonl").write_text(line + '{"id": "y"}\n')
    with pytest.raises(InputError, match=r"bad.jsonl, line 2: no text"):
        open_texts(tmp_path / "bad.jsonl")


def test_stored_texts_come_in_one_call(places, monkeypatch):
    bm25 = BM25Searcher(places / "lucene")
    calls = []
    stored = bm25.stored
    monkeypatch.setattr(bm25, "stored", lambda docids: calls.append(len(docids)) or stored(docids))
    docids = ["d5", "nowhere", *CONTENTS]
    assert open_texts(bm25)(docids) == [CONTENTS.get(docid) for docid in docids]
    assert calls == [len(docids)]
    by_path = open_texts(str(places / "lucene"))
    assert by_path(docids) == open_texts(bm25)(docids)
    assert str(by_path) == str(places / "lucene")
    with pytest.raises(InputError, match=r"stores no text of document 'd1'.*--storeRaw"):
        open_texts(places / "bare")(["nowhere", "d1"])


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ('{"id": "1", "contents": "c", "title": "t", "text": "x"}', "c"),
        ('{"_id": "1", "title": "t", "text": "x"}', "t\nx"),
        ('{"_id": "1", "title": "", "text": "x"}', "x"),
        ("<DOC>x</DOC>", None),
        ('{"id": "1", "body": "x"}', None),
        ("[1]", None),
    ],
)
def test_stored_documents_of_other_layouts(places, monkeypatch, raw, expected):
    bm25 = BM25Searcher(places / "lucene")
    monkeypatch.setattr(bm25, "stored", lambda docids: [raw] * len(docids))
    if expected is None:
        with pytest.raises(InputError, match=r"stores document 'd1' as .*; expected JSON"):
            bm25.contents(["d1"])
    else:
        assert bm25.contents(["d1", "d2"]) == [expected] * 2


def test_a_source_of_another_kind_is_refused(tmp_path):
    with pytest.raises(InputError, match="list is no source of texts"):
        open_texts(["a text"])
    with pytest.raises(InputError, match="no such sparse index"):
        open_texts(tmp_path / "nowhere" / "index")
    with pytest.raises(InputError, match="holds no"):
        open_texts(tmp_path)


# The pipeline


class Sparse(Searcher):
    """Counts shared words."""

    def batch_search(self, queries, qids, k=10, threads=1):
        lists = (self._hits(query, CONTENTS, k) for query in queries)
        return Run(zip(qids, lists, strict=True))

    def score(self, queries, docids):
        return [
            np.array([overlap(query, docid) for docid in own], np.float32)
            for query, own in zip(queries, docids, strict=True)
        ]

    @staticmethod
    def _hits(query, docids, k):
        found = {docid: overlap(query, docid) for docid in docids if overlap(query, docid)}
        return Hits(list(found), np.array(list(found.values()), np.float32)).head(k)


def overlap(query, docid):
    return sum(CONTENTS[docid].split().count(word) for word in query.lower().split())


@functools.cache
def document_vectors(folder):
    return {docid: ance_formula(folder, f"<s>{text}</s>") for docid, text in CONTENTS.items()}


def plain(places, query, when, rescore, k, iterations=1):
    """Documents and scores of one query, by loops in float64."""
    vectors = document_vectors(places / "ance")
    sparse = {d: float(overlap(query, d)) for d in CONTENTS}

    def dense(vector, depth):
        pool = [d for d in CONTENTS if sparse[d]] if rescore else CONTENTS
        scores = {d: float(vectors[d].astype(np.float64) @ vector) for d in pool}
        return dict(sorted(scores.items(), key=lambda item: (-item[1], item[0]))[:depth])

    def mixed(vector):
        found = dense(vector, k)
        best = sorted((d for d in CONTENTS if sparse[d]), key=lambda d: (-sparse[d], d))
        both = dict.fromkeys([*found, *(best if rescore else best[:k])])
        sides = [sparse, {d: float(vectors[d].astype(np.float64) @ vector) for d in both}]
        total = dict.fromkeys(both, 0.0)
        for side in sides:
            own = np.array([side[d] for d in both])
            scaled = (own - own.min()) / (own.max() - own.min())
            for d, score in zip(both, scaled, strict=True):
                total[d] += 0.5 * score
        return dict(sorted(total.items(), key=lambda item: (-item[1], item[0]))[:k])

    vector = ance_formula(places / "ance", f"<s>{query}</s>").astype(np.float64)
    for _ in range(iterations):
        first = mixed(vector) if when in ("before", "both") else dense(vector, DEPTH)
        text = "</s>".join([query, *(CONTENTS[d] for d in list(first)[:DEPTH])])
        vector = ance_formula(places / "ance-prf", f"<s>{text.lower()}</s>").astype(np.float64)
    return mixed(vector) if when in ("after", "both") else dense(vector, k)


@pytest.mark.parametrize("rescore", [False, True])
@pytest.mark.parametrize("when", [None, "before", "after", "both"])
def test_the_whole_pipeline_is_the_plain_one(places, when, rescore):
    dense = DenseSearcher(places / "faiss", ANCE_MSMARCO(places / "ance"))
    sparse = Sparse() if when or rescore else None
    searcher = FeedbackSearcher(
        dense,
        AncePRF(places / "ance-prf", k=DEPTH),
        sparse,
        when,
        Interpolation(0.5) if when else None,
        rescore=rescore,
        texts=lambda docids: [CONTENTS[docid] for docid in docids],
    )
    queries = {qid: query for qid, query in QUERIES.items() if query.islower()}
    run = searcher.batch_search(list(queries.values()), list(queries), 10)
    for qid, query in queries.items():
        expected = plain(places, query, when, rescore, 10)
        assert list(run[qid].docids) == list(expected)
        tolerance = 1e-5 if when in ("after", "both") else 1e-3
        np.testing.assert_allclose(run[qid].scores, list(expected.values()), atol=tolerance)


def test_two_rounds_read_two_sets_of_documents(places):
    dense = DenseSearcher(places / "faiss", ANCE_MSMARCO(places / "ance"))
    method = AncePRF(places / "ance-prf", k=DEPTH)
    twice = FeedbackSearcher(dense, method, iterations=2, texts=places / "corpus")
    expected = plain(places, "light wave", None, False, 10, iterations=2)
    assert list(twice.search("light wave", 10).docids) == list(expected)


def test_a_batch_finds_what_single_queries_find(places):
    dense = DenseSearcher(places / "faiss", ANCE_MSMARCO(places / "ance"))
    searcher = FeedbackSearcher(
        dense, AncePRF(places / "ance-prf", k=DEPTH), texts=places / "corpus"
    )
    run = searcher.batch_search(list(QUERIES.values()), list(QUERIES), 20)
    for qid, query in QUERIES.items():
        alone = searcher.search(query, 20)
        assert list(run[qid].docids) == list(alone.docids)
        np.testing.assert_allclose(run[qid].scores, alone.scores, atol=1e-3)


def test_texts_come_from_the_sparse_index_by_default(places):
    dense = DenseSearcher(places / "faiss", ANCE_MSMARCO(places / "ance"))
    method = AncePRF(places / "ance-prf", k=DEPTH)
    bm25 = BM25Searcher(places / "lucene")
    runs = [
        FeedbackSearcher(dense, method, bm25, "both", texts=texts).search("light wave", 10)
        for texts in (None, bm25, places / "corpus")
    ]
    assert runs[0].as_dict() == runs[1].as_dict() == runs[2].as_dict()


def test_texts_that_are_missing_or_needless_are_refused(places):
    dense = DenseSearcher(places / "faiss", ANCE_MSMARCO(places / "ance"))
    method = AncePRF(places / "ance-prf", k=DEPTH)
    with pytest.raises(InputError, match="AncePRF reads the text of documents; give texts"):
        FeedbackSearcher(dense, method)
    with pytest.raises(InputError, match="AncePRF reads the text"):
        FeedbackSearcher(dense, method, Sparse(), "after")
    with pytest.raises(InputError, match="Average reads no text"):
        FeedbackSearcher(dense, Average(), texts=places / "corpus")


# The command


def arguments(places, output, *more):
    given = ["--index", places / "faiss", "--encoder", "ance-msmarco"]
    given += ["--encoder-arg", f"checkpoint={places / 'ance'}", "--topics", places / "topics.tsv"]
    given += ["--output", output, "--hits", "20", "--quiet", "--prf", "ance-prf", *more]
    return [str(each) for each in given]


@pytest.mark.parametrize("batch", ["1", "64"])
def test_the_command_writes_the_run_of_pyserinis_command(places, tmp_path, monkeypatch, batch):
    pyserinis_ance(monkeypatch)
    ours, theirs = tmp_path / "ours.txt", tmp_path / "theirs.txt"
    lowercase = ["--prf-arg", f"lowercase={TRANSFORMERS < 5}"]
    model = ["--prf-encoder", places / "ance-prf", "--prf-arg", "k=3", *lowercase]
    place = ["--prf-text", places / "lucene", "--batch-size", batch]
    search(arguments(places, ours, *model, *place))
    given = ["--index", places / "faiss", "--encoder", places / "ance", "--encoder-class", "ance"]
    given += ["--topics", places / "topics.tsv", "--output", theirs, "--hits", "20"]
    given += ["--prf-method", "ance-prf", "--prf-depth", "3", "--batch-size", batch]
    given += ["--ance-prf-encoder", places / "ance-prf", "--sparse-index", places / "lucene"]
    bridge.run("pyserini.search.faiss", [str(each) for each in given])
    if TRANSFORMERS >= 5:  # it ignores that Pyserini asks for lower-cased queries
        for path in (ours, theirs):
            lines = path.read_text().splitlines(keepends=True)
            path.write_text("".join(line for line in lines if not line.startswith("4 ")))
    mine, other = Run.read(ours, keep_ranks=True), Run.read(theirs, keep_ranks=True)
    assert list(mine) == list(other)
    assert len(mine) >= 3
    for qid in mine:
        assert list(mine[qid].docids) == list(other[qid].docids)
        np.testing.assert_allclose(mine[qid].scores, other[qid].scores, rtol=1e-5, atol=1e-4)


def test_the_command_reads_texts_anywhere(places, tmp_path):
    runs = []
    for number, place in enumerate([places / "corpus" / "docs.jsonl", places / "lucene"]):
        output = tmp_path / f"{number}.txt"
        model = ["--prf-encoder", places / "ance-prf", "--prf-arg", "k=3"]
        search(arguments(places, output, *model, "--prf-text", place))
        runs.append(output.read_text())
    assert runs[0] == runs[1]
    (record,) = tmp_path.glob("0*.json")
    inputs = json.loads(record.read_text())["inputs"]
    assert {"prf_encoder", "prf_text"} <= inputs.keys()


def test_the_sparse_index_gives_texts_where_it_is_interpolated(places, tmp_path):
    runs = []
    for number, place in enumerate([[], ["--prf-text", places / "corpus"]]):
        output = tmp_path / f"{number}.txt"
        model = ["--prf-encoder", places / "ance-prf", "--prf-arg", "k=3", *place]
        mix = ["--sparse-index", places / "lucene", "--interpolate", "both"]
        search(arguments(places, output, *model, *mix))
        runs.append(output.read_text())
    assert runs[0] == runs[1]


BASE = ["--topics", "t", "--output", "o", "--index", "i", "--encoder", "minilm"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--prf", "ance-prf"], "reads the text of documents; add --prf-text"),
        (["--prf", "rocchio", "--prf-text", "c"], "rocchio reads no text of documents"),
        (["--prf", "rocchio", "--prf-encoder", "c"], "has no encoder of its own"),
        (["--prf-text", "c"], "--prf-text has no effect without --prf"),
        (["--prf", "ance-prf", "--prf-text", "no/where"], "no such index or collection: no/where"),
        (["--prf", "ance-prf", "--sparse-index", "s"], "say --interpolate as well; give it as"),
        (
            ["--prf", "ance-prf", "--sparse-index", "s", "--interpolate"]
            + ["--sparse-searcher", "dense"],
            "add --prf-text",
        ),
    ],
)
def test_the_command_refuses_before_any_work(options, message):
    with pytest.raises(InputError, match=message):
        parse_args([*BASE, *options])


def test_without_a_checkpoint_the_command_says_what_is_needed(places, tmp_path):
    with pytest.raises(InputError, match="'ance-prf' needs the option 'checkpoint'"):
        search(arguments(places, tmp_path / "o.txt", "--prf-text", places / "corpus"))
