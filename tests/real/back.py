"""The way back: transformers loads the folder that tests/real/real.c wrote, tells the same logits, and gives chats the same ids.

    build/real/venv/bin/python tests/real/back.py FOLDER LOGITS      LOGITS: `real said` of that folder
"""
import array
import sys

import reference as r
import torch
import transformers

folder, said = sys.argv[1:3]
torch.set_num_threads(1)
_, info = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype="auto", output_loading_info=True)
assert not any(info.values()), info  # nothing missing, nothing left over
tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
theirs = transformers.AutoTokenizer.from_pretrained(r.HOME + "/f32")
page = tokenizer(r.page_of_text())["input_ids"][:r.PAGE]
assert page == r.tokenizer_of(r.HOME + "/f32").encode(r.page_of_text(), add_special_tokens=False).ids[:r.PAGE], "other ids"
chat = [{"role": "user", "content": "a  3 \u00bd"}, {"role": "assistant", "content": "b"}, {"role": "user", "content": "c"}]
for turns in chat[:1], chat:
    a, b = (t.apply_chat_template(turns, add_generation_prompt=True, tokenize=False) for t in (tokenizer, theirs))
    assert a == b, (a, b)
logits = r.logits_of(r.load(folder), page[:r.CONTEXT])[list(range(7, r.CONTEXT, 8))].flatten()
ours = torch.tensor(array.array("f", open(said, "rb").read()))
apart, most = (logits - ours).abs().max().item(), logits.abs().max().item()
print(f"{len(ours)} logits of {folder}: at most {apart:.3g} apart, the largest is {most:.4g}: {apart / most:.2g} of it")
sys.exit(apart / most > 1e-4)
