// train_traces.c - trains a small model from scratch on real solutions of word problems.
//
//     cc -O2 -pthread -o train_traces examples/train_traces.c -lm
//     ./train_traces FILE.jsonl --method ssft          (also: sft, random; --help lists the rest)
//
// FILE holds one object a line: {"question": ..., "traces": [{"text": ..., "correct": true, "source": "who wrote it"}]}.
// A sequence is  question <|asked|> <thinkI> trace <|end|>.  Tokens are bytes unless --tokenizer says otherwise. The question is
// whether forks, which are never told who wrote a trace, come to differ, and whether it helps on held-out questions:
//
//   mixture   -log( mean over forks of p(trace | question, fork) ) a token: all forks together as one model, which
//             may be compared with ordinary fine-tuning (sft), whose one fork is its own mixture
//   matched   -log p(trace | question, its matched fork) a token: the matching looks at the trace, so this is no prediction
//
// Everything random is drawn from counters (seed, purpose, step), so the random state of a run is its seed and its step: a
// run that was stopped at a checkpoint and continued ends with the same bits as one that was not. The checkpoint is a bundle: it
// has the tokenizer and the framing too, and is refused with other data.
#define _POSIX_C_SOURCE 200809L
#define FORKREASON_IMPLEMENTATION
#include "../forkreason.h"
#include "pool.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { MOST_FORKS = 64, MOST_BATCH = 256, MOST_EVALUATIONS = 64, COLUMNS = 8 };  // COLUMNS of the matrix: sources

static int fail(const char *format, ...)
{
  va_list list;
  va_start(list, format);
  fprintf(stderr, "train_traces: ");
  vfprintf(stderr, format, list);
  fprintf(stderr, "\n");
  va_end(list);
  return 1;
}

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
         "  --load FILE          continue the run of a checkpoint; its settings and its tokenizer come with it\n");
  for (int i = 0; i < SETTINGS; i++) printf("  --%-18s %s   [%g]\n", settings[i].name, settings[i].help, settings[i].value);
}

static uint64_t seed_for(uint64_t purpose)
{
  fr_random random = fr_random_stream((uint64_t)settings[SEED].value, purpose, 0);
  const uint64_t high = fr_random_bits(&random);
  return high << 32 | fr_random_bits(&random);
}
enum { FOR_DATA, FOR_WEIGHTS, FOR_FORKS, FOR_MATCHING };

// ---- a run --------------------------------------------------------------------------------------------------

typedef struct run {
  fr_dataset set;
  fr_tokenizer tokenizer;
  fr_encoder encoder;
  fr_framing framing;
  fr_text forks[MOST_FORKS];
  char names[MOST_FORKS][16];
  fr_corpus corpus;
  fr_bundle bundle;                     // that a checkpoint came with
  fr_model model;
  fr_adamw adamw;
  fr_work work;
  pool threads;
  int method;
  fr_ssft_options options;
  int64_t step, steps, tokens, traces;  // done; in all; trace tokens and traces trained on
  fr_int evaluations;
  double mixture[MOST_EVALUATIONS], matched[MOST_EVALUATIONS];
  double began, seconds;                // since when this program runs, and how much of it was training
  int64_t began_step, began_tokens;
} run;

static double now(void)
{
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static const fr_special specials[2] = { { { "<|end|>", 7 }, -1 }, { { "<|asked|>", 9 }, -1 } };

// What the tokens make of the data: encoder, framing, corpus.
static int open_corpus(run *r, const fr_tokenizer *tokenizer, fr_int length)
{
  fr_corpus_options o = { 0 };
  fr_reason reason;
  if (fr_encoder_new(&r->encoder, tokenizer, r->set.longest, 1 << 14)) return fail("no memory for the encoder");
  r->framing.after = specials[1].text;
  r->framing.end = fr_tokenizer_find(tokenizer, specials[0].text);
  r->framing.forks = r->forks;
  r->framing.fork_count = whole(FORKS);
  for (fr_int i = 0; i < whole(FORKS); i++) {
    r->forks[i].bytes = r->names[i];
    r->forks[i].count = snprintf(r->names[i], sizeof r->names[i], "<think%td>", i + 1);
  }
  o.length = length;
  o.traces = whole(MOST);
  o.batch = whole(BATCH);
  o.held_out = settings[HELD_OUT].value;
  o.seed = seed_for(FOR_DATA);
  return fr_corpus_new(&r->corpus, &r->set, &r->encoder, &r->framing, &o, &reason) ? fail("%s", reason.text) : 0;
}

static void close_corpus(run *r)
{
  fr_corpus_free(&r->corpus);
  fr_encoder_free(&r->encoder);
}

// N tokens, learned from the questions and traces to train on. Which these are a corpus of bytes tells.
static int learn_tokenizer(run *r, fr_training *training, fr_int vocab)
{
  fr_text *texts = (fr_text *)malloc((size_t)(r->set.problem_count + r->set.trace_count + 1) * sizeof *texts);
  fr_reason reason;
  fr_int count = 0;
  int bad;
  if (!texts) return fail("out of memory");
  bad = open_corpus(r, &r->tokenizer, 0);
  for (fr_int i = 0; !bad && i < r->corpus.train; i++) {
    const fr_problem *p = &r->set.problems[r->corpus.problem[r->corpus.order[i]]];
    texts[count++] = p->text;
    for (fr_int j = 0; j < p->count; j++) texts[count++] = r->set.traces[p->first + j].text;
  }
  close_corpus(r);
  fr_tokenizer_free(&r->tokenizer);
  training->vocab = vocab;
  if (!bad && fr_tokenizer_train_new(&r->tokenizer, training, texts, count, &reason)) bad = fail("tokens: %s", reason.text);
  free(texts);
  return bad;
}

// NULL: bytes, 0-255, then <|end|>, <|asked|> and the forks. train:N; or a file, ours behind its tokens.
static int open_tokenizer(run *r, const char *words)
{
  const fr_int forks = whole(FORKS), least = 256 + 2 + forks;
  fr_tokenizer_source source;
  fr_training training;
  fr_reason reason;
  memset(&source, 0, sizeof source);
  memset(&training, 0, sizeof training);
  source.specials = training.specials = specials;
  source.special_count = training.special_count = 2;
  source.forks = training.forks = forks;
  training.vocab = least;
  if (words && strncmp(words, "train:", 6)) {
    if (strstr(words, ".tiktoken")) source.split = FR_SPLIT_LLAMA3;
    return fr_tokenizer_load(&r->tokenizer, words, NULL, &source, &reason) ? fail("--tokenizer %s: %s", words, reason.text) : 0;
  }
  if (fr_tokenizer_train_new(&r->tokenizer, &training, NULL, 0, &reason)) return fail("tokens: %s", reason.text);
  if (words) {
    char *end;
    const long wanted = strtol(words + 6, &end, 10);
    if (end == words + 6 || *end || wanted < least || wanted > 1000000)
      return fail("--tokenizer train:N needs a whole number from %td to 1000000, not '%s'", least, words + 6);
    return learn_tokenizer(r, &training, wanted);
  }
  return 0;
}

// Reads all; what has more than --length tokens is left out.
static int prepare_data(run *r, const char *path, const char *words)
{
  const fr_dataset_counts *c = &r->set.counts;
  const fr_corpus *corpus = &r->corpus;
  const fr_tokenizer *tokenizer = &r->tokenizer;
  fr_int held_traces = 0;
  fr_reason reason;
  if (fr_dataset_load(&r->set, path, &reason)) return fail("%s: %s", path, reason.text);
  if (r->bundle.tokenizer && !words) tokenizer = r->bundle.tokenizer;
  else if (open_tokenizer(r, words)) return 1;
  if (open_corpus(r, tokenizer, whole(LENGTH))) return 1;
  printf("data      %s: %td rows with %td traces\n", path, c->rows, c->traces);
  printf("dropped   traces: %td incorrect, %td empty, %td repeated, %td too long with their question (over %td tokens)\n",
         c->incorrect, c->empty, c->repeated, corpus->left_out[FR_TRACE_LONG], whole(LENGTH));
  printf("          questions: %td without a correct trace, %td with only long ones; %td rows joined to an earlier one\n",
         c->no_trace, corpus->left_out[FR_QUESTION_BARE], c->merged);
  if (c->conflicts) printf("          %td joined rows gave another answer than the first\n", c->conflicts);
  for (int i = 0; i < FR_LEFT_OUT_COUNT; i++)
    if (corpus->left_out[i]) printf("          %td such as %s\n", corpus->left_out[i], corpus->example[i].text);
  if (corpus->count == 0) return fail("%s: no question has a correct trace of at most %td tokens", path, whole(LENGTH));
  for (fr_int i = corpus->train; i < corpus->count; i++) held_traces += corpus->questions[corpus->order[i]].trace_count;
  printf("kept      %td questions with %td traces to train on, %td with %td held out; %td sources; %td tokens\n", corpus->train,
         corpus->traces - held_traces, corpus->count - corpus->train, held_traces, r->set.source_count, corpus->tokens);
  printf("tokens    %s: %td ids, %td merges\n", words ? words : r->bundle.tokenizer ? "those of the run" : "bytes",
         tokenizer->vocab, tokenizer->merge_count);
  return 0;
}

static int train_step(run *r, double *loss)
{
  const double began = now();
  fr_ssft_report report;
  const float rate = (float)settings[RATE].value * fr_schedule_cosine(r->step, (int64_t)settings[WARMUP].value, r->steps, 0.1f);
  if (fr_corpus_batch(&r->corpus, r->step)) return fail("there is no batch for step %lld", (long long)r->step);
  r->options.draw = (uint64_t)r->step;
  if (fr_ssft_step(&r->model, &r->work, &r->adamw, &r->options, r->corpus.batch, whole(BATCH), rate, &report))
    return fail("%s", r->work.reason.text);
  if (report.skipped) printf("step %lld was skipped: loss or gradient was not finite\n", (long long)r->step + 1);
  *loss = report.nll / (double)report.tokens;
  r->tokens += report.tokens;
  r->traces += report.traces;
  r->step++;
  r->seconds += now() - began;
  return 0;
}

// Over the first `questions` held out, matched by cost or at random.
static int evaluate(run *r, fr_int questions, fr_method method, fr_diagnosis *diagnosis, fr_validation *v)
{
  fr_ssft_options options = r->options;
  options.method = r->method == SFT ? FR_SFT_MIXED : method;
  return fr_corpus_validate(&r->corpus, &r->model, &r->work, &options, questions, diagnosis, v) ? fail("%s", r->work.reason.text) : 0;
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

// A row of a matrix: of the traces of each source, the part in percent that went to this fork, and a mark as dark as that.
// Sources beyond the columns are counted in the last one.
static void show_row(const fr_diagnosis *d, fr_int fork, fr_int sources, fr_int columns)
{
  for (fr_int j = 0; j < columns; j++) {
    double total = 0.0, here = 0.0;
    for (fr_int s = j; s < (j == columns - 1 ? sources : j + 1); s++)
      for (fr_int i = 0; i < d->options.forks; i++) {
        const double count = (double)d->matrix[i * d->options.sources + s];
        total += count;
        here += i == fork ? count : 0.0;
      }
    const double part = total > 0.0 ? here / total : 0.0;
    const char shade = " .:-=+*#%@"[(int)fmin(9.0, 10.0 * part)];
    printf(" %3.0f%c%c", 100.0 * part, shade, shade);
  }
}

static void show_matrices(const run *r, const fr_diagnosis *by_cost, const fr_diagnosis *at_random)
{
  const fr_int N = r->options.fork_count, sources = r->set.source_count, columns = sources < COLUMNS ? sources : COLUMNS;
  const int width = (int)(6 * columns);
  fr_diagnosis_reading cost, chance;
  if (sources < 1 || N < 2 || fr_diagnosis_read(by_cost, &cost) || fr_diagnosis_read(at_random, &chance)) return;
  printf("\nheld-out traces, fork x source: of the traces of each source, percent that went to each fork\n");
  printf("            %-*s   %s\n          ", width, "matched by cost", "matched at random");
  for (int side = 0; side < 2; side++) {
    for (fr_int j = 0; j < columns; j++) printf("     %c", (char)('A' + j));
    printf(side ? "\n" : "   ");
  }
  for (fr_int i = 0; i < N; i++) {
    printf("  fork %2td ", i + 1);
    show_row(by_cost, i, sources, columns);
    printf("   ");
    show_row(at_random, i, sources, columns);
    printf("\n");
  }
  for (fr_int j = 0; j < columns; j++)
    if (j == COLUMNS - 1 && sources > COLUMNS) printf("  %c = %td other sources\n", (char)('A' + j), sources - COLUMNS + 1);
    else printf("  %c = %.*s\n", (char)('A' + j), (int)fmin(60.0, (double)r->set.sources[j].count), r->set.sources[j].bytes);
  printf("I(fork; source) / its maximum: %.3f matched by cost, %.3f matched at random; %.3f by chance alone, with so few traces\n",
         cost.source.value / fmax(cost.source.maximum, 1e-9), chance.source.value / fmax(chance.source.maximum, 1e-9),
         cost.source.chance / fmax(cost.source.maximum, 1e-9));
}

// ---- checkpoint: a bundle; what is in its bytes of ours ----------------------------------------------------------

enum { LAYOUT = 3, HEAD_WORDS = 6, WORDS = HEAD_WORDS + STOP + 2 * MOST_EVALUATIONS };

static fr_bundle what_belongs_together(const run *r)
{
  fr_bundle bundle;
  memset(&bundle, 0, sizeof bundle);
  bundle.tokenizer = r->encoder.tokenizer;
  bundle.framing = r->framing;
  bundle.options = r->options;
  bundle.corpus = r->corpus.options;
  bundle.key = r->corpus.key;
  return bundle;
}

static int save(const run *r, const char *path)
{
  uint64_t words[WORDS] = { LAYOUT, (uint64_t)r->method, (uint64_t)r->step, (uint64_t)r->tokens, (uint64_t)r->traces,
                            (uint64_t)r->evaluations };
  unsigned char bytes[8 * WORDS];
  fr_bundle bundle = what_belongs_together(r);
  fr_reason reason;
  for (int i = 0; i < STOP; i++) memcpy(&words[HEAD_WORDS + i], &settings[i].value, 8);
  memcpy(&words[HEAD_WORDS + STOP], r->mixture, sizeof r->mixture);
  memcpy(&words[HEAD_WORDS + STOP + MOST_EVALUATIONS], r->matched, sizeof r->matched);
  for (int i = 0; i < 8 * WORDS; i++) bytes[i] = (unsigned char)(words[i / 8] >> (8 * (i % 8)));
  bundle.user.bytes = (const char *)bytes;
  bundle.user.count = sizeof bytes;
  return fr_bundle_save(path, &bundle, &r->model, &r->adamw, &reason) ? fail("%s", reason.text) : 0;
}

// Before a long run: can a checkpoint be written there? A folder and a place without a right to write are found here.
static int can_save(const char *path)
{
  char temporary[1100];
  FILE *file = fopen(path, "r+b");
  if (!file && errno == EISDIR) return fail("%s cannot be opened for writing: %s", path, strerror(errno)), 0;
  if (file) fclose(file);
  snprintf(temporary, sizeof temporary, "%s.tmp", path);
  file = fopen(temporary, "ab");
  if (!file) return fail("%s cannot be opened for writing: %s", temporary, strerror(errno)), 0;
  fclose(file);
  remove(temporary);
  return 1;
}

// The run goes on when its checkpoint cannot be written; at its end another name is tried. 0: none of that name.
static int save_at_end(const run *r, const char *path)
{
  char other[1100];
  int bad = save(r, path);
  snprintf(other, sizeof other, "%s.other", path);
  if (!bad || !save(r, other)) printf("saved     %s at step %lld\n", bad ? other : path, (long long)r->step);
  return !bad;
}

// Makes model and optimiser from the file, and takes the settings of its run.
static int load(run *r, const char *path, int method_given)
{
  uint64_t words[WORDS] = { 0 };
  fr_reason reason;
  int ours;
  for (int i = 0; i < STOP; i++)
    if (settings[i].given) return fail("--%s is a setting of the run in %s and cannot be given again", settings[i].name, path);
  if (method_given) return fail("--method is a setting of the run in %s and cannot be given again", path);
  if (fr_bundle_load(path, NULL, &r->bundle, &r->model, &r->adamw, &reason)) return fail("%s: %s", path, reason.text);
  if (r->bundle.user.count != 8 * WORDS) return fail("%s is not a checkpoint of this program", path);
  for (int i = 0; i < 8 * WORDS; i++) words[i / 8] |= (uint64_t)(unsigned char)r->bundle.user.bytes[i] << (8 * (i % 8));
  ours = words[0] == LAYOUT && words[1] <= SFT && words[5] <= MOST_EVALUATIONS && words[2] <= INT64_MAX / 8192;
  r->method = (int)words[1];
  r->step = (int64_t)words[2];
  r->tokens = (int64_t)words[3];
  r->traces = (int64_t)words[4];
  r->evaluations = (fr_int)words[5];
  for (int i = 0; i < STOP; i++) {
    memcpy(&settings[i].value, &words[HEAD_WORDS + i], 8);
    ours = ours && settings[i].value >= settings[i].low && settings[i].value <= settings[i].high;
  }
  memcpy(r->mixture, &words[HEAD_WORDS + STOP], sizeof r->mixture);
  memcpy(r->matched, &words[HEAD_WORDS + STOP + MOST_EVALUATIONS], sizeof r->matched);
  return ours ? 0 : fail("%s is not a checkpoint of this program", path);
}

// The same file once more, now that it is known what it is to be run with.
static int check(run *r, const char *path, const char *file)
{
  const fr_bundle expected = what_belongs_together(r);
  fr_bundle again;
  fr_reason reason;
  fr_adamw_free(&r->adamw);
  fr_model_free(&r->model);
  if (fr_bundle_load(path, &expected, &again, &r->model, &r->adamw, &reason))
    return fail("%s is not the data that the run in %s was trained on, or its tokens are others: %s", file, path, reason.text);
  fr_bundle_free(&again);
  return 0;
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
  config.vocab = r->encoder.tokenizer->vocab;
  config.tied = 1;
  config.embed_scale = sqrtf((float)config.dim);
  if (fr_config_check(&config, NULL, &reason)) return fail("%s", reason.text);
  if (fr_model_new(&r->model, &config) || fr_adamw_new(&r->adamw, &r->model)) return fail("no memory for the model");
  fr_model_init(&r->model, seed_for(FOR_WEIGHTS));
  for (fr_int i = 0; i < whole(FORKS); i++)
    if (fr_model_set_rows(&r->model, r->corpus.forks[i].ids[0], 1, 0, 0.02f, seed_for(FOR_FORKS) + (uint64_t)i)) return fail("no row for a fork");
  return 0;
}

static int make_room(run *r)
{
  fr_limits limits;
  r->options.forks = r->corpus.forks;
  r->options.fork_count = r->method == SFT ? 1 : whole(FORKS);
  r->options.method = methods[r->method];
  r->options.prefix = whole(PREFIX);
  r->options.reduction = FR_MEAN_TOKENS;
  r->options.seed = seed_for(FOR_MATCHING);
  if (fr_corpus_limits(&r->corpus, &r->options, 1, &limits)) return fail("a question with its traces does not fit this machine");
  limits.tasks = r->threads.threads;
  if (fr_work_new(&r->work, &r->model.config, &limits)) return fail("%s", r->work.reason.text);
  r->work.run = pool_run;
  r->work.pool = &r->threads;
  return 0;
}

static int loop(run *r, const char *save_path)
{
  const fr_int held_out = r->corpus.count - r->corpus.train, sample = whole(SAMPLE) < held_out ? whole(SAMPLE) : held_out;
  const int64_t evaluations = whole(EVALUATIONS);
  double loss = 0.0;
  r->began = now();
  r->began_step = r->step;
  r->began_tokens = r->tokens;
  printf("\n   step   train loss   held-out loss a token (%td questions)   trace tokens/s   seconds   left\n"
         "                        mixture     matched (sees the trace)\n", sample);
  for (;;) {
    if (r->evaluations < evaluations && r->step >= r->evaluations * r->steps / (evaluations - 1)) {
      fr_validation v;
      if (evaluate(r, sample, FR_SSFT, NULL, &v)) return 1;
      r->mixture[r->evaluations] = v.mixture;
      r->matched[r->evaluations++] = v.matched;
      if (isatty(2)) fprintf(stderr, "\r%79s\r", "");
      printf("%7lld  ", (long long)r->step);
      if (r->step == r->began_step) printf("          -     %7.4f     %7.4f\n", v.mixture, v.matched);
      else printf("    %7.4f     %7.4f     %7.4f %22.0f %15.0f %6.0f\n", loss, v.mixture, v.matched, speed(r),
                  now() - r->began, time_left(r));
      fflush(stdout);
    }
    if (r->step >= end_of(r)) break;
    if (train_step(r, &loss)) return 1;
    show_progress(r, loss);
    if (save_path && settings[EVERY].value > 0 && r->step % whole(EVERY) == 0 && r->step < end_of(r)) save(r, save_path);
  }
  return 0;
}

static int finish(run *r)
{
  const fr_int ends = r->evaluations / 2 < 3 ? r->evaluations / 2 : 3;
  fr_diagnosis_options options = { 0 };
  fr_diagnosis diagnosis[2] = { 0 };
  fr_validation v[2];
  double first = 0.0, last = 0.0;
  int bad = 0;
  printf("trained   on %lld traces of %lld tokens, up to %td of a question at a time; %lld updates, %lld skipped; %.0f s\n",
         (long long)r->traces, (long long)r->tokens, whole(MOST), (long long)r->adamw.step, (long long)r->adamw.skipped,
         now() - r->began);
  if (r->step < r->steps) {
    printf("stopped   at step %lld of %lld\n", (long long)r->step, (long long)r->steps);
    return 0;
  }
  options.forks = r->options.fork_count;
  options.sources = r->corpus.sources;
  for (int i = 0; i < (r->method == SFT ? 1 : 2) && !bad; i++) {
    fr_reason reason;
    bad = fr_diagnosis_new(&diagnosis[i], &options, &reason) ? fail("%s", reason.text)
                                                             : evaluate(r, 0, i ? FR_SSFT_RANDOM : FR_SSFT, &diagnosis[i], &v[i]);
  }
  if (!bad) {
    printf("held out  all %td questions: mixture %.4f, matched %.4f (sees the trace) nats a token; %s\n", v[0].questions, v[0].mixture,
           v[0].matched, method_names[r->method]);
    for (fr_int i = 0; i < ends; i++) {
      first += r->mixture[i] / (double)ends;
      last += r->mixture[r->evaluations - 1 - i] / (double)ends;
    }
    printf("          mean of the first %td measurements above %.4f, of the last %td %.4f: %.1f %% %s\n", ends, first, ends, last,
           100.0 * fabs(1.0 - last / first), last > first ? "higher, the run diverged" : "lower");
    if (r->method != SFT) show_matrices(r, &diagnosis[0], &diagnosis[1]);
  }
  for (int i = 0; i < 2; i++) fr_diagnosis_free(&diagnosis[i]);
  return bad;
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
  for (int i = 1; i < count; i++)
    if (!strcmp(words[i], "--help") || !strcmp(words[i], "-h")) { help(); return 0; }
  if (read_arguments(count, words, &r, &file, &tokenizer, &save_path, &load_path, &method_given)) return 1;
  if (save_path && !can_save(save_path)) return 1;
  if ((load_path && load(&r, load_path, method_given)) || prepare_data(&r, file, tokenizer)) return 1;
  if (load_path && check(&r, load_path, file)) return 1;
  if (r.corpus.train == 0 || r.corpus.train == r.corpus.count)
    return fail("%td questions to train on, %td held out; both are needed", r.corpus.train, r.corpus.count - r.corpus.train);
  if (!load_path && make_model(&r)) return 1;
  r.steps = settings[STEPS].value > 0 ? (int64_t)settings[STEPS].value
                                      : (int64_t)ceil(settings[EPOCHS].value * (double)r.corpus.train / settings[BATCH].value);
  pool_start(&r.threads, settings[THREADS].value > 0 ? (int)settings[THREADS].value : pool_default_threads());
  bad = make_room(&r);
  if (!bad) {
    printf("model     %td parameters: %td layers, dim %td, %td heads, ffn %td; %s with %td forks; %d threads, %s\n", r.model.count,
           r.model.config.layers, r.model.config.dim, r.model.config.heads, r.model.config.ffn, method_names[r.method],
           r.options.fork_count, r.threads.threads, r.work.kernel);
    if (load_path) printf("loaded    %s at step %lld of %lld\n", load_path, (long long)r.step, (long long)r.steps);
    bad = loop(&r, save_path);
    if (!bad) {
      const int saved = !save_path || save_at_end(&r, save_path);
      bad = finish(&r) || !saved;
    }
  }
  pool_stop(&r.threads);
  fr_work_free(&r.work);
  fr_adamw_free(&r.adamw);
  fr_model_free(&r.model);
  close_corpus(&r);
  fr_tokenizer_free(&r.tokenizer);
  fr_bundle_free(&r.bundle);
  fr_dataset_free(&r.set);
  return bad;
}
