"""ANCE-PRF: the second round's query vector comes from an encoder that reads feedback documents."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pyserini_ext.encode.prf_input import SETTINGS, settings_of
from pyserini_ext.errors import InputError
from pyserini_ext.hits import Hits

MISSING_TEXT = ("error", "skip", "empty")
"""What becomes of a feedback document without text: see :class:`AncePRF`."""


class AncePRF:
    """ANCE-PRF: a query encoder that reads the query and the text of its first documents.

    Yu, Xiong and Callan, *Improving Query Representations for Dense Retrieval with Pseudo Relevance
    Feedback*, CIKM 2021. Document vectors and index stay as they are.

    Parameters
    ----------
    checkpoint : str or Path
        Of the PRF query encoder: folder, or name on the Hugging Face hub.
    depth : int, optional
        Feedback documents. A checkpoint can read as many as it was trained with, and that is the
        default; any other number is refused.
    k : int, optional
        How many it was trained with. Needed unless the checkpoint's ``prf.json`` records it.
    family : {"ance", "tas-b", "tct-colbert-v2", "bi-encoder"}, optional
        What kind of encoder the checkpoint is; by default what it records, else ``"ance"``.
    template, document, separator, max_length, lowercase, fill
        The text that is encoded: see :class:`~pyserini_ext.encode.prf_input.PrfInput`. By default
        what the checkpoint records, else what the family says.
    pooling, normalise
        See :class:`~pyserini_ext.encode.dense.BiEncoder`; defaults likewise.
    missing_text : {"error", "skip", "empty"}
        A feedback document without text: an error, left out (no other takes its place), or an
        empty text between its separators.
    device, dtype, batch_size, trust_remote_code
        See :class:`~pyserini_ext.encode.dense.BiEncoder`.

    Attributes
    ----------
    encoder : PrfEncoder

    Raises
    ------
    InputError
        If the checkpoint cannot be used, its k is unknown, or `depth` is another number.

    Examples
    --------
    >>> FeedbackSearcher(dense, AncePRF("ance-prf-k3", k=3), texts="npl.lucene")  # doctest: +SKIP
    """

    requires_text = True

    def __init__(
        self,
        checkpoint: str | Path,
        depth: int | None = None,
        k: int | None = None,
        *,
        family: str | None = None,
        template: str | None = None,
        document: str | None = None,
        separator: str | None = None,
        max_length: int | None = None,
        lowercase: bool | None = None,
        fill: bool | None = None,
        pooling: str | None = None,
        normalise: bool | None = None,
        missing_text: str = "error",
        device: str = "cpu",
        dtype: str = "float32",
        batch_size: int = 16,
        trust_remote_code: bool = False,
    ) -> None:
        if missing_text not in MISSING_TEXT:
            raise InputError(
                f"missing_text is {missing_text!r}; choose one of {', '.join(MISSING_TEXT)}"
            )
        settings = settings_of(
            str(checkpoint),
            k=k,
            family=family,
            template=template,
            document=document,
            separator=separator,
            max_length=max_length,
            lowercase=lowercase,
            fill=fill,
            pooling=pooling,
            normalise=normalise,
        )
        if settings.k is None:
            raise InputError(
                f"{checkpoint} does not record in {SETTINGS} how many feedback documents it was "
                "trained with; say so: k=3 (--prf-arg k=3)"
            )
        if depth is not None and depth != settings.k:
            raise InputError(
                f"the feedback depth is {depth}, but {checkpoint} was trained with {settings.k} "
                f"feedback documents; leave the depth out, or give a checkpoint for {depth}"
            )
        self.depth: int = settings.k
        self.missing_text = missing_text
        from pyserini_ext.encode.prf_encoder import PrfEncoder

        self.encoder = PrfEncoder(
            checkpoint,
            settings.family,
            device=device,
            dtype=dtype,
            batch_size=batch_size,
            trust_remote_code=trust_remote_code,
        )

    def refine(
        self,
        queries: Sequence[str] | None,
        vectors: np.ndarray,
        feedback: Sequence[Hits],
        store: Any,
        texts: Callable[[Sequence[str]], Sequence[str | None]],
    ) -> np.ndarray:
        """Return the vectors of the queries as read with their feedback documents.

        Parameters
        ----------
        queries : sequence of str, length q
        vectors : ndarray of float32, shape (q, dimension)
            Of the last round; kept by a query without any feedback text.
        feedback : sequence of Hits, length q
            Best first; the first ``depth`` count, fewer are read as they are.
        store : object
            Not used.
        texts : callable
            From distinct docids to their texts, None where there is none. Called once.

        Returns
        -------
        ndarray of float32, shape (q, dimension)

        Raises
        ------
        InputError
            If a document has no text (see ``missing_text``), or the encoder's vectors are not as
            long as those given.
        """
        if queries is None:
            raise InputError("ANCE-PRF reads the text of queries, and got none")
        refined = np.array(vectors, dtype=np.float32)
        if refined.shape[1] != self.encoder.dimension:
            raise InputError(
                f"{self.encoder.checkpoint} makes vectors of {self.encoder.dimension} dimensions, "
                f"but those of the first round have {refined.shape[1]}; it belongs to another "
                "encoder or index"
            )
        documents = self.documents([hits.docids[: self.depth].tolist() for hits in feedback], texts)
        asked = [row for row, own in enumerate(documents) if own]
        if asked:
            refined[asked] = self.encoder.encode_feedback(
                [queries[row] for row in asked], [documents[row] for row in asked]
            )
        return refined

    def documents(
        self,
        docids: Sequence[Sequence[str]],
        texts: Callable[[Sequence[str]], Sequence[str | None]],
    ) -> list[list[str]]:
        """Look the texts of documents up, all at once.

        Parameters
        ----------
        docids : sequence of sequence of str
            Of each query.
        texts : callable
            As in :meth:`refine`.

        Returns
        -------
        list of list of str
            As ``missing_text`` says, a list may be shorter than its docids.
        """
        distinct = list(dict.fromkeys(docid for own in docids for docid in own))
        if not distinct:
            return [[] for _ in docids]
        found = list(texts(distinct))
        if len(found) != len(distinct):
            raise InputError(f"the text source gave {len(found)} texts for {len(distinct)} docids")
        by_docid = {
            docid: text if text and text.strip() else None
            for docid, text in zip(distinct, found, strict=True)
        }
        if self.missing_text == "error":
            absent = next((docid for docid, text in by_docid.items() if text is None), None)
            if absent is not None:
                raise InputError(
                    f"feedback document {absent!r} has no text in {texts}; give the texts of the "
                    "collection that was indexed (--prf-text), or say missing_text=skip or empty "
                    "(--prf-arg missing_text=skip)"
                )
        keep = self.missing_text == "empty"
        return [[by_docid[d] or "" for d in own if keep or by_docid[d]] for own in docids]
