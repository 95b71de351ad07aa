"""What stands on pavements and verges: lamps, signs, traffic lights, bollards, bins."""

from __future__ import annotations

import numpy as np

from panoptic_ros.classes import VOID
from panoptic_ros.synthetic_city.mesh import COMPACT, NIGHT_LIGHT, TWO_SIDED, Scene, boxes, polygons, surface
from panoptic_ros.synthetic_city.palette import Palette
from panoptic_ros.synthetic_city.plots import POLE, TRAFFIC_LIGHT, TRAFFIC_SIGN, UP, Plot
from panoptic_ros.synthetic_city.textures import tile_of
from panoptic_ros.synthetic_city.town import KERB, Town

_SIGN_COLORS = np.array([[0.7, 0.05, 0.06], [0.05, 0.16, 0.5], [0.9, 0.9, 0.88], [0.85, 0.65, 0.1], [0.05, 0.32, 0.18]])
_LAMP_COLORS = {"red": (1.0, 0.12, 0.08), "amber": (1.0, 0.6, 0.1), "green": (0.15, 1.0, 0.5)}


def add_furniture(scene: Scene, plot: Plot, palette: Palette, side: int, rng: np.random.Generator) -> None:
    """All of one side of a street, near the kerb."""
    town = plot.town
    d = plot.half + (0.5 if town.has_junctions else 1.2)
    if rng.random() < 0.85:
        _add_lamps(scene, plot, palette, side, d, rng)
    for _ in range(int(rng.integers(0, 4))):
        _add_sign(scene, plot, rng.uniform(2, plot.length), side, d + rng.uniform(-0.2, 0.4), rng)
    if town.kind in ("suburb", "country") and rng.random() < 0.3:
        foot = plot.world(np.arange(4, plot.length, 30.0), side * (d + 0.8), plot.base)
        scene.add_rods(foot, foot + UP * 7.5, 0.26, 0.2, surface(
            len(foot), POLE, COMPACT, tile_of("bark"), (0.35, 0.27, 0.2), flags=TWO_SIDED, anchor=foot[:, :2]))
    if town.has_junctions and rng.random() < 0.25:
        foot = plot.world(np.arange(1, plot.length, rng.uniform(1.5, 3)), side * (plot.half + 0.35), KERB)
        scene.add_rods(foot, foot + UP * 0.95, 0.13, 0.13, surface(
            len(foot), POLE, COMPACT, tile_of("plain"), palette.pole, flags=TWO_SIDED, anchor=foot[:, :2]))
    if town.has_junctions:
        _add_bins(scene, plot, side, rng)


def _add_lamps(scene: Scene, plot: Plot, palette: Palette, side: int, d: float, rng: np.random.Generator) -> None:
    s = np.arange(rng.uniform(3, palette.lamp_gap), plot.length - 2, palette.lamp_gap)
    height = rng.uniform(5, 10)
    foot = plot.world(s, side * d, plot.base)
    top = foot + UP * height
    head = plot.world(s, side * (d - rng.uniform(0.0, 2.2)), plot.base + height + 0.3)
    anchor = foot[:, :2]
    steel = surface(len(s), POLE, COMPACT, tile_of("plain"), palette.pole, flags=TWO_SIDED, anchor=anchor)
    scene.add_rods(foot, top, 0.2, 0.12, steel)
    scene.add_rods(top, head, 0.09, 0.09, steel)
    scene.add_rods(head, head + [0.35, 0.3, -0.05], 0.2, 0.25, surface(
        len(s), POLE, COMPACT, tile_of("plain"), (0.9, 0.85, 0.7), glow=-1.0, flags=TWO_SIDED | NIGHT_LIGHT,
        anchor=anchor))


def _add_sign(scene: Scene, plot: Plot, s: float, side: int, d: float, rng: np.random.Generator) -> None:
    """A sign on a post; it faces those who come on its side of the road."""
    foot = plot.world(s, side * d, plot.base)
    yaw = plot.yaw(s, side * d, np.pi if side == plot.town.side else 0.0) + rng.normal(0, 0.08)
    out, aside = np.array([np.cos(yaw), np.sin(yaw), 0]), np.array([-np.sin(yaw), np.cos(yaw), 0])
    kind = str(rng.choice(["round", "triangle", "square", "octagon", "board"], p=[0.35, 0.2, 0.25, 0.08, 0.12]))
    large = kind == "board"
    size = rng.uniform(0.6, 1.1) if large else rng.uniform(0.3, 0.42)
    height = rng.uniform(2.1, 2.9) + 0.3 * large
    if plot.town.kind == "highway":
        size, height = size * 1.6, height + 0.8
    anchor = foot[:2]
    scene.add_rods(foot[None], (foot + UP * (height + size))[None], 0.075, 0.075, surface(
        1, POLE, COMPACT, tile_of("plain"), (0.45, 0.46, 0.47), flags=TWO_SIDED, anchor=anchor))
    corners, first = {"round": (12, 0.0), "triangle": (3, -np.pi / 6), "square": (4, np.pi / 4),
                      "octagon": (8, np.pi / 8), "board": (4, np.pi / 4)}[kind]
    angle = first + np.arange(corners) * 2 * np.pi / corners
    shape = np.cos(angle)[:, None] * aside * (1.8 if large else 1.0) + np.sin(angle)[:, None] * UP
    center = foot + UP * height + out * 0.05
    points = np.stack([center + shape * size, center + out * 0.005 + shape * size * 0.8])
    rim = _SIGN_COLORS[rng.integers(len(_SIGN_COLORS))]
    scene.add(polygons(points, TRAFFIC_SIGN, COMPACT, [tile_of("plain"), tile_of("sign", rng.integers(64))],
                       np.stack([rim, np.ones(3) * 0.95]), tile_size=(2 * size, 2 * size), detail=[1, 2],
                       anchor=anchor),
              polygons(points[:1, ::-1], TRAFFIC_SIGN, COMPACT, tile_of("plain"), (0.42, 0.42, 0.43), detail=1,
                       anchor=anchor))


def _add_bins(scene: Scene, plot: Plot, side: int, rng: np.random.Generator) -> None:
    """Bins and boxes, for which Cityscapes has no class: void."""
    count = int(rng.poisson(1.2))
    s, d = rng.uniform(1, plot.length - 1, count), side * (plot.walk - rng.uniform(0.3, 0.6, count))
    half = np.stack([rng.uniform(0.2, 0.7, count), rng.uniform(0.2, 0.35, count), rng.uniform(0.7, 1.5, count)], 1)
    yaw = np.full(count, plot.yaw(plot.length / 2, 0.0))
    foot = plot.world(s, d, KERB)
    scene.add(polygons(boxes(foot, half, yaw).reshape(-1, 4, 3), VOID, COMPACT, tile_of("poster", rng.integers(64)),
                       np.repeat(rng.uniform(0.1, 0.8, (count, 3)), 5, 0), tile_size=(1.5, 1.5),
                       anchor=np.repeat(foot[:, :2], 5, 0)))


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
            back = float(np.arctan2(-sign * ahead[1], -sign * ahead[0]))
            for end in (-1, 1):
                plan = center + sign * ahead * reach * end + sign * left * town.side * out
                posts.append((np.append(town.bend(plan), KERB), town.heading(plan, back), along))
    return posts


def add_signal(scene: Scene, palette: Palette, foot: np.ndarray, yaw: float, shown: str) -> None:
    """A post with a traffic light that shows "red", "amber" or "green"."""
    out, aside = np.array([np.cos(yaw), np.sin(yaw), 0]), np.array([-np.sin(yaw), np.cos(yaw), 0])
    anchor = foot[:2]
    scene.add_rods(foot[None], (foot + UP * 3.4)[None], 0.14, 0.12, surface(
        1, POLE, COMPACT, tile_of("plain"), palette.pole, flags=TWO_SIDED, anchor=anchor))
    case_foot = foot + UP * 2.5 + out * 0.18
    case = boxes(case_foot[None], np.array([[0.11, 0.17, 0.95]]), np.array([yaw]))[0]
    scene.add(polygons(case, TRAFFIC_LIGHT, COMPACT, tile_of("plain"), (0.06, 0.07, 0.06), anchor=anchor))
    turn = np.linspace(0, 2 * np.pi, 8, endpoint=False)
    ring = (np.cos(turn)[:, None] * aside + np.sin(turn)[:, None] * UP) * 0.11
    lenses = np.stack([case_foot + out * 0.115 + UP * z + ring for z in (0.78, 0.48, 0.18)])
    lit = np.array([name == shown for name in _LAMP_COLORS])
    colors = np.array(list(_LAMP_COLORS.values())) * np.where(lit, 1.0, 0.12)[:, None]
    scene.add(polygons(lenses, TRAFFIC_LIGHT, COMPACT, tile_of("plain"), colors, detail=1, anchor=anchor,
                       glow=np.where(lit, -0.8, 0.0)))
