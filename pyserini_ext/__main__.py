"""Runs Pyserini's commands with the plugins installed, and lists the plugins."""

from __future__ import annotations

import argparse
import shutil
import sys
import textwrap
from collections.abc import Sequence

from pyserini_ext.command import run_command
from pyserini_ext.errors import InputError
from pyserini_ext.plugins import GROUPS, Plugin, registered

HELP = """\
usage: python -m pyserini_ext pyserini.MODULE [its options]
       python -m pyserini_ext plugins [--kind KIND]

Run one of Pyserini's commands with encoder and feedback plugins:

  python -m pyserini_ext pyserini.encode input --corpus docs.jsonl --fields text \\
      output --embeddings indexes/docs.faiss --to-faiss encoder --encoder-class minilm
  python -m pyserini_ext pyserini.search.faiss --index indexes/docs.faiss \\
      --encoder-class minilm --topics topics.tsv --output runs/dense.txt

Everything else is Pyserini's: options, --help, output files, exit codes. Added are plugin names
for --encoder-class and --prf-method, and --encoder-arg and --prf-arg name=value for their options.

Commands of pyserini-ext itself (each has --help):

  python -m pyserini_ext plugins         what is registered, and whether it works here
  python -m pyserini_ext.encode          encode a collection into a dense index
  python -m pyserini_ext.encode.sparse   encode a collection into sparse vectors
  python -m pyserini_ext.index           index sparse vectors as Lucene impacts
  python -m pyserini_ext.search          dense and sparse search, feedback, interpolation
  python -m pyserini_ext.fusion          combine runs
  python -m pyserini_ext.evaluate        compare runs
"""


def main() -> int:
    """Run the command line and return the exit status."""
    arguments = sys.argv[1:]
    if not arguments or arguments[0] in ("-h", "--help"):
        print(HELP, end="")
        return 0 if arguments else 2
    if arguments[0] == "plugins":
        return list_plugins(arguments[1:])
    if arguments[0].startswith("-"):
        raise InputError(
            f"{arguments[0]} stands before the command; write python -m pyserini_ext "
            "pyserini.MODULE and its options after it"
        )
    from pyserini_ext.bridge import run

    run(arguments[0], arguments[1:])
    return 0


def list_plugins(arguments: Sequence[str]) -> int:
    """Print what is registered; broken plugins are listed with their error."""
    parser = argparse.ArgumentParser(
        prog="python -m pyserini_ext plugins", description="List the registered plugins."
    )
    parser.add_argument("--kind", choices=list(GROUPS), help="only this kind (default: all)")
    print(table(registered(parser.parse_args(arguments).kind)))
    return 0


def table(plugins: Sequence[Plugin], width: int | None = None) -> str:
    """Lay plugins out in columns.

    Parameters
    ----------
    plugins : sequence of Plugin
    width : int, optional
        Characters in a line; the terminal's (at least 80, 120 where it is unknown) by default.

    Returns
    -------
    str
        One row for each plugin; the last column says what it is, or why it does not work here and
        what to do about it.
    """
    if not plugins:
        return "no plugins are registered"
    width = width or max(80, shutil.get_terminal_size((120, 24)).columns)
    head = ("KIND", "NAME", "FROM", "HERE", "DESCRIPTION")
    rows = [head, *map(_row, plugins)]
    sizes = [max(len(row[column]) for row in rows) for column in range(4)]
    indent = sum(sizes) + 8
    lines = []
    for row in rows:
        start = "  ".join(cell.ljust(size) for cell, size in zip(row[:4], sizes, strict=True))
        text = textwrap.wrap(
            row[4], max(30, width - indent), break_long_words=False, break_on_hyphens=False
        )
        lines.append(f"{start}  {text[0] if text else ''}".rstrip())
        lines += [" " * indent + line for line in text[1:]]
    return "\n".join(lines)


def _row(plugin: Plugin) -> tuple[str, str, str, str, str]:
    start = (plugin.kind, plugin.name, plugin.distribution)
    if error := plugin.error:
        return (*start, "broken", error)
    if plugin.available:
        return (*start, "yes", plugin.description)
    hint = f"; to install: {plugin.install_hint}" if plugin.install_hint else ""
    return (*start, "no", plugin.description + hint)


if __name__ == "__main__":
    run_command(main)
