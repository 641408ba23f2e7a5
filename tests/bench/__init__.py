"""Benchmarks: `python -m tests.bench.NAME --json`. What they said last stands in docs/benchmarks.md."""
