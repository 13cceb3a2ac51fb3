// With searches of two steps at most, ordinary files are too crowded: loading and training say so, and lose nothing.
#define FR__PROBES 2
#define FORKREASON_IMPLEMENTATION
#include "forkreason.h"
#include "bpe_data.h"

int main(void)
{
  const fr_text file = data_file("fuzz/ok_small.json");
  fr_tokenizer_source source;
  fr_tokenizer tokenizer;
  fr_training training;
  fr_reason reason;
  char many[6000];
  fr_text text = { many, 0 };
  memset(&source, 0, sizeof source);
  memset(&training, 0, sizeof training);
  source.file = file;
  CHECK(fr_tokenizer_new(&tokenizer, &source, &reason) == FR_LIMIT && strstr(reason.text, "crowd") && !tokenizer.vocab);
  training.vocab = 400;
  for (int i = 0; i < 1000; i++) text.count += snprintf(many + text.count, sizeof many - (size_t)text.count, " w%d", i);
  CHECK(fr_tokenizer_train_new(&tokenizer, &training, &text, 1, &reason) == FR_LIMIT && strstr(reason.text, "crowd"));
  text.count = 1200;  // few words, many pairs
  for (int i = 0; i < 1200; i++) many[i] = (char)('a' + (i * i * 7 + i / 26) % 26);
  CHECK(fr_tokenizer_train_new(&tokenizer, &training, &text, 1, &reason) == FR_LIMIT && strstr(reason.text, "crowd"));
  free((void *)(uintptr_t)file.bytes);
  return test_done("crowded");
}
