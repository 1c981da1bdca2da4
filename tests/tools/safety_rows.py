"""Lists the rows of the shared safety list that have no test yet: the start set, by id in the names of tests.

A test proves a row by carrying its id: `test_A32_…` in Python, `test_a32_…` in Rust; several ids may follow
each other.
"""

import os
import re
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
START = re.compile(r"\*\*Start set\*\*[^:]*: (?P<ids>.*?)\. The other rows", re.DOTALL)
SPAN = re.compile(r"\b(?P<kind>[AFI])(?P<first>\d{2,3})(?:-(?P=kind)(?P<last>\d{2,3}))?")
NAME = re.compile(r"\b(?:def|fn) test_(?P<ids>(?:[AaFfIi]\d{2,3}_)+)")


def start_set(text: str) -> list[str]:
    """The ids of the start set, ranges written out, in the order of the list."""
    found = START.search(text)
    if found is None:
        raise SystemExit("the safety list has no start set in its section 7")
    ids = []
    for span in SPAN.finditer(found["ids"]):
        last = int(span["last"] or span["first"])
        ids += [f"{span['kind']}{number:02}" for number in range(int(span["first"]), last + 1)]
    return ids


def tested(root: Path) -> dict[str, int]:
    """How many tests carry each id."""
    counts: dict[str, int] = {}
    files = [*root.glob("tests/**/*.py"), *root.glob("rust/**/*.rs")]
    for file in files:
        if "node_modules" in file.parts:
            continue
        for name in NAME.finditer(file.read_text()):
            for identity in name["ids"].upper().rstrip("_").split("_"):
                counts[identity] = counts.get(identity, 0) + 1
    return counts


def main() -> int:
    shared = ROOT / os.environ.get("OCN_FAST_SHARED", "../shared")
    safety = shared / "spec" / "safety.md"
    if not safety.is_file():
        print(f"safety rows: skipped, {safety} is not there")
        return 1 if os.environ.get("OCN_FAST_REQUIRE_TOOLS") == "1" else 0
    wanted, have = start_set(safety.read_text()), tested(ROOT)
    missing = [row for row in wanted if row not in have]
    print(f"safety rows: {len(wanted) - len(missing)} of {len(wanted)} rows of the start set have a test")
    for row in missing:
        print(f"  {row}: no test")
    return 1 if missing and "--report" not in sys.argv[1:] else 0


if __name__ == "__main__":
    sys.exit(main())
