"""The house: arrows between rooms go down, no circle inside one, each library has its room, a face only hands on."""

import ast
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import flowstore

PACKAGE = Path(flowstore.__file__).parent

# From the bottom to the top. A room imports from lower lines only; those of one line know nothing of each other.
ROOMS = (
    "errors",
    "names limits compiling opencv caches terminal",
    "arguments",
    "quantize sources estimators storage jobs colour motion_fields scenes",
    "format layouts transforms progress",
    "notebook",
    "store",
    "pipeline copying stats render splits",
    "export importer verify clips",
    "demo loaders",
    "cli datasets",
    "__main__",
)
LEVELS = {room: level for level, rooms in enumerate(ROOMS) for room in rooms.split()}
OPERATIONS = ("pipeline", "export", "importer", "copying", "verify", "stats", "render")

OWNERS = {
    "zarr": "storage store",
    "dask": "jobs notebook",
    "distributed": "jobs",
    "click": "cli",
    "rich": "cli progress terminal",
    "av": "sources render",
    "cv2": "opencv",
    "PIL": "render",
    "numcodecs": "format",
    "google_crc32c": "format",
    "fsspec": "storage",
    "botocore": "storage",
    "aiohttp": "storage",
    "h5py": "layouts",
    "pandas": "notebook",
    "xarray": "notebook",
    "matplotlib": "notebook stats",
    "torch": "estimators loaders",
    "numba": "compiling estimators quantize stats",
    "llvmlite": "estimators quantize",
}
HEAVY = {
    "cv2",
    "av",
    "dask",
    "distributed",
    "torch",
    "torchvision",
    "xarray",
    "pandas",
    "matplotlib",
    "numba",
    "rich",
    "click",
}


def dotted_name(path: Path) -> str:
    parts = ("flowstore", *path.relative_to(PACKAGE).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


SOURCES = {dotted_name(path): ast.parse(path.read_text(encoding="utf-8")) for path in sorted(PACKAGE.rglob("*.py"))}
FACES = {dotted_name(path) for path in PACKAGE.rglob("__init__.py")}


def imports(tree: ast.AST) -> set[str]:
    """Return the dotted names that a module imports anywhere, functions included."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative import"
            assert node.module is not None
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def own_imports(name: str) -> set[str]:
    """Return the modules of the package that a module imports."""
    own = {dotted for dotted in imports(SOURCES[name]) if dotted.startswith("flowstore.")}
    return {dotted if dotted in SOURCES else dotted.rpartition(".")[0] for dotted in own}


def room_of(name: str) -> str:
    return name.split(".")[1] if "." in name else name


def foreign_imports(name: str) -> set[str]:
    tops = {dotted.partition(".")[0] for dotted in imports(SOURCES[name])}
    return tops - set(sys.stdlib_module_names) - {"flowstore"}


def libraries_loaded_with(tree: ast.Module) -> set[str]:
    """Return the libraries that a module's import loads: those imported in functions wait for a call."""
    found, todo = set(), [*tree.body]
    while todo:
        node = todo.pop()
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            todo += ast.iter_child_nodes(node)
        if isinstance(node, ast.Import | ast.ImportFrom):
            found |= {dotted.partition(".")[0] for dotted in imports(node)}
    return found


def test_arrows_between_rooms_go_down():
    up = {
        (name, other)
        for name in SOURCES
        for other in own_imports(name) - {"flowstore"}
        if "." in name and room_of(name) != room_of(other) and LEVELS[room_of(other)] >= LEVELS[room_of(name)]
    }
    assert up == set()
    assert {room_of(name) for name in SOURCES} - {"flowstore"} == set(LEVELS)


def test_there_is_no_circle_inside_a_room():
    inside = {name: {other for other in own_imports(name) if room_of(other) == room_of(name)} for name in SOURCES}
    tuple(TopologicalSorter(inside).static_order())


def test_the_checks_see_what_they_look_for():
    tree = ast.parse("def f():\n    from flowstore.cli import main\n    import cv2.utils")
    assert imports(tree) == {"flowstore.cli.main", "cv2.utils"}
    tree = ast.parse("class C:\n    import dask\n    def f(self):\n        import cv2\nif x:\n    import torch.nn")
    assert libraries_loaded_with(tree) == {"dask", "torch"}
    assert len(broad_handlers(ast.parse("try:\n f()\nexcept:\n pass\nwith suppress(Exception):\n g()"))) == 2


def test_each_library_has_its_rooms():
    found = {(library, room_of(name)) for name in SOURCES for library in foreign_imports(name) - {"numpy"}}
    assert found == {(library, room) for library, rooms in OWNERS.items() for room in rooms.split()}


def test_a_face_only_hands_on():
    for name in FACES - {"flowstore"}:
        kinds = {type(node) for node in SOURCES[name].body[1:]}
        assert kinds <= {ast.ImportFrom, ast.Assign}, name
        assert all(other.startswith(f"{name}.") for other in own_imports(name)), name
        handed_on = {dotted.rpartition(".")[2] for dotted in imports(SOURCES[name])}
        modules = {other.rpartition(".")[2] for other in SOURCES if other.rpartition(".")[0] == name}
        assert handed_on & modules == set(), name


@pytest.mark.parametrize("room", OPERATIONS)
def test_an_operation_has_a_run(room):
    assert f"flowstore.{room}.run" in SOURCES
    assert room == "render" or f"flowstore.{room}.task" in SOURCES


def test_reading_reaches_no_heavy_library():
    reached, todo = set(), {"flowstore.store.open"}
    while todo:
        name = todo.pop()
        reached.add(name)
        packages = {".".join(name.split(".")[:depth]) for depth in range(1, name.count(".") + 1)}
        todo |= (own_imports(name) | packages) - reached - {"flowstore"}
    assert {(name, library) for name in reached for library in libraries_loaded_with(SOURCES[name]) & HEAVY} == set()
    assert {room_of(name) for name in reached} & {*OPERATIONS, "estimators", "jobs", "layouts", "clips", "cli"} == set()


def broad_handlers(tree: ast.AST) -> list[int]:
    """Return the lines that take any error and do not raise it again, `contextlib.suppress` included."""
    lines = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ExceptHandler):
            caught = node.type or ast.Name("BaseException")
            named = {leaf.id for leaf in ast.walk(caught) if isinstance(leaf, ast.Name)}
            ends_with_raise = isinstance(node.body[-1], ast.Raise) and node.body[-1].exc is None
            if named & {"Exception", "BaseException"} and not ends_with_raise:
                lines.append(node.lineno)
        elif isinstance(node, ast.Call) and "suppress" in ast.unparse(node.func):
            lines += [node.lineno for argument in node.args if ast.unparse(argument) in {"Exception", "BaseException"}]
    return lines


def test_there_is_one_broad_except():
    broad = {name: len(lines) for name, tree in SOURCES.items() if (lines := broad_handlers(tree))}
    assert broad == {"flowstore.pipeline.task": 1}


def test_no_module_is_named_vaguely_or_after_another():
    vague = {"utils", "util", "base", "helpers", "helper", "common", "misc", "core", "tools"}
    libraries = {"numpy", "zarr", "dask", "torch", "cv2", "numba", "xarray", "pandas", "rich", "click", "matplotlib"}
    taken = vague | libraries | set(sys.stdlib_module_names)
    assert {name for name in SOURCES if name.rpartition(".")[2] in taken} == set()


def test_each_module_says_what_it_is():
    assert [name for name, tree in SOURCES.items() if not ast.get_docstring(tree)] == []


def test_no_module_prints_but_the_command_line():
    calls = {(name, node) for name in SOURCES for node in ast.walk(SOURCES[name]) if isinstance(node, ast.Call)}
    assert [name for name, node in calls if isinstance(node.func, ast.Name) and node.func.id == "print"] == []


PURE = (
    "errors",
    "names",
    "quantize.quantizer",
    "quantize.file_quantizer",
    "format.record",
    "format.settings",
    "format.zarr_metadata",
    "sources.readings",
    "sources.sampling",
    "sources.series",
    "clips.sampling",
    "clips.table",
    "transforms",
    "layouts",
    "colour",
    "scenes",
    "quantize.motion",
    "motion_fields",
    "stats.counts",
    "stats.report",
    "store.video_index",
    "verify.faults",
    "notebook.tables",
    "notebook.views",
)


def test_pure_modules_touch_no_file_and_no_clock():
    world = {"time", "shutil", "pathlib", "subprocess", "tempfile", "socket", "random"}
    for name, tree in SOURCES.items():
        if not any(name == f"flowstore.{pure}" or name.startswith(f"flowstore.{pure}.") for pure in PURE):
            continue
        called = {
            node.func.id for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
        }
        assert called & {"open", "print", "input", "exec", "eval"} == set(), name
        assert {dotted.partition(".")[0] for dotted in imports(tree)} & world == set(), name
