"""Compares ids of strings: ours with those of the library tokenizers and of llama.cpp.

    python3 tests/real/ids.py STRINGS OURS PEER...

Forms as reference.py writes them. The peers know other versions of Unicode; where they differ from each other we have to agree with
one of them. Exit status 1: we agree with none.
"""
import array
import struct
import sys


def lists(path):
    a, at, out = array.array("I", open(path, "rb").read()), 0, []
    while at < len(a):
        out.append(a[at + 1:at + 1 + a[at]])
        at += 1 + a[at]
    return out


data, at, texts = open(sys.argv[1], "rb").read(), 0, []
while at < len(data):
    (size,) = struct.unpack_from("<I", data, at)
    texts.append(data[at + 4:at + 4 + size].decode())
    at += 4 + size
ours, peers = lists(sys.argv[2]), [lists(path) for path in sys.argv[3:]]
assert peers and all(len(p) == len(texts) for p in [ours, *peers]), "another number of strings"
wrong = apart = 0
for k, text in enumerate(texts):
    agree = [p[k] == ours[k] for p in peers]
    if all(agree):
        continue
    apart, wrong = apart + any(agree), wrong + (not any(agree))
    if apart + wrong <= 10:
        print(f"{text[:60]!r}: {', '.join(path for path, same in zip(sys.argv[3:], agree) if not same)} differ from ours")
print(f"{len(texts)} strings, {sum(map(len, ours))} ids: {len(texts) - apart - wrong} equal, {apart} where the peers differ, {wrong} wrong")
sys.exit(wrong > 0)
