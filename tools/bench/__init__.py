"""Measures the app beside the other ways to run a model: `python -m tools.bench`, or `make bench`.

    __main__ --> measure --commands as JSON lines--> one process for each contender
                    `--> samples --> figures --> table, JSON file

torch keeps one pool of OpenMP threads for every living thread that has called it, and two pools
fight for the cores. So each contender has a process of its own, which waits on its pipe while
another one computes, and the process that asks never imports torch. The models have real shapes and
random weights: speed does not depend on weights. Nothing here is imported by the app.
"""
