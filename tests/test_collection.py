"""Streaming collections: formats, fields, shards, and lines that are not documents."""

import gzip
import json

import pytest

from pyserini_ext.collection import Document, open_collection
from pyserini_ext.errors import InputError
from pyserini_ext.jvm import pyserini_import


def write(path, *lines):
    path.parent.mkdir(parents=True, exist_ok=True)
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "wt", encoding="utf-8") as out:
        for line in lines:
            out.write((line if isinstance(line, str) else json.dumps(line)) + "\n")
    return path


def read(path, *args, **options):
    return list(open_collection(path, *args, **options))


def test_title_and_text_and_every_name_of_the_docid(tmp_path):
    path = write(
        tmp_path / "c.jsonl",
        {"id": "a", "contents": "one two "},
        {"_id": "b", "title": "T", "text": "body"},
        {"docid": 3, "title": None, "text": "x"},
        {"id": "d", "title": "only a title", "text": ""},
        {"id": "e", "title": "and no text"},
    )
    assert read(path) == [
        Document("a", "", "one two"),
        Document("b", "T", "body"),
        Document("3", "", "x"),
        Document("d", "only a title", ""),
        Document("e", "and no text", ""),
    ]
    assert read(path)[1].contents == "T\nbody"
    assert read(path)[0].contents == "one two"


@pytest.mark.parametrize(
    ("record", "fields", "expected"),
    [
        ({"contents": "T\nbody"}, ["title", "text"], ("T", "body")),
        ({"contents": "T\nbody\n"}, ["title", "text"], ("T", "body")),
        ({"contents": "T\n"}, ["title", "text"], ("T", "")),
        ({"contents": " body \n"}, ["text"], ("", "body")),
        ({"title": "T", "text": "body"}, ["text"], ("", "body")),
        ({"title": "T", "abstract": "A", "body": "B"}, ["title", "abstract", "body"], ("T", "A B")),
    ],
)
def test_fields_as_pyserini_reads_them(tmp_path, record, fields, expected):
    path = write(tmp_path / "c.jsonl", {"id": "1", **record})
    [(_, title, text)] = read(path, fields)
    assert (title, text) == expected


def test_fields_give_what_pyserinis_iterator_gives(tmp_path):
    with pyserini_import():
        from pyserini.encode._base import JsonlCollectionIterator
    path = write(
        tmp_path / "c.jsonl",
        {"id": "1", "contents": "T\nbody"},
        {"id": "2", "contents": "T\n"},
        {"id": "3", "contents": "  T \n body \n"},
        {"_id": "4", "title": " T ", "text": "body\nmore"},
    )
    theirs = JsonlCollectionIterator(str(path), ["title", "text"]).all_info
    ours = read(path, ["title", "text"])
    assert [d.docid for d in ours] == theirs["id"]
    assert [d.title for d in ours] == theirs["title"]
    assert [d.text for d in ours] == theirs["text"]


def test_delimiter_and_docid_field(tmp_path):
    path = write(tmp_path / "c.jsonl", {"id": "x", "key": "k", "contents": "T##body"})
    assert read(path, ["title", "text"], delimiter="##", docid_field="key") == [
        Document("k", "T", "body")
    ]


def test_beir_folder_reads_only_its_corpus(tmp_path):
    write(tmp_path / "corpus.jsonl", {"_id": "d", "title": "", "text": "x", "metadata": {}})
    write(tmp_path / "queries.jsonl", {"_id": "q", "text": "not a document"})
    assert [d.docid for d in read(tmp_path)] == ["d"]


def test_folder_is_read_in_the_order_of_names_and_through_gzip(tmp_path):
    write(tmp_path / "b.jsonl.gz", {"id": "2", "contents": "zwei"})
    write(tmp_path / "a.json", {"id": "1", "contents": "eins"})
    write(tmp_path / "c.tsv", "3\tdrei")
    write(tmp_path / "readme.md", "no document")
    assert [d.docid for d in read(tmp_path)] == ["1", "2", "3"]


def test_tsv_with_and_without_title(tmp_path):
    assert read(write(tmp_path / "a.tsv", "1\ttext one", "2\t")) == [
        Document("1", "", "text one"),
        Document("2", "", ""),
    ]
    assert read(write(tmp_path / "b.tsv", "1\tT\tx")) == [Document("1", "T", "x")]
    assert read(write(tmp_path / "c.tsv", "1\tu\tT\tx"), ["url", "title", "text"]) == [
        Document("1", "T", "u x")
    ]


def test_unicode_line_separators_byte_order_mark_and_lone_surrogates(tmp_path):
    path = tmp_path / "c.jsonl"
    path.write_bytes(
        b"\xef\xbb\xbf"
        + '{"id": "1", "contents": "a\u2028b \u00e9"}\r\n\r\n'.encode()
        + b'{"id": "2", "contents": "x \\ud800 y"}'
    )
    first, second = read(path)
    assert first.text == "a\u2028b é"
    assert second.text.encode()
    assert second.text.startswith("x ")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{not json", "not JSON"),
        ("[1]", "expected an object"),
        ('{"contents": "x"}', "no document id"),
        ('{"id": "a b", "contents": "x"}', "white space"),
        ('{"id": "", "contents": "x"}', "empty"),
        ('{"id": "1", "body": "x"}', "--fields"),
        ('{"id": "1", "text": 5}', "expected a string"),
    ],
)
def test_a_bad_line_is_named(tmp_path, line, message):
    path = write(tmp_path / "c.jsonl", {"id": "0", "contents": "fine"}, "", line)
    with pytest.raises(InputError, match=message) as error:
        read(path)
    assert f"{path}, line 3" in str(error.value)


def test_wrong_number_of_parts_and_columns(tmp_path):
    path = write(tmp_path / "c.jsonl", {"id": "1", "contents": "a\nb\nc"})
    with pytest.raises(InputError, match=r"line 1: contents has 3 parts .* 2 fields"):
        read(path, ["title", "text"])
    with pytest.raises(InputError, match=r"line 1: 3 columns"):
        read(write(tmp_path / "c.tsv", "1\ta\tb\tc"))
    with pytest.raises(InputError, match=r"line 1: no field body"):
        read(write(tmp_path / "d.jsonl", {"id": "1", "text": "x"}), ["body"])


def test_not_utf8_and_a_truncated_gzip(tmp_path):
    path = tmp_path / "c.tsv"
    path.write_bytes(b"1\tok\n2\t\xff\n")
    with pytest.raises(InputError, match="line 2: not UTF-8"):
        read(path)
    whole = write(tmp_path / "d.tsv.gz", *(f"{i}\t{i * 7919}" for i in range(5000)))
    whole.write_bytes(whole.read_bytes()[:-2000])
    with pytest.raises(InputError, match="is the file complete"):
        read(whole)


def test_nothing_to_read(tmp_path):
    with pytest.raises(InputError, match="no such file or folder"):
        open_collection(tmp_path / "missing")
    with pytest.raises(InputError, match="holds no"):
        open_collection(tmp_path)
    with pytest.raises(InputError, match="cannot tell the format"):
        open_collection(write(tmp_path / "c.xml", "<doc>"))


@pytest.mark.parametrize("shard_num", [1, 2, 3, 4, 12])
def test_shards_in_order_are_the_collection_cut_as_pyserini_cuts_it(tmp_path, shard_num):
    path = write(tmp_path / "c.tsv", *(f"{i}\tx" for i in range(11)))
    collection = open_collection(path)
    shards = [collection.shard(i, shard_num) for i in range(shard_num)]
    assert [d for shard in shards for d in shard] == list(collection)
    assert [len(list(shard)) for shard in shards[:-1]] == [11 // shard_num] * (shard_num - 1)
    assert [shard.count() for shard in shards] == [len(list(shard)) for shard in shards]


def test_skip_within_a_shard(tmp_path):
    path = write(tmp_path / "c.tsv", *(f"{i}\tx" for i in range(10)))
    shard = open_collection(path).shard(1, 2)
    assert [d.docid for d in shard.skip(3)] == ["8", "9"]
    assert list(shard.skip(5)) == []
    with pytest.raises(InputError, match="shard 2 of 2"):
        open_collection(path).shard(2, 2)


def test_skipped_lines_are_not_parsed_and_lines_are_read_one_at_a_time(tmp_path):
    path = write(tmp_path / "c.jsonl", "broken", {"id": "1", "contents": "x"}, "broken too")
    documents = iter(open_collection(path).skip(1))
    assert next(documents).docid == "1"
    with pytest.raises(InputError, match="line 3"):
        next(documents)
