"""CloudWatch Logs: filter patterns, the events on disk and in memory, and metrics made of them."""
