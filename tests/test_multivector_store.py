"""The multi-vector store: written, resumed, read, and fewer vectors a document."""

import json

import numpy as np
import pytest

from pyserini_ext.encode.__main__ import main
from pyserini_ext.encode.multivector_names import make_multivector_encoder
from pyserini_ext.errors import InputError
from pyserini_ext.index.token_pooling import centroids, pooled
from pyserini_ext.index.tokens import TokenStore
from pyserini_ext.index.tokens_writer import TokenWriter, document_frequencies


def made(lengths, dimension=5, seed=0):
    rng = np.random.default_rng(seed)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return rng.standard_normal((offsets[-1], dimension)).astype(np.float32), offsets


def write(path, lengths=(3, 0, 2, 1), seed=0, **options):
    vectors, offsets = made(lengths, seed=seed)
    with TokenWriter(path, 5, **options) as out:
        out.append_tokens(["a", "b"], vectors[: offsets[2]], offsets[:3])
        out.append_tokens(["c", "d"], vectors[offsets[2] :], offsets[2:] - offsets[2])
    return vectors, offsets


def test_what_was_written_is_read(tmp_path):
    vectors, offsets = write(tmp_path / "s")
    store = TokenStore(tmp_path / "s")
    store.verify()
    assert store.docids.tolist() == ["a", "b", "c", "d"]
    assert (len(store), store.dimension, store.documents.rows.dimension) == (4, 5, 5)
    assert store.documents.rows.data.strides[0] % 32 == 0
    np.testing.assert_array_equal(store.documents.offsets, offsets)
    assert store.rows(["d", "x", "a"]).tolist() == [3, -1, 0]
    tokens, bounds = store.tokens(np.array([2, 1, 0]))
    assert bounds.tolist() == [0, 2, 2, 5]
    wanted = np.concatenate([vectors[3:5], vectors[:3]]).astype(np.float16)
    np.testing.assert_array_equal(tokens, wanted.astype(np.float32))


IDS = np.array([4, 2, 4, -1, 2, 0], dtype=np.int32)


def write_with_ids(path, **options):
    vectors, offsets = made((3, 0, 2, 1))
    with TokenWriter(path, 5, **options) as out:
        out.append_tokens(["a", "b"], vectors[:3], offsets[:3], IDS[:3])
        out.append_tokens(["c", "d"], vectors[3:], offsets[2:] - 3, IDS[3:])


def test_token_ids_are_kept(tmp_path):
    write_with_ids(tmp_path / "s")
    store = TokenStore(tmp_path / "s")
    store.verify()
    np.testing.assert_array_equal(store.token_ids.ids, IDS)
    assert isinstance(store.token_ids.ids.base, np.memmap)
    # 4 twice in one document counts once; -1 is no token.
    assert store.token_ids.frequencies.tolist() == [1, 0, 2, 0, 1]
    assert store.ids(np.array([3, 1, 0])).tolist() == [0, 4, 2, 4]
    assert store.ids(np.array([], dtype=int)).tolist() == []


def test_ids_change_nothing_of_a_store_without(tmp_path):
    write(tmp_path / "without")
    write_with_ids(tmp_path / "with")
    without, with_ids = TokenStore(tmp_path / "without"), TokenStore(tmp_path / "with")
    assert without.manifest.sha256 == with_ids.manifest.sha256
    assert without.token_ids is None
    stated = json.loads((tmp_path / "without" / "tokens.json").read_text())
    assert set(stated) == {"format", "version", "dimension", "count", "tokens", "sha256"}
    with pytest.raises(InputError, match=r"encode again with python -m .* without --clusters"):
        without.ids(np.array([0]))


@pytest.mark.parametrize("block", [1, 3, 7, 1000])
def test_documents_of_a_token_are_counted_in_blocks(block):
    rng = np.random.default_rng(block)
    lengths = rng.integers(0, 9, 40)
    ids = rng.integers(-1, 12, lengths.sum()).astype(np.int32)
    each = np.split(ids, np.cumsum(lengths)[:-1])
    wanted = [sum(token in own for own in each) for token in range(ids.max() + 1)]
    assert document_frequencies(ids, np.cumsum(lengths), block).tolist() == wanted


def test_nothing_to_count():
    none = np.empty(0, dtype=np.int32)
    assert document_frequencies(none, np.zeros(3, np.int64)).tolist() == []
    assert document_frequencies(np.array([-1], np.int32), np.array([1])).tolist() == []


def test_an_interrupted_writer_goes_on_with_ids(tmp_path):
    vectors, offsets = made((3, 0, 2, 1))
    write_with_ids(tmp_path / "whole")
    with pytest.raises(RuntimeError), TokenWriter(tmp_path / "s", 5) as out:
        out.append_tokens(["a", "b"], vectors[:3], offsets[:3], IDS[:3])
        raise RuntimeError
    with (tmp_path / "s.part" / "ids.npy").open("ab") as file:
        file.write(b"half")
    with TokenWriter(tmp_path / "s", 5, resume=True) as out:
        with pytest.raises(InputError, match="was begun with token ids"):
            out.append_tokens(["c", "d"], vectors[3:], offsets[2:] - 3)
        out.append_tokens(["c", "d"], vectors[3:], offsets[2:] - 3, IDS[3:])
    for name in ("ids.npy", "frequencies.npy", "tokens.json"):
        assert (tmp_path / "s" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_ids_that_cannot_be_written(tmp_path):
    vectors, offsets = made((3, 0, 2, 1))
    with TokenWriter(tmp_path / "without", 5) as out:
        out.append_tokens(["a"], vectors[:3], offsets[:2])
        with pytest.raises(InputError, match="was begun without token ids"):
            out.append_tokens(["b"], vectors[3:], np.array([0, 3]), IDS[3:])
    out = TokenWriter(tmp_path / "s", 5)
    for bad in (IDS[:2], IDS[:3].astype(float), np.array([0, -2, 1])):
        with pytest.raises(InputError, match="at least -1 and the shape"):
            out.append_tokens(["a"], vectors[:3], offsets[:2], bad)
    # What comes after a refusal is written as if nothing had been.
    out.append_tokens(["a"], vectors[:3], offsets[:2], IDS[:3])
    out.close()
    assert TokenStore(tmp_path / "s").ids(np.array([0])).tolist() == [4, 2, 4]


def test_damaged_ids_are_told(tmp_path):
    write_with_ids(tmp_path / "s")
    file = tmp_path / "s" / "ids.npy"
    whole = file.read_bytes()
    file.write_bytes(whole[:-4] + b"\x01\x00\x00\x00")
    with pytest.raises(InputError, match=r"sha256 of ids\.npy, frequencies\.npy"):
        TokenStore(tmp_path / "s").verify()
    file.write_bytes(whole[:-4])
    with pytest.raises((InputError, ValueError)):
        TokenStore(tmp_path / "s")
    file.unlink()
    with pytest.raises(InputError, match=r"ids\.npy is missing"):
        TokenStore(tmp_path / "s")


def test_a_store_without_tokens(tmp_path):
    with TokenWriter(tmp_path / "s", 5) as out:
        out.append_tokens(["a"], np.empty((0, 5)), np.array([0, 0]))
    assert len(TokenStore(tmp_path / "s").documents.rows) == 0


def test_an_interrupted_writer_goes_on(tmp_path):
    vectors, offsets = write(tmp_path / "whole")
    with pytest.raises(RuntimeError), TokenWriter(tmp_path / "s", 5) as out:
        out.append_tokens(["a", "b"], vectors[: offsets[2]], offsets[:3])
        raise RuntimeError
    # What a crash in the middle of an append leaves behind.
    with (tmp_path / "s.part" / "tokens.npy").open("ab") as file:
        file.write(b"half a row")
    assert not (tmp_path / "s").exists()
    with TokenWriter(tmp_path / "s", 5, resume=True) as out:
        assert (out.count, out.tokens) == (2, 3)
        with pytest.raises(InputError, match="'a'"):
            out.append_tokens(["a"], vectors[:1], np.array([0, 1]))
        out.append_tokens(["c", "d"], vectors[offsets[2] :], offsets[2:] - offsets[2])
    for name in ("tokens.npy", "ends.npy", "docids.txt", "tokens.json"):
        assert (tmp_path / "s" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


@pytest.mark.parametrize(
    ("docids", "vectors", "offsets", "message"),
    [
        (["a"], np.ones((2, 5)), [0, 1], "expected an offset more"),
        (["a"], np.ones((2, 5)), [0, 1, 2], "expected an offset more"),
        (["a"], np.ones((2, 4)), [0, 2], r"shape \(tokens, 5\)"),
        (["a", "b"], np.array([[1.0] * 5, [7e4] * 5]), [0, 1, 2], "'b' have values"),
        (["a b\n"], np.ones((1, 5)), [0, 1], "cannot stand on a line"),
    ],
)
def test_what_cannot_be_written(tmp_path, docids, vectors, offsets, message):
    out = TokenWriter(tmp_path / "s", 5)
    with pytest.raises(InputError, match=message):
        out.append_tokens(docids, vectors, np.array(offsets))
    out.append_tokens(["z"], np.ones((1, 5)), np.array([0, 1]))
    out.close()
    np.testing.assert_array_equal(TokenStore(tmp_path / "s").tokens(np.array([0]))[0], [[1] * 5])


def test_damage_is_told(tmp_path):
    write(tmp_path / "s")
    manifest = tmp_path / "s" / "tokens.json"
    text = manifest.read_text()
    manifest.write_text(text.replace('"tokens": 6', '"tokens": 5'))
    with pytest.raises(InputError, match=r"tokens.npy is float16 of shape \(6, 16\)"):
        TokenStore(tmp_path / "s")
    manifest.write_text(text.replace('"version": 1', '"version": 9'))
    with pytest.raises(InputError, match="of version 9"):
        TokenStore(tmp_path / "s")
    manifest.write_text("{}")
    with pytest.raises(InputError, match="is damaged"):
        TokenStore(tmp_path / "s")
    manifest.write_text(text)
    ends = tmp_path / "s" / "ends.npy"
    whole = ends.read_bytes()
    ends.write_bytes(whole[:-8] + b"\x07" + whole[-7:])
    with pytest.raises(InputError, match="does not grow"):
        TokenStore(tmp_path / "s")
    ends.unlink()
    with pytest.raises(InputError, match=r"ends\.npy is missing"):
        TokenStore(tmp_path / "s")


def test_clusters_are_found():
    rng = np.random.default_rng(1)
    centres = rng.standard_normal((3, 8)) * 10
    vectors = np.repeat(centres, [4, 6, 2], axis=0) + 0.01 * rng.standard_normal((12, 8))
    found = centroids(vectors.astype(np.float32), 3)
    wanted = [vectors[:4].mean(0), vectors[4:10].mean(0), vectors[10:].mean(0)]
    order = [int(np.abs(found - want).sum(1).argmin()) for want in wanted]
    np.testing.assert_allclose(found[order], wanted, atol=0.01)


def test_centroids_are_as_long_as_their_members():
    vectors = np.array([[3, 0], [0, 1], [-2, 0], [0, -2], [0, 0]], dtype=np.float32)
    (mean,) = centroids(vectors, 1)
    np.testing.assert_allclose(mean, 1.6 * np.array([1, -1]) / np.sqrt(2), rtol=1e-6)
    assert centroids(np.array([[1, 0], [-1, 0]], dtype=np.float32), 1).tolist() == [[0, 0]]
    rng = np.random.default_rng(0)
    unit = rng.standard_normal((30, 8)).astype(np.float32)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    found = centroids(unit, 5)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, rtol=1e-5)
    nearest = (unit @ found.T).argmax(axis=1)
    for number, own in enumerate(found):
        mean = unit[nearest == number].mean(axis=0)
        assert own @ mean / np.linalg.norm(mean) > 0.9


def test_pooling_keeps_what_is_few():
    vectors, offsets = made([3, 0, 9, 4])
    kept, bounds = pooled(vectors, offsets, 4)
    assert bounds.tolist() == [0, 3, 3, 7, 11]
    np.testing.assert_array_equal(kept[:3], vectors[:3])
    np.testing.assert_array_equal(kept[7:], vectors[12:])
    one, _ = pooled(vectors, offsets, 1)
    mean, lengths = vectors[3:12].mean(0), np.linalg.norm(vectors[3:12], axis=1)
    np.testing.assert_allclose(one[1], mean * lengths.mean() / np.linalg.norm(mean), rtol=1e-5)
    assert len(centroids(np.ones((5, 3), np.float32), 2)) == 1
    with pytest.raises(InputError, match="at least 1"):
        pooled(vectors, offsets, 0)


def test_the_command(tmp_path, minilm_path):
    corpus = tmp_path / "corpus.jsonl"
    texts = ["sound is a wave", "", "the moon turns around the earth", "rain, snow."]
    lines = [json.dumps({"id": str(i), "contents": text}) for i, text in enumerate(texts)]
    corpus.write_text("\n".join(lines))
    given = ["--corpus", str(corpus), "--encoder", "minilm", "--to", "multivector", "--output"]
    assert main([*given, str(tmp_path / "all")]) == 0
    store = TokenStore(tmp_path / "all")
    vectors, offsets, ids = make_multivector_encoder("minilm").encode_documents(texts)
    np.testing.assert_array_equal(store.documents.offsets, offsets)
    np.testing.assert_allclose(store.tokens(np.arange(4))[0], vectors, atol=1e-3)
    np.testing.assert_array_equal(store.token_ids.ids, ids)
    # "the" is in one document twice, and in no other; "sound" in one.
    the, is_ = ids[offsets[2] + 1], ids[offsets[0] + 2]
    assert store.token_ids.frequencies[[the, is_]].tolist() == [1, 1]
    assert main([*given, str(tmp_path / "few"), "--clusters", "3"]) == 0
    few = TokenStore(tmp_path / "few")
    assert np.diff(few.documents.offsets).max() == 3
    assert few.token_ids is None
    cut = [*given, str(tmp_path / "cut"), "--encoder-arg", "skip=nothing", "--max-length", "4"]
    assert main(cut) == 0
    assert np.diff(TokenStore(tmp_path / "cut").documents.offsets).tolist() == [4, 2, 4, 4]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--to", "faiss", "--clusters", "3"], "--clusters is about --to multivector"),
        (["--to", "multivector", "--clusters", "0"], "--clusters is 0"),
        (["--to", "multivector", "--pooling", "cls"], "--pooling does not apply"),
        (["--to", "multivector", "--prefix", "d:"], "--prefix does not apply"),
        (["--max-length", "4", "--encoder-arg", "document-max-length=5"], "given twice"),
    ],
)
def test_options_that_do_not_belong_together(tmp_path, options, message):
    corpus = tmp_path / "corpus.jsonl"
    corpus.write_text('{"id": "1", "contents": "a"}\n')
    given = ["--corpus", str(corpus), "--encoder", "minilm", "--output", str(tmp_path / "x")]
    with pytest.raises(InputError, match=message):
        main([*given, *options])
