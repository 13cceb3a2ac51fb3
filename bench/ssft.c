// ssft.c - one step of set supervised fine-tuning against straightforward PyTorch, and what its matching costs.
//
//     cc -O2 -I. bench/ssft.c -o ssft -lm && ./ssft            (or: make bench ONLY=ssft)
//
// 6 forks, 4 traces, 8 questions a step, float32, one thread. peer_torch.py does it the plain way: for each question one
// batch of all 24 pairs for the costs, traces cut to L tokens, then scipy's assignment, then one batch of the 4 matched
// pairs with gradient. Ours runs the same questions as trees. The share of the matching is fr_ssft_match against a whole
// fr_ssft_step.
#define _POSIX_C_SOURCE 200809L
#define FORKREASON_IMPLEMENTATION
#include "forkreason.h"
#include "bench.h"

enum { FORKS = 6, TRACES = 4, QUESTIONS = 8 };

typedef struct job {
  const char *name;
  fr_config config;
  fr_int prompt, shortest, longest, prefix;
  fr_int pass;  // questions in one pass: what the workspace has room for
  double target, share_target;
} job;

#define DIM_384 { 6, 384, 6, 0, 0, 1024, 4096, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 }
#define DIM_128 { 4, 128, 4, 0, 0, 384, 512, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 }

static const job equal[] = {
  { "dim 384, question 128, traces 256, L 64", DIM_384, 128, 256, 256, 64, 2, 2.1, 0.35 },
  { "dim 128, question 24, traces 64, L 16", DIM_128, 24, 64, 64, 16, 2, 2.0, 0.35 },
  { "dim 128, question 24, traces 64, L 64", DIM_128, 24, 64, 64, 64, 2, 1.6, 0.0 }
};
static const job mixed[] = {
  { "dim 384, question 128, traces 64..256, L 64", DIM_384, 128, 64, 256, 64, 2, 0.0, 0.0 },
  { "dim 128, question 24, traces 16..64, L 16", DIM_128, 24, 16, 64, 16, 2, 0.0, 0.0 }
};

typedef struct tuning {
  fr_model model;
  fr_adamw adamw;
  fr_work work;
  fr_ssft_options options;
  fr_token *ids, fork_ids[FORKS];
  fr_tokens forks[FORKS], traces[QUESTIONS][TRACES];
  fr_question questions[QUESTIONS];
  fr_int fork_of[QUESTIONS][TRACES];
  fr_int tokens;  // of questions and traces
} tuning;

// Token i of the questions and traces, in their order, is a hash of i; so are the lengths. The peer draws the same.
static void tuning_new(tuning *t, const job *j)
{
  const fr_int most = QUESTIONS * (j->prompt + TRACES * j->longest);
  fr_limits limits;
  fr_token *at;
  memset(t, 0, sizeof *t);
  t->ids = at = (fr_token *)bench_memory(most, sizeof *t->ids);
  for (fr_int i = 0; i < most; i++)
    t->ids[i] = (fr_token)(bench_hash((uint64_t)i) % (uint64_t)(j->config.vocab - FORKS));
  for (int f = 0; f < FORKS; f++) {
    t->fork_ids[f] = (fr_token)(j->config.vocab - FORKS + f);
    t->forks[f].ids = &t->fork_ids[f];
    t->forks[f].count = 1;
  }
  for (int q = 0; q < QUESTIONS; q++) {
    fr_question *question = &t->questions[q];
    question->prompt.ids = at;
    question->prompt.count = j->prompt;
    at += j->prompt;
    for (int k = 0; k < TRACES; k++) {
      const uint64_t draw = bench_hash((uint64_t)(1000000 + q * TRACES + k));
      t->traces[q][k].ids = at;
      t->traces[q][k].count = j->shortest + (fr_int)(draw % (uint64_t)(j->longest - j->shortest + 1));
      at += t->traces[q][k].count;
    }
    question->traces = t->traces[q];
    question->trace_count = TRACES;
    question->fork = t->fork_of[q];
  }
  t->tokens = at - t->ids;
  t->options.forks = t->forks;
  t->options.fork_count = FORKS;
  t->options.method = FR_SSFT;
  t->options.prefix = j->prefix;
  t->options.reduction = FR_MEAN_TOKENS;
  bench_require(fr_ssft_limits(&t->options, j->prompt, j->longest, TRACES, j->pass, &limits), NULL);
  bench_require(fr_model_new(&t->model, &j->config), NULL);
  bench_require(fr_adamw_new(&t->adamw, &t->model), NULL);
  bench_require(fr_work_new(&t->work, &j->config, &limits), &t->work);
  fr_model_init(&t->model, 1);
}

static void tuning_free(tuning *t)
{
  fr_work_free(&t->work);
  fr_adamw_free(&t->adamw);
  fr_model_free(&t->model);
  bench_free(t->ids);
}

static void run_step(void *arg)
{
  tuning *t = (tuning *)arg;
  fr_ssft_report report;
  bench_require(fr_ssft_step(&t->model, &t->work, &t->adamw, &t->options, t->questions, QUESTIONS, 1e-4f, &report),
                &t->work);
  if (report.skipped) bench_fail("a step was skipped");
}

static void run_match(void *arg)
{
  tuning *t = (tuning *)arg;
  bench_require(fr_ssft_match(&t->model, &t->work, &t->options, t->questions, QUESTIONS), &t->work);
}

// Ours, PyTorch, ours again; a step and a matching take turns.
static void measure(const job *j)
{
  static tuning t;
  bench_peer torch;
  bench_pair first, second;
  char flags[200], name[120], peer_name[40] = "skipped: no torch";
  double step, match, peer_step;
  tuning_new(&t, j);
  snprintf(flags, sizeof flags, "peer_torch.py ssft %d %d %d %d %d %d %d %d %d %d %d %d 1", (int)j->config.layers,
           (int)j->config.dim, (int)j->config.heads, (int)j->config.ffn, (int)j->config.vocab, (int)j->prompt,
           (int)j->shortest, (int)j->longest, (int)j->prefix, FORKS, TRACES, QUESTIONS);
  first = bench_compare(run_match, &t, run_step, &t, 1.5);
  bench_peer_run(&torch, "BENCH_TORCH", flags);
  second = bench_compare(run_match, &t, run_step, &t, 1.5);
  match = fmin(first.ours, second.ours);
  step = fmin(first.peer, second.peer);
  peer_step = bench_peer_value(&torch, "seconds");
  if (torch.version[0]) {
    printf("peer: %s\n", torch.version);
    snprintf(peer_name, sizeof peer_name, "PyTorch");
  }
  snprintf(name, sizeof name, "ssft %s", j->name);
  bench_row(name, "ms", BENCH_TIME, 1e3 * step, 1e3 * peer_step, peer_name, j->target);
  snprintf(name, sizeof name, "ssft %s: tokens", j->name);
  bench_row(name, "tokens/s", BENCH_RATE, (double)t.tokens / step, peer_step > 0.0 ? (double)t.tokens / peer_step : 0.0,
            peer_name, 0.0);
  snprintf(name, sizeof name, "ssft %s: matching", j->name);
  bench_row(name, "ms", BENCH_SHARE, 1e3 * match, 1e3 * step, "our step", j->share_target);
  if (torch.version[0]) {
    snprintf(name, sizeof name, "ssft %s: its matching", j->name);
    bench_row(name, "ms", BENCH_SHARE, 1e3 * bench_peer_value(&torch, "matching"), 1e3 * peer_step, "PyTorch's step", 0.0);
  }
  tuning_free(&t);
}

int main(void)
{
  bench_title("ssft: a step of set supervised fine-tuning, 6 forks, 4 traces, 8 questions, float32, one thread");
  bench_section("equal lengths");
  for (size_t i = 0; i < sizeof equal / sizeof equal[0]; i++) measure(&equal[i]);
  bench_section("a mix of lengths, uniform; PyTorch pads each batch; no target");
  for (size_t i = 0; i < sizeof mixed / sizeof mixed[0]; i++) measure(&mixed[i]);
  return 0;
}
