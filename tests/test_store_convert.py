"""Conversion to a vector store: right vectors, a right report of the error, all or nothing."""

import json
import subprocess
import sys

import faiss
import numpy as np
import pytest

from pyserini_ext.errors import InputError
from pyserini_ext.index import convert as module
from pyserini_ext.index.convert import convert, main
from pyserini_ext.index.matrix import MatrixStore
from pyserini_ext.index.matrix_writer import MatrixWriter
from pyserini_ext.rescore.quantise import DTYPES, dequantise, quantise

N, D = 500, 24
RNG = np.random.default_rng(0)
VECTORS = RNG.standard_normal((N, D)).astype(np.float32)
DOCIDS = [f"doc{i}" for i in range(N)]


@pytest.fixture(params=["ip", "l2"])
def index(tmp_path, request):
    """A FAISS folder of either metric."""
    folder = tmp_path / "index"
    folder.mkdir()
    flat = faiss.IndexFlatL2(D) if request.param == "l2" else faiss.IndexFlatIP(D)
    flat.add(VECTORS)
    faiss.write_index(flat, str(folder / "index"))
    (folder / "docid").write_text("".join(f"{docid}\n" for docid in DOCIDS))
    return folder, request.param


def scores_of(queries, vectors, metric):
    queries, vectors = queries.astype(np.float64), vectors.astype(np.float64)
    if metric == "l2":
        return -((queries[:, None] - vectors) ** 2).sum(axis=2)
    return queries @ vectors.T


@pytest.mark.parametrize("dtype", DTYPES)
def test_vectors_metric_and_report(tmp_path, monkeypatch, index, dtype):
    folder, metric = index
    monkeypatch.setattr(module, "BLOCK_BYTES", 77 * 4 * D)
    report = convert(folder, tmp_path / "out", dtype, queries=20, seed=3)
    store = MatrixStore(tmp_path / "out")
    store.verify()
    kept = dequantise(quantise(VECTORS, dtype), slice(None))
    np.testing.assert_array_equal(store.take(np.arange(N)), kept)
    assert (list(store.docids), store.metric) == (DOCIDS, metric)

    rows = np.sort(np.random.default_rng(3).choice(N, 20, replace=False))
    before = scores_of(VECTORS[rows], VECTORS, metric)
    after = scores_of(np.sign(VECTORS[rows]) if dtype == "binary" else VECTORS[rows], kept, metric)
    if dtype == "binary":
        assert report["max_score_error"] is report["mean_score_error"] is None
    else:
        error = np.abs(before - after)
        assert report["max_score_error"] == pytest.approx(error.max(), abs=3e-5)
        assert report["mean_score_error"] == pytest.approx(error.mean(), abs=1e-5)
    assert report["score_standard_deviation"] == pytest.approx(before.std(), rel=1e-4)
    before[np.arange(20), rows] = after[np.arange(20), rows] = -np.inf
    for depth in (10, 100):
        overlap = [
            len(
                np.intersect1d(*(np.argsort(-s[i], kind="stable")[:depth] for s in (before, after)))
            )
            for i in range(20)
        ]
        assert report[f"overlap@{depth}"] == pytest.approx(np.mean(overlap) / depth, abs=0.011)
    if dtype == "float32":
        assert (report["max_score_error"], report["overlap@10"]) == (0, 1)

    about = json.loads((tmp_path / "out" / "conversion.json").read_text())
    assert about["report"] == report
    assert about["arguments"]["seed"] == 3
    assert len(about["inputs"]["input"]["sha256"]) == 64
    assert report["bytes"] < report["bytes_float32"] or dtype in ("float32", "int8")


def test_a_store_is_converted_and_queries_may_be_topics(tmp_path):
    with MatrixWriter(tmp_path / "in", D, metric="cosine") as out:
        out.append(DOCIDS, VECTORS)

    class Encoder:
        def encode(self, texts):
            return np.array([VECTORS[int(text)] for text in texts])

    (tmp_path / "topics.tsv").write_text("1\t4\n2\t17\n")
    report = convert(
        tmp_path / "in", tmp_path / "out", "int8", topics=tmp_path / "topics.tsv", encoder=Encoder()
    )
    assert report["queries"] == 2
    assert 0 < report["max_score_error"] < 0.01
    assert MatrixStore(tmp_path / "out").metric == "cosine"
    # A query that is no document of the collection: nothing is left out of the ranks.
    assert report["overlap@10"] > 0.8


def test_interrupted_nothing_is_left(tmp_path, monkeypatch, index):
    monkeypatch.setattr(module, "BLOCK_BYTES", 100 * 4 * D)
    calls = []
    append = MatrixWriter.append

    def failing(self, docids, matrix):
        calls.append(docids)
        if len(calls) == 3:
            raise KeyboardInterrupt
        append(self, docids, matrix)

    monkeypatch.setattr(MatrixWriter, "append", failing)
    with pytest.raises(KeyboardInterrupt):
        convert(index[0], tmp_path / "out", "int8")
    assert [path.name for path in tmp_path.iterdir()] == ["index"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"topics": "t.tsv"}, "topics needs encoder"),
        ({"encoder": "minilm"}, "encoder needs topics"),
        ({"topics": "t.tsv", "encoder": "e", "queries": 5}, "leave them out with topics"),
        ({"queries": -1}, "queries is -1"),
        ({"dtype": "int4"}, "choose one of float32, float16, int8, binary"),
        ({"source": "nowhere"}, "no such index folder"),
        ({"output": "index"}, "input and output are both"),
    ],
)
def test_mistakes_are_told_before_anything_is_made(tmp_path, index, monkeypatch, options, message):
    monkeypatch.chdir(tmp_path)
    arguments = {"source": "index", "output": "out", "dtype": "int8"} | options
    with pytest.raises(InputError, match=message):
        convert(**arguments)
    assert not (tmp_path / "out").exists()


def test_what_exists_is_kept_and_signs_stay_signs(tmp_path, index):
    convert(index[0], tmp_path / "out", "binary", queries=0)
    with pytest.raises(InputError, match="exists already"):
        convert(index[0], tmp_path / "out", "int8")
    assert "queries" not in convert(index[0], tmp_path / "out", "binary", queries=0, overwrite=True)
    with pytest.raises(InputError, match="holds signs only"):
        convert(tmp_path / "out", tmp_path / "more", "float32")
    with pytest.raises(InputError, match="document 'doc7' has values beyond"):
        too_large = VECTORS.copy()
        too_large[7] *= 1e6
        with MatrixWriter(tmp_path / "large", D) as out:
            out.append(DOCIDS, too_large)
        convert(tmp_path / "large", tmp_path / "half", "float16")
    assert not list(tmp_path.glob("half*"))


def test_the_command_prints_the_report(tmp_path, index, capsys):
    main(
        ["--input", str(index[0]), "--output", str(tmp_path / "out"), "--dtype", "int8", "--quiet"]
    )
    lines = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert lines["documents"] == "500"
    assert lines["score"].startswith("error  max")
    assert 0.9 < float(lines["overlap@10"]) <= 1
    done = subprocess.run(
        [sys.executable, "-m", "pyserini_ext.index.convert", "--input", "nowhere", "--output",
         str(tmp_path / "x"), "--dtype", "int8"],
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.startswith("error: no such index folder: nowhere")
