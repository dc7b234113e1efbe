"""The rules that pages keep: nothing drawn as markup, nothing computed, nothing from outside."""

import ast
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

from atlas.places import APP, ROOT, STORE_VARIABLE
from atlas.theme import DARK, LIGHT, Palette
from tests.pages.test_pages import FILES


def page_trees() -> list[tuple[Path, ast.Module]]:
    return [(p, ast.parse(p.read_text("utf8"))) for p in sorted((ROOT / "pages").glob("*.py"))]


def test_no_page_draws_text_as_markup() -> None:
    surfaces = {"markdown", "write", "caption", "table", "metric", "error", "info", "warning",
                "success", "toast", "latex", "title", "header", "subheader", "radio", "pills"}
    for path, tree in page_trees():
        for node in ast.walk(tree):
            if isinstance(node, ast.keyword):
                assert node.arg not in ("unsafe_allow_html", "unsafe_allow_javascript"), path
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                assert not (node.value.id == "st" and node.attr in surfaces), (path, node.attr)


def test_pages_ask_and_place_only() -> None:
    banned = {"duckdb", "plotly", "torch", "transformers", "safetensors", "trainer", "precompute"}
    for path, tree in page_trees():
        for node in ast.walk(tree):
            names = []
            if isinstance(node, ast.Import):
                names = [a.name for a in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            assert not {n.split(".")[0] for n in names} & banned, path
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                assert not re.search(r"\bSELECT\b.+\bFROM\b.+\b(WHERE \w+ =|LIMIT|ORDER BY)\b",
                                     node.value), path
            caches = path.name == "shared.py" or path.name.startswith("answers")
            if not caches and isinstance(node, ast.Attribute):
                assert not node.attr.startswith("cache_"), path


def test_page_files_do_not_hide_modules_of_the_library() -> None:
    for path, _ in page_trees():
        assert path.stem == "__init__" or path.stem not in sys.stdlib_module_names, path


def test_the_configuration_keeps_to_itself_and_to_the_palette() -> None:
    config = tomllib.loads((ROOT / ".streamlit" / "config.toml").read_text("utf8"))
    assert config["browser"]["gatherUsageStats"] is False
    assert config["server"]["fileWatcherType"] == "none"
    assert config["server"]["address"] == "127.0.0.1"
    assert config["client"]["showErrorDetails"] == "none"
    assert config["runner"]["postScriptGC"] is False
    for name, p in (("light", LIGHT), ("dark", DARK)):
        assert_same_colours(config["theme"][name], p)
    for face in config["theme"]["fontFaces"]:
        assert (ROOT / "pages" / face["url"].removeprefix("app/")).is_file()
    licences = list((ROOT / "pages" / "static").glob("*-OFL.txt"))
    assert len(licences) == 3
    assert all("SIL OPEN FONT LICENSE" in p.read_text("utf8") for p in licences)


def assert_same_colours(theme: dict[str, str], p: Palette) -> None:
    assert theme["backgroundColor"] == p.paper
    assert theme["secondaryBackgroundColor"] == p.raised
    assert theme["textColor"] == p.ink
    assert theme["primaryColor"] == p.accent
    assert theme["borderColor"] == p.rule
    assert theme["dataframeHeaderTextColor"] == p.muted


def test_only_a_prompt_loads_the_language_model(tiny_store: Path) -> None:
    code = (
        "import sys\n"
        "from streamlit.testing.v1 import AppTest\n"
        f"app = AppTest.from_file({str(APP)!r}, default_timeout=60).run()\n"
        f"for name in {[f for n, f in FILES.items() if n != 'decompose']!r}:\n"
        "    app.switch_page(name).run()\n"
        "    assert not app.exception, name\n"
        "assert not {'torch', 'transformers'} & set(sys.modules)\n"
    )
    environment = os.environ | {STORE_VARIABLE: str(tiny_store)}
    subprocess.run(
        [sys.executable, "-c", code], check=True, cwd=ROOT, env=environment,
        capture_output=True, timeout=120,
    )


def test_the_sheet_of_keys_names_every_key_of_a_button() -> None:
    keys = set()
    for _, tree in page_trees():
        for node in ast.walk(tree):
            if isinstance(node, ast.keyword) and node.arg == "shortcut" and isinstance(
                node.value, ast.Constant
            ):
                keys.add(node.value.value)
    sheet = (ROOT / "pages" / "window.js").read_text("utf8")
    assert len(keys) >= 3
    assert keys <= set(re.findall(r'^    \[\["(\w)"\], "', sheet, flags=re.M))
