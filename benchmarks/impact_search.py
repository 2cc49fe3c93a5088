"""Searching impact indexes: Pyserini's searcher, ours, Lucene alone, BM25 and Seismic, in turn."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import synthetic
from common import command, quote
from timing import ratios

from pyserini_ext import jdk, jvm

QUERIES = 200
KS = (10, 100, 1000)
THEIRS = "LuceneImpactSearcher"
CORE = "Lucene core"

SEISMIC_POSTINGS = 300
"""Of a token on average that Seismic keeps; more take it many minutes to build."""
SEISMIC_FACTORS = (0.9, 0.7)
"""What its documentation calls the heap factor: lower is slower and more exact."""

Search = Callable[[str, int], Any]


class Known:
    """Queries that are encoded already; a text is its tokens."""

    def __init__(self, queries: Sequence[Sequence[str]], rule: Callable[[str], float]) -> None:
        self.encoded = {" ".join(one): {token: rule(token) for token in one} for one in queries}

    def encode(self, query: str) -> dict[str, float]:
        """Return the tokens and weights of a query."""
        return self.encoded[query]

    def lines(self) -> bytes:
        """Return all queries, as ``LuceneCore`` reads them."""
        rows = [" ".join(f"{t} {w!r}" for t, w in one.items()) for one in self.encoded.values()]
        return "\n".join(rows).encode()


def read(hits: Sequence[Any]) -> list[tuple[str, float]]:
    """Return docids and scores: Pyserini's hits are Java objects until their fields are read."""
    return [(hit.docid, hit.score) for hit in hits]


def load_core(work: Path) -> None:
    """Compile ``LuceneCore.java`` and put it on the class path; before Java starts."""
    import jnius_config

    classes = work / "classes"
    classes.mkdir(parents=True, exist_ok=True)
    javac = Path(jdk.find_java()) / "bin" / "javac"
    source = Path(__file__).with_name("LuceneCore.java")
    subprocess.run(
        [str(javac), "-cp", str(jvm.fatjar()), "-d", str(classes), str(source)], check=True
    )
    jnius_config.add_classpath(str(classes.absolute()))


def per_query(search: Search, texts: Sequence[str], k: int) -> np.ndarray:
    """Return the seconds of each query."""
    seconds = np.empty(len(texts))
    for i, text in enumerate(texts):
        started = time.perf_counter()
        search(text, k)
        seconds[i] = time.perf_counter() - started
    return seconds


def in_turn(
    contestants: Mapping[str, Callable[[int], np.ndarray]], k: int, repeats: int, against: str
) -> dict[str, Any]:
    """Time contestants in turn, all queries each, and compare them.

    Returns
    -------
    dict
        By name: mean, p50 and p95 over the queries in milliseconds, where a query's time is the
        least of the repeats, so that other programs are not measured; ``faster``, the mean of
        `against` over this one; ``times``, the same ratio of each repeat.
    """
    times: dict[str, list[np.ndarray]] = {name: [] for name in contestants}
    for repeat in range(-2, repeats):
        for name, run in contestants.items():
            seconds = run(k)
            if repeat >= 0:
                times[name].append(seconds)
    found: dict[str, Any] = {}
    for name, rows in times.items():
        least = 1000 * np.min(rows, axis=0)
        sums = [float(row.sum()) for row in rows]
        found[name] = {
            "mean_ms": round(float(least.mean()), 4),
            "p50_ms": round(float(np.percentile(least, 50)), 4),
            "p95_ms": round(float(np.percentile(least, 95)), 4),
            "times": ratios(sums, [float(row.sum()) for row in times[against]]),
        }
    for row in found.values():
        row["faster"] = round(found[against]["mean_ms"] / row["mean_ms"], 2)
    return found


def exact(work: Path, documents: int, queries: Known, k: int) -> np.ndarray:
    """Return the numbers of the best `k` documents by float64 scores, shape (queries, k)."""
    from scipy.sparse import csr_matrix

    column = {name: i for i, name in enumerate(synthetic.names())}
    weights = np.zeros((synthetic.TOKENS, len(queries.encoded)))
    for number, encoded in enumerate(queries.encoded.values()):
        for token, weight in encoded.items():
            weights[column[token], number] = weight
    best = np.empty((weights.shape[1], 0), dtype=np.int64)
    scores = np.empty((weights.shape[1], 0))
    for part in synthetic.parts(documents):
        shape = (len(part.starts) - 1, synthetic.TOKENS)
        values = part.weights.astype(np.float64)
        here = (csr_matrix((values, part.tokens, part.starts), shape) @ weights).T
        numbers = np.broadcast_to(np.arange(shape[0]) + part.first, here.shape)
        best, scores = np.hstack((best, numbers)), np.hstack((scores, here))
        keep = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        best, scores = (np.take_along_axis(each, keep, axis=1) for each in (best, scores))
    return best


def build(work: Path, documents: int) -> dict[str, Path]:
    """Return the indexes to search, made where they are not there."""
    corpus = synthetic.write(work, documents)
    options = {
        "query": "--scale 1",
        "s100": "--scale 1 --mode premultiplied",
        "s20": "--scale 0.2 --mode premultiplied",
    }
    paths = {name: corpus / f"{name}.impact" for name in options}
    for name, path in paths.items():
        if not path.exists():
            command(
                f"python -m pyserini_ext.index --corpus {quote(corpus / 'vectors')} --quiet "
                f"--output {quote(path)} --idf {quote(corpus / 'idf.json')} {options[name]}"
            )
    paths["bm25"] = corpus / "bm25"
    if not paths["bm25"].exists():
        command(
            "python -m pyserini_ext pyserini.index.lucene --collection JsonCollection --threads 2 "
            f"--generator DefaultLuceneDocumentGenerator --input {quote(corpus / 'texts')} "
            f"--index {quote(paths['bm25'])}"
        )
    return paths


def seismic(corpus: Path, documents: int) -> Any:
    """Return a Seismic index of the collection, or None where the package is not installed."""
    try:
        import seismic as package
    except ImportError:
        return None
    kept = corpus / "seismic"
    if not kept.with_name("seismic.index.seismic").exists():
        names = np.array(synthetic.names(), dtype=package.get_seismic_string())
        data = package.SeismicDataset()
        for part in synthetic.parts(documents):
            for i, (start, stop) in enumerate(pairwise(part.starts.tolist())):
                values = part.weights[start:stop].astype(np.float32)
                data.add_document(f"{part.first + i:07d}", names[part.tokens[start:stop]], values)
        index = package.SeismicIndex.build_from_dataset(
            data, n_postings=SEISMIC_POSTINGS, num_threads=2
        )
        index.save(str(kept))
    return package.SeismicIndex.load(f"{kept}.index.seismic")


def searched(work: Path, documents: int, repeats: int, with_seismic: bool) -> dict[str, Any]:
    """Search one collection with everything, in turn; check ranks and recall.

    Java must not run before :func:`load_core`.
    """
    from pyserini_ext.search.impact import ImpactSearcher
    from pyserini_ext.search.sparse import BM25Searcher

    with jvm.pyserini_import():
        from pyserini.search.lucene import LuceneImpactSearcher, LuceneSearcher
    paths = build(work, documents)
    corpus = paths["query"].parent
    idf = json.loads((corpus / "idf.json").read_text())
    queries = [[t for t in one if t in idf] for one in synthetic.queries(QUERIES)]
    whole = Known(queries, lambda token: float(max(1, round(idf[token]))))
    floats, ones = Known(queries, lambda token: idf[token]), Known(queries, lambda token: 1.0)
    texts = list(floats.encoded)
    theirs = LuceneImpactSearcher(str(paths["query"]), whole)
    ours = {
        "ours, compatible": ImpactSearcher(paths["query"], whole, compatible=True),
        "ours, query mode": ImpactSearcher(paths["query"], floats),
        "ours, premultiplied S=100": ImpactSearcher(paths["s100"], ones),
        "ours, premultiplied S=20": ImpactSearcher(paths["s20"], ones),
    }
    bm25, our_bm25 = LuceneSearcher(str(paths["bm25"])), BM25Searcher(paths["bm25"])
    core = jvm.autoclass("LuceneCore")
    cores = {
        f"{CORE}, whole weights": core(str(paths["query"]), whole.lines()),
        CORE: core(str(paths["query"]), floats.lines()),
        f"{CORE}, premultiplied S=100": core(str(paths["s100"]), ones.lines()),
    }
    searches: dict[str, Search] = {
        THEIRS: lambda text, k: read(theirs.search(text, k)),
        **{name: searcher.search for name, searcher in ours.items()},
        "BM25, LuceneSearcher": lambda text, k: read(bm25.search(text, k)),
        "BM25, ours": our_bm25.search,
    }
    if with_seismic and (index := seismic(corpus, documents)) is not None:
        searches |= _seismic_searches(index, floats)
    contestants: dict[str, Callable[[int], np.ndarray]] = {
        name: (lambda k, search=search: per_query(search, texts, k))
        for name, search in searches.items()
    }

    def nanoseconds(searcher: Any) -> Callable[[int], np.ndarray]:
        return lambda k: np.frombuffer(searcher.nanoseconds(k).tostring(), dtype="<i8") * 1e-9

    contestants |= {name: nanoseconds(searcher) for name, searcher in cores.items()}
    best = exact(work, documents, floats, max(KS))
    found: dict[str, Any] = {
        "queries": len(texts),
        "tokens_per_query": round(float(np.mean([len(one) for one in queries])), 2),
        "bytes": {name: _size(path) for name, path in paths.items()},
        "same_as_theirs": sum(
            read(theirs.search(text, max(KS)))
            == read(ours["ours, compatible"].search(text, max(KS)))
            for text in texts
        ),
        "bm25_same": sum(
            read(bm25.search(text, max(KS))) == read(our_bm25.search(text, max(KS)))
            for text in texts
        ),
        "recall": {
            name: {k: _recall(search, texts, best, k) for k in (KS[0], KS[-1])}
            for name, search in searches.items()
            if not name.startswith("BM25")
        },
        "k": {k: in_turn(contestants, k, repeats, THEIRS) for k in KS},
    }
    for searcher in cores.values():
        searcher.close()
    return found


def _seismic_searches(index: Any, queries: Known) -> dict[str, Search]:
    import seismic as package

    kind = package.get_seismic_string()
    packed = {
        text: (np.array(list(one), dtype=kind), np.array(list(one.values()), dtype=np.float32))
        for text, one in queries.encoded.items()
    }

    def search(factor: float) -> Search:
        return lambda text, k: [
            (docid, score)
            for _, score, docid in index.search(text, *packed[text], k, synthetic.QUERY, factor)
        ]

    return {f"Seismic, heap factor {factor}": search(factor) for factor in SEISMIC_FACTORS}


def _recall(search: Search, texts: Sequence[str], best: np.ndarray, k: int) -> float:
    shares = []
    for text, row in zip(texts, best[:, :k].tolist(), strict=True):
        docids = {int(docid) for docid, _ in search(text, k)}
        shares.append(len(docids & set(row)) / k)
    return round(float(np.mean(shares)), 4)


def _size(index: Path) -> int:
    return sum(file.stat().st_size for file in index.iterdir() if file.suffix != ".json")


def same_ranks(work: Path, documents: int) -> dict[str, int]:
    """Compare hits and scores of Pyserini on its own index with ours on ours, both just built."""
    from pyserini_ext.search.impact import ImpactSearcher

    with jvm.pyserini_import():
        from pyserini.search.lucene import LuceneImpactSearcher
    corpus = synthetic.write(work, documents)
    idf = json.loads((corpus / "idf.json").read_text())
    queries = [[t for t in one if t in idf] for one in synthetic.queries(QUERIES)]
    whole = Known(queries, lambda token: float(max(1, round(idf[token]))))
    theirs = LuceneImpactSearcher(str(corpus / "pyserini"), whole)
    ours = ImpactSearcher(corpus / "ours", whole, compatible=True)
    same = [read(theirs.search(t, 1000)) == read(ours.search(t, 1000)) for t in whole.encoded]
    return {"queries": len(same), "same": sum(same), "k": 1000}
