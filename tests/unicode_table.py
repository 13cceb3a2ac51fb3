#!/usr/bin/env python3
"""Makes the table of character classes in section >>bpe of forkreason.h.

    python3 tests/unicode_table.py            prints the table
    python3 tests/unicode_table.py --check    compares it with the one in forkreason.h

Input: the ranges of \\p{L}, \\p{N} and \\s of Oniguruma (Unicode 16.0) in tests/data/tokenizer/unicode.
Each number is 4 * code point + class, and the class holds up to the next entry: 0 other, 1 letter, 2 number,
3 white space. ASCII has a table of its own.
"""
import os, sys

here = os.path.dirname(os.path.abspath(__file__))
classes = bytearray(0x110000)
for value, name in ((1, "onig_L.txt"), (2, "onig_N.txt"), (3, "onig_S.txt")):
    for line in open(os.path.join(here, "data/tokenizer/unicode", name)):
        first, last = (int(x, 16) for x in line.split(".."))
        assert not any(classes[first:last + 1]), line
        classes[first:last + 1] = bytes([value]) * (last + 1 - first)

entries = [4 * c + classes[c] for c in range(0x80, 0x110000) if c == 0x80 or classes[c] != classes[c - 1]]
text = "static const uint32_t fr__classes[%d] = {\n" % len(entries)
line = " "
for e in entries:
    if len(line) + len(str(e)) + 2 > 118:
        text += line + "\n"
        line = " "
    line += " %d," % e
text += line.rstrip(",") + "\n};\n"
ascii_ = "static const unsigned char fr__ascii[128] = {\n"
for row in range(4):
    ascii_ += "  " + ", ".join(str(classes[c]) for c in range(32 * row, 32 * row + 32)) + (",\n" if row < 3 else "\n")
text = ascii_ + "};\n" + text

if "--check" in sys.argv:
    header = open(os.path.join(here, "..", "forkreason.h"), encoding="utf-8").read()
    if text not in header:
        sys.exit("the table in forkreason.h is not what this script makes")
    print("the table in forkreason.h is what this script makes: %d entries" % len(entries))
else:
    sys.stdout.write(text)
