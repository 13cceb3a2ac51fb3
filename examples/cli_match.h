// cli_match.h - forkreason match: what set supervised fine-tuning sees of a question, the cost matrix and its matching.
#ifndef CLI_MATCH_H
#define CLI_MATCH_H

#include "cli_ready.h"

static const cli_flag cli_match_flags[] = {
  CLI_TEXT("--model|-m", "PATH a folder, or a GGUF, with forks"),
  CLI_TEXT("--data", "PATH questions with traces: a file of JSON lines, or a folder with train.jsonl"),
  CLI_WHOLE("--question", 1, 1, 1e9, "K which one, from 1"),
  CLI_WHOLE("--forks", 0, 0, CLI_MOST_FORKS, "N adds so many to a model without; 0: those that it has"),
  CLI_WHOLE("--match-tokens", 64, 0, 1000000, "L tokens of a trace that the matching looks at; 0: all"),
  CLI_TEXT("--system", "TEXT a system turn in place of the template's own"), CLI_TEXT("--framing", "TEXT BEFORE{question}AFTER"),
  CLI_WHOLE("--threads|-t", 0, 0, POOL_MAX_THREADS, "N 0: as many as there are processors"),
  CLI_SWITCH("--json", " one JSON object"), CLI_END };
static const char cli_match_help[] =
  "forkreason match: the cost of each trace of a question under each fork, nats a token, and the matching that costs least\n\n"
  "  forkreason match --model tuned --data problems/ --question 7\n"
  "  forkreason match --model SmolLM2-135M-Instruct.Q4_1.gguf --forks 6 --data rows.jsonl --match-tokens 0 --json\n\n";

// Match and cost of question k of a corpus, by cost; fork[M] and cost[N*M] are the question's.
static inline int cli_costs(cli_ready *r, const fr_corpus *corpus, fr_int k, fr_ssft_options options, fr_question *q, fr_int *fork, double *cost)
{
  options.method = FR_SSFT;
  options.fork_count = r->framing.fork_count;
  *q = corpus->questions[k];
  q->fork = fork;
  q->cost = cost;
  if (q->trace_count > options.fork_count) q->trace_count = options.fork_count;
  return fr_ssft_match(&r->model, &r->work, &options, q, 1) ? cli_fail("%s", r->work.reason.text) : 0;
}

static inline int cli_match(cli_given *given)
{
  static cli_ready r;
  const char *model = cli_value(given, "--model"), *data = cli_value(given, "--data");
  const int json = cli_value(given, "--json") != NULL;
  const fr_int forks = cli_whole(given, "--forks"), wanted = cli_whole(given, "--question") - 1;
  fr_dataset set;
  fr_corpus corpus;
  fr_corpus_options o;
  fr_ssft_options options;
  fr_question q;
  fr_limits limits;
  fr_reason reason;
  fr_int lines, fork[CLI_MOST_FORKS], bytes = 0;
  double cost[CLI_MOST_FORKS * CLI_MOST_FORKS], margin = 0.0, total = 0.0;
  void *memory = NULL;
  int status;
  memset(&r, 0, sizeof r);
  memset(&set, 0, sizeof set);
  memset(&corpus, 0, sizeof corpus);
  memset(&o, 0, sizeof o);
  memset(&options, 0, sizeof options);
  if (!model || !data || given->words) return cli_wrong("match takes --model and --data");
  status = cli_rows(&set, data, NULL, &lines);
  if (!status) status = cli_ready_open(&r, model, forks ? forks : -1, 0, cli_value(given, "--framing"), cli_value(given, "--system"), 1);
  if (!status && r.framing.fork_count < 1) status = cli_fail("%s has no forks; --forks N adds some", model);
  if (!status && wanted >= set.problem_count) status = cli_fail("%s has %td questions", data, set.problem_count);
  if (!status) {  // of this one alone
    set.problems += wanted;
    set.problem_count = 1;
    if (fr_corpus_new(&corpus, &set, &r.encoder, &r.framing, &o, &reason)) status = cli_fail("%s", reason.text);
  }
  for (int i = 0; i < FR_LEFT_OUT_COUNT && !status && !corpus.count; i++)
    if (corpus.left_out[i]) status = cli_fail("question %td cannot be used: %s", wanted + 1, corpus.example[i].text);
  options.forks = r.forks;
  options.fork_count = r.framing.fork_count;
  options.prefix = cli_whole(given, "--match-tokens");
  if (!status && fr_corpus_limits(&corpus, &options, 1, &limits)) status = cli_fail("the question does not fit this machine");
  limits.grad_rows = 0;
  if (!status) status = cli_ready_work(&r, limits, cli_whole(given, "--threads"));
  if (!status) status = cli_costs(&r, &corpus, 0, options, &q, fork, cost);
  if (!status) {
    const fr_int N = options.fork_count, M = q.trace_count;
    fr_assign_margin(cost, M, 1, N, M, &margin, NULL, 0, &bytes);
    if ((memory = malloc((size_t)bytes)) != NULL) fr_assign_margin(cost, M, 1, N, M, &margin, memory, bytes, NULL);
    for (fr_int j = 0; j < M; j++) total += cost[fork[j] * M + j];
    if (json) {
      printf("{\"question\":"); cli_quoted(set.problems[0].text.bytes, set.problems[0].text.count);
      printf(",\"forks\":%td,\"traces\":%td,\"cost\":[", N, M);
      for (fr_int i = 0; i < N; i++) for (fr_int j = 0; j < M; j++) printf("%s%.6g%s", j ? "," : i ? ",[" : "[", cost[i * M + j], j == M - 1 ? "]" : "");
      printf("],\"fork\":[");
      for (fr_int j = 0; j < M; j++) printf("%s%td", j ? "," : "", fork[j] + 1);
      printf("]");
      cli_real("total", total);
      cli_real("margin", margin);
      printf("}\n");
    } else {
      printf("%.*s\n\n          ", (int)(set.problems[0].text.count < 400 ? set.problems[0].text.count : 400), set.problems[0].text.bytes);
      for (fr_int j = 0; j < M; j++) printf(" trace %-2td", j + 1);
      for (fr_int i = 0; i < N; i++) {
        printf("\n<think%td>%*s", i + 1, i < 9 ? 2 : 1, "");
        for (fr_int j = 0; j < M; j++) printf(fork[j] == i ? " [%6.4f]" : "  %6.4f ", cost[i * M + j]);
      }
      printf("\n\n");
      for (fr_int j = 0; j < M; j++) {
        const fr_trace *t = &set.traces[set.problems[0].first + j];
        printf("trace %td under <think%td>%s%.*s: %.*s%s\n", j + 1, fork[j] + 1, t->source >= 0 ? ", " : "", t->source >= 0 ? (int)set.sources[t->source].count : 0,
               t->source >= 0 ? set.sources[t->source].bytes : "", (int)(t->text.count < 60 ? t->text.count : 60), t->text.bytes, t->text.count > 60 ? " ..." : "");
      }
      printf("cost %.4f in all, nats a token", total);
      if (options.prefix) printf(" of the first %td", options.prefix);
      printf("; the next matching costs %.4f more\n", margin);
    }
  }
  free(memory);
  fr_corpus_free(&corpus);
  fr_dataset_free(&set);
  cli_ready_close(&r);
  return status;
}

#endif
