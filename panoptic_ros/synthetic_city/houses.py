"""Houses: ground floors with shops and doors, upper floors with windows, cornices, roofs, chimneys."""

from __future__ import annotations

import numpy as np

from panoptic_ros.synthetic_city.mesh import LARGE, NIGHT_LIGHT, Scene, boxes, polygons
from panoptic_ros.synthetic_city.palette import Palette
from panoptic_ros.synthetic_city.plots import BUILDING, Plot, flat_top, prism_walls
from panoptic_ros.synthetic_city.textures import tile_of
from panoptic_ros.synthetic_city.town import KERB

LOT_DEPTH = 16.0  # metres from the pavement's end to the end of the lot
_ENDS = [1, 3]  # the walls of a footprint that stand across the street; 0 and 2 stand along it


def add_houses(scene: Scene, plot: Plot, palette: Palette, side: int, s0: np.ndarray, s1: np.ndarray, front: float,
               rng: np.random.Generator) -> None:
    """Houses from s0 (N,) to s1 (N,), whose fronts lie `front` metres from the street's middle."""
    town, count = plot.town, len(s0)
    if count == 0:
        return
    centre = town.kind == "centre"
    depth = rng.uniform(8, LOT_DEPTH - 1, count)
    d0 = front + (rng.uniform(0, 1.2, count) if town.setback else np.zeros(count))
    base = plot.strip(s0, s1, side * d0, side * (d0 + depth))[..., :2]
    floors = rng.integers(town.floors[0], town.floors[1] + 1, count)
    if centre and rng.random() < 0.08:
        floors = floors + rng.integers(0, 12, count)
    storey = rng.uniform(2.8, 3.4, count)
    ground_floor = rng.uniform(3.0, 4.6, count) if centre else storey.copy()
    top = KERB + ground_floor + (floors - 1) * storey

    pick = rng.integers(0, 8, count)
    color = np.clip(palette.walls[pick] * rng.uniform(0.85, 1.15, (count, 1)), 0.08, 1)
    glassy = (rng.random(count) < 0.12) & centre
    color[glassy] = np.clip(color[glassy].mean(1, keepdims=True) + 0.2, 0.4, 1)
    upper_tile = np.where(glassy, tile_of("curtain_wall", pick + palette.facades[0]),
                          tile_of("facade", palette.facades[pick]))
    shop = rng.random(count) < (0.6 if centre else 0.06)
    dwelling = rng.random(count) < 0.6
    lower_tile = np.where(shop, tile_of("shop", rng.integers(0, 99, count)),
                          np.where(dwelling, tile_of("house_floor", rng.integers(0, 99, count)), upper_tile))
    edge = np.linalg.norm(np.roll(base, -1, 1) - base, axis=2)  # (N, 4)
    window_width = edge / np.maximum(1, np.round(edge / rng.uniform(2.4, 4.0, (count, 1))))
    upper_size = np.stack([4 * window_width, np.broadcast_to(4 * storey[:, None], edge.shape)], 2)
    lower_size = np.stack([edge / np.maximum(1, np.round(edge / rng.uniform(5, 8))),
                           np.broadcast_to((ground_floor + KERB)[:, None], edge.shape)], 2)
    plain_floor = lower_tile == upper_tile
    lower_size[plain_floor] = upper_size[plain_floor]
    blind = rng.random(count) < 0.6  # without windows towards the neighbours
    lower_color = np.where((rng.random(count) < 0.5)[:, None], color, np.clip(color * 0.8 + 0.1, 0, 1))
    anchor, glow = base.mean(1), rng.uniform(0.3, 1.0, count)
    for kind, low, high, tile, size, tint in (
            (floors > 1, KERB + ground_floor, top, upper_tile, upper_size, color),
            (floors > 0, np.zeros(count), KERB + ground_floor, lower_tile, lower_size, lower_color)):
        tiles = np.repeat(tile[:, None], 4, 1)
        tiles[:, _ENDS] = np.where(blind, tile_of("plaster", pick), tile)[:, None]
        walls = prism_walls(base[kind], low[kind], high[kind]).reshape(-1, 4, 3)
        scene.add(polygons(walls, BUILDING, LARGE, tiles[kind].reshape(-1), np.repeat(tint[kind], 4, 0),
                           tile_size=size[kind].reshape(-1, 2), anchor=np.repeat(anchor[kind], 4, 0),
                           glow=np.repeat(glow[kind], 4), flags=NIGHT_LIGHT))
    cornice = prism_walls(_grown(base, 1.02), top - 0.35, top + 0.05).reshape(-1, 4, 3)
    scene.add(polygons(cornice, BUILDING, LARGE, tile_of("plaster"), np.repeat(np.clip(color * 1.15, 0, 1), 4, 0),
                       detail=1, anchor=np.repeat(anchor, 4, 0)))
    pitched = np.full(count, palette.pitched) & (floors < 6)
    scene.add(polygons(flat_top(base[~pitched], top[~pitched]), BUILDING, LARGE, tile_of("slabs"), (0.4, 0.4, 0.4),
                       anchor=anchor[~pitched]))
    _add_roofs(scene, palette, base[pitched], top[pitched], depth[pitched], color[pitched], rng)
    scene.add_casters(base, 0.0, top)


def _grown(base: np.ndarray, factor: float) -> np.ndarray:
    """Footprints (N, 4, 2) scaled about their middles."""
    middle = base.mean(1, keepdims=True)
    return (base - middle) * factor + middle


def _add_roofs(scene: Scene, palette: Palette, base: np.ndarray, eaves: np.ndarray, depth: np.ndarray,
               color: np.ndarray, rng: np.random.Generator) -> None:
    """Pitched roofs with the ridge along the street, gables at their ends, and chimneys."""
    count = len(base)
    if count == 0:
        return
    anchor = base.mean(1)
    corner = flat_top(_grown(base, 1.05), eaves)
    ridge_height = eaves + np.minimum(depth / 2 * rng.uniform(0.5, 1.0), 5)
    ridge = [(corner[:, a] + corner[:, b]) / 2 for a, b in ((0, 3), (1, 2))]
    for end in ridge:
        end[:, 2] = ridge_height
    slopes = np.concatenate([np.stack([corner[:, 0], corner[:, 1], ridge[1], ridge[0]], 1),
                             np.stack([corner[:, 2], corner[:, 3], ridge[0], ridge[1]], 1)])
    gables = np.concatenate([np.stack([corner[:, 1], corner[:, 2], ridge[1]], 1),
                             np.stack([corner[:, 3], corner[:, 0], ridge[0]], 1)])
    roof = np.clip(palette.roof * rng.uniform(0.8, 1.2, (count, 1)), 0.05, 1)
    twice = np.tile(anchor, (2, 1))
    scene.add(polygons(slopes, BUILDING, LARGE, tile_of("ribs", rng.integers(3)), np.tile(roof, (2, 1)),
                       tile_size=(4.0, 4.0), anchor=twice, detail=2),
              polygons(gables, BUILDING, LARGE, tile_of("plaster"), np.tile(color, (2, 1)), anchor=twice, detail=2))
    has = rng.random(count) < 0.5
    foot = (0.7 * ridge[0] + 0.3 * ridge[1])[has] - [0, 0, 0.8]
    stacks = boxes(foot, np.full((len(foot), 3), [0.35, 0.35, 1.8]), np.zeros(len(foot)))
    scene.add(polygons(stacks.reshape(-1, 4, 3), BUILDING, LARGE, tile_of("brick"), (0.5, 0.33, 0.27),
                       tile_size=(2.0, 2.0), detail=3, anchor=np.repeat(anchor[has], 5, 0)))
