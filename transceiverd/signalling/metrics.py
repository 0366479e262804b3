"""`/metrics` in the Prometheus text format, from `router.Metric` values.

The library keeps no state here: each scrape asks the router, hands the values to a collector of its own and throws it
away. Names and labels come from our own code, never from a peer.
"""

from collections import Counter
from collections.abc import Iterable, Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector, CollectorRegistry

from transceiverd.signalling.router import Metric, Sample

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4


class _Values(Collector):
    """What one scrape shows."""

    def __init__(self, metrics: Iterable[Metric]) -> None:
        self._metrics = list(metrics)

    def collect(self) -> Iterator[Family]:
        for metric in self._metrics:
            labels = sorted({name for sample in metric.samples for name in sample.labels})
            make = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
            family = make(metric.name, metric.help, labels=labels)
            for sample in metric.samples:
                family.add_metric([sample.labels.get(name, "") for name in labels], sample.value)
            yield family


def exposition(metrics: Iterable[Metric]) -> bytes:
    """The text of one scrape."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Values(metrics))
    return generate_latest(registry)


def from_counter(name: str, help_text: str, label: str, counter: Counter[str]) -> Metric:
    """A counter family with one label out of a Counter."""
    samples = [Sample({label: key}, float(value)) for key, value in sorted(counter.items())]
    return Metric(name, "counter", help_text, samples)
