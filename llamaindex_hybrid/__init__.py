"""``HybridLLM``: two LlamaIndex models behind one, each call answered by the one that its difficulty asks for."""

from shared_router.errors import MissingExtraError

try:
    from llamaindex_hybrid.annotation import decision_of
    from llamaindex_hybrid.events import HybridRoutingEvent
    from llamaindex_hybrid.expert_llm import ExpertLLM
    from llamaindex_hybrid.llm import HybridLLM
    from llamaindex_hybrid.question import query
    from llamaindex_hybrid.structured import HybridStructuredLLM
except ModuleNotFoundError as error:
    if (error.name or "").partition(".")[0] not in ("llama_index", "llama_index_instrumentation"):
        raise
    raise MissingExtraError('llamaindex_hybrid needs llama-index-core: pip install "hybrid-llm[llamaindex]"') from error

__all__ = ["ExpertLLM", "HybridLLM", "HybridRoutingEvent", "HybridStructuredLLM", "decision_of", "query"]
