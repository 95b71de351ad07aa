"""Everything that may move, and where it is at a time: vehicles, riders and people, each with an id of its own."""

from __future__ import annotations

import math
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
_PEOPLE_RANGE = 90.0  # metres; those farther away are left out


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
    if share < 0.20 and free >= 2 and town.kind == "centre" and _draw(23, town.seed) < 0.12:
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
        self.queue = lru_cache(maxsize=1024)(self._queue)
        rng = np.random.default_rng([town.seed, 9])
        self.lane_speeds = rng.uniform(0.8, 1.25, 8) * float(convoy.cruise[convoy.own])

    def neighbours(self, time: float) -> Iterator[Actor]:
        """The cars in the camera car's lane."""
        places = self.convoy.places(time)
        for car, place in enumerate(places):
            if car == self.convoy.own:
                continue
            point, yaw = self.route.at(float(place))
            kind = _vehicle_kind(self.town, _draw(11, self.town.seed, car), 1)
            yield self._on_road(kind, _thing(0, (car, 4)), (float(point[0]), float(point[1])), yaw, float(place))

    def street(self, along: int, street: int, low: float, high: float, time: float) -> Iterator[Actor]:
        """Vehicles and cyclists on a street along x or y between two plan coordinates."""
        for direction in (1, -1):
            cut = (along, street, direction) in self.route.crossed
            for lane in range(self.town.lanes[along]):
                if not cut and (along, street, direction, lane) not in self.route.own_lanes:
                    yield from self._lane(along, street, direction, lane, low, high, time)
            if self.town.cyclists > 0.1:
                yield from self._cyclists(along, street, direction, low, high, time)

    def _lane(self, along: int, street: int, direction: int, lane: int, low: float, high: float,
              time: float) -> Iterator[Actor]:
        """A lane's traffic stands in queues of one block each; each queue moves on as a whole."""
        town = self.town
        block = town.block[along]
        if town.has_junctions:
            moved = town.convoy(along, self.start_time + time)
        else:
            moved = float(self.lane_speeds[lane + (4 if direction < 0 else 0)]) * time
        offset = town.side * direction * town.lane_offset(along, lane)
        # u grows in driving direction; x = direction * u.
        u_low, u_high = sorted((direction * low, direction * high))
        for n in range(math.floor((u_low - moved) / block), math.floor((u_high - moved) / block) + 1):
            for kind, place, u_at_rest in self.queue(along, street, direction, lane, n):
                u = u_at_rest + moved
                if u_low <= u <= u_high:
                    thing = _thing(1, (along, 1), (street, 8), (direction > 0, 1), (lane, 2), (n, 11), (place, 4))
                    yield self._along(kind, thing, (along, street, direction), u, offset, u)

    def _queue(self, along: int, street: int, direction: int, lane: int, n: int) -> list[tuple[str, int, float]]:
        """What stands in the queue of a block when it is red: kind, place counted from the stop line, and u."""
        town, key = self.town, (self.town.seed, along, street, direction, lane, n)
        block = town.block[along]
        clear = (town.half_width(1 - along) + town.pavement + town.verge + 6.0) if town.has_junctions else 3.0
        gap = _GAP if town.has_junctions else 24.0
        places = min(int((block - 2 * clear) / gap) + 1, 16)
        taken = [_draw(12, *key, m) < 0.62 * town.traffic for m in range(places)] + [True]
        queue = []
        next_place = 0
        for m in range(places):
            if m < next_place or not taken[m]:
                continue
            free = taken.index(True, m + 1) - m - 1
            kind = _vehicle_kind(town, _draw(14, *key, m), free)
            next_place = m + (3 if kind == "tram" else 1)
            # A tram's middle is one place behind its front.
            u = (n + 1) * block - clear - (m + (kind == "tram")) * gap - 2.0 * _draw(13, *key, m)
            queue.append((kind, m, u))
        return queue

    def _cyclists(self, along: int, street: int, direction: int, low: float, high: float,
                  time: float) -> Iterator[Actor]:
        town, key = self.town, (self.town.seed, along, street, direction)
        spacing, speed = 46.0, 3.5 + 2 * _draw(15, *key)
        edge = (town.median / 2 if along == 0 else 0.0) + town.lanes[along] * town.lane_width - 0.1
        u_low, u_high = sorted((direction * low, direction * high))
        moved = speed * (self.start_time + time)
        for n in range(math.floor((u_low - moved) / spacing), math.floor((u_high - moved) / spacing) + 1):
            if _draw(16, *key, n) < 0.7 * town.cyclists:
                u = (n + 0.8 * _draw(17, *key, n)) * spacing + moved
                thing = _thing(2, (along, 1), (street, 8), (direction > 0, 1), (n, 14))
                yield self._along("cyclist", thing, (along, street, direction), u, town.side * direction * edge, u)

    def _along(self, kind: str, thing: int, lane: tuple[int, int, int], u: float, offset: float,
               travelled: float) -> Actor:
        along, street, direction = lane
        across = street * self.town.block[1 - along]
        if along == 0:
            yaw = 0.0 if direction > 0 else math.pi
            return self._on_road(kind, thing, (direction * u, across + offset), yaw, travelled)
        return self._on_road(kind, thing, (across - offset, direction * u), direction * math.pi / 2, travelled)

    def _on_road(self, kind: str, thing: int, plan: tuple[float, float], yaw: float, travelled: float) -> Actor:
        position = np.array([*self.town.bend_point(*plan), 0.0])
        return Actor(kind, thing, position, self.town.heading(plan, yaw), travelled)

    @staticmethod
    def parked(plot: Plot) -> list[Actor]:
        """What is parked along a street segment."""
        town, rng, tall = plot.town, plot.draws(18), plot.draws(33)
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
                    if town.crowd and tall.random() < 0.25 * town.crowd:
                        kind = str(tall.choice(["van", "delivery_van", "box_van", "caravan", "trailer"],
                                               p=[0.3, 0.35, 0.15, 0.1, 0.1]))
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
        """People on the pavements of a street: rows of side, d, s, speed and, for those who stand, yaw."""
        rng = np.random.default_rng([self.town.seed, 19, along, i + 100000, j + 100000])
        rows = []
        for _ in range(int(rng.poisson(18 * self.town.people))):
            speed = rng.uniform(0.8, 1.6) * rng.choice([-1, 0, 1], p=[0.4, 0.2, 0.4])
            side, s = rng.choice([-1, 1]), rng.uniform(0, 400)
            d = rng.uniform(0.9, max(1.0, self.town.pavement + self.town.verge - 0.4))
            for companion in range(int(rng.geometric(0.65))):
                rows.append((side, d + companion * rng.uniform(-0.6, 0.6), s + companion * rng.uniform(0.35, 0.8),
                             speed, rng.uniform(0, 2 * np.pi)))
        return np.array(rows).reshape(-1, 5)[:60]

    def people(self, plot: Plot, time: float, eye: np.ndarray) -> Iterator[Actor]:
        """Those on the pavements of a street, who turn back at its ends, and those who cross it; all near `eye`."""
        if self.town.people == 0:
            return
        where = ((plot.along, 1), (plot.i, 8), (plot.j, 8))
        side, d, s, speed, facing = self.walkers(plot.along, plot.i, plot.j).T
        way = s + speed * (self.start_time + time)
        lap = (way + 0.5) % (2 * plot.length - 2)
        back = lap > plot.length - 1
        at = 0.5 + np.where(back, 2 * plot.length - 2 - lap, lap)
        position = plot.world(at, side * (plot.half + d), KERB)
        turn = np.where(speed == 0, facing, np.pi * (back != (speed < 0)))
        near = np.hypot(position[:, 0] - eye[0], position[:, 1] - eye[1]) < _PEOPLE_RANGE
        for number in np.flatnonzero(near).tolist():
            yaw = plot.yaw(float(at[number]), 0.0, float(turn[number]))
            walked = float(way[number]) if speed[number] else 0.0
            yield Actor("person", _thing(5, *where, (number, 6)), position[number], yaw, walked)
        if near.any():
            yield from self._crossing(plot, time)
            if self.town.crowd:
                yield from self._beside_cars(plot, time)

    def _beside_cars(self, plot: Plot, time: float) -> Iterator[Actor]:
        """Those who walk or stand on the road along parked cars, or get in."""
        town, key = self.town, (self.town.seed, plot.along, plot.i, plot.j)
        where = ((plot.along, 1), (plot.i, 8), (plot.j, 8))
        for number in range(int(10 * town.crowd * _draw(24, *key) + 0.5)):
            side = 1 if number % 2 else -1
            d = side * (plot.half - town.parking - 0.1 - 0.4 * _draw(25, *key, number))
            speed = (_draw(26, *key, number) - 0.5) * 2.4 if number % 3 else 0.0
            way = plot.length * _draw(27, *key, number) + speed * (self.start_time + time)
            lap = way % (2 * plot.length - 20)
            back = lap > plot.length - 10
            at = 5 + (2 * plot.length - 20 - lap if back else lap)
            turn = math.pi * (back != (speed < 0)) if speed else 2 * math.pi * _draw(28, *key, number)
            yield Actor("person", _thing(7, *where, (number, 6)), plot.world(at, d, 0.0), plot.yaw(at, d, turn),
                        way if speed else 0.0)

    def _crossing(self, plot: Plot, time: float) -> Iterator[Actor]:
        """Those who cross a street while its traffic has red."""
        town, key = self.town, (self.town.seed, plot.along, plot.i, plot.j)
        where = ((plot.along, 1), (plot.i, 8), (plot.j, 8))
        phase = (self.start_time + time) / town.PERIOD
        opening, closing = (town.green + 0.02, 0.94) if plot.along == 0 else (0.0, town.green)
        reach = plot.half + 0.7
        for number in range(int(5 * town.people * _draw(20, *key) + 0.5)):
            start = opening + 0.25 * (closing - opening) * _draw(21, *key, number)
            end = start + min(0.72 * (closing - opening), 2 * reach / 1.3 / town.PERIOD)
            lap, part = divmod(phase - start, 1)
            share = min(part / (end - start), 1.0)
            sign = 1 if (int(lap) + number) % 2 else -1
            d = sign * reach * (2 * share - 1)
            at = (1.4 if number % 3 else plot.length - 1.4) + 1.6 * (_draw(22, *key, number) - 0.5)
            height = KERB if abs(d) > plot.half else 0.0
            yield Actor("person", _thing(6, *where, (number, 6)), plot.world(at, d, height),
                        plot.yaw(at, d, sign * math.pi / 2), 2 * reach * share if share < 1 else 0.0)
