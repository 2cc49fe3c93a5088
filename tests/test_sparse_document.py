"""Sparse document encoders against the models' forward pass and sentence-transformers."""

import json
import shutil

import numpy as np
import pytest
import torch
import transformers

from pyserini_ext.encode.sparse_document import SparseDocumentEncoder
from pyserini_ext.errors import InputError

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"] + [
    f"{piece}{letter}" for letter in "abcdefghijklmnopqrstuvwxyz" for piece in ("", "##")
]
WIDTH = 64  # wider than the vocabulary, as heads are
SMALL = {
    "vocab_size": WIDTH,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "max_position_embeddings": 70,
    "pad_token_id": 0,
}
KINDS = ("bert", "distilbert", "roberta", "modernbert", "qwen2", "mistral")
DECODERS = ("qwen2", "mistral")
TEXTS = ["the waves of light", "", "a", "Straße — 東京 🙂", "wing in a slipstream " * 40, "sound"]


def tiny(folder, kind):
    """Save a tiny random language model with its head and a tokenizer."""
    folder.mkdir()
    torch.manual_seed(1)
    options = dict(SMALL)
    if kind == "distilbert":
        names = {"dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 32}
        options = {"vocab_size": WIDTH, "pad_token_id": 0, "max_position_embeddings": 70, **names}
    if kind in DECODERS:
        options.update(num_key_value_heads=1, tie_word_embeddings=True)
    if kind == "modernbert":
        options.update(cls_token_id=2, sep_token_id=3, bos_token_id=2, eos_token_id=3)
    config, model = {
        "bert": (transformers.BertConfig, transformers.BertForMaskedLM),
        "distilbert": (transformers.DistilBertConfig, transformers.DistilBertForMaskedLM),
        "roberta": (transformers.RobertaConfig, transformers.RobertaForMaskedLM),
        "modernbert": (transformers.ModernBertConfig, transformers.ModernBertForMaskedLM),
        "qwen2": (transformers.Qwen2Config, transformers.Qwen2ForCausalLM),
        "mistral": (transformers.MistralConfig, transformers.MistralForCausalLM),
    }[kind]
    instance = model(config(**options)).eval()
    with torch.no_grad():
        # The logits of a fresh model are close to 0; spread they leave about half of the tokens.
        instance.get_output_embeddings().weight.mul_(20)
    instance.save_pretrained(folder)
    vocabulary = {word: number for number, word in enumerate(WORDS)}
    transformers.BertTokenizerFast(vocab=vocabulary, model_max_length=64).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    root = tmp_path_factory.mktemp("models")
    return {kind: tiny(root / kind, kind) for kind in KINDS}


def plain(folder, texts, times=1, kind="bert", special=False):
    """Text by text, straight from the model: a matrix as wide as the vocabulary."""
    auto = (
        transformers.AutoModelForCausalLM if kind in DECODERS else transformers.AutoModelForMaskedLM
    )
    model, words = auto.from_pretrained(folder), transformers.AutoTokenizer.from_pretrained(folder)
    out = np.zeros((len(texts), len(WORDS)), dtype=np.float32)
    for row, text in enumerate(texts):
        batch = words(text, truncation=True, max_length=64, return_tensors="pt")
        with torch.inference_mode():
            ids, mask = batch["input_ids"], batch["attention_mask"]
            logits = model(input_ids=ids, attention_mask=mask).logits[0]
        weights = torch.relu(logits)
        for _ in range(times):
            weights = torch.log(1 + weights)
        out[row] = weights.max(0).values[: len(WORDS)]
    if not special:
        out[:, :5] = 0
    return out


def dense(vectors):
    out = np.zeros((len(vectors), len(WORDS)), dtype=np.float32)
    for row, vector in enumerate(vectors):
        for token, weight in vector.items():
            assert weight > 0
            out[row, WORDS.index(token)] = weight
    return out


@pytest.mark.parametrize("kind", KINDS)
def test_weights_are_those_of_the_forward_pass(models, kind):
    encoder = SparseDocumentEncoder(models[kind], batch_size=4)
    expected = plain(models[kind], TEXTS, kind=kind)
    assert 0.1 < np.mean(expected[:, 5:] > 0) < 1
    np.testing.assert_allclose(dense(encoder.encode_documents(TEXTS)), expected, atol=1e-5)


def test_activation_of_v3_takes_the_logarithm_twice(models):
    encoder = SparseDocumentEncoder(models["bert"], activation="log1p-log1p")
    expected = plain(models["bert"], TEXTS, times=2)
    np.testing.assert_allclose(dense(encoder.encode_documents(TEXTS)), expected, atol=1e-5)


def test_special_tokens_are_left_out_unless_wanted(models):
    kept = SparseDocumentEncoder(models["bert"], special_tokens=True).encode_documents(TEXTS)
    expected = plain(models["bert"], TEXTS, special=True)
    assert expected[:, :5].any()
    np.testing.assert_allclose(dense(kept), expected, atol=1e-5)


def test_titles_stand_before_texts(models):
    encoder = SparseDocumentEncoder(models["bert"])
    titled = encoder.encode_documents(["light", "", "sound"], ["waves of", "wing", ""])
    assert titled == encoder.encode_documents(["waves of light", "wing", "sound"])
    with pytest.raises(InputError, match="1 titles for 2 texts"):
        encoder.encode_documents(["a", "b"], ["c"])


def test_rows_are_the_same_vectors_as_arrays(models):
    encoder = SparseDocumentEncoder(models["bert"])
    rows, vectors = encoder.encode_rows(TEXTS), encoder.encode_documents(TEXTS)
    assert rows.indptr.tolist() == np.cumsum([0, *map(len, vectors)]).tolist()
    assert rows.weights.tolist() == [weight for vector in vectors for weight in vector.values()]
    assert [WORDS[i] for i in rows.ids] == [token for vector in vectors for token in vector]
    assert (rows.indptr.dtype, rows.ids.dtype) == (np.int64, np.int32)
    assert encoder.encode_documents([]) == []


def test_text_without_tokens_has_an_empty_vector(models, tmp_path):
    from tokenizers import Tokenizer, pre_tokenizers
    from tokenizers import models as kinds

    folder = tmp_path / "qwen2"
    shutil.copytree(models["qwen2"], folder)
    words = Tokenizer(kinds.WordPiece({w: i for i, w in enumerate(WORDS)}, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    transformers.PreTrainedTokenizerFast(tokenizer_object=words).save_pretrained(folder)
    first, second, third = SparseDocumentEncoder(folder).encode_documents(["", "a", " "])
    assert first == third == {}
    assert second


def test_pruning_keeps_the_largest(models):
    (full,) = SparseDocumentEncoder(models["bert"]).encode_documents(["the waves of light"])
    by_weight = sorted(full, key=lambda token: (-full[token], WORDS.index(token)))
    (top,) = SparseDocumentEncoder(models["bert"], top_n=3).encode_documents(["the waves of light"])
    assert top == {token: full[token] for token in sorted(by_weight[:3], key=WORDS.index)}
    ratio = full[by_weight[4]] / full[by_weight[0]]
    for share, kept in ((ratio * 1.0001, 4), (ratio * 0.9999, 5)):
        encoder = SparseDocumentEncoder(models["bert"], prune_ratio=share)
        (pruned,) = encoder.encode_documents(["the waves of light"])
        assert set(pruned) == set(by_weight[:kept])


@pytest.fixture(scope="module")
def library():
    return pytest.importorskip("sentence_transformers", reason="pip install pyserini-ext[test]")


@pytest.mark.parametrize(
    ("activation", "pooling"), [("relu", "max"), ("log1p_relu", "max"), ("relu", "sum")]
)
def test_vectors_are_those_of_sentence_transformers(models, library, tmp_path, activation, pooling):
    from sentence_transformers.sparse_encoder.modules import MLMTransformer, SpladePooling

    body = MLMTransformer(str(models["bert"]))
    body.max_seq_length = 20
    pool = SpladePooling(pooling, activation_function=activation)
    model = library.SparseEncoder(modules=[body, pool], device="cpu")
    model.save_pretrained(str(tmp_path / "splade"))
    expected = model.encode_document(TEXTS).to_dense().numpy()
    encoder = SparseDocumentEncoder(tmp_path / "splade", document_max_length=20)
    np.testing.assert_allclose(
        dense(encoder.encode_documents(TEXTS)), expected[:, : len(WORDS)], atol=1e-5
    )


def test_document_side_of_a_router_loads(models, library, tmp_path):
    from sentence_transformers.base.modules import Router, Transformer
    from sentence_transformers.sparse_encoder.modules import SparseStaticEmbedding, SpladePooling

    from pyserini_ext.encode.sparse_query import InferenceFreeEncoder

    body = Transformer(str(models["distilbert"]), transformer_task="fill-mask")
    pool = SpladePooling("max", activation_function="log1p_relu")
    weight = torch.linspace(0, 3, WIDTH)
    table = SparseStaticEmbedding(body.tokenizer, weight=weight, frozen=True)
    router = Router.for_query_document(query_modules=[table], document_modules=[body, pool])
    model = library.SparseEncoder(modules=[router], device="cpu")
    folder = tmp_path / "router"
    model.save_pretrained(str(folder))
    encoder = SparseDocumentEncoder(folder)
    assert encoder.activation == "log1p-log1p"
    documents = model.encode_document(TEXTS)
    np.testing.assert_allclose(
        dense(encoder.encode_documents(TEXTS)), documents.to_dense()[:, : len(WORDS)], atol=1e-5
    )
    queries = InferenceFreeEncoder(folder).encode_batch(TEXTS[:3])
    ours = dense(queries) @ dense(encoder.encode_documents(TEXTS)).T
    theirs = model.similarity(model.encode_query(TEXTS[:3]), documents)
    np.testing.assert_allclose(ours, theirs, atol=1e-4)


def test_files_of_an_opensearch_model_load(models, tmp_path):
    from pyserini_ext.encode.sparse_query import InferenceFreeEncoder

    folder = tmp_path / "doc-only"
    shutil.copytree(models["distilbert"], folder)
    (folder / "idf.json").write_text(json.dumps(dict.fromkeys(WORDS[5:], 1.5)))
    expected = plain(folder, TEXTS)
    np.testing.assert_allclose(
        dense(SparseDocumentEncoder(folder).encode_documents(TEXTS)), expected, atol=1e-5
    )
    assert InferenceFreeEncoder(folder).encode("a b") == {"a": 1.5, "b": 1.5}


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_is_close(models, dtype):
    rough = dense(SparseDocumentEncoder(models["bert"], dtype=dtype).encode_documents(TEXTS))
    expected = plain(models["bert"], TEXTS)
    tolerance = {"bfloat16": 0.05, "float16": 0.01}[dtype]
    np.testing.assert_allclose(rough, expected, atol=tolerance)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"activation": "relu"}, "unknown activation 'relu'; choose from log1p, log1p-log1p"),
        ({"pooling": "mean"}, "unknown pooling"),
        ({"dtype": "int8"}, "unknown dtype"),
        ({"device": "nowhere"}, "cannot be used here"),
        ({"top_n": 0}, "top_n is 0"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"prune_ratio": 1.0}, r"prune_ratio is 1\.0"),
        ({"document_max_length": 71}, "has 70 positions"),
    ],
)
def test_wrong_options_are_told(models, options, message):
    with pytest.raises(InputError, match=message):
        SparseDocumentEncoder(models["bert"], **options)


def test_body_without_a_head_is_refused(models, tmp_path, minilm_path):
    with pytest.raises(InputError, match="needs a language model with its head"):
        SparseDocumentEncoder(minilm_path)
    with pytest.raises(InputError, match=r"no config\.json"):
        SparseDocumentEncoder(tmp_path)
    with pytest.raises(InputError, match="no such checkpoint"):
        SparseDocumentEncoder(tmp_path / "nothing")
    with pytest.raises(InputError, match="expected a list"):
        SparseDocumentEncoder(models["bert"]).encode_documents("text")


def test_weights_that_are_no_numbers_are_refused(models, tmp_path):
    model = transformers.AutoModelForMaskedLM.from_pretrained(models["bert"])
    with torch.no_grad():
        model.get_output_embeddings().bias[7] = float("nan")
    shutil.copytree(models["bert"], tmp_path / "bad")
    model.save_pretrained(tmp_path / "bad")
    with pytest.raises(InputError, match="no finite numbers"):
        SparseDocumentEncoder(tmp_path / "bad").encode_documents(["a"])
