"""What transformers makes of the real model, for tests/real/real.c to be compared with:

    build/real/venv/bin/python tests/real/reference.py        two minutes or so; nothing to do while its inputs stay the same

  build/real/f32/, bf16/   the model of model.gguf as folders that transformers wrote, float32 and rounded to bfloat16
  build/real/reference     .idx and .bin, the form of tests/store.h:
    page [T]; context      the beginning of README's chapter on the idea, as ids; its first ids
    rows [R]               rows of the context of which logits are kept
    prompt0 .. prompt4     ids; greedy text follows them
    F/logits [R,V], F/loss F = f32 or bf16: float32 arithmetic on the weights of that folder; mean loss of the page's next tokens
    F/text0 [100], F/gap0  .. 4: its greedy text; how far the first logit was ahead of the second at each step
  build/real/strings       u32 length and bytes of each: random strings, then the files of this repository that are text
  build/real/hf.ids        their ids by the library tokenizers, u32 count and u32 ids of each

transformers reads the GGUF's tokenizer but loses that digits stand alone (Sequence[Digits, ByteLevel]); it is put back, and
llama.cpp has to agree (tests/real/llama.mjs). It does not save what it read from a GGUF either: a model of the same
configuration takes the weights and is saved.
"""
import array
import hashlib
import json
import os
import random
import struct
import subprocess
import sys

os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_VERBOSITY="error", TOKENIZERS_PARALLELISM="false")
import torch  # noqa: E402
import transformers  # noqa: E402

HOME = "build/real"
PAGE, CONTEXT, TEXT, STRINGS = 512, 200, 100, 100000
PROMPTS = [
    "Once upon a time",
    "The three states of matter are",
    "Dear Sir or Madam,\n\nI am writing to you because",
    "def fibonacci(n):\n",
    "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"
    "<|im_start|>user\nTom has 3 boxes of 12 apples and eats 5 apples. How many are left?<|im_end|>\n<|im_start|>assistant\n",
]


def folders():
    """The model as transformers reads it, saved twice."""
    read = transformers.AutoModelForCausalLM.from_pretrained(HOME, gguf_file="model.gguf", dtype=torch.float32)
    config = read.config.to_dict()
    config.pop("quantization_config", None)
    model = type(read)(type(read.config).from_dict(config))
    model.load_state_dict(read.state_dict())
    tokenizer = transformers.AutoTokenizer.from_pretrained(HOME, gguf_file="model.gguf")
    for name, dtype in ("f32", torch.float32), ("bf16", torch.bfloat16):
        model.to(dtype).save_pretrained(f"{HOME}/{name}")
        tokenizer.save_pretrained(f"{HOME}/{name}")
        path = f"{HOME}/{name}/tokenizer.json"
        with open(path, encoding="utf-8") as file:
            mended = json.load(file)
        byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
        mended["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [{"type": "Digits", "individual_digits": True}, byte_level]}
        with open(path, "w", encoding="utf-8") as file:
            json.dump(mended, file, ensure_ascii=False)


def load(folder):
    """Its weights, widened to float32."""
    return transformers.AutoModelForCausalLM.from_pretrained(folder, dtype="auto").float().eval()


def tokenizer_of(folder):
    import tokenizers
    return tokenizers.Tokenizer.from_file(folder + "/tokenizer.json")


@torch.no_grad()
def logits_of(model, ids):
    return model(torch.tensor([ids])).logits[0]


def loss_of(model, ids):
    return torch.nn.functional.cross_entropy(logits_of(model, ids)[:-1].double(), torch.tensor(ids[1:])).item()


@torch.no_grad()
def greedy_of(model, ids, count):
    """The ids that follow, and how far the first logit was ahead of the second."""
    text, gaps, past, step = [], [], None, torch.tensor([ids])
    while len(text) < count:
        out = model(step, past_key_values=past, use_cache=True)
        first, second = out.logits[0, -1].topk(2).values.tolist()
        text.append(int(out.logits[0, -1].argmax()))
        gaps.append(first - second)
        past, step = out.past_key_values, torch.tensor([text[-1:]])
    return text, gaps


class Store:
    def __init__(self):
        self.lines, self.bytes = [], b""

    def scalar(self, name, value):
        self.lines.append(f"scalar {name} {value!r}")

    def array(self, name, kind, values, *shape):
        shape = shape or (len(values),)
        self.lines.append(" ".join(["array", name, {"f": "f32", "i": "i32"}[kind], str(len(shape)), *map(str, shape), str(len(self.bytes))]))
        self.bytes += array.array(kind, values).tobytes()
        self.bytes += bytes(-len(self.bytes) % 8)

    def save(self, path):
        with open(path + ".bin", "wb") as file:
            file.write(self.bytes)
        with open(path + ".idx", "w") as file:
            file.write("\n".join(self.lines) + "\n")


def page_of_text():
    with open("README.md", encoding="utf-8") as file:
        return file.read().partition("## The idea\n")[2]


def random_string(r):
    blanks = [0x20, 0x20, 0x20, 0x0A, 0x0D, 0x09, 0x0B, 0x0C, 0x1C, 0x85, 0xA0, 0x1680, 0x2003, 0x2028, 0x202F, 0x3000, 0xFEFF]
    words = ["the", "The", " and", "'s", "'S", "'ll", "'\u017f", "don't", "123", "4567", "<|im_start|>", "<think1>", "...", "\u00bd", "x\u00b2", "e\u0301"]
    blocks = [0x300, 0x660, 0x900, 0xAC00, 0x2100, 0x2150, 0x2460, 0x3040, 0x3220, 0x1D400, 0x1D7C0, 0x1F300, 0x10400]

    def character():
        way = r.randrange(12)
        if way < 3:
            return chr(0x61 + r.randrange(26))
        if way == 3:
            return chr(0x20 + r.randrange(95))
        if way == 4:
            return chr(r.choice(blanks))
        if way == 5:
            return r.choice(words)
        if way == 6:
            return chr(0x80 + r.randrange(0x780))
        if way == 7:
            return chr(0x4E00 + r.randrange(0x5200))
        if way == 8:
            return chr(r.choice(blocks) + r.randrange(112))
        if way == 9:
            return chr(0x30 + r.randrange(10))
        while True:
            c = 1 + r.randrange(0xFFFF if r.randrange(4) else 0x10FFFF)
            if not 0xD800 <= c <= 0xDFFF:
                return chr(c)

    return "".join(character() for _ in range(1 + r.randrange(24)))


def lacking(tokenizer):
    """Bytes that the vocabulary has no token for: control characters and first bytes of planes that nothing is assigned in. The
    peers drop them without a word, we refuse such a text: nothing to compare."""
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    rest = [b for b in range(256) if b not in plain]
    return {b for b in plain if tokenizer.token_to_id(chr(b)) is None} | {
        b for k, b in enumerate(rest) if tokenizer.token_to_id(chr(256 + k)) is None}


def strings(lacks):
    r, out = random.Random(12345), []
    while len(out) < STRINGS:
        s = random_string(r)
        if lacks.isdisjoint(s.encode()):
            out.append(s)
    for path in subprocess.run(["git", "ls-files", "-z"], check=True, stdout=subprocess.PIPE).stdout.decode().split("\0"):
        try:
            with open(path, encoding="utf-8", newline="") as file:
                out.append(file.read())
            if not lacks.isdisjoint(out[-1].encode()):
                print(f"{path} has bytes without a token")
                out.pop()
        except (OSError, ValueError):  # no file, or no text
            pass
    return [s for s in out if s]


def write_strings(path, list_of):
    with open(path, "wb") as file:
        for s in list_of:
            file.write(struct.pack("<I", len(s.encode())) + s.encode())


def write_ids(path, list_of):
    with open(path, "wb") as file:
        for ids in list_of:
            file.write(array.array("I", [len(ids), *ids]).tobytes())


def main():
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    print("folders", flush=True)
    if not os.path.exists(HOME + "/f32/tokenizer_config.json") or not os.path.exists(HOME + "/bf16/tokenizer_config.json"):
        folders()
    tokenizer, store = tokenizer_of(HOME + "/f32"), Store()
    encode = lambda s: tokenizer.encode(s, add_special_tokens=False).ids  # noqa: E731
    page = encode(page_of_text())[:PAGE]
    assert len(page) == PAGE
    rows = list(range(7, CONTEXT, 8))
    store.array("page", "i", page)
    store.array("context", "i", page[:CONTEXT])
    store.array("rows", "i", rows)
    for k, prompt in enumerate(PROMPTS):
        store.array(f"prompt{k}", "i", encode(prompt))
    for name in "f32", "bf16":
        print(name, flush=True)
        model = load(f"{HOME}/{name}")
        store.array(name + "/logits", "f", logits_of(model, page[:CONTEXT])[rows].flatten().tolist(), len(rows), model.config.vocab_size)
        store.scalar(name + "/loss", loss_of(model, page))
        for k, prompt in enumerate(PROMPTS):
            text, gaps = greedy_of(model, encode(prompt), TEXT)
            store.array(f"{name}/text{k}", "i", text)
            store.array(f"{name}/gap{k}", "f", gaps)
            print(f"{prompt!r} -> {tokenizer.decode(text)!r}, least gap {min(gaps):.2g}", flush=True)
    print("strings", flush=True)
    every = strings(lacking(tokenizer))
    tokenizer.encode_special_tokens = True  # what looks like a special token is text
    write_strings(HOME + "/strings", every)
    write_ids(HOME + "/hf.ids", [encode(s) for s in every])
    store.save(HOME + "/reference")
    print(f"{len(every)} strings; {len(store.lines)} entries, {len(store.bytes)} bytes")


def stamp():
    """What the results depend on."""
    said = hashlib.sha256(open(__file__, "rb").read() + page_of_text().encode())
    said.update(subprocess.run(["git", "ls-files", "-s"], check=True, stdout=subprocess.PIPE).stdout)
    return said.hexdigest()


if __name__ == "__main__":
    mark = HOME + "/reference.stamp"
    if os.path.exists(mark) and open(mark).read() == stamp():
        sys.exit(print("there already"))
    main()
    with open(mark, "w") as file:
        file.write(stamp())
