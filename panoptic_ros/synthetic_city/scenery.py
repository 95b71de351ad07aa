"""What stands along a street: which lot has a house, a garden, a fence, and what grows in the open country."""

from __future__ import annotations

import numpy as np

from panoptic_ros.synthetic_city.barriers import add_crash_barrier, add_fence, add_run, add_wall
from panoptic_ros.synthetic_city.furniture import add_furniture
from panoptic_ros.synthetic_city.houses import LOT_DEPTH, add_houses
from panoptic_ros.synthetic_city.mesh import Scene
from panoptic_ros.synthetic_city.palette import Palette
from panoptic_ros.synthetic_city.plants import add_bushes, add_hedge, add_trees
from panoptic_ros.synthetic_city.plots import WALL, Plot
from panoptic_ros.synthetic_city.streets import add_markings, add_pavement, add_roadway
from panoptic_ros.synthetic_city.textures import tile_of


def build_plot(plot: Plot, palette: Palette) -> Scene:
    """Everything that stands still along one street between two junctions."""
    rng = plot.draws(3)
    town, scene = plot.town, Scene()
    add_roadway(scene, plot, palette, rng)
    add_markings(scene, plot, palette, rng)
    for side in (1, -1):
        add_pavement(scene, plot, palette, side, rng)
        if town.has_junctions:
            add_furniture(scene, plot, palette, side, rng)
            _add_avenue(scene, plot, palette, side, rng)
        else:
            _add_verge(scene, plot, palette, side, rng)
        if town.has_junctions or rng.random() < town.built:
            _add_lots(scene, plot, palette, side, rng)
        else:
            _add_country(scene, plot, palette, side, rng)
    return scene.packed()


def _add_avenue(scene: Scene, plot: Plot, palette: Palette, side: int, rng: np.random.Generator) -> None:
    """Trees in a row near the kerb."""
    if rng.random() > plot.town.trees:
        return
    gap = rng.uniform(7, 16)
    s = np.arange(rng.uniform(2, gap), plot.length - 1, gap)
    s = s[rng.random(len(s)) < 0.85]
    add_trees(scene, palette, plot.world(s, side * (plot.half + 0.9), plot.base), rng, rng.uniform(4.5, 11))


def _add_verge(scene: Scene, plot: Plot, palette: Palette, side: int, rng: np.random.Generator) -> None:
    """The edge of an open road."""
    if rng.random() < 0.35:
        add_crash_barrier(scene, plot, side * (plot.half + 0.6), rng)
    if rng.random() < 0.25:
        add_fence(scene, plot, side * (plot.half + rng.uniform(3, 7)), rng, 0.0, plot.length)
    if rng.random() < 0.7:
        add_furniture(scene, plot, palette, side, rng)


def _add_country(scene: Scene, plot: Plot, palette: Palette, side: int, rng: np.random.Generator) -> None:
    """Open country beside a road: trees, bushes, noise walls."""
    town, edge = plot.town, plot.half
    if town.kind == "highway" and rng.random() < 0.2:
        tile = tile_of(str(rng.choice(["planks", "slabs", "stone", "ribs"])), rng.integers(8))
        add_run(scene, plot, side * (edge + rng.uniform(1, 4)), WALL, 0.3, rng.uniform(2, 4.5), tile,
                rng.uniform(0.35, 0.7) * np.array([1, 0.95, 0.85]), 0.0, plot.length)
    for _ in range(3):  # a few kinds of trees
        n = rng.poisson(4 * town.trees)
        feet = plot.world(rng.uniform(0, plot.length, n), side * (edge + 4 + rng.gamma(2, 9, n)), 0.0)
        add_trees(scene, palette, feet, rng, rng.uniform(4, 13))
    n = rng.poisson(14 * town.trees)
    feet = plot.world(rng.uniform(0, plot.length, n), side * (edge + 3 + rng.gamma(2, 8, n)), 0.0)
    add_bushes(scene, palette, feet, rng)


def _add_lots(scene: Scene, plot: Plot, palette: Palette, side: int, rng: np.random.Generator) -> None:
    """Houses, gardens and gaps along one side of a street."""
    town = plot.town
    # The corners of a block belong to the streets along x.
    inset = LOT_DEPTH if plot.along == 1 and town.has_junctions else 0.0
    total = plot.length - 2 * inset
    if total < 8:
        return
    low, high = (8, 24) if town.kind == "centre" else (12, 26)
    ends = inset + np.cumsum(rng.uniform(low, high, 24))
    ends = ends[:int(np.searchsorted(ends, inset + total - 6)) + 1]
    ends[-1] = inset + total
    starts = np.append(inset, ends[:-1])
    built = rng.random(len(ends)) < town.built * (1.0 if town.has_junctions else 3.0)
    front = plot.walk + town.setback
    gap = 0.0 if town.kind == "centre" and rng.random() < 0.7 else rng.uniform(1, 5)
    add_houses(scene, plot, palette, side, starts[built] + gap / 2, ends[built] - gap / 2, front, rng)
    border = side * (plot.walk + 0.4)
    for s0, s1, house in zip(starts, ends, built, strict=True):
        if not house:
            n = int(rng.integers(0, 6))
            feet = plot.world(rng.uniform(s0, s1, n), side * (front + rng.uniform(1, LOT_DEPTH - 3, n)), plot.base)
            add_trees(scene, palette, feet, rng, rng.uniform(4, 12))
            _add_border(scene, plot, palette, border, rng, s0, s1, 2.6)
        elif town.setback > 1.5:
            _add_border(scene, plot, palette, border, rng, s0, s1 - rng.uniform(2.5, 4), 1.5)
            if rng.random() < town.trees:
                foot = plot.world(rng.uniform(s0, s1, 1), side * (front - town.setback * 0.5), plot.base)
                add_trees(scene, palette, foot, rng, rng.uniform(2.5, 7))
            if rng.random() < 0.5:
                n = int(rng.integers(1, 5))
                d = side * (front - rng.uniform(0.3, 1.2, n))
                add_bushes(scene, palette, plot.world(rng.uniform(s0, s1, n), d, plot.base), rng)


def _add_border(scene: Scene, plot: Plot, palette: Palette, d: float, rng: np.random.Generator, s0: float, s1: float,
                highest: float) -> None:
    """What parts a lot from the pavement, if anything."""
    kind = rng.random()
    if kind < 0.27:
        add_wall(scene, plot, palette, d, rng, s0, s1, rng.uniform(0.5, highest))
    elif kind < 0.52:
        add_fence(scene, plot, d, rng, s0, s1)
    elif kind < 0.75:
        add_hedge(scene, plot, palette, d, rng, s0, s1)
