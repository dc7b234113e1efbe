"""How often the pages ask the store, and what the asking costs."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import wraps
from typing import Any

from atlas.store import Store, View
from pages import answers


@dataclass
class Asked:
    """What was asked since the counting began."""

    queries: list[str] = field(default_factory=list)
    """The text of every query that DuckDB was given."""
    in_queries: float = 0.0
    """Processor seconds inside DuckDB, all threads."""
    seconds: float = 0.0
    """Processor seconds of all questions of the pages, what is computed from the queries included;
    what a cache answered costs what the cache costs."""
    depth: int = 0


@contextmanager
def counted() -> Iterator[Asked]:
    """Count the queries of the store and time the questions of the pages, in this process."""
    asked = Asked()
    plain = View.table
    kept: list[tuple[Any, str, Any]] = [(View, "table", plain)]

    def table(self: View, sql: str, values: dict[str, Any] | None = None) -> Any:
        begun = time.process_time()
        try:
            return plain(self, sql, values)
        finally:
            asked.queries.append(sql)
            asked.in_queries += time.process_time() - begun

    def outermost(function: Callable) -> Callable:
        @wraps(function)
        def timed(*given: Any, **named: Any) -> Any:
            asked.depth += 1
            begun = time.process_time()
            try:
                return function(*given, **named)
            finally:
                asked.depth -= 1
                if not asked.depth:
                    asked.seconds += time.process_time() - begun

        return timed

    View.table = table  # type: ignore[method-assign]
    for owner in (answers, Store):
        for name, found in list(vars(owner).items()):
            of_ours = getattr(found, "__module__", "") in ("pages.answers", "atlas.store")
            if callable(found) and of_ours and name[0] != "_" and not isinstance(found, type):
                kept.append((owner, name, found))
                setattr(owner, name, outermost(found))
    try:
        yield asked
    finally:
        for owner, name, found in kept:
            setattr(owner, name, found)
