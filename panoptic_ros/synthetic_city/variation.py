"""How varied drives differ from plain ones: what real recordings have, drawn anew for each drive from its seed."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from panoptic_ros.synthetic_city.camera import CityCamera
from panoptic_ros.synthetic_city.own_car import OwnCar
from panoptic_ros.synthetic_city.photography import Lens
from panoptic_ros.synthetic_city.recording import Recorder, choose_recorder
from panoptic_ros.synthetic_city.town import Town
from panoptic_ros.synthetic_city.weather import Weather
from panoptic_ros.synthetic_city.windscreen import Windscreen

_CAMERA, _TOWN, _MOUNT, _OWN_CAR, _LENS, _RECORDER, _WINDSCREEN = range(50, 57)


@dataclass(frozen=True)
class Mount:
    """How the camera is fixed to its car: metres above the road, angles in radians, and how it shakes, 1 = a little."""

    height: float
    pitch: float
    roll: float
    turn: float
    phase: np.ndarray
    shake: float = 1.0


@dataclass(frozen=True)
class Rig:
    """A kind of camera and how it is mounted; pairs are lowest and highest.

    share: of all drives. field_of_view: horizontal, degrees, of an image with this aspect (width / height).
    height: metres above the road. tilt: standard deviation of pitch, radians.
    """

    share: float
    field_of_view: tuple[float, float]
    aspect: tuple[float, float]
    height: tuple[float, float]
    tilt: float


RIGS = {
    "roof_wide": Rig(0.2, (78, 90), (2.8, 3.4), (1.5, 1.9), 0.02),  # KITTI and its like: on the roof, cropped flat
    "video": Rig(0.2, (45, 65), (1.25, 1.4), (1.2, 1.6), 0.03),  # CamVid: a video camera on the dashboard
    "stereo": Rig(0.2, (45, 60), (1.8, 2.2), (1.1, 1.5), 0.03),  # Cityscapes: behind the windscreen
    "dashcam": Rig(0.3, (60, 120), (1.6, 1.8), (1.1, 1.7), 0.045),
    "high": Rig(0.1, (50, 100), (1.3, 2.0), (1.8, 2.9), 0.05),  # vans, buses and lorries
}


def varied_town(town: Town) -> Town:
    """The same streets with traffic on either side alike, and in half of the towns with crowded kerbs."""
    rng = np.random.default_rng([town.seed, _TOWN])
    town = replace(town, side=-1 if rng.random() < 0.55 else 1)
    if not town.has_junctions or rng.random() < 0.5:
        return town
    return replace(
        town, parking=2.2, parked=rng.uniform(0.75, 1.0), people=max(town.people, rng.uniform(0.5, 1.3)),
        cyclists=max(town.cyclists, rng.uniform(0.2, 1.0)), traffic=max(town.traffic, rng.uniform(0.4, 1.0)),
        lane_width=rng.uniform(2.6, 3.2), pavement=min(town.pavement, rng.uniform(1.2, 3.0)),
        crowd=rng.uniform(0.3, 1.0))


def varied_camera(seed: int, camera: CityCamera) -> CityCamera:
    """A camera of the same image size with the field of view, aspect and crop of some real rig."""
    rng = np.random.default_rng([seed, _CAMERA])
    rig = _rig(rng)
    aspect = rng.uniform(*rig.aspect)
    varied = CityCamera.of_size(camera.height, camera.width, rng.uniform(*rig.field_of_view), aspect)
    # Where the rig's image is higher than this one, any part of it may be the one that is kept.
    spare = max(0.0, math.sqrt(camera.width * camera.height / aspect) - camera.height)
    down = spare * rng.uniform(-0.5, 0.5) + camera.height * rng.normal(0, 0.03)
    return replace(varied, cx=varied.cx + camera.width * rng.normal(0, 0.02), cy=varied.cy + down)


def varied_mount(seed: int) -> Mount:
    """Where the rig of `varied_camera` is mounted."""
    rng = np.random.default_rng([seed, _CAMERA])
    rig = _rig(rng)
    rng = np.random.default_rng([seed, _MOUNT])
    return Mount(rng.uniform(*rig.height), rng.normal(-0.01, rig.tilt), rng.normal(0, 0.018), rng.normal(0, 0.035),
                 rng.uniform(0, 6.3, 3), float(rng.lognormal(0, 0.7)))


def _rig(rng: np.random.Generator) -> Rig:
    return RIGS[str(rng.choice(list(RIGS), p=[rig.share for rig in RIGS.values()]))]


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


def varied_own_car(seed: int, camera: CityCamera, weather: Weather) -> OwnCar:
    """Bonnet, dashboard and wipers of the camera car."""
    return OwnCar(np.random.default_rng([seed, _OWN_CAR]), camera.height, camera.width, weather)


def varied_recorder(seed: int, weather: Weather) -> Recorder:
    """What the image goes through after the sensor."""
    return choose_recorder(np.random.default_rng([seed, _RECORDER]), weather.night)


def varied_windscreen(seed: int, camera: CityCamera, weather: Weather) -> Windscreen:
    """What lies before the lens."""
    return Windscreen(np.random.default_rng([seed, _WINDSCREEN]), camera, weather)
