"""The mirror follows a chain: snapshot and increments, reorganisations, what takes effect when."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from .place import Place, run
from .world import Life, World


@pytest.mark.parametrize("kind", ["ours", "v1"])
def test_REG63_I16_increments_lead_where_a_later_snapshot_does(
    make_world: Callable[..., World], folder: Path, kind: str
) -> None:
    world = make_world(kind)
    life = Life(world, seed=63)

    async def story() -> None:
        async with Place(folder, world) as place:
            await place.look()
            left = 1_000
            for size in (1, 1, 2, 3, 5, 50, 200, 7, 1, 1, 1, 30, 300, 400):
                size = min(size, left)
                life.live(size)
                world.mine(require=False)
                left -= size
                await place.look()
                await place.require_right()
            assert left == 0
            assert place.mirror.state.full_readings == 1
            # Several blocks between two looks, near and far.
            for blocks in (3, 90):
                life.live(20)
                world.mine(require=False)
                world.blocks(blocks)
                life.live(20)
                world.mine(require=False)
                await place.look()
                await place.require_right()
            assert place.mirror.state.full_readings == 1
            assert place.mirror.state.differences == 0

    run(story())
