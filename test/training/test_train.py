"""A few real steps of training, on tiny data that the tests make."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from threading import Event
from typing import Any

import pytest
import torch
from lightning_fabric import Fabric

from panoptic_ros.errors import InputError
from panoptic_ros.methods import dense_detections, hle
from panoptic_ros.model import load_model, save_model
from training.augmentation import Augmentation
from training.batches import collate
from training.objectives import dense_detections as dense_detections_objective
from training.objectives.hle import Settings
from training.recipe import Recipe, TrainingData, Validation
from training.run import Run
from training.samples import ResumableSampler, sample_batches
from training.schedules import Schedule
from training.train import main, train, train_stages
from training.validation import selection_score


@pytest.fixture
def tiny(street_folder: Path) -> Recipe:
    return Recipe(
        TrainingData(str(street_folder), str(street_folder)), "hle",
        hle.Hyperparameters("test_efficientnet", output_stride=32, atrous_rates=(1,), decoder_channels=16),
        Settings(thomson=False), input_size=(64, 128), augmentation=Augmentation(crop=(64, 96), scale=(0.8, 1.2)),
        batch_size=2, steps=4, schedule=Schedule(warm_up=1), validation=Validation(every=2, images=2),
        precision="32-true")


def cpu() -> Fabric:
    return Fabric(accelerator="cpu", devices=1)


def weights(run: Path) -> dict[str, torch.Tensor]:
    return dict(torch.load(run / "checkpoint.pt", weights_only=True)["objective"])


def assert_equal(first: dict[str, Any], second: dict[str, Any]) -> None:
    assert first.keys() == second.keys()
    for name, value in first.items():
        assert torch.equal(value, second[name]), name


def test_a_run_leaves_a_model_with_its_scores_a_log_and_images(tiny: Recipe, tmp_path: Path) -> None:
    assert train(tiny, tmp_path, cpu(), 0, Event())
    model = load_model(tmp_path / "model")
    assert set(model.training["score"]) == {"pq", "pq_things", "pq_stuff", "miou", "on"}
    assert model.training["recipe"]["objective"]["gamma"] == 10
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 3, 4]
    assert {"total", "seg", "ins", "learning_rate", "data_time"} <= lines[0].keys()
    (events,) = (tmp_path / "tensorboard").iterdir()
    content = events.read_bytes()
    for tag in (b"validation/pq", b"street_0/prediction", b"street_0/embedding", b"street_3/seed"):
        assert tag in content


def test_an_interrupted_run_ends_with_the_weights_of_one_that_was_not(
        tiny: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train(tiny, tmp_path / "whole", cpu(), 0, Event())
    step = Run.train_step

    def killed_at_step_3(run: Run, batches: Any) -> dict[str, float]:
        if run.step == 3:
            raise KeyboardInterrupt
        return step(run, batches)

    whole = torch.load(tmp_path / "whole/checkpoint.pt", weights_only=True)
    for workers in (0, 1):
        out = tmp_path / f"parts_{workers}"
        monkeypatch.setattr(Run, "train_step", killed_at_step_3)
        with pytest.raises(KeyboardInterrupt):
            train(tiny, out, cpu(), workers, Event(), checkpoint_minutes=0)
        monkeypatch.undo()
        train(tiny, out, cpu(), workers, Event())

        parts = torch.load(out / "checkpoint.pt", weights_only=True)
        assert_equal(whole["objective"], parts["objective"])
        assert_equal(whole["ema"], parts["ema"])
        assert_equal(load_model(tmp_path / "whole/model").network.state_dict(),
                     load_model(out / "model").network.state_dict())
        steps = [json.loads(line)["step"] for line in (out / "log.jsonl").read_text().splitlines()]
        assert steps == [1, 2, 3, 4]


def test_an_interrupted_run_of_clips_ends_with_the_weights_of_one_that_was_not(tiny: Recipe, tmp_path: Path) -> None:
    data = TrainingData("city:1000000-1000001x3/4@64x128", cache=str(tmp_path / "cache"))
    recipe = dataclasses.replace(tiny, data=data, clip_length=2, validation=Validation(every=0), steps=3)
    train(recipe, tmp_path / "whole", cpu(), 0, Event())
    stop = Event()
    stop.set()  # after one step
    assert not train(recipe, tmp_path / "parts", cpu(), 1, stop)
    assert train(recipe, tmp_path / "parts", cpu(), 0, Event())
    assert_equal(weights(tmp_path / "whole"), weights(tmp_path / "parts"))
    alone = dataclasses.replace(recipe, clip_length=1)
    train(alone, tmp_path / "alone", cpu(), 0, Event())
    whole, of_images = (weights(tmp_path / name)["network.head.bias"] for name in ("whole", "alone"))
    assert not torch.equal(whole, of_images)


def test_a_run_from_before_a_key_was_known_goes_on_where_the_key_has_its_default(tiny: Recipe, tmp_path: Path) -> None:
    train(dataclasses.replace(tiny, steps=1), tmp_path, cpu(), 0, Event())
    state = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    del state["recipe"]["clip_length"]
    torch.save(state, tmp_path / "checkpoint.pt")
    run = Run(dataclasses.replace(tiny, steps=1), tmp_path, cpu())
    run.resume()
    assert run.step == 1
    with pytest.raises(InputError, match="differs in clip_length"):
        Run(dataclasses.replace(tiny, steps=1, clip_length=2), tmp_path, cpu()).resume()


def test_a_run_that_is_asked_to_stop_saves_the_step_it_is_in(tiny: Recipe, tmp_path: Path) -> None:
    stop = Event()
    recipe = dataclasses.replace(tiny, steps=1000)

    class StopsAtTheSecondStep(Run):
        def train_step(self, batches: Any) -> dict[str, float]:
            if self.step == 1:
                stop.set()
            return super().train_step(batches)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("training.train.Run", StopsAtTheSecondStep)
        assert not train(recipe, tmp_path, cpu(), 0, stop)
    assert torch.load(tmp_path / "checkpoint.pt", weights_only=True)["step"] == 2


def test_accumulated_batches_are_one_large_batch(tiny: Recipe, tmp_path: Path) -> None:
    # Frozen statistics, and no terms that are means over a batch's own pixels or instances, of which parts differ.
    network = dataclasses.replace(tiny, freeze_batch_norm=True, ema_decay=0.0)
    run = {}
    for name, recipe in (("whole", dataclasses.replace(network, steps=1)),
                         ("parts", dataclasses.replace(network, steps=1, batch_size=1, grad_accum_steps=2))):
        run[name] = Run(recipe, tmp_path, cpu())
        samples = run[name].samples()
        batches = iter([collate([samples[i] for i in rows]) for rows in ([[0, 1]] if name == "whole" else [[0], [1]])])
        run[name].network.eval()
        run[name].objective.module.loss = lambda outputs, _: {
            "total": sum((value.float() ** 2).mean() for value in outputs.values())}
        run[name].train_step(batches)
    first, second = (run[name].network.state_dict() for name in ("whole", "parts"))
    for key, value in first.items():
        torch.testing.assert_close(value, second[key], rtol=1e-3, atol=2e-5, msg=key)


def test_a_checkpoint_of_another_recipe_is_not_continued(tiny: Recipe, tmp_path: Path) -> None:
    train(dataclasses.replace(tiny, steps=1), tmp_path, cpu(), 0, Event())
    with pytest.raises(InputError, match="another recipe .it differs in batch_size, steps.*another --out"):
        train(dataclasses.replace(tiny, steps=2, batch_size=1), tmp_path, cpu(), 0, Event())


def test_a_loss_that_is_not_finite_stops_with_what_to_do(tiny: Recipe, tmp_path: Path) -> None:
    recipe = dataclasses.replace(tiny, objective=Settings(seed=float("nan")))
    with pytest.raises(InputError, match="not finite at step 0.*learning_rate"):
        train(recipe, tmp_path, cpu(), 0, Event())


def test_a_network_whose_outputs_are_nan_stops_as_a_loss_that_is_not_finite(tiny: Recipe, tmp_path: Path) -> None:
    run = Run(tiny, tmp_path, cpu())
    with torch.no_grad():
        run.network.head.bias.fill_(float("nan"))
    before = {k: v.clone() for k, v in run.network.named_parameters()}
    with pytest.raises(InputError, match="not finite at step 0"):
        run.train_step(sample_batches(run.samples(), ResumableSampler(0, 1, 2), 2, 0))
    after = dict(run.network.named_parameters())
    assert all(torch.equal(before[k], after[k]) for k in before if k != "head.bias")


def test_a_full_disk_stops_with_what_to_do_and_keeps_the_checkpoint(
        tiny: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train(dataclasses.replace(tiny, steps=1), tmp_path, cpu(), 0, Event())
    before = (tmp_path / "checkpoint.pt").read_bytes()
    run = Run(dataclasses.replace(tiny, steps=1), tmp_path, cpu())

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(InputError, match="No space left.*free disk space.*checkpoint before is whole"):
        run.save()
    assert (tmp_path / "checkpoint.pt").read_bytes() == before
    assert not (tmp_path / "checkpoint.partial").exists()


def test_a_damaged_checkpoint_is_refused(tiny: Recipe, tmp_path: Path) -> None:
    (tmp_path / "checkpoint.pt").write_bytes(b"not a checkpoint")
    with pytest.raises(InputError, match="not a checkpoint, or is damaged"):
        train(tiny, tmp_path, cpu(), 0, Event())


def test_a_run_may_start_from_a_model_of_the_same_network(tiny: Recipe, tmp_path: Path) -> None:
    train(dataclasses.replace(tiny, steps=2), tmp_path / "first", cpu(), 0, Event())
    recipe = dataclasses.replace(tiny, initial_model=str(tmp_path / "first/model"))
    run = Run(recipe, tmp_path / "second", cpu())
    assert_equal({k: v for k, v in run.network.state_dict().items() if "num_batches" not in k},
                 {k: v for k, v in load_model(tmp_path / "first/model").network.state_dict().items()
                  if "num_batches" not in k})
    other = dataclasses.replace(recipe, hyperparameters=hle.Hyperparameters("test_efficientnet"))
    with pytest.raises(InputError, match="does not fit the recipe: .* other hyper-parameters"):
        Run(other, tmp_path / "second", cpu())


def test_a_run_may_start_with_the_backbone_of_a_model_of_another_method(tiny: Recipe, tmp_path: Path) -> None:
    train(dataclasses.replace(tiny, steps=1), tmp_path / "first", cpu(), 0, Event())
    first = load_model(tmp_path / "first/model").network.state_dict()
    recipe = dataclasses.replace(
        tiny, method="dense_detections", objective=dense_detections_objective.Settings(),
        initial_backbone=str(tmp_path / "first/model"), hyperparameters=dense_detections.Hyperparameters(
            "test_efficientnet", channels=16, box_channels=16, class_channels=16, tower_depth=1))
    second = Run(recipe, tmp_path / "second", cpu()).network.state_dict()
    backbone = [name for name in second if name.startswith("backbone")]
    assert len(backbone) > 10
    assert all(torch.equal(first[name].to(second[name].dtype), second[name])
               for name in backbone if "num_batches" not in name)
    other = dataclasses.replace(recipe, hyperparameters=dense_detections.Hyperparameters("resnet10t"))
    with pytest.raises(InputError, match="another backbone than the recipe's"):
        Run(other, tmp_path / "third", cpu())


def test_sync_batch_norm_replaces_every_batch_norm_and_the_model_has_none_of_it(tiny: Recipe, tmp_path: Path) -> None:
    def norms(network: torch.nn.Module) -> set[type]:
        return {type(m) for m in network.modules() if isinstance(m, torch.nn.modules.batchnorm._BatchNorm)}

    recipe = dataclasses.replace(tiny, sync_batch_norm=True, steps=1)
    assert norms(Run(recipe, tmp_path, cpu()).network) == {torch.nn.SyncBatchNorm}
    assert train(recipe, tmp_path, cpu(), 0, Event())
    assert torch.nn.SyncBatchNorm not in norms(load_model(tmp_path / "model").network)


def test_frozen_batch_norm_of_the_backbone_stays_as_it_was(tiny: Recipe, tmp_path: Path) -> None:
    run = Run(dataclasses.replace(tiny, freeze_batch_norm=True), tmp_path, cpu())
    before = {k: v.clone() for k, v in run.network.state_dict().items()}
    samples = run.samples()
    run.train_mode()
    run.train_step(iter([collate([samples[i] for i in (0, 1)])]))
    after = run.network.state_dict()
    frozen = [k for k in before if k.startswith("backbone") and ".bn" in k]
    assert frozen
    assert all(torch.equal(before[k], after[k]) for k in frozen)
    assert not torch.equal(before["decoder.low_level.1.running_mean"], after["decoder.low_level.1.running_mean"])
    assert not torch.equal(before["backbone.encoder.conv_stem.weight"], after["backbone.encoder.conv_stem.weight"])


def test_the_command_trains_and_says_what_is_wrong(
        street_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "r.yaml"
    config.write_text(f"data: {{train: '{street_folder}'}}\naugmentation: {{crop: [64, 64]}}\nprecision: 32-true\n"
                      "hyperparameters: {backbone: test_efficientnet, decoder_channels: 16, output_stride: 32}\n"
                      "objective: {thomson: false}\n")
    line = ["--config", str(config), "--out", str(tmp_path / "run"), "--workers", "0", "--accelerator", "cpu"]
    assert main([*line, "--steps", "1", "--batch_size=2"]) == 0
    assert load_model(tmp_path / "run/model").training["steps"] == 1
    assert main([*line, "--stepz", "1"]) == 2
    assert "unknown stepz; the nearest known one is steps" in capsys.readouterr().err


def test_a_run_that_is_shorter_than_its_warm_up_exports_what_it_has_learned(tiny: Recipe, tmp_path: Path) -> None:
    recipe = dataclasses.replace(tiny, schedule=Schedule(warm_up=100), validation=Validation(every=0), steps=3)
    untrained = Run(recipe, tmp_path, cpu()).network.state_dict()
    assert train(recipe, tmp_path, cpu(), 0, Event())
    exported, trained = load_model(tmp_path / "model").network.state_dict(), weights(tmp_path)
    assert not torch.equal(exported["head.weight"], untrained["head.weight"].half().float())
    assert torch.equal(exported["head.weight"], trained["network.head.weight"].half().float())


def test_a_model_with_another_backbone_is_nothing_to_begin_with(tiny: Recipe, tmp_path: Path) -> None:
    train(dataclasses.replace(tiny, steps=1), tmp_path / "first", cpu(), 0, Event())
    # Of the same shapes wherever both have a tensor of one name, so that shapes do not tell.
    other = dataclasses.replace(tiny, initial_model=str(tmp_path / "first/model"), hyperparameters=dataclasses.replace(
        tiny.hyperparameters, backbone="resnet10t"))
    with pytest.raises(InputError, match="does not fit the recipe: its backbone is test_efficientnet"):
        Run(other, tmp_path / "second", cpu())


def test_a_layer_that_the_first_model_has_not_begins_anew_and_is_told(
        tiny: Recipe, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train(dataclasses.replace(tiny, steps=1), tmp_path / "first", cpu(), 0, Event())
    recipe = dataclasses.replace(tiny, initial_model=str(tmp_path / "first/model"), steps=1,
                                 hyperparameters=dataclasses.replace(tiny.hyperparameters, spatial_sigma="predicted"))
    assert train(recipe, tmp_path / "second", cpu(), 0, Event())
    assert "has no spatial_head.bias, spatial_head.weight: they are initialised at random" in capsys.readouterr().err


def test_a_model_is_normalised_as_the_model_it_began_with(tiny: Recipe, tmp_path: Path) -> None:
    train(dataclasses.replace(tiny, steps=1), tmp_path / "first", cpu(), 0, Event())
    first = load_model(tmp_path / "first/model")
    save_model(dataclasses.replace(first, mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6)), tmp_path / "other")
    for key in ("initial_model", "initial_backbone"):
        run = Run(dataclasses.replace(tiny, **{key: str(tmp_path / "other")}), tmp_path / key, cpu())
        assert (run.model().mean, run.model().std) == ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
        assert run.samples().transform.transforms[0]._fill.flatten().tolist() == [26, 51, 76]


def test_the_stages_of_a_recipe_follow_each_other_and_go_on_where_they_were(tiny: Recipe, tmp_path: Path) -> None:
    stages = {"small": dataclasses.replace(tiny, steps=2, validation=Validation(every=0)),
              "large": dataclasses.replace(tiny, steps=3, validation=Validation(every=0),
                                           augmentation=Augmentation(crop=(64, 128)))}
    assert train_stages(stages, tmp_path / "whole", cpu(), 0, Event())
    # The second begins with the model of the first ...
    begun = Run(stages["large"], tmp_path / "begun", cpu(), str(tmp_path / "whole/small/model")).network.state_dict()
    of_first = load_model(tmp_path / "whole/small/model").network.state_dict()
    assert all(torch.equal(begun[name], value) for name, value in of_first.items() if "num_batches" not in name)
    # ... and an interruption in either changes nothing.
    stop = Event()
    stop.set()  # after one step
    for _ in range(4):
        assert not train_stages(stages, tmp_path / "parts", cpu(), 0, stop)
        if (tmp_path / "parts/large/checkpoint.pt").is_file():
            break
    assert train_stages(stages, tmp_path / "parts", cpu(), 0, Event())
    assert_equal(weights(tmp_path / "whole/large"), weights(tmp_path / "parts/large"))
    for out in ("whole", "parts"):
        model, last = load_model(tmp_path / out / "model"), load_model(tmp_path / out / "large/model")
        assert_equal(model.network.state_dict(), last.network.state_dict())
        assert model.training["steps"] == 3
    assert train_stages(stages, tmp_path / "whole", cpu(), 0, Event())  # done already: nothing is done again


@pytest.mark.parametrize(("metric", "best"), [("", "pq"), ("miou", "miou"), ("pq_stuff", "pq_stuff")])
def test_the_best_model_is_the_one_with_the_best_of_the_metric_that_is_chosen(
        tiny: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, metric: str, best: str) -> None:
    given = [{"pq": 0.1, "pq_stuff": 0.3, "miou": 0.2}, {"pq": 0.4, "pq_stuff": 0.1, "miou": 0.1},
             {"pq": 0.2, "pq_stuff": 0.2, "miou": 0.5}]
    scores = iter(given)
    monkeypatch.setattr("training.run.validate", lambda *_: (next(scores), []))
    recipe = dataclasses.replace(tiny, steps=3, validation=Validation(every=1, images=1, metric=metric))
    train(recipe, tmp_path, cpu(), 0, Event())
    expected = max(range(3), key=lambda k: given[k][best])
    assert load_model(tmp_path / "model").training["steps"] == expected + 1


def test_less_is_better_for_an_error_and_a_metric_that_is_not_measured_is_an_error() -> None:
    assert selection_score({"depth_rmse": 2.0}, "depth_rmse") > selection_score({"depth_rmse": 3.0}, "depth_rmse")
    with pytest.raises(InputError, match="validation.metric is depth_rmse, but the validation data .* give pq"):
        selection_score({"pq": 0.5}, "depth_rmse")


def test_a_crop_that_is_no_multiple_of_the_network_s_stride_is_refused(tiny: Recipe, tmp_path: Path) -> None:
    recipe = dataclasses.replace(tiny, augmentation=Augmentation(crop=(64, 100)))
    with pytest.raises(InputError, match="augmentation.crop is 64 x 100; both sides must be multiples of 32"):
        Run(recipe, tmp_path, cpu())


def test_a_checkpoint_of_an_earlier_version_is_not_continued(tiny: Recipe, tmp_path: Path) -> None:
    torch.save({"step": 1, "network": {}, "recipe": {}}, tmp_path / "checkpoint.pt")
    with pytest.raises(InputError, match="a run of an earlier version, which cannot go on: .*--initial_model"):
        Run(tiny, tmp_path, cpu()).resume()


def test_a_recipe_is_printed_without_a_folder_and_a_run_needs_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--config", "hle/city", "--print-recipe", "--steps", "12345"]) == 0
    printed = capsys.readouterr().out
    assert "steps: 12345" in printed
    with pytest.raises(SystemExit):
        main(["--config", "hle/city"])
    assert "required: --out" in capsys.readouterr().err
