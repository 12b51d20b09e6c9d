"""ament_python package: see package.xml."""

from xml.etree import ElementTree

from setuptools import find_packages, setup

NAME = "mvista_calibration_sim"

setup(
    name=NAME,
    version=ElementTree.parse("package.xml").findtext("version"),
    packages=find_packages(include=[NAME, f"{NAME}.*"]),
    package_data={NAME: ["py.typed"]},
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{NAME}"]),
        (f"share/{NAME}", ["package.xml"]),
    ],
    install_requires=[
        "mujoco",
        "mvista_calibration",
        "mvista_sim",
        "numpy",
        "opencv-contrib-python-headless",
        "scipy",
    ],
    zip_safe=True,
    entry_points={
        "console_scripts": [
            "board_node = mvista_calibration_sim.programs:board_node",
        ]
    },
    maintainer="MVISTA-4D stack maintainers",
    maintainer_email="maintainers@mvista4d.org",
    description="Calibration sessions with known truth, and the cell with a carried board",
    license="Apache-2.0",
)
