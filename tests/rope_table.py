#!/usr/bin/env python3
"""Writes tests/data/rope_llama3.txt: rotary angles with llama3 scaling, in float64.

    python3 tests/rope_table.py > tests/data/rope_llama3.txt

The rule, as published with Llama 3.1: a pair of channels turns once every `wave` tokens. Waves shorter than
original/high keep their frequency, those longer than original/low turn `factor` times more slowly, and in between the two
are mixed by s = (original/wave - low) / (high - low).

    config THETA HEAD_DIM FACTOR LOW HIGH ORIGINAL      opens a block; FACTOR 0: no scaling
    pair J FREQUENCY                                    for J = 0 .. HEAD_DIM/2 - 1
    turn POSITION J COSINE SINE
"""
import math

CONFIGS = [  # theta, head_dim, factor, low, high, original
    (500000.0, 128, 8.0, 1.0, 4.0, 8192),    # Llama 3.1
    (500000.0, 64, 32.0, 1.0, 4.0, 8192),    # Llama 3.2 1B
    (10000.0, 16, 4.0, 2.0, 8.0, 64),
    (10000.0, 8, 0.0, 1.0, 4.0, 8192),
]
POSITIONS = [0, 1, 2, 63, 1000, 8191, 40000]

for theta, dim, factor, low, high, original in CONFIGS:
    print(f"config {theta:.17g} {dim} {factor:.17g} {low:.17g} {high:.17g} {original}")
    for j in range(dim // 2):
        frequency = theta ** (-2.0 * j / dim)
        wave = 2.0 * math.pi / frequency
        if factor and wave > original / low:
            frequency /= factor
        elif factor and wave >= original / high:
            s = (original / wave - low) / (high - low)
            frequency = (1.0 - s) * frequency / factor + s * frequency
        print(f"pair {j} {frequency:.17g}")
        if j % 5 == 0:
            for position in POSITIONS:
                print(f"turn {position} {j} {math.cos(position * frequency):.17g} {math.sin(position * frequency):.17g}")
