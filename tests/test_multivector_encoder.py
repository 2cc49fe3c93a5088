"""Late-interaction encoders, on tiny random checkpoints with the file layouts of the real ones."""

import json

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import save_file

from pyserini_ext.encode.multivector import MultiVectorEncoder
from pyserini_ext.encode.multivector_names import make_multivector_encoder
from pyserini_ext.errors import InputError

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[unused0]", "[unused1]", *".,!?-"] + [
    f"{piece}{letter}" for letter in "abcdefghijklmnopqrstuvwxyz" for piece in ("", "##")
]
QUERIES = ["a bad cab", "", "what is late interaction, and where is it used"]
TEXTS = ["a cab. bad, bad cab!", "", "late interaction", "- , ."]


def save_body(folder, vocabulary):
    """The configuration and tokenizer of a small BERT; its weights are returned."""
    folder.mkdir(parents=True)
    (folder / "vocab.txt").write_text("\n".join(WORDS) + "\n")
    transformers.BertTokenizerFast(str(folder / "vocab.txt")).save_pretrained(folder)
    config = transformers.BertConfig(
        vocab_size=vocabulary,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        initializer_range=0.5,
        max_position_embeddings=64,
    )
    config.save_pretrained(folder)
    torch.manual_seed(0)
    return transformers.BertModel(config).eval()


def save_colbert(folder, safe=True, **metadata):
    """ColBERTv2: one file of weights under ``bert.`` with ``linear.weight``, artifact.metadata."""
    body = save_body(folder, len(WORDS))
    linear = torch.randn(8, 16)
    weights = {f"bert.{name}": w.contiguous() for name, w in body.state_dict().items()}
    weights["linear.weight"] = linear
    if safe:
        save_file(weights, folder / "model.safetensors", {"format": "pt"})
    else:
        torch.save(weights, folder / "pytorch_model.bin")
    stated = {
        "query_token_id": "[unused0]",
        "doc_token_id": "[unused1]",
        "query_maxlen": 24,
        "doc_maxlen": 20,
        "attend_to_mask_tokens": False,
        "mask_punctuation": True,
        "dim": 8,
        "similarity": "cosine",
    } | metadata
    (folder / "artifact.metadata").write_text(json.dumps(stated))
    return body, linear


def save_pylate(folder, **stated):
    """PyLate: a sentence-transformers folder with 1_Dense and the markers as added tokens."""
    body = save_body(folder, len(WORDS) + 2)
    body.save_pretrained(folder)
    tokenizer = transformers.BertTokenizerFast(str(folder / "vocab.txt"))
    tokenizer.add_tokens(["[Q] ", "[D] "])
    tokenizer.save_pretrained(folder)
    linear = torch.randn(8, 16)
    (folder / "1_Dense").mkdir()
    save_file({"linear.weight": linear}, folder / "1_Dense" / "model.safetensors")
    dense = {
        "in_features": 16,
        "out_features": 8,
        "bias": False,
        "activation_function": "torch.nn.modules.linear.Identity",
    }
    (folder / "1_Dense" / "config.json").write_text(json.dumps(dense))
    kinds = ["sentence_transformers.models.Transformer", "pylate.models.Dense.Dense"]
    modules = [
        {"idx": i, "name": str(i), "path": path, "type": kind}
        for i, (path, kind) in enumerate(zip(["", "1_Dense"], kinds, strict=True))
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    settings = {
        "query_prefix": "[Q] ",
        "document_prefix": "[D] ",
        "query_length": 24,
        "document_length": 20,
        "attend_to_expansion_tokens": False,
        "skiplist_words": [".", ","],
    } | stated
    (folder / "config_sentence_transformers.json").write_text(json.dumps(settings))
    return body, linear


def step_by_step(body, linear, folder, text, length, marker, expand, attend, skip):
    """One text through plain transformers, as the code of ColBERT does it: '. ' gives way to the
    marker, padding becomes [MASK]."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    filled = {"padding": "max_length"} if expand else {}
    made = tokenizer(f". {text}", truncation=True, max_length=length, **filled)
    ids, mask = torch.tensor([made["input_ids"]]), torch.tensor([made["attention_mask"]])
    assert ids[0, 1] == tokenizer.convert_tokens_to_ids(".")
    ids[0, 1] = tokenizer.convert_tokens_to_ids(marker)
    ids[ids == tokenizer.pad_token_id] = tokenizer.mask_token_id
    if attend:
        mask[:] = 1
    with torch.no_grad():
        vectors = body(ids, attention_mask=mask)[0] @ linear.T
    vectors = torch.nn.functional.normalize(vectors, dim=2)[0]
    skipped = {tokenizer.convert_tokens_to_ids(word) for word in skip}
    return vectors[[i not in skipped for i in ids[0].tolist()]].numpy()


def check(encoder, folder, body, linear, markers, attend, skip):
    found = encoder.encode_queries(QUERIES)
    assert found.mask.all()
    assert found.vectors.shape == (len(QUERIES), 24, 8)
    assert found.vectors.dtype == np.float32
    for text, own in zip(QUERIES, found.vectors, strict=True):
        wanted = step_by_step(body, linear, folder, text, 24, markers[0], True, attend, ())
        np.testing.assert_allclose(own, wanted, atol=1e-5)
    vectors, offsets, ids = encoder.encode_documents(TEXTS)
    assert offsets[0] == 0
    assert offsets[-1] == len(vectors) == len(ids)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    for i, text in enumerate(TEXTS):
        # [CLS], the marker, the words, [SEP].
        words = [t for t in tokenizer.tokenize(text) if t not in skip][:17]
        wanted = [t if t in WORDS[7:] else None for t in words]
        own = ids[offsets[i] : offsets[i + 1]]
        told = [None if each < 0 else tokenizer.convert_ids_to_tokens(int(each)) for each in own]
        assert told == [None, None, *wanted, None]
    for i, text in enumerate(TEXTS):
        wanted = step_by_step(body, linear, folder, text, 20, markers[1], False, False, skip)
        np.testing.assert_allclose(vectors[offsets[i] : offsets[i + 1]], wanted, atol=1e-5)
    assert encoder.query_length == 24


@pytest.mark.parametrize("safe", [True, False])
@pytest.mark.parametrize("attend", [True, False])
def test_a_colbert_checkpoint_step_by_step(tmp_path, safe, attend):
    folder = tmp_path / "colbert"
    body, linear = save_colbert(folder, safe, attend_to_mask_tokens=attend)
    encoder = make_multivector_encoder(folder)
    assert encoder.dimension == 8
    check(encoder, folder, body, linear, ("[unused0]", "[unused1]"), attend, ".,!?-")


@pytest.mark.parametrize("attend", [True, False])
def test_a_pylate_checkpoint_step_by_step(tmp_path, attend):
    folder = tmp_path / "pylate"
    body, linear = save_pylate(folder, attend_to_expansion_tokens=attend)
    encoder = MultiVectorEncoder(folder)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    assert tokenizer.convert_tokens_to_ids("[Q] ") == len(WORDS)
    check(encoder, folder, body, linear, ("[Q] ", "[D] "), attend, ".,")


def test_punctuation_is_kept_where_the_checkpoint_says_so(tmp_path):
    body, linear = save_colbert(tmp_path / "c", mask_punctuation=False)
    encoder = MultiVectorEncoder(tmp_path / "c")
    check(encoder, tmp_path / "c", body, linear, ("[unused0]", "[unused1]"), False, ())


def test_options_go_before_the_checkpoint(tmp_path):
    save_colbert(tmp_path / "c")
    encoder = MultiVectorEncoder(
        tmp_path / "c", query_length=10, document_max_length=6, expand=False, skip=["a"]
    )
    found = encoder.encode_queries(QUERIES)
    assert found.vectors.shape[1] == 10
    assert found.mask.sum(axis=1).tolist() == [10, 3, 10]
    assert not found.vectors[~found.mask].any()
    assert np.diff(encoder.encode_documents(TEXTS).offsets).tolist() == [5, 3, 6, 6]


def test_a_query_does_not_depend_on_its_batch(tmp_path):
    save_colbert(tmp_path / "c")
    encoder = MultiVectorEncoder(tmp_path / "c", expand=False, batch_size=3)
    together = encoder.encode_queries(QUERIES)
    for i, query in enumerate(QUERIES):
        alone = encoder.encode_queries([query])
        np.testing.assert_allclose(
            together.vectors[i][together.mask[i]], alone.vectors[0], atol=1e-5
        )


def test_titles_and_empty_lists(tmp_path):
    save_colbert(tmp_path / "c")
    encoder = MultiVectorEncoder(tmp_path / "c")
    one, other = encoder.encode_documents(["b"], ["a"]), encoder.encode_documents(["a b"])
    np.testing.assert_array_equal(one.vectors, other.vectors)
    assert encoder.encode_documents([]).offsets.tolist() == [0]
    assert len(encoder.encode_documents([]).ids) == 0
    assert encoder.encode_queries([]).vectors.shape[0] == 0


def test_any_body_gives_its_token_states(minilm_path):
    encoder = make_multivector_encoder("minilm")
    text = "Dielectric constants, measured."
    vectors, offsets, ids = encoder.encode_documents([text])
    tokenizer = transformers.AutoTokenizer.from_pretrained(minilm_path)
    model = transformers.AutoModel.from_pretrained(minilm_path).eval()
    made = tokenizer([text], return_tensors="pt")
    with torch.no_grad():
        states = torch.nn.functional.normalize(model(**made)[0], dim=2)[0].numpy()
    words = tokenizer.convert_ids_to_tokens(made["input_ids"][0])
    kept = [word not in ",." for word in words]
    assert kept.count(False) == 2
    np.testing.assert_allclose(vectors, states[kept], atol=1e-5)
    assert offsets.tolist() == [0, sum(kept)]
    assert ids[[0, -1]].tolist() == [-1, -1]
    assert tokenizer.decode(ids[1:-1]) == "dielectric constants measured"
    assert encoder.encode_queries([text]).vectors.shape == (1, len(words), 384)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"expand": True}, "give query_length=32"),
        ({"attend": True}, "give expand=True"),
        ({"query_length": 3}, "at least 4"),
        ({"document_max_length": 65}, "has 64 positions"),
        ({"skip": "commas"}, "choose punctuation, nothing"),
        ({"dtype": "int8"}, "unknown dtype"),
        ({"batch_size": 0}, "at least 1"),
        ({"pooling": "cls"}, "has no option 'pooling'"),
    ],
)
def test_options_that_do_not_fit(tmp_path, options, message):
    save_body(tmp_path / "body", len(WORDS)).save_pretrained(tmp_path / "body")
    with pytest.raises(InputError, match=message):
        make_multivector_encoder(tmp_path / "body", **options)


def test_checkpoints_that_do_not_fit(tmp_path):
    save_colbert(tmp_path / "c")
    with pytest.raises(InputError, match="a vector for each token"):
        MultiVectorEncoder(tmp_path / "c").encode(["a"])
    save_body(tmp_path / "bare", len(WORDS)).save_pretrained(tmp_path / "bare")
    (tmp_path / "bare" / "artifact.metadata").write_text("{}")
    with pytest.raises(InputError, match=r"no linear\.weight"):
        MultiVectorEncoder(tmp_path / "bare")
    save_pylate(tmp_path / "p")
    config = tmp_path / "p" / "1_Dense" / "config.json"
    config.write_text(json.dumps({"bias": True, "activation_function": "torch.nn.Tanh"}))
    with pytest.raises(InputError, match="activation Tanh"):
        MultiVectorEncoder(tmp_path / "p")
    with pytest.raises(InputError, match="no encoder is called"):
        make_multivector_encoder("colbart")
    with pytest.raises(InputError, match="one vector a text"):
        make_multivector_encoder("bi-encoder", checkpoint=tmp_path / "c", pooling="cls")


def test_an_xmod_body_gets_a_language(tmp_path):
    save_colbert(tmp_path / "x")
    for name in ("model.safetensors", "config.json"):
        (tmp_path / "x" / name).unlink()
    config = transformers.XmodConfig(
        vocab_size=len(WORDS),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=66,
        languages=["en_XX", "de_DE"],
        pad_token_id=0,
    )
    config.save_pretrained(tmp_path / "x")
    torch.manual_seed(0)
    body = transformers.XmodModel(config).eval()
    weights = {f"roberta.{name}": w.contiguous() for name, w in body.state_dict().items()}
    weights["linear.weight"] = linear = torch.randn(8, 16)
    save_file(weights, tmp_path / "x" / "model.safetensors", {"format": "pt"})
    body.set_default_language("de_DE")
    own = MultiVectorEncoder(tmp_path / "x", language="de_DE").encode_documents(["a cab"]).vectors
    markers = ("a cab", 20, "[unused1]", False, False, ())
    np.testing.assert_allclose(own, step_by_step(body, linear, tmp_path / "x", *markers), atol=1e-5)
    with pytest.raises(InputError, match="this model knows en_XX, de_DE"):
        MultiVectorEncoder(tmp_path / "x", language="fr")
