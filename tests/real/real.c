// real.c - the real model, run by us, beside what transformers made of it (tests/real/reference.py):
//
//     real check FOLDER|FILE.gguf f32|bf16       logits, loss, greedy text; exit status 1 where they differ
//     real give FOLDER|FILE.gguf DIR             writes DIR/config.json and so on, DIR/f32.gguf, f16.gguf and bf16.gguf
//     real said FOLDER|FILE.gguf FILE            writes the logits of the reference's rows to FILE, as floats
//     real speed FOLDER|FILE.gguf f32|bf16       tokens a second, one stream and one thread
//     real memory FOLDER run|train               the most memory that was in use, beside what is said of it (Linux)
//     real story STORIES.bin TOKENIZER.bin       the story model of llama2.c goes on as its own program does
//
// The weights of a folder are used where they lie, in files that are mapped.
#define _POSIX_C_SOURCE 200809L
#define FORKREASON_IMPLEMENTATION
#include "forkreason.h"
#include "examples/map.h"
#include "tests/store.h"
#include <time.h>

static const char *from;
static map_folder folder;
static map_file file;
static store reference;

static void need(fr_status status, const char *reason)
{
  if (status == FR_OK) return;
  printf("%s: %s\n", fr_status_text(status), reason);
  exit(1);
}

static fr_token *ids_of(const char *name, fr_int *count)
{
  const store_entry *e = store_get(&reference, "", name);
  fr_token *ids = (fr_token *)test_alloc((size_t)e->count * sizeof *ids);
  for (*count = 0; *count < e->count; ++*count) ids[*count] = (fr_token)store_at(&reference, e, *count);
  return ids;
}

// One span of tokens, and what a pass over it needs.
static fr_tree one_span(fr_span *span, const fr_token *ids, fr_int count)
{
  fr_tree tree;
  memset(&tree, 0, sizeof tree);
  memset(span, 0, sizeof *span);
  span->parent = -1;
  span->tokens.ids = ids;
  span->tokens.count = count;
  tree.spans = span;
  tree.span_count = 1;
  return tree;
}

// The logits (R,V) of the reference's rows of the context.
static float *logits_of(const fr_model *model, fr_int *count)
{
  fr_int length, listed;
  fr_token *context = ids_of("context", &length), *list = ids_of("rows", &listed);
  fr_int *rows = (fr_int *)test_alloc((size_t)listed * sizeof *rows);
  float *logits = (float *)test_alloc((size_t)(listed * model->config.vocab) * sizeof *logits);
  fr_span span;
  const fr_tree tree = one_span(&span, context, length);
  fr_limits limits;
  fr_work work;
  for (fr_int i = 0; i < listed; i++) rows[i] = list[i];
  need(fr_tree_limits(&tree, &limits), "limits");
  limits.rows = limits.grad_rows;
  limits.grad_rows = 0;
  need(fr_work_new(&work, &model->config, &limits), "workspace");
  need(fr_forward(model, &work, &tree, NULL, 0), work.reason.text);
  need(fr_logits(model, &work, rows, listed, logits, NULL), work.reason.text);
  fr_work_free(&work);
  free(rows); free(list); free(context);
  *count = listed * model->config.vocab;
  return logits;
}

// Mean loss of the next tokens of the page.
static double loss_of(const fr_model *model)
{
  fr_int length;
  fr_token *page = ids_of("page", &length);
  fr_target *targets = (fr_target *)test_alloc((size_t)length * sizeof *targets);
  fr_span span;
  fr_tree tree = one_span(&span, page, length);
  fr_limits limits;
  fr_work work;
  fr_sum sum;
  memset(targets, 0, (size_t)length * sizeof *targets);
  for (fr_int t = 0; t + 1 < length; t++) { targets[t].row = t; targets[t].token = page[t + 1]; targets[t].weight = 1.0f; }
  tree.targets = targets;
  tree.target_count = length - 1;
  need(fr_tree_limits(&tree, &limits), "limits");
  limits.rows = limits.grad_rows;
  limits.grad_rows = 0;
  need(fr_work_new(&work, &model->config, &limits), "workspace");
  need(fr_forward(model, &work, &tree, &sum, 1), work.reason.text);
  fr_work_free(&work);
  free(page); free(targets);
  return sum.nll / (double)sum.count;
}

// Greedy text after a prompt; the seconds that all tokens but the first took.
typedef struct watch { struct timespec began; fr_int seen; } watch;
static int on_token(void *user, fr_int index, const fr_leaf *leaf)
{
  watch *w = (watch *)user;
  (void)index; (void)leaf;
  if (w->seen++ == 0) clock_gettime(CLOCK_MONOTONIC, &w->began);
  return FR_GO_ON;
}
static double greedy(const fr_model *model, const fr_token *prompt, fr_int count, fr_token *text, fr_int most)
{
  fr_span span;
  const fr_tree tree = one_span(&span, prompt, count);
  fr_limits limits;
  fr_sampling sampling;
  fr_leaf leaf;
  fr_work work;
  watch w;
  struct timespec now;
  memset(&sampling, 0, sizeof sampling);
  memset(&leaf, 0, sizeof leaf);
  memset(&w, 0, sizeof w);
  sampling.max_tokens = most;
  sampling.token = on_token;
  sampling.user = &w;
  leaf.tokens = text;
  need(fr_generate_limits(&tree, &sampling, 1, &limits), "limits");
  need(fr_work_new(&work, &model->config, &limits), "workspace");
  need(fr_generate(model, &work, &tree, &sampling, &leaf, 1), work.reason.text);
  clock_gettime(CLOCK_MONOTONIC, &now);
  fr_work_free(&work);
  return (double)(now.tv_sec - w.began.tv_sec) + 1e-9 * (double)(now.tv_nsec - w.began.tv_nsec);
}

static void check(const fr_model *model, const char *type)
{
  char of[8], name[40];
  fr_int count, equal = 0, close = 0;
  float *logits = logits_of(model, &count);
  double worst = 0.0, most = 0.0, loss;
  snprintf(of, sizeof of, "%s/", type);
  const store_entry *want = store_get(&reference, of, "logits");
  CHECK(want->count == count);
  for (fr_int i = 0; i < count; i++) {
    const double x = store_at(&reference, want, i);
    worst = fmax(worst, fabs((double)logits[i] - x));
    most = fmax(most, fabs(x));
  }
  printf("%td logits: at most %.3g apart, the largest is %.4g: %.2g of it\n", count, worst, most, worst / most);
  CHECK_BELOW(worst / most, 1e-4);
  loss = loss_of(model);
  const double theirs = store_scalar(&reference, of, "loss");
  printf("mean loss of the page %.6f, theirs %.6f: perplexity %.3f and %.3f\n", loss, theirs, exp(loss), exp(theirs));
  CHECK_BELOW(fabs(exp(loss) / exp(theirs) - 1.0), 5e-5);  // four digits
  for (int k = 0; k < 5; k++) {
    fr_int prompt_count, text_count;
    fr_token *prompt, *text, *got;
    snprintf(name, sizeof name, "prompt%d", k);
    prompt = ids_of(name, &prompt_count);
    snprintf(name, sizeof name, "%stext%d", of, k);
    text = ids_of(name, &text_count);
    got = (fr_token *)test_alloc((size_t)text_count * sizeof *got);
    greedy(model, prompt, prompt_count, got, text_count);
    snprintf(name, sizeof name, "%sgap%d", of, k);
    for (fr_int t = 0; t < text_count; t++, equal++) {
      if (got[t] == text[t]) continue;
      const double gap = store_at(&reference, store_get(&reference, "", name), t);
      printf("prompt %d, token %td: %d is not %d, which led by %.3g\n", k, t, (int)got[t], (int)text[t], gap);
      close += CHECK_BELOW(gap, 1e-3);  // two programs of floats may part here
      break;
    }
    free(prompt); free(text); free(got);
  }
  printf("%td greedy tokens are equal, %td texts part where two logits are close\n", equal, close);
  free(logits);
}

static void give(const fr_pretrained *p, const fr_model *model, const char *to)
{
  static const char *const ggufs[] = { "f32", "f16", "bf16" };
  fr_export e;
  fr_reason reason;
  fr_tokenizer tokenizer;
  char path[1000];
  memset(&e, 0, sizeof e);
  memset(&tokenizer, 0, sizeof tokenizer);
  snprintf(path, sizeof path, "%.900s%s", from, p->form == FR_FOLDER ? "/tokenizer.json" : "");
  need(fr_tokenizer_load(&tokenizer, path, NULL, NULL, &reason), reason.text);
  e.model = model;
  e.tokenizer = &tokenizer;
  e.context = p->context;
  e.begin = p->begin;
  e.pad = 2;
  e.ends = p->ends;
  e.end_count = p->end_count;
  e.chat = p->chat;
  e.name = "SmolLM2-135M-Instruct, given back";
  e.base = "HuggingFaceTB/SmolLM2-135M-Instruct";
  e.license = "apache-2.0";
  e.data = "none: nothing was trained";
  for (int part = 0; fr_export_name((fr_export_file)part); part++) {
    if (part == FR_EXPORT_CHAT && !e.chat.count) continue;
    snprintf(path, sizeof path, "%.700s/%s", to, fr_export_name((fr_export_file)part));
    need(fr_export_save(path, &e, (fr_export_file)part, &reason), reason.text);
  }
  for (int type = FR_EXPORT_F32; type <= FR_EXPORT_BF16; type++) {
    e.type = (fr_export_type)type;
    snprintf(path, sizeof path, "%.700s/%s.gguf", to, ggufs[type]);
    need(fr_export_save(path, &e, FR_EXPORT_GGUF, &reason), reason.text);
  }
  fr_tokenizer_free(&tokenizer);
  CHECK(model->count > 0);
}

static void story(const fr_model *model, const char *path)
{
  static const char want[] = "Once upon a time, there was a little girl named Lily. She loved to play outside in the park. One day, she saw "
    "a big, red ball. She wanted to play with it, but it was too high.\nLily's mom said, \"Lily, let's go to the park.\" Lily was sad and "
    "didn't know what to do.";
  fr_tokenizer tokenizer;
  fr_encoder encoder;
  fr_reason reason;
  fr_token ids[300];
  fr_int given, bytes;
  char text[3000];
  memset(&tokenizer, 0, sizeof tokenizer);
  need(fr_tokenizer_load(&tokenizer, path, NULL, NULL, &reason), reason.text);
  need(fr_encoder_new(&encoder, &tokenizer, 100, 0), "encoder");
  ids[0] = 1;
  need(fr_tokenizer_encode(&encoder, want, 16, FR_SPECIALS_TEXT, ids + 1, 20, &given), encoder.reason.text);
  greedy(model, ids, 1 + given, ids + 1 + given, 200);
  need(fr_tokenizer_decode(&tokenizer, ids, 1 + given + 200, text, (fr_int)sizeof text, &bytes, &reason), reason.text);
  printf("%.*s\n", (int)bytes, text);
  text[bytes < (fr_int)sizeof text ? bytes : (fr_int)sizeof text - 1] = 0;
  CHECK(strstr(text, want) != NULL);
  fr_encoder_free(&encoder);
  fr_tokenizer_free(&tokenizer);
}

// Running takes at most 1.1 times the file and what the workspace is measured at, training 1.05 times parameters, gradients, two
// moments and that. Six forks behind 1,024 tokens; a step on 512 tokens.
static void memory(fr_pretrained *p, fr_model *model, int trains)
{
  fr_int page, stated = 0, weights = 0;
  fr_token *ids = ids_of("page", &page), out[6][20];
  fr_token *prompt = (fr_token *)test_alloc(1024 * sizeof *prompt);
  fr_target *targets = (fr_target *)test_alloc((size_t)page * sizeof *targets);
  fr_span span;
  fr_tree tree = one_span(&span, trains ? ids : prompt, trains ? page : 1024);
  fr_leaf leaves[6];
  fr_limits limits;
  fr_work work;
  fr_adamw adamw;
  fr_sum sum;
  char line[200];
  double allowed, peak = 0.0;
  FILE *status;
  for (fr_int i = 0; i < 1024; i++) prompt[i] = ids[i % page];
  for (int i = 0; i < folder.count; i++) weights = folder.file[i].count > weights ? folder.file[i].count : weights;
  if (trains) {
    fr_pretrained_free(p);
    map_folder_close(&folder);  // the weights have been copied
    for (fr_int i = 0; i + 1 < page; i++) { targets[i].row = i; targets[i].token = ids[i + 1]; targets[i].weight = 1.0f; targets[i].group = 0; }
    tree.targets = targets;
    tree.target_count = page - 1;
    need(fr_tree_limits(&tree, &limits), "");
    need(fr_adamw_new(&adamw, model), "");
  } else {
    fr_sampling sampling;
    memset(&sampling, 0, sizeof sampling);
    sampling.max_tokens = 1024;
    need(fr_generate_limits(&tree, &sampling, 6, &limits), "");
  }
  need(fr_work_place(NULL, &model->config, &limits, NULL, 0, &stated), "");
  need(fr_work_new(&work, &model->config, &limits), work.reason.text);
  if (trains) {
    need(fr_backward(model, &work, &tree, adamw.grads, &sum, 1), work.reason.text);
    need(fr_adamw_step(&adamw, model, &work, sum.nll, 1e-5f, NULL), work.reason.text);
    fr_adamw_free(&adamw);
  } else {
    fr_sampling sampling;
    memset(&sampling, 0, sizeof sampling);
    sampling.max_tokens = 20;
    sampling.temperature = 1.0f;
    memset(leaves, 0, sizeof leaves);
    for (int i = 0; i < 6; i++) { leaves[i].leaf = (uint64_t)i; leaves[i].tokens = out[i]; }
    need(fr_generate(model, &work, &tree, &sampling, leaves, 6), work.reason.text);
  }
  allowed = trains ? 1.05 * (16.0 * (double)model->count + (double)stated) : 1.1 * (double)weights + (double)stated;
  status = fopen("/proc/self/status", "r");
  while (status && fgets(line, sizeof line, status)) if (!strncmp(line, "VmHWM:", 6)) peak = 1024.0 * atof(line + 6);
  if (status) fclose(status);
  printf("%s, %s: %.0f MB in use at most, %.0f MB allowed, of it %.0f MB to work in\n", from, trains ? "trained" : "run", peak / 1e6, allowed / 1e6,
         (double)stated / 1e6);
  CHECK(peak > (trains ? 16.0 * (double)model->count : (double)weights));
  CHECK_BELOW(peak, allowed);
  fr_work_free(&work);
  free(targets);
  free(prompt);
  free(ids);
}

int main(int count, char **words)
{
  const int tells = count > 1 && !strcmp(words[1], "story");
  fr_pretrained_source source;
  fr_pretrained_options options;
  fr_pretrained p;
  fr_reason reason;
  fr_model model;
  char wrong[MAP_WRONG];
  if (count != 4) return puts("real check|give|said|speed|memory|story FOLDER|FILE f32|bf16|PATH"), 2;
  from = words[2];
  memset(&source, 0, sizeof source);
  memset(&options, 0, sizeof options);
  if (!tells) reference = store_open("build/real/reference");
  if (map_open(&file, from, wrong)) {
    source.file.bytes = file.bytes;
    source.file.count = file.count;
  } else {
    snprintf(folder.path, sizeof folder.path, "%.600s", from);
    source.open = map_folder_open;
    source.user = &folder;
  }
  options.type = strcmp(words[3], "bf16") ? FR_FLOAT32 : FR_BFLOAT16;
  options.whole = !strcmp(words[1], "memory") && !strcmp(words[3], "train");
  need(fr_pretrained_new(&p, &source, &reason), reason.text);
  need(fr_pretrained_model_new(&p, &options, &model, &reason), reason.text);
  if (!strcmp(words[1], "check")) check(&model, words[3]);
  else if (tells) story(&model, words[3]);
  else if (!strcmp(words[1], "give")) give(&p, &model, words[3]);
  else if (!strcmp(words[1], "memory")) memory(&p, &model, options.whole);
  else if (!strcmp(words[1], "said")) {
    fr_int floats;
    float *logits = logits_of(&model, &floats);
    FILE *out = fopen(words[3], "wb");
    CHECK(out && fwrite(logits, sizeof *logits, (size_t)floats, out) == (size_t)floats && !fclose(out));
    free(logits);
  } else {
    fr_int length;
    fr_token *prompt = ids_of("prompt0", &length), text[65];
    double best = 0.0;
    for (int round = 0; round < 3; round++) best = fmax(best, 64.0 / greedy(&model, prompt, length, text, 65));
    printf("forkreason.h, %s: %.1f tokens/s\n", words[3], best);
    CHECK(best > 0.0);
    free(prompt);
  }
  fr_model_free(&model);
  fr_pretrained_free(&p);
  map_close(&file);
  map_folder_close(&folder);
  if (!tells) store_close(&reference);
  return test_done(words[1]);
}
