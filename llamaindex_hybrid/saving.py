"""Models → plain data without secrets, and back.

Core can load four kinds of LLM by name (``llms/loading.py``); a wrapper has to load any. A class is looked for among
those that are imported already, or in a map that the user gives, and never imported by a path found in the data.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Mapping
from typing import Any

from llama_index.core.llms.llm import LLM

from shared_router.errors import HybridError

__all__ = ["revived", "without_secrets"]

SECRET = re.compile(r"api_?key|secret|password|credential|authorization|headers|(^|_)token$", re.IGNORECASE)
"""Names under which integrations keep what must not be written down; "max_tokens" is not one of them."""


def without_secrets(data: Any) -> Any:
    """A copy of plain data without the entries whose name says that they are secret, at any depth."""
    if isinstance(data, Mapping):
        return {key: without_secrets(value) for key, value in data.items() if not SECRET.search(str(key))}
    if isinstance(data, list | tuple):
        return [without_secrets(value) for value in data]
    return data


def revived(data: Any, classes: Mapping[str, type[LLM]]) -> Any:
    """The model that was saved.

    Args:
        data: What ``to_dict`` made of it; anything else is returned as it is.
        classes: ``class_name`` → class, for those that cannot be told by their name alone.

    Raises:
        HybridError: No class of that name is imported, or several are.
    """
    if not isinstance(data, Mapping):
        return data
    name = str(data.get("class_name"))
    return (classes.get(name) or _class_named(name)).from_dict(dict(data))


def _class_named(name: str) -> type[LLM]:
    loaded = _subclasses(LLM)  # type: ignore[type-abstract]  # asked for its subclasses, never built
    found = {cls for cls in loaded if not inspect.isabstract(cls) and cls.class_name() == name}
    # a subclass that says nothing of its own inherits the name, but is not what was meant by it
    named = {cls for cls in found if "class_name" in vars(cls)} or found
    if len(named) == 1:
        return named.pop()
    what = "no imported LLM class is" if not named else "several imported LLM classes are"
    raise HybridError(
        f"{what} called {name!r}; import its integration first, or say which one is meant: "
        f"HybridLLM.from_dict(data, llm_classes={{{name!r}: TheClass}})"
    )


def _subclasses(cls: type[LLM]) -> Iterator[type[LLM]]:
    for subclass in cls.__subclasses__():
        yield subclass
        yield from _subclasses(subclass)
