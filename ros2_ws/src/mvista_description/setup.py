"""ament_python package: see package.xml. Also installs urdf/ and moveit/."""

from pathlib import Path
from xml.etree import ElementTree

from setuptools import find_packages, setup

NAME = "mvista_description"
# colcon may run a link to this file from a build folder: resolve it before looking around.
FOLDER = Path(__file__).resolve().parent

setup(
    name=NAME,
    version=ElementTree.parse("package.xml").findtext("version"),
    packages=find_packages(include=[NAME, f"{NAME}.*"]),
    package_data={NAME: ["py.typed"]},
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{NAME}"]),
        (f"share/{NAME}", ["package.xml"]),
        (f"share/{NAME}/urdf", sorted(f"urdf/{p.name}" for p in FOLDER.glob("urdf/*.xacro"))),
        (f"share/{NAME}/moveit", sorted(f"moveit/{p.name}" for p in FOLDER.glob("moveit/*.*"))),
    ],
    install_requires=["pyyaml", "setuptools", "xacro"],
    zip_safe=True,
    maintainer="MVISTA-4D stack maintainers",
    maintainer_email="maintainers@mvista4d.org",
    description="URDF of the MVISTA-4D cell: Piper arms and cameras from their own files",
    license="Apache-2.0",
    entry_points={
        "console_scripts": ["agilex_names = mvista_description.programs:agilex_names"],
    },
)
