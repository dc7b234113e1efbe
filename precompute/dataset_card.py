"""The card of a shared store: README.md with the front matter that the hub reads.

What it says comes from the runs: nothing is typed in. Names in it may be other people's text and
are written so that they stay text.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from atlas.inventory import repositories
from atlas.records import RunCard
from atlas.schema import SCHEMA
from precompute.manifest import TABLES

SHOWN = ("feature", "promoted", "life")
"""Tables that the hub's viewer shows, a split for every run; the first one at once."""
TAGS = ("interpretability", "unembedding", "sparse-dictionary", "training-dynamics",
        "readout-atlas")
MODEL_LICENCES = {
    "EleutherAI/pythia-": "apache-2.0",
    "allenai/OLMo-2-": "apache-2.0",
    "readout-atlas/demo-": "mit",
}
"""Licence of a language model by the beginning of its name, where we know it."""
TRAJECTORIES = repositories("trajectory")
DICTIONARY_LICENCES = dict.fromkeys((*TRAJECTORIES, *repositories("prism")), "mit")
"""Licence of released dictionaries by repository, as their cards state it."""
NOT_RECORDED = "not recorded here, see its own card"


@dataclass(frozen=True)
class Origin:
    """Where a share will be found and what its publisher says of it."""

    address: str = ""
    """`hf://datasets/OWNER/NAME`; empty for a folder."""
    licence: str = ""
    """Licence of the derived tables, as the hub spells it; empty when the publisher named none."""


def write_card(
    path: Path, cards: list[RunCard], metas: Mapping[str, Mapping[str, str]], weights: bool,
    origin: Origin,
) -> None:
    """Write the card of a share of these runs; `metas` is the meta table of each run's file."""
    inputs = sorted({
        said for card in cards
        for said in (model_licence(card.model_name), dictionary_licence(card)) if said
    })
    licence = origin.licence or (inputs[0] if len(inputs) == 1 and " " not in inputs[0]
                                 else "other")
    text = "\n\n".join([
        _front_matter(cards, licence),
        "# Features of a language model's readout, through training",
        _what(cards, weights),
        _figures(cards),
        _open(cards, origin),
        _made(cards, metas),
        _sources(cards, metas),
        _licence(cards, origin.licence, licence),
        _limits(cards),
    ])
    path.write_text(text + "\n", encoding="utf8")


def model_licence(model_name: str) -> str:
    """Licence of a language model as far as it is known."""
    known = (said for start, said in MODEL_LICENCES.items() if model_name.startswith(start))
    return next(known, NOT_RECORDED)


def dictionary_licence(card: RunCard) -> str:
    """Licence of a released dictionary; empty for one that was trained here."""
    repository = _origin(card).get("repository")
    return DICTIONARY_LICENCES.get(str(repository), NOT_RECORDED) if repository else ""


def _origin(card: RunCard) -> dict[str, Any]:
    found = card.config.get("origin")
    return found if isinstance(found, dict) else {}


def text_of(value: object, most: int = 120) -> str:
    """Foreign text as code in a table cell: one line, nothing that Markdown or HTML reads."""
    line = " ".join(str(value).split())[:most]
    cleaned = re.sub(r"[`|<>\\]", "?", "".join(c if c.isprintable() else "?" for c in line))
    return f"`{cleaned}`" if cleaned else "–"


def splits(runs: list[str]) -> dict[str, str]:
    """A name for each run that the hub accepts as a split: words joined by dots, all different."""
    names: dict[str, str] = {}
    for run in sorted(runs):
        name = ".".join(re.sub(r"\W", "_", part, flags=re.ASCII) for part in run.split("/"))
        while name in names.values():
            name += "_"
        names[run] = name
    return names


def _front_matter(cards: list[RunCard], licence: str) -> str:
    named = splits([card.run for card in cards])
    lines = ["---", f"license: {json.dumps(licence)}",
             'pretty_name: "Readout Atlas: a store of derived tables"',
             "tags:", *(f"- {tag}" for tag in TAGS),
             "configs:"]
    for table in SHOWN:
        lines += [f"- config_name: {table}", *(["  default: true"] if table == SHOWN[0] else []),
                  "  data_files:"]
        for run, split in named.items():
            path = json.dumps(f"runs/{run}/{TABLES}/{table}.parquet")
            lines += [f"  - split: {split}", f"    path: {path}"]
    return "\n".join([*lines, "---"])


def _what(cards: list[RunCard], weights: bool) -> str:
    models = ", ".join(text_of(name) for name in sorted({c.model_name for c in cards}))
    n = sum(card.d_sae for card in cards)
    live = (
        "Dictionaries, snapshots and language models are included, so prompts can be decomposed."
        if weights else
        "Weights are not included: every page opens except the live decomposition of a prompt and "
        "the explained share of a single row."
    )
    return (
        f"{len(cards)} sparse {'dictionary' if len(cards) == 1 else 'dictionaries'} "
        f"({n:,} features) over the unembedding or embedding rows of {models}, and everything "
        "that was derived from them: the life of every feature through pretraining, the tokens it "
        "fires on and promotes, its neighbours, and the sparse code of every token. Made with "
        "Readout Atlas, which opens it without computing anything again. "
        f"{live}\n\n"
        "`runs/<run>/tables/` has one Parquet file per table; a feature's number means something "
        "only inside its run. `catalog/run.parquet` lists the runs, `catalog/token.parquet` the "
        "vocabulary. What a column means is in the metadata of its Parquet field (`comment`). "
        "`manifest.json` has size and sha256 of every file and the digest of every run."
    )


def _number(value: float, digits: int = 3) -> str:
    return "–" if value != value else f"{value:.{digits}f}"


def _figures(cards: list[RunCard]) -> str:
    rows = "\n".join(
        f"| `{c.run}` | {c.kind} | {c.matrix} | {c.d_sae:,} | {len(c.steps)} "
        f"| {_number(c.explained_variance)} | {_number(c.l0, 1)} | {_number(c.dead_rate)} "
        f"| {_number(c.legible_share)} | {_number(c.legible_null)} |"
        for c in cards
    )
    return (
        "## Figures\n\n| run | kind | matrix | features | snapshots | EV | L0 | dead | legible "
        f"| its null |\n|---|---|---|---|---|---|---|---|---|---|\n{rows}\n\n"
        "EV: 1 - squared error / squared length of the standardised rows over all rows and "
        "snapshots (a prism: of the unit rows). L0: features that fire on a row and snapshot, on "
        "average. Legible: share of live features whose strongest firing tokens belong to one "
        "kind; its null is the same test with the tokens' identities shuffled, so read the two "
        "together. A dash: not available."
    )


def _open(cards: list[RunCard], origin: Origin) -> str:
    place = origin.address or "."
    first = next((card for card in cards if card.matrix == "W_U"), cards[0])
    table = f"{place}/runs/{first.run}/{TABLES}/feature.parquet"
    return (
        "## Open it\n\n"
        f"```sh\nreadout-atlas serve --store {origin.address or 'THIS_FOLDER'}\n```\n\n"
        "```python\nimport pandas as pd\n"
        f'features = pd.read_parquet("{table}")\n'
        'print(features.sort_values("contribution", ascending=False).head())\n```\n\n'
        "```sql\n-- DuckDB\nSELECT feature, profile, birth_step, rate_max\n"
        f"FROM '{table}'\nORDER BY contribution DESC LIMIT 10;\n```"
    )


def _made(cards: list[RunCard], metas: Mapping[str, Mapping[str, str]]) -> str:
    codes = ", ".join(sorted({metas[c.run].get("code", "?") for c in cards}))
    engines = ", ".join(sorted({metas[c.run].get("duckdb", "?") for c in cards}))
    versions = sorted({
        f"{name} {version}"
        for c in cards if isinstance(c.provenance.get("versions"), dict)
        for name, version in c.provenance["versions"].items()
    })
    trained = f" The dictionaries record {text_of(', '.join(versions), 400)}." if versions else ""
    return (
        "## How it was made\n\n"
        "In stages, each recorded with the hashes of what it read: one pass over the rows of all "
        "snapshots gives the sparse code, firing rates and fidelity; decoder directions give "
        "norms, rotation, lifecycle, neighbours and the spread over the population; rows and "
        "directions give the promoted tokens and kinds of tokens with their nulls; everything is "
        f"then written as one set of tables (schema {SCHEMA}). Code of the stages: version {codes};"
        f" tables written by DuckDB {engines}.{trained}"
    )


def _sources(cards: list[RunCard], metas: Mapping[str, Mapping[str, str]]) -> str:
    rows = []
    for card in cards:
        origin = _origin(card)
        repository = origin.get("repository")
        where = text_of(repository) if repository else "trained with Readout Atlas"
        commit = text_of(origin["revision"], 40) if origin.get("revision") else "–"
        hashes = json.loads(metas[card.run].get("inputs", "{}"))
        weights = next((h for n, h in hashes.items() if n.endswith("/dictionary.safetensors")), "")
        snapshots = sum(name.startswith("snapshots/") for name in hashes)
        rows.append(f"| `{card.run}` | {where} | {commit} | {text_of(weights, 64)} "
                    f"| {text_of(card.model_name)}, {snapshots} |")
    return (
        "## From what\n\n| run | dictionary from | commit | sha256 of the dictionary | language "
        "model, snapshots |\n|---|---|---|---|---|\n" + "\n".join(rows) + "\n\n"
        "The sha256 of every input of a run, snapshots and tokenizer included, is the entry "
        "`inputs` of its `meta` table."
    )


def _licence(cards: list[RunCard], named: str, licence: str) -> str:
    lines = [f"- language model {text_of(name)}: {model_licence(name)}"
             for name in sorted({c.model_name for c in cards})]
    seen = {str(_origin(c)["repository"]): dictionary_licence(c)
            for c in cards if _origin(c).get("repository")}
    lines += [f"- dictionaries of {text_of(name)}: {said}" for name, said in sorted(seen.items())]
    if any(name in TRAJECTORIES for name in seen):
        lines.append("- the text corpus of their release, which is not in this share: cc-by-sa-4.0")
    derived = (
        f"The derived tables are shared under {text_of(named)}." if named
        else "The derived tables are shared under the licence of their inputs, "
             f"{text_of(licence)}." if licence != "other"
        else "The publisher named no licence for the derived tables; the licences of the inputs "
             "bind whoever uses them."
    )
    return ("## Licence\n\n" + "\n".join(lines) + f"\n\n{derived} `NOTICES.md` and `licences/`, "
            "where they are there, speak of the texts the models were trained on.")


def _limits(cards: list[RunCard]) -> str:
    prism = any(card.kind == "prism" for card in cards)
    return (
        "## What it cannot show\n\n"
        "- A feature is not a concept: lists of tokens are to be read beside their null.\n"
        "- At step 0 a decoder norm is what noise gives; `birth_floor_step` takes that off, "
        "`birth_step` does not.\n"
        "- Feature numbers do not match between runs, not even between seeds.\n"
        "- `promoted` keeps the ends of a ranking and `code_by_feature` the strongest tokens; the "
        "code is whole in `code_by_token`, with p rounded to about a thousandth of its median."
        + ("\n- A prism describes one snapshot of a finished model: it has no births, and its "
           "explanation of a score is to be withheld when the gate fails." if prism else "")
    )
