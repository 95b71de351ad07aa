"""The coordinates of a street segment, and faces that are given in them."""

from __future__ import annotations

from typing import Any

import numpy as np

from panoptic_ros.synthetic_city.mesh import GROUND, WORLD_TEXTURE, Mesh, polygons
from panoptic_ros.synthetic_city.town import KERB, Town

# Cityscapes train ids of what stands still.
ROAD, SIDEWALK, BUILDING, WALL, FENCE, POLE, TRAFFIC_LIGHT, TRAFFIC_SIGN, VEGETATION, TERRAIN = range(10)
UP = np.array([0.0, 0.0, 1.0])


class Plot:
    """A street between two junctions with what lies beside it: s along it, d across it to the left, in metres.

    town, along, i, j: the street along x (0) or y (1) that begins at junction (i, j).
    length: from corner to corner, without the junctions. half: from the middle to the kerb. walk: to the end of the
    pavement. base: height of what lies beyond the kerb.
    """

    def __init__(self, town: Town, along: int, i: int, j: int) -> None:
        self.town, self.along, self.i, self.j = town, along, i, j
        cross = town.half_width(1 - along) + town.pavement + town.verge if town.has_junctions else 0.0
        self._origin = np.array([i * town.block[0], j * town.block[1]])
        self._origin[along] += cross
        self.length = town.block[along] - 2 * cross
        self.half = town.half_width(along)
        self.walk = self.half + town.verge + town.pavement
        self.base = KERB if town.has_junctions else 0.0

    def draws(self, purpose: int) -> np.random.Generator:
        """Random numbers of this plot alone."""
        return np.random.default_rng([self.town.seed, purpose, self.along, self.i + 100000, self.j + 100000])

    def plan(self, s: Any, d: Any) -> np.ndarray:
        """(..., 2) plan coordinates."""
        s, d = np.broadcast_arrays(np.asarray(s, np.float64), np.asarray(d, np.float64))
        if self.along == 0:
            return np.stack([self._origin[0] + s, self._origin[1] + d], -1)
        return np.stack([self._origin[0] - d, self._origin[1] + s], -1)

    def world(self, s: Any, d: Any, z: Any = 0.0) -> np.ndarray:
        """(..., 3) world coordinates."""
        flat = self.town.bend(self.plan(s, d))
        return np.concatenate([flat, np.broadcast_to(np.asarray(z, np.float64), flat.shape[:-1])[..., None]], -1)

    def yaw(self, s: float, d: float, turn: float = 0.0) -> float:
        """World yaw at a place, of the direction `turn` from along the street."""
        return self.town.heading(self.plan(s, d), turn + self.along * np.pi / 2)

    def pieces(self, step: float = 8.0) -> tuple[np.ndarray, np.ndarray]:
        """The street cut into pieces so short that each may be straight: begin (N,) and end (N,)."""
        edges = np.linspace(0, self.length, max(2, round(self.length / step) + 1))
        return edges[:-1], edges[1:]

    def strip(self, s0: Any, s1: Any, d0: Any, d1: Any, z: float = 0.0) -> np.ndarray:
        """Flat quads (N, 4, 3) between s0 < s1 and the two of d, each a number or (N,)."""
        s0, s1, d0, d1 = np.broadcast_arrays(*(np.atleast_1d(np.asarray(v, np.float64)) for v in (s0, s1, d0, d1)))
        d0, d1 = np.minimum(d0, d1), np.maximum(d0, d1)
        return self.world(np.stack([s0, s1, s1, s0], 1), np.stack([d0, d0, d1, d1], 1), z)


def ground(points: np.ndarray, class_id: int, detail: int, tile: int, color: Any, size: float) -> Mesh:
    """Flat faces on the ground; `detail` says what lies on what."""
    return polygons(points, class_id, GROUND, tile, color, detail=detail, tile_size=(size, size), flags=WORLD_TEXTURE)


def prism_walls(base: np.ndarray, bottom: Any, top: Any) -> np.ndarray:
    """Upright walls on footprints (N, 4, 2), counter-clockwise -> (N, 4, 4, 3)."""
    following = np.roll(base, -1, 1)
    low = np.broadcast_to(np.broadcast_to(bottom, len(base))[:, None, None], (*base.shape[:2], 1))
    high = np.broadcast_to(np.broadcast_to(top, len(base))[:, None, None], (*base.shape[:2], 1))
    return np.stack([np.concatenate([base, low], 2), np.concatenate([following, low], 2),
                     np.concatenate([following, high], 2), np.concatenate([base, high], 2)], 2)


def flat_top(base: np.ndarray, height: Any) -> np.ndarray:
    """Footprints (N, 4, 2) at a height -> (N, 4, 3)."""
    height = np.broadcast_to(height, len(base))
    return np.concatenate([base, np.broadcast_to(height[:, None, None], (*base.shape[:2], 1))], 2)
