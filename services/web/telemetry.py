"""Counters and durations of HTTP, labelled by route templates: never by ids, names or raw paths."""

from prometheus_client import Counter, Histogram

REQUESTS = Counter(
    "turnsheet_http_requests_total",
    "Requests answered, by route template and status.",
    ["service", "method", "route", "status"],
)
REQUEST_SECONDS = Histogram(
    "turnsheet_http_request_seconds",
    "Seconds from a whole header to the answer.",
    ["service", "method", "route"],
    buckets=(0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20),
)
