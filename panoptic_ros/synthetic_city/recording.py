"""What a recorder makes of an image: colour fringes, tone curves, vibration, resolution, sharpening, noise, JPEG."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

_SIZE = 1024  # of the store of noise, pixels


@dataclass(frozen=True)
class Recorder:
    """A recorder's ways; nothing moves in the image by more than a pixel.

    fringe: lateral chromatic aberration, share by which red is larger and blue is smaller than green.
    tones: (256, 3) uint8, the value that becomes of each, red, green, blue.
    vibration: pixels of blur, at most, in an image of 1024 columns; upright: its direction is not sideways.
    shrink: the image is recorded at 1 / shrink of its size and enlarged again.
    sharpening: strength of the unsharp mask. chroma_noise: standard deviation in 8-bit steps, in blotches.
    jpeg: quality, 0 = not compressed.
    """

    fringe: float
    tones: np.ndarray
    vibration: float
    upright: bool
    shrink: float
    sharpening: float
    chroma_noise: float
    jpeg: int


def choose_recorder(rng: np.random.Generator, night: bool) -> Recorder:
    """Dashboard cameras, old video cameras and good ones."""
    return Recorder(
        fringe=rng.normal(0, 0.0008) if rng.random() < 0.5 else 0.0, tones=_choose_tones(rng),
        vibration=rng.gamma(2, 1.2) if rng.random() < 0.3 else 0.0, upright=bool(rng.random() < 0.7),
        shrink=rng.uniform(1.1, 2.2) if rng.random() < 0.5 else 1.0,
        sharpening=rng.uniform(0.2, 1.6) if rng.random() < 0.5 else 0.0,
        chroma_noise=rng.gamma(1.5, 1.1) * (1.5 if night else 1) if rng.random() < 0.6 else 0.0,
        jpeg=int(rng.integers(25, 97)) if rng.random() < 0.8 else 0)


def _choose_tones(rng: np.random.Generator) -> np.ndarray:
    """Tone curves: gain that clips, lifted blacks, a curve with a toe and a shoulder, another gamma for each colour."""
    value = np.arange(256)[:, None] / 255
    if rng.random() < 0.4:
        value = np.minimum(value * rng.uniform(1.0, 1.3), 1)  # a sky that is burnt out
    contrast = rng.uniform(-0.3, 0.7)
    bent = value * value * (3 - 2 * value) if contrast > 0 else 0.5 + 0.5 * np.sign(value - 0.5) * np.abs(
        2 * value - 1) ** 1.6
    value = value + abs(contrast) * (bent - value)
    value = value ** (np.exp(rng.normal(0.05, 0.15)) * np.exp(rng.normal(0, 0.05, 3)))
    black = rng.uniform(0, 0.14) if rng.random() < 0.35 else 0.0
    tint = 1 + rng.normal(0, 0.25, 3)
    white = rng.uniform(0.8, 1.0) if rng.random() < 0.25 else 1.0
    return np.clip((black * tint + value * (white - black * tint)) * 255, 0, 255).astype(np.uint8)


@lru_cache(maxsize=1)
def _blotches() -> np.ndarray:
    """Noise in colour but not in brightness, of deviation 32 around 128, (SIZE, SIZE, 3) uint8."""
    rng = np.random.default_rng(12)
    noise = sum(cv2.GaussianBlur(rng.normal(0, 1, (_SIZE, _SIZE, 3)).astype(np.float32), (0, 0), sigma) * sigma
                for sigma in (0.8, 2.0, 5.0))
    noise -= noise @ np.array([[0.3], [0.59], [0.11]], np.float32)
    return np.clip(128 + 32 * noise / noise.std(), 0, 255).astype(np.uint8)


def record(image: np.ndarray, recorder: Recorder, rng: np.random.Generator) -> np.ndarray:
    """Image (H, W, 3) uint8 -> the image that is kept; `rng` draws what is another in each frame."""
    height, width = image.shape[:2]
    if recorder.fringe:
        red, green, blue = cv2.split(image)
        image = cv2.merge([_scaled(red, 1 + recorder.fringe), green, _scaled(blue, 1 - recorder.fringe)])
    image = cv2.LUT(image, recorder.tones[None])
    shake = recorder.vibration * float(rng.uniform(0, 1)) * width / 1024
    if shake > 0.5:
        reach = int(shake) + 2
        image = cv2.blur(image, (1, reach) if recorder.upright else (reach, 1 + reach // 2))
    if recorder.shrink > 1:
        image = cv2.resize(image, (round(width / recorder.shrink), round(height / recorder.shrink)),
                           interpolation=cv2.INTER_AREA)
    if recorder.sharpening:
        image = cv2.addWeighted(image, 1 + recorder.sharpening, cv2.GaussianBlur(image, (0, 0), 1.0),
                                -recorder.sharpening, 0)
    if recorder.chroma_noise > 0.3:
        y0, x0 = (int(v) for v in rng.integers(0, _SIZE, 2))
        rows, columns = np.arange(y0, y0 + image.shape[0]) % _SIZE, np.arange(x0, x0 + image.shape[1]) % _SIZE
        blotches = _blotches().take(rows, axis=0).take(columns, axis=1)
        strength = recorder.chroma_noise / 32
        image = cv2.addWeighted(image, 1, blotches, strength, -128 * strength)
    if recorder.jpeg:
        _, coded = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, recorder.jpeg])
        image = cv2.cvtColor(np.asarray(cv2.imdecode(coded, cv2.IMREAD_COLOR)), cv2.COLOR_BGR2RGB)
    if recorder.shrink > 1:
        image = cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)
    return image


def _scaled(channel: np.ndarray, scale: float) -> np.ndarray:
    height, width = channel.shape
    middle_x, middle_y = (width - 1) / 2, (height - 1) / 2
    matrix = np.array([[scale, 0, middle_x * (1 - scale)], [0, scale, middle_y * (1 - scale)]])
    return cv2.warpAffine(channel, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
