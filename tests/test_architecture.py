"""The floors of the architecture, as docs/architecture.md tells them, hold for every import.

The tables of that page are the specification; this file only reads them. The last one, of modules,
comes from their docstrings: ``python tests/test_architecture.py`` writes it.
"""

import ast
import re
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "pyserini_ext"
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
PICTURE = (ROOT / "docs" / "architecture.svg").read_text(encoding="utf-8")

FILES = {
    ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): file
    for file in sorted(PACKAGE.rglob("*.py"))
}
ADAPTER = {"bridge", "widen", "adapters"}  # one unit in three files


def table(first):
    """The rows of the table whose first column is headed `first`, in Markdown."""
    rows = PAGE[PAGE.index(f"| {first} |") :].partition("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]


FLOORS = {unit: int(floor) for floor, units in table("floor") for unit in re.findall(r"\w+", units)}
TOUCHES = {name.strip("`"): set(re.findall(r"\w+", units)) for name, units in table("imported")}


def unit(module):
    """`pyserini_ext.search.dense` -> `search`; empty for the package itself and its command."""
    parts = [*module.split("."), ""]
    return "" if parts[1] == "__main__" else parts[1]


def imports(module):
    """Pairs of an imported module and whether that happens when `module` is imported."""
    found = []

    def visit(node, top):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            return
        if isinstance(node, ast.Import):
            found.extend((alias.name, top) for alias in node.names)
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: relative import"
            inner = [f"{node.module}.{alias.name}" for alias in node.names]
            modules = [name for name in inner if name in FILES]
            rest = [node.module] if len(modules) < len(inner) else []
            found.extend((name, top) for name in modules + rest)
        function = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for child in ast.iter_child_nodes(node):
            visit(child, top and not function)

    visit(ast.parse(FILES[module].read_text(encoding="utf-8")), True)
    return found


def test_every_module_stands_on_a_floor():
    assert {unit(module) for module in FILES} - {""} == set(FLOORS)


@pytest.mark.parametrize("module", [name for name in FILES if unit(name)])
def test_imports_go_down_only(module):
    ours = unit(module)
    for name, _ in imports(module):
        theirs = unit(name)
        if not name.startswith("pyserini_ext") or ours == theirs or {ours, theirs} <= ADAPTER:
            continue
        assert theirs, f"{module} imports the package itself"
        lowest = FLOORS[ours] == FLOORS[theirs] == 1
        assert FLOORS[theirs] < FLOORS[ours] or lowest, f"{module} imports {name}"


def test_no_imports_in_a_circle():
    graph = {
        module: {name for name, top in imports(module) if top and name in FILES} for module in FILES
    }
    lowest = {}
    for module in FILES:
        if FLOORS.get(unit(module)) == 1:
            used = {unit(name) for name, _ in imports(module) if name in FILES}
            lowest.setdefault(unit(module), set()).update(used - {unit(module)})
    for each in (graph, lowest):
        try:
            TopologicalSorter(each).prepare()
        except CycleError as error:
            pytest.fail(" -> ".join(error.args[1]))


@pytest.mark.parametrize("package", TOUCHES)
def test_heavy_packages_are_imported_in_their_place_only(package):
    users = {
        unit(module)
        for module in FILES
        if any(name.split(".")[0] == package for name, _ in imports(module))
    }
    # bridge imports Pyserini's modules by computed names
    assert users | (ADAPTER & TOUCHES[package]) == TOUCHES[package]


LOADED_LATE = re.compile(
    r"pyserini_ext\.(encode\b|train\.(loop|losses|sparse_(model|task)|prf_(dev|loss|model|task))$|rescore\.numba_(kernels|top)$)"
)


@pytest.mark.parametrize("module", [name for name in FILES if not LOADED_LATE.match(name)])
def test_heavy_packages_are_imported_within_functions(module):
    assert not [name for name, top in imports(module) if top and name.split(".")[0] in TOUCHES]


def test_the_picture_shows_every_unit():
    assert set(FLOORS) <= set(re.findall(r"\w+", " ".join(re.findall(r">([^<]+)<", PICTURE))))


def module_table():
    """The lines of the page's last table, from the docstrings."""
    lines = []
    files = [file for file in FILES.values() if file.name != "__init__.py"]
    for file in sorted(files, key=lambda f: (f.parent != PACKAGE, f.as_posix())):
        line = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))).splitlines()[0]
        line = re.sub(r":class:`~?[\w.]*?(\w+)`", r"`\1`", line.replace("``", "`")).rstrip(".")
        lines.append(f"| `{file.relative_to(PACKAGE).as_posix()}` | {line} |")
    return lines


def test_the_page_says_of_every_module_what_its_docstring_says():
    shown = PAGE[PAGE.index("| module |") :].splitlines()[2:]
    assert shown == module_table(), "python tests/test_architecture.py writes the table anew"


def test_places_that_the_page_sends_to_exist():
    for name in re.findall(r"`((?:\w+/)+(?:\w+\.\w+)?|\w+\.py)`", PAGE):
        assert any((folder / name).exists() for folder in (ROOT, PACKAGE)), name
    for names in re.findall(r"`(NORMALISERS|MISSING|open_vectors|Preset)`", PAGE):
        assert any(names in file.read_text(encoding="utf-8") for file in FILES.values())


if __name__ == "__main__":
    head = PAGE[: PAGE.index("| module |")]
    table_of_modules = ["| module | what it is |", "|---|---|", *module_table()]
    text = head + "\n".join(table_of_modules) + "\n"
    (ROOT / "docs" / "architecture.md").write_text(text, encoding="utf-8")
