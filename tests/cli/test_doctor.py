"""The doctor finds what is wrong on fake machines, names the mending line, and changes nothing."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from mvista_bringup.finding import Finding, Severity
from mvista_bringup.graph.spec import DDS_PROFILE
from mvista_bringup.paths import config_file, share_root
from mvista_cli.cli import main
from mvista_cli.doctor import arm, cameras, can, files, host
from mvista_cli.doctor.examine import Subject, examine
from mvista_cli.doctor.machine import Machine, run_command
from mvista_core.rig import load_rig
from mvista_core.timing import NS_PER_S, ManualClock
from mvista_piper.emulator.arm import EmulatedPiper
from mvista_piper.emulator.faults import Faults
from mvista_piper.emulator.wire import EmulatedWire
from mvista_piper.settings import LeaderSettings, PiperSettings

GIB = 1 << 30
DAY_S = 86_400


def write(root: Path, name: str, text: object) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{text}\n", encoding="utf-8")


def link_words(channel: str, bitrate: int = 1_000_000, state: str = "ERROR-ACTIVE") -> str:
    """`ip -json -details link show type can`, as iproute2 5.15 writes it."""
    data = {"state": state, "restart_ms": 100, "bittiming": {"bitrate": bitrate}}
    return json.dumps([{"ifname": channel, "linkinfo": {"info_kind": "can", "info_data": data}}])


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """A robot's computer on which nothing is wrong."""
    sysfs, procfs = tmp_path / "sys", tmp_path / "proc"
    usb = sysfs / "devices/usb1/1-2"
    write(usb, "serial", "0017")
    (usb / "1-2:1.0").mkdir()
    write(sysfs, "class/net/can0/type", 280)
    write(sysfs, "class/net/can0/operstate", "up")
    write(sysfs, "class/net/can0/tx_queue_len", 1000)
    (sysfs / "class/net/can0/device").symlink_to(usb / "1-2:1.0")
    camera = sysfs / "bus/usb/devices/2-1"
    for name, text in (
        ("idVendor", "2bc5"),
        ("serial", "SIM0"),
        ("product", "Orbbec Femto Bolt"),
        ("speed", "5000"),
    ):
        write(camera, name, text)
    write(sysfs, "module/usbcore/parameters/usbfs_memory_mb", 128)
    write(sysfs, "devices/system/clocksource/clocksource0/current_clocksource", "tsc")
    write(procfs, "meminfo", "MemTotal: 33554432 kB\nMemAvailable: 25165824 kB")
    for key in ("rmem_max", "wmem_max"):
        write(procfs, f"sys/net/core/{key}", 1 << 26)

    def run(words: Sequence[str]) -> str | None:
        if words[0] == "ip":
            return link_words("can0")
        return {"timedatectl": "yes\n", "nvidia-smi": "RTX 4090, 24564, 23000, 550.90\n"}[words[0]]

    profile = str(share_root() / DDS_PROFILE)
    environment = {host.DDS_VARIABLE: profile}
    return Machine(sysfs, procfs, tmp_path, environment, run, lambda _: (500 * GIB, 400 * GIB))


def test_a_sound_machine_passes_every_check(machine: Machine) -> None:
    checks = [
        *can.check_buses(machine),
        *cameras.check_cameras(machine, None),
        *host.check_clocks(machine),
        host.check_memory(machine, "robot"),
        host.check_gpu(machine, "robot"),
        *host.check_dds(machine, share_root() / DDS_PROFILE),
        host.check_disk(machine, Path("/"), "robot"),
    ]
    assert {check.level for check in checks} == {Severity.OK}, [str(c) for c in checks]
    assert not any(check.fix for check in checks)


@pytest.mark.parametrize(
    ("name", "text", "level"),
    [("operstate", "down", Severity.FAIL), ("tx_queue_len", 10, Severity.WARN)],
)
def test_a_bus_that_is_down_or_has_a_short_queue(
    machine: Machine, name: str, text: object, level: Severity
) -> None:
    write(machine.sysfs, f"class/net/can0/{name}", text)
    (check,) = can.check_buses(machine)
    assert check.level is level
    assert "ip link set can0" in check.fix and "txqueuelen 1000" in check.fix
    assert "0017" in check.message


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (link_words("can0", bitrate=500_000), "500000 bit/s"),
        (link_words("can0", state="BUS-OFF"), "BUS-OFF"),
    ],
)
def test_a_bus_at_another_bit_rate_or_off(machine: Machine, words: str, said: str) -> None:
    (check,) = can.check_buses(replace(machine, run=lambda _: words))
    assert check.level is Severity.FAIL
    assert said in check.message
    assert "bitrate 1000000 restart-ms 100" in check.fix


@pytest.mark.parametrize("answer", [None, "", "nonsense", "[{}]", '[{"no": 1}]', "{"])
def test_a_bus_nobody_can_describe_is_a_warning(machine: Machine, answer: str | None) -> None:
    (check,) = can.check_buses(replace(machine, run=lambda _: answer))
    assert check.level is Severity.WARN and "bit rate" in check.message


def test_no_adapter(tmp_path: Path, machine: Machine) -> None:
    (check,) = can.check_buses(replace(machine, sysfs=tmp_path / "empty"))
    assert check.level is Severity.FAIL and "modprobe" in check.fix


def test_a_camera_on_usb_2_and_cameras_that_are_missing(machine: Machine) -> None:
    write(machine.sysfs, "bus/usb/devices/2-1/speed", 480)
    write(machine.sysfs, "module/usbcore/parameters/usbfs_memory_mb", 16)
    rig = load_rig(config_file("rigs", "sim_cell.yaml"))
    slow, missing, usbfs = cameras.check_cameras(machine, rig)
    assert slow.name == "camera cam0" and "480 Mbit/s" in slow.message
    assert "cam1 (SIM1), cam2 (SIM2), cam3 (SIM3)" in missing.message
    assert usbfs.fix.startswith("echo 128 | sudo tee ")
    assert {c.level for c in (slow, missing, usbfs)} == {Severity.FAIL}


def test_a_camera_that_is_not_the_rigs(machine: Machine) -> None:
    write(machine.sysfs, "bus/usb/devices/2-1/serial", "CL2")
    first = cameras.check_cameras(machine, load_rig(config_file("rigs", "sim_cell.yaml")))[0]
    assert first.level is Severity.WARN and "not in the rig" in first.message


def test_small_buffers_small_shared_memory_and_another_middleware(machine: Machine) -> None:
    write(machine.procfs, "sys/net/core/rmem_max", 212_992)
    poor = replace(
        machine,
        environment={host.RMW_VARIABLE: "rmw_cyclonedds_cpp"},
        disk_bytes=lambda _: (64 << 20, 60 << 20),
    )
    checks = {c.name: c for c in host.check_dds(poor, share_root() / DDS_PROFILE)}
    assert checks["net.core.rmem_max"].fix.startswith("sudo sysctl -w net.core.rmem_max=")
    assert checks["shared memory"].level is Severity.FAIL
    assert checks["dds middleware"].fix == "export RMW_IMPLEMENTATION=rmw_fastrtps_cpp"
    assert checks["dds profile"].fix.startswith(f"export {host.DDS_VARIABLE}=/")
    assert host.check_disk(poor, Path("/"), "sim").level is Severity.FAIL


def test_little_memory_no_card_a_slow_clock(machine: Machine, tmp_path: Path) -> None:
    write(machine.procfs, "meminfo", "MemAvailable: 1048576 kB")
    write(machine.sysfs, "devices/system/clocksource/clocksource0/current_clocksource", "hpet")
    bare = replace(machine, run=lambda _: None)
    assert "1.0 GiB free, 4 are needed" in host.check_memory(bare, "sim").message
    assert host.check_gpu(bare, "sim").level is Severity.OK
    assert host.check_gpu(bare, "robot").level is Severity.WARN
    source, wall = host.check_clocks(bare)
    assert (source.level, wall.level) == (Severity.WARN, Severity.SKIP)
    write(machine.procfs, "driver/nvidia/version", "550")
    assert host.check_gpu(bare, "sim").level is Severity.FAIL
    away = replace(machine, procfs=tmp_path / "none", sysfs=tmp_path / "none")
    assert host.check_memory(away, "sim").level is Severity.SKIP


def test_weights_and_rig(tmp_path: Path) -> None:
    missing = files.check_weights(tmp_path)
    assert missing.level is Severity.FAIL and "manifest.json" in missing.message
    path = config_file("rigs", "sim_cell.yaml")
    check, none = files.check_rig(tmp_path / "rig.yaml", 0)
    assert check.level is Severity.FAIL and none is None
    born_s = 1_795_305_600  # 2026-11-22
    text = path.read_text(encoding="utf-8")
    write(tmp_path, "rig.yaml", text)
    for days, level in ((1, Severity.OK), (31, Severity.WARN)):
        now_ns = (born_s + days * DAY_S + 60) * NS_PER_S
        assert files.check_rig(tmp_path / "rig.yaml", now_ns)[0].level is level
    write(tmp_path, "rig.yaml", text.replace("2026-11-22", "lately"))
    assert "no date" in files.check_rig(tmp_path / "rig.yaml", 0)[0].message


def _virtual(channel: str) -> PiperSettings:
    return PiperSettings(interface="virtual", channel=channel, identity_timeout_s=5.0)


class WireClock(ManualClock):
    """Lets the emulated arm run on whenever somebody waits."""

    wire: EmulatedWire

    def sleep_until(self, monotonic_ns: int) -> None:
        super().sleep_until(monotonic_ns)
        self.wire.pump()


def ask(faults: Faults) -> tuple[Finding, EmulatedPiper]:
    clock, emulated = WireClock(10**12), EmulatedPiper(faults=faults)
    clock.wire = EmulatedWire(emulated, clock)
    opener = clock.wire.open
    arm_file = config_file("arms", "piper.yaml")
    return arm.check_arm(_virtual("wire"), arm_file, clock, lambda _: opener()), emulated


def test_the_arm_is_asked_and_not_moved() -> None:
    check, emulated = ask(Faults())
    assert check.level in (Severity.OK, Severity.WARN), str(check)
    assert "firmware S-V1." in check.message and "follower" in check.message
    assert not any(emulated.controller.enabled)


@pytest.mark.parametrize(
    ("faults", "said"),
    [
        (Faults(old_dh=True), "2 degrees"),
        (Faults(leader=True), "leader"),
        (Faults(silent=True), "no feedback"),
    ],
    ids=["old firmware", "leader", "silent"],
)
def test_an_arm_that_must_not_be_moved_is_a_failure(faults: Faults, said: str) -> None:
    check, _ = ask(faults)
    assert check.level is Severity.FAIL and said in check.message, str(check)
    assert check.fix


@pytest.mark.parametrize(
    ("faults", "level", "said"),
    [
        (Faults(leader=True), Severity.OK, "answers"),
        (Faults(), Severity.FAIL, "it is a follower"),
        (Faults(silent=True), Severity.FAIL, "does not answer"),
    ],
    ids=["leader", "follower", "silent"],
)
def test_a_leader_is_told_from_a_follower(faults: Faults, level: Severity, said: str) -> None:
    clock, emulated = WireClock(10**12), EmulatedPiper(faults=faults)
    clock.wire = EmulatedWire(emulated, clock)
    settings = LeaderSettings(interface="virtual", channel="wire")
    check = arm.check_leader(settings, clock, lambda _: clock.wire.open())
    assert (check.level, said in check.message) == (level, True), str(check)


def test_a_bus_without_an_arm_is_a_failure_with_a_reason() -> None:
    arm_file = config_file("arms", "piper.yaml")
    check = arm.check_arm(_virtual("nobody"), arm_file, ManualClock())
    assert check.level is Severity.FAIL and check.fix


def test_a_robot_without_a_bus_skips_the_arm_and_names_the_rest(
    machine: Machine, tmp_path: Path
) -> None:
    write(machine.sysfs, "class/net/can0/operstate", "down")
    subject = Subject("robot", share_root(), "sim_cell", "tiny", "piper", tmp_path, PiperSettings())
    checks = {check.name: check for check in examine(subject, machine, ManualClock())}
    assert checks["arm"].level is Severity.SKIP
    assert {"can can0", "cameras", "weights", "rig", "disk", "dds profile"} <= set(checks)
    assert all(
        check.fix for check in checks.values() if check.level in (Severity.FAIL, Severity.WARN)
    )


def test_to_record_taps_and_the_launch_are_looked_at_and_no_weights(
    machine: Machine, tmp_path: Path
) -> None:
    write(machine.sysfs, "class/net/can0/operstate", "down")
    long = tmp_path / ("too_long_for_the_name_of_a_socket" * 4)
    for place, level in ((long, Severity.FAIL), (tmp_path, Severity.OK)):
        place.mkdir(exist_ok=True)
        told = replace(machine, environment={"XDG_RUNTIME_DIR": str(place)})
        subject = Subject(
            "record", share_root(), "sim_cell", "", "piper", tmp_path, PiperSettings()
        )
        checks = {check.name: check for check in examine(subject, told, ManualClock())}
        assert checks["taps"].level is level, str(checks["taps"])
        assert {"can can0", "cameras", "rig", "launch", "disk"} <= set(checks)
        assert not {"weights", "gpu"} & set(checks)


def test_the_command_prints_a_line_per_check_and_writes_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "doctor.json"
    main(["doctor", "--json", str(path)])
    checks = json.loads(path.read_text(encoding="utf-8"))["checks"]
    lines = [line for line in capsys.readouterr().out.splitlines() if "fix:" not in line]
    assert len(lines) == len(checks) + 1
    assert {check["level"] for check in checks} <= {level.value for level in Severity}


def test_an_arm_that_is_no_file_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--arm", "crane"]) == 2
    assert "crane.yaml" in capsys.readouterr().err


def test_a_command_that_fails_or_is_missing_is_no_answer() -> None:
    assert run_command(["false"]) is None
    assert run_command(["no-such-program-here"]) is None
    assert run_command(["echo", "yes"]) == "yes\n"
