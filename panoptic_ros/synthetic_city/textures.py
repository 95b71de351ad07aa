"""The texture atlas: tileable surfaces of streets, houses, plants and bodies, with smaller copies for far away."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import cv2
import numpy as np

TILE = 256  # pixels on a side
LEVELS = 7  # 256 px down to 4 px
_PAD = 2  # pixels repeated around each tile, so that interpolation never reaches its neighbour
_COLUMNS = 12  # tiles side by side

# Tiles by the name of their surface: (first tile, number of variants). Filled in the order of _SURFACES below.
SURFACES: dict[str, tuple[int, int]] = {}


@dataclass(frozen=True)
class Atlas:
    """All tiles at all sizes in one picture.

    pixels: (H, W, 4) uint8: red, green, blue, and how much of the face's own light comes from here.
    origin_x, origin_y: (tiles, LEVELS) float32, first pixel of a tile at a level. A level's size is TILE >> level.
    """

    pixels: np.ndarray
    origin_x: np.ndarray
    origin_y: np.ndarray


def tile_of(surface: str, choice: Any = 0) -> Any:
    """Tile number(s) of a surface; `choice` is any whole number(s), each stands for one of its variants."""
    first, variants = SURFACES[surface]
    return first + choice % variants


def octave_noise(rng: np.random.Generator, size: int, coarsest: int, octaves: int, fall: float = 0.5) -> np.ndarray:
    """Tileable noise (size, size) float32 with mean 0 and deviation 1; `coarsest` cells at the lowest octave."""
    total = np.zeros((size, size), np.float32)
    cells = coarsest
    weight = 1.0
    for _ in range(octaves):
        if cells > size:
            break
        grid = rng.standard_normal((cells, cells)).astype(np.float32)
        wrapped = np.pad(grid, 2, mode="wrap")
        scale = size / cells
        grown = cv2.resize(wrapped, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
        edge = round(2 * scale)
        total += weight * grown[edge:edge + size, edge:edge + size]
        cells *= 2
        weight *= fall
    return (total - total.mean()) / (total.std() + 1e-6)


@lru_cache(maxsize=2)
def build_atlas(rough: bool = False) -> Atlas:
    """The atlas; it is the same for every drive, which picks, scales and colours its tiles.

    rough: noise of all frequencies, each octave as strong as the next, as in photographs, lies over every tile.
    """
    tiles: list[np.ndarray] = []
    for index, (surface, variants, paint) in enumerate(_SURFACES):
        for variant in range(variants):
            rng = np.random.default_rng([77, index, variant])
            picture = paint(rng)
            if rough:
                picture[..., :3] *= _roughness(surface, np.random.default_rng([78, index, variant]))
            tile = np.clip(picture, 0, 255).astype(np.uint8)
            if tile.shape[2] == 3:
                tile = np.dstack([tile, np.zeros((TILE, TILE), np.uint8)])
            tiles.append(tile)
    count = len(tiles)
    width = _COLUMNS * (TILE + 2 * _PAD)
    sides = [(TILE >> level) + 2 * _PAD for level in range(LEVELS)]
    heights = [side * -(-count // (width // side)) for side in sides]
    pixels = np.zeros((sum(heights), width, 4), np.uint8)
    origin_x = np.zeros((count, LEVELS), np.float32)
    origin_y = np.zeros((count, LEVELS), np.float32)
    for level, side in enumerate(sides):
        for number, tile in enumerate(tiles):
            small = tile if level == 0 else cv2.resize(tile, (TILE >> level,) * 2, interpolation=cv2.INTER_AREA)
            row, column = divmod(number, width // side)
            y, x = sum(heights[:level]) + row * side, column * side
            pixels[y:y + side, x:x + side] = np.pad(small, ((_PAD, _PAD), (_PAD, _PAD), (0, 0)), mode="wrap")
            origin_x[number, level], origin_y[number, level] = x + _PAD, y + _PAD
    return Atlas(pixels, origin_x, origin_y)


# Deviation of the noise of rough tiles; _ROUGHNESS for those that are not named.
_ROUGHNESS, _ROUGHNESSES = 0.08, {
    "plain": 0.07, "asphalt": 0.13, "grass": 0.22, "earth": 0.2, "leaves": 0.32, "bark": 0.2, "paint": 0.06,
    "glass": 0.3, "sign": 0.04, "worn": 0.12}


def _roughness(surface: str, rng: np.random.Generator) -> np.ndarray:
    """What a rough tile is multiplied with, (TILE, TILE, 3) float32, mean about 1; colours differ a little."""
    deviation = _ROUGHNESSES.get(surface, _ROUGHNESS) * rng.uniform(0.6, 1.5)
    # The broad octaves are the stains' part.
    noise = octave_noise(rng, TILE, 4 if surface == "glass" else 8, 6, rng.uniform(0.8, 1.1))
    color = np.stack([octave_noise(rng, TILE, 8, 6, 0.9) for _ in range(3)], 2)
    factor: np.ndarray = np.clip(1 + deviation * (noise[..., None] + 0.12 * color), 0.2, 2).astype(np.float32)
    return factor


def _grey(value: np.ndarray, tint: tuple[float, float, float] = (1.0, 1.0, 1.0)) -> np.ndarray:
    return value[..., None] * np.array(tint, np.float32)


def _plain(rng: np.random.Generator) -> np.ndarray:
    return _grey(200 + 3 * octave_noise(rng, TILE, 8, 5, 0.7))


def _asphalt(rng: np.random.Generator) -> np.ndarray:
    value = 185 + 9 * octave_noise(rng, TILE, 64, 3, 0.8) + 9 * octave_noise(rng, TILE, 2, 4)
    picture = np.ascontiguousarray(value, np.float32)
    for _ in range(int(rng.integers(0, 4))):  # cracks, and their tar
        steps = np.cumsum(rng.normal(0, 6, (40, 2)), 0) + rng.uniform(0, TILE, 2)
        cv2.polylines(picture, [steps.astype(np.int32)], False, float(rng.choice([120, 140, 215])),
                      int(rng.integers(1, 3)))
    return _grey(picture)


def _slabs(rng: np.random.Generator) -> np.ndarray:
    rows, columns = int(rng.choice([4, 8, 16])), int(rng.choice([4, 8, 16]))
    shade = rng.normal(0, 7, (rows, columns)).astype(np.float32)
    value: np.ndarray = 190 + cv2.resize(shade, (TILE, TILE), interpolation=cv2.INTER_NEAREST)
    value += 8 * octave_noise(rng, TILE, 32, 4, 0.7) + 5 * octave_noise(rng, TILE, 2, 3)
    joint = np.float32(rng.uniform(0.6, 0.9))
    for first in range(2):  # joints are two pixels wide
        value[first::TILE // rows] *= joint
        value[:, first::TILE // columns] *= joint
    return _grey(value)


def _bond(rng: np.random.Generator, rows: int, columns: int, spread: float, joint: float) -> np.ndarray:
    """Bricks or stones in running bond."""
    shade = rng.normal(0, spread, (rows, columns)).astype(np.float32)
    value = np.empty((TILE, TILE), np.float32)
    height, width = TILE // rows, TILE // columns
    for row in range(rows):
        line = np.repeat(185 + shade[row], width)
        line[::width] *= joint
        value[row * height:(row + 1) * height] = np.roll(line, (row % 2) * width // 2)
        value[row * height] = 185 * joint
    return value + 6 * octave_noise(rng, TILE, 32, 3, 0.8) + 6 * octave_noise(rng, TILE, 2, 3)


def _brick(rng: np.random.Generator) -> np.ndarray:
    return _grey(_bond(rng, 32, 8, 14, float(rng.uniform(0.75, 1.2))))


def _stone(rng: np.random.Generator) -> np.ndarray:
    return _grey(_bond(rng, int(rng.choice([8, 16])), int(rng.choice([4, 8])), 18, float(rng.uniform(0.6, 0.9))))


def _cobbles(rng: np.random.Generator) -> np.ndarray:
    return _grey(_bond(rng, 16, 16, 16, 0.65))


def _plaster(rng: np.random.Generator) -> np.ndarray:
    return _grey(198 + 4 * octave_noise(rng, TILE, 64, 2, 0.8) + 9 * octave_noise(rng, TILE, 2, 4))


def _grass(rng: np.random.Generator) -> np.ndarray:
    fine = octave_noise(rng, TILE, 64, 3, 0.9)
    broad = octave_noise(rng, TILE, 3, 4, 0.6)
    value = 175 + rng.uniform(12, 26) * fine + rng.uniform(8, 18) * broad
    dry = rng.uniform(0, 14) * broad
    return np.stack([value + dry, value, value - rng.uniform(0, 25) - dry], 2)


def _earth(rng: np.random.Generator) -> np.ndarray:
    value = 180 + 16 * octave_noise(rng, TILE, 24, 4, 0.8) + 14 * octave_noise(rng, TILE, 2, 4)
    return _grey(value, (1.0, 0.98, 0.93))


def _leaves(rng: np.random.Generator) -> np.ndarray:
    """Clumps of leaves: bright where light falls in, dark between."""
    clumps = octave_noise(rng, TILE, int(rng.choice([6, 8, 12])), 3, 0.6)
    fine = octave_noise(rng, TILE, 48, 3, 0.9)
    value = 150 + rng.uniform(22, 38) * clumps + rng.uniform(22, 38) * fine
    value = np.where(clumps + 0.5 * fine < -1.0, value * 0.55, value)
    warm = rng.uniform(0, 18) * octave_noise(rng, TILE, 24, 2)
    return np.stack([value + warm, value, value * 0.9 - warm], 2)


def _bark(rng: np.random.Generator) -> np.ndarray:
    lines = cv2.resize(octave_noise(rng, TILE, 32, 3, 0.8), (TILE, TILE * 6))[:TILE]
    return _grey(170 + 26 * lines)


def _planks(rng: np.random.Generator) -> np.ndarray:
    boards = int(rng.choice([8, 16]))
    value = 185 + np.repeat(rng.normal(0, 12, boards), TILE // boards)[None].astype(np.float32)
    value = np.repeat(value, TILE, 0) + 6 * octave_noise(rng, TILE, 16, 4, 0.8)
    value[:, ::TILE // boards] *= 0.45
    value[:, 1::TILE // boards] *= 0.7
    return _grey(value)


def _ribs(rng: np.random.Generator) -> np.ndarray:
    """Corrugated metal, roller doors, roof tiles."""
    period = int(rng.choice([8, 16, 32]))
    wave = np.sin(np.arange(TILE) * 2 * np.pi / period)[:, None] * rng.uniform(10, 28)
    return _grey(185 + np.repeat(wave, TILE, 1).astype(np.float32) + 7 * octave_noise(rng, TILE, 4, 5, 0.7))


def _paint(rng: np.random.Generator) -> np.ndarray:
    """Car paint: dull below, the reflection of the street and, above it, of the sky."""
    height = np.linspace(0, 1, TILE, dtype=np.float32)[:, None]
    shade = 140 + 60 * height + rng.uniform(10, 35) * np.exp(-((height - rng.uniform(0.55, 0.8)) / 0.08) ** 2)
    shade -= rng.uniform(10, 35) * np.exp(-((height - 0.35) / 0.1) ** 2)
    value = np.repeat(shade, TILE, 1) + 4 * octave_noise(rng, TILE, 2, 3)
    return _grey(value)


def _glass(rng: np.random.Generator) -> np.ndarray:
    """Vehicle glass: dark with the sky in its upper part and blurred shapes behind it."""
    height = np.linspace(0, 1, TILE, dtype=np.float32)[:, None]
    value = 60 + 90 * height ** 2 + 25 * octave_noise(rng, TILE, 3, 3)
    return np.stack([value * 0.92, value, value * 1.06], 2)


def _worn(rng: np.random.Generator) -> np.ndarray:
    """Road paint, worn off here and there."""
    noise = octave_noise(rng, TILE, 8, 5, 0.8)
    value = 215 + 8 * noise
    return _grey(np.where(noise > rng.uniform(1.2, 3.0), value * 0.65, value))


def _window_picture(rng: np.random.Generator, glass: float) -> tuple[np.ndarray, float]:
    """One pane of dark glass with reflection, curtain or lamp -> (64, 64, 3) and how much it shines at night."""
    height = np.linspace(0, 1, 64, dtype=np.float32)[:, None, None]
    pane = glass + 45 * height * rng.uniform(0, 1) + np.zeros((64, 64, 3), np.float32)
    pane *= np.array([0.9, 1.0, rng.uniform(1.0, 1.15)], np.float32)
    kind = rng.random()
    if kind < 0.25:
        pane[: int(rng.integers(10, 50))] = rng.uniform(120, 220)
    elif kind < 0.4:
        edge = int(rng.integers(8, 22))
        pane[:, :edge] = pane[:, -edge:] = rng.uniform(120, 220)
    elif kind < 0.6:
        pane += np.linspace(0, 1, 64, dtype=np.float32)[None, :, None] * rng.uniform(20, 110)
    return pane, 255.0 if rng.random() < 0.3 else 0.0


def _facade(rng: np.random.Generator) -> np.ndarray:
    """Four floors of four windows each; the wall is light, so that a face's colour becomes the wall's."""
    base = [_brick, _plaster, _plaster, _plaster, _stone, _slabs][int(rng.integers(6))](rng)
    wall = np.dstack([base + 20, np.zeros((TILE, TILE), np.float32)])
    half_width, top, bottom = int(rng.integers(10, 25)), int(rng.integers(6, 16)), int(rng.integers(44, 62))
    frame_width = int(rng.integers(1, 5))
    frame = float(rng.choice([60, 110, 235, 245]))
    glass = float(rng.uniform(35, 95))
    sill, lintel = rng.random() < 0.6, rng.random() < 0.4
    bars_x, bars_y = int(rng.integers(1, 4)), int(rng.integers(1, 4))
    shutters = rng.random() < 0.2
    shutter = rng.uniform(60, 170, 3)
    band = rng.random() < 0.35
    balcony = rng.random() < 0.2
    for row in range(4):
        y = row * 64
        if band:
            wall[y:y + 4, :, :3] *= rng.uniform(0.8, 1.15)
        for column in range(4):
            x = column * 64
            x0, x1, y0, y1 = x + 32 - half_width, x + 32 + half_width, y + top, y + bottom
            if shutters:
                wall[y0:y1, max(x, x0 - half_width // 2):min(x + 64, x1 + half_width // 2), :3] = shutter
            wall[y0 - 1:y1 + 1, x0 - 1:x1 + 1, :3] = frame
            pane, lamp = _window_picture(rng, glass)
            inner = slice(y0 + frame_width, y1 - frame_width), slice(x0 + frame_width, x1 - frame_width)
            picture = cv2.resize(pane, (x1 - x0 - 2 * frame_width, y1 - y0 - 2 * frame_width))
            wall[inner + (slice(0, 3),)] = picture
            wall[inner + (3,)] = lamp
            for k in range(1, bars_x):
                at = x0 + k * (x1 - x0) // bars_x
                wall[y0:y1, at:at + max(1, frame_width // 2), :3] = frame
            for k in range(1, bars_y):
                at = y0 + k * (y1 - y0) // bars_y
                wall[at:at + max(1, frame_width // 2), x0:x1, :3] = frame
            wall[y0:y0 + 3, x0:x1, :3] *= 0.6
            if sill:
                wall[y1:y1 + 3, x0 - 3:x1 + 3, :3] = 225
                wall[y1 + 3:y1 + 5, x0 - 3:x1 + 3, :3] *= 0.7
            if lintel:
                wall[y0 - 4:y0 - 1, x0 - 3:x1 + 3, :3] = 215
            if balcony and column % 2:
                wall[y1 - 14:y1 + 2, x0 - 8:x1 + 8:4, :3] = 70
                wall[y1:y1 + 4, x0 - 10:x1 + 10, :3] = 150
    return wall


def _curtain_wall(rng: np.random.Generator) -> np.ndarray:
    """Offices: bands or grids of glass."""
    rows, columns = 4, int(rng.choice([4, 8]))
    shade = rng.uniform(60, 150) + rng.normal(0, 16, (rows, columns, 1)) * np.array([0.85, 1, 1.1])
    shade = shade + rng.normal(0, 3, (rows, columns, 3))
    value = cv2.resize(shade.astype(np.float32), (TILE, TILE), interpolation=cv2.INTER_NEAREST)
    value += 12 * octave_noise(rng, TILE, 2, 3)[..., None]
    lamp = cv2.resize((rng.random((rows, columns)) < 0.35).astype(np.float32) * 230, (TILE, TILE),
                      interpolation=cv2.INTER_NEAREST)
    tile = np.dstack([value, lamp])
    frame, band = float(rng.choice([60, 150, 230])), int(rng.integers(3, 26))
    for k in range(rows):
        tile[k * TILE // rows:k * TILE // rows + band] = [frame, frame, frame, 0]
    for k in range(columns):
        tile[:, k * TILE // columns:k * TILE // columns + 4] = [frame * 0.9, frame * 0.9, frame * 0.9, 0]
    return tile


def _shop(rng: np.random.Generator) -> np.ndarray:
    """A ground floor: two shop windows with a door between, and a sign above."""
    tile = np.dstack([_plaster(rng), np.zeros((TILE, TILE), np.float32)])
    sign = rng.uniform(40, 235, 3)
    tile[8:52, 6:250, :3] = sign
    for x in range(30, 220, int(rng.integers(12, 24))):  # something like letters
        tile[18:42, x:x + int(rng.integers(4, 12)), :3] = 240 if sign.mean() < 140 else 30
    tile[8:52, :, 3] = 120
    for x0, x1 in ((8, 104), (152, 248)):
        tile[60:226, x0:x1, :3] = 50 + rng.uniform(0, 60)
        noise = octave_noise(rng, TILE, 8, 4, 0.7)[..., None] * 32 + 8 * np.stack(
            [octave_noise(rng, TILE, 8, 4, 0.7) for _ in range(3)], 2)
        tile[64:222, x0 + 4:x1 - 4, :3] = np.clip(85 + noise, 20, 240)[64:222, x0 + 4:x1 - 4]
        tile[64:222, x0 + 4:x1 - 4, 3] = 200
    tile[64:250, 110:146, :3] = rng.uniform(30, 120, 3)
    tile[72:180, 116:140, :3] = 70
    if rng.random() < 0.5:  # an awning in stripes
        stripes = np.where((np.arange(TILE) // 16) % 2 == 0, 235.0, 1.0)[None, :, None]
        tile[52:84, :, :3] = np.where(stripes > 2, stripes, rng.uniform(40, 180, 3))
        tile[84:92, :, :3] *= 0.5
    return tile


def _house_floor(rng: np.random.Generator) -> np.ndarray:
    """A ground floor of a dwelling: door and windows."""
    tile = np.dstack([[_brick, _plaster, _stone][int(rng.integers(3))](rng) + 15, np.zeros((TILE, TILE), np.float32)])
    for x0, x1 in ((20, 84), (172, 236)):
        tile[60:170, x0:x1, :3] = rng.choice([70, 230])
        pane, lamp = _window_picture(rng, float(rng.uniform(35, 90)))
        tile[66:164, x0 + 5:x1 - 5, :3] = cv2.resize(pane, (x1 - x0 - 10, 98))
        tile[66:164, x0 + 5:x1 - 5, 3] = lamp
    tile[60:250, 106:152, :3] = 225
    tile[66:250, 111:147, :3] = rng.uniform(30, 150, 3)
    tile[244:, :, :3] *= 0.7
    return tile


def _poster(rng: np.random.Generator) -> np.ndarray:
    """Printed things: bus sides, lorry sides, billboards."""
    tile = np.empty((TILE, TILE, 3), np.float32)
    tile[:] = rng.uniform(90, 250, 3)
    for _ in range(int(rng.integers(2, 7))):
        a, b = rng.integers(0, TILE, 2), rng.integers(20, 160, 2)
        color = tuple(float(v) for v in rng.uniform(20, 250, 3))
        if rng.random() < 0.5:
            cv2.rectangle(tile, a.tolist(), (a + b).tolist(), color, -1)
        else:
            cv2.ellipse(tile, a.tolist(), (b // 2).tolist(), float(rng.uniform(0, 180)), 0, 360, color, -1)
    return tile


def _sign_face(rng: np.random.Generator) -> np.ndarray:
    """The middle of a traffic sign: a light field with a dark symbol, or the other way round."""
    dark = rng.random() < 0.4
    tile = np.full((TILE, TILE, 3), 235.0, np.float32)
    if dark:
        tile[:] = rng.choice([[30, 60, 160], [20, 110, 60], [160, 30, 30]])
    ink = 240.0 if dark else 25.0
    for _ in range(int(rng.integers(1, 4))):
        points = (rng.normal(128, 40, (int(rng.integers(3, 6)), 2))).astype(np.int32)
        cv2.fillPoly(tile, [points], (ink,) * 3) if rng.random() < 0.5 else cv2.polylines(
            tile, [points], False, (ink,) * 3, 18)
    return tile


def _cloth(rng: np.random.Generator) -> np.ndarray:
    tile = _grey(185 + 16 * octave_noise(rng, TILE, 3, 5, 0.6))
    if rng.random() < 0.35:  # stripes or checks
        wave = np.where((np.arange(TILE) // int(rng.choice([8, 16, 32]))) % 2 == 0, 1.0, 0.72)
        tile = tile * wave[:, None, None]
    return tile


def _noise(rng: np.random.Generator) -> np.ndarray:
    """Broad stains, laid over everything."""
    return _grey(200 + 20 * octave_noise(rng, TILE, 2, 6, 0.65))


_SURFACES: tuple[tuple[str, int, Callable[[np.random.Generator], np.ndarray]], ...] = (
    ("plain", 1, _plain), ("asphalt", 6, _asphalt), ("slabs", 6, _slabs), ("cobbles", 2, _cobbles),
    ("grass", 5, _grass), ("earth", 3, _earth), ("leaves", 8, _leaves), ("bark", 2, _bark), ("brick", 3, _brick),
    ("stone", 4, _stone), ("plaster", 3, _plaster), ("planks", 3, _planks), ("ribs", 3, _ribs), ("paint", 4, _paint),
    ("glass", 4, _glass), ("worn", 3, _worn), ("facade", 28, _facade), ("curtain_wall", 6, _curtain_wall),
    ("shop", 9, _shop), ("house_floor", 6, _house_floor), ("poster", 12, _poster), ("sign", 10, _sign_face),
    ("cloth", 6, _cloth), ("noise", 1, _noise),
)

_first = 0
for _name, _variants, _ in _SURFACES:
    SURFACES[_name] = (_first, _variants)
    _first += _variants
