"""LangChain's own suites over the router and two scripted models, with each of the two as the chosen one."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_tests.integration_tests import ChatModelIntegrationTests
from langchain_tests.unit_tests import ChatModelUnitTests

from langchain_hybrid import HybridChatModel
from langchain_hybrid.testing import ScriptedChatModel
from shared_router.testing import table_router

# the suite runs the v3 protocol, which core marks as beta with a warning at every use
pytestmark = pytest.mark.filterwarnings("ignore::langchain_core._api.beta_decorator.LangChainBetaWarning")

OF_THE_ROUTER = ("output_version", "route")


class SuiteModel(HybridChatModel):
    """What the suites say about a model (temperature, stop, ...) concerns the two models, where a user puts it too."""

    def __init__(self, **params: Any) -> None:
        if "small" not in params:
            given = {name: params.pop(name) for name in list(params) if name not in OF_THE_ROUTER}
            params |= {
                "small": ScriptedChatModel(model="tiny-1", **given),
                "large": ScriptedChatModel(model="grand-1", **given),
                "router": table_router(),
            }
        super().__init__(**params)


class Suite:
    @property
    def chat_model_class(self) -> type[SuiteModel]:
        return SuiteModel

    @property
    def model_override_value(self) -> str:
        return "some-other-model"

    @property
    def supports_json_mode(self) -> bool:
        return True

    @property
    def supports_anthropic_inputs(self) -> bool:
        return True

    # images, audio and PDFs: the suite fetches its samples from the web


class TestSmallUnit(Suite, ChatModelUnitTests):
    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {"route": "small"}


class TestLargeUnit(Suite, ChatModelUnitTests):
    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {"route": "large"}


class TestSmallIntegration(Suite, ChatModelIntegrationTests):
    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {"route": "small"}


class TestScoredIntegration(Suite, ChatModelIntegrationTests):
    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {}


class TestDoubleUnit(ChatModelUnitTests):
    """The double itself, so that it stands for a real model."""

    @property
    def chat_model_class(self) -> type[ScriptedChatModel]:
        return ScriptedChatModel


class TestDoubleIntegration(Suite, ChatModelIntegrationTests):
    @property
    def chat_model_class(self) -> type[ScriptedChatModel]:  # type: ignore[override]
        return ScriptedChatModel
