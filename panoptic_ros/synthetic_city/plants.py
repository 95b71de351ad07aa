"""Trees, bushes and hedges."""

from __future__ import annotations

import numpy as np

from panoptic_ros.synthetic_city.barriers import add_run
from panoptic_ros.synthetic_city.mesh import COMPACT, STRIP, TWO_SIDED, Scene, surface
from panoptic_ros.synthetic_city.palette import Palette
from panoptic_ros.synthetic_city.plots import UP, VEGETATION, Plot
from panoptic_ros.synthetic_city.textures import tile_of

_OCTAGON = np.stack([np.cos(np.arange(8) * np.pi / 4), np.sin(np.arange(8) * np.pi / 4)], 1)


def add_trees(scene: Scene, palette: Palette, feet: np.ndarray, rng: np.random.Generator, height: float) -> None:
    """Trees of one kind at feet (N, 3), about `height` metres tall: broad-leaved, conifers or bare."""
    if len(feet) == 0:
        return
    if rng.random() < palette.bare:
        _add_bare(scene, feet, rng, height)
    elif rng.random() < 0.18:
        _add_conifers(scene, palette, feet, rng, height)
    else:
        _add_broadleaved(scene, palette, feet, rng, height)


def _add_trunks(scene: Scene, feet: np.ndarray, fork: np.ndarray, top: np.ndarray, tall: np.ndarray,
                rng: np.random.Generator) -> None:
    color = np.array([0.3, 0.25, 0.2]) * rng.uniform(0.5, 1.3)
    bark = surface(len(feet), VEGETATION, COMPACT, tile_of("bark", rng.integers(2)), color, tile_size=(0.8, 1.5),
                   flags=TWO_SIDED, anchor=feet[:, :2])
    scene.add_rods(feet, fork, tall * 0.045, tall * 0.03, bark)
    scene.add_rods(fork, top, tall * 0.03, tall * 0.012, bark)


def _add_broadleaved(scene: Scene, palette: Palette, feet: np.ndarray, rng: np.random.Generator, height: float) -> None:
    count = len(feet)
    tall = height * rng.uniform(0.75, 1.25, count)
    clear = tall * rng.uniform(0.12, 0.4)
    lean = rng.normal(0, 0.25, (count, 3)) * [1, 1, 0]
    _add_trunks(scene, feet, feet + lean + clear[:, None] * UP, feet + lean * 2 + tall[:, None] * 0.7 * UP, tall, rng)
    clumps = int(rng.integers(5, 10))
    radius = tall * rng.uniform(0.2, 0.34)
    shape = rng.normal(0, 0.45, (count, clumps, 3))
    shape[:, 0] *= 0.3
    spread = np.stack([radius, radius, (tall - clear) * 0.42], 1)
    center = feet[:, None] + lean[:, None] + shape * spread[:, None]
    center[..., 2] += (clear + tall)[:, None] / 2
    half = np.stack([radius, np.maximum((tall - clear) * 0.36, radius * 0.6)], 1)[:, None]
    half = half * rng.uniform(0.4, 0.9, (count, clumps, 1))
    half[:, 0] *= 1.2
    bright = 0.9 + 0.32 * shape[..., 2:] + rng.normal(0, 0.12, (count, clumps, 1))
    color = palette.leaf * rng.uniform(0.75, 1.25, (count, 1, 1)) * bright * rng.uniform(0.9, 1.1, (count, 1, 3))
    _add_leaves(scene, feet, center, half, color, rng)
    scene.add_casters(feet[:, None, :2] + _OCTAGON * radius[:, None, None] * 0.95, clear, tall * 0.9)


def _add_conifers(scene: Scene, palette: Palette, feet: np.ndarray, rng: np.random.Generator, height: float) -> None:
    count, clumps = len(feet), 7
    tall = height * rng.uniform(0.8, 1.3, count)
    _add_trunks(scene, feet, feet + tall[:, None] * 0.15 * UP, feet + tall[:, None] * 0.9 * UP, tall, rng)
    share = np.linspace(0.2, 0.95, clumps)
    radius = tall * rng.uniform(0.13, 0.24)
    center = feet[:, None] + (tall[:, None] * share)[..., None] * UP + rng.normal(0, 0.08, (count, clumps, 3))
    half = np.stack([radius[:, None] * (1.08 - share), np.repeat(tall[:, None] * 0.11, clumps, 1)], 2)
    color = palette.leaf * [0.6, 0.75, 0.9] * rng.uniform(0.6, 1.1, (count, clumps, 1))
    _add_leaves(scene, feet, center, half, color, rng)
    scene.add_casters(feet[:, None, :2] + _OCTAGON * radius[:, None, None] * 0.7, 0.5, tall * 0.8)


def _add_leaves(scene: Scene, feet: np.ndarray, center: np.ndarray, half: np.ndarray, color: np.ndarray,
                rng: np.random.Generator) -> None:
    """Clumps (N, K, ...) of the crowns of N trees."""
    count, clumps = center.shape[:2]
    tile = tile_of("leaves", rng.integers(0, 64, (count, 1)).repeat(clumps, 1).reshape(-1))
    faces = surface(count * clumps, VEGETATION, COMPACT, tile, np.clip(color, 0.02, 1).reshape(-1, 3),
                    tile_size=rng.uniform(1.5, 4, 2), flags=TWO_SIDED, anchor=np.repeat(feet[:, :2], clumps, 0))
    scene.add_blobs(center.reshape(-1, 3), half.reshape(-1, 2), rng.integers(8, 24, count * clumps), faces)


def _add_bare(scene: Scene, feet: np.ndarray, rng: np.random.Generator, height: float) -> None:
    """Winter: a trunk and branches."""
    count, branches = len(feet), 9
    tall = height * rng.uniform(0.75, 1.25, count)
    fork = feet + tall[:, None] * 0.35 * UP
    _add_trunks(scene, feet, fork, feet + tall[:, None] * 0.85 * UP, tall, rng)
    start = feet[:, None] + (tall[:, None] * rng.uniform(0.3, 0.7, (count, branches)))[..., None] * UP
    out = rng.normal(0, 0.22, (count, branches, 3)) * [1, 1, 0] + rng.uniform(0.08, 0.3, (count, branches, 1)) * UP
    end = start + out * tall[:, None, None]
    tips = end[:, :, None] + rng.normal(0, 0.08, (count, branches, 3, 3)) * tall[:, None, None, None] + 0.3 * UP
    bark = surface(count * branches, VEGETATION, COMPACT, tile_of("bark"), (0.25, 0.21, 0.18), flags=TWO_SIDED,
                   anchor=np.repeat(feet[:, :2], branches, 0))
    scene.add_rods(start.reshape(-1, 3), end.reshape(-1, 3), np.repeat(tall * 0.018, branches),
                   np.repeat(tall * 0.008, branches), bark)
    scene.add_rods(np.repeat(end.reshape(-1, 3), 3, 0), tips.reshape(-1, 3), 0.05, 0.02, np.repeat(bark, 3))
    scene.add_casters(feet[:, None, :2] + _OCTAGON * 0.3, 0.0, tall * 0.7)


def add_bushes(scene: Scene, palette: Palette, feet: np.ndarray, rng: np.random.Generator) -> None:
    """Bushes on the ground at (N, 3)."""
    count = len(feet)
    half = rng.uniform(0.4, 2.0, (count, 1)) * [1.3, 0.8]
    center = feet + half[:, 1:] * 0.6 * UP
    scene.add_blobs(center, half, rng.integers(8, 24, count), surface(
        count, VEGETATION, COMPACT, tile_of("leaves", rng.integers(0, 64, count)),
        palette.leaf * rng.uniform(0.6, 1.2, (count, 1)), tile_size=(2.5, 2.5), flags=TWO_SIDED, anchor=feet[:, :2]))


def add_hedge(scene: Scene, plot: Plot, palette: Palette, d: float, rng: np.random.Generator, s0: float,
              s1: float) -> None:
    """A clipped hedge along the street with shoots above."""
    thick, height = rng.uniform(0.4, 1.2), rng.uniform(0.6, 2.2)
    color = palette.leaf * rng.uniform(0.7, 1.1)
    tile = tile_of("leaves", rng.integers(64))
    add_run(scene, plot, d, VEGETATION, thick, height, tile, color, s0, s1, size=(2.5, 2.5))
    s = np.arange(s0 + 0.5, s1 - 0.3, 1.1)
    center = plot.world(s, d, plot.base + height * 0.85)
    half = np.stack([rng.uniform(0.5, 0.9, len(s)), rng.uniform(0.2, 0.4, len(s)) * height], 1)
    scene.add_blobs(center, half, rng.integers(8, 24, len(s)), surface(
        len(s), VEGETATION, STRIP, tile, color * rng.uniform(0.85, 1.15, (len(s), 1)), tile_size=(2.5, 2.5),
        flags=TWO_SIDED, anchor=center[:, :2]))
