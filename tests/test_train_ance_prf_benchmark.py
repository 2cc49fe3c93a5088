"""The proof of training ANCE-PRF: held-out queries are held out, and its page holds its numbers."""

import json
import re
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
import train_ance_prf as benchmark
from common import Collection
from timing import conditions

ROOT = Path(__file__).parents[1]


def write_collection(folder, queries):
    folder.mkdir()
    texts = ["wing in a slipstream", "heat transfer through a plate", "lift of a thin wing"]
    rows = [json.dumps({"_id": f"d{i}", "title": "", "text": t}) for i, t in enumerate(texts)]
    (folder / "corpus.jsonl").write_text("\n".join(rows) + "\n")
    (folder / "queries.tsv").write_text("".join(f"{i}\tlift {i}\n" for i in range(queries)))
    lines = [f"{i} 0 d{i % 3} {int(i != 4)}\n" for i in range(queries - 1)]
    (folder / "qrels.txt").write_text("".join(lines))
    return folder


def qids(file):
    return [line.split("\t")[0] for line in file.read_text().splitlines()]


def test_every_judged_query_is_held_out_once(tmp_path):
    collection = Collection.open(write_collection(tmp_path / "c", 9), tmp_path / "work")
    dealt = benchmark.deal(collection, tmp_path, 3, seed=1)
    held_out = [qid for own in dealt for qid in qids(own["held-out"])]
    # 4 has no relevant document, 8 is not judged
    assert sorted(held_out) == ["0", "1", "2", "3", "5", "6", "7"]
    for own in dealt:
        assert not set(qids(own["train"])) & set(qids(own["held-out"]))
        assert sorted(qids(own["train"]) + qids(own["held-out"])) == sorted(held_out)


def test_signs_say_what_a_run_differs_from():
    near, far = ({"AP": {"difference": 0.1, "p": p}} for p in (0.2, 0.01))
    found = {
        "means": {"none": {"AP": 0.1}, "rocchio": {"AP": 0.2}, "trained": {"AP": 0.3}},
        "against": {
            "none": {"rocchio": near, "trained": far},
            "rocchio": {"none": near, "trained": far},
        },
    }
    assert [benchmark.cell(found, run, "AP") for run in found["means"]] == [
        "0.1000",
        "0.2000",
        "0.3000\\*†",
    ]


@pytest.mark.slow
def test_the_tables_are_printed_and_put_on_the_page(tmp_path, minilm_path, capsys, monkeypatch):
    write_collection(tmp_path / "small", 7)
    page = tmp_path / "page.md"
    page.write_text("before <!-- train-ance-prf --> old <!-- /train-ance-prf --> after")
    line = (
        f"p --collections {tmp_path} --names small --folds 2 --epochs 1 --threads 1 --page {page} "
        f"--work {tmp_path / 'work'} --json {tmp_path / 'r.json'}"
    )
    monkeypatch.setattr(sys, "argv", line.split())
    benchmark.main()
    report = json.loads((tmp_path / "r.json").read_text())
    printed = capsys.readouterr().out
    assert printed == f"{conditions(report)}\n{benchmark.tables(report)}"
    assert f"<!-- train-ance-prf -->\n{printed}<!-- /train-ance-prf --> after" in page.read_text()
    means = report["collections"]["small"]["means"]
    assert list(means) == [*benchmark.SEARCHED, "untrained", *benchmark.TRAINED]
    assert report["collections"]["small"]["queries"] == 6
    (models,) = (tmp_path / "work").glob("small-*/ance-prf")
    for number in range(2):
        (file,) = models.glob(f"trained-{number}-*/training.json")
        about = json.loads(file.read_text())
        held_out = qids(models / f"held-out-{number}.tsv")
        assert about["arguments"]["topics"].endswith(f"train-{number}.tsv")
        assert about["queries"] + len(held_out) in (5, 6)  # 4 has judgements, none of them good


def test_the_page_holds_the_tables_that_are_kept():
    kept = json.loads((ROOT / "benchmarks" / "results" / "train_ance_prf.json").read_text())
    page = (ROOT / "docs" / "ance-prf.md").read_text(encoding="utf-8")
    inside = f"{conditions(kept)}\n{benchmark.tables(kept)}"
    assert f"<!-- train-ance-prf -->\n{inside}<!-- /train-ance-prf -->" in page
    assert list(kept["collections"]) == list(benchmark.COLLECTIONS)
    assert not re.search(r"/(tmp|work|home)/", json.dumps(kept))
