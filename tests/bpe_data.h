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

// ---- names that meet: the steps of a hash undone, as someone would who wants its table slow
static inline uint64_t odd_inverse(uint64_t a)
{
  uint64_t x = a;
  for (int i = 0; i < 6; i++) x *= 2 - a * x;
  return x;
}
// The word for which fr__mix gives `hash`, and the state before a step of fr__hash, xor its word.
static inline uint64_t unmix(uint64_t hash)
{
  hash = (hash ^ hash >> 32) * odd_inverse(0xD6E8FEB86659FD93u);
  return (hash ^ hash >> 32) * odd_inverse(0x9E3779B97F4A7C15u);
}
static inline uint64_t unstep(uint64_t hash) { return (hash ^ hash >> 32) * odd_inverse(0x9E3779B97F4A7C15u); }

// Name i of 8 bytes: under the seed 0 all hashes end in 32 zeros.
static inline uint64_t meeting_name(int i) { return unmix((uint64_t)(i + 1) * 0x9E3779B1u << 32) ^ 8; }

// Sets bytes 8 .. 23 of a text to characters that are allowed, so that fr__hash(start, text) is 0.
static inline void steer(uint64_t start, char *text, fr_int count, int plain)
{
  uint64_t word, want = 0, first;
  int good = 0;
  for (fr_int at = (count - 1) / 8 * 8; at >= 24; at -= 8) {
    word = 0;
    memcpy(&word, text + at, (size_t)(count - at < 8 ? count - at : 8));
    want = unstep(want) ^ word;
  }
  while (!good) {
    for (int i = 8; i < 16; i++) text[i] = (char)(35 + test_below_int(57));
    first = fr__hash(start, text, 16);
    word = unstep(want) ^ first;
    memcpy(text + 16, &word, 8);
    good = 1;
    for (int i = 16; i < 24; i++)
      good = good && (plain ? text[i] != '\n' && text[i] != '\r' : text[i] >= 32 && text[i] < 127 && text[i] != '"' && text[i] != '\\');
  }
}

// How far the entry that is farthest from its place is from it.
static inline fr_int farthest(const fr_tokenizer *t)
{
  const fr__bpe *b = t->body;
  fr_int most = 0;
  for (fr_int i = 0; i < b->name_slots; i++) {
    if (!b->names[i]) continue;
    const fr__piece p = b->pieces[b->names[i] - 1];
    const fr_int home = fr__slot(fr__name_hash(b->seed, b->bytes + p.start, p.count), b->name_slots);
    if (i - home > most) most = i - home;
  }
  for (fr_int i = 0; i < t->merge_count; i++) {
    const fr__merge m = b->merges[b->order[i]];
    const fr_int home = fr__slot(fr__mix(((uint64_t)m.left << 32 | m.right) ^ b->seed), b->merge_slots);
    if ((fr_int)b->order[i] - home > most) most = (fr_int)b->order[i] - home;
  }
  return most;
}
#endif
