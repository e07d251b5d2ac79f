"""What the host asks about a model, answered for two models at once.

Reading an LLM's ``metadata`` can ask a server (Ollama, while its context window is not given) and can fail (OpenAI, for
a name it does not know). It is read once, and a model that cannot answer is left alone for a while: a dead small model
must not break, or slow down, calls that go to the large one.
"""

from __future__ import annotations

import asyncio
import logging
import time

from llama_index.core.base.llms.types import LLMMetadata, MessageRole
from llama_index.core.constants import DEFAULT_NUM_OUTPUTS
from llama_index.core.llms.function_calling import FunctionCallingLLM
from llama_index.core.llms.llm import LLM

from shared_router.guards import Capabilities, Needs

__all__ = [
    "FITS_ANYWHERE",
    "RETRY_SECONDS",
    "MetadataCache",
    "merged",
    "model_name",
    "must_be_asked",
]

logger = logging.getLogger(__name__)

RETRY_SECONDS = 60.0
"""How long a model is not asked again after its metadata could not be read."""

FITS_ANYWHERE = 256
"""Tokens, the reserved answer's included, that fit the window of every model in use: for these, none is asked."""


class MetadataCache:
    """Metadata of models, each read once. Threads may share it: at worst two of them read the same."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[LLM, LLMMetadata]] = {}
        self._failed: dict[int, tuple[LLM, float]] = {}

    def __reduce__(self) -> tuple[type[MetadataCache], tuple[()]]:
        # a copy of the router, here or in another process, holds other models
        return type(self), ()

    def read(self, llm: LLM) -> LLMMetadata:
        """The model's metadata.

        Raises:
            Exception: Whatever the model raises where it cannot say.
        """
        # the model is kept beside its metadata, so that its id cannot be given to another one
        known = self._known.get(id(llm))
        if known is None:
            known = (llm, llm.metadata)
            self._known[id(llm)] = known
        return known[1]

    def peek(self, llm: LLM) -> LLMMetadata | None:
        """The model's metadata, or None if it cannot say, which is remembered for ``RETRY_SECONDS``."""
        if self._is_given_up(llm):
            return None
        try:
            return self.read(llm)
        except Exception as error:  # any integration may raise anything here; it speaks for itself when it is called
            logger.warning("%s could not say what it is (%s)", type(llm).__name__, type(error).__name__)
            self._failed[id(llm)] = (llm, time.monotonic())
            return None

    def _is_given_up(self, llm: LLM) -> bool:
        failed = self._failed.get(id(llm))
        return failed is not None and time.monotonic() - failed[1] < RETRY_SECONDS

    async def load(self, llm: LLM) -> None:
        """Have the metadata at hand, read in a thread if it has to be read: that may ask a server."""
        if id(llm) not in self._known and not self._is_given_up(llm):
            await asyncio.to_thread(self.peek, llm)

    def capabilities(self, llm: LLM, stated: Capabilities, needs: Needs) -> Capabilities:
        """What the model can do, so far as the call's needs ask for it.

        Args:
            llm: The model.
            stated: What the user says about it, which wins.
            needs: What the call asks.
        """
        tools = stated.tools if stated.tools is not None else _tools_without_asking(llm)
        window = stated.context_window
        metadata = self.peek(llm) if must_be_asked(llm, stated, needs) else None
        if metadata is not None:
            tools = metadata.is_function_calling_model if tools is None else tools
            # integrations write a number that is none where they do not know
            window = window or (metadata.context_window if metadata.context_window > 0 else None)
        return Capabilities(stated.modalities, tools, stated.structured_output, window)


def must_be_asked(llm: LLM, stated: Capabilities, needs: Needs) -> bool:
    """Whether only the model's metadata can say what a guard has to know."""
    if needs.tokens > FITS_ANYWHERE and stated.context_window is None:
        return True
    return needs.tools and stated.tools is None and _tools_without_asking(llm) is None


def _tools_without_asking(llm: LLM) -> bool | None:
    if not isinstance(llm, FunctionCallingLLM):
        return False
    # integrations for servers that cannot be asked have it as a setting
    declared = getattr(llm, "is_function_calling_model", None)
    return declared if isinstance(declared, bool) else None


def model_name(llm: LLM) -> str:
    """The model's name as its integration calls it; found without asking a server."""
    for name in ("model", "model_name"):
        value = getattr(llm, name, None)
        if isinstance(value, str) and value:
            return value
    return llm.class_name()


def merged(small: LLMMetadata, large: LLMMetadata) -> LLMMetadata:
    """One description of two models, of which the host can believe every word whoever answers.

    The context window is the smaller one. ``num_output`` is what the host reserves of it: as much as leaves a prompt
    that fits both, which is the larger of the two where the windows are equal. The plain maximum would leave less than
    nothing where the large model's answers may be longer than the small model's window.

    Args:
        small: Metadata of the small model.
        large: Metadata of the large model.
    """
    both = (small, large)
    window = min(one.context_window for one in both)
    roles = {one.system_role for one in both}
    return LLMMetadata(
        context_window=window,
        num_output=-1 if all(one.num_output == -1 for one in both) else window - min(map(_room, both)),
        is_chat_model=any(one.is_chat_model for one in both),
        is_function_calling_model=any(one.is_function_calling_model for one in both),
        model_name=f"hybrid({small.model_name}|{large.model_name})",
        system_role=roles.pop() if len(roles) == 1 else MessageRole.SYSTEM,
    )


def _room(metadata: LLMMetadata) -> int:
    # -1 is "unknown", and PromptHelper takes the default then
    output = metadata.num_output if metadata.num_output != -1 else DEFAULT_NUM_OUTPUTS
    return metadata.context_window - output
