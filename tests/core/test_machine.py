"""What a machine says of itself, from a file that kernels write in two dialects."""

from __future__ import annotations

from pathlib import Path

import pytest

from mvista_core import machine

X86 = "processor\t: 0\nmodel name\t: A bf16 in a name counts for nothing\nflags\t\t: {}\n"
ARM = "processor\t: 0\nFeatures\t: {}\n"


@pytest.mark.parametrize(
    ("text", "native"),
    [
        (X86.format("fpu avx2 fma avx512f avx512_vnni"), ""),
        (X86.format("fpu avx512_bf16"), "avx512_bf16"),
        (X86.format("amx_tile avx512_bf16 amx_bf16"), "amx_bf16+avx512_bf16"),
        (ARM.format("fp asimd bf16"), "bf16"),
        ("", ""),
    ],
)
def test_bf16_is_what_the_flags_say(tmp_path: Path, text: str, native: str) -> None:
    path = tmp_path / "cpuinfo"
    path.write_text(text)
    assert machine.native_bf16(path) == native


def test_a_file_that_is_missing_is_a_machine_that_says_nothing(tmp_path: Path) -> None:
    assert machine.native_bf16(tmp_path / "no") == ""
    assert machine.processor_name(tmp_path / "no")


def test_one_line_says_processor_cores_and_bf16() -> None:
    said = machine.describe()
    assert f"{machine.available_cores()} cores" in said and "bf16" in said
