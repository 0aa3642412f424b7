"""relay against the plain script that people write: ``python -m tools.bench``.

Each scenario runs both in turn, several times, over the same engine and into the same sink, which
are processes of their own: what is measured is the CPU, the memory and the time of one process,
and what is printed are ratios of one run on one machine. See ``docs/performance.md``.
"""
