"""The running cell as a page in the browser, served on this machine only.

It looks and nothing else: no topic is written, no action or service is called. While no browser has
the page open nothing is heard either. Ctrl-C ends it, and says what it took of the processor.
"""

from __future__ import annotations

import ipaddress
import os
import threading
from dataclasses import dataclass

from mvista_bringup.graph.spec import DDS_PROFILE
from mvista_bringup.options import NAMESPACE_OPTION, PORTS
from mvista_bringup.paths import config_file, share_root
from mvista_core.arm import load_arm
from mvista_core.errors import ConfigError
from mvista_core.rig import load_rig
from mvista_core.timing import SystemClock
from mvista_eval.process_usage import usage_of

DDS_PROFILE_VARIABLE = "FASTDDS_DEFAULT_PROFILES_FILE"
DOMAINS = (0, 232)


@dataclass(frozen=True)
class WatchRequest:
    """Where the page is served, and of which graph: its namespace, arm, rig and ROS domain."""

    port: int
    host: str
    namespace: str
    arm: str
    arm_file: str
    rig: str
    domain: int | None


def serve(wanted: WatchRequest) -> None:
    """Show the cell until Ctrl-C.

    Raises:
        ConfigError: something cannot be meant, or the rig hangs on another arm's base.
    """
    _check(wanted)
    arm_file = config_file("arms", f"{wanted.arm_file}.yaml")
    rig_file = config_file("rigs", f"{wanted.rig}.yaml")
    arm, rig = load_arm(arm_file), load_rig(rig_file)
    if rig.base_frame != f"{wanted.arm}_base":
        fits = rig.base_frame.removesuffix("_base")
        raise ConfigError(
            f"rig '{rig.name}' is measured from {rig.base_frame}, the arm stands on "
            f"{wanted.arm}_base; name the arm of the rig: --arm {fits}"
        )
    join_domain(wanted.domain)
    # Imported here so that a refused call does not wait for them.
    from mvista_description.urdf import cell_urdf
    from mvista_watch.cell_topics_node import Cell
    from mvista_watch.cost import Cost
    from mvista_watch.drawing import Drawing
    from mvista_watch.page import Page
    from mvista_watch.watch_node import watch

    clock, came_or_went = SystemClock(), threading.Event()
    cell = Cell(wanted.namespace.strip("/"), wanted.arm, arm, rig)
    drawing = Drawing.of(cell_urdf(arm_file, {"arm": wanted.arm}))
    cost = Cost(lambda: usage_of(os.getpid()).cpu_s, clock)
    where = f"{rig.name}, domain {os.environ.get('ROS_DOMAIN_ID', '0')}"
    where += f", namespace {wanted.namespace}" if wanted.namespace else ""
    with Page(drawing, rig, where, wanted.host, wanted.port, came_or_went.set) as page:
        print(_greeting(wanted.host, page.port), flush=True)
        try:
            watch(page, cell, cost, clock, came_or_went, lambda line: print(line, flush=True))
        finally:
            cost.add(page.viewers > 0)
            print(f"it took {cost}", flush=True)


def _check(wanted: WatchRequest) -> None:
    """Refuse what cannot be meant.

    Raises:
        ConfigError: says what was given, and what is allowed.
    """
    if not PORTS[0] <= wanted.port <= PORTS[1]:
        raise ConfigError(f"--port is {wanted.port}; allowed: {PORTS[0]} to {PORTS[1]}")
    for name in ("namespace", "arm"):
        value = getattr(wanted, name)
        if not NAMESPACE_OPTION.accepts(value) or (name == "arm" and not value):
            raise ConfigError(f"--{name} is '{value}'; allowed: {NAMESPACE_OPTION.allowed}")
    if wanted.domain is not None and not DOMAINS[0] <= wanted.domain <= DOMAINS[1]:
        raise ConfigError(f"--domain is {wanted.domain}; allowed: {DOMAINS[0]} to {DOMAINS[1]}")


def join_domain(domain: int | None) -> None:
    """The environment in which ROS finds the graph, with buffers fit for images."""
    if domain is not None:
        os.environ["ROS_DOMAIN_ID"] = str(domain)
    os.environ.setdefault(DDS_PROFILE_VARIABLE, str(share_root() / DDS_PROFILE))


def _greeting(host: str, port: int) -> str:
    shown = f"[{host}]" if ":" in host else host
    try:
        local = ipaddress.ip_address(host).is_loopback
    except ValueError:
        local = host == "localhost"
    who = "this machine only" if local else "EVERY machine that reaches this one may look"
    return f"http://{shown}:{port} ({who}; it cannot move the arm). Ctrl-C ends it"
