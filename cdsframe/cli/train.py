"""Fine-tunes a model on questions with their passages."""

import sys

from cdsframe.cli.entry import entry
from cdsframe.config import Composition


@entry
def main(system: Composition) -> float:
    """Runs the configured training and returns its result: the lowest validation loss.

    `training=estimate` returns gigabytes, `training=merge` the divergence of the merged model.
    """
    for split in ("train", "validation"):
        system.data.questions(split)  # reports an unusable file before any work
    _ = system.trainer, system.model
    if system.index.ephemeral and system.retriever.searches:
        system.run_job("ingestion")
    failed = True
    try:
        loss: float = system.run_job("training")
        failed = False
    finally:
        for logger in system.logger:
            logger.close(failed)
    if system.trainer.first:
        sys.stdout.write(_summary(system, loss) + "\n")
    return loss


def _summary(system: Composition, loss: float) -> str:
    if system.run.output is None:
        return f"{loss:.4f}; metrics in {system.run.folder}"
    kind, published = system.run.output
    where = published if system.run.sweep_folder is None else system.run.folder / kind
    return f"{'validation loss ' if kind != 'model' else ''}{loss:.4f}; {kind} in {where}"


if __name__ == "__main__":
    main()
