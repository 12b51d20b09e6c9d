"""`mvista watch` as its user meets it: the process, a real browser, and the graph around them."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
from mvista_interfaces.srv import ResetScene
from numpy.typing import NDArray
from rclpy.node import Node

from mvista_bringup.graph.sim import SIM_DEMO, SIM_DEMO_OPTIONS
from mvista_bringup.options import option_values
from mvista_bringup.paths import share_root
from mvista_bringup.supervisor import Supervisor
from mvista_core.timing import SystemClock, seconds_to_ns
from mvista_ros.actions import call_service
from mvista_ros.spinning import spinning
from mvista_watch.headless import Headless, find_chromium

CHROMIUM = find_chromium()
pytestmark = [
    pytest.mark.system,
    pytest.mark.beside,
    pytest.mark.slow,
    pytest.mark.timeout(400),
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium: apt-get install chromium"),
]

CLOCK = SystemClock()
WAIT_S = 120.0
"""A browser that draws without a GPU answers late on a busy machine."""
LIGHT = ("sim", "rig_publisher", "task")
"""Rows of the demo: no planner, no executor."""
WORDS = (
    *("no task yet", "imagine", "infer", "gate", "execute"),
    *("Arm", "Cameras", "Seen now", "nothing on it can move the arm"),
    *("/sim", "rig sim_cell", "cam0, cam1, cam2, cam3"),
)
EVERYBODYS_TOPICS = {"/rosout", "/diagnostics", "/parameter_events"}
# The sheet of live views at a tenth of its size, as [R, G, B, A, ...]; nothing while it is changed.
PIXELS = """(async () => {
  const sheet = [...document.images].find(i => i.src.startsWith("blob:") && i.naturalWidth > 600);
  if (!sheet) return [];
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [sheet.naturalWidth / 10, sheet.naturalHeight / 10];
  const drawn = canvas.getContext("2d");
  drawn.drawImage(sheet, 0, 0, canvas.width, canvas.height);
  return [...drawn.getImageData(0, 0, canvas.width, canvas.height).data];
})()"""


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Supervisor]:
    rows = [row for row in SIM_DEMO if row.name in LIGHT]
    values = option_values(SIM_DEMO_OPTIONS, {}, str(share_root()))
    with Supervisor(rows, values, tmp_path_factory.mktemp("run")) as supervisor:
        supervisor.wait_ready(WAIT_S)
        yield supervisor


@pytest.fixture
def observer(graph: Supervisor) -> Iterator[Node]:
    with spinning(partial(Node, "observer"), graph.domain_id) as node:
        yield node


@contextmanager
def watching(domain_id: int) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The process, and the page's address as it says it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    launcher = str(Path(sys.prefix) / "bin" / "mvista")
    command = [sys.executable, launcher, "watch", "--port", port, "--domain", str(domain_id)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            greeting = process.stdout.readline()
            assert greeting.startswith(f"http://127.0.0.1:{port} (this machine only"), greeting
            yield process, greeting.split()[0]
        finally:
            process.kill()


def until(condition: Callable[[], bool], what: str) -> None:
    deadline_ns = CLOCK.monotonic_ns() + seconds_to_ns(WAIT_S)
    while not condition():
        assert CLOCK.monotonic_ns() < deadline_ns, what
        CLOCK.sleep_until(CLOCK.monotonic_ns() + seconds_to_ns(0.2))


def test_a_browser_sees_the_cell_and_nothing_leads_back_from_it(
    graph: Supervisor, observer: Node, tmp_path: Path
) -> None:
    assert CHROMIUM is not None
    _lay_out(observer, "touch_cube", 0)
    with watching(graph.domain_id) as (process, address):
        assert not _is_there(observer), "it listens though nobody looks"
        with Headless(CHROMIUM, tmp_path / "profile", CLOCK) as browser:
            browser.open(address)
            _the_words_are_there(browser)
            _the_pictures_change_with_the_cell(browser, observer)
            until(lambda: _hears_images(observer), "it does not listen though somebody looks")
            _it_only_hears(observer)
            browser.close()
            until(lambda: not _is_there(observer), "it goes on listening though nobody looks")
            _all_came_from_here(browser.requests, address)
        process.send_signal(signal.SIGINT)
        said, _ = process.communicate(timeout=30.0)
        assert process.returncode == 130
        assert "it took" in said and "of one core while somebody looked" in said, said


def _the_words_are_there(browser: Headless) -> None:
    text = ""

    def there() -> bool:
        nonlocal text
        text = str(browser.evaluate('document.body?.innerText ?? ""'))
        return all(word in text for word in WORDS)

    until(there, f"not all of {WORDS} are on the page")


def _the_pictures_change_with_the_cell(browser: Headless, observer: Node) -> None:
    """Two pictures of a cell that stands differ by its noise alone; then the scene is another."""
    before = _picture(browser)
    CLOCK.sleep_until(CLOCK.monotonic_ns() + seconds_to_ns(2.0))
    still = np.abs(_picture(browser) - before).mean()
    _lay_out(observer, "open_drawer", 5)
    until(
        lambda: np.abs(_picture(browser) - before).mean() > 3.0 * still + 1.0,
        f"the pictures stay as they were (of a cell that stands they differ by {still:.2f} of 255)",
    )


def _lay_out(observer: Node, task: str, seed: int) -> None:
    client = observer.create_client(ResetScene, "/sim/reset_scene")
    answer = call_service(client, ResetScene.Request(task=task, seed=seed), CLOCK, WAIT_S)
    assert answer.outcome.code == 0, answer.outcome.message


def _picture(browser: Headless) -> NDArray[np.float64]:
    found: list[int] = []

    def shown() -> bool:
        found[:] = browser.evaluate(PIXELS)
        # Empty at first, and grey before the first image.
        return len(found) > 0 and float(np.std(found)) > 10.0

    until(shown, "there are no pictures")
    return np.array(found, dtype=np.float64)


def _is_there(observer: Node) -> bool:
    return "watch" in observer.get_node_names()


def _hears_images(observer: Node) -> bool:
    topics = [f"/cam{n}/{kind}/image_raw" for n in range(4) for kind in ("color", "depth")]
    ends = map(observer.get_subscriptions_info_by_topic, topics)
    return all(any(end.node_name == "watch" for end in found) for found in ends)


def _it_only_hears(observer: Node) -> None:
    published = observer.get_publisher_names_and_types_by_node("watch", "/")
    assert {name for name, _ in published} <= EVERYBODYS_TOPICS
    served = observer.get_service_names_and_types_by_node("watch", "/")
    assert all("parameter" in name for name, _ in served), served
    # An action client is three clients of services, seen here, and two subscriptions.
    called = observer.get_client_names_and_types_by_node("watch", "/")
    assert not called, called


def _all_came_from_here(requests: list[str], address: str) -> None:
    """Pages, pictures and the socket of viser's worker."""
    places = [urlsplit(request.removeprefix("blob:")) for request in requests]
    here = urlsplit(address).netloc
    assert {place.netloc for place in places} == {here}, requests
    assert {"http", "ws"} <= {place.scheme for place in places}, requests
