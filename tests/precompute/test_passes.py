"""The passes over the inputs: equal to the dense way, whatever the screen, block and threads."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch

from atlas import screening
from atlas.artifacts import RunFolder, snapshot_path, write_crosscoder, write_prism
from atlas.crosscoder import Crosscoder, Gate, decode, pre_activations, row_activations, row_codes
from atlas.errors import OutOfMemory
from atlas.geometry import direction_to_terminal, promoted_tokens, rotation
from atlas.prism import Prism, dense_code, normalise_rows
from atlas.schema import PROMOTED
from atlas.tensor_files import save_tensors
from precompute import passes
from precompute.sources import Snapshots, open_dictionary
from precompute.statistics import promoted_null

K, V, D, WIDTH = 4, 700, 16, 96
CPU = torch.device("cpu")


def planted_rows(seed: int = 0) -> torch.Tensor:
    """Rows (K, V, d) about families of directions; the first two snapshots are nearly the same."""
    random = torch.Generator().manual_seed(seed)
    centres = torch.randn(12, D, generator=random)
    first = centres[torch.arange(V) % 12] + 0.5 * torch.randn(V, D, generator=random)
    turned = [first, first + 1e-3 * torch.randn(V, D, generator=random)]
    turned += [k * first.roll(1, 0) / 3 + torch.randn(V, D, generator=random) for k in (1, 2)]
    return torch.stack(turned) + torch.randn(D, generator=random)


def planted_crosscoder(act_fn: str, seed: int = 1) -> Crosscoder:
    """A dictionary of unequal lengths, one direction gone at a snapshot and one at all."""
    random = torch.Generator().manual_seed(seed)
    W_D = torch.randn(K, WIDTH, D, generator=random) * torch.rand(K, WIDTH, 1, generator=random)
    W_D[1, 3] = 0
    W_D[:, 4] = 0
    W_E = torch.randn(K, D, WIDTH, generator=random) / 8
    b_E, b_D = torch.randn(K, WIDTH, generator=random) / 8, torch.randn(K, D, generator=random) / 9
    theta = 0.4 + torch.rand(WIDTH, generator=random)
    if act_fn == "jumprelu":
        return Crosscoder(W_E, b_E, W_D, b_D, theta)
    zeros = torch.zeros(WIDTH)
    if act_fn == "batchtopk":
        return Crosscoder(W_E, b_E, W_D, b_D, zeros, act_fn, 5)
    gate = Gate(-theta, torch.randn(WIDTH, generator=random) / 4, theta - 1)
    return Crosscoder(W_E, b_E, W_D, b_D, zeros, act_fn, None, gate)


def on_disk(
    folder: Path, rows: torch.Tensor, written: Crosscoder | Prism, batch: int = 256
) -> tuple[passes.Source, Snapshots]:
    """Snapshots and a dictionary in files, opened."""
    is_prism = isinstance(written, Prism)
    config = {
        "run": "made/up", "model": "m", "model_name": "own/m", "matrix": "W_U",
        "kind": "prism" if is_prism else "crosscoder", "steps": list(range(len(rows))), "seed": 0,
        "config": {"act_fn": written.architecture if is_prism else written.act_fn, "d_sae": WIDTH,
                   "d_model": D, "k": written.k},
        "training": {"batch": batch},
    }
    for k, snapshot in enumerate(rows):
        save_tensors(snapshot_path(folder, "own/m", k, "W_U"), {"W_U": snapshot})
    run = RunFolder(folder, config, {}, {})
    (write_prism if is_prism else write_crosscoder)(run.weights, written)
    snapshots = Snapshots(folder, run)
    return open_dictionary(run, snapshots), snapshots


def moments(source: passes.Source, snapshots: Snapshots) -> dict[str, np.ndarray]:
    parts = [passes.measure(source, snapshots, k) for k in range(source.n_snapshots)]
    return {name: np.stack([part[name] for part in parts]) for name in parts[0]}


def encoded(
    source: passes.Source, snapshots: Snapshots, screen: torch.dtype | None = None, block: int = V
) -> dict[str, np.ndarray]:
    work = passes.Encoding(source, snapshots, moments(source, snapshots), CPU, screen)
    parts = [work.block(a, min(a + block, V)) for a in range(0, V, block)]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def test_moments_lengths_and_turns(tmp_path: Path) -> None:
    rows, c = planted_rows(), planted_crosscoder("jumprelu")
    found = moments(*on_disk(tmp_path, rows, c))
    exact = rows.double()
    mean = exact.mean(dim=1)
    scale = (exact - mean[:, None]).square().mean(dim=(1, 2)).sqrt()
    np.testing.assert_allclose(found["mean"], mean, rtol=1e-6)
    np.testing.assert_allclose(found["scale"], scale, rtol=1e-12)
    np.testing.assert_allclose(found["norms"], c.norms, rtol=1e-6)
    np.testing.assert_allclose(found["rotation"][:-1], rotation(c.W_D), atol=1e-6)
    np.testing.assert_allclose(found["to_terminal"], direction_to_terminal(c.W_D), atol=1e-6)
    assert np.isnan(found["rotation"][-1]).all()
    assert np.isnan(found["rotation"][:, 4]).all()


@pytest.mark.parametrize("act_fn", ["jumprelu", "batchtopk", "gated"])
@pytest.mark.parametrize("screen", [torch.bfloat16, torch.float32])
def test_the_code_and_what_it_leaves_are_those_of_the_dense_way(
    tmp_path: Path, act_fn: str, screen: torch.dtype
) -> None:
    rows, c, batch = planted_rows(), planted_crosscoder(act_fn), 256
    source, snapshots = on_disk(tmp_path, rows, c, batch)
    found = encoded(source, snapshots, screen, block=512)
    measured = moments(source, snapshots)
    x = (rows - torch.from_numpy(measured["mean"])[:, None]) / torch.from_numpy(
        measured["scale"]).float()[:, None, None]
    p = pre_activations(c, x)
    code = torch.cat([row_codes(c, part) for part in p.split(batch)])
    token, feature = code.nonzero(as_tuple=True)
    assert 0.02 < len(token) / p.numel() < 0.4
    np.testing.assert_array_equal(found["token"], token)
    np.testing.assert_array_equal(found["feature"], feature)
    np.testing.assert_allclose(found["p"], code[token, feature], rtol=1e-4, atol=1e-5)
    a = torch.cat([row_activations(c, part) for part in p.split(batch)], dim=1)
    np.testing.assert_allclose(
        found["residual"], (decode(c, a) - x).square().sum(dim=2).T, rtol=1e-4
    )
    np.testing.assert_allclose(found["total"], x.square().sum(dim=2).T, rtol=1e-5)
    np.testing.assert_allclose(found["length"], x.norm(dim=2).T, rtol=1e-5)
    along = torch.cosine_similarity(x.double(), x[-1].double(), dim=2)
    np.testing.assert_allclose(found["turn"], 1 - along.T, atol=1e-6)


@pytest.mark.parametrize("act_fn", ["jumprelu", "batchtopk", "gated"])
def test_screen_block_threads_and_a_discarded_encoder_change_no_bit(
    tmp_path: Path, act_fn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, snapshots = on_disk(tmp_path, planted_rows(), planted_crosscoder(act_fn))
    first = encoded(source, snapshots, torch.bfloat16)
    threads = torch.get_num_threads()
    monkeypatch.setattr(passes, "KEEP_BYTES", 0)
    monkeypatch.setattr(passes, "TILE_BYTES", 10 * 2 * K * D)
    for screen, block, count in ((torch.float32, 256, 1), (torch.bfloat16, 512, 2)):
        torch.set_num_threads(count)
        try:
            again = encoded(source, snapshots, screen, block)
        finally:
            torch.set_num_threads(threads)
        for name, values in first.items():
            np.testing.assert_array_equal(again[name], values, err_msg=name)


def test_a_margin_that_is_too_narrow_is_widened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, snapshots = on_disk(tmp_path, planted_rows(), planted_crosscoder("jumprelu"))
    wanted = encoded(source, snapshots, torch.bfloat16)
    monkeypatch.setattr(screening, "STANDARD_ERRORS", 0.01)
    work = passes.Encoding(source, snapshots, moments(source, snapshots), CPU, torch.bfloat16)
    found = work.block(0, V)
    assert work.widen > 16
    for name, values in wanted.items():
        np.testing.assert_array_equal(found[name], values)


@pytest.mark.parametrize("architecture", ["topk", "jumprelu"])
def test_a_prism_s_code(tmp_path: Path, architecture: str) -> None:
    rows = planted_rows()[-1:]
    x, mean, lengths = normalise_rows(rows[0])
    random = torch.Generator().manual_seed(2)
    decoder = torch.nn.functional.normalize(torch.randn(WIDTH, D, generator=random))
    more = {"log_threshold": torch.full((WIDTH,), -1.5)} if architecture == "jumprelu" else {}
    prism = Prism(decoder.clone(), torch.full((WIDTH,), -0.1), decoder, 3 if not more else WIDTH,
                  mean, lengths, architecture, **more)
    source, snapshots = on_disk(tmp_path, rows, prism)
    found = encoded(source, snapshots, block=512)
    code = dense_code(prism, x)
    token, feature = code.nonzero(as_tuple=True)
    np.testing.assert_array_equal(found["token"], token)
    np.testing.assert_array_equal(found["feature"], feature)
    np.testing.assert_allclose(found["p"], (code * lengths[:, None])[token, feature], rtol=1e-5)
    left = (code @ decoder - x).square().sum(dim=1)
    np.testing.assert_allclose(found["residual"][:, 0], left, rtol=1e-4)
    np.testing.assert_allclose(found["total"][:, 0], 1, rtol=1e-5)
    np.testing.assert_allclose(found["length"][:, 0], lengths, rtol=1e-5)
    assert "turn" not in found


@contextmanager
def small_device(rows: int) -> Iterator[list[int]]:
    """A device on which blocks of more than so many rows do not fit; yields the sizes asked for."""
    real, asked = passes.Encoding._code, []

    def code(self: passes.Encoding, span: tuple[int, int]):
        asked.append(span[1] - span[0])
        if asked[-1] > rows:
            raise torch.OutOfMemoryError("too large")
        return real(self, span)

    passes.Encoding._code = code
    try:
        yield asked
    finally:
        passes.Encoding._code = real


def test_a_device_that_is_too_small_gets_smaller_blocks(tmp_path: Path) -> None:
    source, snapshots = on_disk(tmp_path, planted_rows(), planted_crosscoder("batchtopk"), 128)
    wanted = encoded(source, snapshots)
    with small_device(300) as asked:
        found = encoded(source, snapshots)
    assert asked == [700, 384, 128, 256, 316, 128, 188]
    for name, values in wanted.items():
        np.testing.assert_array_equal(found[name], values)
    with small_device(100), pytest.raises(OutOfMemory, match="128 rows of 96 features") as caught:
        encoded(source, snapshots)
    assert caught.value.status == 8


@pytest.mark.parametrize("screen", [torch.bfloat16, torch.float32])
def test_promoted_tokens_and_their_null(
    tmp_path: Path, screen: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows, c = planted_rows(), planted_crosscoder("jumprelu")
    source, snapshots = on_disk(tmp_path, rows, c)
    allowed = torch.arange(V) % 7 > 0
    monkeypatch.setattr(passes, "TILE_BYTES", 4 * D * 1024)
    mean = passes.measure(source, snapshots, 1)["mean"]
    found = passes.promote(source, snapshots, 1, mean, allowed, CPU, screen)
    plain = promoted_tokens(rows[1], c.W_D[1], PROMOTED, allowed)
    live = ~np.isnan(found["promoted_cosines"][:, 0])
    assert (~live).nonzero()[0].tolist() == [3, 4]
    np.testing.assert_array_equal(found["promoted"][live], plain.tokens[live])
    np.testing.assert_array_equal(found["suppressed"][live], plain.suppressed[live])
    np.testing.assert_allclose(found["promoted_cosines"], plain.cosines, atol=1e-6)
    np.testing.assert_allclose(found["suppressed_cosines"], plain.suppressed_cosines, atol=1e-6)
    random = torch.from_numpy(passes.random_directions(D))
    chance = promoted_null(rows[1], allowed, random)
    assert (found["null_tokens"] == chance["ids"]).mean() > 0.999
    quantiles = np.quantile(found["null_cosines"], (0.05, 0.5, 0.95), axis=0).T
    np.testing.assert_allclose(quantiles, chance["null"], atol=1e-6)


def test_blocks_hold_whole_batches_and_fit(tmp_path: Path) -> None:
    source, snapshots = on_disk(tmp_path, planted_rows(), planted_crosscoder("jumprelu"), 1000)
    assert passes.block_rows(source, snapshots) % 1024 == 0
    budget, _ = on_disk(tmp_path, planted_rows(), planted_crosscoder("batchtopk"), 1000)
    assert passes.block_rows(budget, snapshots) % 1000 == 0

    assert passes.block_rows_of(32, 768, 24_576) == 8192
    assert passes.block_rows_of(32, 4096, 32_768) == 6144
