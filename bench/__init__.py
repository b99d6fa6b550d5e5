"""Benchmarks: programs that measure a running Parley, never timed tests."""
