"""What a fleet does with each of its recordings, and the key under which the result is kept."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from panoptic_ros import __version__
from panoptic_ros.evaluation.content_hash import hash_settings

COMMANDS = ("evaluate", "replay", "label")


@dataclass(frozen=True)
class Job:
    """The same for all recordings of a run.

    command: one of COMMANDS. model: its folder or name, to be found by every worker. model_hash: of its files.
    topics: the cameras, all where empty. focal_length: pixels, None: as the recordings say.
    options: evaluate has `truth` and `match`, see `open_truth` (`{name}` in a truth's path stands for the name of the
    recording without its suffix); replay has `overlay`; label the fields of `LabelSettings`.
    """

    command: str
    model: str
    model_id: str
    model_hash: str
    engine: str = "auto"
    device: str = "auto"
    precision: str = "auto"
    topics: tuple[str, ...] = ()
    focal_length: float | None = None
    options: dict[str, Any] = field(default_factory=dict)

    def facts(self) -> dict[str, Any]:
        """What the results depend on besides the recordings; two runs of equal facts can be merged."""
        settings = {name: value for name, value in asdict(self).items() if name not in (
            "command", "model", "model_id", "model_hash")}
        settings["topics"] = list(self.topics)
        return {"panoptic_ros": __version__, "command": self.command, "model": self.model_id,
                "model_hash": self.model_hash, "settings": settings, "settings_hash": hash_settings(settings)}

    def key(self, content: str, truth: str) -> str:
        """sha256 of recording, truth, model, settings and version; content, truth: hashes, the latter may be empty."""
        facts = self.facts()
        del facts["model"], facts["settings"]  # a model's name does not matter; settings are there by their hash
        return hash_settings({**facts, "content": content, "truth": truth})
