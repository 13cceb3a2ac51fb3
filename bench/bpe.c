// bpe.c - how fast the tokenizer is. Alone it measures inputs that are hard for a tokenizer, and how the time grows:
//
//     build/bpe [--tokenizer FILE [--merges FILE] [--split S]]
//     build/bpe ... --encode TEXT          MB/s of one thread, best of five       (bench/bpe_peers.js runs the others beside it)
//     build/bpe --train TEXT VOCAB [JSON]  seconds; saves what was learned
//
// Without a tokenizer one of 8,192 tokens is trained on this repository's header, for GPT-2's and for no pre-tokens; and training
// is measured beside a plain trainer, which has to learn the same merges. (Hugging Face's trainer, as it can be called from
// node, always learns 30,000 tokens: bench/bpe_peers.js.)
#define _POSIX_C_SOURCE 200809L
#define FORKREASON_IMPLEMENTATION
#include "../forkreason.h"
#include "bench.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { MOST = 8 << 20 };

static double now(void)
{
  struct timespec t;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);  // other programs on the machine must not decide
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int fail(const char *why)
{
  fprintf(stderr, "bpe: %s\n", why);
  return 1;
}

static char *read_file(const char *path, fr_int *bytes)
{
  FILE *file = fopen(path, "rb");
  char *text = NULL;
  long end = 0;
  if (!file) return NULL;
  if (fseek(file, 0, SEEK_END) == 0 && (end = ftell(file)) >= 0 && fseek(file, 0, SEEK_SET) == 0) text = (char *)malloc((size_t)end + 1);
  if (text && fread(text, 1, (size_t)end, file) != (size_t)end) { free(text); text = NULL; }
  fclose(file);
  *bytes = end;
  return text;
}

// Seconds for text, the best of `times` runs; the encoder keeps what it remembered, as in a program that encodes many texts.
static double encode(fr_encoder *e, const char *text, fr_int bytes, fr_token *ids, int times, fr_int *count)
{
  double best = 1e30;
  while (times-- > 0) {
    const double begin = now();
    if (fr_tokenizer_encode(e, text, bytes, FR_SPECIALS_TEXT, ids, bytes + 1, count)) exit(fail(e->reason.text));
    const double took = now() - begin;
    if (took < best) best = took;
  }
  return best;
}

static uint64_t state = 1;
static uint32_t bits(void)
{
  state = state * 6364136223846793005u + 1442695040888963407u;
  return (uint32_t)(state >> 33);
}

static const char *const kinds[] = { "one letter", "blanks", "line ends", "digits", "random bytes", "random letters", "ab repeated", "a CJK run", "marks" };
static void fill(char *text, int kind)
{
  for (fr_int i = 0; i < MOST; i++)
    switch (kind) {
    case 0: text[i] = 'a'; break;
    case 1: text[i] = ' '; break;
    case 2: text[i] = '\n'; break;
    case 3: text[i] = (char)('0' + bits() % 10); break;
    case 4: text[i] = (char)bits(); break;
    case 5: text[i] = (char)('a' + bits() % 26); break;
    case 6: text[i] = "ab"[i % 2]; break;
    case 7: text[i] = i % 3 == 0 ? (char)(0xE4 + bits() % 5) : (char)(0x80 + bits() % 64); break;
    default: text[i] = "!?.,;"[bits() % 5]; break;
    }
}

// Every kind at 1 MB, then doubled to 8 MB. Where the whole text is one pre-token, merging works in 56 bytes for each of its
// bytes. While that outgrows the caches a byte costs more from size to size, up to about three times as much in all; with a
// large table of merges (cl100k, random letters) that ends only at 1 or 2 MB, and there the ratio may lie above 2.3.
static void hard(const fr_tokenizer *t, const char *name)
{
  char *text = (char *)malloc(MOST);
  fr_token *ids = (fr_token *)malloc((MOST + 1) * sizeof *ids);
  fr_encoder e;
  if (!text || !ids || fr_encoder_new(&e, t, MOST, 16384)) exit(fail("out of memory"));
  printf("%s: %td merges\n  %-16s %10s   time(2n) / time(n) for n = 1, 2, 4 MB\n", name, t->merge_count, "", "MB/s, 1 MB");
  for (int kind = 0; kind < (int)(sizeof kinds / sizeof *kinds); kind++) {
    double took[4] = { 1e30, 1e30, 1e30, 1e30 };
    fr_int count = 0;
    fill(text, kind);
    for (int round = 0; round < 5; round++)  // the sizes in turns, the best of each: what disturbs one disturbs all
      for (int i = 0; i < 4; i++) {
        const double t1 = encode(&e, text, MOST >> (3 - i), ids, i == 0 ? 2 : 1, &count);
        if (t1 < took[i]) took[i] = t1;
      }
    printf("  %-16s %10.1f   %6.2f %6.2f %6.2f\n", kinds[kind], 1.048576 / took[0], took[1] / took[0], took[2] / took[1], took[3] / took[2]);
    fflush(stdout);
  }
  fr_encoder_free(&e);
  free(text);
  free(ids);
}

// ---- training, beside a plain trainer: distinct pre-tokens as lists of ids, counts of pairs in a table. For each new token
// it looks for the most frequent pair in all of the table, and goes over all words for those that have it.
enum { PLAIN_SLOTS = 1 << 18, PLAIN_WORDS = 1 << 17 };  // powers of two
typedef struct plain_pair { int32_t left, right; int64_t count; } plain_pair;
typedef struct plain_word { const char *bytes; fr_int length, first, count; int64_t weight; } plain_word;
static plain_pair pairs[PLAIN_SLOTS];
static plain_word words[PLAIN_WORDS];

static void plain_count(const plain_word *w, const int32_t *ids, int64_t weight)
{
  for (fr_int i = w->first; i + 1 < w->first + w->count; i++) {
    uint64_t at = bench_hash((uint64_t)ids[i] << 32 | (uint64_t)ids[i + 1]) & (PLAIN_SLOTS - 1);
    while (pairs[at].left >= 0 && (pairs[at].left != ids[i] || pairs[at].right != ids[i + 1])) at = (at + 1) & (PLAIN_SLOTS - 1);
    pairs[at].left = ids[i];
    pairs[at].right = ids[i + 1];
    pairs[at].count += weight;
  }
}

// Sets merges[] to left, right, left, right ... and returns how many there are.
static fr_int plain_train(const char *text, fr_int bytes, fr_int vocab, int32_t *merges)
{
  static char token[8192][256];
  static fr_int length[8192];
  int32_t *ids = (int32_t *)bench_memory(bytes, sizeof *ids);
  fr_int used = 0, made = 256, merge_count = 0;
  memset(words, 0, sizeof words);
  for (int i = 0; i < PLAIN_SLOTS; i++) { pairs[i].left = -1; pairs[i].count = 0; }
  for (int i = 0; i < 256; i++) { token[i][0] = (char)i; length[i] = 1; }
  for (fr_int at = 0, end; at < bytes; at = end) {
    uint64_t hash = 0;
    plain_word *w;
    end = fr__split_end(FR_SPLIT_GPT2, text, at, bytes);
    for (fr_int i = at; i < end; i++) hash = (hash ^ (unsigned char)text[i]) * 0x100000001B3u;
    for (hash ^= hash >> 32;; hash++) {
      w = &words[hash & (PLAIN_WORDS - 1)];
      if (!w->bytes || (w->length == end - at && !memcmp(w->bytes, text + at, (size_t)w->length))) break;
    }
    if (!w->bytes) {
      w->bytes = text + at;
      w->length = w->count = end - at;
      w->first = used;
      for (fr_int i = at; i < end; i++) ids[used++] = (unsigned char)text[i];
    }
    w->weight++;
  }
  for (int i = 0; i < PLAIN_WORDS; i++) plain_count(&words[i], ids, words[i].weight);
  while (made < vocab) {
    plain_pair best = { -1, -1, 0 };
    char both[512];
    int32_t id = 0;
    for (int i = 0; i < PLAIN_SLOTS; i++) {
      const plain_pair *p = &pairs[i];
      if (p->count > best.count || (p->count == best.count && p->count > 0 &&
                                    (p->left < best.left || (p->left == best.left && p->right < best.right)))) best = *p;
    }
    if (best.count < 1) break;
    const fr_int size = length[best.left] + length[best.right];
    if (size > 256) exit(fail("a token of the plain trainer has more than 256 bytes"));
    memcpy(both, token[best.left], (size_t)length[best.left]);
    memcpy(both + length[best.left], token[best.right], (size_t)length[best.right]);
    while (id < made && (length[id] != size || memcmp(token[id], both, (size_t)size) != 0)) id++;
    if (id == made) {
      memcpy(token[id], both, (size_t)size);
      length[id] = size;
      made++;
    }
    merges[2 * merge_count] = best.left;
    merges[2 * merge_count++ + 1] = best.right;
    for (int i = 0; i < PLAIN_WORDS; i++) {
      plain_word *w = &words[i];
      int32_t *p = ids + w->first;
      fr_int k = 0, to = 0;
      while (k + 1 < w->count && (p[k] != best.left || p[k + 1] != best.right)) k++;
      if (k + 1 >= w->count) continue;
      plain_count(w, ids, -w->weight);
      for (k = 0; k < w->count; k++, to++)
        if (k + 1 < w->count && p[k] == best.left && p[k + 1] == best.right) { p[to] = id; k++; }
        else p[to] = p[k];
      w->count = to;
      plain_count(w, ids, w->weight);
    }
  }
  bench_free(ids);
  return merge_count;
}

static int training_row(void)
{
  enum { BYTES = 10000000, VOCAB = 8192 };
  fr_int size = 0, made = 0;
  char *header = read_file("forkreason.h", &size), *text = (char *)bench_memory(BYTES, 1);
  int32_t *merges = (int32_t *)bench_memory(4 * VOCAB, sizeof *merges);
  double ours = 1e30, plain = 1e30;
  fr_training training;
  fr_tokenizer t;
  fr_text whole = { text, BYTES };
  fr_reason reason;
  if (!header) return fail("run it from the repository's root");
  for (fr_int at = 0; at < BYTES;) {  // lines of the header, drawn at random
    fr_int from = (fr_int)(bits() % (uint32_t)size), end;
    while (from > 0 && header[from - 1] != '\n') from--;
    for (end = from; end < size && header[end++] != '\n';) {}
    for (; from < end && at < BYTES; from++) text[at++] = header[from];
  }
  memset(&training, 0, sizeof training);
  training.vocab = VOCAB;
  for (int round = 0; round < 3; round++) {
    double begin = now();
    if (fr_tokenizer_train_new(&t, &training, &whole, 1, &reason)) return fail(reason.text);
    if (now() - begin < ours) ours = now() - begin;
    begin = now();
    made = plain_train(text, BYTES, VOCAB, merges);
    if (now() - begin < plain) plain = now() - begin;
    int same = made == t.merge_count;
    for (fr_int i = 0; i < made && same; i++) {
      const fr__merge *m = t.body->merges + t.body->order[i];
      same = (int32_t)m->left == merges[2 * i] && (int32_t)m->right == merges[2 * i + 1];
    }
    fr_tokenizer_free(&t);
    if (!same) return fail("the plain trainer learned other merges");
  }
  bench_row("train 8,192 tokens, 10 MB of lines of this header", "s", BENCH_TIME, ours, plain, "plain trainer", 1.0);
  free(header);
  bench_free(text);
  bench_free(merges);
  return 0;
}

int main(int argc, char **argv)
{
  static const char *const splits[] = { "", "none", "gpt2", "llama3", "qwen", "smollm" };
  const char *path = NULL, *merges = NULL;
  fr_tokenizer_source source;
  fr_tokenizer t;
  fr_reason reason;
  memset(&source, 0, sizeof source);
  for (int i = 1; i < argc; i++) {
    const char *a = argv[i], *v = i + 1 < argc ? argv[i + 1] : "";
    if (!strcmp(a, "--tokenizer")) path = v, i++;
    else if (!strcmp(a, "--merges")) merges = v, i++;
    else if (!strcmp(a, "--split")) {
      for (int k = 1; k < 6; k++) if (!strcmp(v, splits[k])) source.split = (fr_split)k;
      i++;
    } else if (!strcmp(a, "--encode")) {
      fr_int bytes = 0, count = 0;
      char *text = read_file(v, &bytes);
      fr_token *ids = (fr_token *)malloc(((size_t)bytes + 1) * sizeof *ids);
      fr_encoder e;
      if (!text || !ids) return fail("the text cannot be read");
      if (fr_tokenizer_load(&t, path, merges, &source, &reason)) return fail(reason.text);
      if (fr_encoder_new(&e, &t, bytes, 16384)) return fail("out of memory");
      const double took = encode(&e, text, bytes, ids, 5, &count);
      printf("%.2f MB/s  %td tokens\n", (double)bytes / 1e6 / took, count);
      return 0;
    } else if (!strcmp(a, "--train") && i + 2 < argc) {
      fr_training training;
      fr_int bytes = 0, count = 0;
      char *text = read_file(v, &bytes);
      fr_text *lines = (fr_text *)malloc(((size_t)bytes + 1) * sizeof *lines);
      if (!text || !lines) return fail("the text cannot be read");
      for (fr_int at = 0; at < bytes; at += lines[count++].count) {  // a text a line, as Hugging Face's trainer reads files
        const char *end = (const char *)memchr(text + at, '\n', (size_t)(bytes - at));
        lines[count].bytes = text + at;
        lines[count].count = end ? end + 1 - text - at : bytes - at;
      }
      memset(&training, 0, sizeof training);
      training.vocab = atoi(argv[i + 2]);
      training.gpt2_bytes = 1;
      const double begin = now();
      if (fr_tokenizer_train_new(&t, &training, lines, count, &reason)) return fail(reason.text);
      printf("%.3f s  %td merges\n", now() - begin, t.merge_count);
      if (i + 3 < argc && fr_tokenizer_save(argv[i + 3], &t, FR_TOKENIZER_JSON, &reason)) return fail(reason.text);
      return 0;
    } else {
      return fail("see the first lines of bench/bpe.c");
    }
  }
  if (path || merges) {
    if (fr_tokenizer_load(&t, path, merges, &source, &reason)) return fail(reason.text);
    hard(&t, path ? path : merges);
    return 0;
  }
  for (int n = 0; n < 2; n++) {
    fr_training training;
    fr_text text = { NULL, 0 };
    memset(&training, 0, sizeof training);
    training.vocab = 8192;
    training.split = n ? FR_SPLIT_NONE : FR_SPLIT_GPT2;
    training.min_count = 2;
    text.bytes = read_file("forkreason.h", &text.count);
    if (!text.bytes) return fail("run it from the repository's root");
    if (n) text.count = 200000;
    if (fr_tokenizer_train_new(&t, &training, &text, 1, &reason)) return fail(reason.text);
    hard(&t, n ? "no pre-tokens" : "pre-tokens of GPT-2");
    fr_tokenizer_free(&t);
    free((void *)(uintptr_t)text.bytes);
  }
  return training_row();
}
