"""What the host asks about a model, answered for two models at once.

Reading an LLM's ``metadata`` can ask a server (Ollama, while its context window is not given) and can fail (OpenAI, for
a name it does not know). It is read once, and a model that cannot answer is left alone for a while: a dead small model
must not break, or slow down, calls that go to the large one.
"""

from __future__ import annotations

import logging
import time

from llama_index.core.base.llms.types import LLMMetadata, MessageRole
from llama_index.core.constants import DEFAULT_NUM_OUTPUTS
from llama_index.core.llms.function_calling import FunctionCallingLLM
from llama_index.core.llms.llm import LLM

from shared_router.guards import Capabilities

__all__ = ["RETRY_SECONDS", "MetadataCache", "merged", "model_name"]

logger = logging.getLogger(__name__)

RETRY_SECONDS = 60.0
"""How long a model is not asked again after its metadata could not be read."""


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
        failed = self._failed.get(id(llm))
        if failed is not None and time.monotonic() - failed[1] < RETRY_SECONDS:
            return None
        try:
            return self.read(llm)
        except Exception as error:  # any integration may raise anything here; it speaks for itself when it is called
            logger.warning("%s could not say what it is (%s)", type(llm).__name__, type(error).__name__)
            self._failed[id(llm)] = (llm, time.monotonic())
            return None

    def capabilities(self, llm: LLM) -> Capabilities:
        """What guards need to know of the model; tools only, so far as this plug-in goes."""
        if not isinstance(llm, FunctionCallingLLM):
            return Capabilities(tools=False)
        # integrations for servers that cannot be asked have it as a setting, which costs no network
        declared = getattr(llm, "is_function_calling_model", None)
        if isinstance(declared, bool):
            return Capabilities(tools=declared)
        metadata = self.peek(llm)
        return Capabilities(tools=metadata.is_function_calling_model if metadata is not None else None)


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
