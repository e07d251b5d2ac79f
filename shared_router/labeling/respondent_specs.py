"""Text or Python object → the respondent that it stands for: a model's name, or something in the user's own code."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from shared_router.errors import HybridError
from shared_router.labeling.respondents import (
    ChatModelRespondent,
    EndpointRespondent,
    FunctionRespondent,
    Price,
    Respondent,
    RespondentError,
    Sampling,
)

__all__ = ["respondent_from_code", "respondent_named"]

CODE = re.compile(r"(?P<module>[A-Za-z_]\w*(\.[A-Za-z_]\w*)*|.+\.py):(?P<attribute>[A-Za-z_]\w*(\.[A-Za-z_]\w*)*)")


def respondent_named(
    spec: str,
    *,
    url: str | None = None,
    key_env: str | None = None,
    sampling: Sampling | None = None,
    price: Price | None = None,
) -> Respondent:
    """The respondent that a text names, as on the command line.

    Args:
        spec: ``module:attribute`` or ``path/to/file.py:attribute`` in one's own code, found from the current folder;
            anything else is a model's name at an endpoint. So is everything where ``url`` is given.
        url: See ``EndpointRespondent``; likewise the others.
        key_env: See there.
        sampling: See there; one's own code draws as it is written.
        price: What tokens cost.

    Raises:
        RespondentError: There is no such module, file or attribute, it cannot be imported, or is nothing to ask.
        MissingExtraError: An endpoint, and openai is not installed.
    """
    match = None if url else CODE.fullmatch(spec)
    if match is None:
        return EndpointRespondent(spec, url=url, key_env=key_env, sampling=sampling, price=price)
    value = _attribute(_imported(match["module"], spec), match["attribute"], spec)
    return respondent_from_code(value, name=spec, price=price)


def respondent_from_code(value: Any, *, name: str | None = None, price: Price | None = None) -> Respondent:
    """A respondent for a Python object.

    Args:
        value: A respondent, a chat model, a function of one text, or a function without arguments that makes one.
        name: Its name; else what the object says.
        price: What tokens cost.

    Raises:
        RespondentError: It is none of these.
    """
    called = f"{name or value!r:.80}"
    if not inspect.isclass(value) and inspect.iscoroutinefunction(getattr(value, "answer", None)):
        return cast("Respondent", value)
    if not inspect.isclass(value) and any(callable(getattr(value, way, None)) for way in ("ainvoke", "invoke")):
        own = getattr(value, "model_name", None) or getattr(value, "model", None)
        return ChatModelRespondent(value, name=None if isinstance(own, str) else name, price=price)
    if not callable(value):
        raise RespondentError(
            f"{called} is {type(value).__name__}; needed is a chat model, a function of one text, or a function "
            "without arguments that makes one"
        )
    needed = _needed_arguments(value)
    if needed == 0:
        made = _made(value, called)
        if isinstance(made, str) or (callable(made) and not hasattr(made, "invoke") and _needed_arguments(made) == 0):
            raise RespondentError(
                f"{called} can be called without arguments and returned {type(made).__name__}; a function that answers "
                "takes the text as its one argument, without a default"
            )
        return respondent_from_code(made, name=name, price=price)
    if needed > 1:
        raise RespondentError(f"{called} takes {needed} arguments; a function that answers takes the text alone")
    return FunctionRespondent(value, name=name, price=price)


def _made(factory: Callable[[], Any], called: str) -> Any:
    try:
        return factory()
    except HybridError:
        raise
    except Exception as error:
        raise RespondentError(f"{called} failed ({type(error).__name__}: {error})") from error


def _needed_arguments(function: Callable[..., Any]) -> int:
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        # some builtins do not say; they are then taken to be functions of a text
        return 1
    if any(one.kind is one.VAR_POSITIONAL for one in parameters):
        return 1
    return sum(one.default is one.empty and one.kind is not one.VAR_KEYWORD for one in parameters)


def _imported(module: str, spec: str) -> Any:
    from_file = module.endswith(".py")
    if from_file and not Path(module).is_file():
        raise RespondentError(f"{spec}: there is no file {module}")
    folder = str(Path(module).resolve().parent if from_file else Path.cwd())
    if folder not in sys.path:
        # as if the file were run: so that it finds what lies beside it
        sys.path.insert(0, folder)
    try:
        if not from_file:
            return importlib.import_module(module)
        found = importlib.util.spec_from_file_location(Path(module).stem, module)
        if found is None or found.loader is None:
            raise ImportError(f"{module} cannot be loaded")
        loaded = importlib.util.module_from_spec(found)
        sys.modules[found.name] = loaded
        found.loader.exec_module(loaded)
        return loaded
    except ModuleNotFoundError as error:
        if error.name != module.partition(".")[0] and error.name != module:
            raise RespondentError(f"{spec} cannot be imported ({error})") from error
        raise RespondentError(
            f"{spec}: there is no module {module} here; if this is a model's name, say where it is served with "
            "--small-url or --large-url"
        ) from error
    except Exception as error:
        raise RespondentError(f"{spec} cannot be imported ({type(error).__name__}: {error})") from error


def _attribute(module: Any, path: str, spec: str) -> Any:
    value = module
    for name in path.split("."):
        if not hasattr(value, name):
            raise RespondentError(f"{spec}: {getattr(module, '__name__', 'the module')} has no {path}")
        value = getattr(value, name)
    return value
