"""The plan of a synthetic town: its style, its grid of bent streets, and what traffic lights show when."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

KERB = 0.12  # metres; height of the pavement above the road


@dataclass(frozen=True)
class Town:
    """The style of a town. Streets lie on a grid that is bent by `bend`; all lengths in metres.

    kind: "centre", "suburb", "highway" or "country"; the last two have one street along x, without junctions.
    block: distance between streets along x and along y. lanes: per direction on streets along x and y.
    side: -1 drives on the right, +1 on the left (sign of the lateral offset, left positive).
    parking, pavement, verge, median, setback: widths, 0 = none; an open road's parking is its hard shoulder.
    floors: fewest and most of a house. built, trees, parked, people, cyclists, traffic: how much there is, 0 to 1.
    crowd: of people beside parked cars, vans and trailers at kerbs, 0 to 1; none in plain drives.
    waves: of the bend across streets along x and along y: amplitude, length / 2 pi, phase. green: share of the lights'
    period in which streets along x may go.
    """

    seed: int
    kind: str
    block: tuple[float, float]
    lanes: tuple[int, int]
    lane_width: float
    parking: float
    pavement: float
    verge: float
    median: float
    setback: float
    floors: tuple[int, int]
    built: float
    trees: float
    parked: float
    people: float
    cyclists: float
    traffic: float
    side: int
    waves: tuple[tuple[float, float, float], tuple[float, float, float]]
    green: float
    crowd: float = 0.0

    @staticmethod
    def of_seed(seed: int) -> Town:
        """Each seed is another town."""
        rng = np.random.default_rng([seed, 1])
        kind = str(rng.choice(["centre", "suburb", "highway", "country"], p=[0.46, 0.28, 0.17, 0.09]))
        side = -1 if rng.random() < 0.8 else 1
        return _built_up(seed, kind, side, rng) if kind in ("centre", "suburb") else _open_road(seed, kind, side, rng)

    @property
    def has_junctions(self) -> bool:
        return self.kind in ("centre", "suburb")

    def half_width(self, along: int) -> float:
        """Half the roadway of a street along x (0) or y (1), kerb to kerb."""
        median = self.median if along == 0 else 0.0
        return self.lanes[along] * self.lane_width + self.parking + median / 2

    def lane_offset(self, along: int, lane: int) -> float:
        """Distance of a lane's middle from the street's middle; lane 0 is next to the middle."""
        median = self.median if along == 0 else 0.0
        return median / 2 + (lane + 0.5) * self.lane_width

    def bend(self, points: np.ndarray) -> np.ndarray:
        """Plan coordinates (..., 2 or more) -> world coordinates; only x and y change."""
        (a, la, pa), (b, lb, pb) = self.waves
        bent = np.array(points, np.float64)
        x, y = points[..., 0], points[..., 1]
        bent[..., 1] = y + a * np.sin(x / la + pa)
        bent[..., 0] = x + b * np.sin(y / lb + pb)
        return bent

    def bend_point(self, x: float, y: float) -> tuple[float, float]:
        """`bend` of one point."""
        (a, la, pa), (b, lb, pb) = self.waves
        return x + b * math.sin(y / lb + pb), y + a * math.sin(x / la + pa)

    def heading(self, point: Sequence[float] | np.ndarray, yaw: float) -> float:
        """The world's yaw of a plan direction at a plan point (2,)."""
        (a, la, pa), (b, lb, pb) = self.waves
        x, y = float(point[0]), float(point[1])
        dx, dy = math.cos(yaw), math.sin(yaw)
        return math.atan2(dy + a / la * math.cos(x / la + pa) * dx, dx + b / lb * math.cos(y / lb + pb) * dy)

    # Traffic lights: all streets along x are green, then all along y; in a green a convoy moves on by one block.

    PERIOD = 20.0  # seconds

    def light(self, along: int, time: float) -> str:
        """What the lights show to a street along x (0) or y (1): "green", "amber" or "red"."""
        phase = time / self.PERIOD % 1
        start, end = (0.0, self.green) if along == 0 else (self.green + 0.06, 0.94)
        if start <= phase < end:
            return "green"
        return "amber" if end <= phase < end + 0.05 else "red"

    def convoy(self, along: int, time: float) -> float:
        """How far the traffic in the lanes of all streets along x or y has moved, in metres."""
        if not self.has_junctions:
            return 0.0
        start, end = (0.0, self.green) if along == 0 else (self.green + 0.06, 0.94)
        turns, phase = divmod(time / self.PERIOD, 1)
        share = min(max((phase - start) / (end + 0.03 - start), 0.0), 1.0)
        # Even acceleration, even speed, even braking.
        ramp = 0.25
        if share < ramp:
            moved = share * share / (2 * ramp)
        elif share < 1 - ramp:
            moved = share - ramp / 2
        else:
            moved = 1 - ramp - (1 - share) ** 2 / (2 * ramp)
        return float((turns + moved / (1 - ramp)) * self.block[along])


def _wave(rng: np.random.Generator, slope: float, length: float) -> tuple[float, float, float]:
    """Amplitude, length / 2 pi and phase of a bend; slope: of its steepest place."""
    return slope * length, length, rng.uniform(0, 2 * np.pi)


def _built_up(seed: int, kind: str, side: int, rng: np.random.Generator) -> Town:
    """Streets with pavements and junctions."""
    centre = kind == "centre"
    main, back = ([1, 1, 2, 3], [1, 1, 2]) if centre else ([1, 1, 1, 2], [1])
    lanes = (int(rng.choice(main)), int(rng.choice(back)))
    low = int(rng.integers(2, 5)) if centre else 1
    length, slope = rng.uniform(70, 140), rng.uniform(0, 0.22) if rng.random() < 0.75 else 0.0
    return Town(
        seed, kind, block=(rng.uniform(62, 115), rng.uniform(75, 115)), lanes=lanes, lane_width=rng.uniform(2.8, 3.5),
        parking=2.2 if rng.random() < 0.65 else rng.uniform(0, 0.5),
        pavement=rng.uniform(1.8, 5.0) if centre else rng.uniform(1.4, 2.8),
        verge=rng.uniform(0.8, 2.0) if not centre and rng.random() < 0.5 else 0.0,
        median=rng.uniform(1.0, 4.0) if lanes[0] > 1 and rng.random() < 0.3 else 0.0,
        setback=rng.uniform(2.5, 9) if not centre else rng.uniform(1, 5) if rng.random() < 0.25 else 0.0,
        floors=(low, low + int(rng.integers(1, 7 if centre else 3))),
        built=rng.uniform(0.6, 1.0) if centre else rng.uniform(0.5, 0.95),
        trees=float(rng.beta(1.2, 1.6)) if centre else rng.uniform(0.3, 1.0), parked=rng.uniform(0.1, 0.95),
        people=float(rng.random() ** 1.5) * (1.4 if centre else 0.7), cyclists=rng.random() ** 2,
        traffic=rng.uniform(0.15, 1.0), side=side,
        waves=(_wave(rng, slope, length), _wave(rng, rng.uniform(0, 0.15), length)), green=rng.uniform(0.5, 0.65))


def _open_road(seed: int, kind: str, side: int, rng: np.random.Generator) -> Town:
    """One road through the country, with lanes of its own for each direction if it is a highway."""
    highway = kind == "highway"
    slope = rng.uniform(0, 0.22) if rng.random() < 0.75 else 0.0
    return Town(
        seed, kind, block=(100.0, 100.0), lanes=(int(rng.integers(2, 5)) if highway else 1, 1),
        lane_width=rng.uniform(3.4, 3.8), parking=rng.uniform(0, 2.2), pavement=0.0, verge=0.0,
        median=rng.uniform(1.0, 9.0) if highway else 0.0, setback=rng.uniform(6, 20),
        floors=(1, int(rng.integers(2, 4))),
        built=rng.uniform(0, 0.15) if highway else rng.uniform(0, 0.25), trees=rng.uniform(0.3, 1.0), parked=0.0,
        people=0.0, cyclists=0.0 if highway else rng.random() ** 2, traffic=rng.uniform(0.15, 1.0), side=side,
        waves=(_wave(rng, slope, 350.0), _wave(rng, 0.0, 350.0)), green=0.5)
