"""The house of the design: who may import whom, one door per outside thing, honest files."""

import ast
import re
import tomllib
import zlib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("atlas", "trainer", "precompute", "pages")
MAY_IMPORT = {
    "atlas": {"atlas"},
    "trainer": {"trainer", "atlas"},
    "precompute": {"precompute", "trainer", "atlas"},
    "pages": {"pages", "atlas"},
}
DOORS = {
    "streamlit": "pages/",
    "duckdb": ("atlas/store.py", "precompute/writer.py"),
    "plotly": "atlas/figures.py",
    "openTSNE": "precompute/layout.py",
    "lap": "atlas/assignment.py",
    "safetensors": "atlas/tensor_files.py",
    "transformers": ("atlas/language_model.py", "atlas/language_model_files.py", "trainer/"),
    "tokenizers": ("atlas/language_model.py", "trainer/"),
    "huggingface_hub": "precompute/hub.py",
}
"""Outside package -> the files that may import it."""
PURE = (
    "crosscoder", "prism", "geometry", "lifecycle", "decomposition", "codes", "legibility",
    "changepoint", "enrichment", "changes", "reorganisation", "matching", "token_overlap",
    "life_match", "joint_direction", "splits", "consensus", "assignment",
    "window_choice", "wishbone", "dense", "coverage", "carrying", "standing",
    "baselines", "case_fidelity",
)
"""The innermost mathematics of atlas/: arrays in, arrays out."""


def sources(package):
    return sorted((ROOT / package).rglob("*.py"))


def imported(path):
    """Every module that a file imports, also inside functions."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            yield node.module or ""


@pytest.mark.parametrize("package", PACKAGES)
def test_imports_point_inwards(package):
    for path in sources(package):
        for module in imported(path):
            root = module.split(".")[0]
            if root in PACKAGES:
                assert root in MAY_IMPORT[package], f"{path.relative_to(ROOT)} imports {module}"


@pytest.mark.parametrize("outside", DOORS)
def test_each_outside_thing_has_its_door(outside):
    for package in PACKAGES:
        for path in sources(package):
            name = path.relative_to(ROOT).as_posix()
            if any(module.split(".")[0] == outside for module in imported(path)):
                assert name.startswith(DOORS[outside]), f"{name} imports {outside}"


def test_the_mathematics_touches_nothing_outside():
    for name in PURE:
        roots = {m.split(".")[0] for m in imported(ROOT / "atlas" / f"{name}.py")}
        assert not roots & {"os", "io", "pathlib", "json", "time", "random", "logging"}, name


def test_pages_hold_no_sql():
    for path in sources("pages"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                assert node.func.attr not in {"execute", "sql", "cursor"}, path


def test_nothing_is_rendered_unescaped():
    for path in sources("pages"):
        assert "unsafe_allow_html" not in path.read_text(encoding="utf8"), path


def test_no_page_shadows_the_standard_library():
    import sys

    names = {p.stem for p in sources("pages")} - {"__init__"}
    assert not names & set(sys.stdlib_module_names)


def test_files_fit_in_the_head():
    for package in PACKAGES:
        for path in sources(package):
            lines = len(path.read_text(encoding="utf8").splitlines())
            assert lines <= 420, f"{path.relative_to(ROOT)} has {lines} lines"


def test_weights_are_never_unpickled_blindly():
    for package in PACKAGES:
        for path in sources(package):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf8"))):
                if isinstance(node, ast.Call) and ast.unparse(node.func) == "torch.load":
                    options = {k.arg: ast.unparse(k.value) for k in node.keywords}
                    assert options.get("weights_only") == "True", path
            assert "trust_remote_code" not in path.read_text(encoding="utf8"), path


def test_every_dependency_says_why():
    lines = (ROOT / "pyproject.toml").read_text(encoding="utf8").splitlines()
    for line in lines:
        if re.match(r'\s+"[a-z_]+[><=]', line) and "ignore::" not in line:
            assert "#" in line, f"no reason: {line.strip()}"


def test_constraints_pin_every_dependency():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf8"))["project"]
    wanted = project["dependencies"] + project["optional-dependencies"]["test"]
    pinned = {
        line.split("==")[0].lower().replace("_", "-")
        for line in (ROOT / "constraints.txt").read_text(encoding="utf8").splitlines()
    }
    names = {re.split(r"[><=]", w)[0].lower().replace("_", "-") for w in wanted}
    assert names <= pinned


def test_the_bundle_fits_a_clone():
    """At most 80 MB as git packs it, which is what a clone fetches; no file over 40 MB."""
    files = [
        p.read_bytes() for p in (ROOT / "data" / "demo").rglob("*")
        if p.is_file() and "work" not in p.relative_to(ROOT / "data" / "demo").parts
    ]
    assert sum(len(zlib.compress(body, 1)) for body in files) <= 80e6
    assert max(map(len, files)) <= 40e6


def test_the_readme_names_the_commands_and_the_folders():
    readme = (ROOT / "README.md").read_text(encoding="utf8")
    for word in ("make demo", "make test", *(f"{p}/" for p in (*PACKAGES, "data", "tests"))):
        assert word in readme, word
