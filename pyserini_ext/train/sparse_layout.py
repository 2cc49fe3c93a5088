"""The files beside a trained sparse encoder, as OpenSearch and sentence-transformers have them."""

from __future__ import annotations

from pathlib import Path

from pyserini_ext.encode.model_files import ACTIVATIONS
from pyserini_ext.files import write_json


def write_layout(
    folder: Path, idf: dict[str, float], activation: str, max_length: int, width: int
) -> None:
    """Write what stands beside a model: the table, and how documents are encoded.

    ``idf.json`` lies where OpenSearch's doc-only models have it. The activation and the length are
    said in the files of sentence-transformers, whose ``SparseEncoder`` loads the document side
    from them.
    """
    names = {ours: theirs for theirs, ours in ACTIVATIONS.items()}
    kind = "sentence_transformers.sparse_encoder.models"
    modules = [
        {"idx": 0, "name": "0", "path": "", "type": f"{kind}.MLMTransformer"},
        {"idx": 1, "name": "1", "path": "1_SpladePooling", "type": f"{kind}.SpladePooling"},
    ]
    write_json(folder / "idf.json", idf)
    write_json(folder / "modules.json", modules)
    write_json(
        folder / "1_SpladePooling" / "config.json",
        {
            "pooling_strategy": "max",
            "activation_function": names[activation],
            "embedding_dimension": width,
        },
    )
    write_json(
        folder / "sentence_bert_config.json",
        {
            "max_seq_length": max_length,
            "transformer_task": "fill-mask",
            "modality_config": {"text": {"method": "forward", "method_output_name": "logits"}},
            "module_output_name": "token_embeddings",
        },
    )
    write_json(
        folder / "config_sentence_transformers.json",
        {"model_type": "SparseEncoder", "prompts": {"query": "", "document": ""}},
    )
