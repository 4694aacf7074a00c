"""Keys of earlier versions, and Lightning's names for settings that cdsframe has elsewhere, with the key to use."""

from __future__ import annotations

from cdsframe.trainer import INSTEAD

MOVED = {
    **{
        f"training.{key}": f"optimization.{key}"
        for key in ("learning_rate", "warmup_share", "weight_decay", "clip_norm", "optimizer", "loraplus_lr_ratio")
    },
    **{
        f"training.{key}": f"training.acceleration.{key}"
        for key in ("fused", "packing", "gradient_checkpointing", "compile")
    },
    "training.patience": "callbacks.early_stopping.patience",
    "training.checkpoint_steps": "callbacks.checkpoint.every_n_train_steps",
    "training.checkpoint_minutes": "callbacks.checkpoint.minutes",
    "trainer.progress": "callbacks.progress=null",
    **{f"trainer.{key}": use for key, use in INSTEAD.items() if use},
}
"""Key -> what to use instead."""
