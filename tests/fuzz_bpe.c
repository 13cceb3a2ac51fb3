// A fuzz entry for what reads tokenizers from outside. Any input must end in success or an error; what loads must encode its own
// file and give it back, and must survive being written and read in both forms.
//
//     clang -g -O1 -fsanitize=fuzzer,address,undefined -I. -o build/fuzz_bpe tests/fuzz_bpe.c -lm
//     build/fuzz_bpe -max_len=8192 build/corpus tests/data/tokenizer/fuzz
//
// The form is told by the content; a file that tells nothing is also tried as *.tiktoken, as merges and as vocab.json with merges
// behind the first NUL.
#define FORKREASON_IMPLEMENTATION
#include "forkreason.h"
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static void use(const fr_tokenizer_source *source, const char *text, fr_int count)
{
  fr_tokenizer t, again;
  fr_encoder e;
  fr_reason reason;
  fr_int size = 0, done = 0, decoded = 0;
  if (fr_tokenizer_place(NULL, source, NULL, 0, &size, &reason)) return;
  if (size > 80 * (source->file.count + source->merges.count) + (2 << 20)) abort();
  if (fr_tokenizer_new(&t, source, &reason)) return;
  if (fr_encoder_new(&e, &t, count, 64)) abort();
  fr_token *ids = (fr_token *)malloc(((size_t)count * 3 + 1) * sizeof *ids);
  char *back = (char *)malloc((size_t)count * 3 + 1);
  if (!ids || !back) abort();
  for (int mode = 0; mode < 2; mode++) {
    const fr_status status = fr_tokenizer_encode(&e, text, count, (fr_specials)mode, ids, count * 3 + 1, &done);
    if (status == FR_FORMAT && t.body->lacks) continue;                   // a byte without token
    if (status == FR_UNSUPPORTED && t.nfc && t.body->late) continue;      // a special would have to be looked for in the normal form
    if (status || fr_tokenizer_decode(&t, ids, done, back, count * 3, &decoded, &reason)) abort();
    if (!t.nfc && (decoded != count || (count && memcmp(back, text, (size_t)count) != 0))) abort();
  }
  for (int form = 0; form < 2; form++) {
    fr_tokenizer_source saved;
    if (fr_tokenizer_write(&t, (fr_tokenizer_form)form, NULL, 0, &size, &reason)) continue;
    char *memory = (char *)malloc((size_t)size);
    if (!memory || fr_tokenizer_write(&t, (fr_tokenizer_form)form, memory, size, &size, &reason)) abort();
    memset(&saved, 0, sizeof saved);
    saved.file.bytes = memory;
    saved.file.count = size;
    if (fr_tokenizer_new(&again, &saved, &reason)) { if (form == 0) abort(); }
    else fr_tokenizer_free(&again);
    free(memory);
  }
  free(ids);
  free(back);
  fr_encoder_free(&e);
  fr_tokenizer_free(&t);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
  const char *text = (const char *)data;
  const fr_int count = (fr_int)bytes;
  fr_tokenizer_source source;
  memset(&source, 0, sizeof source);
  source.file.bytes = text;
  source.file.count = count;
  source.forks = 2;
  use(&source, text, count);
  source.split = FR_SPLIT_LLAMA3;
  use(&source, text, count);
  source.merges = source.file;
  source.file.bytes = NULL;
  source.file.count = 0;
  source.split = FR_SPLIT_UNKNOWN;
  use(&source, text, count);
  const char *nul = count ? (const char *)memchr(text, 0, bytes) : NULL;
  if (nul && text[0] == '{') {
    source.file.bytes = text;
    source.file.count = nul - text;
    source.merges.bytes = nul + 1;
    source.merges.count = count - source.file.count - 1;
    use(&source, text, count);
  }
  // our own form behind a right checksum
  if (count >= 64 && memcmp(text, fr__form_magic, 8) == 0) {
    char *copy = (char *)malloc(bytes);
    if (!copy) abort();
    memcpy(copy, text, bytes);
    const uint64_t sum = fr__hash(0, copy, count - 8);
    for (int i = 0; i < 8; i++) copy[count - 8 + i] = (char)(sum >> 8 * i);
    for (int i = 0; i < 8; i++) copy[24 + i] = (char)((uint64_t)count >> 8 * i);
    const uint64_t right = fr__hash(0, copy, count - 8);
    for (int i = 0; i < 8; i++) copy[count - 8 + i] = (char)(right >> 8 * i);
    memset(&source, 0, sizeof source);
    source.file.bytes = copy;
    source.file.count = count;
    use(&source, text, count);
    free(copy);
  }
  return 0;
}
