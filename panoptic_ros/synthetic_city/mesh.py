"""Meshes: flat faces in world coordinates with what is needed to draw, light and label them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

# Within GROUND faces are drawn by `detail`, within the other layers from far to near by their objects' anchors. That is
# right for objects of like size; between layers each pixel's depth decides (but nothing is hidden by the ground).
# LARGE: houses. STRIP: walls, hedges. LONG: buses, lorries. COMPACT: cars, people, poles, trees.
GROUND, LARGE, STRIP, LONG, COMPACT = range(5)

# Flags of a face.
# SEE_THROUGH: not in the picture, but what is seen through it counts as it: the gaps of a fence, a wheel's inside.
# NIGHT_LIGHT: glows by night only. WORLD_TEXTURE: the texture lies on the ground, one over all faces.
TWO_SIDED, WORLD_TEXTURE, SEE_THROUGH, NIGHT_LIGHT = 1, 2, 4, 8

FACE = np.dtype([
    ("class_id", np.uint8),  # Cityscapes train id, 255 = void
    ("thing", np.int32),  # id of the object it belongs to, 0 = none
    ("layer", np.uint8),
    ("detail", np.uint8),  # 0 = a body's surface; higher ones lie upon it and are drawn after it
    ("flags", np.uint8),
    ("tile", np.int16),  # texture
    ("tile_size", np.float32, (2,)),  # metres that one tile covers along the face's first edge, and across it
    ("color", np.float32, (3,)),  # 0 to 1
    ("glow", np.float32),  # own light, where the tile's fourth channel says so; negative: everywhere
    ("anchor", np.float32, (2,)),  # x, y whose distance orders the object among the others
])

_BYTES = np.dtype((np.void, FACE.itemsize))


@dataclass(frozen=True)
class Mesh:
    """F flat faces.

    points: (V, 3) float32 metres, the corners of the faces one face after the other, counter-clockwise from outside.
    corners: (F,) int32, how many points each face has, at least 3; the first three are not on one line.
    faces: (F,) of dtype FACE.
    """

    points: np.ndarray
    corners: np.ndarray
    faces: np.ndarray

    def __len__(self) -> int:
        return len(self.corners)

    def starts(self) -> np.ndarray:
        """(F,) index of each face's first point."""
        return np.concatenate([[0], np.cumsum(self.corners)[:-1]]).astype(np.int64)

    def with_fields(self, **values: Any) -> Mesh:
        """The same faces with other values of some fields."""
        faces = self.faces.copy()
        for name, value in values.items():
            faces[name] = value
        return Mesh(self.points, self.corners, faces)


EMPTY = Mesh(np.zeros((0, 3), np.float32), np.zeros(0, np.int32), np.zeros(0, FACE))


def surface(count: int, class_id: Any, layer: int, tile: Any, color: Any, tile_size: Any = (4.0, 4.0),
            detail: Any = 0, thing: Any = 0, flags: Any = 0, glow: Any = 0.0, anchor: Any = 0.0) -> np.ndarray:
    """`count` rows of FACE; each value is one for all, or one per face."""
    faces = np.empty(count, FACE)
    for name, value in (("class_id", class_id), ("thing", thing), ("layer", layer), ("detail", detail),
                        ("flags", flags), ("tile", tile), ("tile_size", tile_size), ("color", color), ("glow", glow),
                        ("anchor", anchor)):
        faces[name] = value
    return faces


def polygons(points: np.ndarray, class_id: Any, layer: int, tile: Any, color: Any, **fields: Any) -> Mesh:
    """N faces of K corners each, points (N, K, 3); `fields` as in `surface`.

    An object's faces need the same anchor, (2,) or (N, 2); by default each face is an object, anchored in its middle.
    """
    count, corners = points.shape[:2]
    fields.setdefault("anchor", points[:, :, :2].mean(1))
    return Mesh(np.ascontiguousarray(points.reshape(-1, 3), dtype=np.float32), np.full(count, corners, np.int32),
                surface(count, class_id, layer, tile, color, **fields))


def join(meshes: Sequence[Mesh]) -> Mesh:
    """All faces of several meshes."""
    if not meshes:
        return EMPTY
    return Mesh(np.concatenate([m.points for m in meshes]), np.concatenate([m.corners for m in meshes]),
                _concatenated([m.faces for m in meshes]))


def _concatenated(faces: Sequence[np.ndarray]) -> np.ndarray:
    # NumPy finds out the common type of records anew for each pair; as plain bytes there is nothing to find out.
    return np.concatenate([f.view(_BYTES) for f in faces]).view(FACE)


def placed(mesh: Mesh, scale: np.ndarray, yaw: float, position: np.ndarray) -> Mesh:
    """A mesh in its own coordinates, scaled, turned about z (radians) and moved; its anchor is `position`."""
    c, s = np.cos(yaw), np.sin(yaw)
    turn = np.array([[c, s, 0], [-s, c, 0], [0, 0, 1]], np.float32) * np.asarray(scale, np.float32)[:, None]
    points = mesh.points @ turn + np.asarray(position, np.float32)
    faces = mesh.faces.copy()
    faces["anchor"] = position[:2]
    return Mesh(points, mesh.corners, faces)


# The corners of a box's faces: front (+x), back, left (+y), right, top; counter-clockwise from outside, and each
# begins with a bottom edge, which is the direction of its texture.
_BOX = np.array([[[1, -1, 0], [1, 1, 0], [1, 1, 1], [1, -1, 1]], [[-1, 1, 0], [-1, -1, 0], [-1, -1, 1], [-1, 1, 1]],
                 [[1, 1, 0], [-1, 1, 0], [-1, 1, 1], [1, 1, 1]], [[-1, -1, 0], [1, -1, 0], [1, -1, 1], [-1, -1, 1]],
                 [[-1, -1, 1], [1, -1, 1], [1, 1, 1], [-1, 1, 1]]], np.float32)


def boxes(center: np.ndarray, half: np.ndarray, yaw: np.ndarray) -> np.ndarray:
    """Upright boxes: bottom centres (N, 3), half lengths along and across and full heights (N, 3), yaws (N,).

    Returns corners (N, 5, 4, 3): front, back, left, right, top.
    """
    local = _BOX[None] * half[:, None, None, :]
    c, s = np.cos(yaw)[:, None, None], np.sin(yaw)[:, None, None]
    x = local[..., 0] * c - local[..., 1] * s
    y = local[..., 0] * s + local[..., 1] * c
    return np.stack([x, y, local[..., 2]], -1) + center[:, None, None, :]


@dataclass(frozen=True)
class Rods:
    """Round rods, drawn as quads that face the camera: poles, trunks, limbs.

    start, end: (N, 3) float32. width: (N, 2) metres at both ends. faces: (N,) of dtype FACE.
    """

    start: np.ndarray
    end: np.ndarray
    width: np.ndarray
    faces: np.ndarray

    def seen_from(self, eye: np.ndarray) -> Mesh:
        """Their quads as seen from `eye` (3,)."""
        across = np.cross(self.end - self.start, eye - (self.start + self.end) / 2)
        across /= 2 * np.linalg.norm(across, axis=1, keepdims=True) + 1e-9
        a, b = across * self.width[:, :1], across * self.width[:, 1:]
        quads = np.stack([self.start - a, self.start + a, self.end + b, self.end - b], 1)
        return Mesh(quads.reshape(-1, 3).astype(np.float32), np.full(len(quads), 4, np.int32), self.faces)


@dataclass(frozen=True)
class Blobs:
    """Things with an outline that is the same from everywhere: crowns, bushes, heads.

    center: (N, 3) float32. half_size: (N, 2) metres across and up. outline: (N,) rows of OUTLINES.
    faces: (N,) of dtype FACE.
    """

    center: np.ndarray
    half_size: np.ndarray
    outline: np.ndarray
    faces: np.ndarray

    def seen_from(self, eye: np.ndarray) -> Mesh:
        """Their polygons as seen from `eye` (3,); far ones get a coarser outline."""
        away = self.center - eye
        distance = np.linalg.norm(away, axis=1, keepdims=True) + 1e-9
        far = distance[:, 0] > 35 * self.half_size.max(1)
        away = away / distance
        right = np.stack([away[:, 1], -away[:, 0], np.zeros(len(away))], 1)
        right /= np.linalg.norm(right, axis=1, keepdims=True) + 1e-9
        up = np.cross(right, away)
        shape = OUTLINES[self.outline] * self.half_size[:, None]
        points = self.center[:, None] + shape[..., :1] * right[:, None] + shape[..., 1:] * up[:, None]
        parts = []
        for kind, step in ((far, 4), (~far, 1)):
            outline = points[kind, ::step].astype(np.float32)
            corners = np.full(len(outline), outline.shape[1], np.int32)
            parts.append(Mesh(outline.reshape(-1, 3), corners, self.faces[kind]))
        return join(parts)


def _outlines() -> np.ndarray:
    """(24, 44, 2): a circle first, then ever more ragged ones, with lobes of several sizes like crowns of trees."""
    rng = np.random.default_rng(9)
    angle = np.linspace(0, 2 * np.pi, 44, endpoint=False)
    rough = np.linspace(0, 1, 24)[:, None]
    radius = np.ones((24, 44))
    for lobes, strength in ((2, 0.10), (3, 0.10), (5, 0.08), (8, 0.08), (13, 0.07)):
        turn = rng.uniform(0, 2 * np.pi, (24, 1))
        radius += rough * strength * rng.uniform(0.3, 1.3, (24, 1)) * np.sin(lobes * angle + turn)
    radius += rough * rng.normal(0, 0.055, (24, 44))
    radius = np.clip(radius, 0.45, 1.5)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], 2).astype(np.float32)


OUTLINES = _outlines()


@dataclass(frozen=True)
class Casters:
    """Upright bodies that throw shadows: footprint (N, 8, 2) in world metres, bottom and top (N,) above ground."""

    footprint: np.ndarray
    bottom: np.ndarray
    top: np.ndarray


class Scene:
    """Collects what stands in a part of the world; `seen_from` turns it into one mesh."""

    def __init__(self) -> None:
        self.meshes: list[Mesh] = []
        self.rods: list[Rods] = []
        self.blobs: list[Blobs] = []
        self.casters: list[Casters] = []

    def add(self, *meshes: Mesh) -> None:
        self.meshes.extend(meshes)

    def add_rods(self, start: np.ndarray, end: np.ndarray, width_start: Any, width_end: Any, faces: np.ndarray) -> None:
        width = np.stack(np.broadcast_arrays(width_start, width_end, np.zeros(len(start)))[:2], 1)
        self.rods.append(Rods(start, end, width, faces))

    def add_blobs(self, center: np.ndarray, half_size: np.ndarray, outline: np.ndarray, faces: np.ndarray) -> None:
        self.blobs.append(Blobs(center, half_size, outline, faces))

    def add_casters(self, footprint: np.ndarray, bottom: Any, top: Any) -> None:
        """`footprint` (N, K, 2) with K 4 or 8."""
        none = np.zeros(len(footprint))
        octagon = np.repeat(footprint, 8 // footprint.shape[1], 1)
        self.casters.append(Casters(octagon, none + bottom, none + top))

    def packed(self) -> Scene:
        """The same with each list joined to at most one entry, for scenes that are looked at many times."""
        scene = Scene()
        scene.meshes = [join(self.meshes)]
        scene.rods, scene.blobs, scene.casters = _packed(self.rods), _packed(self.blobs), _packed(self.casters)
        return scene

    def extend(self, other: Scene) -> None:
        """Take in all of another scene."""
        self.meshes.extend(other.meshes)
        self.rods.extend(other.rods)
        self.blobs.extend(other.blobs)
        self.casters.extend(other.casters)

    def seen_from(self, eye: np.ndarray) -> list[Mesh]:
        """Its meshes with rods and blobs facing the camera at `eye` (3,)."""
        return self.meshes + [part.seen_from(eye) for part in (*_packed(self.rods), *_packed(self.blobs))]


def _packed(parts: list[Any]) -> list[Any]:
    """Records of arrays of one kind -> one record with their arrays joined."""
    if len(parts) < 2:
        return parts
    kind = type(parts[0])
    columns = [[getattr(part, field) for part in parts] for field in kind.__dataclass_fields__]
    return [kind(*(_concatenated(c) if c[0].dtype == FACE else np.concatenate(c) for c in columns))]
