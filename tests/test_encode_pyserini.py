"""ANCE and TCT-ColBERT presets against Pyserini's own encoder classes, on tiny checkpoints."""

import numpy as np
import pytest
import torch
import transformers
from test_encode_dense import SMALL, TEXTS, tiny
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from pyserini_ext.encode.presets import ANCE_MSMARCO, TCT_COLBERT_V2_HNP
from pyserini_ext.jvm import pyserini_import


@pytest.fixture
def ance(tmp_path):
    """RoBERTa with a byte-level tokenizer, and ANCE's head, as published."""
    backend = Tokenizer(models.BPE(unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=320, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    backend.train_from_iterator(TEXTS, trainer)
    backend.model.save(str(tmp_path))
    transformers.RobertaTokenizer.from_pretrained(tmp_path).save_pretrained(tmp_path)
    options = {**SMALL, "vocab_size": 400, "max_position_embeddings": 300, "pad_token_id": 1}
    config = transformers.RobertaConfig(**options)
    config.save_pretrained(tmp_path)
    torch.manual_seed(0)
    weights = {f"roberta.{k}": v for k, v in transformers.RobertaModel(config).state_dict().items()}
    for name, shape in (("embeddingHead.weight", (768, 16)), ("embeddingHead.bias", (768,))):
        weights[name] = torch.randn(shape)
    weights |= {"norm.weight": torch.rand(768), "norm.bias": torch.randn(768)}
    torch.save(weights, tmp_path / "pytorch_model.bin")
    return tmp_path


def test_ance_equals_pyserinis_class_where_that_loads(ance):
    with pyserini_import():
        from pyserini.encode._ance import AnceDocumentEncoder, AnceQueryEncoder
    try:
        documents = AnceDocumentEncoder(str(ance), device="cpu")
        queries = AnceQueryEncoder(str(ance))
    except Exception as error:
        pytest.skip(f"this Pyserini's ANCE does not load under this transformers: {error!r:.80}")
    ours = ANCE_MSMARCO(ance)
    np.testing.assert_allclose(ours.encode_documents(TEXTS), documents.encode(TEXTS), atol=1e-5)
    # It asks its tokenizer for lower case, which transformers 5 ignores.
    expected = [queries.encode(text.lower()) for text in TEXTS]
    np.testing.assert_allclose(ours.encode(TEXTS), expected, atol=1e-5)


def test_tct_colbert_equals_pyserinis_class(tmp_path):
    with pyserini_import():
        from pyserini.encode import TctColBertDocumentEncoder, TctColBertQueryEncoder
    folder = tiny(tmp_path / "bert", "bert")
    ours = TCT_COLBERT_V2_HNP(folder, document_max_length=64)
    queries = TctColBertQueryEncoder(str(folder))
    expected = [queries.encode(text) for text in TEXTS]
    np.testing.assert_allclose(ours.encode(TEXTS), expected, atol=1e-5)
    documents = TctColBertDocumentEncoder(str(folder), device="cpu")
    titles = ["A title"] * len(TEXTS)
    theirs = documents.encode(TEXTS, titles=titles, max_length=64)
    np.testing.assert_allclose(ours.encode_documents(TEXTS, titles), theirs, atol=1e-5)
