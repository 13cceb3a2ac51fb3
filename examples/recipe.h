// recipe.h - what four_ways.c and bench/compare.c share: a task is learned by a small model in two parts. First the base
// reads pages of single pieces of traces; then copies of it are fine-tuned on whole questions with all of their traces,
// by set supervised fine-tuning (SSFT) or one of its baselines. Last, answering: all leaves of many questions at once.
//
// Needs FORKREASON_IMPLEMENTATION in the program and _POSIX_C_SOURCE 200809L.
#ifndef RECIPE_H
#define RECIPE_H

#include "../forkreason.h"
#include "multiply.h"
#include "pool.h"
#include "progress.h"
#include "record.h"

#include <math.h>

enum {
  MOST_FORKS = 12, SAMPLES = 32,     // forks of a model; answers to a question, spread over the forks
  MOST_BATCH = 12, CHUNK = 15,       // questions in a training step, in a call of fr_generate
  MOST_EVERY = 16,                   // training steps whose questions are matched at once
  PAGES = 29, PAGE = 60,             // pages in a pretraining step, tokens of a page
  MOST_TRAIN = 6480, MOST_TEST = 300
};

typedef struct task {
  const char *key, *name, *letters;  // letters: of the tokens 0 .. END-1
  const char *const *way_names;
  fr_int deadline;                   // tokens that an answer may take, its end included; 0: those of the longest trace
  void (*write_trace)(char text[ROOM], pair q, int way);
  int (*way_of)(const char *text, pair q);
  // A piece of a trace for the base: a few entries, the last of which follows from those before.
  void (*write_piece)(char text[ROOM], pair q, int way, fr_random *random);
} task;

typedef struct recipe {
  int largest;                                // operands are 11 .. largest, none ends in 0
  fr_int test, validation;                    // questions held out
  fr_int base_steps, steps;                   // of pretraining, of fine-tuning
  float base_rate, mixed_rate, rate;          // learning rates: base, SFT-mixed, all others
  fr_int batch, prefix;                       // questions in a step; tokens of a trace that the matching sees, 0: all
  fr_config config;
} recipe;

// One way to fine-tune the base.
typedef struct course {
  const char *key, *name;
  fr_method method;
  fr_int forks;         // how many it answers with
  int times;            // the steps of the recipe, so many times
  fr_int traces;        // M: of the ways of a question, so many drawn at random
  fr_int every;         // matched every so many steps, for all of their questions, with the model as it is then
} course;

// What is counted, fork by fork: the matchings of a window of steps and those of the second half of fine-tuning; greedy answers;
// which fork a policy takes.
enum { SEEN_WINDOW, SEEN_LATE, SEEN_ANSWERS, SEEN_CHOICES, SEEN };

typedef struct learner {
  const char *program;  // for messages
  const task *job;
  recipe    set;
  uint64_t  seed;
  data_set  data;
  fr_int    longest;    // tokens of the longest trace, with its end
  double    mean;       // and in the mean
  fr_model  base, model;
  fr_adamw  adamw;
  fr_work   work;
  pool      threads;
  progress  bar;
  fr_int    fork_count; // N
  fr_token  fork_ids[MOST_FORKS];
  fr_tokens forks[MOST_FORKS];
  record   *history;    // what happens in a fine-tuning goes here; NULL: nowhere
  int       show;       // 1: and its matchings are printed as they come
  fr_diagnosis seen[SEEN];
} learner;

// Everything random has a stream of its own: named by what it is for, so that no draw moves another.
enum { FOR_SPLIT = 1, FOR_PAGES, FOR_ORDER, FOR_TRACES, FOR_WEIGHTS, FOR_FORKS, FOR_MATCHING, FOR_GREEDY, FOR_SAMPLES,
       FOR_CHOICE, FOR_ROLLOUTS, FOR_BATCHES, FOR_BEST };

static inline fr_random stream(uint64_t seed, int purpose, fr_int question, fr_int draw)
{
  return fr_random_stream(seed, (uint64_t)purpose << 32 | (uint64_t)question, (uint64_t)draw);
}

static inline void require(learner *l, fr_status status)
{
  if (status == FR_OK) return;
  progress_done(&l->bar);
  fprintf(stderr, "%s: %s: %s\n", l->program, fr_status_text(status), l->work.reason.text);
  exit(1);
}

// Begins one of the diagnoses anew: forks against ways (NONE among them), lengths to the token.
static inline fr_diagnosis *diagnose(learner *l, int which, fr_int forks)
{
  fr_diagnosis_options options;
  memset(&options, 0, sizeof options);
  options.forks = forks;
  options.sources = WAYS + 1;
  options.bins = ROOM;
  options.bin_width = 1;
  fr_diagnosis_free(&l->seen[which]);
  require(l, fr_diagnosis_new(&l->seen[which], &options, &l->work.reason));
  return &l->seen[which];
}

static inline fr_diagnosis_reading reading_of(const fr_diagnosis *d)
{
  fr_diagnosis_reading reading;
  memset(&reading, 0, sizeof reading);
  fr_diagnosis_read(d, &reading);
  return reading;
}

// One step of a trace, such as 40*57=2280;
static inline void multiply_piece(char text[ROOM], pair q, int way, fr_random *random)
{
  char trace[ROOM], *step = trace;
  write_trace(trace, q, way);
  *strchr(trace, '#') = ';';
  const fr_int which = fr_random_below(random, 4);  // 2, 3: the sum or difference, the hardest to learn
  for (fr_int skip = which < 2 ? which : 2; skip > 0; skip--) step = strchr(step, ';') + 1;
  strchr(step, ';')[1] = '\0';
  strcpy(text, step);
}

static const task multiplication = { "multiply", "Mental multiplication, four ways", alphabet, way_names, 0,
                                     write_trace, way_of, multiply_piece };

// ---- pretraining ---------------------------------------------------------------------------------------

// Fills one page with pieces of training traces, units first and cut at its end. It never shows a question or a whole
// trace. weights[j]: of token j as a target. The last result of a piece counts in full. What comes before cannot be known,
// and its loss would drown that of the results.
static inline void fill_page(const learner *l, fr_token page[PAGE], float weights[PAGE], fr_random *random)
{
  for (fr_int used = 0; used < PAGE;) {
    char piece[ROOM];
    fr_token tokens[ROOM];
    const int way = (int)fr_random_below(random, WAYS);
    l->job->write_piece(piece, l->data.train[fr_random_below(random, l->data.train_count)], way, random);
    const fr_int count = encode_letters(tokens, piece, l->job->letters);
    const fr_int result = (fr_int)(strlen(piece) - strlen(strrchr(piece, strchr(piece, '=') ? '=' : ':')));
    for (fr_int i = 0; i < count && used < PAGE; i++, used++) {
      page[used] = tokens[i];
      weights[used] = i > result ? 1.0f : 0.1f;
    }
  }
}

// Work is counted in rows run forward; a row with gradient costs three.
static inline double base_work(const recipe *set) { return 3.0 * (double)(set->base_steps * PAGES * PAGE); }

// The base that all arms start from: next-token prediction, every page a tree of one span.
static inline void train_base(learner *l)
{
  const recipe *set = &l->set;
  static fr_token pages[PAGES][PAGE];
  static float weights[PAGES][PAGE];
  static fr_span spans[PAGES];
  static fr_target targets[PAGES * (PAGE - 1)];
  const fr_tree tree = { spans, PAGES, targets, PAGES * (PAGE - 1) };
  fr_sum sum;

  fr_random init = stream(l->seed, FOR_WEIGHTS, 0, 0);
  fr_model_init(&l->base, fr_random_bits(&init));
  require(l, fr_adamw_new(&l->adamw, &l->base));
  progress_phase(&l->bar, "base: single steps", base_work(set));
  for (fr_int step = 0; step < set->base_steps; step++) {
    fr_random random = stream(l->seed, FOR_PAGES, 0, step);
    fr_target *target = targets;
    for (fr_int i = 0; i < PAGES; i++) {
      fill_page(l, pages[i], weights[i], &random);
      spans[i].parent = -1;
      spans[i].tokens.ids = pages[i];
      spans[i].tokens.count = PAGE;
      for (fr_int j = 0; j + 1 < PAGE; j++, target++) {
        target->row = i * PAGE + j;
        target->token = pages[i][j + 1];
        target->weight = weights[i][j + 1] / (float)tree.target_count;
      }
    }
    require(l, fr_backward(&l->base, &l->work, &tree, l->adamw.grads, &sum, 1));
    const float rate = set->base_rate * fr_schedule_stable(step, 20, set->base_steps * 6 / 10, set->base_steps, .02f);
    require(l, fr_adamw_step(&l->adamw, &l->base, &l->work, sum.weighted, rate, NULL));
    progress_add(&l->bar, base_work(set) / (double)set->base_steps, (double)(PAGES * PAGE), sum.weighted);
  }
  fr_adamw_free(&l->adamw);

  // Directions that no way owns, short enough for forks to begin nearly alike.
  fr_random forks = stream(l->seed, FOR_FORKS, 0, 0);
  require(l, fr_model_set_rows(&l->base, FORK, l->fork_count, 0, .02f, fr_random_bits(&forks)));
}

// ---- fine-tuning ---------------------------------------------------------------------------------------

static inline double course_work(const learner *l, const course *c)
{
  const double rows = (double)QUESTION + (double)c->traces * (1.0 + l->mean);
  const double prefix = l->set.prefix ? (double)l->set.prefix : l->mean;
  const double scored = c->method == FR_SSFT ? (double)(l->fork_count * c->traces) * prefix : 0.0;
  return (double)(l->set.steps * c->times * l->set.batch) * (3.0 * rows + scored);
}

static inline void course_options(const learner *l, const course *c, fr_ssft_options *options)
{
  memset(options, 0, sizeof *options);
  options->forks = l->forks;
  options->fork_count = l->fork_count;
  options->method = c->method;
  options->prefix = l->set.prefix;
  options->reduction = FR_MEAN_TOKENS;
  options->fork_weight = c->method == FR_SFT_MIXED ? 0.0f : .1f;
  options->fork_target = FR_FORK_UNIFORM;
  options->seed = l->seed ^ (uint64_t)FOR_MATCHING << 32;
}

// Counts the matchings of a step; trace j of question i goes way[i][j]. All of SFT-mixed's are in one fork: no matching.
static inline void see_step(learner *l, const course *c, fr_int step, const fr_question *questions, fr_int (*way)[WAYS])
{
  record *h = l->history;
  const fr_int window = h ? record_window(h, step) : 0;
  for (int which = SEEN_WINDOW; h && which <= SEEN_LATE; which++) {
    fr_diagnosis *d = &l->seen[which];
    for (fr_int i = 0; i < l->set.batch && (which == SEEN_WINDOW || window >= h->windows / 2); i++) {
      const fr_question *q = &questions[i];
      if (c->method != FR_SFT_MIXED) require(l, fr_diagnosis_add(d, q, way[i], &l->work.reason));
      for (fr_int j = 0; c->method == FR_SFT_MIXED && j < q->trace_count; j++)
        require(l, fr_diagnosis_note(d, q->fork[j], way[i][j], q->traces[j].count, &l->work.reason));
    }
  }
  if (h && record_window(h, step + 1) > window) {
    record_matchings(h, window, &l->seen[SEEN_WINDOW]);
    if (l->show && c->forks > 1 && c->method != FR_FIXED_LABELS) {
      progress_clear(&l->bar);
      record_print_matching(h, window);
    }
    fr_diagnosis_clear(&l->seen[SEEN_WINDOW]);
  }
  if (h && step + 1 == h->steps) h->widest = (int)reading_of(&l->seen[SEEN_LATE]).widest;
}

// Fine-tunes a copy of the base. All arms see the same questions in the same order.
static inline void fine_tune(learner *l, const course *c, float rate)
{
  const recipe *set = &l->set;
  const fr_int steps = set->steps * c->times, count = l->data.train_count, ahead = set->batch * c->every;
  static fr_token prompt[MOST_EVERY * MOST_BATCH][QUESTION], trace[MOST_EVERY * MOST_BATCH][WAYS][ROOM];
  static fr_tokens traces[MOST_EVERY * MOST_BATCH][WAYS];
  static fr_int order[MOST_TRAIN], forks[MOST_EVERY * MOST_BATCH][WAYS], ways[MOST_EVERY * MOST_BATCH][WAYS];
  static fr_question questions[MOST_EVERY * MOST_BATCH];
  fr_ssft_options options;
  fr_ssft_report report;
  fr_ssft_total total;

  memset(questions, 0, sizeof questions);
  course_options(l, c, &options);
  memcpy(l->model.params, l->base.params, (size_t)l->base.count * sizeof(float));
  require(l, fr_adamw_new(&l->adamw, &l->model));
  progress_phase(&l->bar, c->name, course_work(l, c));
  record_start(l->history, c->name, (int)c->forks, (int)steps);
  diagnose(l, SEEN_WINDOW, c->forks);
  diagnose(l, SEEN_LATE, c->forks);
  for (fr_int step = 0; step < steps; step++) {
    for (fr_int i = 0; step % c->every == 0 && i < ahead; i++) {
      const fr_int number = step * set->batch + i, epoch = number / count;
      if (number % count == 0) {
        fr_random random = stream(l->seed, FOR_ORDER, 0, epoch);
        for (fr_int j = 0; j < count; j++) order[j] = j;
        shuffle(order, count, &random);
      }
      const fr_int which = order[number % count];
      const pair q = l->data.train[which];
      // An index must not give a way away - except to the arm that is told the ways by their index.
      fr_random random = stream(l->seed, FOR_TRACES, which, epoch);
      for (fr_int j = 0; j < WAYS; j++) ways[i][j] = j;
      if (c->method != FR_FIXED_LABELS) shuffle(ways[i], WAYS, &random);
      for (fr_int j = 0; j < c->traces; j++) {
        char text[ROOM];
        l->job->write_trace(text, q, (int)ways[i][j]);
        traces[i][j].ids = trace[i][j];
        traces[i][j].count = encode_letters(trace[i][j], text, l->job->letters);
        trace[i][j][traces[i][j].count++] = END;
      }
      questions[i].prompt.ids = prompt[i];
      questions[i].prompt.count = encode_question(prompt[i], q);
      questions[i].traces = traces[i];
      questions[i].trace_count = c->traces;
      questions[i].key = (uint64_t)which;
      questions[i].fork = forks[i];
    }
    options.draw = (uint64_t)step;
    if (step % c->every == 0) require(l, fr_ssft_match(&l->model, &l->work, &options, questions, ahead));
    const fr_question *batch = questions + step % c->every * set->batch;
    require(l, fr_ssft_count(&options, batch, set->batch, &total));
    require(l, fr_ssft_backward(&l->model, &l->work, &options, batch, set->batch, total, l->adamw.grads, &report));
    const fr_status status = fr_adamw_step(&l->adamw, &l->model, &l->work, report.loss,
                                           rate * fr_schedule_stable(step, 20, steps * 6 / 10, steps, .02f), NULL);
    if (status != FR_NONFINITE) require(l, status);  // a step that went bad is left out
    record_loss(l->history, step, report.nll / (double)report.tokens);
    see_step(l, c, step, batch, ways + step % c->every * set->batch);
    progress_add(&l->bar, course_work(l, c) / (double)steps, (double)report.rows, report.nll / (double)report.tokens);
  }
  fr_adamw_free(&l->adamw);
}

// ---- answering -----------------------------------------------------------------------------------------

typedef struct reply { int answer, way; fr_int fork, count; char text[ROOM]; } reply;  // answer -1: none; text to be read

static inline fr_int answer_room(const learner *l) { return l->job->deadline ? l->job->deadline : l->longest; }

// A token that is decoded costs about two that are run at once.
static inline double answer_work(const learner *l, fr_int leaves) { return 2.0 * (double)(leaves * answer_room(l)); }

// Answers each question `leaves` times, all leaves of a question under one prompt: leaf k of question i under fork
// fork_of[i*leaves + k], or k % forks if fork_of is NULL.
static inline void answer(learner *l, const fr_model *model, const pair *questions, fr_int count, fr_int forks,
                          fr_int leaves, const fr_int *fork_of, float temperature, int purpose, reply *replies)
{
  static const fr_token stop = END;
  static fr_token prompts[CHUNK][QUESTION], tokens[CHUNK * SAMPLES][ROOM];
  static fr_leaf grown[CHUNK * SAMPLES];
  fr_span spans[CHUNK * (1 + MOST_FORKS)];
  fr_sampling sampling;
  memset(&sampling, 0, sizeof sampling);
  sampling.temperature = temperature;
  sampling.max_tokens = answer_room(l);
  sampling.stops = &stop;
  sampling.stop_count = 1;
  sampling.seed = l->seed ^ (uint64_t)purpose << 32;
  for (fr_int first = 0; first < count; first += CHUNK) {
    const fr_int here = count - first < CHUNK ? count - first : (fr_int)CHUNK;
    double written = 0.0;
    fr_tree tree = { spans, 0, NULL, 0 };
    for (fr_int i = 0; i < here; i++) {
      const fr_int root = tree.span_count;
      spans[root].parent = -1;
      spans[root].tokens.ids = prompts[i];
      spans[root].tokens.count = encode_question(prompts[i], questions[first + i]);
      for (fr_int f = 0; f < forks; f++) {
        spans[root + 1 + f].parent = root;
        spans[root + 1 + f].tokens = l->forks[f];
      }
      for (fr_int k = 0; k < leaves; k++) {
        fr_leaf *leaf = &grown[i * leaves + k];
        reply *out = &replies[(first + i) * leaves + k];
        out->fork = fork_of ? fork_of[(first + i) * leaves + k] : k % forks;
        leaf->span = root + 1 + out->fork;
        leaf->question = (uint64_t)(first + i);
        leaf->leaf = (uint64_t)k;
        leaf->tokens = tokens[i * leaves + k];
      }
      tree.span_count += 1 + forks;
    }
    require(l, fr_generate(model, &l->work, &tree, &sampling, grown, here * leaves));
    for (fr_int i = 0; i < here * leaves; i++) {
      reply *out = &replies[first * leaves + i];
      const int whole = grown[i].stop == END;
      decode_letters(out->text, grown[i].tokens, grown[i].count, l->job->letters);
      out->answer = whole ? answer_of(out->text) : -1;
      out->way = whole || l->job->deadline ? l->job->way_of(out->text, questions[first + i / leaves]) : NONE;
      out->count = grown[i].count;
      written += (double)grown[i].count;
    }
    progress_add(&l->bar, answer_work(l, here * leaves), written, -1.0);
  }
}

static inline int is_right(const reply *r, pair q) { return r->answer == q.a * q.b; }

static inline int same_answer(void *user, fr_int a, fr_int b)
{
  const reply *replies = (const reply *)user;
  return replies[a].answer >= 0 && replies[a].answer == replies[b].answer;
}

// Does the majority of `count` replies give the right answer?
static inline int vote_is_right(reply *replies, fr_int count, pair q)
{
  fr_vote_result vote;
  fr_vote(count, same_answer, replies, NULL, &vote, NULL);
  return vote.winner >= 0 && is_right(&replies[vote.winner], q);
}

// Counts the greedy answers to `count` questions, each under every fork. They go to a record, too, unless it is NULL.
static inline const fr_diagnosis *see_answers(learner *l, record *r, const reply *replies, fr_int count, fr_int forks)
{
  fr_diagnosis *d = diagnose(l, SEEN_ANSWERS, forks);
  for (fr_int i = 0; i < count * forks; i++) {
    const reply *one = &replies[i];
    require(l, fr_diagnosis_note(d, one->fork, one->way, one->count, &l->work.reason));
    if (i < forks) record_first(r, one->fork, one->text, one->way, one->answer);
  }
  record_answers(r, d);
  return d;
}

// Mutual information of fork and way over log 4
static inline double information(const fr_diagnosis *d) { return reading_of(d).source.value / log((double)WAYS); }

// ---- begin and end -------------------------------------------------------------------------------------

// The data of a task, a base and a model of the recipe's config. Returns 0 if memory is short or there are too few pairs.
static inline int learner_start(learner *l, const char *program, const task *job, const recipe *set, uint64_t seed)
{
  l->program = program;
  l->job = job;
  l->set = *set;
  l->seed = seed;
  l->set.config.embed_scale = sqrtf((float)set->config.dim);
  l->fork_count = set->config.vocab - FORK;  // N may be made smaller later
  for (fr_int f = 0; f < l->fork_count; f++) {
    l->fork_ids[f] = (fr_token)(FORK + f);
    l->forks[f].ids = &l->fork_ids[f];
    l->forks[f].count = 1;
  }
  if (!data_new(&l->data, set->largest, set->test, set->validation, stream(seed, FOR_SPLIT, 0, 0))) return 0;
  l->longest = 0;
  l->mean = 0.0;
  for (const pair *q = l->data.all; q < l->data.train + l->data.train_count; q++)
    for (int way = 0; way < WAYS; way++) {
      char text[ROOM];
      job->write_trace(text, *q, way);
      const fr_int tokens = (fr_int)strlen(text) + 1;
      if (tokens > l->longest) l->longest = tokens;
      l->mean += (double)tokens / (double)(WAYS * (l->data.train + l->data.train_count - l->data.all));
    }
  require(l, fr_model_new(&l->base, &l->set.config));
  require(l, fr_model_new(&l->model, &l->set.config));
  return 1;
}

// One workspace serves pretraining, training and answering: it takes the larger of each limit, `more` among them.
static inline void learner_work(learner *l, const fr_limits *more)
{
  const fr_int leaves = CHUNK * SAMPLES, prompts = CHUNK * (QUESTION + l->fork_count);
  fr_limits base, tuned, answered;
  fr_ssft_options options;
  const course widest = { "", "", FR_SSFT, l->fork_count, 1, WAYS, 1 };
  memset(&base, 0, sizeof base);
  base.rows = base.grad_rows = PAGES * PAGE;
  base.spans = base.leaves = PAGES;
  base.targets = base.rows;
  base.depth = PAGE;
  course_options(l, &widest, &options);
  require(l, fr_ssft_limits(&options, QUESTION, l->longest, WAYS, l->set.batch, &tuned));
  memset(&answered, 0, sizeof answered);
  answered.rows = leaves > prompts ? leaves : prompts;
  answered.spans = CHUNK * (1 + l->fork_count) + leaves;
  answered.leaves = leaves;
  answered.depth = QUESTION + 1 + answer_room(l);
  answered.cache_rows = prompts + leaves * answer_room(l);
  base = fr_limits_max(fr_limits_max(base, tuned), answered);
  if (more) base = fr_limits_max(base, *more);
  base.tasks = l->threads.threads;
  require(l, fr_work_new(&l->work, &l->set.config, &base));
  l->work.run = pool_run;
  l->work.pool = &l->threads;
}

static inline void learner_end(learner *l)
{
  fr_work_free(&l->work);
  fr_model_free(&l->model);
  fr_model_free(&l->base);
  data_free(&l->data);
  for (int i = 0; i < SEEN; i++) fr_diagnosis_free(&l->seen[i]);
}

#endif
