"""Tiny configurations of the three architectures that the method universal wraps."""

from __future__ import annotations

from typing import Any

SWIN = {"model_type": "swin", "embed_dim": 8, "depths": [1, 1, 1, 1], "num_heads": [1, 1, 2, 2], "window_size": 4,
        "out_features": ["stage1", "stage2", "stage3", "stage4"]}
DECODER = {"backbone_config": SWIN, "hidden_dim": 32, "encoder_feedforward_dim": 16, "encoder_layers": 1,
           "decoder_layers": 2, "num_attention_heads": 2, "dim_feedforward": 16, "num_queries": 20,
           "train_num_points": 256}
CONFIGS: dict[str, dict[str, Any]] = {
    "mask2former": {**DECODER, "feature_size": 32, "mask_feature_size": 32},
    "oneformer": {**DECODER, "conv_dim": 32, "mask_dim": 32, "text_encoder_width": 32, "text_encoder_num_layers": 1,
                  "text_encoder_vocab_size": 64, "text_encoder_proj_layers": 1, "task_seq_len": 7},
    "eomt": {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2, "image_size": 64, "patch_size": 16,
             "num_blocks": 2, "num_queries": 20, "num_register_tokens": 1, "train_num_points": 256},
}
TASK_TOKENS = {"oneformer": (11, 5, 3, 8, 0, 0, 0)}
