"""How much of one token's row a dictionary explains, at every snapshot.

Read from the matrices themselves, since the store keeps no rows: for runs whose snapshots fit in
memory together.
"""

from pathlib import Path

import numpy as np
import torch

from atlas.artifacts import THRESHOLD, load_snapshots, read_run
from atlas.codes import activations_at
from atlas.crosscoder import standardize
from atlas.prism import normalise_rows
from atlas.records import RunCard
from atlas.tensor_files import load_tensors


def explained_shares(
    store: Path, card: RunCard, token: int, features: np.ndarray, p: np.ndarray
) -> np.ndarray:
    """1 - |x - x_hat|^2 / |x|^2 of one row at every snapshot, (K,) float64.

    features (n,) and p (n,) are the row's entries in the code, rounded as the store keeps
    them. x is the standardised row of a crosscoder (crosscoder-method §2, §6.3) and the
    centred unit row of a prism. nan where the row has no length; below 0 where the dictionary
    does worse than nothing.
    """
    folder = read_run(store / card.folder)
    rows = load_snapshots(store, card.model_name, card.steps, card.matrix)
    chosen = torch.as_tensor(np.asarray(features, dtype=np.int64))
    strength = torch.as_tensor(np.asarray(p, dtype=np.float64))
    if card.kind == "prism":
        tensors = load_tensors(folder.weights, ["decoder", "row_mean", "row_norms"])
        x = normalise_rows(rows[0], tensors["row_mean"])[0][token][None]
        codes = (strength / tensors["row_norms"][token].double())[None]
        directions = tensors["decoder"][None, chosen]
        offset = torch.zeros_like(x)
    else:
        tensors = load_tensors(folder.weights, ["W_D", "b_D", THRESHOLD])
        x = standardize(rows)[1][:, token]
        directions = tensors["W_D"][:, chosen]
        norms = directions.norm(dim=-1).double()
        threshold = tensors[THRESHOLD].exp()[chosen].double()
        codes = activations_at(strength[None], norms, threshold[None])
        offset = tensors["b_D"]
    x_hat = offset.double() + torch.einsum("kn,knd->kd", codes, directions.double())
    error = (x.double() - x_hat).square().sum(dim=1)
    length = x.double().square().sum(dim=1)
    return torch.where(length > 0, 1 - error / length, torch.nan).numpy()
