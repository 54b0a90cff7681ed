"""Speed and memory of ulna; `python -m benchmarks` prints the tables of results/speed.md."""
