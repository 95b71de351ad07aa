"""Image formation by lens, sensor and file format: blur, exposure, vignetting, noise, rain and JPEG."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from panoptic_ros.synthetic_city.camera import CityCamera
from panoptic_ros.synthetic_city.weather import Weather

_SIZE = 1024  # of the store of noise, pixels


@dataclass(frozen=True)
class Lens:
    """A camera's ways.

    exposure, balance (3,): gain over all and per colour. adaptation: how fully it follows the light, 0 to 1.
    gamma: of the curve. contrast: of its middle. vignette: loss in the far corners, 0 to 1.
    blur: standard deviation in pixels. motion: pixels, sideways. noise: standard deviation in 8-bit steps.
    saturation: 1 = as it is. jpeg: quality, 0 = not compressed. bloom: 0 to 1.
    """

    exposure: float
    adaptation: float
    balance: np.ndarray
    gamma: float
    contrast: float
    vignette: float
    blur: float
    motion: float
    noise: float
    saturation: float
    jpeg: int
    bloom: float


def choose_lens(rng: np.random.Generator, weather: Weather) -> Lens:
    """Good and bad cameras."""
    noise = rng.gamma(1.5, 1.2) + (rng.uniform(1, 5) if weather.night else 0)
    return Lens(
        exposure=rng.lognormal(0, 0.22), adaptation=0.75 if weather.night else rng.uniform(0.8, 1.0),
        balance=rng.normal(1, 0.04, 3), gamma=rng.uniform(0.55, 0.9), contrast=rng.uniform(0.0, 0.6),
        vignette=rng.uniform(0, 0.45), blur=rng.uniform(0.45, 1.1),
        motion=rng.uniform(1, 5) if rng.random() < 0.2 else 0.0, noise=noise,
        saturation=rng.uniform(0.6, 1.25), jpeg=int(rng.integers(35, 96)) if rng.random() < 0.6 else 0,
        bloom=rng.uniform(0, 0.25) + 0.15 * weather.night)


def _exposure(light: np.ndarray, lens: Lens) -> float:
    """What an automatic camera sets: bright scenes stay a little brighter than dark ones."""
    sample = np.minimum(light[::8, ::8], 1.0)
    weight = np.linspace(0.5, 1.5, len(sample))[:, None, None]  # the road counts more than the sky
    return float(lens.exposure * 0.45 / (float((sample * weight).mean()) + 0.02) ** lens.adaptation)


@lru_cache(maxsize=1)
def _noise() -> np.ndarray:
    """Sensor noise of deviation 32 around 128, (SIZE, SIZE, 3) uint8: coarse and fine grain."""
    rng = np.random.default_rng(8)
    fine = rng.normal(0, 1, (_SIZE, _SIZE, 3)).astype(np.float32)
    coarse = cv2.GaussianBlur(rng.normal(0, 1, (_SIZE, _SIZE, 3)).astype(np.float32), (0, 0), 0.8) * 2
    return np.clip(128 + 32 * (0.8 * fine + 0.6 * coarse), 0, 255).astype(np.uint8)


def photograph(light: np.ndarray, camera: CityCamera, lens: Lens, weather: Weather,
               rng: np.random.Generator) -> np.ndarray:
    """Light (H, W, 3) float32 -> image (H, W, 3) uint8; `rng` draws the frame's noise and rain."""
    height, width = light.shape[:2]
    scale = camera.fx / 650  # blur and rain look alike at all sizes
    if weather.rain:
        _rain(light, weather, rng, scale)
    # Exposure, white balance and saturation are one matrix.
    grey = np.array([0.3, 0.59, 0.11])
    mixing = lens.saturation * np.eye(3) + (1 - lens.saturation) * grey
    mixing *= (_exposure(light, lens) * lens.balance)[:, None]
    exposed = cv2.transform(light, mixing.astype(np.float32))
    if lens.vignette > 0.03:
        x, y = camera.rays()
        radius = np.minimum(x[None] ** 2 + y[:, None] ** 2, np.float32(1.2))
        exposed *= cv2.merge([1 - np.float32(lens.vignette * 0.8) * radius] * 3)
    if lens.bloom > 0.05:
        small = cv2.resize(np.maximum(exposed - 0.95, 0), (max(1, width // 8), max(1, height // 8)),
                           interpolation=cv2.INTER_AREA)
        exposed += lens.bloom * cv2.resize(cv2.GaussianBlur(small, (0, 0), 2.5 * scale + 0.3), (width, height))
    sigma = lens.blur * max(scale, 0.5)
    exposed = cv2.GaussianBlur(exposed, (0, 0), sigma) if sigma > 0.25 else exposed
    if lens.motion * scale > 1:
        exposed = cv2.blur(exposed, (int(lens.motion * scale) + 1, 1))
    image = cv2.LUT(np.clip(exposed * 170, 0, 255).astype(np.uint8), _curve(lens.gamma, lens.contrast))
    if lens.noise > 0.3:
        y0, x0 = (int(v) for v in rng.integers(0, _SIZE, 2))
        rows, columns = np.arange(y0, y0 + height) % _SIZE, np.arange(x0, x0 + width) % _SIZE
        grain = _noise().take(rows, axis=0).take(columns, axis=1)
        strength = lens.noise / 32
        image = cv2.addWeighted(image, 1, grain, strength, -128 * strength)
    if lens.jpeg:
        _, coded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, lens.jpeg])
        image = np.asarray(cv2.imdecode(coded, cv2.IMREAD_COLOR))
    return image


@lru_cache(maxsize=64)
def _curve(gamma: float, contrast: float) -> np.ndarray:
    """The sensor's curve (256,) uint8: linear steps of 1 / 170 up to 1.5 -> 8 bits, with a soft shoulder."""
    value = np.arange(256) / 170
    soft = np.where(value < 0.8, value, 0.8 + 0.2 * np.tanh((value - 0.8) / 0.35))
    shaped = np.clip(soft, 0, 1) ** gamma
    shaped = (1 - contrast) * shaped + contrast * (shaped * shaped * (3 - 2 * shaped))
    return np.clip(shaped * 255, 0, 255).astype(np.uint8)


def _rain(light: np.ndarray, weather: Weather, rng: np.random.Generator, scale: float) -> None:
    """Streaks that catch the light."""
    height, width = light.shape[:2]
    count = int(weather.rain * 250)
    streaks = np.zeros((height, width), np.uint8)
    x, y = rng.integers(0, width, count), rng.integers(-20, height, count)
    long = rng.uniform(6, 30, count) * scale
    slant = rng.normal(0.05, 0.1)
    for a, b, n in zip(x.tolist(), y.tolist(), long.tolist(), strict=True):
        cv2.line(streaks, (a, b), (int(a + slant * n), int(b + n)), 255, 1)
    soft = cv2.blur(streaks, (1, 3)).astype(np.float32) * (0.22 / 255) * weather.rain
    light += soft[..., None] * (weather.horizon.astype(np.float32) - light)
