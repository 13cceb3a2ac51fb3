// bpe_ids.c - tokenizes strings for a script that compares the ids with those of other libraries (tests/bpe_peers.js).
//
//     bpe_ids [--tokenizer FILE] [--merges FILE] [--split gpt2|llama3|qwen|none] [--special TEXT=ID] [--forks N]
//             [--save own|json FILE] [--plain IN OUT] [--match IN OUT] [--list]
//
// IN holds strings, each as u32 length and bytes; OUT gets u32 count and u32 ids of each. All numbers are little-endian. Each
// string is also decoded and must come back; streamed it must, too, in whole characters.
#define FORKREASON_IMPLEMENTATION
#include "forkreason.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static unsigned number(FILE *file, int *good)
{
  unsigned char b[4];
  *good = fread(b, 1, 4, file) == 4;
  return *good ? b[0] | (unsigned)b[1] << 8 | (unsigned)b[2] << 16 | (unsigned)b[3] << 24 : 0;
}

static void put(FILE *file, unsigned value)
{
  for (int i = 0; i < 4; i++) putc((int)(value >> 8 * i & 255), file);
}

static int run(const fr_tokenizer *t, fr_specials mode, const char *in_path, const char *out_path)
{
  FILE *in = fopen(in_path, "rb"), *out = fopen(out_path, "wb");
  fr_encoder encoder;
  fr_int longest = 4 << 20, strings = 0;
  char *text = (char *)malloc((size_t)longest * 3), *back = (char *)malloc((size_t)longest * 3);
  fr_token *ids = (fr_token *)malloc((size_t)longest * 3 * sizeof *ids);
  int good;
  if (!in || !out || !text || !back || !ids || fr_encoder_new(&encoder, t, longest, 16384)) return puts("cannot begin"), 1;
  for (;; strings++) {
    const fr_int bytes = (fr_int)number(in, &good);
    fr_int count, decoded, at = 0;
    fr_decoder decoder = { { 0, 0, 0, 0 }, 0, 0 };
    if (!good) break;
    if (bytes > longest || fread(text, 1, (size_t)bytes, in) != (size_t)bytes) return puts("bad input"), 1;
    if (fr_tokenizer_encode(&encoder, text, bytes, mode, ids, 3 * longest, &count)) return puts(encoder.reason.text), 1;
    put(out, (unsigned)count);
    for (fr_int i = 0; i < count; i++) put(out, (unsigned)ids[i]);
    if (fr_tokenizer_decode(t, ids, count, back, 3 * longest, &decoded, &encoder.reason)) return puts(encoder.reason.text), 1;
    if (t->nfc) memcpy(text, back, (size_t)decoded);  // in normal form C: the caller compares ids, which tell it
    if ((!t->nfc && decoded != bytes) || memcmp(back, text, (size_t)decoded) != 0)
      return printf("string %td does not come back\n", strings), 1;
    for (fr_int i = 0; i <= count; i++) {
      if (fr_tokenizer_stream(t, &decoder, i < count ? ids[i] : -1, back + at, 3 * longest - at, &decoded))
        return puts("cannot stream"), 1;
      at += decoded;
    }
    if ((!t->nfc && at != bytes) || memcmp(back, text, (size_t)at) != 0) return printf("string %td is not streamed\n", strings), 1;
  }
  fclose(in);
  fclose(out);
  free(text);
  free(back);
  free(ids);
  fr_encoder_free(&encoder);
  printf("%td strings\n", strings);
  return 0;
}

int main(int argc, char **argv)
{
  static const char *const splits[] = { "", "none", "gpt2", "llama3", "qwen", "smollm" };
  static fr_special specials[64];
  fr_tokenizer_source source;
  fr_tokenizer t;
  fr_reason reason;
  const char *path = NULL, *merges = NULL;
  memset(&source, 0, sizeof source);
  memset(&t, 0, sizeof t);
  source.specials = specials;
  for (int i = 1; i < argc; i++) {
    const char *a = argv[i], *v = i + 1 < argc ? argv[i + 1] : "";
    if (!strcmp(a, "--tokenizer")) path = v, i++;
    else if (!strcmp(a, "--merges")) merges = v, i++;
    else if (!strcmp(a, "--forks")) source.forks = atoi(v), i++;
    else if (!strcmp(a, "--split")) {
      for (int k = 1; k < 6; k++) if (!strcmp(v, splits[k])) source.split = (fr_split)k;
      i++;
    } else if (!strcmp(a, "--special") && strrchr(v, '=') && source.special_count < 64) {
      fr_special *s = &specials[source.special_count++];
      s->text.bytes = v;
      s->text.count = strrchr(v, '=') - v;
      s->id = (fr_token)atoi(strrchr(v, '=') + 1);
      i++;
    } else {  // what needs the tokenizer
      if (!t.body && fr_tokenizer_load(&t, path, merges, &source, &reason)) return puts(reason.text), 1;
      if (!strcmp(a, "--save") && i + 2 < argc) {
        if (fr_tokenizer_save(argv[i + 2], &t, strcmp(v, "own") ? FR_TOKENIZER_JSON : FR_TOKENIZER_OWN, &reason))
          return puts(reason.text), 1;
        i += 2;
      } else if ((!strcmp(a, "--plain") || !strcmp(a, "--match")) && i + 2 < argc) {
        if (run(&t, a[2] == 'p' ? FR_SPECIALS_TEXT : FR_SPECIALS_MATCH, v, argv[i + 2])) return 1;
        i += 2;
      } else if (!strcmp(a, "--list")) {
        printf("vocab %td, merges %td, specials %td, longest %td, split %s, ignore_merges %d, nfc %d\n", t.vocab, t.merge_count,
               t.special_count, t.longest, splits[t.split], t.ignore_merges, t.nfc);
      } else {
        return printf("unknown: %s\n", a), 1;
      }
    }
  }
  fr_tokenizer_free(&t);
  return 0;
}
