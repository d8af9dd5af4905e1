"""Executes compiled plans of KV-cache I/O: nothing is decided here while the clock runs."""
