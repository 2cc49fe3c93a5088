"""pyserini-ext: the retrievers of recent papers as plugins for Pyserini.

``import pyserini_ext as px`` is cheap: each public name below imports its module when it is first
used, so neither torch nor a JVM is started before something needs it.

Examples
--------
>>> import pyserini_ext as px
>>> px.Hits(["d2", "d1"], [1.0, 2.0])[0].docid
'd1'
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_HOMES = {
    "AncePRF": "encode.ance_prf",
    "Average": "feedback.vector",
    "BM25Searcher": "search.sparse",
    "ColBERTPRF": "feedback.colbert_prf",
    "DenseSearcher": "search.dense",
    "FeedbackSearcher": "search.feedback",
    "GQR": "feedback.gqr",
    "GuidedSearcher": "search.guided",
    "Hit": "hits",
    "Hits": "hits",
    "ImpactSearcher": "search.impact",
    "InferenceFreeSearcher": "search.inference_free",
    "InputError": "errors",
    "InterpolatedSearcher": "search.staged",
    "Interpolation": "fusion.interpolation",
    "MultiVectorSearcher": "search.multivector",
    "PyseriniSearcher": "search.sparse",
    "RM3": "feedback.rm3",
    "RescoringSearcher": "search.rescoring",
    "Rocchio": "feedback.vector",
    "Run": "run",
    "RunWriter": "run",
    "TermFeedbackSearcher": "search.term_feedback",
    "load_topics": "topics",
    "make_encoder": "encode",
    "open_vectors": "index.open",
}

__all__ = ["__version__", *_HOMES]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
