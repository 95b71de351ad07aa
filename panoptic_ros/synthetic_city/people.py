"""People on foot and on two wheels, and the bicycles and motorcycles under them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from panoptic_ros.synthetic_city.mesh import COMPACT, SEE_THROUGH, TWO_SIDED, Scene, polygons, surface
from panoptic_ros.synthetic_city.textures import tile_of

PERSON, RIDER, MOTORCYCLE, BICYCLE = 11, 12, 17, 18

_SKIN = np.array([[0.78, 0.58, 0.47], [0.66, 0.46, 0.35], [0.45, 0.3, 0.22], [0.28, 0.18, 0.13]])
_HAIR = np.array([[0.08, 0.06, 0.05], [0.2, 0.12, 0.07], [0.5, 0.38, 0.2], [0.55, 0.54, 0.52]])
_BLACK, _STEEL = (0.06, 0.06, 0.06), (0.45, 0.45, 0.45)

# A rod in its owner's coordinates (x ahead, y to the left, z up): start, end, widths at both ends, colour; metres.
Point = tuple[float, float, float]
Rod = tuple[Point, Point, float, float, tuple[float, float, float]]


@dataclass(frozen=True)
class ActorPose:
    """Where someone is: id, position (3,), yaw, and how many pixels a metre has there."""

    thing: int
    position: np.ndarray
    yaw: float
    scale: float

    def world(self, points: np.ndarray) -> np.ndarray:
        """Own coordinates (..., 3) -> world."""
        c, s = math.cos(self.yaw), math.sin(self.yaw)
        turn = np.array([[c, s, 0.0], [-s, c, 0.0], [0.0, 0.0, 1.0]])
        return points @ turn + self.position


class _Appearance:
    """Clothes and build of one person."""

    def __init__(self, rng: np.random.Generator) -> None:
        u = rng.random(24).tolist()
        self.height = 1.52 + 0.4 * (u[0] + u[1]) / 2 if u[2] > 0.1 else 1.05 + 0.4 * u[0]
        self.girth = 0.85 + 0.4 * u[3]
        self.skin = tuple(_SKIN[int(u[4] ** 1.6 * 4)] * (0.9 + 0.2 * u[5]))
        self.hair = tuple(_HAIR[int(u[6] * 4)])
        grey = 0.04 + 0.56 * u[7]
        vivid = u[8] < 0.4
        self.top = tuple(0.05 + 0.75 * v for v in u[9:12]) if vivid else (grey, grey * (0.92 + 0.16 * u[9]), grey)
        dark = 0.04 + 0.4 * u[12] ** 2
        jeans = 0.5 + 1.3 * u[12]
        self.legs = (0.12 * jeans, 0.16 * jeans, 0.28 * jeans) if u[13] < 0.5 else (dark, dark, dark * 0.95)
        self.shoes = (0.7, 0.7, 0.7) if u[14] < 0.25 else (0.07, 0.06, 0.06)
        self.skirt, self.bag, self.helmet = u[15] < 0.15, u[16] < 0.3, u[17] < 0.5
        self.bag_color = tuple(0.05 + 0.5 * v for v in u[18:21])
        self.helmet_color = tuple(0.05 + 0.8 * v for v in u[18:21])
        self.cloth = int(u[21] * 6)
        self.stride = 0.8 + 0.4 * u[22]


def _add_rods(scene: Scene, class_id: int, pose: ActorPose, rods: list[Rod], cloth: int = 0) -> None:
    values = np.array([(*a, *b, w0, w1, *color) for a, b, w0, w1, color in rods], np.float32)
    ends = pose.world(values[:, :6].reshape(-1, 2, 3))
    faces = surface(len(rods), class_id, COMPACT, tile_of("cloth", cloth), values[:, 8:], tile_size=(0.6, 0.6),
                    thing=pose.thing, flags=TWO_SIDED, anchor=pose.position[:2])
    scene.add_rods(ends[:, 0], ends[:, 1], values[:, 6], values[:, 7], faces)


def _add_head(scene: Scene, class_id: int, pose: ActorPose, x: float, z: float, size: float,
              skin: tuple[float, ...], hair: tuple[float, ...]) -> None:
    """A face and, further back and higher, hair or helmet."""
    centers = pose.world(np.array([[x + 0.03, 0.0, z], [x - 0.04, 0.0, z + 0.35 * size]]))
    halves = np.array([[size * 0.78, size], [size * 0.86, size * 0.86]], np.float32)
    faces = surface(2, class_id, COMPACT, tile_of("plain"), np.array([skin, hair]), thing=pose.thing, flags=TWO_SIDED,
                    anchor=pose.position[:2])
    scene.add_blobs(centers, halves, np.zeros(2, np.int64), faces)


def _along(start: Point, angle: float, length: float) -> Point:
    """The end of a limb that hangs from `start` and swings ahead by `angle`."""
    return start[0] + math.sin(angle) * length, start[1], start[2] - math.cos(angle) * length


def add_person(scene: Scene, pose: ActorPose, rng: np.random.Generator, distance_walked: float) -> None:
    """Someone who stands or walks; the legs swing with the distance walked, in metres."""
    who = _Appearance(rng)
    unit = who.height / 1.75
    broad = unit * who.girth
    phase = distance_walked / (0.72 * who.stride * unit) * math.pi
    swing = 0.42 * math.sin(phase)
    hip, shoulder = 0.92 * unit, 1.45 * unit
    rods: list[Rod] = []
    for side in (1, -1):
        top = (0.0, side * 0.09 * unit, hip)
        knee = _along(top, side * swing, 0.45 * unit)
        bend = 0.5 * max(0.0, -side * math.cos(phase)) if distance_walked else 0.0
        foot = _along(knee, side * swing - bend, 0.44 * unit)
        rods += [(top, knee, 0.19 * broad, 0.14 * broad, who.legs),
                 (knee, foot, 0.14 * broad, 0.10 * broad, who.skin if who.skirt else who.legs)]
        if pose.scale < 8:
            continue
        joint = (0.0, side * 0.21 * unit, shoulder)
        elbow = _along(joint, -side * swing * 0.8, 0.3 * unit)
        hand = _along(elbow, 0.3 - side * swing * 0.8, 0.27 * unit)
        rods += [(joint, elbow, 0.13 * broad, 0.10 * broad, who.top),
                 (elbow, hand, 0.10 * broad, 0.07 * broad, who.top)]
        if pose.scale > 25:
            toe = (foot[0] + 0.2 * unit, foot[1], foot[2])
            rods += [(foot, toe, 0.10 * broad, 0.07 * broad, who.shoes),
                     (hand, (hand[0], hand[1], hand[2] - 0.08 * unit), 0.07 * broad, 0.06 * broad, who.skin)]
    rods.append(((0.0, 0.0, hip - (0.28 if who.skirt else 0.05) * unit), (0.0, 0.0, shoulder + 0.02),
                 (0.42 if who.skirt else 0.34) * broad, 0.41 * broad, who.top))
    rods.append(((0.0, 0.0, shoulder), (0.0, 0.0, shoulder + 0.12 * unit), 0.12 * broad, 0.1 * broad, who.skin))
    if who.bag:
        rods.append(((-0.18 * unit, 0.0, shoulder - 0.05), (-0.2 * unit, 0.0, shoulder - 0.48 * unit), 0.28 * unit,
                     0.32 * unit, who.bag_color))
    _add_rods(scene, PERSON, pose, rods, who.cloth)
    _add_head(scene, PERSON, pose, 0.0, 1.62 * unit, 0.125 * unit, who.skin, who.hair)


def add_bicycle(scene: Scene, pose: ActorPose, rng: np.random.Generator) -> None:
    """A bicycle that stands on its wheels."""
    u = rng.random(5).tolist()
    color = (0.05 + 0.65 * u[0], 0.05 + 0.65 * u[1], 0.05 + 0.65 * u[2]) if u[3] < 0.6 else (0.03 + 0.12 * u[0],) * 3
    r = (0.31, 0.335, 0.36)[int(3 * u[4])]
    rods: list[Rod] = [
        ((0.53, 0.0, r), (0.42, 0.0, 0.92), 0.045, 0.045, color),
        ((0.45, 0.0, 0.8), (-0.12, 0.0, 0.3), 0.05, 0.05, color),
        ((0.44, 0.0, 0.84), (-0.2, 0.0, 0.75), 0.045, 0.045, color),
        ((-0.12, 0.0, 0.3), (-0.24, 0.0, 0.9), 0.045, 0.04, color),
        ((-0.12, 0.0, 0.3), (-0.52, 0.0, r), 0.04, 0.04, color),
        ((-0.52, 0.0, r), (-0.2, 0.0, 0.72), 0.04, 0.04, color),
        ((0.4, 0.28, 1.0), (0.4, -0.28, 1.0), 0.04, 0.04, _BLACK),
        ((-0.36, 0.0, 0.93), (-0.12, 0.0, 0.93), 0.1, 0.07, _BLACK),
        ((0.42, 0.0, 0.92), (0.4, 0.0, 1.02), 0.04, 0.04, _BLACK)]
    _add_wheeled(scene, BICYCLE, pose, rods, (0.53, -0.52), r, 0.04)


def add_motorcycle(scene: Scene, pose: ActorPose, rng: np.random.Generator) -> None:
    """A motorcycle or scooter."""
    red, green, blue = (0.05 + 0.7 * rng.random(3)).tolist()
    color = (red, green, blue)
    rods: list[Rod] = [
        ((0.7, 0.0, 0.32), (0.45, 0.0, 0.95), 0.07, 0.07, _STEEL),
        ((0.38, 0.0, 0.72), (0.0, 0.0, 0.8), 0.26, 0.30, color),
        ((0.0, 0.0, 0.78), (-0.62, 0.0, 0.85), 0.2, 0.14, _BLACK),
        ((0.3, 0.0, 0.45), (-0.2, 0.0, 0.42), 0.32, 0.36, (0.2, 0.2, 0.2)),
        ((-0.1, 0.0, 0.35), (-0.68, 0.0, 0.32), 0.1, 0.1, _BLACK),
        ((0.0, 0.12, 0.25), (-0.7, 0.14, 0.35), 0.09, 0.11, _STEEL),
        ((0.45, 0.34, 0.95), (0.45, -0.34, 0.95), 0.05, 0.05, _BLACK),
        ((0.55, 0.0, 0.75), (0.52, 0.0, 1.05), 0.26, 0.2, color),
        ((-0.6, 0.0, 0.75), (-0.72, 0.0, 0.6), 0.16, 0.1, (0.6, 0.05, 0.05))]
    _add_wheeled(scene, MOTORCYCLE, pose, rods, (0.7, -0.68), 0.31, 0.12)


def _add_wheeled(scene: Scene, class_id: int, pose: ActorPose, rods: list[Rod], places: tuple[float, float],
                 radius: float, tyre: float) -> None:
    """A frame of rods on two wheels; the tyres are as thick as they are wide, for those who look along them."""
    rods += [((x, 0.0, 0.0), (x, 0.0, 2 * radius), tyre, tyre, _BLACK) for x in places]
    _add_rods(scene, class_id, pose, rods)
    rings, discs = _wheels(places, radius, tyre, 12 if pose.scale > 20 else 8, pose.scale > 40)
    anchor = pose.position[:2]
    scene.add(polygons(pose.world(rings), class_id, COMPACT, tile_of("plain"), (0.06, 0.06, 0.07), thing=pose.thing,
                       flags=TWO_SIDED, anchor=anchor),
              polygons(pose.world(discs), class_id, COMPACT, 0, (0, 0, 0), thing=pose.thing,
                       flags=TWO_SIDED | SEE_THROUGH, anchor=anchor))


@lru_cache(maxsize=64)
def _wheels(places: tuple[float, float], radius: float, tyre: float, sides: int,
            spokes: bool) -> tuple[np.ndarray, np.ndarray]:
    """Two wheels at these x: quads of tyres and spokes (N, 4, 3), and what they enclose (2, sides, 3)."""
    turn = np.linspace(0, 2 * np.pi, sides + 1)
    ring = np.stack([np.cos(turn), np.zeros(sides + 1), np.sin(turn)], 1)
    inner = ring * (1 - tyre / radius)
    quads = [np.stack([ring[:-1], ring[1:], inner[1:], inner[:-1]], 1)]
    if spokes:
        thin, end = np.roll(ring[:sides], sides // 4, 0)[::2] * 0.012, inner[:sides:2]
        quads.append(np.stack([-thin, thin, end + thin, end - thin], 1))
    wheel = np.concatenate(quads) * radius
    hubs = [np.array([x, 0.0, radius]) for x in places]
    return np.concatenate([wheel + hub for hub in hubs]), np.stack([ring[:-1] * radius + hub for hub in hubs])


def add_rider(scene: Scene, pose: ActorPose, rng: np.random.Generator, distance_ridden: float,
              motorcycle: bool) -> None:
    """The rider of a bicycle or motorcycle at the same place; the feet turn with the distance ridden."""
    who = _Appearance(rng)
    seat, shoulder = ((-0.28, 0.85), (0.02, 1.38)) if motorcycle else ((-0.25, 0.95), (0.06, 1.45))
    rods: list[Rod] = []
    for side in (1, -1):
        hip, hand = (seat[0], side * 0.09, seat[1]), (0.4, side * 0.25, 1.0)
        turn = distance_ridden / 0.9 + (0.0 if side > 0 else math.pi)
        pedal = (-0.12 + 0.17 * math.cos(turn), side * 0.1, 0.3 - 0.17 * math.sin(turn))
        foot = (-0.05, side * 0.2, 0.35) if motorcycle else pedal
        out = 0.22 if motorcycle else math.sqrt(max(0.0, 0.2 - math.dist(hip, foot) ** 2 / 4))
        knee = ((hip[0] + foot[0]) / 2 + 0.9 * out, (hip[1] + foot[1]) / 2, (hip[2] + foot[2]) / 2 + 0.45 * out)
        joint = (shoulder[0], side * 0.2, shoulder[1])
        elbow = ((shoulder[0] + hand[0]) / 2, side * 0.28, (shoulder[1] + hand[2]) / 2 - 0.08)
        rods += [(hip, knee, 0.19, 0.14, who.legs), (knee, foot, 0.14, 0.1, who.legs),
                 (foot, (foot[0] + 0.18, foot[1], foot[2]), 0.1, 0.07, who.shoes),
                 (joint, elbow, 0.13, 0.1, who.top), (elbow, hand, 0.1, 0.07, who.top)]
    rods.append(((seat[0], 0.0, seat[1] - 0.05), (shoulder[0], 0.0, shoulder[1] + 0.03), 0.34 * who.girth,
                 0.4 * who.girth, who.top))
    if who.bag:
        rods.append(((shoulder[0] - 0.16, 0.0, shoulder[1]), (seat[0] - 0.1, 0.0, seat[1] + 0.12), 0.28, 0.3,
                     who.bag_color))
    _add_rods(scene, RIDER, pose, rods, who.cloth)
    covered = motorcycle or who.helmet
    skin = tuple(0.4 * v for v in who.helmet_color) if motorcycle else who.skin
    _add_head(scene, RIDER, pose, shoulder[0] + 0.05, shoulder[1] + 0.24, 0.15 if covered else 0.125, skin,
              who.helmet_color if covered else who.hair)
