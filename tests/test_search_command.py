"""The search command against Pyserini's own commands, file against file, and its refusals."""

import json
import subprocess
import sys
from pathlib import Path

import faiss as faiss_library
import numpy as np
import pytest

import pyserini_ext as px
from pyserini_ext import bridge
from pyserini_ext.encode.__main__ import main as encode
from pyserini_ext.errors import InputError
from pyserini_ext.index.faiss_index import FaissStore
from pyserini_ext.run import Run
from pyserini_ext.search.__main__ import main as search
from pyserini_ext.search.options import parse_args

sys.path.insert(0, str(Path(__file__).parents[1] / "examples" / "demo"))
import collection

QUERIES = {
    "1": "split a path into directory and file name",
    "2": "read a compressed archive",
    "30": "arithmetic mean of numbers",
    "4": "open a socket connection",
    "5": "parse command line arguments",
    "100": "zzzz",
}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """The first 400 documents of the standard library's documentation, in Pyserini's layout."""
    folder = tmp_path_factory.mktemp("corpus")
    everything = folder / "all.jsonl"
    collection.build(everything)
    lines = everything.read_text(encoding="utf-8").splitlines(keepends=True)[:400]
    everything.unlink()
    (folder / "docs.jsonl").write_text("".join(lines), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def lucene(corpus, tmp_path_factory):
    index = tmp_path_factory.mktemp("index") / "lucene"
    arguments = ["--collection", "JsonCollection", "--input", str(corpus), "--index", str(index)]
    arguments += ["--generator", "DefaultLuceneDocumentGenerator", "--threads", "1", "--storeRaw"]
    command = [sys.executable, "-m", "pyserini_ext", "pyserini.index.lucene", *arguments]
    subprocess.run(command, check=True, capture_output=True)
    return index


@pytest.fixture(scope="module")
def faiss(corpus, minilm_path, tmp_path_factory):
    index = tmp_path_factory.mktemp("index") / "faiss"
    encode(["--corpus", str(corpus), "--encoder", "minilm", "--output", str(index)])
    return index


@pytest.fixture(scope="module")
def topics(tmp_path_factory):
    path = tmp_path_factory.mktemp("topics") / "topics.tsv"
    path.write_text("".join(f"{qid}\t{query}\n" for qid, query in QUERIES.items()))
    return path


def scores(path):
    return {qid: hits.as_dict() for qid, hits in Run.read(path).items()}


def same_file(ours, theirs):
    """Compare rank by rank.

    Encoding the same query twice moves a score by about 1e-7 (matrix products depend on how memory
    is aligned), which is a step of the last printed digit; documents closer than that may swap.
    """
    step = 2e-6
    mine, other = Run.read(ours, keep_ranks=True), Run.read(theirs, keep_ranks=True)
    assert list(mine) == list(other)
    for qid in mine:
        np.testing.assert_allclose(mine[qid].scores, other[qid].scores, rtol=0, atol=step)
        known = other[qid].as_dict()
        for hit, counterpart in zip(mine[qid], other[qid], strict=True):
            if hit.docid != counterpart.docid:
                there = known.get(hit.docid, other[qid][-1].score)
                assert abs(there - counterpart.score) <= step, (qid, hit, counterpart)


def dense_arguments(faiss, topics, output):
    return ["--index", str(faiss), "--topics", str(topics), "--output", str(output)]


def test_bm25_writes_pyserinis_file_byte_for_byte(lucene, topics, tmp_path):
    ours, theirs = tmp_path / "ours.txt", tmp_path / "theirs.txt"
    given = ["--topics", str(topics), "--hits", "50", "--output"]
    search(["--sparse-index", str(lucene), *given, str(ours), "--tag", "Anserini"])
    bridge.run("pyserini.search.lucene", ["--index", str(lucene), *given, str(theirs), "--bm25"])
    assert ours.read_bytes() == theirs.read_bytes()
    assert len(ours.read_text().splitlines()) > 100


PRF = {
    "none": "",
    "avg": "--prf-method avg --prf-depth 3",
    "rocchio": "--prf-method rocchio --prf-depth 5 --rocchio-topk 5"
    " --rocchio-alpha 0.4 --rocchio-beta 0.6",
    "rocchio-negative": "--prf-method rocchio --prf-depth 6 --rocchio-topk 3"
    " --rocchio-bottomk 2 --rocchio-gamma 0.1 --rocchio-alpha 0.9 --rocchio-beta 0.1",
}


@pytest.mark.parametrize("factory", ["HNSW32,Flat", "IVF8,Flat"])
@pytest.mark.parametrize("batch", [1, 64])
def test_feedback_on_approximate_indexes_equals_pyserinis_command(
    faiss, topics, tmp_path, factory, batch
):
    flat = faiss_library.read_index(str(faiss / "index"))
    metric = faiss_library.METRIC_INNER_PRODUCT
    index = faiss_library.index_factory(flat.d, factory, metric)
    vectors = flat.reconstruct_n(0, flat.ntotal)
    index.train(vectors)
    index.add(vectors)
    folder = tmp_path / "index"
    folder.mkdir()
    faiss_library.write_index(index, str(folder / "index"))
    (folder / "docid").write_bytes((faiss / "docid").read_bytes())
    ours, theirs = tmp_path / "ours.txt", tmp_path / "theirs.txt"
    common = ["--hits", "50", "--batch-size", str(batch), *PRF["rocchio"].split()]
    search([*dense_arguments(folder, topics, ours), "--encoder", "minilm", *common, "--quiet"])
    bridge.run(
        "pyserini.search.faiss",
        [*dense_arguments(folder, topics, theirs), "--encoder-class", "minilm", *common],
    )
    same_file(ours, theirs)


@pytest.mark.parametrize("method", PRF)
@pytest.mark.parametrize("batch", [1, 64])
@pytest.mark.parametrize("hits", [10, 1000])
def test_dense_and_feedback_write_the_lines_of_pyserinis_command(
    faiss, topics, tmp_path, method, batch, hits
):
    ours, theirs = tmp_path / "ours.txt", tmp_path / "theirs.txt"
    common = ["--hits", str(hits), "--batch-size", str(batch), *PRF[method].split()]
    search([*dense_arguments(faiss, topics, ours), "--encoder", "minilm", *common, "--quiet"])
    bridge.run(
        "pyserini.search.faiss",
        [*dense_arguments(faiss, topics, theirs), "--encoder-class", "minilm", *common],
    )
    same_file(ours, theirs)


def test_pyserinis_own_encoder_and_ours_rank_alike(faiss, topics, minilm_path, tmp_path):
    ours, theirs = tmp_path / "ours.txt", tmp_path / "theirs.txt"
    method = PRF["rocchio"].split()
    search([*dense_arguments(faiss, topics, ours), "--encoder", "minilm", *method, "--quiet"])
    bridge.run(
        "pyserini.search.faiss",
        [*dense_arguments(faiss, topics, theirs), "--encoder", str(minilm_path)]
        + ["--encoder-class", "sentence", *method],
    )
    mine, other = scores(ours), scores(theirs)
    assert mine.keys() == other.keys()
    for qid, hits in mine.items():
        assert hits == pytest.approx(other[qid], abs=1e-5)


@pytest.mark.parametrize("normalised", [False, True])
def test_hybrid_convention_writes_the_scores_of_pyserinis_hybrid(
    faiss, lucene, topics, tmp_path, normalised
):
    ours, theirs = tmp_path / "ours.txt", tmp_path / "theirs.txt"
    convention = "pyserini-hybrid" + "-normalised" * normalised
    search(
        [*dense_arguments(faiss, topics, ours), "--encoder", "minilm", "--quiet", "--hits", "20"]
        + ["--sparse-index", str(lucene), "--interpolate", "--convention", convention]
        + ["--alpha", "0.1", "--dense-hits", "30", "--sparse-hits", "30"]
    )
    bridge.run(
        "pyserini.search.hybrid",
        ["dense", "--index", str(faiss), "--encoder-class", "minilm"]
        + ["sparse", "--index", str(lucene)]
        + ["fusion", "--alpha", "0.1", "--hits", "30", *["--normalization"] * normalised]
        + ["run", "--topics", str(topics), "--hits", "20", "--output", str(theirs)]
        + ["--batch-size", "64", "--threads", "1"],
    )
    mine, other = scores(ours), scores(theirs)
    # A query without sparse hits has no spread: Pyserini divides by zero only where we do not.
    for qid in mine.keys() & other.keys():
        assert mine[qid] == other[qid], qid
    assert len(mine.keys() & other.keys()) >= 5


def test_fusion_convention_equals_pyserinis_fusion_of_the_stages(faiss, lucene, topics, tmp_path):
    out = tmp_path / "both.txt"
    search(
        [*dense_arguments(faiss, topics, out), "--encoder", "minilm", "--quiet", "--save-stages"]
        + ["--sparse-index", str(lucene), "--interpolate", "--convention", "pyserini-fusion"]
        + ["--alpha", "0.3"]
    )
    theirs = tmp_path / "theirs.txt"
    stages = [str(tmp_path / f"both.{stage}.txt") for stage in ("sparse", "dense")]
    bridge.run(
        "pyserini.fusion",
        ["--runs", *stages, "--method", "interpolation", "--alpha", "0.3"]
        + ["--output", str(theirs)],
    )
    mine, other = scores(out), scores(theirs)
    for qid, hits in mine.items():
        # The stages were rounded to six decimals when they were written.
        assert hits == pytest.approx(other[qid], abs=2e-6)


def test_stages_weights_and_the_record_beside_the_run(faiss, lucene, topics, tmp_path):
    out = tmp_path / "runs" / "both.txt"
    search(
        [*dense_arguments(faiss, topics, out), "--encoder", "minilm", "--quiet", "--save-stages"]
        + ["--sparse-index", str(lucene), "--prf", "rocchio", "--interpolate", "both"]
        + ["--alpha", "0.2", "0.8", "--hits", "40"]
    )
    assert sorted(p.name for p in out.parent.iterdir()) == [
        "both.alpha=0.2.txt",
        "both.alpha=0.2.txt.json",
        "both.alpha=0.8.txt",
        "both.alpha=0.8.txt.json",
        "both.before.alpha=0.2.txt",
        "both.before.alpha=0.8.txt",
        "both.dense.txt",
        "both.feedback.alpha=0.2.txt",
        "both.feedback.alpha=0.8.txt",
        "both.sparse.txt",
    ]
    record = json.loads((out.parent / "both.alpha=0.2.txt.json").read_text())
    assert record["arguments"]["alpha"] == [0.2, 0.8]
    assert record["arguments"]["encoder"] == "minilm"
    assert set(record["inputs"]) == {"topics", "index", "sparse_index"}
    assert all(len(entry["sha256"]) == 64 for entry in record["inputs"].values())
    assert {"pyserini", "faiss-cpu", "torch", "python"} <= set(record["versions"])
    assert record["queries"] == len(QUERIES)
    single = tmp_path / "single.txt"
    search(
        [*dense_arguments(faiss, topics, single), "--encoder", "minilm", "--quiet"]
        + ["--sparse-index", str(lucene), "--prf", "rocchio", "--interpolate", "both"]
        + ["--alpha", "0.8", "--hits", "40"]
    )
    assert single.read_bytes() == (out.parent / "both.alpha=0.8.txt").read_bytes()


def test_msmarco_format_and_remove_query(lucene, topics, corpus, tmp_path):
    first = json.loads((corpus / "docs.jsonl").open(encoding="utf-8").readline())
    own = tmp_path / "own.tsv"
    own.write_text(f"{first['id']}\t{first['contents'].split(chr(10))[0]} module\n")
    given = ["--sparse-index", str(lucene), "--topics", str(own), "--hits", "20", "--quiet"]
    search([*given, "--output", str(tmp_path / "with.txt"), "--output-format", "msmarco"])
    search([*given, "--output", str(tmp_path / "without.txt"), "--remove-query"])
    kept = Run.read(tmp_path / "with.txt")[first["id"]]
    assert first["id"] in kept.docids
    removed = Run.read(tmp_path / "without.txt")[first["id"]]
    assert [h.docid for h in removed] == [h.docid for h in kept if h.docid != first["id"]]


DENSE = ["--index", "i", "--encoder", "minilm"]
BOTH = [*DENSE, "--sparse-index", "s"]


RESCORE = ["--sparse-index", "s", "--rescore-store", "v", "--encoder", "minilm"]


def test_rescoring_gives_the_candidates_the_scores_of_dense_retrieval(
    lucene, faiss, topics, tmp_path
):
    given = ["--topics", str(topics), "--quiet", "--output"]
    rescore = ["--sparse-index", str(lucene), "--rescore-store", str(faiss), "--encoder", "minilm"]
    search([*rescore, "--sparse-hits", "30", *given, str(tmp_path / "rescored.txt")])
    search(["--sparse-index", str(lucene), "--hits", "30", *given, str(tmp_path / "bm25.txt")])
    search([*dense_arguments(faiss, topics, tmp_path / "dense.txt"), "--encoder", "minilm"])
    rescored, bm25 = scores(tmp_path / "rescored.txt"), scores(tmp_path / "bm25.txt")
    dense = scores(tmp_path / "dense.txt")
    assert set(rescored) == set(bm25)
    for qid, found in rescored.items():
        assert set(found) == set(bm25[qid])
        for docid, score in found.items():
            assert score == pytest.approx(dense[qid][docid], abs=2e-6)


def test_early_stopping_writes_the_same_run(lucene, faiss, topics, tmp_path):
    given = [*RESCORE[::2]]
    paths = [str(lucene), str(faiss), "minilm"]
    command = [part for pair in zip(given, paths, strict=True) for part in pair]
    command += ["--interpolate", "--normalise", "none", "--alpha", "0.1", "0.9", "--hits", "10"]
    for name, extra in (("full", []), ("early", ["--early-stopping", "bound"])):
        output = ["--topics", str(topics), "--output", str(tmp_path / f"{name}.txt"), "--quiet"]
        search([*command, *output, *extra])
    for alpha in ("0.1", "0.9"):
        same_file(tmp_path / f"early.alpha={alpha}.txt", tmp_path / f"full.alpha={alpha}.txt")


def store_of(vectors, docids, folder):
    index = faiss_library.IndexFlatIP(vectors.shape[1])
    index.add(vectors)
    faiss_library.write_index(index, str(folder / "index"))
    (folder / "docid").write_text("".join(f"{docid}\n" for docid in docids))
    return FaissStore(folder)


@pytest.mark.parametrize("normalise", [None, "none", "min-max", "z-score"])
@pytest.mark.parametrize("k", [1, 3, 20, 1000])
@pytest.mark.parametrize("different", [5, 400])
def test_rescoring_by_rows_equals_rescoring_by_docids(lucene, normalise, k, different, tmp_path):
    """With five vectors for 400 documents most scores tie, also across the cut."""
    bm25 = px.BM25Searcher(lucene)
    docids = sorted(bm25.docids())
    vectors = np.random.default_rng(2).integers(-3, 4, (different, 8)).astype(np.float32)
    store = store_of(np.resize(vectors, (len(docids), 8)), docids, tmp_path)

    class Encoder:
        def encode(self, queries):
            return np.array([[len(q), *range(7)] for q in queries], np.float32)

    rule = None if normalise is None else px.Interpolation(0.4, normalise)
    searcher = px.RescoringSearcher(bm25, px.DenseSearcher(store, Encoder()), rule, depth=200)
    given = list(QUERIES.values()), list(QUERIES), k
    by_rows = searcher.batch_search(*given)
    looked_up = searcher.looked_up
    (by_docids,) = searcher.batch_stages(*given)
    assert dict(by_rows) == dict(list(by_docids.values())[-1])
    assert looked_up == searcher.looked_up > 0
    assert len(by_rows["1"]) == min(k, len(bm25.search(QUERIES["1"], 200)))


def test_rescoring_by_rows_leaves_missing_vectors_to_the_policy(lucene, tmp_path):
    bm25 = px.BM25Searcher(lucene)
    docids = sorted(bm25.docids())[::2]
    store = store_of(np.ones((len(docids), 2), np.float32), docids, tmp_path)

    class Encoder:
        def encode(self, queries):
            return np.ones((len(queries), 2), np.float32)

    dense = px.DenseSearcher(store, Encoder(), missing_vector="skip")
    found = px.RescoringSearcher(bm25, dense).search(QUERIES["1"], 50)
    assert (
        found.docids.tolist()
        == sorted(d for d in bm25.search(QUERIES["1"], 1000).docids if d in set(docids))[:50]
    )
    with pytest.raises(InputError, match="has no vector"):
        px.RescoringSearcher(bm25, px.DenseSearcher(store, Encoder())).search(QUERIES["1"])


def test_a_backend_that_cannot_work_is_refused_before_anything_is_opened(topics, tmp_path):
    given = ["--topics", str(topics), "--output", str(tmp_path / "run.txt")]
    with pytest.raises(InputError, match="'cuda' does not run on device='cpu'"):
        search([*RESCORE, *given, "--device", "cpu", "--rescore-backend", "cuda"])


def test_the_rescoring_plugin_is_the_command(lucene, faiss, topics, tmp_path):
    store = ["--sparse-searcher", "rescoring", "--sparse-arg", f"store={faiss}"]
    options = ["--sparse-arg", "alpha=0.3", "--topics", str(topics), "--quiet", "--hits", "20"]
    search(["--sparse-index", str(lucene), *store, *options, "--output", str(tmp_path / "a.txt")])
    rescore = ["--rescore-store", str(faiss), "--encoder", "minilm", "--interpolate"]
    weight = ["--alpha", "0.3", "--hits", "20", "--topics", str(topics), "--quiet"]
    output = ["--output", str(tmp_path / "b.txt")]
    search(["--sparse-index", str(lucene), *rescore, *weight, *output])
    same_file(tmp_path / "a.txt", tmp_path / "b.txt")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ([], "nothing to search"),
        (["--index", "i"], "--index needs --encoder"),
        (["--sparse-index", "s", "--encoder", "minilm"], "--encoder has no effect without --index"),
        ([*DENSE, "--k1", "1"], "--k1 has no effect without --sparse-index"),
        (BOTH, "say --interpolate as well"),
        ([*DENSE, "--interpolate"], "--interpolate has no effect without --sparse-index"),
        ([*BOTH, "--interpolate", "both"], "--interpolate both is about feedback"),
        ([*DENSE, "--alpha", "0.5"], "--alpha has no effect without --interpolate"),
        ([*DENSE, "--prf-depth", "3"], "--prf-depth has no effect without --prf"),
        ([*DENSE, "--prf", "avg", "--rocchio-beta", "1"], "only applies to --prf rocchio"),
        (
            ["--sparse-index", "s", "--sparse-encoder", "x"],
            "--sparse-encoder does not apply to the searcher bm25, which takes k1, b, language",
        ),
        (["--sparse-index", "s", "--min-idf", "1"], "--min-idf does not apply to .* bm25"),
        (
            ["--sparse-index", "s", "--sparse-searcher", "inference-free", "--min-idf", "1"],
            "--min-idf does not apply to the searcher inference-free",
        ),
        (["--sparse-index", "s", "--sparse-searcher", "impact", "--k1", "1"], "--k1 does not"),
        (["--sparse-index", "s", "--sparse-searcher", "bm52"], "did you mean 'bm25'"),
        ([*DENSE, "--hits", "0"], "--hits is 0"),
        ([*BOTH, "--interpolate", "--alpha", "1.5"], "alpha is 1.5"),
        ([*BOTH, "--interpolate", "--alpha", "0.5", "0.5"], "names a weight twice"),
        (
            [*BOTH, "--interpolate", "--convention", "pyserini-hybrid", "--missing", "zero"],
            "contradicts the convention",
        ),
        ([*DENSE, "--output-format", "msmarco", "--tag", "mine"], "--tag has no place"),
        (RESCORE[2:], "--rescore-store has no effect without --sparse-index"),
        (RESCORE[:4], "--rescore-store needs --encoder"),
        ([*RESCORE, "--index", "i"], "searches, or it rescores"),
        ([*DENSE, "--rescore-backend", "numpy"], "no effect without --rescore-store"),
        ([*DENSE, "--early-stopping", "bound"], "no effect without --rescore-store"),
        ([*RESCORE, "--nprobe", "3"], "--nprobe has no effect without --index"),
        ([*RESCORE, "--early-stopping", "bound"], "early stopping needs interpolation"),
        ([*RESCORE, "--early-stopping", "bound", "--interpolate"], "needs normalise='none'"),
        ([*RESCORE, "--early-stopping", "bound", "--prf", "avg"], "--prf avg ranks by it"),
    ],
)
def test_contradictory_options_fail_before_anything_is_opened(wrong, message):
    with pytest.raises(InputError, match=message):
        parse_args(["--topics", "t", "--output", "o", *wrong])


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (["--prf", "rochio"], "rocchio"),
        (["--prf", "rocchio", "--prf-arg", "delta=1"], "delta"),
        (["--prf", "rocchio", "--prf-arg", "delta"], "write name=value"),
        (["--prf", "rocchio", "--prf-depth", "3", "--prf-arg", "depth=4"], "given twice"),
        (["--save-stages"], "single stage"),
    ],
)
def test_wrong_names_and_parameters_write_nothing(faiss, topics, tmp_path, wrong, message):
    with pytest.raises(InputError, match=message):
        search([*dense_arguments(faiss, topics, tmp_path / "o.txt"), "--encoder", "minilm", *wrong])
    assert not list(tmp_path.iterdir())


def test_help_and_mistakes_start_neither_torch_nor_java(tmp_path):
    probe = (
        "import sys, runpy\n"
        "sys.argv = ['search', *{arguments}]\n"
        "try:\n    runpy.run_module('pyserini_ext.search', run_name='__main__')\n"
        "except SystemExit as end:\n    code = end.code\n"
        "heavy = [m for m in ('torch', 'transformers', 'faiss', 'jnius', 'pyserini') "
        "if m in sys.modules]\n"
        "print('HEAVY', heavy, code)\n"
    )
    for arguments, code in ((["--help"], 0), (["--topics", "t", "--output", "o"], 2)):
        done = subprocess.run(
            [sys.executable, "-c", probe.format(arguments=arguments)],
            capture_output=True,
            text=True,
            cwd=tmp_path,
        )
        assert f"HEAVY [] {code}" in done.stdout, done.stdout + done.stderr


def test_a_run_of_nothing_is_still_a_run(lucene, tmp_path):
    topics = tmp_path / "t.tsv"
    topics.write_text("1\tzzzzqqqq\n")
    given = ["--sparse-index", str(lucene), "--topics", str(topics), "--quiet"]
    search([*given, "--output", str(tmp_path / "o.txt")])
    assert (tmp_path / "o.txt").read_text() == ""
    assert dict(Run.read(tmp_path / "o.txt")) == {}
