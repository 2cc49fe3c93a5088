"""The demonstration's collection: what the standard library of this Python says about itself.

One document for every public module, class, function, method and property that has a docstring.
The docid is the dotted name a programmer would write (``os.path.split``, ``str.partition``), the
title is the same name, the text is the signature followed by the docstring. Each line of the file
is ``{"id", "title", "text", "contents"}`` with ``contents`` = title, a line break, text: Lucene's
JsonCollection reads ``contents``, Pyserini's and our encoder read the fields.

Run it with ``python examples/demo/collection.py --output demo/corpus/corpus.jsonl``. The modules
are imported by a second interpreter that sees no installed packages (``-I -S``), so the collection
depends on the Python alone, and whatever an import does ends with that process.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import json
import pkgutil
import re
import subprocess
import sys
import types
from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

# Programs and tests; modules that act when imported; the implementations behind public names; and
# modules of Python 3.11 or 3.12 that 3.13 no longer has. tkinter and curses are left out because
# whether they are installed is an accident of the machine.
EXCLUDED = frozenset(
    """
    antigravity curses ensurepip idlelib lib2to3 pydoc_data site test this tkinter turtle turtledemo
    encodings genericpath nt ntpath nturl2path opcode posix posixpath
    sre_compile sre_constants sre_parse
    aifc asynchat asyncore audioop cgi cgitb chunk crypt distutils imghdr imp mailcap msilib nis
    nntplib ossaudiodev pipes smtpd sndhdr spwd sunau telnetlib uu xdrlib
    asyncio.windows_events asyncio.windows_utils multiprocessing.popen_spawn_win32
    """.split()  # noqa: SIM905
)

# Types of builtins whose methods repeat another type's, docstring for docstring.
REPEATED = {"bytearray": "bytes"}

CALLABLE = (types.FunctionType, types.BuiltinFunctionType, types.MethodType)
DESCRIPTORS = (
    types.FunctionType,
    types.BuiltinFunctionType,
    types.MethodDescriptorType,
    types.ClassMethodDescriptorType,
    types.GetSetDescriptorType,
    types.MemberDescriptorType,
    classmethod,
    staticmethod,
    property,
    cached_property,
)


class Member(NamedTuple):
    """A public name and what it stands for; `origin` is the dotted name of a method's class."""

    name: str
    value: Any
    origin: str = ""


def build(output: str | Path) -> int:
    """Write the collection of this interpreter, whole or not at all.

    Parameters
    ----------
    output : str or Path
        The JSONL file to make.

    Returns
    -------
    int
        The number of documents.
    """
    from pyserini_ext.files import atomic_writer

    command = [sys.executable, "-I", "-S", "-W", "ignore", "-X", "utf8", __file__, "--emit"]
    count = 0
    with (
        atomic_writer(output) as out,
        subprocess.Popen(
            command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, encoding="utf-8"
        ) as worker,
    ):
        assert worker.stdout is not None
        for line in worker.stdout:
            out.write(line)
            count += 1
        if worker.wait():
            raise RuntimeError(f"{' '.join(command)} failed with exit status {worker.returncode}")
    return count


def documents() -> Iterator[dict[str, str]]:
    """Yield the documents of the running interpreter in the order of their docids."""
    found = {docid: text for docid, text in _texts() if len(text.split()) > 2}
    for docid, text in sorted(found.items()):
        yield {"id": docid, "title": docid, "text": text, "contents": f"{docid}\n{text}"}


def _texts() -> Iterator[tuple[str, str]]:
    modules = dict(_modules())
    for name, module in modules.items():
        if name != "builtins":
            yield name, _docstring(module)
    public = _public_names(modules)
    classes = {id(m.value): m.name for m in public if inspect.isclass(m.value)}
    written: set[tuple[str, str, str]] = set()
    for member in [*public, *_methods(public, classes)]:
        docstring = _documentation(member.value)
        # The same words under the same last name: random.choice and random.Random.choice, or a
        # method that a subclass repeats. Modules come before classes, so the short name stays.
        owner = member.origin or member.name
        key = (owner.partition(".")[0], member.name.rpartition(".")[2], docstring)
        if docstring and key not in written:
            written.add(key)
            signature = _signature(member, docstring)
            yield member.name, f"{signature}\n{docstring}" if signature else docstring


def _modules() -> Iterator[tuple[str, types.ModuleType]]:
    """Yield the public modules that can be imported here, by public name."""
    names = sorted(n for n in sys.stdlib_module_names if _is_public(n) and n not in EXCLUDED)
    absent = []
    while names:
        name = names.pop(0)
        try:
            module = importlib.import_module(name)
        except (ImportError, OSError):
            absent.append(name)
            continue
        yield name, module
        if name == "os":
            yield "os.path", module.path
        for info in pkgutil.iter_modules(getattr(module, "__path__", ())):
            child = f"{name}.{info.name}"
            if _is_public(info.name) and not {child, info.name} & EXCLUDED:
                names.append(child)
    print(f"modules that cannot be imported here: {', '.join(absent) or 'none'}", file=sys.stderr)


def _is_public(name: str) -> bool:
    return not name.startswith("_")


def _public_names(modules: dict[str, types.ModuleType]) -> list[Member]:
    """Return every public function and class once, under the shortest name it can be used by."""
    best: dict[int, tuple[tuple[int, bool, str], Member]] = {}
    for module_name, module in modules.items():
        for attribute in _exported(module_name, module):
            value = getattr(module, attribute, None)
            if not (inspect.isclass(value) or isinstance(value, CALLABLE)):
                continue
            name = attribute if module_name == "builtins" else f"{module_name}.{attribute}"
            foreign = getattr(value, "__module__", None) != module_name
            spelling = getattr(value, "__name__", attribute) != attribute  # IOError for OSError
            order = (name.count(".") + 10 * spelling, foreign, name)
            if id(value) not in best or order < best[id(value)][0]:
                best[id(value)] = (order, Member(name, value))
    return sorted((member for _, member in best.values()), key=lambda m: (m.name.count("."), m))


def _exported(name: str, module: types.ModuleType) -> Iterable[str]:
    """Return the names a module offers: ``__all__``, or what it does not import from elsewhere."""
    if hasattr(module, "__all__"):
        return sorted(filter(_is_public, module.__all__))
    package = name.partition(".")[0]
    homes = (package, f"_{package}", "_")
    return sorted(
        attribute
        for attribute, value in vars(module).items()
        # Functions written in C may have no __module__.
        if _is_public(attribute)
        and (getattr(value, "__module__", None) or "_").partition(".")[0] in homes
    )


def _methods(public: list[Member], classes: dict[int, str]) -> Iterator[Member]:
    """Yield the methods and properties a public class defines, or takes from a private base."""
    for owner in public:
        if not inspect.isclass(owner.value) or owner.name in REPEATED:
            continue
        mro = owner.value.__mro__
        bases = [base for base in mro[1:] if id(base) in classes or base is object]
        inherited = {attribute for base in bases for attribute in dir(base)}
        taken: set[str] = set()
        for base in mro:
            if base in bases:
                continue
            for attribute, value in sorted(vars(base).items()):
                if not _is_public(attribute) or attribute in taken:
                    continue
                if base is not owner.value and attribute in inherited:
                    continue
                if isinstance(value, DESCRIPTORS) and _docstring(value):
                    taken.add(attribute)
                    yield Member(f"{owner.name}.{attribute}", value, owner.name)


def _documentation(value: Any) -> str:
    """Return the docstring, for a class together with that of its ``__init__``."""
    docstring = _docstring(value)
    if inspect.isclass(value) and isinstance(vars(value).get("__init__"), types.FunctionType):
        docstring = "\n\n".join(filter(None, (docstring, _docstring(value.__init__))))
    return "" if docstring.startswith("Alias for field number") else docstring


def _docstring(value: Any) -> str:
    """Return the object's own docstring, cleaned of what differs between machines."""
    docstring = value.__doc__
    if inspect.isclass(value):
        docstring = vars(value).get("__doc__")  # not the base class's
    if not isinstance(docstring, str):
        return ""
    return _ADDRESS.sub("", inspect.cleandoc(docstring)).strip()


_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")
_HERE = re.compile("|".join(f"'{re.escape(p)}[^']*'" for p in (sys.base_prefix, sys.executable)))


def _signature(member: Member, docstring: str) -> str:
    """Return ``name(arguments)``, or nothing where Python cannot tell or the docstring does."""
    value, name = member.value, member.name.rpartition(".")[2]
    if isinstance(value, (classmethod, staticmethod)):
        value = value.__func__
    if not callable(value) or docstring.startswith(f"{name}("):
        return ""
    try:
        signature = f"{name}{inspect.signature(value)}"
    except Exception:  # some signatures written in C name what does not exist on this machine
        return ""
    return _HERE.sub("'...'", _ADDRESS.sub("", signature))


def main() -> None:
    """Build the collection, or, in the second interpreter, print it."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--output", type=Path, default=Path("demo/corpus/corpus.jsonl"))
    parser.add_argument("--emit", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.emit:
        # An imported module might print: only documents may reach the file.
        out, sys.stdout = sys.stdout, sys.stderr
        for document in documents():
            out.write(json.dumps(document, ensure_ascii=False) + "\n")
        return
    print(f"{build(arguments.output)} documents in {arguments.output}")


if __name__ == "__main__":
    main()
