// tiny.h - a problem of a few hundred tokens that forks can share out, for tests that are not about learning.
//
// The question is `a b =` with digits a and b; with s = (a + b) mod 10 the three correct traces are
//   a b s end      b a s end      s a b end
// so a fork that has taken one of them knows what its first token is. M = 3 traces, N = 4 forks.
#ifndef FR_TINY_H
#define FR_TINY_H

#include "forkreason.h"
#include <string.h>

enum { TINY_EQUALS = 10, TINY_END = 11, TINY_FORK = 12, TINY_VOCAB = 16, TINY_FORKS = 4, TINY_TRACES = 3,
       TINY_PROMPT = 3, TINY_TRACE = 4, TINY_QUESTIONS = 6 };

typedef struct tiny {
  fr_token  fork_ids[TINY_FORKS];
  fr_tokens forks[TINY_FORKS];
  fr_token  prompt[TINY_QUESTIONS][TINY_PROMPT];
  fr_token  ids[TINY_QUESTIONS][TINY_TRACES][TINY_TRACE];
  fr_tokens traces[TINY_QUESTIONS][TINY_TRACES];
  fr_int    fork[TINY_QUESTIONS][TINY_TRACES];
  double    cost[TINY_QUESTIONS][TINY_FORKS * TINY_TRACES];
  double    nll[TINY_QUESTIONS][TINY_TRACES];
  fr_question questions[TINY_QUESTIONS];
  fr_ssft_options options;
} tiny;

// Questions of batch number `draw`; the same numbers give the same batch.
static inline void tiny_fill(tiny *t, uint64_t draw)
{
  memset(t, 0, sizeof *t);
  for (int i = 0; i < TINY_FORKS; i++) {
    t->fork_ids[i] = TINY_FORK + i;
    t->forks[i].ids = &t->fork_ids[i];
    t->forks[i].count = 1;
  }
  for (int q = 0; q < TINY_QUESTIONS; q++) {
    const uint32_t number = (uint32_t)((draw * TINY_QUESTIONS + (uint64_t)q) * 37 % 100);
    const fr_token a = (fr_token)(number / 10), b = (fr_token)(number % 10), s = (fr_token)((a + b) % 10);
    const fr_token way[TINY_TRACES][TINY_TRACE] = { { a, b, s, TINY_END }, { b, a, s, TINY_END }, { s, a, b, TINY_END } };
    const fr_token prompt[TINY_PROMPT] = { a, b, TINY_EQUALS };
    memcpy(t->prompt[q], prompt, sizeof prompt);
    // An index must carry no label, so the order of the traces turns with the question.
    for (int j = 0; j < TINY_TRACES; j++) {
      memcpy(t->ids[q][j], way[(j + q + (int)(draw % 3)) % TINY_TRACES], sizeof way[0]);
      t->traces[q][j].ids = t->ids[q][j];
      t->traces[q][j].count = TINY_TRACE;
    }
    t->questions[q].prompt.ids = t->prompt[q];
    t->questions[q].prompt.count = TINY_PROMPT;
    t->questions[q].traces = t->traces[q];
    t->questions[q].trace_count = TINY_TRACES;
    t->questions[q].key = draw * TINY_QUESTIONS + (uint64_t)q;
    t->questions[q].fork = t->fork[q];
    t->questions[q].cost = t->cost[q];
    t->questions[q].nll = t->nll[q];
  }
  t->options.forks = t->forks;
  t->options.fork_count = TINY_FORKS;
  t->options.method = FR_SSFT;
  t->options.prefix = 2;
  t->options.fork_weight = 0.1f;
  t->options.seed = 5;
  t->options.draw = draw;
}

static inline fr_config tiny_config(fr_int layers, fr_int dim)
{
  fr_config config;
  memset(&config, 0, sizeof config);
  config.layers = layers;
  config.dim = dim;
  config.heads = 4;
  config.kv_heads = 2;
  config.ffn = 2 * dim;
  config.vocab = TINY_VOCAB;
  config.tied = 1;
  config.embed_scale = 5.0f;
  return config;
}

// Limits for a training step on `questions` tiny questions in one pass, and for decoding `leaves` leaves from the
// forks of one question.
static inline fr_limits tiny_limits(const tiny *t, fr_int questions, fr_int leaves, fr_int tasks)
{
  fr_limits limits;
  memset(&limits, 0, sizeof limits);
  if (fr_ssft_limits(&t->options, TINY_PROMPT, TINY_TRACE, TINY_TRACES, questions, &limits) != FR_OK) return limits;
  fr_limits decoding;
  memset(&decoding, 0, sizeof decoding);
  decoding.rows = TINY_PROMPT + TINY_FORKS + leaves;
  decoding.spans = 1 + TINY_FORKS + leaves;
  decoding.leaves = leaves;
  decoding.depth = TINY_PROMPT + 1 + TINY_TRACE;
  decoding.tasks = tasks;
  decoding.cache_rows = TINY_PROMPT + TINY_FORKS + leaves * TINY_TRACE;
  return fr_limits_max(limits, decoding);
}

// The question q of t with its four forks as children: spans[0] is the question, spans[1 + i] fork i.
static inline fr_tree tiny_tree(const tiny *t, int q, fr_span *spans)
{
  fr_tree tree;
  memset(&tree, 0, sizeof tree);
  spans[0].parent = -1;
  spans[0].tokens = t->questions[q].prompt;
  for (int i = 0; i < TINY_FORKS; i++) { spans[1 + i].parent = 0; spans[1 + i].tokens = t->forks[i]; }
  tree.spans = spans;
  tree.span_count = 1 + TINY_FORKS;
  return tree;
}

#endif
