"""hybrid-llm for LangChain: a chat model that sends every call to a small or to a large one.

model = HybridChatModel(small=…, large=…, quality=0.9)
"""

from typing import TYPE_CHECKING, Any

from shared_router.errors import MissingExtraError

try:
    import langchain_core as _host  # noqa: F401  # only to say what is missing
except ImportError as error:
    raise MissingExtraError('langchain-core is not installed; run: pip install "hybrid-llm[langchain]"') from error

from langchain_hybrid.annotation import decision_of
from langchain_hybrid.callbacks import DECISION_EVENT
from langchain_hybrid.chat_model import HybridChatModel
from langchain_hybrid.expert_chat_model import ExpertChatModel

if TYPE_CHECKING:
    from langchain_hybrid.middleware import HybridRoutingMiddleware

__all__ = ["DECISION_EVENT", "ExpertChatModel", "HybridChatModel", "HybridRoutingMiddleware", "decision_of"]


def __getattr__(name: str) -> Any:
    # only the middleware needs the package langchain, which takes a second to import
    if name == "HybridRoutingMiddleware":
        from langchain_hybrid.middleware import HybridRoutingMiddleware

        return HybridRoutingMiddleware
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
