"""Where the files lie that come with the package: config, launch and message definitions."""

from __future__ import annotations

from pathlib import Path

from panoptic_ros.errors import InputError


def shared_folder(name: str) -> Path:
    """The folder `config`, `launch` or `msg`: of the source checkout, of a pip install or of a ROS prefix.

    Raises InputError when the installation is incomplete.
    """
    package = Path(__file__).resolve().parent
    # A checkout has it beside the package, pip puts it inside, colcon puts it below <prefix>/share/panoptic_ros.
    places = [package.parent / name, package / "share" / name]
    places += [parent / "share" / "panoptic_ros" / name for parent in package.parents]
    for place in places:
        if place.is_dir() and (place != package.parent / name or (package.parent / "package.xml").is_file()):
            return place
    raise InputError(f"the folder '{name}' of panoptic_ros was not found near {package}: reinstall the package")


def model_folder(name_or_path: str | Path) -> Path:
    """A model folder given by path, or by its name below config/models."""
    path = Path(name_or_path).expanduser()
    if path.is_dir():
        return path
    if path.is_file():
        pickled = "" if path.suffix in (".yaml", ".safetensors") else "; checkpoints with pickles are not loaded"
        raise InputError(f"{path} is a file: give the folder that model.yaml and weights.safetensors are in{pickled}")
    models = shared_folder("config") / "models"
    shipped = models / str(name_or_path)
    if path.name == str(name_or_path) and shipped.is_dir():
        return shipped
    known = ", ".join(sorted(p.name for p in models.glob("*") if (p / "model.yaml").is_file())) or "none"
    raise InputError(f"no model folder '{name_or_path}': give a folder with a model.yaml, or a shipped model ({known})")
