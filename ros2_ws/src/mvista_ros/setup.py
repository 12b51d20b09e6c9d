"""ament_python package: see package.xml."""

from xml.etree import ElementTree

from setuptools import find_packages, setup

NAME = "mvista_ros"

setup(
    name=NAME,
    version=ElementTree.parse("package.xml").findtext("version"),
    packages=find_packages(include=[NAME, f"{NAME}.*"]),
    package_data={NAME: ["py.typed"]},
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{NAME}"]),
        (f"share/{NAME}", ["package.xml"]),
    ],
    install_requires=["isal", "numpy", "opencv-contrib-python-headless", "pillow", "pyyaml"],
    zip_safe=True,
    maintainer="MVISTA-4D stack maintainers",
    maintainer_email="maintainers@mvista4d.org",
    description="Message conversion, QoS profiles, parameters and base node of the stack",
    license="Apache-2.0",
)
