"""Runs Pyserini's own commands with the plugins in place, and puts encoders into its maps."""

from __future__ import annotations

import difflib
import importlib
import os
import re
import runpy
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pyserini_ext import plugins
from pyserini_ext.adapters.encoders import (
    OPTIONS,
    DocumentAdapter,
    QueryAdapter,
    create_encoder,
    encoder_options,
)
from pyserini_ext.errors import InputError
from pyserini_ext.jvm import find_java, pyserini_import
from pyserini_ext.widen import Command

WIDENED = ("pyserini.search.faiss", "pyserini.search.hybrid", "pyserini.encode")
"""The commands that have ``--encoder-class``; every other one runs as it is."""

MAPS = ("query_encoder_class_map", "document_encoder_class_map")
"""Pyserini's dictionaries from a name to an encoder class (pyserini/encode/__init__.py)."""


class EncoderMap(dict[str, Any]):
    """Pyserini's map of encoder classes, which also finds plugins by their exact name.

    Pyserini guesses the class of ``--encoder some/name`` by looking for each key within the name.
    Plugins are therefore found by ``map[name]`` only, and neither by iteration nor by ``in``: a
    plugin that is installed does not change what a command without it does. A name that Pyserini
    has itself stays Pyserini's.

    Parameters
    ----------
    own : mapping
        Pyserini's map.
    adapt : callable
        Gives the class (or function) for the name of a plugin.
    """

    def __init__(self, own: Mapping[str, Any], adapt: Callable[[str], Any]) -> None:
        super().__init__(own)
        self.adapt = adapt

    def __missing__(self, name: str) -> Any:
        return self.adapt(name)


def install() -> None:
    """Put every encoder plugin into Pyserini's encoder maps, for use from Python.

    Afterwards ``pyserini.encode.query_encoder_class_map["minilm"](device="cpu")`` makes a query
    encoder that Pyserini's searchers take, and ``document_encoder_class_map`` a document encoder.
    Imports Pyserini. Installing twice is harmless.
    """
    _replace_maps(
        lambda name: _constructor(name, document=False),
        lambda name: _constructor(name, document=True),
    )


def run(module: str, arguments: Sequence[str]) -> None:
    """Run a Pyserini command in this process, as ``python -m module arguments…`` would.

    Parameters
    ----------
    module : str
        Full name, e.g. ``pyserini.search.faiss``.
    arguments : sequence of str
        Its command line.

    Raises
    ------
    InputError
        When Pyserini has no such command, or a plugin cannot do what is asked of it.
    SystemExit
        As the command itself raises it.
    """
    check_module(module)
    with ExitStack() as stack:
        stack.enter_context(_arguments([module, *arguments]))
        stack.enter_context(_java_first())
        if module.startswith("pyserini.encode") or module in WIDENED:
            _import("pyserini.encode")
        else:
            # What it imports is its own business, so it runs whole under the import's conditions.
            stack.enter_context(pyserini_import())
        if module in WIDENED:
            command = Command(module, own=_own_classes())
            stack.enter_context(_encoders(command))
            stack.enter_context(command.options())
            if module == "pyserini.search.faiss":
                stack.enter_context(_feedback(command))
        runpy.run_module(module, run_name="__main__", alter_sys=True)


def check_module(module: str) -> None:
    """Raise InputError unless Pyserini has a command of that name; imports nothing."""
    root = _root()
    path = root.joinpath(*module.split(".")[1:])
    if module.startswith("pyserini.") and (
        (path / "__main__.py").is_file() or path.with_suffix(".py").is_file()
    ):
        return
    known = commands()
    close = difflib.get_close_matches(module, known, n=1, cutoff=0.5)
    hint = f"did you mean {close[0]}? " if close else ""
    raise InputError(f"Pyserini has no command {module!r}; {hint}commands are: {', '.join(known)}")


def commands() -> list[str]:
    """Return the modules of the installed Pyserini that can be run, sorted; imports nothing."""
    root = _root()
    found = set()
    for file in root.rglob("*.py"):
        parts = file.relative_to(root).with_suffix("").parts
        if parts[-1] == "__main__":
            found.add(".".join(("pyserini", *parts[:-1])))
        elif re.search(r"^if __name__ *== *.__main__.", file.read_text("utf-8"), re.MULTILINE):
            found.add(".".join(("pyserini", *parts)))
    return sorted(found)


def _root() -> Path:
    spec = find_spec("pyserini")
    if spec is None or not spec.submodule_search_locations:
        raise InputError("Pyserini is not installed; pip install pyserini")
    return Path(next(iter(spec.submodule_search_locations)))


def _import(name: str) -> Any:
    with pyserini_import():
        return importlib.import_module(name)


def _own_classes() -> set[str]:
    encode = _import("pyserini.encode")
    return {name for each in MAPS for name in getattr(encode, each)}


def _replace_maps(*adapt: Callable[[str], Any]) -> list[dict[str, Any]]:
    """Put an EncoderMap in the place of each map and return those that were there."""
    encode = _import("pyserini.encode")
    before = []
    for name, function in zip(MAPS, adapt, strict=True):
        before.append(getattr(encode, name))
        setattr(encode, name, EncoderMap(before[-1], function))
    return before


@contextmanager
def _encoders(command: Command) -> Iterator[None]:
    def adapter(document: bool) -> Callable[[str], Any]:
        return lambda name: (
            lambda device="cpu", **_: command.encoder(name, device, document=document)
        )

    before = _replace_maps(adapter(False), adapter(True))
    try:
        yield
    finally:
        for name, own in zip(MAPS, before, strict=True):
            setattr(sys.modules["pyserini.encode"], name, own)


@contextmanager
def _feedback(command: Command) -> Iterator[None]:
    prf = _import("pyserini.search.faiss._prf")
    average = prf.DenseVectorAveragePrf
    prf.DenseVectorAveragePrf = lambda: command.feedback or average()
    try:
        yield
    finally:
        prf.DenseVectorAveragePrf = average


@contextmanager
def _java_first() -> Iterator[None]:
    # pyserini.eval.trec_eval runs `java` as a process of its own, whichever stands first in PATH.
    before = os.environ.get("PATH", os.defpath)
    os.environ["PATH"] = os.pathsep.join((str(Path(find_java()) / "bin"), before))
    try:
        yield
    finally:
        os.environ["PATH"] = before


@contextmanager
def _arguments(arguments: Sequence[str]) -> Iterator[None]:
    before, sys.argv = sys.argv, list(arguments)
    try:
        yield
    finally:
        sys.argv = before


def _constructor(name: str, *, document: bool) -> Callable[..., Any]:
    """Return a function with the arguments of Pyserini's encoder classes and of the plugin."""
    plugins.load("encoder", name)

    def construct(
        checkpoint: str | None = None,
        tokenizer_name: str | None = None,
        device: str = "cpu",
        **options: Any,
    ) -> Any:
        checkpoint = options.pop("model_name" if document else "encoder_dir", checkpoint)
        if not document:
            options["query_prefix"] = options.pop("prefix", None)
        given = {"encoder": checkpoint, "tokenizer": tokenizer_name}
        given |= {option: options.pop(option) for option in OPTIONS if option in options}
        # Pyserini's signatures use None and False for "not given".
        given = {key: value for key, value in given.items() if value not in (None, False)}
        translated = encoder_options(name, given, document=document)
        encoder = create_encoder(name, {**translated, **options}, device, asked=True)
        return DocumentAdapter(encoder) if document else QueryAdapter(encoder)

    return construct
