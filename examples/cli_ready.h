// cli_ready.h - what the commands that run a model share: the model, its forks and the framing of questions; rows to train on.
#ifndef CLI_READY_H
#define CLI_READY_H

#include "cli_convert.h"
#include "pool.h"
#include <time.h>

enum { CLI_MOST_FORKS = 64 };
typedef struct cli_ready {
  cli_model  from;      // where it came from; nothing for a new model
  fr_model   model;
  fr_tokenizer own;     // a new model's; otherwise from.tokenizer or that of a checkpoint
  const fr_tokenizer *tokenizer;
  fr_encoder encoder;
  chat       framed;
  fr_turns   turns;
  fr_framing framing;
  fr_text    texts[CLI_MOST_FORKS];
  char       names[CLI_MOST_FORKS][32];
  fr_token   fork_ids[CLI_MOST_FORKS], ends[FR_ENDS];
  fr_tokens  forks[CLI_MOST_FORKS];
  fr_int     end_count;
  fr_work    work;
  pool       threads;
} cli_ready;

static inline double cli_now(void)
{
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static inline const char *cli_clock(double seconds, char out[32])
{
  const long long s = (long long)(seconds + .5);
  snprintf(out, 32, s < 3600 ? "%lld:%02lld" : "%lld:%02lld:%02lld", s < 3600 ? s / 60 : s / 3600, s < 3600 ? s % 60 : s / 60 % 60, s % 60);
  return out;
}

static inline fr_answer_form cli_answer_form(const fr_dataset *set)  // as the traces have it
{
  for (fr_int t = 0; t < set->trace_count && t < 50; t++) {
    if (chat_find(set->traces[t].text, "####", NULL)) return FR_ANSWER_GSM8K;
    if (chat_find(set->traces[t].text, "\\boxed", NULL)) return FR_ANSWER_BOXED;
  }
  return FR_ANSWER_NUMBER;
}
static const char *const cli_answer_forms[] = { "hash", "gsm8k", "boxed", "number", NULL };

static inline fr_text cli_text_of(const char *text)
{
  fr_text t;
  t.bytes = text;
  t.count = (fr_int)strlen(text);
  return t;
}

// The framing as texts in the forms that the header takes. Of a framing by hand, BEFORE{question}AFTER, \n is a line end.
static inline int cli_frame(cli_ready *r, const char *by_hand, const char *system)
{
  chat *c = &r->framed;
  *c = chat_of(r->from.pretrained.chat, system);
  if (by_hand || !c->kind) {
    char text[1000];
    size_t used = 0;
    const char *mark;
    if (by_hand && strlen(by_hand) >= sizeof text) return cli_wrong("--framing is too long");
    for (const char *p = by_hand ? by_hand : "{question}\\n"; *p; p++)
      if (p[0] == '\\' && p[1] == 'n') { text[used++] = '\n'; p++; }
      else text[used++] = *p;
    text[used] = 0;
    if (!(mark = strstr(text, "{question}"))) return cli_wrong("--framing is BEFORE{question}AFTER, not %s", by_hand);
    if (system) return cli_wrong("--system needs a chat template");
    if (mark - text >= (ptrdiff_t)sizeof c->opens[1] || strlen(mark) - 10 >= sizeof c->closes[1]) return cli_wrong("--framing is too long");
    memset(c, 0, sizeof *c);
    c->kind = "by hand";
    memcpy(c->opens[1], text, (size_t)(mark - text));
    memcpy(c->closes[1], mark + 10, strlen(mark + 10));
    memcpy(c->before, c->opens[1], sizeof c->opens[1]);
    memcpy(c->after, c->closes[1], sizeof c->closes[1]);
  }
  for (int i = 0; i < 2; i++) r->turns.begin[i] = cli_text_of(c->begin[i]);
  for (int i = 0; i < 3; i++) { r->turns.before[i] = cli_text_of(c->opens[i]); r->turns.after[i] = cli_text_of(c->closes[i]); }
  r->framing.before = cli_text_of(c->before);
  r->framing.after = cli_text_of(c->after);
  r->framing.turns = &r->turns;
  return 0;
}

// The framing's forks <think1> .. and its end, as this tokenizer has them. forks < 0: as many as there are.
static inline int cli_ready_forks(cli_ready *r, const fr_tokenizer *tokenizer, fr_int forks, fr_int longest)
{
  r->tokenizer = tokenizer;
  r->framing.forks = r->texts;
  r->framing.fork_count = 0;
  for (fr_int i = 0; i < (forks < 0 ? CLI_MOST_FORKS : forks); i++) {
    r->texts[i] = cli_fork(i, r->names[i]);
    r->fork_ids[i] = fr_tokenizer_find(tokenizer, r->texts[i]);
    r->forks[i].ids = &r->fork_ids[i];
    r->forks[i].count = 1;
    if (r->fork_ids[i] < 0) break;
    r->framing.fork_count++;
  }
  return fr_encoder_new(&r->encoder, tokenizer, longest, 1 << 14) ? cli_fail("no memory for the encoder") : 0;
}

// A model of others. forks: so many are added where it has less, their rows beginning nearly alike; < 0: those that it has.
static inline int cli_ready_open(cli_ready *r, const char *path, fr_int forks, int whole, const char *framing, const char *system, uint64_t seed)
{
  fr_pretrained_options options;
  int status, had[CLI_MOST_FORKS];
  char name[32];
  memset(had, 0, sizeof had);
  memset(&options, 0, sizeof options);
  status = cli_model_open(&r->from, path, 0);
  for (fr_int i = 0; !status && r->from.has_tokenizer && i < forks; i++) had[i] = fr_tokenizer_find(&r->from.tokenizer, cli_fork(i, name)) >= 0;
  if (!status && forks > 0 && !had[forks - 1]) {
    cli_model_close(&r->from);
    status = cli_model_open(&r->from, path, forks);
  }
  if (status) return status;
  if (r->from.pretrained.wrong) return cli_fail("%s: %td tensors do not fit; forkreason inspect names them", path, r->from.pretrained.wrong);
  if (!r->from.has_tokenizer) return cli_fail("%s: %s", path, r->from.no_tokenizer.text);
  options.whole = whole;
  options.type = FR_BFLOAT16;
  options.vocab = r->from.tokenizer.vocab > r->from.pretrained.config.vocab ? r->from.tokenizer.vocab : 0;
  if (fr_pretrained_model_new(&r->from.pretrained, &options, &r->model, &r->from.reason)) return cli_fail("%s: %s", path, r->from.reason.text);
  memcpy(r->ends, r->from.pretrained.ends, sizeof r->ends);
  r->end_count = r->from.pretrained.end_count;
  if (!r->end_count) return cli_fail("%s names no token that ends a text", path);
  r->framing.end = r->ends[0];
  if ((status = cli_frame(r, framing, system)) != 0 || (status = cli_ready_forks(r, &r->from.tokenizer, forks, 1 << 16)) != 0) return status;
  for (fr_int i = 0; i < r->framing.fork_count && i < forks; i++)
    if (!had[i] && fr_model_set_rows(&r->model, r->fork_ids[i], 1, 1, .02f, seed * 1000 + (uint64_t)i)) return cli_fail("no row for %s", r->names[i]);
  return 0;
}

static inline int cli_ready_work(cli_ready *r, fr_limits limits, fr_int threads)
{
  if (!r->threads.threads) pool_start(&r->threads, threads ? (int)threads : pool_default_threads());
  fr_work_free(&r->work);
  limits.tasks = r->threads.threads;
  if (fr_work_new(&r->work, &r->model.config, &limits)) return cli_fail("%s", r->work.reason.text);
  r->work.run = pool_run;
  r->work.pool = &r->threads;
  return 0;
}

static inline void cli_ready_close(cli_ready *r)
{
  fr_work_free(&r->work);
  if (r->threads.threads) pool_stop(&r->threads);
  fr_model_free(&r->model);
  fr_encoder_free(&r->encoder);
  fr_tokenizer_free(&r->own);
  cli_model_close(&r->from);
}

// ---- rows: of a file, or of a folder with train.jsonl, valid.jsonl, test.jsonl
// parts: names to be tried in turn, where the path is a folder. 1: it is open, and which one is in shown; 0: there is none; -1, said.
static inline int cli_rows_map(map_file *file, const char *path, const char *const *parts, char shown[900])
{
  char wrong[MAP_WRONG];
  struct stat found;
  const int folder = !stat(path, &found) && S_ISDIR(found.st_mode);
  for (int i = 0; i == 0 || (folder && parts[i]); i++) {
    snprintf(shown, 900, "%.800s%s%s", path, folder ? "/" : "", folder ? parts[i] : "");
    if (map_open(file, shown, wrong)) return 1;
    if (!file->absent) return -cli_fail("%s", wrong);
  }
  return 0;
}

static const char *const cli_train_rows[] = { "train.jsonl", NULL }, *const cli_test_rows[] = { "test.jsonl", NULL };
static const char *const cli_valid_rows[] = { "valid.jsonl", "validation.jsonl", "val.jsonl", NULL };

// Rows to train on, and of another file those to validate on. *lines: of the first file, if there is a second.
static inline int cli_rows(fr_dataset *set, const char *data, const char *valid, fr_int *lines)
{
  char path[900], valid_path[900];
  map_file train, held;
  fr_reason reason;
  int status = 0, there;
  memset(&held, 0, sizeof held);
  *lines = 0;
  there = cli_rows_map(&train, data, cli_train_rows, path);
  if (there < 0) return 1;
  if (!there) return cli_fail("%s: there is no such file", path);
  if (valid || strcmp(path, data)) there = cli_rows_map(&held, valid ? valid : data, cli_valid_rows, valid_path);
  if (there < 0 || (valid && !there)) status = there < 0 ? 1 : cli_fail("%s: there is no such file", valid_path);
  if (!status && !held.bytes) {
    if (fr_dataset_new(set, train.bytes, train.count, &reason)) status = cli_fail("%s: %s", path, reason.text);
  } else if (!status) {
    char *both = (char *)malloc((size_t)train.count + (size_t)held.count + 1);
    const char *where = path;
    *lines = 1;
    for (fr_int i = 0; i < train.count; i++) *lines += train.bytes[i] == '\n';
    if (!both) status = cli_fail("no memory");
    else {
      memcpy(both, train.bytes, (size_t)train.count);
      both[train.count] = '\n';
      memcpy(both + train.count + 1, held.bytes, (size_t)held.count);
      if (fr_dataset_new(set, train.bytes, train.count, &reason) ||  // for the line of what is wrong
          (fr_dataset_free(set), where = valid_path, fr_dataset_new(set, held.bytes, held.count, &reason)) ||
          (fr_dataset_free(set), fr_dataset_new(set, both, train.count + 1 + held.count, &reason))) status = cli_fail("%s: %s", where, reason.text);
    }
    free(both);
  }
  map_close(&train);
  map_close(&held);
  return status;
}

// ---- answers: leaves of many questions, decoded together
#define CLI_RUN_FLAGS(temperature, tokens) \
  CLI_TEXT("--system", "TEXT a system turn in place of the template's own"), \
  CLI_TEXT("--framing", "TEXT BEFORE{question}AFTER, in place of the chat template; \\n is a line end"), \
  CLI_DECIMAL("--temp|--temperature", temperature, 0, 1000, "T 0: greedy"), \
  CLI_DECIMAL("--top-p", 0, 0, 1, "P"), CLI_WHOLE("--top-k", 0, 0, 1e9, "K"), CLI_DECIMAL("--min-p", 0, 0, 1, "P"), \
  CLI_DECIMAL("--repeat-penalty|--repetition-penalty", 0, 0, 1000, "X in this order, as transformers has them; 0: off"), \
  CLI_WHOLE("--max-tokens|-n|--max-new-tokens", tokens, 1, 1000000, "N of an answer"), \
  CLI_WHOLE("--seed", 1, 0, 9e15, "N of what is drawn"), \
  CLI_TEXT("--answer", "FORM where an answer stands in a text: hash, gsm8k, boxed, number"), \
  CLI_WHOLE("--threads|-t", 0, 0, POOL_MAX_THREADS, "N 0: as many as there are processors")

static inline fr_sampling cli_sampling(const cli_given *given, const cli_ready *r)
{
  fr_sampling s;
  memset(&s, 0, sizeof s);
  s.temperature = (float)cli_decimal(given, "--temp");
  s.top_k = cli_whole(given, "--top-k");
  s.top_p = (float)cli_decimal(given, "--top-p");
  s.min_p = (float)cli_decimal(given, "--min-p");
  s.repeat_penalty = (float)cli_decimal(given, "--repeat-penalty");
  s.max_tokens = cli_whole(given, "--max-tokens");
  s.seed = (uint64_t)cli_decimal(given, "--seed");
  s.stops = r->ends;
  s.stop_count = r->end_count;
  return s;
}

typedef struct cli_reply { fr_int fork; fr_text text, answer; fr_leaf leaf; } cli_reply;  // fork -1: none; the texts are malloc'ed

// A question as ids; what it needs is in *memory.
static inline int cli_question(cli_ready *r, fr_text text, fr_question *q, void **memory)
{
  fr_int bytes = 0;
  *memory = NULL;
  if (fr_question_place(NULL, &r->encoder, &r->framing, text, NULL, 0, NULL, 0, &bytes)) return cli_fail("%s", r->encoder.reason.text);
  if (!(*memory = malloc((size_t)bytes))) return cli_fail("no memory for a question");
  return fr_question_place(q, &r->encoder, &r->framing, text, NULL, 0, *memory, bytes, NULL) ? cli_fail("%s", r->encoder.reason.text) : 0;
}

// Answers `count` questions, each with `leaves` texts: number k under fork k mod forks, or none where there are none. The replies of
// question i are replies[i * leaves ..]; a call of fr_generate takes as many questions as make 64 leaves.
static inline int cli_ask(cli_ready *r, const fr_question *questions, fr_int count, fr_int leaves, fr_int forks, const fr_sampling *sampling, cli_reply *replies,
                          void (*done)(void *user, fr_int questions), void *user)
{
  const fr_int each = 1 + (forks ? forks : 0), chunk = leaves < 64 ? 64 / leaves : 1, room = sampling->max_tokens;
  fr_span *spans = (fr_span *)malloc((size_t)(chunk * each) * sizeof *spans);
  fr_leaf *grown = (fr_leaf *)malloc((size_t)(chunk * leaves) * sizeof *grown);
  fr_token *tokens = (fr_token *)malloc((size_t)(chunk * leaves * room) * sizeof *tokens);
  int status = spans && grown && tokens ? 0 : cli_fail("no memory for answers");
  for (fr_int first = 0; first < count && !status; first += chunk) {
    const fr_int here = count - first < chunk ? count - first : chunk;
    fr_tree tree = { spans, 0, NULL, 0 };
    fr_limits limits;
    for (fr_int i = 0; i < here; i++) {
      const fr_int root = tree.span_count;
      spans[root].parent = -1;
      spans[root].tokens = questions[first + i].prompt;
      for (fr_int f = 0; f < forks; f++) { spans[root + 1 + f].parent = root; spans[root + 1 + f].tokens = r->forks[f]; }
      tree.span_count += each;
      for (fr_int k = 0; k < leaves; k++) {
        fr_leaf *leaf = &grown[i * leaves + k];
        memset(leaf, 0, sizeof *leaf);
        leaf->span = forks ? root + 1 + k % forks : root;
        leaf->question = questions[first + i].key;
        leaf->leaf = (uint64_t)k;
        leaf->tokens = tokens + (i * leaves + k) * room;
      }
    }
    if (fr_generate_limits(&tree, sampling, here * leaves, &limits)) status = cli_fail("the answers do not fit this machine");
    if (!status && (limits.rows > r->work.limits.rows || limits.cache_rows > r->work.limits.cache_rows || limits.depth > r->work.limits.depth ||
                    limits.spans > r->work.limits.spans || limits.leaves > r->work.limits.leaves))
      status = cli_ready_work(r, fr_limits_max(limits, r->work.limits), 0);
    if (!status && fr_generate(&r->model, &r->work, &tree, sampling, grown, here * leaves)) status = cli_fail("%s", r->work.reason.text);
    for (fr_int k = 0; k < here * leaves && !status; k++) {
      cli_reply *reply = &replies[first * leaves + k];
      const fr_int bytes = grown[k].count * r->tokenizer->longest + 1;
      char *text = (char *)malloc((size_t)bytes);
      reply->fork = forks ? k % leaves % forks : -1;
      reply->leaf = grown[k];
      reply->text.bytes = text;
      if (!text || fr_tokenizer_decode(r->tokenizer, grown[k].tokens, grown[k].count, text, bytes, &reply->text.count, NULL)) status = cli_fail("no memory for answers");
    }
    if (done && !status) done(user, first + here);
  }
  free(spans);
  free(grown);
  free(tokens);
  return status;
}

static inline int cli_agree(void *user, fr_int a, fr_int b)
{
  const cli_reply *replies = (const cli_reply *)user;
  return fr_answer_same(replies[a].answer, replies[b].answer);
}

#endif
