// cli_eval.h - forkreason eval: right answers to questions, base beside tuned, by each rule of choosing, with standard errors.
//
// A question's answer is right if fr_answer_same says so, and the text ended by itself. Pass@1 is greedy. Of the samples, number k is
// under fork k mod N, and a group of N has one of each: native Cons@N is the mean over groups of whether the group's vote is right.
// A standard error is that of the mean over questions.
#ifndef CLI_EVAL_H
#define CLI_EVAL_H

#include "cli_generate.h"

static const cli_flag cli_eval_flags[] = {
  CLI_TEXT("--model|-m", "PATH a folder, or a GGUF"), CLI_TEXT("--base", "PATH another one beside it, such as what it was tuned from"),
  CLI_TEXT("--data", "PATH questions with answers: a file of JSON lines, or a folder with test.jsonl"),
  CLI_TEXT("--valid", "FILE questions on which the best fork is chosen [valid.jsonl of the folder]"),
  CLI_TEXT("--policy", "PATH what train --method gfpo made: a rule more"),
  CLI_WHOLE("--limit", 0, 0, 1e9, "N questions, the first ones; 0: all"),
  CLI_WHOLE("--samples", 66, 0, 100000, "K texts of each question at --temp; 0: greedy ones alone"),
  CLI_WHOLE("--k", 6, 1, 1000, "K of Cons@K without forks, and of Pass@K; with forks Cons is of as many as there are"),
  CLI_TEXT("--log-samples", "FILE each text, a line of JSON"),
  CLI_RUN_FLAGS(.7, 256), CLI_SWITCH("--json", " one JSON object"), CLI_END };
static const char cli_eval_help[] =
  "forkreason eval: right answers, as shares with standard errors\n\n"
  "  forkreason eval --model tuned --base smol --data problems/\n"
  "  forkreason eval --model tuned --data rows.jsonl --samples 0 --log-samples texts.jsonl\n\n"
  "Pass@1 of the first fork, of the best one on --valid, of the one that most traces of its first 40\n"
  "questions fall to, of the one that a policy chooses; Cons@k and Pass@k of the samples.\n\n";

typedef struct cli_score { double sum, squares; fr_int count; } cli_score;  // of values 0 .. 1, one a question
static inline void cli_add(cli_score *s, double value) { s->sum += value; s->squares += value * value; s->count++; }
static inline double cli_mean(const cli_score *s) { return s->count ? s->sum / (double)s->count : 0.0; }
static inline double cli_error(const cli_score *s)
{
  const double n = (double)s->count, mean = cli_mean(s);
  return s->count > 1 ? sqrt(fmax(0.0, s->squares / n - mean * mean) / (n - 1.0)) : 0.0;
}
enum { CLI_FIRST, CLI_BEST, CLI_WIDEST, CLI_POLICY, CLI_MEAN_FORK, CLI_CONS_GREEDY, CLI_CONS, CLI_CONS_ALL, CLI_PASS, CLI_SCORES };
typedef struct cli_result { cli_score score[CLI_SCORES]; fr_int best, widest, forks, group; cli_score fork[CLI_MOST_FORKS]; } cli_result;

typedef struct cli_exam {
  const cli_given *given;
  fr_dataset set, valid;
  fr_answer_form form;
  FILE *log;
  const char *name, *part;
  double began;
  fr_int all;
} cli_exam;

static inline void cli_asked_so_far(void *user, fr_int done)
{
  const cli_exam *x = (const cli_exam *)user;
  char left[32];
  const double spent = cli_now() - x->began;
  if (isatty(2)) fprintf(stderr, "\r%s, %s: %td of %td questions, %s left\033[K", x->name, x->part, done, x->all, cli_clock(spent * (double)(x->all - done) / (double)done, left));
}

// right[i * leaves + k], and the replies' answers; the texts are the caller's to free.
static inline int cli_exam_part(cli_exam *x, cli_ready *r, const fr_dataset *set, fr_int leaves, const fr_sampling *sampling, const char *part, cli_reply **replies,
                                unsigned char **right)
{
  const fr_int n = set->problem_count;
  fr_question *questions = (fr_question *)calloc((size_t)n + 1, sizeof *questions);
  void **memory = (void **)calloc((size_t)n + 1, sizeof *memory);
  int status = 0;
  *replies = (cli_reply *)calloc((size_t)(n * leaves) + 1, sizeof **replies);
  *right = (unsigned char *)calloc((size_t)(n * leaves) + 1, 1);
  if (!questions || !memory || !*replies || !*right) status = cli_fail("no memory");
  for (fr_int i = 0; i < n && !status; i++) status = cli_question(r, set->problems[i].text, &questions[i], &memory[i]);
  x->part = part;
  x->all = n;
  x->began = cli_now();
  if (!status) status = cli_ask(r, questions, n, leaves, r->framing.fork_count, sampling, *replies, cli_asked_so_far, x);
  if (isatty(2)) fprintf(stderr, "\r\033[K");
  for (fr_int i = 0; i < n * leaves && !status; i++) {
    cli_reply *reply = &(*replies)[i];
    reply->answer = fr_answer_find(x->form, reply->text);
    (*right)[i] = (unsigned char)(reply->leaf.stop >= 0 && fr_answer_same(reply->answer, set->problems[i / leaves].answer));
    if (!x->log) continue;
    fprintf(x->log, "{\"model\":"); cli_quoted_to(x->log, x->name, (fr_int)strlen(x->name));
    fprintf(x->log, ",\"part\":\"%s\",\"question\":%td,\"fork\":%td,\"right\":%s,\"tokens\":%td,\"finished\":%s,\"text\":", part, i / leaves + 1, reply->fork + 1,
            (*right)[i] ? "true" : "false", reply->leaf.count, reply->leaf.stop >= 0 ? "true" : "false");
    cli_quoted_to(x->log, reply->text.bytes, reply->text.count);
    fprintf(x->log, "}\n");
  }
  for (fr_int i = 0; memory && i < n; i++) free(memory[i]);
  free(memory);
  free(questions);
  return status;
}
static inline void cli_exam_free(cli_reply *replies, fr_int count, unsigned char *right)
{
  for (fr_int i = 0; replies && i < count; i++) free((void *)(uintptr_t)replies[i].text.bytes);
  free(replies);
  free(right);
}

// The fork to which most traces of the first 40 validation questions fall: each is scored whole under every fork, which takes long.
static inline int cli_widest(cli_exam *x, cli_ready *r, fr_int *widest)
{
  fr_corpus corpus;
  fr_corpus_options o;
  fr_ssft_options options;
  fr_diagnosis_options d;
  fr_diagnosis diagnosis;
  fr_diagnosis_reading reading;
  fr_validation v;
  fr_limits limits;
  fr_reason reason;
  int status;
  memset(&o, 0, sizeof o);
  memset(&options, 0, sizeof options);
  memset(&d, 0, sizeof d);
  memset(&diagnosis, 0, sizeof diagnosis);
  o.held_out = 1.0;
  if (fr_corpus_new(&corpus, &x->valid, &r->encoder, &r->framing, &o, &reason)) return cli_fail("%s", reason.text);
  options.forks = r->forks;
  options.fork_count = r->framing.fork_count;
  options.method = options.fork_count > 1 ? FR_SSFT : FR_SFT_MIXED;  // one takes all
  d.forks = options.fork_count;
  d.sources = corpus.sources;
  status = !corpus.count || fr_corpus_limits(&corpus, &options, 1, &limits) || fr_diagnosis_new(&diagnosis, &d, &reason) ? cli_fail("the traces to validate on do not fit") : 0;
  if (!status) status = cli_ready_work(r, fr_limits_max(limits, r->work.limits), 0);
  if (!status && fr_corpus_validate(&corpus, &r->model, &r->work, &options, 40, &diagnosis, &v)) status = cli_fail("%s", r->work.reason.text);
  if (!status && !fr_diagnosis_read(&diagnosis, &reading)) *widest = reading.widest;
  fr_diagnosis_free(&diagnosis);
  fr_corpus_free(&corpus);
  return status;
}

static inline int cli_examine(cli_exam *x, const char *path, const char *chooser, cli_result *result)
{
  static cli_ready r, policy;
  const cli_given *given = x->given;
  const char *framing = cli_value(given, "--framing"), *system = cli_value(given, "--system");
  const fr_int n = x->set.problem_count, samples = cli_whole(given, "--samples");
  fr_int forks, group, best[CLI_MOST_FORKS];
  fr_sampling sampling;
  cli_reply *replies = NULL;
  unsigned char *right = NULL;
  fr_vote_result vote;
  int status;
  memset(&r, 0, sizeof r);
  memset(&policy, 0, sizeof policy);
  memset(result, 0, sizeof *result);
  memset(best, 0, sizeof best);
  result->best = result->widest = -1;
  x->name = path;
  status = cli_ready_open(&r, path, -1, 0, framing, system, 1);
  if (!status) pool_start(&r.threads, cli_whole(given, "--threads") ? (int)cli_whole(given, "--threads") : pool_default_threads());
  if (!status && chooser) status = cli_ready_open(&policy, chooser, -1, 0, framing, system, 1);
  if (status) return status;
  result->forks = r.framing.fork_count;
  forks = result->forks ? result->forks : 1;
  if (chooser && policy.framing.fork_count != result->forks) return cli_fail("%s has %td forks, %s has %td", chooser, policy.framing.fork_count, path, result->forks);
  sampling = cli_sampling(given, &r);
  sampling.temperature = 0.0f;
  if (x->valid.problem_count && result->forks) {
    status = cli_exam_part(x, &r, &x->valid, forks, &sampling, "greedy, to choose a fork", &replies, &right);
    for (fr_int i = 0; i < x->valid.problem_count * forks && !status; i++) best[i % forks] += right[i];
    for (fr_int f = 0; f < forks && !status; f++) if (result->best < 0 || best[f] > best[result->best]) result->best = f;
    cli_exam_free(replies, x->valid.problem_count * forks, right);
    if (!status) status = cli_widest(x, &r, &result->widest);
  }
  if (!status) {
    status = cli_exam_part(x, &r, &x->set, forks, &sampling, "greedy", &replies, &right);
    for (fr_int i = 0; i < n && !status; i++) {
      double sum = 0.0, chance;
      for (fr_int f = 0; f < forks; f++) { sum += right[i * forks + f]; cli_add(&result->fork[f], right[i * forks + f]); }
      cli_add(&result->score[CLI_FIRST], right[i * forks]);
      if (result->best >= 0) cli_add(&result->score[CLI_BEST], right[i * forks + result->best]);
      if (result->widest >= 0) cli_add(&result->score[CLI_WIDEST], right[i * forks + result->widest]);
      if (chooser) {
        fr_int chosen = 0;
        if ((status = cli_chosen(&policy, x->set.problems[i].text, cli_whole(given, "--threads"), &chosen, &chance)) == 0) cli_add(&result->score[CLI_POLICY], right[i * forks + chosen]);
      }
      if (result->forks < 2) continue;
      cli_add(&result->score[CLI_MEAN_FORK], sum / (double)forks);
      fr_vote(forks, cli_agree, replies + i * forks, NULL, &vote, NULL);
      cli_add(&result->score[CLI_CONS_GREEDY], vote.winner >= 0 && right[i * forks + vote.winner]);
    }
    cli_exam_free(replies, n * forks, right);
  }
  sampling = cli_sampling(given, &r);
  group = result->group = result->forks > 1 ? result->forks : cli_whole(given, "--k");
  if (!status && samples) {
    status = cli_exam_part(x, &r, &x->set, samples, &sampling, "samples", &replies, &right);
    for (fr_int i = 0; i < n && !status; i++) {
      double groups = 0.0, votes = 0.0;
      fr_int good = 0;
      const fr_int k = cli_whole(given, "--k") < samples ? cli_whole(given, "--k") : samples;
      for (fr_int g = 0; g + group <= samples; g += group, groups += 1.0) {
        fr_vote(group, cli_agree, replies + i * samples + g, NULL, &vote, NULL);
        votes += vote.winner >= 0 && right[i * samples + g + vote.winner];
      }
      for (fr_int s = 0; s < samples; s++) good += right[i * samples + s];
      fr_vote(samples, cli_agree, replies + i * samples, NULL, &vote, NULL);
      if (groups > 0.0) cli_add(&result->score[CLI_CONS], votes / groups);
      cli_add(&result->score[CLI_CONS_ALL], vote.winner >= 0 && right[i * samples + vote.winner]);
      cli_add(&result->score[CLI_PASS], fr_pass_at_k(samples, good, k));
    }
    cli_exam_free(replies, n * samples, right);
  }
  cli_ready_close(&policy);
  cli_ready_close(&r);
  return status;
}

// The label of a row whose number may differ between columns, such as "native Cons@4, @6"; a column without: 0.
static inline void cli_label(char out[60], const char *before, const fr_int number[2], const char *after)
{
  const fr_int first = number[0] ? number[0] : number[1], second = number[1] ? number[1] : number[0];
  if (first == second) snprintf(out, 60, "%s@%td%s", before, first, after);
  else snprintf(out, 60, "%s@%td, @%td%s", before, first, second, after);
}

// Rows with an answer; with --limit the first of them.
static inline int cli_exam_rows(fr_dataset *set, const char *data, const char *const *parts, int needed, fr_int limit)
{
  char path[900];
  map_file file;
  fr_reason reason;
  fr_int left = 0;
  int status = 0;
  const int there = cli_rows_map(&file, data, parts, path);
  if (there < 0) return 1;
  if (!there) return needed ? cli_fail("%s: there is no such file", path) : 0;
  if (fr_dataset_new(set, file.bytes, file.count, &reason)) status = cli_fail("%s: %s", path, reason.text);
  map_close(&file);
  for (fr_int i = 0; i < set->problem_count && !status; i++) if (set->problems[i].answer.bytes) set->problems[left++] = set->problems[i];
  if (!status && left < set->problem_count) cli_fail("%s: %td of %td questions have no answer and are left out", path, set->problem_count - left, set->problem_count);
  if (!status && !left) return cli_fail("%s: no question has an answer", path);
  set->problem_count = limit && limit < left ? limit : left;
  return status;
}

static inline int cli_eval(cli_given *given)
{
  static cli_exam x;
  static const char *const keys[CLI_SCORES] = { "pass1_first", "pass1_best", "pass1_widest", "pass1_policy", "pass1_mean", "cons_greedy", "cons_native", "cons_all", "pass_k" };
  const char *model = cli_value(given, "--model"), *base = cli_value(given, "--base"), *data = cli_value(given, "--data"), *valid = cli_value(given, "--valid");
  const char *log_path = cli_value(given, "--log-samples"), *names[2];
  const int form = cli_choice(given, "--answer", cli_answer_forms, 4), json = cli_value(given, "--json") != NULL;
  const fr_int samples = cli_whole(given, "--samples"), k = cli_whole(given, "--k");
  cli_result results[2];
  int status, count = 0;
  struct stat found;
  memset(&x, 0, sizeof x);
  if (form < 0) return 2;
  if (!model || !data || given->words) return cli_wrong("eval takes --model and --data");
  x.given = given;
  status = cli_exam_rows(&x.set, data, cli_test_rows, 1, cli_whole(given, "--limit"));
  if (!status && (valid || (!stat(data, &found) && S_ISDIR(found.st_mode)))) status = cli_exam_rows(&x.valid, valid ? valid : data, cli_valid_rows, valid != NULL, 0);
  x.form = form < 4 ? (fr_answer_form)form : cli_answer_form(&x.set);
  if (!status && log_path && !(x.log = fopen(log_path, "wb"))) status = cli_fail("%s cannot be opened for writing: %s", log_path, strerror(errno));
  if (base) names[count++] = base;
  names[count++] = model;
  for (int i = 0; i < count && !status; i++) status = cli_examine(&x, names[i], names[i] == model ? cli_value(given, "--policy") : NULL, &results[i]);
  if (x.log && (fflush(x.log) || ferror(x.log)) && !status) status = cli_fail("%s cannot be written", log_path);
  if (x.log) fclose(x.log);
  for (int m = 0; m < count && !status && json; m++) {
    printf("%s{\"model\":", m ? ",\n" : "[");
    cli_quoted(names[m], (fr_int)strlen(names[m]));
    printf(",\"questions\":%td,\"samples\":%td,\"k\":%td,\"forks\":[", x.set.problem_count, samples, k);
    for (fr_int f = 0; f < results[m].forks; f++) printf("%s%.6g", f ? "," : "", cli_mean(&results[m].fork[f]));
    printf("],\"best\":%td,\"widest\":%td", results[m].best + 1, results[m].widest + 1);
    for (int s = 0; s < CLI_SCORES; s++)
      if (results[m].score[s].count) printf(",\"%s\":[%.6g,%.6g]", keys[s], cli_mean(&results[m].score[s]), cli_error(&results[m].score[s]));
    printf("}%s", m == count - 1 ? "]\n" : "");
  }
  if (!status && !json) {
    char labels[CLI_SCORES][60];
    fr_int voters[2] = { 0, 0 }, groups[2] = { 0, 0 };
    for (int m = 0; m < count; m++) {
      voters[m] = results[m].forks > 1 ? results[m].forks : 0;
      groups[m] = results[m].score[CLI_CONS].count ? results[m].group : 0;
    }
    snprintf(labels[CLI_FIRST], 60, "Pass@1, first fork");
    snprintf(labels[CLI_BEST], 60, "Pass@1, best fork on validation");
    snprintf(labels[CLI_WIDEST], 60, "Pass@1, widest fork");
    snprintf(labels[CLI_POLICY], 60, "Pass@1, fork of the policy");
    snprintf(labels[CLI_MEAN_FORK], 60, "Pass@1, mean over forks");
    cli_label(labels[CLI_CONS_GREEDY], "Cons", voters, ", greedy");
    cli_label(labels[CLI_CONS], "native Cons", groups, "");
    snprintf(labels[CLI_CONS_ALL], 60, "Cons@%td", samples);
    snprintf(labels[CLI_PASS], 60, "Pass@%td", k < samples ? k : samples);
    printf("%td questions; %td samples of each at temperature %g\n\n%-34s", x.set.problem_count, samples, cli_decimal(given, "--temp"), "");
    for (int m = 0; m < count; m++) printf("%-24.23s", names[m]);
    for (int s = 0; s < CLI_SCORES; s++) {
      int any = 0;
      for (int m = 0; m < count; m++) any |= results[m].score[s].count > 0;
      if (!any) continue;
      printf("\n%-34s", labels[s]);
      for (int m = 0; m < count; m++) {
        char cell[80] = "-";
        const cli_score *score = &results[m].score[s];
        if (score->count) snprintf(cell, sizeof cell, "%.3f +- %.3f", cli_mean(score), cli_error(score));
        if (s == CLI_BEST && score->count) snprintf(cell + strlen(cell), 30, " (%td)", results[m].best + 1);
        if (s == CLI_WIDEST && score->count) snprintf(cell + strlen(cell), 30, " (%td)", results[m].widest + 1);
        printf("%-24s", cell);
      }
    }
    printf("\n");
    for (int m = 0; m < count; m++) {
      if (results[m].forks) printf("greedy, fork by fork%s%s: ", count > 1 ? ", " : "", count > 1 ? names[m] : "");
      for (fr_int f = 0; f < results[m].forks; f++) printf("%s<think%td> %.3f%s", f ? "  " : "", f + 1, cli_mean(&results[m].fork[f]), f == results[m].forks - 1 ? "\n" : "");
    }
  }
  fr_dataset_free(&x.valid);
  fr_dataset_free(&x.set);
  return status;
}

#endif
