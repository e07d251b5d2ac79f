from __future__ import annotations

import subprocess
import sys

import langchain_hybrid


def test_a_missing_host_names_the_install_line() -> None:
    code = """
import sys
sys.modules["langchain_core"] = None
try:
    import langchain_hybrid
except ImportError as error:
    print(type(error).__name__, error)
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.startswith("MissingExtraError")
    assert 'pip install "hybrid-llm[langchain]"' in run.stdout


def test_public_names_are_sorted_and_exist() -> None:
    assert langchain_hybrid.__all__ == sorted(langchain_hybrid.__all__)
    for name in langchain_hybrid.__all__:
        assert getattr(langchain_hybrid, name) is not None
