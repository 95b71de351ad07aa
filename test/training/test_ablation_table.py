"""The table of an ablation beside the paper's."""

from __future__ import annotations

from benchmarks.ablation import table


def test_only_variants_on_the_other_side_of_the_full_method_than_in_the_paper_are_marked() -> None:
    papers = {"full": 0.6, "worse": 0.5, "better": 0.7, "other": None}
    ours = {"full": 0.3, "worse": 0.2, "better": 0.4, "other": 0.9}

    def marks(ours: dict[str, float]) -> dict[str, str]:
        rows = {name: {"title": name, "paper_pq": paper, "pq": [ours[name]], "pq_things": [0.0], "pq_stuff": [0.0]}
                for name, paper in papers.items()}
        lines = table({"variants": rows, "steps": 1, "batch_size": 1, "crop": (2, 2)}).splitlines()[2:]
        return {line.split()[0]: line.partition(" the full method")[0].split()[-1] for line in lines
                if "the full method" in line}

    assert marks(ours) == {}
    assert marks({**ours, "worse": 0.35, "better": 0.1}) == {"worse": "above", "better": "below"}
