"""Topics of every layout, in Pyserini's order, whatever words are in the path."""

import gzip

import pytest

from pyserini_ext.errors import InputError
from pyserini_ext.topics import load_topics


@pytest.mark.parametrize("name", ["topics.tsv", "cacm.tsv", "beir-v1.tsv", "topics.txt"])
def test_tsv_is_tsv_whatever_its_path_says(tmp_path, name):
    (tmp_path / name).write_text("10\tten\n9\tnine\n2\ta\ttab\n\n")
    assert list(load_topics(tmp_path / name).items()) == [
        ("2", "a\ttab"),
        ("9", "nine"),
        ("10", "ten"),
    ]


def test_qids_that_are_no_numbers_sort_by_code_point(tmp_path):
    (tmp_path / "t.tsv").write_text("q10\tten\nq9\tnine\nB\tbee\n")
    assert list(load_topics(tmp_path / "t.tsv")) == ["B", "q10", "q9"]


def test_jsonl_beir_folder_and_gzip(tmp_path):
    lines = '{"_id": "a", "text": "one", "metadata": {}}\n{"qid": 2, "query": "two"}\n'
    (tmp_path / "queries.jsonl").write_text(lines)
    with gzip.open(tmp_path / "other.jsonl.gz", "wt") as out:
        out.write(lines)
    for source in (tmp_path, tmp_path / "queries.jsonl", tmp_path / "other.jsonl.gz"):
        assert load_topics(source) == {"2": "two", "a": "one"}


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("t.tsv", "1 no tab\n", "line 1: expected a query id, a tab"),
        ("t.tsv", "1\tone\n2\t \n", "line 2: expected"),
        ("t.tsv", "1\tone\n1\ttwo\n", "'1' comes twice"),
        ("t.tsv", "a b\tone\n", "'a b' is empty or contains white space"),
        ("t.tsv", "", "contains no topics"),
        ("t.jsonl", '{"_id": "1"}\n', "line 1: expected a JSON object"),
        ("t.jsonl", "[1]\n", "line 1: expected a JSON object"),
        ("t.jsonl", "{\n", "line 1: expected a JSON object"),
    ],
)
def test_bad_topics_are_named(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=message):
        load_topics(tmp_path / name)


def test_a_folder_without_queries_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"neither queries.jsonl nor"):
        load_topics(tmp_path)


def test_other_formats_go_to_pyserini(tmp_path):
    topic = "<top>\n<num> Number: 301\n<title> crime\n\n<desc> x\n\n<narr> y\n</top>\n"
    (tmp_path / "t.trec").write_text(topic)
    assert load_topics(tmp_path / "t.trec") == {"301": "crime"}


def test_names_go_to_pyserini(monkeypatch):
    from pyserini_ext.jvm import pyserini_import

    with pyserini_import():
        import pyserini.query_iterator as module
    asked = []

    def iterator(name, topics_format):
        asked.append((name, topics_format))
        return [(264014, "how long is life cycle of flea")]

    monkeypatch.setattr(module, "get_query_iterator", iterator)
    assert load_topics("dl19-passage") == {"264014": "how long is life cycle of flea"}
    assert asked == [("dl19-passage", module.TopicsFormat.DEFAULT)]


@pytest.mark.parametrize("name", ["absent.tsv", "folder/dl19-passage", "t.jsonl.gz"])
def test_missing_files_are_told_without_asking_pyserini(name, monkeypatch):
    monkeypatch.setattr("pyserini_ext.topics._from_pyserini", pytest.fail)
    with pytest.raises(InputError, match=f"no such file: {name}"):
        load_topics(name)


def test_unknown_names_are_explained():
    with pytest.raises(InputError, match="Pyserini knows no topics of that name"):
        load_topics("no-such-topics")


def test_order_and_queries_equal_pyserinis(tmp_path):
    from pyserini_ext.jvm import pyserini_import

    with pyserini_import():
        from pyserini.query_iterator import TopicsFormat, get_query_iterator
    for name, text in (
        ("numbers.tsv", "10\tten things\n9\tnine\n200\ttwo hundred\n"),
        ("words.tsv", "q10\tten\nq9\tnine\nB\tbee\n"),
    ):
        (tmp_path / name).write_text(text)
        theirs = get_query_iterator(str(tmp_path / name), TopicsFormat.DEFAULT)
        assert list(load_topics(tmp_path / name).items()) == [(str(q), t) for q, t in theirs]
