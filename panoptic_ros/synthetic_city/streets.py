"""The ground: roadways with their markings, pavements, verges, junctions, and the land to the horizon."""

from __future__ import annotations

from typing import Any

import numpy as np

from panoptic_ros.synthetic_city.barriers import add_crash_barrier, add_run
from panoptic_ros.synthetic_city.houses import LOT_DEPTH
from panoptic_ros.synthetic_city.mesh import GROUND, TWO_SIDED, Mesh, Scene, polygons
from panoptic_ros.synthetic_city.palette import Palette
from panoptic_ros.synthetic_city.plants import add_hedge
from panoptic_ros.synthetic_city.plots import ROAD, SIDEWALK, TERRAIN, VEGETATION, WALL, Plot, ground
from panoptic_ros.synthetic_city.textures import tile_of
from panoptic_ros.synthetic_city.town import KERB, Town

# What lies on what: `detail` of ground faces.
_EARTH, _ROAD, _PATCH, _MARK, _PAVEMENT, _KERB, _LOT = range(7)


def add_roadway(scene: Scene, plot: Plot, palette: Palette, rng: np.random.Generator) -> None:
    """Asphalt with patches and manholes, and a strip in its middle where the town has one."""
    town, half = plot.town, plot.half
    s0, s1 = plot.pieces()
    scene.add(ground(plot.strip(s0, s1, -half, half), ROAD, _ROAD, palette.asphalt_tile, palette.asphalt,
                     palette.asphalt_size))
    count = int(rng.integers(0, 6))
    s, d = rng.uniform(0, plot.length - 6, count), rng.uniform(-half, half - 2, count)
    patches = plot.strip(s, s + rng.uniform(0.6, 6, count), d, d + rng.uniform(0.5, 2, count))
    scene.add(ground(patches, ROAD, _PATCH, tile_of("asphalt", rng.integers(64)),
                     palette.asphalt * rng.uniform(0.7, 1.2), 4.0))
    turn = np.linspace(0, 2 * np.pi, 10, endpoint=False)
    for _ in range(int(rng.integers(0, 4))):
        lid = plot.world(rng.uniform(0, plot.length) + 0.33 * np.cos(turn),
                         rng.uniform(-half, half) + 0.33 * np.sin(turn))
        scene.add(ground(lid[None], ROAD, _PATCH, tile_of("slabs", 1), palette.asphalt * rng.uniform(0.4, 0.8), 0.7))
    if town.median == 0 or plot.along == 1:
        return
    grass, edge = town.median > 2, town.median / 2 - 0.3
    scene.add(ground(plot.strip(s0, s1, -edge, edge), TERRAIN if grass else ROAD, _LOT,
                     palette.grass_tile if grass else palette.asphalt_tile,
                     palette.grass if grass else palette.asphalt * 0.9, 5.0))
    divided = np.random.default_rng([town.seed, 31]).random()  # the same all along the road
    if town.kind == "highway" or divided < 0.3:
        if divided < 0.4:
            add_run(scene, plot, 0.0, WALL, 0.45, 0.85, tile_of("plaster", 1), np.ones(3) * 0.55, 0.0, plot.length)
        elif divided < 0.75:
            add_crash_barrier(scene, plot, 0.0, rng)
        if grass and divided > 0.5:
            add_hedge(scene, plot, palette, 0.0, rng, 0.0, plot.length)


def add_markings(scene: Scene, plot: Plot, palette: Palette, rng: np.random.Generator) -> None:
    """Lines between lanes, along edges and bays, stop lines and crossings; back streets may have none."""
    town, along = plot.town, plot.along
    if town.kind == "suburb" and along == 1 and rng.random() < 0.5:
        return
    style = np.random.default_rng([town.seed, 32]).random()  # one for the whole town
    width = 0.1 if town.kind == "highway" else 0.08
    center = town.median / 2 if along == 0 else 0.0
    lanes = town.lanes[along]
    edge = center + lanes * town.lane_width
    s0, s1 = plot.pieces(7)
    white, middle = [], []
    if center > 0:
        middle += [plot.strip(s0, s1, d - width, d + width) for d in (-center, center)]
    elif style < 0.35:
        middle.append(plot.strip(s0, s1, -width, width))
    elif style < 0.6:
        middle += [plot.strip(s0, s1, 0.08, 0.2), plot.strip(s0, s1, -0.2, -0.08)]
    elif style < 0.92:
        dash = np.arange(1, plot.length - 3, 6 if town.has_junctions else 9)
        middle.append(plot.strip(dash, dash + 3, -width, width))
    for sign in (1, -1):
        dash = np.arange(2, plot.length - 3, 8 if town.has_junctions else 11)
        for lane in range(1, lanes):
            d = sign * (center + lane * town.lane_width)
            white.append(plot.strip(dash, dash + 3.2, d - width, d + width))
        if not town.has_junctions or (town.parking > 1 and style > 0.5):
            white.append(plot.strip(s0, s1, sign * edge - width, sign * edge + width))
        if town.parking > 2.1 and style > 0.3:
            bay = np.arange(6, plot.length - 4, 6.0)
            white.append(plot.strip(bay, bay + 0.1, sign * edge, sign * (edge + 2.1)))
    if town.has_junctions:
        for s, sign in ((plot.length - 3.6, town.side), (3.2, -town.side)):
            white.append(plot.strip(s, s + 0.4, sign * center, sign * edge))
        if style < 0.75:
            bars = np.arange(0.5 - plot.half, plot.half - 0.5, 1.0)
            white += [plot.strip(s, s + 2.5, bars, bars + 0.5) for s in (0.2, plot.length - 2.7)]
    tile = tile_of("worn", rng.integers(64))
    for quads, color in ((white, palette.marking), (middle, palette.middle_marking)):
        if quads:
            scene.add(ground(np.concatenate(quads), ROAD, _MARK, tile, color, 2.0))


def add_pavement(scene: Scene, plot: Plot, palette: Palette, side: int, rng: np.random.Generator) -> None:
    """Kerb, verge and pavement of one side, and the ground of the lots behind; open roads have land alone."""
    town, half = plot.town, plot.half
    s0, s1 = plot.pieces()

    def band(d0: float, d1: float) -> np.ndarray:
        return plot.strip(s0, s1, side * d0, side * d1, plot.base)

    if town.has_junctions:
        if town.verge:
            scene.add(ground(band(half, half + town.verge), TERRAIN, _PAVEMENT, palette.grass_tile, palette.grass, 3.0))
        scene.add(ground(band(half + town.verge, plot.walk), SIDEWALK, _PAVEMENT, palette.paving_tile, palette.paving,
                         palette.paving_size))
        scene.add(ground(band(half, half + 0.18), SIDEWALK, _KERB, tile_of("slabs", 2), palette.kerb, 3.0))
        low = [plot.world(s, side * half, 0.0) for s in (s0, s1)]
        high = [plot.world(s, side * half, KERB) for s in (s0, s1)]
        scene.add(_kerb_faces(np.stack([low[0], low[1], high[1], high[0]], 1), palette, _KERB))
    paved = town.kind == "centre" and rng.random() < 0.8
    land = band(plot.walk, plot.walk + LOT_DEPTH + (0 if town.has_junctions else 60))
    scene.add(ground(land, SIDEWALK, _LOT, palette.paving_tile, palette.paving, palette.paving_size) if paved
              else ground(land, TERRAIN, _LOT, palette.grass_tile, palette.grass, 6.0))


def _kerb_faces(quads: np.ndarray, palette: Palette, detail: int) -> Mesh:
    return polygons(quads, SIDEWALK, GROUND, tile_of("slabs", 2), palette.kerb * 0.85, detail=detail, flags=TWO_SIDED)


def build_junction(town: Town, palette: Palette, i: int, j: int) -> Scene:
    """The roadway where two streets cross, and its rounded corners."""
    scene = Scene()
    center = np.array([i * town.block[0], j * town.block[1]])
    half_x, half_y, corner = town.half_width(1), town.half_width(0), town.pavement + town.verge

    def world(x: Any, y: Any, z: float = 0.0) -> np.ndarray:
        flat = town.bend(np.stack(np.broadcast_arrays(x, y), -1) + center)
        return np.concatenate([flat, np.full((*flat.shape[:-1], 1), z)], -1)

    edges_x = np.linspace(-half_x - corner, half_x + corner, 5)
    edges_y = np.linspace(-half_y - corner, half_y + corner, 5)
    x0, y0 = np.meshgrid(edges_x[:-1], edges_y[:-1])
    x1, y1 = np.meshgrid(edges_x[1:], edges_y[1:])
    quads = world(np.stack([x0, x1, x1, x0], -1), np.stack([y0, y0, y1, y1], -1)).reshape(-1, 4, 3)
    scene.add(ground(quads, ROAD, _ROAD, palette.asphalt_tile, palette.asphalt, palette.asphalt_size))
    turn = np.linspace(0, np.pi / 2, 7)
    for sign_x in (1, -1):
        for sign_y in (1, -1):
            # A quarter of a disc about the corner where the pavements of both streets end.
            x = np.append(sign_x * (half_x + corner * (1 - np.cos(turn))), sign_x * (half_x + corner))
            y = np.append(sign_y * (half_y + corner * (1 - np.sin(turn))), sign_y * (half_y + corner))
            outline = np.stack([x, y], 1)[::-1] if sign_x * sign_y > 0 else np.stack([x, y], 1)
            high = world(outline[:, 0], outline[:, 1], KERB)
            low = high * [1, 1, 0]
            following = np.roll(np.arange(len(high)), -1)
            scene.add(_kerb_faces(np.stack([low, low[following], high[following], high], 1), palette, _PAVEMENT))
            scene.add(ground(high[None], SIDEWALK, _KERB, palette.paving_tile, palette.paving, palette.paving_size))
    return scene.packed()


def build_backdrop(town: Town, palette: Palette, eye: np.ndarray) -> list[Mesh]:
    """The ground to the horizon and the hills and woods upon it, around the camera at `eye`."""
    corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * 2500.0
    flat = np.concatenate([corners + eye[:2], np.full((4, 1), -0.03)], 1)
    meshes = [ground(flat[None], TERRAIN, _EARTH, palette.grass_tile, palette.grass, 9.0)]
    rng = np.random.default_rng([town.seed, 6])
    turn = np.linspace(0, 2 * np.pi, 73)
    for distance, rise, color in ((900.0, 55.0 if palette.hills else 8.0, palette.leaf * [0.8, 0.9, 1.1]),
                                  (420.0, 14.0, palette.leaf)):
        height = np.abs(rng.normal(0, 1, 73)) * 0.35 + 0.5
        height += 0.5 * np.sin(turn * rng.integers(1, 4) + rng.uniform(0, 6))
        height = np.clip(height, 0.1, 2) * rise * rng.uniform(0.4, 1.0)
        height[-1] = height[0]
        ring = np.stack([np.cos(turn), np.sin(turn)], 1) * distance + eye[:2]
        low = np.concatenate([ring, np.full((73, 1), -1.0)], 1)
        high = np.concatenate([ring, height[:, None]], 1)
        meshes.append(polygons(np.stack([low[1:], low[:-1], high[:-1], high[1:]], 1), VEGETATION, GROUND,
                               tile_of("leaves", rng.integers(64)), color, detail=_EARTH, tile_size=(25.0, 25.0)))
    return meshes
