"""Importing costs nothing, measured in a fresh interpreter: what is in sys.modules, and what was opened."""

import subprocess
import sys
import textwrap

import pytest

HOSTS = {
    "shared_router": "sys",
    "langchain_hybrid": "langchain_core.language_models.chat_models, langchain_core.tools",
    "llamaindex_hybrid": "llama_index.core.llms.function_calling",
}
HEAVY = (
    "torch",
    "transformers",
    "pandas",
    "sklearn",
    "scipy",
    "matplotlib",
    "onnxruntime",
    "tokenizers",
    "safetensors",
)


def fresh(code: str) -> str:
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", textwrap.dedent(code)], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    return run.stdout.strip()


@pytest.mark.parametrize("package", HOSTS)
def test_no_heavy_module_comes_along(package: str) -> None:
    # what the host itself must import is not ours to answer for
    loaded = fresh(f"""
        import sys, {HOSTS[package]}
        before = set(sys.modules)
        import {package}
        new = {{name.partition('.')[0] for name in set(sys.modules) - before}}
        print(*sorted(new & set({HEAVY!r})))
    """)
    assert loaded == ""


# inspect parses "<unknown>" text where pydantic asks for a signature, which raises the same audit event
@pytest.mark.parametrize("package", HOSTS)
def test_no_data_file_and_no_socket_is_opened(package: str) -> None:
    opened = fresh(f"""
        import sys, {HOSTS[package]}
        seen = []
        def audit(event, arguments):
            if event.startswith("socket.") or (event == "open" and isinstance(arguments[0], str)
                    and not arguments[0].endswith((".py", ".pyc", ".so", ".pyd")) and ".pyc." not in arguments[0]
                    and not arguments[0].startswith("<")):
                seen.append((event, arguments[0]))
        sys.addaudithook(audit)
        import {package}
        print(*seen)
    """)
    assert opened == ""


def test_public_names_are_sorted_and_exist() -> None:
    import shared_router

    assert shared_router.__all__ == sorted(shared_router.__all__)
    for name in shared_router.__all__:
        assert getattr(shared_router, name).__doc__
