# peer_scipy.py - the matchings of assign.c by scipy's linear_sum_assignment; assign.c runs it and reads its lines.
import time

import numpy as np
import scipy
from scipy.optimize import linear_sum_assignment

LARGE, ROWS, COLS, COUNT = 1000, 4, 6, 1000


def uniform(i):
    """bench_uniform of bench.h"""
    z = (i.astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return ((z ^ (z >> np.uint64(31))) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def best_of(work, seconds=1.0):
    """After one call to warm up, two calls at least."""
    work()
    best, count, began = float("inf"), 0, time.perf_counter()
    while count < 2 or time.perf_counter() - began < seconds:
        start = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - start)
        count += 1
    return best


index = np.arange(LARGE)
random = uniform(np.arange(LARGE * LARGE)).reshape(LARGE, LARGE)
points = uniform(np.arange(4 * LARGE)).reshape(2, LARGE, 2)
x = points[0, :, None, 0] - points[1, None, :, 0]
y = points[0, :, None, 1] - points[1, None, :, 1]
families = {
    "uniform": random,
    "ties": np.floor(100.0 * random),
    "points": x * x + y * y,
    "products": np.outer(index + 1.0, index + 1.0),
}

print("version scipy", scipy.__version__, "with numpy", np.__version__)
for name, cost in families.items():
    rows, cols = linear_sum_assignment(cost)
    print(name + "_total", cost[rows, cols].sum())
    print(name, best_of(lambda: linear_sum_assignment(cost)))

small = list(uniform(np.arange(COUNT * ROWS * COLS)).reshape(COUNT, ROWS, COLS))


def all_small():
    for cost in small:
        linear_sum_assignment(cost)


print("small_total", sum(cost[linear_sum_assignment(cost)].sum() for cost in small))
print("small", best_of(all_small) / COUNT)
