"""Dense feedback plugins in the shape that Pyserini's commands expect."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pyserini_ext.adapters.encoders import as_matrix
from pyserini_ext.errors import InputError

if TYPE_CHECKING:
    import numpy as np


class FeedbackAdapter:
    """A feedback plugin as one of Pyserini's ``DenseVectorPrf`` rules.

    Parameters
    ----------
    method : Feedback
        Has ``refine(queries, vectors, feedback, store) -> float32 (n, d)``; `queries` is None here,
        because Pyserini's command does not hand on their text.
    """

    def __init__(self, method: Any) -> None:
        self.method = method

    def get_prf_q_emb(self, emb_qs: np.ndarray, prf_candidates: Sequence[Any]) -> np.ndarray:
        """Return the refined vector of one query: float (d,) -> float32 (d,)."""
        return self.get_batch_prf_q_emb(["q"], emb_qs[None, :], {"q": prf_candidates})[0]

    def get_batch_prf_q_emb(
        self,
        topic_ids: Sequence[str],
        emb_qs: np.ndarray,
        prf_candidates: Mapping[str, Sequence[Any]],
    ) -> np.ndarray:
        """Return the refined vectors of many queries: float (n, d) -> float32 (n, d).

        Parameters
        ----------
        topic_ids : sequence of str
        emb_qs : ndarray of float, shape (n, d)
        prf_candidates : mapping
            topic_id -> Pyserini's feedback documents, best first, with ``docid``, ``score`` and
            ``vectors``.
        """
        import numpy as np

        from pyserini_ext.hits import Hits

        lists = [prf_candidates[topic_id] for topic_id in topic_ids]
        feedback = [
            # Pyserini's order is kept: the plugin sees the ranks that Pyserini retrieved.
            Hits(
                [document.docid for document in found],
                np.array([document.score for document in found], dtype=np.float32),
                ranked=True,
            )
            for found in lists
        ]
        store = Retrieved({d.docid: d.vectors for found in lists for d in found}, emb_qs.shape[1])
        vectors = np.ascontiguousarray(emb_qs, dtype=np.float32)
        refined = as_matrix(
            self.method.refine(None, vectors, feedback, store), len(vectors), self.method
        )
        if refined.shape != vectors.shape:
            raise InputError(
                f"{type(self.method).__name__}.refine returned vectors of length "
                f"{refined.shape[1]} for queries of length {vectors.shape[1]}"
            )
        return refined


class Retrieved:
    """The vectors of the documents that a search returned, as the store a feedback method reads.

    Parameters
    ----------
    vectors : mapping
        docid -> float vector of length `dimension`.
    dimension : int
    """

    def __init__(self, vectors: Mapping[str, Any], dimension: int) -> None:
        self._vectors = vectors
        self.dimension = dimension
        self.docids = list(vectors)

    def __len__(self) -> int:
        return len(self.docids)

    def vectors(self, docids: Sequence[str], missing: str = "error") -> np.ndarray:
        """Return float32 (m, d) for the docids; `missing` as in ``VectorStore.vectors``."""
        import numpy as np

        absent = [docid for docid in docids if docid not in self._vectors]
        if absent and missing == "error":
            raise InputError(
                f"document {absent[0]!r} is not among those retrieved for this batch; within "
                "Pyserini's command a feedback method can read only its feedback documents"
            )
        kept = [d for d in docids if d in self._vectors or missing == "zero"]
        rows = [self._vectors.get(docid, np.zeros(self.dimension)) for docid in kept]
        return np.array(rows, dtype=np.float32).reshape(len(kept), self.dimension)
