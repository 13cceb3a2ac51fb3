// test_stack.c - what calls take of the stack is at most what their comments say, seen by painting a thread's stack beforehand.
#if !defined(_WIN32) && !defined(_POSIX_C_SOURCE)
#define _POSIX_C_SOURCE 200809L
#endif
#define FORKREASON_IMPLEMENTATION
#include "../forkreason.h"
#include "tiny.h"
#include "folder.h"
#include <pthread.h>

#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(memory_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#endif

enum { STACK = 1 << 18, PAINT = 0xA5 };
static char *painted;  // STACK bytes, the lowest first

static fr_model model, read_model;
static fr_adamw adamw;
static fr_work work;
static fr_dataset set;
static fr_tokenizer tokenizer, trained;
static fr_encoder encoder;
static fr_corpus corpus;
static fr_bundle bundle, bundle_read;
static fr_rollouts rollouts;
static fr_gfpo_options choice;
static fr_policy policy;
static tiny t;
static fr_text text;
static char folder_path[500];
static fr_status status;

static double reward(void *user, fr_int question, fr_int fork, const fr_leaf *leaf)
{
  (void)user; (void)leaf;
  return (double)((question + fork) % 2);
}

static folder llama;
static fr_pretrained pretrained;
static fr_model halved;
static void place_pretrained(void)
{
  fr_pretrained_source source = folder_source(&llama);
  status = fr_pretrained_new(&pretrained, &source, NULL);
}
static fr_text gguf;
static fr_pretrained from_gguf;
static fr_tokenizer gguf_tokenizer;
static void place_gguf(void)
{
  fr_pretrained_source source;
  memset(&source, 0, sizeof source);
  source.file = gguf;
  status = fr_pretrained_new(&from_gguf, &source, NULL);
}
static void load_gguf_tokenizer(void)
{
  fr_tokenizer_source source;
  memset(&source, 0, sizeof source);
  source.file = gguf;
  status = fr_tokenizer_new(&gguf_tokenizer, &source, NULL);
}
static void make_pretrained(void)
{
  fr_pretrained_options options = { 0, FR_BFLOAT16, 0 };
  status = fr_pretrained_model_new(&pretrained, &options, &halved, NULL);
}
static void save_pretrained(void)
{
  fr_export e;
  memset(&e, 0, sizeof e);
  e.model = &halved;
  e.begin = e.pad = -1;
  e.tokenizer = &tokenizer;
  status = fr_export_save(folder_path, &e, FR_EXPORT_WEIGHTS, NULL);
  if (!status) status = fr_export_save(folder_path, &e, FR_EXPORT_CONFIG, NULL);
  if (!status) status = fr_export_save(folder_path, &e, FR_EXPORT_GGUF, NULL);
}

static void nothing(void) { status = FR_OK; }
static void load_set(void) { status = fr_dataset_load(&set, "tests/data/jsonl/ok.jsonl", NULL); }
static void load_tokenizer(void)
{
  fr_tokenizer_source more;
  memset(&more, 0, sizeof more);
  more.forks = 4;
  status = fr_tokenizer_load(&tokenizer, "tests/data/tokenizer/fuzz/ok_small.json", NULL, &more, NULL);
}
static void train_tokenizer(void)
{
  fr_training training;
  memset(&training, 0, sizeof training);
  training.vocab = 300;
  status = fr_tokenizer_train_new(&trained, &training, &text, 1, NULL);
}
static void write_tokenizer(void)
{
  fr_int bytes;
  status = fr_tokenizer_write(&tokenizer, FR_TOKENIZER_JSON, NULL, 0, &bytes, NULL);
}
static void save_tokenizer(void) { status = fr_tokenizer_save(folder_path, &tokenizer, FR_TOKENIZER_OWN, NULL); }
static void place_corpus(void) { status = fr_corpus_new(&corpus, &set, &encoder, &bundle.framing, &bundle.corpus, NULL); }
static void save_bundle(void) { status = fr_bundle_save(folder_path, &bundle, &model, &adamw, NULL); }
static void load_bundle(void)
{
  fr_adamw moments;
  status = fr_bundle_load(folder_path, NULL, &bundle_read, &read_model, &moments, NULL);
  fr_adamw_free(&moments);
}
static void step(void)
{
  fr_ssft_report report;
  status = fr_ssft_step(&model, &work, &adamw, &t.options, t.questions, TINY_QUESTIONS, 1e-3f, &report);
}
static void choose(void) { status = fr_gfpo_step(&policy, &model, &work, &choice, t.questions, 2, &rollouts, 1e-3f, NULL); }
static void compare_answers(void)
{
  static const fr_text answers[2] = { { "$\\frac{1234}{9}$", 16 }, { "1234/9", 6 } };
  status = fr_answer_same(answers[0], answers[1]) ? FR_OK : FR_FORMAT;
}

static void *called(void *call)
{
  (*(void (**)(void))call)();
  return NULL;
}

// Bytes of a stack of its own that a call wrote to.
static fr_int stack_of(void (*call)(void))
{
  pthread_attr_t attributes;
  pthread_t thread;
  fr_int untouched = 0;
  memset(painted, PAINT, STACK);
  if (pthread_attr_init(&attributes) || pthread_attr_setstack(&attributes, painted, STACK) ||
      pthread_create(&thread, &attributes, called, &call) || pthread_join(thread, NULL)) return -1;
  pthread_attr_destroy(&attributes);
  while (untouched < STACK && (unsigned char)painted[untouched] == PAINT) untouched++;
  return STACK - untouched;
}

int main(void)
{
  static const struct { const char *name; void (*call)(void); fr_int most; } calls[] = {
    { "fr_dataset_load", load_set, 18 }, { "fr_tokenizer_load", load_tokenizer, 14 }, { "fr_tokenizer_train_new", train_tokenizer, 14 },
    { "fr_tokenizer_write", write_tokenizer, 6 }, { "fr_tokenizer_save", save_tokenizer, 8 }, { "fr_corpus_new", place_corpus, 5 },
    { "fr_bundle_save", save_bundle, 8 }, { "fr_bundle_load", load_bundle, 14 }, { "fr_ssft_step", step, 8 },
    { "fr_gfpo_step", choose, 8 }, { "fr_answer_same", compare_answers, 4 },
    { "fr_pretrained_new", place_pretrained, 6 }, { "of a GGUF", place_gguf, 6 }, { "fr_tokenizer_new of one", load_gguf_tokenizer, 14 }, { "fr_pretrained_model_new", make_pretrained, 4 }, { "fr_export_save", save_pretrained, 14 } };
  static const fr_text names[4] = { { "<think1>", 8 }, { "<think2>", 8 }, { "<think3>", 8 }, { "<think4>", 8 } };
  const fr_config config = { 1, 24, 3, 0, 0, 32, TINY_VOCAB, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0 };
  void *block = malloc(STACK + 4096);
  fr_limits limits, more;
  fr_int base;
  if (!CHECK(block != NULL)) return test_done("stack");
  painted = (char *)(((uintptr_t)block + 4095) / 4096 * 4096);
  sprintf(folder_path, "%.400s/test_stack.file", getenv("TEST_BUILD") ? getenv("TEST_BUILD") : "build");
  tiny_fill(&t, 0);
  memset(&choice, 0, sizeof choice);
  choice.forks = t.forks;
  choice.fork_count = TINY_FORKS;
  choice.group = 4;
  choice.sampling.max_tokens = 2;
  choice.reward = reward;
  limits = tiny_limits(&t, 2, 1, 2);
  CHECK(fr_gfpo_limits(&choice, TINY_PROMPT, 2, &more) == FR_OK);
  limits = fr_limits_max(limits, more);
  CHECK(fr_model_new(&model, &config) == FR_OK && fr_adamw_new(&adamw, &model) == FR_OK && fr_work_new(&work, &config, &limits) == FR_OK);
  CHECK(fr_rollouts_new(&rollouts, &choice, 2) == FR_OK);
  fr_model_init(&model, 1);
  policy.model = &model;
  policy.adamw = &adamw;
  text.bytes = "one two three, one two three, and again one two three";
  text.count = (fr_int)strlen(text.bytes);
  folder_read_model(&llama, "tests/data/model/llama_a");
  CHECK(fr__read_file("tests/data/gguf/ok_small.gguf", &gguf, NULL) == FR_OK);
  base = stack_of(nothing);  // what a thread takes of itself
  CHECK(base > 0);
  for (int i = 0; i < (int)(sizeof calls / sizeof calls[0]); i++) {
    fr_int taken;
    if (calls[i].call == save_tokenizer || calls[i].call == save_pretrained) calls[i].call();  // a first call has the linker look functions up, on the same stack
    taken = stack_of(calls[i].call) - base;
    printf("%-24s %6td bytes, its comment says %td KB\n", calls[i].name, taken, calls[i].most);
    if (!CHECK(status == FR_OK)) fprintf(stderr, "  %s: %s\n", calls[i].name, fr_status_text(status));
#if defined(__x86_64__) && defined(__OPTIMIZE__) && !defined(SANITIZED)
    CHECK_BELOW(taken, 1024 * calls[i].most);
    CHECK(taken > 500);
#endif
    if (calls[i].call == load_tokenizer) {
      CHECK(fr_encoder_new(&encoder, &tokenizer, 10000, 100) == FR_OK);
      bundle.tokenizer = &tokenizer;
      bundle.framing.forks = names;
      bundle.framing.fork_count = 4;
      bundle.framing.end = 0;
      bundle.corpus.length = 10000;
      bundle.corpus.batch = 1;
    }
  }
  fr_bundle_free(&bundle_read); fr_corpus_free(&corpus); fr_encoder_free(&encoder); fr_tokenizer_free(&trained);
  fr_tokenizer_free(&tokenizer); fr_dataset_free(&set); fr_rollouts_free(&rollouts); fr_work_free(&work);
  fr_adamw_free(&adamw); fr_model_free(&read_model); fr_model_free(&model);
  fr_model_free(&halved); fr_pretrained_free(&pretrained); folder_free(&llama);
  fr_pretrained_free(&from_gguf); fr_tokenizer_free(&gguf_tokenizer); free((void *)(uintptr_t)gguf.bytes);
  remove(folder_path);
  free(block);
  return test_done("stack");
}
