"""The proof of training: its page holds what was measured, and held-out queries are held out."""

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
import train_sparse
from common import Collection

ROOT = Path(__file__).parents[1]
KEPT = json.loads((ROOT / "benchmarks" / "results" / "train_sparse.json").read_text())


def test_the_page_holds_the_tables_that_are_kept():
    page = (ROOT / "docs" / "training.md").read_text(encoding="utf-8")
    assert train_sparse.tables(KEPT) in page
    assert KEPT["command_line"].split('"')[0] in page


def test_no_query_is_in_both_parts(tmp_path):
    (tmp_path / "corpus.jsonl").write_text('{"_id": "d", "title": "", "text": "a"}\n')
    (tmp_path / "queries.tsv").write_text("".join(f"{i}\tquery {i}\n" for i in range(9)))
    (tmp_path / "qrels.txt").write_text("".join(f"{i} 0 d {int(i != 4)}\n" for i in range(8)))
    collection = Collection.open(tmp_path, tmp_path / "work")
    files = train_sparse.split(collection, tmp_path, 3, seed=1)
    train, held_out = (
        [line.split("\t")[0] for line in files[name].read_text().splitlines()]
        for name in ("train", "held-out")
    )
    assert len(train) == 3
    # 4 has no relevant document, 8 is not judged
    assert sorted(train + held_out) == ["0", "1", "2", "3", "5", "6", "7"]
    judged = {line.split()[0] for line in files["qrels"].read_text().splitlines()}
    assert judged == set(held_out)


def test_density_counts_weights_and_flops(tmp_path):
    lines = [{"vector": {"a": 1.0, "b": 2.0}}, {"vector": {"a": 3.0}}]
    file = tmp_path / "v.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    found = train_sparse.density(file)
    assert found == {"weights": 1.5, "flops": pytest.approx(2.0**2 + 1.0**2)}
