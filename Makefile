# One verb per job. `make demo`, `make test`, `make lint` and `make bench` run setup when needed.
#   make setup [PYTHON=python3.12]   make demo [TASK=touch_cube SEED=0]   make test [ARGS="-k core"]
#   make check   make format
PYTHON ?= python3
PY := .venv/bin/python
STAMP := .venv/.setup
SETUP_INPUTS := requirements.lock requirements-nodeps.txt $(wildcard ros2_ws/tools/*.py \
  ros2_ws/src/*/package.xml ros2_ws/src/*/setup.py ros2_ws/src/*/CMakeLists.txt \
  ros2_ws/src/*/msg/*.msg ros2_ws/src/*/srv/*.srv ros2_ws/src/*/action/*.action \
  ros2_ws/pip_underlay/*/package.xml ros2_ws/pip_underlay/*/CMakeLists.txt \
  ros2_ws/pip_underlay/*/msg/*.msg ros2_ws/pip_underlay/*/action/*.action \
  models/*/package.xml models/*/setup.py calibration/*/package.xml calibration/*/setup.py)
TASK ?= touch the red cube
SEED ?= 0
UV ?= uv

.PHONY: setup demo test check lint format bench clean lock

setup: $(STAMP)

$(STAMP): $(SETUP_INPUTS)
	$(PYTHON) ros2_ws/tools/setup_workspace.py
	@touch $@

# Imagine, infer and execute one task on the simulated cell -> build/demo/report.html
demo: $(STAMP)
	.venv/bin/mvista demo --task "$(TASK)" --seed "$(SEED)"

# First what may run beside others, two files at a time; then the system tests that must have the
# machine to themselves. Either may be without a test for these ARGS (exit code 5), both may not.
test: $(STAMP)
	@$(PY) -m pytest -n 2 --dist loadfile -m "not system or beside" $(ARGS); beside=$$?; \
	$(PY) -m pytest -m "system and not beside" $(ARGS); alone=$$?; \
	case "$$beside $$alone" in "0 0" | "0 5" | "5 0") ;; *) exit 1 ;; esac

# For every save: lint, and the unit tests that are quick
check: lint
	$(PY) -m pytest -n 2 --dist loadfile -q -m "unit and not slow" $(ARGS)

format: $(STAMP)
	$(PY) -m ruff check --fix .
	$(PY) -m ruff format .

lint: $(STAMP)
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy
	.venv/bin/lint-imports

# Success rate and stage times of the whole pipeline, in process, on held-out scenes
bench: $(STAMP)
	@mkdir -p build/bench
	.venv/bin/mvista eval success --task touch_cube --episodes 10 --seed 10000 --json build/bench/success.json

clean:
	rm -rf .venv build ros2_ws/build ros2_ws/install ros2_ws/log
	rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache

# Pins every dependency for Linux on Python 3.10 to 3.13. torch brings its own CUDA packages where
# its build needs them, so they are not pinned here: a CPU build must not pull them.
lock:
	$(UV) pip compile --quiet --universal --python-version 3.10 --no-python-downloads \
	  --no-emit-index-url --no-header --no-annotate --output-file requirements.lock requirements.in
	sed -i -E "/^(nvidia-|cuda-|triton)|sys_platform == '(win32|emscripten)'|os_name == 'nt'/d" requirements.lock
	sed -i "1i # Made by 'make lock' from requirements.in; do not edit." requirements.lock
	grep -viE '^(#|ros-|numpy|opencv|fpsample)' requirements.lock > requirements-apt.limits
	$(UV) pip compile --quiet --python-version 3.12 --python-platform x86_64-manylinux_2_39 --no-python-downloads \
	  --no-emit-index-url --no-header --no-annotate --constraint requirements-apt.limits \
	  --output-file requirements-apt.lock requirements-apt.in
	rm requirements-apt.limits
	sed -i -E "/^(nvidia-|cuda-|triton)/d" requirements-apt.lock
	sed -i "1i # Made by 'make lock' from requirements-apt.in; do not edit." requirements-apt.lock
