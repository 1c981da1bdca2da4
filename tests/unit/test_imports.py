"""Who imports what: the native extension, which import-linter does not see, and what workers must not."""

import ast
import subprocess
import sys
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "python" / "ocn_fast"
ALLOWED = {"keyfiles", "node", "notary", "outbound", "registry.events", "registry.snapshot", "registry.views"}


def imports_native(tree: ast.Module) -> bool:
    """Whether a module imports the extension when it runs; imports for type checkers do not count."""
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            node.body = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            names = {f"{node.module}.{alias.name}" for alias in node.names} | {str(node.module)}
        elif isinstance(node, ast.Import):
            names = {alias.name for alias in node.names}
        else:
            continue
        if any(name == "ocn_fast._native" or name.startswith("ocn_fast._native.") for name in names):
            return True
    return False


def test_only_named_modules_reach_the_native_extension() -> None:
    users = {
        ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
        for path in PACKAGE.rglob("*.py")
        if imports_native(ast.parse(path.read_text()))
    }
    assert users == ALLOWED


def test_workers_and_keeper_load_nothing_that_only_the_command_line_needs() -> None:
    """Each of these costs every process some tenths of a second and tens of megabytes."""
    for module in ("ocn_fast.app", "ocn_fast.keeper"):
        program = f"import sys, {module}; print(*{{'alembic', 'web3', 'typer'}} & set(sys.modules))"
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
        assert done.stdout.split() == [], module
