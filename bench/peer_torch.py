# peer_torch.py - the same training steps in PyTorch, for step.c and ssft.c, which run it and read its lines.
#
#   peer_torch.py step LAYERS DIM HEADS FFN VOCAB SEQUENCES LENGTH THREADS
#   peer_torch.py ssft LAYERS DIM HEADS FFN VOCAB QUESTION SHORTEST LONGEST PREFIX FORKS TRACES QUESTIONS THREADS
#
# The model is that of forkreason.h: RMSNorm, rotary positions (rotate-half), causal attention, SwiGLU, no biases, an
# untied head; float32 on the CPU. The optimiser is AdamW with clipping, in the fastest of the variants that this version
# has. Whatever the version offers is used: scaled_dot_product_attention from 2.0 on, rms_norm from 2.4 on.
import ctypes
import math
import os
import sys
import time

import torch
import torch.nn.functional as F

if os.environ.get("BENCH_DEVICE"):  # cuda.cu sets these
    torch.set_default_device(os.environ["BENCH_DEVICE"])
    torch.set_float32_matmul_precision(os.environ.get("BENCH_PRECISION", "highest"))


def hash_of(i):  # bench_hash of bench.h
    mask = (1 << 64) - 1
    z = (i + 1) * 0x9E3779B97F4A7C15 & mask
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 & mask
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB & mask
    return z ^ (z >> 31)


class Norm(torch.nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.gain = torch.nn.Parameter(torch.ones(dim))

    def forward(self, x):
        if hasattr(F, "rms_norm"):
            return F.rms_norm(x, self.gain.shape, self.gain, 1e-5)
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-5) * self.gain


def linear(rows, cols, scale=1.0):
    layer = torch.nn.Linear(cols, rows, bias=False)
    torch.nn.init.normal_(layer.weight, std=scale / math.sqrt(cols))
    return layer


class Layer(torch.nn.Module):
    def __init__(self, layers, dim, heads, ffn):
        super().__init__()
        self.heads = heads
        self.norm_att, self.norm_mlp = Norm(dim), Norm(dim)
        self.qkv = linear(3 * dim, dim)
        self.out = linear(dim, dim, 1 / math.sqrt(2 * layers))
        self.gate_up = linear(2 * ffn, dim)
        self.down = linear(dim, ffn, 1 / math.sqrt(2 * layers))

    def forward(self, x, cosine, sine, hidden):
        B, T, C = x.shape
        D = C // self.heads
        q, k, v = self.qkv(self.norm_att(x)).view(B, T, 3, self.heads, D).permute(2, 0, 3, 1, 4).unbind(0)
        q, k = turn(q, cosine, sine), turn(k, cosine, sine)
        if hasattr(F, "scaled_dot_product_attention"):
            a = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        else:
            a = torch.softmax(q @ k.transpose(-2, -1) * (1 / math.sqrt(D)) + hidden, -1) @ v
        x = x + self.out(a.transpose(1, 2).reshape(B, T, C))
        gate, up = self.gate_up(self.norm_mlp(x)).chunk(2, -1)
        return x + self.down(F.silu(gate) * up)


def turn(x, cosine, sine):
    a, b = x.chunk(2, -1)
    return torch.cat((a * cosine - b * sine, b * cosine + a * sine), -1)


class Model(torch.nn.Module):
    def __init__(self, layers, dim, heads, ffn, vocab, longest):
        super().__init__()
        self.embedding = torch.nn.Embedding(vocab, dim)
        torch.nn.init.normal_(self.embedding.weight, std=0.5 / math.sqrt(dim))
        self.layers = torch.nn.ModuleList(Layer(layers, dim, heads, ffn) for _ in range(layers))
        self.norm = Norm(dim)
        self.head = linear(vocab, dim)
        D = dim // heads
        angle = torch.arange(longest)[:, None] * 10000.0 ** (-torch.arange(0, D, 2) / D)
        self.cosine, self.sine = angle.cos(), angle.sin()
        self.hidden = torch.full((longest, longest), -math.inf).triu(1)

    def forward(self, tokens, first=0):
        """Logits of the positions from `first` to the last but one: those that predict a token of the loss."""
        T = tokens.shape[1]
        x = self.embedding(tokens)
        for layer in self.layers:
            x = layer(x, self.cosine[:T], self.sine[:T], self.hidden[:T, :T])
        return self.head(self.norm(x[:, first:-1]))


def optimiser(model):
    """AdamW in the fastest variant: each one that this version accepts is timed."""
    fastest, best = None, math.inf
    variants = {"fused": {"fused": True}, "foreach": {"foreach": True}, "one by one": {"foreach": False}, "default": {}}
    for name, variant in variants.items():
        for p in model.parameters():
            p.grad = torch.zeros_like(p)
        try:
            adamw = torch.optim.AdamW(model.parameters(), 1e-3, (0.9, 0.98), 1e-8, 0.01, **variant)
            took = best_of(lambda: adamw.step(), 4)
        except (TypeError, RuntimeError, AssertionError):
            continue  # not in this version, or not on the CPU
        if took < best:
            fastest, best = name, took
    for p in model.parameters():
        p.grad = None
    return torch.optim.AdamW(model.parameters(), 1e-3, (0.9, 0.98), 1e-8, 0.01, **variants[fastest]), fastest


def best_of(work, times, seconds=0.0):
    """At least `times` calls and for at least `seconds` after a first one, which counts only if it is long."""
    start = time.perf_counter()
    work()
    first = time.perf_counter() - start
    best, times, began = (first, 1, start) if first > 2.0 else (math.inf, times, time.perf_counter())
    while times > 0 or time.perf_counter() - began < seconds:
        start = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - start)
        times -= 1
    return best


def use_threads(count):
    """torch.set_num_threads does not reach an OpenBLAS with threads of its own. Returns the BLAS libraries in use."""
    torch.set_num_threads(count)
    torch.ones(64, 64) @ torch.ones(64, 64)
    names = []
    try:
        with open("/proc/self/maps") as maps:
            paths = sorted({line.split(None, 5)[5].strip() for line in maps if "blas" in line and ".so" in line})
    except OSError:
        paths = []
    for path in paths:
        library = ctypes.CDLL(path)
        try:
            library.openblas_set_num_threads(count)
            library.openblas_get_config.restype = library.openblas_get_corename.restype = ctypes.c_char_p
            name = library.openblas_get_config().decode().split(" ")[:2] + [library.openblas_get_corename().decode()]
            names.append(" ".join(name))
        except AttributeError:
            pass
    return names


def say(threads, variant, blas, more=""):
    version = "PyTorch %s%s, %d thread%s, AdamW %s" % (torch.__version__, more, threads, "s" * (threads > 1), variant)
    if not hasattr(F, "scaled_dot_product_attention"):
        version += ", attention by softmax of products"
    if blas:
        version += ", " + ", ".join(sorted(set(blas)))
    print("version", version.replace("\n", " "))


def step(layers, dim, heads, ffn, vocab, sequences, length, threads):
    blas = use_threads(threads)
    tokens = torch.tensor([hash_of(i) % vocab for i in range(sequences * length)]).view(sequences, length)
    model = Model(layers, dim, heads, ffn, vocab, length)
    adamw, variant = optimiser(model)
    say(threads, variant, blas)

    def one():
        logits = model(tokens)
        loss = F.cross_entropy(logits.reshape(-1, vocab), tokens[:, 1:].reshape(-1))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        adamw.step()
        adamw.zero_grad(set_to_none=True)
        loss.item()

    print("seconds", best_of(one, 2, 3.0))


def ssft(layers, dim, heads, ffn, vocab, prompt, shortest, longest, prefix, forks, traces, questions, threads):
    """Straightforward: a batch of all pairs for the costs, the matching, a batch of the matched pairs with gradient."""
    import scipy
    from scipy.optimize import linear_sum_assignment

    blas = use_threads(threads)
    at = 0

    def draw(count):
        nonlocal at
        at += count
        return [hash_of(i) % (vocab - forks) for i in range(at - count, at)]

    data = []
    for q in range(questions):
        question = draw(prompt)
        data.append((question, [draw(shortest + hash_of(10**6 + q * traces + j) % (longest - shortest + 1))
                                for j in range(traces)]))
    fork_ids = [vocab - forks + f for f in range(forks)]
    total = sum(len(t) for _, texts in data for t in texts)
    model = Model(layers, dim, heads, ffn, vocab, prompt + 1 + longest)
    adamw, variant = optimiser(model)
    say(threads, variant, blas, ", scipy " + scipy.__version__)

    def losses(question, pairs):
        """-log p of each pair's trace tokens after the question and the pair's fork: (pairs, longest), 0 on padding."""
        room = max(len(text) for _, text in pairs)
        tokens = torch.zeros(len(pairs), len(question) + 1 + room, dtype=torch.long)
        goals = torch.full((len(pairs), room), -100, dtype=torch.long)
        for i, (fork, text) in enumerate(pairs):
            tokens[i, :len(question) + 1 + len(text)] = torch.tensor(question + [fork] + text)
            goals[i, :len(text)] = torch.tensor(text)
        logits = model(tokens, len(question))  # the position of the fork predicts the first token of the trace
        nll = F.cross_entropy(logits.reshape(-1, vocab), goals.view(-1), ignore_index=-100, reduction="none")
        return nll.view(goals.shape)

    matching = 0.0

    def one():
        nonlocal matching
        spent = 0.0
        for question, texts in data:
            began = time.perf_counter()
            cut = [text[:prefix] for text in texts]
            with torch.no_grad():
                sums = losses(question, [(fork, text) for fork in fork_ids for text in cut]).sum(1)
                cost = sums.view(forks, traces) / torch.tensor([float(len(text)) for text in cut])
            rows, columns = linear_sum_assignment(cost.cpu().numpy())
            spent += time.perf_counter() - began
            matched = [(fork_ids[f], texts[j]) for f, j in zip(rows, columns)]
            (losses(question, matched).sum() / total).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        adamw.step()
        adamw.zero_grad(set_to_none=True)
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        matching = min(matching or spent, spent)

    print("seconds", best_of(one, 2, 3.0))
    print("matching", matching)


if len(sys.argv) < 2 or sys.argv[1] not in ("step", "ssft"):
    sys.exit("the comment at the top of this file says how to use it")
{"step": step, "ssft": ssft}[sys.argv[1]](*[int(word) for word in sys.argv[2:]])
