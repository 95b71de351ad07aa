"""Cars, lorries, buses and trams: bodies with a profile, a cabin, wheels, glass and lamps."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from panoptic_ros.classes import VOID
from panoptic_ros.synthetic_city.mesh import COMPACT, LONG, Mesh, boxes, join, placed, polygons
from panoptic_ros.synthetic_city.textures import tile_of

CAR, TRUCK, BUS, TRAIN = 13, 14, 15, 16  # caravans and trailers are void, as Cityscapes scores neither

# Colours of faces in a template: the owner's paint times this, marked by a negative red.
_PAINT, _SECOND_PAINT = (-1.0, 0.0, 0.0), (-2.0, 0.0, 0.0)
_DARK, _TYRE, _RIM, _GLASS = (0.07, 0.07, 0.08), (0.06, 0.06, 0.065), (0.55, 0.56, 0.58), (0.55, 0.6, 0.65)
_HEAD, _TAIL, _PLATE, _CHROME = (0.95, 0.95, 0.9), (0.7, 0.05, 0.04), (0.9, 0.88, 0.75), (0.5, 0.5, 0.52)

_LONG_FROM = 6.0  # metres


@dataclass(frozen=True)
class VehicleKind:
    """What a kind of vehicle looks like; all shapes in units of its length, width and height.

    class_id: Cityscapes train id. size: mean length, width, height in metres. share: how often among its class.
    body: (x, z) outline of the lower body, from the lower front upwards and back.
    cabin: x of windscreen foot, roof front, roof back, rear window foot, and z of belt line; None for box bodies.
    wheels: x of the axles. wheel: radius in metres.
    """

    class_id: int
    size: tuple[float, float, float]
    share: float
    body: tuple[tuple[float, float], ...]
    cabin: tuple[float, float, float, float, float] | None
    wheels: tuple[float, ...]
    wheel: float
    cargo: bool = False


def _car_body(nose: float, belt: float, tail: float) -> tuple[tuple[float, float], ...]:
    return ((0.49, 0.13), (0.5, 0.36), (0.47, nose), (0.2, belt), (-0.36, belt + 0.01), (-0.485, tail), (-0.5, 0.38),
            (-0.49, 0.15))


_BOX_BODY = ((0.5, 0.1), (0.5, 0.45), (0.485, 0.97), (0.47, 1.0), (-0.49, 1.0), (-0.5, 0.97), (-0.5, 0.1))

KINDS: dict[str, VehicleKind] = {
    "saloon": VehicleKind(CAR, (4.6, 1.82, 1.45), 1.0, _car_body(0.50, 0.60, 0.60), (0.23, 0.05, -0.22, -0.40, 0.6),
                          (0.3, -0.29), 0.33),
    "hatchback": VehicleKind(CAR, (4.0, 1.76, 1.5), 1.2, _car_body(0.50, 0.59, 0.60), (0.27, 0.07, -0.38, -0.485, 0.59),
                             (0.31, -0.31), 0.32),
    "estate": VehicleKind(CAR, (4.7, 1.84, 1.5), 0.7, _car_body(0.49, 0.58, 0.60), (0.22, 0.05, -0.42, -0.485, 0.58),
                          (0.3, -0.28), 0.33),
    "suv": VehicleKind(CAR, (4.6, 1.9, 1.72), 0.9, _car_body(0.54, 0.62, 0.62), (0.22, 0.08, -0.42, -0.49, 0.61),
                       (0.3, -0.29), 0.37),
    "small_car": VehicleKind(CAR, (3.4, 1.62, 1.52), 0.5, _car_body(0.5, 0.58, 0.6), (0.33, 0.12, -0.38, -0.485, 0.58),
                             (0.33, -0.33), 0.29),
    "van": VehicleKind(CAR, (5.0, 1.95, 2.0), 0.6, _car_body(0.42, 0.5, 0.55), (0.40, 0.24, -0.47, -0.495, 0.5),
                       (0.32, -0.3), 0.34),
    "pickup": VehicleKind(CAR, (5.3, 1.95, 1.8), 0.25, _car_body(0.5, 0.57, 0.57), (0.2, 0.08, -0.1, -0.16, 0.57),
                          (0.31, -0.3), 0.39),
    "box_van": VehicleKind(TRUCK, (6.2, 2.15, 2.9), 1.0, ((0.5, 0.1), (0.5, 0.36), (0.44, 0.42), (0.33, 0.95),
                                                       (0.2, 1.0), (-0.5, 1.0), (-0.5, 0.1)), None, (0.33, -0.3), 0.37),
    "lorry": VehicleKind(TRUCK, (9.0, 2.5, 3.5), 1.0, ((0.5, 0.12), (0.5, 0.4), (0.485, 0.82), (0.46, 0.85),
                                                    (0.28, 0.85), (0.28, 0.12)), None, (0.37, -0.2, -0.33), 0.5, True),
    "flatbed": VehicleKind(TRUCK, (6.8, 2.2, 2.5), 0.6, ((0.5, 0.15), (0.5, 0.5), (0.46, 0.97), (0.42, 1.0),
                                                      (0.22, 1.0), (0.22, 0.15)), None, (0.36, -0.28), 0.42, True),
    "delivery_van": VehicleKind(CAR, (5.7, 2.0, 2.5), 0.6, ((0.5, 0.1), (0.5, 0.37), (0.39, 0.47), (0.27, 0.94),
                                                            (0.2, 1.0), (-0.5, 1.0), (-0.5, 0.1)), None, (0.33, -0.3),
                                0.35),
    "caravan": VehicleKind(VOID, (5.4, 2.2, 2.6), 0.5, ((0.46, 0.15), (0.5, 0.5), (0.44, 0.95), (0.4, 1.0),
                                                        (-0.45, 1.0), (-0.5, 0.9), (-0.48, 0.15)), None, (-0.05,),
                           0.32),
    "trailer": VehicleKind(VOID, (3.2, 1.8, 1.6), 0.5, ((0.5, 0.25), (0.5, 1.0), (-0.5, 1.0), (-0.5, 0.25)), None,
                           (-0.06,), 0.33),
    "bus": VehicleKind(BUS, (11.5, 2.55, 3.1), 1.0, _BOX_BODY, None, (0.3, -0.22), 0.5),
    "coach": VehicleKind(BUS, (12.5, 2.55, 3.6), 0.4, _BOX_BODY, None, (0.31, -0.18, -0.27), 0.52),
    "minibus": VehicleKind(BUS, (7.0, 2.2, 2.8), 0.4, _BOX_BODY, None, (0.33, -0.28), 0.4),
    "tram": VehicleKind(TRAIN, (24.0, 2.5, 3.4), 1.0, ((0.5, 0.08), (0.5, 0.3), (0.475, 0.95), (0.46, 1.0),
                                                    (-0.46, 1.0), (-0.475, 0.95), (-0.5, 0.3), (-0.5, 0.08)), None,
                        (), 0.4),
}

CAR_COLORS = np.array([
    [0.85, 0.85, 0.85], [0.62, 0.63, 0.65], [0.35, 0.36, 0.38], [0.10, 0.10, 0.11], [0.06, 0.06, 0.07],
    [0.45, 0.06, 0.06], [0.10, 0.16, 0.36], [0.22, 0.32, 0.48], [0.16, 0.26, 0.18], [0.52, 0.46, 0.36],
    [0.70, 0.22, 0.06], [0.75, 0.62, 0.10], [0.30, 0.18, 0.13]], np.float32)
CAR_COLOR_SHARES = np.array([5, 5, 4, 4, 5, 2, 2.5, 1.5, 0.8, 0.8, 0.5, 0.4, 0.5])
CAR_COLOR_SHARES /= CAR_COLOR_SHARES.sum()


def level_of_detail(pixels_high: float) -> int:
    """How much of a vehicle is worth drawing: 0 = its body, 1 = glass and wheels too, 2 = lamps too, 3 = everything."""
    return int(np.searchsorted([7, 15, 36], pixels_high))


def build_vehicle(kind: str, thing: int, level: int, rng: np.random.Generator,
                  night: bool) -> tuple[Mesh, np.ndarray]:
    """A vehicle in coordinates of its own (x ahead, z up, on the ground), with its own size and colours.

    level: of detail. rng: draws that are the same for the same vehicle. Returns the mesh and its size (3,) in metres.
    """
    sort = KINDS[kind]
    size = np.array(sort.size) * rng.uniform(0.93, 1.07, 3)
    color = CAR_COLORS[rng.choice(len(CAR_COLORS), p=CAR_COLOR_SHARES)] * rng.uniform(0.8, 1.2)
    second = color if rng.random() < 0.4 else np.array([0.85, 0.85, 0.83]) * rng.uniform(0.6, 1.1)
    if sort.class_id in (BUS, TRAIN) and rng.random() < 0.6:
        color = rng.uniform(0.08, 0.8, 3)
    tile_shift = int(rng.integers(0, 1 << 16))
    mesh = placed(_template(kind, level), size, 0.0, np.zeros(3))
    faces = mesh.faces
    mark = faces["color"][:, 0].copy()
    faces["color"][mark == -1] = np.clip(color, 0.03, 0.95)
    faces["color"][mark == -2] = np.clip(second, 0.03, 0.95)
    poster = faces["glow"] == 9
    faces["glow"][poster] = 0
    faces["tile"][poster] = tile_of("poster", tile_shift)
    if not night:
        faces["glow"] = 0
    faces["thing"] = thing if sort.class_id != VOID else 0
    if sort.size[0] > _LONG_FROM:
        faces["layer"] = LONG
    return mesh, size


@lru_cache(maxsize=64)
def _template(kind: str, level: int) -> Mesh:
    """A kind's mesh in units of its size."""
    sort = KINDS[kind]
    parts = [_profile(sort)]
    if sort.cabin is not None:
        parts.append(_cabin(sort))
    elif kind != "trailer":
        parts.append(_windows_of_box(sort, kind))
    if sort.cargo:
        parts.append(_cargo(sort, kind))
    parts += [_wheels(sort), _lamps(sort)]
    if sort.cabin is not None:
        parts.append(_mirrors(sort))
    mesh = join(parts)
    keep = mesh.faces["detail"] <= level
    starts = mesh.starts()
    points = np.concatenate([mesh.points[s:s + n] for s, n, k in zip(starts, mesh.corners, keep, strict=True) if k])
    return Mesh(points, mesh.corners[keep], mesh.faces[keep])


def _faces(sort: VehicleKind, points: list[list[tuple[float, float, float]]], color: tuple[float, float, float],
           surface: str = "paint", tile_size: tuple[float, float] = (3.0, 1.5), detail: int = 0,
           glow: float = 0.0) -> Mesh:
    return join([polygons(np.array([p], np.float32), sort.class_id, COMPACT, tile_of(surface), color,
                          tile_size=tile_size, detail=detail, glow=glow) for p in points])


def _profile(sort: VehicleKind) -> Mesh:
    """The lower body: its outline on both sides, and the strip around it."""
    outline = sort.body
    # The first edge gives the texture its direction, so a side begins with its bottom edge.
    left = [(x, 0.5, z) for x, z in (outline[0], outline[-1], *outline[-2:0:-1])]
    right = [(x, -0.5, z) for x, z in (outline[-1], outline[0], *outline[1:-1])]
    sides = _faces(sort, [left, right], _PAINT, tile_size=(3.0, sort.size[2] * (0.8 if sort.cabin else 1.0)))
    strips = []
    for (x0, z0), (x1, z1) in zip(outline[:-1], outline[1:], strict=True):
        strips.append([(x0, -0.5, z0), (x0, 0.5, z0), (x1, 0.5, z1), (x1, -0.5, z1)])
    body = _faces(sort, strips, _PAINT, "plain", (2.0, 2.0))
    low = outline[0][1]
    skirt = [[(x, -0.44, 0.03), (x, 0.44, 0.03), (x, 0.44, low + 0.02), (x, -0.44, low + 0.02)] for x in (0.46,)]
    skirt += [[(x, 0.44, 0.03), (x, -0.44, 0.03), (x, -0.44, low + 0.02), (x, 0.44, low + 0.02)] for x in (-0.46,)]
    return join([sides, body, _faces(sort, skirt, _DARK, "plain")])


def _inset(quad: np.ndarray, left: float, right: float, bottom: float, top: float) -> list[tuple[float, float, float]]:
    """Part of a quad (bottom left, bottom right, top right, top left), in shares of its sides."""
    def at(u: float, v: float) -> np.ndarray:
        low, high = quad[0] + (quad[1] - quad[0]) * u, quad[3] + (quad[2] - quad[3]) * u
        return low + (high - low) * v
    return [tuple(at(u, v)) for u, v in ((left, bottom), (right, bottom), (right, top), (left, top))]


def _cabin(sort: VehicleKind) -> Mesh:
    assert sort.cabin is not None
    foot, front, back, rear, belt = sort.cabin
    low, high = 0.475, 0.39
    a = [np.array(p) for p in ((foot, -low, belt), (foot, low, belt), (rear, low, belt), (rear, -low, belt))]
    b = [np.array(p) for p in ((front, -high, 0.985), (front, high, 0.985), (back, high, 0.985), (back, -high, 0.985))]
    walls = {"front": np.array([a[0], a[1], b[1], b[0]]), "left": np.array([a[1], a[2], b[2], b[1]]),
             "back": np.array([a[2], a[3], b[3], b[2]]), "right": np.array([a[3], a[0], b[0], b[3]])}
    roof = np.array([b[0], b[1], b[2], b[3]])
    parts = [_faces(sort, [[tuple(p) for p in w] for w in (*walls.values(), roof)], _PAINT, "plain")]
    glass = [_inset(walls["front"], 0.04, 0.96, 0.05, 0.93), _inset(walls["back"], 0.07, 0.93, 0.15, 0.9)]
    glass += [_inset(walls["left"], 0.06, 0.5, 0.1, 0.9), _inset(walls["left"], 0.53, 0.93, 0.1, 0.9),
              _inset(walls["right"], 0.5, 0.94, 0.1, 0.9), _inset(walls["right"], 0.07, 0.47, 0.1, 0.9)]
    parts.append(_faces(sort, glass, _GLASS, "glass", (1.6, 0.6), 1))
    return join(parts)


def _windows_of_box(sort: VehicleKind, kind: str) -> Mesh:
    """Glass of buses, trams, vans and cabs."""
    front = sort.body[2][0]
    if sort.class_id in (BUS, TRAIN):
        count = 7 if sort.size[0] > 8 else 4
        edges = np.linspace(-0.47, 0.46 if sort.class_id == BUS else 0.44, count + 1)
        low, high = 0.42, 0.85
        panes = []
        for x0, x1 in zip(edges[:-1] + 0.006, edges[1:] - 0.006, strict=True):
            panes.append([(x1, 0.501, low), (x0, 0.501, low), (x0, 0.501, high), (x1, 0.501, high)])
            panes.append([(x0, -0.501, low), (x1, -0.501, low), (x1, -0.501, high), (x0, -0.501, high)])
        nose = [[(0.5, -0.46, 0.36), (0.5, 0.46, 0.36), (front + 0.004, 0.44, 0.86), (front + 0.004, -0.44, 0.86)]]
        tail = [[(-0.501, 0.4, 0.5), (-0.501, -0.4, 0.5), (-0.501, -0.4, 0.85), (-0.501, 0.4, 0.85)]]
        if sort.class_id == TRAIN:
            tail = [[(-0.5, 0.46, 0.36), (-0.5, -0.46, 0.36), (-front, -0.44, 0.86), (-front, 0.44, 0.86)]]
        stripe = [[(0.49, 0.5, 0.12), (-0.49, 0.5, 0.12), (-0.49, 0.5, 0.38), (0.49, 0.5, 0.38)],
                  [(-0.49, -0.5, 0.12), (0.49, -0.5, 0.12), (0.49, -0.5, 0.38), (-0.49, -0.5, 0.38)]]
        board = [[(front + 0.01, -0.3, 0.88), (front + 0.01, 0.3, 0.88), (front + 0.005, 0.3, 0.96),
                  (front + 0.005, -0.3, 0.96)]]
        return join([_faces(sort, stripe, _SECOND_PAINT, "poster", (2.5, 1.2), 1, 9.0 if sort.class_id == BUS else 0.0),
                     _faces(sort, panes + nose + tail, _GLASS, "glass", (3.0, 1.5), 1),
                     _faces(sort, board, (0.1, 0.1, 0.1), "plain", detail=2),
                     _faces(sort, [[tuple(np.array(p) * [1, 0.6, 1] + [0.001, 0, 0]) for p in board[0]]],
                            (0.9, 0.6, 0.1), "poster", (1.0, 0.5), 3, -0.6)])
    foot = 2 if kind in ("box_van", "delivery_van") else 1  # of the windscreen, in the outline
    (x0, z0), (x1, z1) = sort.body[foot], sort.body[foot + 1]
    low_x, high_x = x0 + 0.002, x1 + 0.004
    screen = np.array([(low_x, -0.48, z0), (low_x, 0.48, z0), (high_x, 0.46, z1), (high_x, -0.46, z1)])
    back = x1 - 0.07
    # Ahead below, behind below, behind above, ahead above.
    pane = [(x0 - 0.03, z0 + 0.05), (back, z0 + 0.05), (back, z1 - 0.03), (x1 - 0.02, z1 - 0.03)]
    side = [[(x, 0.501, z) for x, z in pane], [(x, -0.501, z) for x, z in (pane[1], pane[0], pane[3], pane[2])]]
    return _faces(sort, [_inset(screen, 0.03, 0.97, 0.08, 0.92), *side], _GLASS, "glass", (2.0, 0.9), 1)


def _cargo(sort: VehicleKind, kind: str) -> Mesh:
    """The box or the bed behind a cab."""
    front = sort.body[-1][0] - 0.015
    half, center = (front + 0.5) / 2, (front - 0.5) / 2
    low, high = (0.24, 1.0) if kind == "lorry" else (0.3, 0.55)
    quads = boxes(np.array([[center, 0, low]]), np.array([[half, 0.5, high - low]]), np.zeros(1))[0]
    quads = np.concatenate([quads, boxes(np.array([[center, 0, 0.16]]), np.array([[half, 0.36, 0.1]]), np.zeros(1))[0]])
    box = polygons(quads[:5], sort.class_id, COMPACT, tile_of("ribs", 1), _SECOND_PAINT, tile_size=(2.0, 3.0))
    frame = polygons(quads[5:], sort.class_id, COMPACT, tile_of("plain"), _DARK)
    parts = [frame, box]
    if kind == "lorry":
        sides = [[(front - 0.02, 0.5, 0.3), (-0.48, 0.5, 0.3), (-0.48, 0.5, 0.96), (front - 0.02, 0.5, 0.96)],
                 [(-0.48, -0.5, 0.3), (front - 0.02, -0.5, 0.3), (front - 0.02, -0.5, 0.96), (-0.48, -0.5, 0.96)]]
        parts.append(_faces(sort, sides, (0.9, 0.9, 0.9), "poster", (6.0, 2.5), 1, 9.0))
        doors = [[(-0.501, 0.47, 0.27), (-0.501, 0.02, 0.27), (-0.501, 0.02, 0.97), (-0.501, 0.47, 0.97)],
                 [(-0.501, -0.02, 0.27), (-0.501, -0.47, 0.27), (-0.501, -0.47, 0.97), (-0.501, -0.02, 0.97)]]
        parts.append(_faces(sort, doors, _SECOND_PAINT, "ribs", (1.0, 2.0), 1))
    return join(parts)


def _wheels(sort: VehicleKind) -> Mesh:
    """Arch, tyre and rim on both sides, and the treads as seen from front and back."""
    length, width, height = sort.size
    turn = np.linspace(0, 2 * np.pi, 14, endpoint=False)
    parts = []
    for x in sort.wheels:
        for radius, color, detail, lift in ((1.18, _DARK, 1, 0.08), (1.0, _TYRE, 1, 0.0), (0.62, _RIM, 2, 0.0),
                                            (0.2, _DARK, 3, 0.0)):
            r = sort.wheel * radius
            circle_x = x + np.cos(turn) * r / length
            circle_z = np.maximum((sort.wheel * (1 + lift) + np.sin(turn) * r) / height, 0.0)
            for side in (1, -1):
                points = np.stack([circle_x, np.full(14, side * 0.502), circle_z], 1)
                parts.append(polygons((points[::-1] if side > 0 else points)[None], sort.class_id, COMPACT,
                                      tile_of("plain"), color, detail=detail))
        tread = 0.22 / width
        for end in (1, -1):
            at = x + end * sort.wheel * 0.8 / length
            for y in (0.5 - tread, -0.5):
                quad = [(at, y, 0.0), (at, y + tread, 0.0), (at, y + tread, 0.3), (at, y, 0.3)]
                parts.append(_faces(sort, [quad if end > 0 else [quad[1], quad[0], quad[3], quad[2]]], _TYRE, "plain"))
    return join(parts) if parts else polygons(np.zeros((0, 4, 3)), CAR, COMPACT, 0, (0, 0, 0))


def _lamps(sort: VehicleKind) -> Mesh:
    """Headlamps, grille and plate in front; red lamps, plate and bumper behind."""
    x, back = 0.503, -0.503
    tall = sort.cabin is None
    low, high = (0.16, 0.24) if tall else (0.37, 0.47)
    base = 0.18 if tall else 0.26

    def front(y0: float, y1: float, z0: float, z1: float, at: float = x) -> list[tuple[float, float, float]]:
        return [(at, y0, z0), (at, y1, z0), (at, y1, z1), (at, y0, z1)]

    def rear(y0: float, y1: float, z0: float, z1: float) -> list[tuple[float, float, float]]:
        return [(back, y1, z0), (back, y0, z0), (back, y0, z1), (back, y1, z1)]

    red = (0.2, 0.32) if tall else (0.42, 0.58)
    return join([
        _faces(sort, [front(-0.46, -0.27, low, high), front(0.27, 0.46, low, high)], _HEAD, "plain", detail=2,
               glow=-1.5),
        _faces(sort, [front(-0.24, 0.24, low - 0.04, high - 0.02)], _DARK, "ribs", (0.5, 0.3), 2),
        _faces(sort, [front(-0.44, 0.44, base - 0.12, base - 0.03), rear(-0.46, 0.46, base - 0.1, base)],
               (0.12, 0.12, 0.13), "plain", detail=2),
        _faces(sort, [rear(-0.48, -0.36, *red), rear(0.36, 0.48, *red)], _TAIL, "plain", detail=2, glow=-0.9),
        _faces(sort, [front(-0.14, 0.14, base - 0.03, base + 0.05), rear(-0.14, 0.14, red[0] - 0.02, red[0] + 0.06)],
               _PLATE, "plain", detail=3),
    ])


def _mirrors(sort: VehicleKind) -> Mesh:
    assert sort.cabin is not None
    x, z = sort.cabin[0] - 0.04, sort.cabin[4] + 0.01
    quads = boxes(np.array([[x, 0.54, z], [x, -0.54, z]]), np.array([[0.012, 0.05, 0.09]] * 2), np.zeros(2))
    return polygons(quads.reshape(-1, 4, 3), sort.class_id, COMPACT, tile_of("plain"), _PAINT)
