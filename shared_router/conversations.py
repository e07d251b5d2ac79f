"""Which model answered a conversation last.

The only state that routing keeps, and only where the user asks for stickiness: a bounded table of keys to "small" or
"large", never text.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Hashable

from shared_router.records import Target

__all__ = ["Conversations"]


class Conversations:
    """A table of the most recent conversations, safe to share between threads.

    Args:
        limit: How many conversations are remembered; the one longest unused is forgotten first, and then starts anew.
    """

    def __init__(self, limit: int = 10_000) -> None:
        self.limit = limit
        self._last: OrderedDict[Hashable, Target] = OrderedDict()
        self._lock = threading.Lock()

    def previous(self, key: Hashable | None) -> Target | None:
        """The model that answered last, or None for a new conversation or one without a key."""
        if key is None:
            return None
        with self._lock:
            return self._last.get(key)

    def remember(self, key: Hashable | None, target: Target) -> None:
        """Note who answered; without a key there is nothing to note."""
        if key is None:
            return
        with self._lock:
            self._last[key] = target
            self._last.move_to_end(key)
            while len(self._last) > self.limit:
                self._last.popitem(last=False)

    def __len__(self) -> int:
        return len(self._last)

    def __reduce__(self) -> tuple[type[Conversations], tuple[int]]:
        # a copy in another process starts empty: it serves other conversations, and a lock does not travel
        return type(self), (self.limit,)
