"""Trials on a Ray cluster give what they give here; who has no Ray, or other code, is told."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from mvista_cli import cli
from mvista_core.errors import ConfigError
from mvista_eval import on_ray
from mvista_eval.revision import code_revision
from mvista_eval.trials import Repeating, run_study
from tests.eval.test_trials import JOBS, STUDY

THERE = importlib.util.find_spec("ray") is not None
with_ray = pytest.mark.skipif(not THERE, reason="Ray is not installed, which the stack needs not")


@pytest.fixture(autouse=True)
def apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MVISTA_OUTPUT", str(tmp_path))


@with_ray
@pytest.mark.timeout(300)
def test_a_clusters_rows_are_this_machines_in_the_same_order() -> None:
    there = run_study(STUDY, JOBS, Repeating(workers=2, ray=on_ray.LOCAL))
    # Rows that a cluster made are no rows of this machine: they are made again.
    assert there == run_study(STUDY, JOBS)


@with_ray
@pytest.mark.timeout(300)
def test_a_cluster_with_other_code_is_refused() -> None:
    with pytest.raises(ConfigError, match="other code than this one"):
        list(on_ray.on_ray(str, [1, 2], on_ray.LOCAL, 2, "of another commit" + code_revision()))


@with_ray
@pytest.mark.timeout(300)
def test_an_address_where_no_cluster_answers_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"--ray 127\.0\.0\.1:1: no cluster answers"):
        run_study(STUDY, JOBS, Repeating(ray="127.0.0.1:1"))


@pytest.mark.skipif(THERE, reason="Ray is installed")
def test_without_ray_the_command_says_how_to_get_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["eval", "experts", "--episodes", "1", "--ray", "auto"]) == 2
    assert "--ray auto: Ray is not installed" in capsys.readouterr().err
