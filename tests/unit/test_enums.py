"""Names and numbers of the contracts, and which permission covers which messages."""

import pytest

from ocn_fast.registry import enums

# Written out on purpose: what is computed in the module is a table in the specification.
PERMISSIONS = """
0 FORWARD_ALL any any
1 FORWARD_ALL_SENDER any sender
2 FORWARD_ALL_RECEIVER any receiver
3 FORWARD_MODULE_LOCATIONS_SENDER locations sender
4 FORWARD_MODULE_LOCATIONS_RECEIVER locations receiver
5 FORWARD_MODULE_SESSIONS_SENDER sessions sender
6 FORWARD_MODULE_SESSIONS_RECEIVER sessions receiver
7 FORWARD_MODULE_CDRS_SENDER cdrs sender
8 FORWARD_MODULE_CDRS_RECEIVER cdrs receiver
9 FORWARD_MODULE_TARIFFS_SENDER tariffs sender
10 FORWARD_MODULE_TARIFFS_RECEIVER tariffs receiver
11 FORWARD_MODULE_TOKENS_SENDER tokens sender
12 FORWARD_MODULE_TOKENS_RECEIVER tokens receiver
13 FORWARD_MODULE_COMMANDS_SENDER commands sender
14 FORWARD_MODULE_COMMANDS_RECEIVER commands receiver
15 FORWARD_MODULE_CHARGINGPROFILES_SENDER chargingprofiles sender
16 FORWARD_MODULE_CHARGINGPROFILES_RECEIVER chargingprofiles receiver
"""
ROWS = [line.split() for line in PERMISSIONS.strip().splitlines()]


def test_REG44_permissions_have_the_ids_and_names_of_the_contracts() -> None:
    assert [(str(index), name) for index, name in enumerate(enums.PERMISSIONS)] == [
        (index, name) for index, name, _, _ in ROWS
    ]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[1])
def test_REG44_each_permission_covers_its_modules_and_interfaces_and_no_other(row: list[str]) -> None:
    number, _, of_module, of_interface = row
    for module in enums.MODULES:
        for interface in ("sender", "receiver"):
            expected = of_module in ("any", module) and of_interface in ("any", interface)
            assert enums.permission_covers(int(number), module, interface) is expected  # type: ignore[arg-type]


@pytest.mark.parametrize("index", [17, 2**255, -1])
def test_REG44_unknown_permissions_cover_nothing(index: int) -> None:
    assert not any(enums.permission_covers(index, module, "sender") for module in enums.MODULES)


def test_REG44_no_permission_covers_a_custom_module() -> None:
    assert not any(enums.permission_covers(index, "lite", "sender") for index in range(17))


def test_names_lead_to_numbers_and_back_also_unknown_ones() -> None:
    for name, index, names in (
        (enums.role_name, enums.role_index, enums.ROLES),
        (enums.module_name, enums.module_index, enums.MODULES),
        (enums.permission_name, enums.permission_index, enums.PERMISSIONS),
    ):
        assert [name(number) for number in range(len(names))] == list(names)
        for number in (*range(len(names)), 200, 2**255):
            assert index(name(number)) == number
            assert index(name(number).lower()) == number
        for wrong in ("", "UNKNOWN_", "UNKNOWN_x", "CPOS"):
            with pytest.raises(ValueError, match="one of"):
                index(wrong)
