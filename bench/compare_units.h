// compare_units.h - the work of compare.c in units, each of them a file that is made once: a base, a fine-tuning, a tuning
// on rewards, a measurement.
#ifndef COMPARE_UNITS_H
#define COMPARE_UNITS_H

#include "../forkreason.h"
#include "../examples/number_line.h"
#include "../examples/recipe.h"
#include "ledger.h"

#include <errno.h>
#include <sys/stat.h>

enum { FORKS = 6, ASKED = 32, GROUP = 8, BEST_LEAVES = 8, TEMPERATURES = 2, MOST_SEEDS = 8, TASKS = 2 };
static const float temperatures[TEMPERATURES] = { .7f, 1.0f };

// ---- tasks, recipes, arms ------------------------------------------------------------------------------

static void line_piece(char text[ROOM], pair q, int way, fr_random *random)  // three entries
{
  const walk w = walk_of(q, way);
  const int count = w.count < 3 ? w.count : 3;
  write_entries(text, &w, (int)fr_random_below(random, w.count - count + 1), count, ';');
}

static const task number_line = { "line", "The number line, against the clock", line_letters, line_way_names, 56,
                                  write_walk, walk_way_of, line_piece };

static const task *const jobs[TASKS] = { &multiplication, &number_line };

typedef struct tuning { float rate, entropy, temperature, fork_weight; } tuning;

typedef struct study {
  const task *job;
  recipe learn;
  fr_int choosing, check;  // steps of ASKED * GROUP rollouts; after so many, validation
  tuning gfpo, grpo_mixed, grpo;
} study;

static const course courses[] = {
  { "sft_mixed",       "SFT-mixed",            FR_SFT_MIXED,    1,     1, WAYS, 1 },
  { "sft_mixed_twice", "SFT-mixed, 2 x steps", FR_SFT_MIXED,    1,     2, WAYS, 1 },
  { "ssft_random",     "SSFT-random",          FR_SSFT_RANDOM,  FORKS, 1, WAYS, 1 },
  { "fixed_labels",    "fixed labels",         FR_FIXED_LABELS, WAYS,  1, WAYS, 1 },
  { "ssft",            "SSFT",                 FR_SSFT,         FORKS, 1, WAYS, 1 },
};
enum { MIXED, TWICE, RANDOM, FIXED, SET, COURSES };

typedef enum choosing { ALONE, WITH_GFPO, WITH_GRPO } choosing;
static const char *const choosing_keys[] = { "", "gfpo", "grpo" };
typedef struct arm { const char *key, *name; int course; choosing with; } arm;
static const arm arms[] = {
  { "sft_mixed",        "SFT-mixed",            MIXED,  ALONE },
  { "sft_mixed_twice",  "SFT-mixed, 2 x steps", TWICE,  ALONE },
  { "sft_mixed_grpo",   "SFT-mixed + GRPO",     MIXED,  WITH_GRPO },
  { "ssft_random",      "SSFT-random",          RANDOM, ALONE },
  { "ssft_random_gfpo", "SSFT-random + GFPO",   RANDOM, WITH_GFPO },
  { "fixed_labels",     "fixed labels",         FIXED,  ALONE },
  { "ssft",             "SSFT",                 SET,    ALONE },
  { "ssft_grpo",        "SSFT + GRPO",          SET,    WITH_GRPO },
  { "ssft_gfpo",        "SSFT + GFPO",          SET,    WITH_GFPO },
};
enum { ARMS = sizeof arms / sizeof arms[0], MIXED_GRPO = 2, SSFT = 6, SSFT_GRPO, SSFT_GFPO };

// ---- a run: units of work, each of them a file ---------------------------------------------------------

enum { MOST_UNITS = 200, UNIT_NAME = 48 };

typedef struct run {
  learner  l;
  study    set;
  int      quick, seeds, threads, only;  // only: this task, or -1
  const char *build, *kernel;
  char     folder[400];
  int      planning;  // 1: only add up the work of what is not there yet
  double   work;
  char     planned[MOST_UNITS][UNIT_NAME + 4], planned_ending[MOST_UNITS];
  int      planned_count;
  fr_model tuned, best;
  record   past;      // of the fine-tuning that l.model comes from
} run;

// A fine-tuning of the base, and a tuning on rewards of what came out.
typedef struct training {
  course c;
  float  rate;
  fr_int forks, prefix;  // N, L
} training;

typedef struct choice {
  const char *name;
  training of;
  choosing with;
  tuning   t;
} choice;

static void stop(run *r, const char *what, const char *why)
{
  progress_done(&r->l.bar);
  fprintf(stderr, "compare: %s: %s\n", what, why);
  exit(1);
}

static const char *path_of(run *r, char path[500], const char *name, const char *ending)
{
  snprintf(path, 500, "%s/%s.%s", r->folder, name, ending);
  return path;
}

static int is_there(run *r, const char *name, const char *ending)
{
  char path[500];
  struct stat there;
  return !stat(path_of(r, path, name, ending), &there);
}

// 1: the unit has to be done now. 0: it is there, or this pass only counts.
static int due(run *r, const char *name, const char *ending, double work)
{
  if (is_there(r, name, ending)) return 0;
  if (r->planning) {  // no more than once
    for (int i = 0; i < r->planned_count; i++)
      if (!strcmp(r->planned[i], name) && r->planned_ending[i] == ending[0]) return 0;
    if (r->planned_count < MOST_UNITS) {
      snprintf(r->planned[r->planned_count], sizeof r->planned[0], "%s", name);
      r->planned_ending[r->planned_count++] = ending[0];
    }
    r->work += work;
  }
  return !r->planning;
}

static void save_model(run *r, const char *name, const fr_model *model, const record *past)
{
  char path[500];
  fr_reason reason;
  if (fr_checkpoint_save(path_of(r, path, name, "model"), model, NULL, past, past ? (fr_int)sizeof *past : 0, &reason))
    stop(r, path, reason.text);
}

static void load_model(run *r, const char *name, fr_model *model, record *past)
{
  char path[500];
  fr_reason reason;
  if (fr_checkpoint_load(path_of(r, path, name, "model"), NULL, model, NULL, past, past ? (fr_int)sizeof *past : 0, &reason))
    stop(r, path, reason.text);
}

static void save_ledger(run *r, const char *name, const ledger *results)
{
  char path[500];
  if (!ledger_save(results, path_of(r, path, name, "txt"))) stop(r, path, strerror(errno));
}

static void load_ledger(run *r, const char *name, ledger *results)
{
  char path[500];
  if (!ledger_load(results, path_of(r, path, name, "txt"))) stop(r, path, "is not whole; remove it and start again");
}

static void make_folder(run *r, const char *path)
{
#ifdef _WIN32
  const int made = mkdir(path);
#else
  const int made = mkdir(path, 0777);
#endif
  if (made && errno != EEXIST) stop(r, path, strerror(errno));
}

// ---- rewards -------------------------------------------------------------------------------------------

// The largest batch that is handed to the policy at once, with what the reward needs to know.
typedef struct asked {
  const learner *l;
  const pair *pairs;
  fr_question questions[MOST_TEST];
  fr_token prompts[MOST_TEST][QUESTION];
} asked;

static void ask(asked *a, const learner *l, const pair *pairs, const fr_int *which, fr_int count)
{
  memset(a->questions, 0, sizeof a->questions);
  a->l = l;
  a->pairs = pairs;
  for (fr_int i = 0; i < count; i++) {
    a->questions[i].prompt.ids = a->prompts[i];
    a->questions[i].prompt.count = encode_question(a->prompts[i], pairs[i]);
    a->questions[i].key = (uint64_t)(which ? which[i] : i);
  }
}

// 1 if the text ended in time with the right answer.
static double reward(void *user, fr_int question, fr_int fork, const fr_leaf *leaf)
{
  const asked *a = (const asked *)user;
  char text[ROOM];
  (void)fork;
  if (leaf->stop != END) return 0.0;
  decode_letters(text, leaf->tokens, leaf->count, a->l->job->letters);
  return answer_of(text) == a->pairs[question].a * a->pairs[question].b;
}

static void choosing_options(const learner *l, fr_int forks, choosing with, const tuning *t, asked *a,
                             fr_gfpo_options *options)
{
  static const fr_token end = END;
  memset(options, 0, sizeof *options);
  options->forks = l->forks;
  options->fork_count = forks;
  options->group = GROUP;
  options->sampling.temperature = t ? t->temperature : 1.0f;
  options->sampling.max_tokens = answer_room(l);
  options->sampling.stops = &end;
  options->sampling.stop_count = 1;
  options->sampling.seed = l->seed ^ (uint64_t)FOR_ROLLOUTS << 32;
  options->reward = reward;
  options->user = a;
  options->credit = with == WITH_GRPO ? FR_GRPO : FR_GFPO;
  options->entropy = t ? t->entropy : 0.0f;
  options->fork_weight = t ? t->fork_weight : 0.0f;
}

// log pi(fork | question), [count * forks].
static void policy_of(run *r, fr_model *model, fr_int forks, const pair *pairs, fr_int count, double *logp)
{
  static asked a;
  fr_gfpo_options options;
  fr_policy policy;
  memset(&policy, 0, sizeof policy);
  policy.model = model;
  choosing_options(&r->l, forks, WITH_GFPO, NULL, &a, &options);
  ask(&a, &r->l, pairs, NULL, count);
  require(&r->l, fr_policy_logp(&policy, &r->l.work, &options, a.questions, count, logp));
}

// The fork that answers each question, `each` times: the policy's likeliest if greedy, else drawn from it.
static void pick_forks(run *r, fr_model *policy, fr_int forks, const pair *pairs, fr_int count, fr_int each, int greedy,
                       fr_int *fork_of)
{
  static double logp[MOST_TEST * MOST_FORKS];
  policy_of(r, policy, forks, pairs, count, logp);
  for (fr_int i = 0; i < count; i++)
    for (fr_int k = 0; k < each; k++) {
      fr_random random = stream(r->l.seed, FOR_CHOICE, i, k);
      fork_of[i * each + k] = fr_policy_pick(logp + i * forks, forks, greedy ? NULL : &random);
    }
}

// What checkpoints are chosen by: Pass@1 of greedy texts on the validation questions, the mean of two, under the policy's
// likeliest fork and under forks drawn from it. A writer that stays as it is, `frozen`, writes only the first time.
static double validate(run *r, fr_model *policy, const fr_model *writer, fr_int forks, int frozen)
{
  static reply replies[MOST_TEST * MOST_FORKS];
  static double logp[MOST_TEST * MOST_FORKS];
  const fr_int count = r->l.data.validation_count;
  const pair *pairs = r->l.data.validation;
  double right = 0.0;
  if (!frozen) answer(&r->l, writer, pairs, count, forks, forks, NULL, 0.0f, FOR_GREEDY, replies);
  policy_of(r, policy, forks, pairs, count, logp);
  for (fr_int i = 0; i < count; i++) {
    right += .5 * is_right(&replies[i * forks + fr_policy_pick(logp + i * forks, forks, NULL)], pairs[i]);
    for (fr_int f = 0; f < forks; f++) right += .5 * exp(logp[i * forks + f]) * is_right(&replies[i * forks + f], pairs[i]);
  }
  return right / (double)count;
}

static double choosing_work(const run *r, const choice *a)
{
  const double rollouts = answer_work(&r->l, r->set.choosing * ASKED * GROUP);
  const fr_int checks = a->with == WITH_GRPO ? r->set.choosing / r->set.check + 1 : 1;  // a frozen writer writes once
  return rollouts * (a->with == WITH_GRPO ? 2.0 : 1.0) + answer_work(&r->l, checks * r->l.data.validation_count * a->of.c.forks);
}

// Tunes a copy of l.model, which was fine-tuned, on rewards. What is kept is the best of all checked on validation
// questions, the later one of equals. Leaves it in r->best, and what happened in *log.
static void tune_on_rewards(run *r, const choice *a, ledger *log)
{
  static asked a_step;
  learner *l = &r->l;
  const fr_int forks = a->of.c.forks, steps = r->set.choosing, train = l->data.train_count;
  fr_model *writer = a->with == WITH_GRPO ? &r->tuned : &l->model;
  fr_gfpo_options options;
  fr_gfpo_report report;
  fr_rollouts rollouts;
  fr_policy policy;
  double best = -1.0, rewards = 0.0, zero = 0.0, entropy = 0.0;
  static fr_int order[MOST_TRAIN];
  memcpy(r->tuned.params, l->model.params, (size_t)l->model.count * sizeof(float));
  choosing_options(l, forks, a->with, &a->t, &a_step, &options);
  require(l, fr_adamw_new(&l->adamw, &r->tuned));
  require(l, fr_rollouts_new(&rollouts, &options, ASKED));
  memset(&policy, 0, sizeof policy);
  policy.model = &r->tuned;
  policy.adamw = &l->adamw;
  ledger_clear(log);
  progress_phase(&l->bar, a->name, choosing_work(r, a));
  for (fr_int step = 0; step <= steps; step++) {
    if (step % r->set.check == 0) {
      const double score = validate(r, &r->tuned, writer, forks, step && a->with == WITH_GFPO);
      const double since = step ? 1.0 / (double)r->set.check : 0.0;
      if (score >= best) {
        best = score;
        memcpy(r->best.params, r->tuned.params, (size_t)r->tuned.count * sizeof(float));
      }
      ledger_put(log, score, "%d validation", (int)step);
      ledger_put(log, rewards * since, "%d reward", (int)step);
      ledger_put(log, zero * since, "%d zero_std", (int)step);
      ledger_put(log, entropy * since, "%d entropy", (int)step);
      rewards = zero = entropy = 0.0;
    }
    if (step == steps) break;
    pair pairs[ASKED];
    fr_int which[ASKED];
    for (fr_int i = 0; i < ASKED; i++) {
      const fr_int number = step * ASKED + i;
      if (number % train == 0) {
        fr_random random = stream(l->seed, FOR_BATCHES, 0, number / train);
        for (fr_int j = 0; j < train; j++) order[j] = j;
        shuffle(order, train, &random);
      }
      which[i] = order[number % train];
      pairs[i] = l->data.train[which[i]];
    }
    ask(&a_step, l, pairs, which, ASKED);
    options.draw = (uint64_t)step;
    require(l, fr_gfpo_step(&policy, writer, &l->work, &options, a_step.questions, ASKED, &rollouts, a->t.rate, &report));
    rewards += report.reward;
    zero += report.frac_zero_std;
    entropy += report.entropy;
    progress_add(&l->bar, answer_work(l, ASKED * GROUP) * (a->with == WITH_GRPO ? 2.0 : 1.0),
                 (double)report.tokens, -1.0);
  }
  ledger_put(log, best, "best");
  fr_rollouts_free(&rollouts);
  fr_adamw_free(&l->adamw);
}

// ---- measuring -----------------------------------------------------------------------------------------

static double measure_work(const run *r, const choice *a)
{
  const fr_int forks = a->of.c.forks, test = r->l.data.test_count;
  const fr_int greedy = forks * (r->l.data.validation_count + test);
  return answer_work(&r->l, greedy + test * TEMPERATURES * (SAMPLES + (forks > 1 ? BEST_LEAVES : 0)));
}

// Cons@6 and Pass@6 in the mean over five groups, Cons@32, Pass@32 and the mean of all answers.
static void measure_samples(reply *replies, const pair *pairs, fr_int count, int t, ledger *out)
{
  double pass1 = 0.0, cons6 = 0.0, cons32 = 0.0, pass6 = 0.0, pass32 = 0.0;
  for (fr_int i = 0; i < count; i++) {
    reply *mine = replies + i * SAMPLES;
    fr_int right = 0;
    for (int k = 0; k < SAMPLES; k++) right += is_right(&mine[k], pairs[i]);
    pass1 += (double)right / SAMPLES;
    pass32 += right > 0;
    cons32 += vote_is_right(mine, SAMPLES, pairs[i]);
    for (int g = 0; g < 5; g++) {
      fr_int here = 0;
      for (int k = 0; k < 6; k++) here += is_right(&mine[6 * g + k], pairs[i]);
      pass6 += (here > 0) / 5.0;
      cons6 += vote_is_right(mine + 6 * g, 6, pairs[i]) / 5.0;
    }
  }
  ledger_put(out, pass1 / (double)count, "%d pass1", t);
  ledger_put(out, cons6 / (double)count, "%d cons6", t);
  ledger_put(out, cons32 / (double)count, "%d cons32", t);
  ledger_put(out, pass6 / (double)count, "%d pass6", t);
  ledger_put(out, pass32 / (double)count, "%d pass32", t);
}

// `policy` NULL: there is none.
static void measure(run *r, const choice *a, fr_model *policy, const fr_model *writer, ledger *out)
{
  learner *l = &r->l;
  const fr_int forks = a->of.c.forks, test = l->data.test_count, validation = l->data.validation_count;
  const pair *pairs = l->data.test;
  static reply replies[MOST_TEST * SAMPLES];
  static fr_int fork_of[MOST_TEST * SAMPLES];
  fr_diagnosis *taken = diagnose(l, SEEN_CHOICES, forks);
  fr_int right[MOST_FORKS] = { 0 }, best = 0;
  double any = 0.0, mean = 0.0, pass1 = 0.0, written = 0.0;
  ledger_clear(out);
  progress_phase(&l->bar, "  answering", measure_work(r, a));
  answer(l, writer, l->data.validation, validation, forks, forks, NULL, 0.0f, FOR_GREEDY, replies);
  for (fr_int i = 0; i < validation * forks; i++) right[i % forks] += is_right(&replies[i], l->data.validation[i / forks]);
  for (fr_int f = 1; f < forks; f++)
    if (right[f] > right[best]) best = f;

  answer(l, writer, pairs, test, forks, forks, NULL, 0.0f, FOR_GREEDY, replies);
  const fr_diagnosis *greedy = see_answers(l, NULL, replies, test, forks);
  memset(right, 0, sizeof right);
  for (fr_int i = 0; i < test; i++) {
    int one = 0;
    for (fr_int f = 0; f < forks; f++) {
      const int good = is_right(&replies[i * forks + f], pairs[i]);
      right[f] += good;
      one |= good;
    }
    any += one;
  }
  for (fr_int f = 0; f < forks; f++) {
    mean += (double)right[f] / (double)(test * forks);
    written += greedy->tokens[f] / (double)(test * forks);
  }
  if (policy) {
    pick_forks(r, policy, forks, pairs, test, 1, 1, fork_of);
    for (fr_int i = 0; i < test; i++) {
      const reply *one = &replies[i * forks + fork_of[i]];
      pass1 += is_right(one, pairs[i]) / (double)test;
      require(l, fr_diagnosis_note(taken, one->fork, one->way, one->count, &l->work.reason));
    }
  }
  ledger_put(out, policy ? pass1 : mean, "pass1");
  ledger_put(out, (double)right[best] / (double)test, "best");
  ledger_put(out, (double)right[r->past.widest] / (double)test, "widest");
  ledger_put(out, any / (double)test, "any");
  ledger_put(out, (double)(best + 1), "best fork");
  ledger_put(out, information(greedy), "information");
  ledger_put(out, written, "tokens");
  for (fr_int f = 0; f < forks; f++) {
    ledger_put(out, (double)right[f] / (double)test, "fork %d", (int)f);
    ledger_put(out, (double)taken->coverage[f] / (double)test, "taken %d", (int)f);
    for (int w = 0; w <= WAYS; w++)
      ledger_put(out, (double)greedy->matrix[f * greedy->options.sources + w] / (double)test, "way %d %d", (int)f, w);
  }
  for (int t = 0; t < TEMPERATURES; t++) {
    double good = 0.0;
    if (policy) pick_forks(r, policy, forks, pairs, test, SAMPLES, 0, fork_of);
    answer(l, writer, pairs, test, forks, SAMPLES, policy ? fork_of : NULL, temperatures[t], FOR_SAMPLES, replies);
    measure_samples(replies, pairs, test, t, out);
    if (forks > 1) {
      for (fr_int i = 0; i < test * BEST_LEAVES; i++) fork_of[i] = best;
      answer(l, writer, pairs, test, forks, BEST_LEAVES, fork_of, temperatures[t], FOR_BEST, replies);
      for (fr_int i = 0; i < test * BEST_LEAVES; i++) good += is_right(&replies[i], pairs[i / BEST_LEAVES]);
    }
    ledger_put(out, forks > 1 ? good / (double)(test * BEST_LEAVES) : ledger_get(out, "%d pass1", t), "%d best", t);
  }
}

// ---- the units of one task and seed --------------------------------------------------------------------

static uint64_t hash(uint64_t h, const char *text)  // FNV-1a
{
  for (; *text; text++) h = (h ^ (unsigned char)*text) * 0x100000001B3u;
  return h;
}

// All that results depend on beside task and seed: settings, version, the row of kernels (sums differ in their last bits).
static uint64_t base_name(const run *r, char name[UNIT_NAME])
{
  char text[600];
  const recipe *a = &r->set.learn;
  const fr_config *c = &a->config;
  snprintf(text, sizeof text, "%s %s %d %d %d %d %g %d %d %d %d %d %d %d %g %d", FR_VERSION, r->kernel, a->largest,
           (int)a->test, (int)a->validation, (int)a->base_steps, (double)a->base_rate, (int)c->layers, (int)c->dim,
           (int)c->heads, (int)c->kv_heads, (int)c->head_dim, (int)c->ffn, (int)c->vocab, (double)c->rope_theta, c->qk_norm);
  const uint64_t h = hash(0xCBF29CE484222325u, text);
  snprintf(name, UNIT_NAME, "base-%08x", (unsigned)h);
  return h;
}

static uint64_t training_name(const run *r, const training *t, char name[UNIT_NAME])
{
  char text[300];
  const recipe *a = &r->set.learn;
  snprintf(text, sizeof text, "%d %d %d %d %g %d %d %d %d %d %d", (int)sizeof(record),
           (int)r->set.job->deadline, (int)(a->steps * t->c.times), (int)a->batch, (double)t->rate, (int)t->forks,
           (int)t->prefix, (int)t->c.method, (int)t->c.forks, (int)t->c.traces, (int)t->c.every);
  const uint64_t h = hash(base_name(r, name), text);
  snprintf(name, UNIT_NAME, "%s-%08x", t->c.key, (unsigned)h);
  return h;
}

static uint64_t choice_name(const run *r, const choice *a, char name[UNIT_NAME])
{
  char text[300];
  const uint64_t start = training_name(r, &a->of, name);
  if (a->with == ALONE) return start;
  snprintf(text, sizeof text, "%d %d %d %d %d %g %g %g", (int)a->with, ASKED, GROUP, (int)r->set.choosing, (int)r->set.check,
           (double)a->t.rate, (double)a->t.entropy, (double)a->t.temperature);
  uint64_t h = hash(start, text);
  if (a->t.fork_weight > 0.0f) {
    snprintf(text, sizeof text, " %g", (double)a->t.fork_weight);
    h = hash(h, text);
  }
  snprintf(name, UNIT_NAME, "%s_%s-%08x", a->of.c.key, choosing_keys[a->with], (unsigned)h);
  return h;
}

static void apply(run *r, const training *t)
{
  r->l.fork_count = t->forks;
  r->l.set.prefix = t->prefix;
}

static void train_unit(run *r, const training *t)
{
  char base[UNIT_NAME], name[UNIT_NAME];
  base_name(r, base);
  training_name(r, t, name);
  apply(r, t);
  if (is_there(r, name, "model")) return;
  r->l.fork_count = r->l.set.config.vocab - FORK;  // the base has rows for all of them
  if (due(r, base, "model", base_work(&r->l.set))) {
    train_base(&r->l);
    save_model(r, base, &r->l.base, NULL);
  }
  apply(r, t);
  if (!due(r, name, "model", course_work(&r->l, &t->c))) return;
  load_model(r, base, &r->l.base, NULL);
  r->l.history = &r->past;
  fine_tune(&r->l, &t->c, t->rate);
  r->past.name = NULL;  // a pointer means nothing in a file
  save_model(r, name, &r->l.model, &r->past);
}

static void choose_unit(run *r, const choice *a)
{
  static ledger log;
  char before[UNIT_NAME], name[UNIT_NAME], notes[UNIT_NAME + 4];
  train_unit(r, &a->of);
  training_name(r, &a->of, before);
  choice_name(r, a, name);
  if (a->with == ALONE || !due(r, name, "model", choosing_work(r, a))) return;
  load_model(r, before, &r->l.model, &r->past);
  tune_on_rewards(r, a, &log);
  snprintf(notes, sizeof notes, "log_%s", name);
  save_ledger(r, notes, &log);
  save_model(r, name, &r->best, NULL);
}

// Brings l.model, and tuned if there is one, to what the unit left behind.
static void load_choice(run *r, const choice *a)
{
  char before[UNIT_NAME], name[UNIT_NAME];
  apply(r, &a->of);
  training_name(r, &a->of, before);
  choice_name(r, a, name);
  load_model(r, before, &r->l.model, &r->past);
  if (a->with != ALONE) load_model(r, name, &r->tuned, NULL);
}

static void measure_unit(run *r, const choice *a)
{
  static ledger out;
  char name[UNIT_NAME];
  choose_unit(r, a);
  choice_name(r, a, name);
  if (!due(r, name, "txt", measure_work(r, a))) return;
  load_choice(r, a);
  measure(r, a, a->with == ALONE ? NULL : &r->tuned, a->with == WITH_GRPO ? &r->tuned : &r->l.model, &out);
  save_ledger(r, name, &out);
}

static training training_of(const study *p, int c)
{
  training t;
  t.c = courses[c];
  t.rate = c == MIXED || c == TWICE ? p->learn.mixed_rate : p->learn.rate;
  t.forks = FORKS;
  t.prefix = p->learn.prefix;
  return t;
}

static choice choice_of(const study *p, const arm *a)
{
  choice c;
  c.name = a->name;
  c.of = training_of(p, a->course);
  c.with = a->with;
  c.t = a->with == WITH_GFPO ? p->gfpo : a->course == MIXED ? p->grpo_mixed : p->grpo;
  return c;
}

// The settings and the folder of a task and seed.
static void at(run *r, const study *p, int seed)
{
  r->set = *p;
  snprintf(r->folder, sizeof r->folder, "%s/compare/%s-%d", r->build, p->job->key, seed);
}

static void begin(run *r, const study *p, int seed)
{
  fr_limits more, one;
  fr_gfpo_options options;
  learner *l = &r->l;
  r->planned_count = 0;
  if (!learner_start(l, "compare", p->job, &p->learn, (uint64_t)seed)) stop(r, p->job->name, "out of memory");
  snprintf(r->folder, sizeof r->folder, "%s/compare", r->build);
  make_folder(r, r->build);
  make_folder(r, r->folder);
  at(r, p, seed);
  make_folder(r, r->folder);
  if (r->planning) return;
  choosing_options(l, l->fork_count, WITH_GRPO, NULL, NULL, &options);
  require(l, fr_gfpo_limits(&options, QUESTION, ASKED, &more));
  options.credit = FR_GFPO;
  require(l, fr_gfpo_limits(&options, QUESTION, ASKED, &one));
  more = fr_limits_max(more, one);
  learner_work(l, &more);
  require(l, fr_model_new(&r->tuned, &l->set.config));
  require(l, fr_model_new(&r->best, &l->set.config));
}

static void end(run *r)
{
  fr_model_free(&r->tuned);
  fr_model_free(&r->best);
  learner_end(&r->l);
}

// `visit` for every seed of every task, twice: first to add up the work that is left, then to do it.
static void for_all(run *r, const study *tasks, int seeds, void (*visit)(run *r, const study *p))
{
  for (r->planning = 1; r->planning >= 0; r->planning--) {
    if (r->planning) r->work = 0.0;
    else progress_start(&r->l.bar, r->work > 0.0 ? r->work : 1.0);
    for (int t = 0; t < TASKS; t++)
      for (int s = 1; s <= seeds; s++) {
        if (r->only >= 0 && r->only != t) continue;
        begin(r, &tasks[t], s);
        visit(r, &tasks[t]);
        end(r);
      }
  }
  r->planning = 0;
  progress_done(&r->l.bar);
}

static void visit_arms(run *r, const study *p)
{
  for (int i = 0; i < ARMS; i++) {
    const choice c = choice_of(p, &arms[i]);
    measure_unit(r, &c);
  }
}

// ---- one thing at a time: SSFT on the first task, from N = 6, M = 4, L = 16 and a matching at every step -----

static const struct { const char *name; fr_int forks, traces, prefix, every; } ablations[] = {
  { "N 6, M 4, L 16, every step", 6, 4, 16, 1 },
  { "L 4",  6, 4, 4, 1 }, { "L 8", 6, 4, 8, 1 }, { "L all", 6, 4, 0, 1 },
  { "N 4",  4, 4, 16, 1 }, { "N 8", 8, 4, 16, 1 }, { "N 12", 12, 4, 16, 1 },
  { "M 2",  6, 2, 16, 1 }, { "M 3", 6, 3, 16, 1 },
  { "every 4 steps", 6, 4, 16, 4 }, { "every 16 steps", 6, 4, 16, 16 },
};
enum { ABLATIONS = sizeof ablations / sizeof ablations[0] };

static choice ablation_of(const study *p, int i)
{
  choice c;
  memset(&c, 0, sizeof c);
  c.name = ablations[i].name;
  c.of = training_of(p, SET);
  c.of.c.name = ablations[i].name;
  c.of.c.forks = c.of.forks = ablations[i].forks;
  c.of.c.traces = ablations[i].traces;
  c.of.c.every = ablations[i].every;
  c.of.prefix = ablations[i].prefix;
  return c;
}

static study widest(const study *p)  // room for every try, so that all start from one base
{
  study wide = *p;
  wide.learn.config.vocab = FORK + MOST_FORKS;
  wide.learn.prefix = 0;
  return wide;
}

#endif
