"""What an exception says about a call: ask again, give this one up, or stop asking.

SDKs differ in their exceptions; they are told apart by the HTTP status that they carry and by the names of their
classes, so that none has to be imported.
"""

from __future__ import annotations

import email.utils
import os
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

__all__ = ["CallFailure", "call_failure", "without_secrets"]

Kind = Literal["transient", "permanent", "fatal"]

TRANSIENT_STATUS = frozenset({408, 409, 425, 429, *range(500, 600)})
FATAL_STATUS = frozenset({401, 402})
TRANSIENT_NAMES = (
    "Timeout",
    "Connection",
    "Transport",
    "Disconnected",
    "Network",
    "RateLimit",
    "Throttl",
    "Overloaded",
)
OUT_OF_QUOTA = ("insufficient_quota", "billing_hard_limit_reached", "credit balance is too low")
"""What providers call an empty account, some of them under 429, where asking again would seem to help."""

LONGEST_WAIT = 600.0
"""Seconds; a provider that asks for more has a daily limit."""

SHOWN_CHARS = 300

SECRET_NAMES = re.compile(r"KEY|TOKEN|SECRET|PASSWORD", re.IGNORECASE)
SECRET_SHAPES = re.compile(r"\b(?:sk|gsk|xai|lsv2|hf)[-_][\w*-]{6,}|(?<=Bearer )\S+|(?<=://)[^/\s@]+(?=@)")
SHORTEST_SECRET = 8


@dataclass(frozen=True, slots=True)
class CallFailure:
    """What went wrong with one call.

    Attributes:
        kind: "transient" = asking again may help; "permanent" = not for this prompt; "fatal" = not for any prompt.
        message: For people; holds no secrets.
        status: HTTP's, None where there was no answer.
        retry_after: Seconds that the endpoint asks to wait, None where it does not say.
    """

    kind: Kind
    message: str
    status: int | None = None
    retry_after: float | None = None


def call_failure(error: BaseException) -> CallFailure:
    """What an exception says about a call."""
    status = _status(error)
    text = _text(error)
    if status == 401:
        # what an endpoint says here often repeats the key
        return CallFailure("fatal", "the endpoint does not accept the key (HTTP 401)", status)
    # SDKs show the body of an error in its text or keep it beside, from version to version
    body = " ".join(str(getattr(error, name, "")) for name in ("code", "type", "body"))
    if status in FATAL_STATUS or any(mark in text or mark in body for mark in OUT_OF_QUOTA):
        return CallFailure("fatal", f"the account has no credit left: {text}", status)
    wait = _retry_after(error)
    if wait is not None and wait > LONGEST_WAIT:
        return CallFailure("fatal", f"the endpoint asks to wait {wait:.0f} s before the next call: {text}", status)
    names = "".join(kind.__name__ for kind in type(error).__mro__)
    transient = status in TRANSIENT_STATUS if status is not None else any(name in names for name in TRANSIENT_NAMES)
    return CallFailure("transient" if transient else "permanent", text, status, wait)


def without_secrets(text: str) -> str:
    """A text in which whatever is or looks like a key reads ``***``."""
    for name, value in os.environ.items():
        if SECRET_NAMES.search(name) and len(value) >= SHORTEST_SECRET:
            text = text.replace(value, "***")
    return SECRET_SHAPES.sub("***", text)


def _text(error: BaseException) -> str:
    said = str(error).strip()
    cause = error.__cause__
    if cause is not None and str(cause).strip() and str(cause).strip() not in said:
        # "Connection error." alone does not say which
        said = f"{said} ({str(cause).strip()})"
    text = " ".join(without_secrets(said).split())
    shown = text if len(text) <= SHOWN_CHARS else f"{text[: SHOWN_CHARS - 1]}…"
    return f"{type(error).__name__}: {shown}" if shown else type(error).__name__


def _status(error: BaseException) -> int | None:
    response: Any = getattr(error, "response", None)
    if isinstance(response, Mapping):
        response = response.get("ResponseMetadata")
        response = response.get("HTTPStatusCode") if isinstance(response, Mapping) else None
    candidates = (getattr(error, "status_code", None), getattr(response, "status_code", response))
    for value in (*candidates, getattr(error, "status", None), getattr(error, "code", None)):
        if isinstance(value, int) and not isinstance(value, bool) and 100 <= value < 600:
            return int(value)
    return None


def _retry_after(error: BaseException) -> float | None:
    headers: Any = getattr(getattr(error, "response", None), "headers", None)
    if not callable(getattr(headers, "get", None)):
        return None
    for name, unit in (("retry-after-ms", 1e-3), ("retry-after", 1.0)):
        seconds = _seconds(headers.get(name), unit)
        if seconds is not None:
            return max(0.0, seconds)
    return None


def _seconds(value: Any, unit: float) -> float | None:
    if not isinstance(value, str | int | float):
        return None
    try:
        return float(value) * unit
    except ValueError:
        pass
    try:
        return email.utils.parsedate_to_datetime(str(value)).timestamp() - time.time()
    except (TypeError, ValueError):
        return None
