"""A generator in this process: the model with its adapter as trained, one decoding loop for batches and streams.

Because one loop serves both, a streamed answer is the answer that an evaluation gave. Does not put concurrent requests
into one batch: they wait for each other.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from cdsframe.artifacts.digests import digest
from cdsframe.chat.encoding import encode, end_of_turn_ids
from cdsframe.contracts import LanguageModel
from cdsframe.errors import InputError
from cdsframe.types import Generation, Message

if TYPE_CHECKING:
    import torch

log = logging.getLogger(__name__)


class TransformersGenerator:
    """Generates with a local causal language model.

    Args:
        model: what answers.
        max_new_tokens: the most tokens of an answer.
        temperature: 0 takes the most probable token; above it, tokens are drawn, the same ones for the same seed and
            prompt, whoever shares the batch.
        batch_size: how many conversations of similar length are decoded at once.
        seed: of the draws.
    """

    generates = True
    uses_model = True

    def __init__(
        self,
        model: LanguageModel,
        max_new_tokens: Annotated[int, Field(ge=1)],
        temperature: Annotated[float, Field(ge=0, le=2)],
        batch_size: Annotated[int, Field(ge=1)],
        seed: int,
    ) -> None:
        self._model, self._batch_size, self._seed = model, batch_size, seed
        self.name, self.max_new_tokens, self.temperature = model.name, max_new_tokens, temperature
        self._lock = threading.Lock()

    @property
    def identity(self) -> Mapping[str, Any]:
        """What an answer depends on besides the model: not how many are decoded at once."""
        target = "cdsframe.generator.transformers.TransformersGenerator"
        return {"_target_": target, "max_new_tokens": self.max_new_tokens, "temperature": self.temperature}

    def load(self) -> None:
        """Examines the chat template, then loads the weights."""
        self._model.examine()
        self._model.load()
        log.info("generator: %s is loaded; it stops at the tokens %s", self.name, sorted(self._ends))

    def count(self, messages: Sequence[Message]) -> int:
        return len(self._encode(messages))

    def generate(self, conversations: Sequence[Sequence[Message]]) -> list[Generation]:
        from tqdm import tqdm

        prompts = [self._encode(messages) for messages in conversations]
        order = sorted(range(len(prompts)), key=lambda number: len(prompts[number]), reverse=True)
        done: dict[int, Generation] = {}
        with tqdm(total=len(prompts), desc="answers", unit="", disable=len(prompts) <= self._batch_size) as bar:
            for first in range(0, len(order), self._batch_size):
                batch = order[first : first + self._batch_size]
                with self._lock:
                    done.update(zip(batch, self._batch([prompts[number] for number in batch]), strict=True))
                bar.update(len(batch))
        return [done[number] for number in range(len(prompts))]

    def stream(self, messages: Sequence[Message]) -> Iterator[str | Generation]:
        """Closing the iterator ends the decoding."""
        prompt, said, sent = self._encode(messages), _Said(), ""
        with self._lock:
            for step in self._steps([prompt]):
                said.hear(*step[0][1:], self._ends)
                text = self._text(said.tokens)
                if text.startswith(sent) and text != sent and not text.endswith("\ufffd"):
                    yield text[len(sent) :]
                    sent = text
        yield self._generation(prompt, said)

    def _batch(self, prompts: list[list[int]]) -> list[Generation]:
        rows = [_Said() for _ in prompts]
        for step in self._steps(prompts):
            for row, token, log_probability in step:
                rows[row].hear(token, log_probability, self._ends)
        return [self._generation(prompt, said) for prompt, said in zip(prompts, rows, strict=True)]

    def _steps(self, prompts: list[list[int]]) -> Iterator[list[tuple[int, int, float]]]:
        """Decodes token by token: each step yields `(row, token, its log-probability)` of every row still speaking."""
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
            speaking = [place for place, (_, token, _) in enumerate(step) if token not in self._ends]
            if not speaking:
                return
            with torch.inference_mode():
                cache = output.past_key_values
                if len(speaking) < len(rows):  # rows that have ended cost nothing further
                    keep = torch.tensor(speaking, device=device)
                    cache.batch_select_indices(keep)
                    mask, positions, tokens = mask[keep], positions[keep], tokens[keep]
                    rows = [rows[place] for place in speaking]
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
                f"a prompt of {longest} tokens and generator.max_new_tokens={self.max_new_tokens} are more than the "
                f"{limit} tokens that {self.name} reads; lower prompt.max_tokens or generator.max_new_tokens"
            )

    def _encode(self, messages: Sequence[Message]) -> list[int]:
        return encode(self._model.tokenizer, messages).input_ids

    def _text(self, tokens: list[int]) -> str:
        decoded = self._model.tokenizer.decode(tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return str(decoded).strip()

    def _generation(self, prompt: list[int], said: _Said) -> Generation:
        return Generation(
            text=self._text(said.tokens),
            log_probabilities=tuple(said.log_probabilities),
            prompt_tokens=len(prompt),
            completion_tokens=len(said.tokens),
            finish_reason="stop" if said.ended else "length",
        )

    @cached_property
    def _ends(self) -> frozenset[int]:
        return frozenset(end_of_turn_ids(self._model.tokenizer))


class _Said:
    """The tokens that one row has generated; the token that ends the turn is not one of them."""

    def __init__(self) -> None:
        self.tokens: list[int] = []
        self.log_probabilities: list[float] = []
        self.ended = False

    def hear(self, token: int, log_probability: float, ends: frozenset[int]) -> None:
        self.ended = token in ends
        if not self.ended:
            self.tokens.append(token)
            self.log_probabilities.append(log_probability)
