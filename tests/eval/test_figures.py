"""The file that a bench writes."""

from __future__ import annotations

import json
from pathlib import Path

from mvista_eval.figures import write_json


def test_what_is_written_is_read_again_with_a_row_of_numbers_on_a_line(tmp_path: Path) -> None:
    document = {
        "words": "a, [ b ],\n c",
        "rows": [{"psnr_db": [1.5, None, "inf", 2], "named": ["x, y", "z"]}, {"none": []}],
        "nested": [[1, 2], [3]],
    }
    path = tmp_path / "made" / "table.json"
    write_json(path, document)
    text = path.read_text("utf-8")
    assert json.loads(text) == document
    assert '"psnr_db": [1.5, null, "inf", 2],\n' in text
