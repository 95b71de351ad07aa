"""The colours and surfaces that a town keeps to."""

from __future__ import annotations

import numpy as np

from panoptic_ros.synthetic_city.textures import tile_of
from panoptic_ros.synthetic_city.town import Town


class Palette:
    """Colours are red, green, blue from 0 to 1; `_tile` is a tile of the atlas, `_size` the metres that it covers."""

    def __init__(self, town: Town) -> None:
        rng = np.random.default_rng([town.seed, 2])
        cobbled = rng.random() < 0.07
        self.asphalt = rng.uniform(0.2, 0.55) * (1 + rng.uniform(-0.04, 0.04, 3))
        self.asphalt_tile = tile_of("cobbles", 1) if cobbled else tile_of("asphalt", rng.integers(64))
        self.asphalt_size = rng.uniform(3, 8)
        self.paving = rng.uniform(0.35, 0.75) * (1 + rng.uniform(-0.06, 0.06, 3))
        paving = str(rng.choice(["slabs", "asphalt", "cobbles"], p=[0.6, 0.2, 0.2]))
        self.paving_tile = tile_of(paving, rng.integers(64))
        self.paving_size = rng.uniform(2, 5)
        self.kerb = rng.uniform(0.45, 0.75) * np.ones(3)
        green = rng.uniform(0.25, 0.5)
        self.grass = np.array([green * rng.uniform(0.6, 0.95), green, green * rng.uniform(0.3, 0.6)])
        self.grass_tile = tile_of("grass", rng.integers(64))
        self.leaf = np.array([rng.uniform(0.24, 0.45), rng.uniform(0.36, 0.58), rng.uniform(0.1, 0.26)])
        season = rng.random()
        if season > 0.75:  # a dry summer
            self.grass = np.array([0.55, 0.47, 0.28]) * rng.uniform(0.7, 1.2)
        if season < 0.15:  # autumn
            self.leaf = np.array([rng.uniform(0.45, 0.65), rng.uniform(0.3, 0.42), rng.uniform(0.06, 0.15)])
        self.bare = rng.uniform(0.3, 1.0) if 0.15 < season < 0.22 else 0.05 * rng.random()  # share of leafless trees
        self.marking = np.ones(3) * rng.uniform(0.65, 1.0)
        self.middle_marking = np.array([0.85, 0.62, 0.12]) if rng.random() < 0.3 else self.marking
        self.pole = np.ones(3) * rng.choice([0.12, 0.25, 0.45, 0.6]) * rng.uniform(0.9, 1.1, 3)
        self.facades = rng.integers(0, 1 << 16, 8)
        self.walls = rng.uniform(0.3, 0.95, (8, 1)) * (1 + rng.uniform(-0.18, 0.18, (8, 3)) * rng.uniform(0, 1))
        self.walls[: int(rng.integers(0, 5))] *= [0.95, 0.62, 0.5]  # bricks
        self.pitched = rng.random() < (0.9 if town.kind != "centre" else 0.35)
        tiled = rng.random() < 0.6
        self.roof = np.array([0.5, 0.27, 0.2]) * rng.uniform(0.6, 1.2) if tiled else np.ones(3) * rng.uniform(0.15, 0.4)
        self.lamp_gap = rng.uniform(22, 40)
        self.hills = rng.random() < 0.6
