"""What a node counts, under Prometheus names; ``GET /metrics`` tells it to this machine alone.

Counters belong to one node, not to the process: a test may run several nodes. No name
carries a document's or a user's id.
"""

from prometheus_client import CollectorRegistry, Counter, Gauge


class Metrics:
    """The counters of one node; each is named as in Prometheus, without the prefix."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
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

    def limited(self, scope: str) -> None:
        """Count a request refused by a rate limit of this ``node``, or of the ``cluster``."""
        self.rate_limited.labels(scope).inc()

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"stretto_{name}", text, labels, registry=self.registry)
