"""Shading: the colour of every pixel, textures under sun and sky, lamps, fog, wet roads, and the sky itself."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np

from panoptic_ros.synthetic_city.camera import CityCamera
from panoptic_ros.synthetic_city.mesh import GROUND, NIGHT_LIGHT, Mesh
from panoptic_ros.synthetic_city.raster import Surfaces
from panoptic_ros.synthetic_city.textures import LEVELS, TILE, build_atlas, octave_noise
from panoptic_ros.synthetic_city.weather import Weather

_NOISE_SIZE = 512


@lru_cache(maxsize=1)
def _stains() -> np.ndarray:
    """Broad tileable noise, mean 1, laid over all surfaces."""
    noise = octave_noise(np.random.default_rng(5), _NOISE_SIZE, 4, 7, 0.7)
    return np.clip(1 + 0.11 * noise, 0.6, 1.4).astype(np.float32)


def choose_stains(rng: np.random.Generator) -> np.ndarray:
    """Stains for rough surfaces, weak or strong, (_NOISE_SIZE, _NOISE_SIZE) float32, mean about 1."""
    noise = octave_noise(rng, _NOISE_SIZE, int(rng.choice([8, 16, 32])), 6, rng.uniform(0.6, 0.95))
    return np.exp(rng.uniform(0.04, 0.18) * np.clip(noise, -3, 3)).astype(np.float32)


@lru_cache(maxsize=1)
def _cloud_noise() -> np.ndarray:
    return octave_noise(np.random.default_rng(6), _NOISE_SIZE, 3, 7, 0.55)


def shade(mesh: Mesh, surfaces: Surfaces, inverse_depth: np.ndarray, shadow: np.ndarray, camera: CityCamera,
          pose: np.ndarray, weather: Weather, stains: np.ndarray | None = None) -> np.ndarray:
    """The light that arrives from each pixel, (H, W, 3) float32, about 0 to 1, before any lens or sensor.

    shadow: (H, W) float32, share of the sun that is kept from the ground. stains: of rough surfaces, see
    `choose_stains`; None: surfaces are as smooth as those of plain drives.
    """
    faces = mesh.faces[surfaces.rows]
    face_map = surfaces.face_map.astype(np.intp)
    x, y = camera.rays()
    y = y[:, None]
    z = 1 / np.maximum(inverse_depth, 1e-5)

    tile, stain = _texture(faces, surfaces, face_map, inverse_depth, z, x, y, camera, stains)
    world_normal = surfaces.normal @ pose[:3, :3].T.astype(np.float32)
    facing = np.maximum(world_normal @ weather.sun.astype(np.float32), 0)
    full = weather.skylight * (0.8 + 0.2 * world_normal[:, 2:]) + weather.sunlight * facing[:, None]
    gain = np.zeros((3, len(faces) + 1), np.float32)
    gain[:, 1:] = (faces["color"] * full / 200).T

    ground = np.concatenate([[False], faces["layer"] == GROUND])
    total = float(np.mean(weather.skylight + weather.sunlight * weather.sun[2]))
    kept = float(np.mean(weather.skylight)) / total
    shade = shadow * np.float32(kept - 1)
    shade *= ground.take(face_map)
    shade += 1
    shade *= stain
    if weather.night:
        beam = np.exp(-(x / 0.45) ** 2 - ((y - 0.06) / 0.16) ** 2) / (1 + (z / 14) ** 2)
        shade *= 1 + weather.headlights * 3.5 * beam
    clear = np.exp(z * np.float32(-weather.haze))
    shade *= clear
    fog = 1 - clear
    lamps = _lamps(faces, weather)
    planes = []
    # One colour after the other: NumPy is slow over a last axis of three.
    for channel in range(3):
        plane = gain[channel].take(face_map)
        plane *= tile[channel]
        plane *= shade
        if lamps is not None:
            plane += lamps[1][channel].take(face_map) * lamps[0].take(face_map)
            plane += lamps[2][channel].take(face_map) * tile[3]
        plane += fog * np.float32(0.92 * weather.horizon[channel])
        planes.append(plane)
    light = cv2.merge(planes)
    _paint_sky(light, surfaces.face_map == 0, camera, pose, weather)
    if weather.wet:
        road = np.concatenate([[False], (faces["layer"] == GROUND) & (faces["class_id"] <= 1)]).take(face_map)
        _mirror(light, road * stain, camera, pose, weather)
    return light


def _mirror(light: np.ndarray, wet: np.ndarray, camera: CityCamera, pose: np.ndarray, weather: Weather) -> None:
    """A wet road mirrors, blurred, what stands above it; `wet` (H, W) is where, and how much water lies there."""
    horizon = camera.cy + camera.fy * float(pose[2, 2]) / float(-pose[2, 1])
    source = np.clip(np.rint(2 * horizon - np.arange(camera.height)), 0, camera.height - 1).astype(np.intp)
    mirrored = cv2.blur(light[source], (max(1, camera.width // 170), max(1, camera.height // 20)))
    share = cv2.merge([(wet * np.float32(weather.wet)).astype(np.float32)] * 3)
    # A wet surface is darker where it does not mirror.
    light *= 1 - 0.5 * share
    light += share * 0.6 * mirrored


def _lamps(faces: np.ndarray, weather: Weather) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """Own light of faces, row 0 being the sky: strength (F + 1,), colour (3, F + 1); behind windows (3, F + 1)."""
    glow = np.where((faces["flags"] & NIGHT_LIGHT > 0) & (not weather.night), 0, faces["glow"])
    if not glow.any():
        return None
    strength = np.concatenate([[0], np.maximum(-glow, 0)]).astype(np.float32)
    color = np.concatenate([np.zeros((3, 1)), faces["color"].T], 1).astype(np.float32)
    window = np.concatenate([[0], np.maximum(glow, 0)]) * np.array([[1.0], [0.85], [0.6]]) / 255
    return strength, color, window.astype(np.float32)


def _texture(faces: np.ndarray, surfaces: Surfaces, face_map: np.ndarray, inverse_depth: np.ndarray, z: np.ndarray,
             x: np.ndarray, y: np.ndarray, camera: CityCamera,
             stains: np.ndarray | None) -> tuple[list[np.ndarray], np.ndarray]:
    """The tiles as seen, four channels (H, W) uint8, and the stains upon them (H, W) float32."""
    atlas = build_atlas(stains is not None)

    def gather(column: np.ndarray) -> np.ndarray:
        table = np.zeros(len(faces) + 1, np.float32)
        table[1:] = column
        return table.take(face_map)

    def coordinate(axis: np.ndarray, origin: np.ndarray) -> np.ndarray:
        value = gather(axis[:, 0]) * x
        value += gather(axis[:, 1]) * y
        value += gather(axis[:, 2])
        value *= z
        value -= gather(origin)
        return value

    across, along = coordinate(surfaces.across, surfaces.across_0), coordinate(surfaces.along, surfaces.along_0)
    # A pixel covers z / f across its ray, and more along a slanted face; the geometric mean of both picks the level.
    size = np.sqrt(faces["tile_size"].prod(1))
    texels = TILE / (camera.fx * size)
    slant = np.sqrt(np.maximum(inverse_depth * gather(-surfaces.offset), 0.02))
    detail = gather(texels) * z / slant
    level = np.clip(np.frexp(detail)[1], 0, LEVELS - 1)
    tile = np.zeros(len(faces) + 1, np.intp)
    tile[1:] = faces["tile"]
    place = tile.take(face_map)
    place *= LEVELS
    place += level
    side = np.ldexp(np.float32(TILE), -level)
    map_x = (across - np.floor(across)) * side + atlas.origin_x.take(place) - 0.5
    map_y = (np.ceil(along) - along) * side + atlas.origin_y.take(place) - 0.5
    pixels = cv2.remap(atlas.pixels, map_x, map_y, cv2.INTER_LINEAR)
    metres = gather(faces["tile_size"][:, 0])
    stain = cv2.remap(_stains() if stains is None else stains, across * metres * 13 % _NOISE_SIZE,
                      along * metres * 13 % _NOISE_SIZE, cv2.INTER_NEAREST if stains is None else cv2.INTER_LINEAR,
                      borderMode=cv2.BORDER_WRAP)
    return list(cv2.split(pixels)), stain


def _paint_sky(light: np.ndarray, sky: np.ndarray, camera: CityCamera, pose: np.ndarray, weather: Weather) -> None:
    """The sky changes slowly, so every fourth pixel is worked out and the rest lies between."""
    rows = np.flatnonzero(sky.any(1))
    if len(rows) == 0:
        return
    height = int(rows[-1]) + 1
    x, y = camera.rays()
    # One more row and column than needed, so that every pixel lies between two that are known.
    across = np.linspace(x[0], x[-1], -(-camera.width // 4) + 1, dtype=np.float32)
    down = np.linspace(y[0], y[height - 1], -(-height // 4) + 1, dtype=np.float32)
    ray = np.stack([*np.meshgrid(across, down), np.ones((len(down), len(across)), np.float32)], 2)
    color = _sky_color(ray @ pose[:3, :3].T.astype(np.float32), weather)
    full = cv2.resize(color.astype(np.float32), (camera.width, height), interpolation=cv2.INTER_LINEAR)
    cv2.copyTo(full, sky[:height].astype(np.uint8), light[:height])


def _sky_color(ray: np.ndarray, weather: Weather) -> np.ndarray:
    """Colours (H, W, 3) of the sky in world directions (H, W, 3)."""
    ray = ray / np.linalg.norm(ray, axis=2, keepdims=True)
    up = np.maximum(ray[..., 2:], 0)
    color = weather.horizon + (weather.zenith - weather.horizon) * np.sqrt(up)
    spread = 110 / (up[..., 0] + 0.25)
    place_x, place_y = (ray[..., 0] + 7 * weather.cover) * spread, ray[..., 1] * spread
    noise = cv2.remap(_cloud_noise(), place_x % _NOISE_SIZE, place_y % _NOISE_SIZE, cv2.INTER_LINEAR,
                      borderMode=cv2.BORDER_WRAP)[..., None]
    amount = np.clip((noise - 1.6 + 3.4 * weather.cover) * 0.6, 0, 1) * min(1.0, 3 * weather.cover)
    amount = amount * np.clip(up * 8 + 0.25, 0, 1)
    color = color + (weather.cloud * (0.88 + 0.10 * noise) - color) * amount
    if weather.sunlight.any():
        toward = np.maximum(ray @ weather.sun.astype(np.float32), 0)[..., None]
        color = color + weather.sunlight * (0.25 * toward ** 12 + 1.5 * toward ** 600) * (1 - 0.7 * amount)
    return color
