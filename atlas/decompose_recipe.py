"""The numbers of a decomposition as lines of Python."""

from dataclasses import fields

from atlas.asking import Ask


def python_of(
    run: str, prompt: str, position: int, ask: Ask, step: int | None, hidden: str, name: str = ""
) -> str:
    """Lines that give the ledger of a score, in the project's environment.

    Args:
        position, ask, hidden: as `atlas.live.decompose_prompt` takes them.
        step: the snapshot; None for all of them, with begins, probabilities and ranks.
        name: the score's name, for a remark; '' for none.
    """
    usual = Ask()
    asked = ", ".join(
        f"{f.name}={getattr(ask, f.name)!r}" for f in fields(Ask)
        if getattr(ask, f.name) != getattr(usual, f.name)
    )
    options = [f"ask=Ask({asked})"] if asked else []
    options.append("step=" + ("'all'" if step is None else str(step)))
    if position != -1:
        options.append(f"position={position}")
    if hidden != "final":
        options.append(f"hidden={hidden!r}")
    lines = [
        "from atlas.asking import Ask",
        "from atlas.coverage import coverage",
        "from atlas.live import decompose_prompt",
        "from atlas.places import store_from_environment",
        "from atlas.store import Store",
        "",
        "store = Store.open(store_from_environment())  # or the folder of a store",
        f"prompt = {prompt!r}",
        f"found = decompose_prompt(store, {run!r}, prompt, {', '.join(options)})",
    ]
    if name:
        lines.insert(-1, f"# {' '.join(name.split())}")
    if step is not None:
        return "\n".join([
            *lines,
            "ledger = found.rows[0].ledger",
            "print(ledger.exact, ledger.base, ledger.feature_sum, ledger.residual, ledger.gate)",
            "print(coverage(ledger.features, ledger.contributions, ledger.reconstructed))",
            "for feature, value in zip(ledger.features, ledger.contributions):",
            "    print(feature, value)",
            "",
        ])
    return "\n".join([
        *lines,
        "for row in found.rows:",
        "    print(row.step, row.ledger.exact, row.ledger.rho, row.ledger.gate)",
        "",
        "# the step at which each feature begins to carry the score",
        "from atlas.carrying import begins",
        "from atlas.live import contributions_of",
        "",
        "strongest = found.rows[-1].ledger.features[:12]",
        "places = begins(contributions_of(found, strongest))",
        "print({int(f): found.rows[k].step if k >= 0 else None",
        "       for f, k in zip(strongest, places)})",
        "",
        "# probability and rank over the whole vocabulary",
        "from atlas.odds import Odds",
        "from atlas.reading import read_prompt",
        "",
        f"odds = Odds(read_prompt(store, {run!r}, prompt, {position}), {hidden!r})",
        "for row in found.rows:",
        "    odds.read(row.step)",
        "    print(row.step, odds.of(row.step, found.score.sides[0]))",
        "",
    ])
