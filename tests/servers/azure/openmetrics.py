"""The OpenMetrics on standard input as JSON on standard output; or, where it is none, why and exit code 1.

The parser is that of Prometheus' own client library for Python.
"""

import json
import sys

from prometheus_client.openmetrics.parser import text_string_to_metric_families

try:
    families = list(text_string_to_metric_families(sys.stdin.read()))
except ValueError as error:
    sys.exit(f"{type(error).__name__}: {error}")
print(
    json.dumps(
        [
            {
                "name": family.name,
                "type": family.type,
                "unit": family.unit,
                "help": family.documentation,
                "samples": [
                    {"name": sample.name, "labels": sample.labels, "value": sample.value} for sample in family.samples
                ],
            }
            for family in families
        ]
    )
)
