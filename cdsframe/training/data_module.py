"""The batches of a training as a LightningDataModule, whose training loader resumes in the middle of an epoch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import lightning.pytorch as pl
import torch

from cdsframe.training.batches import Batches


class EpochLoader:
    """Gives one epoch of training batches per iteration; another order every epoch.

    Lightning saves and loads its state. The iteration after `load_state_dict` continues the epoch; if the epoch was
    complete, it begins the next one. An iterator from which no batch is taken changes nothing.

    Args:
        used: number of batches that are used per epoch (`trainer.limit_train_batches`).
        same_order: True: every epoch has the order of the first epoch.
    """

    def __init__(self, batches: Batches, used: int, same_order: bool) -> None:
        self._batches, self._used, self._same_order = batches, used, same_order
        self._epoch, self._passed, self._loaded = -1, 0, False

    def __len__(self) -> int:
        """Number of batches per epoch."""
        return len(self._batches)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        if not self._loaded or self._passed >= self._used:
            self._epoch, self._passed = self._epoch + 1, 0
        self._loaded = False
        for batch in self._batches.epoch(0 if self._same_order else self._epoch, self._passed):
            self._passed += 1
            yield batch

    def state_dict(self) -> dict[str, Any]:
        return {"epoch": self._epoch, "passed": self._passed}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._epoch, self._passed, self._loaded = state_dict["epoch"], state_dict["passed"], True


class TrainingData(pl.LightningDataModule):
    """Training and validation batches.

    Args:
        train: the batches of any epoch.
        validation: the batches of each validation.
        used: number of training batches that are used per epoch (`trainer.limit_train_batches`).
        same_order: True: every epoch has the order of the first epoch (`trainer.overfit_batches`).
    """

    def __init__(self, train: Batches, validation: Batches, used: int, same_order: bool) -> None:
        super().__init__()
        self._train, self._validation, self._used, self._same_order = train, validation, used, same_order

    def train_dataloader(self) -> EpochLoader:
        return EpochLoader(self._train, self._used, self._same_order)

    def val_dataloader(self) -> Batches:
        return self._validation

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """Does not move the batch: the module moves one micro-batch at a time to the device."""
        return batch
