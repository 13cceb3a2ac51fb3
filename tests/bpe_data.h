// bpe_data.h - what the tokenizer's tests share: files, expected ids, and a slow twin of the encoder.
#ifndef FR_BPE_DATA_H
#define FR_BPE_DATA_H
#include "tests/test.h"

#define BPE_DATA "tests/data/tokenizer/"

static inline fr_text data_file(const char *name)
{
  char path[200];
  fr_text text = { NULL, 0 };
  long end;
  snprintf(path, sizeof path, BPE_DATA "%s", name);
  FILE *file = fopen(path, "rb");
  if (!file) { fprintf(stderr, "%s is missing\n", path); exit(2); }
  fseek(file, 0, SEEK_END);
  end = ftell(file);
  fseek(file, 0, SEEK_SET);
  char *bytes = (char *)test_alloc((size_t)end + 1);
  if (fread(bytes, 1, (size_t)end, file) != (size_t)end) exit(2);
  bytes[end] = 0;
  fclose(file);
  text.bytes = bytes;
  text.count = (fr_int)end;
  return text;
}

static inline fr_text as_text(const char *words)
{
  fr_text text = { words, (fr_int)strlen(words) };
  return text;
}

static inline int is_special(const fr_tokenizer *t, fr_token id)
{
  return id >= 0 && id < t->vocab && (t->body->kinds[id] & FR__SPECIAL) != 0;
}

// Merges the lowest rank first, the leftmost among equals, by looking at everything again each time. Ids below 512.
static inline fr_int slow_merge(const fr_tokenizer *t, fr_token *ids, fr_int count)
{
  static uint32_t rank[512][512], merged[512][512];
  const fr__bpe *b = t->body;
  memset(rank, 0xFF, sizeof rank);
  for (fr_int i = 0; i < t->merge_count; i++) {
    const fr__merge m = b->merges[b->order[i]];
    rank[m.left][m.right] = m.rank;
    merged[m.left][m.right] = m.id;
  }
  for (;;) {
    uint32_t best = 0xFFFFFFFFu;
    fr_int at = -1;
    for (fr_int i = 0; i + 1 < count; i++)
      if (rank[ids[i]][ids[i + 1]] < best) {
        best = rank[ids[i]][ids[i + 1]];
        at = i;
      }
    if (at < 0) return count;
    ids[at] = (fr_token)merged[ids[at]][ids[at + 1]];
    count--;
    for (fr_int i = at + 1; i < count; i++) ids[i] = ids[i + 1];
  }
}
#endif
