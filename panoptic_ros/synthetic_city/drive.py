"""A drive through a synthetic city: images with exact truth, a function of seed, camera and time."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from panoptic_ros.classes import VOID
from panoptic_ros.synthetic_city import photography
from panoptic_ros.synthetic_city.camera import CityCamera
from panoptic_ros.synthetic_city.cast import Cast, radius
from panoptic_ros.synthetic_city.furniture import add_signal, signal_posts
from panoptic_ros.synthetic_city.light import choose_stains, shade
from panoptic_ros.synthetic_city.mesh import COMPACT, TWO_SIDED, Mesh, Scene, join, polygons
from panoptic_ros.synthetic_city.palette import Palette
from panoptic_ros.synthetic_city.plots import Plot
from panoptic_ros.synthetic_city.raster import inverse_depth, rasterise
from panoptic_ros.synthetic_city.recording import record
from panoptic_ros.synthetic_city.route import Convoy, Route
from panoptic_ros.synthetic_city.scenery import build_plot
from panoptic_ros.synthetic_city.shadows import shadow_map
from panoptic_ros.synthetic_city.streets import build_backdrop, build_junction
from panoptic_ros.synthetic_city.textures import tile_of
from panoptic_ros.synthetic_city.town import Town
from panoptic_ros.synthetic_city.traffic import Actor, Traffic
from panoptic_ros.synthetic_city.variation import (
    Mount,
    varied_camera,
    varied_lens,
    varied_mount,
    varied_own_car,
    varied_recorder,
    varied_town,
    varied_windscreen,
)
from panoptic_ros.synthetic_city.weather import choose_weather

SKY = 10
_STREET_RANGE = 170.0  # metres; the street ahead is built as far as this
_SIDE_RANGE = 95.0  # side streets of junctions up to here


@dataclass(frozen=True)
class CityFrame:
    """One image of a drive and the truth about it.

    image: (H, W, 3) uint8, red, green, blue.
    class_map: (H, W) uint8 Cityscapes train ids, 255 = void (the camera car's bonnet).
    instance_map: (H, W) int32, 0 = no thing, else an id that is the object's own for the whole drive.
    depth: (H, W) float32 metres along the camera's axis, infinite at the sky, 0 = unknown (a varied drive's own car).

    The maps say what the image shows, with one exception, the one that Cityscapes makes: what is seen through the bars
    of a fence or the spokes of a wheel counts as the fence or the wheel, in its depth too.

    camera_pose: (4, 4) float64 camera-to-world; camera x right, y down, z ahead; world x, y on the ground, z up.
    stamp_ns: time since the start of the drive in nanoseconds.
    """

    image: np.ndarray
    class_map: np.ndarray
    instance_map: np.ndarray
    depth: np.ndarray
    camera_pose: np.ndarray
    stamp_ns: int


class CityDrive:
    """A drive of a camera car through the town of this seed.

    World and motion are functions of seed and time; camera and frame rate only sample them, so a frame is the same
    whatever was rendered before. The 19 classes of Cityscapes occur, trams ("train") rarely.

    varied: the drive varies as real recordings do, for training; plain drives are for tests and demonstration. A varied
    drive takes the size of the image from `camera` and chooses its own field of view: `camera` becomes `varied_camera`.
    """

    def __init__(self, seed: int, camera: CityCamera | None = None, frame_rate: float = 10.0,
                 varied: bool = False) -> None:
        rng = np.random.default_rng([seed, 0])
        self.seed = seed
        self.camera = camera or CityCamera.of_size(512, 1024)
        self.frame_rate = frame_rate
        self.town = varied_town(Town.of_seed(seed)) if varied else Town.of_seed(seed)
        self.palette = Palette(self.town)
        self.weather = choose_weather(rng)
        self.lens = photography.choose_lens(rng, self.weather)
        self._varied = varied
        self._stains: np.ndarray | None = None
        if varied:
            self.camera = varied_camera(seed, self.camera)
            self.lens = varied_lens(seed, self.lens, self.camera, self.weather.night)
            self._stains = choose_stains(np.random.default_rng([seed, 57]))
            self._recorder = varied_recorder(seed, self.weather)
            self._windscreen = varied_windscreen(seed, self.camera, self.weather)
        start_time = rng.uniform(0, 0.5) * Town.PERIOD
        self._start_time = start_time
        route = Route(self.town)
        self._cast = Cast(seed, self.weather.night)
        self.convoy = Convoy(self.town, route, start_time)
        self.traffic = Traffic(self.town, route, self.convoy, start_time)
        self._mount = Mount(rng.uniform(1.15, 2.2), rng.normal(0.0, 0.035) - 0.02, rng.normal(0, 0.008),
                            rng.normal(0, 0.03), rng.uniform(0, 6.3, 3))
        self._bonnet = rng.uniform(0.35, 0.6) if rng.random() < 0.25 else 0.0
        self._bonnet_color = rng.uniform(0.03, 0.7)
        if varied:
            self._mount = varied_mount(seed)
            self._bonnet = 0.0
            self._own_car = varied_own_car(seed, self.camera, self.weather)
        self._plot = lru_cache(maxsize=96)(lambda along, i, j: Plot(self.town, along, i, j))
        self._still = lru_cache(maxsize=96)(lambda along, i, j: build_plot(self._plot(along, i, j), self.palette))
        self._junction = lru_cache(maxsize=48)(lambda i, j: build_junction(self.town, self.palette, i, j))
        self._signals = lru_cache(maxsize=48)(lambda i, j: signal_posts(self.town, i, j))
        self._parked = lru_cache(maxsize=96)(lambda along, i, j: Traffic.parked(self._plot(along, i, j)))

    def stamp_ns(self, k: int) -> int:
        """Time of frame k in nanoseconds since the start."""
        return round(k * 1e9 / self.frame_rate)

    def camera_at(self, k: int) -> np.ndarray:
        """Pose of the camera at frame k, (4, 4) float64 camera-to-world."""
        time = k / self.frame_rate
        place = float(self.convoy.places(time)[self.convoy.own])
        point, plan_yaw = self.traffic.route.at(place)
        mount, phase, shake = self._mount, self._mount.phase, self._mount.shake
        yaw = self.town.heading(point, plan_yaw) + mount.turn
        pitch = mount.pitch + shake * 0.004 * np.sin(7.1 * time + phase[0]) + shake * 0.003 * np.sin(
            3.3 * time + phase[1])
        roll = mount.roll + shake * 0.004 * np.sin(4.7 * time + phase[2])
        position = np.append(self.town.bend(point), mount.height + shake * 0.015 * np.sin(8.3 * time + phase[1]))
        ahead = np.array([np.cos(yaw) * np.cos(pitch), np.sin(yaw) * np.cos(pitch), np.sin(pitch)])
        right = np.array([np.sin(yaw), -np.cos(yaw), 0.0])
        down = np.cross(ahead, right)
        right, down = right * np.cos(roll) + down * np.sin(roll), down * np.cos(roll) - right * np.sin(roll)
        pose = np.eye(4)
        pose[:3, :3] = np.stack([right, down, ahead], 1)
        pose[:3, 3] = position
        return pose

    def render(self, k: int) -> CityFrame:
        """Frame k, k >= 0; any order."""
        pose = self.camera_at(k)
        time = k / self.frame_rate
        eye = pose[:3, 3]
        scene = self._scene(pose, time)
        mesh = join(scene.seen_from(eye))
        surfaces = rasterise(mesh, self.camera, pose)
        inverse = inverse_depth(surfaces, surfaces.face_map, self.camera)
        faces = mesh.faces[surfaces.rows]
        shown = surfaces.truth_map.astype(np.intp)
        class_map = np.concatenate([[SKY], faces["class_id"]]).astype(np.uint8).take(shown)
        instance_map = np.concatenate([[0], faces["thing"]]).astype(np.int32).take(shown)
        with np.errstate(divide="ignore"):
            depth = 1 / (inverse if surfaces.truth_map is surfaces.face_map
                         else inverse_depth(surfaces, surfaces.truth_map, self.camera))
        shadow = shadow_map(scene.casters, self.camera, pose, self.weather)
        light = shade(mesh, surfaces, inverse, shadow, self.camera, pose, self.weather, self._stains)
        noise = np.random.default_rng([self.seed, 30, k])
        if self._varied:
            hidden = self._own_car.mask
            class_map[hidden], instance_map[hidden], depth[hidden] = VOID, 0, 0.0
            self._own_car.paint(light)
            light = self._windscreen.look_through(light, pose)
        image = photography.photograph(light, self.camera, self.lens, self.weather, noise)
        if self._varied:
            image = record(image, self._recorder, noise)
        return CityFrame(image, class_map, instance_map, depth, pose, self.stamp_ns(k))

    def _scene(self, pose: np.ndarray, time: float) -> Scene:
        """All that may be seen from a pose at a time."""
        scene = Scene()
        eye = pose[:3, 3]
        reach = self._reach(pose)
        scene.add(*build_backdrop(self.town, self.palette, eye))
        streets: dict[tuple[int, int], list[float]] = {}
        segments = self._segments(pose)
        for along, i, j in segments:
            scene.extend(self._still(along, i, j))
            low = (i, j)[along] * self.town.block[along]
            span = streets.setdefault((along, (i, j)[1 - along]), [low, low])
            span[0], span[1] = min(span[0], low), max(span[1], low + self.town.block[along])
            for actor in self._parked(along, i, j):
                self._add_actor(scene, actor, reach)
            for actor in self.traffic.people(self._plot(along, i, j), time, eye):
                self._add_actor(scene, actor, reach)
        for i, j in self._junctions(segments):
            scene.extend(self._junction(i, j))
            for foot, yaw, along in self._signals(i, j):
                if reach(foot, 2.0) > 4:
                    add_signal(scene, self.palette, foot, yaw, self.town.light(along, self._start_time + time))
        for (along, street), (low, high) in streets.items():
            for actor in self.traffic.street(along, street, low, high, time):
                self._add_actor(scene, actor, reach)
        for actor in self.traffic.neighbours(time):
            self._add_actor(scene, actor, reach)
        if self._bonnet:
            scene.add(self._bonnet_face(pose))
        return scene

    def _reach(self, pose: np.ndarray) -> Any:
        """A function of (position, radius): pixels per metre there, 0 where it cannot be seen."""
        x, y = self.camera.rays()
        left, right = float(x[0]), float(x[-1])
        focal = self.camera.fx

        (x0, y0, z0), turn = pose[:3, 3].tolist(), pose[:3, :3].tolist()

        def pixels_per_metre(position: np.ndarray, radius: float) -> float:
            dx, dy, dz = position[0] - x0, position[1] - y0, position[2] - z0
            z = dx * turn[0][2] + dy * turn[1][2] + dz * turn[2][2]
            if z < -radius:
                return 0.0
            side, slack = dx * turn[0][0] + dy * turn[1][0] + dz * turn[2][0], radius * 1.8
            if not left * max(z, 0) - slack <= side <= right * max(z, 0) + slack:
                return 0.0
            return float(focal / max(z, 1.0))

        return pixels_per_metre

    def _segments(self, pose: np.ndarray) -> list[tuple[int, int, int]]:
        """(along, i, j) of the street segments that may be seen."""
        block = self.town.block
        here, ahead = pose[:2, 3], pose[:2, 2] / np.linalg.norm(pose[:2, 2])
        found: dict[tuple[int, int, int], None] = {}

        def may_be_seen(limit: float, along: int, i: int, j: int) -> bool:
            steps = np.linspace(0, 1, 9)[:, None]
            a = np.array([i * block[0], j * block[1]])
            b = a + ([block[0], 0] if along == 0 else [0, block[1]])
            away = self.town.bend(a + (b - a) * steps) - here
            distance = np.linalg.norm(away, axis=1)
            forward = away @ ahead
            return bool(np.any((distance < limit) & ((forward > 0.35 * distance) | (distance < 14))))

        plan = self._plan_of(here)
        for along in (0, 1):
            street = round(plan[1 - along] / block[1 - along])
            beside = abs(plan[1 - along] - street * block[1 - along]) > self.town.half_width(along) + 8
            if beside or (along and not self.town.has_junctions):
                continue
            at = int(np.floor(plan[along] / block[along]))
            span = int(_STREET_RANGE / block[along]) + 2
            for n in range(at - span, at + span + 1):
                key = (0, n, street) if along == 0 else (1, street, n)
                if may_be_seen(_STREET_RANGE, *key):
                    found[key] = None
        if self.town.has_junctions:
            for along, i, j in list(found):
                for i0, j0 in ((i, j), (i + (along == 0), j + (along == 1))):
                    for key in ((1 - along, i0, j0), (1 - along, i0 - (along == 1), j0 - (along == 0))):
                        if key not in found and may_be_seen(_SIDE_RANGE, *key):
                            found[key] = None
        return list(found)

    def _junctions(self, segments: list[tuple[int, int, int]]) -> list[tuple[int, int]]:
        """(i, j) of the junctions at both ends of these segments."""
        if not self.town.has_junctions:
            return []
        return list(dict.fromkeys(end for along, i, j in segments
                                  for end in ((i, j), (i + (along == 0), j + (along == 1)))))

    def _plan_of(self, world: np.ndarray) -> np.ndarray:
        """The plan coordinates of a world point, by a few steps of correction."""
        plan = world.copy()
        for _ in range(12):
            plan = plan + (world - self.town.bend(plan)) * 0.8
        return plan

    def _add_actor(self, scene: Scene, actor: Actor, reach: Any) -> None:
        scale = reach(actor.position, radius(actor))
        if scale:
            self._cast.add(scene, actor, scale)

    def _bonnet_face(self, pose: np.ndarray) -> Mesh:
        """The bonnet of the camera car, at the lower edge of the picture; its class is void."""
        x = np.linspace(-0.95, 0.95, 13)
        edge = 1.75 - 0.35 * (x / 0.95) ** 2
        flat = np.concatenate([np.stack([x, edge], 1), [[0.95, 0.5], [-0.95, 0.5]]])[::-1]
        local = np.stack([flat[:, 0], np.full(len(flat), self._bonnet + 0.12), flat[:, 1]], 1)
        points = local @ pose[:3, :3].T + pose[:3, 3]
        return polygons(points[None], VOID, COMPACT, tile_of("paint", 1), np.ones(3) * self._bonnet_color,
                        tile_size=(3.0, 1.4), flags=TWO_SIDED, anchor=pose[:2, 3])
