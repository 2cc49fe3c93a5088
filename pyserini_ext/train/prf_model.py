"""A PRF query encoder with gradients, and the checkpoint that it is written to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors.torch import save_file

from pyserini_ext.encode.batches import length_sorted, padded
from pyserini_ext.encode.checkpoint import quietly
from pyserini_ext.encode.prf_encoder import PrfEncoder
from pyserini_ext.encode.prf_input import write_settings

CPU_TOKENS = 4096
"""Tokens of a forward pass on the CPU: more leaves its caches."""


class PrfModel(torch.nn.Module):
    """The model of a :class:`PrfEncoder`, trained in place.

    Dropout stays off: a resumed run needs no state of a random generator then.

    Parameters
    ----------
    encoder : PrfEncoder
        Its weights are float32; whatever the model learns, it encodes with at once.
    dtype : {"float32", "bfloat16", "float16"}
        Of the forward pass.
    """

    def __init__(self, encoder: PrfEncoder, dtype: str = "float32") -> None:
        super().__init__()
        self.encoder = encoder
        self.body: torch.nn.Module = encoder._model
        self.head = encoder._head
        self._dtype = getattr(torch, dtype)
        # BERT's pooler is no part of the vector: without gradient it takes no memory.
        pooler = getattr(self.body, "pooler", None)
        if pooler is not None:
            pooler.requires_grad_(False)

    def forward(self, tokens: Sequence[Sequence[int]]) -> torch.Tensor:
        """Return vectors as :meth:`PrfEncoder.encode` does.

        Parameters
        ----------
        tokens : sequence of sequence of int
            Of whole inputs, from :meth:`PrfEncoder.token_ids`.

        Returns
        -------
        tensor of float32, shape (n, dimension)
        """
        device = self.encoder.device
        budget = CPU_TOKENS if device.type == "cpu" else None
        order: list[int] = []
        parts = []
        for batch in length_sorted([len(ids) for ids in tokens], len(tokens), budget):
            ids, mask = padded([tokens[place] for place in batch.tolist()], self.encoder._pad)
            with torch.autocast(device.type, self._dtype, enabled=self._dtype != torch.float32):
                parts.append(self.encoder.pooled(ids, mask).float())
            order += batch.tolist()
        return torch.cat(parts)[torch.tensor(order, device=device).argsort()]


def save_checkpoint(model: PrfModel, folder: Path, k: int, family: str) -> None:
    """Write a checkpoint that :class:`~pyserini_ext.encode.ance_prf.AncePRF` needs no options for.

    Parameters
    ----------
    model : PrfModel
    folder : Path
        With weights as safetensors; those of ANCE have the names that Pyserini reads.
    k : int
    family : str
    """
    encoder = model.encoder
    if model.head is None:
        with quietly():
            encoder._model.save_pretrained(folder)
    else:
        encoder._model.config.save_pretrained(folder)
        names = {"0": "embeddingHead", "1": "norm"}
        weights = {f"roberta.{name}": t for name, t in encoder._model.state_dict().items()}
        for name, tensor in model.head.state_dict().items():
            layer, kind = name.split(".")
            weights[f"{names[layer]}.{kind}"] = tensor
        save_file(
            {name: tensor.cpu().contiguous() for name, tensor in weights.items()},
            folder / "model.safetensors",
            {"format": "pt"},
        )
    encoder._tokenizer.save_pretrained(folder)
    settings = asdict(encoder.input) | {
        "pooling": encoder.pooling,
        "normalise": encoder.normalise,
        "max_length": encoder.max_length,
    }
    write_settings(folder, k, family, **settings)
