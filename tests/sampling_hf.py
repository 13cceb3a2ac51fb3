"""What transformers' own processors and generate() say, for tests/test_sampling.c to be compared with:

    python3 tests/sampling_hf.py cases N SEED      N random cases; tests/data/sampling/cases.txt is 30 7
    python3 tests/sampling_hf.py greedy            tests/data/sampling/greedy.txt; from the root of the repository

A case, on standard output:
    vocabulary temperature top_k top_p min_p penalty path kept      top_k 0, top_p 1, min_p 0, penalty 1: off
    the logits, times 64
    the tokens of the path
    the tokens kept, likeliest first, and the p of each
The processors come from generate()'s own list, so that their order is its order. A case is left out where rounding decides (a mass, or
a ratio, within 1e-4 of its bound), and so are equal logits with top_k or top_p, of which transformers keeps others than we do.

A line of greedy: folder, penalty, how many tokens the prompt has, the prompt, how many follow, what follows.
"""
import os
import random
import sys

os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_VERBOSITY="error")
import torch  # noqa: E402
import transformers  # noqa: E402

VOCAB = 24
# a model only because the list of processors is made by one
asked = transformers.LlamaForCausalLM(transformers.LlamaConfig(vocab_size=VOCAB, hidden_size=8, intermediate_size=8, num_hidden_layers=1,
                                                               num_attention_heads=1))


def processors(**what):
    config = transformers.GenerationConfig(do_sample=True, **what)
    return asked._get_logits_processor(generation_config=config, input_ids_seq_length=1, prefix_allowed_tokens_fn=None,
                                       logits_processor=transformers.LogitsProcessorList(), device="cpu")


def case(rng):
    """None: rounding decides."""
    temperature = rng.choice([1.0, 1.0, rng.uniform(0.3, 2.0)])
    top_k = rng.choice([0, 0, rng.randint(1, VOCAB - 1)])
    top_p = rng.choice([1.0, 1.0, rng.uniform(0.1, 0.99)])
    min_p = rng.choice([0.0, rng.uniform(0.001, 0.3), rng.uniform(0.001, 0.3), 1.0])
    penalty = rng.choice([1.0, 1.3, rng.uniform(0.4, 2.5), rng.uniform(0.4, 2.5)])
    temperature, top_p, min_p, penalty = (float(f"{x:.4g}") for x in (temperature, top_p, min_p, penalty))
    coarse = rng.choice([1, 32])  # in halves: many are equal
    logits = [coarse * round(rng.gauss(0.0, 2.0) * 64 / coarse) for _ in range(VOCAB)]
    path = [rng.randrange(VOCAB) for _ in range(rng.randint(1, 12))]
    scores = torch.tensor([logits], dtype=torch.float32) / 64
    steps = processors(temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p or None, repetition_penalty=penalty)
    names = [type(step).__name__ for step in steps]
    assert ("MinPLogitsWarper" in names) == (min_p > 0) and ("RepetitionPenaltyLogitsProcessor" in names) == (penalty != 1), names
    now = scores
    for step in steps:
        if type(step).__name__ in ("TopKLogitsWarper", "TopPLogitsWarper", "MinPLogitsWarper"):
            p = now.double().softmax(-1)[0].sort(descending=True).values
            ratio, mass = p / p[0], p.cumsum(-1)
            if isinstance(step, transformers.MinPLogitsWarper):
                if ((ratio - min_p).abs() < 1e-4)[ratio < 1].any():
                    return None
            elif (p[:-1] - p[1:] < 1e-6 * p[:-1])[p[1:] > 0].any():
                return None
            elif isinstance(step, transformers.TopPLogitsWarper) and ((mass - top_p).abs() < 1e-4).any():
                return None
        now = step(torch.tensor([path]), now.clone())
    p = now.double().softmax(-1)[0]
    kept = sorted((v for v in range(VOCAB) if p[v] > 0), key=lambda v: (-now[0, v].item(), v))
    head = [VOCAB, temperature, top_k, top_p, min_p, penalty, len(path), len(kept)]
    rows = head, logits, path, [f"{v} {p[v].item():.7g}" for v in kept]
    return "\n".join(" ".join(map(str, row)) for row in rows)


def greedy():
    for folder, penalty, prompt in (("llama_a", 1.3, [1, 17, 120, 17]), ("qwen3_a", 1.3, [1, 5, 250, 8, 8, 31]),
                                    ("qwen2_a", 0.8, [1, 99, 42])):
        model = transformers.AutoModelForCausalLM.from_pretrained("tests/data/model/" + folder, dtype=torch.float32).eval()
        model.generation_config = transformers.GenerationConfig(pad_token_id=0)  # no end token: 30 tokens each
        ids = torch.tensor([prompt])
        out = model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=30, output_logits=True,
                             repetition_penalty=penalty, return_dict_in_generate=True, output_scores=True)
        closest = min((s[0].sort(descending=True).values[:2].diff().abs().item() for s in out.scores))
        text = out.sequences[0, len(prompt):].tolist()
        assert len(text) == 30 and closest > 1e-4, closest
        plain = model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=30)[0, len(prompt):].tolist()
        assert plain != text
        print(folder, penalty, len(prompt), *prompt, len(text), *text)


if sys.argv[1:2] == ["cases"]:
    rng, done = random.Random(int(sys.argv[3])), 0
    while done < int(sys.argv[2]):
        text = case(rng)
        if text:
            print(text)
            done += 1
else:
    greedy()
