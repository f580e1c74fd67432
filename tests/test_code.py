"""What ruff cannot see of the rules by which the code is written: a function is read once."""

import ast

import pytest
from conftest import ROOT

MAX_FILE = 320  # lines
MAX_FUNCTION = 50  # lines, its docstring apart
COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
PACKAGES = ("network", "dataloaders", "engine", "recognition")
FILES = sorted(
    [*ROOT.glob("*.py"), *(file for name in PACKAGES for file in ROOT.glob(f"{name}/*.py"))]
)
BENCHMARK = sorted([ROOT / "tests/benchmark.py", *ROOT.glob("tests/benchmarks/*.py")])
# (T, H, W), which needs no names.
ALLOWED = {"dataloaders/sampling.py: returns three values"}


def inner(node, kinds):
    """Whether a node of such kinds lies inside another node."""
    return any(isinstance(other, kinds) for other in ast.walk(node) if other is not node)


def length_of(function):
    """The lines of a function without its docstring."""
    has_docstring = ast.get_docstring(function) and len(function.body) > 1
    first = function.body[1] if has_docstring else function.body[0]
    return function.end_lineno - first.lineno + 1


def is_tuple_of_three(node):
    return isinstance(node, ast.Tuple) and len(node.elts) >= 3


def problem_of(node):
    """What a reader stumbles on in one node of the syntax tree; None for most."""
    match node:
        case ast.FunctionDef() if length_of(node) > MAX_FUNCTION:
            return f"{node.name} is longer than {MAX_FUNCTION} lines"
        case ast.Return() if is_tuple_of_three(node.value):
            return "returns three values"
        case ast.Assign() if is_tuple_of_three(node.targets[0]) and is_tuple_of_three(node.value):
            return "assigns three values at once"
        case ast.AugAssign(op=ast.BitOr(), value=ast.Dict()):
            return "grows a dict by |="
        case ast.Nonlocal():
            return "changes a variable of the function around it"
        case ast.Attribute(ctx=ast.Store(), value=ast.Name(id="args")):
            return "writes to the flags"
        case ast.IfExp() if inner(node, ast.IfExp):
            return "nests conditional expressions"
    if isinstance(node, COMPREHENSIONS) and inner(node, (*COMPREHENSIONS, ast.NamedExpr)):
        return "nests a comprehension or a walrus in a comprehension"
    return None


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.relative_to(ROOT).as_posix())
def test_a_function_can_be_read_once(file):
    problems = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        problem = problem_of(node)
        if problem is not None:
            problems.add(f"{file.relative_to(ROOT).as_posix()}: {problem}")
    assert problems <= ALLOWED


@pytest.mark.parametrize("file", FILES + BENCHMARK, ids=lambda file: file.name)
def test_a_file_is_no_longer_than_a_few_screens(file):
    assert len(file.read_text(encoding="utf-8").splitlines()) <= MAX_FILE


def imports_of(file):
    """The packages of this project that a file imports when it is imported."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    names = set()
    for node in tree.body:
        if isinstance(node, ast.ImportFrom):
            names.add(node.module.partition(".")[0])
        if isinstance(node, ast.Import):
            names.update(alias.name.partition(".")[0] for alias in node.names)
    return names & {*PACKAGES, "mypath", "train", "inference"}


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.relative_to(ROOT).as_posix())
def test_imports_run_one_way(file):
    allowed = {
        "network": {"network"},
        "dataloaders": {"dataloaders"},
        "engine": {"engine", "dataloaders", "network"},
        "recognition": {"recognition", "engine", "dataloaders", "network"},
    }
    package = file.relative_to(ROOT).parts[0]
    assert imports_of(file) <= allowed.get(package, {*PACKAGES, "mypath"})
    if file.name == "errors.py":
        assert imports_of(file) <= {"dataloaders", "network"}
