"""Run files: whole or absent, exact, streamed, and clear about what is wrong in them."""

import gzip

import numpy as np
import pytest

from pyserini_ext.errors import InputError
from pyserini_ext.files import atomic_writer, fingerprint
from pyserini_ext.hits import Hit, Hits
from pyserini_ext.run import Run, RunWriter, iter_run


def trec(*rows):
    return "".join(f"{q} Q0 {d} {r} {s} t\n" for q, d, r, s in rows)


def test_scores_of_retrieval_are_written_as_pyserini_writes_them(tmp_path):
    run = Run({"7": Hits(["d1", "d2"], np.array([1 / 3, 12], np.float32))}, tag="x")
    run.save(tmp_path / "run.txt")
    text = (tmp_path / "run.txt").read_text()
    assert text == f"7 Q0 d2 1 {np.float32(12):.6f} x\n7 Q0 d1 2 {np.float32(1 / 3):.6f} x\n"


def test_scores_of_fusion_survive_a_round_trip_exactly(tmp_path):
    run = Run({"q": Hits(["a", "b"], [0.1 + 0.2, 1 / 61 + 1 / 1060])})
    run.save(tmp_path / "run.txt")
    assert Run.read(tmp_path / "run.txt")["q"] == run["q"]


def test_msmarco_format_has_ranks_only(tmp_path):
    Run({"1": Hits(["a", "b"], [2.0, 1.0])}).save(tmp_path / "r.tsv", format="msmarco")
    assert (tmp_path / "r.tsv").read_text() == "1\ta\t1\n1\tb\t2\n"
    assert [h.docid for h in Run.read(tmp_path / "r.tsv")["1"]] == ["a", "b"]


def test_reading_restores_the_total_order_or_keeps_the_ranks(tmp_path):
    path = tmp_path / "run.txt"
    path.write_text(trec(("q", "b", 1, 1.0), ("q", "a", 2, 1.0)))
    assert [h.docid for h in Run.read(path)["q"]] == ["a", "b"]
    assert [h.docid for h in Run.read(path, keep_ranks=True)["q"]] == ["b", "a"]


def test_reading_and_streaming_agree_and_gzip_is_transparent(tmp_path):
    text = trec(("1", "a", 1, 2.5), ("1", "b", 2, 2.0), ("2", "a", 1, 9))
    with gzip.open(tmp_path / "run.txt.gz", "wt") as out:
        out.write(text)
    run = Run.read(tmp_path / "run.txt.gz")
    assert dict(iter_run(tmp_path / "run.txt.gz")) == dict(run)
    assert run["2"][0] == Hit("a", 9.0)


def test_scattered_queries_are_read_whole_but_not_streamed(tmp_path):
    path = tmp_path / "run.txt"
    path.write_text(trec(("1", "a", 1, 2), ("2", "a", 1, 2), ("1", "b", 2, 1)))
    assert len(Run.read(path)["1"]) == 2
    with pytest.raises(InputError, match="query '1' are scattered"):
        list(iter_run(path))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1 Q0 d 1 0.5\n", "line 1: 5 columns"),
        ("1 Q0 d 1 0.5 t\n1 d 1\n", "line 2: 3 columns"),
        ("1 Q0 d one 0.5 t\n", "line 1: rank or score"),
        ("1 Q0 d 1 high t\n", "line 1: rank or score"),
        ("1 d 0\n", "line 1: rank or score"),
        ("1 Q0 d 1 nan t\n", "NaN"),
        (trec(("1", "d", 1, 2), ("1", "d", 2, 1)), "lists document 'd' twice"),
    ],
)
def test_a_bad_line_is_named(tmp_path, text, message):
    (tmp_path / "run.txt").write_text(text)
    with pytest.raises(InputError, match=message):
        Run.read(tmp_path / "run.txt")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        Run.read(tmp_path / "absent.txt")


def test_duplicate_qids_are_refused(tmp_path):
    run = Run({"1": Hits([], [])})
    with pytest.raises(InputError, match="'1' comes twice"):
        run.add("1", Hits([], []))
    with RunWriter(tmp_path / "r.txt") as out:
        out.write("1", Hits([], []))
        with pytest.raises(InputError, match="'1' comes twice"):
            out.write("1", Hits([], []))


@pytest.mark.parametrize(("qid", "docid"), [("1", "a b"), ("1 2", "a"), ("1", ""), ("", "a")])
def test_white_space_in_ids_is_refused(tmp_path, qid, docid):
    with pytest.raises(InputError, match="white space"):
        Run({qid: Hits([docid], [1.0])}).save(tmp_path / "run.txt")
    assert not list(tmp_path.iterdir())


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path):
    path = tmp_path / "run.txt"
    path.write_text("old")
    with pytest.raises(InputError), RunWriter(path) as out:
        out.write("1", Hits(["a"], [1.0]))
        out.write("bad id", Hits(["a"], [1.0]))
    assert [p.name for p in tmp_path.iterdir()] == ["run.txt"]
    assert path.read_text() == "old"


def test_unknown_format_and_tag_are_refused(tmp_path):
    with pytest.raises(InputError, match="unknown run format 'kilt'"):
        RunWriter(tmp_path / "r", format="kilt")
    with pytest.raises(InputError, match="must be one word"):
        RunWriter(tmp_path / "r", tag="my run")


def test_a_folder_is_not_overwritten_by_a_file(tmp_path):
    with pytest.raises(InputError, match="is a folder"), atomic_writer(tmp_path):
        pass


def test_fingerprint_sees_content_name_and_sampled_size(tmp_path):
    (tmp_path / "a").write_bytes(b"x" * 100)
    first = fingerprint(tmp_path)
    assert first["bytes"] == 100
    assert not first["sampled"]
    (tmp_path / "a").write_bytes(b"y" * 100)
    second = fingerprint(tmp_path)
    (tmp_path / "a").rename(tmp_path / "b")
    assert len({first["sha256"], second["sha256"], fingerprint(tmp_path)["sha256"]}) == 3
    with (tmp_path / "big").open("wb") as out:
        out.truncate(65 << 20)
    assert fingerprint(tmp_path / "big")["sampled"]
