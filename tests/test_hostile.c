// Files made so that their names fall into one place of a table. How: the seed of the tables was once a hash whose steps can be
// undone, so that 16 free bytes in a string that nobody reads give it any value; names of 8 bytes can be computed for each value.
// Such a file has to load like any other; and whatever a file does, no search goes further than FR__PROBES.
#define FR__PROBES 512  // as the header has it; it takes the name back
#define FORKREASON_IMPLEMENTATION
#include "forkreason.h"
#include "bpe_data.h"
#include <time.h>

enum { TOKENS = 300000, ROOM = 90 * TOKENS, PROBES = 512 };

static uint64_t inverse(uint64_t odd)  // modulo 2^64, by Newton's steps
{
  uint64_t x = odd;
  for (int i = 0; i < 6; i++) x *= 2 - odd * x;
  return x;
}

// fr__hash adds a word to a state; this is the state before it.
static uint64_t before(uint64_t after, uint64_t word) { return ((after ^ after >> 32) * inverse(0x9E3779B97F4A7C15u)) ^ word; }

// The word whose fr__mix is this.
static uint64_t unmixed(uint64_t x)
{
  x = (x ^ x >> 32) * inverse(0xD6E8FEB86659FD93u);
  return (x ^ x >> 32) * inverse(0x9E3779B97F4A7C15u);
}

static char *put(char *at, const char *text)
{
  const size_t count = strlen(text);
  memcpy(at, text, count);
  return at + count;
}

// A tokenizer of 256 bytes and TOKENS names of 8 bytes, all of which have the same hash under `seed`, or other ones if it is fair.
static fr_int write_file(char *file, uint64_t seed, int fair)
{
  static const char letters[] = "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ!#$%&'()*+,-./:;<=>?@[]^_`{|}~";
  char *at = put(file, "{\"version\":\"1.0\",\"truncation\":null,\"padding\":null,\"added_tokens\":[],\"normalizer\":null,"
                 "\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"trim_offsets\":true,\"use_regex\":true},"
                 "\"decoder\":{\"type\":\"ByteLevel\"},\"model\":{\"type\":\"BPE\",\"vocab\":{");
  for (int id = 0; id < 256 + TOKENS; id++) {
    unsigned char name[8];
    uint64_t word = unmixed(((uint64_t)(id + 1) << 32) | (fair ? (uint32_t)test_bits() : 0x12345678u)) ^ (seed + 8);
    const int count = id < 256 ? 1 : 8;
    char digits[20];
    memcpy(name, &word, 8);
    if (id < 256) name[0] = (unsigned char)id;
    at = put(at, id ? ",\"" : "\"");
    for (int i = 0; i < count; i++) {
      const uint32_t c = fr__byte_char(name[i]);
      if (c == '"' || c == '\\') *at++ = '\\';
      at += fr__utf8_put(c, at);
    }
    snprintf(digits, sizeof digits, "\":%d", id);
    at = put(at, digits);
  }
  at = put(at, "},\"merges\":[]},\"note\":\"");
  while ((at - file) % 8) *at++ = '-';
  if (!fair) {  // so that fr__hash(count, file, count), and once more over no merges, is the seed
    static const char close[8] = "\"}";
    const fr_int count = at - file + 18;
    uint64_t tail = 0, target, state;
    memcpy(&tail, close, 2);
    target = before(seed, tail);
    state = fr__hash((uint64_t)count, file, at - file);
    for (;;) {
      char pair[16];
      uint64_t word;
      int good = 1;
      for (int i = 0; i < 8; i++) pair[i] = letters[test_below_int((fr_int)sizeof letters - 1)];
      word = before(target, fr__hash(state, pair, 8));  // the second word is what leads from there to the target
      memcpy(pair + 8, &word, 8);
      for (int i = 8; i < 16; i++) good &= pair[i] > ' ' && pair[i] < 127 && pair[i] != '"' && pair[i] != '\\';
      if (!good) continue;
      memcpy(at, pair, 16);
      at += 16;
      break;
    }
  }
  return put(at, "\"}") - file;
}

static double seconds_to_load(const char *file, fr_int count)
{
  fr_tokenizer_source source;
  fr_tokenizer tokenizer;
  fr_reason reason;
  const clock_t began = clock();
  memset(&source, 0, sizeof source);
  source.file.bytes = file;
  source.file.count = count;
  if (!CHECK(fr_tokenizer_new(&tokenizer, &source, &reason) == FR_OK && tokenizer.vocab == 256 + TOKENS))
    fprintf(stderr, "  %s\n", reason.text);
  fr_tokenizer_free(&tokenizer);
  return (double)(clock() - began) / CLOCKS_PER_SEC;
}

static void chosen_names(void)
{
  const uint64_t seed = 0x0123456789ABCDEFu;
  char *hostile = (char *)test_alloc(ROOM), *fair = (char *)test_alloc(ROOM);
  const fr_int hostile_count = write_file(hostile, seed, 0), fair_count = write_file(fair, seed, 1);
  double slow, fast;
  CHECK(fr__hash(fr__hash((uint64_t)hostile_count, hostile, hostile_count), NULL, 0) == seed);  // it was done
  fast = seconds_to_load(fair, fair_count);
  slow = seconds_to_load(hostile, hostile_count);
  CHECK(slow < 5.0 * fast + 0.1);
  printf("%.1f MB of %d names: fair %.3f s, made to fall into one place %.3f s\n", 1e-6 * (double)hostile_count, TOKENS, fast, slow);
  free(fair);
  free(hostile);
}

// The seed depends on every byte and on the length; the same bytes give the same seed on every machine.
static void seeds(void)
{
  char bytes[64];
  uint64_t all[65 * 2];
  int count = 0, twice = 0;
  memset(bytes, 0, sizeof bytes);
  for (int n = 0; n <= 64; n++) {
    fr_text t = { bytes, n };
    all[count++] = fr__seed(0, t);
    if (n < 64) {
      t.count = 64;
      bytes[n] ^= 1;
      all[count++] = fr__seed(0, t);
      bytes[n] ^= 1;
    }
  }
  for (int i = 0; i < count; i++) for (int j = 0; j < i; j++) twice += all[i] == all[j];
  CHECK(twice == 0);
}

// Names and merges that have the same place under a seed that is known: the first FR__PROBES go in, no other, and all of those
// that are in are found.
static void crowded(void)
{
  enum { SLOTS = 8 * PROBES, NAMES = PROBES + 100 };
  static uint32_t names[SLOTS];
  static fr__piece pieces[NAMES];
  static fr__merge merges[SLOTS];
  static unsigned char kinds[NAMES];
  static char bytes[8 * NAMES];
  fr__bpe b;
  int in = 0, found = 0, told = 0;
  memset(&b, 0, sizeof b);
  b.names = names;
  b.pieces = pieces;
  b.merges = merges;
  b.kinds = kinds;
  b.bytes = bytes;
  b.name_slots = b.merge_slots = SLOTS;
  b.seed = 77;
  memset(merges, 0xFF, sizeof merges);
  for (int i = 0; i < NAMES; i++) {
    const uint64_t word = unmixed(((uint64_t)(i + 1) << 32) | 0x80000000u) ^ (b.seed + 8);
    memcpy(bytes + 8 * i, &word, 8);
    in += fr__set_token(&b, i, 8 * i, 8, FR__ORDINARY);
    told += b.crowded;
  }
  for (int i = 0; i < NAMES; i++) found += fr__name_id(&b, bytes + 8 * i, 8) == (uint32_t)i;
  CHECK(in == PROBES && found == PROBES && told == NAMES - PROBES);
  in = found = 0;
  for (int i = 0; i < NAMES; i++) {
    const uint64_t pair = unmixed(((uint64_t)(i + 1) << 32) | 0x80000000u) ^ b.seed;
    fr__merge *m = fr__merge_at(&b, (uint32_t)(pair >> 32), (uint32_t)pair);
    if (m == &fr__no_merge) continue;
    m->left = (uint32_t)(pair >> 32);
    m->right = (uint32_t)pair;
    m->rank = (uint32_t)i;
    in++;
  }
  for (int i = 0; i < NAMES; i++) {
    const uint64_t pair = unmixed(((uint64_t)(i + 1) << 32) | 0x80000000u) ^ b.seed;
    found += fr__merge_at(&b, (uint32_t)(pair >> 32), (uint32_t)pair)->rank == (uint32_t)i;
  }
  CHECK(in == PROBES && found == PROBES && fr__no_merge.rank == 0xFFFFFFFFu && fr__no_name == 0);
}

int main(void)
{
  seeds();
  crowded();
  chosen_names();
  return test_done("hostile");
}
