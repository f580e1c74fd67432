"""What tests/benchmark.py times: one file for each kind of work."""
