"""Contact sheet: labelled images side by side, what is void hatched, to be looked through in a minute."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from panoptic_ros.image_files import write_image

WIDTH, COLUMNS, LIMIT = 320, 4, 48


class ContactSheet:
    """Collects up to LIMIT images, evenly spread over those that are said to come."""

    def __init__(self, images: int) -> None:
        self._wanted = set(np.linspace(0, max(images - 1, 0), min(images, LIMIT)).round().astype(int).tolist())
        self._seen = 0
        self._tiles: list[np.ndarray] = []

    def add(self, overlay: np.ndarray, is_void: np.ndarray, title: str) -> None:
        """overlay: (H, W, 3) uint8, blue first. is_void: (H, W) bool."""
        self._seen += 1
        if self._seen - 1 not in self._wanted:
            return
        height = round(overlay.shape[0] * WIDTH / overlay.shape[1])
        tile = cv2.resize(overlay, (WIDTH, height), interpolation=cv2.INTER_AREA)
        void = cv2.resize(is_void.astype(np.uint8), (WIDTH, height), interpolation=cv2.INTER_NEAREST) > 0
        y, x = np.mgrid[:height, :WIDTH]
        tile[void] = tile[void] // 2
        tile[void & ((x + y) % 8 < 2)] = (0, 0, 0)
        cv2.rectangle(tile, (0, 0), (9 * len(title) + 8, 20), (0, 0, 0), cv2.FILLED)
        cv2.putText(tile, title, (5, 15), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (255, 255, 255), 1, cv2.LINE_AA)
        self._tiles.append(tile)

    def write(self, file: Path) -> None:
        """Write it; nothing where there are no images."""
        if not self._tiles:
            return
        height = max(tile.shape[0] for tile in self._tiles)
        rows = -(-len(self._tiles) // COLUMNS)
        sheet = np.zeros((rows * height, min(COLUMNS, len(self._tiles)) * WIDTH, 3), np.uint8)
        for k, tile in enumerate(self._tiles):
            y, x = k // COLUMNS * height, k % COLUMNS * WIDTH
            sheet[y:y + tile.shape[0], x:x + WIDTH] = tile
        write_image(file, sheet, [cv2.IMWRITE_JPEG_QUALITY, 88])
