"""Impact indexes beside Pyserini's: building, searching, and inference-free retrieval beside BM25.

    python benchmarks/impact.py --collections "$PYSERINI_EXT_COLLECTIONS" \
        --json benchmarks/results/impact.json --plot benchmarks/results/impact.svg \
        --page docs/benchmarks.md

The collection is synthetic (``synthetic.py``), as large as asked for; it and the indexes to search
are made once and kept in ``--work``. Searches are timed in turn (A B A B …). Four kinds of
measurement:

build    Pyserini's command and ours on the same JSON, at two scales of the weights; ours alone
         with a Java heap of 1 GB
search   one query a call, hits read in Python, and Lucene alone timed inside Java
         (``LuceneCore.java``)
start    a process that imports, opens the index and searches once
text     inference-free retrieval and BM25 on the same texts, from text to hits
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import impact_build
import impact_search
import impact_text
from common import fill
from impact_report import bars, conditions, plot, tables
from timing import alternate, describe, environment_of_pyserini, ratios

from pyserini_ext.command import run_command
from pyserini_ext.files import write_json

KINDS = ("build", "search", "start", "text")
SCALES = (100, 10)
HEAP = "1g"

STARTS = {
    "pyserini": """
import os
os.environ.setdefault("OPENAI_API_KEY", "none")
from pyserini.search.lucene import LuceneImpactSearcher
class Encoder:
    def encode(self, query): return {{"w00100": 2.0}}
print(LuceneImpactSearcher({index!r}, Encoder()).search("", k=10)[0].docid)
""",
    "ours": """
from pyserini_ext import ImpactSearcher
class Encoder:
    def encode(self, query): return {{"w00100": 2.0}}
print(ImpactSearcher({index!r}, Encoder(), compatible=True).search("", k=10)[0].docid)
""",
}


def start(index: Path, repeats: int) -> dict[str, Any]:
    """Time processes that search once."""
    environment = environment_of_pyserini()

    def runner(code: str) -> Any:
        command = [sys.executable, "-c", code.format(index=str(index))]
        return lambda: subprocess.run(command, env=environment, check=True, capture_output=True)

    seconds = alternate({name: runner(code) for name, code in STARTS.items()}, repeats)
    found: dict[str, Any] = {n: [round(s, 3) for s in each] for n, each in seconds.items()}
    return found | {"times": ratios(seconds["ours"], seconds["pyserini"])}


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    add = parser.add_argument
    add("--documents", type=int, default=100_000, help="to build by both (default: %(default)s)")
    add("--large", type=int, default=1_000_000, help="to build in 1 GB (default: %(default)s)")
    add("--search", type=int, nargs="+", default=[300_000], help="to search (default: 300000)")
    add("--seismic", type=int, default=100_000, help="up to so many with Seismic (%(default)s)")
    add("--collections", type=Path, required=True, help="folder of collections")
    add("--names", nargs="+", default=["npl", "msmarco_dl_pool"], help="those to search as text")
    add("--work", type=Path, default=Path("build/benchmarks"), help="default: %(default)s")
    add("--repeats", type=int, default=5, help="of searches (default: %(default)s)")
    add("--starts", type=int, default=3, help="of processes (default: %(default)s)")
    add("--only", nargs="+", choices=KINDS)
    add(
        "--json",
        type=Path,
        help="write all numbers; with --only, those of the other kinds stay as they are in it",
    )
    add("--plot", type=Path, help="write a figure")
    add("--page", type=Path, help="put the tables into this page, between its marks")
    args = parser.parse_args()
    kinds = args.only or KINDS
    impact_search.load_core(args.work)
    report: dict[str, Any] = {}
    if args.only and args.json and args.json.is_file():
        report = json.loads(args.json.read_text(encoding="utf-8"))
    about = describe()
    report |= about | {"measured": report.get("measured", {})}
    for kind in kinds:
        report["measured"][kind] = {key: about[key] for key in ("date", "commit", "load_average")}
    if "build" in kinds:
        report["build"] = {
            "start": impact_build.start_up(args.work),
            "compared": impact_build.compared(args.work, args.documents, SCALES),
            "large": impact_build.under_a_heap(args.work, args.large, HEAP),
        }
    if "search" in kinds:
        report["search"] = {
            str(n): impact_search.searched(args.work, n, args.repeats, n <= args.seismic)
            for n in args.search
        }
    if "build" in kinds:
        report["build"]["identical"] = impact_search.same_ranks(args.work, args.documents)
    if "start" in kinds:
        index = impact_search.build(args.work, max(args.search))["query"]
        report["start"] = start(index, args.starts)
    if "text" in kinds:
        report["text"] = impact_text.collections(
            args.collections, args.work, args.names, args.repeats
        )
    report["bars"] = bars(report)
    report["load_average_after"] = [round(value, 1) for value in os.getloadavg()]
    print(tables(report), end="")
    if args.json:
        write_json(args.json, report)
    if args.plot and "search" in report:
        plot(report, args.plot)
    if args.page:
        fill(args.page, "impact", f"{conditions(report)}\n{tables(report)}")


if __name__ == "__main__":
    run_command(main)
