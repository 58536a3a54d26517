"""Which part of the package may import which: from the top floor down, never in a circle."""

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import skmm

ROOT = Path(skmm.__file__).parent
# from the top down; "" is the package's own menu
FLOORS = [
    "__main__",
    "cli",
    "",
    "distributed",
    "persistence",
    "compression",
    "model_selection",
    "reporting",
    "inspection",
    "testing",
    "deployment",
    "speech",
    "estimators",
    "fusion",
    "encoders",
    "compose",
    "datasets",
    "preprocessing",
    "training",
    "network",
    "augmentation",
    "inputs",
    "_pretrained",
    "spec",
    "blocks",
    "layers",
    "columns",
    "files",
    "metrics",
    "table",
    "_checks",
    "_devices",
    "_documentation",
    "_fitting",
    "_missing",
    "_parallel",
    "_optional",
    "_private",
    "_progress",
    "_warnings",
    "_ranks",
]
READERS = ["blocks", "columns", "files", "compose", "preprocessing"]
ENGINE = {"training", "estimators", "encoders", "network"}


def name_of(file):
    parts = file.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name_of(file): ast.parse(file.read_text()) for file in sorted(ROOT.rglob("*.py"))}


def imported(tree):
    """Modules imported anywhere in a file, also inside of functions, without what type checkers alone read."""
    names = set()
    nodes = [tree]
    while nodes:
        node = nodes.pop()
        if isinstance(node, ast.If) and getattr(node.test, "id", None) == "TYPE_CHECKING":
            nodes += node.orelse
            continue
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            modules = [f"{node.module}.{alias.name}" for alias in node.names]
            names |= {module if module in MODULES else str(node.module) for module in modules}
        nodes += ast.iter_child_nodes(node)
    return names


IMPORTS = {module: imported(tree) for module, tree in MODULES.items()}
OWN = {module: {name for name in names if name in MODULES and name != module} for module, names in IMPORTS.items()}


def room(module):
    return module.split(".")[1] if "." in module else ""


def test_every_room_has_its_floor():
    assert {room(module) for module in MODULES} == set(FLOORS)


@pytest.mark.parametrize("module", MODULES)
def test_imports_go_down(module):
    above = FLOORS[: FLOORS.index(room(module))]
    assert [name for name in sorted(OWN[module]) if room(name) in above] == []


def test_no_circle_among_modules():
    try:
        list(TopologicalSorter(OWN).static_order())
    except CycleError as circle:
        pytest.fail(" -> ".join(circle.args[1]))


@pytest.mark.parametrize("module", [module for module in MODULES if room(module) in READERS])
def test_what_reads_data_knows_nothing_of_training(module):
    assert [
        name for name in sorted(IMPORTS[module]) if name.split(".")[0] == "skorch" or room(name) in ENGINE
    ] == []
