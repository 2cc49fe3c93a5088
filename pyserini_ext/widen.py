"""Widens the options of a Pyserini command by the plugins, while that command runs.

Pyserini fixes the choices of ``--encoder-class`` in its parsers and picks a feedback method in an
if-chain. Here argparse itself is told more: the choices grow, two options are added, and what the
user gave (rather than left at a default) is remembered, because a plugin that cannot honour it must
say so.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pyserini_ext import plugins
from pyserini_ext.adapters.encoders import (
    DocumentAdapter,
    QueryAdapter,
    create_encoder,
    encoder_options,
)
from pyserini_ext.adapters.feedback import FeedbackAdapter
from pyserini_ext.adapters.sparse import SparseDocumentAdapter
from pyserini_ext.errors import InputError

OWN_METHODS = ("avg", "rocchio", "ance-prf")
"""Pyserini's feedback methods (search/faiss/__main__.py), which no plugin replaces."""

OF_OWN_METHODS = ("rocchio_", "ance_prf_encoder", "sparse_index")
"""Options that only those methods read, by the start of their argparse names."""


class Command:
    """The plugins that one run of a Pyserini command uses.

    Parameters
    ----------
    module : str
        Pyserini's module, e.g. ``pyserini.search.faiss``.
    own : iterable of str
        Encoder classes of Pyserini, which no plugin replaces.

    Attributes
    ----------
    encoders : list of str
        Registered encoders that Pyserini has no class of the same name for; sparse ones too where
        documents are encoded.
    """

    def __init__(self, module: str, own: Any = ()) -> None:
        self.module = module
        self.encoders = [name for name in plugins.names("encoder") if name not in set(own)]
        taken = {*own, *self.encoders}
        document = module == "pyserini.encode"
        names = plugins.names("sparse-encoder") if document else []
        self._sparse = [name for name in names if name not in taken]
        self.encoders += self._sparse
        self.methods = [name for name in plugins.names("feedback") if name not in OWN_METHODS]
        self._given: dict[int, dict[str, Any]] = {}
        self._encoder: Any = None
        self._feedback: Any = None

    @contextmanager
    def options(self) -> Iterator[None]:
        """Widen every argparse parser built within the block."""
        add, parse = argparse._ActionsContainer.add_argument, argparse.ArgumentParser.parse_args
        command = self

        def add_argument(parser: Any, *flags: Any, **settings: Any) -> Any:
            return command._add(add, parser, flags, settings)

        def parse_args(parser: Any, args: Any = None, namespace: Any = None) -> Any:
            return command._check(parse(parser, args, namespace))

        argparse._ActionsContainer.add_argument = add_argument  # type: ignore[assignment, method-assign]
        argparse.ArgumentParser.parse_args = parse_args  # type: ignore[assignment, method-assign]
        try:
            yield
        finally:
            argparse._ActionsContainer.add_argument = add  # type: ignore[method-assign]
            argparse.ArgumentParser.parse_args = parse  # type: ignore[method-assign]

    def encoder(self, name: str, device: str, *, document: bool) -> Any:
        """Return the adapter for the encoder that the user asked for, made once."""
        if self._encoder is None:
            given = self._chosen("encoder_class", self.encoders) or {"encoder_class": name}
            kind = self._kind(name)
            options = encoder_options(name, given, document=document, kind=kind)
            made = create_encoder(name, options, device, asked="device" in given, kind=kind)
            adapters = (QueryAdapter, DocumentAdapter, SparseDocumentAdapter)
            self._encoder = adapters[document + (name in self._sparse)](made)
        return self._encoder

    def _kind(self, name: str) -> str:
        return "sparse-encoder" if name in self._sparse else "encoder"

    @property
    def feedback(self) -> FeedbackAdapter | None:
        """The feedback plugin that the user asked for, or None for Pyserini's own methods."""
        return self._feedback

    def _add(self, add: Any, parser: Any, flags: tuple[str, ...], settings: dict[str, Any]) -> Any:
        action = settings.get("action", "store")
        if isinstance(action, str) and action in ("store", "store_true", "append"):
            base = parser._registry_get("action", action, action)
            settings["action"] = _recording(base, self._given, self.encoders)
        if "--encoder-class" in flags and settings.get("choices"):
            settings["choices"] = [*settings["choices"], *self.encoders]
            if settings.get("metavar"):
                settings["help"] = (
                    f"{settings.get('help', '')}. Plugins: {', '.join(self.encoders)}"
                )
            made = add(parser, *flags, **settings)
            self._add(add, parser, ("--encoder-arg",), _pairs("the encoder plugin"))
            return made
        if "--prf-method" in flags:
            settings["type"] = self._method
            if shown := [name for name in self.methods if _works_here(name)]:
                settings["help"] = f"{settings.get('help', '')}. Plugins: {', '.join(shown)}"
            made = add(parser, *flags, **settings)
            self._add(add, parser, ("--prf-arg",), _pairs("the feedback plugin"))
            return made
        return add(parser, *flags, **settings)

    def _method(self, text: str) -> str:
        return PluginMethod(text) if text in self.methods else text

    def _chosen(self, dest: str, names: list[str]) -> dict[str, Any] | None:
        return next((g for g in self._given.values() if g.get(dest) in names), None)

    def _check(self, namespace: argparse.Namespace) -> argparse.Namespace:
        """Refuse what a plugin cannot do, before any index or model is opened."""
        given = self._chosen("encoder_class", self.encoders)
        if given and self._encoder is None:
            name, document = given["encoder_class"], self.module == "pyserini.encode"
            if "encoded_queries" in given:
                raise InputError(
                    f"--encoder-class {name} and --encoded-queries cannot be used together"
                )
            encoder_options(name, given, document=document, kind=self._kind(name))
            if document:
                self._measure(name, given, namespace)
        if given and given["encoder_class"] in self._sparse:
            self._refuse_dense(given["encoder_class"])
        for each in self._given.values():
            if "encoder_arg" in each and each.get("encoder_class") not in self.encoders:
                raise InputError("--encoder-arg needs --encoder-class with the name of a plugin")
        self._check_feedback()
        return namespace

    def _measure(self, name: str, given: dict[str, Any], namespace: argparse.Namespace) -> None:
        # Pyserini assumes 768 unless told; the encoder knows.
        from pyserini.util import resolve_device

        namespace.device = resolve_device(namespace.device, backend="torch")
        encoder = self.encoder(name, namespace.device, document=True)
        if name in self._sparse:
            return
        dimension = encoder.dimension
        if given.get("dimension", dimension) != dimension:
            raise InputError(
                f"--dimension {given['dimension']} does not match the encoder {name!r}, whose "
                f"vectors have {dimension} dimensions; leave --dimension out"
            )
        namespace.dimension = dimension

    def _refuse_dense(self, name: str) -> None:
        for each in self._given.values():
            for dest in each.keys() & {"to_faiss", "dimension"}:
                raise InputError(
                    f"--{dest.replace('_', '-')} cannot be used with the encoder {name!r}, whose "
                    "vectors are sparse: leave it out, and index the JSON lines with "
                    "python -m pyserini_ext.index"
                )

    def _check_feedback(self) -> None:
        given = next((g for g in self._given.values() if "prf_method" in g or "prf_arg" in g), None)
        if given is None or self._feedback is not None:
            return
        name, depth = given.get("prf_method", "avg"), int(given.get("prf_depth", 0))
        if name.lower() in OWN_METHODS and not isinstance(name, PluginMethod):
            if "prf_arg" in given:
                raise InputError("--prf-arg needs --prf-method with the name of a plugin")
            return
        if self.module != "pyserini.search.faiss":
            raise InputError(
                f"{self.module} reads --prf-method but does no feedback; use "
                "python -m pyserini_ext.search"
            )
        if depth < 1 or given.get("searcher", "simple").lower() == "bpr":
            raise InputError(
                f"--prf-method {name} needs --prf-depth of at least 1 and the default --searcher: "
                "otherwise Pyserini does no feedback at all"
            )
        for dest in given:
            if dest.startswith(OF_OWN_METHODS):
                flag = "--" + dest.replace("_", "-")
                raise InputError(
                    f"{flag} is not for the plugin {name!r}; its parameters are given as "
                    "--prf-arg name=value"
                )
        self._feedback = FeedbackAdapter(_feedback(str(name), depth, given.get("prf_arg", ())))


class PluginMethod(str):
    """The name of a feedback plugin, which Pyserini's if-chain takes for ``avg``.

    The rule that the chain then makes is replaced by the plugin's (see ``bridge``).
    """

    __slots__ = ()

    def lower(self) -> str:
        """Return the name of the branch to take."""
        return "avg"


def _works_here(name: str) -> bool:
    """Whether a feedback method needs no more than Pyserini's command hands on."""
    try:
        method = plugins.load("feedback", name)
    except InputError:
        return True  # the reason is told to who asks for it
    if not isinstance(method, type):
        return True  # what a function makes is not known yet
    return hasattr(method, "refine") and not getattr(method, "requires_text", False)


def _feedback(name: str, depth: int, pairs: Any) -> Any:
    factory = plugins.load("feedback", name)
    options = plugins.read_options(pairs)
    taken = plugins.parameters(factory)
    if "depth" in options:
        raise InputError("give the depth as --prf-depth, not as --prf-arg")
    if taken is None or "depth" in taken:
        options["depth"] = depth
    method = plugins.create("feedback", name, **options)
    if not callable(getattr(method, "refine", None)):
        raise InputError(
            f"feedback {name!r} does not work on one vector and its hits alone (refine); use it "
            "with python -m pyserini_ext.search"
        )
    if getattr(method, "requires_text", False):
        raise InputError(
            f"feedback {name!r} reads the text of queries or documents, which "
            "pyserini.search.faiss does not hand on; use python -m pyserini_ext.search"
        )
    if getattr(method, "depth", depth) != depth:
        raise InputError(
            f"feedback {name!r} reads {method.depth} feedback documents; give "
            f"--prf-depth {method.depth}"
        )
    return method


def _pairs(receiver: str) -> dict[str, Any]:
    return {
        "action": "append",
        "metavar": "name=value",
        "help": f"An option of {receiver}; may be given more than once.",
    }


def _recording(base: type, given: dict[int, dict[str, Any]], encoders: list[str]) -> type:
    """Return a subclass of an argparse action that remembers that its option was given."""

    class Recording(base):  # type: ignore[misc]
        def __call__(self, parser: Any, namespace: Any, values: Any, flag: Any = None) -> None:
            super().__call__(parser, namespace, values, flag)
            value = getattr(namespace, self.dest)
            given.setdefault(id(parser), {})[self.dest] = value
            if self.dest == "encoder_class" and value in encoders:
                # A preset brings its checkpoint, but Pyserini makes an encoder only when
                # --encoder is there.
                parser._option_string_actions["--encoder"].required = False
                if namespace.encoder is None:
                    namespace.encoder = value

    return Recording
