// cli_train.h - forkreason train: set supervised fine-tuning, its baselines and the choosing of forks, on a model of others or a new one.
//
// Everything random is drawn from counters (seed, purpose, step), so the random state of a run is its seed and its step: a run that
// was stopped, or killed, and goes on from its checkpoint ends with the bits of one that was not. A checkpoint is a bundle: tokenizer,
// framing and the flags of the run are in it, and it is refused with other data.
#ifndef CLI_TRAIN_H
#define CLI_TRAIN_H

#include "cli_match.h"
#include "report.h"

static const cli_flag cli_train_flags[] = {
  CLI_TEXT("--data", "PATH questions with traces: a file of JSON lines, or a folder with train.jsonl and valid.jsonl"),
  CLI_TEXT("--valid", "FILE questions to validate on [valid.jsonl of the folder, or a share of the data]"),
  CLI_DECIMAL("--held-out", .1, 0, .9, "X that share"),
  CLI_TEXT("--out|-o|--output-dir", "DIR a new folder, or an earlier one of this command: checkpoints, and at the end the model, for transformers too"),
  CLI_TEXT("--model|-m", "PATH a folder, a GGUF; without it a new model is made:"),
  CLI_WHOLE("--layers", 4, 1, 1000, "N"), CLI_WHOLE("--dim", 128, 2, 65536, "N"), CLI_WHOLE("--heads", 4, 1, 1024, "N"),
  CLI_WHOLE("--ffn", 384, 1, 1 << 20, "N of a new model"),
  CLI_TEXT("--tokenizer", "FILE of a new model: tokenizer.json, *.tiktoken [bytes]"),
  CLI_WHOLE("--vocab", 0, 0, 1000000, "N of a new model: so many tokens, learned from the questions to train on; 0: none beside bytes"),
  CLI_TEXT("--method", "M ssft (optimal matching), random (a random one), fixed (trace j takes fork j), sft (one fork for all), gfpo, grpo [ssft]"),
  CLI_WHOLE("--forks", 6, 1, CLI_MOST_FORKS, "N fork tokens, <think1> .. <thinkN>; of --method sft 1"),
  CLI_WHOLE("--match-tokens", 64, 0, 1000000, "L tokens of a trace that the matching looks at; 0: all"),
  CLI_WHOLE("--traces", 4, 1, CLI_MOST_FORKS, "M traces drawn of a question at a time: min(its traces, forks, M); with one fork it takes them all: min(its traces, M)"),
  CLI_WHOLE("--iters|--max-steps", 0, 0, 1e9, "N steps; 0: by epochs"),
  CLI_DECIMAL("--epochs|--num-train-epochs", 1, 0, 1e6, "X times that every question is seen"),
  CLI_WHOLE("--batch|--batch-size", 4, 1, 256, "N questions in a pass"),
  CLI_WHOLE("--accum|--gradient-accumulation-steps", 1, 1, 256, "N passes in a step"),
  CLI_DECIMAL("--lr|--learning-rate", 0, 0, 1, "X learning rate at its highest; 0: 2e-5 for a model of others, 5e-3 for a new one"),
  CLI_WHOLE("--warmup|--warmup-steps", 10, 0, 1e9, "N steps of linear warm-up"),
  CLI_TEXT("--schedule|--lr-scheduler-type", "S cosine (to a tenth), linear (to 0) or constant [cosine]"),
  CLI_DECIMAL("--weight-decay", .01, 0, 10, "X"), CLI_DECIMAL("--beta2", .98, 0, .999999, "X of AdamW"),
  CLI_DECIMAL("--clip|--max-grad-norm", 1, 0, 1e9, "X norm that gradients are clipped to; 0: not"),
  CLI_WHOLE("--max-len|--max-seq-length|--max-length", 1024, 4, 1000000, "N tokens of question, fork and trace; a longer trace is"),
  CLI_SWITCH("--drop", " left out, as it is without this flag, or"), CLI_SWITCH("--truncate", " cut"),
  CLI_TEXT("--train", "WHAT all, or forks: their rows alone [all]"),
  CLI_TEXT("--system", "TEXT a system turn in place of the template's own"),
  CLI_TEXT("--framing", "TEXT BEFORE{question}AFTER, in place of the chat template; \\n is a line end"),
  CLI_WHOLE("--seed", 1, 0, 9e15, "N of everything random"),
  CLI_WHOLE("--limit", 0, 0, 1e9, "N questions, the first ones, of which a share may be held out; with a file to validate on all to train on; 0: all"),
  CLI_TEXT("--answer", "FORM gfpo and grpo: hash, gsm8k, boxed, number: where an answer stands in a text [told by the traces]"),
  CLI_WHOLE("--group", 8, 2, 256, "G gfpo and grpo: rollouts of a question"),
  CLI_DECIMAL("--temp|--temperature", .7, 0, 100, "T of them"), CLI_WHOLE("--max-tokens|-n", 256, 1, 100000, "N of them"),
  CLI_DECIMAL("--entropy", .05, 0, 10, "X gfpo: weight of the entropy of choosing"),
  CLI_WHOLE("--report-every|--steps-per-report|--logging-steps", 10, 1, 1e9, "N steps"),
  CLI_WHOLE("--eval-every|--steps-per-eval|--eval-steps", 0, 0, 1e9, "N steps between validations; 0: five of them in a run"),
  CLI_WHOLE("--eval-questions|--val-batches", 4, 1, 1e6, "N held-out questions of each, all traces under all forks; the end takes ten times as many"),
  CLI_WHOLE("--save-every|--save-steps", 100, 0, 1e9, "N steps between checkpoints; 0: only at the end"),
  CLI_WHOLE("--keep-last|--save-total-limit", 1, 1, 1e6, "N checkpoints that are kept"),
  CLI_TEXT("--resume", "DIR goes on with the run in this folder; its flags come from there"),
  CLI_WHOLE("--stop", 0, 0, 1e9, "N stops behind this step, as Ctrl-C does"),
  CLI_WHOLE("--threads|-t", 0, 0, POOL_MAX_THREADS, "N 0: as many as there are processors"),
  CLI_SWITCH("--dry-run", " shows questions as the model sees them, lengths, what is left out, memory, disk and time; trains nothing"),
  CLI_TEXT("--html", "FILE at the end a page of figures: the loss, and the cost matrix of a question at three moments"),
  CLI_SWITCH("--json", " lines of JSON"),
  CLI_TEXT("--config", "FILE lines of `flag: value`; what the command line says goes before"),
  CLI_END };
// What may be another when a run goes on; the first of these are not kept.
#define CLI_TRAIN_NOW "--out|--resume|--stop|--dry-run|--json|--config|--threads"
static const char cli_train_free[] = CLI_TRAIN_NOW "|--data|--valid|--html|--report-every|--save-every|--keep-last";
static const char cli_train_help[] =
  "forkreason train: teaches a model to reason in forks; rows are told in README\n\n"
  "  forkreason train --model smol --data problems/ --out tuned --iters 150\n"
  "  forkreason train --data rows.jsonl --out small --vocab 1024\n"
  "  forkreason train --model tuned --method gfpo --data problems/ --out policy     a policy that chooses forks for `tuned`\n"
  "  forkreason train --resume tuned\n\n"
  "Ctrl-C saves and stops; a second one leaves at once. Exit status: 0; 1: the work failed; 2: the command line is wrong; 130: stopped.\n\n";

static volatile sig_atomic_t cli_asked, cli_stoppable;  // to stop; so that a signal asks for it

// What a page shows, kept in checkpoints: the loss, in windows of steps, and the matching of one question at the start, half way
// and at the end; none if the question has more cells.
enum { CLI_LOSSES = 200, CLI_CELLS = 400 };
typedef struct cli_history {
  double  loss[CLI_LOSSES], cost[3][CLI_CELLS];
  int64_t at[3];
  int     fork[3][CLI_MOST_FORKS], moments;
} cli_history;

typedef struct cli_training {
  cli_given *given;
  cli_ready ready, writer;   // writer: gfpo
  fr_dataset set;
  fr_corpus corpus;
  fr_bundle bundle;          // of the checkpoint that it goes on from
  fr_ssft_options options;
  fr_gfpo_options choose;
  fr_rollouts rollouts;
  fr_adamw adamw;
  fr_int lines;
  int method, json, schedule, forks_only;
  fr_answer_form form;
  const char *out, *kept;
  char data[80];             // what it was trained on, for the model card
  cli_history past;
  double rate, loss;
  int64_t step, steps, tokens, began_step, began_tokens;
  double began, seconds;     // of this program; of them spent in steps
} cli_training;
enum { CLI_SFT, CLI_SSFT, CLI_RANDOM, CLI_FIXED, CLI_GFPO, CLI_GRPO };
static const char *const cli_methods[] = { "sft", "ssft", "random", "fixed", "gfpo", "grpo", NULL };

static inline uint64_t cli_seed(const cli_given *given, uint64_t purpose)
{
  fr_random random = fr_random_stream((uint64_t)cli_decimal(given, "--seed"), purpose, 0);
  const uint64_t high = fr_random_bits(&random);
  return high << 32 | fr_random_bits(&random);
}
enum { CLI_FOR_DATA, CLI_FOR_WEIGHTS, CLI_FOR_FORKS, CLI_FOR_MATCHING, CLI_FOR_ROLLOUTS };

// ---- data and model
static const fr_special cli_specials[2] = { { { "<|end|>", 7 }, -1 }, { { "<|asked|>", 9 }, -1 } };

static inline int cli_corpus(cli_training *r, fr_int length)
{
  const cli_given *given = r->given;
  fr_corpus_options o;
  fr_reason reason;
  memset(&o, 0, sizeof o);
  o.length = length;
  o.truncate = cli_value(given, "--truncate") != NULL;
  o.traces = cli_whole(given, "--traces");
  o.batch = cli_whole(given, "--batch") * cli_whole(given, "--accum");
  o.train_lines = r->lines;
  o.held_out = cli_decimal(given, "--held-out");
  o.seed = cli_seed(given, CLI_FOR_DATA);
  return fr_corpus_new(&r->corpus, &r->set, &r->ready.encoder, &r->ready.framing, &o, &reason) ? cli_fail("%s", reason.text) : 0;
}

// Of a new model: the file's tokens, bytes, or tokens learned from the questions to train on, which a corpus of bytes tells.
static inline int cli_new_tokenizer(cli_training *r)
{
  const char *path = cli_value(r->given, "--tokenizer");
  const fr_int vocab = cli_whole(r->given, "--vocab"), forks = cli_whole(r->given, "--forks"), least = 256 + 2 + forks;
  cli_ready *ready = &r->ready;
  fr_tokenizer_source source;
  fr_training training;
  fr_reason reason;
  fr_text *texts;
  fr_int count = 0;
  int status;
  memset(&source, 0, sizeof source);
  memset(&training, 0, sizeof training);
  source.specials = training.specials = cli_specials;
  source.special_count = training.special_count = 2;
  source.forks = training.forks = forks;
  training.vocab = least;
  if (path && vocab) return cli_wrong("--tokenizer and --vocab exclude each other");
  if (path) {
    if (cli_ends_in(path, ".tiktoken")) source.split = FR_SPLIT_LLAMA3;
    return fr_tokenizer_load(&ready->own, path, NULL, &source, &reason) ? cli_fail("%s: %s", path, reason.text) : 0;
  }
  if (vocab && vocab < least) return cli_wrong("--vocab is at least %td: bytes, two marks and the forks", least);
  if (fr_tokenizer_train_new(&ready->own, &training, NULL, 0, &reason)) return cli_fail("tokens: %s", reason.text);
  if (!vocab) return 0;
  ready->framing.end = fr_tokenizer_find(&ready->own, cli_specials[0].text);
  status = cli_ready_forks(ready, &ready->own, forks, r->set.longest);
  if (!status) status = cli_corpus(r, 0);
  texts = (fr_text *)malloc((size_t)(r->set.problem_count + r->set.trace_count + 1) * sizeof *texts);
  for (fr_int i = 0; !status && texts && i < r->corpus.train; i++) {
    const fr_problem *p = &r->set.problems[r->corpus.problem[r->corpus.order[i]]];
    texts[count++] = p->text;
    for (fr_int j = 0; j < p->count; j++) texts[count++] = r->set.traces[p->first + j].text;
  }
  fr_corpus_free(&r->corpus);
  fr_encoder_free(&ready->encoder);
  fr_tokenizer_free(&ready->own);
  training.vocab = vocab;
  if (!status && (!texts || fr_tokenizer_train_new(&ready->own, &training, texts, count, &reason))) status = cli_fail("tokens: %s", texts ? reason.text : "no memory");
  free(texts);
  return status;
}

static inline int cli_new_model(cli_training *r)
{
  const cli_given *given = r->given;
  cli_ready *ready = &r->ready;
  const fr_int forks = cli_whole(given, "--forks");
  fr_config config;
  fr_reason reason;
  memset(&config, 0, sizeof config);
  config.layers = cli_whole(given, "--layers");
  config.dim = cli_whole(given, "--dim");
  config.heads = cli_whole(given, "--heads");
  config.ffn = cli_whole(given, "--ffn");
  config.vocab = ready->tokenizer->vocab;
  config.tied = 1;
  config.embed_scale = sqrtf((float)config.dim);
  if (fr_config_check(&config, NULL, &reason)) return cli_fail("%s", reason.text);
  if (fr_model_new(&ready->model, &config)) return cli_fail("no memory for the model");
  fr_model_init(&ready->model, cli_seed(given, CLI_FOR_WEIGHTS));
  for (fr_int i = 0; i < forks; i++)
    if (fr_model_set_rows(&ready->model, ready->fork_ids[i], 1, 0, .02f, cli_seed(given, CLI_FOR_FORKS) + (uint64_t)i)) return cli_fail("no row for a fork");
  return 0;
}

// With --limit the questions behind the first ones to train on go.
static inline void cli_limit(cli_training *r, fr_int limit)
{
  fr_int train = 0, all = r->set.problem_count;
  while (train < all && (!r->lines || r->set.problems[train].line <= r->lines)) train++;
  if (!limit || train <= limit) return;
  memmove(r->set.problems + limit, r->set.problems + train, (size_t)(all - train) * sizeof *r->set.problems);
  r->set.problem_count -= train - limit;
}

// The question whose matching is shown, the first one held out; and the cells of its cost matrix, 0: too many.
static inline fr_int cli_shown(const cli_training *r) { return r->corpus.order[r->corpus.train < r->corpus.count ? r->corpus.train : 0]; }
static inline fr_int cli_cells(const cli_training *r)
{
  const fr_int N = r->ready.framing.fork_count, M = r->corpus.questions[cli_shown(r)].trace_count, cells = N * (M < N ? M : N);
  return r->method < CLI_GFPO && N > 1 && cells <= CLI_CELLS ? cells : 0;
}

// ---- OUT: what others load, and checkpoints, checkpoint-STEP.fr. In a bundle's bytes of ours: pairs of flag and value, each with a 0
// behind it, then an empty name, and how far the run is.
// A model as others have it: of a scaled embedding the product, beside a head of its own.
static inline int cli_unscaled(const fr_model *model, fr_model *out)
{
  fr_config config = model->config;
  fr_tensor from, to;
  config.tied = 0;
  config.embed_scale = 1.0f;
  if (fr_model_new(out, &config)) return cli_fail("no memory to write the model");
  for (fr_int i = 0; fr_model_tensor(out, i, &to) == FR_OK; i++) {
    const int is_head = !strcmp(to.name, "head");
    fr_model_tensor(model, is_head && model->config.tied ? 0 : i, &from);
    for (fr_int k = 0; k < to.copies * to.rows * to.cols; k++)
      out->params[to.offset + k] = model->params[from.offset + k] * (i == 0 ? model->config.embed_scale : 1.0f);
  }
  return 0;
}

// What does not change at the start, the weights at the end.
static inline int cli_give_back(const cli_training *r, int weights)
{
  const cli_ready *ready = &r->ready;
  const fr_pretrained *p = &ready->from.pretrained;
  const size_t room = (size_t)p->chat.count + 4000;
  char *chat_text = weights ? NULL : (char *)malloc(room), by_hand[2400], path[1200], general[3][200];
  int status = 0, scaled = ready->model.config.embed_scale < 1.0f || ready->model.config.embed_scale > 1.0f;
  fr_model unscaled;
  fr_export what;
  fr_text template_text = p->chat;
  fr_reason reason;
  memset(&what, 0, sizeof what);
  memset(&unscaled, 0, sizeof unscaled);
  if (scaled && (status = cli_unscaled(&ready->model, &unscaled)) != 0) { free(chat_text); return status; }
  what.model = scaled ? &unscaled : &ready->model;
  what.tokenizer = ready->tokenizer;
  what.pad = what.begin = -1;
  if (!weights) {
    if (!chat_text) return cli_fail("no memory");
    if (!strcmp(ready->framed.kind, "by hand")) {
      template_text.bytes = by_hand;
      template_text.count = (fr_int)chat_by_hand(ready->framed.before, ready->framed.after, by_hand, sizeof by_hand);
    }
    what.chat.count = (fr_int)chat_with_fork(template_text, "<think1>", chat_text, room);
    what.chat.bytes = chat_text;
    what.context = p->context ? p->context : cli_whole(r->given, "--max-len");
    what.begin = p->context ? p->begin : -1;
    what.ends = ready->ends;
    what.end_count = ready->end_count;
    what.data = r->data;
    if (p->context) {
      cli_model *from = (cli_model *)(uintptr_t)&ready->from;
      what.base = cli_general(from, "general.name", NULL, general[0]);
      if (!what.base) what.base = cli_general(from, "general.base_model.0.name", "\nbase_model: ", general[1]);
      what.license = cli_general(from, "general.license", "\nlicense: ", general[2]);
    }
  }
  for (int f = 0; !status && fr_export_name((fr_export_file)f); f++) {
    if ((f == FR_EXPORT_WEIGHTS) != weights) continue;
    snprintf(path, sizeof path, "%s/%s", r->out, fr_export_name((fr_export_file)f));
    if (fr_export_save(path, &what, (fr_export_file)f, &reason)) status = cli_fail("%s", reason.text);
  }
  fr_model_free(&unscaled);
  free(chat_text);
  return status;
}

typedef struct cli_found { const char *folder; int64_t step[100]; int count; char other[300]; } cli_found;  // largest first
static inline int cli_see(void *user, const char *name)
{
  cli_found *found = (cli_found *)user;
  char *end, path[1300];
  const long long step = strncmp(name, "checkpoint-", 11) ? -1 : strtoll(name + 11, &end, 10);
  int at = found->count;
  if (step < 0 && !cli_ours(name)) snprintf(found->other, sizeof found->other, "%.290s", name);
  if (step >= 0 && !strcmp(end, ".fr.tmp")) {  // of a save that was killed
    snprintf(path, sizeof path, "%.900s/%.290s", found->folder, name);
    remove(path);
  }
  if (step < 0 || strcmp(end, ".fr") || found->count == 100) return 0;
  for (; at > 0 && found->step[at - 1] < step; at--) found->step[at] = found->step[at - 1];
  found->step[at] = step;
  found->count++;
  return 0;
}
static inline cli_found cli_look(const char *folder)
{
  cli_found found;
  memset(&found, 0, sizeof found);
  found.folder = folder;
  cli_walk(folder, cli_see, &found);
  return found;
}
static inline const char *cli_checkpoint(const char *folder, int64_t step, char path[1000])
{
  snprintf(path, 1000, "%.900s/checkpoint-%06lld.fr", folder, (long long)step);
  return path;
}

static inline int cli_save(const cli_training *r)
{
  static char user[1 << 16];
  char path[1000];
  const fr_int cells = cli_cells(r);
  size_t used = 0;
  fr_bundle bundle;
  fr_reason reason;
  cli_found found;
  memset(&bundle, 0, sizeof bundle);
  for (int f = 0; r->given->flags[f].names; f++) {
    const char *names = r->given->flags[f].names, *value = r->given->value[f];
    const int count = (int)strcspn(names, "|");
    char name[64];
    snprintf(name, sizeof name, "%.*s", count, names);
    if (!value || cli_named(CLI_TRAIN_NOW, name, NULL, NULL)) continue;
    if (used + strlen(value) > 8000) return cli_fail("the flags of this run are too long to be kept");
    used += (size_t)sprintf(user + used, "%s", name) + 1;
    used += (size_t)sprintf(user + used, "%s", value) + 1;
  }
  user[used++] = 0;
  used += (size_t)sprintf(user + used, "%lld %lld %d", (long long)r->step, (long long)r->tokens, r->past.moments);
  for (int i = 0; i < CLI_LOSSES; i++) used += (size_t)sprintf(user + used, " %.9g", r->past.loss[i]);
  for (int m = 0; m < r->past.moments; m++) {
    used += (size_t)sprintf(user + used, " %lld", (long long)r->past.at[m]);
    for (fr_int i = 0; i < cells; i++) used += (size_t)sprintf(user + used, " %.9g", r->past.cost[m][i]);
    for (fr_int j = 0; j < CLI_MOST_FORKS; j++) used += (size_t)sprintf(user + used, " %d", r->past.fork[m][j]);
  }
  used++;
  bundle.tokenizer = r->ready.tokenizer;
  bundle.framing = r->ready.framing;
  bundle.options = r->options;
  bundle.options.draw = 0;
  bundle.corpus = r->corpus.options;
  bundle.key = r->corpus.key;
  bundle.user.bytes = user;
  bundle.user.count = (fr_int)used;
  if (fr_bundle_save(cli_checkpoint(r->out, r->step, path), &bundle, &r->ready.model, &r->adamw, &reason)) return cli_fail("%s", reason.text);
  found = cli_look(r->out);
  for (int i = (int)cli_whole(r->given, "--keep-last"); i < found.count; i++) remove(cli_checkpoint(r->out, found.step[i], path));
  return 0;
}

// Model, optimiser and the flags of the run from the newest checkpoint that is whole.
static inline int cli_load(cli_training *r, const char *folder)
{
  const cli_found found = cli_look(folder);
  fr_reason reason;
  char path[1000];
  int status = FR_FORMAT;
  if (!found.count) return cli_fail("%s holds no checkpoint; the run has to begin anew", folder);
  for (int f = 0; r->given->flags[f].names; f++) {
    char name[64];
    snprintf(name, sizeof name, "%.*s", (int)strcspn(r->given->flags[f].names, "|"), r->given->flags[f].names);
    if (r->given->value[f] && !cli_named(cli_train_free, name, NULL, NULL)) return cli_wrong("%s belongs to the run in %s, and cannot be given again", name, folder);
  }
  for (int i = 0; status && i < found.count; i++) {
    fr_checkpoint info;
    void *user = NULL, *memory = NULL;
    fr_int bytes = 0;
    status = (int)fr_checkpoint_load(cli_checkpoint(folder, found.step[i], path), &info, NULL, NULL, NULL, 0, &reason);
    if (!status && (fr_model_new(&r->ready.model, &info.config) || !(user = malloc((size_t)info.user_bytes + 1)))) status = cli_fail("no memory for %s", path);
    if (!status && fr_adamw_new(&r->adamw, &r->ready.model)) status = cli_fail("no memory for %s", path);
    if (!status) status = (int)fr_checkpoint_load(path, NULL, &r->ready.model, &r->adamw, user, info.user_bytes, &reason);
    if (!status) status = (int)fr_bundle_place(NULL, NULL, user, info.user_bytes, NULL, 0, &bytes, &reason);
    if (!status && !(memory = malloc((size_t)bytes))) status = cli_fail("no memory for %s", path);
    if (!status) status = (int)fr_bundle_place(&r->bundle, NULL, user, info.user_bytes, memory, bytes, NULL, &reason);
    if (!status) r->bundle.owned = memory;
    else {
      free(memory);
      fr_model_free(&r->ready.model);
      fr_adamw_free(&r->adamw);
      cli_fail("%s: %s%s", path, reason.text, i + 1 < found.count ? "; the one before it is taken" : "");
    }
    free(user);
  }
  if (status) return 1;
  {
    const char *at = r->bundle.user.bytes, *end = at + r->bundle.user.count;
    long long step = -1, tokens = 0;
    if (!r->bundle.user.count || end[-1]) return cli_fail("%s is no checkpoint of this command", path);
    while (at < end && *at) {
      const char *name = at, *value = at + strlen(at) + 1;
      const int f = value < end ? cli_find(r->given->flags, name, path) : -1;
      if (f < 0) return cli_fail("%s is no checkpoint of this command", path);
      if (!r->given->value[f] && cli_take(r->given, f, name, value)) return 2;
      at = value + strlen(value) + 1;
    }
    if (at + 1 >= end || sscanf(at + 1, "%lld %lld %d", &step, &tokens, &r->past.moments) != 3 || step < 0 || (unsigned)r->past.moments > 3)
      return cli_fail("%s is no checkpoint of this command", path);
    r->step = step;
    r->tokens = tokens;
    for (int skip = 0; skip < 3; skip++) at = strchr(at + 1, ' ') ? strchr(at + 1, ' ') : end - 1;
    r->kept = at;  // the rest, when the data are known
  }
  return 0;
}

// ---- a step
static inline int64_t cli_number_of(const fr_corpus *c, int i)  // of question i of the batch, its index in the data set
{
  fr_int k = 0;
  while (k < c->count && c->questions[k].prompt.ids != c->batch[i].prompt.ids) k++;
  return k < c->count ? c->problem[k] : 0;
}

static inline fr_text cli_answer_in(const cli_ready *r, fr_answer_form form, const fr_leaf *leaf, char *room, fr_int bytes)
{
  fr_text text = { NULL, 0 };
  if (fr_tokenizer_decode(r->tokenizer, leaf->tokens, leaf->count, room, bytes, &text.count, NULL)) return text;
  text.bytes = room;
  return fr_answer_find(form, text);
}

static inline double cli_reward(void *user, fr_int question, fr_int fork, const fr_leaf *leaf)
{
  cli_training *r = (cli_training *)user;
  const fr_text right = r->set.problems[cli_number_of(&r->corpus, (int)question)].answer;
  const fr_int room = leaf->count * r->ready.tokenizer->longest + 1;
  char *text = (char *)malloc((size_t)room);
  const double reward = text && leaf->stop >= 0 && fr_answer_same(cli_answer_in(&r->ready, r->form, leaf, text, room), right) ? 1.0 : 0.0;
  (void)fork;
  free(text);
  return reward;
}

// Gradients of all but the rows of forks are taken back: without them no moment grows, and nothing moves.
static inline void cli_forks_alone(const cli_training *r)
{
  const fr_model *m = &r->ready.model;
  const fr_int each = m->config.dim;
  fr_tensor t;
  for (fr_int i = 0; fr_model_tensor(m, i, &t) == FR_OK; i++) {
    const int rows_of_tokens = t.rows == m->config.vocab && t.cols == each && (i == 0 || !strcmp(t.name, "head"));
    for (fr_int v = 0; v < t.copies * t.rows; v++) {
      int fork = 0;
      for (fr_int f = 0; f < r->ready.framing.fork_count && rows_of_tokens; f++) fork |= r->ready.fork_ids[f] == v;
      if (!fork) memset(r->adamw.grads + t.offset + v * t.cols, 0, (size_t)t.cols * sizeof(float));
    }
  }
}

static inline float cli_factor(const cli_training *r, int64_t step)
{
  const int64_t warmup = (int64_t)cli_decimal(r->given, "--warmup");
  if (r->schedule == 0) return fr_schedule_cosine(step, warmup, r->steps, .1f);
  return fr_schedule_stable(step, warmup, r->schedule == 1 ? warmup : r->steps, r->steps, 0.0f);
}

static inline int cli_step(cli_training *r)
{
  const double began = cli_now();
  const float rate = (float)r->rate * cli_factor(r, r->step);
  const fr_int count = r->corpus.options.batch;
  cli_ready *ready = &r->ready;
  fr_ssft_report report;
  fr_gfpo_report chosen;
  fr_status status = fr_corpus_batch(&r->corpus, r->step);
  memset(&report, 0, sizeof report);
  r->options.draw = r->choose.draw = (uint64_t)r->step;
  if (!status && r->method >= CLI_GFPO) {
    const fr_policy policy = { &ready->model, NULL, &r->adamw, NULL };
    status = fr_gfpo_step(&policy, r->method == CLI_GFPO ? &r->writer.model : &ready->model, &ready->work, &r->choose, r->corpus.batch, count,
                          &r->rollouts, rate, &chosen);
    r->loss = chosen.reward;
    report.tokens = chosen.tokens;
    report.skipped = chosen.skipped;
  } else if (!status && !r->forks_only) {
    status = fr_ssft_step(&ready->model, &ready->work, &r->adamw, &r->options, r->corpus.batch, count, rate, &report);
  } else if (!status) {
    fr_ssft_total total;
    status = fr_ssft_match(&ready->model, &ready->work, &r->options, r->corpus.batch, count);
    if (!status) status = fr_ssft_count(&r->options, r->corpus.batch, count, &total);
    if (!status) status = fr_ssft_backward(&ready->model, &ready->work, &r->options, r->corpus.batch, count, total, r->adamw.grads, &report);
    if (!status) cli_forks_alone(r);
    if (!status) status = fr_adamw_step(&r->adamw, &ready->model, &ready->work, report.loss, rate, &report.norm);
    if (status == FR_NONFINITE) { report.skipped = 1; status = FR_OK; }
  }
  if (status) return cli_fail("step %lld: %s", (long long)r->step + 1, ready->work.reason.text[0] ? ready->work.reason.text : fr_status_text(status));
  if (report.skipped) cli_fail("step %lld is left out: loss or gradient was not finite", (long long)r->step + 1);
  if (r->method < CLI_GFPO) r->loss = report.nll / (double)report.tokens;
  r->tokens += report.tokens;
  r->step++;
  r->seconds += cli_now() - began;
  return 0;
}

// ---- what is shown
static inline double cli_speed(const cli_training *r) { return (double)(r->tokens - r->began_tokens) / fmax(r->seconds, 1e-9); }
static inline double cli_left(const cli_training *r)
{
  return (cli_now() - r->began) / (double)(r->step - r->began_step) * (double)(r->steps - r->step);
}
// On a terminal: a line that is drawn anew, with the forks that the traces of the batch's first question went to.
static inline void cli_draw(const cli_training *r)
{
  const int done = (int)(20 * r->step / r->steps);
  const fr_question *q = &r->corpus.batch[0];
  char left[32];
  if (!isatty(2) || r->json) return;
  fprintf(stderr, "\r[%.*s%.*s] %lld/%lld  %s %.3f  %.0f tokens/s  %s left", done, "####################", 20 - done, "....................",
          (long long)r->step, (long long)r->steps, r->method < CLI_GFPO ? "loss" : "reward", r->loss, cli_speed(r), cli_clock(cli_left(r), left));
  if (r->method == CLI_SSFT) {
    fprintf(stderr, "  trace>fork");
    for (fr_int j = 0; j < q->trace_count && j < 8; j++) fprintf(stderr, " %td>%td", j + 1, q->fork[j] + 1);
  }
  fprintf(stderr, "\033[K");
}
static inline void cli_undraw(const cli_training *r) { if (isatty(2) && !r->json) fprintf(stderr, "\r\033[K"); }

static inline void cli_report(const cli_training *r, double mean)
{
  char left[32];
  cli_undraw(r);
  if (r->json)
    printf("{\"step\":%lld,\"steps\":%lld,\"%s\":%.6g,\"rate\":%.6g,\"tokens\":%lld,\"tokens_per_second\":%.1f,\"seconds\":%.1f}\n", (long long)r->step,
           (long long)r->steps, r->method < CLI_GFPO ? "loss" : "reward", mean, r->rate * (double)cli_factor(r, r->step - 1), (long long)r->tokens, cli_speed(r), r->seconds);
  else
    printf("step %5lld/%lld   %s %.4f   rate %.2e   %.0f tokens/s   %s left\n", (long long)r->step, (long long)r->steps,
           r->method < CLI_GFPO ? "loss" : "reward", mean, r->rate * (double)cli_factor(r, r->step - 1), cli_speed(r), cli_clock(cli_left(r), left));
  fflush(stdout);
}

static inline int cli_validate(cli_training *r, fr_int questions, fr_diagnosis *diagnosis, fr_validation *v)
{
  fr_ssft_options options = r->options;
  if (options.method != FR_SFT_MIXED) options.method = FR_SSFT;
  if (fr_corpus_validate(&r->corpus, &r->ready.model, &r->ready.work, &options, questions, diagnosis, v)) return cli_fail("%s", r->ready.work.reason.text);
  cli_undraw(r);
  if (r->json) printf("{\"step\":%lld,\"mixture\":%.6g,\"matched\":%.6g,\"questions\":%td}\n", (long long)r->step, v->mixture, v->matched, v->questions);
  else printf("step %5lld      held out, %td questions: mixture %.4f, matched %.4f (sees the trace) nats a token\n", (long long)r->step, v->questions, v->mixture, v->matched);
  fflush(stdout);
  return 0;
}

// Of the held-out traces of each source, the percentage that went to each fork.
static inline void cli_show_sources(const cli_training *r, const fr_diagnosis *d)
{
  const fr_int sources = r->set.source_count, columns = sources < 8 ? sources : 8;
  fr_diagnosis_reading reading;
  if (sources < 1 || d->options.forks < 2 || fr_diagnosis_read(d, &reading)) return;
  if (r->json) {
    printf("{\"information\":%.6g,\"by_chance\":%.6g,\"maximum\":%.6g}\n", reading.source.value, reading.source.chance, reading.source.maximum);
    return;
  }
  printf("\nof the held-out traces of each source, percent in each fork\n         ");
  for (fr_int j = 0; j < columns; j++) printf("     %c", (char)('A' + j));
  for (fr_int i = 0; i < d->options.forks; i++) {
    printf("\n  fork %-3td", i + 1);
    for (fr_int j = 0; j < columns; j++) {
      double all = 0.0;
      for (fr_int k = 0; k < d->options.forks; k++) all += (double)d->matrix[k * d->options.sources + j];
      printf(" %5.0f", all > 0.0 ? 100.0 * (double)d->matrix[i * d->options.sources + j] / all : 0.0);
    }
  }
  printf("\n");
  for (fr_int j = 0; j < columns; j++) printf("  %c = %.*s\n", (char)('A' + j), (int)fmin(60.0, (double)r->set.sources[j].count), r->set.sources[j].bytes);
  if (sources > columns) printf("  and %td more sources\n", sources - columns);
  printf("I(fork; source) / its maximum: %.3f; by chance alone, with so few traces, %.3f\n", reading.source.value / fmax(reading.source.maximum, 1e-9),
         reading.source.chance / fmax(reading.source.maximum, 1e-9));
}

// ---- the dry run
static inline int cli_ascending(const void *a, const void *b)
{
  const fr_int x = *(const fr_int *)a, y = *(const fr_int *)b;
  return (x > y) - (x < y);
}

static inline void cli_show_ids(const cli_training *r, fr_tokens ids, int loss)
{
  const int bright = loss && isatty(1);
  printf(bright ? "\033[7m" : loss ? "[[" : "");
  for (fr_int i = 0; i < ids.count; i++) {
    const fr_text piece = fr_tokenizer_token(r->ready.tokenizer, ids.ids[i]);
    fwrite(piece.bytes, 1, (size_t)piece.count, stdout);
  }
  printf(bright ? "\033[0m" : loss ? "]]" : "");
}

static inline int cli_dry_run(cli_training *r)
{
  const fr_corpus *c = &r->corpus;
  const double parameters = (double)r->ready.model.count, moments = 3.0 * (double)r->adamw.count, keep = 1.0 + cli_decimal(r->given, "--keep-last");
  const double file = 4.0 * (parameters + moments * 2.0 / 3.0), give = r->method == CLI_GFPO ? 0.0 : 4.0 * parameters, free_now = cli_room(r->out ? r->out : ".");
  const char *const names[] = { "question", "trace", "question, fork and trace" };
  fr_int *lengths = (fr_int *)malloc((size_t)(c->traces + c->count + 1) * sizeof *lengths), work = 0;
  char a[32], b[32], d[32];
  int status = 0;
  if (!lengths) return cli_fail("no memory");
  printf("\nas the model sees them, what enters the loss %s:\n", isatty(1) ? "inverted" : "in [[ ]]");
  for (fr_int i = 0; i < 2 && i < c->train; i++) {
    const fr_question *q = &c->questions[c->order[i]];
    printf("\n-- question %td, %td traces\n", c->problem[c->order[i]] + 1, q->trace_count);
    cli_show_ids(r, q->prompt, 0);
    for (fr_int j = 0; j < q->trace_count && j < 3; j++) {
      if (j) printf("\n   ...");
      printf(r->options.fork_count > 1 ? "<think?>" : "<think1>");
      cli_show_ids(r, q->traces[j], 1);
    }
    printf("\n");
  }
  printf("\ntokens                         least   half    nine of ten   most\n");
  for (int what = 0; what < 3; what++) {
    fr_int n = 0;
    for (fr_int k = 0; k < c->count; k++)
      for (fr_int j = 0; j < (what ? c->questions[k].trace_count : 1); j++)
        lengths[n++] = (what != 1 ? c->questions[k].prompt.count : 0) + (what ? c->questions[k].traces[j].count : 0) + (what == 2);
    qsort(lengths, (size_t)n, sizeof *lengths, cli_ascending);
    if (n) printf("  %-28s %5td  %5td          %5td  %5td\n", names[what], lengths[0], lengths[n / 2], lengths[n * 9 / 10], lengths[n - 1]);
  }
  free(lengths);
  fr_work_place(NULL, &r->ready.model.config, &r->ready.work.limits, NULL, 0, &work);
  printf("\nmemory  %s: %s parameters, gradients and moments, %s to work in\n",
         cli_bytes(4.0 * (parameters + moments + (r->method == CLI_GFPO ? parameters : 0.0)) + (double)work, a),
         cli_bytes(4.0 * (parameters + moments), b), cli_bytes((double)work, d));
  printf("disk    %s: a checkpoint %s, %g at a time while one is written, and the model%s%s\n", cli_bytes(keep * file + give, a), cli_bytes(file, b), keep,
         free_now > 0.0 ? "; free " : "", free_now > 0.0 ? cli_bytes(free_now, d) : "");
  for (int i = 0; i < 2 && !status; i++) {
    r->seconds = 0.0;
    status = cli_step(r);
  }
  if (!status) printf("time    %.2f s a step, %lld steps: %s, measured on the second of two steps\n", r->seconds, (long long)r->steps,
                      cli_clock(r->seconds * (double)r->steps, a));
  return status;
}

// ---- putting it together
static inline double cli_next(const char **at)  // of numbers with a blank before each
{
  char *end;
  const double value = strtod(*at, &end);
  *at = end;
  return value;
}

static inline int cli_prepare(cli_training *r)
{
  static const char *const schedules[] = { "cosine", "linear", "constant", NULL }, *const trained[] = { "all", "forks", NULL };
  static const fr_method methods[] = { FR_SFT_MIXED, FR_SSFT, FR_SSFT_RANDOM, FR_FIXED_LABELS, FR_SSFT, FR_SSFT };
  cli_given *given = r->given;
  cli_ready *ready = &r->ready;
  const char *resume = cli_value(given, "--resume"), *path, *data, *framing, *system;
  const fr_corpus *c = &r->corpus;
  const fr_dataset_counts *n = &r->set.counts;
  char wrong[MAP_WRONG], full[1100];
  static report_page page;
  fr_int forks, form;
  fr_limits limits;
  map_file file;
  int status = resume ? cli_load(r, resume) : 0;
  if (status) return status;
  r->out = resume ? resume : cli_value(given, "--out");
  r->method = cli_choice(given, "--method", cli_methods, CLI_SSFT);
  r->schedule = cli_choice(given, "--schedule", schedules, 0);
  r->forks_only = cli_choice(given, "--train", trained, 0);
  form = cli_choice(given, "--answer", cli_answer_forms, 4);
  r->json = cli_value(given, "--json") != NULL;
  path = cli_value(given, "--model");
  data = cli_value(given, "--data");
  framing = cli_value(given, "--framing");
  system = cli_value(given, "--system");
  if (r->method == CLI_SFT && !cli_value(given, "--forks") && cli_take(given, cli_find(given->flags, "--forks", "train"), "--forks", "1")) return 2;
  forks = cli_whole(given, "--forks");
  if (forks == 1 && r->method < CLI_GFPO && r->method > CLI_SFT) r->method = CLI_SFT;  // all take it
  if (r->method < 0 || r->schedule < 0 || r->forks_only < 0 || form < 0) return 2;
  if (!data) return cli_wrong("train needs --data");
  if (!r->out && !cli_value(given, "--dry-run")) return cli_wrong("train needs --out, a folder for what it makes");
  if (given->words) return cli_wrong("train takes no word %s; --data and --model name files", given->word[0]);
  if (r->method >= CLI_GFPO && !path) return cli_wrong("--method %s needs --model", cli_methods[r->method]);
  if (r->method >= CLI_GFPO && r->forks_only) return cli_wrong("--train forks is for the other methods");
  if (r->out && !resume && !cli_value(given, "--dry-run")) {  // found now, and not at the end
    const cli_found found = cli_look(r->out);
    struct stat there;
    if (found.count) return cli_fail("%s holds a run; --resume %s goes on with it", r->out, r->out);
    if (found.other[0]) return cli_fail("%s holds %s: take another folder", r->out, found.other);
    snprintf(full, sizeof full, "%.900s/config.json", r->out);
    if (map_open(&file, full, wrong)) { map_close(&file); return cli_fail("%s holds a model: take another folder", r->out); }
    if (cli_stat(r->out, &there) && cli_make_folder(r->out)) return cli_fail("%s cannot be made: %s", r->out, strerror(errno));
  }
  if (cli_value(given, "--html") && !report_check(&page, cli_value(given, "--html"))) return cli_fail("%s", page.error);
  if ((status = cli_rows(&r->set, data, cli_value(given, "--valid"), &r->lines)) != 0) return status;
  cli_limit(r, cli_whole(given, "--limit"));
  r->form = form < 4 ? (fr_answer_form)form : cli_answer_form(&r->set);
  if (resume) {
    ready->framing = r->bundle.framing;
    status = cli_ready_forks(ready, r->bundle.tokenizer, forks, 1 << 16);
    ready->framing.end = r->bundle.framing.end;
  } else if (path) {
    status = cli_ready_open(ready, path, forks, 1, framing, system, (uint64_t)cli_decimal(given, "--seed"));
  } else {
    if ((status = cli_frame(ready, framing ? framing : "{question}<|asked|>", system)) == 0) status = cli_new_tokenizer(r);
    if (!status) ready->framing.end = ready->ends[0] = fr_tokenizer_find(&ready->own, cli_specials[0].text);
    ready->end_count = 1;
    if (!status) status = cli_ready_forks(ready, &ready->own, forks, r->set.longest);
    if (!status) status = cli_new_model(r);
  }
  if (!status) status = cli_corpus(r, cli_whole(given, "--max-len"));
  if (status) return status;
  if (resume && c->key != r->bundle.key) return cli_fail("%s is not the data that the run in %s was trained on", data, resume);
  if (!r->json) {
    printf("data      %td rows with %td traces; left out: %td incorrect, %td empty, %td repeated, %td %s %td tokens\n", n->rows, n->traces, n->incorrect, n->empty,
           n->repeated, c->left_out[FR_TRACE_LONG], c->options.truncate ? "whose question is over" : "over", c->options.length);
    if (n->no_trace + n->merged + n->conflicts + c->left_out[FR_QUESTION_BARE])
      printf("          questions: %td without a correct trace, %td with none that fits; %td rows joined to an earlier one, %td of them with another answer\n",
             n->no_trace, c->left_out[FR_QUESTION_BARE], n->merged, n->conflicts);
    for (int i = 0; i < FR_LEFT_OUT_COUNT; i++) if (c->left_out[i]) printf("          %td such as %s\n", c->left_out[i], c->example[i].text);
  }
  if (!c->train) return cli_fail("%s: there is no question to train on", data);
  for (int i = 0; r->kept && i < CLI_LOSSES; i++) r->past.loss[i] = cli_next(&r->kept);
  for (int m = 0; r->kept && m < r->past.moments; m++) {
    r->past.at[m] = (int64_t)cli_next(&r->kept);
    for (fr_int i = 0; i < cli_cells(r); i++) r->past.cost[m][i] = cli_next(&r->kept);
    for (int j = 0; j < CLI_MOST_FORKS; j++) r->past.fork[m][j] = (int)cli_next(&r->kept);
  }
  r->steps = (int64_t)cli_decimal(given, "--iters");
  if (!r->steps) r->steps = (int64_t)ceil(cli_decimal(given, "--epochs") * (double)c->train / (double)c->options.batch);
  if (r->steps < 1) return cli_wrong("there is no step to make: --epochs %g", cli_decimal(given, "--epochs"));
  r->rate = cli_decimal(given, "--lr");
  if (!(r->rate > 0.0)) r->rate = path ? 2e-5 : 5e-3;
  r->options.forks = ready->forks;
  r->options.fork_count = r->method == CLI_SFT ? 1 : ready->framing.fork_count;
  r->options.method = methods[r->method];
  r->options.prefix = cli_whole(given, "--match-tokens");
  r->options.seed = cli_seed(given, CLI_FOR_MATCHING);
  if (fr_corpus_limits(c, &r->options, cli_whole(given, "--batch"), &limits)) return cli_fail("a question with its traces does not fit this machine");
  if (r->options.fork_count < ready->framing.fork_count) {  // for the matching that is shown
    fr_ssft_options all = r->options;
    fr_limits one;
    const fr_question *q = &c->questions[cli_shown(r)];
    fr_int longest = 0;
    for (fr_int j = 0; j < q->trace_count; j++) if (q->traces[j].count > longest) longest = q->traces[j].count;
    all.fork_count = ready->framing.fork_count;
    all.method = FR_SSFT;
    if (!fr_ssft_limits(&all, q->prompt.count, longest, q->trace_count, 1, &one)) { one.grad_rows = 0; limits = fr_limits_max(limits, one); }
  }
  if (r->method >= CLI_GFPO) {
    fr_int longest = 0;
    for (fr_int i = 0; i < c->train; i++) {
      const fr_int k = c->order[i];
      if (!r->set.problems[c->problem[k]].answer.bytes) return cli_fail("%s: question %td has no answer, which %s needs", data, c->problem[k] + 1, cli_methods[r->method]);
      if (c->questions[k].prompt.count > longest) longest = c->questions[k].prompt.count;
    }
    r->choose.forks = ready->forks;
    r->choose.fork_count = ready->framing.fork_count;
    r->choose.group = cli_whole(given, "--group");
    r->choose.sampling.temperature = (float)cli_decimal(given, "--temp");
    r->choose.sampling.max_tokens = cli_whole(given, "--max-tokens");
    r->choose.sampling.stops = ready->ends;
    r->choose.sampling.stop_count = ready->end_count;
    r->choose.sampling.seed = cli_seed(given, CLI_FOR_ROLLOUTS);
    r->choose.reward = cli_reward;
    r->choose.user = r;
    r->choose.credit = r->method == CLI_GRPO ? FR_GRPO : FR_GFPO;
    r->choose.entropy = (float)cli_decimal(given, "--entropy");
    if (fr_gfpo_limits(&r->choose, longest, c->options.batch, &limits) || fr_rollouts_new(&r->rollouts, &r->choose, c->options.batch))
      return cli_fail("the rollouts do not fit this machine");
    if (r->method == CLI_GFPO && (status = cli_ready_open(&r->writer, path, forks, 0, framing, system, 1)) != 0) return status;
  }
  if (!resume) {
    if (fr_adamw_new(&r->adamw, &ready->model)) return cli_fail("no memory for gradients and moments: %s", cli_bytes(12.0 * (double)ready->model.count, full));
  }
  r->adamw.beta2 = (float)cli_decimal(given, "--beta2");
  r->adamw.decay = r->forks_only ? 0.0f : (float)cli_decimal(given, "--weight-decay");
  r->adamw.clip = (float)cli_decimal(given, "--clip");
  snprintf(r->data, sizeof r->data, "%.60s", strrchr(data, '/') && strrchr(data, '/')[1] ? strrchr(data, '/') + 1 : data);
  for (char *p = r->data; *p; p++) if ((unsigned char)*p < 0x20 || *p == '/') *p = ' ';
  return cli_ready_work(ready, limits, cli_whole(given, "--threads"));
}

// The loss of a step, into the mean of its window.
static inline void cli_note(cli_training *r)
{
  const int64_t windows = r->steps < CLI_LOSSES ? r->steps : CLI_LOSSES, step = r->step - 1, window = (int64_t)((double)step * (double)windows / (double)r->steps);
  int64_t first = step;
  while (first > 0 && (int64_t)((double)(first - 1) * (double)windows / (double)r->steps) == window) first--;
  if (step == first) r->past.loss[window] = 0.0;
  r->past.loss[window] += (r->loss - r->past.loss[window]) / (double)(step - first + 1);
}

static inline int cli_moment(cli_training *r)
{
  const int m = r->past.moments;
  fr_int fork[CLI_MOST_FORKS];
  fr_question q;
  if (m == 3 || !cli_cells(r)) return 0;
  memset(fork, 0, sizeof fork);
  if (cli_costs(&r->ready, &r->corpus, cli_shown(r), r->options, &q, fork, r->past.cost[m])) return 1;
  for (int j = 0; j < CLI_MOST_FORKS; j++) r->past.fork[m][j] = (int)fork[j];
  r->past.at[m] = r->step;
  r->past.moments++;
  return 0;
}

static inline int cli_page(cli_training *r, const char *path, const fr_diagnosis *d)
{
  static report_page page;
  const fr_int shown = cli_shown(r), cells = cli_cells(r), N = r->ready.framing.fork_count, M = cells / (N ? N : 1), sources = r->set.source_count;
  const fr_text asked = r->set.problems[r->corpus.problem[shown]].text;
  static double share[3 * CLI_CELLS];
  static int marked[3 * CLI_MOST_FORKS];
  double value[3 * CLI_CELLS], by_source[CLI_MOST_FORKS * 8];
  char source[200], moments[3][40], names[CLI_MOST_FORKS][40], sources_of[8][40], lede[500], numbers[4][40];
  const char *moment_names[3], *trace_names[CLI_MOST_FORKS], *source_names[8], *facts[10];
  report_line line;
  report_lines lines;
  report_matrix matrix;
  memset(&line, 0, sizeof line);
  memset(&lines, 0, sizeof lines);
  memset(&matrix, 0, sizeof matrix);
  snprintf(source, sizeof source, "forkreason train --method %s, seed %lld", cli_methods[r->method], (long long)cli_decimal(r->given, "--seed"));
  snprintf(lede, sizeof lede, "%td questions with %td traces, %td of them held out; %lld steps.", r->corpus.count, r->corpus.traces, r->corpus.count - r->corpus.train, (long long)r->steps);
  report_open(&page, path, "forkreason train", lede, source);
  facts[0] = "data";          facts[1] = r->data;
  facts[2] = "method";        facts[3] = cli_methods[r->method];
  facts[4] = "parameters";    facts[5] = numbers[0];
  facts[6] = "learning rate"; facts[7] = numbers[1];
  facts[8] = "forks";         facts[9] = numbers[2];
  snprintf(numbers[0], 40, "%td", r->ready.model.count);
  snprintf(numbers[1], 40, "%g", r->rate);
  snprintf(numbers[2], 40, "%td", N);
  report_facts(&page, facts, 5);
  line.name = cli_methods[r->method];
  line.values = r->past.loss;
  line.count = (int)(r->steps < CLI_LOSSES ? r->steps : CLI_LOSSES);
  line.first = 1.0;
  line.every = (double)r->steps / line.count;
  lines.title = r->method < CLI_GFPO ? "Loss of the matched traces, nats a token" : "Mean reward";
  lines.lines = &line;
  lines.count = 1;
  report_add_lines(&page, &lines);
  for (int m = 0; m < r->past.moments; m++) {
    snprintf(moments[m], sizeof moments[m], "step %lld", (long long)r->past.at[m]);
    moment_names[m] = moments[m];
    for (fr_int j = 0; j < M; j++) {
      double least = HUGE_VAL, most = -HUGE_VAL;
      for (fr_int i = 0; i < N; i++) { least = fmin(least, r->past.cost[m][i * M + j]); most = fmax(most, r->past.cost[m][i * M + j]); }
      for (fr_int i = 0; i < N; i++) {
        const double cost = r->past.cost[m][i * M + j];
        value[m * cells + i * M + j] = cost;
        share[m * cells + i * M + j] = most > least ? (most - cost) / (most - least) : 0.0;
      }
      marked[m * M + j] = r->past.fork[m][j];
    }
  }
  for (fr_int j = 0; j < M; j++) { snprintf(names[j], sizeof names[j], "trace %td", j + 1); trace_names[j] = names[j]; }
  snprintf(lede, sizeof lede, "Nats a token of each trace under each fork, for the question: %.*s", (int)(asked.count < 380 ? asked.count : 380), asked.bytes);
  matrix.title = "What the matching sees of one question";
  matrix.caption = lede;
  matrix.what = "A row is a fork, a column a trace; the darker, the cheaper within its column; the frame is the matching that costs least in all.";
  matrix.arm_names = moment_names;
  matrix.way_names = trace_names;
  matrix.arms = r->past.moments;
  matrix.forks = (int)N;
  matrix.ways = (int)M;
  matrix.share = share;
  matrix.values = value;
  matrix.digits = 2;
  matrix.marked = marked;
  if (cells && r->past.moments) report_add_matrix(&page, &matrix);
  if (d && sources > 0 && sources <= 8 && N > 1) {
    memset(&matrix, 0, sizeof matrix);
    for (fr_int j = 0; j < sources; j++) {
      double all = 0.0;
      snprintf(sources_of[j], sizeof sources_of[j], "%.*s", (int)(r->set.sources[j].count < 39 ? r->set.sources[j].count : 39), r->set.sources[j].bytes);
      source_names[j] = sources_of[j];
      for (fr_int i = 0; i < d->options.forks; i++) all += (double)d->matrix[i * d->options.sources + j];
      for (fr_int i = 0; i < d->options.forks; i++) by_source[i * sources + j] = all > 0.0 ? (double)d->matrix[i * d->options.sources + j] / all : 0.0;
    }
    matrix.title = "Which fork goes which way";
    matrix.caption = "Of the held-out traces of each source, the share in each fork.";
    matrix.way_names = source_names;
    matrix.arms = 1;
    moment_names[0] = "held out";
    matrix.arm_names = moment_names;
    matrix.forks = (int)d->options.forks;
    matrix.ways = (int)sources;
    matrix.share = by_source;
    report_add_matrix(&page, &matrix);
  }
  return report_close(&page) ? 0 : cli_fail("%s", page.error);
}

static inline int cli_loop(cli_training *r)
{
  const cli_given *given = r->given;
  const fr_int held_out = r->corpus.count - r->corpus.train, sample = cli_whole(given, "--eval-questions");
  const int64_t report = (int64_t)cli_decimal(given, "--report-every"), save = (int64_t)cli_decimal(given, "--save-every"), stop = (int64_t)cli_decimal(given, "--stop");
  int64_t each = (int64_t)cli_decimal(given, "--eval-every"), since = 0;
  double sum = 0.0;
  fr_validation v;
  if (!each) each = r->steps / 5 > 0 ? r->steps / 5 : 1;
  r->began = cli_now();
  r->began_step = r->step;
  r->began_tokens = r->tokens;
  cli_asked = 0;
  cli_stoppable = 1;
  while (r->step < r->steps && !cli_asked && !(stop && r->step >= stop)) {
    if (held_out && r->method < CLI_GFPO && r->step % each == 0 && cli_validate(r, sample, NULL, &v)) return 1;
    if (!r->past.moments && cli_moment(r)) return 1;
    if (cli_step(r)) return 1;
    cli_note(r);
    if (r->past.moments == 1 && r->step >= r->steps / 2 && r->step < r->steps && cli_moment(r)) return 1;
    sum += r->loss;
    since++;
    if (r->step % report == 0 || r->step == r->steps) { cli_report(r, sum / (double)since); sum = 0.0; since = 0; }
    cli_draw(r);
    if (save && r->step % save == 0 && r->step < r->steps && !cli_save(r) && !r->json) { cli_undraw(r); printf("step %5lld      saved\n", (long long)r->step); }
  }
  cli_undraw(r);
  return r->step == r->steps ? cli_moment(r) : 0;
}

static inline int cli_train(cli_given *given)
{
  static cli_training r;
  const int dry = cli_value(given, "--dry-run") != NULL;
  fr_diagnosis_options options;
  fr_diagnosis diagnosis;
  fr_validation v;
  int status;
  memset(&r, 0, sizeof r);
  memset(&diagnosis, 0, sizeof diagnosis);
  memset(&options, 0, sizeof options);
  r.given = given;
  status = cli_prepare(&r);
  if (!status && !r.json) {
    const fr_model *m = &r.ready.model;
    printf("kept      %td questions with %td traces, %td tokens: %td questions to train on, %td held out\n", r.corpus.count, r.corpus.traces, r.corpus.tokens, r.corpus.train, r.corpus.count - r.corpus.train);
    printf("model     %.1f million parameters, vocabulary %td; %s, %td forks; rate %g%s; %d threads, %s\n", (double)m->count / 1e6, m->config.vocab, cli_methods[r.method],
           r.options.fork_count, r.rate, cli_decimal(given, "--lr") > 0.0 ? "" : cli_value(given, "--model") ? ", that of a model of others" : ", that of a new model",
           r.ready.threads.threads, r.ready.work.kernel);
    if (r.step) printf("goes on   from step %lld of %lld\n", (long long)r.step, (long long)r.steps);
    fflush(stdout);
  }
  if (!status && !dry) {
    const double needs = 4.0 * ((double)r.ready.model.count * 2.0 + 2.0 * (double)r.adamw.count), space = cli_room(r.out);
    char a[32], b[32];
    if (space > 0.0 && needs > space) status = cli_fail("%s: a checkpoint and the model take %s, and %s are free there", r.out, cli_bytes(needs, a), cli_bytes(space, b));
    if (!status && !cli_value(given, "--resume")) status = cli_give_back(&r, 0);
  }
  if (!status && dry) status = cli_dry_run(&r);
  else if (!status && (status = cli_loop(&r)) == 0) {
    status = cli_save(&r);
    if (!status && r.step < r.steps) {
      if (!r.json) printf("stopped at step %lld of %lld; forkreason train --resume %s goes on\n", (long long)r.step, (long long)r.steps, r.out);
      status = cli_asked ? 130 : 0;
    } else if (!status) {
      options.forks = r.options.fork_count;
      options.sources = r.corpus.sources;
      status = cli_give_back(&r, 1);
      if (!status && r.corpus.count > r.corpus.train && r.method < CLI_GFPO) {
        if (fr_diagnosis_new(&diagnosis, &options, &r.ready.work.reason)) status = cli_fail("%s", r.ready.work.reason.text);
        else status = cli_validate(&r, 10 * cli_whole(given, "--eval-questions"), &diagnosis, &v);
        if (!status) cli_show_sources(&r, &diagnosis);
      }
      if (!status && cli_value(given, "--html")) status = cli_page(&r, cli_value(given, "--html"), diagnosis.owned ? &diagnosis : NULL);
      if (!status && !r.json) printf("%s is the model; forkreason generate --model %s --prompt ... runs it\n", r.out, r.out);
    }
  }
  fr_diagnosis_free(&diagnosis);
  fr_adamw_free(&r.adamw);
  fr_rollouts_free(&r.rollouts);
  fr_corpus_free(&r.corpus);
  fr_dataset_free(&r.set);
  cli_ready_close(&r.writer);
  cli_ready_close(&r.ready);
  fr_bundle_free(&r.bundle);
  return status;
}

#endif
