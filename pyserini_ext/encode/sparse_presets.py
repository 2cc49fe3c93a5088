"""Presets: published inference-free sparse models and how they are to be used.

A preset has no name here; names are the entry points of the group ``pyserini_ext.sparse_encoders``.
Nothing heavy is imported until a preset is called, nor when it encodes queries.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from pyserini_ext.encode.presets import in_hub_cache

if TYPE_CHECKING:
    from pyserini_ext.encode.sparse_encoder import SparseEncoder


@dataclass(frozen=True)
class SparsePreset:
    """A checkpoint with everything that must be right to use it; calling it makes the encoder.

    Attributes
    ----------
    checkpoint : str
        Name on the Hugging Face hub (or a folder).
    activation : str
        Of document weights, a key of
        :data:`~pyserini_ext.encode.sparse_document.ACTIVATIONS`.
    weights : str or None
        Of query tokens: None for the table that comes with the checkpoint, or ``"ones"``.
    remote_code : bool
        Whether the checkpoint comes with Python code that documents need; that code is run only if
        the user says ``trust_remote_code``.
    source : str
        Where these facts are from.
    description : str
        One line.
    """

    checkpoint: str
    activation: str
    source: str
    description: str
    weights: str | None = None
    remote_code: bool = False

    def __call__(
        self,
        checkpoint: str | Path | None = None,
        *,
        weights: str | Path | Mapping[str, float] | None = None,
        missing: float = 0.0,
        tf: bool = False,
        max_length: int | None = None,
        activation: str | None = None,
        top_n: int | None = None,
        prune_ratio: float = 0.0,
        document_max_length: int | None = None,
        device: str = "cpu",
        dtype: str = "float32",
        batch_size: int = 64,
        trust_remote_code: bool = False,
    ) -> SparseEncoder:
        """Make the encoder; its two sides are loaded when they are first used.

        Parameters
        ----------
        checkpoint : str or Path, optional
            Another copy of the checkpoint (a folder, a fine-tuned one).
        weights, activation
            Replace what the preset says.
        missing, tf, max_length, top_n, prune_ratio, document_max_length, device, dtype, \
batch_size, trust_remote_code
            See :class:`~pyserini_ext.encode.sparse_encoder.SparseEncoder`.
        """
        from pyserini_ext.encode.sparse_encoder import SparseEncoder

        return SparseEncoder(
            self.checkpoint if checkpoint is None else checkpoint,
            weights=self.weights if weights is None else weights,
            missing=missing,
            tf=tf,
            max_length=max_length,
            activation=activation or self.activation,
            top_n=top_n,
            prune_ratio=prune_ratio,
            document_max_length=document_max_length,
            device=device,
            dtype=dtype,
            batch_size=batch_size,
            trust_remote_code=trust_remote_code,
        )

    def is_available(self) -> bool:
        """Whether the checkpoint is on this machine; otherwise the first use downloads it."""
        return in_hub_cache(self.checkpoint)

    def install_hint(self) -> str:
        """Say how to get the checkpoint."""
        code = "; documents need trust_remote_code" if self.remote_code else ""
        return f"hf download {self.checkpoint} (done at the first use when online){code}"


OPENSEARCH_DOC_V1 = SparsePreset(
    "opensearch-project/opensearch-neural-sparse-encoding-doc-v1",
    activation="log1p",
    source="the model card; Geng et al., 2024 (arXiv 2411.04403)",
    description="OpenSearch doc-v1, 133M parameters, BEIR-13 nDCG@10 .490",
)
OPENSEARCH_DOC_V2_DISTILL = replace(
    OPENSEARCH_DOC_V1,
    checkpoint="opensearch-project/opensearch-neural-sparse-encoding-doc-v2-distill",
    description="OpenSearch doc-v2-distill, 67M parameters, BEIR-13 nDCG@10 .504",
)
OPENSEARCH_DOC_V2_MINI = replace(
    OPENSEARCH_DOC_V1,
    checkpoint="opensearch-project/opensearch-neural-sparse-encoding-doc-v2-mini",
    description="OpenSearch doc-v2-mini, 23M parameters, BEIR-13 nDCG@10 .497",
)
OPENSEARCH_DOC_V3_DISTILL = SparsePreset(
    "opensearch-project/opensearch-neural-sparse-encoding-doc-v3-distill",
    activation="log1p-log1p",
    source="the model card; Geng et al., 2025 (arXiv 2504.14839)",
    description="OpenSearch doc-v3-distill, 67M parameters, BEIR-13 nDCG@10 .517",
)
OPENSEARCH_DOC_V3_GTE = replace(
    OPENSEARCH_DOC_V3_DISTILL,
    checkpoint="opensearch-project/opensearch-neural-sparse-encoding-doc-v3-gte",
    remote_code=True,
    description="OpenSearch doc-v3-gte, 133M parameters, BEIR-13 nDCG@10 .546",
)
# From memory: that queries are a set of tokens of weight 1 is what the model card says of it.
SPLADE_V3_DOC = SparsePreset(
    "naver/splade-v3-doc",
    activation="log1p",
    weights="ones",
    source="Lassance et al., SPLADE-v3, 2024 (arXiv 2403.06789); from memory",
    description="SPLADE-v3-Doc, BERT base, queries are sets of tokens",
)
