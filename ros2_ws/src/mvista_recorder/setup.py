"""ament_python package: see package.xml."""

from xml.etree import ElementTree

from setuptools import find_packages, setup

NAME = "mvista_recorder"

setup(
    name=NAME,
    version=ElementTree.parse("package.xml").findtext("version"),
    packages=find_packages(include=[NAME, f"{NAME}.*"]),
    package_data={NAME: ["py.typed"]},
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{NAME}"]),
        (f"share/{NAME}", ["package.xml"]),
    ],
    install_requires=["numpy", "pillow", "pyyaml", "mcap", "rosbags", "av", "pyarrow"],
    zip_safe=True,
    maintainer="MVISTA-4D stack maintainers",
    maintainer_email="maintainers@mvista4d.org",
    description="Demonstrations as episodes that survive a kill, a full disk and a lost terminal",
    license="Apache-2.0",
    entry_points={
        "console_scripts": [
            "episode_replay_node = mvista_recorder.programs:episode_replay_node",
            "recorder_node = mvista_recorder.programs:recorder_node",
        ],
    },
)
