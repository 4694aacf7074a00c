"""One epoch of fine-tuning without loggers and validations, for benchmarks of the training's speed and memory."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.measuring import OUTPUTS


def trainer_of(
    dtype: str,
    *,
    accelerator: str = "cpu",
    folder: Path = OUTPUTS,
    callbacks: Sequence[Any] = (),
    checkpoint_io: Any = None,
    max_steps: int | None = None,
) -> Any:
    """The Lightning Trainer of one epoch, as the product makes it."""
    from lightning.pytorch.plugins.io import TorchCheckpointIO

    from cdsframe.trainer import LightningTrainer

    options: Any = dict.fromkeys(("max_time", "limit_train_batches", "limit_val_batches", "profiler"))
    options |= {"accelerator": accelerator, "max_steps": max_steps}
    component = LightningTrainer(
        strategy="single", devices=1, num_nodes=1, overfit_batches=0, fast_dev_run=0, options={}, **options
    )
    precision: Any = "bf16-mixed" if dtype.endswith("bfloat16") else "32-true"
    trainer: Any = component.make(precision, 1, str(folder), callbacks, checkpoint_io or TorchCheckpointIO())
    trainer.limit_val_batches = 0
    return trainer


def fit(trainer: Any, module: Any, batches: Any, checkpoint: Path | None = None) -> None:
    """Trains the module on one epoch of batches, from a checkpoint if one is given."""
    from cdsframe.training.data_module import TrainingData

    data = TrainingData(batches, batches, len(batches), same_order=False)
    path = None if checkpoint is None else str(checkpoint)
    trainer.fit(module, datamodule=data, ckpt_path=path, weights_only=False)


def validation_loss(trainer: Any, module: Any, batches: Any) -> float:
    """Nats per labelled token over the batches."""
    from cdsframe.training.data_module import TrainingData

    trainer.limit_val_batches = 1.0
    data = TrainingData(batches, batches, len(batches), same_order=False)
    trainer.validate(module, datamodule=data, verbose=False)
    loss: float = module.metrics["val/loss"]
    return loss


def fine_tuning(tuned: Any, batches: Any, learning_rate: float, **recipe: Any) -> Any:
    """The module that fine-tunes a model at a constant learning rate, or by the recipe given."""
    from cdsframe.optimization import Optimization
    from cdsframe.training.module import FineTuning

    settings = {"schedule": "constant", "warmup_share": 0.0, "weight_decay": 0.0, "clip_norm": 1.0}
    settings |= {"optimizer": "auto", "loraplus_lr_ratio": 1.0, **recipe}
    optimization = Optimization(learning_rate, **settings)  # type: ignore[arg-type]
    return FineTuning(tuned, optimization, len(batches), export=lambda folder: None)
