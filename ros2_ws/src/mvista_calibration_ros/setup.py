"""ament_python package: see package.xml."""

from xml.etree import ElementTree

from setuptools import find_packages, setup

NAME = "mvista_calibration_ros"

setup(
    name=NAME,
    version=ElementTree.parse("package.xml").findtext("version"),
    packages=find_packages(include=[NAME, f"{NAME}.*"]),
    package_data={NAME: ["py.typed"]},
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{NAME}"]),
        (f"share/{NAME}", ["package.xml"]),
    ],
    install_requires=["numpy"],
    zip_safe=True,
    maintainer="MVISTA-4D stack maintainers",
    maintainer_email="maintainers@mvista4d.org",
    description="Calibration as ROS actions: collect shots with guidance, solve, verify",
    license="Apache-2.0",
    entry_points={
        "console_scripts": [
            "calibration_node = mvista_calibration_ros.programs:calibration_node",
            "drift_node = mvista_calibration_ros.programs:drift_node",
        ]
    },
)
