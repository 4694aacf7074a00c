"""Generates in this process with the transformers library. Batches and streams use the same decoding loop.

So a streamed answer equals the answer in an evaluation. Does not batch concurrent requests: they run one after the
other.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from time import perf_counter
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from cdsframe.artifacts.digests import digest
from cdsframe.chat.encoding import encode, end_of_turn_ids
from cdsframe.contracts import LanguageModel
from cdsframe.errors import InputError
from cdsframe.machine.memory import empty_cuda_cache, out_of_memory
from cdsframe.types import Generation, Message

if TYPE_CHECKING:
    import torch

log = logging.getLogger(__name__)


class TransformersGenerator:
    """Generates with a local causal language model.

    Args:
        model: the language model.
        max_new_tokens: maximum tokens of an answer.
        temperature: sampling temperature; 0: greedy decoding. Samples depend only on the seed and the prompt, not on
            the batch.
        batch_size: maximum number of conversations per batch; batches have prompts of similar length.
        batch_tokens: maximum number of tokens per batch: conversations times the longest prompt and answer. A longer
            conversation is computed alone.
        seed: seed of the sampling.
    """

    generates = True
    uses_model = True

    def __init__(
        self,
        model: LanguageModel,
        max_new_tokens: Annotated[int, Field(ge=1)],
        temperature: Annotated[float, Field(ge=0, le=2)],
        batch_size: Annotated[int, Field(ge=1)],
        batch_tokens: Annotated[int, Field(ge=1)],
        seed: int,
    ) -> None:
        self._model, self._seed = model, seed
        self.batch_size, self._batch_tokens = batch_size, batch_tokens
        self.name, self.max_new_tokens, self.temperature = model.name, max_new_tokens, temperature
        self._lock = threading.Lock()

    @property
    def identity(self) -> Mapping[str, Any]:
        """Settings besides the model that affect answers; excludes the batch size."""
        target = "cdsframe.generator.transformers.TransformersGenerator"
        return {"_target_": target, "max_new_tokens": self.max_new_tokens, "temperature": self.temperature}

    def load(self) -> None:
        """Examines the chat template, then loads the weights."""
        self._model.examine()
        self._model.load()
        log.info("generator: loaded %s; token ids that stop generation: %s", self.name, sorted(self._ends))

    def count(self, messages: Sequence[Message]) -> int:
        return len(self._encode(messages))

    def keys(self, conversations: Sequence[Sequence[Message]]) -> list[str]:
        """For each conversation, a digest of all that decides its answer: model, decoding and prompt tokens."""
        decoding = [str(self.max_new_tokens), str(self.temperature), str(self._seed if self.temperature else 0)]
        decided_by = digest(self._model.outputs_depend_on, *decoding, *map(str, sorted(self._ends)))
        return [digest(decided_by, " ".join(map(str, self._encode(messages)))) for messages in conversations]

    def generate(self, conversations: Sequence[Sequence[Message]]) -> list[Generation]:
        found = {number: one for batch in self.generate_batches(conversations) for number, one in batch.items()}
        return [found[number] for number in range(len(conversations))]

    def generate_batches(self, conversations: Sequence[Sequence[Message]]) -> Iterator[dict[int, Generation]]:
        """Yields batches, the longest prompts first. Halves them if memory runs out."""
        from tqdm import tqdm

        prompts = [self._encode(messages) for messages in conversations]
        size = self.batch_size
        waiting = sorted(range(len(prompts)), key=lambda number: len(prompts[number]), reverse=True)
        with tqdm(total=len(prompts), desc="answers", unit="", disable=len(prompts) <= size) as bar:
            while waiting:
                fitting = self._batch_tokens // (len(prompts[waiting[0]]) + self.max_new_tokens)
                batch = waiting[: max(1, min(size, fitting))]
                try:
                    with self._lock:
                        started = perf_counter()
                        found: list[Generation] | None = self._batch([prompts[number] for number in batch])
                        seconds = (perf_counter() - started) / len(batch)
                except (MemoryError, RuntimeError) as error:
                    if len(batch) == 1 or not out_of_memory(error):
                        raise
                    found = None
                if found is None:  # outside of `except`, whose error keeps the batch in memory
                    size = len(batch) // 2
                    empty_cuda_cache()
                    log.warning("memory is short: batches have at most %d conversations from here on", size)
                    continue
                yield {number: replace(one, seconds=seconds) for number, one in zip(batch, found, strict=True)}
                waiting = waiting[len(batch) :]
                bar.update(len(batch))

    def stream(self, messages: Sequence[Message]) -> Iterator[str | Generation]:
        """Streams an answer. Closing the iterator ends the decoding."""
        prompt, generated, sent = self._encode(messages), _GeneratedTokens(), ""
        with self._lock:
            for step in self._steps([prompt]):
                generated.add(*step[0][1:], self._ends)
                text = self._text(generated.tokens)
                if text.startswith(sent) and text != sent and not text.endswith("\ufffd"):
                    yield text[len(sent) :]
                    sent = text
        yield self._generation(prompt, generated)

    def _batch(self, prompts: list[list[int]]) -> list[Generation]:
        rows = [_GeneratedTokens() for _ in prompts]
        for step in self._steps(prompts):
            for row, token, log_probability in step:
                rows[row].add(token, log_probability, self._ends)
        return [self._generation(prompt, generated) for prompt, generated in zip(prompts, rows, strict=True)]

    def _steps(self, prompts: list[list[int]]) -> Iterator[list[tuple[int, int, float]]]:
        """Decodes token by token. Each step yields `(row, token, log-probability)` of every unfinished row."""
        import torch

        module = self._model.load()
        device = next(module.parameters()).device
        self._check_length(module, max(map(len, prompts)))
        width = max(map(len, prompts))
        padding = min(self._ends)  # any token: the mask hides it
        ids = torch.tensor([[padding] * (width - len(prompt)) + prompt for prompt in prompts], device=device)
        mask = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in prompts], device=device)
        positions = (mask.cumsum(1) - 1).clamp(min=0)
        draws = [self._draw_from(prompt) for prompt in prompts]
        rows, cache = list(range(len(prompts))), None
        for _ in range(self.max_new_tokens):
            with torch.inference_mode():
                output = module(
                    input_ids=ids, attention_mask=mask, position_ids=positions, past_key_values=cache,
                    use_cache=True, logits_to_keep=1,
                )  # fmt: skip
                scores = output.logits[:, -1].float().log_softmax(-1)
                tokens = self._choose(scores, [draws[row] for row in rows])
                chosen = scores.gather(1, tokens[:, None])[:, 0].tolist()
            step = list(zip(rows, tokens.tolist(), chosen, strict=True))
            yield step
            unfinished = [place for place, (_, token, _) in enumerate(step) if token not in self._ends]
            if not unfinished:
                return
            with torch.inference_mode():
                cache = output.past_key_values
                if len(unfinished) < len(rows):  # removes finished rows from the batch
                    keep = torch.tensor(unfinished, device=device)
                    cache.batch_select_indices(keep)
                    mask, positions, tokens = mask[keep], positions[keep], tokens[keep]
                    rows = [rows[place] for place in unfinished]
                ids, positions = tokens[:, None], positions[:, -1:] + 1
                mask = torch.cat([mask, mask.new_ones(len(rows), 1)], dim=1)

    def _choose(self, scores: torch.Tensor, draws: list[torch.Generator | None]) -> torch.Tensor:
        import torch

        if self.temperature == 0:
            return scores.argmax(-1)
        weights = (scores / self.temperature).softmax(-1).cpu()
        drawn = [torch.multinomial(row, 1, generator=draw) for row, draw in zip(weights, draws, strict=True)]
        return torch.cat(drawn).to(scores.device)

    def _draw_from(self, prompt: list[int]) -> torch.Generator | None:
        import torch

        if self.temperature == 0:
            return None
        seed = int(digest(str(self._seed), " ".join(map(str, prompt)))[:15], 16)
        return torch.Generator().manual_seed(seed)

    def _check_length(self, module: Any, longest: int) -> None:
        limit = getattr(module.config, "max_position_embeddings", None)
        if limit is not None and longest + self.max_new_tokens > limit:
            raise InputError(
                f"a prompt of {longest} tokens plus generator.max_new_tokens={self.max_new_tokens} exceeds the context "
                f"of {self.name} ({limit} tokens); lower prompt.max_tokens or generator.max_new_tokens"
            )

    def _encode(self, messages: Sequence[Message]) -> list[int]:
        return encode(self._model.tokenizer, messages).input_ids

    def _text(self, tokens: list[int]) -> str:
        decoded = self._model.tokenizer.decode(tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return str(decoded).strip()

    def _generation(self, prompt: list[int], generated: _GeneratedTokens) -> Generation:
        return Generation(
            text=self._text(generated.tokens),
            log_probabilities=tuple(generated.log_probabilities),
            prompt_tokens=len(prompt),
            completion_tokens=len(generated.tokens),
            finish_reason="stop" if generated.ended else "length",
        )

    @cached_property
    def _ends(self) -> frozenset[int]:
        return frozenset(end_of_turn_ids(self._model.tokenizer))


class _GeneratedTokens:
    """The tokens generated for one row, without the token that ends the turn."""

    def __init__(self) -> None:
        self.tokens: list[int] = []
        self.log_probabilities: list[float] = []
        self.ended = False

    def add(self, token: int, log_probability: float, ends: frozenset[int]) -> None:
        self.ended = token in ends
        if not self.ended:
            self.tokens.append(token)
            self.log_probabilities.append(log_probability)
