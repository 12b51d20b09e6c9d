"""ament_python package: see package.xml."""

from xml.etree import ElementTree

from setuptools import find_packages, setup

NAME = "mvista_cameras"

setup(
    name=NAME,
    version=ElementTree.parse("package.xml").findtext("version"),
    packages=find_packages(include=[NAME, f"{NAME}.*"]),
    package_data={NAME: ["py.typed"]},
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{NAME}"]),
        (f"share/{NAME}", ["package.xml"]),
    ],
    # pyorbbecsdk2 pins an old NumPy and pulls viewers: install it with --no-deps (README.md).
    install_requires=["numpy", "pillow", "pyyaml"],
    zip_safe=True,
    maintainer="MVISTA-4D stack maintainers",
    maintainer_email="maintainers@mvista4d.org",
    description="Orbbec Femto Bolt capture behind the FrameSource port, and its emulation",
    license="Apache-2.0",
    entry_points={
        "console_scripts": [
            "camera_node = mvista_cameras.programs:camera_node",
        ]
    },
)
