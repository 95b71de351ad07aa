"""Adds actors (vehicles, riders, people) to a scene; an actor has the same appearance in every frame."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from panoptic_ros.synthetic_city import people
from panoptic_ros.synthetic_city.mesh import Mesh, Scene, placed
from panoptic_ros.synthetic_city.traffic import Actor
from panoptic_ros.synthetic_city.vehicles import KINDS, build_vehicle, level_of_detail

_SQUARE = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) / 2


def radius(actor: Actor) -> float:
    """Metres from an actor's middle that it may reach."""
    return KINDS[actor.kind].size[0] / 2 if actor.kind in KINDS else 1.0


class Cast:
    """The actors of one drive. night: whether lamps are lit."""

    def __init__(self, seed: int, night: bool) -> None:
        self._seed, self._night = seed, night
        self._vehicle = lru_cache(maxsize=512)(self._build_vehicle)

    def add(self, scene: Scene, actor: Actor, scale: float) -> None:
        """Add an actor that is seen at `scale` pixels per metre, and its shadow."""
        if actor.kind in KINDS:
            level = level_of_detail(scale * KINDS[actor.kind].size[2])
            mesh, size = self._vehicle(actor.kind, actor.thing, level)
            scene.add(placed(mesh, np.ones(3), actor.yaw, actor.position))
            c, s = np.cos(actor.yaw), np.sin(actor.yaw)
            footprint = _SQUARE * size[:2] @ np.array([[c, s], [-s, c]]) + actor.position[:2]
            scene.add_casters(footprint[None], 0.1, size[2] * 0.85)
            return
        appearance = self._appearance(actor.thing)
        pose = people.ActorPose(actor.thing, actor.position, actor.yaw, scale)
        ridden = people.ActorPose(actor.thing + 1, actor.position, actor.yaw, scale)
        if actor.kind == "person":
            people.add_person(scene, pose, appearance, actor.travelled)
        elif actor.kind == "bicycle":
            people.add_bicycle(scene, pose, appearance)
        elif actor.kind == "motorcycle":
            people.add_motorcycle(scene, pose, appearance)
        elif actor.kind == "cyclist":
            people.add_bicycle(scene, ridden, appearance)
            people.add_rider(scene, pose, appearance, actor.travelled, motorcycle=False)
        else:
            people.add_motorcycle(scene, ridden, appearance)
            people.add_rider(scene, pose, appearance, actor.travelled, motorcycle=True)
        scene.add_casters((_SQUARE * 0.5 + actor.position[:2])[None], 0.0, 1.7)

    def _appearance(self, thing: int) -> np.random.Generator:
        """Draws that are the same for the same actor."""
        return np.random.default_rng([self._seed, 40, thing])

    def _build_vehicle(self, kind: str, thing: int, level: int) -> tuple[Mesh, np.ndarray]:
        return build_vehicle(kind, thing, level, self._appearance(thing), self._night)
