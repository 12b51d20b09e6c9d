"""ament_python package: see package.xml."""

from xml.etree import ElementTree

from setuptools import find_packages, setup

NAME = "mvista_world"

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
        "accelerate",
        "diffusers",
        "fpsample",
        "mvista_core",
        "numpy",
        "peft",
        "pyyaml",
        "safetensors",
        "scipy",
        "tensorboard",
        "tokenizers",
        "torch",
        "transformers",
    ],
    zip_safe=True,
    maintainer="MVISTA-4D stack maintainers",
    maintainer_email="maintainers@mvista4d.org",
    description="The MVISTA-4D world model and all that is learned: imagine, infer actions, refine",
    license="Apache-2.0",
)
