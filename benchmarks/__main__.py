"""Run latency, throughput and shipped-model benchmarks one after the other: python -m benchmarks [--quick].

Not among them: ablations and `train_real`, which train for hours, `soak` and `random_messages`, which are for long
times, `tracking`, which needs further packages, and those of a single method's parts: `decode_dense_detections`,
`decode_einet`, `decode_all_scales`, `decode_universal`, `crop_aware_boxes`. `peers` and `growth` write plots,
`gpu_check` is for machines with a CUDA device.
"""

from __future__ import annotations

import subprocess
import sys

BENCHMARKS = ("pipeline", "metrics", "node_throughput", "training_throughput", "shipped_model")

if __name__ == "__main__":
    failed = 0
    for name in BENCHMARKS:
        print(f"\n== {name}", flush=True)
        failed += subprocess.call([sys.executable, "-m", f"benchmarks.{name}", *sys.argv[1:]]) != 0
    sys.exit(failed)
