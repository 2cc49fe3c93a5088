"""BM25 as impacts against BM25 written out, in float64."""

import json
import math
import random
from collections import Counter

import pytest
import transformers

from pyserini_ext.encode.bm25_impact import BM25Impact
from pyserini_ext.encode.sparse_query import InferenceFreeEncoder
from pyserini_ext.errors import InputError

LETTERS = "abcdefghijklmnopqrstuvwxyz"
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"] + [
    f"{piece}{letter}" for letter in LETTERS for piece in ("", "##")
]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tokenizer")
    vocabulary = {word: number for number, word in enumerate(WORDS)}
    transformers.BertTokenizerFast(vocab=vocabulary).save_pretrained(folder)
    return folder


def texts(count, seed=0):
    """Random words of a few letters, Zipf-like; some documents are empty or unknown characters."""
    chance = random.Random(seed)
    weights = [1 / rank for rank in range(1, 27)]
    made = [
        " ".join(
            "".join(chance.choices(LETTERS, weights, k=2)) for _ in range(chance.randrange(30))
        )
        for _ in range(count)
    ]
    return [*made, "", "東京", "a a a a"]


def bm25(query, documents, k1, b, tf=False):
    """Score every document; tokens are letters, those inside a word marked."""
    bags = [Counter(pieces(text)) for text in documents]
    lengths = [sum(bag.values()) for bag in bags]
    average = sum(lengths) / len(lengths)
    wanted = Counter(pieces(query))
    scores = []
    for bag, length in zip(bags, lengths, strict=True):
        score = 0.0
        for token, times in wanted.items():
            df = sum(token in other for other in bags)
            if df and bag[token]:
                idf = math.log(1 + (len(bags) - df + 0.5) / (df + 0.5))
                part = bag[token] / (bag[token] + k1 * (1 - b + b * length / average))
                score += idf * part * (times if tf else 1)
        scores.append(score)
    return scores


def pieces(text):
    return [
        letter if position == 0 else f"##{letter}"
        for word in text.split()
        if word.isascii()
        for position, letter in enumerate(word)
    ]


@pytest.mark.parametrize(("k1", "b", "tf"), [(0.9, 0.4, False), (1.2, 0.75, True), (0, 0, False)])
def test_inner_product_is_bm25(tokenizer, k1, b, tf):
    documents = texts(200)
    encoder = BM25Impact(tokenizer, k1=k1, b=b, tf=tf)
    encoder.prepare(iter(documents))
    vectors = encoder.encode_documents(documents)
    for query in ("ab", "ab ba ab", "zz q", "東 a", ""):
        weights = encoder.encode(query)
        ours = [sum(w * v.get(t, 0.0) for t, w in weights.items()) for v in vectors]
        assert ours == pytest.approx(bm25(query, documents, k1, b, tf), abs=1e-12)
        assert encoder.encode_batch([query]) == [weights]


def test_titles_count_as_text(tokenizer):
    encoder = BM25Impact(tokenizer, average_length=3)
    assert encoder.encode_documents(["ab", "c"], ["c", ""]) == encoder.encode_documents(
        ["c ab", "c"]
    )


def test_idf_of_the_collection_serves_queries_of_any_encoder(tokenizer, tmp_path):
    documents = texts(50)
    encoder = BM25Impact(tokenizer)
    encoder.prepare(documents)
    assert encoder.count == len(documents)
    assert encoder.average_length == sum(len(pieces(text)) for text in documents) / len(documents)
    (tmp_path / "idf.json").write_text(json.dumps(encoder.idf))
    for other in (
        BM25Impact(tokenizer, weights=tmp_path / "idf.json"),
        InferenceFreeEncoder(tokenizer, weights=tmp_path / "idf.json"),
    ):
        assert other.encode("ab ab c") == encoder.encode("ab ab c") != {}
        assert other.idf_sha256 == encoder.idf_sha256
        assert other.tokenizer_name == encoder.tokenizer_name


def test_a_tokenizer_is_at_hand_without_naming_one(minilm_path):
    encoder = BM25Impact(average_length=5)
    assert encoder.tokenizer_name == BM25Impact(minilm_path).tokenizer_name
    (vector,) = encoder.encode_documents(["the blue whale, the whale"])
    assert list(vector) == ["the", "blue", "whale", ","]
    assert vector["the"] == pytest.approx(2 / (2 + 0.9 * (0.6 + 0.4 * 6 / 5)))
    assert 0 < vector["blue"] < vector["the"] < 1


def test_mistakes_are_told(tokenizer):
    with pytest.raises(InputError, match="call prepare"):
        BM25Impact(tokenizer).encode_documents(["a"])
    with pytest.raises(InputError, match="queries need idf"):
        BM25Impact(tokenizer, average_length=3).encode("a")
    with pytest.raises(InputError, match="2 documents without a token"):
        BM25Impact(tokenizer).prepare(["", "東"])
    for options in ({"k1": -1}, {"b": 1.5}, {"k1": math.nan}, {"average_length": 0}):
        with pytest.raises(InputError, match=r"expected|above 0"):
            BM25Impact(tokenizer, **options)
