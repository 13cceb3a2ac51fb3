// step.c - one training step: its time, its share of the processor's peak, where the time goes, PyTorch beside it.
//
//     cc -O2 -pthread -I. bench/step.c -o step -lm && ./step            (or: make bench ONLY=step)
//
// Two models in float32, best of several steps, every kernel row that this processor has. A step counts 6 operations a
// token and weight of the products (2 forward, 4 backward; the head only where there is a target), and 12 a token, channel
// and layer for each key that causal attention sees on average. With BENCH_TORCH set to a python that has torch,
// peer_torch.py does the same step on the same tokens.
#define _POSIX_C_SOURCE 200809L
#define FORKREASON_IMPLEMENTATION
#include "forkreason.h"
#include "bench.h"
#include "../examples/pool.h"

typedef struct shape {
  const char *name;
  fr_config config;  // untied
  fr_int sequences, length;
  double peer_target, peak_target;
} shape;

static const shape shapes[] = {
  { "dim 384", { 6, 384, 6, 0, 0, 1024, 4096, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 }, 4, 256, 1.2, 0.75 },
  { "dim 128", { 4, 128, 4, 0, 0, 384, 512, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 }, 16, 128, 1.3, 0.60 }
};
enum { SHAPES = sizeof shapes / sizeof shapes[0] };

// ---- a training step

typedef struct training {
  const shape *of;
  fr_model model;
  fr_adamw adamw;
  fr_work work;
  fr_token *ids;
  fr_span *spans;
  fr_target *targets;
  fr_tree tree;
} training;

static void training_new(training *t, const shape *of, fr_int tasks)
{
  const fr_int rows = of->sequences * of->length;
  const fr_limits limits = { 0, rows, of->sequences, rows, of->sequences, of->length, tasks, 0, NULL };
  memset(t, 0, sizeof *t);
  t->of = of;
  t->ids = (fr_token *)bench_memory(rows, sizeof *t->ids);
  t->spans = (fr_span *)bench_memory(of->sequences, sizeof *t->spans);
  t->targets = (fr_target *)bench_memory(rows, sizeof *t->targets);
  t->tree.spans = t->spans;
  t->tree.span_count = of->sequences;
  t->tree.targets = t->targets;
  bench_require(fr_model_new(&t->model, &of->config), NULL);
  bench_require(fr_adamw_new(&t->adamw, &t->model), NULL);
  bench_require(fr_work_new(&t->work, &of->config, &limits), &t->work);
  fr_model_init(&t->model, 1);
  for (fr_int i = 0; i < rows; i++) t->ids[i] = (fr_token)(bench_hash((uint64_t)i) % (uint64_t)of->config.vocab);
  for (fr_int s = 0; s < of->sequences; s++) {
    t->spans[s].parent = -1;
    t->spans[s].tokens.ids = t->ids + s * of->length;
    t->spans[s].tokens.count = of->length;
    for (fr_int i = 0; i + 1 < of->length; i++) {
      fr_target *target = &t->targets[t->tree.target_count++];
      target->row = s * of->length + i;
      target->token = t->ids[target->row + 1];
      target->weight = 1.0f / (float)(of->sequences * (of->length - 1));
    }
  }
}

static void training_free(training *t)
{
  fr_work_free(&t->work);
  fr_adamw_free(&t->adamw);
  fr_model_free(&t->model);
  bench_free(t->targets);
  bench_free(t->spans);
  bench_free(t->ids);
}

// A bench_work; arg is a training.
static void training_step(void *arg)
{
  training *t = (training *)arg;
  fr_sum sum;
  bench_require(fr_backward(&t->model, &t->work, &t->tree, t->adamw.grads, &sum, 1), &t->work);
  bench_require(fr_adamw_step(&t->adamw, &t->model, &t->work, sum.weighted, 1e-3f, NULL), &t->work);
}

// Multiply-adds, two operations each, of one row in one layer, and of one target in the head.
typedef struct counts { double rows, targets, layers, qkv, out, up, down, attend, head; } counts;

static counts count(const shape *of)
{
  const double C = (double)of->config.dim, F = (double)of->config.ffn;
  counts n;
  n.rows = (double)(of->sequences * of->length);
  n.targets = (double)(of->sequences * (of->length - 1));
  n.layers = (double)of->config.layers;
  n.qkv = 2.0 * 3.0 * C * C;
  n.out = 2.0 * C * C;
  n.up = 2.0 * 2.0 * F * C;
  n.down = 2.0 * F * C;
  n.attend = 4.0 * C * 0.5 * (double)(of->length + 1);  // scores and sum of values, over all heads
  n.head = 2.0 * C * (double)of->config.vocab;
  return n;
}

static double step_flops(const shape *of)
{
  const counts n = count(of);
  return 3.0 * (n.rows * n.layers * (n.qkv + n.out + n.up + n.down + n.attend) + n.targets * n.head);
}

// ---- where the time goes: the thread hook sees every operation

typedef struct operation {
  const char *name;
  void (*task)(void *arg, fr_int index);
  int step, way;  // if the task is fr__task_segment: what the segment begins with
} operation;

static const operation operations[] = {
  { "embedding", fr__task_embed, 0, 0 },
  { "norm, q k v, rope", fr__task_segment, FR__NORM_ATT, FR__FORWARD },
  { "attention", fr__task_segment, FR__ATTEND, FR__FORWARD },
  { "out, norm, MLP", fr__task_segment, FR__OUT, FR__FORWARD },
  { "head, loss and their gradient", fr__task_head, 0, 0 },
  { "head: weights' gradient", fr__task_head_sums, 0, 0 },
  { "MLP gradient", fr__task_segment, FR__DOWN, FR__BACKWARD },
  { "MLP: weights' gradient", fr__task_segment, FR__DOWN, FR__SUMS },
  { "norm and out gradient", fr__task_segment, FR__NORM_MLP, FR__BACKWARD },
  { "attention gradient", fr__task_segment, FR__ATTEND, FR__BACKWARD },
  { "rope and q k v gradient", fr__task_segment, FR__ROTATE, FR__BACKWARD },
  { "q k v, out: weights' gradient", fr__task_segment, FR__OUT, FR__SUMS },
  { "norm gradient", fr__task_segment, FR__NORM_ATT, FR__BACKWARD },
  { "embedding gradient", fr__task_embed_back, 0, 0 },
  { "norm of all gradients", fr__task_norm, 0, 0 },
  { "AdamW", fr__task_adamw, 0, 0 }
};
enum { OPERATIONS = sizeof operations / sizeof operations[0] };

static double operation_flops(int which, const counts *n)
{
  const double rows = n->rows * n->layers;
  switch (which) {
  case 1: case 10: return rows * n->qkv;
  case 2: return rows * n->attend;
  case 3: return rows * (n->out + n->up + n->down);
  case 4: return 2.0 * n->targets * n->head;
  case 5: return n->targets * n->head;
  case 6: case 7: return rows * (n->up + n->down);
  case 8: return rows * n->out;
  case 9: return 2.0 * rows * n->attend;
  case 11: return rows * (n->qkv + n->out);
  default: return 0.0;
  }
}

typedef struct shares { double seconds[OPERATIONS + 1]; } shares;  // the last: tasks that the list does not name

// An fr_run that runs the tasks one after the other and books their time.
static void run_and_book(void *user, fr_int tasks, void (*task)(void *arg, fr_int index), void *arg)
{
  shares *s = (shares *)user;
  const double began = bench_now();
  int which = 0;
  for (fr_int i = 0; i < tasks; i++) task(arg, i);
  for (; which < OPERATIONS; which++) {
    const fr__act *first = task == fr__task_segment ? ((const fr__segment *)arg)->list : NULL;
    if (operations[which].task == task && (!first || (first->step == operations[which].step && first->way == operations[which].way)))
      break;
  }
  s->seconds[which] += bench_now() - began;
}

static void time_shares(const shape *of, double peak)
{
  training t;
  shares s, best;
  const counts n = count(of);
  double total = 1e30, booked = 0.0;
  memset(&best, 0, sizeof best);
  training_new(&t, of, 2);  // with one task the hook is not called
  t.work.run = run_and_book;
  t.work.pool = &s;
  training_step(&t);
  for (int i = 0; i < 8; i++) {
    double took;
    memset(&s, 0, sizeof s);
    took = bench_once(training_step, &t, 1);
    if (took >= total) continue;
    total = took;
    best = s;
  }
  printf("\n-- time of one step by operation, %s, %s; the step in two tasks, run one after the other\n", of->name,
         t.work.kernel);
  printf("%-34s %8s %8s %9s %10s\n", "", "ms", "share", "GFLOP/s", "of peak");
  for (int i = 0; i <= OPERATIONS + 1; i++) {
    char row[120];
    const double seconds = i <= OPERATIONS ? best.seconds[i] : total - booked, flops = operation_flops(i, &n);
    const char *name = i < OPERATIONS    ? operations[i].name
                       : i == OPERATIONS ? "tasks without a name here"
                                         : "outside of tasks";
    booked += seconds;
    if (i == OPERATIONS && seconds == 0.0) continue;
    printf("%-34s %8.2f %6.1f %%", name, 1e3 * seconds, 100.0 * seconds / total);
    snprintf(row, sizeof row, "step %s, part: %s", of->name, name);
    bench_record(row, "ms", BENCH_SHARE, 1e3 * seconds, 1e3 * total, "the whole step", 0.0);
    if (flops > 0.0) printf(" %9.1f %8.0f %%", 1e-9 * flops / seconds, 100.0 * flops / seconds / peak);
    printf("\n");
  }
  printf("%-34s %8.2f %6.1f %% %9.1f %8.0f %%\n", "all", 1e3 * total, 100.0, 1e-9 * step_flops(of) / total,
         100.0 * step_flops(of) / total / peak);
  training_free(&t);
}

// ---- the tables

typedef struct threaded { training of; pool threads; } threaded;

static void add_row(const shape *of, const char *what, const char *unit, bench_kind kind, double ours, double peer,
                    const char *peer_name, double target)
{
  char name[120];
  snprintf(name, sizeof name, "step %s, %s", of->name, what);
  bench_row(name, unit, kind, ours, peer, peer_name, target);
}

static void rows_of_kernels(const shape *of, double *peak)
{
  const bench_isa *isa = bench_best_isa();
  bench_isa peer = *isa;
  const double flops = step_flops(of), tokens = (double)(of->sequences * of->length);
  char title[160];
  snprintf(title, sizeof title, "training step, %d layers, %s, ffn %d, vocabulary %d, %d x %d tokens, one thread",
           (int)of->config.layers, of->name, (int)of->config.ffn, (int)of->config.vocab, (int)of->sequences,
           (int)of->length);
  bench_section(title);
  for (int i = 0; fr__kernel_row(i); i++) {
    training t;
    bench_pair time;
    char name[80];
    const char *row = fr__kernel_row(i)->name;
    if (!fr__kernel_row(i)->available()) continue;
    training_new(&t, of, 1);
    bench_require(fr_work_select(&t.work, row), &t.work);
    time = bench_compare(training_step, &t, bench_fma, &peer, 2.0);
    if (fr__kernel_row(i) == bench_best_row()) *peak = bench_fma_flops(isa) / time.peer;
    snprintf(name, sizeof name, "%s", row);
    add_row(of, name, "ms", BENCH_TIME, 1e3 * time.ours, 0.0, "", 0.0);
    add_row(of, name, "tokens/s", BENCH_RATE, tokens / time.ours, 0.0, "", 0.0);
    add_row(of, name, "GFLOP/s", BENCH_RATE, 1e-9 * flops / time.ours, 1e-9 * bench_fma_flops(isa) / time.peer,
            "measured peak", fr__kernel_row(i) == bench_best_row() ? of->peak_target : 0.0);
    training_free(&t);
  }
}

static void spin(void *isa, fr_int index)
{
  (void)index;
  bench_fma(isa);
}
typedef struct spinning { bench_isa isa; pool *threads; } spinning;
static void spin_both(void *arg)
{
  spinning *s = (spinning *)arg;
  for (int i = 0; i < 16; i++) pool_run(s->threads, 2, spin, &s->isa);
}
static void spin_alone(void *arg)
{
  spinning *s = (spinning *)arg;
  for (int i = 0; i < 32; i++) spin(&s->isa, 0);
}

// How much two threads can do at all: other programs may hold the second core, and then nobody scales.
static void row_of_two_cores(void)
{
  static pool threads;
  spinning s;
  bench_pair time;
  s.isa = *bench_best_isa();
  s.threads = &threads;
  if (pool_start(&threads, 2) < 2) printf("there is no second thread to be had\n");
  time = bench_compare(spin_both, &s, spin_alone, &s, 1.0);
  bench_section("multiply-adds in the registers of two threads: the most that two threads could give here");
  bench_row("multiply-add peak, 2 threads against 1", "ms", BENCH_TIME, 1e3 * time.ours, 1e3 * time.peer, "1 thread",
            0.0);
  pool_stop(&threads);
}

// PyTorch runs between two measurements of ours, with 1 and with 2 threads; then two threads against one, taking turns.
static void rows_of_peer(const shape *of)
{
  static threaded two;
  training one;
  bench_pair time;
  training_new(&one, of, 1);
  training_new(&two.of, of, 2);
  two.of.work.run = pool_run;
  two.of.work.pool = &two.threads;
  for (int threads = 1; threads <= 2; threads++) {
    training *ours = threads == 1 ? &one : &two.of;
    bench_peer torch;
    char flags[160], name[80], peer_name[80] = "skipped: no torch";
    double best;
    snprintf(flags, sizeof flags, "peer_torch.py step %d %d %d %d %d %d %d %d", (int)of->config.layers,
             (int)of->config.dim, (int)of->config.heads, (int)of->config.ffn, (int)of->config.vocab,
             (int)of->sequences, (int)of->length, threads);
    if (threads == 2 && pool_start(&two.threads, 2) < 2) printf("there is no second thread to be had\n");
    best = bench_best(training_step, ours, 1.5);
    bench_peer_run(&torch, "BENCH_TORCH", flags);
    best = fmin(best, bench_best(training_step, ours, 1.5));
    if (torch.version[0]) {
      if (threads == 1) printf("peer: %s\n", torch.version);
      snprintf(peer_name, sizeof peer_name, "PyTorch");
    }
    snprintf(name, sizeof name, "%d thread%s", threads, threads == 1 ? "" : "s");
    add_row(of, name, "ms", BENCH_TIME, 1e3 * best, 1e3 * bench_peer_value(&torch, "seconds"), peer_name,
            threads == 1 ? of->peer_target : 0.0);
  }
  time = bench_compare(training_step, &two.of, training_step, &one, 3.0);
  add_row(of, "2 threads against 1", "ms", BENCH_TIME, 1e3 * time.ours, 1e3 * time.peer, "1 thread", 1.8);
  pool_stop(&two.threads);
  training_free(&two.of);
  training_free(&one);
}

int main(void)
{
  bench_title("step: one training step, float32");
  printf("2 threads: two threads of examples/pool.h; this machine has %d processors online\n", pool_default_threads());
  row_of_two_cores();
  for (int i = 0; i < SHAPES; i++) {
    double peak = 0.0;
    rows_of_kernels(&shapes[i], &peak);
    rows_of_peer(&shapes[i]);
    time_shares(&shapes[i], peak);
  }
  return 0;
}
