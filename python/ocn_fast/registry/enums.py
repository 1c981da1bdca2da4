"""The numbers of the v1 contracts and their names: roles, modules, permissions.

A contract newer than this table may hold numbers that it does not know: they get the name `UNKNOWN_<n>`, from
which the number is found again.
"""

from __future__ import annotations

from typing import Literal

ROLES: tuple[str, ...] = ("CPO", "EMSP", "HUB", "NAP", "NSP", "OTHER", "SCSP")
"""OCPI roles, at the index that stands for them. (v2 contracts number them otherwise.)"""

MODULES: tuple[str, ...] = (
    "cdrs",
    "chargingprofiles",
    "commands",
    "locations",
    "sessions",
    "tariffs",
    "tokens",
)
"""OCPI modules, at the index that stands for them."""

Interface = Literal["sender", "receiver"]

# Permissions name the modules in an order of their own.
_PERMISSION_MODULES = (
    "locations",
    "sessions",
    "cdrs",
    "tariffs",
    "tokens",
    "commands",
    "chargingprofiles",
)
_INTERFACES: tuple[Interface, ...] = ("sender", "receiver")
_SCOPES: tuple[tuple[str | None, Interface | None], ...] = (
    (None, None),
    *((None, interface) for interface in _INTERFACES),
    *((module, interface) for module in _PERMISSION_MODULES for interface in _INTERFACES),
)
_UNKNOWN = "UNKNOWN_"


def _permission(module: str | None, interface: Interface | None) -> str:
    words = ("FORWARD", "ALL") if module is None else ("FORWARD", "MODULE", module)
    return "_".join([*words, *([interface] if interface else [])]).upper()


PERMISSIONS: tuple[str, ...] = tuple(_permission(*scope) for scope in _SCOPES)
"""What a service may get copies of, at the index that stands for it."""


def role_name(index: int) -> str:
    """The role of an index; `UNKNOWN_<n>` where there is none."""
    return _name(ROLES, index)


def role_index(name: str) -> int:
    """The index of a role, in any case. Raises ValueError."""
    return _index(ROLES, name.upper(), "role")


def module_name(index: int) -> str:
    """The module of an index; `UNKNOWN_<n>` where there is none."""
    return _name(MODULES, index)


def module_index(name: str) -> int:
    """The index of a module, in any case. Raises ValueError."""
    return _index(MODULES, name.lower(), "module")


def permission_name(index: int) -> str:
    """The permission of an index, which may be any uint256; `UNKNOWN_<n>` where there is none."""
    return _name(PERMISSIONS, index)


def permission_index(name: str) -> int:
    """The index of a permission, in any case. Raises ValueError."""
    return _index(PERMISSIONS, name.upper(), "permission")


def permission_covers(index: int, module: str, interface: Interface) -> bool:
    """Whether a permission lets a service have messages of an OCPI module that are addressed to `interface`.

    Unknown permissions cover nothing, and no permission covers a module that is not OCPI's own.
    """
    if not 0 <= index < len(_SCOPES) or module not in MODULES:
        return False
    of_module, of_interface = _SCOPES[index]
    return of_module in (None, module) and of_interface in (None, interface)


def _name(names: tuple[str, ...], index: int) -> str:
    return names[index] if 0 <= index < len(names) else f"{_UNKNOWN}{index}"


def _index(names: tuple[str, ...], name: str, kind: str) -> int:
    if name in names:
        return names.index(name)
    prefix, number = name[: len(_UNKNOWN)].upper(), name[len(_UNKNOWN) :]
    if prefix == _UNKNOWN and number.isascii() and number.isdigit():
        return int(number)
    raise ValueError(f"{name} is no {kind}: one of {', '.join(names)}")
