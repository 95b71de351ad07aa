"""Everything that may move, and where it is at a time: vehicles, riders and people, each with an id of its own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from panoptic_ros.synthetic_city.plots import Plot
from panoptic_ros.synthetic_city.route import Convoy, Route
from panoptic_ros.synthetic_city.town import KERB, Town

_CARS = ("saloon", "hatchback", "estate", "suv", "small_car", "van", "pickup")
_CAR_SHARES = np.array([1.0, 1.2, 0.7, 0.9, 0.5, 0.6, 0.25]) / 5.15
_GAP = 9.5  # metres between the places of a queue


@dataclass(frozen=True)
class Actor:
    """Someone or something at a moment.

    kind: a key of vehicles.KINDS, or "person", "bicycle", "motorcycle", "cyclist", "motorcyclist".
    thing: its id; a rider's vehicle has the id after it. position: (3,) world. yaw: world.
    travelled: metres it has come so far, for legs and pedals.
    """

    kind: str
    thing: int
    position: np.ndarray
    yaw: float
    travelled: float


def _thing(category: int, *fields: tuple[int, int]) -> int:
    """An id from a category (3 bits) and (value, bits) pairs; even, so that a rider's vehicle can take the next one."""
    number = category
    for value, width in fields:
        number = (number << width) | (value & ((1 << width) - 1))
    return number * 2 + 2


def _draw(*key: int) -> float:
    """A number from 0 to 1 that belongs to this key, well mixed and cheap."""
    state = 0x9E3779B97F4A7C15
    for part in key:
        state = (state ^ (part & 0xFFFFFFFFFFFFFFFF)) * 0xBF58476D1CE4E5B9 & 0xFFFFFFFFFFFFFFFF
        state = (state ^ (state >> 29)) * 0x94D049BB133111EB & 0xFFFFFFFFFFFFFFFF
        state ^= state >> 32
    return state / 2.0 ** 64


def _vehicle_kind(town: Town, share: float, free: int) -> str:
    """What drives at a place, from a number 0 to 1; `free` places behind it are empty."""
    if share < 0.04 and free >= 1:
        return ("bus", "coach", "minibus")[int(share * 75)]
    if share < 0.05 and free >= 3 and town.kind == "centre":
        return "tram"
    heavy = 0.16 if town.kind == "highway" else 0.09
    if share < 0.04 + heavy and free >= 1:
        return ("lorry", "box_van", "flatbed")[int((share - 0.04) / heavy * 2.999)]
    if share > 0.95 and town.kind != "highway":
        return "motorcyclist"
    return _CARS[int(np.searchsorted(np.cumsum(_CAR_SHARES), (share * 37) % 1))]


class Traffic:
    """Who is where at any time; a function of town and time alone."""

    def __init__(self, town: Town, route: Route, convoy: Convoy, start_time: float) -> None:
        self.town, self.route, self.convoy, self.start_time = town, route, convoy, start_time
        self.walkers = lru_cache(maxsize=256)(self._walkers)
        rng = np.random.default_rng([town.seed, 9])
        self.lane_speeds = rng.uniform(0.8, 1.25, 8) * float(convoy.cruise[convoy.own])

    def neighbours(self, time: float) -> Iterator[Actor]:
        """The cars in the camera car's lane."""
        places = self.convoy.places(time)
        for car, place in enumerate(places):
            if car == self.convoy.own:
                continue
            point, yaw = self.route.at(float(place))
            kind = _vehicle_kind(self.town, _draw(self.town.seed, 11, car), 1)
            yield self._on_road(kind, _thing(0, (car, 4)), point, yaw, float(place))

    def street(self, along: int, street: int, low: float, high: float, time: float) -> Iterator[Actor]:
        """Vehicles and cyclists on a street along x or y between two plan coordinates."""
        for direction in (1, -1):
            cut = (along, street, direction) in self.route.crossed
            for lane in range(self.town.lanes[along]):
                if not cut and (along, street, direction, lane) not in self.route.own_lanes:
                    yield from self._lane(along, street, direction, lane, low, high, time)
            if self.town.cyclists > 0.1:
                yield from self._cyclists(along, street, direction, low, high, time)

    def _lane(self, along: int, street: int, direction: int, lane: int, low: float, high: float, time: float) -> Iterator[Actor]:
        """Places in queues of one block each; each queue moves on as a whole."""
        town = self.town
        block = town.block[along]
        clear = (town.half_width(1 - along) + town.pavement + town.verge + 6.0) if town.has_junctions else 3.0
        gap = _GAP if town.has_junctions else 24.0
        moved = town.convoy(along, self.start_time + time)
        if not town.has_junctions:
            moved = float(self.lane_speeds[lane + (4 if direction < 0 else 0)]) * time
        offset = town.side * direction * town.lane_offset(along, lane)
        # u grows in driving direction; x = direction * u.
        u_low, u_high = sorted((direction * low, direction * high))
        places = int((block - 2 * clear) / gap) + 1
        for n in range(int(np.floor((u_low - moved) / block)), int(np.floor((u_high - moved) / block)) + 1):
            taken = [_draw(town.seed, 12, along, street, direction, lane, n, m) < 0.62 * town.traffic for m in range(places + 3)]
            skip = 0
            for m in range(places):
                if skip:
                    skip -= 1
                    continue
                if not taken[m]:
                    continue
                u = n * block + block - clear - m * gap - 2.0 * _draw(town.seed, 13, n, m, lane) + moved
                free = 0
                while free < 3 and m + free + 1 < places and not taken[m + free + 1]:
                    free += 1
                kind = _vehicle_kind(town, _draw(town.seed, 14, along, street, direction, lane, n, m), free)
                skip = 2 if kind == "tram" else 0
                if not u_low <= u <= u_high:
                    continue
                thing = _thing(1, (along, 1), (street, 8), (direction > 0, 1), (lane, 2), (n, 11), (m, 4))
                yield self._along(kind, thing, along, street, direction, u, offset, moved + u)

    def _along(self, kind: str, thing: int, along: int, street: int, direction: int, u: float, offset: float, travelled: float) -> Actor:
        across = street * self.town.block[1 - along]
        if along == 0:
            return self._on_road(kind, thing, np.array([direction * u, across + offset]), 0.0 if direction > 0 else np.pi, travelled)
        return self._on_road(kind, thing, np.array([across - offset, direction * u]), direction * np.pi / 2, travelled)

    def _cyclists(self, along: int, street: int, direction: int, low: float, high: float, time: float) -> Iterator[Actor]:
        town = self.town
        spacing, speed = 46.0, 3.5 + 2 * _draw(town.seed, 15, along, street, direction)
        edge = (town.median / 2 if along == 0 else 0.0) + town.lanes[along] * town.lane_width - 0.1
        u_low, u_high = sorted((direction * low, direction * high))
        moved = speed * (self.start_time + time)
        for n in range(int(np.floor((u_low - moved) / spacing)), int(np.floor((u_high - moved) / spacing)) + 1):
            if _draw(town.seed, 16, along, street, direction, n) > 0.7 * town.cyclists:
                continue
            u = (n + 0.8 * _draw(town.seed, 17, along, street, direction, n)) * spacing + moved
            thing = _thing(2, (along, 1), (street, 8), (direction > 0, 1), (n, 14))
            yield self._along("cyclist", thing, along, street, direction, u, town.side * direction * edge, u)

    def _on_road(self, kind: str, thing: int, plan: np.ndarray, yaw: float, travelled: float) -> Actor:
        position = np.append(self.town.bend(plan), 0.0)
        return Actor(kind, thing, position, self.town.heading(plan, yaw), travelled)

    @staticmethod
    def parked(plot: Plot) -> list[Actor]:
        """What is parked along a street segment."""
        town, rng = plot.town, plot.draws(18)
        actors = []
        where = ((plot.along, 1), (plot.i, 8), (plot.j, 8))
        for side in (1, -1):
            if town.parking > 1.8 and town.has_junctions:
                d = side * (plot.half - town.parking / 2 - 0.1)
                s = 9.0
                full = town.parked * rng.uniform(0.5, 1.2)
                for slot in range(40):
                    s += rng.uniform(5.1, 6.2)
                    if s > plot.length - 8:
                        break
                    if rng.random() > full:
                        continue
                    kind = _CARS[rng.choice(7, p=_CAR_SHARES)] if rng.random() < 0.95 else "box_van"
                    yaw = plot.yaw(s, d, 0.0 if side == -town.side else np.pi) + rng.normal(0, 0.015)
                    yaw += np.pi * (rng.random() < 0.15)
                    thing = _thing(3, *where, (side > 0, 1), (slot, 6))
                    actors.append(Actor(kind, thing, plot.world(s, d + rng.normal(0, 0.08)), yaw, 0.0))
            if town.has_junctions and rng.random() < 0.25 + 0.4 * town.cyclists:
                s, d = rng.uniform(4, plot.length - 8), side * (plot.half + rng.uniform(0.7, 1.2))
                turn = rng.uniform(0.3, 1.57)
                for slot in range(int(rng.integers(1, 7))):
                    kind = "bicycle" if rng.random() < 0.85 else "motorcycle"
                    thing = _thing(4, *where, (side > 0, 1), (slot, 6))
                    actors.append(Actor(kind, thing, plot.world(s + slot * rng.uniform(0.5, 0.9), d, KERB),
                                        plot.yaw(s, d, turn) + rng.normal(0, 0.08), 0.0))
        return actors

    def _walkers(self, along: int, i: int, j: int) -> np.ndarray:
        """People of a segment: rows of (side, d, s, speed, group)."""
        rng = np.random.default_rng([self.town.seed, 19, along, i + 100000, j + 100000])
        count = int(rng.poisson(13 * self.town.people))
        rows = []
        for _ in range(count):
            side, speed = rng.choice([-1, 1]), rng.choice([0.0, 1.0], p=[0.2, 0.8]) * rng.uniform(0.8, 1.6) * rng.choice([-1, 1])
            d, s = rng.uniform(0.9, max(1.0, self.town.pavement + self.town.verge - 0.4)), rng.uniform(0, 400)
            for companion in range(1 + int(rng.geometric(0.65) - 1)):
                rows.append((side, d + companion * rng.uniform(-0.6, 0.6), s + companion * rng.uniform(0.35, 0.8), speed, rng.uniform(0, 6.3)))
        return np.array(rows).reshape(-1, 5)[:60]

    def people(self, plot: Plot, time: float) -> Iterator[Actor]:
        """Those on the pavements of a segment, who turn back at its ends, and those who cross it at red."""
        town = self.town
        half, i, j = plot.half, plot.i, plot.j
        where = ((plot.along, 1), (i, 8), (j, 8))
        for number, (side, d, s, speed, facing) in enumerate(self.walkers(plot.along, i, j)):
            way = s + speed * (self.start_time + time)
            lap = (way + 0.5) % (2 * plot.length - 2)
            back = lap > plot.length - 1
            at = 0.5 + (2 * plot.length - 2 - lap if back else lap)
            turn = facing if speed == 0 else np.pi * (back != (speed < 0))
            yield Actor("person", _thing(5, *where, (number, 6)), plot.world(at, side * (half + d), KERB),
                        plot.yaw(at, 0.0, turn), way if speed else 0.0)
        if not town.has_junctions:
            return
        phase = (self.start_time + time) / town.PERIOD
        opening = town.green + 0.02 if plot.along == 0 else 0.0
        width = (0.94 if plot.along == 0 else town.green) - opening
        for number in range(int(5 * town.people * _draw(town.seed, 20, plot.along, i, j) + 0.5)):
            start = opening + 0.25 * width * _draw(town.seed, 21, number, i, j)
            end = start + min(width * 0.72, 2.2 * half / 1.3 / town.PERIOD)
            lap, part = divmod(phase - start, 1)
            share = min(part / (end - start), 1.0)
            sign = 1 if (int(lap) + number) % 2 else -1
            d = sign * (half + 0.7) * (2 * share - 1)
            at = (1.4 if number % 3 else plot.length - 1.4) + 1.6 * (_draw(town.seed, 22, number, i, j) - 0.5)
            moving = share < 1
            travelled = (half + 0.7) * 2 * share
            yield Actor("person", _thing(6, *where, (number, 6)), plot.world(at, d, KERB if abs(d) > half else 0.0),
                        plot.yaw(at, d, sign * np.pi / 2), travelled if moving else 0.0)
