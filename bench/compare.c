// compare.c - does it help, and where not? Eight arms, two tasks, several seeds, two temperatures.
//
//     make compare                        everything; build/compare.json and build/compare.html
//     build/bench/compare --quick         the same in small: what is printed means nothing, but all of it runs
//     build/bench/compare --tune          chooses the rates below again, on validation questions
//     build/bench/compare --ablate        one thing at a time: L, N, M, how often is matched (make ablate)
//
// Tasks: mental multiplication (examples/multiply.h), where every way works on every question, so that a chooser can at
// best find the best fork; the number line against the clock (examples/number_line.h), where the right way depends on
// the question.
//
// Arms: copies of one pretrained base, fine-tuned on the same questions in the same order; four of them are then tuned on
// rewards, all with equally many rollouts. GRPO trains all tokens of one model; GFPO trains a copy to choose the fork,
// and the fine-tuned model writes. Whatever is chosen - rates, steps, the checkpoint during tuning, the best fork - is
// chosen on validation questions.
//
// Measures: Pass@1 without being told a fork: greedily, under the fork that the policy finds likeliest; sampled, under
// forks drawn from it. An arm without policy: the mean over forks. Best fork: under the one fork that is best on
// validation questions. Cons@k, Pass@k: k answers, spread evenly over the forks or, with a policy, under forks drawn from
// it; the majority, or one of them, is right. Of 32 answers the first 30 make five groups of six.
//
// Every finished piece of work is a file in build/compare/, named after a hash of all settings that it depends on: killed
// at any point and started again, it ends with the same table, and what --tune or --ablate have done is not done again.
#define _POSIX_C_SOURCE 200809L
#define FORKREASON_IMPLEMENTATION
#include "../forkreason.h"
#include "../examples/number_line.h"
#include "../examples/recipe.h"
#include "record.h"

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

static const task number_line = { "line", "the number line, against the clock", line_letters, line_way_names, 56,
                                  write_walk, walk_way_of, line_piece };

typedef struct tuning { float rate, entropy, temperature; } tuning;

typedef struct study {
  const task *job;
  recipe learn;
  fr_int choosing, check;  // steps of ASKED * GROUP rollouts; after so many, validation
  tuning gfpo, grpo_mixed, grpo;
} study;

static const study studies[TASKS] = {
  { &multiplication, { 99, 300, 150, 1200, 400, 3e-3f, 6e-3f, 2.5e-3f, 12, 16,
                       { 3, 96, 4, 4, 24, 256, FORK + FORKS, 0, 100, 0, 1, 0, 1, 0, 0, 0, 0 } },
    40, 10, { 1e-3f, .05f, .7f }, { 1e-4f, 0, 1 }, { 1e-4f, 0, 1 } },
  { &number_line,    { 69, 300, 150, 1000, 600, 3e-3f, 6e-3f, 6e-3f, 12, 16,
                       { 3, 96, 4, 4, 24, 256, FORK + FORKS, 0, 100, 0, 1, 0, 1, 0, 0, 0, 0 } },
    40, 10, { 1e-3f, .05f, .7f }, { 1e-4f, 0, 1 }, { 1e-4f, 0, 1 } },
};

static const course courses[] = {
  { "sft_mixed",    "SFT-mixed",      FR_SFT_MIXED,    1,     1, WAYS, 1 },
  { "ssft_random",  "SSFT-random",    FR_SSFT_RANDOM,  FORKS, 1, WAYS, 1 },
  { "fixed_labels", "fixed labels",   FR_FIXED_LABELS, WAYS,  1, WAYS, 1 },
  { "ssft",         "SSFT",           FR_SSFT,         FORKS, 1, WAYS, 1 },
};
enum { MIXED, RANDOM, FIXED, SET, COURSES };

typedef enum choosing { ALONE, WITH_GFPO, WITH_GRPO } choosing;
static const char *const choosing_keys[] = { "", "gfpo", "grpo" };
typedef struct arm { const char *key, *name; int course; choosing with; } arm;
static const arm arms[] = {
  { "sft_mixed",        "SFT-mixed",          MIXED,  ALONE },
  { "sft_mixed_grpo",   "SFT-mixed + GRPO",   MIXED,  WITH_GRPO },
  { "ssft_random",      "SSFT-random",        RANDOM, ALONE },
  { "ssft_random_gfpo", "SSFT-random + GFPO", RANDOM, WITH_GFPO },
  { "fixed_labels",     "fixed labels",       FIXED,  ALONE },
  { "ssft",             "SSFT",               SET,    ALONE },
  { "ssft_grpo",        "SSFT + GRPO",        SET,    WITH_GRPO },
  { "ssft_gfpo",        "SSFT + GFPO",        SET,    WITH_GFPO },
};
enum { ARMS = sizeof arms / sizeof arms[0], MIXED_GRPO = 1, SSFT = 5, SSFT_GRPO, SSFT_GFPO };

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
  fr_model tuned, kept;
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

static void save_model(run *r, const char *name, const fr_model *model, const history *past)
{
  char path[500];
  fr_reason reason;
  if (fr_checkpoint_save(path_of(r, path, name, "model"), model, NULL, past, past ? (fr_int)sizeof *past : 0, &reason))
    stop(r, path, reason.text);
}

static void load_model(run *r, const char *name, fr_model *model, history *past)
{
  char path[500];
  fr_reason reason;
  if (fr_checkpoint_load(path_of(r, path, name, "model"), model, NULL, past, past ? (fr_int)sizeof *past : 0, &reason))
    stop(r, path, reason.text);
}

static void save_record(run *r, const char *name, const record *results)
{
  char path[500];
  if (!record_save(results, path_of(r, path, name, "txt"))) stop(r, path, strerror(errno));
}

static void load_record(run *r, const char *name, record *results)
{
  char path[500];
  if (!record_load(results, path_of(r, path, name, "txt"))) stop(r, path, "is not whole; remove it and start again");
}

static void make_folder(run *r, const char *path)
{
  if (mkdir(path, 0777) && errno != EEXIST) stop(r, path, strerror(errno));
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
  const double answered = (double)answer_room(&r->l);
  const double rollouts = (double)(r->set.choosing * ASKED * GROUP) * answered;
  const double checked = (double)((a->with == WITH_GRPO ? r->set.choosing / r->set.check + 1 : 1) *
                                  r->l.data.validation_count * a->of.c.forks) * answered;
  return rollouts * (a->with == WITH_GRPO ? 5.0 : 1.0) + checked;
}

// Tunes a copy of l.model, which was fine-tuned, on rewards. What is kept is the best of all checked on validation
// questions, the later one of equals. Leaves it in r->kept, and what happened in *log.
static void tune_on_rewards(run *r, const choice *a, record *log)
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
  record_clear(log);
  progress_phase(&l->bar, a->name, choosing_work(r, a));
  for (fr_int step = 0; step <= steps; step++) {
    if (step % r->set.check == 0) {
      const double score = validate(r, &r->tuned, writer, forks, step && a->with == WITH_GFPO);
      const double since = step ? 1.0 / (double)r->set.check : 0.0;
      if (score >= best) {
        best = score;
        memcpy(r->kept.params, r->tuned.params, (size_t)r->tuned.count * sizeof(float));
      }
      record_put(log, score, "%d validation", (int)step);
      record_put(log, rewards * since, "%d reward", (int)step);
      record_put(log, zero * since, "%d zero_std", (int)step);
      record_put(log, entropy * since, "%d entropy", (int)step);
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
    progress_add(&l->bar, (double)(ASKED * GROUP * answer_room(l)) * (a->with == WITH_GRPO ? 5.0 : 1.0),
                 (double)report.tokens, -1.0);
  }
  record_put(log, best, "best");
  fr_rollouts_free(&rollouts);
  fr_adamw_free(&l->adamw);
}

// ---- measuring -----------------------------------------------------------------------------------------

static double measure_work(const run *r, const choice *a)
{
  const double forks = (double)a->of.c.forks, test = (double)r->l.data.test_count;
  const double greedy = forks * ((double)r->l.data.validation_count + test) + (a->with == ALONE ? 0.0 : test);
  return (double)answer_room(&r->l) * (greedy + test * (double)(TEMPERATURES * (SAMPLES + (forks > 1.0 ? BEST_LEAVES : 0))));
}

// Cons@6 and Pass@6 in the mean over five groups, Cons@32, Pass@32 and the mean of all answers.
static void measure_samples(reply *replies, const pair *pairs, fr_int count, int t, record *out)
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
  record_put(out, pass1 / (double)count, "%d pass1", t);
  record_put(out, cons6 / (double)count, "%d cons6", t);
  record_put(out, cons32 / (double)count, "%d cons32", t);
  record_put(out, pass6 / (double)count, "%d pass6", t);
  record_put(out, pass32 / (double)count, "%d pass32", t);
}

// `policy` NULL: there is none.
static void measure(run *r, const choice *a, fr_model *policy, const fr_model *writer, record *out)
{
  learner *l = &r->l;
  const fr_int forks = a->of.c.forks, test = l->data.test_count, validation = l->data.validation_count;
  const pair *pairs = l->data.test;
  static reply replies[MOST_TEST * SAMPLES];
  static fr_int fork_of[MOST_TEST * SAMPLES];
  fr_int matrix[MOST_FORKS][WAYS + 1], right[MOST_FORKS] = { 0 }, taken[MOST_FORKS] = { 0 }, best = 0;
  double any = 0.0, mean = 0.0, pass1 = 0.0;
  record_clear(out);
  memset(matrix, 0, sizeof matrix);
  progress_phase(&l->bar, "  answering", measure_work(r, a));
  answer(l, writer, l->data.validation, validation, forks, forks, NULL, 0.0f, FOR_GREEDY, replies);
  for (fr_int i = 0; i < validation * forks; i++) right[i % forks] += is_right(&replies[i], l->data.validation[i / forks]);
  for (fr_int f = 1; f < forks; f++)
    if (right[f] > right[best]) best = f;

  answer(l, writer, pairs, test, forks, forks, NULL, 0.0f, FOR_GREEDY, replies);
  memset(right, 0, sizeof right);
  for (fr_int i = 0; i < test; i++) {
    int one = 0;
    for (fr_int f = 0; f < forks; f++) {
      const reply *here = &replies[i * forks + f];
      const int good = is_right(here, pairs[i]);
      right[f] += good;
      one |= good;
      matrix[f][here->way]++;
    }
    any += one;
  }
  for (fr_int f = 0; f < forks; f++) mean += (double)right[f] / (double)(test * forks);
  if (policy) {
    pick_forks(r, policy, forks, pairs, test, 1, 1, fork_of);
    for (fr_int i = 0; i < test; i++) {
      pass1 += is_right(&replies[i * forks + fork_of[i]], pairs[i]) / (double)test;
      taken[fork_of[i]]++;
    }
  }
  record_put(out, policy ? pass1 : mean, "pass1");
  record_put(out, (double)right[best] / (double)test, "best");
  record_put(out, any / (double)test, "any");
  record_put(out, (double)(best + 1), "best fork");
  record_put(out, information(matrix, forks), "information");
  for (fr_int f = 0; f < forks; f++) {
    record_put(out, (double)right[f] / (double)test, "fork %d", (int)f);
    record_put(out, (double)taken[f] / (double)test, "taken %d", (int)f);
    for (int w = 0; w <= WAYS; w++) record_put(out, (double)matrix[f][w] / (double)test, "way %d %d", (int)f, w);
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
    record_put(out, forks > 1 ? good / (double)(test * BEST_LEAVES) : record_get(out, "%d pass1", t), "%d best", t);
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
  snprintf(text, sizeof text, "%d %d %g %d %d %d %d %d %d", (int)(a->steps * t->c.times), (int)a->batch, (double)t->rate,
           (int)t->forks, (int)t->prefix, (int)t->c.method, (int)t->c.forks, (int)t->c.traces, (int)t->c.every);
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
  const uint64_t h = hash(start, text);
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
  fine_tune(&r->l, &t->c, t->rate);
  save_model(r, name, &r->l.model, &r->l.past);
}

static void choose_unit(run *r, const choice *a)
{
  static record log;
  char before[UNIT_NAME], name[UNIT_NAME], notes[UNIT_NAME + 4];
  train_unit(r, &a->of);
  training_name(r, &a->of, before);
  choice_name(r, a, name);
  if (a->with == ALONE || !due(r, name, "model", choosing_work(r, a))) return;
  load_model(r, before, &r->l.model, &r->l.past);
  tune_on_rewards(r, a, &log);
  snprintf(notes, sizeof notes, "log_%s", name);
  save_record(r, notes, &log);
  save_model(r, name, &r->kept, NULL);
}

// Brings l.model, and tuned if there is one, to what the unit left behind.
static void load_choice(run *r, const choice *a)
{
  char before[UNIT_NAME], name[UNIT_NAME];
  apply(r, &a->of);
  training_name(r, &a->of, before);
  choice_name(r, a, name);
  load_model(r, before, &r->l.model, &r->l.past);
  if (a->with != ALONE) load_model(r, name, &r->tuned, NULL);
}

static void measure_unit(run *r, const choice *a)
{
  static record out;
  char name[UNIT_NAME];
  choose_unit(r, a);
  choice_name(r, a, name);
  if (!due(r, name, "txt", measure_work(r, a))) return;
  load_choice(r, a);
  measure(r, a, a->with == ALONE ? NULL : &r->tuned, a->with == WITH_GRPO ? &r->tuned : &r->l.model, &out);
  save_record(r, name, &out);
}

static training training_of(const study *p, int c)
{
  training t;
  t.c = courses[c];
  t.rate = c == MIXED ? p->learn.mixed_rate : p->learn.rate;
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

static void begin(run *r, const study *p, uint64_t seed)
{
  fr_limits more, one;
  fr_gfpo_options options;
  learner *l = &r->l;
  r->set = *p;
  r->planned_count = 0;
  if (!learner_start(l, "compare", p->job, &p->learn, seed)) stop(r, p->job->name, "out of memory");
  snprintf(r->folder, sizeof r->folder, "%s/compare", r->build);
  make_folder(r, r->build);
  make_folder(r, r->folder);
  snprintf(r->folder, sizeof r->folder, "%s/compare/%s-%d", r->build, p->job->key, (int)seed);
  make_folder(r, r->folder);
  if (r->planning) return;
  choosing_options(l, l->fork_count, WITH_GRPO, NULL, NULL, &options);
  require(l, fr_gfpo_limits(&options, QUESTION, ASKED, &more));
  options.credit = FR_GFPO;
  require(l, fr_gfpo_limits(&options, QUESTION, ASKED, &one));
  more = fr_limits_max(more, one);
  learner_work(l, &more);
  require(l, fr_model_new(&r->tuned, &l->set.config));
  require(l, fr_model_new(&r->kept, &l->set.config));
}

static void end(run *r)
{
  fr_model_free(&r->tuned);
  fr_model_free(&r->kept);
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
        begin(r, &tasks[t], (uint64_t)s);
        visit(r, &tasks[t]);
        end(r);
      }
  }
  progress_done(&r->l.bar);
}

static void visit_arms(run *r, const study *p)
{
  for (int i = 0; i < ARMS; i++) {
    const choice c = choice_of(p, &arms[i]);
    measure_unit(r, &c);
  }
}

// ---- what people see -----------------------------------------------------------------------------------

// The measures of a table: name in the records, title.
typedef struct measure_name { const char *key, *title; } measure_name;
static const measure_name greedy_measures[] = { { "pass1", "Pass@1" }, { "best", "best fork" }, { "any", "any fork" },
                                                { "information", "I / log 4" } };
static const measure_name sampled_measures[] = { { "pass1", "Pass@1" }, { "best", "best fork" }, { "cons6", "Cons@6" },
                                                 { "cons32", "Cons@32" }, { "pass6", "Pass@6" }, { "pass32", "Pass@32" } };
enum { GREEDY_MEASURES = 4, SAMPLED_MEASURES = 6 };

typedef struct results { record of[TASKS][MOST_SEEDS][ARMS]; } results;

// Mean over seeds and its standard error (0 for a single seed).
static double over_seeds(const results *all, int seeds, int t, int a, const char *name, double *error, double *values)
{
  double mean = 0.0, square = 0.0;
  for (int s = 0; s < seeds; s++) {
    values[s] = record_get(&all->of[t][s][a], "%s", name);
    mean += values[s] / seeds;
  }
  for (int s = 0; s < seeds; s++) square += (values[s] - mean) * (values[s] - mean);
  *error = seeds > 1 ? sqrt(square / (seeds * (seeds - 1))) : 0.0;
  return mean;
}

static void json_row(FILE *json, int *rows, const char *name, double mean, double error, const double *values, int seeds)
{
  fprintf(json, "%s\n{\"name\": \"%s\", \"unit\": \"share of questions\", \"ours\": %.6g, \"peer\": null, \"peer_name\": "
          "null, \"ratio\": null, \"target\": null, \"met\": null, \"error\": %.6g, \"seeds\": [", (*rows)++ ? "," : "[",
          name, mean, error);
  for (int s = 0; s < seeds; s++) fprintf(json, "%s%.6g", s ? ", " : "", values[s]);
  fprintf(json, "]}");
}

static void print_block(const results *all, int seeds, int t, const char *title, const char *prefix,
                        const measure_name *measures, int count, FILE *json, int *rows)
{
  double values[MOST_SEEDS], error;
  printf("\n%-20s", title);
  for (int m = 0; m < count; m++) printf(" %-12s", measures[m].title);
  printf("\n");
  for (int a = 0; a < ARMS; a++) {
    printf("%-20s", arms[a].name);
    for (int m = 0; m < count; m++) {
      char name[80], row[160];
      snprintf(name, sizeof name, "%s%s", prefix, measures[m].key);
      const double mean = over_seeds(all, seeds, t, a, name, &error, values);
      printf(" %.3f +-%.3f", mean, error);
      snprintf(row, sizeof row, "%s, %s, %s, %s", studies[t].job->key, arms[a].key, title, measures[m].title);
      json_row(json, rows, row, mean, error, values, seeds);
    }
    printf("\n");
  }
}

// Every fork's greedy accuracy on the test questions before and after tuning: a writer that tuning changes may be lost.
static void print_drift(const results *all, int seeds, int t, FILE *json, int *rows)
{
  printf("\nEvery fork, greedy, before -> after tuning on rewards (with GFPO another model chooses: the writer stays as it was)\n");
  for (int a = 0; a < ARMS; a++) {
    if (arms[a].with == ALONE) continue;
    int before = 0;
    while (arms[before].course != arms[a].course) before++;
    for (int s = 0; s < seeds; s++) {
      printf("%-20s seed %d ", s ? "" : arms[a].name, s + 1);
      for (int f = 0; f < courses[arms[a].course].forks; f++) {
        const double from = record_get(&all->of[t][s][before], "fork %d", f), to = record_get(&all->of[t][s][a], "fork %d", f);
        char row[160];
        printf("  %.3f -> %.3f", from, to);
        snprintf(row, sizeof row, "%s, %s, seed %d, fork %d after tuning", studies[t].job->key, arms[a].key, s + 1, f + 1);
        json_row(json, rows, row, to, 0.0, &from, 1);
      }
      printf("\n");
    }
  }
}

// Difference of two arms, paired by seed, and its standard error.
static double difference(const results *all, int seeds, int t, int a, const char *name, int b, const char *other,
                         double *error, double *values)
{
  double mean = 0.0, square = 0.0;
  for (int s = 0; s < seeds; s++) {
    values[s] = record_get(&all->of[t][s][a], "%s", name) - record_get(&all->of[t][s][b], "%s", other);
    mean += values[s] / seeds;
  }
  for (int s = 0; s < seeds; s++) square += (values[s] - mean) * (values[s] - mean);
  *error = seeds > 1 ? sqrt(square / (seeds * (seeds - 1))) : 0.0;
  return mean;
}

static void print_differences(const results *all, int seeds, int only, FILE *json, int *rows)
{
  static const struct { int task, a; const char *name; int b; const char *other, *title; } pairs[] = {
    { 1, SSFT_GFPO, "pass1",   SSFT,       "best",   "line: SSFT + GFPO, greedy Pass@1, less SSFT's best fork" },
    { 1, SSFT_GFPO, "pass1",   MIXED_GRPO, "pass1",  "line: SSFT + GFPO less SFT-mixed + GRPO, greedy Pass@1" },
    { 1, SSFT_GFPO, "pass1",   SSFT_GRPO,  "pass1",  "line: SSFT + GFPO less SSFT + GRPO, greedy Pass@1" },
    { 0, SSFT_GFPO, "0 pass1", SSFT,       "0 best", "multiply: SSFT + GFPO, Pass@1 at T = .7, less SSFT's best fork" },
    { 0, SSFT_GFPO, "1 pass1", SSFT,       "1 best", "multiply: SSFT + GFPO, Pass@1 at T = 1, less SSFT's best fork" },
  };
  double values[MOST_SEEDS], error;
  printf("\nDifferences, paired by seed\n");
  for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++) {
    if (only >= 0 && only != pairs[i].task) continue;
    const double mean = difference(all, seeds, pairs[i].task, pairs[i].a, pairs[i].name, pairs[i].b, pairs[i].other,
                                   &error, values);
    printf("%-66s %+.3f +-%.3f  (", pairs[i].title, mean, error);
    for (int s = 0; s < seeds; s++) printf("%s%+.3f", s ? ", " : "", values[s]);
    printf(")\n");
    json_row(json, rows, pairs[i].title, mean, error, values, seeds);
  }
}

static void print_all(run *r, const study *tasks, const results *all, FILE *json)
{
  int rows = 0;
  for (int t = 0; t < TASKS; t++) {
    if (r->only >= 0 && r->only != t) continue;
    printf("\n==== %s: %d seeds, %d test questions each, mean +- standard error over seeds\n", tasks[t].job->name,
           r->seeds, (int)tasks[t].learn.test);
    print_block(all, r->seeds, t, "greedy", "", greedy_measures, GREEDY_MEASURES, json, &rows);
    for (int k = 0; k < TEMPERATURES; k++) {
      char title[40], prefix[8];
      snprintf(title, sizeof title, "T = %.1f", (double)temperatures[k]);
      snprintf(prefix, sizeof prefix, "%d ", k);
      print_block(all, r->seeds, t, title, prefix, sampled_measures, SAMPLED_MEASURES, json, &rows);
    }
    print_drift(all, r->seeds, t, json, &rows);
  }
  print_differences(all, r->seeds, r->only, json, &rows);
  fprintf(json, "%s\n]\n", rows ? "" : "[");
}

static void collect(run *r, const study *tasks, results *all)
{
  for (int t = 0; t < TASKS; t++)
    for (int s = 0; s < r->seeds; s++)
      for (int i = 0; i < ARMS; i++) {
        char name[UNIT_NAME];
        const choice c = choice_of(&tasks[t], &arms[i]);
        if (r->only >= 0 && r->only != t) continue;
        r->set = tasks[t];
        snprintf(r->folder, sizeof r->folder, "%s/compare/%s-%d", r->build, tasks[t].job->key, s + 1);
        choice_name(r, &c, name);
        load_record(r, name, &all->of[t][s][i]);
      }
}

// ---- choosing rates, on validation questions ------------------------------------------------------------

// Greedy Pass@1 of the best fork and in the mean over forks, and the vote of six at T = .7.
static void validate_training(run *r, const training *t, record *out)
{
  static reply replies[MOST_TEST * MOST_FORKS];
  learner *l = &r->l;
  const fr_int forks = t->c.forks, count = l->data.validation_count;
  const pair *pairs = l->data.validation;
  double right[MOST_FORKS] = { 0.0 }, best = 0.0, mean = 0.0, cons = 0.0;
  progress_phase(&l->bar, "  validation", (double)((forks + 6) * count * answer_room(l)));
  answer(l, &l->model, pairs, count, forks, forks, NULL, 0.0f, FOR_GREEDY, replies);
  for (fr_int i = 0; i < count * forks; i++) right[i % forks] += is_right(&replies[i], pairs[i / forks]) / (double)count;
  for (fr_int f = 0; f < forks; f++) {
    mean += right[f] / (double)forks;
    if (right[f] > best) best = right[f];
  }
  answer(l, &l->model, pairs, count, forks, 6, NULL, .7f, FOR_SAMPLES, replies);
  for (fr_int i = 0; i < count; i++) cons += vote_is_right(&replies[i * 6], 6, pairs[i]) / (double)count;
  record_clear(out);
  record_put(out, mean, "mean");
  record_put(out, best, "best");
  record_put(out, cons, "cons6");
}

static void tune_training(run *r, const study *p, int c, const float *rates, int count)
{
  static record out;
  for (int i = 0; i < count; i++) {
    training t = training_of(p, c);
    char name[UNIT_NAME], unit[UNIT_NAME + 4];
    t.rate = rates[i];
    train_unit(r, &t);
    training_name(r, &t, name);
    snprintf(unit, sizeof unit, "val_%s", name);
    if (due(r, unit, "txt", (double)((t.c.forks + 6) * r->l.data.validation_count * answer_room(&r->l)))) {
      load_model(r, name, &r->l.model, &r->l.past);
      validate_training(r, &t, &out);
      save_record(r, unit, &out);
    }
    if (r->planning) continue;
    load_record(r, unit, &out);
    progress_done(&r->l.bar);
    printf("%-10s %-16s rate %-7g validation: best fork %.3f, mean fork %.3f, Cons@6 %.3f\n", p->job->key, t.c.name,
           (double)t.rate, record_get(&out, "best"), record_get(&out, "mean"), record_get(&out, "cons6"));
    fflush(stdout);
  }
}

static void tune_choosing(run *r, const study *p, const arm *a, const tuning *tries, int count)
{
  static record log;
  for (int i = 0; i < count; i++) {
    choice c = choice_of(p, a);
    char name[UNIT_NAME], unit[UNIT_NAME + 4];
    c.t = tries[i];
    choose_unit(r, &c);
    if (r->planning) continue;
    choice_name(r, &c, name);
    snprintf(unit, sizeof unit, "log_%s", name);
    load_record(r, unit, &log);
    progress_done(&r->l.bar);
    printf("%-10s %-18s rate %-7g entropy %-5g T %-4g validation:", p->job->key, a->name, (double)c.t.rate,
           (double)c.t.entropy, (double)c.t.temperature);
    for (int step = 0; step <= (int)p->choosing; step += (int)p->check)
      printf(" %.3f", record_get(&log, "%d validation", step));
    printf("  best %.3f\n", record_get(&log, "best"));
    fflush(stdout);
  }
}

// Equally many tries for GFPO and GRPO.
static void visit_tune(run *r, const study *p)
{
  static const float mixed_rates[] = { 2.5e-3f, 4e-3f, 6e-3f }, rates[] = { 2.5e-3f, 4e-3f, 6e-3f };
  static const tuning gfpo[] = { { 3e-4f, .01f, .7f }, { 1e-3f, .01f, .7f }, { 3e-3f, .01f, .7f },
                                 { 3e-4f, .05f, .7f }, { 1e-3f, .05f, .7f }, { 3e-3f, .05f, .7f } };
  static const tuning grpo[] = { { 3e-5f, 0, .7f }, { 1e-4f, 0, .7f }, { 3e-4f, 0, .7f },
                                 { 3e-5f, 0, 1 },   { 1e-4f, 0, 1 },   { 3e-4f, 0, 1 } };
  tune_training(r, p, MIXED, mixed_rates, 3);
  tune_training(r, p, SET, rates, 3);
  tune_choosing(r, p, &arms[SSFT_GFPO], gfpo, 6);
  tune_choosing(r, p, &arms[MIXED_GRPO], grpo, 6);
  tune_choosing(r, p, &arms[SSFT_GRPO], grpo, 6);
}

// ---- begin and end -------------------------------------------------------------------------------------

static const char usage[] =
  "usage: compare [options]    eight arms, two tasks, several seeds; resumes what is in BUILD/compare\n"
  "  --quick      in small: two minutes at most, to see that all of it runs\n"
  "  --seeds N    1 .. N                           [3; 2 with --quick]\n"
  "  --task KEY   only this one: multiply or line  [both]\n"
  "  --tune       choose rates again, on validation questions of seed 1\n"
  "  --threads N  threads to use                   [processors online]\n"
  "  --build DIR  where results go                 [build]\n"
  "  --help       this text\n";

static int wrong_flag(const char *flag, const char *why)
{
  fprintf(stderr, "compare: %s: %s\n%s", flag, why, usage);
  return 2;
}

static void make_quick(study *p)
{
  recipe *a = &p->learn;
  fr_config *c = &a->config;
  a->largest = 29;
  a->test = 20;
  a->validation = 10;
  a->base_steps = 60;
  a->steps = 40;
  a->batch = 6;
  c->layers = 2;
  c->dim = 32;
  c->heads = c->kv_heads = 2;
  c->head_dim = 16;
  c->ffn = 64;
  p->choosing = 4;
  p->check = 2;
}

int main(int argc, char **argv)
{
  static run r;
  static results all;
  study tasks[TASKS];
  int tune = 0, seeds = 0;
  memcpy(tasks, studies, sizeof tasks);
  r.build = "build";
  r.only = -1;
  r.threads = pool_default_threads();
  for (int i = 1; i < argc; i++) {
    const char *flag = argv[i], *value = i + 1 < argc ? argv[i + 1] : "";
    const int number = strlen(value) < 9 && *value && strspn(value, "0123456789") == strlen(value) ? atoi(value) : 0;
    if (!strcmp(flag, "--help")) return printf("%s", usage), 0;
    if (!strcmp(flag, "--quick")) { r.quick = 1; continue; }
    if (!strcmp(flag, "--tune")) { tune = 1; continue; }
    if (!strcmp(flag, "--build")) r.build = value;
    else if (!strcmp(flag, "--task")) {
      for (int t = 0; t < TASKS; t++)
        if (!strcmp(value, studies[t].job->key)) r.only = t;
      if (r.only < 0) return wrong_flag(flag, "multiply or line");
    } else if (!strcmp(flag, "--seeds")) {
      if (number < 1 || number > MOST_SEEDS) return wrong_flag(flag, "expects a whole number, 1 to 8");
      seeds = number;
    } else if (!strcmp(flag, "--threads")) {
      if (number < 1 || number > POOL_MAX_THREADS) return wrong_flag(flag, "expects a whole number, 1 to 256");
      r.threads = number;
    } else return wrong_flag(flag, "unknown option");
    if (!*value) return wrong_flag(flag, "a value is missing");
    i++;
  }
  for (int t = 0; r.quick && t < TASKS; t++) make_quick(&tasks[t]);
  r.seeds = tune ? 1 : seeds ? seeds : r.quick ? 2 : 3;
  pool_start(&r.l.threads, r.threads);
  fr_work probe;
  fr_limits least;
  memset(&least, 0, sizeof least);
  fr_config config = tasks[0].learn.config;
  if (fr_work_new(&probe, &config, &least)) stop(&r, "start", "out of memory");
  r.kernel = fr_work_kernel(&probe);
  fr_work_free(&probe);

  if (tune) for_all(&r, tasks, 1, visit_tune);
  else {
    for_all(&r, tasks, r.seeds, visit_arms);
    collect(&r, tasks, &all);
    char path[500], other[520];
    snprintf(path, sizeof path, "%s/compare.json", r.build);
    snprintf(other, sizeof other, "%s.tmp", path);
    FILE *json = fopen(other, "w");
    if (!json) stop(&r, other, strerror(errno));
    print_all(&r, tasks, &all, json);
    if (fclose(json) || rename(other, path)) stop(&r, path, strerror(errno));
    printf("\nwritten: %s\n", path);
  }
  pool_stop(&r.l.threads);
  return 0;
}
