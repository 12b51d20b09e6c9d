"""Trials on the machines of a Ray cluster, each of which has this tree set up at the same place.

Ray is no dependency of the stack: who has a cluster installs it beside, in the version that runs
there. https://docs.ray.io/en/latest/cluster/getting-started.html
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from typing import TypeVar

from mvista_core.errors import ConfigError
from mvista_eval.revision import code_revision

A = TypeVar("A")
B = TypeVar("B")

CONNECT_S = 5.0
LOCAL = "local"
"""A cluster of this machine's own, started for the study and ended with it."""


def on_ray(
    trial: Callable[[A], B], asked: Sequence[A], address: str, workers: int, revision: str
) -> Iterator[B]:
    """`trial` of each of `asked` by so many processes of the cluster, as they come.

    Raises:
        ConfigError: Ray is not installed; there is no cluster at `address`; or a machine of it has
            other code than `revision`. Whatever a trial raises.
    """
    try:
        ray = import_module("ray")
        pools = import_module("ray.util.multiprocessing")
    except ImportError as error:
        raise ConfigError(
            f"--ray {address}: Ray is not installed ({error}); install the cluster's version: "
            ".venv/bin/pip install ray==VERSION"
        ) from None
    _require_listener(address)
    try:
        # Else it writes each worker's output among the rows, under the names of its processes.
        ray.init(None if address == LOCAL else address, log_to_driver=False, logging_level="error")
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise ConfigError(
            f"--ray {address}: no cluster answers there ({error}); `ray start --head` begins one, "
            f"and '{LOCAL}' is one of this machine's own"
        ) from None
    try:
        with pools.Pool(min(workers, len(asked))) as pool:
            told = [(trial, one, revision) for one in asked]
            for found in pool.imap_unordered(_carry_out, told):
                # Unlike the standard library's pool, Ray's hands on what was raised as a result.
                if isinstance(found, Exception):
                    raise getattr(found, "underlying", found)
                yield found
    finally:
        ray.shutdown()


def _require_listener(address: str) -> None:
    """At HOST:PORT or ray://HOST:PORT somebody listens: Ray itself would try for minutes.

    Raises:
        ConfigError: nobody does.
    """
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if not port.isdecimal():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), CONNECT_S).close()
    except (OSError, OverflowError) as error:
        raise ConfigError(f"--ray {address}: no cluster answers there ({error})") from None


def _carry_out(told: tuple[Callable[[A], B], A, str]) -> B:
    trial, asked, revision = told
    if code_revision() != revision:
        raise ConfigError(
            "a machine of the cluster has other code than this one; bring both to one commit, and "
            "run `make setup` there"
        )
    return trial(asked)
