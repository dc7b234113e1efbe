"""Looking inside one pass: every released family closes, whatever its norms and paths."""

import threading

import numpy as np
import pytest
import torch
from torch import nn

from atlas import inside
from atlas.attribution import Norm
from atlas.errors import BrokenArtifact, InvalidValue
from atlas.inside import head_parts, look_inside, norm_of, why_no_heads, writers_of
from tests.families import FAMILIES, tiny_family

IDS = [3, 50, 70, 12, 99, 140, 7, 8, 9]
EVERY = range(len(IDS))


def scaled(name: str) -> nn.Module:
    """A tiny family; Gemma's layer scalars are made something else than 1."""
    module = tiny_family(name)
    if name.startswith("gemma4"):
        for i, layer in enumerate(inside._stack(module)[0].layers):
            layer.layer_scalar.fill_(0.6 + 0.2 * i)
    return module


def last_state(module: nn.Module) -> np.ndarray:
    with torch.inference_mode():
        return module.base_model(input_ids=torch.tensor([IDS])).last_hidden_state[0].numpy()


@pytest.mark.parametrize("name", FAMILIES)
class TestFamilies:
    def test_components_add_up(self, name: str) -> None:
        module = scaled(name)
        found = look_inside(module, IDS, EVERY)
        np.testing.assert_array_equal(found.normed, last_state(module))
        assert found.sum_error < 2e-6 * np.abs(found.residual[-1]).max()
        assert found.norm_error < 2e-5
        kinds = [{part.kind for part in parts} for parts in found.parts]
        assert not any("rest" in each or "block" in each for each in kinds)
        for position in (0, 5):
            named, values = found.components(position)
            assert named[0].name == "embedding"
            i = found.at(position)
            np.testing.assert_allclose(values.sum(0), found.residual[-1][i], atol=2e-6)
            shares = found.norm.shares(values, found.residual[-1][i]).sum(0)
            shares = shares if found.norm.bias is None else shares + found.norm.bias
            np.testing.assert_allclose(shares, found.normed[i], atol=2e-5)

    def test_heads_add_up_to_their_attention(self, name: str) -> None:
        module = scaled(name)
        found = look_inside(module, IDS, [2, 6])
        for block in range(found.blocks):
            assert why_no_heads(module, block) is None
            named, values = head_parts(module, found, block, 6)
            whole = next(p.values for p in found.parts[block] if p.kind.endswith("attention"))
            np.testing.assert_allclose(values.sum(0), whole[1], atol=1e-6)
            assert [c.kind for c in named[:2]] == ["head 0", "head 1"]
            assert ("attention bias" in {c.kind for c in named}) == (name == "gpt_neox")
            assert np.abs(values).max() > 1e-3

    def test_the_lens_norms_the_last_state_once(self, name: str) -> None:
        module = scaled(name)
        found = look_inside(module, IDS, EVERY)
        final = inside._stack(module)[1]
        np.testing.assert_array_equal(found.lens(found.blocks), last_state(module))
        with torch.inference_mode():
            for layer in range(found.blocks + 1):
                wanted = final(torch.from_numpy(found.residual[layer])).numpy()
                np.testing.assert_allclose(found.lens(layer), wanted, atol=3e-5)
            twice = final(torch.from_numpy(found.normed)).numpy()
        assert np.abs(twice - found.lens(found.blocks)).max() > 1e-2

    def test_the_gain_is_that_of_the_class(self, name: str) -> None:
        """1 + weight where the norm is zero-centred, the weight elsewhere (§14 trap 22)."""
        final = inside._stack(scaled(name))[1]
        weight = final.weight.detach().numpy()
        offset = 1.0 if name.startswith("qwen3_5") else 0.0
        found = norm_of(final)
        np.testing.assert_allclose(found.gain, weight + offset, atol=1e-6)
        assert found.centred == (name == "gpt_neox")
        assert (found.bias is not None) == (name == "gpt_neox")

    def test_half_precision_is_said_and_its_rounding_shows(self, name: str) -> None:
        module = scaled(name).to(torch.bfloat16)
        found = look_inside(module, IDS, EVERY)
        assert found.precision == "bfloat16"
        assert not any(p.kind in ("rest", "block") for parts in found.parts for p in parts)
        assert 1e-5 < found.sum_error < 0.05 * np.abs(found.residual[-1]).max()


def test_factors_reach_what_was_written_before_them() -> None:
    module = scaled("gemma4_text")
    found = look_inside(module, IDS, [4])
    np.testing.assert_allclose(found.factors, np.cumprod([1.2, 1.0, 0.8, 0.6])[::-1], rtol=1e-6)
    np.testing.assert_allclose(found.embedding, found.factors[0] * found.residual[0], rtol=1e-6)


def test_the_writers_of_a_hybrid() -> None:
    layers = inside._stack(tiny_family("qwen3_5"))[0].layers
    assert [[w.kind for w in writers_of(layer)] for layer in layers] == [
        ["linear attention", "MLP"], ["attention", "MLP"]]


class TestUnknown:
    def test_an_unknown_block_is_one_component(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delitem(inside.WRITERS, "LlamaDecoderLayer")
        module = tiny_family("llama")
        found = look_inside(module, IDS, [1, 8])
        assert [[p.kind for p in parts] for parts in found.parts] == [["block"], ["block"]]
        assert found.sum_error < 1e-6
        assert "no output projection" in str(why_no_heads(module, 0))
        with pytest.raises(InvalidValue, match="heads of block 0 are not available, because"):
            head_parts(module, found, 0, 8)

    def test_a_path_that_is_not_known_is_named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        known = [w for w in inside.WRITERS["Gemma4TextDecoderLayer"] if "input" not in w.kind]
        monkeypatch.setitem(inside.WRITERS, "Gemma4TextDecoderLayer", tuple(known))
        found = look_inside(scaled("gemma4_text"), IDS, EVERY)
        assert [p.kind for p in found.parts[0]] == ["attention", "MLP", "rest"]
        assert found.sum_error < 2e-6

    def test_an_unknown_final_norm_is_refused(self) -> None:
        class Odd(nn.Module):
            eps = 1e-6

            def __init__(self, width: int) -> None:
                super().__init__()
                self.weight = nn.Parameter(torch.ones(width))

            def forward(self, x: torch.Tensor) -> torch.Tensor:
                return x / x.abs().amax(-1, keepdim=True)

        module = tiny_family("llama")
        module.base_model.norm = Odd(16)
        with pytest.raises(BrokenArtifact, match="final norm is none that is known"):
            look_inside(module, IDS, [0])

    def test_a_norm_without_weight_has_a_gain_of_one(self) -> None:
        from transformers.models.gemma4.modeling_gemma4 import Gemma4RMSNorm

        beside = nn.Linear(8, 8)
        found = norm_of(Gemma4RMSNorm(8, with_scale=False), beside)
        np.testing.assert_allclose(found.gain, 1, atol=1e-6)
        with pytest.raises(BrokenArtifact, match="no norm that is known"):
            norm_of(nn.Identity(), beside)

    def test_a_model_without_layers(self) -> None:
        class Bare(nn.Module):
            base_model = nn.Linear(2, 2)

        with pytest.raises(InvalidValue, match="not where they are looked for"):
            look_inside(Bare(), IDS, [0])


class TestAnyInput:
    def test_one_token_and_the_whole_context(self) -> None:
        module = tiny_family("gpt_neox")
        one = look_inside(module, [5], [0])
        assert one.residual.shape == (3, 1, 16)
        full = look_inside(module, [i % 300 for i in range(128)], [0, 127])
        assert full.sum_error < 2e-6
        assert full.positions == (0, 127)

    @pytest.mark.parametrize("positions", [[], [9], [-1, 3]])
    def test_positions_outside(self, positions: list[int]) -> None:
        with pytest.raises(InvalidValue, match="outside of 9 tokens"):
            look_inside(tiny_family("llama"), IDS, positions)

    def test_a_position_that_was_not_kept(self) -> None:
        found = look_inside(tiny_family("llama"), IDS, [2])
        with pytest.raises(InvalidValue, match="position 3 was not looked into"):
            found.components(3)

    def test_values_that_are_not_finite(self) -> None:
        module = tiny_family("llama")
        module.base_model.layers[1].mlp.down_proj.weight.data[0, 0] = torch.nan
        with pytest.raises(BrokenArtifact, match="not finite after the last block"):
            look_inside(module, IDS, [0, 8])

    def test_hooks_are_gone_afterwards_also_after_a_fault(self) -> None:
        module = tiny_family("llama")
        before = [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in module.modules()]
        look_inside(module, IDS, [0])
        with pytest.raises(IndexError):
            look_inside(module, [999_999], [0])
        after = [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in module.modules()]
        assert before == after

    def test_passes_of_other_threads_go_by_unseen(self) -> None:
        module = tiny_family("gpt_neox")
        wanted = look_inside(module, IDS, [3])
        stop, running = threading.Event(), threading.Event()

        def others() -> None:
            with torch.inference_mode():
                while not stop.is_set():
                    module.base_model(input_ids=torch.tensor([[9, 9, 9, 9, 9]]))
                    running.set()

        thread = threading.Thread(target=others)
        thread.start()
        try:
            assert running.wait(20)
            for _ in range(20):
                found = look_inside(module, IDS, [3])
                np.testing.assert_array_equal(found.residual, wanted.residual)
        finally:
            stop.set()
            thread.join()


def test_a_norm_of_two_kinds() -> None:
    x = torch.randn(4, 16, generator=torch.Generator().manual_seed(0))
    layer = nn.LayerNorm(16)
    layer.weight.data.normal_()
    layer.bias.data.normal_()
    found: Norm = norm_of(layer)
    with torch.inference_mode():
        np.testing.assert_allclose(found.apply(x.numpy()), layer(x).numpy(), atol=1e-5)
    assert norm_of(nn.LayerNorm(16, bias=False)).bias is None
