"""The house: imports go down only, each library has its owners, one broad except, no vague module."""

import ast
import sys
from pathlib import Path

import pytest

import flowstore

PACKAGE = Path(flowstore.__file__).parent
SOURCES = {path.stem: ast.parse(path.read_text(encoding="utf-8")) for path in sorted(PACKAGE.glob("*.py"))}

# From the bottom to the top. A module imports only from lines below its own; those of one line know nothing of each
# other.
ORDER = (
    "errors whole_files batch_memory",
    "arguments limits",
    "model names quantize sampling scenes colour lanes compiling caches mp4_boxes clusters archives object_stores",
    "lettering motion motion_fields pair_kernels file_encodings path_templates settings sources clip_sampling locking",
    "faults plotting html_views",
    "motion_counts",
    "chunk_codecs",
    "drawing films layouts flow_conversion shards decoding farneback_tables motion_kernels transforms",
    "documents storage tables labelled_arrays farneback_kernels opencv_flow flow_encoder flow_files flow_folders",
    "foreign_arrays",
    "store_root records video_index stored_flow farneback flow_npy flow_hdf5 fingerprints",
    "index leftovers flow_reading import_origin video",
    "clips flow_index footage",
    "store writing estimators splits",
    "checking video_pictures",
    "tree_checks verify_report sheets",
    "scheduling clip_table estimates video_selection",
    "extraction planning flow_images stat_tasks video_copies loaders",
    "reporting copy_planning export_lists video_import stats_report",
    "running",
    "pipeline export_paths progress description",
    "export_plan",
    "export_present",
    "export_manifest",
    "export",
    "copying importer stats stats_plot",
    "repairing",
    "verify render",
    "demo",
    "__init__",
    "cli_options console",
    "cli_plan cli_layouts",
    "cli_extract cli_info cli_export cli_copy cli_stats cli_demo cli_verify cli_render cli_import",
    "cli",
    "__main__",
)
LEVELS = {name: level for level, names in enumerate(ORDER) for name in names.split()}

OWNERS = {
    "zarr": {"archives", "object_stores", "storage", "foreign_arrays", "index", "store"},
    "dask": {"scheduling", "clusters", "labelled_arrays"},
    "distributed": {"scheduling", "clusters"},
    "click": {
        "cli",
        "cli_options",
        "cli_layouts",
        "console",
        "cli_extract",
        "cli_info",
        "cli_export",
        "cli_import",
        "cli_copy",
        "cli_stats",
        "cli_demo",
        "cli_verify",
        "cli_render",
    },
    "rich": {"progress", "description", "console", "cli_info", "cli_stats"},
    "cv2": {
        "decoding",
        "opencv_flow",
        "flow_files",
        "flow_conversion",
        "export",
        "demo",
        "lettering",
        "drawing",
        "films",
        "footage",
        "render",
    },
    "PIL": {"films"},
    "numcodecs": {"chunk_codecs", "foreign_arrays"},
    "google_crc32c": {"chunk_codecs"},
    "fsspec": {"object_stores"},
    "botocore": {"object_stores"},
    "aiohttp": {"object_stores"},
    "h5py": {"flow_hdf5"},
    "pandas": {"tables"},
    "xarray": {"labelled_arrays"},
    "matplotlib": {"stats_plot", "plotting"},
    "torch": {"loaders"},
    "numba": {"lanes", "farneback_kernels", "compiling", "motion_kernels", "pair_kernels"},
    "llvmlite": {"lanes", "farneback_kernels"},
}
# Reading must not load these; see also the test in test_store.py that looks at a fresh process.
READING = {
    "arguments",
    "errors",
    "whole_files",
    "model",
    "names",
    "quantize",
    "settings",
    "chunk_codecs",
    "shards",
    "documents",
    "archives",
    "object_stores",
    "storage",
    "foreign_arrays",
    "limits",
    "records",
    "index",
    "video_index",
    "tables",
    "flow_index",
    "labelled_arrays",
    "colour",
    "plotting",
    "html_views",
    "video",
    "caches",
    "clips",
    "stored_flow",
    "store_root",
    "store",
}


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
    """Return the modules of the package that a module imports; names of the package itself are its __init__."""
    own = {dotted.split(".")[1] for dotted in imports(SOURCES[name]) if dotted.startswith("flowstore.")}
    return {module if module in SOURCES else "__init__" for module in own}


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


@pytest.mark.parametrize("name", SOURCES)
def test_imports_go_down(name):
    assert name in LEVELS, f"say in ORDER where {name} stands"
    assert {module for module in own_imports(name) if LEVELS[module] >= LEVELS[name]} == set()


def test_the_checks_see_an_import_in_a_function():
    tree = ast.parse("def f():\n    from flowstore.cli import main\n    import cv2.utils")
    assert imports(tree) == {"flowstore.cli.main", "cv2.utils"}


def test_the_checks_see_what_an_import_loads():
    tree = ast.parse("class C:\n    import dask\n    def f(self):\n        import cv2\nif x:\n    import torch.nn")
    assert libraries_loaded_with(tree) == {"dask", "torch"}


@pytest.mark.parametrize("name", SOURCES)
def test_each_library_has_its_owners(name):
    for library in foreign_imports(name) - {"numpy"}:
        assert name in OWNERS[library], f"{name} imports {library}"


def test_every_owner_uses_its_library_or_does_not_exist():
    unused = {
        (library, name)
        for library, names in OWNERS.items()
        for name in names
        if name in SOURCES and library not in foreign_imports(name)
    }
    assert {entry for entry in unused if entry[0] not in {"numba", "llvmlite"}} == set()


def test_reading_reaches_no_heavy_library():
    reached, todo = set(), {"__init__"}
    while todo:
        name = todo.pop()
        reached.add(name)
        todo |= own_imports(name) - reached
    assert reached == READING | {"__init__"}
    heavy = {"cv2", "dask", "distributed", "torch", "xarray", "pandas", "matplotlib", "numba", "rich", "click"}
    assert {library for name in reached for library in libraries_loaded_with(SOURCES[name])} & heavy == set()


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
    assert {name: len(lines) for name, tree in SOURCES.items() if (lines := broad_handlers(tree))} == {"extraction": 1}
    assert len(broad_handlers(ast.parse("try:\n f()\nexcept:\n pass\nwith suppress(Exception):\n g()"))) == 2


def test_no_module_is_named_vaguely_or_after_another():
    vague = {"utils", "util", "base", "helpers", "helper", "common", "misc", "core", "tools"}
    libraries = {"numpy", "zarr", "dask", "torch", "cv2", "numba", "xarray", "pandas", "rich", "click", "matplotlib"}
    taken = vague | libraries | set(sys.stdlib_module_names)
    assert {name for name in SOURCES if not name.startswith("__")} & taken == set()


def test_the_package_is_flat():
    assert [path.name for path in PACKAGE.iterdir() if path.is_dir() and path.name != "__pycache__"] == []


@pytest.mark.parametrize("name", SOURCES)
def test_each_module_says_what_it_is(name):
    assert ast.get_docstring(SOURCES[name])


PURE = {
    "errors",
    "model",
    "names",
    "quantize",
    "settings",
    "sampling",
    "clip_sampling",
    "clip_table",
    "transforms",
    "file_encodings",
    "path_templates",
    "layouts",
    "flow_files",
    "flow_npy",
    "colour",
    "scenes",
    "motion",
    "motion_counts",
    "motion_fields",
    "stats_report",
    "documents",
    "tables",
    "video_index",
    "faults",
    "html_views",
}
WORLD = {"open", "print", "input", "exec", "eval"}


@pytest.mark.parametrize("name", sorted(PURE))
def test_pure_modules_touch_no_file_and_no_clock(name):
    for node in ast.walk(SOURCES[name]):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in WORLD, node.lineno
    assert {dotted.partition(".")[0] for dotted in imports(SOURCES[name])} & {
        "time", "datetime", "shutil", "pathlib", "subprocess", "tempfile", "socket", "io", "random",
    } == set()  # fmt: skip


@pytest.mark.parametrize("name", SOURCES)
def test_no_module_prints_but_the_command_line(name):
    calls = [node for node in ast.walk(SOURCES[name]) if isinstance(node, ast.Call)]
    printed = [node.lineno for node in calls if isinstance(node.func, ast.Name) and node.func.id == "print"]
    assert printed == []
