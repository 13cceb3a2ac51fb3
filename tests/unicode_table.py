#!/usr/bin/env python3
"""Makes the tables of Unicode in section >>bpe of forkreason.h.

    python3 tests/unicode_table.py            prints the table of classes
    python3 tests/unicode_table.py --nfc      prints those of normal form C; asks Hugging Face's library (pip install tokenizers)
    python3 tests/unicode_table.py --sums     prints what normal_form() in tests/test_bpe.c expects, from the same library
    python3 tests/unicode_table.py --check    compares them with those in forkreason.h; of NFC's only if the library is there

Classes: input are the ranges of \\p{L}, \\p{N} and \\s of Oniguruma (Unicode 16.0) in tests/data/tokenizer/unicode.
From U+0080 on, each run of characters of one class is a number, 4 * length + class: 0 other, 1 letter, 2 number, 3 white
space; longer ones than 960 are cut, and length 0 is all that is left. A number is two digits of base 62, printable and
without the backslash; every BLOCK runs have their first code point in a table to search. ASCII has a table of its own.

Normal form C: the decompositions, the order of marks and what composes are what the library does with every character and
every pair, for its Unicode is of another version than any Python's. See forkreason.h for what the numbers mean.
"""
import os, sys

BLOCK = 16
here = os.path.dirname(os.path.abspath(__file__))

def digits(value, count):
    """A number in base 62."""
    assert 0 <= value < 62 ** count, value
    return "".join(chr(64 + d + (d >= 28)) for d in (value // 62 ** i % 62 for i in range(count - 1, -1, -1)))

def rows(items, first, last):
    text, line = "", " "
    for i in items:
        if len(line) + len(str(i)) + 2 > 130:
            text += line + "\n"
            line = " "
        line += " %s," % i
    return first + text + line.rstrip(",") + last

def classes_text():
    classes = bytearray(0x110000)
    for value, name in ((1, "onig_L.txt"), (2, "onig_N.txt"), (3, "onig_S.txt")):
        for line in open(os.path.join(here, "data/tokenizer/unicode", name)):
            first, last = (int(x, 16) for x in line.split(".."))
            assert not any(classes[first:last + 1]), line
            classes[first:last + 1] = bytes([value]) * (last + 1 - first)

    end = max(c for c in range(0x110000) if classes[c]) + 1
    starts, runs, numbers, at = [], 0, "", 0x80
    while at <= end:
        length = 0
        if at < end:
            while length < 960 and at + length < end and classes[at + length] == classes[at]: length += 1
        if runs % BLOCK == 0: starts.append(at)
        number = 4 * length + (classes[at] if length else 0)
        numbers += digits(number, 2)
        runs += 1
        at += length or 1

    text = "static const unsigned char fr__ascii[128] = {\n"
    for row in range(4):
        text += "  " + ", ".join(str(classes[c]) for c in range(32 * row, 32 * row + 32)) + (",\n" if row < 3 else "\n};\n")
    text += rows(starts, "static const uint32_t fr__class_starts[%d] = {\n" % len(starts), "\n};\n")
    text += "static const char fr__class_stretches[] =\n"
    text += "\n".join('  "%s"' % numbers[i:i + 124] for i in range(0, len(numbers), 124)) + ";\n"
    assert len(numbers) < 4095  # what C99 promises of a string
    return text

# ---- normal form C
JOINS, FALLS, KINDS, ROW = 55, 56, 57, 42  # ROW: entries in a line
SINGLE, FAR, NEAR = 83968, 1792, 64        # see forkreason.h

def stretches(kind):
    """(first, length, kind) of neighbours of one kind."""
    out = []
    for c in sorted(kind):
        if out and out[-1][0] + out[-1][1] == c and out[-1][2] == kind[c] and out[-1][1] < 62 * 62 // KINDS - 1: out[-1][1] += 1
        else: out.append([c, 1, kind[c]])
    return out

def nfc_text():
    from functools import cmp_to_key
    from tokenizers import normalizers
    c_form, d_form = normalizers.NFC().normalize_str, normalizers.NFD().normalize_str
    every = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000 and not 0xAC00 <= c < 0xD7A4]
    whole = {c: d_form(chr(c)) for c in every}
    whole = {c: d for c, d in whole.items() if d != chr(c)}

    # Marks: those that change places with one of the lowest class behind, or of the highest in front of them.
    def behind(a, b): return d_form("a" + a + b) != "a" + a + b  # the class of a is above that of b
    marks = [chr(c) for c in every if c >= 0x80 and c not in whole and (behind(chr(c), "\u0338") or behind("\u0345", chr(c)))]
    marks.sort(key=cmp_to_key(lambda a, b: behind(a, b) - behind(b, a)))
    kind, rank = {}, 0
    for i, m in enumerate(marks):
        rank += i == 0 or behind(m, marks[i - 1])
        kind[ord(m)] = rank
    assert rank < JOINS

    # Decompositions in steps: one character, or the longest first part that is one, and the last character.
    by_whole = {}
    for c, d in whole.items(): by_whole.setdefault(d, c)
    step, composed = {}, {}
    for c, d in whole.items():
        n = c_form(chr(c))
        if n != chr(c) and len(n) == 1: step[c] = (ord(n), 0)
        elif len(d) == 1: step[c] = (ord(d), 0)
        else:
            first = c_form(d[:-1])
            step[c] = (ord(first) if len(first) == 1 else by_whole[d[:-1]], ord(d[-1]))
            if n == chr(c): composed[step[c]] = c
        assert len(n.encode()) <= 3 * len(chr(c).encode()) and 2 * len(d) <= 3 * len(chr(c).encode())
    for (first, second), c in composed.items(): assert c_form(chr(first) + chr(second)) == chr(c) and first not in kind
    for c in whole:
        if ord(d_form(chr(c))[0]) in kind and len(whole[c]) == 1: kind[c] = kind[ord(whole[c])]  # a mark like any other
        elif c_form(chr(c)) != chr(c): kind[c] = FALLS
    seconds = sorted({s for f, s in step.values() if s})
    for f, s in composed: kind.setdefault(s, JOINS)
    for c in (*range(0x1161, 0x1176), *range(0x11A8, 0x11C3)): kind[c] = JOINS
    assert min(kind) == 0x300 and not any(0x3100 <= c < 0xA66F or 0xAC00 <= c < 0xD7A4 for c in kind)

    # Entries, in stretches of code points; a hole of one has an entry, 0.
    runs, entries, last = "", [], -9
    def entry(c, first, second):
        v = first if first < 0xA000 else first - 0x16000
        if not second:
            assert 0 < v < SINGLE and (v >= 0xA000) == (first >= 0xA000)  # none is from 0xA000 to 0x1FFFF
            return digits(v, 3)
        v = c - first + NEAR if 0 <= c - first + NEAR < 256 else first + 256
        assert v < FAR
        return digits(SINGLE + FAR * seconds.index(second) + v, 3)
    for c in sorted(step):
        if c == last + 2: entries.append(digits(0, 3))
        elif c != last + 1: runs += digits(c, 3) + digits(len(entries), 2)
        entries.append(entry(c, *step[c]))
        last = c
    count = len(runs) // 5
    runs += digits(62 ** 3 - 1, 3) + digits(len(entries), 2)  # each table ends with a record that is never found
    table = ""
    for s in seconds:
        of = [c for (first, second), c in composed.items() if second == s] or [0]
        table += digits(s, 3) + digits(min(of), 3) + digits(max(of), 3)
        for c in step:  # no other one between them could be taken for it
            if step[c][1] == s and c not in of and min(of) <= c <= max(of): assert step[c][0] in kind, hex(c)
    kinds = "".join(digits(c, 3) + digits(KINDS * n + k, 2) for c, n, k in stretches(kind)) + digits(0, 5)
    table += digits(0, 9)
    def string(name, text):
        cut = "\n".join('  "%s"' % text[i:i + 126] for i in range(0, len(text), 126))
        assert len(text) < 4095
        return "static const char %s[] =\n%s;\n" % (name, cut)
    text = string("fr__nfc_kinds", kinds) + string("fr__nfc_runs", runs) + string("fr__nfc_seconds", table)
    text += "static const char fr__nfc_entries[][%d] = {\n" % (3 * ROW + 1)
    text += ",\n".join('  "%s"' % "".join(entries[i:i + ROW]) for i in range(0, len(entries), ROW)) + "\n};\n"
    sys.stderr.write("%d stretches of kinds, %d runs, %d entries, %d seconds\n" % (len(kinds) // 5, count, len(entries), len(seconds)))
    return text

def sums():
    """FNV-1a 64 over the normal forms of all characters, of all between a letter and a mark, and of mixtures (see the test)."""
    from tokenizers import normalizers
    form = normalizers.NFC().normalize_str
    every = [c for c in range(0x2FB00) if not 0xD800 <= c < 0xE000]  # none of what follows is changed
    ranges = [(0x41, 58), (0x300, 112), (0x591, 45), (0x900, 128), (0x980, 128), (0xB80, 128), (0xD00, 96), (0x1100, 19), (0x1161, 21),
              (0x11A7, 28), (0x1E00, 512), (0x3040, 96), (0xAC00, 11172), (0xF900, 512), (0x1D157, 110), (0x2F800, 542), (0x300, 112)]
    def mixture(k, state=[1]):
        text = ""
        for _ in range(1 + k % 9):
            draws = []
            for _ in range(2):
                state[0] = (state[0] * 6364136223846793005 + 1442695040888963407) % 2 ** 64
                draws.append(state[0] >> 33)
            first, count = ranges[draws[0] % len(ranges)]
            text += chr(first + draws[1] % count)
        return text
    for texts in ((chr(c) for c in every), ("a" + chr(c) + "\u0301" for c in every), (mixture(k) for k in range(100000))):
        h = 0xCBF29CE484222325
        for t in texts:
            for byte in form(t).encode(): h = (h ^ byte) * 0x100000001B3 & 2 ** 64 - 1
        print("0x%016X" % h)

def main():
    if "--sums" in sys.argv: return sums()
    if "--check" not in sys.argv: return sys.stdout.write(nfc_text() if "--nfc" in sys.argv else classes_text())
    header = open(os.path.join(here, "..", "forkreason.h"), encoding="utf-8").read()
    if classes_text() not in header: sys.exit("the table of classes in forkreason.h is not what this script makes")
    try:
        if nfc_text() not in header: sys.exit("the tables of normal form C in forkreason.h are not what this script makes")
        print("the tables in forkreason.h are what this script makes")
    except ImportError:
        print("the table of classes in forkreason.h is what this script makes; skipped: those of normal form C, no tokenizers library")

main()
