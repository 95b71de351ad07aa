"""Rasterisation: which face each pixel shows; faces in camera coordinates, drawn from far to near, and their planes."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np

from panoptic_ros.synthetic_city.camera import CityCamera
from panoptic_ros.synthetic_city.mesh import (
    COMPACT,
    GROUND,
    LARGE,
    LONG,
    SEE_THROUGH,
    STRIP,
    TWO_SIDED,
    WORLD_TEXTURE,
    Mesh,
)

NEAR = 0.25  # metres; nothing nearer is drawn
_SHIFT = 4  # corners are drawn in sixteenths of a pixel
_FAR_OFF = 1 << 24  # corners are kept below this many sixteenths
_UNSEEN = 9  # in place of a layer
_SMALLEST = 0.9  # pixels; faces that extend less are not drawn


@dataclass(frozen=True)
class Surfaces:
    """The F faces that may be seen, in camera coordinates (x right, y down, z ahead, metres), and where they are.

    face_map: (H, W) int32, what the picture shows: 0 = none (sky), k = row k - 1 of the others.
    truth_map: (H, W) int32, the same with the faces that are SEE_THROUGH.
    rows: (F,) int64, their rows in the mesh.
    normal: (F, 3) of unit length, towards the camera. offset: (F,) with normal . x = offset on the plane.
    nearest, farthest: (F,) depths of its corners, not nearer than NEAR.
    across, along: (F, 3) and across_0, along_0: (F,): the texture's coordinates at x are across . x - across_0
        and along . x - along_0, in tiles.
    """

    face_map: np.ndarray
    truth_map: np.ndarray
    rows: np.ndarray
    normal: np.ndarray
    offset: np.ndarray
    nearest: np.ndarray
    farthest: np.ndarray
    across: np.ndarray
    along: np.ndarray
    across_0: np.ndarray
    along_0: np.ndarray


def rasterise(mesh: Mesh, camera: CityCamera, pose: np.ndarray) -> Surfaces:
    """Draw all faces of a mesh seen from `pose`, (4, 4) camera-to-world."""
    eye, turn = pose[:3, 3], pose[:3, :3].astype(np.float32)
    points = (mesh.points - eye.astype(np.float32)) @ turn
    starts = mesh.starts()
    first, second, third = points[starts], points[starts + 1], points[starts + 2]
    edge = second - first
    normal = np.cross(edge, third - first)
    normal /= np.linalg.norm(normal, axis=1, keepdims=True) + 1e-12
    offset = np.einsum("ij,ij->i", normal, first)
    two_sided = (mesh.faces["flags"] & TWO_SIDED) > 0
    flipped = two_sided & (offset > 0)
    normal[flipped] *= -1
    offset[flipped] *= -1

    depth = np.ascontiguousarray(points[:, 2])
    nearest, farthest = np.minimum.reduceat(depth, starts), np.maximum.reduceat(depth, starts)
    inverse = 1 / np.maximum(depth, NEAR)
    column = points[:, 0] * inverse * camera.fx + camera.cx
    row = points[:, 1] * inverse * camera.fy + camera.cy
    left, right = np.minimum.reduceat(column, starts), np.maximum.reduceat(column, starts)
    upper, lower = np.minimum.reduceat(row, starts), np.maximum.reduceat(row, starts)
    whole = nearest > NEAR
    inside = ((right > -1) & (left < camera.width) & (lower > -1) & (upper < camera.height)
              & (np.maximum(right - left, lower - upper) > _SMALLEST))
    seen = (farthest > NEAR) & (offset < -1e-4) & (inside | ~whole)
    rows = _drawing_order(mesh, np.flatnonzero(seen), eye)

    corners = _fixed_point(np.stack([column, row], 1))
    buffers = _draw(mesh, rows, starts, corners, points, whole, camera)
    tables = _texture_axes(mesh, rows, first, edge, normal, eye, turn)
    surfaces = Surfaces(buffers[0], buffers[0], rows, normal[rows], offset[rows],
                        np.maximum(nearest[rows], NEAR), farthest[rows], *tables)
    ground = np.concatenate([[True], mesh.faces["layer"][rows] == GROUND])
    for buffer in buffers[1:4]:
        _lay_over(surfaces, surfaces.face_map, buffer, ground, camera)
    if not buffers[4].any():
        return surfaces
    surfaces = replace(surfaces, truth_map=surfaces.face_map.copy())
    _lay_over(surfaces, surfaces.truth_map, buffers[4], ground, camera)
    return surfaces


def inverse_depth(surfaces: Surfaces, face_map: np.ndarray, camera: CityCamera) -> np.ndarray:
    """1 / z of each pixel of a map of faces, (H, W) float32 in 1 / metres, 0 at the sky."""
    slope = np.zeros((5, len(surfaces.rows) + 1), np.float32)
    slope[:3, 1:] = (surfaces.normal / surfaces.offset[:, None]).T
    slope[3, 1:], slope[4, 1:] = 1 / surfaces.farthest, 1 / surfaces.nearest
    x, y = camera.rays()
    faces = face_map.astype(np.intp)
    result = slope[0].take(faces) * x
    result += slope[1].take(faces) * y[:, None]
    result += slope[2].take(faces)
    # A pixel at the rim of a face that is seen along its plane may lie a little outside it.
    return np.clip(result, slope[3].take(faces), slope[4].take(faces), out=result)


def _drawing_order(mesh: Mesh, rows: np.ndarray, eye: np.ndarray) -> np.ndarray:
    """Rows sorted: by layer, objects from far to near, their bodies' faces from far to near, then what lies upon."""
    faces = mesh.faces[rows]
    away = np.linalg.norm(faces["anchor"] - eye[:2].astype(np.float32), axis=1)
    away[faces["layer"] == GROUND] = 0
    starts = mesh.starts()
    opposite = (mesh.points[starts[rows]] + mesh.points[starts[rows] + mesh.corners[rows] // 2]) / 2
    inner = np.linalg.norm(opposite - eye.astype(np.float32), axis=1)
    inner[(faces["detail"] > 0) | (faces["layer"] == GROUND)] = 0
    order = np.lexsort((rows, -inner, faces["detail"], -away, faces["layer"]))
    return rows[order]


def _draw(mesh: Mesh, rows: np.ndarray, starts: np.ndarray, corners: np.ndarray, points: np.ndarray,
          whole: np.ndarray, camera: CityCamera) -> list[np.ndarray]:
    """Number of the face (row + 1) at each pixel: ground and large things, strips, long, compact, see-through ones."""
    buffers = [np.zeros((camera.height, camera.width), np.int32) for _ in range(5)]
    target = dict(zip((GROUND, LARGE, STRIP, LONG, COMPACT, _UNSEEN), (buffers[0], *buffers), strict=True))
    begin = starts[rows].tolist()
    count = mesh.corners[rows].tolist()
    unseen = mesh.faces["flags"][rows] & SEE_THROUGH > 0
    layers = np.where(unseen, _UNSEEN, mesh.faces["layer"][rows]).tolist()
    complete = whole[rows].tolist()
    for number, (s, n, layer, uncut) in enumerate(zip(begin, count, layers, complete, strict=True), 1):
        outline = corners[s:s + n] if uncut else _cut_near(points[s:s + n], camera)
        if n <= 4:
            cv2.fillConvexPoly(target[layer], outline, number, 8, _SHIFT)
        else:
            cv2.fillPoly(target[layer], [outline], number, 8, _SHIFT)
    return buffers


def _fixed_point(pixels: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(pixels * (1 << _SHIFT)), -_FAR_OFF, _FAR_OFF).astype(np.int32)


def _cut_near(polygon: np.ndarray, camera: CityCamera) -> np.ndarray:
    """The part of a polygon beyond the near plane, as corners to draw."""
    kept = []
    ring = polygon.tolist()
    for a, b in zip(ring, ring[1:] + ring[:1], strict=True):
        if a[2] > NEAR:
            kept.append((a[0] / a[2], a[1] / a[2]))
        if (a[2] > NEAR) != (b[2] > NEAR):
            share = (NEAR - a[2]) / (b[2] - a[2])
            kept.append(((a[0] + (b[0] - a[0]) * share) / NEAR, (a[1] + (b[1] - a[1]) * share) / NEAR))
    return _fixed_point(np.array(kept) * [camera.fx, camera.fy] + [camera.cx, camera.cy])


def _texture_axes(mesh: Mesh, rows: np.ndarray, first: np.ndarray, edge: np.ndarray, normal: np.ndarray,
                  eye: np.ndarray, turn: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    faces, origin = mesh.faces[rows], first[rows]
    across = edge[rows] / (np.linalg.norm(edge[rows], axis=1, keepdims=True) + 1e-12)
    along = np.cross(normal[rows], across)
    across_size, along_size = faces["tile_size"][:, :1], faces["tile_size"][:, 1:]
    across, along = across / across_size, along / along_size
    across_0 = np.einsum("ij,ij->i", across, origin)
    along_0 = np.einsum("ij,ij->i", along, origin)
    world = (faces["flags"] & WORLD_TEXTURE) > 0
    across[world] = turn[0] / across_size[world]
    along[world] = turn[1] / along_size[world]
    across_0[world] = -np.fmod(eye[0] / across_size[world, 0], 1)
    along_0[world] = -np.fmod(eye[1] / along_size[world, 0], 1)
    return across, along, across_0, along_0


def _lay_over(surfaces: Surfaces, face_map: np.ndarray, buffer: np.ndarray, ground: np.ndarray,
              camera: CityCamera) -> None:
    """Put the faces of another picture into a map of faces where they are nearer than what is there."""
    place = np.flatnonzero(buffer)
    if len(place) == 0:
        return
    face_map = face_map.reshape(-1)
    upper, lower = buffer.reshape(-1)[place], face_map[place]
    doubtful = ~ground[lower]
    x, y = camera.rays()
    row, column = np.divmod(place[doubtful], camera.width)
    slope = surfaces.normal / surfaces.offset[:, None]
    a, b = slope[upper[doubtful] - 1], slope[lower[doubtful] - 1]
    difference = a - b
    nearer = np.ones(len(place), bool)
    nearer[doubtful] = difference[:, 0] * x[column] + difference[:, 1] * y[row] + difference[:, 2] > -1e-4
    face_map[place[nearer]] = upper[nearer]
