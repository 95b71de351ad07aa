"""What lies between the street and the lens: dust, smears, reflections, rain drops and the flare of the sun."""

from __future__ import annotations

import cv2
import numpy as np

from panoptic_ros.synthetic_city.camera import CityCamera
from panoptic_ros.synthetic_city.textures import octave_noise
from panoptic_ros.synthetic_city.weather import Weather

_CELLS = 128  # side of the noise that dust is made of


class Windscreen:
    """The glass before the camera of one drive; it stays where it is in the image."""

    def __init__(self, rng: np.random.Generator, camera: CityCamera, weather: Weather) -> None:
        self._camera, self._weather = camera, weather
        height, width = camera.height, camera.width
        dust = _dust(rng, height, width) if rng.random() < 0.4 else None
        mirrored = _reflection(rng, height, width) if rng.random() < 0.3 else None
        # Light that comes through (H, W, 3), and light that is added, in units of the image's mean; float32.
        self._clear: np.ndarray | None = None
        self._veil: np.ndarray | None = None
        if dust is not None:
            self._clear = cv2.merge([1 - dust] * 3)
        if dust is not None or mirrored is not None:
            veil = np.zeros((height, width), np.float32) if dust is None else dust
            self._veil = cv2.merge([veil if mirrored is None else veil + mirrored] * 3)
        count = int(rng.integers(5, 70)) if weather.wet and rng.random() < 0.6 else 0
        drops = rng.random((count, 2)) * [width, height]
        self._drops = [(float(x), float(y), float(size) * width / 1024) for (x, y), size in zip(
            drops, np.clip(rng.gamma(2, 4, count), 2.5, 30), strict=True)]
        self._flare = rng.uniform(0.2, 1.0) if rng.random() < 0.6 else 0.0
        self._ghosts = [(rng.uniform(-1.2, 0.9), rng.uniform(0.01, 0.09), rng.uniform(0.02, 0.2, 3))
                        for _ in range(int(rng.integers(2, 7)))]

    def look_through(self, light: np.ndarray, pose: np.ndarray) -> np.ndarray:
        """Light (H, W, 3) float32 from the street -> light at the lens; may be the same array, changed."""
        mean = float(light[::8, ::8].mean())
        if self._clear is not None:
            light = cv2.multiply(light, self._clear, dst=light)
        if self._veil is not None:
            light = cv2.scaleAdd(self._veil, mean, light)
        if self._drops:
            _refract(light, self._drops)
        if self._flare and self._weather.sunlight.any():
            self._add_flare(light, pose)
        return light

    def _add_flare(self, light: np.ndarray, pose: np.ndarray) -> None:
        """A glow about the sun, and images of the lens's stop on the line through the middle of the picture."""
        sun = pose[:3, :3].T @ self._weather.sun
        if sun[2] < 0.25:
            return
        camera, shrink = self._camera, 8
        x, y = camera.fx * sun[0] / sun[2] + camera.cx, camera.fy * sun[1] / sun[2] + camera.cy
        away = max(abs(x / camera.width - 0.5), abs(y / camera.height - 0.5))
        strength = self._flare * float(self._weather.sunlight.mean()) * float(np.clip(1.6 - away, 0, 1))
        if strength < 0.02:
            return
        rows, columns = -(-camera.height // shrink), -(-camera.width // shrink)
        across, down = np.meshgrid(np.arange(columns) * shrink - x, np.arange(rows) * shrink - y)
        glow = np.exp(-np.hypot(across, down) / (0.35 * camera.width))[..., None] * 0.5 * self._weather.sunlight
        glow = glow.astype(np.float32)
        for along, size, color in self._ghosts:
            # In eighths of a pixel, and added one by one: ghosts overlap.
            at = (round((camera.cx + along * (x - camera.cx)) / shrink * 8),
                  round((camera.cy + along * (y - camera.cy)) / shrink * 8))
            if max(abs(at[0]), abs(at[1])) < 1 << 16:
                disc = np.zeros((rows, columns), np.uint8)
                cv2.circle(disc, at, round(size * columns * 8), 255, -1, cv2.LINE_AA, 3)
                glow += disc[..., None] * (color / 255).astype(np.float32)
        light += strength * cv2.resize(glow, (camera.width, camera.height), interpolation=cv2.INTER_LINEAR)


def _dust(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Share of the light that dust, smears and wiper tracks take, (H, W) float32."""
    noise = octave_noise(rng, _CELLS, 2, 6, rng.uniform(0.5, 0.8))
    dust = cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)
    dust = rng.uniform(0.02, 0.25) * np.clip(0.5 + 0.5 * dust, 0, 2)
    if rng.random() < 0.5:  # what the wiper left
        middle = (int(rng.uniform(-0.2, 1.2) * width), int(rng.uniform(1.0, 1.5) * height))
        track = np.zeros((height, width), np.uint8)
        for _ in range(int(rng.integers(3, 30))):
            cv2.circle(track, middle, int(rng.uniform(0.4, 1.6) * height), int(rng.integers(60, 256)),
                       int(rng.integers(1, 2 + height // 60)), cv2.LINE_AA)
        dust += rng.uniform(0.02, 0.15) * cv2.GaussianBlur(track, (0, 0), max(0.5, height / 300)) / 255
    specks = np.zeros((height, width), np.uint8)
    for x, y, size in rng.random((int(rng.integers(0, 120)), 3)):
        cv2.circle(specks, (int(x * width), int(y * height)), int(1 + size * size * height / 90), 255, -1, cv2.LINE_AA)
    dust += rng.uniform(0.1, 0.4) * cv2.GaussianBlur(specks, (0, 0), max(0.6, height / 200)) / 255
    return np.clip(dust, 0, 0.7).astype(np.float32)


def _reflection(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """The dashboard mirrored in the glass, (H, W) float32: bright shapes, more of them below."""
    shapes = np.zeros((height, width), np.float32)
    for _ in range(int(rng.integers(1, 6))):
        x, y = rng.uniform(0, width), height * rng.uniform(0.3, 1.0)
        corners = rng.normal(0, 1, (4, 2)) * [width * 0.15, height * 0.08] + [x, y]
        cv2.fillConvexPoly(shapes, cv2.convexHull(corners.astype(np.int32)), rng.uniform(0.3, 1.0), cv2.LINE_AA)
    blur = max(0.5, rng.uniform(0.003, 0.03) * height)
    haze = rng.uniform(0, 0.6) * np.linspace(0, 1, height)[:, None]
    return (rng.uniform(0.05, 0.3) * (cv2.GaussianBlur(shapes, (0, 0), blur) + haze)).astype(np.float32)


def _refract(light: np.ndarray, drops: list[tuple[float, float, float]]) -> None:
    """Drops show a wide part of the street upside down, blurred, with a dark rim."""
    height, width = light.shape[:2]
    small = cv2.resize(light, (max(8, width // 8), max(8, height // 8)), interpolation=cv2.INTER_AREA)
    for x, y, radius in drops:
        x0, x1 = max(0, int(x - radius)), min(width, int(x + radius) + 2)
        y0, y1 = max(0, int(y - radius)), min(height, int(y + radius) + 2)
        if x1 <= x0 or y1 <= y0:
            continue
        across = (np.arange(x0, x1, dtype=np.float32) - x) / radius
        down = (np.arange(y0, y1, dtype=np.float32)[:, None] - y) / radius
        distance = np.sqrt(across * across + down * down)
        share = np.clip((1 - distance) * min(radius, 4.0) / 2, 0, 1)[..., None] * 0.9
        source_x = np.broadcast_to((x - across * width * 0.25) / 8, distance.shape)
        source_y = np.broadcast_to((y - down * height * 0.3) / 8, distance.shape)
        seen = cv2.remap(small, source_x.astype(np.float32), source_y.astype(np.float32), cv2.INTER_LINEAR,
                         borderMode=cv2.BORDER_REFLECT)
        window = light[y0:y1, x0:x1]
        window += share * (seen * (1.05 - 0.5 * distance ** 4)[..., None] - window)
