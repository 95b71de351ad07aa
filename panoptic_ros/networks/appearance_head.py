"""AppearanceHead: what a network says of a segment -> the vector by which the segment's object is known again."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class AppearanceHead(nn.Module):
    """Features of segments (N, F) -> vectors (N, D) of unit length, close together for views of one object.

    Features are normalised by their mean and standard deviation in training, `feature_mean` and `feature_std` (F,).
    It is trained by `training.train_appearance` and lies in a model folder's `appearance.safetensors`.
    """

    feature_mean: Tensor
    feature_std: Tensor

    def __init__(self, features: int, dimension: int = 32, hidden: int = 128, dropout: float = 0.2) -> None:
        super().__init__()
        self.register_buffer("feature_mean", torch.zeros(features))
        self.register_buffer("feature_std", torch.ones(features))
        self.hidden = nn.Linear(features, hidden)
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(hidden, dimension)

    @staticmethod
    def of_state(state: dict[str, Tensor]) -> AppearanceHead:
        """A head of these weights, ready to be used. Raises KeyError or RuntimeError where they are none of a head."""
        hidden, features = state["hidden.weight"].shape
        head = AppearanceHead(features, state["output.weight"].shape[0], hidden)
        head.load_state_dict(state)
        return head.eval()

    def forward(self, features: Tensor) -> Tensor:
        x = self.dropout(F.gelu(self.hidden((features - self.feature_mean) / self.feature_std)))
        return F.normalize(self.output(x), dim=1)
