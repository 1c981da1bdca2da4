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


def loaded(module: str, *unwanted: str) -> list[str]:
    """Which of these modules come with a module of ours."""
    program = f"import sys, {module}; print(*{set(unwanted)} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return done.stdout.split()


def test_workers_and_keeper_load_nothing_that_only_the_command_line_needs() -> None:
    """Each of these costs every process some tenths of a second and tens of megabytes."""
    for module in ("ocn_fast.app", "ocn_fast.keeper", "ocn_fast.supervisor"):
        assert loaded(module, "alembic", "eth_account", "rich", "typer", "web3") == [], module


def test_a_keeper_without_a_chain_loads_nothing_that_reads_one() -> None:
    """The start waits for it. Without what calls others, too: it does so only later."""
    unwanted = ("eth_abi", "eth_utils", "httpx", "ocn_fast.registry.mirror", "pydantic", "starlette")
    assert loaded("ocn_fast.keeper", *unwanted) == []


def test_serving_loads_no_other_command_and_no_database() -> None:
    ours = ("cli.init", "cli.join", "cli.registry", "notary", "registry", "store")
    unwanted = [f"ocn_fast.{name}" for name in ours]
    assert loaded("ocn_fast.cli.serve, ocn_fast.supervisor", "rich", "sqlalchemy", *unwanted) == []


def test_rich_is_there_for_who_imports_it_after_us() -> None:
    assert loaded("ocn_fast.logs, rich.console", "rich.console") == ["rich.console"]


def test_only_a_command_that_sends_loads_what_signs_transactions() -> None:
    """It takes half a second, and commands that read a chain are many."""
    assert loaded("ocn_fast.registry.transactions", "eth_account", "web3") == []
    assert loaded("ocn_fast.cli", "eth_abi", "eth_account", "httpx", "web3") == []
