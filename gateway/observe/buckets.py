"""Histogram buckets: upper bounds, in the unit of the metric's name."""

# Dense at 45 to 125 s, where the proxies in front cut (60, 100, 125 s); an edit takes minutes.
LONG_SECONDS = (
    *(0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 15, 20, 30, 45, 60, 75, 90),
    *(120, 150, 180, 240, 300, 600),
)
BODY_BYTES = (1e3, 1e4, 1e5, 3e5, 1e6, 3e6, 1e7, 2e7, 3e7, 5e7)
OVERHEAD_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1)
CALL_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
DETECTION_LAG_SECONDS = (0.1, 0.25, 0.5, 1, 2, 3, 5, 7.5, 10, 15, 30)
POLLS = (1, 2, 3, 5, 8, 13, 21, 34, 55)
LOOP_LAG_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5)
