"""What the camera sees of the car that carries it: bonnet, dashboard and wipers at the lower border of the image."""

from __future__ import annotations

import cv2
import numpy as np

from panoptic_ros.synthetic_city.textures import octave_noise
from panoptic_ros.synthetic_city.vehicles import CAR_COLOR_SHARES, CAR_COLORS
from panoptic_ros.synthetic_city.weather import Weather


class OwnCar:
    """Bonnet, dashboard and wipers of one drive, in an image of height x width; they stay where they are in it.

    mask: (height, width) bool, the pixels that they cover; none in about half of all drives.
    """

    def __init__(self, rng: np.random.Generator, height: int, width: int, weather: Weather) -> None:
        self._height, self._width = height, width
        self._light = (weather.skylight * 0.9 + weather.sunlight * max(float(weather.sun[2]), 0.2)).astype(np.float32)
        # What covers the street, 0 to 1; its own colour; the share of its light that is mirrored from the street, and
        # from which row and column of the image.
        self._cover = np.zeros((height, width), np.float32)
        self._color = np.zeros((height, width, 3), np.float32)
        self._shine = np.zeros((height, width), np.float32)
        self._from_y, self._from_x = np.zeros((2, height, width), np.float32)
        self._rough = int(rng.choice([2, 4, 4, 8, 16]))
        kind = rng.random()
        if kind < 0.42:
            self._add_bonnet(rng)
        if 0.36 < kind < 0.52:
            self._add_dashboard(rng)
        if 0.52 < kind < 0.54 or (kind < 0.52 and rng.random() < 0.35):
            self._add_wipers(rng)
        self.mask = self._cover > 0.5
        rows = np.flatnonzero(self._cover.any(1))
        self._top = int(rows[0]) if len(rows) else height
        self._cover3 = cv2.merge([self._cover[self._top:]] * 3) if len(rows) else np.zeros((0, width, 3), np.float32)
        self._shine3 = cv2.merge([self._shine[self._top:]] * 3) if len(rows) else self._cover3

    def paint(self, light: np.ndarray) -> None:
        """Paint the car over the light of the street (H, W, 3) float32."""
        if self._top == self._height:
            return
        rough, top = self._rough, self._top
        size = max(2, self._width // rough), max(2, self._height // rough)
        small = cv2.resize(light, size, interpolation=cv2.INTER_AREA)
        mirrored = cv2.remap(small, self._from_x[top:] / rough, self._from_y[top:] / rough, cv2.INTER_LINEAR,
                             borderMode=cv2.BORDER_REFLECT)
        own = self._color[top:] * self._light
        own += self._shine3 * (mirrored - own)
        window = light[top:]
        window += self._cover3 * (own - window)

    def _lay(self, share: np.ndarray, color: np.ndarray) -> None:
        """Lay a dull thing (share (H, W), colour (H, W, 3) or (3,)) over what is there."""
        self._cover = np.maximum(self._cover, share)
        self._color += share[..., None] * (color - self._color)
        self._shine *= 1 - share

    def _below(self, edge: np.ndarray) -> np.ndarray:
        """Share of each pixel (H, W) that lies below an edge, given as rows (W,)."""
        rows = np.arange(self._height, dtype=np.float32)[:, None]
        return np.clip(rows - edge[None] + 0.5, 0, 1).astype(np.float32)

    def _add_bonnet(self, rng: np.random.Generator) -> None:
        height, width = self._height, self._width
        u = np.linspace(-1, 1, width)
        middle, tall = rng.normal(0, 0.22), 0.03 + 0.22 * rng.beta(1.3, 2.0)
        fall = rng.uniform(0.0, 1.3) if rng.random() < 0.8 else rng.uniform(-0.5, 0.0)
        profile = 1 - fall * np.abs(u - middle) ** rng.uniform(1.6, 4.0) + rng.normal(0, 0.12) * u
        ridge, sharp = rng.uniform(0.2, 0.8), rng.uniform(0.03, 0.2)
        raised = rng.uniform(-0.15, 0.3) if rng.random() < 0.6 else 0.0
        profile += raised * sum(np.exp(-((u - middle - side * ridge) / sharp) ** 2) for side in (1, -1))
        if rng.random() < 0.2:  # a scoop or a bulge in the middle
            profile += rng.uniform(0.05, 0.5) / (1 + np.abs((u - middle) / rng.uniform(0.1, 0.35)) ** 6)
        edge = (height * (1 - tall * profile)).astype(np.float32)
        cover = self._below(edge)
        depth = np.clip(np.arange(height)[:, None] - edge[None], 0, None) / height  # below the edge, in heights

        color = CAR_COLORS[rng.choice(len(CAR_COLORS), p=CAR_COLOR_SHARES)] * rng.uniform(0.6, 1.3)
        shade = 1 + rng.uniform(-0.6, 0.5) * depth / tall * 0.5
        creases = np.zeros((height, width), np.float32)
        for side in (1, -1) if rng.random() < 0.7 else ():
            x = middle + side * ridge
            foot = middle + side * ridge * rng.uniform(1.0, 2.0)
            cv2.line(creases, (int((x + 1) / 2 * width), int(edge.min())), (int((foot + 1) / 2 * width), height),
                     rng.uniform(-0.5, 0.5), max(1, round(height * rng.uniform(0.003, 0.02))), cv2.LINE_AA)
        shade = shade + cv2.GaussianBlur(creases, (0, 0), max(0.6, height * 0.006))
        rim = np.exp(-depth / rng.uniform(0.004, 0.02)) * rng.uniform(-0.7, 0.8)
        paint = (color * np.clip(shade + rim, 0.05, 3)[..., None]).astype(np.float32)
        if rng.random() < 0.3:  # dirt and rust
            spots = cv2.resize(octave_noise(rng, 128, 4, 5, 0.8), (width, height))
            paint = paint * np.clip(1 + rng.uniform(0.05, 0.3) * spots, 0.3, 1.7)[..., None]
        self._lay(cover, paint)
        # The nearer to the edge, the flatter one looks at it, and the more it mirrors, upside down and stretched.
        flat = rng.uniform(0.15, 0.9) * np.exp(-depth / tall * rng.uniform(0.2, 1.5))
        wave = rng.uniform(0, 0.05) * height * np.sin(u * rng.uniform(4, 30) + rng.uniform(0, 6))
        self._shine = (cover * flat).astype(np.float32)
        self._from_y[:] = edge[None] - depth * height * rng.uniform(1.0, 5.0) + wave
        columns = np.arange(width)[None] - width / 2
        self._from_x[:] = width / 2 + columns * (1 - depth * rng.uniform(-1.0, 1.5))
        if rng.random() < 0.12:  # a star on a stem
            x, base = int((middle + 1) / 2 * width), float(edge.min())
            size = height * rng.uniform(0.012, 0.03)
            star = np.zeros((height, width), np.float32)
            thick = max(1, round(size * 0.2))
            cv2.line(star, (x, int(base + size)), (x, int(base - size)), 1.0, thick, cv2.LINE_AA)
            cv2.circle(star, (x, int(base - 2 * size)), max(2, int(size)), 1.0, thick, cv2.LINE_AA)
            self._lay(star, np.full(3, rng.uniform(0.1, 0.9), np.float32))

    def _add_dashboard(self, rng: np.random.Generator) -> None:
        height, width = self._height, self._width
        u = np.linspace(-1, 1, width)
        tall = rng.uniform(0.01, 0.14)
        middle = rng.normal(0, 0.5)
        profile = 1 + rng.normal(0, 0.25) * u + rng.uniform(-0.3, 0.6) * u * u
        profile += rng.uniform(0, 0.9) / (1 + np.abs((u - middle) / rng.uniform(0.2, 0.5)) ** 6)  # over the dials
        share = self._below((height * (1 - tall * profile)).astype(np.float32))
        grain = cv2.resize(octave_noise(rng, 256, 32, 4, 0.9), (width, height))
        tone = rng.uniform(0.01, 0.16) * (1 + rng.uniform(-0.1, 0.1, 3))
        glow = np.clip(1 + rng.uniform(-0.5, 1.0) * np.linspace(-1, 1, height)[:, None] + 0.12 * grain, 0.2, 3)
        self._lay(share, (tone * glow[..., None]).astype(np.float32))
        for _ in range(int(rng.integers(0, 4))):  # papers, phones, vents
            box = np.zeros((height, width), np.float32)
            center = np.array([rng.uniform(0, width), height * (1 - tall * rng.uniform(-0.2, 1.0))])
            half = np.array([width, height]) * rng.uniform([0.01, 0.01], [0.08, 0.06])
            corners = center + half * np.array([[-1, 1], [1, 1], [0.9, -1], [-0.9, -1]]) + rng.normal(0, 2, (4, 2))
            cv2.fillConvexPoly(box, corners.astype(np.int32), 1.0, cv2.LINE_AA)
            self._lay(box, (rng.choice([0.02, 0.05, 0.3, 0.7]) * rng.uniform(0.7, 1.2, 3)).astype(np.float32))

    def _add_wipers(self, rng: np.random.Generator) -> None:
        height, width = self._height, self._width
        for x in rng.uniform(-0.1, 0.9, int(rng.integers(1, 3))):
            share = np.zeros((height, width), np.float32)
            foot = np.array([x * width, height * rng.uniform(0.97, 1.08)])
            angle, length = rng.uniform(0.03, 0.5) * rng.choice([-1, 1], p=[0.3, 0.7]), rng.uniform(0.2, 0.6) * width
            tip = foot + length * np.array([np.cos(angle), -abs(np.sin(angle))]) * [np.sign(angle), 1]
            bow = (foot + tip) / 2 + [0, -rng.uniform(0, 0.03) * height]
            share_of_way = np.linspace(0, 1, 12)[:, None]
            way = (1 - share_of_way) ** 2 * foot + 2 * share_of_way * (1 - share_of_way) * bow + share_of_way ** 2 * tip
            thick = max(1, round(height * rng.uniform(0.005, 0.022)))
            cv2.polylines(share, [np.rint(way).astype(np.int32)], False, 1.0, thick, cv2.LINE_AA)
            tone = rng.uniform(0.01, 0.08)
            self._lay(share, np.full(3, tone, np.float32))
            if rng.random() < 0.5:  # light along its upper edge
                line = np.zeros((height, width), np.float32)
                cv2.polylines(line, [np.rint(way - [0, thick / 2]).astype(np.int32)], False, 0.7,
                              max(1, thick // 4), cv2.LINE_AA)
                self._lay(np.minimum(line, share), np.full(3, tone * rng.uniform(2, 8), np.float32))
