"""Loads a causal language model: tokenizer, weights in the configured precision, adapter.

Loads at first use. Does not train and does not generate.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal
from uuid import uuid4

from cdsframe.artifacts.adapter import quiet_peft, require_tokens
from cdsframe.artifacts.digests import digest
from cdsframe.artifacts.files import expanded
from cdsframe.artifacts.loading import loading, require_weights
from cdsframe.artifacts.packaged import cache_folder, make_once, model_path, public_name, weights_digest
from cdsframe.chat.encoding import chat_digest, encode, matches_legacy_encoding
from cdsframe.chat.template import default_template
from cdsframe.chat.tokens import WORDS
from cdsframe.contracts import Quantization
from cdsframe.errors import ConfigError, named
from cdsframe.machine.compute_dtype import ComputeDtype, probe_compute_dtype
from cdsframe.types import Message

log = logging.getLogger(__name__)


class LanguageModel:
    """A causal language model from a hub id, a folder or `package:NAME`.

    Args:
        name: hub id, folder, or `package:NAME` (see `cdsframe.artifacts.packaged.model_path`).
        compute_dtype: dtype of activations and of weights that are not quantized; `auto`: the fastest of the hardware.
        attention: transformers' name of the attention implementation.
        new_tokens: words to add to the tokenizer, one token each (`lora=embeddings` or `lora=none` trains them).
        quantization: quantizes the weights of the linear layers.
        adapter: folder of a PEFT adapter or of a fully fine-tuned model; None for the base model.
    """

    def __init__(
        self,
        name: str,
        compute_dtype: ComputeDtype,
        attention: Literal["sdpa", "eager", "flash_attention_2"],
        new_tokens: list[str],
        quantization: Quantization,
        adapter: str | None,
    ) -> None:
        self.name, self.new_tokens = name, list(new_tokens)
        self.adapter = None if adapter is None else str(expanded(adapter))
        self._wanted_dtype, self._attention, self.quantization = compute_dtype, attention, quantization

    @staticmethod
    def adds_tokens(new_tokens: list[str]) -> bool:
        """Whether the embeddings get new rows, for the configuration check."""
        return bool(new_tokens)

    @staticmethod
    def problems(new_tokens: list[str]) -> list[str]:
        """Returns an error for each new token that has blanks or is repeated. Does not load the base's tokenizer."""
        blank = [word for word in dict.fromkeys(new_tokens) if word.split() != [word]]
        twice = [word for word in dict.fromkeys(new_tokens) if new_tokens.count(word) > 1]
        return [
            *(f"model.new_tokens: {named(word)} must be one word, without blanks" for word in blank),
            *(f"model.new_tokens: {named(word)} is given more than once" for word in twice),
        ]

    @property
    def identity(self) -> Mapping[str, Any]:
        """Settings that an adapter depends on: the hub id, or the digest of a local folder's weights; new tokens."""
        return {**self._base_identity, "new_tokens": self.new_tokens} if self.new_tokens else self._base_identity

    @property
    def _base_identity(self) -> dict[str, Any]:
        return {"digest": self.digest} if expanded(self.name).is_dir() else {"name": self.name}

    @property
    def public_name(self) -> str:
        """The name without the path of a local folder."""
        return public_name(self.name)

    @property
    def _place(self) -> str:
        """Config key and value for error messages."""
        return f"model.name: {self.public_name}"

    @cached_property
    def path(self) -> str:
        """Folder or hub id for `from_pretrained`; converts or downloads at first use."""
        return model_path(self.name)

    @cached_property
    def tokenizer(self) -> Any:
        """The Hugging Face tokenizer. A missing chat template or padding token is replaced by a default.

        A new token matches whole words only. Raises ConfigError if a new token exists already or cannot be added,
        InputError if the model has no readable tokenizer.
        """
        from transformers import AddedToken, AutoTokenizer

        with loading(self._place):
            tokenizer = AutoTokenizer.from_pretrained(self.path, trust_remote_code=False)
        if tokenizer.pad_token_id is None:
            tokenizer.pad_token = tokenizer.eos_token
        if problems := [*filter(None, (_why_not_new(tokenizer, word) for word in self.new_tokens))]:
            raise ConfigError([f"model.new_tokens: {problem}; leave it out" for problem in problems])
        tokenizer.add_tokens([AddedToken(word, single_word=True, normalized=False) for word in self.new_tokens])
        if self.new_tokens:
            tokenizer.init_kwargs[WORDS] = [*tokenizer.init_kwargs.get(WORDS, ()), *self.new_tokens]
        if not tokenizer.chat_template:
            tokenizer.chat_template = default_template(tokenizer)
            log.warning("%s has no chat template; a default is used (see docs/train.md)", self.public_name)
        return tokenizer

    def examine(self) -> None:
        """Examines the chat template before work starts, and logs repairs.

        Raises ConfigError if the template cannot be used, AdapterMismatchError if the adapter was trained on other
        tokens.
        """
        try:
            digest = chat_digest(self.tokenizer)
        except ConfigError as error:
            raise type(error)([f"model.name={self.name}: {problem}" for problem in error.problems]) from None
        if self.adapter is not None:
            require_tokens(self.adapter, digest, lambda: matches_legacy_encoding(self.tokenizer))

    @cached_property
    def device(self) -> str:
        import torch

        return "cuda" if torch.cuda.is_available() else "cpu"

    @cached_property
    def compute_dtype(self) -> Any:
        """The torch dtype of activations and of weights that are not quantized."""
        import torch

        name, why = probe_compute_dtype() if self._wanted_dtype == "auto" else (self._wanted_dtype, "as configured")
        log.info("compute dtype %s (%s)", name, why)
        return getattr(torch, name)

    def load(self) -> Any:
        """Returns the module in eval mode on its device, with the adapter if configured; always the same object."""
        return self._module

    @cached_property
    def _module(self) -> Any:
        if self._is_whole_model(self.adapter):
            return self._read(str(self.adapter)).eval()
        module = self.load_for_training()
        self.quantization.for_inference(module)
        if self.adapter is not None:
            from peft import PeftModel

            with quiet_peft(), loading(f"adapter: {self.adapter}"):
                module = PeftModel.from_pretrained(module, self.adapter)
        return module.eval()

    def load_for_training(self) -> Any:
        """Returns a new module without an adapter, its linear layers quantized as configured."""
        module = self.with_new_tokens(self._read(self.path))
        self._require_rows(module)
        return module

    def with_new_tokens(self, module: Any) -> Any:
        """Adds an embedding row per new token: the mean of the rows of the base tokens that spell the word."""
        import torch
        from transformers import AutoTokenizer

        if not self.new_tokens:
            return module
        before = AutoTokenizer.from_pretrained(self.path)
        # Some bases have more rows than tokens; new tokens use those rows first.
        if len(self.tokenizer) > module.get_input_embeddings().num_embeddings:
            module.resize_token_embeddings(len(self.tokenizer), mean_resizing=False)
        for weight in {layer.weight for layer in (module.get_input_embeddings(), module.get_output_embeddings())}:
            for token in self.new_tokens:
                pieces = before(token, add_special_tokens=False).input_ids
                with torch.no_grad():
                    weight[self.tokenizer.convert_tokens_to_ids(token)] = weight[pieces].mean(0)
        return module

    def with_adapter(self, adapter: str) -> LanguageModel:
        """Returns the same model with another adapter."""
        settings = self.name, self._wanted_dtype, self._attention, self.new_tokens
        return type(self)(*settings, self.quantization, adapter)

    def without_weights(self) -> Any:
        """Returns the module on the meta device, for estimates. Reads the model's configuration but no weights."""
        import torch
        from transformers import AutoConfig, AutoModelForCausalLM

        with loading(self._place):
            config = AutoConfig.from_pretrained(self.path, trust_remote_code=False)
        if self.new_tokens:
            text = config.get_text_config()  # vision-language models have a nested text configuration
            text.vocab_size = max(text.vocab_size, len(self.tokenizer))
        with torch.device("meta"), loading(self._place):
            return AutoModelForCausalLM.from_config(
                config, dtype=self.compute_dtype, attn_implementation=self._attention, trust_remote_code=False
            )

    @staticmethod
    def _is_whole_model(adapter: str | None) -> bool:
        """Whether the folder has all weights (trained with `lora=none`) instead of an adapter."""
        return adapter is not None and not (Path(adapter) / "adapter_config.json").is_file()

    def _read(self, path: str) -> Any:
        from transformers import AutoModelForCausalLM
        from transformers.utils import logging as transformers_logging

        transformers_logging.disable_progress_bar()
        place = self._place if path == self.path else f"adapter: {path}"
        with loading(place):
            loaded: Any = AutoModelForCausalLM.from_pretrained(
                path,
                dtype=self.compute_dtype,
                attn_implementation=self._attention,
                device_map={"": self.device},
                trust_remote_code=False,
                output_loading_info=True,
                **self.quantization.load_arguments(self.compute_dtype),
            )
        module, report = loaded
        require_weights(place, sorted(report["missing_keys"]))
        self.quantization.prepare(module)
        return module

    def _require_rows(self, module: Any) -> None:
        """Raises ConfigError if the chat template uses a token that has no embedding row.

        A padding token without a row is harmless (see `padding_id`).
        """
        rows = module.get_input_embeddings().weight.shape[0]
        if len(self.tokenizer) <= rows or not self.tokenizer.chat_template:
            return
        turn = [Message("user", "q")]
        used = encode(self.tokenizer, turn, "a").input_ids + encode(self.tokenizer, turn).input_ids
        if beyond := sorted({token for token in used if token >= rows}):
            words = ", ".join(named(str(self.tokenizer.convert_ids_to_tokens(token))) for token in beyond[:3])
            raise ConfigError(
                f"model.name: {self.public_name}: its chat template uses {words}, but the model has only {rows} "
                "embeddings, none for these; save it with resized embeddings, or use its own tokenizer"
            )

    def padding_id(self) -> int:
        """Returns the id that pads batches; the attention mask hides it.

        It is the tokenizer's padding token, or 0 if that has no embedding row.
        """
        from transformers import AutoConfig

        with loading(self._place):
            rows = AutoConfig.from_pretrained(self.path, trust_remote_code=False).get_text_config().vocab_size
        wanted = self.tokenizer.pad_token_id
        return int(wanted) if wanted is not None and wanted < rows else 0

    @cached_property
    def outputs_depend_on(self) -> str:
        """A digest of all that decides its outputs for given tokens.

        Weights and configuration files of base and adapter, new tokens, quantization, precision, attention, device, and
        the versions of the libraries that compute them.
        """
        folders = [folder for folder in (self.path, self.adapter) if folder is not None]
        weights = [weights_digest(folder) or uuid4().hex for folder in folders]  # unknown weights are never the same
        files = [file for folder in folders for file in sorted(Path(folder).glob("*config.json"))]
        settings = [str(self.quantization.identity), str(self.compute_dtype), self._attention, self.device]
        settings += [f"{name} {version(name)}" for name in ("torch", "transformers", "peft", "bitsandbytes")]
        return digest(*weights, *(file.read_text(encoding="utf-8") for file in files), *self.new_tokens, *settings)

    @cached_property
    def digest(self) -> str | None:
        """SHA-256 over the weight files of a local folder (16 digits), or the hub's revision."""
        return weights_digest(self.path)


def _why_not_new(tokenizer: Any, word: str) -> str | None:
    """Returns why a word cannot be added as a token; None if it can."""
    if any(len(ids) == 1 for ids in tokenizer([word, f" {word}"], add_special_tokens=False).input_ids):
        return f"{named(word)} is already one token of the base"
    if any(special in word for special in tokenizer.all_special_tokens):
        return f"{named(word)} contains a special token of the base"
    decoder = tokenizer.backend_tokenizer.decoder if tokenizer.is_fast else None
    if decoder is not None and decoder.decode([word]) != word:  # a byte-level decoder reads letters such as µ as bytes
        return f"{named(word)} would be decoded to another text by the base's tokenizer"
    return None


class TinyLanguageModel(LanguageModel):
    """A two-layer Llama with seeded random weights and a real tokenizer, for tests and trial runs.

    Fast; its output has no meaning.
    """

    @property
    def _base_identity(self) -> dict[str, Any]:
        return {"name": f"tiny with the tokenizer of {self.name}"}

    @cached_property
    def path(self) -> str:
        return str(make_once(cache_folder() / "models" / "tiny-llama-1", self._make))

    def _make(self, folder: Path) -> None:
        import torch
        from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

        tokenizer = AutoTokenizer.from_pretrained(model_path(self.name))
        config = LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=64,
            intermediate_size=128,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=2048,
            tie_word_embeddings=True,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
        with torch.random.fork_rng():
            torch.manual_seed(0)
            LlamaForCausalLM(config).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
