"""SSFT on a pretrained model beside its baselines, on one of the sets of examples/word_problems.c:

    make examples && python3 bench/pretrained.py --set ways --model build/real/model.gguf

Arms from the same base, on the same questions: `sft` (one fork for all traces), `random` matching, `ssft`, and `sft` once more with
as many steps as fit into the time of ssft. Each goes by way of build/forkreason train, then eval on 200 questions whose numbers
were not trained on; the fork is chosen on validation; `base` is asked greedily. What is there in --out is not made again, and an arm
that was stopped goes on. A step of an arm that trains is about 7 to 10 s on two cores. The table at the end is Markdown.

RATES and TASKS say all that is chosen: from a trial with another program, and kept after sft and validation alone, before an arm with
forks was trained.
"""
import argparse
import collections
import json
import math
import os
import re
import shutil
import subprocess
import sys
import time

TOOL = os.environ.get("TOOL", "build/forkreason")
STEPS = 150
RATES = ["--lr", "2e-4", "--beta2", ".95", "--weight-decay", "0", "--clip", "1", "--warmup", "10", "--schedule", "cosine", "--batch", "4"]
# match: tokens of a trace that the matching looks at; longer: steps of sft that take the time of 150 of ssft, by --dry-run.
# `ways` is fixed. Of `hidden` sft has to be measured first.
TASKS = {"ways": {"match": 10, "longer": 200}, "hidden": {"match": 16, "longer": 200}}
SAMPLES = 6
ARMS = ["base", "sft", "random", "ssft", "longer"]
WORDS = {"Split": 0, "Round": 1, "Add": 2, "Double": 3}


def call(command, into, mode="w"):
    """What it prints goes to a file that has its name when it is whole."""
    print("+", " ".join(command), flush=True)
    began = time.time()
    with open(into + ".part", mode) as out:
        if subprocess.run(command, stdout=out).returncode:
            sys.exit("failed: " + " ".join(command))
    os.rename(into + ".part", into)
    print(f"{time.time() - began:.0f} s", flush=True)


def train(arm, task, rows, model, out, steps):
    folder, log = f"{out}/{arm}", f"{out}/{arm}.train"
    if os.path.exists(log):
        return
    if os.path.isdir(folder) and any(name.startswith("checkpoint") for name in os.listdir(folder)):
        return call([TOOL, "train", "--resume", folder], log, "a")
    shutil.rmtree(folder, ignore_errors=True)  # of a run that was stopped before its first checkpoint
    steps = steps * task["longer"] // STEPS if arm == "longer" else steps
    call([TOOL, "train", "--model", model, "--data", rows, "--out", folder, "--method", "sft" if arm == "longer" else arm, "--iters", str(steps),
          "--match-tokens", str(task["match"]), "--max-len", "200", "--save-every", "25", "--eval-every", "50", *RATES], log)


def evaluate(arm, rows, model, out):
    log = f"{out}/{arm}.eval"
    extra = ["--samples", "0", "--answer", "number"] if arm == "base" else ["--samples", str(SAMPLES)]
    if not os.path.exists(log):
        call([TOOL, "eval", "--model", model, "--data", rows, "--max-tokens", "120", "--json", "--log-samples", f"{out}/{arm}.texts",
              *extra], log)


def way(question, text):
    """Of a text, by its first word or by the factors of its first two products; None: none of the four."""
    first = text.split(" ", 1)[0]
    if first in WORDS:
        return WORDS[first]
    factors = [int(x) for x in re.findall(r"(\d+) \* \d+ =", text)[:2]]
    a = max((int(x) for x in re.findall(r"\d+", question)), default=0)
    if len(factors) < 2 or sum(x % 10 == 0 for x in factors) != 1:
        return None
    tens = max(factors)
    return 2 * (tens > a) + (factors[0] != tens)


def information(pairs):
    """I(fork; way) of greedy texts over log 4."""
    both, n = collections.Counter(pairs), len(pairs)
    forks, ways = collections.Counter(f for f, _ in pairs), collections.Counter(w for _, w in pairs)
    return sum(c / n * math.log(c * n / (forks[f] * ways[w])) for (f, w), c in both.items()) / math.log(4) if n else 0.0


def lines(path):
    with open(path, encoding="utf-8", errors="replace") as file:
        return [json.loads(line) for line in file]


def row(arm, rows, out):
    score = json.load(open(f"{out}/{arm}.eval"))[0]
    questions = [x["question"] for x in lines(f"{rows}/test.jsonl")]
    texts = [x for x in lines(f"{out}/{arm}.texts") if x["part"] == "greedy"]
    pairs = [(x["fork"], way(questions[x["question"] - 1], x["text"])) for x in texts]
    known = [p for p in pairs if p[1] is not None]
    said = open(f"{out}/{arm}.train").read() if arm != "base" else ""
    last = lambda pattern: (re.findall(pattern, said) or [None])[-1]
    held, info = last(r"mixture ([\d.]+), matched ([\d.]+)"), last(r"its maximum: ([\d.]+);.*, ([\d.]+)\n")
    share = lambda key: "%.3f ± %.3f" % tuple(score[key]) if key in score else ""
    pick = lambda key, fork: share(key) + (f" ({score[fork]})" if key in score else "")
    forks = len(score["forks"]) > 1
    name = {"sft": "SFT-mixed", "random": "random matching", "ssft": "**SSFT**", "longer": "SFT-mixed, SSFT's time", "base": "base"}[arm]
    print("|", " | ".join([
        name, last(r"step +(\d+)/") or "", held[0] if held else "", held[1] if forks and held else "",
        f"{info[0]} (by chance {info[1]})" if info else "",
        f"{information(known):.2f}" if forks else "", share("pass1_first"), pick("pass1_best", "best") if forks else "",
        pick("pass1_widest", "widest") if forks else "", share("pass1_mean") if forks else "", share("cons_greedy") if forks else "",
        share("cons_native"), share("pass_k")]), "|")
    counts = collections.Counter(pairs)
    wrong = collections.Counter((x["question"], x["text"].rsplit("#### ", 1)[-1]) for x in texts if not x["right"])
    same = sum(n > 1 and n >= len(score["forks"]) / 2 for n in wrong.values())
    return [f"{arm}: half of the forks or more have the same wrong answer to {same} of {len(questions)} questions"] + [
        f"  fork {f}: greedy right {score['forks'][f - 1] if forks else score['pass1_first'][0]:.3f}, texts of each way "
        + " ".join(str(counts[f, w]) for w in range(4)) + f", of none {counts[f, None]}" for f in sorted({f for f, _ in pairs})]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--set", choices=TASKS, required=True)
    parser.add_argument("--model", default="build/real/model.gguf", help="SmolLM2-135M-Instruct, a GGUF or a folder")
    parser.add_argument("--out", help="[build/pretrained/SET]")
    parser.add_argument("--arms", nargs="*", choices=ARMS, default=ARMS, help="those to make; all that are there are shown")
    parser.add_argument("--steps", type=int, default=STEPS, help="fewer, to see that all goes [%(default)s]")
    given = parser.parse_args()
    out, task = given.out or f"build/pretrained/{given.set}", TASKS[given.set]
    rows = out + "/rows"
    os.makedirs(out, exist_ok=True)
    if not os.path.exists(rows):
        subprocess.run(["build/word_problems", "--set", given.set, "--out", rows], check=True)
    for arm in given.arms:
        if arm != "base":
            train(arm, task, rows, given.model, out, given.steps)
        evaluate(arm, rows, given.model if arm == "base" else f"{out}/{arm}", out)
    print("| arm | steps | held-out loss, mixture | matched | I(fork; source) | I(fork; way written) | Pass@1, first fork | best on validation (fork) | widest (fork) "
          "| mean over forks | Cons@6, greedy | native Cons@6 | Pass@6 |\n|---|---|---|---|---|---|---|---|---|---|---|---|---|")
    notes = [note for arm in ARMS if os.path.exists(f"{out}/{arm}.eval") for note in row(arm, rows, out)]
    print("", *notes, sep="\n")


main()
