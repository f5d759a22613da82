"""Connecting to a Ray cluster that is there already, within seconds or with a reason."""

import contextlib
import importlib
import logging
import os
import signal
import socket
import threading
from typing import Any

from hilnas.errors import HilnasError
from hilnas.executors.ray_task import same_software
from hilnas.options import OptionsError

_log = logging.getLogger(__name__)

_REACH_S = 5.0
_CONNECT_S = 60.0
_PROBE_S = 60.0
_CLIENT = "ray://"
_CLIENT_PORT = "10001"


class RayError(HilnasError, RuntimeError):
    """The cluster cannot be used; the message says why and what to do."""


def connect(address: str) -> Any:
    """Join the cluster at `address` and return the module ray. RayError says why that cannot be done."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        ray: Any = importlib.import_module("ray")
    except ImportError as error:
        raise OptionsError(f'executor "ray" needs Ray ({error}): pip install "hilnas[ray]"') from error
    # A call after the connection has ended would start a cluster on this machine.
    importlib.import_module("ray._private.auto_init_hook").enable_auto_connect = False  # type: ignore[attr-defined]
    if ray.is_initialized():
        raise RayError("this process is in a Ray cluster already: it can hold one connection")
    _reach(address)
    _be_quiet()
    failure: list[BaseException] = []

    def join() -> None:
        try:
            ray.init(address=address, log_to_driver=False, configure_logging=False, **_own_node(address))
        except BaseException as error:  # noqa: BLE001 - it is raised below
            failure.append(error)

    # In a thread it can be waited for, and takes no signal handlers: Ctrl-C stays the search's.
    thread = threading.Thread(target=join, name="joining Ray", daemon=True)
    thread.start()
    thread.join(_CONNECT_S)
    if thread.is_alive():
        raise RayError(f"the Ray cluster at {address} did not answer in {_CONNECT_S:.0f} s: {_REMEDY}")
    if failure:
        with contextlib.suppress(Exception):
            ray.shutdown()  # what is half there would stand in the way of the next try
        raise RayError(f"the Ray cluster at {address} cannot be joined: {failure[0]}. {_remedy(failure[0])}")
    _keep_signals()
    return ray


_REMEDY = (
    "See `ray status` there; host:port needs this machine to be a node of it (ray start --address=host:port), "
    "ray://host:10001 does not; Python and Ray must be the same versions"
)
_FORKS = (
    "The head's server for clients now and then hangs as it forks: try again, or start the head with "
    "GRPC_ENABLE_FORK_SUPPORT=0 in its environment, which ends that"
)


def _remedy(failure: BaseException) -> str:
    return _FORKS if "Ray client server failed" in str(failure) else _REMEDY


def check_nodes(ray: Any) -> None:
    """See that every node has the host's software. RayError names a node that has not."""

    def versions(packages: tuple[str, ...]) -> dict[str, str]:  # travels by value: hilnas may not be there
        import platform
        from importlib.metadata import PackageNotFoundError, version

        found = {"python": platform.python_version()}
        for package in packages:
            try:
                found[package] = version(package)
            except PackageNotFoundError:
                found[package] = "none"
        return found

    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    wanted = same_software()
    nodes = [node for node in ray.nodes() if node["Alive"]]
    packages = tuple(name for name in wanted if name != "python")
    probe = ray.remote(num_cpus=0, max_retries=0)(versions)
    asked = {
        probe.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)).remote(
            packages
        ): f"{node['NodeManagerHostname']} ({node['NodeManagerAddress']})"
        for node in nodes
        if node["Resources"].get("CPU", 0) > 0
    }
    done, late = ray.wait(list(asked), num_returns=len(asked), timeout=_PROBE_S) if asked else ([], [])
    for each in late:
        raise RayError(f"Ray node {asked[each]} ran nothing in {_PROBE_S:.0f} s: mend it, or take it out")
    for each in done:
        try:
            found = ray.get(each)
        except ray.exceptions.RayError as error:
            _log.warning("Ray node %s was lost while it was asked for its versions: %s", asked[each], error)
            continue
        for name, value in wanted.items():
            if found[name] != value:
                raise RayError(
                    f"Ray node {asked[each]} has {name} {found[name]}, this host has {value}: "
                    "install the same on all nodes, or results would depend on where they were made"
                )


def _reach(address: str) -> None:
    """See that something listens: Ray itself would try for minutes."""
    host, _, port = address.removeprefix(_CLIENT).partition(":")
    if address == "auto":
        return
    port = port or (_CLIENT_PORT if address.startswith(_CLIENT) else "")
    try:
        with socket.create_connection((host, int(port)), timeout=_REACH_S):
            pass
    except ValueError as error:
        raise OptionsError(
            f'executor.address is "{address}": write "auto", host:port or ray://host:port'
        ) from error
    except OSError as error:
        raise RayError(f"no Ray cluster answers at {address}: {error}. {_REMEDY}") from error


def _own_node(address: str) -> dict[str, str]:
    """Go in through the head where it is on this machine: other nodes here may be lost."""
    host = address.rpartition(":")[0]
    if address.startswith(_CLIENT) or not host:
        return {}
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            found = socket.gethostbyname(host)
            probe.bind((found, 0))  # which works with an address of this machine alone
    except OSError:
        return {}
    return {"_node_ip_address": found}


def _keep_signals() -> None:
    """Take back the signals by which a search is stopped: Ray's library has handlers of its own for them."""
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.getsignal(number))


def _be_quiet() -> None:
    """Have Ray say what befalls nodes to the log: standard output is for results."""
    from ray._private import worker

    logging.getLogger("ray").setLevel(logging.ERROR)
    if hasattr(worker, "print_to_stdstream"):
        worker.print_to_stdstream = lambda data, **_: _log.debug("Ray: %s", "\n".join(data["lines"]))
