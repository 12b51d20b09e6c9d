"""Files are found in the source tree and in an installed share folder alike."""

from __future__ import annotations

from pathlib import Path

import pytest

from mvista_bringup import paths
from mvista_core.errors import ConfigError


def test_the_source_tree_comes_first() -> None:
    root = paths.source_root()
    assert root is not None
    assert paths.config_file("arms", "piper.yaml") == root / "config" / "arms" / "piper.yaml"
    assert paths.checkpoint_dir() == root / "models" / "checkpoints" / "tiny_views"


def test_an_installed_share_folder_serves_where_there_is_no_source(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    share = tmp_path / "prefix" / "share" / "mvista_bringup"
    (share / "config" / "arms").mkdir(parents=True)
    (share / "config" / "arms" / "piper.yaml").write_text("name: piper\n", encoding="utf-8")
    monkeypatch.setattr(paths, "source_root", lambda: None)
    monkeypatch.setenv("AMENT_PREFIX_PATH", f"{tmp_path / 'other'}:{tmp_path / 'prefix'}")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MVISTA_OUTPUT", raising=False)
    assert paths.config_file("arms", "piper.yaml").parent.parent.parent == share
    assert paths.output_dir("demo") == tmp_path / "mvista_output" / "demo"
    monkeypatch.setenv("AMENT_PREFIX_PATH", "")
    with pytest.raises(ConfigError, match="any of 0 ament prefixes"):
        paths.share_root()


def test_a_missing_file_lists_its_neighbours() -> None:
    with pytest.raises(ConfigError, match=r"no file .*absent\.yaml; .* holds .*'piper\.yaml'"):
        paths.config_file("arms", "absent.yaml")


def test_the_output_folder_can_be_moved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MVISTA_OUTPUT", str(tmp_path / "elsewhere"))
    assert paths.output_dir("demo").is_dir()
    assert paths.output_dir("demo") == tmp_path / "elsewhere" / "demo"
