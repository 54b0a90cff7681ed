"""What measures ulna's speed and memory; `python -m benchmarks` prints the tables."""
