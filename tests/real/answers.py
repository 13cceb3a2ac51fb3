"""The tool's greedy answers beside transformers' own.

    build/real/venv/bin/python tests/real/answers.py FOLDER ROWS.jsonl LOG [OUT.json]

LOG: what `forkreason eval --samples 0 --log-samples LOG` wrote of these rows. A text may part where the first two logits are nearer
than 1e-3. OUT: prompts, answers and gaps as ids, for tests/real/llama.mjs.
"""
import json
import sys

import torch
import transformers

folder, rows, log = sys.argv[1:4]
torch.set_num_threads(2)
tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
questions = [json.loads(line)["question"] for line in open(rows, encoding="utf-8")]
equal = close = differ = 0
out = []
for said in map(json.loads, open(log, encoding="utf-8")):
    if said["part"] != "greedy":
        continue
    turns = [{"role": "user", "content": questions[said["question"] - 1]}]
    fork = {"fork": f"<think{said['fork']}>"} if said["fork"] else {}
    prompt = tokenizer.apply_chat_template(turns, add_generation_prompt=True, tokenize=False, **fork)
    ids = tokenizer(prompt, return_tensors="pt", add_special_tokens=False)["input_ids"]
    made = model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=said["tokens"] + said["finished"],
                          return_dict_in_generate=True, output_logits=True, pad_token_id=0)
    tokens = made.sequences[0, ids.shape[1]:].tolist()
    ends = model.generation_config.eos_token_id
    gaps = [(top := logits[0].topk(2).values)[0].item() - top[1].item() for logits in made.logits]
    text = tokenizer.decode(tokens[:-1] if said["finished"] else tokens)
    out.append({"ids": ids[0].tolist(), "tokens": tokens[:-1] if said["finished"] else tokens, "gaps": gaps})
    if text == said["text"] and (not said["finished"] or tokens[-1] in (ends if isinstance(ends, list) else [ends])):
        equal += 1
        continue
    ours = tokenizer(said["text"], add_special_tokens=False)["input_ids"]
    at = next((i for i, (a, b) in enumerate(zip(ours, tokens)) if a != b), min(len(ours), len(tokens) - 1))
    near = gaps[at] < 1e-3
    close += near
    differ += not near
    print(f"question {said['question']}, fork {said['fork']}: parts at token {at}, where the first led by {gaps[at]:.3g}\n  {said['text']!r}\n  {text!r}")
print(f"{folder}: {equal} answers are equal, {close} part where two logits are close, {differ} elsewhere")
if len(sys.argv) > 4:
    json.dump(out, open(sys.argv[4], "w"))
sys.exit(differ > 0 or equal == 0)
