from __future__ import annotations

from typing import Any

import pytest

from langchain_hybrid.profiles import merged_profile


@pytest.mark.parametrize(
    ("small", "large", "both"),
    [
        ({"tool_calling": True}, {"tool_calling": True}, {"tool_calling": True}),
        ({"tool_calling": True}, {"tool_calling": False}, {"tool_calling": False}),
        ({"max_input_tokens": 8_000}, {"max_input_tokens": 128_000}, {"max_input_tokens": 8_000}),
        ({"name": "a"}, {"name": "b"}, {}),
        ({"status": "active"}, {"status": "active"}, {"status": "active"}),
        ({"audio_inputs": True}, {}, {}),
        ({"reasoning_effort_levels": ["low"]}, {"reasoning_effort_levels": ["high"]}, {}),
        (None, {"tool_calling": True}, None),
        ({"tool_calling": True}, None, None),
    ],
)
def test_what_both_can_do(small: Any, large: Any, both: Any) -> None:
    assert merged_profile(small, large) == both
