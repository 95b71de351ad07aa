"""Images of feature maps: embeddings by their principal components as colours, single values as brightness."""

from __future__ import annotations

import numpy as np

_PIXELS = 20_000  # enough for the principal directions


def feature_picture(maps: np.ndarray) -> np.ndarray:
    """An image (h, w, 3) uint8 of feature maps (D, h, w) by PCA.

    Three or more dimensions are shown by their first three principal components as red, green and blue: what lies
    close in the space has a similar colour. Fewer are shown as brightness by the first. Each spans the range of its
    1st to 99th percentile.
    """
    dimension = len(maps)
    pixels = maps.reshape(dimension, -1).T
    if dimension >= 3:
        some = pixels[::max(1, len(pixels) // _PIXELS)]
        centred = some - some.mean(0)
        _, directions = np.linalg.eigh(centred.T @ centred)
        pixels = pixels @ directions[:, :-4:-1]
    else:
        pixels = np.repeat(pixels[:, :1], 3, 1)
    low, high = np.percentile(pixels, (1, 99), axis=0)
    shown = np.clip((pixels - low) / np.maximum(high - low, 1e-6), 0, 1)
    return (255 * shown).astype(np.uint8).reshape(*maps.shape[1:], 3)
