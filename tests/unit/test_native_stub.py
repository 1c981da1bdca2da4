"""The stub of the extension says what the extension is: the same names, parameters and properties."""

import ast
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import ocn_fast
from ocn_fast import _native

STUB = ast.parse((Path(ocn_fast.__file__).parent / "_native.pyi").read_text())
FUNCTIONS = {node.name: node for node in STUB.body if isinstance(node, ast.FunctionDef)}
CLASSES = {node.name: node for node in STUB.body if isinstance(node, ast.ClassDef)}


def members(node: ast.ClassDef) -> dict[str, ast.FunctionDef]:
    return {item.name: item for item in node.body if isinstance(item, ast.FunctionDef)}


def is_property(function: ast.FunctionDef) -> bool:
    return any(isinstance(mark, ast.Name) and mark.id == "property" for mark in function.decorator_list)


def stubbed(function: ast.FunctionDef) -> list[tuple[str, bool]]:
    """Names of the parameters, `self` and `cls` left out, and whether each has a default."""
    arguments = function.args
    positional = [*arguments.posonlyargs, *arguments.args]
    plain = len(positional) - len(arguments.defaults)
    found = [(argument.arg, index >= plain) for index, argument in enumerate(positional)]
    pairs = zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
    found += [(argument.arg, default is not None) for argument, default in pairs]
    return [(name, default) for name, default in found if name not in ("self", "cls")]


def compiled(callable_: Any) -> list[tuple[str, bool]]:
    parameters = inspect.signature(callable_).parameters.values()
    return [
        (parameter.name, parameter.default is not parameter.empty)
        for parameter in parameters
        if parameter.name not in ("self", "cls")
    ]


def callables() -> Iterator[tuple[str, ast.FunctionDef, Any]]:
    for name, function in FUNCTIONS.items():
        yield name, function, getattr(_native, name, None)
    for class_name, node in CLASSES.items():
        for name, function in members(node).items():
            if not is_property(function):
                found = getattr(_native, class_name, None)
                yield (
                    f"{class_name}.{name}",
                    function,
                    found if name == "__new__" else getattr(found, name, None),
                )


def test_names_are_the_same() -> None:
    assert {name for name in dir(_native) if not name.startswith("_")} == FUNCTIONS.keys() | CLASSES.keys()


@pytest.mark.parametrize("name", sorted(CLASSES))
def test_members_are_the_same(name: str) -> None:
    public = {member for member in vars(getattr(_native, name)) if not member.startswith("_")}
    assert public == {member for member in members(CLASSES[name]) if not member.startswith("_")}


@pytest.mark.parametrize(
    ("name", "function", "found"), [pytest.param(*case, id=case[0]) for case in callables()]
)
def test_parameters_are_the_same(name: str, function: ast.FunctionDef, found: Any) -> None:
    assert found is not None
    assert compiled(found) == stubbed(function)


@pytest.mark.parametrize("name", sorted(CLASSES))
def test_properties_are_properties(name: str) -> None:
    for member, function in members(CLASSES[name]).items():
        if not member.startswith("_"):
            found = inspect.getattr_static(getattr(_native, name), member)
            assert inspect.isdatadescriptor(found) == is_property(function), member


def test_everything_is_documented() -> None:
    for name, function, _ in callables():
        assert ast.get_docstring(function), name
    for name, node in CLASSES.items():
        assert ast.get_docstring(node), name
