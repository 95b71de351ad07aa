"""The weather of a drive: sun, sky, fog, rain, night."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Weather:
    """What the light of a drive is like.

    sun: (3,) unit vector towards the sun. sunlight, skylight: (3,) strength of each, red, green, blue.
    horizon, zenith, cloud: (3,) colours of the sky. cover: how much of it is cloud, 0 to 1.
    haze: share of light that fog takes per metre. rain: 0 = dry to 1. wet: how far the road mirrors, 0 to 1.
    headlights: strength of the car's own light, 0 by day.
    """

    sun: np.ndarray
    sunlight: np.ndarray
    skylight: np.ndarray
    horizon: np.ndarray
    zenith: np.ndarray
    cloud: np.ndarray
    cover: float
    haze: float
    rain: float
    wet: float
    headlights: float

    @property
    def night(self) -> bool:
        return self.headlights > 0


def choose_weather(rng: np.random.Generator) -> Weather:
    """Sunshine of all hours, overcast, dusk and night; fog and rain now and then."""
    kind = str(rng.choice(list(_SHARES), p=list(_SHARES.values())))
    height = rng.uniform(*{"sun": (0.3, 1.2), "veil": (0.3, 1.1), "dusk": (0.05, 0.25)}.get(kind, (1.0, 1.0)))
    azimuth = rng.uniform(0, 2 * np.pi)
    sun = np.array([np.cos(azimuth) * np.cos(height), np.sin(azimuth) * np.cos(height), np.sin(height)])
    warm = float(np.clip(1.2 - height, 0, 1)) * rng.uniform(0.5, 1.0)
    sun_strength = rng.uniform(*{"sun": (0.75, 1.25), "veil": (0.25, 0.5), "dusk": (0.1, 0.5)}.get(kind, (0.0, 0.0)))
    sky_strength = rng.uniform(*{"sun": (0.35, 0.65), "veil": (0.5, 0.7), "overcast": (0.6, 1.0), "dusk": (0.25, 0.45),
                                 "night": (0.07, 0.16)}[kind])
    tint = np.array([1.0, 1.04, rng.uniform(1.1, 1.2)]) if kind == "sun" else np.array([0.99, 1.0, 1.04])
    cover = {"overcast": rng.uniform(0.7, 1.0), "veil": rng.uniform(0.5, 0.9)}.get(kind, rng.beta(0.8, 1.4))
    rainy = kind in ("overcast", "night", "dusk") and rng.random() < 0.35
    rain = rng.uniform(0.2, 1.0) if rainy else 0.0
    wet = rng.uniform(0.15, 0.6) if rainy or rng.random() < 0.06 else 0.0
    horizon, zenith, cloud = _sky_colors(kind, rng)
    haze = rng.uniform(0.0005, 0.003)
    if rng.random() < 0.12 or rain > 0.6:
        haze = rng.uniform(0.006, 0.03)
        horizon = 0.3 * horizon + 0.7 * horizon.mean()
    headlights = rng.uniform(0.5, 1.2) if kind == "night" else 0.0
    sunlight = sun_strength * np.array([1.0, 1.0 - 0.22 * warm, 1.0 - 0.5 * warm])
    return Weather(sun, sunlight, sky_strength * tint, horizon, zenith, cloud, float(cover), haze, rain, wet,
                   headlights)


_SHARES = {"sun": 0.42, "veil": 0.18, "overcast": 0.22, "dusk": 0.10, "night": 0.08}


def _sky_colors(kind: str, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Horizon, zenith and clouds."""
    if kind == "night":
        horizon = np.array([0.05, 0.045, 0.05]) * rng.uniform(0.2, 1.6)
        return horizon, horizon * 0.5, horizon * 1.4
    if kind == "dusk":
        horizon = np.array([0.95, rng.uniform(0.55, 0.8), rng.uniform(0.4, 0.75)]) * rng.uniform(0.5, 1.0)
        zenith = np.array([0.25, 0.32, 0.5]) * rng.uniform(0.6, 1.3)
        return horizon, zenith, (horizon + zenith) / 2 * rng.uniform(0.6, 1.1)
    cloud = np.array([1.0, 1.0, 1.02]) * rng.uniform(0.75, 1.25)
    if kind == "overcast":
        return cloud * rng.uniform(0.85, 1.1), cloud * rng.uniform(0.75, 1.1), cloud
    horizon = np.array([0.78, 0.87, 0.97]) * rng.uniform(0.8, 1.3)
    zenith = np.array([rng.uniform(0.2, 0.45), rng.uniform(0.4, 0.62), rng.uniform(0.7, 0.95)])
    return horizon, zenith * rng.uniform(0.75, 1.2), cloud
