"""Programs for developers: benchmarks, long acceptance runs, generated documentation."""
