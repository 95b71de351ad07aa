"""Walls, fences and crash barriers along a street."""

from __future__ import annotations

from typing import Any

import numpy as np

from panoptic_ros.synthetic_city.mesh import SEE_THROUGH, STRIP, TWO_SIDED, Scene, polygons, surface
from panoptic_ros.synthetic_city.palette import Palette
from panoptic_ros.synthetic_city.plots import FENCE, UP, WALL, Plot, flat_top, prism_walls
from panoptic_ros.synthetic_city.textures import tile_of


def add_run(scene: Scene, plot: Plot, d: float, class_id: int, thick: float, height: float, tile: int, color: Any,
            s0: float, s1: float, size: tuple[float, float] = (3.0, 3.0)) -> None:
    """A solid body along the street at d, from s0 to s1, in short pieces."""
    edges = np.linspace(s0, s1, max(2, round((s1 - s0) / 5) + 1))
    base = plot.strip(edges[:-1], edges[1:], d - thick / 2, d + thick / 2)[..., :2]
    top = plot.base + height
    sides = np.concatenate([prism_walls(base, plot.base, top), flat_top(base, top)[:, None]], 1)
    scene.add(polygons(sides.reshape(-1, 4, 3), class_id, STRIP, tile, color, tile_size=size,
                       anchor=np.repeat(base.mean(1), 5, 0)))
    scene.add_casters(base, 0.0, top)


def add_wall(scene: Scene, plot: Plot, palette: Palette, d: float, rng: np.random.Generator, s0: float, s1: float,
             height: float) -> None:
    """A wall of brick, stone or plaster."""
    tile = tile_of(str(rng.choice(["brick", "stone", "plaster"])), rng.integers(8))
    add_run(scene, plot, d, WALL, 0.25, height, tile, palette.walls[rng.integers(8)] * 0.95, s0, s1)


def add_crash_barrier(scene: Scene, plot: Plot, d: float, rng: np.random.Generator) -> None:
    """Steel rails on posts; fence, for Cityscapes has no class of its own for them that is scored."""
    foot = plot.world(np.linspace(0, plot.length, round(plot.length / 4) + 1), d, plot.base)
    rails = np.stack([foot[:-1] + UP * 0.42, foot[1:] + UP * 0.42, foot[1:] + UP * 0.75, foot[:-1] + UP * 0.75], 1)
    color = np.ones(3) * rng.uniform(0.4, 0.7)
    scene.add(polygons(rails, FENCE, STRIP, tile_of("ribs", 0), color, tile_size=(4.0, 0.5), flags=TWO_SIDED))
    scene.add_rods(foot, foot + UP * 0.7, 0.12, 0.12, surface(
        len(foot), FENCE, STRIP, tile_of("plain"), color * 0.7, flags=TWO_SIDED, anchor=foot[:, :2]))


def add_fence(scene: Scene, plot: Plot, d: float, rng: np.random.Generator, s0: float, s1: float) -> None:
    """Boards, or posts and bars that one sees through."""
    height = rng.uniform(0.9, 2.0)
    wood = rng.random() < 0.4
    color = rng.uniform(0.1, 0.8) * (np.array([1.0, 0.8, 0.6]) if wood else np.ones(3))
    if rng.random() < 0.4:
        add_run(scene, plot, d, FENCE, 0.06, height, tile_of("planks", rng.integers(8)), color, s0, s1, (2.0, 2.0))
        return
    step = float(rng.choice([0.16, 0.25, 0.4]))
    foot = plot.world(np.arange(s0, s1, step), d, plot.base)
    plain = {"class_id": FENCE, "layer": STRIP, "tile": tile_of("plain"), "color": color, "flags": TWO_SIDED}
    scene.add_rods(foot, foot + UP * height, 0.05, 0.05, surface(len(foot), **plain, anchor=foot[:, :2]))
    post = foot[::max(1, round(2.5 / step))]
    a, b = post[:-1], post[1:]
    middle = (a[:, :2] + b[:, :2]) / 2
    for level in (0.12, 0.92):
        scene.add_rods(a + UP * height * level, b + UP * height * level, 0.07, 0.07,
                       surface(len(a), **plain, anchor=middle))
    panels = np.stack([a, b, b + UP * height, a + UP * height], 1)
    scene.add(polygons(panels, FENCE, STRIP, 0, color, flags=TWO_SIDED | SEE_THROUGH, anchor=middle))
