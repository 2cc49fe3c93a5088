"""Impact indexes: every impact against NumPy, what is refused, and what is left after a failure."""

import gzip
import hashlib
import json
import math
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from pyserini_ext import jvm
from pyserini_ext.errors import InputError
from pyserini_ext.index.idf import compute_idf, idf_sha256, read_idf
from pyserini_ext.index.impact import Pruning, build_impact_index
from pyserini_ext.search.impact import ImpactSearcher, read_info

TOKENS = [*(f"tok{number}" for number in range(25)), "##ing", "東京", "naïve"]
COUNT = 200


class Words:
    """The weight of a word stands behind it, or is 1: ``a:2.5 b``."""

    def encode(self, query):
        pairs = (word.partition(":") for word in query.split())
        return {token: float(weight or 1) for token, _, weight in pairs}


def made_up(seed, count=COUNT):
    """Documents whose weights tie often; some have none, some have zeros."""
    rng = random.Random(seed)
    documents = {}
    for number in range(count):
        some = rng.sample(TOKENS, rng.randint(0, len(TOKENS)))
        documents[f"d{number}"] = {t: rng.choice([0.5, 0.25, 1, 2.75, 0.013, 0.0]) for t in some}
    return documents


def write(path, documents, key="vector"):
    lines = [
        json.dumps({"id": d, "contents": f"text of {d}", key: v}) for d, v in documents.items()
    ]
    text = "\n".join(lines) + "\n"
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(text.encode()))
    elif path.suffix == ".zst":
        packed = jvm.autoclass("com.github.luben.zstd.Zstd").compress(text.encode())
        path.write_bytes(packed.tostring())
    else:
        path.write_text(text)
    return path


def build(corpus, output, **options):
    return build_impact_index(corpus, output, threads=2, progress=False, **options)


def vectors(path, docids):
    return dict(zip(docids, ImpactSearcher(path, Words()).document_vectors(docids), strict=True))


def reference(documents, mode, scale, table, pruning, clip=2**24):
    """The impacts as the page describes them, in float64."""
    impacts = {}
    for docid, vector in documents.items():
        tokens = sorted(token for token, weight in vector.items() if weight > 0)
        weights = np.array([vector[token] for token in tokens], dtype=np.float64)
        idf = np.array([table.get(t, 0.0) if table else 1.0 for t in tokens], dtype=np.float64)
        worths = idf * weights
        values = worths if mode == "premultiplied" else weights
        keep = np.flatnonzero(values > 0)
        limit = math.ceil(pruning.keep * len(keep))
        keep = keep[worths[keep] >= pruning.threshold]
        keep = keep[np.argsort(-worths[keep], kind="stable")]
        if pruning.mass < 1 and len(keep):
            before = np.concatenate(([0.0], np.cumsum(worths[keep])))
            keep = keep[before[:-1] < pruning.mass * before[-1]]
        keep = keep[: min(limit, pruning.cap or len(keep))]
        rounded = np.minimum(np.floor(values[keep] * scale + 0.5), clip).astype(int)
        impacts[docid] = {tokens[i]: n for i, n in zip(keep, rounded.tolist(), strict=True) if n}
    return impacts


def table_of(documents):
    df = [sum(v.get(token, 0) > 0 for v in documents.values()) for token in TOKENS]
    return dict(zip(TOKENS, compute_idf(df, len(documents)).tolist(), strict=True))


@pytest.fixture(scope="module")
def documents():
    return made_up(1)


@pytest.fixture(scope="module")
def corpus(documents, tmp_path_factory):
    return write(tmp_path_factory.mktemp("corpus") / "v.jsonl", documents)


PRUNINGS = {
    "none": Pruning(),
    "threshold": Pruning(threshold=0.5),
    "mass": Pruning(mass=0.8),
    "keep": Pruning(keep=0.5),
    "cap": Pruning(cap=3),
    "all": Pruning(threshold=0.2, mass=0.9, keep=0.7, cap=5),
}


@pytest.mark.parametrize("pruning", PRUNINGS.values(), ids=list(PRUNINGS))
@pytest.mark.parametrize("scale", [1.0, 5.0, 33.3, 100.0])
@pytest.mark.parametrize("mode", ["query", "premultiplied"])
def test_impacts_are_those_of_numpy(corpus, documents, tmp_path, mode, scale, pruning):
    report = build(
        corpus, tmp_path / "i", mode=mode, scale=scale, idf="collection", pruning=pruning
    )
    table = table_of(documents)
    expected = reference(documents, mode, scale, table, pruning)
    assert vectors(tmp_path / "i", list(documents)) == expected
    assert report["postings"] == sum(map(len, expected.values()))
    read = [w for v in documents.values() for w in v.values()]
    assert report["weights"] == sum(w > 0 for w in read)
    assert report["weights_zero"] == sum(w == 0 for w in read)
    dropped = sum(count for name, count in report.items() if name.startswith("dropped"))
    assert report["postings"] + dropped == report["weights"]
    assert report["documents_without_weights"] == sum(
        not any(v.values()) for v in documents.values()
    )
    errors = [
        abs(n / scale - documents[d][t] * (table[t] if mode == "premultiplied" else 1))
        for d, v in expected.items()
        for t, n in v.items()
    ]
    assert report["max_error"] == pytest.approx(max(errors), rel=1e-9)
    assert report["mean_error"] == pytest.approx(sum(errors) / len(errors), rel=1e-9)
    assert report["largest_impact"] == max(n for v in expected.values() for n in v.values())


def test_idf_of_the_collection_is_exact_and_lies_in_the_index(corpus, documents, tmp_path):
    build(corpus, tmp_path / "i", idf="collection")
    table = table_of(documents)
    assert read_idf(tmp_path / "i" / "idf.json") == table
    assert ImpactSearcher(tmp_path / "i", Words()).idf == table
    assert compute_idf([3], 10)[0] == math.log(1 + 7.5 / 3.5)


def test_idf_of_a_model_and_tokens_it_does_not_know(corpus, documents, tmp_path):
    table = {"tok1": 2.0, "tok2": 0.5, "東京": 0.0}
    (tmp_path / "idf.json").write_text(json.dumps(table))
    (tmp_path / "idf.txt").write_text("tok1\t2.0\ntok2\t0.5\n東京\t0\n")
    for name in ("idf.json", "idf.txt"):
        report = build(corpus, tmp_path / name[-3:], mode="premultiplied", idf=tmp_path / name)
        expected = reference(documents, "premultiplied", 100, table, Pruning())
        assert vectors(tmp_path / name[-3:], list(documents)) == expected
    assert report["weights_not_in_idf"] == sum(
        w > 0 and t not in table for v in documents.values() for t, w in v.items()
    )
    build(corpus, tmp_path / "one", mode="premultiplied", idf=table, missing_idf=1.0)
    complete = {token: table.get(token, 1.0) for token in TOKENS}
    expected = reference(documents, "premultiplied", 100, complete, Pruning())
    assert vectors(tmp_path / "one", list(documents)) == expected


@pytest.mark.parametrize("mode", ["query", "premultiplied"])
def test_bits_set_the_scale_by_the_largest_value(corpus, documents, tmp_path, mode):
    report = build(corpus, tmp_path / "i", mode=mode, bits=6, idf="collection")
    table = table_of(documents) if mode == "premultiplied" else dict.fromkeys(TOKENS, 1.0)
    top = max(table[t] * w for v in documents.values() for t, w in v.items())
    assert read_info(tmp_path / "i")["scale"] == 63 / top
    assert report["largest_impact"] == 63
    assert report["clipped"] == 0


def test_scale_with_bits_clips_and_counts(corpus, documents, tmp_path):
    report = build(corpus, tmp_path / "i", scale=100, bits=7)
    assert vectors(tmp_path / "i", list(documents)) == reference(
        documents, "query", 100, None, Pruning(), clip=127
    )
    assert report["clipped"] == sum(w == 2.75 for v in documents.values() for w in v.values())
    assert report["max_error"] == pytest.approx(2.75 - 1.27)


def test_what_was_done_is_recorded_and_read_back(corpus, tmp_path):
    pruning = Pruning(mass=0.9)
    report = build(
        corpus, tmp_path / "i", idf="collection", tokenizer="bert", pruning=pruning, store_raw=True
    )
    info = read_info(tmp_path / "i")
    assert info["report"] == report
    assert (info["mode"], info["scale"], info["tokenizer"]) == ("query", 100, "bert")
    assert info["pruning"] == {"threshold": 0.0, "mass": 0.9, "keep": 1.0, "cap": None}
    assert info["idf_sha256"] == idf_sha256(read_idf(tmp_path / "i" / "idf.json"))
    manifest = json.loads((tmp_path / "i" / "build.json").read_text())
    assert manifest["report"] == report
    assert manifest["inputs"]["corpus"]["path"] == str(corpus)


def test_hash_of_a_table_is_that_of_its_weights():
    said = hashlib.sha256('{"a":1.0,"é":0.5}'.encode()).hexdigest()
    assert idf_sha256({"é": 0.5, "b": 0, "a": 1}) == said


@pytest.mark.parametrize("name", ["a.jsonl", "b.json", "c.jsonl.gz", "d.json.zst"])
@pytest.mark.parametrize("key", ["vector", "sparse_embedding", "weights"])
def test_layouts(tmp_path, documents, name, key):
    write(tmp_path / name, documents, key)
    build(tmp_path, tmp_path / "i")
    expected = reference(documents, "query", 100, None, Pruning())
    assert vectors(tmp_path / "i", list(documents)) == expected


def test_folders_blank_lines_and_docids_of_other_kinds(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(
        b'\xef\xbb\xbf{"_id": 7, "title": "T", "text": "t", "passage": {"a": 1}}\r\n\r\n'
    )
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "b.jsonl").write_text('\n {"docid": "x", "passage": {"b": 2}, "n": [1]}')
    build(tmp_path, tmp_path / "i", vector_field="passage", store_raw=True, scale=1)
    searcher = ImpactSearcher(tmp_path / "i", Words())
    assert searcher.document_vectors(["7", "x", "y"]) == [{"a": 1}, {"b": 2}, None]
    assert searcher.contents(["7", "x", "y"]) == ["T\nt", "", None]


@pytest.mark.parametrize("store", [True, False])
def test_stored_vectors_are_those_of_the_postings(corpus, documents, tmp_path, store):
    build(corpus, tmp_path / "i", store_docvectors=store, merge=store)
    expected = reference(documents, "query", 100, None, Pruning())
    assert vectors(tmp_path / "i", list(documents)) == expected


def test_long_tokens_stay_whole(tmp_path):
    long = "x" * 20000 + " y"
    write(tmp_path / "v.jsonl", {"1": {long: 1}, "2": {"x" * 255: 1}})
    build(tmp_path / "v.jsonl", tmp_path / "i")
    assert vectors(tmp_path / "i", ["1"])["1"] == {long: 100}


def test_documents_without_weights_are_kept_without_postings(tmp_path):
    write(tmp_path / "v.jsonl", {"1": {}, "2": {"a": 0}, "3": {"a": 1}})
    report = build(tmp_path / "v.jsonl", tmp_path / "i")
    assert (report["documents"], report["documents_without_weights"]) == (3, 2)
    searcher = ImpactSearcher(tmp_path / "i", Words())
    assert len(searcher) == 3
    assert searcher.search("a").docids.tolist() == ["3"]
    assert searcher.score(["a"], [["1", "2", "3"]])[0].tolist() == [0, 0, 100]


GOOD = '{"id": "1", "vector": {"a": 1}}'
BAD_LINES = {
    "not JSON": '{"id": "2", "vector": {"a": 1}',
    "not JSON in UTF-8|not JSON .*UTF-8": b'{"id": "2", "vector": {"\xff\xfe": 1}}',
    "expected an object": "[1]",
    "more than one JSON value": GOOD + GOOD,
    "no document id": '{"vector": {"a": 1}}',
    'id "a b" is empty or contains white space': '{"id": "a b", "vector": {}}',
    'id "" is empty': '{"id": "", "vector": {}}',
    "document id is no string": '{"id": 1.5, "vector": {}}',
    "no vector; expected": '{"id": "2", "contents": "x"}',
    "two vectors": '{"id": "2", "vector": {}, "weights": {}}',
    "vector is no object": '{"id": "2", "vector": [0.1]}',
    'weight of "a" is -1; expected a finite': '{"id": "2", "vector": {"a": -1}}',
    'weight of "a" is NaN': '{"id": "2", "vector": {"a": NaN}}',
    'weight of "a" is -?Infinity': '{"id": "2", "vector": {"a": Infinity}}',
    'weight of "a" is 1e999': '{"id": "2", "vector": {"a": 1e999}}',
    'weight of "a" is 1; expected a number': '{"id": "2", "vector": {"a": "1"}}',
    "Duplicate field 'a'": '{"id": "2", "vector": {"a": 1, "a": 2}}',
    "would get the impact 100000000; the largest": '{"id": "2", "vector": {"a": 1e6}}',
    "more than 32766 bytes": json.dumps({"id": "2", "vector": {"x" * 32767: 1}}),
    "a token is empty": '{"id": "2", "vector": {"": 1}}',
}


@pytest.mark.parametrize(("message", "line"), BAD_LINES.items(), ids=list(BAD_LINES))
def test_bad_lines_are_named_and_nothing_is_left(tmp_path, message, line):
    corpus = tmp_path / "v.jsonl"
    line = line if isinstance(line, bytes) else line.encode()
    corpus.write_bytes(f"{GOOD}\n\n".encode() + line + b"\n{\n")
    with pytest.raises(InputError, match=rf"v\.jsonl, line 3: .*({message})"):
        build(corpus, tmp_path / "i")
    assert [file.name for file in tmp_path.iterdir()] == ["v.jsonl"]


def test_the_first_bad_line_is_named_however_threads_run(tmp_path):
    lines = [json.dumps({"id": str(n), "vector": {"a" * 500: 1}}) for n in range(4000)]
    lines[1500] = lines[1501] = lines[3900] = "{"
    (tmp_path / "v.jsonl").write_text("\n".join(lines))
    for _ in range(5):
        with pytest.raises(InputError, match="line 1501:"):
            build(tmp_path / "v.jsonl", tmp_path / "i")


def test_damaged_gzip_is_named(tmp_path):
    data = gzip.compress(
        "\n".join(f'{{"id": "{n}", "vector": {{}}}}' for n in range(9999)).encode()
    )
    (tmp_path / "v.jsonl.gz").write_bytes(data[:-2000])
    with pytest.raises(InputError, match=r"v.jsonl.gz, after line \d+: .*is the file complete"):
        build(tmp_path, tmp_path / "out" / "i")
    (tmp_path / "v.jsonl.gz").write_bytes(b"plain")
    with pytest.raises(InputError, match=r"v.jsonl.gz, after line 0: .*is the file complete"):
        build(tmp_path, tmp_path / "out" / "i")


def test_docids_that_come_twice_are_named_with_both_lines(tmp_path, documents):
    write(tmp_path / "a.jsonl", documents)
    write(tmp_path / "b.jsonl", {"other": {}, "d7": {"a": 1}})
    expected = r"'d7' comes twice: .*a.jsonl, line 8 and .*b.jsonl, line 2"
    with pytest.raises(InputError, match=expected):
        build(tmp_path, tmp_path / "i")
    assert not (tmp_path / "i").exists()
    assert not (tmp_path / "i.part").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mode": "other"}, "mode is 'other'"),
        ({"mode": "premultiplied"}, "needs idf"),
        ({"scale": 0}, "scale is 0"),
        ({"scale": math.nan}, "scale is nan"),
        ({"bits": 25}, "bits is 25"),
        ({"missing_idf": -1}, "missing_idf is -1"),
        ({"idf": "nowhere.json"}, "no such file"),
        ({"idf": {}}, "empty"),
        ({"idf": {"a": -1.0}}, "idf of 'a' is -1.0"),
        ({"idf": {"a": "1"}}, "idf of 'a' is '1'"),
    ],
)
def test_options_that_cannot_be_used_are_named(corpus, tmp_path, options, message):
    with pytest.raises(InputError, match=message):
        build(corpus, tmp_path / "i", **options)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("options", [{"threshold": -1}, {"mass": 0}, {"keep": 1.5}, {"cap": 0}])
def test_prunings_that_cannot_be_used_are_named(options):
    with pytest.raises(InputError, match=r"keep|threshold"):
        Pruning(**options)


def test_files_and_folders_that_do_not_fit_are_named(tmp_path, corpus):
    with pytest.raises(InputError, match="no such file or folder"):
        build(tmp_path / "nowhere", tmp_path / "i")
    with pytest.raises(InputError, match=r"holds no \.jsonl"):
        build(tmp_path, tmp_path / "i")
    (tmp_path / "empty.jsonl").write_text("\n")
    for options in ({}, {"bits": 8}):
        with pytest.raises(InputError, match="holds no"):
            build(tmp_path / "empty.jsonl", tmp_path / "i", **options)
    (tmp_path / "i").mkdir()
    with pytest.raises(InputError, match="exists already"):
        build(corpus, tmp_path / "i")
    with pytest.raises(InputError, match="will not be overwritten"):
        build(corpus, tmp_path / "i", overwrite=True)


def test_overwriting_happens_when_the_new_index_is_complete(tmp_path, corpus):
    build(corpus, tmp_path / "i")
    (tmp_path / "bad.jsonl").write_text("{")
    with pytest.raises(InputError, match="line 1"):
        build(tmp_path / "bad.jsonl", tmp_path / "i", overwrite=True)
    assert read_info(tmp_path / "i")["scale"] == 100
    build(corpus, tmp_path / "i", overwrite=True, scale=7)
    assert read_info(tmp_path / "i")["scale"] == 7


# -- the command -----------------------------------------------------------------------------------

COMMAND = [sys.executable, "-m", "pyserini_ext.index"]


def test_the_command_does_what_the_function_does(tmp_path, corpus, documents):
    options = "--mode premultiplied --idf collection --scale 20 --prune-cap 4 --tokenizer t --quiet"
    done = subprocess.run(
        [*COMMAND, "--corpus", str(corpus), "--output", str(tmp_path / "i"), *options.split()],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["documents"] == COUNT
    expected = reference(documents, "premultiplied", 20, table_of(documents), Pruning(cap=4))
    assert vectors(tmp_path / "i", list(documents)) == expected


LIMITED = """
import resource, runpy, sys
from pyserini_ext import jvm
jvm.start()
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
sys.argv = sys.argv[1:]
runpy.run_module("pyserini_ext.index", run_name="__main__")
"""


def test_a_full_disk_is_named_and_nothing_is_left(tmp_path):
    write(tmp_path / "v.jsonl", made_up(2, 5000))
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, "index", "--corpus", str(tmp_path / "v.jsonl")]
        + ["--output", str(tmp_path / "i"), "--quiet"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2, done.stderr
    assert "cannot write" in done.stderr
    assert [file.name for file in tmp_path.iterdir()] == ["v.jsonl"]


def test_an_index_whose_making_was_killed_is_none(tmp_path):
    one = json.dumps({"id": "?", "vector": {f"t{n}": 1 for n in range(100)}})
    with (tmp_path / "v.jsonl").open("w") as out:
        for number in range(60_000):
            out.write(one.replace("?", str(number)) + "\n")
    command = [*COMMAND, "--corpus", str(tmp_path / "v.jsonl"), "--output", str(tmp_path / "i")]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    part = tmp_path / "i.part"
    while not list(part.glob("_0*")):
        assert process.poll() is None
        time.sleep(0.01)
    with pytest.raises(InputError, match="another process is writing"):
        build(tmp_path / "v.jsonl", tmp_path / "i")
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "i").exists()
    with pytest.raises(InputError, match="not a Lucene index"):
        ImpactSearcher(part, Words())
    Path(tmp_path / "v.jsonl").write_text(GOOD)
    assert build(tmp_path / "v.jsonl", tmp_path / "i")["documents"] == 1
    assert not part.exists()
