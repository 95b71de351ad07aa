"""A Hugging Face repository, or a local folder of its layout, of a universal segmentation model -> a model of ours."""

from __future__ import annotations

import colorsys
import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from panoptic_ros.classes import ClassTable, load_class_table
from panoptic_ros.errors import InputError
from panoptic_ros.methods import universal
from panoptic_ros.methods.universal.network import ENCODERS
from panoptic_ros.model import Model
from panoptic_ros.paths import shared_folder

# What is downloaded of a repository: nothing that is pickled, nothing that is run.
_FILES = ("*.json", "*.safetensors", "*.txt", "*.model", "README.md", "LICENSE*")
_TASKS = re.compile(r"(?<![a-z])(semantic|instance|panoptic)(?![a-z])")
# Keys of a configuration that are not of the architecture.
_NOT_KEPT = {"transformers_version", "id2label", "label2id", "model_type", "architectures", "_name_or_path", "dtype",
             "torch_dtype", "num_labels", "is_training", "problem_type"}


@dataclass(frozen=True)
class Source:
    """Where a model comes from: `folder` has its files; name: of the repository or folder.

    revision: the commit, "" of a local folder. licence: as the repository states it, "unknown" where it does not.
    """

    folder: Path
    name: str
    revision: str
    licence: str


@dataclass(frozen=True)
class FetchedModel:
    """The model, and what a user should know of it.

    table: of config/datasets, by which things and colours were found; "" = none. unknown: classes that no table knows,
    taken as stuff unless they were named.
    """

    model: Model
    source: Source
    table: str
    unknown: tuple[str, ...]


def find_source(name_or_folder: str, revision: str | None = None) -> Source:
    """A local folder, or a repository, whose files are downloaded at one commit (or are in the cache already).

    Raises InputError where transformers is not installed, or there is no such repository or no connection.
    """
    folder = Path(name_or_folder).expanduser()
    if folder.is_dir():
        if revision:
            raise InputError(f"{folder} is a folder: a revision goes with the name of a repository")
        return Source(folder, folder.resolve().name, "", _licence(folder, None))
    _require_library()
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    try:
        info = HfApi().model_info(name_or_folder, revision=revision)
        files = [sibling.rfilename for sibling in info.siblings or ()]
        _check_files(files, name_or_folder)
        local = snapshot_download(name_or_folder, revision=info.sha, allow_patterns=list(_FILES))
    except HFValidationError as error:
        raise InputError(f"'{name_or_folder}' is neither a folder nor the name of a repository: {error}") from error
    except HfHubHTTPError as error:
        raise InputError(f"the repository {name_or_folder} cannot be had: {error}") from error
    except InputError:
        raise
    except Exception as error:  # connections fail in many ways, each of the client's own
        raise InputError(f"{name_or_folder} is no folder here, and huggingface.co cannot be reached: {error}"
                         ) from error
    return Source(Path(local), name_or_folder, str(info.sha), _licence(Path(local), info.card_data))


def fetched_model(source: Source, input_size: tuple[int, int] | None = None, classes: str = "",
                  things: Sequence[str] = ()) -> FetchedModel:
    """The model of a source, with its own preprocessing, as one of the method universal.

    input_size: (H, W) in place of that of its image processor. classes: the class table, a name or a path, by which
    things and colours are found, in place of the one of config/datasets that has most of its classes. things: names of
    classes that are things, besides those that the table says.
    Raises InputError for what is not a panoptic model of a known architecture, has no safetensors, lacks weights, or
    has no things.
    """
    _require_library()
    config = _read_json(source.folder / "config.json", "it is no model folder of transformers")
    architecture = str(config.get("model_type"))
    if architecture not in ENCODERS:
        raise InputError(f"{source.name} is a model of the type '{architecture}'; taken are universal segmentation "
                         f"models: {', '.join(ENCODERS)}")
    _check_task(source.name, config, architecture)
    weights = _check_files([str(path.relative_to(source.folder)) for path in source.folder.rglob("*")], source.name)
    processor = _processor_settings(source, architecture)
    table, found, unknown = _class_table(source.name, config, processor, classes, things)
    hyperparameters = universal.Hyperparameters(architecture, _plain_config(source.folder),
                                                _task_tokens(source, config) if architecture == "oneformer" else ())
    network = universal.Network(hyperparameters, table.is_thing).eval()
    network.load_library_state(_library_state(source))
    thresholds = universal.Thresholds(rule=architecture, score=0.8 if architecture == "eomt" else 0.5)
    mean, std = _normalisation(processor)
    digest = hashlib.sha256()
    for name in weights:
        digest.update((source.folder / name).read_bytes())
    training = {"source": {"name": source.name, "revision": source.revision, "licence": source.licence,
                           "weights_sha256": digest.hexdigest()}}
    model = Model("universal", hyperparameters, network, table, input_size or _input_size(processor, source.name),
                  mean, std, thresholds, "", training)
    return FetchedModel(model, source, found, unknown)


def _require_library() -> None:
    try:
        import transformers  # noqa: F401
    except ImportError as error:
        raise InputError("this needs transformers, which is not installed: pip install 'panoptic-ros[universal]'"
                         ) from error


def _read_json(file: Path, without: str) -> dict[str, Any]:
    if not file.is_file():
        raise InputError(f"{file.parent} has no {file.name}: {without}")
    try:
        content = json.loads(file.read_text())
        if isinstance(content, dict):
            return content
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{file} is not JSON: {error}") from error
    raise InputError(f"{file} must have keys and values")


def _check_files(files: Sequence[str], name: str) -> list[str]:
    """The safetensors files. Raises InputError where there are none."""
    weights = sorted(file for file in files if file.endswith(".safetensors") and "/" not in file)
    if weights:
        return weights
    pickled = sorted(file for file in files if file.endswith((".bin", ".pt", ".pth", ".ckpt", ".pkl")))
    if pickled:
        raise InputError(f"{name} has its weights as {pickled[0]} alone, a pickle, which may run code when it is "
                         "loaded: it is refused; have it converted to safetensors")
    raise InputError(f"{name} has no weights (*.safetensors)")


def _check_task(name: str, config: dict[str, Any], architecture: str) -> None:
    """Mask2Former and EoMT are trained for one task each, of which only their names tell; OneFormer for all."""
    if architecture == "oneformer":
        return
    for said in (name.split("/")[-1], str(config.get("_name_or_path", "")).split("/")[-1]):
        tasks = set(_TASKS.findall(said.lower()))
        if tasks and "panoptic" not in tasks:
            raise InputError(f"{name} is a model of {' and '.join(sorted(tasks))} segmentation, by its name '{said}': "
                             "it is not panoptic")


def _licence(folder: Path, card: Any) -> str:
    """As the repository's card says; else by the head of its README."""
    if card is not None and getattr(card, "license", None):
        return str(card.license)
    readme = folder / "README.md"
    head = readme.read_text(errors="replace").split("\n---", 1)[0] if readme.is_file() else ""
    stated = re.search(r"^license(?:_name)?:\s*(\S+)", head, re.MULTILINE)
    return stated.group(1) if stated else "unknown"


def _plain_config(folder: Path) -> dict[str, Any]:
    """The configuration as plain values, without what is not of the architecture."""
    from transformers import AutoConfig

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {str(key): plain(inner) for key, inner in value.items()}
        return [plain(inner) for inner in value] if isinstance(value, list | tuple) else value

    config: dict[str, Any] = plain(AutoConfig.from_pretrained(folder).to_diff_dict())
    backbone = config.get("backbone_config")
    if isinstance(backbone, dict):
        config["backbone_config"] = {key: value for key, value in backbone.items()
                                     if key not in _NOT_KEPT - {"model_type"} and value is not None}
    return {key: value for key, value in config.items() if key not in _NOT_KEPT and value is not None}


def _library_state(source: Source) -> dict[str, Any]:
    """The weights by the library's names. Raises InputError where some are missing or damaged."""
    from transformers import AutoConfig, AutoModelForUniversalSegmentation

    overrides = {"is_training": False} if AutoConfig.from_pretrained(source.folder).model_type == "oneformer" else {}
    try:
        library, loaded = AutoModelForUniversalSegmentation.from_pretrained(
            source.folder, use_safetensors=True, local_files_only=True, output_loading_info=True, **overrides)
    except Exception as error:  # damaged files, wrong shapes: each an exception of its own
        raise InputError(f"the weights of {source.name} cannot be loaded: {error}") from error
    missing = sorted(name for name in loaded["missing_keys"] if not name.startswith("criterion."))
    if missing or loaded["mismatched_keys"]:
        raise InputError(f"{source.name} lacks {len(missing)} weights of its network (first: {missing[:1]}) and has "
                         f"{len(loaded['mismatched_keys'])} of another shape")
    state: dict[str, Any] = library.float().state_dict()
    return state


def _processor_settings(source: Source, architecture: str) -> dict[str, Any]:
    """The settings of the model's image processor, with the library's defaults."""
    import transformers

    kind: Any = {"mask2former": transformers.Mask2FormerImageProcessor, "eomt": transformers.EomtImageProcessor,
                 "oneformer": transformers.OneFormerImageProcessor}[architecture]
    defaults = {key: getattr(kind, key) for key in ("size", "image_mean", "image_std", "do_normalize")}
    try:
        settings, _ = kind.get_image_processor_dict(source.folder, local_files_only=True)
    except OSError as error:
        raise InputError(f"{source.name} has no preprocessor_config.json, which says how images are brought to its "
                         "network") from error
    return {**defaults, **{key: value for key, value in settings.items() if value is not None}}


def _normalisation(processor: dict[str, Any]) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    if not processor["do_normalize"]:
        return (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
    mean, std = (tuple(float(v) for v in processor[key]) for key in ("image_mean", "image_std"))
    return mean, std  # type: ignore[return-value]


def _input_size(processor: dict[str, Any], name: str) -> tuple[int, int]:
    """(H, W): of a shortest and a longest edge these, as for an image as wide as is allowed."""
    size = processor["size"]
    if isinstance(size, int):
        return size, int(processor.get("max_size", size))
    if "height" in size:
        return int(size["height"]), int(size["width"])
    if "shortest_edge" in size:
        return int(size["shortest_edge"]), int(size.get("longest_edge") or size["shortest_edge"])
    raise InputError(f"the image processor of {name} has the size {size}, which is not understood: give --input-size")


def _task_tokens(source: Source, config: dict[str, Any]) -> tuple[int, ...]:
    """What OneFormer is told with each image, as its processor does it."""
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(source.folder, local_files_only=True)
    except Exception as error:  # of many kinds
        raise InputError(f"{source.name} has no tokenizer, with which a OneFormer is told its task: {error}") from error
    tokens = tokenizer("the task is panoptic", padding="max_length", truncation=True,
                       max_length=int(config.get("task_seq_len", 77)))
    return tuple(token * mask for token, mask in zip(tokens["input_ids"], tokens["attention_mask"], strict=True))


def _class_table(name: str, config: dict[str, Any], processor: dict[str, Any], classes: str,
                 things: Sequence[str]) -> tuple[ClassTable, str, tuple[str, ...]]:
    """The class table of id2label, the name of the table of ours that knows most of it, and what that does not know."""
    try:
        labels = {int(number): str(label) for number, label in config["id2label"].items()}
    except (KeyError, AttributeError, ValueError) as error:
        raise InputError(f"config.json of {name} has no id2label, the names of its classes") from error
    names = [labels[k] for k in sorted(labels)]
    if sorted(labels) != list(range(len(names))):
        raise InputError(f"id2label of {name} does not number its {len(names)} classes from 0")
    tables = [load_class_table(classes)] if classes else [
        load_class_table(file.stem) for file in sorted((shared_folder("config") / "datasets").glob("*.yaml"))]
    table, row_of = max(((table, {_bare(n): k for k, n in enumerate(table.names)}) for table in tables),
                        key=lambda pair: sum(_bare(n) in pair[1] for n in names))
    of_processor = set((processor.get("metadata") or {}).get("thing_ids", ()))
    named = {_bare(thing) for thing in things}
    if strange := sorted(named - {_bare(n) for n in names}):
        raise InputError(f"{name} has no class {', '.join(strange)}; it has: {', '.join(names)}")
    rows = [row_of.get(_bare(n)) for n in names]
    is_thing = [k in of_processor or _bare(n) in named or (row is not None and table.is_thing[row])
                for k, (n, row) in enumerate(zip(names, rows, strict=True))]
    unknown = tuple(n for k, (n, row) in enumerate(zip(names, rows, strict=True)) if row is None and not is_thing[k])
    if not any(is_thing):
        raise InputError(f"none of the classes of {name} is known to be a thing ({', '.join(names[:6])} ...): name a "
                         "class table with --classes, or those that are things with --thing")
    if all(is_thing):
        raise InputError(f"all classes of {name} are things: it is a model of instance segmentation, not panoptic")
    colors = [table.colors[row] if row is not None else _color(k) for k, row in enumerate(rows)]
    found = table.name if any(row is not None for row in rows) else ""
    return ClassTable(found or name.split("/")[-1], tuple(names), tuple(is_thing), tuple(colors)), found, unknown


def _bare(name: str) -> str:
    """A class's name as it is compared: `Traffic-Light` is `traffic light`."""
    return re.sub(r"[\s_-]+", " ", name).strip().lower()


def _color(k: int) -> tuple[int, int, int]:
    """Colours that differ, by the golden ratio of the circle of hues."""
    red, green, blue = (round(255 * v) for v in colorsys.hsv_to_rgb(0.61803 * k % 1, 0.6, 0.85))
    return red, green, blue
