"""Who may import whom. Imports are read, not run, so also those inside functions count."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parent.parent

# A layer is a module of chat_ui, or a package with all its modules; app is app.py.
# Every layer may also import itself, and chat_ui for its version.
LAYERS = {
    "app": {"ui", "web", "service", "settings", "errors"},
    "__main__": {"ui", "service", "history", "models", "settings", "errors"},
    "ui": {"service", "chat", "settings", "limits", "errors"},
    "web": {"service", "chat", "settings", "limits", "oauth", "errors"},
    "service": {"engine", "models", "history", "chat", "settings", "limits", "errors"},
    "engine": {"models", "chat", "errors"},
    "history": {"chat", "errors"},
    "models": {"errors"},
    "chat": {"errors"},
    "settings": {"models", "limits", "oauth", "errors"},
    "limits": set(),
    "oauth": set(),
    "errors": set(),
}

# The third-party packages of the layers that are to stay small.
THIRD_PARTY = {
    "settings": {"platformdirs"},
    "limits": set(),
    "oauth": set(),
    "chat": set(),
    "errors": set(),
}

# The heavy packages, and the layers that may import them.
HEAVY = {
    "gradio": {"app", "ui", "web"},
    "torch": {"engine", "models"},
    "transformers": {"engine", "models"},
    "bitsandbytes": {"engine", "models"},
    "accelerate": {"engine", "models"},
}


class Import(NamedTuple):
    """One imported module, by its full name."""

    where: str
    layer: str
    module: str
    at_start: bool

    def __str__(self) -> str:
        return f"{self.where} imports {self.module}"

    @property
    def target(self) -> str | None:
        """The layer that is imported, or None for one that is not ours."""
        first, *rest = self.module.split(".")
        if first == "app":
            return "app"
        return rest[0] if first == "chat_ui" and rest else None


def sources() -> list[Path]:
    return [*sorted((ROOT / "chat_ui").rglob("*.py")), *ROOT.glob("app.py")]


def layer_of(path: Path) -> str:
    """The layer a file is in; "chat_ui" for chat_ui/__init__.py, which is in none."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    if parts == ("chat_ui", "__init__"):
        return "chat_ui"
    return parts[1] if parts[0] == "chat_ui" else parts[0]


def imports_in(path: Path) -> Iterator[Import]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    later = set(run_later(tree))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            where = f"{path.relative_to(ROOT)}:{node.lineno}"
            for module in modules(node, path):
                yield Import(where, layer_of(path), module, at_start=node not in later)


def run_later(tree: ast.Module) -> Iterator[ast.AST]:
    """What does not run when the module is imported: functions, and what only a checker reads."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield from ast.walk(node)
        elif isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            for statement in node.body:
                yield from ast.walk(statement)


def modules(node: ast.Import | ast.ImportFrom, path: Path) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    package = node.module or ""
    if node.level:
        parents = path.relative_to(ROOT).parts[: -node.level]
        package = ".".join([*parents, package]).rstrip(".")
    # Of chat_ui itself, what is imported says which layer it is; elsewhere the package does.
    if package != "chat_ui":
        return [package]
    names = [alias.name for alias in node.names]
    return ["chat_ui" if name.startswith("__") else f"chat_ui.{name}" for name in names]


@pytest.fixture(scope="module")
def imports() -> list[Import]:
    return [found for path in sources() for found in imports_in(path)]


def test_the_walk_finds_the_app(imports):
    """So that no test below passes for want of anything to look at."""
    layers = {layer_of(path) for path in sources()}
    assert layers == {*LAYERS, "chat_ui"}
    assert len(sources()) >= 15
    assert {found.target for found in imports} >= {"engine", "models", "chat", "errors"}
    assert {found.module.split(".")[0] for found in imports} >= {"gradio", "torch", "sqlalchemy"}


def test_layers_import_only_those_below(imports):
    assert not [
        str(found)
        for found in imports
        if found.target
        and found.target != found.layer
        and found.target not in LAYERS.get(found.layer, set())
    ]


def test_small_layers_stay_small(imports):
    known = sys.stdlib_module_names | {"chat_ui"}
    assert not [
        str(found)
        for found in imports
        if found.layer in THIRD_PARTY
        and found.module.split(".")[0] not in known | THIRD_PARTY[found.layer]
    ]


def test_heavy_packages_stay_where_they_belong(imports):
    assert not [
        str(found)
        for found in imports
        if found.layer not in HEAVY.get(found.module.split(".")[0], {found.layer})
    ]


def test_models_import_heavy_packages_only_inside_functions(imports):
    assert not [
        str(found)
        for found in imports
        if found.layer == "models" and found.module.split(".")[0] in HEAVY and found.at_start
    ]


def test_the_walk_sees_every_form(tmp_path, monkeypatch):
    monkeypatch.setattr(sys.modules[__name__], "ROOT", tmp_path)
    file = tmp_path / "chat_ui" / "models" / "load.py"
    file.parent.mkdir(parents=True)
    file.write_text(
        "import os.path, torch\n"
        "from chat_ui import __version__, errors\n"
        "from chat_ui.chat import messages\n"
        "from . import spec\n"
        "from ..ui.page import Page\n"
        "from .. import web\n"
        "def load():\n    import transformers\n"
    )
    found = {(one.module, one.target, one.at_start) for one in imports_in(file)}
    assert found == {
        ("os.path", None, True),
        ("torch", None, True),
        ("chat_ui", None, True),
        ("chat_ui.errors", "errors", True),
        ("chat_ui.chat", "chat", True),
        ("chat_ui.models", "models", True),
        ("chat_ui.ui.page", "ui", True),
        ("chat_ui.web", "web", True),
        ("transformers", None, False),
    }


def test_light_layers_load_nothing_heavy():
    """Starting, and answering that a setting is wrong, must not wait for torch."""
    script = (
        "import sys\n"
        "import chat_ui.chat, chat_ui.models, chat_ui.settings, chat_ui.errors\n"
        f"print(*sorted({set(HEAVY)!r} & set(sys.modules)))"
    )
    run = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.strip() == ""
