// compare.c - does it help, and where not? Nine arms, two tasks, several seeds, two temperatures.
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
// Arms: copies of one pretrained base, fine-tuned on the same questions in the same order, one of them with twice the
// steps, since a step of SSFT costs more; four are then tuned on rewards, all with equally many rollouts. GRPO trains all
// tokens of one model; GFPO trains a copy to choose the fork, and the fine-tuned model writes. Whatever is chosen - rates,
// steps, the checkpoint during tuning, the best fork - is chosen on validation questions.
//
// Measures: Pass@1 without being told a fork: greedily, under the fork that the policy finds likeliest; sampled, under
// forks drawn from it. An arm without policy: the mean over forks. Best fork: under the one fork that is best on
// validation questions; widest fork: under the one that took most traces while training, the paper's choice. Cons@k,
// Pass@k: k answers, spread evenly over the forks or, with a policy, under forks drawn from it; the majority, or one of
// them, is right. Of 32 answers the first 30 make five groups of six.
//
// Every finished piece of work is a file in build/compare/, named after a hash of all settings that it depends on: killed
// at any point and started again, it ends with the same table, and what --tune or --ablate have done is not done again.
#define _POSIX_C_SOURCE 200809L
#define FORKREASON_IMPLEMENTATION
#include "../forkreason.h"
#include "compare_units.h"
#include "compare_page.h"

// How the second task came to its settings (validation questions of seed 1; greedy, best fork, without the clock):
//   operands to 69, base of 1,000 steps: SSFT 450 steps at .003: .247, 600 at .006: .973 (another base: most forks below .2),
//   900 at .004: .987; SFT-mixed 450 steps at .004: .240, 900 at .004: .920, 900 at .006: .960
//   operands to 59 (1,080 questions), 450 at .003: .680; to 49 (360 questions), 900 at .004: .547: too few to carry over
// so 900 steps, on a base of 1,500.
//
// What --tune found, rates .0025, .004, .006: greedy Pass@1 of the best fork, and Cons@6 at T = .7
//   multiply  SFT-mixed .580 .747, .687 .793, .640 .820    SSFT 1.000 1.000 at each (mean fork .979, .917, .976)
//   line      SFT-mixed .340 .713, .427 .813, .427 .767    SSFT .487 .820, .487 .807, .553 .853; on seeds 2 and 3 at .004
//             .507 .860, .573 .920, at .006 .507 .853, .567 .900: no difference; .004 was there first
// and of 100 steps of 32 questions x 8 rollouts, the best point by `validate`. GFPO: rates .0003, .001, .003 with entropy .01,
// then with .05; GRPO: rates .0001, .0003, .001 at T = .7, then at T = 1
//   multiply  SSFT + GFPO .999 1.000 1.000, .998 .999 .999       SFT-mixed + GRPO .967 .987 .940, .960 .967 .947
//             SSFT + GRPO .999 .999 .966, .998 .999 .973
//   line      SSFT + GFPO .773 .782 .761, .784 .773 .773         SFT-mixed + GRPO .653 .667 .633, .660 .667 .620
//             SSFT + GRPO .453 .453 .453, .453 .453 .559 (.453 is where it began)
// SSFT + GRPO with entropy .05:  multiply .998 .998 .981, .998 .999 .986   line .453 .453 .485, .453 .453 .453
//   with the fork weighed 50-fold:  multiply .998 .997 .986, .999 .999 .972   line .589 .661 .600, .599 .698 .647
// Of equals the gentler one was taken.
static const study studies[TASKS] = {
  { &multiplication, { 99, 300, 150, 1200, 400, 3e-3f, 6e-3f, 2.5e-3f, 12, 16,
                       { 3, 96, 4, 4, 24, 256, FORK + FORKS, 0, 100, 0, 1, 0, 1, 0, 0, 0, 0 } },
    100, 10, { 1e-3f, .01f, .7f, 0 }, { 3e-4f, 0, .7f, 0 }, { 1e-4f, 0, .7f, 0 } },
  { &number_line,    { 69, 300, 150, 1500, 900, 3e-3f, 4e-3f, 4e-3f, 12, 16,
                       { 3, 96, 4, 4, 24, 256, FORK + FORKS, 0, 100, 0, 1, 0, 1, 0, 0, 0, 0 } },
    100, 10, { 3e-4f, .05f, .7f, 0 }, { 3e-4f, 0, .7f, 0 }, { 3e-4f, 0, 1, 50 } },
};

// ---- choosing rates, on validation questions ------------------------------------------------------------

// Greedy Pass@1 of the best fork and in the mean over forks, and the vote of six at T = .7.
static void validate_training(run *r, const training *t, ledger *out)
{
  static reply replies[MOST_TEST * MOST_FORKS];
  learner *l = &r->l;
  const fr_int forks = t->c.forks, count = l->data.validation_count;
  const pair *pairs = l->data.validation;
  double right[MOST_FORKS] = { 0.0 }, best = 0.0, mean = 0.0, cons = 0.0;
  progress_phase(&l->bar, "  validation", answer_work(l, (forks + 6) * count));
  answer(l, &l->model, pairs, count, forks, forks, NULL, 0.0f, FOR_GREEDY, replies);
  for (fr_int i = 0; i < count * forks; i++) right[i % forks] += is_right(&replies[i], pairs[i / forks]) / (double)count;
  for (fr_int f = 0; f < forks; f++) {
    mean += right[f] / (double)forks;
    if (right[f] > best) best = right[f];
  }
  answer(l, &l->model, pairs, count, forks, 6, NULL, .7f, FOR_SAMPLES, replies);
  for (fr_int i = 0; i < count; i++) cons += vote_is_right(&replies[i * 6], 6, pairs[i]) / (double)count;
  ledger_clear(out);
  ledger_put(out, mean, "mean");
  ledger_put(out, best, "best");
  ledger_put(out, cons, "cons6");
}

static void tune_training(run *r, const study *p, int c, const float *rates, int count)
{
  static ledger out;
  for (int i = 0; i < count; i++) {
    training t = training_of(p, c);
    char name[UNIT_NAME], unit[UNIT_NAME + 4];
    t.rate = rates[i];
    train_unit(r, &t);
    training_name(r, &t, name);
    snprintf(unit, sizeof unit, "val_%s", name);
    if (due(r, unit, "txt", answer_work(&r->l, (t.c.forks + 6) * r->l.data.validation_count))) {
      load_model(r, name, &r->l.model, &r->past);
      validate_training(r, &t, &out);
      save_ledger(r, unit, &out);
    }
    if (r->planning) continue;
    load_ledger(r, unit, &out);
    progress_done(&r->l.bar);
    printf("%-10s %-16s rate %-7g validation: best fork %.3f, mean fork %.3f, Cons@6 %.3f\n", p->job->key, t.c.name,
           (double)t.rate, ledger_get(&out, "best"), ledger_get(&out, "mean"), ledger_get(&out, "cons6"));
    fflush(stdout);
  }
}

static void tune_choosing(run *r, const study *p, const arm *a, const tuning *tries, int count)
{
  static ledger log;
  for (int i = 0; i < count; i++) {
    choice c = choice_of(p, a);
    char name[UNIT_NAME], unit[UNIT_NAME + 4];
    c.t = tries[i];
    choose_unit(r, &c);
    if (r->planning) continue;
    choice_name(r, &c, name);
    snprintf(unit, sizeof unit, "log_%s", name);
    load_ledger(r, unit, &log);
    progress_done(&r->l.bar);
    printf("%-10s %-18s rate %-7g entropy %-5g T %-4g fork x %-3g validation:", p->job->key, a->name, (double)c.t.rate,
           (double)c.t.entropy, (double)c.t.temperature, c.t.fork_weight > 0.0f ? (double)c.t.fork_weight : 1.0);
    for (int step = 0; step <= (int)p->choosing; step += (int)p->check)
      printf(" %.3f", ledger_get(&log, "%d validation", step));
    printf("  best %.3f\n", ledger_get(&log, "best"));
    fflush(stdout);
  }
}

// Equally many tries for GFPO and GRPO; for GRPO over forks as many again with a bonus on their entropy, and with the fork
// weighing as much as all of its text.
static void visit_tune(run *r, const study *p)
{
  static const float mixed_rates[] = { 2.5e-3f, 4e-3f, 6e-3f }, rates[] = { 2.5e-3f, 4e-3f, 6e-3f };
  static const tuning gfpo[] = { { 3e-4f, .01f, .7f, 0 }, { 1e-3f, .01f, .7f, 0 }, { 3e-3f, .01f, .7f, 0 },
                                 { 3e-4f, .05f, .7f, 0 }, { 1e-3f, .05f, .7f, 0 }, { 3e-3f, .05f, .7f, 0 } };
  static const tuning grpo[] = { { 1e-4f, 0, .7f, 0 }, { 3e-4f, 0, .7f, 0 }, { 1e-3f, 0, .7f, 0 },
                                 { 1e-4f, 0, 1, 0 },   { 3e-4f, 0, 1, 0 },   { 1e-3f, 0, 1, 0 } };
  static const tuning grpo_forks[] = { { 1e-4f, .05f, .7f, 0 }, { 3e-4f, .05f, .7f, 0 }, { 1e-3f, .05f, .7f, 0 },
                                       { 1e-4f, .05f, 1, 0 },   { 3e-4f, .05f, 1, 0 },   { 1e-3f, .05f, 1, 0 },
                                       { 1e-4f, 0, .7f, 50 },   { 3e-4f, 0, .7f, 50 },   { 1e-3f, 0, .7f, 50 },
                                       { 1e-4f, 0, 1, 50 },     { 3e-4f, 0, 1, 50 },     { 1e-3f, 0, 1, 50 } };
  tune_training(r, p, MIXED, mixed_rates, 3);
  tune_training(r, p, SET, rates, 3);
  tune_choosing(r, p, &arms[SSFT_GFPO], gfpo, 6);
  tune_choosing(r, p, &arms[MIXED_GRPO], grpo, 6);
  tune_choosing(r, p, &arms[SSFT_GRPO], grpo, 6);
  tune_choosing(r, p, &arms[SSFT_GRPO], grpo_forks, 12);
}

// ---- one thing at a time -------------------------------------------------------------------------------

static results found;

static void visit_ablations(run *r, const study *p)
{
  char name[UNIT_NAME];
  if (!r->planning) {
    progress_done(&r->l.bar);
    print_ablation_title(&found);
  }
  for (int i = 0; i < ABLATIONS; i++) {
    const choice c = ablation_of(p, i);
    measure_unit(r, &c);
    if (r->planning) continue;
    choice_name(r, &c, name);
    load_ledger(r, name, &found.ablated[i]);
    progress_done(&r->l.bar);
    print_ablation(&found, i);
    fflush(stdout);
  }
}

// build/compare.json and build/compare.html: all that is there, of the arms and of what make ablate tries.
static void write_found(run *r, const study *tasks)
{
  char path[500], other[520];
  snprintf(path, sizeof path, "%s/compare.json", r->build);
  snprintf(other, sizeof other, "%s.tmp", path);
  found.json = fopen(other, "w");
  if (!found.json) stop(r, other, strerror(errno));
  if (found.is_there) print_arms(r, tasks, &found);
  found.text = NULL;
  for (int i = 0; found.ablated_is_there && i < ABLATIONS; i++) print_ablation(&found, i);
  fprintf(found.json, "%s\n]\n", found.rows ? "" : "[");
  if (fclose(found.json) || !fr__replace(other, path)) stop(r, path, strerror(errno));
  printf("\nwritten: %s", path);
  snprintf(path, sizeof path, "%s/compare.html", r->build);
  write_page(r, tasks, &found, path, r->quick ? "build/bench/compare --quick" : "make compare");
  printf(" and %s\n", path);
}

// ---- begin and end -------------------------------------------------------------------------------------

static const char usage[] =
  "usage: compare [options]    nine arms, two tasks, several seeds; resumes what is in BUILD/compare\n"
  "  --quick      in small: two minutes at most, to see that all of it runs\n"
  "  --seeds N    1 .. N                           [3; 2 with --quick]\n"
  "  --task KEY   only this one: multiply or line  [both]\n"
  "  --tune       choose rates again, on validation questions of seed 1\n"
  "  --ablate     SSFT with other L, N and M, and matched less often; task multiply, seed 1\n"
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
  a->largest = 19;
  a->test = 12;
  a->validation = 6;
  a->base_steps = 80;
  a->steps = 60;
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
  study tasks[TASKS];
  int tune = 0, ablate = 0, seeds = 0;
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
    if (!strcmp(flag, "--ablate")) { ablate = 1; continue; }
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
  r.kernel = probe.kernel;
  fr_work_free(&probe);

  if (tune) for_all(&r, tasks, 1, visit_tune);
  else {
    if (ablate) {
      study wide[TASKS];
      memcpy(wide, tasks, sizeof wide);
      wide[0] = widest(&tasks[0]);
      r.only = 0;
      found.text = stdout;
      for_all(&r, wide, 1, visit_ablations);
      r.only = -1;
    } else for_all(&r, tasks, r.seeds, visit_arms);
    collect(&r, tasks, r.seeds, &found);
    found.text = ablate ? NULL : stdout;
    write_found(&r, tasks);
  }
  pool_stop(&r.l.threads);
  return 0;
}
