"""The flame graph: stacks are read, joined and drawn as perf tells them."""

import xml.etree.ElementTree as ET

import pytest
from bench import flame

SCRIPT = """\
ocn-relay
\t           7aa1 rustsecp256k1_v0_14_gej_double (/x/lib_native.so)
\t           6bb2 rustsecp256k1_v0_14_gej_double (/x/lib_native.so)
\t           5cc3 ocn_core::eth::signature::recover_prehash::h0123456789abcdef (/x/lib_native.so)
\t           4dd4 std::sys::backtrace::__rust_begin_short_backtrace (/x/lib_native.so)

ocn-relay
\t           8ee5 malloc (/usr/lib/libc.so.6)
\t           5cc3 ocn_core::eth::signature::recover_prehash::h0123456789abcdef (/x/lib_native.so)
\tffffffffffffffff [unknown] ([unknown])

python
\tffffffff81000000 do_syscall_64 ([kernel.kallsyms])
\t           9ff6 [unknown] (/usr/lib/libpython3.11.so.1.0)
"""


def named(stack: list[flame.Frame]) -> list[str]:
    return [frame.name for frame in stack]


def test_stacks_begin_with_their_thread_and_lead_to_where_time_was_spent() -> None:
    recover = "ocn_core::eth::signature::recover_prehash"
    assert [named(stack) for stack in flame.stacks(SCRIPT)] == [
        ["ocn-relay", recover, "rustsecp256k1_v0_14_gej_double"],
        ["ocn-relay", recover, "malloc"],
        ["python", "[libpython3.11.so.1.0]", "do_syscall_64"],
    ]


def test_stacks_share_what_they_have_in_common() -> None:
    root = flame.tree(flame.stacks(SCRIPT))
    assert root.samples == 3
    threads = {place.frame.name: place for place in root.called.values()}
    assert {name: place.samples for name, place in threads.items()} == {"ocn-relay": 2, "python": 1}
    (recover,) = threads["ocn-relay"].called.values()
    assert (recover.samples, recover.alone, len(recover.called)) == (2, 0, 2)


def test_every_sample_counts_for_one_kind_and_libraries_for_their_callers() -> None:
    third = pytest.approx(1 / 3)
    root = flame.tree(flame.stacks(SCRIPT))
    assert flame.shares(root) == {"curve": third, "node, in Rust": third, "kernel": third}


def test_picture_is_as_wide_as_its_samples() -> None:
    drawn = flame.draw(flame.tree(flame.stacks(SCRIPT)), "a <title>")
    svg = "{http://www.w3.org/2000/svg}"
    widths = {
        group.find(f"{svg}title").text: float(group.find(f"{svg}rect").attrib["width"])  # type: ignore[union-attr]
        for group in ET.fromstring(drawn).iter(f"{svg}g")
    }
    assert widths["worker, 100.0%"] == pytest.approx(1_200, abs=1)
    assert widths["ocn-relay, 66.7%"] == pytest.approx(800, abs=1)
    assert widths["malloc, 33.3%"] == pytest.approx(400, abs=1)


def test_nothing_seen_gives_no_stacks() -> None:
    assert list(flame.stacks("")) == []
    assert flame.tree([]).samples == 0
