"""Real engines, a booted node and a sample payload, for the tests, the benchmarks and the demo."""
