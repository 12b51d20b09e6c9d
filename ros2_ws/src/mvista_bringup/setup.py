"""ament_python package: see package.xml. Also installs the repository's launch/ and config/."""

import os
from pathlib import Path
from xml.etree import ElementTree

from setuptools import find_packages, setup

NAME = "mvista_bringup"
# colcon may run a link to this file from a build folder: resolve it before looking around.
REPOSITORY = Path(__file__).resolve().parents[3]


def shared_files() -> list[tuple[str, list[str]]]:
    """(target folder, files) for launch/, config/ and checkpoints, keeping their sub-folders."""
    groups: dict[str, list[str]] = {}
    for folder in ("launch", "config", "models/checkpoints"):
        for path in sorted((REPOSITORY / folder).rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                target = f"share/{NAME}/{path.parent.relative_to(REPOSITORY).as_posix()}"
                groups.setdefault(target, []).append(os.path.relpath(path))
    return list(groups.items())


setup(
    name=NAME,
    version=ElementTree.parse("package.xml").findtext("version"),
    packages=find_packages(include=[NAME, f"{NAME}.*"]),
    package_data={NAME: ["py.typed"]},
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{NAME}"]),
        (f"share/{NAME}", ["package.xml"]),
        *shared_files(),
    ],
    install_requires=["setuptools"],
    zip_safe=True,
    maintainer="MVISTA-4D stack maintainers",
    maintainer_email="maintainers@mvista4d.org",
    description="What is started: launch files, configuration, graphs, supervisor of MVISTA-4D",
    license="Apache-2.0",
    entry_points={
        "console_scripts": [
            "cell_display_node = mvista_bringup.programs:cell_display_node",
            "rig_publisher_node = mvista_bringup.programs:rig_publisher_node",
        ]
    },
)
