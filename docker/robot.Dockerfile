# The robot: an apt ROS 2, torch with CUDA, the SDKs of arm and cameras. Needs the NVIDIA container
# toolkit for planning on the card; without it the tiny checkpoint plans on the processor.
#   docker build -f docker/robot.Dockerfile -t mvista4d-robot .
# For an image that stays the same, pin the base: --build-arg BASE=ros@sha256:... (compose: ROS_BASE)
ARG ROS_DISTRO=jazzy
ARG BASE=ros:${ROS_DISTRO}-ros-base
FROM ${BASE}
ARG ROS_DISTRO=jazzy
SHELL ["/bin/bash", "-o", "pipefail", "-c"]

RUN apt-get update && apt-get install -y --no-install-recommends \
      iproute2 can-utils usbutils python3-pip libegl1 libgl1 libosmesa6 \
      libusb-1.0-0 libx11-6 ros-${ROS_DISTRO}-rmw-fastrtps-cpp ros-${ROS_DISTRO}-robot-state-publisher \
      ros-${ROS_DISTRO}-rqt-robot-monitor ros-${ROS_DISTRO}-rviz2 ros-${ROS_DISTRO}-xacro \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /mvista4d
# What apt installed pip cannot replace: it goes in front.
ENV PIP_BREAK_SYSTEM_PACKAGES=1
COPY requirements-apt.lock requirements-nodeps.txt ./
RUN python3 -m pip install --no-cache-dir --ignore-installed -r requirements-apt.lock \
    && python3 -m pip install --no-cache-dir --no-deps -r requirements-nodeps.txt

COPY config config
COPY launch launch
COPY models models
COPY calibration calibration
COPY ros2_ws ros2_ws
RUN source /opt/ros/${ROS_DISTRO}/setup.bash \
    && apt-get update && rosdep update --rosdistro ${ROS_DISTRO} \
    && rosdep install --from-paths ros2_ws/src models calibration --ignore-src -y \
      --skip-keys "python3-can python3-msgpack python3-numpy python3-scipy python3-tqdm" \
    && rm -rf /var/lib/apt/lists/* \
    && colcon build --symlink-install --base-paths ros2_ws/src models calibration

ENV RMW_IMPLEMENTATION=rmw_fastrtps_cpp \
    FASTDDS_DEFAULT_PROFILES_FILE=/mvista4d/config/dds/fastdds.xml \
    NVIDIA_DRIVER_CAPABILITIES=all \
    MUJOCO_GL=egl
RUN printf '%s\n' '#!/bin/bash' 'source "/opt/ros/$ROS_DISTRO/setup.bash"' \
      'source /mvista4d/install/setup.bash' 'exec "$@"' > /mvista4d/entrypoint \
    && chmod +x /mvista4d/entrypoint
# Nobody needs root here: CAN belongs to the host, USB comes by group and rule. The folders that a
# service mounts, and ROS' log, are the user's.
ARG UID=1000
RUN useradd --create-home --non-unique --uid ${UID} --groups dialout,plugdev,video robot \
    && mkdir -p build && chown -R robot:robot build config /home/robot
USER robot
ENV MVISTA_OUTPUT=/mvista4d/build
# Whoever is to answer for the robot tells its health once a second.
HEALTHCHECK --interval=60s --timeout=15s --start-period=180s --retries=3 \
    CMD ["/mvista4d/entrypoint", "ros2", "topic", "echo", "--once", "/diagnostics"]
ENTRYPOINT ["/mvista4d/entrypoint"]
CMD ["ros2", "launch", "mvista_bringup", "real_robot.launch.py"]
