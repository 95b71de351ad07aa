"""Decode: nearest candidate centroid of each pixel, matrix NMS of the candidates' masks, majority vote of classes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from panoptic_ros.decoding.panoptic_merge import panoptic_merge
from panoptic_ros.decoding.segments import Decoded, DecodedImage, segments_of_cells
from panoptic_ros.methods.centroid_embedding.positions import cell_of
from panoptic_ros.settings import check_ranges, setting

# Pixels that are compared with candidates at once.
PIXELS_AT_ONCE = {"cpu": 1 << 11, "cuda": 1 << 18}


@dataclass(frozen=True)
class Thresholds:
    """Settings of the decode; defaults are Painter's, whose merge the paper takes over, but for its stuff_area of 8192.
    """

    score: float = setting(0.55, 0.0, 1.0, "a candidate whose mask has a lower score, after NMS, is no instance",
                           search=(0.3, 0.75))
    distance: float = setting(
        19.0, 0.1, 40.0, "the mask of a candidate are the pixels whose centroids are so near to it: 255ths of the "
        "image's width and height, added", search=(1.0, 30.0))
    sigma: float = setting(2.0, 0.0, 100.0, "of the Gaussian by which matrix NMS lowers scores of overlapping masks",
                           search=(0.5, 8.0))
    overlap: float = setting(0.5, 0.0, 1.0, "an instance of which better ones hide a larger share is dropped",
                             search=(0.2, 0.8))
    candidates: int = setting(2000, 1, 10000, "candidates of an image at most, those that are nearest to most pixels")
    max_instances: int = setting(100, 1, 1000, "instances of an image at most, those with the highest scores")
    stuff: float = setting(0.0, 0.0, 1.0, "a pixel whose class probability is not above this is void, not stuff",
                           search=(0.0, 0.7))
    thing_area: int = setting(0, 0, 1 << 24, "smaller instances, in pixels of the output, become void",
                              search=(8, 400))
    stuff_area: int = setting(0, 0, 1 << 24, "smaller stuff segments, in pixels of the output, become void",
                              search=(16, 4000))

    def __post_init__(self) -> None:
        check_ranges(self)


def decode(outputs: dict[str, Tensor], is_thing: Tensor, thresholds: Thresholds,
           output_size: tuple[int, int], with_semantics: bool = False) -> Decoded:
    """Network outputs -> segments and depth, on the device of the outputs.

    outputs: what `Network.forward` and `Network.decode_parameters` return. is_thing: (C,) bool. output_size: (H, W).
    Segments come as things, best score first, then stuff by class. An instance's score is that of its mask times the
    mean probability of its class in it. There is no embedding: that of a centroid says where an object is, not which.
    """
    centroid = outputs.get("centroid")
    depth = None
    if "depth" in outputs:
        depth = F.interpolate(outputs["depth"], output_size, mode="bilinear", align_corners=False)[:, 0]
    return Decoded.of_images(
        (_decode_one(logits, None if centroid is None else centroid[b], outputs["row_code"], outputs["column_code"],
                     is_thing, thresholds, output_size, with_semantics)
         for b, logits in enumerate(outputs["class_logits"])), depth)


def _decode_one(logits: Tensor, centroid: Tensor | None, row_code: Tensor, column_code: Tensor, is_thing: Tensor,
                thresholds: Thresholds, output_size: tuple[int, int], with_semantics: bool) -> DecodedImage:
    size = (logits.shape[1], logits.shape[2])
    best, class_id = logits.flatten(1).max(0)
    class_score = 1 / (logits.flatten(1) - best).exp().sum(0)
    instance, score, instance_class = torch.zeros_like(class_id), class_score.new_zeros(0), class_id.new_zeros(0)
    if centroid is not None:
        cell, confidence = nearest_candidates(centroid.flatten(1), row_code, column_code)
        instance, score = merge_candidates(cell, confidence, (len(row_code), len(column_code)), thresholds)
        instance, score, instance_class = _vote(instance, score, class_id, class_score, is_thing)
    return segments_of_cells(instance, instance_class, score, class_id, class_score, class_score, is_thing, size,
                             output_size, thresholds.thing_area, thresholds.stuff_area, thresholds.stuff,
                             with_semantics=with_semantics)


def nearest_candidates(centroid: Tensor, row_code: Tensor, column_code: Tensor) -> tuple[Tensor, Tensor]:
    """The candidate of each pixel: its cell in the grid, row * columns + column, or -1 for void, (P,) int64; and how
    near it is, (P,) from 0 to 1.

    centroid: (., P), encoded as the D of the codes says: see `code_of_cells`.
    """
    if row_code.shape[1] == 0:
        return _most_probable(centroid, len(row_code), len(column_code))
    if row_code.shape[1] == 1:
        return _nearest_color(centroid, row_code, column_code)
    # Nearest by Eq. 4, the sum of the distances of two halves: so each half is searched alone, 80 + 80 comparisons
    # a pixel in place of 6400. Void is the zero vector.
    u, v = centroid.chunk(2)
    length_u, length_v = (half.square().sum(0).sqrt() for half in (u, v))  # norm() takes ten times as long
    root = (row_code.shape[1] / 2) ** 0.5  # the length of every code
    # Within half of it around zero there is no code that is nearer than zero: most pixels need no search.
    pixels = (torch.maximum(length_u, length_v) > root / 2).nonzero()[:, 0]
    column, to_column = _nearest_code(u, length_u, column_code, pixels)
    row, to_row = _nearest_code(v, length_v, row_code, pixels)
    distance = to_column + to_row
    is_void = distance >= length_u[pixels] + length_v[pixels]
    cell = centroid.new_full((centroid.shape[1],), -1, dtype=torch.int64)
    cell[pixels] = torch.where(is_void, -1, row * len(column_code) + column)
    confidence = torch.zeros_like(length_u)
    confidence[pixels] = (1 - distance / (2 * root)).clamp(min=0)  # 0 at the distance of void
    return cell, confidence


def _nearest_code(half: Tensor, length: Tensor, code: Tensor, pixels: Tensor) -> tuple[Tensor, Tensor]:
    """Row of the nearest of the codes (N, D), and the distance to it, for these pixels of half an embedding (D, P).

    All codes have one length: the nearest is that with the largest product. Of codes whose products differ by less than
    a 8000th of them any may be taken.
    """
    # The number of the code stands in the last bits of the product's mantissa: a maximum alone is several times as fast
    # as one that says where it is.
    low = (1 << (len(code) - 1).bit_length()) - 1
    number = torch.arange(len(code), dtype=torch.int32, device=code.device)[:, None]
    half = half[:, pixels]
    index = torch.empty_like(pixels)
    step = PIXELS_AT_ONCE[half.device.type]
    for start in range(0, len(pixels), step):
        product = (code @ half[:, start:start + step]).view(torch.int32).bitwise_and_(~low).bitwise_or_(number)
        index[start:start + step] = product.view(half.dtype).amax(0).view(torch.int32) & low
    product = (code[index].T * half).sum(0)
    return index, (length[pixels].square() - 2 * product + code.shape[1] / 2).clamp(min=0).sqrt()


def _nearest_color(color: Tensor, row_code: Tensor, column_code: Tensor) -> tuple[Tensor, Tensor]:
    """Direct regression: red is x, green is y, both from 0 to 1, and blue is 1 on objects; void is black."""
    red, green, blue = color
    column, row = cell_of(2 * red - 1, len(column_code)), cell_of(2 * green - 1, len(row_code))
    distance = (red - column_code[column, 0]).abs() + (green - row_code[row, 0]).abs() + (blue - 1).abs()
    is_void = distance >= color.abs().sum(0)
    return torch.where(is_void, -1, row * len(column_code) + column), (1 - distance).clamp(min=0)


def _most_probable(logits: Tensor, rows: int, columns: int) -> tuple[Tensor, Tensor]:
    """Classification of columns and rows, each with void as its last class."""
    along_x, along_y = (part.softmax(0) for part in logits.split([columns + 1, rows + 1]))
    (p_column, column), (p_row, row) = along_x[:-1].max(0), along_y[:-1].max(0)
    probability = p_column * p_row
    is_void = along_x[-1] * along_y[-1] >= probability
    return torch.where(is_void, -1, row * columns + column), probability


def merge_candidates(cell: Tensor, confidence: Tensor, grid: tuple[int, int],
                     thresholds: Thresholds) -> tuple[Tensor, Tensor]:
    """Instances of the pixels' candidates, as in Painter (Wang et al. 2023): matrix NMS and a panoptic merge.

    cell, confidence: (P,), see `nearest_candidates`. Returns the instance of each pixel (P,) int64, 0 = none, and the
    score of each instance (J,), best first.
    All that follows the histogram of the cells is on those that are occupied, however many pixels they have.
    """
    rows, columns = grid
    inside = (cell >= 0).nonzero()[:, 0]
    count = torch.bincount(cell[inside], minlength=rows * columns)
    total = confidence.new_zeros(rows * columns).index_add_(0, cell[inside], confidence[inside])
    candidate = count.nonzero()[:, 0]
    if len(candidate) > thresholds.candidates:
        candidate = candidate[count[candidate].topk(thresholds.candidates).indices]

    near, far = (_offsets(factor * thresholds.distance, grid, count.device) for factor in (1, 2))
    plane = _PaddedGrid(grid, int(2 * thresholds.distance * rows / 255), int(2 * thresholds.distance * columns / 255))
    pixels = plane.around(count.to(confidence.dtype), candidate, near)  # (K, M) of each cell of a mask
    # A soft mask falls to a half at its edge, as a sigmoid where it is thresholded; the score is its mean in the mask.
    soft = 1 - _distance(near, grid) / (2 * thresholds.distance)
    score = plane.around(total, candidate, near) @ soft / pixels.sum(1)
    good = (score >= thresholds.score).nonzero()[:, 0]  # NMS only lowers scores
    candidate, pixels, score = candidate[good], pixels[good], score[good]

    # Two masks share the cells of one that are near to the other's centre as well.
    both = (_distance(near[:, None] - far, grid) < thresholds.distance).to(pixels.dtype)
    score = score * _matrix_nms(plane, candidate, far, pixels @ both, pixels.sum(1), score, thresholds.sigma)
    order = score.argsort(descending=True, stable=True)[:thresholds.max_instances]
    order = order[score[order] >= thresholds.score]
    instance, member = (pixels[order] > 0).nonzero(as_tuple=True)
    covered = candidate[order][instance] + near[member, 0] * columns + near[member, 1]
    of_cell = panoptic_merge(covered, instance, rows * columns, len(order), thresholds.overlap, count)
    return F.pad(of_cell, (0, 1))[cell], score[order]  # the last one is cell -1


def _matrix_nms(plane: _PaddedGrid, candidate: Tensor, far: Tensor, shared: Tensor, area: Tensor, score: Tensor,
                sigma: float) -> Tensor:
    """Factors (K,) of the scores of masks: matrix NMS with a Gaussian (Wang et al. 2020, SOLOv2).

    candidate: (K,) cells. shared: (K, F) pixels that each mask shares with that of the cell at each of the offsets far.
    """
    rank = torch.empty_like(candidate)
    rank[score.argsort(descending=True, stable=True)] = torch.arange(len(rank), device=rank.device)
    better = plane.around(plane.of(candidate, rank, len(rank)), candidate, far, len(rank)) < rank[:, None]
    other = plane.around(plane.of(candidate, area, 0), candidate, far)
    iou = torch.where(better, shared / (area[:, None] + other - shared), 0)
    # A mask that is itself hidden by a better one suppresses less.
    own = iou.amax(1)
    hidden = plane.around(plane.of(candidate, own, 0), candidate, far)
    return torch.where(better, (-sigma * (iou.square() - hidden.square())).exp(), 1).amin(1)


def _distance(offset: Tensor, grid: tuple[int, int]) -> Tensor:
    """Of offsets (..., 2) in rows and columns: 255ths of the image's height and width, added."""
    return 255 * (offset[..., 0].abs() / grid[0] + offset[..., 1].abs() / grid[1])


def _offsets(distance: float, grid: tuple[int, int], device: torch.device) -> Tensor:
    """All offsets (M, 2) of a cell, in rows and columns, that are nearer than a distance."""
    along = [torch.arange(-reach, reach + 1, device=device)
             for reach in (int(distance * side / 255) for side in grid)]
    offset = torch.cartesian_prod(*along)
    return offset[_distance(offset, grid) < distance]


class _PaddedGrid(NamedTuple):
    """A grid of cells with a margin, so that neighbours of all cells can be looked up."""

    grid: tuple[int, int]
    rows: int
    columns: int

    def of(self, cell: Tensor, values: Tensor, empty: float) -> Tensor:
        """Values (K,) of some cells, for the whole grid (rows * columns,)."""
        return values.new_full((self.grid[0] * self.grid[1],), empty).index_copy_(0, cell, values)

    def around(self, values: Tensor, cell: Tensor, offset: Tensor, beyond: float = 0) -> Tensor:
        """Of values of all cells, those at each offset (M, 2) from some cells (K,): (K, M)."""
        padded = F.pad(values.view(self.grid), (self.columns, self.columns, self.rows, self.rows), value=beyond)
        width = padded.shape[1]
        place = (cell // self.grid[1] + self.rows) * width + cell % self.grid[1] + self.columns
        return padded.flatten()[place[:, None] + offset[:, 0] * width + offset[:, 1]]


def _vote(instance: Tensor, score: Tensor, class_id: Tensor, class_score: Tensor,
          is_thing: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Majority vote: instance of each pixel, score and class of each instance, without those that most of their pixels
    say are stuff; best first."""
    count, classes = len(score), len(is_thing)
    votes = torch.bincount(instance * classes + class_id, minlength=(count + 1) * classes).view(-1, classes)
    majority = votes.argmax(1)
    agrees = torch.where(class_id == majority[instance], class_score, 0)
    mean = class_score.new_zeros(count + 1).index_add_(0, instance, agrees) / votes.sum(1).clamp(min=1)
    score, majority = score * mean[1:], majority[1:]
    kept = is_thing[majority].nonzero()[:, 0]
    kept = kept[score[kept].argsort(descending=True, stable=True)]
    number = torch.zeros_like(votes[:, 0]).index_copy_(0, kept + 1, torch.arange(1, len(kept) + 1,
                                                                                 device=kept.device))
    return number[instance], score[kept], majority[kept]
