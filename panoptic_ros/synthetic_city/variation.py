"""How varied drives differ from plain ones: what real recordings have, drawn anew for each drive from its seed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from panoptic_ros.synthetic_city.camera import CityCamera
from panoptic_ros.synthetic_city.photography import Lens
from panoptic_ros.synthetic_city.recording import Recorder, choose_recorder
from panoptic_ros.synthetic_city.weather import Weather
from panoptic_ros.synthetic_city.windscreen import Windscreen

_CAMERA, _TOWN, _MOUNT, _OWN_CAR, _LENS, _RECORDER, _WINDSCREEN = range(50, 57)


def varied_lens(seed: int, lens: Lens, camera: CityCamera, night: bool) -> Lens:
    """A lens of the same weather with a wider range of exposure, colour and blur; it leaves JPEG to the recorder."""
    rng = np.random.default_rng([seed, _LENS])
    # `photograph` measures blur in pixels of a camera with a focal length of 650; this one is in pixels of the image.
    blur = rng.uniform(0.4, 1.3) * camera.width / 1024 * 650 / camera.fx
    warm = rng.normal(0, 0.06)
    return replace(
        lens, exposure=float(rng.lognormal(0.5 if night else -0.05, 0.25)),
        adaptation=lens.adaptation * rng.uniform(0.85, 1.0),
        balance=lens.balance * (1 + np.array([warm, rng.normal(0, 0.04), -warm])), gamma=rng.uniform(0.5, 1.05),
        contrast=rng.uniform(0, 0.7), vignette=rng.uniform(0, 0.6), blur=blur, saturation=rng.uniform(0.45, 1.3),
        jpeg=0, bloom=min(lens.bloom * rng.uniform(0.5, 2.5), 0.6))


def varied_recorder(seed: int, weather: Weather) -> Recorder:
    """What the image goes through after the sensor."""
    return choose_recorder(np.random.default_rng([seed, _RECORDER]), weather.night)


def varied_windscreen(seed: int, camera: CityCamera, weather: Weather) -> Windscreen:
    """What lies before the lens."""
    return Windscreen(np.random.default_rng([seed, _WINDSCREEN]), camera, weather)
