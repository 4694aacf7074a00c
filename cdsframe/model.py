"""The causal language model: its tokenizer, its weights in the wanted precision, and the adapter on top.

Loads at first use. Does not train and does not generate.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Protocol

from cdsframe.artifacts.adapter import quiet_peft, require_tokens
from cdsframe.artifacts.files import expanded
from cdsframe.artifacts.loading import loading, require_weights
from cdsframe.artifacts.packaged import cache_folder, make_once, model_path, public_name, weights_digest
from cdsframe.chat.encoding import chat_digest, encode, encodes_as_before
from cdsframe.chat.template import default_template
from cdsframe.chat.tokens import WORDS
from cdsframe.errors import ConfigError, named
from cdsframe.types import Message

log = logging.getLogger(__name__)

ComputeDtype = Literal["auto", "bfloat16", "float32"]


class _Quantization(Protocol):
    @property
    def identity(self) -> Mapping[str, Any]: ...

    def load_arguments(self, compute_dtype: Any) -> dict[str, Any]: ...

    def prepare(self, module: Any) -> None: ...

    def for_inference(self, module: Any) -> None: ...


def probe_compute_dtype() -> tuple[str, str]:
    """The dtype in which this machine multiplies matrices fast, and why.

    bfloat16 without units for it is up to three times slower than float32 on a CPU, with them four times faster.
    """
    import torch

    if torch.cuda.is_available():
        major, minor = torch.cuda.get_device_capability()
        dtype = "bfloat16" if major >= 8 else "float32"
        return dtype, f"CUDA compute capability {major}.{minor}"
    units = [name for name in ("amx_bf16", "avx512_bf16") if torch.cpu.get_capabilities().get(name)]
    return ("bfloat16", f"CPU with {units[0]}") if units else ("float32", "CPU without bfloat16 units")


class LanguageModel:
    """A decoder from a hub id, a folder or `package:NAME`.

    Args:
        name: what `cdsframe.artifacts.packaged.model_path` takes.
        compute_dtype: `auto` asks the hardware; weights that are not quantized are held in it.
        attention: the attention implementation, transformers' own names.
        new_tokens: words that become tokens of their own (`lora=embeddings` or `lora=none` trains them).
        quantization: how the linear layers' weights are held.
        adapter: a PEFT adapter's folder, or None for the base model.
    """

    def __init__(
        self,
        name: str,
        compute_dtype: ComputeDtype,
        attention: Literal["sdpa", "eager", "flash_attention_2"],
        new_tokens: list[str],
        quantization: _Quantization,
        adapter: str | None,
    ) -> None:
        self.name, self.new_tokens = name, list(new_tokens)
        self.adapter = None if adapter is None else str(expanded(adapter))
        self._wanted_dtype, self._attention, self.quantization = compute_dtype, attention, quantization

    @staticmethod
    def problems(new_tokens: list[str]) -> list[str]:
        """Empty if each new token is a word, given once. Whether the base has it already, its tokenizer knows."""
        blank = [word for word in dict.fromkeys(new_tokens) if word.split() != [word]]
        twice = [word for word in dict.fromkeys(new_tokens) if new_tokens.count(word) > 1]
        return [
            *(f"model.new_tokens: {named(word)} must be one word, without blanks" for word in blank),
            *(f"model.new_tokens: {named(word)} is given more than once" for word in twice),
        ]

    @property
    def identity(self) -> Mapping[str, Any]:
        """What an adapter depends on: the hub's id, or a local folder's weights, whatever it is called."""
        return {**self._base_identity, "new_tokens": self.new_tokens} if self.new_tokens else self._base_identity

    @property
    def _base_identity(self) -> dict[str, Any]:
        return {"digest": self.digest} if expanded(self.name).is_dir() else {"name": self.name}

    @property
    def public_name(self) -> str:
        """Without the path of a local folder."""
        return public_name(self.name)

    @property
    def _place(self) -> str:
        """Where an error message points."""
        return f"model.name: {self.public_name}"

    @cached_property
    def path(self) -> str:
        """What `from_pretrained` takes; converts or downloads at first use."""
        return model_path(self.name)

    @cached_property
    def tokenizer(self) -> Any:
        """The Hugging Face tokenizer with a chat template and a padding token, which are set where it has none.

        A new token matches whole words only. Raises ConfigError where it is not new, and where
        the model has no tokenizer.
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
            log.warning("%s has no chat template: turns are written as docs/train.md says", self.public_name)
        return tokenizer

    def examine(self) -> None:
        """Examines the chat template before work starts, logs what is repaired.

        Raises ConfigError where it cannot be used, AdapterMismatchError where the adapter was trained on other tokens.
        """
        try:
            digest = chat_digest(self.tokenizer)
        except ConfigError as error:
            raise type(error)([f"model.name={self.name}: {problem}" for problem in error.problems]) from None
        if self.adapter is not None:
            require_tokens(self.adapter, digest, lambda: encodes_as_before(self.tokenizer))

    @cached_property
    def device(self) -> str:
        import torch

        return "cuda" if torch.cuda.is_available() else "cpu"

    @cached_property
    def compute_dtype(self) -> Any:
        """The torch dtype of activations, and of weights that are not quantized."""
        import torch

        name, why = probe_compute_dtype() if self._wanted_dtype == "auto" else (self._wanted_dtype, "as configured")
        log.info("compute dtype %s (%s)", name, why)
        return getattr(torch, name)

    def load(self) -> Any:
        """The module in eval mode on its device, with the adapter if there is one; the same object every time."""
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
        """A module of its own without an adapter, its linear layers quantized as configured."""
        module = self.with_new_tokens(self._read(self.path))
        self._require_rows(module)
        return module

    def with_new_tokens(self, module: Any) -> Any:
        """The base's module with a row for each new token: the mean of the rows of the pieces that it was cut into."""
        import torch
        from transformers import AutoTokenizer

        if not self.new_tokens:
            return module
        before = AutoTokenizer.from_pretrained(self.path)
        if len(self.tokenizer) > module.get_input_embeddings().num_embeddings:  # else the base has rows to spare
            module.resize_token_embeddings(len(self.tokenizer), mean_resizing=False)
        for weight in {layer.weight for layer in (module.get_input_embeddings(), module.get_output_embeddings())}:
            for token in self.new_tokens:
                pieces = before(token, add_special_tokens=False).input_ids
                with torch.no_grad():
                    weight[self.tokenizer.convert_tokens_to_ids(token)] = weight[pieces].mean(0)
        return module

    def with_adapter(self, adapter: str) -> LanguageModel:
        """The same model with this adapter on it."""
        settings = self.name, self._wanted_dtype, self._attention, self.new_tokens
        return type(self)(*settings, self.quantization, adapter)

    def without_weights(self) -> Any:
        """The module on the meta device: shapes only, for estimates. Its configuration alone is read."""
        import torch
        from transformers import AutoConfig, AutoModelForCausalLM

        with loading(self._place):
            config = AutoConfig.from_pretrained(self.path, trust_remote_code=False)
        if self.new_tokens:
            text = config.get_text_config()  # models that see have their words' settings in another
            text.vocab_size = max(text.vocab_size, len(self.tokenizer))
        with torch.device("meta"), loading(self._place):
            return AutoModelForCausalLM.from_config(
                config, dtype=self.compute_dtype, attn_implementation=self._attention, trust_remote_code=False
            )

    @staticmethod
    def _is_whole_model(adapter: str | None) -> bool:
        """Whether `lora=none` left the folder: all weights instead of an adapter's."""
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
        """Raises ConfigError where the chat template uses a token for which the embeddings have no row.

        A padding token without a row does no harm (see `padding_id`).
        """
        rows = module.get_input_embeddings().weight.shape[0]
        if len(self.tokenizer) <= rows or not self.tokenizer.chat_template:
            return
        turn = [Message("user", "q")]
        used = encode(self.tokenizer, turn, "a").input_ids + encode(self.tokenizer, turn).input_ids
        if beyond := sorted({token for token in used if token >= rows}):
            words = ", ".join(named(str(self.tokenizer.convert_ids_to_tokens(token))) for token in beyond[:3])
            raise ConfigError(
                f"model.name: {self.public_name}: its chat template uses {words}, for which its embeddings (of {rows} "
                "rows) have none; save the model with resized embeddings, or take the tokenizer that belongs to it"
            )

    def padding_id(self) -> int:
        """A token that fills up short rows; the attention mask hides it.

        The tokenizer's padding token, or where the embeddings have no row for it, the first token.
        """
        from transformers import AutoConfig

        with loading(self._place):
            rows = AutoConfig.from_pretrained(self.path, trust_remote_code=False).get_text_config().vocab_size
        wanted = self.tokenizer.pad_token_id
        return int(wanted) if wanted is not None and wanted < rows else 0

    @cached_property
    def digest(self) -> str | None:
        """SHA-256 over the weight files of a local folder (16 digits), or the hub's revision."""
        return weights_digest(self.path)


def _why_not_new(tokenizer: Any, word: str) -> str | None:
    """What hinders a word from becoming a token of its own, None where nothing does."""
    if any(len(ids) == 1 for ids in tokenizer([word, f" {word}"], add_special_tokens=False).input_ids):
        return f"{named(word)} is one token of the base already"
    if any(special in word for special in tokenizer.all_special_tokens):
        return f"{named(word)} has a special token of the base in it"
    decoder = tokenizer.backend_tokenizer.decoder if tokenizer.is_fast else None
    if decoder is not None and decoder.decode([word]) != word:  # a byte-level one takes letters such as µ for bytes
        return f"{named(word)} would not be written by the base's tokenizer as it is read"
    return None


class TinyLanguageModel(LanguageModel):
    """A Llama of two small layers with random weights and a real tokenizer: fast, and says nothing sensible.

    For tests and for trying a composition out. The weights are seeded, so that everyone has the same.
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
