"""Writers: the bytes are FAISS's and NumPy's own, and nothing bad gets in."""

import faiss
import numpy as np
import pytest

from pyserini_ext.errors import InputError
from pyserini_ext.index.docid_set import DocidSet
from pyserini_ext.index.faiss_writer import FaissWriter
from pyserini_ext.index.matrix import MatrixStore
from pyserini_ext.index.matrix_writer import MatrixWriter

WRITERS = [FaissWriter, MatrixWriter]
MATRIX = np.random.default_rng(0).standard_normal((7, 5)).astype(np.float32)
DOCIDS = [f"d{number}" for number in range(7)]


def write(writer, parts=((0, 7),)):
    with writer as out:
        for start, stop in parts:
            out.append(DOCIDS[start:stop], MATRIX[start:stop])
    return writer.path


def stopped(writer, docids):
    """Write some vectors and fail."""

    def some():
        with writer:
            writer.append(docids, MATRIX[: len(docids)])
            raise RuntimeError("stopped")

    with pytest.raises(RuntimeError, match="stopped"):
        some()


def test_the_faiss_file_is_byte_for_byte_that_of_faiss(tmp_path):
    path = write(FaissWriter(tmp_path / "f", 5), [(0, 3), (3, 3), (3, 7)])
    index = faiss.IndexFlatIP(5)
    index.add(MATRIX)
    assert (path / "index").read_bytes() == faiss.serialize_index(index).tobytes()
    assert (path / "docid").read_text() == "".join(f"{docid}\n" for docid in DOCIDS)
    assert sorted(file.name for file in path.iterdir()) == ["build.json", "docid", "index"]


def test_the_store_is_read_back(tmp_path):
    store = MatrixStore(write(MatrixWriter(tmp_path / "m", 5), [(0, 2), (2, 7)]))
    store.verify()
    np.testing.assert_array_equal(store.take(np.arange(7)), MATRIX)
    assert list(store.docids) == DOCIDS


def test_an_empty_index(tmp_path):
    with FaissWriter(tmp_path / "f", 3), MatrixWriter(tmp_path / "m", 3):
        pass
    assert faiss.read_index(str(tmp_path / "f" / "index")).ntotal == 0
    assert len(MatrixStore(tmp_path / "m")) == 0


@pytest.mark.parametrize("kind", WRITERS)
def test_an_error_leaves_a_part_that_is_gone_on_with(tmp_path, kind):
    whole = write(kind(tmp_path / "whole", 5), [(0, 7)])
    stopped(kind(tmp_path / "x", 5), DOCIDS[:4])
    assert not (tmp_path / "x").exists()
    again = kind(tmp_path / "x", 5, resume=True)
    assert again.count == 4
    with again:
        with pytest.raises(InputError, match="'d2' comes twice"):
            again.append(["d2"], MATRIX[:1])
        again.append(DOCIDS[4:], MATRIX[4:])
    for file in whole.iterdir():
        assert (tmp_path / "x" / file.name).read_bytes() == file.read_bytes()


@pytest.mark.parametrize("kind", WRITERS)
def test_without_resume_it_starts_again(tmp_path, kind):
    stopped(kind(tmp_path / "x", 5), ["other"])
    whole = write(kind(tmp_path / "whole", 5))
    again = write(kind(tmp_path / "x", 5))
    for file in whole.iterdir():
        assert (again / file.name).read_bytes() == file.read_bytes()


def test_a_complete_part_only_needs_its_name(tmp_path, monkeypatch):
    writer = FaissWriter(tmp_path / "f", 5)
    writer.append(DOCIDS, MATRIX)
    monkeypatch.setattr(type(writer.part), "rename", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        writer.close()
    monkeypatch.undo()
    again = FaissWriter(tmp_path / "f", 5, resume=True)
    assert again.count == 7
    again.close()
    assert faiss.read_index(str(tmp_path / "f" / "index")).ntotal == 7


@pytest.mark.parametrize(
    ("docids", "matrix", "message"),
    [
        (["a"], np.ones((2, 5)), r"1 docids and vectors of shape \(2, 5\); expected \(1, 5\)"),
        (["a"], np.ones((1, 4)), r"expected \(1, 5\)"),
        (["a", "a"], np.ones((2, 5)), "'a' comes twice"),
        (["a", "b"], np.array([[1] * 5, [np.nan] * 5]), "document 'b' has values that are not"),
        (["a"], np.full((1, 5), np.inf), "not finite"),
        (["a\nb"], np.ones((1, 5)), "a line of its own"),
        ([""], np.ones((1, 5)), "a line of its own"),
    ],
)
def test_what_cannot_be_stored_adds_nothing(tmp_path, docids, matrix, message):
    with MatrixWriter(tmp_path / "m", 5) as out:
        with pytest.raises(InputError, match=message):
            out.append(docids, matrix)
        assert out.count == 0
        out.append(["a"], np.ones((1, 5)))
    assert len(MatrixStore(tmp_path / "m")) == 1


def test_two_writers_and_other_requests_are_refused(tmp_path):
    first = FaissWriter(tmp_path / "f", 5, request={"encoder": "a", "options": {"x": 1}})
    with pytest.raises(InputError, match="another process"):
        FaissWriter(tmp_path / "f", 5, resume=True, request=first.request)
    first._release()
    with pytest.raises(InputError, match="options x was 1, now 2"):
        FaissWriter(tmp_path / "f", 5, resume=True, request={"options": {"x": 2}})
    with pytest.raises(InputError, match="dimension 5, not 6"):
        FaissWriter(tmp_path / "f", 6, resume=True, request=first.request)


def test_a_docid_that_comes_twice_is_found_across_blocks():
    stored = []
    seen = DocidSet(lambda: iter(stored))
    rng = np.random.default_rng(0)
    for block in range(30):
        docids = [f"{block}-{number}" for number in range(rng.integers(0, 50))]
        seen.add(docids)
        stored.extend(docids)
    for docid in rng.choice(stored, 20):
        with pytest.raises(InputError, match="comes twice"):
            seen.add(["new", str(docid)])
    seen.add(["new"])


def test_equal_hashes_of_different_docids_are_no_duplicate(monkeypatch):
    monkeypatch.setattr("pyserini_ext.index.docid_set._hash", lambda _: 7)
    stored = ["a"]
    seen = DocidSet(lambda: iter(stored))
    seen.add(["a"])
    seen.add(["b"])
    with pytest.raises(InputError, match="'a' comes twice"):
        seen.add(["a"])
