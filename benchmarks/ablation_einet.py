"""EINet's ablations (Tables 3 to 5) at small scale: python -m benchmarks.ablation_einet [--quick] [--json FILE]

Trains every variant on the synthetic city with the same budget and two seeds, tunes the thresholds of each in the same
way, and scores it on drives that neither has seen. Runs are kept in runs/ablation_einet: an interrupted benchmark goes
on where it was. In the paper Table 5 is of D = 256; here all three are of one training, with D = 128 and mu = 0.9 where
nothing else is said.
"""

from __future__ import annotations

from typing import Any

from benchmarks.ablation import Ablation, table
from benchmarks.command import run_benchmark

TABLES = {
    "Table 3": Ablation("einet", {
        "none": ("without interaction", 57.4),
        "ins": ("InsAug", 57.5),
        "ins_cen": ("InsAug, CenReg", 57.9),
        "cen": ("CenReg", 58.4),
        "sem": ("SemAug", 60.5),
        "ins_sem": ("InsAug, SemAug", 60.3),
        "sem_cen": ("SemAug, CenReg", 60.7),
        "full": ("InsAug, SemAug, CenReg", 61.9),
    }),
    "Table 4": Ablation("einet", {
        "dimension_32": ("D = 32", 51.9),
        "dimension_64": ("D = 64", 57.3),
        "dimension_96": ("D = 96", 59.1),
        "full": ("D = 128", 61.9),
        "dimension_256": ("D = 256", 63.0),
        "dimension_384": ("D = 384", 62.7),
    }),
    "Table 5": Ablation("einet", {
        "mu_6": ("mu = 0.6", 55.2),
        "mu_8": ("mu = 0.8", 58.1),
        "mu_85": ("mu = 0.85", 62.7),
        "full": ("mu = 0.9", 63.0),
        "mu_99": ("mu = 0.99", 61.5),
        "mu_999": ("mu = 0.999", 61.6),
    }),
}


def measure(quick: bool) -> dict[str, Any]:
    """The result of each table; a variant in two of them is trained once."""
    return {name: ablation.measure(quick) for name, ablation in TABLES.items()}


def tables(result: dict[str, Any]) -> str:
    """One below the other."""
    return "\n\n".join(f"{name}: {table(rows)}" for name, rows in result.items())


if __name__ == "__main__":
    run_benchmark(__doc__, measure, tables)
