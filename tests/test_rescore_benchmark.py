"""The benchmark of rescoring on a few vectors, and the page that shows its results."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
import rescore as benchmark

FOLDER = Path(benchmark.__file__).parent
PAGE = FOLDER.parent / "docs" / "vector-stores.md"


def test_all_contestants_are_measured_in_turn_and_drawn(tmp_path):
    pytest.importorskip("numba")
    done = subprocess.run(
        [sys.executable, str(FOLDER / "rescore.py"), "--rows", "600", "--dimension", "40",
         "--queries", "3", "--candidates", "20", "--docids", "500", "--repeats", "2",
         "--work", str(tmp_path), "--json", str(tmp_path / "r.json"),
         "--plot", str(tmp_path / "r.svg")],
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "r.json").read_text())
    assert done.stdout == benchmark.tables(report)
    assert report["largest_difference"] < 1e-5
    assert report["bytes"]["int8"] == 3 * 20 * 64
    for each in report["scores"].values():
        assert len(each["ms"]) == 2
    assert {"float32: numba", "int8: numba", "numpy: mat[ids] @ q"} <= set(report["scores"])
    assert "</svg>" in (tmp_path / "r.svg").read_text()


def test_the_page_holds_the_table_and_the_command_that_are_kept():
    kept = json.loads((FOLDER / "results" / "rescore.json").read_text())
    page = PAGE.read_text(encoding="utf-8")
    assert benchmark.tables(kept) in page
    command = kept["command_line"]
    assert command in page.replace("\\\n    ", "")
    assert f"{kept['queries']} queries, {kept['candidates']} random candidates" in page
    assert f"{kept['rows']:,} random vectors of dimension {kept['dimension']}" in page
    assert f"{kept['docids']:,}" in page
    assert not re.search(r"/(tmp|work|home)/", json.dumps(kept))
