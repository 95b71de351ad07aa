"""People on foot and on two wheels, and the bicycles and motorcycles under them."""

from __future__ import annotations

import numpy as np

from panoptic_ros.synthetic_city.mesh import COMPACT, TWO_SIDED, Mesh, Scene, polygons, surface
from panoptic_ros.synthetic_city.textures import tile_of

PERSON, RIDER, MOTORCYCLE, BICYCLE = 11, 12, 17, 18

_SKIN = np.array([[0.78, 0.58, 0.47], [0.66, 0.46, 0.35], [0.45, 0.3, 0.22], [0.28, 0.18, 0.13]])
_HAIR = np.array([[0.08, 0.06, 0.05], [0.2, 0.12, 0.07], [0.5, 0.38, 0.2], [0.55, 0.54, 0.52]])


class _Looks:
    """Clothes and build of one person."""

    def __init__(self, looks: np.random.Generator) -> None:
        self.height = float(looks.normal(1.72, 0.1)) if looks.random() > 0.1 else float(looks.uniform(1.05, 1.45))
        self.girth = float(looks.uniform(0.85, 1.25))
        self.skin = _SKIN[looks.choice(4, p=[0.5, 0.25, 0.15, 0.1])] * looks.uniform(0.9, 1.1)
        self.hair = _HAIR[looks.integers(4)]
        vivid = looks.random() < 0.35
        self.top = looks.uniform(0.05, 0.85, 3) if vivid else np.full(3, looks.uniform(0.04, 0.6)) * looks.uniform(0.9, 1.1, 3)
        jeans = np.array([0.12, 0.16, 0.28])
        self.legs = jeans * looks.uniform(0.5, 1.8) if looks.random() < 0.5 else np.full(3, looks.uniform(0.04, 0.45))
        self.shoes = np.full(3, looks.choice([0.05, 0.1, 0.7]))
        self.skirt = looks.random() < 0.15
        self.bag = looks.random() < 0.3
        self.bag_color = looks.uniform(0.05, 0.6, 3)
        self.cloth = int(looks.integers(0, 6))
        self.stride = float(looks.uniform(0.8, 1.2))
        self.helmet = looks.random() < 0.5


def _limbs(scene: Scene, class_id: int, thing: int, anchor: np.ndarray, joints: list[tuple[np.ndarray, np.ndarray]],
           widths: list[tuple[float, float]], colors: list[np.ndarray], cloth: int) -> None:
    width = np.array(widths, np.float32)
    faces = surface(len(joints), class_id, COMPACT, tile_of("cloth", cloth), np.array(colors, np.float32),
                    tile_size=(0.6, 0.6), thing=thing, flags=TWO_SIDED, anchor=anchor[:2])
    scene.add_rods(np.array([a for a, _ in joints], np.float32), np.array([b for _, b in joints], np.float32),
                   width[:, 0], width[:, 1], faces)


def _head(scene: Scene, class_id: int, thing: int, anchor: np.ndarray, center: np.ndarray, size: float, skin: np.ndarray,
          hair: np.ndarray, ahead: np.ndarray) -> None:
    """A face and, further back and higher, hair or helmet."""
    centers = np.stack([center + 0.02 * ahead, center - 0.04 * ahead + [0, 0, 0.045 * size / 0.12]])
    halves = np.array([[size * 0.78, size], [size * 0.86, size * 0.86]], np.float32)
    faces = surface(2, class_id, COMPACT, tile_of("plain"), np.stack([skin, hair]), thing=thing, flags=TWO_SIDED,
                    anchor=anchor[:2])
    scene.add_blobs(centers.astype(np.float32), halves, np.zeros(2, np.int64), faces)


def add_person(scene: Scene, thing: int, position: np.ndarray, yaw: float, looks: np.random.Generator,
               distance_walked: float) -> None:
    """Someone who stands or walks at `position` (3,); the legs swing with the distance walked, in metres."""
    who = _Looks(looks)
    unit = who.height / 1.75
    ahead, aside = np.array([np.cos(yaw), np.sin(yaw), 0]), np.array([-np.sin(yaw), np.cos(yaw), 0])
    up = np.array([0, 0, 1.0])
    swing = 0.42 * np.sin(distance_walked / (0.72 * who.stride * unit) * np.pi)
    hip, shoulder = position + up * 0.92 * unit, position + up * 1.45 * unit
    joints, widths, colors = [], [], []

    def limb(a: np.ndarray, b: np.ndarray, wide: float, narrow: float, color: np.ndarray) -> None:
        joints.append((a, b))
        widths.append((wide * unit * who.girth, narrow * unit * who.girth))
        colors.append(color)

    for side in (1, -1):
        angle = side * swing
        top = hip + aside * side * 0.09 * unit
        knee = top + (ahead * np.sin(angle) - up * np.cos(angle)) * 0.45 * unit
        bend = angle - max(0.0, -side * np.cos(distance_walked / (0.72 * who.stride * unit) * np.pi)) * 0.5
        foot = knee + (ahead * np.sin(bend) - up * np.cos(bend)) * 0.44 * unit
        limb(top, knee, 0.19, 0.14, who.legs)
        limb(knee, foot, 0.14, 0.10, who.skin if who.skirt else who.legs)
        limb(foot, foot + ahead * 0.2 * unit, 0.10, 0.07, who.shoes)
        arm = -side * swing * 0.8
        joint = shoulder + aside * side * 0.22 * unit
        elbow = joint + (ahead * np.sin(arm) - up * np.cos(arm)) * 0.3 * unit + aside * side * 0.03
        hand = elbow + (ahead * np.sin(arm + 0.4) - up * np.cos(arm + 0.4)) * 0.27 * unit
        limb(joint, elbow, 0.13, 0.10, who.top)
        limb(elbow, hand, 0.10, 0.07, who.top)
        limb(hand, hand - up * 0.07, 0.07, 0.06, who.skin)
    view = 0.36 * unit  # a chest is wider than deep; half-way between will do from all sides
    joints.append((hip - up * (0.25 if who.skirt else 0.05) * unit, shoulder + up * 0.02))
    widths.append(((0.42 if who.skirt else 0.34) * unit * who.girth, view * who.girth * 1.12))
    colors.append(who.top)
    limb(shoulder, shoulder + up * 0.12 * unit, 0.12, 0.1, who.skin)
    if who.bag:
        joints.append((shoulder - ahead * 0.2 * unit - up * 0.05, shoulder - ahead * 0.22 * unit - up * 0.48 * unit))
        widths.append((0.28 * unit, 0.32 * unit))
        colors.append(who.bag_color)
    _limbs(scene, PERSON, thing, position, joints, widths, colors, who.cloth)
    _head(scene, PERSON, thing, position, position + up * 1.62 * unit, 0.125 * unit, who.skin, who.hair, ahead)


def add_bicycle(scene: Scene, thing: int, position: np.ndarray, yaw: float, looks: np.random.Generator) -> None:
    """A bicycle that stands on its wheels at `position` (3,)."""
    ahead, up = np.array([np.cos(yaw), np.sin(yaw), 0]), np.array([0, 0, 1.0])
    aside = np.array([-ahead[1], ahead[0], 0])
    color = looks.uniform(0.05, 0.7, 3) if looks.random() < 0.6 else np.full(3, looks.uniform(0.04, 0.2))
    radius = float(looks.uniform(0.31, 0.36))

    def at(x: float, z: float, y: float = 0.0) -> np.ndarray:
        return position + ahead * x + up * z + aside * y

    tubes = [(at(0.53, radius), at(0.42, 0.92)), (at(0.45, 0.8), at(-0.12, 0.3)), (at(0.44, 0.84), at(-0.2, 0.75)),
             (at(-0.12, 0.3), at(-0.24, 0.9)), (at(-0.12, 0.3), at(-0.52, radius)), (at(-0.52, radius), at(-0.2, 0.72))]
    black = np.full(3, 0.06)
    other = [(at(0.4, 1.0, 0.28), at(0.4, 1.0, -0.28)), (at(-0.36, 0.93), at(-0.12, 0.93)), (at(0.42, 0.92), at(0.4, 1.02))]
    _limbs(scene, BICYCLE, thing, position, tubes + other, [(0.045, 0.045)] * 6 + [(0.04, 0.04), (0.09, 0.06), (0.04, 0.04)],
           [color] * 6 + [black] * 3, 0)
    scene.add(_wheels(BICYCLE, thing, position, ahead, (0.53, -0.52), radius, 0.035, looks.random() < 0.5))


def _wheels(class_id: int, thing: int, position: np.ndarray, ahead: np.ndarray, places: tuple[float, float],
            radius: float, tyre: float, mudguards: bool) -> Mesh:
    """Two wheels as rings of quads, with a few spokes."""
    turn = np.linspace(0, 2 * np.pi, 13)
    up = np.array([0, 0, 1.0])
    quads = []
    for x in places:
        hub = position + ahead * x + up * radius
        ring = np.cos(turn)[:, None] * ahead + np.sin(turn)[:, None] * up
        outer, inner = hub + ring * radius, hub + ring * (radius - tyre)
        quads.append(np.stack([outer[:-1], outer[1:], inner[1:], inner[:-1]], 1))
        spoke = ring[:12:2] * (radius - tyre)
        thin = np.roll(ring, 3, 0)[:12:2] * 0.004
        quads.append(np.stack([hub - thin, hub + thin, hub + spoke + thin, hub + spoke - thin], 1))
        if mudguards:
            arc = slice(1, 7)
            quads.append(np.stack([outer[arc] * 1.0 + up * 0.05, outer[1:][arc] + up * 0.05, outer[1:][arc] + up * 0.015,
                                   outer[arc] + up * 0.015], 1))
    points = np.concatenate(quads)
    return polygons(points, class_id, COMPACT, tile_of("plain"), (0.06, 0.06, 0.07), thing=thing, flags=TWO_SIDED,
                    anchor=position[:2])


def add_motorcycle(scene: Scene, thing: int, position: np.ndarray, yaw: float, looks: np.random.Generator) -> None:
    """A motorcycle or scooter at `position` (3,)."""
    ahead, up = np.array([np.cos(yaw), np.sin(yaw), 0]), np.array([0, 0, 1.0])
    aside = np.array([-ahead[1], ahead[0], 0])
    color = looks.uniform(0.05, 0.75, 3)
    black, steel = np.full(3, 0.06), np.full(3, 0.45)

    def at(x: float, z: float, y: float = 0.0) -> np.ndarray:
        return position + ahead * x + up * z + aside * y

    parts = [(at(0.7, 0.32), at(0.45, 0.95)), (at(0.38, 0.72), at(0.0, 0.8)), (at(0.0, 0.78), at(-0.62, 0.85)),
             (at(0.3, 0.45), at(-0.2, 0.42)), (at(-0.1, 0.35), at(-0.68, 0.32)), (at(0.0, 0.25, 0.12), at(-0.7, 0.35, 0.14)),
             (at(0.45, 0.95, 0.34), at(0.45, 0.95, -0.34)), (at(0.55, 0.75), at(0.52, 1.05)), (at(-0.6, 0.75), at(-0.72, 0.6))]
    widths = [(0.07, 0.07), (0.26, 0.30), (0.2, 0.14), (0.32, 0.36), (0.1, 0.1), (0.09, 0.11), (0.05, 0.05), (0.26, 0.2),
              (0.16, 0.1)]
    colors = [steel, color, black, np.full(3, 0.2), black, steel, black, color, np.array([0.6, 0.05, 0.05])]
    _limbs(scene, MOTORCYCLE, thing, position, parts, widths, colors, 0)
    scene.add(_wheels(MOTORCYCLE, thing, position, ahead, (0.7, -0.68), 0.31, 0.12, True))


def add_rider(scene: Scene, thing: int, position: np.ndarray, yaw: float, looks: np.random.Generator,
              distance_ridden: float, motorcycle: bool) -> None:
    """The rider of a bicycle or motorcycle that is at `position` (3,); the feet turn with the distance ridden."""
    who = _Looks(looks)
    ahead, up = np.array([np.cos(yaw), np.sin(yaw), 0]), np.array([0, 0, 1.0])
    aside = np.array([-ahead[1], ahead[0], 0])

    def at(x: float, z: float, y: float = 0.0) -> np.ndarray:
        return position + ahead * x + up * z + aside * y

    seat = at(-0.28, 0.85) if motorcycle else at(-0.25, 0.95)
    shoulder = at(0.02, 1.38) if motorcycle else at(0.06, 1.45)
    joints, widths, colors = [], [], []
    for side in (1, -1):
        hip, hand = seat + aside * side * 0.09, at(0.4, 1.0, side * 0.25)
        turn = distance_ridden / 0.9 + (0 if side > 0 else np.pi)
        foot = at(-0.05, 0.35, side * 0.2) if motorcycle else at(-0.12 + 0.17 * np.cos(turn), 0.3 - 0.17 * np.sin(turn), side * 0.1)
        middle = (hip + foot) / 2
        knee = middle + (ahead * 0.9 + up * 0.45) * (0.22 if motorcycle else np.sqrt(max(0.0, 0.2 - np.sum((hip - foot) ** 2) / 4)))
        joints += [(hip, knee), (knee, foot), (foot, foot + ahead * 0.18)]
        widths += [(0.19, 0.14), (0.14, 0.1), (0.1, 0.07)]
        colors += [who.legs, who.legs, who.shoes]
        elbow = (shoulder + hand) / 2 - up * 0.08 + aside * side * 0.1
        joints += [(shoulder + aside * side * 0.2, elbow), (elbow, hand)]
        widths += [(0.13, 0.1), (0.1, 0.07)]
        colors += [who.top, who.top]
    joints.append((seat - up * 0.05, shoulder + up * 0.03))
    widths.append((0.34 * who.girth, 0.4 * who.girth))
    colors.append(who.top)
    if who.bag:
        joints.append((shoulder - ahead * 0.16, seat - ahead * 0.1 + up * 0.12))
        widths.append((0.28, 0.3))
        colors.append(who.bag_color)
    _limbs(scene, RIDER, thing, position, joints, widths, colors, who.cloth)
    covered = motorcycle or who.helmet
    hair = looks.uniform(0.05, 0.9, 3) if covered else who.hair
    _head(scene, RIDER, thing, position, shoulder + up * 0.24 + ahead * 0.05, 0.15 if covered else 0.125,
          hair * 0.5 if motorcycle else who.skin, hair, ahead)
