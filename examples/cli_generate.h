// cli_generate.h - forkreason generate: one question, all forks at once, and their vote; forkreason chat: turns that go on.
#ifndef CLI_GENERATE_H
#define CLI_GENERATE_H

#include "cli_ready.h"

static const cli_flag cli_generate_flags[] = {
  CLI_TEXT("--model|-m", "PATH a folder, or a GGUF"),
  CLI_TEXT("--prompt|-p", "TEXT the question [standard input]"), CLI_TEXT("--file|-f", "FILE it is in this file"),
  CLI_TEXT("--fork", "K this fork alone, from 1; 0: none [all, and they vote]"),
  CLI_TEXT("--policy", "PATH what train --method gfpo made: it chooses the fork"),
  CLI_RUN_FLAGS(0, 256), CLI_SWITCH("--json", " one JSON object"), CLI_END };
static const char cli_generate_help[] =
  "forkreason generate: answers a question under every fork at once; they vote\n\n"
  "  forkreason generate --model tuned --prompt \"A box holds 47 pens. How many pens are in 6 boxes?\"\n"
  "  forkreason generate --model tuned --policy policy --temp .7 --top-p .9 <question.txt\n\n";
static const cli_flag cli_chat_flags[] = {
  CLI_TEXT("--model|-m", "PATH a folder, or a GGUF"), CLI_WHOLE("--fork", 1, 0, CLI_MOST_FORKS, "K fork to begin with; 0: none"),
  CLI_WHOLE("--context", 2048, 64, 1 << 20, "N tokens of the whole talk, all forks of a vote among them"), CLI_RUN_FLAGS(0, 256), CLI_END };
static const char cli_chat_help[] =
  "forkreason chat: a line is a turn; /fork K: the next answers come from fork K, 0: from none; /vote: from all forks, the majority's stays;\n"
  "/new: forgets; /quit\n\n"
  "  forkreason chat --model tuned\n"
  "  forkreason chat --model tuned --fork 3 --temp .7 --system \"You are brief.\"\n\n";

// ---- streaming: on a terminal each leaf has a line, with the end of what it said; otherwise one leaf alone is written as it comes
typedef struct cli_stream {
  const cli_ready *ready;
  fr_int leaves, forks[CLI_MOST_FORKS];
  int drawn, width;
  fr_decoder decoder;
} cli_stream;
static inline void cli_head(fr_int fork) { if (fork >= 0) printf("<think%td> ", fork + 1); }

static inline int cli_stream_token(void *user, fr_int number, const fr_leaf *leaf)
{
  cli_stream *s = (cli_stream *)user;
  const fr_tokenizer *t = s->ready->tokenizer;
  char text[8192];
  fr_int bytes = 0, first = leaf->count;
  if (s->leaves == 1) {
    const int more = leaf->stop < 0 && leaf->count > 0;
    if (fr_tokenizer_stream(t, &s->decoder, more ? leaf->tokens[leaf->count - 1] : -1, text, sizeof text, &bytes)) return FR_GO_ON;
    return fwrite(text, 1, (size_t)bytes, stdout) != (size_t)bytes || fflush(stdout) ? FR_STOP_ALL : FR_GO_ON;
  }
  if (!isatty(1)) return FR_GO_ON;
  for (; !s->drawn && s->drawn < 1; s->drawn = 1) for (fr_int i = 0; i < s->leaves; i++) printf("\n");
  for (bytes = 0; first > 0 && bytes < s->width; first--) bytes += fr_tokenizer_token(t, leaf->tokens[first - 1]).count;
  if (fr_tokenizer_decode(t, leaf->tokens + first, leaf->count - first, text, sizeof text, &bytes, NULL)) return FR_GO_ON;
  first = bytes > s->width ? bytes - s->width : 0;
  while (first < bytes && (text[first] & 0xC0) == 0x80) first++;
  for (fr_int i = first; i < bytes; i++) if ((unsigned char)text[i] < ' ') text[i] = ' ';
  printf("\033[%tdA\r", s->leaves - number);
  cli_head(s->forks[number]);
  printf("%.*s\033[K\033[%tdB\r", (int)(bytes - first), text + first, s->leaves - number);
  return fflush(stdout) ? FR_STOP_ALL : FR_GO_ON;
}

static inline void cli_answers(cli_reply *replies, fr_int count, fr_answer_form form, fr_vote_result *vote)
{
  for (fr_int i = 0; i < count; i++) replies[i].answer = fr_answer_find(form, replies[i].text);
  fr_vote(count, cli_agree, replies, NULL, vote, NULL);
}

// A policy's choice for a question.
static inline int cli_chosen(cli_ready *policy, fr_text text, fr_int threads, fr_int *fork, double *chance)
{
  fr_gfpo_options options;
  fr_question q;
  fr_limits limits;
  double logp[CLI_MOST_FORKS];
  void *memory;
  const fr_policy p = { &policy->model, NULL, NULL, NULL };
  int status = cli_question(policy, text, &q, &memory);
  memset(&options, 0, sizeof options);
  memset(&limits, 0, sizeof limits);
  options.forks = policy->forks;
  options.fork_count = policy->framing.fork_count;
  options.group = 1;
  options.sampling.max_tokens = 1;
  if (!status && fr_gfpo_limits(&options, q.prompt.count, 1, &limits)) status = cli_fail("the question does not fit this machine");
  limits.grad_rows = 0;
  if (!status && (limits.rows > policy->work.limits.rows || limits.depth > policy->work.limits.depth)) status = cli_ready_work(policy, limits, threads);
  if (!status && fr_policy_logp(&p, &policy->work, &options, &q, 1, logp)) status = cli_fail("%s", policy->work.reason.text);
  if (!status) *fork = fr_policy_pick(logp, options.fork_count, NULL);
  if (!status && *fork < 0) status = cli_fail("the policy's numbers are not finite");
  if (!status) *chance = exp(logp[*fork]);
  free(memory);
  return status;
}

static inline int cli_generate(cli_given *given)
{
  static cli_ready r, policy;
  const char *model = cli_value(given, "--model"), *prompt = cli_value(given, "--prompt"), *path = cli_value(given, "--file"), *fork = cli_value(given, "--fork");
  const char *chooser = cli_value(given, "--policy"), *framing = cli_value(given, "--framing"), *system = cli_value(given, "--system");
  const int json = cli_value(given, "--json") != NULL, form = cli_choice(given, "--answer", cli_answer_forms, FR_ANSWER_NUMBER);
  fr_int leaves, only = -1, bytes = 0;
  char *owned = NULL, *end;
  fr_text text;
  fr_question q;
  fr_sampling sampling;
  fr_vote_result vote;
  cli_reply replies[CLI_MOST_FORKS];
  cli_stream stream;
  void *memory = NULL;
  double chance = 0.0;
  int status;
  memset(&r, 0, sizeof r);
  memset(&policy, 0, sizeof policy);
  memset(replies, 0, sizeof replies);
  memset(&stream, 0, sizeof stream);
  if (form < 0) return 2;
  if (!model) return cli_wrong("generate needs --model");
  if (prompt && path) return cli_wrong("--prompt and --file exclude each other");
  if (given->words) return cli_wrong("a question comes by --prompt, --file or standard input, not as %s", given->word[0]);
  if (fork && chooser) return cli_wrong("--fork and --policy exclude each other");
  if (fork && ((only = strtol(fork, &end, 10)) < 0 || *end || !*fork || only > CLI_MOST_FORKS)) return cli_wrong("--fork is a whole number from 0 to %d, not %s", (int)CLI_MOST_FORKS, fork);
  if (prompt) text = cli_text_of(prompt);
  else {
    FILE *in = path ? fopen(path, "rb") : stdin;
    if (!in || !(owned = cli_read_all(in, &bytes))) { if (in && path) fclose(in); return cli_fail("%s cannot be read: %s", path ? path : "standard input", strerror(errno)); }
    if (path) fclose(in);
    text.bytes = owned;
    text.count = bytes - (bytes > 0 && owned[bytes - 1] == '\n');
  }
  if (!text.count) { free(owned); return cli_fail("the question is empty"); }
  status = cli_ready_open(&r, model, -1, 0, framing, system, 1);
  if (!status && chooser) {
    status = cli_ready_open(&policy, chooser, -1, 0, framing, system, 1);
    if (!status && policy.framing.fork_count < 1) status = cli_fail("%s has no fork to choose", chooser);
    if (!status) status = cli_chosen(&policy, text, cli_whole(given, "--threads"), &only, &chance);
    only++;
  }
  if (!status && only > r.framing.fork_count) status = cli_fail("%s has %td forks; there is no fork %td", model, r.framing.fork_count, only);
  leaves = only >= 0 || !r.framing.fork_count ? 1 : r.framing.fork_count;
  if (only > 0) { r.forks[0] = r.forks[only - 1]; r.framing.forks += only - 1; }
  if (only >= 0) r.framing.fork_count = only > 0;
  if (!status) status = cli_question(&r, text, &q, &memory);
  if (!status && !r.threads.threads) pool_start(&r.threads, cli_whole(given, "--threads") ? (int)cli_whole(given, "--threads") : pool_default_threads());
  sampling = cli_sampling(given, &r);
  stream.ready = &r;
  stream.leaves = leaves;
  stream.width = 100;
  for (fr_int i = 0; i < leaves; i++) stream.forks[i] = only > 0 ? only - 1 : r.framing.fork_count ? i : -1;
  if (!json) { sampling.token = cli_stream_token; sampling.user = &stream; }
  if (!status && chooser && !json) printf("fork %td, chance %.2f\n", only, chance);
  if (!status) status = cli_ask(&r, &q, 1, leaves, r.framing.fork_count, &sampling, replies, NULL, NULL);
  if (!status) {
    cli_answers(replies, leaves, (fr_answer_form)form, &vote);
    if (json) {
      printf("{\"answers\":[");
      for (fr_int i = 0; i < leaves; i++) {
        printf("%s{\"fork\":%td,\"text\":", i ? "," : "", stream.forks[i] + 1);
        cli_quoted(replies[i].text.bytes, replies[i].text.count);
        printf(",\"answer\":");
        if (replies[i].answer.bytes) cli_quoted(replies[i].answer.bytes, replies[i].answer.count);
        else printf("null");
        printf(",\"tokens\":%td,\"finished\":%s", replies[i].leaf.count, replies[i].leaf.stop >= 0 ? "true" : "false");
        cli_real("logp", replies[i].leaf.logp);
        printf("}");
      }
      printf("],\"vote\":");
      if (vote.winner >= 0) cli_quoted(replies[vote.winner].answer.bytes, replies[vote.winner].answer.count);
      else printf("null");
      printf(",\"votes\":%td}\n", vote.votes);
    } else if (leaves == 1) {
      printf(replies[0].leaf.stop < 0 ? "\n(cut at %td tokens; --max-tokens)\n" : "\n", replies[0].leaf.count);
    } else {
      if (isatty(1)) printf("\n");
      for (fr_int i = 0; i < leaves; i++) {
        cli_head(i);
        printf("%.*s%s\n", (int)replies[i].text.count, replies[i].text.bytes, replies[i].leaf.stop < 0 ? " ... (cut)" : "");
      }
      if (vote.winner >= 0) printf("\nvote: %.*s, %td of %td\n", (int)replies[vote.winner].answer.count, replies[vote.winner].answer.bytes, vote.votes, leaves);
      else printf("\nvote: no text has an answer\n");
    }
  }
  for (fr_int i = 0; i < leaves && i < CLI_MOST_FORKS; i++) free((void *)(uintptr_t)replies[i].text.bytes);
  free(memory);
  free(owned);
  cli_ready_close(&policy);
  cli_ready_close(&r);
  return status;
}

// ---- chat. The talk is one tree: each turn a span with the question and one with the fork, then the leaves that were grown; what an
// earlier call left in the cache is not run again.
enum { CLI_TURNS = 400 };
typedef struct cli_talk {
  cli_ready r;
  fr_span  spans[CLI_TURNS];
  fr_int   count, cached, last;  // spans; of them in the cache; the one that goes on, -1 before the first turn
  void    *memory[CLI_TURNS];    // of the ids of spans
  fr_int   memories, context, used;
} cli_talk;

static inline void cli_forget(cli_talk *t)
{
  while (t->memories) free(t->memory[--t->memories]);
  t->count = t->cached = t->used = 0;
  t->last = -1;
}

// One turn, answered by a fork, 1 .. ; by none, 0; or by all, -1.
static inline int cli_turn(cli_talk *t, const char *line, fr_int fork, fr_sampling sampling, fr_answer_form form)
{
  cli_ready *r = &t->r;
  const fr_int leaves = fork < 0 ? r->framing.fork_count : 1, room = sampling.max_tokens;
  const fr_text first = r->framing.before;
  fr_leaf grown[CLI_MOST_FORKS];
  cli_reply replies[CLI_MOST_FORKS];
  char between[1300];
  fr_question q;
  fr_vote_result vote;
  cli_stream stream;
  fr_token *tokens = (fr_token *)malloc((size_t)(leaves * room) * sizeof *tokens);
  fr_int kept = 0, needs, forks_at;
  fr_tree tree;
  int status;
  snprintf(between, sizeof between, "%s%s", r->framed.closes[2], r->framed.opens[1]);
  if (t->last >= 0) r->framing.before = cli_text_of(between);
  if (t->memories + 2 > CLI_TURNS || !tokens) { free(tokens); return cli_fail("the talk is too long; /new begins another"); }
  status = cli_question(r, cli_text_of(line), &q, &t->memory[t->memories++]);
  r->framing.before = first;
  t->memory[t->memories++] = tokens;
  if (status) return status;
  needs = t->used + q.prompt.count + leaves * (1 + room);
  if (needs > t->context || t->count + 1 + 2 * leaves > CLI_TURNS) {
    return cli_fail("the talk has %td tokens, with this turn up to %td of %td; /new begins another, --context N gives more room", t->used, needs, t->context);
  }
  t->spans[t->count].parent = t->last;
  t->spans[t->count++].tokens = q.prompt;
  forks_at = t->count;
  for (fr_int i = 0; i < leaves && fork; i++) {
    t->spans[t->count].parent = forks_at - 1;
    t->spans[t->count++].tokens = r->forks[fork < 0 ? i : fork - 1];
  }
  memset(grown, 0, sizeof grown);
  memset(&stream, 0, sizeof stream);
  memset(replies, 0, sizeof replies);
  for (fr_int i = 0; i < leaves; i++) {
    grown[i].span = fork ? forks_at + i : forks_at - 1;
    grown[i].question = (uint64_t)t->count;
    grown[i].leaf = (uint64_t)i;
    grown[i].tokens = tokens + i * room;
    stream.forks[i] = fork < 0 ? i : fork - 1;
  }
  stream.ready = r;
  stream.leaves = leaves;
  stream.width = 100;
  sampling.token = cli_stream_token;
  sampling.user = &stream;
  sampling.cached_spans = t->cached;
  memset(&tree, 0, sizeof tree);
  tree.spans = t->spans;
  tree.span_count = t->count;
  if (fr_generate(&r->model, &r->work, &tree, &sampling, grown, leaves)) return cli_fail("%s", r->work.reason.text);
  for (fr_int i = 0; i < leaves; i++) {  // as the cache has them
    t->spans[t->count].parent = grown[i].span;
    t->spans[t->count].tokens.ids = grown[i].tokens;
    t->spans[t->count++].tokens.count = grown[i].count;
  }
  t->used = needs;
  t->cached = t->count;
  if (leaves > 1) {
    for (fr_int i = 0; i < leaves; i++) {
      const fr_int bytes = grown[i].count * r->tokenizer->longest + 1;
      char *text = (char *)malloc((size_t)bytes);
      replies[i].text.bytes = text;
      if (text) fr_tokenizer_decode(r->tokenizer, grown[i].tokens, grown[i].count, text, bytes, &replies[i].text.count, NULL);
    }
    cli_answers(replies, leaves, form, &vote);
    kept = vote.winner < 0 ? 0 : vote.winner;
    for (fr_int i = 0; i < leaves; i++) { cli_head(i); printf("%.*s\n", (int)replies[i].text.count, replies[i].text.bytes); }
    if (vote.winner >= 0) printf("vote: %.*s, %td of %td; <think%td> stays\n", (int)replies[kept].answer.count, replies[kept].answer.bytes, vote.votes, leaves, kept + 1);
    else printf("vote: no text has an answer; <think1> stays\n");
    for (fr_int i = 0; i < leaves; i++) free((void *)(uintptr_t)replies[i].text.bytes);
  } else printf("\n");
  t->last = t->count - leaves + kept;
  return 0;
}

static inline int cli_chat(cli_given *given)
{
  static cli_talk t;
  const char *model = cli_value(given, "--model");
  const int form = cli_choice(given, "--answer", cli_answer_forms, FR_ANSWER_NUMBER);
  fr_int fork = cli_whole(given, "--fork");
  fr_sampling sampling;
  fr_limits limits;
  char line[8000];
  int status, vote = 0;
  memset(&t, 0, sizeof t);
  if (form < 0) return 2;
  if (!model || given->words) return cli_wrong("chat takes --model, and no words");
  cli_forget(&t);
  status = cli_ready_open(&t.r, model, -1, 0, cli_value(given, "--framing"), cli_value(given, "--system"), 1);
  if (!status && !t.r.framing.fork_count) fork = 0;
  if (!status && fork > t.r.framing.fork_count) status = cli_fail("%s has %td forks; there is no fork %td", model, t.r.framing.fork_count, fork);
  sampling = cli_sampling(given, &t.r);
  t.context = cli_whole(given, "--context");
  memset(&limits, 0, sizeof limits);
  limits.rows = limits.depth = limits.cache_rows = t.context;
  limits.spans = 2 * CLI_TURNS;
  limits.leaves = t.r.framing.fork_count > 1 ? t.r.framing.fork_count : 1;
  if (!status) status = cli_ready_work(&t.r, limits, cli_whole(given, "--threads"));
  while (!status) {
    size_t length;
    if (isatty(0)) { printf(vote ? "all> " : fork ? "%td> " : "> ", fork); fflush(stdout); }
    if (!fgets(line, sizeof line, stdin)) break;
    length = strlen(line);
    if (length && line[length - 1] == '\n') line[--length] = 0;
    else if (length + 1 == sizeof line) { int c; while ((c = getchar()) != EOF && c != '\n') {} cli_fail("a turn has at most %d bytes", (int)sizeof line - 2); continue; }
    if (!length) continue;
    if (!strcmp(line, "/quit") || !strcmp(line, "/exit")) break;
    if (!strcmp(line, "/new")) { cli_forget(&t); continue; }
    if (!strcmp(line, "/vote")) { vote = t.r.framing.fork_count > 1; if (!vote) printf("this model has no forks that could vote\n"); continue; }
    if (!strncmp(line, "/fork", 5)) {
      char *end;
      const long asked = strtol(line + 5, &end, 10);
      if (end == line + 5 || *end || asked < 0 || asked > t.r.framing.fork_count) printf("/fork K, from 0 to %td\n", t.r.framing.fork_count);
      else { fork = asked; vote = 0; }
      continue;
    }
    if (line[0] == '/') { printf("/fork K, /vote, /new, /quit\n"); continue; }
    cli_turn(&t, line, vote ? -1 : fork, sampling, (fr_answer_form)form);
    fflush(stdout);
  }
  cli_forget(&t);
  cli_ready_close(&t.r);
  return status;
}

#endif
