"""Export a model's network: python -m training.export --model runs/city/model --format onnx --out city.onnx

The file holds the network alone: normalised images in, the method's outputs by name out; what comes before and after
is `panoptic_ros.perception`'s. It is checked against torch, by ONNX Runtime where that is installed.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import torch

from panoptic_ros.atomic_write import write_atomically
from panoptic_ros.engines.onnx_graph import INPUT, export_onnx
from panoptic_ros.errors import InputError
from panoptic_ros.model import Model, load_model

# Of the largest absolute value of an output, which its error may be: float32 and float16.
TOLERANCE = {False: 1e-3, True: 2e-2}


def run(args: argparse.Namespace) -> int:
    """Write the file and check it; returns 0, or 1 where it does not give what torch gives."""
    model = load_model(args.model)
    height, width = args.size or model.input_size
    stride = model.network.stride
    if height % stride or width % stride or min(height, width) < 1 or args.batch < 1:
        raise InputError(f"the input is {args.batch} x 3 x {height} x {width}; its sides must be multiples of the "
                         f"network's stride, {stride}, and --batch at least 1")
    shape = (args.batch, 3, height, width)
    graph = export_onnx(model.network, shape, args.half, args.dynamic_batch, args.opset)
    out = args.out or Path(f"{Path(args.model).name}.onnx")
    write_atomically(out, graph)
    print(f"wrote {out}: {len(graph) / 1e6:.1f} MB, opset {args.opset}, {INPUT} "
          f"{'N' if args.dynamic_batch else args.batch} x 3 x {height} x {width}, "
          f"{'float16 inside' if args.half else 'float32'}")
    if find_spec("onnxruntime") is None:
        print("not checked: pip install onnxruntime")
        return 0
    batches = (args.batch, args.batch + 2) if args.dynamic_batch else (args.batch,)
    return max(_check(graph, model, (batch, 3, height, width), args.half) for batch in batches)


def _check(graph: bytes, model: Model, shape: tuple[int, ...], half: bool) -> int:
    import onnxruntime

    image = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected = model.network.eval()(image)
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    wrong = list(names) != list(expected)
    for name, value in zip(names, session.run(None, {INPUT: image.numpy()}), strict=True):
        reference = expected[name]
        error = float((torch.from_numpy(value) - reference).abs().max() / reference.abs().max().clamp(min=1e-6))
        wrong |= not error <= TOLERANCE[half]
        print(f"{name} {' x '.join(map(str, value.shape))}: differs from torch by {error:.1e} of its largest value")
    if wrong:
        print(f"differs by more than {TOLERANCE[half]}: do not use the file", file=sys.stderr)
    return int(wrong)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit status."""
    parser = argparse.ArgumentParser(prog=f"python -m {__package__}.export",
                                     description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", required=True, help="model folder, or name of a shipped model")
    parser.add_argument("--format", choices=["onnx"], default="onnx", help="of the file")
    parser.add_argument("--out", type=Path, help="file to write (default: the model's name in this folder)")
    parser.add_argument("--size", type=int, nargs=2, metavar=("H", "W"), help="of the input (default: the model's)")
    parser.add_argument("--batch", type=int, default=1, help="images at once")
    parser.add_argument("--dynamic-batch", action="store_true", help="any number of images")
    parser.add_argument("--half", action="store_true", help="float16 inside, typed in the graph itself")
    parser.add_argument("--opset", type=int, default=20, help="of ONNX")
    try:
        return run(parser.parse_args(arguments))
    except InputError as error:
        print(f"export: error: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
