"""A small memory of answers: what was asked last is at hand, the rest is let go.

For arrays that several parts of one page need within one run of its script. A key holds the
store's digest, so a new generation is never mixed with an old one.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any


class Recent:
    """The last answers, at most `size`; safe to share between threads."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._kept: OrderedDict[Hashable, Any] = OrderedDict()
        self._lock = threading.Lock()

    def find(self, key: Hashable) -> Any:
        """What is kept under a key, or None."""
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
            return self._kept.get(key)

    def keep(self, key: Hashable, answer: Any) -> None:
        """Keep an answer; the one not asked for the longest goes."""
        with self._lock:
            self._kept[key] = answer
            self._kept.move_to_end(key)
            while len(self._kept) > self._size:
                self._kept.popitem(last=False)

    def get(self, key: Hashable, make: Callable[[], Any]) -> Any:
        """The answer kept under a key, made now if there is none.

        Two threads may make the same one at once; nothing waits for another's query.
        """
        found = self.find(key)
        if found is None:
            found = make()
            self.keep(key, found)
        return found
