"""The way of the camera car through the town, and the cars before and behind it in its lane."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from panoptic_ros.synthetic_city.town import Town

_LEGS = 24  # the route turns at most so often; after that it goes straight on
STEP = 0.05  # seconds between two states of the convoy


@dataclass(frozen=True)
class _Piece:
    """A line, or an arc where `turn` (1 / radius, left positive) is not 0; plan coordinates."""

    start: float
    length: float
    x: float
    y: float
    yaw: float
    turn: float


class Route:
    """A path in plan coordinates, by its length; where it must stop at red, and which lanes it uses.

    stops: (length at the stop line, 0 for a street along x or 1 along y).
    own_lanes: (along, street, direction, lane) that belong to the camera car and its neighbours.
    crossed: (along, street, direction) whose lanes the route cuts in a turn.
    """

    def __init__(self, town: Town) -> None:
        rng = np.random.default_rng([town.seed, 7])
        self.town = town
        self.pieces: list[_Piece] = []
        self.stops: list[tuple[float, int]] = []
        self.own_lanes: set[tuple[int, int, int, int]] = set()
        self.crossed: set[tuple[int, int, int]] = set()
        lane = int(rng.integers(0, town.lanes[0]))
        self.own_lanes.add((0, 0, 1, lane))
        x = town.block[0] * 0.5 + rng.uniform(-0.25, 0.2) * town.block[0]
        y = town.side * town.lane_offset(0, lane)
        self._add(x, y, 0.0, 0.0, 0.0)
        if town.has_junctions:
            self._lay(rng, x, y, lane)

    def _add(self, x: float, y: float, yaw: float, length: float, turn: float) -> None:
        start = self.pieces[-1].start + self.pieces[-1].length if self.pieces else 0.0
        self.pieces.append(_Piece(start, length, x, y, yaw, turn))

    def _lay(self, rng: np.random.Generator, x: float, y: float, lane: int) -> None:
        town = self.town
        along, sign, junction = 0, 1, [1, 0]
        here = np.array([x, y])
        self.pieces.clear()
        length = 0.0
        for _ in range(_LEGS):
            ahead = np.array([sign, 0.0]) if along == 0 else np.array([0.0, sign])
            center = np.array([junction[0] * town.block[0], junction[1] * town.block[1]])
            reach = town.half_width(1 - along) + town.pavement + town.verge
            to_stop = float((center - here) @ ahead) - reach - 4.5
            self.stops.append((length + to_stop, along))
            choice = rng.choice(["straight", "right", "left"], p=[0.5, 0.25, 0.25])
            if choice == "straight":
                junction[along] += sign
                target = here + ahead * ((center - here) @ ahead + reach)
                self._line(here, target, along, sign)
                length += float(np.linalg.norm(target - here))
                here = target
                continue
            new_along = 1 - along
            left = np.array([-ahead[1], ahead[0]])
            new_ahead = left if choice == "left" else -left
            new_sign = int(round(new_ahead.sum()))
            if (choice == "left") == (town.side < 0):
                self.crossed.add((along, junction[1 - along], -sign))
            lane = int(rng.integers(0, town.lanes[new_along]))
            new_left = np.array([-new_ahead[1], new_ahead[0]])
            new_lane = center + new_left * town.side * town.lane_offset(new_along, lane)
            crossing = here + ahead * ((new_lane - here) @ ahead)
            radius = 6.5 if (choice == "right") == (town.side < 0) else 9.0
            begin = crossing - ahead * radius
            self._line(here, begin, along, sign)
            yaw = float(np.arctan2(ahead[1], ahead[0]))
            curve = (1 if choice == "left" else -1) / radius
            self._add(begin[0], begin[1], yaw, radius * np.pi / 2, curve)
            length += float(np.linalg.norm(begin - here)) + radius * np.pi / 2
            here = crossing + new_ahead * radius
            along, sign = new_along, new_sign
            self.own_lanes.add((along, junction[1 - along], sign, lane))
            junction[along] += sign
        self._line(here, here + (np.array([sign, 0.0]) if along == 0 else np.array([0.0, sign])), along, sign)

    def _line(self, a: np.ndarray, b: np.ndarray, along: int, sign: int) -> None:
        yaw = (0.0 if sign > 0 else np.pi) if along == 0 else sign * np.pi / 2
        self._add(a[0], a[1], yaw, float(np.linalg.norm(b - a)), 0.0)

    def at(self, length: float) -> tuple[np.ndarray, float]:
        """Plan point (2,) and plan yaw at a length along the route; lines go on beyond both ends."""
        piece = self.pieces[0]
        for candidate in self.pieces:
            if candidate.start > length:
                break
            piece = candidate
        s = length - piece.start
        if piece.turn == 0:
            return np.array([piece.x + s * np.cos(piece.yaw), piece.y + s * np.sin(piece.yaw)]), piece.yaw
        yaw = piece.yaw + s * piece.turn
        return np.array([piece.x + (np.sin(yaw) - np.sin(piece.yaw)) / piece.turn,
                         piece.y - (np.cos(yaw) - np.cos(piece.yaw)) / piece.turn]), yaw

    def bends(self) -> list[tuple[float, float]]:
        """Lengths (begin, end) of the turns at junctions."""
        return [(p.start, p.start + p.length) for p in self.pieces if p.turn != 0]


class Convoy:
    """The camera car and those before and behind it: how far each has come along the route at any time.

    Cars keep their distance, brake for red lights and turns; the states are computed forward from time 0 and kept.
    """

    def __init__(self, town: Town, route: Route, start_time: float) -> None:
        rng = np.random.default_rng([town.seed, 8])
        self.town, self.route, self.start_time = town, route, start_time
        before = int(rng.binomial(3, 0.25 + 0.5 * town.traffic))
        behind = int(rng.integers(0, 3))
        gap = rng.uniform(22, 45) if not town.has_junctions else rng.uniform(9, 20)
        self.own = before
        places = (np.arange(before + 1 + behind)[::-1] - behind) * gap * rng.uniform(0.85, 1.3)
        speed = {"highway": rng.uniform(19, 31), "country": rng.uniform(12, 22)}.get(town.kind, rng.uniform(7, 13))
        self.cruise = speed * np.concatenate([rng.uniform(0.85, 1.1, before), [1.0], np.full(behind, 1.05)])
        self.states = [(places, self.cruise * 0.8)]
        self._stop_at = np.array([s for s, _ in route.stops])
        self._bends = route.bends()

    def places(self, time: float) -> np.ndarray:
        """Lengths along the route (N,) at a time in seconds; car `own` is the camera's, those before it come first."""
        step = time / STEP
        while len(self.states) < int(step) + 3:
            self.states.append(self._advance(*self.states[-1], (len(self.states) - 1) * STEP))
        k, share = int(step), step - int(step)
        return self.states[k][0] * (1 - share) + self.states[k + 1][0] * share

    def _advance(self, places: np.ndarray, speeds: np.ndarray, time: float) -> tuple[np.ndarray, np.ndarray]:
        new_places, new_speeds = places.copy(), speeds.copy()
        now = self.start_time + time
        for car in range(len(places)):
            place, speed = float(places[car]), float(speeds[car])
            limit = float(self.cruise[car])
            if car > 0:
                room = float(places[car - 1]) - place - 10.0  # from middle to middle, behind a lorry too
                limit = min(limit, max(0.0, room / 1.3))
            for k in np.flatnonzero((self._stop_at > place) & (self._stop_at < place + 60))[:1]:
                room = float(self._stop_at[k]) - place
                if self.town.light(self.route.stops[k][1], now) != "green" and room > speed * speed / 14:
                    limit = min(limit, float(np.sqrt(4.0 * max(0.0, room - 0.3))))
            for begin, end in self._bends:
                if place < end and begin < place + 40:
                    limit = min(limit, float(np.sqrt(4.0 ** 2 + 4.0 * max(0.0, begin - place))))
            speed += min(max(limit - speed, -7.0 * STEP), 1.8 * STEP)
            new_speeds[car] = max(0.0, speed)
            new_places[car] = place + new_speeds[car] * STEP
        return new_places, new_speeds
