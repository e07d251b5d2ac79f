"""Download the local models ahead of time, so that the other examples start at once.

    python examples/00_fetch_models.py            SmolLM2-135M and Qwen2.5-Coder-0.5B, 0.6 GB
    python examples/00_fetch_models.py large      Qwen2.5-Coder 0.5B and 1.5B, 1.6 GB

They go into .models/, or into the folder that HYBRID_LLM_MODELS names. What is there already is not loaded again.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from local_models.fetch import FetchError, fetch_pair
from rich.console import Console


def main(argv: Sequence[str]) -> int:
    """Fetch a pair and say where it is.

    Args:
        argv: Arguments after the program's name.

    Returns:
        The exit status.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pair", nargs="?", choices=("light", "large"), default="light")
    parsed = parser.parse_args(argv)
    console = Console(highlight=False, soft_wrap=True)
    try:
        for path in fetch_pair(parsed.pair, console):
            console.print(f"{path}: sha256 as expected")
    except FetchError as error:
        console.print(f"[red]{type(error).__name__}[/]: {error}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
