"""What stands still: streets with their markings, pavements, houses, gardens, trees, lamps, signs and lights."""

from __future__ import annotations

from typing import Any

import numpy as np

from panoptic_ros.synthetic_city.mesh import (
    COMPACT, GROUND, LARGE, NIGHT_LIGHT, STRIP, TWO_SIDED, WORLD_TEXTURE, Mesh, Scene, boxes, polygons, surface,
)
from panoptic_ros.synthetic_city.textures import tile_of
from panoptic_ros.synthetic_city.town import KERB, Town

ROAD, SIDEWALK, BUILDING, WALL, FENCE, POLE, TRAFFIC_LIGHT, TRAFFIC_SIGN, VEGETATION, TERRAIN = range(10)
LOT_DEPTH = 16.0

# What lies on what: `detail` of ground faces.
_EARTH, _ROAD, _PATCH, _MARK, _PAVEMENT, _KERB, _LOT, _PAVEMENT_MARK = range(8)


class Palette:
    """Colours and textures that a town keeps to."""

    def __init__(self, town: Town) -> None:
        rng = np.random.default_rng([town.seed, 2])
        grey = rng.uniform(0.2, 0.55)
        self.asphalt = grey * (1 + rng.uniform(-0.04, 0.04, 3))
        self.asphalt_tile = int(tile_of("asphalt", rng.integers(64))) if rng.random() < 0.93 else int(tile_of("cobbles", 1))
        self.asphalt_size = rng.uniform(3, 8)
        self.paving = rng.uniform(0.35, 0.75) * (1 + rng.uniform(-0.06, 0.06, 3))
        self.paving_tile = int(tile_of(str(rng.choice(["slabs", "slabs", "slabs", "asphalt", "cobbles"])), rng.integers(64)))
        self.paving_size = rng.uniform(2, 5)
        self.kerb = rng.uniform(0.45, 0.75) * np.ones(3)
        green = rng.uniform(0.25, 0.5)
        season = rng.random()
        self.grass = np.array([green * rng.uniform(0.6, 0.95), green, green * rng.uniform(0.3, 0.6)])
        if season > 0.75:
            self.grass = np.array([0.55, 0.47, 0.28]) * rng.uniform(0.7, 1.2)
        self.grass_tile = int(tile_of("grass", rng.integers(64)))
        self.leaf = np.array([rng.uniform(0.24, 0.45), rng.uniform(0.36, 0.58), rng.uniform(0.1, 0.26)])
        if season < 0.15:
            self.leaf = np.array([rng.uniform(0.45, 0.65), rng.uniform(0.3, 0.42), rng.uniform(0.06, 0.15)])
        self.marking = np.ones(3) * rng.uniform(0.65, 1.0)
        self.middle = np.array([0.85, 0.62, 0.12]) if rng.random() < 0.3 else self.marking
        self.pole = np.ones(3) * rng.choice([0.12, 0.25, 0.45, 0.6]) * rng.uniform(0.9, 1.1, 3)
        self.facades = rng.integers(0, 1 << 16, 8)
        self.walls = rng.uniform(0.3, 0.95, (8, 1)) * (1 + rng.uniform(-0.18, 0.18, (8, 3)) * rng.uniform(0, 1))
        self.walls[: int(rng.integers(0, 5))] *= [0.95, 0.62, 0.5]  # bricks
        self.pitched = rng.random() < (0.9 if town.kind != "centre" else 0.35)
        self.roof = np.array([0.5, 0.27, 0.2]) * rng.uniform(0.6, 1.2) if rng.random() < 0.6 else np.ones(3) * rng.uniform(0.15, 0.4)
        self.lamp_gap = rng.uniform(22, 40)
        self.hills = rng.random() < 0.6


class Frame:
    """The plan coordinates of one street segment: s along it, d across it to the left."""

    def __init__(self, town: Town, along: int, i: int, j: int) -> None:
        self.town, self.along = town, along
        cross = town.half_width(1 - along) + town.pavement + town.verge if town.has_junctions else 0.0
        self.origin = np.array([i * town.block[0], j * town.block[1]])
        self.origin[along] += cross
        self.length = town.block[along] - 2 * cross

    def plan(self, s: Any, d: Any) -> np.ndarray:
        """(..., 2) plan coordinates."""
        s, d = np.broadcast_arrays(np.asarray(s, np.float64), np.asarray(d, np.float64))
        if self.along == 0:
            return np.stack([self.origin[0] + s, self.origin[1] + d], -1)
        return np.stack([self.origin[0] - d, self.origin[1] + s], -1)

    def world(self, s: Any, d: Any, z: Any = 0.0) -> np.ndarray:
        """(..., 3) world coordinates."""
        flat = self.town.bend(self.plan(s, d))
        return np.concatenate([flat, np.broadcast_to(np.asarray(z, np.float64), flat.shape[:-1])[..., None]], -1)

    def yaw(self, s: float, d: float, turn: float = 0.0) -> float:
        """World yaw at a place, of the direction `turn` from along the street."""
        return self.town.heading(self.plan(s, d), turn + self.along * np.pi / 2)


def strip(frame: Frame, s0: Any, s1: Any, d0: Any, d1: Any, z: float = 0.0) -> np.ndarray:
    """Flat quads (N, 4, 3) on the ground between s0, s1 and d0 < d1, each a number or (N,)."""
    s0, s1, d0, d1 = np.broadcast_arrays(*(np.atleast_1d(np.asarray(v, np.float64)) for v in (s0, s1, d0, d1)))
    s, d = np.stack([s0, s1, s1, s0], 1), np.stack([d0, d0, d1, d1], 1)
    return frame.world(s, d, z)


def ground(points: np.ndarray, class_id: int, detail: int, tile: int, color: Any, size: float) -> Mesh:
    return polygons(points, class_id, GROUND, tile, color, detail=detail, tile_size=(size, size), flags=WORLD_TEXTURE)


def prism_walls(base: np.ndarray, bottom: Any, top: Any) -> np.ndarray:
    """Upright walls on footprints (N, 4, 2), counter-clockwise -> (N, 4, 4, 3)."""
    bottom, top = np.broadcast_to(bottom, len(base)), np.broadcast_to(top, len(base))
    nxt = np.roll(base, -1, 1)
    low = np.broadcast_to(bottom[:, None, None], (*base.shape[:2], 1))
    high = np.broadcast_to(top[:, None, None], (*base.shape[:2], 1))
    return np.stack([np.concatenate([base, low], 2), np.concatenate([nxt, low], 2), np.concatenate([nxt, high], 2),
                     np.concatenate([base, high], 2)], 2)


def flat_top(base: np.ndarray, height: Any) -> np.ndarray:
    """(N, 4, 3) at a height."""
    height = np.broadcast_to(height, len(base))
    return np.concatenate([base, np.broadcast_to(height[:, None, None], (*base.shape[:2], 1))], 2)


def build_segment(town: Town, palette: Palette, along: int, i: int, j: int) -> Scene:
    """Everything that stands still along one street between two junctions."""
    rng = np.random.default_rng([town.seed, 3, along, i + 100000, j + 100000])
    frame = Frame(town, along, i, j)
    scene = Scene()
    _roadway(scene, town, palette, frame, rng)
    _markings(scene, town, palette, frame, rng)
    for side in (1, -1):
        _roadside(scene, town, palette, frame, side, rng)
        if rng.random() < town.built or town.has_junctions:
            _lots(scene, town, palette, frame, side, rng)
        else:
            _fields(scene, town, palette, frame, side, rng)
    return scene.packed()


def _pieces(frame: Frame, step: float = 8.0) -> tuple[np.ndarray, np.ndarray]:
    edges = np.linspace(0, frame.length, max(2, round(frame.length / step) + 1))
    return edges[:-1], edges[1:]


def _roadway(scene: Scene, town: Town, palette: Palette, frame: Frame, rng: np.random.Generator) -> None:
    half = town.half_width(frame.along)
    s0, s1 = _pieces(frame)
    scene.add(ground(strip(frame, s0, s1, -half, half), ROAD, _ROAD, palette.asphalt_tile, palette.asphalt, palette.asphalt_size))
    count = int(rng.integers(0, 6))  # mended places
    s, d = rng.uniform(0, frame.length - 6, count), rng.uniform(-half, half - 2, count)
    wide, long = rng.uniform(0.5, 2, count), rng.uniform(0.6, 6, count)
    scene.add(ground(strip(frame, s, s + long, d, d + wide), ROAD, _PATCH, int(tile_of("asphalt", rng.integers(64))),
                     palette.asphalt * rng.uniform(0.7, 1.2), 4.0))
    turn = np.linspace(0, 2 * np.pi, 10, endpoint=False)
    for _ in range(int(rng.integers(0, 4))):  # manholes
        disc = frame.world(rng.uniform(0, frame.length) + 0.33 * np.cos(turn), rng.uniform(-half, half) + 0.33 * np.sin(turn))
        scene.add(ground(disc[None], ROAD, _PATCH, int(tile_of("slabs", 1)), palette.asphalt * rng.uniform(0.4, 0.8), 0.7))
    if town.median > 0 and frame.along == 0:
        m = town.median / 2 - 0.3
        grass = town.median > 2
        scene.add(ground(strip(frame, s0, s1, -m, m), TERRAIN if grass else ROAD, _LOT, palette.grass_tile if grass else palette.asphalt_tile,
                         palette.grass if grass else palette.asphalt * 0.9, 5.0))
        if town.kind == "highway" or rng.random() < 0.3:
            kind = np.random.default_rng([town.seed, 31]).random()
            if kind < 0.4:
                _run(scene, frame, 0, WALL, 0.45, 0.85, int(tile_of("plaster", 1)), np.ones(3) * 0.55)
            elif kind < 0.75:
                _rail(scene, frame, 0.0, rng)
            if grass and kind > 0.5:
                _hedge(scene, frame, palette, 0.0, 1.0, 1.2, rng)


def _markings(scene: Scene, town: Town, palette: Palette, frame: Frame, rng: np.random.Generator) -> None:
    if town.kind == "suburb" and frame.along == 1 and rng.random() < 0.5:
        return
    tile = int(tile_of("worn", rng.integers(64)))
    width = 0.08 if town.kind != "highway" else 0.1
    quads, middle = [], []
    s0, s1 = _pieces(frame, 7)
    lanes, side = town.lanes[frame.along], (1, -1)
    center = town.median / 2 if frame.along == 0 else 0.0
    style = np.random.default_rng([town.seed, 32]).random()
    if center == 0:
        if style < 0.35:
            middle += [strip(frame, s0, s1, -width, width)]
        elif style < 0.6:
            middle += [strip(frame, s0, s1, 0.08, 0.2), strip(frame, s0, s1, -0.2, -0.08)]
        elif style < 0.92:
            dash = np.arange(1, frame.length - 3, 6 if town.has_junctions else 9)
            middle += [strip(frame, dash, dash + 3, -width, width)]
    for sign in side:
        for lane in range(1, lanes):
            d = sign * (center + lane * town.lane_width)
            dash = np.arange(2, frame.length - 3, 8 if town.has_junctions else 11)
            quads.append(strip(frame, dash, dash + 3.2, d - width, d + width))
        edge = center + lanes * town.lane_width
        if not town.has_junctions or (town.parking > 1 and style > 0.5):
            quads.append(strip(frame, s0, s1, sign * edge - width, sign * edge + width))
        if center > 0:
            middle.append(strip(frame, s0, s1, sign * center - width, sign * center + width))
        if town.parking > 2.1 and style > 0.3:
            bays = np.arange(6, frame.length - 4, 6.0)
            d = np.sort([sign * edge, sign * (edge + 2.1)])
            quads.append(strip(frame, bays, bays + 0.1, d[0], d[1]))
    if town.has_junctions:
        lane = lanes * town.lane_width
        for end, sign in ((frame.length - 3.6, town.side), (3.2, -town.side)):
            d = np.sort([sign * center, sign * (center + lane)])
            quads.append(strip(frame, end, end + 0.4, d[0], d[1]))
        if style < 0.75:
            bars = np.arange(-town.half_width(frame.along) + 0.5, town.half_width(frame.along) - 0.5, 1.0)
            for s in (0.2, frame.length - 2.7):
                quads.append(strip(frame, s, s + 2.5, bars, bars + 0.5))
    for points, color in ((quads, palette.marking), (middle, palette.middle)):
        if points:
            scene.add(ground(np.concatenate(points), ROAD, _MARK, tile, color, 2.0))


def _roadside(scene: Scene, town: Town, palette: Palette, frame: Frame, side: int, rng: np.random.Generator) -> None:
    """Kerb, pavement and what stands on it: lamps, trees, signs, bollards."""
    half = town.half_width(frame.along)
    s0, s1 = _pieces(frame)

    def between(d0: float, d1: float, z: float) -> np.ndarray:
        return strip(frame, s0, s1, *np.sort([side * d0, side * d1]), z)

    walk = half + town.verge + town.pavement
    deep = LOT_DEPTH + (60 if not town.has_junctions else 0)
    raised = KERB if town.has_junctions else 0.0
    if town.has_junctions:
        if town.verge:
            scene.add(ground(between(half, half + town.verge, KERB), TERRAIN, _PAVEMENT, palette.grass_tile, palette.grass, 3.0))
        scene.add(ground(between(half + town.verge, walk, KERB), SIDEWALK, _PAVEMENT, palette.paving_tile, palette.paving, palette.paving_size))
        scene.add(ground(between(half, half + 0.18, KERB), SIDEWALK, _KERB, int(tile_of("slabs", 2)), palette.kerb, 3.0))
        s, d = (s0, s1) if side < 0 else (s1, s0), side * half
        face = np.stack([frame.world(s[0], d, 0), frame.world(s[1], d, 0), frame.world(s[1], d, KERB), frame.world(s[0], d, KERB)], 1)
        # Seen from the road, so its outside is the road's side.
        face = face[:, [1, 0, 3, 2]]
        scene.add(polygons(face, SIDEWALK, GROUND, tile_of("slabs", 2), palette.kerb * 0.85, detail=_KERB, flags=TWO_SIDED))
    paved = town.kind == "centre" and rng.random() < 0.8
    scene.add(ground(between(walk, walk + deep, raised), SIDEWALK if paved else TERRAIN, _LOT,
                     palette.paving_tile if paved else palette.grass_tile, palette.paving if paved else palette.grass,
                     palette.paving_size if paved else 6.0))
    if not town.has_junctions:
        if rng.random() < 0.35:
            _rail(scene, frame, side * (half + 0.6), rng)
        if rng.random() < 0.25:
            _fence(scene, town, frame, side * (half + rng.uniform(3, 7)), rng)
        if rng.random() < 0.7:
            _poles(scene, town, palette, frame, side, rng, half + 1.2)
        return
    _poles(scene, town, palette, frame, side, rng, half + 0.5)
    if rng.random() < town.trees:
        gap = rng.uniform(7, 16)
        s = np.arange(rng.uniform(2, gap), frame.length - 1, gap)
        s = s[rng.random(len(s)) < 0.85]
        _trees(scene, palette, frame.world(s, side * (half + 0.9), KERB), rng, rng.uniform(4.5, 11))
    if rng.random() < 0.25:
        s = np.arange(1, frame.length, rng.uniform(1.5, 3))
        foot = frame.world(s, side * (half + 0.35), KERB)
        scene.add_rods(foot, foot + [0, 0, 0.95], 0.13, 0.13, surface(len(s), POLE, COMPACT, tile_of("plain"), palette.pole,
                                                                     flags=TWO_SIDED, anchor=foot[:, :2]))


def _poles(scene: Scene, town: Town, palette: Palette, frame: Frame, side: int, rng: np.random.Generator, d: float) -> None:
    z = KERB if town.has_junctions else 0.0
    s = np.arange(rng.uniform(3, palette.lamp_gap), frame.length - 2, palette.lamp_gap)
    if len(s) and rng.random() < 0.85:
        height = rng.uniform(5, 10)
        foot = frame.world(s, side * d, z)
        head = frame.world(s, side * (d - rng.uniform(0.0, 2.2)), z + height + 0.3)
        top = foot + [0, 0, height]
        plain = tile_of("plain")
        row = {"flags": TWO_SIDED, "anchor": foot[:, :2]}
        n = len(s)
        scene.add_rods(foot, top, 0.2, 0.12, surface(n, POLE, COMPACT, plain, palette.pole, **row))
        scene.add_rods(top, head, 0.09, 0.09, surface(n, POLE, COMPACT, plain, palette.pole, **row))
        scene.add_rods(head, head + (top - head) * 0.01 + [0.35, 0.3, -0.05], 0.2, 0.25,
                       surface(n, POLE, COMPACT, plain, (0.9, 0.85, 0.7), glow=-1.0,
                               flags=TWO_SIDED | NIGHT_LIGHT, anchor=foot[:, :2]))
    for _ in range(int(rng.integers(0, 4))):
        _sign(scene, frame, rng.uniform(2, frame.length), side, d + rng.uniform(-0.2, 0.4), z, town, palette, rng)
    if town.kind in ("suburb", "country") and rng.random() < 0.3:  # telegraph poles and wires
        s = np.arange(4, frame.length, 30.0)
        foot = frame.world(s, side * (d + 0.8), z)
        wood = surface(len(s), POLE, COMPACT, tile_of("bark"), (0.35, 0.27, 0.2), flags=TWO_SIDED, anchor=foot[:, :2])
        scene.add_rods(foot, foot + [0, 0, 7.5], 0.26, 0.2, wood)


_SIGN_COLORS = np.array([[0.7, 0.05, 0.06], [0.05, 0.16, 0.5], [0.9, 0.9, 0.88], [0.85, 0.65, 0.1], [0.05, 0.32, 0.18]])


def _sign(scene: Scene, frame: Frame, s: float, side: int, d: float, z: float, town: Town, palette: Palette,
          rng: np.random.Generator) -> None:
    foot = frame.world(s, side * d, z)
    # Faces those who come: against the driving direction of its side of the road.
    yaw = frame.yaw(s, side * d, np.pi if side == town.side else 0.0) + rng.normal(0, 0.08)
    out, aside, up = np.array([np.cos(yaw), np.sin(yaw), 0]), np.array([-np.sin(yaw), np.cos(yaw), 0]), np.array([0, 0, 1.0])
    kind = rng.choice(["round", "triangle", "square", "octagon", "board"], p=[0.35, 0.2, 0.25, 0.08, 0.12])
    size = rng.uniform(0.3, 0.42)
    height = rng.uniform(2.1, 2.9)
    if kind == "board":
        size, height = rng.uniform(0.6, 1.1), rng.uniform(2.2, 3.2)
    if town.kind == "highway":
        size, height = size * 1.6, height + 0.8
    anchor = foot[:2]
    scene.add_rods(foot[None], (foot + up * (height + size))[None], 0.075, 0.075,
                   surface(1, POLE, COMPACT, tile_of("plain"), (0.45, 0.46, 0.47), flags=TWO_SIDED, anchor=anchor))
    sides = {"round": 12, "triangle": 3, "square": 4, "octagon": 8, "board": 4}[str(kind)]
    angle = np.arange(sides) * 2 * np.pi / sides + (np.pi / 4 if sides == 4 else np.pi / 8 if sides == 8 else -np.pi / 6 if sides == 3 else 0)
    wide = 1.8 if kind == "board" else 1.0
    center = foot + up * height + out * 0.05
    unit = np.cos(angle)[:, None] * aside * wide + np.sin(angle)[:, None] * up
    if kind == "triangle":
        unit = np.roll(unit, 0, 0)
    rim = _SIGN_COLORS[rng.integers(len(_SIGN_COLORS))]
    points = np.stack([center + unit * size, center + out * 0.005 + unit * size * 0.8])
    tiles = [tile_of("plain"), tile_of("sign", rng.integers(64))]
    front = polygons(points, TRAFFIC_SIGN, COMPACT, tiles, np.stack([rim, np.ones(3) * 0.95]), tile_size=(2 * size, 2 * size),
                     detail=[1, 2], anchor=anchor)
    back = polygons(points[:1, ::-1], TRAFFIC_SIGN, COMPACT, tile_of("plain"), (0.42, 0.42, 0.43), detail=1, anchor=anchor)
    scene.add(front, back)


def _trees(scene: Scene, palette: Palette, feet: np.ndarray, rng: np.random.Generator, height: float) -> None:
    """Trees at feet (N, 3): a trunk and a crown of several clumps."""
    count = len(feet)
    if count == 0:
        return
    tall = height * rng.uniform(0.75, 1.25, count)
    clear = tall * rng.uniform(0.15, 0.4)
    lean = rng.normal(0, 0.25, (count, 3)) * [1, 1, 0]
    fork = feet + lean + clear[:, None] * [0, 0, 1.0]
    anchor = feet[:, :2]
    bark = surface(count, VEGETATION, COMPACT, tile_of("bark", rng.integers(2)), np.array([0.3, 0.25, 0.2]) * rng.uniform(0.5, 1.2),
                   tile_size=(0.8, 1.5), flags=TWO_SIDED, anchor=anchor)
    scene.add_rods(feet, fork, tall * 0.045, tall * 0.03, bark)
    scene.add_rods(fork, feet + lean * 2 + tall[:, None] * [0, 0, 0.7], tall * 0.03, tall * 0.015, bark)
    clumps = int(rng.integers(4, 8))
    radius = tall * rng.uniform(0.22, 0.34)
    shape = rng.normal(0, 0.42, (count, clumps, 3))
    shape[:, 0] *= 0.3
    middle = (clear + tall) / 2
    spread = np.stack([radius, radius, (tall - clear) * 0.42], 1)
    center = feet[:, None] + lean[:, None] + shape * spread[:, None]
    center[..., 2] += middle[:, None]
    half = np.stack([radius, np.maximum((tall - clear) * 0.36, radius * 0.6)], 1)[:, None] * rng.uniform(0.5, 0.95, (count, clumps, 1))
    half[:, 0] *= 1.15
    bright = 0.9 + 0.28 * shape[..., 2:] + rng.normal(0, 0.1, (count, clumps, 1))
    color = np.clip(palette.leaf * rng.uniform(0.75, 1.25, (count, 1, 1)) * bright * rng.uniform(0.9, 1.1, (count, 1, 3)), 0.02, 1)
    flat = count * clumps
    faces = surface(flat, VEGETATION, COMPACT, tile_of("leaves", rng.integers(0, 64, (count, 1)).repeat(clumps, 1).reshape(-1)),
                    color.reshape(-1, 3), tile_size=rng.uniform(1.5, 4, 2), flags=TWO_SIDED, anchor=np.repeat(anchor, clumps, 0))
    scene.add_blobs(center.reshape(-1, 3), half.reshape(-1, 2), rng.integers(8, 24, flat), faces)
    square = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * 0.8
    scene.add_casters(anchor[:, None] + square * radius[:, None, None], clear, tall * 0.9)


def _run(scene: Scene, frame: Frame, d: float, class_id: int, thick: float, height: float, tile: int, color: np.ndarray,
         s0: float = 0.0, s1: float | None = None, z: float = 0.0, size: tuple[float, float] = (3.0, 3.0)) -> None:
    """A wall, hedge or fence along the street, in short pieces."""
    end = frame.length if s1 is None else s1
    edges = np.linspace(s0, end, max(2, round((end - s0) / 5) + 1))
    a, b = edges[:-1], edges[1:]
    base = strip(frame, a, b, d - thick / 2, d + thick / 2)[..., :2]
    anchor = np.repeat(base.mean(1), 5, 0)
    walls = np.concatenate([prism_walls(base, z, z + height), flat_top(base, z + height)[:, None]], 1)
    scene.add(polygons(walls.reshape(-1, 4, 3), class_id, STRIP, tile, color, tile_size=size, anchor=anchor))
    scene.add_casters(base, 0.0, z + height)


def _hedge(scene: Scene, frame: Frame, palette: Palette, d: float, thick: float, height: float, rng: np.random.Generator,
           s0: float = 0.0, s1: float | None = None) -> None:
    color = palette.leaf * rng.uniform(0.7, 1.1)
    tile = int(tile_of("leaves", rng.integers(64)))
    _run(scene, frame, d, VEGETATION, thick, height, tile, color, s0, s1, size=(2.5, 2.5))
    end = frame.length if s1 is None else s1
    s = np.arange(s0 + 0.5, end - 0.3, 1.1)
    if len(s):
        center = frame.world(s, d, height * 0.85)
        half = np.stack([rng.uniform(0.5, 0.9, len(s)), rng.uniform(0.2, 0.4, len(s)) * height], 1)
        scene.add_blobs(center, half, rng.integers(8, 24, len(s)), surface(
            len(s), VEGETATION, STRIP, tile, color * rng.uniform(0.85, 1.15, (len(s), 1)), tile_size=(2.5, 2.5), flags=TWO_SIDED,
            anchor=center[:, :2]))


def _rail(scene: Scene, frame: Frame, d: float, rng: np.random.Generator) -> None:
    """A crash barrier on posts."""
    edges = np.linspace(0, frame.length, round(frame.length / 4) + 1)
    p = frame.world(edges, d, 0)
    up = np.array([0, 0, 1.0])
    quads = np.stack([p[:-1] + up * 0.42, p[1:] + up * 0.42, p[1:] + up * 0.75, p[:-1] + up * 0.75], 1)
    color = np.ones(3) * rng.uniform(0.4, 0.7)
    scene.add(polygons(quads, FENCE, STRIP, tile_of("ribs", 0), color, tile_size=(4.0, 0.5), flags=TWO_SIDED))
    scene.add_rods(p, p + up * 0.7, 0.12, 0.12, surface(len(p), FENCE, STRIP, tile_of("plain"), color * 0.7, flags=TWO_SIDED,
                                                       anchor=p[:, :2]))


def _fence(scene: Scene, town: Town, frame: Frame, d: float, rng: np.random.Generator, s0: float = 0.0,
           s1: float | None = None) -> None:
    """Boards, or posts and bars that one sees through."""
    end = frame.length if s1 is None else s1
    z = KERB if town.has_junctions else 0.0
    height = rng.uniform(0.9, 2.0)
    color = rng.uniform(0.1, 0.8) * (np.array([1.0, 0.8, 0.6]) if rng.random() < 0.4 else np.ones(3))
    if rng.random() < 0.4:
        _run(scene, frame, d, FENCE, 0.06, height, int(tile_of("planks", rng.integers(8))), color, s0, end, z, (2.0, 2.0))
        return
    step = rng.choice([0.16, 0.25, 0.4])
    edges = np.arange(s0, end, step)
    p = frame.world(edges, d, z)
    up = np.array([0, 0, 1.0])
    n = len(p)
    if n < 2:
        return
    scene.add_rods(p, p + up * height, 0.05, 0.05, surface(n, FENCE, STRIP, tile_of("plain"), color, flags=TWO_SIDED, anchor=p[:, :2]))
    for level in (0.12, 0.92):
        q = p[:: max(1, round(2.5 / step))] + up * height * level
        scene.add_rods(q[:-1], q[1:], 0.07, 0.07, surface(len(q) - 1, FENCE, STRIP, tile_of("plain"), color, flags=TWO_SIDED,
                                                         anchor=(q[:-1, :2] + q[1:, :2]) / 2))


def _lots(scene: Scene, town: Town, palette: Palette, frame: Frame, side: int, rng: np.random.Generator) -> None:
    """Houses, gardens and gaps along one side of a street."""
    inset = LOT_DEPTH if frame.along == 1 and town.has_junctions else 0.0
    total = frame.length - 2 * inset
    if total < 8:
        return
    low, high = (8, 24) if town.kind == "centre" else (12, 26)
    widths = rng.uniform(low, high, 24)
    ends = inset + np.cumsum(widths)
    count = int(np.searchsorted(ends, inset + total - 6)) + 1
    ends = ends[:count]
    ends[-1] = inset + total
    starts = np.concatenate([[inset], ends[:-1]])
    built = rng.random(count) < town.built * (1.0 if town.has_junctions else 3.0)
    front = town.half_width(frame.along) + town.verge + town.pavement + town.setback * (1.0 if town.kind == "centre" else 1.2)
    z = KERB if town.has_junctions else 0.0
    gap = 0.0 if town.kind == "centre" and rng.random() < 0.7 else rng.uniform(1, 5)
    _houses(scene, town, palette, frame, side, starts[built] + gap / 2, ends[built] - gap / 2, front, rng)
    for s0, s1 in zip(starts[~built], ends[~built], strict=True):
        n = int(rng.integers(0, 6))
        feet = frame.world(rng.uniform(s0, s1, n), side * (front + rng.uniform(1, LOT_DEPTH - 3, n)), z)
        _trees(scene, palette, feet, rng, rng.uniform(4, 12))
        edge = front - town.setback + 0.4
        kind = rng.random()
        if kind < 0.3:
            _run(scene, frame, side * edge, WALL, 0.25, rng.uniform(0.8, 2.6), int(tile_of(str(rng.choice(["brick", "stone", "plaster"])), rng.integers(8))),
                 palette.walls[rng.integers(8)] * 0.9, s0, s1, z)
        elif kind < 0.6:
            _fence(scene, town, frame, side * edge, rng, s0, s1)
        elif kind < 0.8:
            _hedge(scene, frame, palette, side * edge, rng.uniform(0.5, 1.2), rng.uniform(0.8, 2.2), rng, s0, s1)
    if town.setback > 1.5:
        edge = side * (front - town.setback + 0.3)
        for s0, s1 in zip(starts[built], ends[built], strict=True):
            kind = rng.random()
            drive = s1 - rng.uniform(2.5, 4)
            if kind < 0.25:
                _hedge(scene, frame, palette, edge, rng.uniform(0.4, 1.0), rng.uniform(0.6, 1.9), rng, s0, drive)
            elif kind < 0.45:
                _fence(scene, town, frame, edge, rng, s0, drive)
            elif kind < 0.65:
                _run(scene, frame, edge, WALL, 0.25, rng.uniform(0.5, 1.5), int(tile_of(str(rng.choice(["brick", "stone", "plaster"])), rng.integers(8))),
                     palette.walls[rng.integers(8)], s0, drive, z)
            if rng.random() < town.trees:
                _trees(scene, palette, frame.world(rng.uniform(s0, s1, 1), side * (front - town.setback * 0.5), z), rng, rng.uniform(2.5, 7))


def _houses(scene: Scene, town: Town, palette: Palette, frame: Frame, side: int, s0: np.ndarray, s1: np.ndarray, front: float,
            rng: np.random.Generator) -> None:
    count = len(s0)
    if count == 0:
        return
    depth = rng.uniform(8, LOT_DEPTH - 1, count)
    d0 = side * (front + (rng.uniform(0, 1.2, count) if town.setback else np.zeros(count)))
    d1 = d0 + side * depth
    base = strip(frame, s0, s1, np.minimum(d0, d1), np.maximum(d0, d1))[..., :2]
    floors = rng.integers(town.floors[0], town.floors[1] + 1, count)
    if town.kind == "centre" and rng.random() < 0.08:
        floors = floors + rng.integers(0, 12, count)
    storey = rng.uniform(2.8, 3.4, count)
    ground_floor = rng.uniform(3.0, 4.6, count) if town.kind == "centre" else storey.copy()
    top = KERB + ground_floor + (floors - 1) * storey
    pick = rng.integers(0, 8, count)
    color = np.clip(palette.walls[pick] * rng.uniform(0.85, 1.15, (count, 1)), 0.08, 1)
    glassy = (rng.random(count) < 0.12) & (town.kind == "centre")
    tile = np.where(glassy, tile_of("curtain_wall", pick + palette.facades[0]), tile_of("facade", palette.facades[pick]))
    color[glassy] = np.clip(color[glassy].mean(1, keepdims=True) + 0.2, 0.4, 1)
    lower = np.where(rng.random(count) < (0.6 if town.kind == "centre" else 0.06), tile_of("shop", rng.integers(0, 99, count)),
                     np.where(rng.random(count) < 0.6, tile_of("house_floor", rng.integers(0, 99, count)), tile))
    anchor = base.mean(1)
    edge = np.linalg.norm(np.roll(base, -1, 1) - base, axis=2)  # (N, 4)
    cell = rng.uniform(2.4, 4.0, (count, 1))
    columns = np.maximum(1, np.round(edge / cell))
    size = np.stack([edge / columns * 4, np.broadcast_to((storey * 4)[:, None], edge.shape)], 2)
    plain_sides = rng.random(count) < 0.6
    tiles = np.repeat(tile[:, None], 4, 1)
    back_and_sides = np.array([1, 3]) if frame.along == 0 or True else np.array([0, 2])
    wall_tile = tile_of("plaster", pick)
    tiles[np.ix_(plain_sides, back_and_sides)] = wall_tile[plain_sides, None]
    upper = prism_walls(base, KERB + ground_floor, top)
    tall = floors > 1
    glow = rng.uniform(0.3, 1.0, count)
    scene.add(polygons(upper[tall].reshape(-1, 4, 3), BUILDING, LARGE, tiles[tall].reshape(-1), np.repeat(color[tall], 4, 0),
                       tile_size=size[tall].reshape(-1, 2), anchor=np.repeat(anchor[tall], 4, 0), glow=np.repeat(glow[tall], 4), flags=NIGHT_LIGHT))
    below = prism_walls(base, 0.0, KERB + ground_floor)
    shop_width = edge / np.maximum(1, np.round(edge / rng.uniform(5, 8)))
    floor_size = np.stack([shop_width, np.broadcast_to((ground_floor + KERB)[:, None], edge.shape)], 2)
    floor_size[lower == tile] = size[lower == tile]
    floor_tiles = np.repeat(lower[:, None], 4, 1)
    floor_tiles[np.ix_(plain_sides, back_and_sides)] = wall_tile[plain_sides, None]
    floor_color = np.where((rng.random(count) < 0.5)[:, None], color, np.clip(color * 0.8 + 0.1, 0, 1))
    scene.add(polygons(below.reshape(-1, 4, 3), BUILDING, LARGE, floor_tiles.reshape(-1), np.repeat(floor_color, 4, 0),
                       tile_size=floor_size.reshape(-1, 2), anchor=np.repeat(anchor, 4, 0), glow=np.repeat(glow, 4), flags=NIGHT_LIGHT))
    scene.add_casters(base, 0.0, top)
    # A cornice, and a roof: flat or pitched with its ridge along the street.
    pitched = np.full(count, palette.pitched) & (floors < 6)
    scene.add(polygons(flat_top(base[~pitched], top[~pitched]), BUILDING, LARGE, tile_of("slabs"), (0.4, 0.4, 0.4), anchor=anchor[~pitched]))
    band = prism_walls((base - anchor[:, None]) * 1.02 + anchor[:, None], top - 0.35, top + 0.05).reshape(-1, 4, 3)
    scene.add(polygons(band, BUILDING, LARGE, tile_of("plaster"), np.repeat(np.clip(color * 1.15, 0, 1), 4, 0), detail=1,
                       anchor=np.repeat(anchor, 4, 0)))
    if pitched.any():
        b, t = (base[pitched] - anchor[pitched, None]) * 1.05 + anchor[pitched, None], top[pitched]
        rise = (t * 0 + 1) * np.minimum(depth[pitched] / 2 * rng.uniform(0.5, 1.0), 5)
        if frame.along == 1:
            pass
        ridge_a, ridge_b = (b[:, 0] + b[:, 3]) / 2, (b[:, 1] + b[:, 2]) / 2
        corner = flat_top(b, t)
        ra, rb = np.concatenate([ridge_a, (t + rise)[:, None]], 1), np.concatenate([ridge_b, (t + rise)[:, None]], 1)
        slopes = np.concatenate([np.stack([corner[:, 0], corner[:, 1], rb, ra], 1), np.stack([corner[:, 2], corner[:, 3], ra, rb], 1)])
        gables = np.concatenate([np.stack([corner[:, 1], corner[:, 2], rb], 1), np.stack([corner[:, 3], corner[:, 0], ra], 1)])
        twice = np.concatenate([anchor[pitched]] * 2)
        roof = np.concatenate([np.clip(palette.roof * rng.uniform(0.8, 1.2, (int(pitched.sum()), 1)), 0.05, 1)] * 2)
        scene.add(polygons(slopes, BUILDING, LARGE, tile_of("ribs", rng.integers(3)), roof, tile_size=(4.0, 4.0), anchor=twice, detail=2),
                  polygons(gables, BUILDING, LARGE, tile_of("plaster"), np.concatenate([color[pitched]] * 2), anchor=twice, detail=2))
        chimney = rng.random(len(b)) < 0.5
        if chimney.any():
            at = np.concatenate([(ridge_a * 0.7 + ridge_b * 0.3)[chimney], (t + rise - 0.8)[chimney, None]], 1)
            quads = boxes(at, np.full((len(at), 3), [0.35, 0.35, 1.8]), np.zeros(len(at)))
            scene.add(polygons(quads.reshape(-1, 4, 3), BUILDING, LARGE, tile_of("brick"), (0.5, 0.33, 0.27), tile_size=(2.0, 2.0), detail=3,
                               anchor=np.repeat(anchor[pitched][chimney], 5, 0)))


def _fields(scene: Scene, town: Town, palette: Palette, frame: Frame, side: int, rng: np.random.Generator) -> None:
    """Open country beside a road: trees, bushes, noise walls."""
    edge = town.half_width(frame.along)
    kind = rng.random()
    if town.kind == "highway" and kind < 0.2:
        _run(scene, frame, side * (edge + rng.uniform(1, 4)), WALL, 0.3, rng.uniform(2, 4.5), int(tile_of(str(rng.choice(["planks", "slabs", "stone", "ribs"])), rng.integers(8))),
             np.ones(3) * rng.uniform(0.35, 0.7) * [1, 0.95, 0.85])
    n = rng.poisson(10 * town.trees)
    feet = frame.world(rng.uniform(0, frame.length, n), side * (edge + 4 + rng.gamma(2, 9, n)), 0)
    _trees(scene, palette, feet, rng, rng.uniform(4, 13))
    n = rng.poisson(14 * town.trees)
    center = frame.world(rng.uniform(0, frame.length, n), side * (edge + 3 + rng.gamma(2, 8, n)), 0.5)
    half = rng.uniform(0.5, 2.2, (n, 1)) * [1.3, 0.8]
    center[:, 2] = half[:, 1] * 0.6
    scene.add_blobs(center, half, rng.integers(8, 24, n), surface(
        n, VEGETATION, COMPACT, tile_of("leaves", rng.integers(0, 64, n)), palette.leaf * rng.uniform(0.6, 1.2, (n, 1)), tile_size=(2.5, 2.5),
        flags=TWO_SIDED, anchor=center[:, :2]))


def build_junction(town: Town, palette: Palette, i: int, j: int) -> Scene:
    """Where two streets cross: roadway, rounded corners and lights. The lights' lamps belong to the moment."""
    rng = np.random.default_rng([town.seed, 4, i + 100000, j + 100000])
    scene = Scene()
    center = np.array([i * town.block[0], j * town.block[1]])
    hx, hy = town.half_width(1), town.half_width(0)
    p = town.pavement + town.verge

    def world(x: Any, y: Any, z: float = 0.0) -> np.ndarray:
        flat = town.bend(np.stack(np.broadcast_arrays(x, y), -1) + center)
        return np.concatenate([flat, np.full((*flat.shape[:-1], 1), z)], -1)

    edges_x, edges_y = np.linspace(-hx - p, hx + p, 5), np.linspace(-hy - p, hy + p, 5)
    x0, y0 = np.meshgrid(edges_x[:-1], edges_y[:-1])
    x1, y1 = np.meshgrid(edges_x[1:], edges_y[1:])
    quads = world(np.stack([x0, x1, x1, x0], -1), np.stack([y0, y0, y1, y1], -1)).reshape(-1, 4, 3)
    scene.add(ground(quads, ROAD, _ROAD, palette.asphalt_tile, palette.asphalt, palette.asphalt_size))
    turn = np.linspace(0, np.pi / 2, 7)
    for sx in (1, -1):
        for sy in (1, -1):
            x = np.concatenate([sx * (hx + p - p * np.cos(turn)), [sx * (hx + p)]])
            y = np.concatenate([sy * (hy + p - p * np.sin(turn)), [sy * (hy + p)]])
            ring = np.stack([x, y], 1) if sx * sy > 0 else np.stack([x, y], 1)[::-1]
            corner = world(ring[:, 0], ring[:, 1], KERB)
            low = corner * [1, 1, 0]
            nxt = np.roll(np.arange(len(corner)), -1)
            kerb = np.stack([low, low[nxt], corner[nxt], corner], 1)
            scene.add(polygons(kerb, SIDEWALK, GROUND, tile_of("slabs", 2), palette.kerb * 0.85, detail=_PAVEMENT, flags=TWO_SIDED))
            scene.add(ground(corner[None], SIDEWALK, _KERB, palette.paving_tile, palette.paving, palette.paving_size))
    return scene.packed()


def signal_posts(town: Town, i: int, j: int) -> list[tuple[np.ndarray, float, int]]:
    """The lights of a junction: foot (3,), yaw they shine to, and which street (0 along x, 1 along y) they serve."""
    rng = np.random.default_rng([town.seed, 5, i + 100000, j + 100000])
    if rng.random() < (0.25 if town.kind == "centre" else 0.6):
        return []
    center = np.array([i * town.block[0], j * town.block[1]])
    posts = []
    for along in (0, 1):
        ahead = np.array([1.0, 0.0]) if along == 0 else np.array([0.0, 1.0])
        left = np.array([-ahead[1], ahead[0]])
        reach, out = town.half_width(1 - along) + 1.0, town.half_width(along) + 0.6
        for sign in (1, -1):
            for far in (0, 1):
                plan = center + sign * ahead * reach * (1 if far else -1) + sign * left * town.side * out
                foot = np.append(town.bend(plan), KERB)
                posts.append((foot, town.heading(plan, float(np.arctan2(*(-sign * ahead)[::-1]))), along))
    return posts


_LAMP_COLORS = {"red": (1.0, 0.12, 0.08), "amber": (1.0, 0.6, 0.1), "green": (0.15, 1.0, 0.5)}


def add_signal(scene: Scene, town: Town, palette: Palette, foot: np.ndarray, yaw: float, along: int, time: float) -> None:
    """A post with a traffic light that shows what it shows at `time`."""
    up, out = np.array([0, 0, 1.0]), np.array([np.cos(yaw), np.sin(yaw), 0])
    anchor = foot[:2]
    scene.add_rods(foot[None], (foot + up * 3.4)[None], 0.14, 0.12,
                   surface(1, POLE, COMPACT, tile_of("plain"), palette.pole, flags=TWO_SIDED, anchor=anchor))
    body = foot + up * 2.5 + out * 0.18
    case = boxes(body[None], np.array([[0.11, 0.17, 0.95]]), np.array([yaw]))[0]
    scene.add(polygons(case, TRAFFIC_LIGHT, COMPACT, tile_of("plain"), (0.06, 0.07, 0.06), anchor=anchor))
    turn = np.linspace(0, 2 * np.pi, 8, endpoint=False)
    aside = np.array([-out[1], out[0], 0])
    ring = (np.cos(turn)[:, None] * aside + np.sin(turn)[:, None] * up) * 0.11
    lamps = np.stack([body + out * 0.115 + up * z + ring for z in (0.78, 0.48, 0.18)])
    shown = town.light(along, time)
    names = ("red", "amber", "green")
    colors = np.array([np.array(_LAMP_COLORS[n]) * (1.0 if n == shown else 0.12) for n in names])
    scene.add(polygons(lamps, TRAFFIC_LIGHT, COMPACT, tile_of("plain"), colors, detail=1, anchor=anchor,
                       glow=np.array([-0.8 if n == shown else 0.0 for n in names])))


def build_backdrop(town: Town, palette: Palette, eye: np.ndarray) -> list[Mesh]:
    """The ground to the horizon and the hills or woods upon it, around the camera at `eye`."""
    corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * 2500.0
    flat = np.concatenate([corners + eye[:2], np.full((4, 1), -0.03)], 1)
    meshes = [ground(flat[None], TERRAIN, _EARTH, palette.grass_tile, palette.grass, 9.0)]
    rng = np.random.default_rng([town.seed, 6])
    turn = np.linspace(0, 2 * np.pi, 73)
    for distance, class_id, rise, color in ((900.0, VEGETATION, 55.0 if palette.hills else 8.0, palette.leaf * [0.8, 0.9, 1.1]),
                                            (420.0, VEGETATION, 14.0, palette.leaf)):
        height = np.abs(rng.normal(0, 1, 73)) * 0.35 + 0.5 + 0.5 * np.sin(turn * rng.integers(1, 4) + rng.uniform(0, 6))
        height = np.clip(height, 0.1, 2) * rise * rng.uniform(0.4, 1.0)
        height[-1] = height[0]
        ring = np.stack([np.cos(turn), np.sin(turn)], 1) * distance + eye[:2]
        low = np.concatenate([ring, np.full((73, 1), -1.0)], 1)
        high = np.concatenate([ring, height[:, None]], 1)
        quads = np.stack([low[1:], low[:-1], high[:-1], high[1:]], 1)
        meshes.append(polygons(quads, class_id, GROUND, tile_of("leaves", rng.integers(64)), color, detail=_EARTH, tile_size=(25.0, 25.0)))
    return meshes
