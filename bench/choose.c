// choose.c - what a step of choosing costs beside its rollouts.
//
//     cc -O2 -I. bench/choose.c -o choose -lm && ./choose            (or: make bench ONLY=choose)
//
// The demo's model (3 layers, dim 96), 32 questions of 6 tokens, 8 rollouts of 40 tokens each, decoded in one batch over
// shared questions, float32, one thread. fr_gfpo_rollout against the whole fr_gfpo_step, taking turns: the gradient enters
// at the fork alone, so the step needs only the questions' rows beside the rollouts; that of GRPO needs the rollouts' too.
#define _POSIX_C_SOURCE 200809L
#define FORKREASON_IMPLEMENTATION
#include "forkreason.h"
#include "bench.h"

enum { FORKS = 6, QUESTIONS = 32, GROUP = 8, PROMPT = 6, TOKENS = 40, VOCAB = 40 };

typedef struct choosing {
  fr_model writer, tuned;
  fr_adamw adamw;
  fr_chooser chooser;
  fr_policy policy;
  fr_work work;
  fr_rollouts rollouts;
  fr_gfpo_options options;
  fr_token prompt[QUESTIONS][PROMPT], fork_ids[FORKS];
  fr_tokens forks[FORKS];
  fr_question questions[QUESTIONS];
} choosing;

// Right or wrong by a coin, so that no group's rewards are all equal for long.
static double coin(void *user, fr_int question, fr_int fork, const fr_leaf *leaf)
{
  (void)user;
  return (double)(bench_hash((uint64_t)(question * FORKS + fork) * 977 + (uint64_t)leaf->tokens[0]) & 1);
}

static void choosing_new(choosing *c, fr_credit credit, int linear)
{
  const fr_config config = { 3, 96, 4, 4, 24, 256, VOCAB, 0, 100, 0, 1, 0, 1, 0, 0, 0, 0 };
  fr_limits limits;
  memset(c, 0, sizeof *c);
  for (int f = 0; f < FORKS; f++) {
    c->fork_ids[f] = (fr_token)(VOCAB - FORKS + f);
    c->forks[f].ids = &c->fork_ids[f];
    c->forks[f].count = 1;
  }
  for (int q = 0; q < QUESTIONS; q++) {
    for (int t = 0; t < PROMPT; t++) c->prompt[q][t] = (fr_token)(bench_hash((uint64_t)(q * PROMPT + t)) % (VOCAB - FORKS));
    c->questions[q].prompt.ids = c->prompt[q];
    c->questions[q].prompt.count = PROMPT;
    c->questions[q].key = (uint64_t)q;
  }
  c->options.forks = c->forks;
  c->options.fork_count = FORKS;
  c->options.group = GROUP;
  c->options.sampling.temperature = 0.7f;
  c->options.sampling.max_tokens = TOKENS;
  c->options.reward = coin;
  c->options.credit = credit;
  c->options.entropy = 0.05f;
  bench_require(fr_gfpo_limits(&c->options, PROMPT, QUESTIONS, &limits), NULL);
  bench_require(fr_model_new(&c->writer, &config), NULL);
  bench_require(fr_model_new(&c->tuned, &config), NULL);
  bench_require(fr_adamw_new(&c->adamw, &c->tuned), NULL);
  bench_require(fr_chooser_new(&c->chooser, &c->writer, FORKS, 1), NULL);
  bench_require(fr_work_new(&c->work, &config, &limits), &c->work);
  bench_require(fr_rollouts_new(&c->rollouts, &c->options, QUESTIONS), NULL);
  fr_model_init(&c->writer, 1);
  fr_model_init(&c->tuned, 1);
  c->policy.model = linear ? &c->writer : &c->tuned;
  c->policy.chooser = linear ? &c->chooser : NULL;
  c->policy.adamw = linear ? NULL : &c->adamw;
}

static void choosing_free(choosing *c)
{
  fr_rollouts_free(&c->rollouts);
  fr_work_free(&c->work);
  fr_chooser_free(&c->chooser);
  fr_adamw_free(&c->adamw);
  fr_model_free(&c->tuned);
  fr_model_free(&c->writer);
}

static void run_rollout(void *arg)
{
  choosing *c = (choosing *)arg;
  bench_require(fr_gfpo_rollout(&c->policy, &c->writer, &c->work, &c->options, c->questions, QUESTIONS, &c->rollouts, NULL),
                &c->work);
}

// A rate of 0: both sides draw the same forks and texts every time.
static void run_step(void *arg)
{
  choosing *c = (choosing *)arg;
  fr_gfpo_report report;
  bench_require(fr_gfpo_step(&c->policy, &c->writer, &c->work, &c->options, c->questions, QUESTIONS, &c->rollouts, 0.0f,
                             &report), &c->work);
  if (report.skipped) bench_fail("a step was skipped");
}

static void measure(const char *name, fr_credit credit, int linear, double target)
{
  static choosing c;
  bench_pair pair;
  choosing_new(&c, credit, linear);
  pair = bench_compare(run_step, &c, run_rollout, &c, 3.0);
  bench_row(name, "ms", BENCH_SHARE, 1e3 * pair.ours, 1e3 * pair.peer, "its rollouts", target);
  choosing_free(&c);
}

int main(void)
{
  bench_title("choose: a step of choosing against its rollouts, 32 questions x 8 rollouts of 40 tokens, float32, one thread");
  bench_section("3 layers, dim 96, 6 forks");
  measure("choose GFPO, a copy of the model", FR_GFPO, 0, 1.2);
  measure("choose GFPO, a linear chooser", FR_GFPO, 1, 1.2);
  measure("choose GRPO, all tokens", FR_GRPO, 0, 0.0);
  return 0;
}
