// decode.c - tokens a second of a 110M-parameter model for 1, 6 and 32 leaves, against the memory's read bandwidth.
//
//     cc -O2 -I. bench/decode.c -o decode -lm && ./decode            (or: make bench ONLY=decode)
//
// 12 layers, dim 768, ffn 2048, vocabulary 32000, head = embedding, so that every weight is read once a token; random
// weights, float32, one thread. The leaves grow under a prompt of 8 tokens and 6 forks until their context has 256
// tokens, greedily. What one call for a single token takes, mostly the prompt, is measured alone and taken off.
#define _POSIX_C_SOURCE 200809L
#define FORKREASON_IMPLEMENTATION
#include "forkreason.h"
#include "bench.h"

enum { FORKS = 6, PROMPT = 8, CONTEXT = 256, GROWN = CONTEXT - PROMPT - 1, MOST = 32 };

typedef struct decoding {
  fr_model model;
  fr_work work;
  fr_token prompt[PROMPT], forks[FORKS], (*tokens)[GROWN];
  fr_span spans[1 + FORKS];
  fr_tree tree;
  fr_leaf leaves[MOST];
  fr_int leaf_count;
  fr_sampling sampling;
} decoding;

static void decoding_new(decoding *d)
{
  const fr_config config = { 12, 768, 12, 0, 0, 2048, 32000, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0 };
  fr_limits limits;
  memset(d, 0, sizeof *d);
  d->tokens = (fr_token(*)[GROWN])bench_memory(MOST, sizeof *d->tokens);
  for (int i = 0; i < PROMPT; i++) d->prompt[i] = (fr_token)(bench_hash((uint64_t)i) % 31000);
  d->spans[0].parent = -1;
  d->spans[0].tokens.ids = d->prompt;
  d->spans[0].tokens.count = PROMPT;
  for (int f = 0; f < FORKS; f++) {
    d->forks[f] = (fr_token)(32000 - FORKS + f);
    d->spans[1 + f].parent = 0;
    d->spans[1 + f].tokens.ids = &d->forks[f];
    d->spans[1 + f].tokens.count = 1;
  }
  for (int l = 0; l < MOST; l++) {
    d->leaves[l].span = 1 + l % FORKS;
    d->leaves[l].leaf = (uint64_t)l;
    d->leaves[l].tokens = d->tokens[l];
  }
  d->tree.spans = d->spans;
  d->tree.span_count = 1 + FORKS;
  d->sampling.max_tokens = GROWN;
  bench_require(fr_generate_limits(&d->tree, &d->sampling, MOST, &limits), NULL);
  bench_require(fr_model_new(&d->model, &config), NULL);
  bench_require(fr_work_new(&d->work, &config, &limits), &d->work);
  fr_model_init(&d->model, 1);
}

static void decoding_free(decoding *d)
{
  fr_work_free(&d->work);
  fr_model_free(&d->model);
  bench_free(d->tokens);
}

static double generate(decoding *d, fr_int leaves, fr_int tokens)
{
  double began;
  d->tree.span_count = 1 + fr__min(leaves, FORKS);
  d->sampling.max_tokens = tokens;
  began = bench_now();
  bench_require(fr_generate(&d->model, &d->work, &d->tree, &d->sampling, d->leaves, leaves), &d->work);
  return bench_now() - began;
}

// Seconds for one token of every leaf; `best` is the least so far.
static double grow(decoding *d, fr_int leaves, double best)
{
  const double start = generate(d, leaves, 1);
  return fmin(best, (generate(d, leaves, GROWN) - start) / (double)(GROWN - 1));
}

int main(void)
{
  static decoding d;
  bench_stream stream;
  double began, one = 1e30, six = 1e30, many, sampled, read = 1e30, weights = 0.0;
  fr_tensor tensor;
  char title[160];

  bench_title("decode: 110M parameters, float32, one thread, contexts up to 256");
  decoding_new(&d);
  for (fr_int i = 0; fr_model_tensor(&d.model, i, &tensor) == FR_OK; i++)
    if (tensor.rows > 1) weights += (double)(tensor.copies * tensor.rows * tensor.cols);
  stream = bench_stream_new();
  began = bench_now();
  for (int i = 0; i < 3 && (i == 0 || bench_now() - began < 15.0); i++) {  // taking turns: the same machine for all
    read = fmin(read, bench_best(bench_read, &stream, 0.2));
    one = grow(&d, 1, one);
    six = grow(&d, 6, six);
  }
  many = grow(&d, MOST, 1e30);
  d.sampling.temperature = 0.7f;
  sampled = grow(&d, 6, 1e30);

  snprintf(title, sizeof title, "%.1f M parameters; %.1f MB of weights are read for a token of all leaves",
           1e-6 * (double)d.model.count, 4e-6 * weights);
  bench_section(title);
  bench_row("decode 1 leaf", "tokens/s", BENCH_RATE, 1.0 / one, 0.0, "", 0.0);
  bench_row("decode 1 leaf: weights read", "GB/s", BENCH_RATE, 4e-9 * weights / one, 1e-9 * bench_read_bytes() / read,
            "read bandwidth", 0.85);
  bench_row("decode 6 leaves", "tokens/s", BENCH_RATE, 6.0 / six, 1.0 / one, "1 leaf", 4.5);
  bench_row("decode 32 leaves", "tokens/s", BENCH_RATE, 32.0 / many, 1.0 / one, "1 leaf", 0.0);
  bench_row("decode 6 leaves, sampling at temperature .7", "tokens/s", BENCH_RATE, 6.0 / sampled, 6.0 / six,
            "6 leaves, greedy", 0.0);
  bench_free(stream.x);
  decoding_free(&d);
  return 0;
}
