"""The tables, what was to be reached, and the figure of ``benchmarks/impact.py``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from common import markdown
from impact_search import CORE, KS, THEIRS

QUERY, COMPATIBLE = "ours, query mode", "ours, compatible"
PREMULTIPLIED = ("ours, premultiplied S=100", "ours, premultiplied S=20")
BM25, OUR_BM25 = "BM25, LuceneSearcher", "BM25, ours"


def bars(report: dict[str, Any]) -> list[dict[str, Any]]:
    """Return what was to be reached, what was measured, and whether that is enough.

    A ratio says how many times as fast (or as little) the first is; `least` and `most` are the
    bounds that it has to keep.
    """
    found: list[dict[str, Any]] = []

    def bar(what: str, value: float, least: float | None = None, most: float | None = None) -> None:
        met = (least is None or value >= least) and (most is None or value <= most)
        wanted = f"≥ {least:g}" if least is not None else f"≤ {most:g}"
        found.append({"what": what, "wanted": wanted, "value": round(value, 2), "met": met})

    if "build" in report:
        rows, identical = report["build"]["compared"], report["build"]["identical"]
        their, our = ({s: rows[f"{n}, weights times {s}"]["cpu_seconds"] for s in (100, 10)}
                      for n in ("pyserini", "ours"))  # fmt: skip
        bar("indexing: Pyserini's CPU / ours, weights times 100", their[100] / our[100], 6)
        bar("indexing: our CPU, weights times 100 / times 10", our[100] / our[10], None, 1.1)
        share = identical["same"] / identical["queries"]
        bar("hits and scores those of Pyserini on its own index, part of queries", share, 1)
        large = report["build"]["large"]
        bar(f"Java heap for {large['documents']} documents, GB", float(large["heap"][:-1]), None, 1)
    for documents, searched in report.get("search", {}).items():
        k = {int(k): row for k, row in searched["k"].items()}
        at = f"{int(documents):,} documents"
        for depth, least in ((1000, 3), (10, 1.5)):
            for name in (COMPATIBLE, QUERY):
                bar(f"{at}, k={depth}: LuceneImpactSearcher / {name}",
                    k[depth][name]["faster"], least)  # fmt: skip
        for depth in (1000, 10):
            for name, core in ((COMPATIBLE, f"{CORE}, whole weights"), (QUERY, CORE)):
                bar(f"{at}, k={depth}: {name} / Lucene's core",
                    k[depth][name]["mean_ms"] / k[depth][core]["mean_ms"], None, 1.3)  # fmt: skip
        for name in PREMULTIPLIED:
            bar(f"{at}, k=10: query mode / {name}",
                k[10][QUERY]["mean_ms"] / k[10][name]["mean_ms"], 1)  # fmt: skip
    for name, text in report.get("text", {}).items():
        k = {int(k): row for k, row in text["k"].items()}
        for mode in (m for m in k[10] if m.startswith("inference-free")):
            for bm25 in (BM25, OUR_BM25):
                bar(f"{name}, k=10: {mode} / {bm25}",
                    k[10][mode]["mean_ms"] / k[10][bm25]["mean_ms"], None, 1.1)  # fmt: skip
        bar(f"{name}: encoding a query, µs", text["encode_us"]["single"], None, 50)
        bar(f"{name}: BM25, k=1000: LuceneSearcher / ours", k[1000][OUR_BM25]["faster"], 5)
        share = text["bm25_same"] / text["queries"]
        bar(f"{name}: BM25, k=1000: hits and scores the same, part of queries", share, 1)
    return found


def tables(report: dict[str, Any]) -> str:
    """Render everything that was measured."""
    parts = []
    if "build" in report:
        parts.append(_build(report["build"]))
    parts += [_search(int(n), found) for n, found in report.get("search", {}).items()]
    if "start" in report:
        middle = {n: sorted(report["start"][n])[len(report["start"][n]) // 2] for n in
                  ("pyserini", "ours")}  # fmt: skip
        row = ["import, open, one query", f"{middle['pyserini']:.2f}", f"{middle['ours']:.2f}"]
        row.append(_ratio(report["start"]["times"]))
        parts.append(markdown(["start-up", "Pyserini, s", "ours, s", "times as fast"], [row]))
    if "text" in report:
        parts.append(_text(report["text"]))
    rows = [[b["what"], b["wanted"], f"{b['value']:g}", "met" if b["met"] else "**missed**"]
            for b in report["bars"]]  # fmt: skip
    parts.append(markdown(["what was to be reached", "wanted", "measured", ""], rows))
    return "\n".join(parts)


def conditions(report: dict[str, Any]) -> str:
    """Say what machine it was, and when each kind was measured."""
    machine, made = report["machine"], report["versions"]
    kinds = "; ".join(
        f"{kind}: {one['date']}, commit {one['commit']}, load {one['load_average'][0]}"
        for kind, one in report["measured"].items()
    )
    return (
        f"{machine['cores']} cores ({machine['cpu']}), {machine['memory_gib']} GiB, Python "
        f"{made['python']}, Pyserini {made['pyserini']}. {kinds}.\n"
    )


def _ratio(times: dict[str, float]) -> str:
    return f"**{times['median']:.2f}** ({times['min']:.2f} to {times['max']:.2f})"


def _build(found: dict[str, Any]) -> str:
    def rows() -> Iterator[list[str]]:
        each = {**found["compared"]}
        large = found["large"]
        each[f"ours, weights times 100, -Xmx{large['heap']}"] = large
        for name, row in each.items():
            yield [
                name,
                f"{row['documents']:,}",
                f"{row['documents'] / row['seconds']:,.0f}",
                f"{row['cpu_seconds']:.1f}",
                f"{row['peak_mib']:,}",
                f"{row['bytes'] / 1e6:.1f}",
            ]

    start = {name: row["cpu_seconds"] for name, row in found["start"].items()}
    same = found["identical"]
    return (
        markdown(["building", "documents", "documents/s", "CPU-s", "peak MiB", "MB"], rows())
        + "\nOf the processor time, starting takes Pyserini's command "
        f"{start['pyserini']:.1f} s and ours {start['ours']:.1f} s. "
        f"Hits and scores at k={same['k']} are the same for {same['same']} of "
        f"{same['queries']} queries.\n"
    )


def _search(documents: int, found: dict[str, Any]) -> str:
    depths = [str(k) for k in KS if str(k) in {str(d) for d in found["k"]}]
    by_k = {str(k): row for k, row in found["k"].items()}
    recall = {n: {str(k): v for k, v in each.items()} for n, each in found["recall"].items()}

    def rows() -> Iterator[list[str]]:
        for name in by_k[depths[0]]:
            cells = []
            for k in depths:
                row = by_k[k][name]
                cells.append(f"{row['p50_ms']:.2f} / {row['p95_ms']:.2f}")
            kept = recall.get(name)
            shown = [f"{kept[k]:.4f}" for k in (depths[0], depths[-1])] if kept else ["", ""]
            times = [f"{by_k[k][name]['faster']:.2f}" for k in (depths[0], depths[-1])]
            yield [name, *cells, *times, *shown]

    header = [f"{documents:,} documents", *(f"k={k}, ms" for k in depths)]
    header += [f"{what}, k={k}" for what in ("times as fast", "recall") for k in
               (depths[0], depths[-1])]  # fmt: skip
    return (
        markdown(header, rows())
        + f"\nMilliseconds are the median and the 95th percentile over {found['queries']} queries; "
        f"times as fast as {THEIRS}. Same hits and scores at k={KS[-1]}: ours in compatible mode "
        f"{found['same_as_theirs']}, BM25 {found['bm25_same']} of {found['queries']} queries.\n"
    )


def _text(found: dict[str, Any]) -> str:
    def rows() -> Iterator[list[str]]:
        for name, text in found.items():
            by_k = {str(k): row for k, row in text["k"].items()}
            for searcher in by_k["10"]:
                cells = [f"{by_k[k][searcher]['mean_ms']:.3f}" for k in ("10", "1000")]
                times = [f"{by_k[k][searcher]['faster']:.2f}" for k in ("10", "1000")]
                yield [f"{name}: {searcher}", *cells, *times]

    encoding = [
        [name, *(f"{text['encode_us'][kind]:.1f}" for kind in ("single", "batch", "first"))]
        for name, text in found.items()
    ]
    header = ["text to hits", "k=10, ms", "k=1000, ms"]
    header += [f"times as fast as LuceneSearcher, k={k}" for k in (10, 1000)]
    return (
        markdown(header, rows())
        + "\n"
        + markdown(
            ["encoding a query, µs", "one by one", "in a batch", "words not seen yet"], encoding
        )
    )


def plot(report: dict[str, Any], path: Path) -> None:
    """Draw the medians of the largest collection that was searched, one panel for each k."""
    import matplotlib

    matplotlib.use("svg" if path.suffix == ".svg" else "agg")
    from matplotlib import pyplot as plt

    plt.rcParams["svg.hashsalt"] = "impact"
    documents, found = max(report["search"].items(), key=lambda item: int(item[0]))
    by_k = {str(k): row for k, row in found["k"].items()}
    names = list(by_k[str(KS[0])])[::-1]
    figure, panels = plt.subplots(1, len(KS), figsize=(11, 0.32 * len(names) + 1.2), sharey=True)
    for panel, k in zip(panels, KS, strict=True):
        rows = [by_k[str(k)][name] for name in names]
        middle = [row["p50_ms"] for row in rows]
        colours = ["tab:blue" if name.startswith("ours") or name.endswith("ours") else "tab:gray"
                   for name in names]  # fmt: skip
        panel.barh(names, middle, color=colours)
        panel.plot([row["p95_ms"] for row in rows], names, "|", color="black", markersize=8)
        panel.set_title(f"k={k}")
        panel.set_xlabel("ms")
        panel.spines[["top", "right"]].set_visible(False)
    figure.suptitle(f"{int(documents):,} documents: median and 95th percentile (|) of a query")
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)
    plt.close(figure)
