"""Run: the training state of one recipe: data, objective, optimiser, EMA and step, with its checkpoints."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from panoptic_ros.classes import load_class_table
from panoptic_ros.datasets import Dataset, Truth, open_dataset
from panoptic_ros.errors import InputError
from panoptic_ros.model import Model, save_model

from .checkpoints import check_same_run, load_checkpoint, save_checkpoint
from .devices import convolution_precision, memory_format
from .distillation import Teacher
from .ema import Ema
from .initialisation import initial_state
from .monitor import Monitor
from .objectives import OBJECTIVES
from .optimisers import freeze_batch_norm, freeze_layers, make_optimiser
from .recipe import Recipe
from .samples import Samples
from .schedules import rate_factor
from .self_training import PseudoLabels, UnlabelledImages
from .trained_model import trained_model, with_scores
from .validation import selection_score, validate


class Run:
    """A training run of one recipe, in the folder `out`."""

    def __init__(self, recipe: Recipe, out: Path, fabric: Fabric, initial_model: str = "") -> None:
        """initial_model: to initialise from in place of what the recipe says: the model of the stage before."""
        self.recipe, self.out, self.fabric = recipe, out, fabric
        self.dataset = _open(recipe, recipe.data.train, for_training=True)
        self.classes = load_class_table(recipe.data.classes) if recipe.data.classes else self.dataset.classes
        self.validation = _open(recipe, recipe.data.validation) if recipe.data.validation else None
        initial = initial_state(recipe, self.classes, initial_model)
        self.mean, self.std, self.new_layers = initial.mean, initial.std, initial.new_layers
        self._memory_format = memory_format(fabric)
        objective = initial.objective.to(fabric.device, memory_format=self._memory_format)  # type: ignore[call-overload]
        if recipe.sync_batch_norm:
            objective.network = nn.SyncBatchNorm.convert_sync_batchnorm(objective.network)
        crop, stride = recipe.augmentation.crop, objective.network.stride
        if any(side % stride for side in crop):
            raise InputError(f"augmentation.crop is {crop[0]} x {crop[1]}; both sides must be multiples of {stride}, "
                             "the stride of the network")
        self._freeze(objective.network)
        optimiser = make_optimiser(recipe.optimiser, objective.network)
        self.ema = Ema(objective.network, recipe.ema_decay, recipe.schedule.warm_up) if recipe.ema_decay else None
        self.objective, self.optimiser = fabric.setup(objective, optimiser)
        self.step, self.best = 0, -float("inf")
        mean, std = (torch.tensor(v, device=fabric.device).view(3, 1, 1) for v in (self.mean, self.std))
        self._shift, self._scale = -mean / std, 1 / (255 * std)
        if recipe.distillation.teacher:
            self._distil(Teacher(recipe.distillation, recipe.method, self.classes, self.mean, self.std, fabric.device))
        self.pseudo_labels: PseudoLabels | None = None
        self.unlabelled_batches: Iterator[dict[str, Any]] | None = None
        if recipe.self_training.data:
            if self.objective.module.uses_depth:
                raise InputError(f"self_training is for methods without depth, not for {recipe.method}")
            self.unlabelled = UnlabelledImages(recipe.self_training.data, self.classes)
            self.pseudo_labels = PseudoLabels(recipe.self_training, self.model(), fabric.device)

    @property
    def network(self) -> Any:
        """The network that is trained, a `panoptic_ros.methods.Network`."""
        return self.objective.module.network

    def samples(self) -> Samples:
        """The training samples."""
        recipe = self.recipe
        return Samples(self.dataset, recipe.augmentation, recipe.seed, self.classes,
                       Path(recipe.data.cache) if recipe.data.cache else None, recipe.clip_length,
                       sampling=recipe.sampling, fill=self.mean, with_depth=self.objective.module.uses_depth)

    def unlabelled_samples(self) -> Samples:
        """Crops of the images without labels, in their own colours."""
        plain = dataclasses.replace(self.recipe.augmentation, around_things=0, brightness=0, contrast=0, saturation=0,
                                    hue=0, blur=0, clahe=0, fourier_images="")
        return Samples(self.unlabelled, plain, self.recipe.seed + 1, self.classes, fill=self.mean)

    def train_step(self, batches: Iterator[dict[str, Any]]) -> dict[str, float]:
        """One optimiser step on `grad_accum_steps` batches, and one of `unlabelled_batches` where there are; returns
        the loss's terms.

        Raises InputError for a loss that is not finite.
        """
        recipe = self.recipe
        for group in self.optimiser.param_groups:
            group["lr"] = recipe.optimiser.learning_rate * group["rate"] * rate_factor(
                recipe.schedule, self.step, recipe.steps)
        sums: dict[str, Tensor] = {}
        for part in range(recipe.grad_accum_steps):
            batch = self.fabric.to_device(next(batches))
            image = torch.addcmul(self._shift, batch["image"], self._scale)
            with self.fabric.no_backward_sync(self.objective, enabled=part < recipe.grad_accum_steps - 1):
                with convolution_precision(self.fabric):
                    terms = self.objective(image.contiguous(memory_format=self._memory_format), batch)
                self.fabric.backward(terms["total"] / recipe.grad_accum_steps)
            for name, value in terms.items():
                sums[name] = sums.get(name, 0) + value.detach() / recipe.grad_accum_steps
        if self.unlabelled_batches is not None:
            sums.update(self._self_train(next(self.unlabelled_batches)))
        values = {name: float(value) for name, value in sums.items()}
        if not all(abs(value) < float("inf") for value in values.values()):  # NaN compares as false
            raise InputError(f"the loss is not finite at step {self.step}: lower optimiser.learning_rate or "
                             "optimiser.max_grad_norm; the last checkpoint is kept, and the run goes on from there")
        if recipe.optimiser.max_grad_norm:
            self.fabric.clip_gradients(self.objective, self.optimiser, max_norm=recipe.optimiser.max_grad_norm,
                                       error_if_nonfinite=False)
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        self.step += 1
        if self.ema is not None:
            self.ema.update(self.network, self.step)
        return values

    def _self_train(self, unlabelled: dict[str, Any]) -> dict[str, Tensor]:
        """Add the gradient of a batch of unlabelled images; returns its loss and the share of labelled pixels."""
        settings = self.recipe.self_training
        if self.pseudo_labels is None or self.step < settings.start:
            return {}
        average = None if self.ema is None else self.ema.network
        batch, labelled = self.pseudo_labels.batch(self.fabric.to_device(unlabelled), average,
                                                   (self.recipe.seed << 32) + self.step)
        image = torch.addcmul(self._shift, batch["image"], self._scale)
        with convolution_precision(self.fabric):
            total = self.objective(image.contiguous(memory_format=self._memory_format), batch)["total"]
        self.fabric.backward(settings.weight * total)
        return {"unlabelled": total.detach(), "pseudo_labelled": torch.tensor(labelled)}

    def _distil(self, teacher: Teacher) -> None:
        def soft_loss(image: Tensor, outputs: dict[str, Tensor]) -> Tensor:
            return teacher.settings.weight * teacher.loss(outputs, teacher(image))
        self.objective.module.soft_loss = soft_loss

    def train_mode(self) -> None:
        """Set training mode, but for frozen layers and BatchNorm."""
        self.objective.train()
        self._freeze(self.network)

    def save(self) -> None:
        """Write the checkpoint; the first process does."""
        if self.fabric.is_global_zero:
            save_checkpoint(self.out / "checkpoint.pt", {
                "recipe": self.recipe.plain(), "processes": self.fabric.world_size, "step": self.step,
                "best": self.best, "objective": self.objective.module.state_dict(),
                "optimiser": self.optimiser.state_dict(),
                "ema": None if self.ema is None else self.ema.state_dict(),
                "mean_score": None if self.pseudo_labels is None else self.pseudo_labels.mean_score})

    def resume(self) -> None:
        """Go on from the checkpoint, where there is one. Raises InputError when it is of another run."""
        state = load_checkpoint(self.out / "checkpoint.pt", self.fabric.device)
        if state is None:
            return
        check_same_run(state, self.recipe, self.fabric.world_size, self.out)
        self.objective.module.load_state_dict(state["objective"])
        self.optimiser.load_state_dict(state["optimiser"])
        if self.ema is not None:
            self.ema.load_state_dict(state["ema"])
        if self.pseudo_labels is not None:
            self.pseudo_labels.mean_score = state["mean_score"]
        self.step, self.best = state["step"], state["best"]

    def model(self) -> Model:
        """The model as it stands: the EMA of the weights, where there is one, and the recipe's thresholds."""
        network = self.network if self.ema is None else self.ema.network
        return trained_model(network, self.recipe, self.classes, self.mean, self.std, self.dataset.name, self.step,
                             self.fabric.world_size)

    def validate(self, monitor: Monitor | None) -> None:
        """Score the model and export it to OUT/model, when it is the best so far or nothing can be scored."""
        if monitor is None:
            return
        model, settings = self.model(), self.recipe.validation
        if self.validation is not None and settings.images:
            model.network.eval()
            scores, images = validate(model, self._execute(model.network), self.validation, settings.images,
                                      self.fabric.device)
            monitor.scores(self.step, scores)
            for image in images:
                monitor.images(self.step, image.name, image.overlay, image.maps)
            score = selection_score(scores, settings.metric)
            if score < self.best:
                return
            self.best = score
            model = dataclasses.replace(model, training=with_scores(model.training, scores, self.validation.name,
                                                                    settings.images))
        save_model(model, self.out / "model")

    def _execute(self, network: nn.Module) -> Callable[[Tensor], dict[str, Tensor]]:
        def execute(image: Tensor) -> dict[str, Tensor]:
            with self.fabric.autocast():
                outputs = network(image.contiguous(memory_format=self._memory_format))
            return {name: output.float() for name, output in outputs.items()}
        return execute

    def _freeze(self, network: Any) -> None:
        if self.recipe.freeze:
            freeze_layers(network, self.recipe.freeze)
        if self.recipe.freeze_batch_norm:
            freeze_batch_norm(network)


def _open(recipe: Recipe, path: str, for_training: bool = False) -> Dataset:
    dataset = open_dataset(path, for_training=for_training)
    enough = {Truth.PANOPTIC, Truth.SEMANTIC} | ({Truth.DEPTH} if OBJECTIVES[recipe.method].uses_depth else set())
    if not dataset.truth & enough:
        raise InputError(f"{dataset.name} has objects alone as its truth: training needs a class for every pixel")
    return dataset
