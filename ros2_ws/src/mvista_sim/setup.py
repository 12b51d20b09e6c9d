"""ament_python package: see package.xml."""

from xml.etree import ElementTree

from setuptools import find_packages, setup

NAME = "mvista_sim"

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
        "mink",
        "daqp",
        "numpy",
        "scipy",
    ],
    zip_safe=True,
    entry_points={
        "console_scripts": [
            "sim_node = mvista_sim.programs:sim_node",
            "simulated_leader_node = mvista_sim.programs:simulated_leader_node",
        ]
    },
    maintainer="MVISTA-4D stack maintainers",
    maintainer_email="maintainers@mvista4d.org",
    description="MuJoCo cell for the MVISTA-4D stack",
    license="Apache-2.0",
)
