"""ament_python package: see package.xml."""

from xml.etree import ElementTree

from setuptools import find_packages, setup

NAME = "mvista_piper"

setup(
    name=NAME,
    version=ElementTree.parse("package.xml").findtext("version"),
    packages=find_packages(include=[NAME, f"{NAME}.*"]),
    package_data={NAME: ["py.typed"]},
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{NAME}"]),
        (f"share/{NAME}", ["package.xml"]),
    ],
    install_requires=["msgpack", "numpy", "piper_sdk==0.6.2", "python-can<5"],
    zip_safe=True,
    maintainer="MVISTA-4D stack maintainers",
    maintainer_email="maintainers@mvista4d.org",
    description="AgileX Piper over CAN behind the Arm port, and a wire-level emulator of the arm",
    license="Apache-2.0",
    entry_points={
        "console_scripts": [
            "leader_node = mvista_piper.programs:leader_node",
            "piper_node = mvista_piper.programs:piper_node",
            "piper_emulator = mvista_piper.programs:piper_emulator",
        ]
    },
)
