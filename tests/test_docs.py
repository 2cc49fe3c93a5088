"""Every command and every piece of Python in the pages of the documentation is run.

A page runs in a folder of its own that holds `collection/` (corpus.jsonl, queries.tsv, qrels.txt),
`indexes/demo.lucene`, `indexes/demo.faiss`, `runs/bm25.txt` and `runs/dense.txt`, its blocks one
after the other. Not run: `make …` and `pip …` (CI does that), scripts, the pages in `SLOW` and
blocks with a word behind their language (```` ```bash slow ````). Of those the targets, files and
options must exist.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
import docs_commands

from pyserini_ext.evaluate import evaluate
from pyserini_ext.run import Run

ROOT = Path(__file__).parents[1]
PAGES = {
    page.relative_to(ROOT).as_posix(): page.read_text(encoding="utf-8")
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
}
SLOW = {"docs/results.md", "docs/benchmarks.md"}
NOT_RUN = {"make", "pip", "git", "cd", "export", "python3", "source", "."}

TEXTS = """\
Waves of light|light travels as a wave and is measured by its length
Sound|sound is a wave of pressure that travels through air
Whales|the blue whale is the largest animal that lives in the sea
Sharks|sharks are fish whose skeleton is made of cartilage
Bread|bread is baked from flour, water, salt and yeast
Cheese|cheese is made from the milk of cows, goats or sheep
Violin|the violin has four strings and is played with a bow
Piano|a piano has strings that are struck by hammers
Moon|the moon turns around the earth in about a month
Sun|the sun is a star that gives light and warmth to the earth
Rain|rain falls from clouds when drops of water grow heavy
Snow|snow forms when water freezes in cold clouds
Rivers|rivers carry water from the mountains to the sea
Volcano|a volcano throws out lava, ash and gas
Bridge|a bridge carries a road over a river or a valley
Railway|trains run on rails of steel between stations
Bicycle|a bicycle has two wheels and is driven by pedals
Engine|an engine burns fuel to turn heat into motion
Paper|paper is pressed from the fibres of wood
Printing|printing puts ink on paper with movable type
Memory|a computer keeps numbers in its memory
Sorting|sorting puts the items of a list into order
Vaccines|a vaccine trains the body to fight a disease
Heart|the heart pumps blood through the body
Lens|a lens bends light so that it meets in one point
Mirror|a mirror throws light back at the angle of its arrival
""".splitlines()
QUERIES = {
    "1": ("how is the length of a light wave measured", {"d1": 2, "d25": 1}),
    "2": ("animals that live in the ocean", {"d3": 2, "d4": 1}),
    "3": ("musical instruments with strings", {"d7": 2, "d8": 2}),
    "4": ("where does the water of a river come from", {"d13": 2, "d11": 1}),
    "5": ("what makes a wheel turn", {"d18": 2, "d17": 1}),
}
SETUP = """
python -m pyserini_ext pyserini.index.lucene --collection JsonCollection --input collection \
    --index indexes/demo.lucene --generator DefaultLuceneDocumentGenerator --threads 1 --storeRaw
python -m pyserini_ext.encode --corpus collection --encoder minilm --output indexes/demo.faiss
python -m pyserini_ext.search --sparse-index indexes/demo.lucene \
    --topics collection/queries.tsv --output runs/bm25.txt
python -m pyserini_ext.search --index indexes/demo.faiss --encoder minilm \
    --topics collection/queries.tsv --output runs/dense.txt
"""


def shell_commands(page):
    for block in docs_commands.blocks(PAGES[page]):
        if block.language in docs_commands.SHELL:
            for command in docs_commands.commands(block):
                yield block, command


def inline_commands(page):
    """Commands within the text, such as `make demo`; they are not run."""
    text = re.sub(docs_commands.FENCE, "", PAGES[page])
    for found in re.finditer(r"`((?:make|pip|python)\s[^`]+)`", text):
        words = found[1].split()
        if words[-1] not in ("…", "-m"):
            line = text.count("\n", 0, found.start()) + 1
            yield None, docs_commands.Command(line, " ".join(words), words)


def write_collection(folder):
    folder.mkdir(parents=True)
    with (folder / "corpus.jsonl").open("w") as out:
        for number, line in enumerate(TEXTS, 1):
            title, text = line.split("|")
            row = {"id": f"d{number}", "contents": f"{title}\n{text}", "title": title, "text": text}
            print(json.dumps(row), file=out)
    lines = [f"{qid}\t{query}\n" for qid, (query, _) in QUERIES.items()]
    (folder / "queries.tsv").write_text("".join(lines))
    lines = [f"{q} 0 {d} {r}\n" for q, (_, judged) in QUERIES.items() for d, r in judged.items()]
    (folder / "qrels.txt").write_text("".join(lines))


def drive(task, tasks, site):
    """Run pages' steps in one process in which the example plugin is installed."""
    task.write_text(json.dumps(tasks))
    path = [str(site), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    path = [str(Path(entry).resolve()) for entry in path if entry]
    done = subprocess.run(
        [sys.executable, docs_commands.__file__, str(task)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(task.with_suffix(".done").read_text())


@pytest.fixture(scope="session")
def ran(tmp_path_factory, minilm_path):
    """Every page's folder and what became of its steps."""
    root = tmp_path_factory.mktemp("docs")
    pip = ["-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation", "--no-index"]
    plugin = ROOT / "examples" / "plugin"
    subprocess.run([sys.executable, *pip, "--target", str(root / "site"), str(plugin)], check=True)
    template = root / "template"
    write_collection(template / "collection")
    setup = docs_commands.steps_of(f"```bash{SETUP}```\n", set())
    for step in drive(root / "setup.json", {"": [str(template), setup]}, root / "site")[""]:
        assert step["error"] is None, step
    tasks = {}
    for page in PAGES.keys() - SLOW:
        folder = root / page.replace("/", "-").removesuffix(".md")
        shutil.copytree(template, folder)
        steps = [
            step
            for step in docs_commands.steps_of(PAGES[page], NOT_RUN)
            if ".py " not in step.get("text", "")
        ]
        for step in steps:
            for made in outputs(step.get("words", [])):
                shutil.rmtree(folder / made, ignore_errors=True)
        tasks[page] = [str(folder), steps]
    done = drive(root / "pages.json", tasks, root / "site")
    return {page: (Path(tasks[page][0]), steps) for page, steps in done.items()}


def outputs(words):
    """The indexes that a command makes, and which must therefore not be there before."""
    making = {"pyserini.index.lucene": "--index", "pyserini.encode": "--embeddings"}
    module = words[3] if words[2:3] == ["pyserini_ext"] else words[2] if len(words) > 2 else ""
    option = making.get(module, "--output" if module == "pyserini_ext.encode" else None)
    return [value for flag, value in pairwise(words) if flag == option]


@pytest.mark.parametrize("page", sorted(PAGES.keys() - SLOW))
def test_commands_and_python_of_the_page_run(ran, page):
    _, steps = ran[page]
    failed = [
        f"{page}:{step['line']}: {step.get('text') or step['python']}\n{step['error']}{step['err']}"
        for step in steps
        if step["error"]
    ]
    assert not failed, "\n\n".join(failed)
    for step in steps:
        for flag in ("--output", "--report", "--png", "--json", "--per-query"):
            words = step.get("words", [])
            if flag in words and "--alpha" not in words:
                assert (ran[page][0] / words[words.index(flag) + 1]).exists()


@pytest.mark.parametrize("page", sorted(PAGES))
def test_make_targets_scripts_and_packages_exist(page):
    targets = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for _, command in [*shell_commands(page), *inline_commands(page)]:
        words = command.words or command.text.split()
        if words[0] == "make":
            assert {word for word in words[1:] if "=" not in word} <= targets, command
        if words[:2] == ["pip", "install"]:
            for word in words[2:]:
                assert "/" not in word or (ROOT / word).exists() or "://" in word, command
        if words[0] == "python" and words[1].endswith(".py"):
            assert (ROOT / words[1]).is_file(), command


def unrun():
    """Commands that are not run but whose options are looked up, with what to call for help."""
    for page in PAGES:
        for block, command in [*shell_commands(page), *inline_commands(page)]:
            words = command.words or command.text.split()
            script = words[0] == "python" and words[1].endswith(".py")
            slow = block is None or block.info or page in SLOW
            module = words[:2] == ["python", "-m"] and slow
            if script or module:
                base = 2 if script else 4 if words[2] == "pyserini_ext" else 3
                known = tuple(words[1:base])
                yield pytest.param(
                    known, docs_commands.flags(words[base:]), id=f"{page}:{command.line}"
                )


@pytest.mark.parametrize(("command", "options"), list(unrun()))
def test_options_of_commands_that_are_not_run_exist(command, options):
    done = subprocess.run(
        [sys.executable, *command, "--help"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    known = set(re.findall(r"--[a-zA-Z][\w-]*", done.stdout))
    assert set(options) <= known


@pytest.mark.parametrize("page", sorted(PAGES))
def test_no_command_hides_in_a_block_that_is_not_run(page):
    for block in docs_commands.blocks(PAGES[page]):
        if block.language not in docs_commands.SHELL:
            found = re.findall(r"^\$? ?(?:python3?|pip|make|java|git) .*", block.text, re.MULTILINE)
            assert block.language == "python" or not found, (block.line, found)


def anchors(text):
    """The anchors that GitHub gives to the headings of a page."""
    text = re.sub(docs_commands.FENCE, "", text)
    headings = re.findall(r"^#+ +(.*?) *$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", sorted(PAGES))
def test_links_within_the_project_resolve(page):
    text = re.sub(docs_commands.FENCE, "", PAGES[page])
    links = re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r"(?:src|srcset)=\"([^\"]+)\"", text)
    for link in links:
        if re.match(r"[a-z]+:", link):
            continue
        name, _, anchor = link.partition("#")
        target = (ROOT / page).parent / name if name else ROOT / page
        assert target.exists(), link
        assert target.resolve().is_relative_to(ROOT), link
        if anchor:
            assert anchor in anchors(target.read_text(encoding="utf-8")), link


# -- what single pages promise ---------------------------------------------------------------------


def test_plugin_page_shows_the_example_package():
    text = PAGES["docs/plugins.md"]
    (lines,) = [b for b in docs_commands.blocks(text) if b.language == "toml"]
    assert lines.text in (ROOT / "examples" / "plugin" / "pyproject.toml").read_text()


def test_feedback_of_a_plugin_changes_the_run_of_pyserinis_command(ran):
    folder, _ = ran["docs/pyserini-commands.md"]
    dense, decay = ((folder / "runs" / f"{n}.txt").read_text() for n in ("dense", "decay"))
    assert dense != decay
    assert dense.count("\n") == decay.count("\n") == len(QUERIES) * len(TEXTS)


def test_settings_named_on_the_feedback_page_give_pyserinis_run(ran):
    folder, _ = ran["docs/prf.md"]
    ours, theirs = (Run.read(folder / "runs" / f"{name}.txt") for name in ("ours", "pyserinis"))
    assert list(ours) == list(theirs)
    for qid, hits in ours.items():
        assert hits.docids.tolist() == theirs[qid].docids.tolist()


def test_stages_named_on_the_interpolation_page_are_written(ran):
    folder, _ = ran["docs/interpolation.md"]
    for stage in ("dense", "sparse", "before", "feedback"):
        assert f"`three.{stage}`" in PAGES["docs/interpolation.md"]
        assert (folder / "runs" / f"three.{stage}.txt").is_file()


def test_the_first_page_is_short():
    assert PAGES["README.md"].count("\n") <= 120


def test_table_on_the_evaluation_page_is_what_the_command_prints(collections_dir):
    pool = collections_dir / "msmarco_dl_pool"
    runs = [pool / "runs" / f"dl19.{name}.txt" for name in ("bm25", "splade", "tasb")]
    measures = ["nDCG@10", "AP(rel=2)"]
    result = evaluate(pool / "qrels.dl19.full.txt", runs, measures, "dl19.bm25")
    table, _, _ = result.table().partition("\n\n")
    assert f"```\n{table}\n```" in PAGES["docs/evaluate.md"]


# -- the runner itself -----------------------------------------------------------------------------


def test_commands_are_read_as_a_shell_reads_them():
    page = (
        "```console\n$ python -m a \\\n    --b 'c d'  # why\noutput\n$ x | y\n```\n"
        "```bash slow\nmake\n```\n"
    )
    first, second = docs_commands.blocks(page)
    found = docs_commands.commands(first)
    assert [command.words for command in found] == [["python", "-m", "a", "--b", "c d"], []]
    assert [command.line for command in found] == [2, 5]
    assert (second.info, second.line) == ("slow", 7)
    assert len(docs_commands.steps_of(page, set())) == 2
    assert docs_commands.flags(["--a", "-b", "--c=1", "2"]) == ["--a", "--c"]


@pytest.mark.parametrize(
    "step",
    [
        {"python": "1 + 1  # 3"},
        {"python": "nothing"},
        {"words": ["python", "-m", "pyserini_ext.evaluate", "--nothing"]},
        {"words": [], "text": "python -c 'import sys; sys.exit(3)' | cat; exit 4"},
        {"words": ["python", "-c", "nothing"]},
    ],
)
def test_what_fails_is_seen(step):
    assert docs_commands.perform(step, {})["error"]


def test_what_works_is_not_blamed():
    step = {"python": "a = 1\na + 1  # 2\na  # a comment"}
    assert docs_commands.perform(step, {})["error"] is None
