"""Chat templates: what forkreason says of one (before, after) and the template with a fork that it writes, against jinja2.

    python3 tests/chat_jinja.py build/forkreason FOLDER [MODEL.gguf]     FOLDER is made anew; needs jinja2

The templates are short ones with the framing of the families, as their model cards show it; of a GGUF, which has to be of ChatML, its
own. Rendered as transformers does: blocks trimmed, a line end at the end of the file left out. Of a GGUF the ids too: transformers has
to give those of the framing's text; this needs gguf and transformers.
"""
import json, os, shutil, subprocess, sys
from jinja2.sandbox import ImmutableSandboxedEnvironment

tool, folder, ggufs = sys.argv[1], sys.argv[2], sys.argv[3:]
BEGIN, USER, ASSISTANT, END = "<｜begin▁of▁sentence｜>", "<｜User｜>", "<｜Assistant｜>", "<｜end▁of▁sentence｜>"
TURNS = "{%% for m in messages %%}{{ '<|im_start|>' + m['role'] + '%s' + m['content'] + '<|im_end|>' + '%s' }}{%% endfor %%}"
PROMPT = "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
TEMPLATES = {
  "smollm2": "{% for m in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system\nYou help.<|im_end|>\n' }}"
    "{% endif %}{{'<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>' + '\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}",
  "qwen2": "{%- if messages[0]['role'] != 'system' %}\n    {{- '<|im_start|>system\\nYou help.<|im_end|>\\n' }}\n{%- endif %}\n"
    "{%- for message in messages %}\n    {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + '\\n' }}\n{%- endfor %}\n"
    "{%- if add_generation_prompt %}\n    {{- '<|im_start|>assistant\\n' }}\n{%- endif %}\n",
  "qwen3": "{%- for message in messages %}\n    {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + '\\n' }}\n{%- endfor %}\n"
    "{%- if add_generation_prompt %}\n    {{- '<|im_start|>assistant\\n' }}\n    {%- if enable_thinking is defined and enable_thinking is false %}\n"
    "        {{- '<think>\\n\\n</think>\\n\\n' }}\n    {%- endif %}\n{%- endif %}",
  "bare end": TURNS % ("\\n", "\\n") + "{{ '<|im_start|>assistant\\n' if add_generation_prompt else '' }}\n",
  "llama3": "{% for m in messages %}{% set content = '<|start_header_id|>' + m['role'] + '<|end_header_id|>\n\n' + m['content'] | trim + '<|eot_id|>' %}"
    "{% if loop.first %}{% set content = bos_token + content %}{% endif %}{{ content }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}",
  "r1": "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'system' %}{{ m['content'] }}{% elif m['role'] == 'user' %}{{ '" + USER
    + "' + m['content'] }}{% else %}{{ '" + ASSISTANT + "' + m['content'] + '" + END + "' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '" + ASSISTANT + "<think>\\n' }}{% endif %}",
}
BOS = {"llama3": "<|begin_of_text|>", "r1": BEGIN}
SYSTEM, ASK = {"role": "system", "content": "Be brief."}, {"role": "user", "content": "How many?"}
SEVERAL = [ASK, {"role": "assistant", "content": "Four."}, {"role": "user", "content": "And {{ now }}?"}]
QUESTIONS = [["How many?"], ["  12 + 3456 =\n"], ["\u00bd e\u0301 \u4e2d\u6587 \U0001f600 don't"], ["say <think1>, not <|im_end|>"],
  ["a", "<think2>So: b.", "And c?"], ["x\n", "", " \n\ny", "4 \n", "<|im_start|>user"]]
wrong = checks = 0


def check(good, *words):
  global wrong, checks
  checks += 1
  if not good:
    wrong += 1
    print("wrong:", *[repr(w) for w in words])


def run(*words):
  done = subprocess.run([tool, *words], capture_output=True, text=True)
  check(done.returncode == 0, words, done.stderr)
  return done.stdout


def render(template, messages, name, **more):
  jinja = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
  return jinja.from_string(template).render(messages=messages, bos_token=BOS.get(name, ""), **more)


def compare(name, source, template):
  said = json.loads(run("inspect", source, "--json"))
  check("chat" in said, name, "is not known")
  prompt = render(template, [ASK], name, add_generation_prompt=True)
  check(said.get("before", "") + ASK["content"] + said.get("after", "") == prompt, name, said.get("before"), said.get("after"), prompt)
  for fork in (None, "<think2>", "it's \\n odd"):
    to = os.path.join(folder, "to")
    run("convert", source, to, "--forks", "2", *(["--fork", fork] if fork else []))
    config = json.load(open(os.path.join(to, "tokenizer_config.json"), encoding="utf-8"))
    ours = open(os.path.join(to, "chat_template.jinja"), encoding="utf-8", newline="").read()
    check(config.get("chat_template", ours) == ours, name, "two templates differ")
    for messages in ([ASK], [SYSTEM, ASK], SEVERAL, [SYSTEM] + SEVERAL):
      theirs = render(template, messages, name, add_generation_prompt=True)
      check(render(ours, messages, name, add_generation_prompt=True) == theirs + (fork or "<think1>"), name, fork,
            render(ours, messages, name, add_generation_prompt=True), theirs)
      for given in ("<think1>", "<think2>", ""):
        check(render(ours, messages, name, add_generation_prompt=True, fork=given) == theirs + given, name, given)
      check(render(ours, messages, name) == render(template, messages, name), name, "without a generation prompt")
    if name.endswith(".gguf") and fork is None:
      same_ids(source, to, said["before"], said["after"])
    shutil.rmtree(to)


def same_ids(source, folder, before, after):
  """Of conversations whose last turn is the user's, the ids by transformers, and ours of the text put together by hand."""
  def ids(path, text):
    return [int(i) for i in run("tokenize", path, text, "--ids").split()]

  os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_VERBOSITY="error")
  import transformers
  tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
  between = after.partition("<|im_start|>")[0] + "<|im_start|>user\n"
  for turns in QUESTIONS:
    messages = [{"role": "assistant" if i % 2 else "user", "content": turn} for i, turn in enumerate(turns)]
    text = before + "".join(turn + (between if i % 2 else after) for i, turn in enumerate(turns))
    for fork in ("<think1>", "<think2>", "<|im_start|><think2>\n", "<think3>", "By parts: 1/2", None):
      more = {} if fork is None else {"fork": fork}
      theirs = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=True, return_dict=False, **more)
      ours = ids(folder, text + (fork or "<think1>"))
      check(theirs == ours and len(ours) > 9, source, turns, fork, theirs, ours)
    if not any("<think" in turn for turn in turns):  # and as the GGUF itself has them
      check(ours == ids(source, text) + [tokenizer.convert_tokens_to_ids("<think1>")], source, turns, ours)


shutil.rmtree(folder, ignore_errors=True)
source = os.path.join(folder, "from")
os.makedirs(source)
for file in ("model/llama_a/config.json", "model/llama_a/model.safetensors", "tokenizer/fuzz/ok_small.json"):
  shutil.copy(os.path.join("tests/data", file), os.path.join(source, os.path.basename(file).replace("ok_small", "tokenizer")))
for name, template in TEMPLATES.items():
  json.dump({"chat_template": template}, open(os.path.join(source, "tokenizer_config.json"), "w", encoding="utf-8"))
  compare(name, source, template)
json.dump({"chat_template": "{{ '[INST] ' + messages[0].content }}"}, open(os.path.join(source, "tokenizer_config.json"), "w", encoding="utf-8"))
to = os.path.join(folder, "to")
run("convert", source, to, "--forks", "2", "--before", "Q: it's\n", "--after", "\nA:\\")
ours = open(os.path.join(to, "chat_template.jinja"), encoding="utf-8", newline="").read()
check(render(ours, [ASK], "", add_generation_prompt=True) == "Q: it's\nHow many?\nA:\\<think1>", "by hand", ours)
check(render(ours, [SYSTEM] + SEVERAL, "", add_generation_prompt=True, fork="<think2>") ==
      "Be brief.Q: it's\nHow many?\nA:\\Four.Q: it's\nAnd {{ now }}?\nA:\\<think2>", "by hand, several", ours)
for path in ggufs:
  import gguf
  field = gguf.GGUFReader(path).fields["tokenizer.chat_template"]
  compare(os.path.basename(path), path, bytes(field.parts[field.data[0]]).decode())
shutil.rmtree(folder)
print("%d checks, %d wrong" % (checks, wrong))
sys.exit(1 if wrong else 0)
