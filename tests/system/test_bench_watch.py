"""`mvista bench watch` on real processes: what it says is measured, and nobody is left behind."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mvista_cli import cli
from mvista_watch.headless import find_chromium

pytestmark = pytest.mark.system


@pytest.mark.timeout(400)
def test_the_page_costs_little_unseen_and_more_with_a_browser(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "watch.json"
    monkeypatch.setenv("MVISTA_OUTPUT", str(tmp_path / "output"))
    assert cli.main(["bench", "watch", "--seconds", "4", "--json", str(out)]) == 0
    found = json.loads(out.read_text(encoding="utf-8"))
    nobody, seen = found["nobody"], found["one_browser"]
    assert nobody["cores"] < 0.15 and nobody["memory_mb"] > 50 and nobody["seconds"] >= 4.0
    assert (seen is None) == (find_chromium() is None)
    assert seen is None or (0.01 < seen["cores"] < 1.5 and seen["cores"] > nobody["cores"])
    assert [figure["name"] for figure in found["figures"]] == [
        "cores of the page while nobody looks"
    ]
    assert "while nobody looked" in capsys.readouterr().out


def test_no_time_to_measure_is_refused_before_anything_starts(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for seconds in ("0", "-1", "nan"):
        assert cli.main(["bench", "watch", f"--seconds={seconds}"]) == 2
    assert "more than 0" in capsys.readouterr().err
