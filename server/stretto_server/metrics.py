"""What a node counts, under Prometheus names; ``GET /metrics`` tells it to this machine alone.

Counters belong to one node, not to the process: a test may run several nodes. No name
carries a document's or a user's id.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Final

from aiohttp import web
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

from stretto_server.settings import is_loopback

FORWARDED: Final = ("X-Forwarded-For", "Forwarded", "X-Real-IP", "Via")
"""What a proxy adds: then somebody else asks, whatever address the connection comes from."""


class Metrics:
    """The counters of one node; each is named as in Prometheus, without the prefix."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.history_divergence = self._counter(
            "history_divergence", "Histories found to differ from what the journal has."
        )
        self.gaps = self._counter("gaps", "Entries of other nodes that were missed.", "source")
        self.journal_conflicts = self._counter(
            "journal_conflicts", "Batches that lost a race against another node."
        )
        self.bus_connected = Gauge(
            "stretto_bus_connected", "Whether other nodes can be heard.", registry=self.registry
        )
        self.bus_reconnects = self._counter("bus_reconnects", "Lost connections to the bus.")
        self.bus_publish_failures = self._counter(
            "bus_publish_failures", "Messages that other nodes were not sent."
        )
        self.bus_probe_timeouts = self._counter(
            "bus_probe_timeouts", "Subscriptions found to be deaf."
        )
        self.bus_garbage = self._counter("bus_garbage", "Messages on the bus that are none.")
        self.rate_limited = self._counter(
            "rate_limited", "Requests refused by a rate limit.", "scope"
        )

    def add_route(self, app: web.Application) -> None:
        """Serve ``GET /metrics`` to who connects from this machine and asks for itself."""
        app.router.add_get("/metrics", self._answer)

    async def _answer(self, request: web.Request) -> web.Response:
        forwarded = any(name in request.headers for name in FORWARDED)
        if forwarded or not is_loopback(request.remote or ""):
            raise web.HTTPNotFound
        text = generate_latest(self.registry)
        return web.Response(body=text, headers={"Content-Type": CONTENT_TYPE_LATEST})

    def watch(self, name: str, text: str, read: Callable[[], float]) -> None:
        """Tell what ``read`` returns whenever somebody asks."""
        Gauge(f"stretto_{name}", text, registry=self.registry).set_function(read)

    def watch_counts(
        self, name: str, text: str, label: str, read: Callable[[], Mapping[str, int]]
    ) -> None:
        """Tell the counters that ``read`` returns whenever somebody asks, each under its label."""
        self.registry.register(_Counts(f"stretto_{name}", text, label, read))

    def limited(self, scope: str) -> None:
        """Count a request refused by a rate limit of this ``node``, or of the ``cluster``."""
        self.rate_limited.labels(scope).inc()

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"stretto_{name}", text, labels, registry=self.registry)


class _Counts(Collector):
    """Counters that somebody else counts."""

    def __init__(
        self, name: str, text: str, label: str, read: Callable[[], Mapping[str, int]]
    ) -> None:
        self._name, self._text, self._label, self._read = name, text, label, read

    def collect(self) -> Iterator[CounterMetricFamily]:
        """Give the counters as they are now."""
        family = CounterMetricFamily(self._name, self._text, labels=[self._label])
        for label, count in self._read().items():
            family.add_metric([label], count)
        yield family
