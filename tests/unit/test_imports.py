"""Who may touch the native extension: import-linter sees only Python modules, so this is asked here."""

import ast
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "python" / "ocn_fast"
ALLOWED = {"keyfiles", "node", "notary", "registry.snapshot"}


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
