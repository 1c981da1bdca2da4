"""ARCHITECTURE.md and the code tell the same story: the stages, their order, and one page for the journey."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
RELAY = ROOT / "rust/core/src/relay"
PAGE = 60
"""Lines that fit on a printed page."""


def function(source: str, head: str) -> str:
    """A Rust function from its head to the brace that closes it."""
    start = source.index(head)
    return source[start : source.index("\n}", start) + 2]


def stages_of_the_table() -> list[str]:
    text = (ROOT / "ARCHITECTURE.md").read_text()
    table = text[text.index("## The journey of a message") : text.index("## The house")]
    return re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)


def test_the_stages_have_the_same_names_in_the_same_order() -> None:
    documented = stages_of_the_table()
    recorded = function((RELAY / "record.rs").read_text(), "pub enum Stage")
    assert documented == [name.lower() for name in re.findall(r"^    (\w+),$", recorded, re.MULTILINE)]
    source = (RELAY / "mod.rs").read_text()
    walked = function(source, "async fn journey") + function(source, "pub async fn relay")
    called = [name for name in re.findall(r"\b(\w+)\(walk\b", walked) if name in documented]
    assert called == documented
    for stage in documented:
        assert (RELAY / f"{stage}.rs").read_text().startswith(f"//! `{stage}`: "), stage


def test_relay_fits_on_a_page() -> None:
    source = (RELAY / "mod.rs").read_text()
    both = function(source, "pub async fn relay") + function(source, "async fn journey")
    assert both.count("\n") <= PAGE


def test_every_room_of_the_house_is_there() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text()
    for crate in ("core", "net", "python"):
        assert f"`rust/{crate}`" in text
        assert (ROOT / "rust" / crate / "Cargo.toml").is_file()
    house = text[text.index("## The house") : text.index("## Processes and state")]
    for name in re.findall(r"^\| `(?:python/ocn_fast/)?([a-z]+/?)`", house, re.MULTILINE):
        if name not in ("rust/",):
            place = ROOT / "python/ocn_fast" / name.rstrip("/")
            assert place.is_dir() or place.with_suffix(".py").is_file(), name
