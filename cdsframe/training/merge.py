"""`training=merge`: adds an adapter's update to its base model's weights, and compares the answers of both.

A base in 4 or 8 bits is dequantized first: the adapter was trained on the dequantized weights, not on the original
ones. The remaining error, rounding to the result's precision, is measured. Does not quantize the result.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from cdsframe.artifacts.adapter import publish, quiet_peft, require_match, require_publishable
from cdsframe.artifacts.files import InputFolder, atomic_folder, expanded, remove_partials
from cdsframe.artifacts.packaged import weights_digest
from cdsframe.chat.encoding import IGNORED
from cdsframe.contracts import System
from cdsframe.contracts.declarations import declares
from cdsframe.data.sampling import by_type, proportional_sample
from cdsframe.errors import CdsframeError, InputError
from cdsframe.training.completion import ended
from cdsframe.training.examples import Example, ExampleBuilder
from cdsframe.training.settings import Count, MaxLength, NonNegative, Share
from cdsframe.types import Metrics

log = logging.getLogger(__name__)


@declares(makes_prompts=True, needs=("model", "quantization", "data", "retriever", "index", "prompt"))
def merge(
    system: System,
    folder: InputFolder,
    precision: Literal["bfloat16", "float16", "float32"],
    base: Literal["as_trained", "original"],
    limit: Count,
    max_new_tokens: Count,
    max_divergence: NonNegative,
    min_agreement: Share,
    max_length: MaxLength,
    models: str,
) -> float:
    """Merges the adapter in `folder`; writes a plain safetensors model to the run's folder.

    Also writes it to `models/NAME`, unless in a multirun. Returns the mean divergence (nats per token). Raises
    CdsframeError, with the figures, and writes no model if the answers differ by more than is allowed.
    """
    run, model = system.run, system.model
    if (divergence := ended(run, "model", "merge/divergence")) is not None:
        return divergence
    require_match(folder, model=model, quantization=system.quantization, prompt=system.prompt.form)
    adapted = model.with_adapter(folder)
    adapted.examine()
    if not (expanded(folder) / "adapter_config.json").is_file():
        raise InputError(f"training.folder: {folder} is already a whole model; there is nothing to merge")
    require_publishable(Path(models) / system.name)
    remove_partials(run.folder / "model")
    builder = ExampleBuilder.of(system, 0, 0.0, False, max_length)
    examples = builder.build(proportional_sample(system.data.questions("validation"), limit, 0, by_type))
    served = _Seen.of(adapted.load(), model.tokenizer, examples, max_new_tokens)
    with atomic_folder(run.folder / "model") as partial:
        _merged(model, folder, base).to(_dtype(precision)).save_pretrained(partial)
        model.tokenizer.save_pretrained(partial)
        merged = _Seen.of(_loaded(partial, precision, model.device), model.tokenizer, examples, max_new_tokens)
        metrics = _differences(served, merged)
        figures = _in_words(metrics, len(examples))
        log.info("the merged model in %s compared with the adapter on its base: %s", precision, figures)
        if metrics["merge/divergence"] > max_divergence or metrics["merge/agreement"] < min_agreement:
            exact = {"training.precision=float32": precision, "training.base=as_trained": base}
            helps = [option for option, used in exact.items() if not option.endswith(used)]
            raise CdsframeError(
                f"the merged model and the adapter answer differently: {figures}; allowed are "
                f"training.max_divergence={max_divergence} and training.min_agreement={min_agreement}. Use "
                f"{' or '.join([*helps, 'the adapter on its base'])}"
            )
        facts = {"precision": precision, "base": base, "metrics": metrics}
        digests = {"model": model.digest, "adapter": weights_digest(expanded(folder))}
        run.write_manifest(partial, digests, **facts)
    run.record_output("model", Path(models) / system.name)
    if run.sweep_folder is None:
        publish(run.folder / "model", Path(models) / system.name)
    run.finish(metrics, digests, precision=precision)
    return metrics["merge/divergence"]


@dataclass(frozen=True, slots=True)
class _Seen:
    """A model's outputs: log-probabilities at the answers' tokens `[tokens, vocabulary]`, and greedy answers."""

    scores: Any
    answers: list[list[int]]

    @property
    def best(self) -> Any:
        return self.scores.argmax(-1)

    @classmethod
    def of(cls, module: Any, tokenizer: Any, examples: Sequence[Example], max_new_tokens: int) -> _Seen:
        import torch

        scores, answers = [], []
        with torch.inference_mode():
            for example in examples:
                ids = torch.tensor([example.encoded.input_ids], device=module.device)
                start = next(n for n, label in enumerate(example.encoded.labels) if label != IGNORED)
                logits = module(ids, logits_to_keep=ids.shape[1] - start + 1).logits[0, :-1]
                scores.append(logits.float().log_softmax(-1).cpu())
                asked = ids[:, :start]
                written = module.generate(
                    asked,
                    attention_mask=torch.ones_like(asked),
                    max_new_tokens=max_new_tokens,
                    do_sample=False,
                    pad_token_id=tokenizer.pad_token_id,
                )
                answers.append(written[0, start:].tolist())
        return cls(torch.cat(scores), answers)


def _in_words(metrics: Metrics, answers: int) -> str:
    worst, tokens = metrics["merge/divergence_max"], round(metrics["merge/tokens"])
    return (
        f"divergence {metrics['merge/divergence']:.2g} nats a token (at most {worst:.2g}), "
        f"{metrics['merge/agreement']:.1%} of {tokens} tokens and {metrics['merge/same_answers']:.0%} of {answers} "
        "greedy answers the same"
    )


def _differences(served: _Seen, merged: _Seen) -> Metrics:
    """Returns the KL divergence of the merged from the served model's next-token distributions, and agreement rates."""
    divergence = (served.scores.exp() * (served.scores - merged.scores)).sum(-1).clamp_min(0)
    same = [a == b for a, b in zip(served.answers, merged.answers, strict=True)]
    return {
        "merge/divergence": float(divergence.mean()),
        "merge/divergence_max": float(divergence.max()),
        "merge/agreement": float((served.best == merged.best).float().mean()),
        "merge/same_answers": sum(same) / len(same),
        "merge/tokens": float(len(divergence)),
    }


def _merged(model: Any, folder: str, base: str) -> Any:
    """Returns the base model in float32 with the adapter's update added to its weights."""
    from peft import PeftModel
    from peft.tuners.tuners_utils import BaseTunerLayer
    from peft.utils.integrations import dequantize_module_weight

    plain = model.with_new_tokens(_loaded(model.path, "float32", model.device))
    if base == "as_trained":
        quantized = model.load_for_training()
        for name, child in quantized.named_modules():
            if type(child).__module__.startswith("bitsandbytes") and not isinstance(child, BaseTunerLayer):
                plain.get_submodule(name).weight.data = dequantize_module_weight(child).float()
    with quiet_peft():
        return PeftModel.from_pretrained(plain, str(expanded(folder))).merge_and_unload()


def _loaded(path: str | Path, precision: str, device: str) -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(path, dtype=_dtype(precision), device_map={"": device}).eval()


def _dtype(precision: str) -> Any:
    import torch

    return getattr(torch, precision)
