"""The drawings of the sample dataset, one subject a file: a scene goes in, its canvas is filled."""

from __future__ import annotations

from collections.abc import Callable

from ahekit.sample.drawings.altar import altar
from ahekit.sample.drawings.apse import apse
from ahekit.sample.drawings.bell_tower import bell_tower
from ahekit.sample.drawings.column import column
from ahekit.sample.drawings.dome_inner import dome_inner
from ahekit.sample.drawings.dome_outer import dome_outer
from ahekit.sample.drawings.flying_buttress import flying_buttress
from ahekit.sample.drawings.gargoyle import gargoyle
from ahekit.sample.drawings.scene import Scene
from ahekit.sample.drawings.stained_glass import stained_glass
from ahekit.sample.drawings.vault import vault

DRAWINGS: dict[str, Callable[[Scene], None]] = {
    "altar": altar,
    "apse": apse,
    "bell_tower": bell_tower,
    "column": column,
    "dome_inner": dome_inner,
    "dome_outer": dome_outer,
    "flying_buttress": flying_buttress,
    "gargoyle": gargoyle,
    "stained_glass": stained_glass,
    "vault": vault,
}
