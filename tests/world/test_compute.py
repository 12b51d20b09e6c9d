"""Which numbers the networks compute in: what the processor multiplies decides, unless told."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from mvista_core.errors import ConfigError
from mvista_core.machine import available_cores
from mvista_world import compute

AVX2 = "flags\t\t: fpu sse2 avx avx2 fma avx512f avx512_vnni\n"
ZEN4 = "flags\t\t: fpu avx2 avx512f avx512_bf16\n"
SAPPHIRE = "flags\t\t: fpu avx2 avx512_bf16 amx_bf16 amx_tile\n"
GRAVITON = "Features\t: fp asimd sve bf16\n"


def cpuinfo(folder: Path, line: str) -> Path:
    path = folder / "cpuinfo"
    path.write_text(f"processor\t: 0\nmodel name\t: bf16 in a name counts for nothing\n{line}")
    return path


@pytest.mark.parametrize(
    ("line", "native"),
    [
        (AVX2, ""),
        (ZEN4, "avx512_bf16"),
        (SAPPHIRE, "amx_bf16+avx512_bf16"),
        (GRAVITON, "bf16"),
    ],
)
def test_auto_is_bf16_exactly_where_the_processor_multiplies_it(
    tmp_path: Path, line: str, native: str
) -> None:
    found = compute.choose(cpuinfo=cpuinfo(tmp_path, line))
    assert found.capability == native
    assert found.dtype == (torch.bfloat16 if native else torch.float32)
    assert (native or "no native bf16") in str(found)


def test_a_machine_that_does_not_say_what_it_can_gets_fp32(tmp_path: Path) -> None:
    assert compute.choose(cpuinfo=tmp_path / "missing").dtype == torch.float32


@pytest.mark.parametrize(
    ("precision", "dtype"), [("fp32", torch.float32), ("bf16", torch.bfloat16)]
)
@pytest.mark.parametrize("line", [AVX2, SAPPHIRE])
def test_a_precision_that_is_asked_for_is_taken_and_is_what_products_are_computed_in(
    tmp_path: Path, line: str, precision: str, dtype: torch.dtype
) -> None:
    chosen = compute.choose(precision, cpuinfo=cpuinfo(tmp_path, line))
    with chosen.autocast():
        product = torch.ones(2, 3) @ torch.ones(3, 2)
    assert product.dtype == dtype
    assert chosen.explicit_attention == (precision == "bf16")
    assert chosen.mixed_precision == ("no" if precision == "fp32" else "bf16")


def test_an_unknown_precision_is_refused_with_those_there_are() -> None:
    with pytest.raises(ConfigError, match=r"'fp8' is none of \['auto', 'bf16', 'fp32'\]"):
        compute.choose("fp8")


def test_threads_leave_a_core_to_the_arm() -> None:
    before = torch.get_num_threads()
    try:
        compute.choose(threads=0)
        assert torch.get_num_threads() == max(1, available_cores() - 1)
        compute.choose(threads=3)
        assert torch.get_num_threads() == 3
        compute.choose()
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


def test_a_device_that_is_not_there_is_refused_with_those_that_are() -> None:
    count = torch.cuda.device_count()
    with pytest.raises(ConfigError, match=rf"'cuda:{count}' is not here.*'auto', 'cpu'"):
        compute.choose(device=f"cuda:{count}")
    assert compute.choose(device="auto").on_processor is (count == 0)


def test_what_was_chosen_says_how_many_threads_it_takes() -> None:
    before = torch.get_num_threads()
    try:
        assert compute.choose(threads=2).threads == 2
        assert "2 threads" in str(compute.choose())
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize(("native", "dtype"), [(True, torch.bfloat16), (False, torch.float32)])
def test_a_card_that_only_emulates_bf16_gets_fp32(
    native: bool, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    def supported(including_emulation: bool = True) -> bool:
        return native or including_emulation

    monkeypatch.setattr(compute, "_device", lambda name: torch.device("cuda"))
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", supported)
    assert compute.choose(device="cuda").dtype == dtype
