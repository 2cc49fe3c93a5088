"""Tiny random PRF query encoders in the file layout of the published ones, and their formulas."""

import json

import torch
import transformers
from safetensors.torch import save_file
from tokenizers.pre_tokenizers import ByteLevel

from pyserini_ext.jvm import pyserini_import

TRANSFORMERS = int(transformers.__version__.split(".")[0])
BYTES = sorted(ByteLevel.alphabet())
SPECIAL = ["<s>", "<pad>", "</s>", "<unk>"]
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[", "]", "q"] + [
    f"{piece}{letter}" for letter in "abcdefghijklmnoprstuvwxyz" for piece in ("", "##")
]
SIZES = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "initializer_range": 0.5,
}


def save_ance(folder, safe=False, prefix="", extra=True, seed=0):
    """ANCE: RoBERTa and its head in one file, vocab.json and merges.txt, a token a byte."""
    folder.mkdir(parents=True)
    vocabulary = {token: i for i, token in enumerate([*SPECIAL, *BYTES, "<mask>"])}
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    (folder / "tokenizer_config.json").write_text(json.dumps({"model_max_length": 512}))
    config = transformers.RobertaConfig(
        **SIZES, vocab_size=len(vocabulary), max_position_embeddings=514, type_vocab_size=1
    )
    config.architectures = ["RobertaForSequenceClassification"]
    config.save_pretrained(folder)
    torch.manual_seed(seed)
    body = transformers.RobertaModel(config).state_dict()
    weights = {f"roberta.{name}": tensor.clone() for name, tensor in body.items()}
    weights |= {
        "embeddingHead.weight": torch.randn(768, 16),
        "embeddingHead.bias": torch.randn(768),
        "norm.weight": torch.rand(768),
        "norm.bias": torch.randn(768),
    }
    if extra:  # what checkpoints of older versions, trained as a classifier, have besides
        weights["roberta.embeddings.position_ids"] = torch.arange(514)[None]
        weights["classifier.dense.weight"] = torch.randn(16, 16)
    weights = {prefix + name: tensor.contiguous() for name, tensor in weights.items()}
    if safe:
        save_file(weights, folder / "model.safetensors")
    else:
        torch.save(weights, folder / "pytorch_model.bin")
    return folder


def save_wordpiece(folder, kind="bert", seed=0):
    """BERT or DistilBERT (without a head) with a lower-casing word-piece tokenizer of letters."""
    folder.mkdir(parents=True)
    torch.manual_seed(seed)
    options = {**SIZES, "vocab_size": 80, "max_position_embeddings": 512, "pad_token_id": 0}
    if kind == "bert":
        model = transformers.BertModel(transformers.BertConfig(**options))
    else:
        options |= {"dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 32}
        model = transformers.DistilBertModel(transformers.DistilBertConfig(**options))
    model.save_pretrained(folder)
    (folder / "vocab.txt").write_text("\n".join(WORDS))
    settings = {"do_lower_case": True, "tokenizer_class": "BertTokenizer", "model_max_length": 512}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return folder


def ance_formula(folder, text):
    """Vector of one text whose special tokens are written out: float32 (768,)."""
    tokenizer = transformers.RobertaTokenizerFast.from_pretrained(folder)
    ids = tokenizer(
        text, max_length=512, truncation=True, add_special_tokens=False, return_tensors="pt"
    )["input_ids"]
    weights = torch.load(folder / "pytorch_model.bin", weights_only=True)
    config = transformers.RobertaConfig.from_pretrained(folder)
    body = transformers.RobertaModel(config, add_pooling_layer=False).eval()
    own = {name.removeprefix("roberta."): tensor for name, tensor in weights.items()}
    body.load_state_dict({name: own[name] for name in body.state_dict()})
    with torch.no_grad():
        first = body(input_ids=ids).last_hidden_state[:, 0]
        projected = first @ weights["embeddingHead.weight"].T + weights["embeddingHead.bias"]
        return torch.nn.functional.layer_norm(
            projected, (768,), weights["norm.weight"], weights["norm.bias"]
        )[0].numpy()


def pyserinis_ance(monkeypatch):
    """Pyserini's encoder class; of 1.6 with its loading repaired where transformers 5 broke it."""
    with pyserini_import():
        from pyserini.encode._ance import AnceEncoder, AnceQueryEncoder
    if TRANSFORMERS >= 5 and not hasattr(AnceEncoder, "load_pretrained_encoder"):

        def load(cls, folder, **_):
            model = cls(transformers.RobertaConfig.from_pretrained(folder))
            weights = torch.load(f"{folder}/pytorch_model.bin", weights_only=True)
            missing = model.load_state_dict(weights, strict=False).missing_keys
            assert not [name for name in missing if "pooler" not in name]
            return model.eval()

        monkeypatch.setattr(AnceEncoder, "from_pretrained", classmethod(load))
        monkeypatch.setattr(AnceEncoder, "all_tied_weights_keys", {}, raising=False)
    return AnceQueryEncoder
