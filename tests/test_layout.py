"""The house keeps its shape: which module may import which, what is light to import, how long a file is."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src"
LONGEST = 350

# Where each room may not look (design: arrows go one way). A module of the list stands for all below it.
FRONT = (
    "cli", "verbs", "shell", "check", "demo", "evaluate", "parts", "report", "reproduction", "serve",
)  # fmt: skip
FORBIDDEN = {
    "errors": ("",),
    "files": ("catalogue", "images", "models", "training", "evaluation", "retrieval", "datasets", *FRONT),
    "progress": ("catalogue", "images", "models", "training", "evaluation", "retrieval", "datasets", *FRONT),
    "catalogue": ("models", "losses", "training", "evaluation", "retrieval", "images", *FRONT),
    "columns": ("models", "losses", "training", "evaluation", "retrieval", "images", *FRONT),
    "coordinates": ("models", "losses", "training", "evaluation", "retrieval", "images", *FRONT),
    "datasets": ("models", "losses", "training", "evaluation", "retrieval", "garments", "standins", *FRONT),
    "standins": ("models", "losses", "training", "evaluation", "retrieval", *FRONT),
    "protocol": ("catalogue", "datasets", "models", "training", "evaluation", "retrieval", *FRONT),
    "archives": ("catalogue", "datasets", "models", "training", "evaluation", "retrieval", *FRONT),
    "landmarks": ("catalogue", "datasets", "models", "training", "evaluation", "retrieval", *FRONT),
    "garments": ("models", "losses", "training", "evaluation", "retrieval", *FRONT),
    "decoding": ("catalogue", "models", "losses", "training", "evaluation", "retrieval", "datasets", *FRONT),
    "images": ("catalogue", "models", "losses", "training", "evaluation", "retrieval", "datasets", *FRONT),
    "augment": ("catalogue", "models", "losses", "training", "evaluation", "retrieval", "datasets", *FRONT),
    "landmark_frame": ("catalogue", "models", "losses", "training", "evaluation", "retrieval", "datasets", *FRONT),
    "heatmaps": ("catalogue", "models", "losses", "training", "evaluation", "retrieval", "datasets", *FRONT),
    "training.sampling": ("models", "losses", "training", "evaluation", "retrieval", "datasets", *FRONT),
    "models": ("catalogue", "columns", "datasets", "training", "evaluation", "retrieval", *FRONT),
    "losses": ("catalogue", "columns", "datasets", "training", "evaluation", "retrieval", *FRONT),
    "training.validation": ("datasets", "standins", "garments", *FRONT),
    "training": ("datasets", "standins", "garments", *(front for front in FRONT if front != "shell")),  # it tells
    "evaluation": ("models", "training", "losses", "datasets", "standins", "garments", *FRONT),
    "evaluation.metrics": ("catalogue", "files", "images", "retrieval"),
    "evaluation.exact": ("catalogue", "files", "images", "retrieval"),
    "evaluation.ranking": ("catalogue", "files", "images", "retrieval"),
    "evaluation.prediction": ("catalogue", "files", "images", "retrieval"),
    "retrieval": ("training", "losses", "datasets", "standins", "garments", *FRONT),
}  # fmt: skip

# Seconds each to import; these modules and whatever they import as they load do without.
HEAVY = {
    "torch",
    "torchvision",
    "timm",
    "lancedb",
    "lance",
    "matplotlib",
    "lightning",
    "lightning_fabric",
    "scipy",
    "pymilvus",
    "ray",
}
LIGHT = (
    "",
    "cli",
    "verbs.data",
    "shell",
    "errors",
    "files",
    "progress",
    "catalogue",
    "columns",
    "coordinates",
    "config",
    "evaluation.metrics",
    "evaluation.exact",
    "evaluation.ranking",
    "evaluation.prediction",
    "evaluation.instances",
)
LIGHT_ROOMS = ("retrieval", "datasets", "standins", "serve", "client")


def module_name(path: Path) -> str:
    """Return a file's dotted name inside the package; the package itself is the empty name."""
    parts = path.relative_to(SOURCE / "lapel").with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {module_name(path): path for path in sorted((SOURCE / "lapel").rglob("*.py"))}
TREES = {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in FILES.items()}


def is_for_types_only(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")


def imported(name: str, node: ast.AST, on_load: bool) -> Iterator[str]:
    """Yield the absolute names that a module imports, without those for type checkers only.

    With ``on_load`` only what runs when the module is loaded, not what its functions import.
    """
    for child in ast.iter_child_nodes(node):
        if is_for_types_only(child) or (on_load and isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef)):
            continue
        if isinstance(child, ast.Import):
            yield from (alias.name for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            package = ["lapel", *name.split(".")]
            package = package if FILES[name].name == "__init__.py" else package[:-1]
            start = package[: len(package) - child.level + 1] if child.level else []
            base = ".".join(filter(None, [*start, child.module or ""]))
            yield base
            yield from (f"{base}.{alias.name}" for alias in child.names)
        yield from imported(name, child, on_load)


def lapel_modules(name: str, on_load: bool) -> set[str]:
    """Return the modules of the package that one of them imports, with the packages they lie in."""
    found: set[str] = set()
    for target in imported(name, TREES[name], on_load):
        if target == "lapel" or target.startswith("lapel."):
            parts = target.split(".")[1:]
            found |= {".".join(parts[:n]) for n in range(1, len(parts) + 1)} & FILES.keys()
    return found - {name}


def lies_in(module: str, room: str) -> bool:
    return module == room or not room or module.startswith(f"{room}.")


@pytest.mark.parametrize("room", FORBIDDEN)
def test_arrows_go_one_way(room: str) -> None:
    wrong = [
        f"{module} imports {target}"
        for module in FILES
        if lies_in(module, room)
        for target in sorted(lapel_modules(module, on_load=False))
        for barred in FORBIDDEN[room]
        if lies_in(target, barred)
    ]
    assert wrong == []


def test_nothing_imports_the_command_line() -> None:
    assert [module for module in FILES if "cli" in lapel_modules(module, on_load=False)] == []
    fronts = [module for module in FILES if "verbs" in lapel_modules(module, on_load=False)]
    assert [module for module in fronts if module != "cli" and not lies_in(module, "verbs")] == []


def test_no_module_needs_itself_to_load() -> None:
    """Follow the imports that run on loading: none leads back to where it started."""
    # A package that shows its own modules is loaded before them; that is no circle.
    needs = {name: lapel_modules(name, on_load=True) - enclosing(name) for name in FILES}
    while ready := {name for name, wanted in needs.items() if not wanted}:
        needs = {name: wanted - ready for name, wanted in needs.items() if name not in ready}
    assert needs == {}


def enclosing(name: str) -> set[str]:
    parts = name.split(".")
    return {".".join(parts[:n]) for n in range(len(parts))}


def light_modules() -> list[str]:
    rooms = [name for name in FILES if any(lies_in(name, room) for room in LIGHT_ROOMS)]
    return [name for name in LIGHT if name in FILES] + rooms


@pytest.mark.parametrize("name", light_modules())
def test_light_modules_load_nothing_heavy(name: str) -> None:
    waiting, seen, heavy = [name], {name}, []
    while waiting:
        module = waiting.pop()
        found = {target.split(".")[0] for target in imported(module, TREES[module], on_load=True)} & HEAVY
        heavy += [f"{module} loads {target}" for target in sorted(found)]
        more = (lapel_modules(module, on_load=True) | enclosing(module)) - seen
        waiting += more
        seen |= more
    assert heavy == []


@pytest.mark.parametrize("name", FILES)
def test_files_are_short(name: str) -> None:
    lines = len(FILES[name].read_text(encoding="utf-8").splitlines())
    assert lines <= LONGEST, f"{FILES[name].relative_to(ROOT)} has {lines} lines: it is two things"


def tracked_files() -> list[Path]:
    """Return the files of the project: those git would track, or all that a release holds."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    try:
        listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    except (OSError, subprocess.CalledProcessError):
        listed = [
            str(path.relative_to(ROOT))
            for top in ("src", "tests", "benchmarks", ".ci", *(p.name for p in ROOT.iterdir() if p.is_file()))
            for path in ([ROOT / top] if (ROOT / top).is_file() else (ROOT / top).rglob("*"))
            if "__pycache__" not in path.parts
        ]
    return [ROOT / name for name in sorted(listed) if (ROOT / name).is_file()]


OUTSIDE = {
    "a package registry or download host": r"(pypi|pythonhosted|download\.pytorch|anaconda|conda)[.](org|com)"
    r"|--(extra-)?index-url|--find-links|huggingface[.]co/",
    "a path of one machine": r"(?<![\w.~$}])/(home|root|tmp|work|Users|opt)/[a-z]|[.][.]/shared/",
}


@pytest.mark.parametrize("what", OUTSIDE)
def test_no_file_names_what_lies_outside(what: str) -> None:
    found = []
    for path in tracked_files():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        found += [
            f"{path.relative_to(ROOT)}: {m[0]}" for m in re.finditer(OUTSIDE[what], text) if path != Path(__file__)
        ]
    assert found == []


def test_no_weights_or_data_are_tracked() -> None:
    kinds = {".pth", ".pt", ".ckpt", ".pkl", ".pickle", ".npy", ".safetensors", ".onnx", ".parquet", ".lance"}
    assert [str(path) for path in tracked_files() if path.suffix in kinds] == []


def test_nothing_is_pickled() -> None:
    wrong = [
        name for name in FILES for target in imported(name, TREES[name], False) if target.split(".")[0] == "pickle"
    ]
    assert wrong == []
