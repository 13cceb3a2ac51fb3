// A fuzz entry for what reads bytes from outside: JSON, JSON lines, checkpoints and bundles. Any input must end in success or an error.
//
//     clang -g -O1 -fsanitize=fuzzer,address,undefined -I. -o build/fuzz_json tests/fuzz_json.c -lm
//     build/fuzz_json -max_len=4096 build/corpus tests/data/jsonl
#define FORKREASON_IMPLEMENTATION
#include "forkreason.h"
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
  const char *text = (const char *)data;
  fr_int names[64];
  fr__json json;
  fr_dataset dataset;
  fr_checkpoint info;
  fr_bundle bundle;
  fr_reason reason;
  fr_int needed;
  char kind;
  fr__json_start(&json, text, 0, (fr_int)bytes, 1, names, 32);
  do {
    kind = fr__json_next(&json);
    if (kind == 'k' || kind == '"') {
      char *out = (char *)malloc((size_t)json.token.count + 1);
      if (out) fr__json_copy(text, json.token, out);
      free(out);
    }
  } while (kind != '$' && kind != '!');
  if (kind == '!') fr__json_fail(&json, &reason);
  if (fr_dataset_new(&dataset, text, (fr_int)bytes, &reason) == FR_OK) {
    for (fr_int p = 0; p < dataset.problem_count; p++)
      if (dataset.problems[p].count < 1) abort();
    fr_dataset_free(&dataset);
  }
  if (bytes > 0) fr_checkpoint_read(data, (fr_int)bytes, &info, NULL, NULL, NULL, 0, &reason);
  if (fr_bundle_place(NULL, NULL, data, (fr_int)bytes, NULL, 0, &needed, &reason) == FR_OK) {
    void *memory = malloc((size_t)needed);
    if (memory) fr_bundle_place(&bundle, NULL, data, (fr_int)bytes, memory, needed, NULL, &reason);
    free(memory);
  }
  return 0;
}
