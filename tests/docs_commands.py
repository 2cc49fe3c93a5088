"""Reads the fenced blocks of a page of the documentation, and runs them (as a script).

As a script it runs the pages named in its task file, all in one process so that Pyserini, the JVM
and the model are loaded once. It is run by ``test_docs.py``.
"""

from __future__ import annotations

import ast
import contextlib
import io
import json
import re
import runpy
import shlex
import subprocess
import sys
import textwrap
import traceback
import warnings
from dataclasses import asdict, dataclass
from pathlib import Path

SHELL = ("bash", "shell", "sh", "console")
FENCE = re.compile(r"^( *)(`{3,}|~{3,})[ ]*([\w+-]*)([^\n`]*)\n(.*?)^\1\2[ ]*$", re.M | re.S)
SYNTAX = {"|", "||", "&", "&&", ";", ">", ">>", "<", "(", ")"}


@dataclass
class Block:
    """A fenced block: where it starts, its language, the words after that, and its text."""

    line: int
    language: str
    info: str
    text: str


@dataclass
class Command:
    """One command of a shell block; `words` is empty if it takes a shell to run it."""

    line: int
    text: str
    words: list[str]


def blocks(page: str) -> list[Block]:
    """Return the fenced blocks of a page in Markdown."""
    return [
        Block(
            page.count("\n", 0, found.start()) + 1,
            found[3],
            found[4].strip(),
            textwrap.dedent(found[5]),
        )
        for found in FENCE.finditer(page)
    ]


def commands(block: Block) -> list[Command]:
    """Return the commands of a shell block; of a console block, what stands after ``$``."""
    found: list[Command] = []
    text, start = "", 0
    for number, line in enumerate(block.text.splitlines(), block.line + 1):
        if block.language == "console" and not text:
            if not line.startswith("$ "):
                continue  # output
            line = line[2:]
        start = start if text else number
        if line.endswith("\\"):
            text += line[:-1] + " "
            continue
        text += line
        lexer = shlex.shlex(text, posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        tokens = list(lexer)
        if tokens:
            needs_shell = SYNTAX & set(tokens) or "$" in text or "=" in tokens[0]
            words = [] if needs_shell else shlex.split(text, comments=True)
            found.append(Command(start, " ".join(text.split()), words))
        text = ""
    return found


def flags(words: list[str]) -> list[str]:
    """Return the long options among the words of a command."""
    return [word.split("=")[0] for word in words if re.match(r"--[a-z]", word)]


def run_command(words: list[str]) -> None:
    """Run ``python -m module …`` in this process, any other command in one of its own."""
    words = [
        word
        for given in words
        for word in (sorted(map(str, Path().glob(given))) if "*" in given else ()) or [given]
    ]
    if words[:2] != ["python", "-m"] or words[3:4] == ["pyserini.index.lucene"]:
        # Anserini's indexing ends its process when it fails.
        words = [sys.executable if word == "python" else word for word in words]
        done = subprocess.run(words, capture_output=True, text=True)
        print(done.stdout)
        if done.returncode:
            raise RuntimeError(f"exit code {done.returncode}: {done.stderr[-3000:]}")
        return
    before = sys.argv
    sys.argv = words[2:]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # the module is imported already
            runpy.run_module(words[2], run_name="__main__", alter_sys=True)
    except SystemExit as error:
        if error.code not in (0, None):
            raise RuntimeError(f"exit code {error.code}") from error
    finally:
        sys.argv = before


def run_shell(text: str) -> None:
    """Run a line that needs a shell."""
    script = f'python() {{ "{sys.executable}" "$@"; }}\n{text}'
    done = subprocess.run(["bash", "-ec", script], capture_output=True, text=True)
    print(done.stdout)
    if done.returncode:
        raise RuntimeError(f"exit code {done.returncode}: {done.stderr[-3000:]}")


def run_python(text: str, namespace: dict) -> None:
    """Run a block as a notebook cell.

    An expression with a literal in a comment behind it (``1 + 1  # 2``) must have that value.
    """
    tree = ast.parse(text)
    lines = text.splitlines()
    for statement in tree.body:
        code = ast.get_source_segment(text, statement) or ""
        comment = lines[statement.end_lineno - 1][statement.end_col_offset :].partition("#")[2]
        if not isinstance(statement, ast.Expr):
            module = ast.Module([statement], [])
            exec(compile(module, "page", "exec"), namespace)
            continue
        value = eval(  # noqa: S307
            compile(ast.Expression(statement.value), "page", "eval"), namespace
        )
        try:
            expected = ast.literal_eval(comment.strip())
        except (ValueError, SyntaxError):
            continue
        if value != expected:
            raise AssertionError(f"{code} is {value!r}, and the page says {expected!r}")


def perform(step: dict, namespace: dict) -> dict:
    """Run one step; return it with ``error`` (or None) and what was printed."""
    out, err, error = io.StringIO(), io.StringIO(), None
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            if "python" in step:
                run_python(step["python"], namespace)
            elif step["words"]:
                run_command(step["words"])
            else:
                run_shell(step["text"])
        except Exception as problem:
            error = "".join(traceback.format_exception_only(problem))
            error += "".join(traceback.format_tb(problem.__traceback__)[-2:])
    return {**step, "error": error, "out": out.getvalue(), "err": err.getvalue()[-3000:]}


def main(task: str) -> None:
    """Run every page of a task file and put the results beside it."""
    results = {}
    for page, (folder, steps) in json.loads(Path(task).read_text()).items():
        namespace: dict = {}
        with contextlib.chdir(folder):
            results[page] = [perform(step, namespace) for step in steps]
    Path(task).with_suffix(".done").write_text(json.dumps(results))


def steps_of(page: str, skip: set[str]) -> list[dict]:
    """Return what to run of a page; commands whose first word is in `skip` are left out."""
    steps: list[dict] = []
    for block in blocks(page):
        if block.info:
            continue
        if block.language == "python":
            steps.append({"line": block.line, "python": block.text})
        elif block.language in SHELL:
            steps += [
                asdict(command)
                for command in commands(block)
                if command.text.split()[0] not in skip
            ]
    return steps


if __name__ == "__main__":
    main(sys.argv[1])
