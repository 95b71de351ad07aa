"""Which seed's kernel Phi is largest at each pixel: a small matrix product for each tile and its seeds in reach."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from panoptic_ros.decoding.maximum import first_argmax
from panoptic_ros.methods.hle.kernels import instance_weights

# Height and width of a tile, in pixels of the network's output.
TILE = (8, 32)
# Tiles that are computed at once. On a CPU what fits into its cache, on a GPU what bounds the memory of a
# full-resolution decode.
TILES_AT_ONCE = {"cpu": 64, "cuda": 1024}


class Seeds(NamedTuple):
    """The pixels that instances grow from: embedding (L, D), position (L, 2), log_sigma, spatial_log_sigma (L,)."""

    embedding: Tensor
    position: Tensor
    log_sigma: Tensor
    spatial_log_sigma: Tensor


def nearest_seed(embedding: Tensor, position: Tensor, seeds: Seeds, log_mask: float) -> tuple[Tensor, Tensor]:
    """log Phi (P,) of the best of the seeds for each pixel and its number (P,) int64, 0 .. L - 1; of equals the first.

    embedding: (D, h, w). position: (h, w, 2), coordinates rho. seeds: at least one. log_mask: only log Phi above it has
    to be right: where none is, the result is any value that is not above it. Phi is at most its spatial factor, so that
    a seed does not reach the tiles that are too far away, and many small instances cost little more than a few.
    """
    size = (embedding.shape[1], embedding.shape[2])
    weights, offset = instance_weights(*seeds)
    # The last row is for the tiles that have fewer seeds than others: never the best one.
    weights = F.pad(torch.cat([weights, offset[:, None]], 1), (0, 0, 0, 1))
    weights[-1, -1] = torch.finfo(weights.dtype).min
    tile, numbers, count = _seeds_in_reach(seeds, position, log_mask)
    squared = position.square().sum(2)[None]
    features = torch.cat([_tiles(values, tile) for values in (
        embedding, position.permute(2, 0, 1), squared, torch.ones_like(squared))], 1)
    best, nearest = [], []
    step = TILES_AT_ONCE[embedding.device.type]
    for start in range(0, len(tile), step):
        part = slice(start, start + step)
        rows = numbers[part, :max(count[part])]
        log_phi = weights[rows] @ features[part]  # (tiles, seeds, pixels of a tile)
        largest = log_phi.amax(1, keepdim=True)
        log_phi -= largest
        best.append(largest[:, 0])
        nearest.append(rows.gather(1, first_argmax(log_phi, 1)))
    return (_whole_map(torch.cat(best), tile, size, -torch.inf), _whole_map(torch.cat(nearest), tile, size, 0))


def _seeds_in_reach(seeds: Seeds, position: Tensor, log_mask: float) -> tuple[Tensor, Tensor, list[int]]:
    """The tiles (T,) where the Phi of any seed can be above the mask's threshold; the numbers (T, K) of those seeds,
    ascending, filled up with L; and how many there are in each."""
    limit = 1e-3 - log_mask  # with room for the rounding of log Phi
    reach = limit * 2 * torch.exp(2 * seeds.spatial_log_sigma)  # squared distance at which the spatial factor is that
    across = _outside(position[0, :, 0], TILE[1], seeds.position[:, 0])
    down = _outside(position[:, 0, 1], TILE[0], seeds.position[:, 1])
    squared = (down.square()[:, None] + across.square()).flatten(0, 1)  # of a seed to the nearest pixel of a tile
    in_reach = squared <= reach
    count = in_reach.sum(1)
    tile = count.nonzero()[:, 0]
    in_reach, count = in_reach[tile], count[tile]
    row, seed = in_reach.nonzero(as_tuple=True)
    counts = count.tolist()
    numbers = row.new_full((len(tile), max(counts, default=0)), len(reach))
    numbers[row, torch.arange(len(row), device=row.device) - (count.cumsum(0) - count)[row]] = seed
    return tile, numbers, counts


def _outside(coordinate: Tensor, length: int, own: Tensor) -> Tensor:
    """How far coordinates (L,) are outside each of the ranges of `length` pixels, (ranges, L); 0 inside."""
    first = coordinate[::length]
    last = torch.cat([coordinate[length - 1::length], coordinate[-1:]])[:len(first)]
    return torch.maximum(first[:, None] - own, own - last[:, None]).clamp(min=0)


def _tiles(maps: Tensor, tile: Tensor) -> Tensor:
    """(C, h, w) -> (T, C, pixels of a tile), of those tiles (T,), counted row by row; zeros beyond the maps."""
    channels, height, width = maps.shape
    if height % TILE[0] or width % TILE[1]:
        maps = F.pad(maps, (0, -width % TILE[1], 0, -height % TILE[0]))
    rows, columns = _grid((height, width))
    grid = maps.reshape(channels, rows, TILE[0], columns, TILE[1])
    return grid[:, tile // columns, :, tile % columns].flatten(2)


def _whole_map(values: Tensor, tile: Tensor, size: tuple[int, int], elsewhere: float) -> Tensor:
    """(T, pixels of a tile) -> (h w,), with one value for what is in none of these tiles."""
    rows, columns = _grid(size)
    whole = values.new_full((rows, TILE[0], columns, TILE[1]), elsewhere)
    whole[tile // columns, :, tile % columns] = values.view(-1, *TILE)
    return whole.view(rows * TILE[0], columns * TILE[1])[:size[0], :size[1]].flatten()


def _grid(size: tuple[int, int]) -> tuple[int, int]:
    """Rows and columns of tiles on a map."""
    return -(-size[0] // TILE[0]), -(-size[1] // TILE[1])
