"""The registry of encoders, feedback methods and searchers, fed by entry points.

Our own plugins are registered the way anybody else's are: a line in ``pyproject.toml``. Nothing is
imported until a plugin is asked for, so that a command can show its choices at once.
"""

from __future__ import annotations

import ast
import difflib
import functools
import inspect
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

from pyserini_ext.errors import InputError

GROUPS = {
    "encoder": "pyserini_ext.encoders",
    "sparse-encoder": "pyserini_ext.sparse_encoders",
    "feedback": "pyserini_ext.feedback",
    "searcher": "pyserini_ext.searchers",
}
"""Entry-point group of each kind of plugin."""


@dataclass(frozen=True)
class Plugin:
    """One registered name; its module is imported when a property below is first read.

    Attributes
    ----------
    kind : str
        A key of :data:`GROUPS`.
    name : str
        What the user types.
    distribution : str
        Name and version of the package that registered it.
    value : str
        Where it lies, as ``module:attribute``.
    """

    kind: str
    name: str
    distribution: str
    value: str
    _entry_point: metadata.EntryPoint = field(repr=False, compare=False)
    _rivals: tuple[str, ...] = field(default=(), repr=False)

    def load(self) -> Any:
        """Import the class, factory or preset behind the name.

        Raises
        ------
        InputError
            When another distribution registered the same name, or the import fails; the message
            names the distributions.
        """
        return _load(self)

    @property
    def error(self) -> str | None:
        """Why the plugin cannot be loaded, or None."""
        try:
            self.load()
        except InputError as error:
            return str(error)
        return None

    @property
    def description(self) -> str:
        """The plugin's ``description``, else the first line of its docstring, else nothing."""
        if self.error:
            return ""
        found = self.load()
        text = getattr(found, "description", None)
        if not isinstance(text, str):
            # An instance inherits its class's docstring, which does not describe the instance.
            own = inspect.isclass(found) or inspect.isroutine(found)
            text = (found.__doc__ if own else vars(type(found)).get("__doc__")) or ""
        first = next(iter(inspect.cleandoc(text).splitlines()), "")
        return first.replace("``", "").rstrip(".")

    @property
    def available(self) -> bool:
        """Whether it loads and its ``is_available()``, where it has one, agrees."""
        if self.error:
            return False
        return bool(_value(getattr(self.load(), "is_available", True)))

    @property
    def install_hint(self) -> str:
        """How to make it available: its ``install_hint()``, or nothing."""
        if self.error:
            return ""
        return str(_value(getattr(self.load(), "install_hint", "")))


def registered(kind: str | None = None) -> list[Plugin]:
    """Return every registered plugin, sorted by kind and name; imports none of them.

    Parameters
    ----------
    kind : str, optional
        A key of :data:`GROUPS`; all kinds when left out.

    Returns
    -------
    list of Plugin
        A name that several distributions registered stands once for each of them, and cannot be
        loaded.
    """
    kinds = GROUPS if kind is None else [_known_kind(kind)]
    return [plugin for each in kinds for plugin in _discover(each, tuple(sys.path))]


def names(kind: str) -> list[str]:
    """Return the registered names of a kind, sorted, each once."""
    return sorted({plugin.name for plugin in registered(kind)})


def find(kind: str, name: str) -> Plugin:
    """Return the plugin registered under a name, without importing it.

    Raises
    ------
    InputError
        For an unknown name; the message lists the names there are, the closest one first.
    """
    for plugin in registered(kind):
        if plugin.name == name:
            return plugin
    known = names(kind)
    close = difflib.get_close_matches(name.lower(), known, n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    raise InputError(
        f"no {kind} is called {name!r}; {hint}registered are: {', '.join(known) or 'none'} "
        "(`python -m pyserini_ext plugins` describes them)"
    )


def load(kind: str, name: str) -> Any:
    """Return the class, factory or preset behind a name.

    Parameters
    ----------
    kind : str
        A key of :data:`GROUPS`.
    name : str
        A registered name.

    Raises
    ------
    InputError
        For an unknown name, a name claimed by two distributions, or a plugin whose import fails.

    Examples
    --------
    >>> load("feedback", "rocchio").__name__
    'Rocchio'
    """
    return find(kind, name).load()


def create_or_load(kind: str, name: str, default: str, /, **options: Any) -> Any:
    """Create the plugin of a name, or the plugin `default` for the checkpoint of that name.

    A name that is registered is a plugin; of the others, a folder and a name with a slash are
    checkpoints, and anything else is taken for a misspelt plugin.
    """
    if name in names(kind) or not ("/" in name or Path(name).is_dir()):
        return create(kind, name, **options)
    return create(kind, default, checkpoint=name, **options)


def create(kind: str, name: str, /, **options: Any) -> Any:
    """Load a plugin and call it with the options given.

    Parameters
    ----------
    kind, name : str
        As for :func:`load`.
    **options
        Passed on as they are.

    Raises
    ------
    InputError
        When the plugin does not take one of the options or needs one that was not given (the
        message says what it takes), or what it needs is not installed (the message is its
        ``install_hint()``).
    """
    plugin = find(kind, name)
    factory = plugin.load()
    taken = parameters(factory)
    if taken is not None:
        shown = ", ".join(_shown(taken)) or "no options"
        for option in options:
            if option not in taken:
                raise InputError(
                    f"{kind} {name!r} ({plugin.distribution}) has no option {option!r}; "
                    f"it takes {shown}"
                )
        for option, parameter in taken.items():
            if parameter.default is parameter.empty and option not in options:
                raise InputError(f"{kind} {name!r} needs the option {option!r}; it takes {shown}")
    try:
        return factory(**options)
    except InputError:
        raise
    except (ImportError, OSError) as error:
        # Most often what it needs is not installed; its own hint says what.
        if plugin.available or not plugin.install_hint:
            raise
        raise InputError(
            f"{kind} {name!r} cannot be made: {error}; {plugin.install_hint}"
        ) from error


def parameters(factory: Any) -> dict[str, inspect.Parameter] | None:
    """Return the options that a factory takes by name, or None if it takes any.

    Parameters
    ----------
    factory : callable
        A class, function or callable object; its ``__signature__`` is honoured.
    """
    try:
        found = inspect.signature(factory).parameters
    except (TypeError, ValueError):
        return None
    if any(p.kind is p.VAR_KEYWORD for p in found.values()):
        return None
    return {
        name: p for name, p in found.items() if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
    }


def read_options(pairs: Iterable[str]) -> dict[str, Any]:
    """Read options that were typed as ``name=value``.

    Parameters
    ----------
    pairs : iterable of str
        A value that reads as a Python number, ``true``, ``false`` or ``none`` (in any case)
        becomes that; anything else, and what stands in quotes, is a string. ``-`` in a name
        becomes ``_``.

    Raises
    ------
    InputError
        For text without ``=`` and for a name given twice.

    Examples
    --------
    >>> read_options(["beta=0.5", "top-k=3", "mode=soft", "verbose=true"])
    {'beta': 0.5, 'top_k': 3, 'mode': 'soft', 'verbose': True}
    """
    options: dict[str, Any] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        name = name.strip().replace("-", "_")
        if not equals or not name.isidentifier():
            raise InputError(f"{pair!r} is not an option; write name=value, as in alpha=0.4")
        if name in options:
            raise InputError(f"the option {name!r} is given twice")
        text = text.strip()
        try:
            options[name] = ast.literal_eval(
                {"true": "True", "false": "False", "none": "None"}.get(text.lower(), text)
            )
        except (ValueError, SyntaxError):
            options[name] = text
    return options


def _known_kind(kind: str) -> str:
    if kind not in GROUPS:
        raise InputError(f"{kind!r} is not a kind of plugin; kinds are {', '.join(GROUPS)}")
    return kind


@functools.cache
def _discover(kind: str, path: tuple[str, ...]) -> tuple[Plugin, ...]:
    # `path` is in the key because entry points are looked for along sys.path.
    found: dict[str, dict[str, metadata.EntryPoint]] = {}
    for entry in metadata.entry_points(group=GROUPS[kind]):
        owner = f"{entry.dist.name} {entry.dist.version}" if entry.dist else "unknown distribution"
        found.setdefault(entry.name, {})[owner] = entry
    return tuple(
        Plugin(kind, name, owner, entry.value, entry, tuple(o for o in owners if o != owner))
        for name, owners in sorted(found.items())
        for owner, entry in sorted(owners.items())
    )


@functools.cache
def _load(plugin: Plugin) -> Any:
    what = f"{plugin.kind} {plugin.name!r}"
    if plugin._rivals:
        owners = ", ".join(sorted((plugin.distribution, *plugin._rivals)))
        raise InputError(
            f"{what} is registered by more than one distribution ({owners}); uninstall all but one"
        )
    try:
        return plugin._entry_point.load()
    except Exception as error:
        raise InputError(
            f"{what} of {plugin.distribution} cannot be loaded from {plugin.value}: "
            f"{type(error).__name__}: {error}; repair or uninstall that distribution"
        ) from error


def _value(attribute: Any) -> Any:
    return attribute() if callable(attribute) else attribute


def _shown(taken: dict[str, inspect.Parameter]) -> list[str]:
    return [name if p.default is p.empty else f"{name}={p.default!r}" for name, p in taken.items()]
