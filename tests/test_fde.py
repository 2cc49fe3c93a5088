"""MUVERA's fixed-dimensional encodings: exact where they must be, close elsewhere."""

import json
from itertools import pairwise

import numpy as np
import pytest

from pyserini_ext import jvm
from pyserini_ext.errors import InputError
from pyserini_ext.index.fde import Muvera
from pyserini_ext.index.muvera import main, read_muvera
from pyserini_ext.index.muvera_lucene import LuceneWriter
from pyserini_ext.index.open import open_vectors
from pyserini_ext.index.tokens import TokenStore
from pyserini_ext.index.tokens_writer import TokenWriter
from pyserini_ext.rescore.query_tokens import QueryTokens
from pyserini_ext.search.multivector import MultiVectorSearcher


def sets(lengths, dimension, seed=0):
    rng = np.random.default_rng(seed)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    tokens = rng.standard_normal((offsets[-1], dimension)).astype(np.float32)
    return tokens / np.linalg.norm(tokens, axis=1, keepdims=True), offsets


def each(tokens, offsets):
    return [tokens[a:b] for a, b in pairwise(offsets)]


def test_one_part_without_projection_is_sum_and_mean():
    tokens, offsets = sets([3, 1, 0, 5], 7)
    muvera = Muvera(7, repetitions=1, bits=0, projected=None)
    sums = np.array([own.sum(0) for own in each(tokens, offsets)])
    np.testing.assert_allclose(muvera.queries(tokens, offsets), sums, atol=1e-6)
    means = sums / np.maximum(np.diff(offsets), 1)[:, None]
    np.testing.assert_allclose(muvera.documents(tokens, offsets), means, atol=1e-6)
    # Repeated, it is the same again.
    twice = Muvera(7, repetitions=2, bits=0, projected=None).queries(tokens, offsets)
    np.testing.assert_allclose(twice, np.tile(sums, 2), atol=1e-6)


@pytest.mark.parametrize("projected", [None, 3])
def test_as_written_in_the_paper(projected):
    """Loops over parts: the sum for queries; for documents the mean or the nearest token's."""
    queries, documents = sets([4, 9, 0], 6, 1), sets([5, 1, 0, 12], 6, 2)
    muvera = Muvera(6, repetitions=3, bits=3, projected=projected, seed=5)
    own, others = muvera.queries(*queries), muvera.documents(*documents)
    size = projected or 6
    assert muvera.width == 3 * 8 * size == own.shape[1]
    for repetition in range(3):
        planes = np.random.default_rng(5 + repetition).standard_normal((6, 3))
        matrix = np.eye(6)
        if projected:
            goes, sign = muvera._projection(repetition)
            matrix = np.zeros((6, 3))
            matrix[range(6), goes] = sign
            assert set(sign) <= {-1, 1}
        for (tokens, offsets), found, is_query in (
            (queries, own, True),
            (documents, others, False),
        ):
            for one, encoding in zip(each(tokens, offsets), found, strict=True):
                blocks = encoding.reshape(3, 8, size)[repetition]
                bits = (one @ planes > 0).astype(int)
                for part in range(8):
                    gray = part ^ (part >> 1)
                    wanted = np.array([gray >> 2 & 1, gray >> 1 & 1, gray & 1])
                    apart = np.abs(bits - wanted).sum(axis=1)
                    inside = (one @ matrix)[apart == 0]
                    if is_query:
                        expected = inside.sum(0)
                    elif len(inside):
                        expected = inside.mean(0)
                    else:
                        expected = (one @ matrix)[apart.argmin()] if len(one) else np.zeros(size)
                    np.testing.assert_allclose(blocks[part], expected, atol=1e-5)


def test_neighbouring_parts_differ_in_one_sign():
    muvera = Muvera(8, 1, 4, None)
    tokens, _ = sets([500], 8)
    codes, parts = muvera._signs(tokens, 0), muvera.parts(tokens, 0)
    assert len(set(parts)) == 16
    np.testing.assert_array_equal(codes, parts ^ (parts >> 1))


def test_the_final_projection_is_a_count_sketch():
    """Every number goes to one place, by one sign, the same for queries and documents."""
    tokens, offsets = sets([4, 0, 9], 6, 1)
    whole, small = Muvera(6, 2, 2, 3, seed=5), Muvera(6, 2, 2, 3, seed=5, final=7)
    assert (whole.width, small.width, small.inner) == (24, 7, 24)
    random = np.random.default_rng((5, 7))
    goes, signs = random.integers(0, 7, 24), random.integers(0, 2, 24) * 2 - 1
    matrix = np.zeros((24, 7))
    matrix[range(24), goes] = signs
    for made, wanted in (
        (small.queries(tokens, offsets), whole.queries(tokens, offsets)),
        (small.documents(tokens, offsets), whole.documents(tokens, offsets)),
    ):
        np.testing.assert_allclose(made, wanted @ matrix, atol=1e-5)
    # On average over the seeds it keeps products.
    off = []
    for seed in range(300):
        whole, small = Muvera(6, 2, 2, 3, seed), Muvera(6, 2, 2, 3, seed, 7)
        products = [
            made.queries(tokens, offsets)[0] @ made.documents(tokens, offsets)[2]
            for made in (whole, small)
        ]
        off.append(products[1] - products[0])
    assert abs(np.mean(off)) < 3 * np.std(off) / np.sqrt(300)


def test_the_seed_decides():
    tokens, offsets = sets([4, 5], 8)
    make = lambda seed: Muvera(8, 3, 3, 4, seed).documents(tokens, offsets)  # noqa: E731
    np.testing.assert_array_equal(make(1), make(1))
    assert (make(1) != make(2)).any()
    # Repetition r draws from seed + r.
    np.testing.assert_array_equal(make(1)[:, 32:], make(2)[:, :64])


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ((8, 0), "repetitions is 0"),
        ((8, 1, 21), "bits is 21; it must be from 0 to 20"),
        ((8, 1, -1), "bits is -1"),
        ((8, 1, 2, 9), "projected is 9; it must be from 1 to 8"),
        ((8, 1, 2, 4, 0, 17), "final is 17; it must be from 1 to 16"),
    ],
)
def test_numbers_out_of_range(numbers, message):
    with pytest.raises(InputError, match=message):
        Muvera(*numbers)


def test_shapes_that_do_not_fit():
    with pytest.raises(InputError, match=r"expected \(tokens, 8\)"):
        Muvera(8, projected=4).queries(np.ones((3, 7)), np.array([0, 3]))


@pytest.mark.parametrize("final", [None, 24])
@pytest.mark.parametrize("to", ["faiss", "store", "lucene", "lucene-flat"])
def test_the_command(tmp_path, to, final, capsys):
    tokens, offsets = sets([3, 0, 6, 2], 8)
    docids = ["a", 'b "q"', "ç", "d"]
    with TokenWriter(tmp_path / "tokens", 8) as out:
        out.append_tokens(docids, tokens, offsets)
    folder = tmp_path / "fde"
    given = ["--input", str(tmp_path / "tokens"), "--output", str(folder), "--to", to]
    given += ["--repetitions", "2", "--bits", "2", "--projected", "4", "--seed", "9"]
    given += ["--final", str(final)] if final else []
    main(given)
    assert f"4 documents, 11 tokens, {final or 32} dimensions" in capsys.readouterr().out
    muvera, made_from = read_muvera(folder)
    assert muvera == Muvera(8, 2, 2, 4, 9, final)
    assert made_from == TokenStore(tmp_path / "tokens").manifest.sha256
    half = tokens.astype(np.float16).astype(np.float32)
    encodings, store = muvera.documents(half, offsets), open_vectors(folder)
    np.testing.assert_allclose(store.vectors(docids), encodings, atol=1e-6)
    queries = muvera.queries(half, offsets)
    for hits, scores in zip(store.search(queries, 4), queries @ encodings.T, strict=True):
        # Lucene knows no score below -1, and nothing of the order there.
        wanted = np.maximum(np.sort(scores)[::-1], -1) if "lucene" in to else np.sort(scores)[::-1]
        np.testing.assert_allclose(hits.scores, wanted, atol=1e-4)
        assert hits.docids[0] == docids[scores.argmax()] or scores.max() <= 0
    store.close()
    with pytest.raises(InputError, match="exists already"):
        main(given)
    main([*given, "--overwrite"])
    np.testing.assert_allclose(open_vectors(folder).vectors(docids), encodings, atol=1e-6)


def test_lucene_goes_on_where_it_was_interrupted(tmp_path, monkeypatch):
    tokens, offsets = sets([3, 4, 6, 2], 8)
    with TokenWriter(tmp_path / "tokens", 8) as out:
        out.append_tokens(list("abcd"), tokens, offsets)
    given = f"--input {tmp_path}/tokens --output {tmp_path}/fde --to lucene".split()
    given += ["--repetitions", "2", "--bits", "2", "--projected", "4"]
    with monkeypatch.context() as broken:
        broken.setattr(LuceneWriter, "_check_count", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            main(given)
    assert not (tmp_path / "fde").exists()
    encoded = []
    monkeypatch.setattr(Muvera, "documents", lambda *_: encoded.append(1))
    main(given)
    assert not encoded
    assert len(open_vectors(tmp_path / "fde")) == 4
    left = [path.name for path in (tmp_path / "fde").iterdir()]
    assert not {"vectors.f32", "docids.txt", "source", "lucene"} & set(left)


def test_lucenes_candidates_are_searched(tmp_path):
    tokens, offsets = sets([5] * 40, 16)
    with TokenWriter(tmp_path / "tokens", 16) as out:
        out.append_tokens([f"d{i}" for i in range(40)], tokens, offsets)
    given = f"--input {tmp_path}/tokens --repetitions 10 --bits 3 --projected 8 --final 512".split()
    for to in ("faiss", "lucene", "lucene-flat"):
        main([*given, "--output", str(tmp_path / to), "--to", to])
    queries = QueryTokens(tokens.reshape(40, 5, 16)[:9, :3], np.ones((9, 3), bool))
    qids = [str(i) for i in range(9)]
    found = {}
    for to in ("faiss", "lucene", "lucene-flat"):
        late = MultiVectorSearcher(tmp_path / "tokens", candidates=tmp_path / to, depth=8)
        found[to] = late.search_vectors(queries, qids, 5)
        assert [hits.docids[0] for hits in found[to].values()] == [f"d{i}" for i in range(9)]
        late.close()
    assert found["lucene-flat"] == found["faiss"] == found["lucene"]
    # Pyserini's own searchers read the indexes.
    with jvm.pyserini_import():
        from pyserini.search.lucene import LuceneFlatDenseSearcher, LuceneHnswDenseSearcher
    own = Muvera(16, 10, 3, 8, final=512).queries(*queries.packed())
    for to, searcher in (
        ("lucene", LuceneHnswDenseSearcher),
        ("lucene-flat", LuceneFlatDenseSearcher),
    ):
        hits = searcher(str(tmp_path / to)).search(own[0].tolist(), 3)
        expected = open_vectors(tmp_path / to).search(own[:1], 3)[0]
        assert [hit.docid for hit in hits] == expected.docids.tolist()


def test_lucene_in_a_folder_that_was_changed_to(tmp_path, monkeypatch):
    jvm.start()  # Java stays where it started
    monkeypatch.chdir(tmp_path)
    with TokenWriter("tokens", 8) as out:
        out.append_tokens(["a"], *sets([3], 8))
    sizes = ["--bits", "2", "--projected", "4"]
    main(["--input", "tokens", "--output", "fde", "--to", "lucene", *sizes])
    assert open_vectors("fde").docids.tolist() == ["a"]


def test_lucene_takes_no_more_than_its_limit(tmp_path):
    with TokenWriter(tmp_path / "tokens", 8) as out:
        out.append_tokens(["a"], *sets([3], 8))
    given = ["--input", str(tmp_path / "tokens"), "--output", str(tmp_path / "fde")]
    with pytest.raises(InputError, match=r"5120 dimensions; .* take 4096: .*--final 4096"):
        main([*given, "--to", "lucene", "--projected", "8"])
    assert not (tmp_path / "fde.part").exists()
    main([*given, "--to", "lucene", "--projected", "8", "--final", "4096"])
    assert open_vectors(tmp_path / "fde").dimension == 4096


def test_the_command_refuses(tmp_path):
    for to in ("faiss", "lucene"):
        with pytest.raises(InputError, match="--dtype is about --to store"):
            main(["--input", "x", "--output", "y", "--dtype", "int8", "--to", to])
    with pytest.raises(InputError, match="not a multi-vector store"):
        main(["--input", str(tmp_path), "--output", str(tmp_path / "y")])
    (tmp_path / "build.json").write_text(json.dumps({"request": {}}))
    with pytest.raises(InputError, match="holds no encodings of MUVERA"):
        read_muvera(tmp_path)
