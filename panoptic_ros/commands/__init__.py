"""The sub-commands of `panoptic-ros`, one module each: `add_arguments(parser)` and `run(args) -> exit status`."""
