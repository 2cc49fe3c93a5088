"""The benchmark of rescoring against searching vectors, and the page that shows its results."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
import rescoring as benchmark
from timing import conditions

FOLDER = Path(benchmark.__file__).parent
PAGE = FOLDER.parent / "docs" / "rescoring.md"


def test_random_vectors_are_rescored_and_searched(tmp_path):
    pytest.importorskip("numba")
    page = tmp_path / "page.md"
    page.write_text("before <!-- rescoring --> old <!-- /rescoring --> after")
    done = subprocess.run(
        [sys.executable, str(FOLDER / "rescoring.py"), "--rows", "20000", "--dimension", "40",
         "--queries", "3", "--repeats", "2", "--work", str(tmp_path),
         "--json", str(tmp_path / "r.json"), "--page", str(page)],
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "r.json").read_text())
    assert done.stdout == benchmark.tables(report)
    text = page.read_text()
    assert done.stdout in text
    assert text.startswith("before <!-- rescoring -->")
    assert text.endswith("<!-- /rescoring --> after")
    assert "old" not in text
    assert {len(row["ms"]) for row in report["random"]["rows"].values()} == {2}


def test_nothing_to_measure_is_an_error(tmp_path):
    command = [sys.executable, str(FOLDER / "rescoring.py"), "--rows", "0", "--work", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2
    assert "nothing to measure" in done.stderr


def test_the_page_holds_the_tables_that_are_kept():
    kept = json.loads((FOLDER / "results" / "rescoring.json").read_text())
    page = PAGE.read_text(encoding="utf-8")
    assert f"{conditions(kept)}\n{benchmark.tables(kept)}<!-- /rescoring -->" in page
    assert list(kept["collections"]) == list(benchmark.COLLECTIONS)
    assert not re.search(r"/(tmp|work|home)/", json.dumps(kept))
