"""OcnRules (`ocn-node.md` 2.9): a platform says who may send it what, in the manual's intended meaning.

Rules belong to a platform and protect all its parties. At most one of the two lists is active. A refused
request changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, Literal

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ocn_fast.http.bodies import read_json
from ocn_fast.http.context import context_of
from ocn_fast.http.handshake import MODULE_CHARACTERS, read_party
from ocn_fast.http.responses import Refusal, success
from ocn_fast.http.versions import VERSIONS
from ocn_fast.store import Platform, Rule, Rules

ListName = Literal["whitelist", "blacklist"]

EXCLUSIVE = "OCN Rules whitelist and blacklist cannot be active at same time"


async def show(request: Request) -> Response:
    """GET: the rules as they stand. Signatures that the node itself requires show as required."""
    platform = await _platform(request)
    rules = platform.rules
    entries = [
        {
            "party_id": entry.party.party_id,
            "country_code": entry.party.country_code,
            "modules": list(entry.modules),
        }
        for entry in rules.entries
    ]
    lists = {
        name: {"active": rules.mode == name, "list": entries if rules.mode == name else []}
        for name in ("whitelist", "blacklist")
    }
    required = context_of(request).settings.signatures.required
    return success(request, {"signatures": rules.signatures or required, **lists})


async def toggle_signatures(request: Request) -> Response:
    """PUT /signatures: whether the platform takes signed messages only, beyond what the node asks for."""
    return await _change(request, lambda rules: replace(rules, signatures=not rules.signatures))


async def block_all(request: Request) -> Response:
    """PUT /block-all: an active whitelist with nobody on it."""

    def change(rules: Rules) -> Rules:
        _require_free(rules, "whitelist")
        return replace(rules, mode="whitelist", entries=())

    return await _change(request, change)


async def replace_list(request: Request, name: ListName) -> Response:
    """PUT /whitelist, /blacklist: the whole list; an empty one is switched off."""
    await _platform(request)
    document = await read_json(request)
    if not isinstance(document, list):
        raise Refusal.INVALID.error("expected a list of entries")
    entries = tuple(_entry(entry) for entry in document)
    if any(not entry.modules for entry in entries):
        raise Refusal.FORBIDDEN.error("Module list of one the party is empty")
    if any("" in entry.modules for entry in entries):
        raise Refusal.FORBIDDEN.error("One of the element of module list is empty")
    if len({entry.party for entry in entries}) != len(entries):
        raise Refusal.INVALID.error("a party is there twice")

    def change(rules: Rules) -> Rules:
        if not entries:
            return replace(rules, mode="none", entries=()) if rules.mode == name else rules
        _require_free(rules, name)
        return replace(rules, mode=name, entries=entries)

    return await _change(request, change)


async def add(request: Request, name: ListName) -> Response:
    """POST /whitelist, /blacklist: one more entry, and the list is active."""
    await _platform(request)
    entry = _entry(await read_json(request))
    if "" in entry.modules:
        raise Refusal.FORBIDDEN.error("Module list is empty")

    def change(rules: Rules) -> Rules:
        _require_free(rules, name)
        if any(held.party == entry.party for held in rules.entries):
            raise Refusal.INVALID.error(f"Party already on OCN Rules {name}")
        return replace(rules, mode=name, entries=(*rules.entries, entry))

    return await _change(request, change)


async def remove(request: Request, name: ListName) -> Response:
    """DELETE /whitelist/{country_code}/{party_id}, and so for the blacklist; without entries it is off."""
    party = read_party(request.path_params)

    def change(rules: Rules) -> Rules:
        if rules.mode != name:
            raise Refusal.FORBIDDEN.error(f"Cannot delete entry from OCN Rules {name}")
        entries = tuple(entry for entry in rules.entries if entry.party != party)
        return replace(rules, mode=name if entries else "none", entries=entries)

    return await _change(request, change)


async def _change(request: Request, change: Callable[[Rules], Rules]) -> Response:
    platform = await _platform(request)
    if not await context_of(request).store.change_rules(platform.id, change):
        # It left in between.
        raise Refusal.UNAUTHORIZED.error()
    return success(request)


async def _platform(request: Request) -> Platform:
    if request.path_params["version"] not in VERSIONS:
        raise Refusal.NO_SUCH_PATH.error()
    if not hasattr(request.state, "platform"):
        request.state.platform = await context_of(request).callers.platform(request)
    platform: Platform = request.state.platform
    return platform


def _entry(document: Any) -> Rule:
    party = read_party(document) if isinstance(document, dict) else None
    if party is None:
        raise Refusal.INVALID.error("expected an entry with party_id, country_code and modules")
    modules = document.get("modules", [])
    strings = isinstance(modules, list) and all(
        isinstance(module, str) and len(module) <= MODULE_CHARACTERS for module in modules
    )
    if not strings:
        raise Refusal.INVALID.error("modules: expected a list of module ids")
    return Rule(party, tuple(modules))


def _require_free(rules: Rules, name: ListName) -> None:
    if rules.mode not in ("none", name):
        raise Refusal.FORBIDDEN.error(EXCLUSIVE)


def _routes(base: str) -> list[Route]:
    routes = [
        Route(base, show, methods=["GET"]),
        Route(base + "/signatures", toggle_signatures, methods=["PUT"]),
        Route(base + "/block-all", block_all, methods=["PUT"]),
    ]
    names: tuple[ListName, ...] = ("whitelist", "blacklist")
    for name in names:
        entry = f"{base}/{name}/{{country_code}}/{{party_id}}"
        routes += [
            Route(f"{base}/{name}", partial(replace_list, name=name), methods=["PUT"]),
            Route(f"{base}/{name}", partial(add, name=name), methods=["POST"]),
            Route(entry, partial(remove, name=name), methods=["DELETE"]),
        ]
    return routes


# Advertised at the first place; existing nodes advertise the second and serve the first.
ROUTES = _routes("/ocpi/receiver/{version}/ocnrules") + _routes("/ocpi/{version}/receiver/ocnrules")
