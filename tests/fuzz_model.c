// A fuzz entry for models of others: a GGUF, a llama2.c file, config.json beside fixed weights, safetensors or their index beside a
// fixed config. Any input must end in success or an error, with memory bounded by it; what is read can be written and read again.
//
//     clang -g -O1 -fsanitize=fuzzer,address,undefined -I. -o build/fuzz_model tests/fuzz_model.c -lm
//     build/fuzz_model -max_len=8192 build/corpus tests/data/gguf tests/data/safetensors tests/data/config
#define FORKREASON_IMPLEMENTATION
#include "forkreason.h"
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

typedef struct folder { fr_text given; int which; } folder;

static int open_file(void *user, const char *name, fr_text *text)
{
  static const char config[] = "{\"model_type\":\"llama\",\"hidden_size\":2,\"intermediate_size\":2,\"num_hidden_layers\":1,"
    "\"num_attention_heads\":1,\"vocab_size\":2,\"tie_word_embeddings\":true}";
  const folder *f = (const folder *)user;
  static const char *const names[] = { "config.json", "model.safetensors", "model.safetensors.index.json", "generation_config.json", "tokenizer_config.json" };
  if (!strcmp(name, names[f->which])) { *text = f->given; return 1; }
  if (strcmp(name, "config.json")) return 0;
  text->bytes = config;
  text->count = (fr_int)sizeof config - 1;
  return 1;
}

static void try_source(const fr_pretrained_source *source, fr_int bytes)
{
  fr_pretrained p;
  fr_model model;
  fr_found found;
  fr_reason reason;
  fr_int needed = 0;
  if (fr_pretrained_place(NULL, source, NULL, 0, &needed, &reason) == FR_OK && needed > 60 * bytes + 20000) abort();
  if (fr_pretrained_new(&p, source, &reason)) {
    if (!reason.text[0]) abort();
    return;
  }
  for (fr_int i = 0; fr_pretrained_tensor(&p, i, &found) == FR_OK; i++) if (memchr(found.name, 0, sizeof found.name) == NULL) abort();
  if (fr_pretrained_model_new(&p, NULL, &model, &reason) == FR_OK) {
    fr_export e;
    if (p.wrong) abort();
    memset(&e, 0, sizeof e);
    e.model = &model;
    e.begin = e.pad = -1;
    e.context = 2;
    fr_export_write(&e, FR_EXPORT_WEIGHTS, NULL, 0, &needed, &reason);
    fr_export_write(&e, FR_EXPORT_CONFIG, NULL, 0, &needed, &reason);
    fr_model_free(&model);
  } else if (!reason.text[0]) abort();
  fr_pretrained_free(&p);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
  fr_pretrained_source source;
  folder f;
  memset(&source, 0, sizeof source);
  f.given.bytes = (const char *)data;
  f.given.count = (fr_int)bytes;
  if (!bytes) return 0;
  source.file = f.given;
  try_source(&source, (fr_int)bytes);
  source.file.bytes = NULL;
  source.open = open_file;
  source.user = &f;
  for (f.which = 0; f.which < 5; f.which++) try_source(&source, (fr_int)bytes);
  return 0;
}
