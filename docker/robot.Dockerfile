# The robot: an apt ROS 2, torch with CUDA, the SDKs of arm and cameras. Needs the NVIDIA container
# toolkit for planning on the card; without it the tiny checkpoint plans on the processor.
#   docker build -f docker/robot.Dockerfile -t mvista4d-robot .
ARG ROS_DISTRO=jazzy
FROM ros:${ROS_DISTRO}-ros-base
ARG ROS_DISTRO=jazzy
SHELL ["/bin/bash", "-o", "pipefail", "-c"]

RUN apt-get update && apt-get install -y --no-install-recommends \
      iproute2 can-utils usbutils python3-pip libegl1 libgl1 libosmesa6 \
      libusb-1.0-0 libx11-6 ros-${ROS_DISTRO}-rmw-fastrtps-cpp ros-${ROS_DISTRO}-robot-state-publisher \
      ros-${ROS_DISTRO}-rqt-robot-monitor ros-${ROS_DISTRO}-rviz2 ros-${ROS_DISTRO}-xacro \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /mvista4d
# Messages of an apt ROS are compiled against NumPy 1, for which fpsample has older builds; colcon needs
# setuptools below 80. All else is as locked. What apt installed pip cannot replace: it goes in front.
ENV PIP_BREAK_SYSTEM_PACKAGES=1
COPY requirements.lock requirements-nodeps.txt ./
RUN grep -viE '^(numpy|fpsample|ros-|setuptools|empy|catkin)' requirements.lock > constraints.txt \
    && printf '%s\n' 'numpy<2' 'setuptools<80' >> constraints.txt \
    && python3 -m pip install --no-cache-dir --ignore-installed -c constraints.txt \
      accelerate daqp diffusers fpsample mink mujoco open3d-cpu opencv-contrib-python-headless \
      piper_sdk python-can ruckig safetensors tokenizers torch transformers transforms3d tqdm \
    && python3 -m pip install --no-cache-dir --no-deps -r requirements-nodeps.txt

COPY config config
COPY launch launch
COPY models models
COPY calibration calibration
COPY ros2_ws ros2_ws
RUN source /opt/ros/${ROS_DISTRO}/setup.bash \
    && apt-get update && rosdep update --rosdistro ${ROS_DISTRO} \
    && rosdep install --from-paths ros2_ws/src models calibration --ignore-src -y \
      --skip-keys "python3-pytorch-pip python3-mujoco-pip python3-can python3-numpy python3-scipy" \
    && rm -rf /var/lib/apt/lists/* \
    && colcon build --symlink-install --base-paths ros2_ws/src models calibration

ENV RMW_IMPLEMENTATION=rmw_fastrtps_cpp \
    FASTDDS_DEFAULT_PROFILES_FILE=/mvista4d/config/dds/fastdds.xml \
    NVIDIA_DRIVER_CAPABILITIES=all \
    MUJOCO_GL=egl
RUN printf '%s\n' '#!/bin/bash' 'source "/opt/ros/$ROS_DISTRO/setup.bash"' \
      'source /mvista4d/install/setup.bash' 'exec "$@"' > /mvista4d/entrypoint \
    && chmod +x /mvista4d/entrypoint
ENTRYPOINT ["/mvista4d/entrypoint"]
CMD ["ros2", "launch", "mvista_bringup", "real_robot.launch.py"]
