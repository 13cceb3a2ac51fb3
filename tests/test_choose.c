// GFPO and GRPO: advantages, losses and gradients against the float64 references and against a plain decoder in double;
// rollouts, statuses, same bits; and a toy where the right fork depends on the question, which both kinds of policy learn.
#define FORKREASON_IMPLEMENTATION
#include "../forkreason.h"
#include "hf.h"

enum { Q = 5, N = 4, G = 6, MAX = 5, PROMPT = 7 };

static const fr__kernels *scalar_row(void)
{
  fr_int i = 0;
  while (fr__kernel_row(i + 1)) i++;
  return fr__kernel_row(i);
}

// ---- the references for one question's logits
static void against_reference(const store *s, const char *name)
{
  static const char *const kinds[] = { "popstd", "samplestd" };
  static const double epsilons[] = { 1e-6, 1e-4, 1e-8 };
  char prefix[64];
  double rewards[16], advantage[16], want[16];
  fr_int forks, group;
  snprintf(prefix, sizeof prefix, "%s/", name);
  const store_entry *reward = store_get(s, prefix, "rewards"), *ids = store_get(s, prefix, "fork_ids"),
                    *action = store_get(s, prefix, "action_index"), *logits = store_get(s, prefix, "logits");
  group = reward->count;
  forks = ids->count;
  for (fr_int g = 0; g < group; g++) rewards[g] = store_at(s, reward, g);
  for (int kind = 0; kind < 2; kind++)
    for (int e = 0; e < 3; e++) {
      char entry[64];
      double std = -1.0;
      snprintf(entry, sizeof entry, "adv_%s_eps%s", kinds[kind], e == 0 ? "1e-06" : e == 1 ? "0.0001" : "1e-08");
      CHECK(fr_advantages(rewards, group, kind ? FR_STD_SAMPLE : FR_STD_POPULATION, epsilons[e], advantage, &std) == FR_OK);
      for (fr_int g = 0; g < group; g++)
        CHECK_BELOW(fabs(advantage[g] - store_at(s, store_get(s, prefix, entry), g)), 1e-10);
      CHECK(std >= 0.0);
    }
  CHECK(fr_advantages(rewards, group, FR_STD_NONE, 0.0, advantage, NULL) == FR_OK);
  for (fr_int g = 0; g < group; g++)
    CHECK_BELOW(fabs(advantage[g] - store_at(s, store_get(s, prefix, "adv_mean_only"), g)), 1e-12);
  for (fr_int g = 0; g < group; g++) want[g] = store_at(s, store_get(s, prefix, "adv_popstd_eps1e-06"), g);

  for (int over_forks = 0; over_forks < 2; over_forks++) {
    fr_gfpo_options o;
    fr_rollouts r;
    fr__tally tally;
    fr_int fork[16];
    double logp[16], old[16], weight[16], slope[16], lse = 0.0, worst = 0.0, scale = 0.0;
    float row[64], exps[128];
    fr__goal goals[16];
    snprintf(prefix, sizeof prefix, "%s/%s/", name, over_forks ? "restricted" : "full");
    memset(&o, 0, sizeof o);
    memset(&tally, 0, sizeof tally);
    o.fork_count = forks;
    o.group = group;
    o.fork_weight = 1.0f;
    o.softmax = over_forks ? FR_OVER_FORKS : FR_OVER_VOCABULARY;
    memset(&r, 0, sizeof r);
    r.fork = fork;
    r.logp_old = old;
    r.advantage = want;
    r.weight = weight;
    r.slope = slope;
    o.clip_low = (float)store_scalar(s, "", "basic/clip_low");
    {
      char entry[64];
      snprintf(entry, sizeof entry, "%s/clip_high", name);
      o.clip_high = (float)store_scalar(s, "", entry);
    }
    for (fr_int g = 0; g < group; g++) {
      fork[g] = (fr_int)store_at(s, action, g);
      old[g] = store_at(s, store_get(s, prefix, "logp_old_of_actions"), g);
      weight[g] = 1.0 / (double)group;
    }
    for (fr_int v = 0; v < logits->count; v++) {  // the policy of these logits, as fr__score makes it
      const double x = store_at(s, logits, v);
      int is_fork = 0;
      for (fr_int i = 0; i < forks; i++) is_fork |= v == (fr_int)store_at(s, ids, i);
      if (is_fork || !over_forks) lse += exp(x);
      row[v] = (float)x;
    }
    for (fr_int i = 0; i < forks; i++) {
      logp[i] = store_at(s, logits, (fr_int)store_at(s, ids, i)) - log(lse);
      CHECK_BELOW(fabs(logp[i] - store_at(s, store_get(s, prefix, "logp_forks"), i)), 1e-12);
    }
    fr__choice_loss(&o, &r, 0, logp, &tally);
    CHECK_BELOW(fabs(tally.loss - store_scalar(s, prefix, "loss")), 1e-7);
    CHECK_BELOW(fabs(tally.entropy - store_scalar(s, prefix, "entropy_of_forks")), 1e-12);
    for (fr_int i = 0; i < forks; i++) {
      goals[i].token = (fr_token)store_at(s, ids, i);
      goals[i].weight = (float)-slope[i];
    }
    fr__cross_entropy(scalar_row(), row, logits->count, goals, forks, exps, 1);
    for (fr_int v = 0; v < logits->count; v++) {
      const double target = store_at(s, store_get(s, prefix, "grad_logits"), v);
      worst = fmax(worst, fabs((double)row[v] - target));
      scale = fmax(scale, fabs(target));
    }
    CHECK_BELOW(worst, 1e-6 * scale + 1e-12);
    if (strstr(name, "equal")) CHECK(scale <= 0.0 && worst <= 0.0);
    if (strstr(name, "clip")) CHECK(tally.clipped > 0);
  }
}

static void references(void)
{
  static const char *const cases[] = { "basic", "binary_rewards", "all_rewards_equal", "single_winner", "same_action",
                                       "offpolicy_clip", "clip_higher" };
  store s = store_open("tests/data/model/gfpo/gfpo");
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) against_reference(&s, cases[i]);
  store_close(&s);
}

static double no_reward(void *user, fr_int question, fr_int fork, const fr_leaf *leaf)
{
  (void)user; (void)question; (void)fork; (void)leaf;
  return 0.0;
}

// The parameters' gradient of a whole model. The rollouts are those of the reference, so they are filled in by hand.
static void reference_model(const char *name)
{
  char path[128];
  fr_token prompt[32], fork_ids[8];
  fr_tokens forks[8];
  fr_question question;
  fr_gfpo_options o;
  fr_limits limits;
  fr_rollouts r;
  fr_policy policy;
  fr_adamw adamw;
  fr_gfpo_report report;
  void *memory, *own;
  double mean = 0.0;
  fr_int tensors, forks_count;
  store s;
  fr_config config;
  snprintf(path, sizeof path, "tests/data/model/%s", name);
  config = hf_config(path);
  fr_model model = fixture_model(&config, &memory);
  hf_load(&model, path);
  snprintf(path, sizeof path, "tests/data/model/%s/ssft", name);
  s = store_open(path);
  const store_entry *x = store_get(&s, "", "x"), *ids = store_get(&s, "", "fork_ids"),
                    *actions = store_get(&s, "gfpo/", "actions"), *rewards = store_get(&s, "gfpo/", "rewards");
  forks_count = ids->count;
  memset(&question, 0, sizeof question);
  memset(&o, 0, sizeof o);
  for (fr_int i = 0; i < x->count; i++) prompt[i] = (fr_token)store_at(&s, x, i);
  for (fr_int i = 0; i < forks_count; i++) {
    fork_ids[i] = (fr_token)store_at(&s, ids, i);
    forks[i].ids = fork_ids + i;
    forks[i].count = 1;
  }
  question.prompt.ids = prompt;
  question.prompt.count = x->count;
  o.forks = forks;
  o.fork_count = forks_count;
  o.group = actions->count;
  o.sampling.max_tokens = 1;
  o.reward = no_reward;
  CHECK(fr_gfpo_limits(&o, x->count, 1, &limits) == FR_OK);
  fr_work work = fixture_work(&config, &limits, &own);
  CHECK(fr_rollouts_new(&r, &o, 1) == FR_OK);
  CHECK(fr_adamw_new(&adamw, &model) == FR_OK);
  memset(&policy, 0, sizeof policy);
  policy.model = &model;
  policy.adamw = &adamw;
  CHECK(fr_gfpo_rollout(&policy, &model, &work, &o, &question, 1, &r, &report) == FR_OK);
  CHECK_BELOW(fabs(report.frac_zero_std - 1.0), 0.0);
  for (fr_int i = 0; i < forks_count; i++) mean += exp(store_at(&s, store_get(&s, "gfpo/", "fork_logits"), i));
  for (fr_int i = 0; i < forks_count; i++)
    CHECK_BELOW(fabs(r.logp[i] - (store_at(&s, store_get(&s, "gfpo/", "fork_logits"), i) - log(mean))), 1e-5);
  for (fr_int g = 0; g < o.group; g++) {
    r.fork[g] = (fr_int)store_at(&s, actions, g);
    r.reward[g] = store_at(&s, rewards, g);
    r.logp_old[g] = r.logp[r.fork[g]];
  }
  CHECK(fr_advantages(r.reward, o.group, FR_STD_POPULATION, 1e-6, r.advantage, NULL) == FR_OK);
  for (fr_int g = 0; g < o.group; g++)
    CHECK_BELOW(fabs(r.advantage[g] - store_at(&s, store_get(&s, "gfpo/", "advantages_popstd_eps1e-6"), g)), 1e-10);
  CHECK(fr_gfpo_backward(&policy, &work, &o, &question, &r, &report) == FR_OK);
  CHECK(report.rows == x->count);  // the question's rows alone
  CHECK_BELOW(hf_gradient_error(&model, &s, "gfpo/grad_params_restricted_softmax/", adamw.grads, 1.0, &tensors), 1e-5);
  CHECK(tensors > 15);
  fr_adamw_free(&adamw);
  fr_rollouts_free(&r);
  store_close(&s);
  free(memory);
  free(own);
}

// ---- a random model, forks of one to three tokens that begin alike, and texts of which some stop
typedef struct scene {
  fr_config config;
  fr_model writer, tuned, start;
  fr_work work;
  fr_adamw adamw;
  fr_rollouts rollouts;
  fr_policy policy;
  fr_gfpo_options o;
  fr_token prompt[Q][PROMPT], fork_ids[N][3], stop;
  fr_tokens forks[N];
  fr_question questions[Q];
  double start_policy[Q][N], start_token[Q * G][MAX];  // of the plain decoder
  void *memory[4];
} scene;

static double hash_reward(void *user, fr_int question, fr_int fork, const fr_leaf *leaf)
{
  (void)user;
  return (double)((question * 3 + fork * 5 + leaf->count + (leaf->count ? leaf->tokens[0] : 0) + (leaf->stop >= 0)) % 3);
}

static void scene_begin(scene *c, fr_credit credit, fr_int tasks, fr_int at_once, fr_run run)
{
  fr_limits limits;
  memset(c, 0, sizeof *c);
  test_state = 11;
  c->config = fixture_config(7);
  c->config.vocab = 23;
  for (int i = 0; i < 3; i++) {
    fr_model *model = i == 0 ? &c->writer : i == 1 ? &c->tuned : &c->start;
    *model = fixture_model(&c->config, &c->memory[i]);
    fixture_randomise(model);
    for (fr_int j = 0; j < model->count; j++) model->params[j] *= 0.7f;
  }
  for (int i = 0; i < N; i++) {
    c->fork_ids[i][0] = (fr_token)(i < 2 ? 20 : 19 + i);
    c->fork_ids[i][1] = (fr_token)(3 + i);
    c->fork_ids[i][2] = 9;
    c->forks[i].ids = c->fork_ids[i];
    c->forks[i].count = i == 0 ? 2 : i == 1 ? 3 : 1;
  }
  for (int q = 0; q < Q; q++) {
    for (int t = 0; t < PROMPT; t++) c->prompt[q][t] = (fr_token)test_below_int(20);
    c->questions[q].prompt.ids = c->prompt[q];
    c->questions[q].prompt.count = PROMPT - q % 3;
    c->questions[q].key = (uint64_t)(100 + q);
  }
  c->stop = 4;
  c->o.forks = c->forks;
  c->o.fork_count = N;
  c->o.group = G;
  c->o.sampling.temperature = 1.5f;
  c->o.sampling.max_tokens = MAX;
  c->o.sampling.stops = &c->stop;
  c->o.sampling.stop_count = 1;
  c->o.sampling.seed = 3;
  c->o.draw = 2;
  c->o.reward = hash_reward;
  c->o.credit = credit;
  CHECK(fr_gfpo_limits(&c->o, PROMPT, at_once, &limits) == FR_OK);
  limits.tasks = tasks;
  c->work = fixture_work(&c->config, &limits, &c->memory[3]);
  c->work.run = run;
  CHECK(fr_adamw_new(&c->adamw, &c->tuned) == FR_OK);
  CHECK(fr_rollouts_new(&c->rollouts, &c->o, Q) == FR_OK);
  c->policy.model = &c->tuned;
  c->policy.adamw = &c->adamw;
  c->policy.start = &c->start;
}

static void scene_end(scene *c)
{
  fr_adamw_free(&c->adamw);
  fr_rollouts_free(&c->rollouts);
  for (int i = 0; i < 4; i++) free(c->memory[i]);
}

// log p of each of the tokens after `given` of one sequence
static void plain_logp(const reference *r, const fr_token *ids, fr_int count, fr_int given, double *logp)
{
  const fr_int V = r->model->config.vocab;
  double *logits = (double *)test_alloc((size_t)(count * V) * sizeof(double));
  reference_logits(r, ids, count, logits);
  for (fr_int t = given; t < count; t++) logp[t - given] = -reference_nll(logits + (t - 1) * V, V, ids[t]);
  free(logits);
}

static void plain_policy(const scene *c, const reference *r, int q, double *logp)
{
  double sum = 0.0;
  for (int i = 0; i < N; i++) {
    fr_token ids[PROMPT + 3];
    double token[3];
    const fr_int given = c->questions[q].prompt.count;
    memcpy(ids, c->prompt[q], (size_t)given * sizeof(fr_token));
    memcpy(ids + given, c->forks[i].ids, (size_t)c->forks[i].count * sizeof(fr_token));
    plain_logp(r, ids, given + c->forks[i].count, given, token);
    logp[i] = 0.0;
    for (fr_int t = 0; t < c->forks[i].count; t++) logp[i] += token[t];
    sum += exp(logp[i]);
  }
  for (int i = 0; i < N && c->o.softmax == FR_OVER_FORKS; i++) logp[i] -= log(sum);
}

static double plain_min(double ratio, double advantage, double low, double high)
{
  const double clipped = ratio < 1.0 - low ? 1.0 - low : ratio > 1.0 + high ? 1.0 + high : ratio;
  return fmin(ratio * advantage, clipped * advantage);
}

// The tokens of rollout `at` after its question and fork
static void plain_tokens(const scene *c, const reference *r, int at, double *logp)
{
  const int q = at / G;
  const fr_leaf *leaf = &c->rollouts.leaves[at];
  const fr_tokens *fork = &c->forks[c->rollouts.fork[at]];
  const fr_int asked = c->questions[q].prompt.count, given = asked + fork->count;
  fr_token ids[PROMPT + 3 + MAX];
  memcpy(ids, c->prompt[q], (size_t)asked * sizeof(fr_token));
  memcpy(ids + asked, fork->ids, (size_t)fork->count * sizeof(fr_token));
  memcpy(ids + given, leaf->tokens, (size_t)leaf->count * sizeof(fr_token));
  if (leaf->stop >= 0) ids[given + leaf->count] = leaf->stop;
  plain_logp(r, ids, given + leaf->count + (leaf->stop >= 0), given, logp);
}

// The loss as the documentation states it, from logp_old and token_logp as they are.
static double plain_loss(const scene *c, const reference *r)
{
  const fr_gfpo_options *o = &c->o;
  const double choice = o->credit == FR_GRPO && o->fork_weight > 0.0f ? (double)o->fork_weight : 1.0;
  double loss = 0.0;
  for (int q = 0; q < Q; q++) {
    double logp[N], entropy = 0.0, kl = 0.0, all = 0.0, terms = 0.0;
    plain_policy(c, r, q, logp);
    for (int i = 0; i < N; i++) {
      entropy -= exp(logp[i]) * logp[i];
      kl += exp(logp[i]) * (logp[i] - c->start_policy[q][i]);
    }
    for (int g = 0; g < G; g++) {
      const fr_leaf *leaf = &c->rollouts.leaves[q * G + g];
      terms += choice + (double)leaf->count + (double)(leaf->stop >= 0);
    }
    for (int g = 0; g < G; g++) {
      const int at = q * G + g;
      const fr_leaf *leaf = &c->rollouts.leaves[at];
      const fr_int i = c->rollouts.fork[at], scored = leaf->count + (leaf->stop >= 0);
      const double A = c->rollouts.advantage[at],
                   weight = o->credit == FR_GFPO              ? 1.0 / G
                            : o->reduction == FR_MEAN_TOKENS ? 1.0 / terms
                                                             : 1.0 / (G * (choice + (double)scored));
      double now[MAX];
      all += choice * weight;
      loss -= choice * weight * plain_min(exp(logp[i] - c->rollouts.logp_old[at]), A, (double)o->clip_low, (double)o->clip_high);
      if (o->credit == FR_GFPO) continue;
      plain_tokens(c, r, at, now);
      for (fr_int t = 0; t < scored; t++) {
        const double d = c->start_token[at][t] - now[t], ratio = exp(now[t] - c->rollouts.token_logp[at * MAX + t]);
        loss -= weight * plain_min(ratio, A, (double)o->clip_low, (double)o->clip_high);
        loss += weight * (double)o->kl * (exp(d) - d - 1.0);
      }
    }
    loss += all * ((double)o->kl * kl - (double)o->entropy * entropy);
  }
  return loss / Q;
}

// Loss and gradient against the plain decoder: by central differences along a random direction in each tensor.
static void against_plain(fr_credit credit, fr_fork_softmax softmax, fr_reduction reduction, float fork_weight,
                          fr_int at_once)
{
  scene c;
  fr_gfpo_report report, second;
  fr_tensor tensor;
  double worst = 0.0;
  static int calls = 0;
  calls++;
  scene_begin(&c, credit, 2, at_once, NULL);
  c.o.softmax = softmax;
  c.o.reduction = reduction;
  c.o.fork_weight = fork_weight;
  c.o.entropy = 0.07f;
  c.o.kl = 0.05f;
  c.o.clip_low = 0.2f;
  c.o.clip_high = 0.28f;
  CHECK(fr_gfpo_rollout(&c.policy, &c.writer, &c.work, &c.o, c.questions, Q, &c.rollouts, &report) == FR_OK);
  CHECK(report.unfinished > 0 && report.unfinished < Q * G && report.frac_zero_std < 0.5);
  CHECK(fr_gfpo_backward(&c.policy, &c.work, &c.o, c.questions, &c.rollouts, &report) == FR_OK);
  reference tuned = reference_new(&c.tuned), start = reference_new(&c.start);
  for (int q = 0; q < Q; q++) plain_policy(&c, &start, q, c.start_policy[q]);
  for (int at = 0; at < Q * G; at++) plain_tokens(&c, &start, at, c.start_token[at]);
  CHECK_BELOW(report.clip_fraction, 0.0);  // on-policy: every ratio is 1
  CHECK_BELOW(fabs(report.loss - plain_loss(&c, &tuned)), 1e-5);
  for (int i = 0; i < Q * G; i++) {  // now as if the policy had moved since
    c.rollouts.logp_old[i] += test_uniform(-0.5, 0.5);
    for (int t = 0; t < MAX && credit == FR_GRPO; t++) c.rollouts.token_logp[i * MAX + t] += test_uniform(-0.5, 0.5);
  }
  memset(c.adamw.grads, 0, (size_t)c.adamw.count * sizeof(float));
  double moved[Q * G * MAX];
  if (credit == FR_GRPO) memcpy(moved, c.rollouts.token_logp, sizeof moved);
  CHECK(fr_gfpo_backward(&c.policy, &c.work, &c.o, c.questions, &c.rollouts, &second) == FR_OK);
  if (credit == FR_GRPO) CHECK(memcmp(moved, c.rollouts.token_logp, sizeof moved) == 0);  // the old policy stays the old one
  CHECK(second.clip_fraction > 0.05 && second.clip_fraction < 0.95);
  CHECK_BELOW(fabs(second.loss - plain_loss(&c, &tuned)), 1e-5);
  CHECK(second.kl > 0.0 && second.entropy > 0.0);
  for (fr_int i = 0; fr_model_tensor(&c.tuned, i, &tensor) == FR_OK; i++) {
    if (test_brief() && (i + calls) % 6) continue;  // it is the plain decoder that takes long; other tensors in each call
    const fr_int count = tensor.copies * tensor.rows * tensor.cols;
    const double step = 1e-5;
    double *direction = (double *)test_alloc((size_t)count * sizeof(double)), slope = 0.0, rise = 0.0, length = 0.0;
    for (fr_int j = 0; j < count; j++) {
      direction[j] = test_normal();
      length += direction[j] * direction[j];
      slope += direction[j] * (double)c.adamw.grads[tensor.offset + j];
    }
    for (int side = 0; side < 2; side++) {
      for (fr_int j = 0; j < count; j++)
        tuned.params[tensor.offset + j] =
            (double)c.tuned.params[tensor.offset + j] + (side ? -step : step) * direction[j];
      rise += (side ? -0.5 : 0.5) * plain_loss(&c, &tuned) / step;
    }
    for (fr_int j = 0; j < count; j++) tuned.params[tensor.offset + j] = (double)c.tuned.params[tensor.offset + j];
    if (count)
      worst = fmax(worst, fabs(slope - rise) / ((norm_of(c.adamw.grads + tensor.offset, count) + 1e-3) * sqrt(length)));
    free(direction);
  }
  CHECK_BELOW(worst, 1e-5);
  free(tuned.params);
  free(start.params);
  scene_end(&c);
}

// ---- what rollouts promise
static void rollouts_are_named(void)
{
  scene c, d;
  fr_gfpo_report report;
  double sum = 0.0;
  fr_int tokens = 0, count[N] = { 0 };
  double reward[N] = { 0.0 };
  scene_begin(&c, FR_GFPO, 1, Q, NULL);
  scene_begin(&d, FR_GFPO, 3, 2, NULL);
  CHECK(fr_gfpo_rollout(&c.policy, &c.writer, &c.work, &c.o, c.questions, Q, &c.rollouts, &report) == FR_OK);
  CHECK(report.questions == Q && report.rollouts == Q * G && c.rollouts.count == Q);
  for (int q = 0; q < Q; q++) {
    double mass = 0.0, mean = 0.0;
    for (int i = 0; i < N; i++) mass += exp(c.rollouts.logp[q * N + i]);
    CHECK_BELOW(fabs(mass - 1.0), 1e-12);
    for (int g = 0; g < G; g++) {
      const int at = q * G + g;
      const fr_leaf *leaf = &c.rollouts.leaves[at];
      CHECK(c.rollouts.logp_old[at] == c.rollouts.logp[q * N + c.rollouts.fork[at]]);
      CHECK(c.rollouts.reward[at] == hash_reward(NULL, q, c.rollouts.fork[at], leaf));
      CHECK(leaf->stop == c.stop || (leaf->stop == -1 && leaf->count == MAX));
      mean += c.rollouts.advantage[at];
      sum += c.rollouts.reward[at];
      tokens += leaf->count + (leaf->stop >= 0);
      count[c.rollouts.fork[at]]++;
      reward[c.rollouts.fork[at]] += c.rollouts.reward[at];
    }
    CHECK_BELOW(fabs(mean), 1e-9);
  }
  CHECK_BELOW(fabs(report.reward - sum / (Q * G)), 1e-12);
  CHECK(report.tokens == tokens);
  for (int i = 0; i < N; i++) {
    CHECK(c.rollouts.fork_count[i] == count[i]);
    CHECK_BELOW(fabs(c.rollouts.fork_reward[i] * (double)count[i] - reward[i]), 1e-9);
  }
  // A text is the same alone, in smaller batches, and whatever the tasks; another draw gives another.
  for (int q = 0; q < Q; q++) {
    CHECK(fr_gfpo_rollout(&d.policy, &d.writer, &d.work, &d.o, d.questions + q, 1, &d.rollouts, NULL) == FR_OK);
    for (int g = 0; g < G; g++) {
      const fr_leaf *a = &c.rollouts.leaves[q * G + g], *b = &d.rollouts.leaves[g];
      CHECK(c.rollouts.fork[q * G + g] == d.rollouts.fork[g] && a->count == b->count && a->stop == b->stop);
      CHECK(same_bits(a->tokens, b->tokens, a->count, (fr_int)sizeof(fr_token)));
    }
    CHECK(same_bits(c.rollouts.logp + q * N, d.rollouts.logp, N, (fr_int)sizeof(double)));
  }
  CHECK(fr_gfpo_rollout(&d.policy, &d.writer, &d.work, &d.o, d.questions, Q, &d.rollouts, NULL) == FR_OK);
  CHECK(same_bits(c.rollouts.tokens, d.rollouts.tokens, 1, (fr_int)sizeof(fr_token)));
  CHECK(same_bits(c.rollouts.fork, d.rollouts.fork, Q * G, (fr_int)sizeof(fr_int)));
  CHECK(same_bits(c.rollouts.advantage, d.rollouts.advantage, Q * G, (fr_int)sizeof(double)));
  d.o.draw++;
  CHECK(fr_gfpo_rollout(&d.policy, &d.writer, &d.work, &d.o, d.questions, Q, &d.rollouts, NULL) == FR_OK);
  CHECK(!same_bits(c.rollouts.fork, d.rollouts.fork, Q * G, (fr_int)sizeof(fr_int)));
  // Without a policy the forks take turns.
  CHECK(fr_gfpo_rollout(NULL, &d.writer, &d.work, &d.o, d.questions, Q, &d.rollouts, &report) == FR_OK);
  for (int i = 0; i < Q * G; i++) CHECK(d.rollouts.fork[i] == i % G % N);
  CHECK(d.rollouts.fork_count[0] == 2 * Q && d.rollouts.fork_count[N - 1] == Q);
  scene_end(&c);
  scene_end(&d);
}

static void picks(void)
{
  const double logp[N] = { log(0.1), log(0.4), log(0.1), log(0.4) }, one[1] = { 0.0 };
  fr_int count[N] = { 0 };
  fr_random random = fr_random_stream(1, 2, 3), other;
  for (int i = 0; i < 20000; i++) {
    const fr_int fork = fr_policy_pick(logp, N, &random);
    if (CHECK(fork >= 0 && fork < N)) count[fork]++;
  }
  for (int i = 0; i < N; i++) CHECK_BELOW(fabs((double)count[i] / 20000.0 - exp(logp[i])), 0.015);
  CHECK(fr_policy_pick(logp, N, NULL) == 1);
  CHECK(fr_policy_pick(one, 1, &random) == 0 && fr_policy_pick(NULL, N, NULL) == -1 && fr_policy_pick(one, 0, NULL) == -1);
  {
    const double bad[3] = { -1.0, HUGE_VAL - HUGE_VAL, -2.0 }, never[2] = { -HUGE_VAL, -HUGE_VAL };
    CHECK(fr_policy_pick(bad, 3, &random) == -1 && fr_policy_pick(bad, 3, NULL) == -1);
    CHECK(fr_policy_pick(never, 2, &random) == -1 && fr_policy_pick(never, 2, NULL) == -1);
  }
  other = random = fr_random_stream(1, 2, 3);
  fr_policy_pick(logp, N, &random);
  fr_random_uniform(&other);
  CHECK(fr_random_bits(&random) == fr_random_bits(&other));  // one draw
}

static void advantages(void)
{
  double x[3] = { 0.1, 0.1, 0.1 }, a[3], std = 1.0;
  CHECK(fr_advantages(x, 3, FR_STD_POPULATION, 1e-6, a, &std) == FR_OK);
  for (int i = 0; i < 3; i++) CHECK(a[i] == 0.0);
  CHECK(std == 0.0);
  CHECK(fr_advantages(x, 1, FR_STD_SAMPLE, 1e-6, a, NULL) == FR_OK && a[0] == 0.0);
  x[1] = 0.0;
  CHECK(fr_advantages(x, 3, FR_STD_POPULATION, 0.0, x, NULL) == FR_OK);  // in place
  CHECK_BELOW(fabs(x[0] - sqrt(0.5)) + fabs(x[1] + sqrt(2.0)), 1e-12);
  x[0] = x[1] = x[2] = 1.1e308;  // equal, though their sum and the square of the mean's rounding overflow
  CHECK(fr_advantages(x, 3, FR_STD_POPULATION, 1e-6, a, &std) == FR_OK && a[0] == 0.0 && std == 0.0);
  x[0] = x[1] = x[2] = HUGE_VAL;
  CHECK(fr_advantages(x, 3, FR_STD_POPULATION, 1e-6, a, NULL) == FR_NONFINITE);
  {  // a step on one token that the model has all but lost stays finite in float, and pushes as it should
    fr_gfpo_options o;
    fr__tally tally;
    double slope;
    memset(&o, 0, sizeof o);
    memset(&tally, 0, sizeof tally);
    CHECK(fabs(fr__clipped(&o, 0.0, -2000.0, -1.0, &tally, &slope)) < 1e9 && slope > 1e8 && slope < 1e9);
    CHECK(fr__ratio(800.0) == fr__ratio(20.0) && fr__ratio(-3.0) == exp(-3.0) && fr__ratio(NAN) != fr__ratio(NAN));
  }
  x[0] = x[1] = 0.0;
  x[2] = HUGE_VAL;
  a[0] = 7.0;
  CHECK(fr_advantages(x, 3, FR_STD_POPULATION, 1e-6, a, NULL) == FR_NONFINITE && a[0] == 7.0);
  CHECK(fr_advantages(x, 0, FR_STD_POPULATION, 1e-6, a, NULL) == FR_INVALID);
  CHECK(fr_advantages(NULL, 3, FR_STD_POPULATION, 1e-6, a, NULL) == FR_INVALID);
  {  // their squares are 0, and nothing keeps the quotient finite
    const double close[2] = { 1e-170, 0.0 };
    CHECK(fr_advantages(close, 2, FR_STD_POPULATION, 0.0, a, NULL) == FR_NONFINITE);
    CHECK(fr_advantages(close, 2, FR_STD_POPULATION, 1e-6, a, NULL) == FR_OK && fabs(a[0]) < 1e-160);
  }
  CHECK(fr_advantages(x, 3, FR_STD_POPULATION, -1.0, a, NULL) == FR_INVALID);
}

// ---- same bits for every number of tasks, in any order
static void backwards(void *pool, fr_int tasks, void (*task)(void *, fr_int), void *arg)
{
  (void)pool;
  while (tasks-- > 0) task(arg, tasks);
}

static void same_bits_for_tasks(fr_credit credit, int linear)
{
  scene c[3];
  fr_chooser chooser[3];
  fr_gfpo_report report[3];
  const int next = test_brief() ? 2 : 1;  // in brief, one task against three
  for (int i = 0; i < 3; i += next) {
    scene_begin(&c[i], credit, i + 1, Q, i ? backwards : NULL);
    c[i].o.updates = 2;
    c[i].o.entropy = 0.01f;
    c[i].o.kl = 0.01f;
    memset(&chooser[i], 0, sizeof chooser[i]);
    if (linear) {
      CHECK(fr_chooser_new(&chooser[i], &c[i].writer, N, 3) == FR_OK);
      c[i].policy.model = &c[i].writer;
      c[i].policy.chooser = &chooser[i];
    }
    for (int step = 0; step < 3; step++) {
      c[i].o.draw = (uint64_t)step;
      CHECK(fr_gfpo_step(&c[i].policy, &c[i].writer, &c[i].work, &c[i].o, c[i].questions, Q, &c[i].rollouts, 1e-2f,
                         &report[i]) == FR_OK);
      CHECK(!report[i].skipped && report[i].norm > 0.0);
    }
    CHECK(same_bits(c[0].tuned.params, c[i].tuned.params, c[0].tuned.count, (fr_int)sizeof(float)));
    CHECK(same_bits(c[0].adamw.v, c[i].adamw.v, c[0].adamw.count, (fr_int)sizeof(float)));
    CHECK(memcmp(&report[0], &report[i], sizeof report[0]) == 0);
    CHECK(c[i].rollouts.passes == 2 && report[i].clip_fraction >= 0.0);
    if (linear) CHECK(same_bits(chooser[0].params, chooser[i].params, chooser[0].adamw.count, (fr_int)sizeof(float)));
    if (linear) CHECK(norm_of(chooser[i].params, chooser[i].adamw.count) > 0.01);
  }
  for (int i = 0; i < 3; i += next) { scene_end(&c[i]); fr_chooser_free(&chooser[i]); }
}

// ---- the linear chooser: activations against logits, gradient against central differences of its own loss
static void chooser_gradient(fr_int positions)
{
  scene c;
  fr_chooser chooser;
  fr_gfpo_report report;
  double worst = 0.0, norm;
  fr_int count;
  scene_begin(&c, FR_GFPO, 2, 2, NULL);
  CHECK(fr_chooser_new(&chooser, &c.writer, N, positions) == FR_OK);
  count = chooser.adamw.count;
  CHECK(count == (positions * c.config.dim + 1) * N);
  c.policy.model = &c.writer;
  c.policy.chooser = &chooser;
  c.policy.adamw = NULL;
  {
    double logp[Q * N];
    CHECK(fr_policy_logp(&c.policy, &c.work, &c.o, c.questions, Q, logp) == FR_OK);
    for (int i = 0; i < Q * N; i++) CHECK_BELOW(fabs(logp[i] + log((double)N)), 1e-12);  // zeros: uniform
  }
  for (fr_int i = 0; i < count; i++) chooser.params[i] = (float)test_uniform(-0.3, 0.3);
  c.o.entropy = 0.07f;
  c.o.kl = 0.05f;
  CHECK(fr_gfpo_rollout(&c.policy, &c.writer, &c.work, &c.o, c.questions, Q, &c.rollouts, &report) == FR_OK);
  for (int i = 0; i < Q * G; i++) c.rollouts.logp_old[i] += test_uniform(-0.5, 0.5);
  CHECK(fr_gfpo_backward(&c.policy, &c.work, &c.o, c.questions, &c.rollouts, &report) == FR_OK);
  CHECK(report.rows == 0 && report.clip_fraction > 0.0);
  norm = norm_of(chooser.adamw.grads, count);
  float *grads = (float *)test_alloc((size_t)count * sizeof(float));
  memcpy(grads, chooser.adamw.grads, (size_t)count * sizeof(float));
  for (fr_int i = 0; i < count; i += test_brief() ? 5 : 1) {
    const float value = chooser.params[i], step = 1.0f / 4096.0f;  // small, for the clipped loss has corners
    double rise = 0.0, width = 0.0;
    for (int side = 0; side < 2; side++) {
      chooser.params[i] = side ? value - step : value + step;
      width += (side ? -1.0 : 1.0) * (double)chooser.params[i];
      CHECK(fr_gfpo_backward(&c.policy, &c.work, &c.o, c.questions, &c.rollouts, &report) == FR_OK);
      rise += side ? -report.loss : report.loss;
    }
    chooser.params[i] = value;
    worst = fmax(worst, fabs(rise / width - (double)grads[i]));
  }
  CHECK_BELOW(worst, 1e-4 * norm);
  {  // what fr_logits gives as hidden, times the vocabulary, is what it gives as logits
    const fr_int rows[3] = { 2, 0, PROMPT - 1 }, C = c.config.dim, V = c.config.vocab;
    const fr_tensor head = fixture_tensor(&c.writer, "head");
    float hidden[3 * 20], logits[3 * 23];
    fr_span span;
    fr_tree tree;
    memset(&tree, 0, sizeof tree);
    span.parent = -1;
    span.tokens.ids = c.prompt[0];
    span.tokens.count = PROMPT;
    tree.spans = &span;
    tree.span_count = 1;
    c.work.body->ready = 0;
    CHECK(fr_logits(&c.writer, &c.work, rows, 3, NULL, hidden) == FR_INVALID);  // nothing was run
    CHECK(fr_forward(&c.writer, &c.work, &tree, NULL, 0) == FR_OK);
    CHECK(fr_logits(&c.writer, &c.work, rows, 3, logits, hidden) == FR_OK);
    for (fr_int i = 0; i < 3; i++)
      for (fr_int v = 0; v < V; v++) {
        double sum = 0.0;
        for (fr_int k = 0; k < C; k++)
          sum += (double)hidden[i * C + k] * (double)c.writer.params[head.offset + v * C + k];
        CHECK_BELOW(fabs(sum - (double)logits[i * V + v]), 1e-5);
      }
    CHECK(fr_logits(&c.writer, &c.work, NULL, 3, NULL, hidden) == FR_INVALID);
    CHECK(fr_logits(&c.writer, &c.work, rows, -1, NULL, hidden) == FR_INVALID);
    {
      const fr_int outside = PROMPT;
      CHECK(fr_logits(&c.writer, &c.work, &outside, 1, NULL, hidden) == FR_RANGE);
    }
    // Features are what the documentation says: 1/T sum of the activations of a slot, from the end.
    float all[PROMPT * 20];
    fr_int every[PROMPT];
    double want[N], got[N];
    for (fr_int t = 0; t < PROMPT; t++) every[t] = t;
    CHECK(fr_logits(&c.writer, &c.work, every, PROMPT, NULL, all) == FR_OK);
    for (fr_int i = 0; i < 3; i++) CHECK(!memcmp(hidden + i * C, all + rows[i] * C, (size_t)C * sizeof *all));
    for (fr_int i = 0; i < N; i++) {
      want[i] = (double)chooser.params[positions * N * C + i];
      for (fr_int t = 0; t < PROMPT; t++) {
        const fr_int slot = PROMPT - 1 - t < positions - 1 ? PROMPT - 1 - t : positions - 1;
        for (fr_int k = 0; k < C; k++)
          want[i] += (double)chooser.params[(slot * N + i) * C + k] * (double)all[t * C + k] / PROMPT;
      }
    }
    fr__chooser_features(&chooser, &c.writer, &c.work, 0);
    fr__chooser_scores(&chooser, got);
    for (fr_int i = 0; i < N; i++) CHECK_BELOW(fabs(want[i] - got[i]), 1e-5);
  }
  free(grads);
  fr_chooser_free(&chooser);
  scene_end(&c);
}

// ---- trouble
typedef struct trouble { fr_int question, rollout, seen; double value; } trouble;
static double bad_reward(void *user, fr_int question, fr_int fork, const fr_leaf *leaf)
{
  trouble *t = (trouble *)user;
  const fr_int rollout = t->seen++ % G;
  return question == t->question && rollout == t->rollout ? t->value : hash_reward(NULL, question, fork, leaf);
}
static double vast_reward(void *user, fr_int question, fr_int fork, const fr_leaf *leaf)
{
  (void)user; (void)question; (void)fork; (void)leaf;
  return 1.5e308;
}

static double equal_reward(void *user, fr_int question, fr_int fork, const fr_leaf *leaf)
{
  (void)fork;
  *(fr_int *)user += leaf->stop == -1;
  return 0.1 * (double)question;
}

static void statuses(void)
{
  scene c;
  fr_gfpo_report report;
  trouble t = { 2, 3, 0, 0.0 };
  float *before, *zeros;
  scene_begin(&c, FR_GFPO, 1, Q, NULL);
  before = (float *)test_alloc((size_t)c.tuned.count * sizeof(float));
  zeros = fixture_zeros(c.tuned.count);
  memcpy(before, c.tuned.params, (size_t)c.tuned.count * sizeof(float));
#define STEP() fr_gfpo_step(&c.policy, &c.writer, &c.work, &c.o, c.questions, Q, &c.rollouts, 1e-2f, &report)
#define UNCHANGED()                                                                                     \
  CHECK(same_bits(before, c.tuned.params, c.tuned.count, (fr_int)sizeof(float)) && c.adamw.step == 0 && \
        same_bits(zeros, c.adamw.m, c.tuned.count, (fr_int)sizeof(float)) &&                             \
        same_bits(zeros, c.adamw.grads, c.tuned.count, (fr_int)sizeof(float)))
  for (int kind = 0; kind < 3; kind++) {  // a reward that is no number
    t.seen = 0;
    t.value = kind == 0 ? HUGE_VAL - HUGE_VAL : kind == 1 ? HUGE_VAL : -HUGE_VAL;
    c.o.reward = bad_reward;
    c.o.user = &t;
    CHECK(STEP() == FR_NONFINITE && strstr(c.work.reason.text, "question 2, rollout 3: the reward"));
    UNCHANGED();
    CHECK(c.rollouts.count == 0 && c.adamw.skipped == 0);
    CHECK(fr_gfpo_backward(&c.policy, &c.work, &c.o, c.questions, &c.rollouts, &report) == FR_INVALID);
  }
  t.seen = 0;
  t.value = 1e300;  // finite, but its square is not
  CHECK(STEP() == FR_NONFINITE && strstr(c.work.reason.text, "question 2"));
  UNCHANGED();
  {  // equal rewards, and forks that never stop: counted, nothing moves, the optimiser's clock included
    fr_int cut = 0;
    const fr_token never = 22;
    c.o.sampling.stops = &never;
    c.o.sampling.stop_count = 0;
    c.o.reward = vast_reward;  // finite, equal, and the sum of two is not
    CHECK(STEP() == FR_NONFINITE && strstr(c.work.reason.text, "the fork's sum of rewards"));
    UNCHANGED();
    c.o.reward = equal_reward;
    c.o.user = &cut;
    CHECK(STEP() == FR_OK && cut == Q * G && report.unfinished == Q * G && report.tokens == Q * G * MAX);
    CHECK(report.frac_zero_std == 1.0);
    CHECK(report.loss == 0.0 && report.norm == 0.0 && report.entropy > 0.0 && !report.skipped);
    UNCHANGED();
    CHECK(fr_gfpo_backward(&c.policy, &c.work, &c.o, c.questions, &c.rollouts, &report) == FR_OK);
    UNCHANGED();  // the gradient is 0 exactly
    CHECK(report.loss == 0.0);
    for (int i = 0; i < Q * G; i++) c.rollouts.logp_old[i] = -1e5;  // a ratio beyond all numbers, times no advantage
    CHECK(fr_gfpo_backward(&c.policy, &c.work, &c.o, c.questions, &c.rollouts, &report) == FR_OK);
    CHECK(report.loss == 0.0);
    UNCHANGED();
    c.o.sampling.stops = &c.stop;
    c.o.sampling.stop_count = 1;
    c.o.reward = hash_reward;
  }
  c.o.group = 1;
  CHECK(STEP() == FR_INVALID && strstr(c.work.reason.text, "group of 1"));
  c.o.group = 0;
  CHECK(STEP() == FR_INVALID);
  CHECK(fr_gfpo_rollout(NULL, &c.writer, &c.work, &c.o, c.questions, Q, &c.rollouts, NULL) == FR_INVALID);
  c.o.group = G + 1;
  CHECK(STEP() == FR_INVALID);
  c.o.group = G;
  CHECK(fr_gfpo_step(&c.policy, &c.writer, &c.work, &c.o, c.questions, 0, &c.rollouts, 1e-2f, NULL) == FR_INVALID);
  CHECK(fr_gfpo_step(&c.policy, &c.writer, &c.work, &c.o, NULL, Q, &c.rollouts, 1e-2f, NULL) == FR_INVALID);
  CHECK(fr_gfpo_step(&c.policy, &c.writer, &c.work, &c.o, c.questions, Q + 1, &c.rollouts, 1e-2f, NULL) != FR_OK);
  CHECK(fr_gfpo_step(NULL, &c.writer, &c.work, &c.o, c.questions, Q, &c.rollouts, 1e-2f, NULL) == FR_INVALID);
  CHECK(fr_gfpo_step(&c.policy, NULL, &c.work, &c.o, c.questions, Q, &c.rollouts, 1e-2f, NULL) == FR_INVALID);
  CHECK(fr_gfpo_step(&c.policy, &c.writer, NULL, &c.o, c.questions, Q, &c.rollouts, 1e-2f, NULL) == FR_INVALID);
  CHECK(fr_gfpo_step(&c.policy, &c.writer, &c.work, NULL, c.questions, Q, &c.rollouts, 1e-2f, NULL) == FR_INVALID);
  CHECK(fr_gfpo_step(&c.policy, &c.writer, &c.work, &c.o, c.questions, Q, NULL, 1e-2f, NULL) == FR_INVALID);
  CHECK(fr_gfpo_step(&c.policy, &c.writer, &c.work, &c.o, c.questions, Q, &c.rollouts, -1.0f, NULL) == FR_INVALID);
  CHECK(fr_policy_logp(&c.policy, &c.work, &c.o, c.questions, Q, NULL) == FR_INVALID);
  CHECK(fr_policy_logp(NULL, &c.work, &c.o, c.questions, Q, c.rollouts.logp) == FR_INVALID);
  CHECK(fr_policy_logp(&c.policy, NULL, &c.o, c.questions, Q, c.rollouts.logp) == FR_INVALID);
  CHECK(fr_gfpo_backward(&c.policy, NULL, &c.o, c.questions, &c.rollouts, NULL) == FR_INVALID);
  CHECK(fr_gfpo_backward(&c.policy, &c.work, &c.o, c.questions, NULL, NULL) == FR_INVALID);
  c.o.reward = NULL;
  CHECK(STEP() == FR_INVALID && strstr(c.work.reason.text, "reward"));
  c.o.reward = hash_reward;
  c.o.kl = 0.1f;
  c.policy.start = NULL;
  CHECK(STEP() == FR_INVALID && strstr(c.work.reason.text, "start"));
  c.o.kl = -0.1f;
  CHECK(STEP() == FR_INVALID);
  c.o.kl = HUGE_VALF;
  CHECK(STEP() == FR_INVALID);
  c.o.kl = 0.0f;
  c.o.credit = FR_GRPO;  // these rollouts have no room for the log-probabilities of tokens
  CHECK(STEP() != FR_OK);
  c.o.fork_weight = -1.0f;
  CHECK(STEP() == FR_INVALID && strstr(c.work.reason.text, "fork_weight"));
  c.o.fork_weight = (float)NAN;
  CHECK(STEP() == FR_INVALID && strstr(c.work.reason.text, "fork_weight"));
  c.o.fork_weight = 0.0f;
  c.o.credit = (fr_credit)9;
  CHECK(STEP() == FR_INVALID);
  c.o.credit = FR_GFPO;
  c.o.sampling.max_tokens = MAX + 1;
  CHECK(STEP() == FR_INVALID);
  c.o.sampling.max_tokens = MAX;
  c.o.fork_count = 1;
  CHECK(STEP() == FR_INVALID && strstr(c.work.reason.text, "one fork"));
  c.o.fork_count = N;
  c.fork_ids[3][0] = c.fork_ids[2][0];
  CHECK(STEP() == FR_INVALID && strstr(c.work.reason.text, "the same tokens"));
  c.fork_ids[3][0] = 22;
  c.prompt[1][2] = 23;
  CHECK(STEP() == FR_RANGE && strstr(c.work.reason.text, "question 1"));
  c.prompt[1][2] = 2;
  {  // limits, each too small by one for a single question
    const fr_limits has = c.work.limits;
    fr_limits need;
    CHECK(fr_gfpo_limits(&c.o, PROMPT, 1, &need) == FR_OK);
    for (int i = 0; i < 7; i++) {
      fr_int *const limit[] = { &c.work.limits.rows,   &c.work.limits.grad_rows, &c.work.limits.spans,
                                &c.work.limits.targets, &c.work.limits.leaves,   &c.work.limits.depth,
                                &c.work.limits.cache_rows };
      const fr_int *const needed[] = { &need.rows, &need.grad_rows, &need.spans, &need.targets, &need.leaves, &need.depth,
                                       &need.cache_rows };
      *limit[i] = *needed[i] - 1;
      CHECK(STEP() == FR_LIMIT && strstr(c.work.reason.text, "limit '"));
      c.work.limits = has;
    }
  }
  {  // numbers gone bad: the policy's, then the writer's
    const float keep = c.tuned.params[fixture_tensor(&c.tuned, "norm_final").offset];
    c.tuned.params[fixture_tensor(&c.tuned, "norm_final").offset] = HUGE_VALF;
    CHECK(STEP() == FR_NONFINITE && strstr(c.work.reason.text, "question 0"));
    c.tuned.params[fixture_tensor(&c.tuned, "norm_final").offset] = keep;
    c.writer.params[fixture_tensor(&c.writer, "norm_final").offset] = HUGE_VALF;
    CHECK(STEP() == FR_NONFINITE && strstr(c.work.reason.text, "question 0, rollout 0: the writer"));
    c.writer.params[fixture_tensor(&c.writer, "norm_final").offset] = keep;
  }
  UNCHANGED();
  {  // a chooser has no tokens to train, and belongs to its number of forks
    fr_chooser chooser;
    CHECK(fr_chooser_new(&chooser, &c.writer, N - 1, 1) == FR_OK);
    c.policy.chooser = &chooser;
    CHECK(STEP() == FR_INVALID && strstr(c.work.reason.text, "chooser"));
    fr_chooser_free(&chooser);
    CHECK(STEP() == FR_INVALID && strstr(c.work.reason.text, "chooser"));
    CHECK(fr_chooser_new(&chooser, &c.writer, N, 1) == FR_OK);
    c.o.credit = FR_GRPO;
    CHECK(STEP() == FR_INVALID && strstr(c.work.reason.text, "chooser"));
    c.o.credit = FR_GFPO;
    CHECK(STEP() == FR_OK && chooser.adamw.step == 1);
    chooser.adamw.grads[0] = HUGE_VALF;
    CHECK(fr_chooser_step(&chooser, &c.work, 0.0, 1e-3f, NULL) == FR_NONFINITE && chooser.adamw.step == 1);
    CHECK(fr_chooser_step(NULL, &c.work, 0.0, 1e-3f, NULL) == FR_INVALID);
    CHECK(fr_chooser_step(&chooser, NULL, 0.0, 1e-3f, NULL) == FR_INVALID);
    fr_chooser_free(&chooser);
    fr_chooser_free(NULL);
    c.policy.chooser = NULL;
    CHECK(fr_chooser_new(&chooser, NULL, N, 1) == FR_INVALID && fr_chooser_new(&chooser, &c.writer, 0, 1) == FR_INVALID);
    CHECK(fr_chooser_new(&chooser, &c.writer, PTRDIFF_MAX / 4, PTRDIFF_MAX / 4) == FR_OVERFLOW && !chooser.owned);
  }
  UNCHANGED();
  CHECK(STEP() == FR_OK && report.norm > 0.0 && c.adamw.step == 1);  // and after all that it works
  CHECK(!same_bits(before, c.tuned.params, c.tuned.count, (fr_int)sizeof(float)));
  {
    fr_int bytes = 0;
    fr_limits limits;
    fr_rollouts r;
    CHECK(fr_rollouts_place(NULL, &c.o, 0, NULL, 0, &bytes) == FR_INVALID && fr_rollouts_place(NULL, NULL, 1, NULL, 0, &bytes) == FR_INVALID);
    CHECK(fr_rollouts_place(NULL, &c.o, PTRDIFF_MAX / 2, NULL, 0, &bytes) == FR_OVERFLOW);
    CHECK(fr_gfpo_limits(&c.o, 0, 1, &limits) == FR_INVALID && fr_gfpo_limits(&c.o, 1, 1, NULL) == FR_INVALID);
    CHECK(fr_gfpo_limits(&c.o, 1, PTRDIFF_MAX / 2, &limits) == FR_OVERFLOW);
    CHECK(fr_rollouts_new(&r, NULL, 1) == FR_INVALID && fr_rollouts_new(NULL, &c.o, 1) == FR_INVALID);
    fr_rollouts_free(NULL);
    CHECK(fr_rollouts_place(NULL, &c.o, 1, NULL, 0, &bytes) == FR_OK && fr_rollouts_place(&r, &c.o, 1, before, bytes - 1, NULL) == FR_MEMORY);
  }
  free(before);
  free(zeros);
  scene_end(&c);
}

// FR_GRPO: texts that might not fit the training pass are refused before any is written.
static void early_limit(void)
{
  scene c;
  fr_int cut = 0;
  scene_begin(&c, FR_GRPO, 1, 1, NULL);
  c.o.reward = equal_reward;
  c.o.user = &cut;
  c.o.sampling.stop_count = 0;
  c.work.limits.grad_rows = PROMPT + 7 + G * (MAX - 1);  // the forks have 7 tokens
  CHECK(fr_gfpo_step(&c.policy, &c.writer, &c.work, &c.o, c.questions, Q, &c.rollouts, 1e-2f, NULL) == FR_OK && cut > 0);
  cut = 0;
  c.work.limits.grad_rows--;
  CHECK(fr_gfpo_step(&c.policy, &c.writer, &c.work, &c.o, c.questions, Q, &c.rollouts, 1e-2f, NULL) == FR_LIMIT && cut == 0);
  CHECK(strstr(c.work.reason.text, "grad_rows") != NULL);
  scene_end(&c);
}

// ---- a toy: the question is a digit d and '='; a writer was taught that fork i says i; the right word is d mod 3
enum { TOY_DIGITS = 9, TOY_FORKS = 3, TOY_EQUALS = 9, TOY_END = 10, TOY_FORK = 11, TOY_WORD = 14, TOY_VOCAB = 17, TOY_GROUP = 8 };

static double toy_reward(void *user, fr_int question, fr_int fork, const fr_leaf *leaf)
{
  (void)user; (void)fork;
  return leaf->stop == TOY_END && leaf->count == 1 && leaf->tokens[0] == TOY_WORD + (fr_token)(question % TOY_FORKS) ? 1.0 : 0.0;
}

typedef struct toy {
  fr_token ids[TOY_DIGITS][2], fork_ids[TOY_FORKS], word[TOY_FORKS][2], end;
  fr_tokens forks[TOY_FORKS], traces[TOY_FORKS];
  fr_int matched[TOY_DIGITS][TOY_FORKS];
  fr_question questions[TOY_DIGITS];
  fr_gfpo_options o;
  fr_config config;
  fr_model writer;
  fr_work work;
} toy;

static void toy_begin(toy *t, fr_method method)
{
  fr_ssft_options teach;
  fr_ssft_report report;
  fr_limits limits, other;
  fr_adamw adamw;
  memset(t, 0, sizeof *t);
  memset(&teach, 0, sizeof teach);
  t->end = TOY_END;
  for (int i = 0; i < TOY_FORKS; i++) {
    t->fork_ids[i] = TOY_FORK + i;
    t->forks[i].ids = t->fork_ids + i;
    t->forks[i].count = 1;
    t->word[i][0] = TOY_WORD + i;
    t->word[i][1] = TOY_END;
    t->traces[i].ids = t->word[i];
    t->traces[i].count = 2;
  }
  for (int d = 0; d < TOY_DIGITS; d++) {
    t->ids[d][0] = d;
    t->ids[d][1] = TOY_EQUALS;
    t->questions[d].prompt.ids = t->ids[d];
    t->questions[d].prompt.count = 2;
    t->questions[d].key = (uint64_t)d;
    t->questions[d].traces = t->traces;
    t->questions[d].trace_count = TOY_FORKS;
    t->questions[d].fork = t->matched[d];
  }
  t->config.layers = 1; t->config.dim = 24; t->config.heads = 2; t->config.ffn = 48; t->config.vocab = TOY_VOCAB;
  t->config.tied = 1; t->config.embed_scale = 4.9f;
  teach.forks = t->forks;
  teach.fork_count = TOY_FORKS;
  teach.method = method;
  teach.fork_weight = 0.1f;
  t->o.forks = t->forks;
  t->o.fork_count = TOY_FORKS;
  t->o.group = TOY_GROUP;
  t->o.sampling.temperature = 1.0f;
  t->o.sampling.max_tokens = 4;
  t->o.sampling.stops = &t->end;
  t->o.sampling.stop_count = 1;
  t->o.reward = toy_reward;
  t->o.credit = FR_GRPO;  // the larger limits, for all
  CHECK(fr_ssft_limits(&teach, 2, 2, TOY_FORKS, TOY_DIGITS, &limits) == FR_OK);
  CHECK(fr_gfpo_limits(&t->o, 2, TOY_DIGITS, &other) == FR_OK);
  limits = fr_limits_max(limits, other);
  t->o.credit = FR_GFPO;
  CHECK(fr_work_new(&t->work, &t->config, &limits) == FR_OK);
  CHECK(fr_model_new(&t->writer, &t->config) == FR_OK);
  CHECK(fr_adamw_new(&adamw, &t->writer) == FR_OK);
  fr_model_init(&t->writer, 1);
  for (int step = 0; step < 120; step++)
    CHECK(fr_ssft_step(&t->writer, &t->work, &adamw, &teach, t->questions, TOY_DIGITS, 1e-2f, &report) == FR_OK);
  CHECK_BELOW(report.nll / (double)report.tokens, method == FR_SFT_MIXED ? 0.7 : 0.05);
  fr_adamw_free(&adamw);
}

// Greedy choice: how many questions go to the right fork.
static int toy_right(toy *t, const fr_policy *policy)
{
  double logp[TOY_DIGITS * TOY_FORKS];
  int right = 0;
  CHECK(fr_policy_logp(policy, &t->work, &t->o, t->questions, TOY_DIGITS, logp) == FR_OK);
  for (int d = 0; d < TOY_DIGITS; d++) right += fr_policy_pick(logp + d * TOY_FORKS, TOY_FORKS, NULL) == d % TOY_FORKS;
  return right;
}

static void toy_learns(int kind)  // 0: a copy; 1: a chooser; 2: GRPO on the writer's copy, which then writes
{
  toy t;
  fr_model tuned;
  fr_adamw adamw;
  fr_chooser chooser;
  fr_rollouts r, drift;
  fr_policy policy;
  fr_gfpo_report report;
  double first = 0.0;
  toy_begin(&t, FR_FIXED_LABELS);
  memset(&policy, 0, sizeof policy);
  memset(&chooser, 0, sizeof chooser);
  CHECK(fr_model_new(&tuned, &t.config) == FR_OK);
  CHECK(fr_model_append_rows(&tuned, &t.writer) == FR_OK);
  CHECK(same_bits(tuned.params, t.writer.params, tuned.count, (fr_int)sizeof(float)));
  CHECK(fr_adamw_new(&adamw, &tuned) == FR_OK);
  policy.model = &tuned;
  policy.adamw = &adamw;
  policy.start = &t.writer;
  if (kind == 1) {
    CHECK(fr_chooser_new(&chooser, &t.writer, TOY_FORKS, 2) == FR_OK);
    policy.model = &t.writer;
    policy.chooser = &chooser;
  }
  if (kind == 2) t.o.credit = FR_GRPO;
  t.o.entropy = kind == 1 ? 0.1f : 0.02f;
  CHECK(fr_rollouts_new(&r, &t.o, TOY_DIGITS) == FR_OK);
  for (int step = 0; step < (kind == 1 ? 300 : 60); step++) {
    t.o.draw = (uint64_t)step;
    CHECK(fr_gfpo_step(&policy, kind == 2 ? &tuned : &t.writer, &t.work, &t.o, t.questions, TOY_DIGITS, &r,
                       kind == 1 ? 2e-2f : 3e-3f, &report) == FR_OK);
    if (step == 0) first = report.reward;
  }
  CHECK_BELOW(fabs(first - 1.0 / 3.0), 0.2);
  CHECK(report.reward > (kind == 1 ? 0.85 : 0.95));
  CHECK(report.entropy < 0.6);
  CHECK(toy_right(&t, &policy) == TOY_DIGITS);
  t.o.credit = FR_GFPO;  // the frozen writer's forks are what they were: each is right on a third of the questions
  t.o.group = TOY_FORKS;
  CHECK(fr_rollouts_new(&drift, &t.o, TOY_DIGITS) == FR_OK);
  CHECK(fr_gfpo_rollout(NULL, &t.writer, &t.work, &t.o, t.questions, TOY_DIGITS, &drift, &report) == FR_OK);
  for (int i = 0; i < TOY_FORKS; i++) CHECK_BELOW(fabs(drift.fork_reward[i] - 1.0 / 3.0), 0.12);
  fr_rollouts_free(&drift);
  fr_rollouts_free(&r);
  fr_chooser_free(&chooser);
  fr_adamw_free(&adamw);
  fr_model_free(&tuned);
  fr_model_free(&t.writer);
  fr_work_free(&t.work);
}

// One fork: GRPO as it is known, on the tokens alone. The word that the reward asks for becomes likelier.
static void toy_one_fork(void)
{
  toy t;
  fr_adamw adamw;
  fr_rollouts r;
  fr_policy policy;
  fr_gfpo_report report;
  double first = 0.0;
  toy_begin(&t, FR_SFT_MIXED);
  memset(&policy, 0, sizeof policy);
  policy.model = &t.writer;  // policy and writer are the same model
  policy.adamw = &adamw;
  t.o.fork_count = 1;
  t.o.credit = FR_GRPO;
  CHECK(fr_adamw_new(&adamw, &t.writer) == FR_OK);
  CHECK(fr_rollouts_new(&r, &t.o, TOY_DIGITS) == FR_OK);
  for (int step = 0; step < 60; step++) {
    t.o.draw = (uint64_t)step;
    CHECK(fr_gfpo_step(&policy, &t.writer, &t.work, &t.o, t.questions, TOY_DIGITS, &r, 3e-3f, &report) == FR_OK);
    if (step == 0) first = report.reward;
  }
  CHECK_BELOW(first, 0.45);
  CHECK(report.reward > 0.85);
  fr_rollouts_free(&r);
  fr_adamw_free(&adamw);
  fr_model_free(&t.writer);
  fr_work_free(&t.work);
}

// ---- the formulas: each tag of the header stands at exactly one formula, and at exactly one line of code that computes it
static void formulas(void)
{
  enum { MOST = 64, LONGEST = 32 };
  static char tags[MOST][LONGEST];
  int formula[MOST] = { 0 }, code[MOST] = { 0 }, count = 0;
  char line[512];
  FILE *file = fopen("forkreason.h", "r");
  if (!CHECK(file != NULL)) return;
  while (fgets(line, sizeof line, file))
    for (const char *at = line; (at = strstr(at, "eq:")) != NULL;) {
      size_t length = 3;
      int i = 0;
      while ((at[length] >= 'a' && at[length] <= 'z') || at[length] == '-') length++;
      CHECK(length > 3 && length < LONGEST);
      while (i < count && (strlen(tags[i]) != length || strncmp(tags[i], at, length))) i++;
      if (i == count && CHECK(count < MOST)) memcpy(tags[count++], at, length);
      if (strncmp(line, "//", 2)) code[i]++;
      else formula[i] += !strncmp(line, "//   eq:", 8) ? 1 : 2;  // inside of a sentence: one too many
      at += length;
    }
  fclose(file);
  CHECK(count >= 20);
  for (int i = 0; i < count; i++)
    if (!CHECK(formula[i] == 1 && code[i] == 1))
      fprintf(stderr, "  %s: %d formulas, %d lines of code\n", tags[i], formula[i], code[i]);
  for (int i = 0; i < count; i++)  // so that a search for one finds no other
    for (int k = 0; k < count; k++) CHECK(i == k || !strstr(tags[k], tags[i]));
}

int main(void)
{
  formulas();
  references();
  reference_model("llama_ssft");
  reference_model("qwen3_ssft");
  advantages();
  picks();
  rollouts_are_named();
  for (int softmax = 0; softmax < 2; softmax++) against_plain(FR_GFPO, (fr_fork_softmax)softmax, FR_MEAN_TOKENS, 0.0f, Q);
  against_plain(FR_GRPO, FR_OVER_FORKS, FR_MEAN_TOKENS, 0.0f, 1);
  against_plain(FR_GRPO, FR_OVER_VOCABULARY, FR_MEAN_TRACES, 0.0f, Q);
  chooser_gradient(1);
  if (!test_brief()) {  // the same with other numbers
    against_plain(FR_GFPO, FR_OVER_FORKS, FR_MEAN_TOKENS, 7.0f, 2);  // GFPO has no other term to be weighed against
    against_plain(FR_GRPO, FR_OVER_FORKS, FR_MEAN_TOKENS, 12.5f, Q);
    against_plain(FR_GRPO, FR_OVER_FORKS, FR_MEAN_TRACES, 0.25f, 1);
    chooser_gradient(4);
  }
  for (int kind = 0; kind < 3; kind++) same_bits_for_tasks(kind == 1 ? FR_GRPO : FR_GFPO, kind == 2);
  statuses();
  early_limit();
  for (int kind = test_brief(); kind < 3; kind++) toy_learns(kind);  // the others have a copy and GFPO, too
  toy_one_fork();
  return test_done("choose");
}
