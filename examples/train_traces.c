// train_traces.c - trains a small model from scratch on real solutions of word problems.
//
//     cc -O2 -pthread -o train_traces examples/train_traces.c -lm
//     ./train_traces FILE.jsonl --method ssft          (also: sft, random; --help lists the rest)
//
// FILE holds one object a line: {"question": ..., "traces": [{"text": ..., "correct": true, "source": "who wrote it"}]}.
// Tokens are bytes unless --tokenizer says otherwise; traces.h makes them. The question is whether forks, which are never told who wrote a trace, come to differ, and whether it helps on held-out questions:
//
//   mixture   -log( mean over forks of p(trace | question, fork) ) a token: all forks together as one model, which
//             may be compared with ordinary fine-tuning (sft), whose one fork is its own mixture
//   matched   -log p(trace | question, its matched fork) a token: the matching looks at the trace, so this is no prediction
//
// Everything random is drawn from counters (seed, purpose, step), so the random state of a run is its seed and its step: a
// run that was stopped at a checkpoint and continued ends with the same bits as one that was not.
#define _POSIX_C_SOURCE 200809L
#define FORKREASON_IMPLEMENTATION
#include "../forkreason.h"
#include "pool.h"
#include "traces.h"

#include <math.h>
#include <time.h>
#include <unistd.h>

enum { MOST_BATCH = 256, MOST_EVALUATIONS = 64, COLUMNS = 8 };  // COLUMNS of the matrix: sources

// ---- settings --------------------------------------------------------------------------------------------

typedef struct setting {
  const char *name;
  double value, low, high;
  int whole, given;
  const char *help;
} setting;

// Those before STOP belong to the run and are kept in its checkpoint.
enum { LAYERS, DIM, HEADS, FFN, FORKS, MOST, PREFIX, LENGTH, BATCH, EPOCHS, STEPS, RATE, WARMUP, HELD_OUT, EVALUATIONS, SAMPLE,
       SEED, STOP, EVERY, THREADS, SETTINGS };
static setting settings[SETTINGS] = {
  { "layers", 4, 1, 1000, 1, 0, "layers of the model" },
  { "dim", 128, 2, 65536, 1, 0, "channels" },
  { "heads", 4, 1, 1024, 1, 0, "attention heads" },
  { "ffn", 384, 1, 1048576, 1, 0, "inner size of the MLP" },
  { "forks", 6, 1, MOST_FORKS, 1, 0, "N: fork tokens" },
  { "most", 4, 1, MOST_FORKS, 1, 0, "traces drawn of a question at a time: min(its traces, forks, this)" },
  { "prefix", 64, 0, 1e6, 1, 0, "L: tokens of a trace that the matching looks at; 0: all" },
  { "length", 1024, 4, 1e6, 1, 0, "tokens of a question, fork and trace at most; a longer trace is dropped" },
  { "batch", 4, 1, MOST_BATCH, 1, 0, "questions in a step" },
  { "epochs", 1, 0, 1e6, 0, 0, "times that every training question is seen" },
  { "steps", 0, 0, 1e9, 1, 0, "steps instead of epochs; 0: by epochs" },
  { "rate", 5e-3, 0, 1, 0, 0, "learning rate at its highest; then half a cosine down to a tenth" },
  { "warmup", 10, 0, 1e9, 1, 0, "steps of linear warm-up" },
  { "held-out", 0.1, 0, 0.9, 0, 0, "share of the questions held out" },
  { "evaluations", 10, 2, MOST_EVALUATIONS, 1, 0, "times that the held-out loss is measured, first and last step included" },
  { "sample", 12, 1, 1e6, 1, 0, "held-out questions that are measured each time; the end measures all" },
  { "seed", 1, 0, 9e15, 1, 0, "of everything random" },
  { "stop", 0, 0, 1e9, 1, 0, "stop after this step of the run; 0: at its end" },
  { "every", 0, 0, 1e9, 1, 0, "save every so many steps, and at the end; 0: only at the end" },
  { "threads", 0, 0, POOL_MAX_THREADS, 1, 0, "0: as many as there are processors" },
};
static const char *const method_names[] = { "ssft", "random", "sft" };
static const fr_method methods[] = { FR_SSFT, FR_SSFT_RANDOM, FR_SFT_MIXED };
enum { SSFT, RANDOM, SFT };

static fr_int whole(int index) { return (fr_int)settings[index].value; }

static void help(void)
{
  printf("train_traces FILE.jsonl [options]: trains a small model on questions with several traces each\n\n"
         "  --method M           ssft (optimal matching), random (random matching) or sft (one fork for all)   [ssft]\n"
         "  --tokenizer T        tokenizer.json, tokenizer.bin or *.tiktoken (split as Llama 3); or train:N, N tokens learned from\n"
         "                       the questions to train on                                                         [bytes]\n"
         "  --save FILE          write a checkpoint at the end, and as --every says\n"
         "  --load FILE          continue the run of a checkpoint; its settings come with it, but for --tokenizer\n");
  for (int i = 0; i < SETTINGS; i++) printf("  --%-18s %s   [%g]\n", settings[i].name, settings[i].help, settings[i].value);
}

static uint64_t seed_for(uint64_t purpose)
{
  fr_random random = fr_random_stream((uint64_t)settings[SEED].value, purpose, 0);
  const uint64_t high = fr_random_bits(&random);
  return high << 32 | fr_random_bits(&random);
}
enum { FOR_SPLIT, FOR_WEIGHTS, FOR_FORKS, FOR_ORDER, FOR_TRACES, FOR_MATCHING, FOR_HELD_OUT };

static int prepare_data(data *d, const char *path, const char *words)
{
  const fr_dataset_counts *c = &d->set.counts;
  fr_int held_traces = 0;
  if (read_data(d, path, words, whole(FORKS), whole(LENGTH), settings[HELD_OUT].value, seed_for(FOR_SPLIT))) return 1;
  printf("data      %s: %td rows with %td traces\n", path, c->rows, c->traces);
  printf("dropped   traces: %td incorrect, %td empty, %td repeated, %td too long with their question (over %td tokens)\n",
         c->incorrect, c->empty, c->repeated, c->filtered, whole(LENGTH));
  printf("          questions: %td without a correct trace, %td with only long ones; %td rows joined to an earlier one\n",
         c->no_trace, c->filtered_problems, c->merged);
  if (c->conflicts) printf("          %td joined rows gave another answer than the first\n", c->conflicts);
  if (d->set.problem_count == 0) return fail("%s: no question has a correct trace of at most %td tokens", path, whole(LENGTH));
  for (fr_int i = d->train; i < d->set.problem_count; i++) held_traces += d->set.problems[d->order[i]].count;
  printf("kept      %td questions with %td traces to train on, %td with %td held out; %td sources; %td tokens\n", d->train,
         d->set.trace_count - held_traces, d->set.problem_count - d->train, held_traces, d->set.source_count, d->tokens);
  printf("tokens    %s: %td ids, %td merges\n", words ? words : "bytes", d->tokenizer.vocab, d->tokenizer.merge_count);
  if (d->train == 0 || d->train == d->set.problem_count)
    return fail("%td questions to train on, %td held out; both are needed", d->train, d->set.problem_count - d->train);
  return 0;
}

// ---- a run --------------------------------------------------------------------------------------------------

typedef struct run {
  data d;
  int method;
  fr_model model;
  fr_adamw adamw;
  fr_work work;
  pool threads;
  fr_ssft_options options;
  int64_t step, steps, tokens, traces;  // done; in all; trace tokens and traces trained on
  fr_int evaluations;
  double mixture[MOST_EVALUATIONS], matched[MOST_EVALUATIONS];
  fr_int *epoch_order;                  // the training problems as epoch `epoch` has them
  int64_t epoch;
  fr_question questions[MOST_BATCH];    // and what their fields point to; cost: of one question
  fr_tokens traces_of[MOST_BATCH][MOST_FORKS];
  fr_int picked[MOST_BATCH][MOST_FORKS], fork[MOST_BATCH][MOST_FORKS];
  double cost[MOST_FORKS * MOST_FORKS];
  double began, seconds;                // since when this program runs, and how much of it was training
  int64_t began_step, began_tokens;
} run;

static double now(void)
{
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

// Puts question number `slot` of a batch together, with a fresh draw of its traces.
static fr_question *draw_question(run *r, fr_int slot, fr_int problem, uint64_t seed, uint64_t draw)
{
  fr_question *q = &r->questions[slot];
  memset(q, 0, sizeof *q);
  q->prompt = r->d.prompts[problem];
  q->traces = r->traces_of[slot];
  q->trace_count = fr_dataset_draw(&r->d.set, problem, whole(FORKS), whole(MOST), seed, draw, r->picked[slot]);
  q->key = r->d.set.problems[problem].key;
  q->fork = r->fork[slot];
  for (fr_int j = 0; j < q->trace_count; j++) r->traces_of[slot][j] = r->d.traces[r->picked[slot][j]];
  return q;
}

// Every epoch has its own order. Position p of the run is question p % train of epoch p / train.
static fr_int problem_at(run *r, int64_t position)
{
  const fr_int train = r->d.train;
  const int64_t epoch = position / train;
  if (epoch != r->epoch) {
    fr_random random = fr_random_stream(seed_for(FOR_ORDER), (uint64_t)epoch, 0);
    memcpy(r->epoch_order, r->d.order, (size_t)train * sizeof *r->epoch_order);
    for (fr_int i = train - 1; i > 0; i--) {
      const fr_int j = fr_random_below(&random, i + 1), moved = r->epoch_order[i];
      r->epoch_order[i] = r->epoch_order[j];
      r->epoch_order[j] = moved;
    }
    r->epoch = epoch;
  }
  return r->epoch_order[position % train];
}

static int train_step(run *r, double *loss)
{
  const fr_int batch = whole(BATCH);
  const double began = now();
  fr_ssft_report report;
  const float rate = (float)settings[RATE].value * fr_schedule_cosine(r->step, (int64_t)settings[WARMUP].value, r->steps, 0.1f);
  for (fr_int i = 0; i < batch; i++) {
    const int64_t position = r->step * batch + i;
    draw_question(r, i, problem_at(r, position), seed_for(FOR_TRACES), (uint64_t)position);
  }
  r->options.draw = (uint64_t)r->step;
  if (fr_ssft_step(&r->model, &r->work, &r->adamw, &r->options, r->questions, batch, rate, &report))
    return fail("%s", r->work.reason.text);
  if (report.skipped) printf("step %lld was skipped: loss or gradient was not finite\n", (long long)r->step + 1);
  *loss = report.nll / (double)report.tokens;
  r->tokens += report.tokens;
  r->traces += report.traces;
  r->step++;
  r->seconds += now() - began;
  return 0;
}

// Fork x source: how often a trace of each source went to each fork.
typedef struct matrix { double count[MOST_FORKS][COLUMNS]; } matrix;

static void count_matches(const run *r, matrix *m, const fr_question *q)
{
  for (fr_int j = 0; j < q->trace_count; j++) {
    const fr_int source = r->d.set.traces[r->picked[0][j]].source;
    if (source >= 0) m->count[q->fork[j]][source < COLUMNS ? source : COLUMNS - 1] += 1.0;
  }
}

// Loss per trace token over the first `questions` held-out questions, always with the same traces, all of each trace
// scored under every fork. by_cost and at_random get the matchings, if not NULL.
static int evaluate(run *r, fr_int questions, double *mixture, double *matched, matrix *by_cost, matrix *at_random)
{
  fr_ssft_options options = r->options;
  const fr_int N = options.fork_count;
  double mixture_sum = 0.0, matched_sum = 0.0, tokens = 0.0;
  options.prefix = 0;
  options.draw = UINT64_MAX;
  for (fr_int i = 0; i < questions; i++) {
    fr_question *q = draw_question(r, 0, r->d.order[r->d.train + i], seed_for(FOR_HELD_OUT), 0);
    q->cost = r->cost;
    options.method = r->method == SFT ? FR_SFT_MIXED : FR_SSFT;
    if (fr_ssft_match(&r->model, &r->work, &options, q, 1)) return fail("%s", r->work.reason.text);
    for (fr_int j = 0; j < q->trace_count; j++) {
      const fr_int M = q->trace_count;
      const double length = (double)q->traces[j].count;
      double best = HUGE_VAL, sum = 0.0;  // -log mean_k exp(-nll_k) = best - log( sum_k exp(best - nll_k) / N )
      for (fr_int k = 0; k < N; k++) best = fmin(best, q->cost[k * M + j] * length);
      for (fr_int k = 0; k < N; k++) sum += exp(best - q->cost[k * M + j] * length);
      mixture_sum += best - log(sum / (double)N);
      matched_sum += q->cost[q->fork[j] * M + j] * length;
      tokens += length;
    }
    if (!by_cost) continue;
    count_matches(r, by_cost, q);
    q->cost = NULL;
    options.method = FR_SSFT_RANDOM;
    if (fr_ssft_match(&r->model, &r->work, &options, q, 1)) return fail("%s", r->work.reason.text);
    count_matches(r, at_random, q);
  }
  *mixture = mixture_sum / tokens;
  *matched = matched_sum / tokens;
  return 0;
}

// ---- what is shown ------------------------------------------------------------------------------------------

static double speed(const run *r) { return (double)(r->tokens - r->began_tokens) / fmax(r->seconds, 1e-9); }
static int64_t end_of(const run *r) { return whole(STOP) > 0 && whole(STOP) < r->steps ? whole(STOP) : r->steps; }
static double time_left(const run *r)
{
  return (now() - r->began) / (double)(r->step - r->began_step) * (double)(end_of(r) - r->step);
}

static void show_progress(const run *r, double loss)
{
  const int done = (int)(20 * r->step / r->steps);
  if (!isatty(2)) return;
  fprintf(stderr, "\r[%.*s%.*s] step %lld/%lld  loss %.3f  %.0f trace tokens/s  %.0f s left   ", done, "####################",
          20 - done, "....................", (long long)r->step, (long long)r->steps, loss, speed(r), time_left(r));
  if (r->step == r->steps) fprintf(stderr, "\n");
}

// I(fork; source) in the counts, over its largest possible value.
static double information(const matrix *m, fr_int rows, fr_int columns)
{
  double row[MOST_FORKS] = { 0 }, column[COLUMNS] = { 0 }, all = 0.0, sum = 0.0;
  for (fr_int i = 0; i < rows; i++)
    for (fr_int j = 0; j < columns; j++) { row[i] += m->count[i][j]; column[j] += m->count[i][j]; all += m->count[i][j]; }
  for (fr_int i = 0; i < rows; i++)
    for (fr_int j = 0; j < columns; j++)
      if (m->count[i][j] > 0.0) sum += m->count[i][j] / all * log(m->count[i][j] * all / (row[i] * column[j]));
  return rows > 1 && columns > 1 ? sum / log((double)(rows < columns ? rows : columns)) : 0.0;
}

// A row of a matrix: of the traces of each source, the share in percent that went to this fork, and a mark as dark as that.
static void show_row(const matrix *m, fr_int fork, fr_int rows, fr_int columns)
{
  for (fr_int j = 0; j < columns; j++) {
    double total = 0.0;
    for (fr_int i = 0; i < rows; i++) total += m->count[i][j];
    const double share = total > 0.0 ? m->count[fork][j] / total : 0.0;
    const char shade = " .:-=+*#%@"[(int)fmin(9.0, 10.0 * share)];
    printf(" %3.0f%c%c", 100.0 * share, shade, shade);
  }
}

static void show_matrices(const run *r, const matrix *by_cost, const matrix *at_random)
{
  const fr_int N = r->options.fork_count, sources = r->d.set.source_count, columns = sources < COLUMNS ? sources : COLUMNS;
  const int width = (int)(6 * columns);
  if (sources < 1 || N < 2) return;
  printf("\nheld-out traces, fork x source: of the traces of each source, percent that went to each fork\n");
  printf("            %-*s   %s\n          ", width, "matched by cost", "matched at random");
  for (int side = 0; side < 2; side++) {
    for (fr_int j = 0; j < columns; j++) printf("     %c", (char)('A' + j));
    printf(side ? "\n" : "   ");
  }
  for (fr_int i = 0; i < N; i++) {
    printf("  fork %2td ", i + 1);
    show_row(by_cost, i, N, columns);
    printf("   ");
    show_row(at_random, i, N, columns);
    printf("\n");
  }
  for (fr_int j = 0; j < columns; j++)
    if (j == COLUMNS - 1 && sources > COLUMNS) printf("  %c = %td other sources\n", (char)('A' + j), sources - COLUMNS + 1);
    else printf("  %c = %.*s\n", (char)('A' + j), (int)fmin(60.0, (double)r->d.set.sources[j].count), r->d.set.sources[j].bytes);
  printf("I(fork; source) / its maximum: %.3f matched by cost, %.3f matched at random (above 0 by chance: few traces)\n",
         information(by_cost, N, columns), information(at_random, N, columns));
}

// ---- checkpoint: the library's part is model and optimiser; this is ours --------------------------------------

enum { LAYOUT = 2, HEAD_WORDS = 7, WORDS = HEAD_WORDS + STOP + 2 * MOST_EVALUATIONS };

static int save(const run *r, const char *path)
{
  uint64_t words[WORDS] = { LAYOUT, (uint64_t)r->method, r->d.print, (uint64_t)r->step, (uint64_t)r->tokens, (uint64_t)r->traces,
                            (uint64_t)r->evaluations };
  unsigned char bytes[8 * WORDS];
  fr_reason reason;
  for (int i = 0; i < STOP; i++) memcpy(&words[HEAD_WORDS + i], &settings[i].value, 8);
  memcpy(&words[HEAD_WORDS + STOP], r->mixture, sizeof r->mixture);
  memcpy(&words[HEAD_WORDS + STOP + MOST_EVALUATIONS], r->matched, sizeof r->matched);
  for (int i = 0; i < 8 * WORDS; i++) bytes[i] = (unsigned char)(words[i / 8] >> (8 * (i % 8)));
  if (fr_checkpoint_save(path, &r->model, &r->adamw, bytes, sizeof bytes, &reason)) return fail("%s", reason.text);
  return 0;
}

// Makes model and optimiser from the file, and takes the settings of its run. *print is that of the run's data.
static int load(run *r, const char *path, int method_given, uint64_t *print)
{
  uint64_t words[WORDS] = { 0 };
  unsigned char bytes[8 * WORDS];
  fr_checkpoint info;
  fr_reason reason;
  int ours;
  for (int i = 0; i < STOP; i++)
    if (settings[i].given) return fail("--%s is a setting of the run in %s and cannot be given again", settings[i].name, path);
  if (method_given) return fail("--method is a setting of the run in %s and cannot be given again", path);
  if (fr_checkpoint_config(path, &info, &reason)) return fail("%s: %s", path, reason.text);
  if (info.user_bytes != (fr_int)sizeof bytes || !info.has_adamw) return fail("%s is not a checkpoint of this program", path);
  if (fr_model_new(&r->model, &info.config) || fr_adamw_new(&r->adamw, &r->model)) return fail("no memory for the model");
  if (fr_checkpoint_load(path, &r->model, &r->adamw, bytes, sizeof bytes, &reason)) return fail("%s: %s", path, reason.text);
  for (int i = 0; i < 8 * WORDS; i++) words[i / 8] |= (uint64_t)bytes[i] << (8 * (i % 8));
  ours = words[0] == LAYOUT && words[1] <= SFT && words[6] <= MOST_EVALUATIONS && words[3] <= INT64_MAX / 8192;
  r->method = (int)words[1];
  *print = words[2];
  r->step = (int64_t)words[3];
  r->tokens = (int64_t)words[4];
  r->traces = (int64_t)words[5];
  r->evaluations = (fr_int)words[6];
  for (int i = 0; i < STOP; i++) {
    memcpy(&settings[i].value, &words[HEAD_WORDS + i], 8);
    ours = ours && settings[i].value >= settings[i].low && settings[i].value <= settings[i].high;
  }
  memcpy(r->mixture, &words[HEAD_WORDS + STOP], sizeof r->mixture);
  memcpy(r->matched, &words[HEAD_WORDS + STOP + MOST_EVALUATIONS], sizeof r->matched);
  return ours ? 0 : fail("%s is not a checkpoint of this program", path);
}

// ---- putting it together --------------------------------------------------------------------------------------

static int make_model(run *r)
{
  fr_config config = { 0 };
  fr_reason reason;
  config.layers = whole(LAYERS);
  config.dim = whole(DIM);
  config.heads = whole(HEADS);
  config.ffn = whole(FFN);
  config.vocab = r->d.tokenizer.vocab;
  config.tied = 1;
  config.embed_scale = sqrtf((float)config.dim);
  if (fr_config_check(&config, NULL, &reason)) return fail("%s", reason.text);
  if (fr_model_new(&r->model, &config) || fr_adamw_new(&r->adamw, &r->model)) return fail("no memory for the model");
  fr_model_init(&r->model, seed_for(FOR_WEIGHTS));
  for (fr_int i = 0; i < whole(FORKS); i++)
    if (fr_model_set_rows(&r->model, r->d.fork_ids[i], 1, 0, 0.02f, seed_for(FOR_FORKS) + (uint64_t)i)) return fail("no row for a fork");
  return 0;
}

// Room for training steps, and for evaluations, which score whole traces under every fork.
static int make_room(run *r)
{
  const fr_int room = whole(FORKS), most = whole(MOST) < room ? whole(MOST) : room;
  fr_ssft_options whole_traces;
  fr_limits training, scoring;
  r->options.forks = r->d.forks;
  r->options.fork_count = r->method == SFT ? 1 : room;
  r->options.method = methods[r->method];
  r->options.prefix = whole(PREFIX);
  r->options.reduction = FR_MEAN_TOKENS;
  r->options.seed = seed_for(FOR_MATCHING);
  whole_traces = r->options;
  whole_traces.prefix = 0;
  if (fr_ssft_limits(&r->options, r->d.longest_prompt, r->d.longest_trace, most, 1, &training) ||
      fr_ssft_limits(&whole_traces, r->d.longest_prompt, r->d.longest_trace, most, 1, &scoring))
    return fail("a question with its traces does not fit this machine");
  scoring.grad_rows = 0;
  training = fr_limits_max(training, scoring);
  training.depth = whole(LENGTH);
  training.tasks = r->threads.threads;
  if (fr_work_new(&r->work, &r->model.config, &training)) return fail("%s", r->work.reason.text);
  r->work.run = pool_run;
  r->work.pool = &r->threads;
  r->epoch_order = (fr_int *)need(r->d.train, sizeof *r->epoch_order);
  r->epoch = -1;
  return 0;
}

static int loop(run *r, const char *save_path)
{
  const fr_int held_out = r->d.set.problem_count - r->d.train, sample = whole(SAMPLE) < held_out ? whole(SAMPLE) : held_out;
  const int64_t evaluations = whole(EVALUATIONS);
  double loss = 0.0;
  r->began = now();
  r->began_step = r->step;
  r->began_tokens = r->tokens;
  printf("\n   step   train loss   held-out loss a token (%td questions)   trace tokens/s   seconds   left\n"
         "                        mixture     matched (sees the trace)\n", sample);
  for (;;) {
    if (r->evaluations < evaluations && r->step >= r->evaluations * r->steps / (evaluations - 1)) {
      double *mixture = &r->mixture[r->evaluations], *matched = &r->matched[r->evaluations];
      if (evaluate(r, sample, mixture, matched, NULL, NULL)) return 1;
      r->evaluations++;
      if (isatty(2)) fprintf(stderr, "\r%79s\r", "");
      printf("%7lld  ", (long long)r->step);
      if (r->step == r->began_step) printf("          -     %7.4f     %7.4f\n", *mixture, *matched);
      else printf("    %7.4f     %7.4f     %7.4f %22.0f %15.0f %6.0f\n", loss, *mixture, *matched, speed(r),
                  now() - r->began, time_left(r));
      fflush(stdout);
    }
    if (r->step >= end_of(r)) break;
    if (train_step(r, &loss)) return 1;
    show_progress(r, loss);
    if (save_path && settings[EVERY].value > 0 && r->step % whole(EVERY) == 0 && save(r, save_path)) return 1;
  }
  if (save_path && save(r, save_path)) return 1;
  if (save_path) printf("saved     %s at step %lld\n", save_path, (long long)r->step);
  return 0;
}

static int finish(run *r)
{
  const fr_int held_out = r->d.set.problem_count - r->d.train;
  const fr_int ends = r->evaluations / 2 < 3 ? r->evaluations / 2 : 3;
  double mixture, matched, first = 0.0, last = 0.0;
  matrix by_cost = { { { 0 } } }, at_random = { { { 0 } } };
  printf("trained   on %lld traces of %lld tokens, up to %td of a question at a time; %lld updates, %lld skipped; %.0f s\n",
         (long long)r->traces, (long long)r->tokens, whole(MOST), (long long)r->adamw.step, (long long)r->adamw.skipped,
         now() - r->began);
  if (r->step < r->steps) {
    printf("stopped   at step %lld of %lld\n", (long long)r->step, (long long)r->steps);
    return 0;
  }
  if (evaluate(r, held_out, &mixture, &matched, r->method == SFT ? NULL : &by_cost, &at_random)) return 1;
  printf("held out  all %td questions: mixture %.4f, matched %.4f (sees the trace) nats a token; %s\n", held_out, mixture, matched,
         method_names[r->method]);
  for (fr_int i = 0; i < ends; i++) {
    first += r->mixture[i] / (double)ends;
    last += r->mixture[r->evaluations - 1 - i] / (double)ends;
  }
  printf("          mean of the first %td measurements above %.4f, of the last %td %.4f: %.1f %% lower\n", ends, first, ends, last,
         100.0 * (1.0 - last / first));
  if (r->method != SFT) show_matrices(r, &by_cost, &at_random);
  return 0;
}

static int read_arguments(int count, char **words, run *r, const char **file, const char **tokenizer, const char **save_path,
                          const char **load_path, int *method_given)
{
  for (int i = 1; i < count; i++) {
    const char *name = words[i], *value = i + 1 < count ? words[i + 1] : NULL;
    int found = 0;
    if (strncmp(name, "--", 2) != 0) {
      if (*file) return fail("one file at a time: %s or %s", *file, name);
      *file = name;
      continue;
    }
    if (!value) return fail("%s needs a value (or is unknown); --help lists the options", name);
    if (!strcmp(name, "--tokenizer")) *tokenizer = value, found = 1;
    if (!strcmp(name, "--save")) *save_path = value, found = 1;
    if (!strcmp(name, "--load")) *load_path = value, found = 1;
    if (!strcmp(name, "--method")) {
      for (r->method = 0; r->method <= SFT && strcmp(value, method_names[r->method]); r->method++) {}
      if (r->method > SFT) return fail("--method is ssft, random or sft, not %s", value);
      *method_given = found = 1;
    }
    for (int s = 0; s < SETTINGS; s++) {
      char *end;
      if (strcmp(name + 2, settings[s].name)) continue;
      settings[s].value = strtod(value, &end);
      settings[s].given = found = 1;
      if (*end || end == value || !(settings[s].value >= settings[s].low && settings[s].value <= settings[s].high) ||
          (settings[s].whole && floor(settings[s].value) < settings[s].value))
        return fail("%s is %s from %g to %g, not %s", name, settings[s].whole ? "a whole number" : "a number", settings[s].low,
                    settings[s].high, value);
    }
    if (!found) return fail("%s is unknown; --help lists the options", name);
    i++;
  }
  return *file ? 0 : fail("which FILE.jsonl? --help lists the options");
}

int main(int count, char **words)
{
  static run r;
  const char *file = NULL, *tokenizer = NULL, *save_path = NULL, *load_path = NULL;
  int method_given = 0, bad;
  uint64_t print = 0;
  for (int i = 1; i < count; i++)
    if (!strcmp(words[i], "--help") || !strcmp(words[i], "-h")) { help(); return 0; }
  if (read_arguments(count, words, &r, &file, &tokenizer, &save_path, &load_path, &method_given)) return 1;
  if ((load_path && load(&r, load_path, method_given, &print)) || prepare_data(&r.d, file, tokenizer)) return 1;
  if (load_path && (print != r.d.print || r.model.config.vocab != r.d.tokenizer.vocab))
    return fail("%s is not the data that the run in %s was trained on, or its tokens are others", file, load_path);
  if (!load_path && make_model(&r)) return 1;
  r.steps = settings[STEPS].value > 0 ? (int64_t)settings[STEPS].value
                                      : (int64_t)ceil(settings[EPOCHS].value * (double)r.d.train / settings[BATCH].value);
  pool_start(&r.threads, settings[THREADS].value > 0 ? (int)settings[THREADS].value : pool_default_threads());
  bad = make_room(&r);
  if (!bad) {
    printf("model     %td parameters: %td layers, dim %td, %td heads, ffn %td; %s with %td forks; %d threads, %s\n", r.model.count,
           r.model.config.layers, r.model.config.dim, r.model.config.heads, r.model.config.ffn, method_names[r.method],
           r.options.fork_count, r.threads.threads, fr_work_kernel(&r.work));
    if (load_path) printf("loaded    %s at step %lld of %lld\n", load_path, (long long)r.step, (long long)r.steps);
    bad = loop(&r, save_path) || finish(&r);
  }
  pool_stop(&r.threads);
  fr_work_free(&r.work);
  fr_adamw_free(&r.adamw);
  fr_model_free(&r.model);
  free_data(&r.d);
  free(r.epoch_order);
  return bad;
}
