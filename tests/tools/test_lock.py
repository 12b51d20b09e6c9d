"""The lock file installs on the oldest Python that is promised: new releases leave it first."""

from __future__ import annotations

from pathlib import Path

import pytest
from packaging.specifiers import SpecifierSet

from tests.tools.resolving import pins, resolved

ROOT = Path(__file__).parents[2]
OLDEST = "3.10"
WITHOUT_WHEELS = {"empy", "fpsample"}
"""Published as source alone, for any Python or for the oldest: setup builds them."""


@pytest.mark.slow
@pytest.mark.timeout(420)
def test_every_release_has_a_wheel_for_the_oldest_python(tmp_path: Path) -> None:
    pinned = pins(ROOT / "requirements.lock", OLDEST)
    wheels = {name: version for name, version in pinned.items() if name not in WITHOUT_WHEELS}
    for one in resolved(wheels, OLDEST, tmp_path):
        assert SpecifierSet(one.get("requires_python", "")).contains(f"{OLDEST}.3"), one["name"]
