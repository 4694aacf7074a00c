"""Lightning's early stopping, which also stops a run that resumes after it was stopped early."""

from __future__ import annotations

import lightning.pytorch as pl
from lightning.pytorch import callbacks


class EarlyStopping(callbacks.EarlyStopping):
    """Stops after `patience` validations without a lower `val/loss`."""

    def __init__(self, patience: int) -> None:
        super().__init__("val/loss", patience=patience, check_finite=False, check_on_train_epoch_end=False)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        trainer.should_stop = trainer.should_stop or self.wait_count >= self.patience
