// llama.cpp, prebuilt inside node-llama-cpp (tests/real/get.py), on one thread:
//
//     node tests/real/llama.mjs ids MODEL.gguf IN OUT       strings (u32 length and bytes) to ids (u32 count and ids)
//     node tests/real/llama.mjs text MODEL.gguf [CACHE]     greedy text after the prompts of build/real/reference, beside it
//     node tests/real/llama.mjs answers MODEL.gguf F32 FILE.json     the same after the prompts of tests/real/answers.py
//     node tests/real/llama.mjs loss MODEL.gguf [CACHE]     mean loss of its page's next tokens, beside it
//     node tests/real/llama.mjs speed MODEL.gguf [CACHE]    tokens a second, one stream, the best of three times 64 tokens
//
// CACHE: type of keys and values, F32 or F16, which is llama.cpp's own choice. Exit status 1: the text differs where the first two
// logits were further apart than 1e-3, or the loss is more than a hundredth off.
import fs from "node:fs";
import path from "node:path";
const home = "build/real", [what, model_path, ...rest] = process.argv.slice(2);
const { getLlama, LlamaLogLevel } = await import(path.resolve(home, "npm/node_modules/node-llama-cpp/dist/index.js"));
const llama = await getLlama({ gpu: false, build: "never", maxThreads: 1, logLevel: LlamaLogLevel.error });
const model = await llama.loadModel({ modelPath: model_path });

function store() {  // arrays and scalars by name, see tests/store.h
  const bytes = fs.readFileSync(home + "/reference.bin"), out = {};
  for (const line of fs.readFileSync(home + "/reference.idx", "utf8").trim().split("\n")) {
    const [kind, name, ...f] = line.split(" ");
    if (kind === "scalar") { out[name] = +f[0]; continue; }
    const count = f.slice(2, -1).reduce((n, d) => n * +d, 1), Kind = f[0] === "f32" ? Float32Array : Int32Array;
    out[name] = new Kind(bytes.buffer, bytes.byteOffset + +f.at(-1), count);
  }
  return out;
}
const sequence_of = async () => (await model.createContext({ contextSize: 1024, threads: 1,
  experimentalKvCacheKeyType: rest[0] || "F16", experimentalKvCacheValueType: rest[0] || "F16" })).getSequence();

function ids(from, to) {
  const input = fs.readFileSync(from), out = [];
  let strings = 0;
  for (let at = 0; at < input.length; strings++) {
    const length = input.readUInt32LE(at), list = model.tokenize(input.toString("utf8", at + 4, at + 4 + length), false);
    out.push(Buffer.from(Uint32Array.from([list.length, ...list]).buffer));
    at += 4 + length;
  }
  fs.writeFileSync(to, Buffer.concat(out));
  console.log(`${strings} strings`);
}

async function text(asked) {  // of [prompt, tokens, gaps]
  const sequence = await sequence_of();
  let differ = 0, equal = 0, close = 0;
  for (const [k, [prompt, want, gap]] of asked.entries()) {
    await sequence.clearHistory();
    let feed = Array.from(prompt);
    for (let t = 0; t < want.length; t++) {
      const asked = feed.map((id, i) => i + 1 < feed.length ? id : [id, { generateNext: { token: true, options: { temperature: 0 } } }]);
      const { token } = (await sequence.controlledEvaluate(asked)).at(-1).next;
      if (token !== want[t]) {
        console.log(`prompt ${k}, token ${t}: ${token} is not ${want[t]}, which led by ${gap[t].toPrecision(3)}`);
        if (gap[t] < 1e-3) close++; else differ++;
        break;
      }
      equal++;
      feed = [token];
    }
  }
  console.log(`${equal} tokens are equal, ${close} texts part where two logits are close, ${differ} elsewhere`);
  return differ || !equal ? 1 : 0;
}
function prompts() {
  const s = store(), list = [];
  for (let k = 0; s["prompt" + k]; k++) list.push([s["prompt" + k], s["f32/text" + k], s["f32/gap" + k]]);
  return list;
}

const answers = () => text(JSON.parse(fs.readFileSync(rest[1], "utf8")).map(a => [a.ids, a.tokens, a.gaps]));

async function loss() {
  const s = store(), page = Array.from(s.page), sequence = await sequence_of();
  let sum = 0;
  const asked = page.map((id, t) => t + 1 === page.length ? id : [id, { generateNext: { logits: true } }]);
  await sequence.controlledEvaluate(asked, { onTokenResult(t, { next }) {
    if (!next.logits) return;
    let most = -Infinity, total = 0;
    for (const l of next.logits.values()) most = Math.max(most, l);
    for (const l of next.logits.values()) total += Math.exp(l - most);
    sum += Math.log(total) + most - next.logits.get(page[t + 1]);
    next.logits.clear();
  } });
  sum /= page.length - 1;
  console.log(`loss of ${path.basename(model_path)} ${sum.toFixed(5)}, of float32 by transformers ${s["f32/loss"].toFixed(5)}`);
  return Math.abs(sum / s["f32/loss"] - 1) < 0.01 ? 0 : 1;
}

async function speed() {
  const prompt = Array.from(store().prompt0);
  let best = 0;
  for (let round = 0; round < 3; round++) {
    const sequence = await sequence_of();
    let count = 0, began;
    for await (const token of sequence.evaluate(prompt, { temperature: 0, yieldEogToken: true })) {
      if (++count === 1) began = performance.now();
      if (count === 65 || token < 0) break;
    }
    best = Math.max(best, (count - 1) / (performance.now() - began) * 1000);
    sequence.dispose();
  }
  console.log(`llama.cpp, ${path.basename(model_path)}: ${best.toFixed(1)} tokens/s`);
}

process.exit((what === "ids" ? ids(...rest) : await { text: () => text(prompts()), answers, loss, speed }[what]()) || 0);
