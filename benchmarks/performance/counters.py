"""What a predictor's page of metrics says, added up over its workers."""

from __future__ import annotations

from dataclasses import dataclass

import httpx
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample


@dataclass(frozen=True, slots=True)
class Counters:
    """One look at the page."""

    samples: tuple[Sample, ...]

    def total(self, name: str, **labels: str) -> float:
        """The sum of all samples of that name with these labels; 0 where there are none."""
        wanted = labels.items()
        return float(
            sum(
                one.value
                for one in self.samples
                if one.name == name and wanted <= one.labels.items()
            )
        )


def read_counters(url: str) -> Counters:
    """Look at the page of the predictor at `url`.

    Raises:
        httpx.HTTPError: it does not answer.
    """
    return counters_of(httpx.get(f"{url}/metrics", timeout=10.0).raise_for_status().text)


def counters_of(page: str) -> Counters:
    """Read a page in Prometheus's text format."""
    families = text_string_to_metric_families(page)
    return Counters(tuple(sample for family in families for sample in family.samples))
