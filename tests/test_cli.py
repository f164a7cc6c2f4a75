"""The verbs: what they accept, what they hand on, what they print, and how they fail."""

from __future__ import annotations

import ast
import errno
import inspect
import itertools
import json
import os
import shlex
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from lapel import __version__, cli
from lapel.errors import ImageError, LapelError, RecipeError
from lapel.verbs import data, find, learn, serve

Shown = pytest.CaptureFixture[str]
HEAVY = ("torch", "torchvision", "timm", "lancedb", "pyarrow", "matplotlib", "pandas", "numpy", "scipy")


def lapel(line: str) -> int:
    """Run a command line as a shell would split it."""
    return cli.main(shlex.split(line))


@dataclass
class Calls:
    """Stands in for the rooms behind the verbs and notes what they are asked."""

    patch: pytest.MonkeyPatch
    made: list[tuple[tuple[Any, ...], dict[str, Any]]] = field(default_factory=list)

    def put(self, module: str, name: str, answer: Any = None) -> None:
        """Let ``module.name`` note its arguments and return ``answer``, or raise it."""

        def noted(*args: Any, **options: Any) -> Any:
            self.made.append((args, options))
            if isinstance(answer, BaseException):
                raise answer
            return answer

        self.set(module, name, noted)

    def set(self, module: str, name: str, value: Any) -> None:
        room = sys.modules.get(module)
        if room is None or not getattr(room, "stands_in", False):
            room = ModuleType(module)
            room.stands_in = True  # type: ignore[attr-defined]
            self.patch.setitem(sys.modules, module, room)
            package, _, leaf = module.rpartition(".")
            if package in sys.modules:
                self.patch.setattr(sys.modules[package], leaf, room, raising=False)
        setattr(room, name, value)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Calls:
    return Calls(monkeypatch)


@dataclass(frozen=True)
class PlainHit:
    image: str
    item: str | None
    score: float
    scores: dict[str, float]
    labels: dict[str, tuple[str, ...]] = field(default_factory=dict)
    others: tuple[str, ...] = ()


@pytest.fixture
def search(calls: Calls) -> Calls:
    """An index that answers with two hits."""
    hits = [
        PlainHit("a.jpg", "A1", 0.9, {"neckline": 0.9}),
        PlainHit("b.jpg", None, -0.5, {"neckline": -0.5}),
    ]

    class Index:
        @staticmethod
        def open(*args: Any) -> Any:
            calls.made.append((args, {}))
            return Index()

        def search(self, *args: Any, **options: Any) -> list[PlainHit]:
            calls.made.append((args, options))
            return hits[: options["k"]]

    calls.set("lapel.retrieval.index", "Index", Index)
    return calls


@pytest.fixture
def train(calls: Calls) -> Calls:
    """A recipe that loads, and a training that leaves runs/x."""
    calls.put("lapel.config", "load_recipe", "the recipe")
    calls.put("lapel.training", "train", Path("runs/x"))
    return calls


# What is accepted ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("data check clothes.csv", data.Data(data.Check(Path("clothes.csv")))),
        ("data check clothes --json --quiet", data.Data(data.Check(Path("clothes"), json=True, quiet=True))),
        ("data render --to x --items 5 --seed 3", data.Data(data.Render(to=Path("x"), items=5, seed=3))),
        ("data render --to x --domain both", data.Data(data.Render(to=Path("x"), domain="both"))),
        ("data render zappos50k --to x", data.Data(data.Render("zappos50k", to=Path("x")))),
        (
            "data check root --format asen --variant DARN",
            data.Data(data.Check(Path("root"), format="asen", variant="DARN")),
        ),
        ("data import asen root --to x", data.Data(data.Import("asen", Path("root"), Path("x")))),
        (
            "data import csv a.csv --to x --column item=sku --column image=photo --skip-faulty",
            data.Data(
                data.Import("csv", Path("a.csv"), Path("x"), column=("item=sku", "image=photo"), skip_faulty=True)
            ),
        ),
        ("train agman", learn.Train("agman")),
        (
            "train my.yaml --set training.epochs=5 --set data.catalogue=a=b.csv --to run --resume",
            learn.Train("my.yaml", ("training.epochs=5", "data.catalogue=a=b.csv"), Path("run"), resume=True),
        ),
        ("evaluate run", learn.Evaluate(Path("run"))),
        (
            "evaluate run --catalogue c.csv --split val --json out.json --share 0.5 --seed 4",
            learn.Evaluate(Path("run"), Path("c.csv"), split=("val",), json=Path("out.json"), share=0.5, seed=4),
        ),
        (
            "evaluate run --task items --gallery test --gallery val --match image --at 1 --at 20 --no-boxes",
            learn.Evaluate(Path("run"), task="items", gallery=("test", "val"), match="image", ks=(1, 20), boxes=False),
        ),
        ("index clothes.csv --run run --to shop", find.Index(Path("clothes.csv"), (Path("run"),), Path("shop"))),
        (
            "index clothes.csv --to shop --run run --max-failed 0.2",
            find.Index(Path("clothes.csv"), (Path("run"),), Path("shop"), 0.2),
        ),
        (
            "index clothes.csv --to shop --run run --max_failed 0.2",
            find.Index(Path("clothes.csv"), (Path("run"),), Path("shop"), 0.2),
        ),
        (
            "index clothes.csv --to shop --run run --run items",
            find.Index(Path("clothes.csv"), (Path("run"), Path("items")), Path("shop")),
        ),
        ("search shop a.jpg", find.Search(Path("shop"), Path("a.jpg"))),
        (
            "search shop a.jpg --like item --attribute neckline=0.5 --each --run a --run b",
            find.Search(Path("shop"), Path("a.jpg"), ("item", "neckline=0.5"), each=True, run=(Path("a"), Path("b"))),
        ),
        (
            "search shop a.jpg --attribute neckline --attribute sleeve_length=-0.5 --top 3 --json",
            find.Search(Path("shop"), Path("a.jpg"), ("neckline", "sleeve_length=-0.5"), top=3, json=True),
        ),
        (
            "search --attribute neckline shop a.jpg --run r --sheet s.png",
            find.Search(Path("shop"), Path("a.jpg"), ("neckline",), run=(Path("r"),), sheet=Path("s.png")),
        ),
        ("demo", cli.Demo()),
        ("demo --to here", cli.Demo(Path("here"))),
    ],
)
def test_parse(line: str, expected: object) -> None:
    assert cli.parse(shlex.split(line)) == expected


def test_a_filter_is_one_word_of_the_shell() -> None:
    verb = cli.parse(["search", "shop", "a.jpg", "--where", "colour = 'Red' and price < 50"])
    assert verb == find.Search(Path("shop"), Path("a.jpg"), where="colour = 'Red' and price < 50")


@pytest.mark.parametrize(
    ("line", "shows"),
    [
        ("", ["data", "train", "evaluate", "index", "search", "copies", "move", "compress", "serve", "demo"]),
        ("data", ["check", "import", "render"]),
        ("data check", ["PATH", "--json"]),
        ("data import", ["FORMAT", "ROOT", "street2shop", "--to DIR", "--variant NAME", "--skip-faulty"]),
        ("data render", ["--items", "--seed", "--domain"]),
        ("train", ["RECIPE", "--set KEY=VALUE", "--to RUN", "runs/RECIPE-DATE-TIME", "--resume"]),
        ("evaluate", ["RUN", "--catalogue", "--split", "--json FILE"]),
        ("index", ["CATALOGUE", "--run RUN", "--to INDEX", "--max-failed"]),
        ("search", ["INDEX", "IMAGE", "--attribute", "NAME[=WEIGHT]", "--where", "--top", "--sheet"]),
        ("serve", ["INDEX", "NAME=FOLDER", "--host", "--port", "--token-file FILE", "LAPEL_TOKEN", "--no-open"]),
        ("demo", ["--to DIR"]),
    ],
)
def test_help(line: str, shows: list[str], capsys: Shown) -> None:
    with pytest.raises(SystemExit) as stop:
        lapel(f"{line} --help")
    assert stop.value.code == 0
    shown = capsys.readouterr()
    assert [word for word in shows if word not in shown.out] == []
    assert "None" not in shown.out
    assert shown.err == ""


VERBS = (
    data.Check,
    data.Import,
    data.Render,
    learn.Train,
    learn.Evaluate,
    find.Index,
    find.Search,
    serve.Serve,
    cli.Demo,
)


@pytest.mark.parametrize("verb", VERBS)
def test_every_option_has_help(verb: type) -> None:
    """What follows each field in the source is the help of its option."""
    body = ast.parse(inspect.getsource(verb)).body[0].body  # type: ignore[attr-defined]
    for option, text in itertools.pairwise(body):
        if isinstance(option, ast.AnnAssign):
            assert isinstance(text, ast.Expr), f"{verb.__name__}.{ast.unparse(option.target)} has no help"


def test_no_verb_shows_the_help(capsys: Shown) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main([])
    assert stop.value.code == 0
    assert "lapel" in capsys.readouterr().out


@pytest.mark.parametrize("option", ["--version", "-V"])
def test_version(option: str, capsys: Shown) -> None:
    assert cli.main([option]) == 0
    assert capsys.readouterr().out == f"lapel {__version__}\n"


# What is refused -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("trian agman", "unknown verb 'trian'; did you mean 'train'?"),
        ("Search shop a.jpg", "unknown verb 'Search'; did you mean 'search'?"),
        (
            "xyz",
            "unknown verb 'xyz'. Known: data, train, evaluate, report, reproduce, index, search, copies, move, "
            "compress, serve, demo",
        ),
        ("data chekc x.csv", "unknown data verb 'chekc'; did you mean 'check'? Known: check, import, render"),
        (
            "search shop a.jpg --attribute neckline=much",
            "weight 'neckline=much': expected NAME or NAME=NUMBER",
        ),
        ("search shop a.jpg --top 0", "--top is 0; it must be at least 1"),
        (
            "search shop a.jpg --sheet out.txt",
            "--sheet out.txt: the name must end in one of .jpeg, .jpg, .png, .webp",
        ),
        ("index clothes.csv --to shop", "expected --run RUN, the run folder whose model embeds the images"),
        ("train agman --resume", "--resume needs --to RUN"),
        ("evaluate run --share 1.5", "--share is 1.5; it must lie between 0 and 1"),
        ("evaluate run --seed -1", "--seed is -1; it must be 0 or more"),
    ],
)
def test_mistakes_are_told_in_one_line(line: str, message: str, train: Calls, search: Calls, capsys: Shown) -> None:
    assert lapel(line) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("lapel: ")
    assert shown.err.count("\n") == 1
    assert message in shown.err


@pytest.mark.parametrize(
    ("line", "shows"),
    [
        ("train agman --reusme", ["--reusme", "--resume"]),
        ("train", ["RECIPE"]),
        ("search shop a.jpg --top many", ["--top", "many"]),
        ("search shop", ["IMAGE"]),
        ("data", ["check", "render"]),
        ("data render --to x --domain street", ["--domain", "shop", "consumer"]),
        ("--verison", ["--verison"]),
    ],
)
def test_wrong_options_are_named(line: str, shows: list[str], capsys: Shown) -> None:
    with pytest.raises(SystemExit) as stop:
        lapel(line)
    assert stop.value.code == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert [word for word in shows if word not in shown.err] == []


# What is handed on ---------------------------------------------------------------------------------------


def test_train_hands_on_the_recipe_and_prints_the_run(train: Calls, capsys: Shown) -> None:
    assert lapel("train agman --set a.b=1 --set a.c=2 --to out --quiet") == 0
    assert train.made == [
        (("agman",), {"overrides": ["a.b=1", "a.c=2"]}),
        (("the recipe", Path("out")), {"resume": False, "quiet": True}),
    ]
    shown = capsys.readouterr()
    assert shown.out == "runs/x\n"
    assert shown.err == "next: lapel evaluate runs/x\n"


def test_a_run_gets_a_folder_of_its_own(train: Calls) -> None:
    lapel("train some/folder/mine.yaml")
    (_, to), _ = train.made[-1]
    assert to.parent == Path("runs")
    assert to.name.startswith("mine-2")


def test_several_processes_share_one_folder(train: Calls, monkeypatch: pytest.MonkeyPatch, capsys: Shown) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    assert lapel("train agman") == 2
    assert "give --to RUN when training in several processes" in capsys.readouterr().err
    assert lapel("train agman --to out") == 0
    shown = capsys.readouterr()
    assert (shown.out, shown.err) == ("", "")  # only the first process speaks


def test_evaluate_prints_the_table(calls: Calls, capsys: Shown) -> None:
    calls.put("lapel.evaluate", "evaluate", "the result")
    calls.set("lapel.evaluate", "catalogue_of", lambda run, catalogue: f"{catalogue} of {run}")
    calls.set(
        "lapel.evaluate", "resolve_protocol", lambda *asked, **changes: SimpleNamespace(task="attributes", **changes)
    )
    calls.set("lapel.evaluation.tables", "print_result", lambda result, *_, **__: print(f"table of {result}"))
    assert lapel("evaluate run --catalogue c.csv --split val --json f.json") == 0
    ((given, options),) = calls.made
    assert given == (Path("run"), "c.csv of run")
    assert (options["json"], options["share"], options["quiet"]) == (Path("f.json"), 0.2, False)
    assert options["protocol"].split == "val"
    shown = capsys.readouterr()
    assert shown.out == "table of the result\n"
    assert shown.err == "next, with pictures: lapel report run --catalogue c.csv\n"


def test_a_full_gpu_is_told(monkeypatch: pytest.MonkeyPatch, capsys: Shown, tmp_path: Path) -> None:
    import torch

    from lapel import training

    def full(*_: Any, **__: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(training, "train", full)
    assert cli.main(["train", "demo", "--to", str(tmp_path / "run")]) == 2
    assert "smaller training.batch" in capsys.readouterr().err


def test_index_reports_what_it_did(calls: Calls, capsys: Shown) -> None:
    catalogue, embedder = "the catalogue", SimpleNamespace(attributes=("neckline", "pattern"), items=False)
    failure = SimpleNamespace(path="bad.jpg", reason="HTML, not an image")
    report = SimpleNamespace(added=5, changed=1, updated=3, removed=2, unchanged=7, skipped=[failure], encoder="why")
    calls.set("lapel.catalogue", "Catalogue", SimpleNamespace(read=lambda path, also: catalogue))
    calls.put("lapel.runs", "read_config", SimpleNamespace(attributes={"neckline": (), "pattern": ()}))
    calls.put("lapel.retrieval.embedder", "load", embedder)
    calls.put("lapel.retrieval.indexing", "index_catalogue", report)
    assert cli.main(["index", "c.csv", "--run", "r", "--to", "my shop"]) == 0
    options = {"max_failed": 0.05, "quiet": False, "engine": None, "uri": None}
    assert calls.made[-1] == ((catalogue, [embedder], Path("my shop")), options)
    shown = capsys.readouterr()
    assert shown.out == "added 5, changed 1, updated 3, removed 2, unchanged 7, skipped 1\n"
    assert "skipped bad.jpg: HTML, not an image" in shown.err
    assert "searches will load the run itself, which takes seconds: why" in shown.err
    assert "next: lapel search 'my shop' IMAGE --attribute neckline" in shown.err


def test_search_hands_on_weights_and_filter(search: Calls) -> None:
    line = "search shop a.jpg --attribute neckline --attribute sleeve_length=0.5 --run r --top 1"
    assert lapel(f"""{line} --where "colour = 'Red'" """) == 0
    weights = {"neckline": 1.0, "sleeve_length": 0.5}
    assert search.made == [
        ((Path("shop"), (Path("r"),)), {}),
        ((Path("a.jpg"),), {"weights": weights, "k": 1, "where": "colour = 'Red'", "box": None, "group": None}),
    ]


def test_each_image_on_its_own(search: Calls) -> None:
    assert lapel("search shop a.jpg --like item --each") == 0
    assert search.made[-1][1]["group"] is False


def test_without_an_attribute_the_index_decides(search: Calls) -> None:
    assert lapel("search shop a.jpg") == 0
    assert search.made[-1][1]["weights"] is None


def test_search_prints_what_it_found(search: Calls, capsys: Shown) -> None:
    lapel("search shop a.jpg")
    assert [row.split()[0] for row in capsys.readouterr().out.splitlines()] == ["rank", "1", "2"]
    lapel("search shop a.jpg --json")
    assert [row["rank"] for row in json.loads(capsys.readouterr().out)] == [1, 2]


def test_search_draws_a_sheet(search: Calls, tmp_path: Path, capsys: Shown) -> None:
    sheet = tmp_path / "sheet.png"
    assert cli.main(["search", "shop", "a.jpg", "--attribute", "neckline", "--sheet", str(sheet)]) == 0
    assert sheet.read_bytes().startswith(b"\x89PNG")
    assert capsys.readouterr().err == f"the sheet is in {sheet}\n"


@pytest.mark.parametrize(("errors", "status"), [([], 0), (["row 3: no such file"], 1)])
def test_data_check_tells_by_its_status(errors: list[str], status: int, calls: Calls, capsys: Shown) -> None:
    report = SimpleNamespace(errors=errors, print=lambda _: print("report"), to_dict=lambda: {"errors": errors})
    calls.put("lapel.check", "check", report)
    assert lapel("data check c.csv") == status
    assert capsys.readouterr().out == "report\n"
    assert lapel("data check c.csv --json") == status
    assert json.loads(capsys.readouterr().out) == {"errors": errors}


@pytest.mark.parametrize(
    ("domain", "domains"), [("shop", ("shop",)), ("consumer", ("consumer",)), ("both", ("shop", "consumer"))]
)
def test_data_render_draws_and_prints_where(domain: str, domains: tuple[str, ...], calls: Calls, capsys: Shown) -> None:
    calls.put("lapel.garments", "draw_catalogue")
    assert lapel(f"data render --to drawn --items 3 --views 1 --size 64 --seed 9 --domain {domain}") == 0
    options = {"items": 3, "views": 1, "seed": 9, "size": 64, "domains": domains, "quiet": False}
    assert calls.made == [((Path("drawn"),), options)]
    assert capsys.readouterr().out == "drawn\n"


def test_demo(calls: Calls) -> None:
    calls.put("lapel.demo", "demo")
    assert lapel("demo --to here --quiet") == 0
    assert calls.made == [((Path("here"),), {"quiet": True})]


# How it ends ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (
            LapelError("expected this, found that; do the other"),
            "lapel: expected this, found that; do the other",
        ),
        (RecipeError("unknown key 'x' [in brackets]"), "lapel: unknown key 'x' [in brackets]"),
        (ImageError("too many"), "lapel: too many"),
        (
            FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), "x.csv"),
            "lapel: x.csv: No such file or directory",
        ),
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "w"), "lapel: w: No space left on device"),
    ],
)
def test_an_error_is_one_line_and_status_2(error: Exception, message: str, calls: Calls, capsys: Shown) -> None:
    calls.put("lapel.demo", "demo", error)
    assert lapel("demo") == 2
    shown = capsys.readouterr()
    assert (shown.out, shown.err) == ("", f"{message}\n")


def test_the_traceback_is_there_on_request(calls: Calls, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAPEL_DEBUG", "1")
    calls.put("lapel.demo", "demo", LapelError("what went wrong"))
    with pytest.raises(LapelError, match="what went wrong"):
        lapel("demo")


def test_a_mistake_of_ours_is_not_hidden(calls: Calls) -> None:
    calls.put("lapel.demo", "demo", ZeroDivisionError("ours"))
    with pytest.raises(ZeroDivisionError):
        lapel("demo")


def test_interrupted(calls: Calls, capsys: Shown) -> None:
    calls.put("lapel.demo", "demo", KeyboardInterrupt())
    assert lapel("demo") == 130
    assert capsys.readouterr().err == "lapel: interrupted; run the same command again\n"


def test_interrupted_training_says_how_to_go_on(train: Calls, capsys: Shown) -> None:
    train.put("lapel.training", "train", KeyboardInterrupt())
    assert cli.main(["train", "agman", "--set", "data.catalogue=my clothes.csv", "--to", "out"]) == 130
    again = "lapel train agman --set 'data.catalogue=my clothes.csv' --to out --resume"
    assert capsys.readouterr().err == f"lapel: interrupted; go on with: {again}\n"


def shell(code: str, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, **options)


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys\nfrom lapel.cli import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        f"print('loaded:', [name for name in {HEAVY!r} if name in sys.modules])"
    )
    result = shell(code)
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[-1] == "loaded: []"


def test_a_closed_pipe_is_quiet() -> None:
    code = (
        "import sys, types\nroom = types.ModuleType('lapel.demo')\n"
        "room.demo = lambda *_, **__: [print('x' * 100) for _ in range(10_000)]\n"
        "sys.modules['lapel.demo'] = room\nfrom lapel.cli import main\nsys.exit(main(['demo']))"
    )
    command = f'"{sys.executable}" -c "$CODE" | head -1; echo "status ${{PIPESTATUS[0]}}"'
    environment = {**os.environ, "CODE": code}
    result = subprocess.run(["bash", "-c", command], env=environment, capture_output=True, text=True, check=False)
    assert result.stderr == ""
    assert result.stdout.splitlines()[-1] == "status 141"
