# The simulated cell on the processor, without an apt ROS: what CI and laptops use.
#   docker build -f docker/dev.Dockerfile -t mvista4d-dev .
#   docker run --rm --shm-size 2gb -v "$PWD/build:/mvista4d/build" mvista4d-dev
# For an image that stays the same, pin the base: --build-arg BASE=python@sha256:... (compose: PYTHON_BASE)
ARG BASE=python:3.11-slim-bookworm
FROM ${BASE}

RUN apt-get update && apt-get install -y --no-install-recommends \
      build-essential git make libegl1 libgl1 libosmesa6 libusb-1.0-0 libx11-6 \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /mvista4d
# Dependencies first: they change less often than the code. An index with processor builds of torch
# saves gigabytes: --build-arg PIP_EXTRA_INDEX_URL=...
ARG PIP_EXTRA_INDEX_URL=""
ENV PIP_EXTRA_INDEX_URL=${PIP_EXTRA_INDEX_URL} MUJOCO_GL=egl
COPY requirements.lock requirements-nodeps.txt ./
RUN python3 -m venv .venv \
    && .venv/bin/python -m pip install --no-cache-dir -r requirements.lock \
    && .venv/bin/python -m pip install --no-cache-dir --no-deps -r requirements-nodeps.txt

COPY Makefile pyproject.toml ./
COPY config config
COPY launch launch
COPY models models
COPY calibration calibration
COPY ros2_ws ros2_ws
ARG UID=1000
RUN make setup \
    && useradd --create-home --uid ${UID} robot && mkdir -p build && chown -R robot:robot build .venv
USER robot

CMD ["make", "demo"]
