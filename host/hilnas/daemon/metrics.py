"""What Prometheus reads of a daemon."""

import time
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Histogram, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from hilnas import __version__

if TYPE_CHECKING:
    from hilnas.daemon.searches import Searches
    from hilnas.daemon.tunnels import Tunnels
    from hilnas.farm import Farm

_WAITS_S = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5, 30, 120, 600)


class Metrics(Collector):
    """Reads farm and searches when it is asked; only how long jobs waited is counted as it happens."""

    def __init__(self, farm: "Farm", searches: "Searches", tunnels: "Tunnels | None" = None) -> None:
        self._farm, self._searches, self._tunnels = farm, searches, tunnels
        self.registry = CollectorRegistry()
        self.registry.register(self)
        waited = Histogram(
            "hilnas_job_wait_seconds",
            "Time that jobs waited for a device.",
            registry=self.registry,
            buckets=_WAITS_S,
        )
        farm.leases.on_given = waited.observe

    def serve(self, address: str) -> None:
        """Listen. OSError when the address is taken."""
        host, _, port = address.rpartition(":")
        start_http_server(int(port), host.strip("[]"), self.registry)

    def collect(self) -> Iterator[Metric]:
        """Return the figures of now. Called by another thread: only whole copies are looked at."""
        info = GaugeMetricFamily("hilnas_info", "Version of the daemon, as a label.", labels=["version"])
        info.add_metric([__version__], 1)
        yield info
        yield from self._of_devices()
        jobs = list(self._farm.jobs.values())
        running = sum(bool(job.device) for job in jobs)
        yield GaugeMetricFamily("hilnas_jobs_running", "Jobs that a device has.", value=running)
        yield GaugeMetricFamily(
            "hilnas_jobs_waiting", "Jobs that wait for a device.", value=len(jobs) - running
        )
        yield from self._counted()
        searches = GaugeMetricFamily("hilnas_searches", "Searches by status.", labels=["status"])
        for status, count in Counter(str(s.submission.status) for s in self._searches.all()).items():
            searches.add_metric([status], count)
        yield searches
        up = GaugeMetricFamily(
            "hilnas_tunnel_up", "Whether the tunnel to a board is up.", labels=["board", "via"]
        )
        for held in self._tunnels.all() if self._tunnels is not None else ():
            up.add_metric([held.kept.board, held.kept.via], held.tunnel.is_up)
        yield up

    def _of_devices(self) -> Iterator[Metric]:
        by_state = GaugeMetricFamily(
            "hilnas_devices", "Devices by class and state.", labels=["device_class", "state"]
        )
        busy = CounterMetricFamily(
            "hilnas_device_busy_seconds", "Time that a device ran jobs.", labels=["device"]
        )
        resident = GaugeMetricFamily("hilnas_agent_resident_bytes", "Memory of an agent.", labels=["device"])
        silent = GaugeMetricFamily(
            "hilnas_device_silent_seconds", "Time since a device's last sign of life.", labels=["device"]
        )
        counts: Counter[tuple[str, str]] = Counter()
        for name, device in list(self._farm.devices.items()):
            counts[device.facts.device_class, str(device.state)] += 1
            busy.add_metric([name], device.busy_ms / 1000)
            resident.add_metric([name], device.resident_kib * 1024)
            session = device.session
            if session is not None:
                silent.add_metric([name], time.monotonic() - session.last_seen)
        for labels, count in counts.items():
            by_state.add_metric(list(labels), count)
        yield from (by_state, busy, resident, silent)

    def _counted(self) -> Iterator[Metric]:
        done = CounterMetricFamily("hilnas_jobs", "Jobs that ended, by verdict.", labels=["verdict"])
        faults = CounterMetricFamily(
            "hilnas_device_faults", "Faults of a device or its link.", labels=["device"]
        )
        for (kind, detail), count in list(self._farm.counts.items()):
            if kind == "jobs":
                done.add_metric([detail], count)
            elif kind == "faults":
                faults.add_metric([detail], count)
        yield from (done, faults)
