"""The demonstration's collection and judgements on the Python that runs the tests."""

import importlib.util
import json
import os
import shlex
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from pyserini_ext.errors import InputError
from pyserini_ext.run import Run

DEMO = Path(__file__).parents[1] / "examples" / "demo"


def load(name):
    spec = importlib.util.spec_from_file_location(f"demo_{name}", DEMO / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


collection, judgements = load("collection"), load("judgements")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    path = tmp_path_factory.mktemp("demo") / "corpus.jsonl"
    count = collection.build(path)
    documents = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    assert count == len(documents)
    return documents


@pytest.fixture(scope="module")
def by_docid(corpus):
    return {document["id"]: document for document in corpus}


def test_collection_has_a_few_thousand_distinct_documents_in_docid_order(corpus):
    docids = [document["id"] for document in corpus]
    assert 3000 < len(docids) < 9000
    assert docids == sorted(set(docids))


def test_documents_have_the_fields_that_pyserini_and_our_encoder_read(corpus):
    for document in corpus:
        assert list(document) == ["id", "title", "text", "contents"]
        assert document["contents"] == document["title"] + "\n" + document["text"]
        assert len(document["text"].split()) > 2
        assert not document["id"].split()[1:]


def test_documents_stand_under_the_name_a_programmer_writes(by_docid):
    assert {"os.path.split", "str.partition", "list.sort", "math.gcd", "itertools.chain"} <= set(
        by_docid
    )
    for other in ("posixpath.split", "builtins.str", "posix.getcwd", "asyncio.tasks.sleep"):
        assert other not in by_docid
    assert by_docid["os.path.split"]["text"].startswith("split(p)\nSplit a pathname.")


def test_documents_leave_out_private_names_and_repeated_methods(by_docid):
    assert not [d for d in by_docid if any(part.startswith("_") for part in d.split("."))]
    assert "random.choice" in by_docid
    assert "random.Random.choice" not in by_docid  # the same function
    assert "pathlib.PosixPath.exists" not in by_docid  # inherited


def test_documents_name_nothing_of_this_machine(corpus):
    signs = (" at 0x", sys.executable, sys.base_prefix + os.sep)
    assert not [d["id"] for d in corpus if any(sign in d["text"] for sign in signs)]


def test_collection_is_the_same_every_time(corpus, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONHASHSEED", "7")
    monkeypatch.setenv("PYTHONOPTIMIZE", "2")  # strips docstrings where it is heeded
    monkeypatch.chdir(tmp_path)
    collection.build("again.jsonl")
    again = Path("again.jsonl").read_text("utf-8").splitlines()
    assert [json.loads(line) for line in again] == corpus


def test_collection_command_writes_whole_files_only(tmp_path):
    output = tmp_path / "folder" / "corpus.jsonl"
    command = [sys.executable, str(DEMO / "collection.py"), "--output", str(output)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.split()[0] == str(len(output.read_text("utf-8").splitlines()))
    assert [p.name for p in output.parent.iterdir()] == ["corpus.jsonl"]


def test_qids_and_judgements_are_distinct():
    topics = [line.split("\t") for line in (DEMO / "queries.tsv").read_text("utf-8").splitlines()]
    rows = [line.split() for line in (DEMO / "qrels.txt").read_text("utf-8").splitlines()]
    assert {len(row) for row in topics} == {2}
    assert Counter(qid for qid, _ in topics).most_common(1)[0][1] == 1
    assert len({text for _, text in topics}) == len(topics)
    assert len({(qid, docid) for qid, _, docid, _ in rows}) == len(rows)
    assert {qid for qid, *_ in rows} == {qid for qid, _ in topics}
    assert {grade for *_, grade in rows} == {"1", "2"}


def test_enough_judged_queries_remain_on_this_python(by_docid):
    left = judgements.select(by_docid)
    assert len(left.topics) >= 50
    assert list(left.qrels) == list(left.topics)
    for grades in left.qrels.values():
        assert 2 in grades.values()
        assert set(grades) <= set(by_docid)
    assert len(left.missing) < 40


def test_judgements_of_absent_documents_are_reported_and_their_queries_dropped(by_docid, tmp_path):
    left = judgements.select(set(by_docid) - {"math.gcd", "str.lstrip"})
    assert {"math.gcd", "str.lstrip"} <= set(left.missing)
    assert "greatest common divisor" in left.dropped.values()
    assert "11" not in left.topics
    assert "str.lstrip" not in left.qrels["2"]
    assert left.qrels["2"]["str.strip"] == 2

    topics, qrels = left.save(tmp_path)
    assert topics.read_text("utf-8").startswith("1\tsplit a path into directory and file name\n")
    assert "2 0 str.strip 2\n" in qrels.read_text("utf-8")


@pytest.fixture
def demo(tmp_path, monkeypatch):
    """A demonstration whose commands only make the folder they are asked for."""
    monkeypatch.syspath_prepend(str(DEMO))
    run = load("run")
    made = run.Demo(tmp_path, "minilm")
    made.corpus.parent.mkdir()
    made.corpus.write_text('{"id": "a"}\n', "utf-8")
    made.commands = []
    made.status = 0

    def command(line, **_):
        made.commands.append(line)
        folder = Path(line[line.index("--output" if "--output" in line else "--index") + 1])
        folder = folder.parent if folder.suffix == ".jsonl" else folder
        folder.mkdir(exist_ok=True)
        (folder / f"file{len(made.commands)}").touch()
        return subprocess.CompletedProcess(line, made.status, "what went wrong\n")

    monkeypatch.setattr(run.subprocess, "run", command)
    return made


def test_indexes_are_made_once_and_again_only_for_another_input(demo, capsys):
    demo.index()
    assert [line[2] for line in demo.commands] == [
        "pyserini_ext",
        "pyserini_ext.encode.sparse",
        "pyserini_ext.index",
        "pyserini_ext.encode",
        "pyserini_ext.encode",
    ]
    demo.index()
    assert len(demo.commands) == 5
    assert capsys.readouterr().out.count("is up to date") == 5

    demo.corpus.write_text('{"id": "b"}\n', "utf-8")
    demo.index()
    assert len(demo.commands) == 10
    assert [file.name for file in demo.faiss.iterdir()] == ["file9"]


def test_another_model_makes_its_indexes_again_but_not_the_inverted_one(demo):
    demo.index()
    demo.model = "tas-b"
    demo.index()
    assert [line[2] for line in demo.commands[5:]] == ["pyserini_ext.encode"] * 2


def test_an_interrupted_encoding_goes_on_with_the_files_it_left(demo, capsys):
    demo.status = 1
    with pytest.raises(InputError, match="failed with status 1"):
        demo.index()
    assert "what went wrong" in capsys.readouterr().err
    demo.status = 0
    demo.index()
    assert {file.name for file in demo.lucene.iterdir()} == {"file1", "file2"}


def test_a_folder_made_by_somebody_else_is_not_removed(demo):
    demo.lucene.mkdir()
    (demo.lucene / "precious").touch()
    with pytest.raises(InputError, match="was not made by this demonstration"):
        demo.index()
    assert (demo.lucene / "precious").exists()


def test_help_of_the_demonstration_imports_neither_torch_nor_pyserini():
    code = (
        "import runpy, sys; sys.argv = ['run.py', '--help']\n"
        f"sys.path.insert(0, {str(DEMO)!r})\n"
        "try: runpy.run_path(sys.path[0] + '/run.py', run_name='__main__')\n"
        "except SystemExit as end: assert not end.code\n"
        "print(*{'torch', 'jnius', 'pyserini'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == ""


SMALL = """
import collection, json, judgements, run, sys

build = collection.build

def small(output):
    build(output)
    qrels = judgements.select(judgements.docids(output)).qrels
    judged = {docid for grades in qrels.values() for docid in grades}
    lines = [line for line in output.open(encoding="utf-8") if json.loads(line)["id"] in judged]
    output.write_text("".join(lines), encoding="utf-8")
    return len(lines)

collection.build = small
sys.argv = ["run.py"]
run.main()
"""
"""The demonstration over nothing but the judged documents, so that it takes seconds."""


@pytest.mark.slow
def test_demonstration_makes_runs_table_and_report_with_commands_that_repeat(minilm_path, tmp_path):
    path = os.pathsep.join(filter(None, (str(DEMO), os.environ.get("PYTHONPATH"))))
    options = {"cwd": tmp_path, "env": {**os.environ, "PYTHONPATH": path}, "text": True}

    def python(*arguments):
        command = [sys.executable, *arguments]
        done = subprocess.run(command, capture_output=True, **options)
        assert done.returncode == 0, done.stderr
        return done.stdout

    shown = python("-c", SMALL)
    names = ["bm25", "inference-free", "dense", "rescored", "average", "rocchio"]
    names += ["interpolated", "before", "after", "both", "gqr", "late", "colbert-prf"]
    runs = {name: Run.read(tmp_path / "demo" / "runs" / f"{name}.txt") for name in names}
    assert {len(run) for run in runs.values()} <= {99, 100}  # BM25 may find nothing for a query
    table = [line.partition(" ")[0] for line in shown.partition("nDCG@10  ")[2].splitlines()[2:]]
    assert table[: len(names)] == names
    assert "<html" in (tmp_path / "demo" / "report.html").read_text("utf-8")

    command = next(line for line in shown.splitlines() if "--interpolate both" in line)
    python(*shlex.split(command.replace("runs/both.txt", "repeated.txt"))[2:])
    assert (tmp_path / "demo" / "repeated.txt").read_bytes() == (
        tmp_path / "demo" / "runs" / "both.txt"
    ).read_bytes()
