"""Inference-free queries against sentence-transformers and the tokenizer's own ids."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from pyserini_ext.encode.fast_tokenizer import FastTokenizer
from pyserini_ext.encode.sparse_query import InferenceFreeEncoder
from pyserini_ext.errors import InputError
from pyserini_ext.index.idf import idf_sha256

LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ",", ".", "-", "the", "wave", "##s"] + [
    f"{piece}{letter}" for letter in LETTERS for piece in ("", "##") if f"{piece}{letter}" != "##s"
]
WEIGHTS = {word: 0.25 + number / 8 for number, word in enumerate(WORDS) if number > 4}
QUERIES = [
    "the waves, the wave-the",
    "",
    "   ",
    "THE Wave",
    "straße, naïve café — 東京 🙂 ! z",
    "a [MASK] b [SEP]c[CLS]",
    "tab\tand\nnewline\r\n",
    "bell\x07 in a wo\x0brd\x7f \x00",
    "w" * 200 + " wave",
    "lone \ud83d surrogate",
    "under_score @#$%^&*()",
]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    """A folder with a small lower-casing word-piece tokenizer, and nothing else."""
    folder = tmp_path_factory.mktemp("tokenizer")
    vocabulary = {word: number for number, word in enumerate(WORDS)}
    transformers.BertTokenizerFast(vocab=vocabulary, model_max_length=64).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def doc_only(tokenizer, tmp_path_factory):
    """The files of an OpenSearch doc-only model that concern queries."""
    folder = tmp_path_factory.mktemp("models") / "doc-only"
    shutil.copytree(tokenizer, folder)
    (folder / "idf.json").write_text(json.dumps(WEIGHTS))
    return folder


@pytest.fixture(scope="module")
def library(doc_only, tmp_path_factory):
    """A SparseEncoder with a static query side, saved by sentence-transformers, and the folder."""
    library = pytest.importorskip("sentence_transformers", reason="pip install pyserini-ext[test]")
    from sentence_transformers.base.modules import Router
    from sentence_transformers.sparse_encoder.modules import SparseStaticEmbedding

    words = transformers.AutoTokenizer.from_pretrained(doc_only)
    rng = np.random.default_rng(0)
    weight = torch.tensor(rng.random(len(WORDS)), dtype=torch.float32)
    weight[:20:3] = 0
    sides = [SparseStaticEmbedding(words, weight=weight, frozen=True) for _ in range(2)]
    router = Router.for_query_document(query_modules=[sides[0]], document_modules=[sides[1]])
    model = library.SparseEncoder(modules=[router], device="cpu")
    folder = tmp_path_factory.mktemp("models") / "router"
    model.save_pretrained(str(folder))
    return model, folder


def as_dicts(matrix):
    return [{WORDS[i]: row[i] for i in np.flatnonzero(row)} for row in matrix.to_dense().numpy()]


def test_vectors_are_those_of_sentence_transformers(library):
    model, folder = library
    queries = [*QUERIES[:8], "long " * 60]  # it does not take half a surrogate pair
    encoder = InferenceFreeEncoder(folder)
    ours = encoder.encode_batch(queries)
    assert ours == as_dicts(model.encode_query(queries))
    assert [encoder.encode(query) for query in queries] == ours


def test_prompt_of_sentence_transformers_stands_before_the_query(library, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(library[1], folder)
    config = folder / "config_sentence_transformers.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "prompts": {"query": "the "}}))
    assert "the" in InferenceFreeEncoder(folder).encode("wave")
    assert "the" not in InferenceFreeEncoder(folder, query_prefix="").encode("wave")


def test_static_module_may_name_a_json_table(library, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(library[1], folder)
    module = folder / "query_0_SparseStaticEmbedding"
    (module / "config.json").write_text(json.dumps({"path": "idf.json"}))
    with pytest.raises(InputError, match=r"idf\.json"):
        InferenceFreeEncoder(folder)
    (folder / "idf.json").write_text('{"wave": 2}')
    assert InferenceFreeEncoder(folder).encode("the wave") == {"wave": 2.0}


def test_each_distinct_token_counts_once_with_its_weight(doc_only):
    encoder = InferenceFreeEncoder(doc_only)
    expected = {token: WEIGHTS[token] for token in ("the", "wave", "##s", ",", "-")}
    found = encoder.encode("the waves, the wave-the")
    assert found == expected
    assert list(found) == list(expected)
    assert encoder.encode("") == {}


def test_tf_multiplies(doc_only):
    found = InferenceFreeEncoder(doc_only, tf=True).encode("the waves, the wave-the")
    assert found == {
        "the": 3 * WEIGHTS["the"],
        "wave": 2 * WEIGHTS["wave"],
        "##s": WEIGHTS["##s"],
        ",": WEIGHTS[","],
        "-": WEIGHTS["-"],
    }


def test_special_tokens_are_left_out_unless_wanted(doc_only):
    table = {**WEIGHTS, "[UNK]": 3.0, "[MASK]": 4.0}
    assert InferenceFreeEncoder(doc_only, weights=table).encode("東 [MASK]") == {}
    kept = InferenceFreeEncoder(doc_only, weights=table, special_tokens=True)
    assert kept.encode("東 [MASK]") == {"[UNK]": 3.0, "[MASK]": 4.0}


def test_token_without_a_weight_has_the_one_that_is_asked_for(doc_only):
    table = {"wave": 2.0, "a": 0.0}
    assert InferenceFreeEncoder(doc_only, weights=table).encode("the wave a") == {"wave": 2.0}
    encoder = InferenceFreeEncoder(doc_only, weights=table, missing=1.0)
    assert encoder.encode("the wave a") == {"the": 1.0, "wave": 2.0}
    assert encoder.missing == 1.0


def test_ones_need_no_table(tokenizer):
    encoder = InferenceFreeEncoder(tokenizer, weights="ones")
    assert encoder.encode("the wave the") == {"the": 1.0, "wave": 1.0}
    assert encoder.idf_sha256 is None
    assert InferenceFreeEncoder(tokenizer / "tokenizer.json", weights="ones").encode("a") == {
        "a": 1.0
    }


def test_longer_queries_are_cut_where_asked(doc_only):
    assert list(InferenceFreeEncoder(doc_only, max_length=2).encode("a b c")) == ["a", "b"]


@pytest.mark.parametrize("query", QUERIES)
def test_words_from_the_cache_are_those_of_the_tokenizer(tokenizer, query):
    cached, plain = FastTokenizer(tokenizer), FastTokenizer(tokenizer)
    assert cached._cached
    plain._cached = False
    for _ in range(2):
        assert cached.ids(query) == plain.ids(query) == plain.batch([query])[0]


@settings(max_examples=300, deadline=None)
@given(query=st.text(st.characters(max_codepoint=0x250), max_size=60))
def test_any_text_is_tokenised_the_same_with_and_without_the_cache(pair, query):
    assert pair[0].ids(query) == pair[1].ids(query)


@pytest.fixture(scope="module")
def pair(minilm_path):
    """MiniLM's tokenizer with and without the word cache."""
    cached, plain = FastTokenizer(minilm_path), FastTokenizer(minilm_path)
    plain._cached = False
    return cached, plain


def test_word_cache_is_bounded(tokenizer, monkeypatch):
    monkeypatch.setattr("pyserini_ext.encode.fast_tokenizer.WORDS", 3)
    words = FastTokenizer(tokenizer)
    assert words.ids("a b c d e f") == [WORDS.index(letter) for letter in "abcdef"]
    assert len(words._words) <= 3


def test_other_tokenizers_go_without_the_cache(tmp_path):
    from tokenizers import Tokenizer, models, pre_tokenizers

    table = Tokenizer(models.WordLevel({"a": 0, "b-c": 1, "<unk>": 2}, unk_token="<unk>"))
    table.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    table.save(str(tmp_path / "tokenizer.json"))
    encoder = InferenceFreeEncoder(tmp_path, weights={"a": 1.0, "b-c": 2.0})
    assert encoder.encode_batch(["a b-c", "b", "a a"]) == [{"a": 1.0, "b-c": 2.0}, {}, {"a": 1.0}]


def test_both_table_files_are_read_and_have_one_identity(doc_only, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(doc_only, folder)
    (folder / "idf.json").unlink()
    lines = "".join(f"{token}\t{weight}\n" for token, weight in reversed(WEIGHTS.items()))
    (folder / "query_token_weights.txt").write_text(lines)
    ours, theirs = InferenceFreeEncoder(folder), InferenceFreeEncoder(doc_only)
    assert ours.encode("the waves") == theirs.encode("the waves") != {}
    assert ours.idf_sha256 == theirs.idf_sha256 == idf_sha256({**WEIGHTS, "nothing": 0.0})
    assert ours.tokenizer_name == theirs.tokenizer_name
    other = InferenceFreeEncoder(doc_only, weights={**WEIGHTS, "wave": 1.0})
    assert other.idf_sha256 != ours.idf_sha256


def test_tokenizers_of_one_vocabulary_have_one_name(tokenizer, minilm_path, library):
    names = [FastTokenizer(place).name for place in (tokenizer, minilm_path)]
    assert names[0] != names[1]
    assert InferenceFreeEncoder(library[1]).tokenizer_name == names[0]
    assert names[0].startswith(f"vocabulary-{len(WORDS)}-")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"a": -1}', "'a' is -1"),
        ('{"a": NaN}', "'a' is nan"),
        ('{"a": Infinity}', "'a' is inf"),
        ('{"a": "1"}', "'a' is '1'"),
        ('{"a": true}', "'a' is True"),
        ("[1]", "no table"),
        ("{}", "an empty one"),
        ("{", "not JSON"),
        ('{"zzz": 1}', "another tokenizer"),
    ],
)
def test_what_is_no_table_is_refused(tokenizer, tmp_path, content, message):
    (tmp_path / "t.json").write_text(content)
    with pytest.raises(InputError, match=message):
        InferenceFreeEncoder(tokenizer, weights=tmp_path / "t.json")


def test_other_mistakes_are_told_in_one_line(tokenizer, doc_only, tmp_path, library):
    with pytest.raises(InputError, match="no table of token weights; give weights"):
        InferenceFreeEncoder(tokenizer)
    with pytest.raises(InputError, match=r"no tokenizer\.json"):
        InferenceFreeEncoder(tmp_path, weights="ones")
    with pytest.raises(InputError, match="no such checkpoint folder"):
        InferenceFreeEncoder(tmp_path / "nothing", weights="ones")
    with pytest.raises(InputError, match="no such file"):
        InferenceFreeEncoder(tokenizer, weights="two")
    with pytest.raises(InputError, match="missing"):
        InferenceFreeEncoder(doc_only, missing=-1.0)
    with pytest.raises(InputError, match="max_length is 0"):
        InferenceFreeEncoder(doc_only, max_length=0)
    with pytest.raises(InputError, match="expected a list"):
        InferenceFreeEncoder(doc_only).encode_batch("the wave")
    shutil.copytree(library[1], tmp_path / "copy")
    module = tmp_path / "copy" / "query_0_SparseStaticEmbedding"
    save_file({"weight": torch.ones(3)}, module / "model.safetensors")
    with pytest.raises(InputError, match=r"shape \(3,\)"):
        InferenceFreeEncoder(tmp_path / "copy")
    (tmp_path / "bad.json").write_text("{}")
    with pytest.raises(InputError, match="is not a tokenizer"):
        InferenceFreeEncoder(tmp_path / "bad.json", weights="ones")


def test_model_that_needs_inference_for_queries_is_refused(doc_only, tmp_path):
    shutil.copytree(doc_only, tmp_path / "splade")
    modules = [{"type": "a.b.MLMTransformer", "path": ""}, {"type": "a.SpladePooling", "path": "1"}]
    (tmp_path / "splade" / "modules.json").write_text(json.dumps(modules))
    assert InferenceFreeEncoder(tmp_path / "splade").encode("wave") == {"wave": WEIGHTS["wave"]}
    (tmp_path / "splade" / "idf.json").unlink()
    with pytest.raises(InputError, match="not inference-free"):
        InferenceFreeEncoder(tmp_path / "splade")
    assert InferenceFreeEncoder(tmp_path / "splade", weights="ones").encode("a") == {"a": 1.0}


def test_neither_torch_nor_transformers_is_imported(doc_only):
    code = (
        "import sys\n"
        "from pyserini_ext.encode.sparse_query import InferenceFreeEncoder\n"
        f"assert InferenceFreeEncoder({str(doc_only)!r}).encode('wave')\n"
        "assert not {'torch', 'transformers', 'pyserini'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
