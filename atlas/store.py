"""The one reader of the store: a question in, a frozen record or a frame out.

A store is a folder of immutable files and a pointer, `CURRENT.json`, that moves last. A `Store`
attaches the files it names to an in-memory hub, then shuts the hub: no file can be opened, no
setting changed, nothing written, and a query that runs too long is stopped (reliability section
4.1 and R3). A new generation means a new hub; whoever still reads the old one finishes on it.
"""

import difflib
import hashlib
import threading
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa

from atlas import cards, queries
from atlas.errors import AtlasError, BrokenArtifact, InvalidValue, NotFound, VersionMismatch
from atlas.pointer import POINTER as POINTER
from atlas.pointer import read_pointer
from atlas.records import FeatureCard, PromotedNull, RunCard, TokenCard
from atlas.schema import CATALOG, FIRING, SCHEMA

# Set when the hub is made, for all its cursors: a plain SET would hold for one connection only.
_SETTINGS = {
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
    "allow_community_extensions": False,
    "python_enable_replacements": False,
    "memory_limit": "64MB",
    "threads": 1,
    "max_execution_time": 5000,
}
# A query takes some milliseconds and, at full shape, 24 MB at most: more of them at once would be
# no sooner and could together need more than the limit, which is what the server keeps in memory.
_AT_ONCE = threading.BoundedSemaphore(2)
_SHUT = (
    "SET GLOBAL enable_external_access = false",
    "SET GLOBAL max_temp_directory_size = '0KB'",
    "SET GLOBAL lock_configuration = true",
)


@dataclass(frozen=True)
class View:
    """One generation of a store: its files attached and the hub shut."""

    digest: str
    """Content digest of the catalog; changes with anything in the store."""
    hub: "duckdb.DuckDBPyConnection"
    """Quoted, here and below: an annotation that is kept alive keeps DuckDB's own classes alive,
    and then the library reports a leak on stderr when the program ends."""
    runs: dict[str, RunCard]
    aliases: dict[str, str]
    """Name under which the file of each readable run is attached."""
    texts: dict[str, list[str]] = field(default_factory=dict)
    """Drawn text of every token, by language model; filled when first asked for."""

    def table(self, sql: str, values: dict[str, Any] | None = None) -> pa.Table:
        """The answer of a query, on a cursor of its own: connections may not be shared."""
        try:
            with _AT_ONCE:
                return self.hub.cursor().sql(sql, params=values or {}).to_arrow_table()
        except duckdb.InterruptException as error:
            raise InvalidValue("the query ran for more than 5 s; narrow the filter") from error
        except duckdb.OutOfMemoryException as error:
            raise InvalidValue(
                f"the query needs more than {_SETTINGS['memory_limit']}; narrow the filter"
            ) from error
        except duckdb.Error as error:
            raise BrokenArtifact(
                f"the store cannot be read ({_line(error)}); run `readout-atlas doctor`"
            ) from error

    def rows(self, sql: str, values: dict[str, Any] | None = None) -> list[dict[str, Any]]:
        """The same as dictionaries, NULL as None."""
        return self.table(sql, values).to_pylist()


class Store:
    """A store opened for reading; safe to share between threads."""

    def __init__(self, folder: Path, view: View) -> None:
        self.folder = folder
        self._view = view
        self._lock = threading.Lock()

    @classmethod
    def open(cls, folder: Path | str) -> "Store":
        """Open the generation that the pointer names.

        Raises:
            NotFound: no store there. BrokenArtifact: its catalog is damaged or foreign.
            VersionMismatch: written with other tables. A damaged file of a single run does not
            stop the others: its `RunCard.problem` says so, and questions about it raise.
        """
        folder = Path(folder)
        return cls(folder, _open_view(folder, read_pointer(folder)))

    @property
    def digest(self) -> str:
        """Content digest of the generation being read; a key for caches."""
        return self._view.digest

    def refresh(self) -> bool:
        """Follow a moved pointer; True when there was a new generation.

        If the new one cannot be opened the old one stays and the error is raised.
        """
        with self._lock:
            pointer = read_pointer(self.folder)
            if pointer["digest"] == self._view.digest:
                return False
            self._view = _open_view(self.folder, pointer)
            return True

    def pin(self) -> "Store":
        """The same store held at the present generation, whatever `refresh` does to this one."""
        return Store(self.folder, self._view)

    # --- any question -----------------------------------------------------------------------

    def ask(self, run: str, sql: str, **values: Any) -> pa.Table:
        """The answer of a query of `atlas.*`, in which `{run}` stands for the run's tables.

        For the modules that ask about one subject; the text is theirs, never a user's, and
        `values` are bound. Raises NotFound, or BrokenArtifact for a run that cannot be read.
        """
        view = self._view
        _, alias = _readable(view, run)
        return view.table(sql.replace("{run}", alias), values)

    # --- runs -----------------------------------------------------------------------------

    def runs(self) -> list[RunCard]:
        """All runs by name."""
        return list(self._view.runs.values())

    def run(self, run: str) -> RunCard:
        """One run; NotFound lists names that are near."""
        return _card(self._view, run)

    def births(self, run: str) -> pd.DataFrame:
        """k, step, tau, births, births_floor, deaths, alive, explained_variance, l0 per snapshot.

        Births and deaths are missing for a run of one snapshot: it has no time.
        """
        view = self._view
        _card(view, run)
        return view.table(queries.BIRTHS, {"name": run}).to_pandas()

    def fidelity(self) -> pd.DataFrame:
        """run, k, step, explained_variance, l0 as measured here: every run at every snapshot."""
        return self._view.table(queries.FIDELITY).to_pandas()

    def population(self, run: str) -> pd.DataFrame:
        """metric, k, step, q05, q25, q50, q75, q95 over live features; NotFound for no run."""
        view = self._view
        card, alias = _readable(view, run)
        frame = view.table(queries.POPULATION.replace("{run}", alias)).to_pandas()
        frame.insert(2, "step", [card.steps[k] for k in frame["k"]])
        return frame

    def null_of(self, run: str) -> PromotedNull | None:
        """What random directions promote in the run's rows; None when it was not computed."""
        view = self._view
        card, alias = _readable(view, run)
        snapshots = view.table(queries.PROMOTED_NULL.replace("{run}", alias))
        return cards.promoted_null(card, snapshots)

    def standardization(self, run: str) -> tuple[np.ndarray, np.ndarray] | None:
        """Means (K, d) float32 and scales (K,) float64 that rows are standardised with.

        None where the store does not keep them, as for a prism, whose rows are normalised by
        what its own file holds.
        """
        view = self._view
        _, alias = _readable(view, run)
        return cards.standardization(view.table(queries.STANDARDIZATION.replace("{run}", alias)))

    def column_comments(self) -> dict[str, dict[str, str]]:
        """{table: {column: meaning}} of the run files and the catalog, for tooltips."""
        view = self._view
        comments: dict[str, dict[str, str]] = {}
        for database in ("catalog", *list(view.aliases.values())[:1]):
            for row in view.rows(queries.COMMENTS, {"database": database}):
                comments.setdefault(row["table_name"], {})[row["column_name"]] = row["comment"]
        return comments

    # --- features -------------------------------------------------------------------------

    def feature(self, run: str, feature: int, firing_limit: int = FIRING) -> FeatureCard:
        """Everything about one feature; NotFound names the range of features.

        `firing_limit` shortens the list of firing tokens, of which the store keeps 200.
        """
        view = self._view
        card, alias = _readable(view, run)
        if not 0 <= feature < card.d_sae:
            raise NotFound(f"run {run} has no feature {feature}; it has 0 to {card.d_sae - 1}")
        values: dict[str, Any] = {"feature": feature}

        def ask(sql: str, **more: Any) -> pa.Table:
            return view.table(sql.replace("{run}", alias), values | more)

        near = cards.pairs(ask(queries.NEIGHBOURS))
        return cards.feature_card(
            card,
            self._texts(view, card.model),
            ask(queries.FEATURE),
            ask(queries.LIFE),
            ask(queries.PROMOTED),
            ask(queries.FIRING, limit=firing_limit),
            near,
            view.table(queries.NAMES.replace("{run}", alias), {"features": [f for f, _ in near]}),
        )

    # --- tokens ---------------------------------------------------------------------------

    def token(self, run: str, token: int, limit: int = queries.MAX_LIMIT) -> TokenCard:
        """Which features fire on a token and which promote it; NotFound names the range."""
        view = self._view
        card, alias = _readable(view, run)
        texts = self._texts(view, card.model)
        if not 0 <= token < len(texts):
            raise NotFound(
                f"{card.model} has no token {token}; its vocabulary is 0 to {len(texts) - 1}"
            )
        return cards.token_card(
            card,
            texts,
            view.rows(queries.TOKEN, {"model": card.model, "token": token})[0],
            view.table(queries.TOKEN_FEATURES.replace("{run}", alias), {"token": token}),
            view.table(queries.TOKEN_PROMOTED.replace("{run}", alias),
                       {"token": token, "limit": limit}),
        )

    def token_texts(self, model: str) -> list[str]:
        """What is drawn for every token of a language model, by token id."""
        return self._texts(self._view, model)

    def code_of_tokens(self, run: str, tokens: Iterable[int]) -> dict[int, cards.CodeRow]:
        """{token: (features (n,) int32, p (n,) float32)}; empty arrays where nothing fires."""
        view = self._view
        _, alias = _readable(view, run)
        wanted = [int(t) for t in tokens]
        table = view.table(queries.CODE_OF_TOKENS.replace("{run}", alias), {"tokens": wanted})
        return cards.code_rows(wanted, table)

    def norms_of_features(self, run: str, features: Iterable[int]) -> np.ndarray:
        """Decoder norms (n, K) float32 of some features of a run, in rising order of their ids."""
        view = self._view
        card, alias = _readable(view, run)
        table = view.table(queries.NORMS_OF_FEATURES.replace("{run}", alias),
                           {"features": [int(f) for f in features]})
        return cards.norms(card, table)

    def verify(self) -> list[str]:
        """Hash every file of the generation; one line per fault, empty when all is well."""
        faults = []
        for card in self.runs():
            path = self.folder / card.file
            if card.problem is not None:
                faults.append(card.problem)
            elif _sha256(path) != card.sha256:
                faults.append(f"{path} changed after it was built; {_rebuild(card.run)}")
        return faults

    def _texts(self, view: View, model: str) -> list[str]:
        if model not in view.texts:
            texts = view.table(queries.MODEL_TEXTS, {"model": model})["text"].to_pylist()
            if not texts:
                known = ", ".join(sorted({c.model for c in view.runs.values()}))
                raise NotFound(f"no language model {model!r} in {self.folder}; it has {known}")
            view.texts[model] = texts
        return view.texts[model]


def _card(view: View, run: str) -> RunCard:
    if run not in view.runs:
        near = difflib.get_close_matches(run, view.runs, n=3, cutoff=0.5)
        hint = f"nearest: {', '.join(near)}" if near else "`readout-atlas runs` lists them"
        raise NotFound(f"no run {run!r} in the store; {hint}")
    return view.runs[run]


def _readable(view: View, run: str) -> tuple[RunCard, str]:
    card = _card(view, run)
    if card.problem is not None:
        raise BrokenArtifact(card.problem)
    return card, view.aliases[run]


def _open_view(folder: Path, pointer: dict[str, Any]) -> View:
    catalog = folder / pointer["catalog"]
    mend = "run `readout-atlas build RUN`"
    if not catalog.is_file():
        raise BrokenArtifact(f"{catalog} is not there, though {POINTER} names it; {mend}")
    if _sha256(catalog) != pointer.get("sha256"):
        raise BrokenArtifact(f"{catalog} is damaged: its hash is not the recorded one; {mend}")
    hub = duckdb.connect(":memory:", config=_SETTINGS)
    _attach(hub, catalog, "catalog", mend, CATALOG)
    view = View(pointer["digest"], hub, {}, {})
    for number, row in enumerate(view.rows(queries.RUNS)):
        card = cards.run_card(row)
        alias = f"run{number}"
        try:
            _attach_run(hub, folder, card, alias)
            view.aliases[card.run] = alias
        except AtlasError as error:
            card = replace(card, problem=str(error))
        view.runs[card.run] = card
    for setting in _SHUT:
        hub.execute(setting).fetchall()
    return view


def _attach_run(
    hub: "duckdb.DuckDBPyConnection", folder: Path, card: RunCard, alias: str
) -> None:
    path = folder / card.file
    mend = _rebuild(card.run)
    if not path.is_file():
        raise BrokenArtifact(f"{path} is not there; {mend}")
    if path.stat().st_size != card.bytes:
        raise BrokenArtifact(
            f"{path} has {path.stat().st_size} bytes instead of {card.bytes}; {mend}"
        )
    _attach(hub, path, alias, mend)


def _attach(
    hub: "duckdb.DuckDBPyConnection", path: Path, alias: str, mend: str, schema: int = SCHEMA
) -> None:
    try:
        hub.execute(f"ATTACH $path AS {alias} (READ_ONLY)", {"path": str(path)}).fetchall()
        found = hub.execute(f"SELECT value FROM {alias}.meta WHERE key = 'schema'").fetchall()
    except duckdb.Error as error:
        if "version number" in str(error):
            raise VersionMismatch(
                f"{path} was written by another DuckDB ({_line(error)}); {mend}"
            ) from error
        raise BrokenArtifact(f"{path} is not an atlas store ({_line(error)}); {mend}") from error
    if found != [(str(schema),)]:
        other = found[0][0] if found else "unknown"
        raise VersionMismatch(f"{path} has schema {other}, this code reads {schema}; {mend}")


def _rebuild(run: str) -> str:
    return f"run `readout-atlas build {run} --force`"


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:160]


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
