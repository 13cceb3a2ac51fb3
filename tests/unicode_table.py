#!/usr/bin/env python3
"""Makes the table of character classes in section >>bpe of forkreason.h.

    python3 tests/unicode_table.py            prints the table
    python3 tests/unicode_table.py --check    compares it with the one in forkreason.h

Input: the ranges of \\p{L}, \\p{N} and \\s of Oniguruma (Unicode 16.0) in tests/data/tokenizer/unicode.
From U+0080 on, each run of characters of one class is a number, 4 * length + class: 0 other, 1 letter, 2 number, 3 white
space; longer ones than 960 are cut, and length 0 is all that is left. A number is two digits of base 62, printable and
without the backslash; every BLOCK runs have their first code point in a table to search. ASCII has a table of its own.
"""
import os, sys

BLOCK = 16
here = os.path.dirname(os.path.abspath(__file__))
classes = bytearray(0x110000)
for value, name in ((1, "onig_L.txt"), (2, "onig_N.txt"), (3, "onig_S.txt")):
    for line in open(os.path.join(here, "data/tokenizer/unicode", name)):
        first, last = (int(x, 16) for x in line.split(".."))
        assert not any(classes[first:last + 1]), line
        classes[first:last + 1] = bytes([value]) * (last + 1 - first)

end = max(c for c in range(0x110000) if classes[c]) + 1
starts, runs, digits, at = [], 0, "", 0x80
while at <= end:
    length = 0
    if at < end:
        while length < 960 and at + length < end and classes[at + length] == classes[at]: length += 1
    if runs % BLOCK == 0: starts.append(at)
    number = 4 * length + (classes[at] if length else 0)
    digits += "".join(chr(64 + d + (d >= 28)) for d in divmod(number, 62))
    runs += 1
    at += length or 1

def rows(items, first, last):
    text, line = "", " "
    for i in items:
        if len(line) + len(str(i)) + 2 > 130:
            text += line + "\n"
            line = " "
        line += " %s," % i
    return first + text + line.rstrip(",") + last

text = "static const unsigned char fr__ascii[128] = {\n"
for row in range(4):
    text += "  " + ", ".join(str(classes[c]) for c in range(32 * row, 32 * row + 32)) + (",\n" if row < 3 else "\n};\n")
text += rows(starts, "static const uint32_t fr__class_starts[%d] = {\n" % len(starts), "\n};\n")
text += "static const char fr__class_stretches[] =\n"
text += "\n".join('  "%s"' % digits[i:i + 124] for i in range(0, len(digits), 124)) + ";\n"
assert len(digits) < 4095  # what C99 promises of a string

if "--check" in sys.argv:
    header = open(os.path.join(here, "..", "forkreason.h"), encoding="utf-8").read()
    if text not in header:
        sys.exit("the table in forkreason.h is not what this script makes")
    print("the table in forkreason.h is what this script makes: %d runs" % runs)
else:
    sys.stdout.write(text)
