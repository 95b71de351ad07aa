"""IoU and GIoU of boxes; area and box of each label of a label map. For decodes, losses and metrics."""
