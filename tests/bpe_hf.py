#!/usr/bin/env python3
"""Compares ids with those of Hugging Face's tokenizers, for every split, on the small vocabularies of tests/data/tokenizer/tiny.

    pip install tokenizers==0.23.3
    python3 tests/bpe_hf.py build/bpe_ids WORKDIR [RANDOM_STRINGS]
    python3 tests/bpe_hf.py --smollm      prints tests/data/tokenizer/tiny_smollmstyle.special.ids

Random strings of odd spaces, digits, half signs, Han characters, Hangul, marks in any order and special tokens; then all of them
again from the tokenizer.json that we write, read by that library. Exit status 1 on any difference. Thirteen characters are left
out that Unicode 17 has made numbers: Digits is of that version there, and ours, as the other rules, of Unicode 16.
"""
import json, os, random, struct, subprocess, sys
from tokenizers import Tokenizer

data = os.path.join(os.path.dirname(os.path.abspath(__file__)), "data/tokenizer")
byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}

def source(name):
    """The tokenizer.json of a style, as an object."""
    base = {"smollm": "gpt2", "none": "gpt2"}.get(name, name)
    j = json.load(open(os.path.join(data, "tiny/%sstyle/tokenizer.json" % base), encoding="utf-8"))
    if name == "smollm":
        j["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [{"type": "Digits", "individual_digits": True}, byte_level]}
    if name == "none":
        j["pre_tokenizer"] = dict(byte_level, use_regex=False)
    return j

def library(j):
    t = Tokenizer.from_str(json.dumps(j))
    return lambda strings: [e.ids for e in t.encode_batch(strings, add_special_tokens=False)]

newer = set(range(0x11DE0, 0x11DEA)) | set(range(0x16FF4, 0x16FF7))
blanks = "     \n\n\r\t\v\f\u0085\u00a0\u1680\u2003\u2028\u2029\u202f\u205f\u3000\ufeff\u200b"
words = ["the", " The", "and", "'s", "'S", "'ll", "'RE", "'\u017f", "don't", "123", "4567", " 8", "<think1>", "<|endoftext|>",
         "<|im_start|>", "</think2>", "<think", "...", "://", "caf\u00e9", "cafe\u0301", "\u00bd", "\u2160", "\u0663\u0664", "\u2460"]
ranges = [(0x300, 112), (0x900, 128), (0x590, 112), (0xAC00, 11172), (0x1100, 256), (0x2100, 112), (0x2460, 112), (0x3040, 192),
          (0x1D400, 112), (0x1F300, 112), (0xE0020, 96), (0x10400, 112), (0x1E00, 512), (0xF900, 512), (0x2F800, 542), (0x1DC0, 64),
          (0x0F40, 128), (0x1D15E, 112), (0xA66F, 16), (0x4E00, 20992)]

def character(r):
    k = r.randrange(13)
    if k < 3: return chr(97 + r.randrange(26))
    if k == 3: return chr(32 + r.randrange(95))
    if k == 4: return r.choice(blanks)
    if k == 5: return r.choice(words)
    if k == 6: return chr(0x80 + r.randrange(0x780))
    if k == 7: return chr(48 + r.randrange(10))
    if k == 8: return chr(0x300 + r.randrange(112)) * (1 + r.randrange(2))
    if k < 12:
        first, count = r.choice(ranges)
        return chr(first + r.randrange(count))
    while True:
        c = r.randrange(0x10000) if r.randrange(4) else r.randrange(0x110000)
        if not 0xD800 <= c < 0xE000 and c not in newer: return chr(c)

def strings(count, seed=1):
    r = random.Random(seed)
    return ["".join(character(r) for _ in range(1 + r.randrange(24))) for _ in range(count)]

def vectors():
    corpus, out = open(os.path.join(data, "corpus.bin"), "rb").read(), []
    for line in open(os.path.join(data, "corpus.idx"), encoding="utf-8"):
        _, name, at, count = line.split()
        text = corpus[int(at):int(at) + int(count)]
        if name in ("run_a_100k", "run_space_100k"): text = (b"a" if name[4] == "a" else b" ") * 100000
        out.append(text.decode("utf-8"))
    return out

def ours(program, work, arguments, texts):
    """Ids, and what comes back of the text."""
    with open(work + "/in", "wb") as f:
        for t in texts: f.write(struct.pack("<I", len(t.encode())) + t.encode())
    subprocess.run([program, *arguments, "--match", work + "/in", work + "/out"], check=True, stdout=subprocess.DEVNULL)
    out, at, ids = open(work + "/out", "rb").read(), 0, []
    while at < len(out):
        count = struct.unpack_from("<I", out, at)[0]
        ids.append(list(struct.unpack_from("<%dI" % count, out, at + 4)))
        at += 4 + 4 * count
    return ids

def compare(what, one, other, texts):
    wrong = [i for i in range(len(texts)) if one[i] != other[i]]
    print("%s: %d of %d equal" % (what, len(texts) - len(wrong), len(texts)))
    for i in wrong[:5]: print("  %r\n    %r\n    %r" % (texts[i], one[i], other[i]))
    return len(wrong)

def smollm():
    texts = vectors()
    plain, ids = library(source("gpt2"))(texts), library(source("smollm"))(texts)
    print("# ids of tiny_gpt2style.special.ids where Digits goes before ByteLevel, of strings that then have others")
    for k in range(len(texts)):
        if ids[k] == plain[k]: continue
        runs = []
        for i in ids[k]:
            if runs and runs[-1][0] == i: runs[-1][1] += 1
            else: runs.append([i, 1])
        print(k, len(ids[k]), "1/1", *("%dx%d" % (i, n) if n > 1 else i for i, n in runs))

def main():
    if sys.argv[1:] == ["--smollm"]: return smollm()
    program, work = sys.argv[1:3]
    texts = strings(int(sys.argv[3]) if len(sys.argv) > 3 else 20000)
    os.makedirs(work, exist_ok=True)
    wrong = 0
    for name in ("none", "gpt2", "llama3", "qwen", "smollm"):
        path, saved, j = work + "/source.json", work + "/saved.json", source(name)
        json.dump(j, open(path, "w", encoding="utf-8"))
        ids = ours(program, work, ["--tokenizer", path], texts)
        wrong += compare(name, ids, library(j)(texts), texts)
        subprocess.run([program, "--tokenizer", path, "--forks", "9", "--save", "json", saved], check=True, stdout=subprocess.DEVNULL)
        ids = ours(program, work, ["--tokenizer", path, "--forks", "9"], texts)
        written = json.load(open(saved, encoding="utf-8"))["added_tokens"]
        if not all(t in written for t in j["added_tokens"]) or any(t["special"] for t in written if t["content"] == "<think9>"):
            wrong += 1
            print(name + ": added tokens have other flags")
        wrong += compare(name + ", as we write it", ids, library(json.load(open(saved, encoding="utf-8")))(texts), texts)
    sys.exit(wrong > 0)

main()
