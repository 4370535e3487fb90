"""Benchmarks that pytest runs, a file a suite; :mod:`bench.conftest` has their options."""
