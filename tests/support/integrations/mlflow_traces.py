"""Print the traces of an MLflow server as JSON: ``python mlflow_traces.py ADDRESS``."""

import json
import sys

import mlflow


def main() -> None:
    mlflow.set_tracking_uri(sys.argv[1])
    traces = mlflow.search_traces(locations=["0"], return_type="list")
    rows = [
        {
            "trace": trace.info.trace_id,
            "tokens": trace.info.token_usage,
            "spans": [
                {
                    "id": span.span_id,
                    "parent": span.parent_id,
                    "name": span.name,
                    "kind": span.span_type,
                    "start": span.start_time_ns,
                    "end": span.end_time_ns,
                    "attributes": {name: value for name, value in span.attributes.items() if "." in name},
                }
                for span in trace.data.spans
            ],
        }
        for trace in traces
    ]
    json.dump(rows, sys.stdout)


if __name__ == "__main__":
    main()
