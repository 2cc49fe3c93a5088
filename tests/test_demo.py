"""The demonstration's collection and judgements on the Python that runs the tests."""

import importlib.util
import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

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
