// The tokenizer: ids of independent libraries on three small vocabularies, classes of characters, round trips, a slow twin of
// the merging, specials, streaming, llama2.c, files that load and files that do not, both forms it is saved in, memory.
#include "tests/test.h"
#include <time.h>

// Allocation number `failing` of those since `allocated` was 0 fails; -1: none does.
static long allocated, failing = -1, alive;
static void *counted_malloc(size_t bytes)
{
  if (allocated++ == failing) return NULL;
  alive++;
  return test_alloc(bytes);
}
static void counted_free(void *memory)
{
  alive--;
  free(memory);
}
#define FR_MALLOC(bytes) counted_malloc(bytes)
#define FR_FREE(memory) counted_free(memory)
#define FORKREASON_IMPLEMENTATION
#include "forkreason.h"
#include "tests/bpe_data.h"

enum { GUARD = 32 };

// A tokenizer in memory of exactly the measured size, at an odd address, from files of exactly their size that are then
// overwritten.
typedef struct placed { fr_tokenizer t; unsigned char *memory; fr_int bytes; } placed;
static fr_status place(placed *p, const fr_tokenizer_source *source, fr_reason *reason)
{
  fr_tokenizer_source copy = *source;
  fr_text *const texts[2] = { &copy.file, &copy.merges };
  char *held[2] = { NULL, NULL };
  fr_status status;
  memset(p, 0, sizeof *p);
  for (int i = 0; i < 2; i++) {
    if (!texts[i]->bytes) continue;
    held[i] = (char *)test_alloc((size_t)texts[i]->count);
    memcpy(held[i], texts[i]->bytes, (size_t)texts[i]->count);
    texts[i]->bytes = held[i];
  }
  status = fr_tokenizer_place(NULL, &copy, NULL, 0, &p->bytes, reason);
  if (!status) {
    CHECK(p->bytes < 80 * (copy.file.count + copy.merges.count) + (2 << 20));
    p->memory = (unsigned char *)test_alloc((size_t)p->bytes + GUARD + 1);
    memset(p->memory, 0xA5, (size_t)p->bytes + GUARD + 1);
    status = fr_tokenizer_place(&p->t, &copy, p->memory + 1, p->bytes, NULL, reason);
    for (fr_int i = 0; i < GUARD; i++) CHECK(p->memory[1 + p->bytes + i] == 0xA5);
    if (!status) {
      fr_tokenizer small;
      CHECK(fr_tokenizer_place(&small, &copy, p->memory + 1, 10, NULL, NULL) == FR_MEMORY);
    }
  }
  for (int i = 0; i < 2; i++) {
    if (held[i]) memset(held[i], '#', (size_t)texts[i]->count);
    free(held[i]);
  }
  return status;
}

static void drop(placed *p)
{
  free(p->memory);
  memset(p, 0, sizeof *p);
}

static fr_status place_file(placed *p, const char *name, fr_split split, fr_reason *reason)
{
  const fr_text file = data_file(name);
  fr_tokenizer_source source;
  fr_status status;
  memset(&source, 0, sizeof source);
  source.file = file;
  source.split = split;
  status = place(p, &source, reason);
  free((void *)(uintptr_t)file.bytes);
  return status;
}

// The tokenizer.json of tiny/gpt2style with SmolLM's pre-tokenizer.
static fr_text smollm_file(void)
{
  static const char key[] = "\"pre_tokenizer\":", digits[] = "{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Digits\","
    "\"individual_digits\":true},{\"type\":\"ByteLevel\",\"add_prefix_space\":false}]}";
  const fr_text file = data_file("tiny/gpt2style/tokenizer.json");
  const char *from = strstr(file.bytes, key) + sizeof key - 1, *to = strchr(from, '}') + 1;
  char *made = (char *)test_alloc((size_t)file.count + sizeof digits);
  fr_text text = { made, 0 };
  memcpy(made, file.bytes, (size_t)(from - file.bytes));
  memcpy(made + (from - file.bytes), digits, sizeof digits - 1);
  text.count = from - file.bytes + (fr_int)sizeof digits - 1;
  memcpy(made + text.count, to, (size_t)(file.bytes + file.count - to));
  text.count += file.bytes + file.count - to;
  free((void *)(uintptr_t)file.bytes);
  return text;
}

// An encoder in memory of exactly the measured size, and what it says.
typedef struct coder { fr_encoder e; unsigned char *memory; fr_int bytes; } coder;
static void open_coder(coder *c, const fr_tokenizer *t, fr_int longest, fr_int cache)
{
  CHECK(fr_encoder_place(NULL, t, longest, cache, NULL, 0, &c->bytes) == FR_OK);
  c->memory = (unsigned char *)test_alloc((size_t)c->bytes + GUARD + 1);
  memset(c->memory, 0xA5, (size_t)c->bytes + GUARD + 1);
  CHECK(fr_encoder_place(&c->e, t, longest, cache, c->memory + 1, c->bytes - 1, NULL) == FR_MEMORY);
  CHECK(fr_encoder_place(&c->e, t, longest, cache, c->memory + 1, c->bytes, NULL) == FR_OK);
}
static void close_coder(coder *c)
{
  for (fr_int i = 0; i < GUARD; i++) CHECK(c->memory[1 + c->bytes + i] == 0xA5);
  free(c->memory);
}

// Encodes a copy of exactly this length; ids[bytes + 1], 3 * bytes where it is normalised.
static fr_int encode(coder *c, const char *text, fr_int bytes, fr_specials mode, fr_token *ids)
{
  char *copy = (char *)test_alloc((size_t)bytes);
  fr_int count = -1, only = -1;
  if (bytes) memcpy(copy, text, (size_t)bytes);
  CHECK(fr_tokenizer_encode(&c->e, copy, bytes, mode, ids, c->e.tokenizer->nfc ? 3 * bytes : bytes + 1, &count) == FR_OK);
  CHECK(fr_tokenizer_encode(&c->e, copy, bytes, mode, NULL, 0, &only) == FR_OK && only == count);
  free(copy);
  return count;
}

// Normal form C in exactly the room that is promised to be enough; returns its bytes, *made is to be freed.
static fr_int normal(const char *text, fr_int bytes, char **made)
{
  const fr_text whole = { text, bytes };
  uint32_t *codes = (uint32_t *)test_alloc(((size_t)bytes + 1) * 12);
  *made = (char *)test_alloc((size_t)bytes * 3 + 1);
  const fr_int count = fr__nfc(whole, codes, *made);
  free(codes);
  return count;
}

// That ids are decoded to the text, or where a tokenizer normalises, to the normal forms of its parts between specials.
static int comes_back(const fr_tokenizer *t, const char *text, fr_int bytes, const fr_token *ids, fr_int count)
{
  char *back = (char *)test_alloc((size_t)bytes * 3 + 1), *made = NULL, *again = NULL;
  fr_int got = -1, want = bytes;
  int good = fr_tokenizer_decode(t, ids, count, back, 3 * bytes, &got, NULL) == FR_OK;
  if (t->nfc && good) {  // what joins across a special does so in the whole only, so both are brought to it
    want = normal(text, bytes, &made);
    got = normal(back, got, &again);
  }
  good = good && got == want && (got == 0 || memcmp(made ? made : text, again ? again : back, (size_t)got) == 0);
  free(back);
  free(made);
  free(again);
  return good;
}

// ---- the vectors
static void vectors(void)
{
  static const char *const names[] = { "gpt2style", "llama3style", "qwenstyle", "smollmstyle" };
  const fr_text corpus = data_file("corpus.bin"), list = data_file("corpus.idx");
  fr_token *ids = (fr_token *)test_alloc(300001 * sizeof *ids);
  char *run = (char *)test_alloc(100000);
  for (int n = 0; n < 4; n++) {
    char path[100];
    placed p;
    coder plain, cached;
    fr_reason reason;
    fr_tokenizer_source source;
    int compared = 0;
    snprintf(path, sizeof path, "tiny/%s/tokenizer.json", names[n]);
    memset(&source, 0, sizeof source);
    source.file = n < 3 ? data_file(path) : smollm_file();
    const fr_status status = place(&p, &source, &reason);
    free((void *)(uintptr_t)source.file.bytes);
    if (!CHECK(status == FR_OK)) { fprintf(stderr, "%s\n", reason.text); continue; }
    CHECK(p.t.vocab == 527 && p.t.merge_count == 256 && p.t.special_count == 15 && p.t.nfc == (n == 2) &&
          p.t.ignore_merges == (n == 1) && p.t.split == (fr_split)(FR_SPLIT_GPT2 + n));
    open_coder(&plain, &p.t, 100000, 0);
    open_coder(&cached, &p.t, 100000, 100);
    snprintf(path, sizeof path, "tiny_%s.special.ids", names[n]);
    const fr_text expected = data_file(path);
    for (const char *line = strchr(expected.bytes, '\n') + 1; *line; line = strchr(line, '\n') + 1) {
      char *at, name[64];
      const long index = strtol(line, &at, 10), count = strtol(at, &at, 10);
      long offset = 0, length = 0, k = -1;
      const char *text = list.bytes;
      if (count < 0) continue;
      for (long skip = 0; skip < index; skip++) text = strchr(text, '\n') + 1;
      CHECK(sscanf(text, "%ld %60s %ld %ld", &k, name, &offset, &length) == 4 && k == index);
      if (offset + length > (long)corpus.count) memset(run, name[4] == 'a' ? 'a' : ' ', 100000);
      text = offset + length > (long)corpus.count ? run : corpus.bytes + offset;
      const fr_int got = encode(&plain, text, length, FR_SPECIALS_MATCH, ids);
      int good = got == count;
      fr_int i = 0;
      at = strchr(at + 1, ' ');  // past agree/checked
      while (good && i < got) {
        const long id = strtol(at, &at, 10);
        long times = 1;
        if (*at == 'x') times = strtol(at + 1, &at, 10);
        for (; times > 0 && i < got; times--, i++) good = good && ids[i] == (fr_token)id;
      }
      CHECK(comes_back(&p.t, text, length, ids, got));
      if (!CHECK(good)) fprintf(stderr, "%s, vector %ld (%s)\n", names[n], index, name);
      fr_token *again = (fr_token *)test_alloc(((size_t)length + 1) * 3 * sizeof *again);
      for (int twice = 0; twice < 2; twice++)  // cold, then remembered
        CHECK(encode(&cached, text, length, FR_SPECIALS_MATCH, again) == got &&
              (got == 0 || memcmp(again, ids, (size_t)got * sizeof *ids) == 0));
      free(again);
      compared++;
    }
    CHECK(n < 3 ? compared >= 149 + 3 * (n == 2) : compared == 6);  // for SmolLM only those that GPT-2's rule alone cuts otherwise
    close_coder(&plain);
    close_coder(&cached);
    free((void *)(uintptr_t)expected.bytes);
    drop(&p);
  }
  free(run);
  free(ids);
  free((void *)(uintptr_t)corpus.bytes);
  free((void *)(uintptr_t)list.bytes);
}

// ---- classes of all code points against the ranges the table was made from
static void classes(void)
{
  static const char *const names[3] = { "unicode/onig_L.txt", "unicode/onig_N.txt", "unicode/onig_S.txt" };
  unsigned char *kind = (unsigned char *)test_alloc(0x110000);
  long wrong = 0;
  memset(kind, 0, 0x110000);
  for (int n = 0; n < 3; n++) {
    const fr_text file = data_file(names[n]);
    for (char *at = (char *)(uintptr_t)file.bytes; *at;) {
      const long first = strtol(at, &at, 16), last = strtol(at + 2, &at, 16);
      memset(kind + first, n + 1, (size_t)(last - first + 1));
      while (*at == '\n' || *at == '\r') at++;
    }
    free((void *)(uintptr_t)file.bytes);
  }
  for (uint32_t c = 0; c < 0x110000; c++) {
    char text[4];
    fr_int size = 0;
    if (c >= 0xD800 && c < 0xE000) continue;
    const fr_int bytes = fr__utf8_put(c, text);
    wrong += fr__class(text, 0, bytes, &size) != kind[c] || size != bytes;
  }
  CHECK(wrong == 0);
  free(kind);
  for (int byte = 0; byte < 256; byte++) CHECK(fr__char_byte((int32_t)fr__byte_char(byte)) == byte);
  CHECK(fr__gpt2_id('!') == 0 && fr__gpt2_id('a') == 64 && fr__gpt2_id(0xFF) == 187 && fr__gpt2_id(0) == 188 &&
        fr__gpt2_id(' ') == 220 && fr__gpt2_id(0xAD) == 255 && fr__gpt2_id(0xAE) == 106 + 0);
}

// ---- normal form C: sums that tests/unicode_table.py --sums makes with Hugging Face's library; what is not UTF-8; room and specials
static uint64_t add_normal(uint64_t sum, const char *text, fr_int bytes)
{
  const fr_text whole = { text, bytes };
  uint32_t codes[300];
  char out[300];
  const fr_int count = fr__nfc(whole, codes, out);
  int look = 0;
  fr_int size;
  for (fr_int at = 0; at < bytes; at += size) look |= fr__nfc_kind(fr__code(text, at, bytes, &size)) != 0;
  CHECK(look || (count == bytes && !memcmp(out, text, (size_t)bytes)));
  for (fr_int i = 0; i < count; i++) sum = (sum ^ (unsigned char)out[i]) * 0x100000001B3u;
  return sum;
}
static void normal_form(void)
{
  static const struct { uint32_t first, count; } ranges[] = {
    { 0x41, 58 }, { 0x300, 112 }, { 0x591, 45 }, { 0x900, 128 }, { 0x980, 128 }, { 0xB80, 128 }, { 0xD00, 96 }, { 0x1100, 19 }, { 0x1161, 21 },
    { 0x11A7, 28 }, { 0x1E00, 512 }, { 0x3040, 96 }, { 0xAC00, 11172 }, { 0xF900, 512 }, { 0x1D157, 110 }, { 0x2F800, 542 }, { 0x300, 112 } };
  uint64_t sum[3] = { 0xCBF29CE484222325u, 0xCBF29CE484222325u, 0xCBF29CE484222325u }, state = 1;
  char text[100];
  for (uint32_t c = 0; c < 0x2FB00; c += test_brief() ? 9 : 1) {  // in brief fewer, with sums of their own
    if (c >= 0xD800 && c < 0xE000) continue;
    text[0] = 'a';
    const fr_int bytes = 1 + fr__utf8_put(c, text + 1);
    sum[0] = add_normal(sum[0], text + 1, bytes - 1);
    memcpy(text + bytes, "\xCC\x81", 2);
    sum[1] = add_normal(sum[1], text, bytes + 2);
  }
  for (int k = 0; k < test_times(100000); k++) {
    fr_int bytes = 0;
    for (int i = 0; i <= k % 9; i++) {
      uint32_t draw[2];
      for (int j = 0; j < 2; j++) draw[j] = (uint32_t)((state = state * 6364136223846793005u + 1442695040888963407u) >> 33);
      const size_t r = draw[0] % (sizeof ranges / sizeof *ranges);
      bytes += fr__utf8_put(ranges[r].first + draw[1] % ranges[r].count, text + bytes);
    }
    sum[2] = add_normal(sum[2], text, bytes);
  }
  if (test_brief()) CHECK(sum[0] == 0x37F7615763430E36u && sum[1] == 0x4BC45DB3F505DA84u && sum[2] == 0x19C32F25766773BEu);
  else CHECK(sum[0] == 0xA3D23D3AE96933F9u && sum[1] == 0x95B93DF4CF9C2A98u && sum[2] == 0x3E443D7C3B313D0Cu);

  placed p;
  coder c;
  fr_token ids[400];
  fr_int count = 0;
  char *made;
  const fr_int got = normal("e\xCC\x81\xFF\xCC\x81\xCC", 7, &made);
  CHECK(got == 6 && !memcmp(made, "\xC3\xA9\xFF\xCC\x81\xCC", 6));
  free(made);
  // Longer than the encoder was made for: only what has to be looked at is refused, and without marks nothing is.
  CHECK(place_file(&p, "tiny/qwenstyle/tokenizer.json", FR_SPLIT_UNKNOWN, NULL) == FR_OK && p.t.nfc);
  for (int wide = 0; wide < 2; wide++) {
    open_coder(&c, &p.t, wide ? 100 : 0, 0);
    for (int k = 0; k < 100; k++) text[k] = k % 5 ? 'n' : ' ';
    CHECK(fr_tokenizer_encode(&c.e, text, 100, FR_SPECIALS_TEXT, ids, 300, &count) == FR_OK);
    memcpy(text + 97, "e\xCC\x81", 3);
    if (wide) CHECK(comes_back(&p.t, text, 100, ids, encode(&c, text, 100, FR_SPECIALS_TEXT, ids)));
    else CHECK(fr_tokenizer_encode(&c.e, text, 100, FR_SPECIALS_TEXT, ids, 300, &count) == FR_LIMIT && strstr(c.e.reason.text, "has 100 bytes"));
    // A special token keeps what follows apart, as in raw text.
    CHECK(encode(&c, "<think1>\xCC\x81", 10, FR_SPECIALS_MATCH, ids) == 3 && encode(&c, ">\xCC\xB8", 3, FR_SPECIALS_MATCH, ids) == 3);
    close_coder(&c);
  }
  drop(&p);
  // A question whose normal form is twice as long: there is room for its ids.
  CHECK(place_file(&p, "tiny/qwenstyle/tokenizer.json", FR_SPLIT_UNKNOWN, NULL) == FR_OK);
  open_coder(&c, &p.t, 200, 0);
  for (int k = 0; k < 60; k++) text[k] = "\xE0\xA5\x98"[k % 3];  // U+0958
  const fr_text twice = { text, 60 }, fork = { "<think1>\xE0\xA5\x98", 11 };
  const fr_framing framing = { { text, 3 }, { text, 3 }, &fork, 1, 514, NULL };
  fr_question q;
  fr_int need = 0, used = 0;
  CHECK(fr_question_place(NULL, &c.e, &framing, twice, &twice, 1, NULL, 0, &need) == FR_OK);
  char *memory = (char *)test_alloc((size_t)need);
  CHECK(fr_question_place(&q, &c.e, &framing, twice, &twice, 1, memory, need, &used) == FR_OK && used <= need);
  CHECK(q.prompt.count > 67 && q.traces[0].count > 61 && fr_framing_forks(&c.e, &framing, NULL, 0, NULL, &count) == FR_OK && count > 4);
  free(memory);
  close_coder(&c);
  drop(&p);
  // A special that is normalized would have to be looked for in the normal form: text that is not in it is refused.
  fr_tokenizer_source source;
  fr_reason reason;
  memset(&source, 0, sizeof source);
  source.file = data_file("tiny/qwenstyle/tokenizer.json");
  memcpy(strstr(strstr(source.file.bytes, "<think1>"), "\"normalized\": false") + 14, "true ", 5);
  CHECK(place(&p, &source, &reason) == FR_OK);
  open_coder(&c, &p.t, 100, 0);
  CHECK(encode(&c, "<think1>a<think2>z", 18, FR_SPECIALS_MATCH, ids) == 4 && ids[0] == 515 && ids[2] == 516);
  CHECK(fr_tokenizer_encode(&c.e, "<think2>x<think1>\xCC\xB8", 19, FR_SPECIALS_MATCH, ids, 57, &count) == FR_UNSUPPORTED &&
        strstr(c.e.reason.text, "from byte 8 on"));
  close_coder(&c);
  drop(&p);
  free((void *)(uintptr_t)source.file.bytes);
}

// ---- text that no one would write
static fr_int noise(char *text, fr_int most)
{
  static const char *const bits[] = { " ", "\n", "\r", "'", "'s", "'LL", "the", "in", "a", "é", "\xC2\xA0", "\xE3\x80\x80", "日", "٣",
                                      "<think1>", "<think", "<|im_end|>", "\xC5\xBF", "'\xC5\xBF", "1", "23", "!", "\xF0\x9F\x98\x80" };
  const fr_int want = test_below_int(most + 1);
  fr_int count = 0;
  while (count < want) {
    if (test_below_int(4) == 0) {
      text[count++] = (char)test_bits();
    } else {
      const char *bit = bits[test_below_int((ptrdiff_t)(sizeof bits / sizeof *bits))];
      for (; *bit && count < want; bit++) text[count++] = *bit;
    }
  }
  return count;
}

// ---- where the rules cut, | between the pieces: what JavaScript's regular expressions of the same text say
static void cuts(void)
{
  static const struct { fr_split split; const char *text; } cases[] = {
    { FR_SPLIT_GPT2, "don|'t| I|'ve| '|S| '|ll|'|LL" }, { FR_SPLIT_QWEN, "don|'t| I|'VE| '|ll|'LL" },
    { FR_SPLIT_LLAMA3, "it|'\xC5\xBF|x| |12" }, { FR_SPLIT_GPT2, "it|'|\xC5\xBF|'s" }, { FR_SPLIT_LLAMA3, "123|456|7|a" },
    { FR_SPLIT_QWEN, "1|2|\xC2\xBD|a" }, { FR_SPLIT_GPT2, "12345|a| 77" }, { FR_SPLIT_LLAMA3, "'s|tuff|(x|.!|\ty" },
    { FR_SPLIT_GPT2, "a|  | b|\n\n|\n|c|  " }, { FR_SPLIT_QWEN, "a|  | b|\n\n\n|c|  " }, { FR_SPLIT_LLAMA3, "!!\r\n|  \n\n|  | x" },
    { FR_SPLIT_QWEN, "\xC2\xA0" "a|\xE3\x80\x80|\xE3\x80\x80|1" }, { FR_SPLIT_QWEN, "<think|1|>\n|<\xCC\x81|x" }, { FR_SPLIT_NONE, "a b\n c" },
    // bytes that are not UTF-8 are characters that are neither letter, number nor blank
    { FR_SPLIT_SMOLLM, "a|  |3|4| |\xC2\xBD|\n \t|9| b|  | c| '|ll|'s" }, { FR_SPLIT_SMOLLM, " |\xD9\xA3| ..|1|.'|t|'s|  " },
    { FR_SPLIT_GPT2, "a|\xFF\xFE|b| \xC3(|z" }, { FR_SPLIT_QWEN, "a|\xFF\xFE|b| \xC3(|z" }, { FR_SPLIT_QWEN, "a|\xFF" "b" } };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    char text[100], shown[200];
    fr_int bytes = 0, count = 0;
    for (const char *c = cases[i].text; *c; c++) if (*c != '|') text[bytes++] = *c;
    for (fr_int at = 0, end; at < bytes; at = end) {
      end = fr__split_end(cases[i].split, text, at, bytes);
      for (fr_int k = at; k < end; k++) shown[count++] = text[k];
      if (end < bytes) shown[count++] = '|';
    }
    shown[count] = 0;
    if (!CHECK(strcmp(shown, cases[i].text) == 0)) fprintf(stderr, "%s is not %s\n", shown, cases[i].text);
  }
}

static void round_trips(void)
{
  static const char *const names[] = { "tiny/gpt2style/tokenizer.json", "tiny/llama3style/tokenizer.json",
                                       "tiny/qwenstyle/tokenizer.json", "fuzz/ok.tiktoken" };
  static char text[9000];
  static fr_token ids[9001], again[9001];
  for (int n = 0; n < 4; n++) {
    placed p;
    coder plain, cached;
    CHECK(place_file(&p, names[n], n == 3 ? FR_SPLIT_NONE : FR_SPLIT_UNKNOWN, NULL) == FR_OK);
    open_coder(&plain, &p.t, 3000, 0);
    open_coder(&cached, &p.t, 3000, 7);
    for (int round = 0; round < 1500; round++) {
      fr_int bytes = noise(text, round % 50 ? 60 : 3000);
      if (p.t.nfc) {  // what is in normal form comes back unchanged
        char *made;
        bytes = normal(text, bytes, &made);
        memcpy(text, made, (size_t)bytes);
        free(made);
      }
      const fr_specials mode = round % 2 ? FR_SPECIALS_MATCH : FR_SPECIALS_TEXT;
      const fr_int count = encode(&plain, text, bytes, mode, ids);
      fr_decoder decoder = { { 0, 0, 0, 0 }, 0, 0 };
      char out[3100];
      fr_int at = 0, got;
      CHECK(comes_back(&p.t, text, bytes, ids, count));
      CHECK(encode(&cached, text, bytes, mode, again) == count && !memcmp(ids, again, (size_t)count * sizeof *ids));
      for (fr_int i = 0; i <= count; i++) {
        // All that has come out so far is the text, and no character was cut that the text has whole.
        CHECK(fr_tokenizer_stream(&p.t, &decoder, i < count ? ids[i] : -1, out + at, p.t.longest + 3, &got) == FR_OK);
        at += got;
        if (at < bytes) {
          fr_int character = at;
          while (character > 0 && at - character < 3 && ((unsigned char)text[character] & 0xC0) == 0x80) character--;
          CHECK(fr__utf8(text + character, bytes - character) == 0 || character == at ||
                character + fr__utf8(text + character, bytes - character) <= at);
        }
      }
      CHECK(at == bytes && memcmp(out, text, (size_t)bytes) == 0);
      // Pre-tokens do not depend on what comes after a piece that is given as a text of its own.
      fr_int here = 0;
      while (here < bytes) {
        const fr_int end = fr__split_end(p.t.split, text, here, bytes);
        CHECK(end > here && end <= bytes);
        here = end;
      }
    }
    // Too little room, too long a pre-token.
    fr_int count = 77;
    CHECK(fr_tokenizer_encode(&plain.e, "the the", 7, FR_SPECIALS_TEXT, ids, 1, &count) == FR_LIMIT);
    fr_int whole = -1;
    CHECK(fr_tokenizer_encode(&plain.e, "the the", 7, FR_SPECIALS_TEXT, NULL, 0, &whole) == FR_OK && count == whole);
    CHECK(fr_tokenizer_encode(&plain.e, "the the", 7, FR_SPECIALS_TEXT, ids, 1, &count) == FR_LIMIT);
    CHECK(strstr(plain.e.reason.text, "there is room for 1") != NULL);
    memset(text, 'a', 3000);
    close_coder(&cached);
    open_coder(&cached, &p.t, 80, 7);
    CHECK(fr_tokenizer_encode(&cached.e, text, 80, FR_SPECIALS_TEXT, ids, 3001, &count) == FR_OK);
    CHECK(fr_tokenizer_encode(&cached.e, text, 81, FR_SPECIALS_TEXT, ids, 3001, &count) == FR_LIMIT);
    CHECK(fr_tokenizer_encode(&cached.e, NULL, 81, FR_SPECIALS_TEXT, ids, 3001, &count) == FR_INVALID);
    CHECK(fr_tokenizer_encode(&cached.e, text, -1, FR_SPECIALS_TEXT, ids, 3001, &count) == FR_INVALID);
    close_coder(&plain);
    close_coder(&cached);
    drop(&p);
  }
}

// ---- merging against the slow twin: random merges in random order, so that a later merge may have any rank
static void odd_merges(void)
{
  for (int round = 0; round < 40; round++) {
    static char file[40000];
    static const char *const same = "abcd";
    const int letters = 1 + (int)test_below_int(4);
    char tokens[64][40];
    int token_count = letters, merge_count = 0, listed = 0;
    int left[200], right[200];
    size_t length = 0;
    placed p;
    fr_tokenizer_source source;
    fr_reason reason;
    for (int i = 0; i < letters; i++) { tokens[i][0] = same[i]; tokens[i][1] = 0; }
    while (merge_count < 60 && token_count < 60) {
      const int l = (int)test_below_int(token_count), r = (int)test_below_int(token_count);
      char both[80];
      int known = 0, i = 0;
      if (strlen(tokens[l]) + strlen(tokens[r]) > 12) { if (++listed > 500) break; continue; }
      snprintf(both, sizeof both, "%s%s", tokens[l], tokens[r]);
      for (i = 0; i < merge_count; i++) known |= left[i] == l && right[i] == r;
      if (known) { if (++listed > 500) break; continue; }
      for (i = 0; i < token_count && strcmp(tokens[i], both); i++) {}
      if (i == token_count) memcpy(tokens[token_count++], both, 40);
      left[merge_count] = l;
      right[merge_count++] = r;
    }
    for (int i = merge_count - 1; i > 0; i--) {  // any order of ranks
      const int k = (int)test_below_int(i + 1), l = left[i], r = right[i];
      left[i] = left[k]; right[i] = right[k];
      left[k] = l; right[k] = r;
    }
    length += (size_t)snprintf(file, sizeof file, "{\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":false,"
                               "\"use_regex\":false},\"model\":{\"merges\":[");
    for (int i = 0; i < merge_count; i++)
      length += (size_t)snprintf(file + length, sizeof file - length, "%s\"%s %s\"", i ? "," : "", tokens[left[i]], tokens[right[i]]);
    length += (size_t)snprintf(file + length, sizeof file - length, "],\"vocab\":{");
    for (int byte = 0; byte < 256; byte++)
      length += (size_t)snprintf(file + length, sizeof file - length, "\"\\u%04x\":%d,", fr__byte_char(byte), byte);
    for (int i = letters; i < token_count; i++)
      length += (size_t)snprintf(file + length, sizeof file - length, "\"%s\":%d,", tokens[i], 256 + i);
    snprintf(file + length - 1, sizeof file - length, "}}}");
    memset(&source, 0, sizeof source);
    source.file = as_text(file);
    if (!CHECK(place(&p, &source, &reason) == FR_OK)) { fprintf(stderr, "%s\n", reason.text); continue; }
    coder c;
    open_coder(&c, &p.t, 500, 16);
    for (int k = 0; k < 12; k++) {
      char text[500];
      fr_token ids[501], slow[500];
      const fr_int bytes = 1 + test_below_int(k % 3 == 0 ? 500 : 90);
      const int period = 1 + (int)test_below_int(7);
      for (fr_int i = 0; i < bytes; i++) {
        text[i] = same[test_below_int(letters)];
        if (k % 2 && i >= period) text[i] = text[i - period];
        slow[i] = text[i];
      }
      for (fr_int i = 0; i < bytes; i++) slow[i] = (fr_token)p.t.body->byte_ids[(unsigned char)text[i]];
      const fr_int want = slow_merge(&p.t, slow, bytes), got = encode(&c, text, bytes, FR_SPECIALS_TEXT, ids);
      CHECK(want == got && !memcmp(slow, ids, (size_t)want * sizeof *ids));
    }
    close_coder(&c);
    drop(&p);
  }
}

// ---- specials, forks, the boundary
// Does the text stay in two at byte `at`, as a question and a fork? *count: ids of the first part.
static fr_status boundary(fr_encoder *e, const char *text, fr_int bytes, fr_int at, fr_int *count)
{
  static double memory[1024];
  const fr_text nothing = { NULL, 0 }, fork = { text + at, bytes - at };
  fr_framing framing;
  fr_question question;
  fr_int needed;
  fr_status status;
  memset(&framing, 0, sizeof framing);
  framing.before.bytes = text;
  framing.before.count = at;
  framing.forks = &fork;
  framing.fork_count = 1;
  framing.end = 64;
  CHECK(fr_question_place(NULL, NULL, &framing, nothing, NULL, 0, NULL, 0, &needed) == FR_OK && needed <= (fr_int)sizeof memory);
  status = fr_question_place(&question, e, &framing, nothing, NULL, 0, memory, (fr_int)sizeof memory, NULL);
  if (!status && count) *count = question.prompt.count;
  return status;
}

static void specials(void)
{
  const fr_text file = data_file("tiny/gpt2style/tokenizer.json");
  const fr_special extra[3] = { { as_text("<th"), -1 }, { as_text("<|endoftext|>"), -1 }, { as_text("<|far|>"), 600 } };
  fr_tokenizer_source source;
  placed p;
  coder c;
  fr_token ids[200];
  fr_int count = -1;
  fr_reason reason;
  memset(&source, 0, sizeof source);
  source.file = file;
  source.specials = extra;
  source.special_count = 3;
  source.forks = 8;
  if (!CHECK(place(&p, &source, &reason) == FR_OK)) { fprintf(stderr, "%s\n", reason.text); exit(1); }
  CHECK(p.t.vocab == 603 && p.t.special_count == 15 + 2 + 2);
  CHECK(fr_tokenizer_find(&p.t, as_text("<think1>")) == 515 && fr_tokenizer_find(&p.t, as_text("<think6>")) == 520);
  CHECK(fr_tokenizer_find(&p.t, as_text("<think7>")) == 601 && fr_tokenizer_find(&p.t, as_text("<think8>")) == 602);
  CHECK(fr_tokenizer_find(&p.t, as_text("<th")) == 527 && fr_tokenizer_find(&p.t, as_text("<|far|>")) == 600);
  CHECK(fr_tokenizer_find(&p.t, as_text("no such token")) == -1 && fr_tokenizer_find(&p.t, as_text("a")) == 64);
  CHECK(fr_tokenizer_token(&p.t, 550).bytes == NULL && fr_tokenizer_token(&p.t, 603).bytes == NULL && fr_tokenizer_token(&p.t, -1).count == 0);
  CHECK(is_special(&p.t, 601) && !is_special(&p.t, 64) && !is_special(&p.t, 550));
  open_coder(&c, &p.t, 200, 16);
  // Leftmost, then longest: <think1> wins over <th, <th over <thin.
  count = encode(&c, "a<think1><thin<think7", 21, FR_SPECIALS_MATCH, ids);
  CHECK(ids[0] == 64 && ids[1] == 515 && ids[2] == 527);
  CHECK(comes_back(&p.t, "a<think1><thin<think7", 21, ids, count));
  const fr_int plain = encode(&c, "a<think1><thin<think7", 21, FR_SPECIALS_TEXT, ids);
  CHECK(plain > count);
  for (fr_int i = 0; i < plain; i++) CHECK(!is_special(&p.t, ids[i]));
  CHECK(comes_back(&p.t, "a<think1><thin<think7", 21, ids, plain));
  CHECK(fr_tokenizer_encode(&c.e, "abc <|far|>", 11, FR_SPECIALS_REFUSE, ids, 200, &count) == FR_FORMAT);
  CHECK(strstr(c.e.reason.text, "token 600 at byte 4") != NULL);
  CHECK(fr_tokenizer_encode(&c.e, "abc <|fur|>", 11, FR_SPECIALS_REFUSE, ids, 200, &count) == FR_OK);

  // The boundary: a fork that is one token holds; "<thi" + "nk1>" does not; nor does "  " + "a", whose blank moves.
  CHECK(boundary(&c.e, "Q: 1+1?\n<think1>\nA", 16, 8, &count) == FR_OK && count > 1);
  CHECK(boundary(&c.e, "Q: 1+1?\n<think1>\nA", 16, 12, NULL) == FR_FORMAT);
  CHECK(boundary(&c.e, "in  the", 7, 4, &count) == FR_FORMAT);
  CHECK(boundary(&c.e, "in the", 6, 2, &count) == FR_OK && count == 1);
  // The same as encoding three times by hand, also where the numbers of tokens agree.
  int held = 0, told_apart = 0;
  for (int k = 0; k < 3000; k++) {
    char text[40];
    fr_token part[100];
    fr_int bytes = 0;
    for (const fr_int want = 2 + test_below_int(12); bytes < want;) text[bytes++] = "the in  \nstra1"[test_below_int(14)];
    const fr_int at = 1 + test_below_int(bytes - 1), whole = encode(&c, text, bytes, FR_SPECIALS_TEXT, ids);
    const fr_int first = encode(&c, text, at, FR_SPECIALS_TEXT, part);
    const fr_int both = first + encode(&c, text + at, bytes - at, FR_SPECIALS_TEXT, part + first);
    const int same = both == whole && !memcmp(ids, part, (size_t)whole * sizeof *ids);
    CHECK(boundary(&c.e, text, bytes, at, NULL) == (same ? FR_OK : FR_FORMAT));
    held += same;
    told_apart += !same && both == whole;
  }
  CHECK(held > 100 && told_apart > 20);
  // The reader of a tokenizer.json would give <|far|> the next free id, so it must stand in vocab; <think1> is there before.
  {
    fr_int size = 0;
    static char json[60000];
    CHECK(fr_tokenizer_write(&p.t, FR_TOKENIZER_JSON, json, sizeof json - 1, &size, NULL) == FR_OK);
    CHECK(strstr(json, "\"<|far|>\":600") && strstr(json, "\"<think8>\":602"));
  }
  close_coder(&c);
  drop(&p);

  static const struct { fr_special special; const char *words; } bad[] = {
    { { { "", 0 }, -1 }, "not text" }, { { { NULL, 3 }, -1 }, "not text" }, { { { "\xC3", 1 }, -1 }, "not text" },
    { { { "<|endoftext|>", 13 }, 5 }, "another id" }, { { { "<new>", 5 }, 5 }, "same id" }, { { { "<new>", 5 }, 70000 }, "larger" } };
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    source.specials = &bad[i].special;
    source.special_count = 1;
    CHECK(place(&p, &source, &reason) == FR_INVALID && strstr(reason.text, bad[i].words));
    drop(&p);
  }
  const fr_special twice[2] = { { as_text("<new>"), -1 }, { as_text("<new>"), -1 } };
  source.specials = twice;
  source.special_count = 2;
  CHECK(place(&p, &source, &reason) == FR_FORMAT && strstr(reason.text, "same text"));
  drop(&p);
  free((void *)(uintptr_t)file.bytes);
}

// ---- *.tiktoken: the lowest rank of the joined bytes merges, by definition; a special that is also in the table is never forged
static void ranks(void)
{
  static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  for (int round = test_brief() ? 8 : 0; round < 10; round++) {
    static char file[9000], token[340][16];
    static int length[340];
    fr_tokenizer_source source;
    const fr_special whole = { as_text("ab"), -1 };
    placed p, again;
    coder c;
    fr_reason reason;
    int count = 256;
    size_t size = 0;
    for (int i = 0; i < 256; i++) { token[i][0] = (char)i; length[i] = 1; }
    length[count] = 2; memcpy(token[count++], "ab", 2);
    while (count < 330) {  // any string of at most 6 letters; whether it can be reached at all is left to chance
      const int n = 2 + (int)test_below_int(5);
      int known = 0;
      for (int k = 0; k < n; k++) token[count][k] = (char)('a' + test_below_int(2));
      for (int k = 256; k < count; k++) known |= length[k] == n && !memcmp(token[k], token[count], (size_t)n);
      if (known && count > 300) break;
      if (!known) length[count++] = n;
    }
    for (int i = 256; i < count; i++) {  // ranks in any order
      const int k = 256 + (int)test_below_int(count - 256), n = length[i];
      char swap[16];
      memcpy(swap, token[i], 16); memcpy(token[i], token[k], 16); memcpy(token[k], swap, 16);
      length[i] = length[k];
      length[k] = n;
    }
    for (int i = 0; i < count; i++) {
      for (int at = 0; at < length[i]; at += 3) {
        uint32_t b = (uint32_t)(unsigned char)token[i][at] << 16;
        if (at + 1 < length[i]) b |= (uint32_t)(unsigned char)token[i][at + 1] << 8;
        if (at + 2 < length[i]) b |= (unsigned char)token[i][at + 2];
        for (int k = 0; k < 4; k++) file[size++] = at + k > length[i] ? '=' : digits[b >> (18 - 6 * k) & 63];
      }
      size += (size_t)snprintf(file + size, sizeof file - size, " %d\n", i);
    }
    memset(&source, 0, sizeof source);
    source.file.bytes = file;
    source.file.count = (fr_int)size;
    source.split = FR_SPLIT_NONE;
    source.specials = &whole;
    source.special_count = round % 2;
    if (!CHECK(place(&p, &source, &reason) == FR_OK)) { fprintf(stderr, "%s\n", reason.text); continue; }
    open_coder(&c, &p.t, 200, 8);
    for (int k = 0; k < 100; k++) {
      char text[200];
      fr_token ids[201], slow[200];
      int from[201];
      const fr_int bytes = 1 + test_below_int(k % 2 ? 8 : 200);
      fr_int n = bytes;
      int id;
      for (fr_int i = 0; i < bytes; i++) { text[i] = (char)('a' + test_below_int(2)); from[i] = (int)i; slow[i] = text[i]; }
      from[bytes] = (int)bytes;
      for (id = 0; id < count && (length[id] != bytes || memcmp(token[id], text, (size_t)bytes)); id++) {}
      if (id < count && !(bytes == 2 && round % 2 && !memcmp(text, "ab", 2))) {
        n = 1;
        slow[0] = id;
      } else for (;;) {
        int best = count, at = -1;
        for (fr_int i = 0; i + 1 < n; i++)
          for (int k2 = 0; k2 < best; k2++)
            if (length[k2] == from[i + 2] - from[i] && !memcmp(token[k2], text + from[i], (size_t)length[k2])) { best = k2; at = (int)i; }
        if (at < 0) break;
        slow[at] = best;
        for (fr_int i = at + 1; i + 1 < n; i++) slow[i] = slow[i + 1];
        for (fr_int i = at + 1; i < n; i++) from[i] = from[i + 1];
        n--;
      }
      CHECK(encode(&c, text, bytes, FR_SPECIALS_TEXT, ids) == n && !memcmp(ids, slow, (size_t)n * sizeof *ids));
    }
    // Merges are listed by rank, then left, then right; both saved forms keep the ids, our own also which ranks are equal.
    int equal = 0;
    for (fr_int i = 1; i < p.t.merge_count; i++) {
      const fr__merge a = p.t.body->merges[p.t.body->order[i - 1]], b = p.t.body->merges[p.t.body->order[i]];
      CHECK(a.rank < b.rank || (a.rank == b.rank && a.id == b.id && (a.left < b.left || (a.left == b.left && a.right < b.right))));
      CHECK(a.id <= b.id);
      equal += a.rank == b.rank;
    }
    CHECK(equal > 5);
    static char saved[20000];
    fr_int bytes = 0;
    CHECK(fr_tokenizer_write(&p.t, FR_TOKENIZER_OWN, saved, sizeof saved, &bytes, NULL) == FR_OK);
    memset(&source, 0, sizeof source);
    source.file.bytes = saved;
    source.file.count = bytes;
    CHECK(place(&again, &source, &reason) == FR_OK);
    for (fr_int i = 0; i < p.t.merge_count; i++)
      CHECK(p.t.body->merges[p.t.body->order[i]].rank == again.t.body->merges[again.t.body->order[i]].rank);
    drop(&again);
    close_coder(&c);
    drop(&p);
  }
}

// ---- a streamed text never shows half a character that is still to be completed
static void streaming(void)
{
  placed p;
  fr_decoder d;
  char out[64];
  fr_int got = -1, shown = 0;
  static const char text[] = "a\xC3\xA9\xE6\x97\xA5\xF0\x9F\x98\x80z";
  CHECK(place_file(&p, "fuzz/ok_small.json", FR_SPLIT_UNKNOWN, NULL) == FR_OK);
  memset(&d, 0, sizeof d);
  for (const char *s = text; *s; s++) {  // one byte a token
    CHECK(fr_tokenizer_stream(&p.t, &d, (fr_token)p.t.body->byte_ids[(unsigned char)*s], out + shown, 64 - shown, &got) == FR_OK);
    CHECK(got == 0 || fr__utf8(out + shown, got) == got);
    shown += got;
  }
  CHECK(shown == (fr_int)strlen(text) && !memcmp(out, text, strlen(text)));
  memset(&d, 0, sizeof d);  // bytes that can never become a character are not held back
  static const char bad[] = "\xFF\x80\xC0\xF8\xED\xA0\xE0\x80\xF0\x80";
  static const fr_int comes[] = { 1, 1, 1, 1, 0, 2, 0, 2, 0, 2 };
  for (int i = 0; i < 10; i++) {
    CHECK(fr_tokenizer_stream(&p.t, &d, (fr_token)p.t.body->byte_ids[(unsigned char)bad[i]], out, 64, &got) == FR_OK);
    CHECK(got == comes[i]);
  }
  CHECK(fr_tokenizer_stream(&p.t, &d, (fr_token)p.t.body->byte_ids[0xE6], out, 64, &got) == FR_OK && got == 0);
  CHECK(fr_tokenizer_stream(&p.t, &d, 100000, out, 64, &got) == FR_RANGE);
  CHECK(fr_tokenizer_stream(&p.t, &d, 64, out, 1, &got) == FR_LIMIT);
  CHECK(fr_tokenizer_stream(&p.t, &d, -1, out, 64, &got) == FR_OK && got == 1 && out[0] == '\xE6');  // the end: what is left
  CHECK(fr_tokenizer_stream(&p.t, &d, -1, out, 64, &got) == FR_OK && got == 0);
  const fr_token ids[2] = { 64, 9999 };
  fr_reason reason;
  CHECK(fr_tokenizer_decode(&p.t, ids, 2, out, 64, &got, &reason) == FR_RANGE && strstr(reason.text, "id 9999 at place 1"));
  CHECK(fr_tokenizer_decode(&p.t, ids, 1, out, 0, &got, &reason) == FR_LIMIT);
  CHECK(fr_tokenizer_decode(&p.t, ids, 1, NULL, 0, &got, &reason) == FR_OK && got == 1);
  drop(&p);
}

// ---- llama2.c: the file, and run.c's way of encoding written down once more
typedef struct sp { char text[700][12]; int length[700]; float score[700]; int count; } sp;
static fr_text sp_file(const sp *s)
{
  static char file[32000];
  fr_text text = { file, 4 };
  memset(file, 0, 4);
  file[0] = 12;
  for (int i = 0; i < s->count; i++) {
    uint32_t bits;
    memcpy(&bits, &s->score[i], 4);
    for (int k = 0; k < 4; k++) file[text.count++] = (char)(bits >> 8 * k);
    for (int k = 0; k < 4; k++) file[text.count++] = (char)(s->length[i] >> 8 * k);
    memcpy(file + text.count, s->text[i], (size_t)s->length[i]);
    text.count += s->length[i];
  }
  return text;
}
static int sp_find(const sp *s, const char *text, int length)
{
  for (int i = 0; i < s->count; i++) {
    if (i < 3 || (i < 259 && i >= 3)) continue;
    if (s->length[i] == length && !memcmp(s->text[i], text, (size_t)length)) return i;
  }
  return -1;
}
static int sp_encode(const sp *s, const char *text, int bytes, int *ids)
{
  int count = 0;
  if (bytes) ids[count++] = sp_find(s, " ", 1);
  for (int at = 0; at < bytes;) {
    int size = 1, id;
    while (size < 4 && at + size < bytes && ((unsigned char)text[at + size] & 0xC0) == 0x80) size++;
    id = sp_find(s, text + at, size);
    if (id >= 0) ids[count++] = id;
    else for (int i = 0; i < size; i++) ids[count++] = (unsigned char)text[at + i] + 3;
    at += size;
  }
  for (;;) {
    float best = -1e10f;
    int best_id = -1, best_at = -1;
    for (int i = 0; i + 1 < count; i++) {
      char both[24];
      if (ids[i] < 259 || ids[i + 1] < 259) continue;
      memcpy(both, s->text[ids[i]], (size_t)s->length[ids[i]]);
      memcpy(both + s->length[ids[i]], s->text[ids[i + 1]], (size_t)s->length[ids[i + 1]]);
      const int id = sp_find(s, both, s->length[ids[i]] + s->length[ids[i + 1]]);
      if (id >= 0 && s->score[id] > best) { best = s->score[id]; best_id = id; best_at = i; }
    }
    if (best_at < 0) return count;
    ids[best_at] = best_id;
    count--;
    for (int i = best_at + 1; i < count; i++) ids[i] = ids[i + 1];
  }
}
static void llama2(void)
{
  static sp s;
  static const char *const letters[] = { " ", "a", "b", "c", "\xC3\xA9", "\xF0\x9F\x98\x80" };
  static const char *const control[] = { "<unk>", "\n<s>\n", "\n</s>\n" };
  for (int round = 0; round < (test_brief() ? 3 : 12); round++) {  // each kind of scores
    placed p;
    fr_tokenizer_source source;
    fr_reason reason;
    memset(&s, 0, sizeof s);
    for (int i = 0; i < 3; i++) { strcpy(s.text[i], control[i]); s.length[i] = (int)strlen(control[i]); }
    for (int i = 3; i < 259; i++) { snprintf(s.text[i], 12, "<0x%02X>", i - 3); s.length[i] = 6; }
    s.count = 259;
    for (int i = 0; i < 6; i++) { strcpy(s.text[s.count], letters[i]); s.length[s.count++] = (int)strlen(letters[i]); }
    for (int tries = 0; tries < 400 && s.count < 400; tries++) {
      const int l = 259 + (int)test_below_int(s.count - 259), r = 259 + (int)test_below_int(s.count - 259);
      char both[24];
      if (s.length[l] + s.length[r] > 11) continue;
      memcpy(both, s.text[l], (size_t)s.length[l]);
      memcpy(both + s.length[l], s.text[r], (size_t)s.length[r]);
      if (sp_find(&s, both, s.length[l] + s.length[r]) >= 0) continue;
      s.length[s.count] = s.length[l] + s.length[r];
      memcpy(s.text[s.count], both, (size_t)s.length[s.count]);
      s.score[s.count] = round % 3 == 0 ? -(float)(s.count - 264) : -(float)test_below_int(round % 3 == 1 ? 20 : 1000);
      s.count++;
    }
    memset(&source, 0, sizeof source);
    source.file = sp_file(&s);
    source.forks = 2;
    if (!CHECK(place(&p, &source, &reason) == FR_OK)) { fprintf(stderr, "%s\n", reason.text); continue; }
    CHECK(p.t.sentencepiece && p.t.vocab == s.count + 2 && fr_tokenizer_find(&p.t, as_text("<think2>")) == s.count + 1);
    coder c;
    open_coder(&c, &p.t, 300, 16);
    for (int k = 0; k < 200; k++) {
      char text[300], back[400];
      fr_token ids[301];
      int slow[301], bytes = 0, want;
      fr_int got, at = 0, part;
      fr_decoder d;
      const int length = (int)test_below_int(k % 4 ? 40 : 290);
      while (bytes < length) {
        const char *l = test_below_int(12) ? letters[test_below_int(6)] : test_below_int(2) ? "\xC3" : "\xE6\x97\xA5";
        const int n = (int)strlen(l);
        if (bytes + n > length) break;
        memcpy(text + bytes, l, (size_t)n);
        bytes += n;
      }
      want = sp_encode(&s, text, bytes, slow);
      got = encode(&c, text, bytes, FR_SPECIALS_TEXT, ids);
      CHECK(got == want);
      for (int i = 0; i < want && got == want; i++) CHECK(ids[i] == slow[i]);
      CHECK(comes_back(&p.t, text, bytes, ids, got));
      memset(&d, 0, sizeof d);
      for (fr_int i = 0; i <= got; i++, at += part)
        CHECK(fr_tokenizer_stream(&p.t, &d, i < got ? ids[i] : -1, back + at, 400 - at, &part) == FR_OK);
      CHECK(at == bytes && !memcmp(back, text, (size_t)bytes));
    }
    close_coder(&c);
    fr_int need;
    CHECK(fr_tokenizer_write(&p.t, FR_TOKENIZER_JSON, NULL, 0, &need, &reason) == FR_UNSUPPORTED);
    drop(&p);
    // cut anywhere, it is refused
    for (fr_int cut = 4; cut < source.file.count; cut += 1 + test_below_int(400)) {
      fr_tokenizer_source part = source;
      fr_int at = 4, id = 0;
      part.file.count = cut;
      for (; at < cut; id++) at += 8 + s.length[id];
      CHECK(place(&p, &part, &reason) == (at == cut && id > 259 ? FR_OK : FR_FORMAT) || (at == cut && id > 258));
      drop(&p);
    }
    const int had = s.length[0];
    s.length[0] = 0;
    source.file = sp_file(&s);
    CHECK(place(&p, &source, &reason) == FR_FORMAT && strstr(reason.text, "token 0 of tokenizer.bin: a token is empty"));
    drop(&p);
    s.length[0] = had;
    s.score[300 % s.count] = (float)NAN;
    source.file = sp_file(&s);
    CHECK(place(&p, &source, &reason) == FR_FORMAT && strstr(reason.text, "not a number"));
    drop(&p);
  }
}

// A real vocabulary of llama2.c, where it is at hand: this reads the file on its own, and run.c's rule gives the same ids.
static void tok512(void)
{
  static const char path[] = "../shared/data/tok512.bin";
  static unsigned char file[1 << 20];
  static sp s;
  fr_tokenizer t;
  fr_reason reason;
  coder c;
  FILE *f = fopen(path, "rb"), *prose;
  if (!f) { printf("skipped: %s is not there\n", path); return; }
  const size_t bytes = fread(file, 1, sizeof file, f);
  fclose(f);
  for (size_t at = 4; at + 8 <= bytes && s.count < 700; s.count++) {
    const unsigned char *p = file + at;
    const uint32_t bits = p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
    memcpy(&s.score[s.count], &bits, 4);
    s.length[s.count] = p[4];
    if (!CHECK(p[4] < 12 && !p[5] && !p[6] && !p[7])) return;
    memcpy(s.text[s.count], p + 8, p[4]);
    at += 8 + (size_t)p[4];
  }
  if (!CHECK(fr_tokenizer_load(&t, path, NULL, NULL, &reason) == FR_OK)) { fprintf(stderr, "%s\n", reason.text); return; }
  CHECK(t.sentencepiece && t.vocab == s.count && s.count == 512);
  open_coder(&c, &t, 400, 0);
  prose = fopen("README.md", "rb");
  if (!CHECK(prose != NULL)) return;
  for (int k = test_times(400); k > 0; k--) {  // run.c's rule is slow
    char text[320];
    int slow[321], length = 0, want, same;
    fr_token ids[321];
    if (k % 2) {
      length = (int)fread(text, 1, 1 + (size_t)test_below_int(300), prose);
    } else {
      while (length < 280) {  // tokens next to each other, which like to join in other ways
        const int id = 259 + (int)test_below_int(s.count - 259);
        memcpy(text + length, s.text[id], (size_t)s.length[id]);
        length += s.length[id];
      }
    }
    want = sp_encode(&s, text, length, slow);
    same = encode(&c, text, length, FR_SPECIALS_TEXT, ids) == want;
    for (int i = 0; i < want && same; i++) same = ids[i] == slow[i];
    CHECK(same && comes_back(&t, text, length, ids, want));
  }
  fclose(prose);
  close_coder(&c);
  fr_tokenizer_free(&t);
}

// ---- files
static void files(void)
{
  const fr_text manifest = data_file("fuzz/MANIFEST.tsv");
  int count = 0;
  for (const char *line = manifest.bytes; *line; line = strchr(line, '\n') + 1) {
    char name[100], verdict[20], path[140];
    placed p;
    fr_reason reason;
    fr_tokenizer_source source;
    fr_status status;
    CHECK(sscanf(line, "%99s %19s", name, verdict) == 2);
    snprintf(path, sizeof path, "fuzz/%s", name);
    const fr_text file = data_file(path);
    memset(&source, 0, sizeof source);
    source.file = file;
    if (strstr(name, "tiktoken")) source.split = FR_SPLIT_GPT2;
    memset(&reason, 'x', sizeof reason);
    status = place(&p, &source, &reason);
    if (!strcmp(verdict, "ok")) CHECK(status == FR_OK);
    if (!strcmp(verdict, "reject")) CHECK(status != FR_OK);
    // What others disagree on: line ends of Windows are fine; an id or a text that is there twice, or an empty one, is not.
    if (!strcmp(verdict, "either")) CHECK(status == (strstr(name, "crlf") ? FR_OK : FR_FORMAT));
    CHECK(memchr(reason.text, 0, sizeof reason.text) && (status != FR_OK) == (reason.text[0] != 0));
    if (status && !strcmp(verdict, "ok")) fprintf(stderr, "%s: %s\n", name, reason.text);
    drop(&p);
    // Every cut, and some damage, ends in a status.
    for (int k = 0; k < 60; k++) {
      char *copy = (char *)test_alloc((size_t)file.count);
      source.file.bytes = copy;
      source.file.count = k < 20 ? test_below_int(file.count + 1) : file.count;
      if (file.count) memcpy(copy, file.bytes, (size_t)file.count);
      for (int m = 0; k >= 20 && file.count && m < 1 + k % 3; m++) copy[test_below_int(file.count)] = (char)test_bits();
      status = place(&p, &source, &reason);
      CHECK((unsigned)status < (unsigned)FR_STATUS_COUNT);
      drop(&p);
      free(copy);
    }
    free((void *)(uintptr_t)file.bytes);
    count++;
  }
  CHECK(count == 30);
  free((void *)(uintptr_t)manifest.bytes);
}

#define SEQUENCE "{\"type\":\"Sequence\",\"pretokenizers\":["
#define DIGITS "{\"type\":\"Digits\",\"individual_digits\":true}"
// What is refused says where and why. %s in a template is where each case puts its own.
static void refusals(void)
{
  static const struct { const char *added, *middle, *model; fr_status status; const char *words; } cases[] = {
    { "", "", "", FR_OK, "" },
    { "", "\"normalizer\":{\"type\":\"NFC\"},", "", FR_OK, "" },
    { "", "\"normalizer\":{\"type\":\"NFKC\"},", "", FR_UNSUPPORTED, "this normaliser is not supported: NFKC" },
    { "", "\"decoder\":{\"type\":\"Metaspace\"},", "", FR_UNSUPPORTED, "this decoder is not supported: Metaspace" },
    { "", "", "\"type\":\"WordPiece\",", FR_UNSUPPORTED, "this type of model is not supported: WordPiece" },
    { "", "", "\"dropout\":0.1,", FR_UNSUPPORTED, "dropout is not supported: 0.1" },
    { "", "", "\"dropout\":0.0,\"unk_token\":null,\"end_of_word_suffix\":\"\",", FR_OK, "" },
    { "", "", "\"end_of_word_suffix\":\"</w>\",", FR_UNSUPPORTED, "end_of_word_suffix is not supported: </w>" },
    { "", "", "\"continuing_subword_prefix\":\"##\",", FR_UNSUPPORTED, "continuing_subword_prefix" },
    { "", "", "\"byte_fallback\":true,", FR_UNSUPPORTED, "byte_fallback is not supported" },
    { "{\"id\":257,\"content\":\"x\",\"lstrip\":true}", "", "", FR_UNSUPPORTED, "property that is not supported: lstrip" },
    { "{\"id\":257,\"content\":\"x\",\"rstrip\":true}", "", "", FR_UNSUPPORTED, "property that is not supported: rstrip" },
    { "{\"id\":257,\"content\":\"x\",\"single_word\":true}", "", "", FR_UNSUPPORTED, "property that is not supported: single_word" },
    { "", "\"truncation\":{\"max_length\":3},", "", FR_UNSUPPORTED, "truncation is not supported" },
    { "", "\"truncation\":null,\"padding\":null,", "", FR_OK, "" },
    { "", "\"padding\":{\"strategy\":\"BatchLongest\",\"pad_to_multiple_of\":null,\"pad_id\":0},", "", FR_OK, "" },
    { "", "\"padding\":{\"strategy\":\"BatchLongest\",\"pad_to_multiple_of\":8},", "", FR_UNSUPPORTED, "padding is not supported" },
    { "", "\"padding\":{\"strategy\":{\"Fixed\":9},\"pad_to_multiple_of\":null},", "", FR_UNSUPPORTED, "padding is not supported" },
    { "", "", "\"truncation\":{\"max_length\":3},", FR_OK, "" },  // of the model: no one reads it
    { "{\"id\":257,\"content\":\"xyz\",\"rstrip\":false}", "", "", FR_OK, "" },
    { "{\"id\":257,\"content\":\"xyz\"},{\"id\":258,\"content\":\"xyz\"}", "", "", FR_FORMAT, "257 and 258 are the same text" },
    { "{\"id\":257,\"content\":\"xyz\"},{\"id\":257,\"content\":\"xy\"}", "", "", FR_FORMAT, "two tokens have the same id" },
    { "{\"id\":3,\"content\":\"xyz\"}", "", "", FR_FORMAT, "an added token has the id of another token" },
    { "{\"id\":256,\"content\":\"te\"}", "", "", FR_OK, "" },  // also in the vocabulary
    { "{\"id\":-1,\"content\":\"te\"}", "", "", FR_FORMAT, "an added token needs an id" },
    { "{\"id\":300000,\"content\":\"te\"}", "", "", FR_FORMAT, "an id is larger" },
    { "{\"id\":99999999999999999999999,\"content\":\"te\"}", "", "", FR_FORMAT, "an id is larger" },
    { "{\"id\":260,\"content\":\"\"}", "", "", FR_FORMAT, "a token is empty" },
    { "7", "", "", FR_FORMAT, "column 34: an added token must be an object" },
    { "", "", "\"ignore_merges\":true,\"merges\":[\"t e\",\"t e\"],", FR_FORMAT, "a merge is there twice" },
    { "", "", "\"merges\":[\"te t\"],", FR_FORMAT, "tokens that are not there" },
    { "", "", "\"merges\":[[\"t\",\"e\",\"e\"]],", FR_FORMAT, "a merge needs two strings" },
    { "", "", "\"merges\":[[\"t\"]],", FR_FORMAT, "a merge needs two strings" },
    { "", "", "\"merges\":[\"te\"],", FR_FORMAT, "a merge must be of two tokens" },
    { "", "", "\"merges\":[\" te\"],", FR_FORMAT, "a merge must be of two tokens" },
    { "", "", "\"merges\":[\"t e \"],", FR_FORMAT, "a merge must be of two tokens" },
    { "", "", "\"merges\":[\"t \xE6\x97\xA5\"],", FR_FORMAT, "a merge must be of two tokens" },
  };
  static const struct { const char *pre; fr_status status; fr_split split; const char *words; } pres[] = {
    { "{\"type\":\"ByteLevel\",\"add_prefix_space\":false}", FR_OK, FR_SPLIT_GPT2, "" },
    { "{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"use_regex\":false}", FR_OK, FR_SPLIT_NONE, "" },
    { "{\"type\":\"ByteLevel\",\"add_prefix_space\":true}", FR_UNSUPPORTED, FR_SPLIT_NONE, "add_prefix_space must be false" },
    { "{\"type\":\"ByteLevel\"}", FR_UNSUPPORTED, FR_SPLIT_NONE, "add_prefix_space must be false" },
    { "{\"type\":\"Whitespace\"}", FR_UNSUPPORTED, FR_SPLIT_NONE, "this pre-tokenizer is not supported: Whitespace" },
    { "null", FR_UNSUPPORTED, FR_SPLIT_NONE, "this pre-tokenizer is not supported: null" },
    { "{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"ByteLevel\",\"add_prefix_space\":false}]}", FR_OK, FR_SPLIT_GPT2, "" },
    { "{\"type\":\"Sequence\",\"pretokenizers\":[]}", FR_UNSUPPORTED, FR_SPLIT_NONE, "only Split or Digits" },
    { "{\"type\":\"Sequence\"}", FR_UNSUPPORTED, FR_SPLIT_NONE, "not supported" },
    { SEQUENCE DIGITS ",{\"type\":\"ByteLevel\",\"add_prefix_space\":false}]}", FR_OK, FR_SPLIT_SMOLLM, "" },
    { SEQUENCE DIGITS ",{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"use_regex\":true}]}", FR_OK, FR_SPLIT_SMOLLM, "" },
    { SEQUENCE DIGITS ",{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"use_regex\":false}]}", FR_UNSUPPORTED, FR_SPLIT_NONE, "use_regex true" },
    { SEQUENCE DIGITS ",{\"type\":\"ByteLevel\",\"add_prefix_space\":true}]}", FR_UNSUPPORTED, FR_SPLIT_NONE, "must be false" },
    { SEQUENCE DIGITS "]}", FR_UNSUPPORTED, FR_SPLIT_NONE, "not supported: Digits" },
    { SEQUENCE DIGITS "," DIGITS ",{\"type\":\"ByteLevel\",\"add_prefix_space\":false}]}", FR_UNSUPPORTED, FR_SPLIT_NONE, "only Split or Digits" },
    { SEQUENCE "{\"type\":\"Digits\"},{\"type\":\"ByteLevel\",\"add_prefix_space\":false}]}", FR_UNSUPPORTED, FR_SPLIT_NONE, "individual_digits true" },
    { SEQUENCE "{\"type\":\"Digits\",\"individual_digits\":false},{\"type\":\"ByteLevel\",\"add_prefix_space\":false}]}", FR_UNSUPPORTED,
      FR_SPLIT_NONE, "individual_digits true" },
    { SEQUENCE "{\"type\":\"Punctuation\"},{\"type\":\"ByteLevel\",\"add_prefix_space\":false}]}", FR_UNSUPPORTED, FR_SPLIT_NONE, "not supported: Punctuation" },
    { "{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Split\",\"behavior\":\"Isolated\",\"pattern\":{\"Regex\":\"\\\\s+\"}},"
      "{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"use_regex\":false}]}", FR_UNSUPPORTED, FR_SPLIT_NONE,
      "this regular expression is not supported: \\\\s+" },
    { "{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Split\",\"behavior\":\"Removed\",\"pattern\":{\"Regex\":\"\\\\s+\"}},"
      "{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"use_regex\":false}]}", FR_UNSUPPORTED, FR_SPLIT_NONE, "must be Isolated: Removed" },
    { "{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Split\",\"behavior\":\"Isolated\",\"pattern\":{\"Regex\":\"\\\\s+\"}},"
      "{\"type\":\"ByteLevel\",\"add_prefix_space\":false}]}", FR_UNSUPPORTED, FR_SPLIT_NONE, "use_regex false" },
  };
  static char file[20000], vocab[8000];
  fr_tokenizer_source source;
  placed p;
  fr_reason reason;
  size_t length = 0;
  for (int byte = 0; byte < 256; byte++)
    length += (size_t)snprintf(vocab + length, sizeof vocab - length, "\"\\u%04X\":%d,", fr__byte_char(byte), byte);
  memset(&source, 0, sizeof source);
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    snprintf(file, sizeof file, "{\"version\":\"1.0\",\"added_tokens\":[%s],%s\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":false},"
             "\"model\":{%s%s\"vocab\":{%s\"te\":256}}}", cases[i].added, cases[i].middle, cases[i].model,
             strstr(cases[i].model, "merges\"") ? "" : "\"merges\":[\"t e\"],", vocab);
    source.file = as_text(file);
    if (!CHECK(place(&p, &source, &reason) == cases[i].status && strstr(reason.text, cases[i].words)))
      fprintf(stderr, "case %d: %s\n", (int)i, reason.text);
    drop(&p);
  }
  for (size_t i = 0; i < sizeof pres / sizeof *pres; i++) {
    snprintf(file, sizeof file, "{\"pre_tokenizer\":%s,\"model\":{\"merges\":[\"t e\"],\"vocab\":{%s\"te\":256}}}", pres[i].pre, vocab);
    source.file = as_text(file);
    if (!CHECK(place(&p, &source, &reason) == pres[i].status && strstr(reason.text, pres[i].words)))
      fprintf(stderr, "pre-tokenizer %d: %s\n", (int)i, reason.text);
    if (!pres[i].status) CHECK(p.t.split == pres[i].split);
    drop(&p);
  }
  // A special that is also in the vocabulary: ignore_merges may not make it from text that only looks like it.
  snprintf(file, sizeof file, "{\"added_tokens\":[{\"id\":257,\"content\":\"zq\"}],\"pre_tokenizer\":%s,\"model\":{\"ignore_merges\":true,"
           "\"merges\":[\"t e\"],\"vocab\":{%s\"te\":256,\"zq\":257,\"tez\":258}}}", pres[0].pre, vocab);
  source.file = as_text(file);
  if (CHECK(place(&p, &source, &reason) == FR_OK)) {
    fr_token ids[8];
    coder c;
    open_coder(&c, &p.t, 8, 8);
    CHECK(encode(&c, "zq", 2, FR_SPECIALS_TEXT, ids) == 2 && ids[0] == 'z' && ids[1] == 'q');
    CHECK(encode(&c, "zq", 2, FR_SPECIALS_MATCH, ids) == 1 && ids[0] == 257);
    CHECK(encode(&c, "tez", 3, FR_SPECIALS_TEXT, ids) == 1 && ids[0] == 258);
    close_coder(&c);
  }
  drop(&p);
  // A byte without token, a repeated token, a token in other characters.
  static const char *const ends[] = { "\"te\":256", "\"te\":256,\"te\":257", "\"t e\":256", "\"te\":\"x\"", "\"te\":1.5", "\"te\":3", "\"\":256" };
  static const char *const words[] = { "no token for byte 126", "a token is there twice", "not written in the characters of ByteLevel: t e",
                                       "an id must be a whole number", "an id must be a whole number", "two tokens have the same id", "a token is empty" };
  for (int i = 0; i < 7; i++) {
    char *tilde = strstr(vocab, "\"\\u007E\":");
    if (i == 0) *tilde = 0;  // the bytes behind it, and it
    snprintf(file, sizeof file, "{\"pre_tokenizer\":%s,\"model\":{\"vocab\":{%s%s},\"merges\":[]}}", pres[0].pre, vocab, ends[i]);
    if (i == 0) *tilde = '"';
    source.file = as_text(file);
    if (!CHECK(place(&p, &source, &reason) != FR_OK && strstr(reason.text, words[i]))) fprintf(stderr, "end %d: %s\n", i, reason.text);
    drop(&p);
  }
  // Lines.
  static const struct { const char *text, *words; fr_split split; int merges; } lines[] = {
    { "IQ== 0\n", "no token for byte 10", FR_SPLIT_GPT2, 0 }, { "IQ== 0\nIg= 1\n", "line 2: base64", FR_SPLIT_GPT2, 0 },
    { "IQ== 0\nIg==1\n", "line 2: base64", FR_SPLIT_GPT2, 0 }, { "IQ== 0\n\nIg== x\n", "line 3: a blank and a rank", FR_SPLIT_GPT2, 0 },
    { "IQ== 0\nIg== 0\n", "line 2: two tokens have the same id", FR_SPLIT_GPT2, 0 }, { "IQ== 0\nIQ== 1\n", "line 2: a token is there twice", FR_SPLIT_GPT2, 0 },
    { "IQ== 0\n", "set split", FR_SPLIT_UNKNOWN, 0 }, { " \n\t \r\n", "set split", FR_SPLIT_UNKNOWN, 0 },
    { "\xFF\xFE{\"", "the file is UTF-16", FR_SPLIT_UNKNOWN, 0 }, { "\xFE\xFF{\"", "the file is UTF-16", FR_SPLIT_GPT2, 0 }, { "I=== 0\n", "line 1: base64", FR_SPLIT_GPT2, 0 }, { "IQ== 70000\n", "larger", FR_SPLIT_GPT2, 0 },
    { "#version: 0.2\nt e\nx\n", "line 3 of the merges: two tokens", FR_SPLIT_GPT2, 0 }, { "t e\nte e e\n", "line 2 of the merges: two tokens", FR_SPLIT_GPT2, 1 },
    { "t e\nt e\n", "line 2 of the merges: a token is there twice", FR_SPLIT_GPT2, 1 }, { "t e\nqq e\n", "line 2 of the merges: a merge is of tokens", FR_SPLIT_GPT2, 1 },
    { "t e\nt \xE6\x97\xA5\n", "line 2 of the merges: two tokens", FR_SPLIT_GPT2, 1 }, { "t e\nt \xFF\n", "line 2 of the merges: two tokens", FR_SPLIT_GPT2, 1 } };
  for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
    memset(&source, 0, sizeof source);
    source.split = lines[i].split;
    if (lines[i].merges) source.merges = as_text(lines[i].text);
    else source.file = as_text(lines[i].text);
    if (!CHECK(place(&p, &source, &reason) != FR_OK && strstr(reason.text, lines[i].words))) fprintf(stderr, "lines %d: %s\n", (int)i, reason.text);
    drop(&p);
  }
  // Ids with holes: only as far as the file could need.
  CHECK(fr_tokenizer_place(NULL, NULL, NULL, 0, &p.bytes, &reason) == FR_INVALID && fr_tokenizer_place(NULL, &source, NULL, 0, NULL, &reason) == FR_INVALID);
  source.forks = -1;
  CHECK(fr_tokenizer_place(NULL, &source, NULL, 0, &p.bytes, &reason) == FR_INVALID);
}

// ---- merges.txt alone, with vocab.json, and tokenizer.json are the same tokenizer
static int equal_ids(const fr_tokenizer *a, const fr_tokenizer *b)
{
  coder x, y;
  char text[400];
  fr_token one[1201], two[1201];
  int good = 1;
  open_coder(&x, a, 400, 64);
  open_coder(&y, b, 400, 0);
  for (int k = 0; k < 300; k++) {
    const fr_int bytes = noise(text, 400), count = encode(&x, text, bytes, FR_SPECIALS_MATCH, one);
    good = good && encode(&y, text, bytes, FR_SPECIALS_MATCH, two) == count && !memcmp(one, two, (size_t)count * sizeof *one);
  }
  close_coder(&x);
  close_coder(&y);
  return good;
}

static void forms(void)
{
  static const char *const names[] = { "tiny/gpt2style/tokenizer.json", "tiny/llama3style/tokenizer.json", "tiny/qwenstyle/tokenizer.json" };
  const fr_text merges = data_file("tiny/gpt2style/merges.txt"), vocab = data_file("tiny/gpt2style/vocab.json");
  const fr_special none = { { "<unseen>", 8 }, -1 };
  fr_tokenizer_source source;
  placed json, other;
  fr_reason reason;
  memset(&source, 0, sizeof source);
  CHECK(place_file(&json, names[0], FR_SPLIT_UNKNOWN, &reason) == FR_OK);
  fr_special list[15];
  for (int i = 0; i < 15; i++) { list[i].text = fr_tokenizer_token(&json.t, 512 + i); list[i].id = -1; }
  source.specials = list;
  source.special_count = 15;
  source.merges = merges;
  for (int with = 0; with < 3; with++) {
    if (with == 1) source.file = vocab;
    if (with == 2) { source.file = merges; source.merges.bytes = NULL; source.merges.count = 0; }
    if (CHECK(place(&other, &source, &reason) == FR_OK)) {
      CHECK(other.t.vocab == 527 && other.t.merge_count == 256 && other.t.split == FR_SPLIT_GPT2);
      CHECK(equal_ids(&json.t, &other.t));
    } else {
      fprintf(stderr, "%s\n", reason.text);
    }
    drop(&other);
  }
  drop(&json);
  // Saved in both forms and read back.
  for (int n = 0; n < 5; n++) {
    memset(&source, 0, sizeof source);
    source.specials = &none;
    source.special_count = 1;
    source.forks = 7;
    const fr_text file = n == 4 ? smollm_file() : data_file(n < 3 ? names[n] : "fuzz/ok.tiktoken");
    source.file = file;
    if (n == 3) source.split = FR_SPLIT_LLAMA3;
    CHECK(place(&json, &source, &reason) == FR_OK);
    for (int form = 0; form < 2; form++) {
      fr_tokenizer_source saved;
      fr_int bytes = 0, again = 0;
      CHECK(fr_tokenizer_write(&json.t, (fr_tokenizer_form)form, NULL, 0, &bytes, &reason) == FR_OK && bytes > 1000);
      char *memory = (char *)test_alloc((size_t)bytes + 8);
      memset(memory, 7, (size_t)bytes + 8);
      CHECK(fr_tokenizer_write(&json.t, (fr_tokenizer_form)form, memory, bytes - 1, &again, &reason) == FR_MEMORY && memory[0] == 7);
      CHECK(fr_tokenizer_write(&json.t, (fr_tokenizer_form)form, memory, bytes, &again, &reason) == FR_OK && again == bytes);
      CHECK(memory[bytes] == 7);
      memset(&saved, 0, sizeof saved);
      saved.file.bytes = memory;
      saved.file.count = bytes;
      if (form == 1) {  // what others hide: the caller's specials and what the source says; forks are text
        const struct { const char *content, *special; } flags[] = { { "<unseen>", "true" }, { "<think7>", "false" }, { "<|endoftext|>", "true" }, { "<think1>", "false" } };
        memory[bytes] = 0;
        for (int i = 0; i < 4; i++) {
          char begin[40], end[100];
          snprintf(begin, sizeof begin, "\"content\":\"%s\"", flags[i].content);
          snprintf(end, sizeof end, ",\"single_word\":false,\"lstrip\":false,\"rstrip\":false,\"normalized\":false,\"special\":%s}", flags[i].special);
          const char *at = strstr(memory, begin);
          if (n != 3 || i != 2) CHECK(at && !strncmp(at + strlen(begin), end, strlen(end)));
        }
      }
      if (CHECK(place(&other, &saved, &reason) == FR_OK)) {
        CHECK(other.t.vocab == json.t.vocab && other.t.merge_count == json.t.merge_count && other.t.split == json.t.split &&
              other.t.special_count == json.t.special_count && other.t.nfc == json.t.nfc && other.t.ignore_merges == json.t.ignore_merges &&
              other.t.longest == json.t.longest);
        CHECK(equal_ids(&json.t, &other.t));
        for (fr_token id = 0; id < json.t.vocab; id++) {
          const fr_text a = fr_tokenizer_token(&json.t, id), b = fr_tokenizer_token(&other.t, id);
          CHECK(a.count == b.count && (a.count == 0 || !memcmp(a.bytes, b.bytes, (size_t)a.count)) &&
                is_special(&json.t, id) == is_special(&other.t, id) && json.t.body->kinds[id] % 32 == other.t.body->kinds[id] % 32);
        }
        char *second = (char *)test_alloc((size_t)bytes);
        if (form == 0) CHECK(fr_tokenizer_write(&other.t, FR_TOKENIZER_OWN, second, bytes, &again, NULL) == FR_OK && !memcmp(memory, second, (size_t)bytes));
        free(second);
      } else {
        fprintf(stderr, "form %d of %d: %s\n", form, n, reason.text);
      }
      drop(&other);
      if (form == 0) {  // every byte is under the checksum; a file with a right checksum and wrong numbers is refused too
        for (int k = 0; k < 300; k++) {
          const fr_int at = k < 64 ? k : test_below_int(bytes);
          const char was = memory[at];
          memory[at] = (char)(was ^ (1 << test_below_int(8)));
          CHECK(place(&other, &saved, &reason) != FR_OK && reason.text[0]);
          drop(&other);
          const uint64_t sum = fr__hash(0, memory, bytes - 8);
          for (int i = 0; i < 8; i++) memory[bytes - 8 + i] = (char)(sum >> 8 * i);
          const fr_status status = place(&other, &saved, &reason);
          CHECK((unsigned)status < (unsigned)FR_STATUS_COUNT && status != FR_CHECKSUM);
          drop(&other);
          memory[at] = was;
          const uint64_t right = fr__hash(0, memory, bytes - 8);
          for (int i = 0; i < 8; i++) memory[bytes - 8 + i] = (char)(right >> 8 * i);
        }
        for (int k = 0; k < 100; k++) {
          saved.file.count = test_below_int(bytes);
          CHECK(place(&other, &saved, &reason) != FR_OK);
          drop(&other);
        }
      }
      free(memory);
    }
    drop(&json);
    free((void *)(uintptr_t)file.bytes);
  }
  free((void *)(uintptr_t)merges.bytes);
  free((void *)(uintptr_t)vocab.bytes);
}

// The same again from each form that it can be written in.
static void case_again(placed *p, fr_tokenizer_form form)
{
  fr_tokenizer_source source;
  fr_int bytes = 0;
  fr_reason reason;
  placed again;
  CHECK(fr_tokenizer_write(&p->t, form, NULL, 0, &bytes, &reason) == FR_OK);
  char *memory = (char *)test_alloc((size_t)bytes);
  CHECK(fr_tokenizer_write(&p->t, form, memory, bytes, &bytes, &reason) == FR_OK);
  memset(&source, 0, sizeof source);
  source.file.bytes = memory;
  source.file.count = bytes;
  if (!CHECK(place(&again, &source, &reason) == FR_OK)) fprintf(stderr, "%s\n", reason.text);
  free(memory);
  drop(p);
  *p = again;
}

// ---- GGUF: small ones made by others, with the ids that llama.cpp gives; and what is refused, in files made here
static int ids_are(coder *c, const char *text, const char *words)
{
  fr_token ids[200];
  const fr_int count = encode(c, text, (fr_int)strlen(text), FR_SPECIALS_MATCH, ids);
  char *at = (char *)(uintptr_t)words;
  int same = 1;
  for (fr_int i = 0; i < count && same; i++) same = ids[i] == (fr_token)strtol(at, &at, 10);
  return same && *at == 0;
}

typedef struct made_file { char bytes[20000]; fr_int count; } made_file;
static void put(made_file *m, uint64_t value, int bytes) { for (; bytes > 0; bytes--, value >>= 8) m->bytes[m->count++] = (char)value; }
static void put_text(made_file *m, const char *text)
{
  put(m, strlen(text), 8);
  for (; *text; text++) m->bytes[m->count++] = *text;
}
static void put_pair(made_file *m, const char *key, const char *value)
{
  put_text(m, key);
  put(m, 8, 4);
  put_text(m, value);
}
// A file of 256 bytes, a merge "t e" or another, and a token of some type, which may be cut short.
static fr_text make_gguf(made_file *m, const char *model, const char *pre, const char *merge, const char *own, int type, int types, int of)
{
  fr_text text;
  m->count = 0;
  put(m, 0x46554747, 4); put(m, 3, 4); put(m, 0, 8); put(m, 5, 8);
  put_pair(m, "tokenizer.ggml.model", model);
  put_pair(m, "tokenizer.ggml.pre", pre);
  put_text(m, "tokenizer.ggml.tokens"); put(m, 9, 4); put(m, 8, 4); put(m, 258, 8);
  for (int byte = 0; byte < 256; byte++) {
    char one[5] = { 0, 0, 0, 0, 0 };
    fr__utf8_put(fr__byte_char(byte), one);
    put_text(m, one);
  }
  put_text(m, "te");
  put_text(m, own);
  put_text(m, "tokenizer.ggml.token_type"); put(m, 9, 4); put(m, (uint64_t)of, 4); put(m, (uint64_t)types, 8);
  for (int id = 0; id < types; id++) put(m, (uint64_t)(id == 257 ? type : 1), 4);
  put_text(m, "tokenizer.ggml.merges"); put(m, 9, 4); put(m, 8, 4); put(m, 1, 8);
  put_text(m, merge);
  text.bytes = m->bytes;
  text.count = m->count;
  return text;
}

// ---- what others put before each text: kept through every form, and never put by fr_tokenizer_encode
static void begins(void)
{
  static const struct { const char *post; fr_token begins; } posts[] = {
    { "null", -1 }, { "{\"type\":\"ByteLevel\",\"trim_offsets\":false}", -1 },
    { "{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":\"<|im_start|>\",\"type_id\":0}},{\"Sequence\":{\"id\":\"A\"}}]}", 513 },
    { "{\"type\":\"TemplateProcessing\",\"single\":[{\"Sequence\":{\"id\":\"A\"}},{\"SpecialToken\":{\"id\":\"<|im_end|>\"}}]}", -1 },
    { "{\"type\":\"Sequence\",\"processors\":[{\"type\":\"ByteLevel\"},{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":"
      "{\"id\":\"<|\\u0069m_end|>\"}},{\"Sequence\":{\"id\":\"A\"}}]},{\"type\":\"ByteLevel\"}]}", 514 },
    { "{\"type\":\"TemplateProcessing\",\"single\":[]}", -1 }, { "{\"type\":\"TemplateProcessing\",\"single\":{}}", -1 },
    { "{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":7}}]}", -1 } };
  fr_text whole = data_file("tiny/llama3style/tokenizer.json");
  char *text = (char *)test_alloc((size_t)whole.count + 1000);
  const char *from, *to;
  text[0] = 0;
  memcpy(text, whole.bytes, (size_t)whole.count);
  text[whole.count] = 0;
  from = strstr(text, "\"post_processor\": ");
  to = from ? strchr(from, '}') : NULL;
  for (size_t i = 0; CHECK(to != NULL) && i < sizeof posts / sizeof *posts; i++) {
    const fr_int before = from - text + 18, after = to + 1 - text;
    char *made = (char *)test_alloc((size_t)whole.count + 1000);
    const fr_int count = (fr_int)sprintf(made, "%.*s%s%s", (int)before, text, posts[i].post, text + after);
    fr_tokenizer_source source;
    fr_reason reason;
    placed p;
    coder c;
    memset(&source, 0, sizeof source);
    source.file.bytes = made;
    source.file.count = count;
    if (!CHECK(place(&p, &source, &reason) == FR_OK)) { fprintf(stderr, "%s\n", reason.text); continue; }
    for (int form = 0; form < 3; form++) {
      if (form) case_again(&p, form == 1 ? FR_TOKENIZER_OWN : FR_TOKENIZER_JSON);
      CHECK(p.t.begins == posts[i].begins);
      open_coder(&c, &p.t, 100, 0);
      CHECK(ids_are(&c, "!", "0"));
      close_coder(&c);
    }
    drop(&p);
    free(made);
  }
  free(text);
  free((void *)(uintptr_t)whole.bytes);
}

static void gguf(void)
{
  static const char *const names[] = { "llama_a.F32.head", "llama_a.Q8_0.head", "qwen2_a.F32.head", "qwen3_a.F32.head", "llama3_rope.F32.gguf" };
  static const struct { const char *text, *llama, *qwen; } texts[] = {
    { "Hello world", "287 284", NULL }, { " the zebra and the word", "266 291 273 266 282 70", "266 223 92 71 68 84 67 273 266 282 70" },
    { "12345 0.5", "278 22 23 223 18 16 23", "19 20 21 22 23 223 18 16 23" }, { "x  y\n\n z\t", "90 223 223 91 276 223 92 200", NULL },
    { "it's HE'S", "75 86 288 223 42 39 9 53", NULL },
    { "caf\303\251 \344\270\255\346\226\207 \360\237\230\200", "69 67 72 289 223 290 258 165 247 232 223 175 256 249 225", NULL },
    { "<|im_start|>user\nHi<|im_end|>\n", "1 87 85 263 201 42 75 2 201", NULL }, { "<think1>and</think>", "292 67 267 294", NULL },
    { "    indented", "274 223 223 261 70 71 80 86 71 70", NULL }, { "[PAD299]", "61 50 35 38 20 27 27 63", NULL }, { "", "", NULL },
    { "zebra zebra", "92 71 68 84 67 291", "92 71 68 84 67 223 92 71 68 84 67" } };
  static const struct { const char *model, *pre, *merge, *own; int type, types, of; fr_status status; const char *words; } files[] = {
    { "gpt2", "gpt-2", "t e", "te!", 1, 258, 5, FR_OK, "" }, { "gpt2", "smollm", "t e", "te!", 3, 258, 5, FR_OK, "" },
    { "gpt2", "llama-bpe", "t e", "te!", 4, 258, 5, FR_OK, "" }, { "gpt2", "qwen2", "t e", "[PAD257]", 5, 258, 5, FR_OK, "" },
    { "gpt2", "deepseek-r1-qwen", "t e", "te!", 1, 258, 5, FR_OK, "" },
    { "llama", "gpt-2", "t e", "te!", 1, 258, 5, FR_UNSUPPORTED, "tokenizer.ggml.model is not supported: llama" },
    { "gpt2", "deepseek-coder", "t e", "te!", 1, 258, 5, FR_UNSUPPORTED, "tokenizer.ggml.pre is not supported: deepseek-coder" },
    { "gpt2", "gpt2", "t e", "te!", 1, 258, 5, FR_UNSUPPORTED, "pre is not supported: gpt2" },
    { "gpt2", "qwen2x", "t e", "te!", 1, 258, 5, FR_UNSUPPORTED, "pre is not supported: qwen2x" },
    { "gpt2", "", "t e", "te!", 1, 258, 5, FR_UNSUPPORTED, "pre is not supported: none" },
    { "gpt2", "gpt-2", "t e", "te!", 6, 258, 5, FR_FORMAT, "token 257: its type" }, { "gpt2", "gpt-2", "t e", "te!", -1, 258, 5, FR_FORMAT, "token 257: its type" },
    { "gpt2", "gpt-2", "t e", "te!", 1, 257, 5, FR_FORMAT, "token_type is not a number for each token" }, { "gpt2", "gpt-2", "t e", "te!", 1, 258, 4, FR_FORMAT, "token_type is not a number for each token" },
    { "gpt2", "gpt-2", "t e", "te", 1, 258, 5, FR_FORMAT, "token 257: a token is there twice" }, { "gpt2", "gpt-2", "t e", "", 3, 258, 5, FR_FORMAT, "token 257: a token is empty" },
    { "gpt2", "gpt-2", "t e", "t e", 1, 258, 5, FR_FORMAT, "token 257: it is not written" }, { "gpt2", "gpt-2", "t e", "te\xFF", 1, 258, 5, FR_FORMAT, "token 257: it is not written" },
    { "gpt2", "gpt-2", "te", "te!", 1, 258, 5, FR_FORMAT, "merge 0: two tokens" }, { "gpt2", "gpt-2", "t x", "te!", 1, 258, 5, FR_FORMAT, "merge 0: a merge is of tokens" },
    { "gpt2", "gpt-2", "t e x", "te!", 1, 258, 5, FR_FORMAT, "merge 0: two tokens" } };
  fr_tokenizer_source source;
  fr_reason reason;
  placed p;
  coder c;
  made_file m;
  memset(&source, 0, sizeof source);
  for (int n = 0; n < 5; n++) {
    char path[100];
    snprintf(path, sizeof path, "../gguf/models/%s", names[n]);
    source.file = data_file(path);
    source.forks = n == 4 ? 9 : 0;
    if (!CHECK(place(&p, &source, &reason) == FR_OK)) { fprintf(stderr, "%s\n", reason.text); continue; }
    const int qwen = n == 2 || n == 3;
    CHECK(p.t.split == (qwen ? FR_SPLIT_QWEN : FR_SPLIT_LLAMA3) && p.t.ignore_merges == !qwen && p.t.nfc == qwen && p.t.vocab == (n == 4 ? 263 + 9 - 1 : 295));
    for (int form = 0; form < 3; form++) {
      if (form) case_again(&p, form == 1 ? FR_TOKENIZER_OWN : FR_TOKENIZER_JSON);
      open_coder(&c, &p.t, 100, 0);
      for (size_t i = 0; n < 4 && i < sizeof texts / sizeof *texts; i++)
        if (!CHECK(ids_are(&c, texts[i].text, qwen && texts[i].qwen ? texts[i].qwen : texts[i].llama))) fprintf(stderr, "%s, form %d: %s\n", names[n], form, texts[i].text);
      close_coder(&c);
    }
    drop(&p);
    free((void *)(uintptr_t)source.file.bytes);
  }
  source.forks = 1;
  for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
    source.file = make_gguf(&m, files[i].model, files[i].pre, files[i].merge, files[i].own, files[i].type, files[i].types, files[i].of);
    if (!CHECK(place(&p, &source, &reason) == files[i].status && strstr(reason.text, files[i].words))) fprintf(stderr, "GGUF %d: %s\n", (int)i, reason.text);
    if (!files[i].status) {  // padding makes room for what is added
      CHECK(fr_tokenizer_find(&p.t, as_text("<think1>")) == (files[i].type == 5 ? 257 : 258) && p.t.special_count == 1 + (files[i].type == 3 || files[i].type == 4));
      open_coder(&c, &p.t, 100, 0);
      fr_token ids[9];
      CHECK(encode(&c, "te!", 3, FR_SPECIALS_TEXT, ids) == (files[i].type == 1 && p.t.ignore_merges ? 1 : 2) && encode(&c, "a  3", 4, FR_SPECIALS_TEXT, ids) == 4);
      close_coder(&c);
    }
    drop(&p);
    for (int k = 0; k < 40; k++) {  // cut or damaged
      const fr_text whole = source.file;
      if (k < 20) source.file.count = test_below_int(whole.count);
      else m.bytes[test_below_int(whole.count)] ^= (char)(1 << test_below_int(8));
      CHECK(place(&p, &source, &reason) != FR_OK || k >= 20);
      drop(&p);
      source.file = whole;
    }
  }
}

// ---- the malloc pairs, files by name, and memory that runs out
static void memory(void)
{
  const char *const build = getenv("TEST_BUILD") ? getenv("TEST_BUILD") : "build";
  char path[300], gone[320];
  fr_tokenizer t, back;
  fr_encoder e;
  fr_reason reason;
  fr_tokenizer_source options;
  const fr_text texts[2] = { as_text("the thing that thinks the thought"), as_text("") };
  fr_training training;
  memset(&training, 0, sizeof training);
  training.vocab = 300;
  training.forks = 4;
  memset(&options, 0, sizeof options);
  options.forks = 3;
  snprintf(path, sizeof path, "%s/test_bpe.tokenizer", build);
  snprintf(gone, sizeof gone, "%s/no/such/place", build);
  CHECK(fr_tokenizer_load(&t, BPE_DATA "tiny/qwenstyle/tokenizer.json", NULL, &options, &reason) == FR_OK);
  CHECK(fr_encoder_new(&e, &t, 1000, 16384) == FR_OK);
  for (int form = 0; form < 2; form++) {
    CHECK(fr_tokenizer_save(path, &t, (fr_tokenizer_form)form, &reason) == FR_OK);
    CHECK(fr_tokenizer_load(&back, path, NULL, NULL, &reason) == FR_OK && equal_ids(&t, &back));
    fr_tokenizer_free(&back);
    fr_tokenizer_free(&back);
  }
  CHECK(fr_tokenizer_save(gone, &t, FR_TOKENIZER_OWN, &reason) == FR_IO && strstr(reason.text, "no/such/place"));
  CHECK(fr_tokenizer_load(&back, gone, NULL, NULL, &reason) == FR_IO && fr_tokenizer_load(&back, NULL, NULL, NULL, &reason) == FR_INVALID);
  CHECK(fr_tokenizer_load(&back, build, NULL, NULL, &reason) == FR_IO);
  fr_encoder_free(&e);
  fr_tokenizer_free(&t);
  CHECK(alive == 0);
  remove(path);
  for (int call = 0; call < 4; call++) {
    for (long n = 0;; n++) {
      fr_status status;
      allocated = 0;
      failing = n;
      memset(&t, 0x55, sizeof t);
      memset(&e, 0x55, sizeof e);
      if (call == 0) status = fr_tokenizer_load(&t, BPE_DATA "tiny/qwenstyle/tokenizer.json", NULL, &options, &reason);
      else if (call == 1) status = fr_tokenizer_load(&t, BPE_DATA "tiny/gpt2style/vocab.json", BPE_DATA "tiny/gpt2style/merges.txt", NULL, &reason);
      else if (call == 2) status = fr_tokenizer_train_new(&t, &training, texts, 2, &reason);
      else {
        failing = -1;
        CHECK(fr_tokenizer_load(&t, BPE_DATA "tiny/qwenstyle/tokenizer.json", NULL, NULL, &reason) == FR_OK);
        allocated = 0;
        failing = n;
        status = fr_encoder_new(&e, &t, 100, 10);
      }
      const int done = allocated <= n;
      CHECK(status == (done ? FR_OK : FR_MEMORY));
      if (!done && call < 3) CHECK(t.body == NULL && t.owned == NULL && t.vocab == 0 && reason.text[0]);
      if (call == 3) { if (!done) CHECK(e.body == NULL); fr_encoder_free(&e); }
      fr_tokenizer_free(&t);
      CHECK(alive == 0);
      if (done) { CHECK(n >= 1); break; }
    }
  }
  failing = -1;
}

// ---- time: twice the text may not take much more than twice the time, on the worst texts that are known. The bench holds the
// strict bound; this one only catches what is quadratic.
static double seconds(coder *c, const char *text, fr_int bytes, fr_token *ids)
{
  double best = 1e9;
  for (int k = 0; k < 3; k++) {
    const clock_t begin = clock();
    fr_int count;
    CHECK(fr_tokenizer_encode(&c->e, text, bytes, FR_SPECIALS_MATCH, ids, bytes + 1, &count) == FR_OK);
    const double took = (double)(clock() - begin) / CLOCKS_PER_SEC;
    if (took < best) best = took;
  }
  return best;
}
static void times(void)
{
  static const char *const names[] = { "tiny/gpt2style/tokenizer.json", "tiny/llama3style/tokenizer.json", "fuzz/ok.tiktoken" };
  enum { MOST = 1 << 19 };
  char *text = (char *)test_alloc(MOST);
  fr_token *ids = (fr_token *)test_alloc((MOST + 1) * sizeof *ids);
  for (int n = 0; n < 3; n++) {
    placed p;
    coder c;
    CHECK(place_file(&p, names[n], n == 2 ? FR_SPLIT_NONE : FR_SPLIT_UNKNOWN, NULL) == FR_OK);
    open_coder(&c, &p.t, MOST, 1000);
    for (int kind = 0; kind < 6; kind++) {
      for (fr_int i = 0; i < MOST; i++)
        text[i] = kind == 0 ? 't' : kind == 1 ? ' ' : kind == 2 ? (char)test_bits() : kind == 3 ? "the in"[i % 6] : kind == 4 ? '<' : '\n';
      if (kind == 1) text[MOST - 1] = 'a';
      const double half = seconds(&c, text, MOST / 2, ids), whole = seconds(&c, text, MOST, ids);
      if (!CHECK(whole < 4.0 * half + 0.02)) fprintf(stderr, "%s, kind %d: %g s, then %g s\n", names[n], kind, half, whole);
    }
    close_coder(&c);
    drop(&p);
  }
  free(text);
  free(ids);
}

// ---- files of others, with the ids that Hugging Face tokenizers gives for them
static fr_status place_case(placed *p, const char *name, fr_split split, fr_reason *reason)
{
  char path[100];
  snprintf(path, sizeof path, "../cases/%s", name);
  return place_file(p, path, split, reason);
}
static void cases(void)
{
  placed p;
  coder c;
  fr_reason reason;
  fr_token ids[32];
  fr_int count;
  CHECK(place_case(&p, "truncation.tokenizer.json", FR_SPLIT_UNKNOWN, &reason) == FR_UNSUPPORTED && strstr(reason.text, "truncation is not"));
  drop(&p);

  // A token that is not normalized is found first, whatever begins before it; what is left of the text may hold the others.
  static const struct { const char *text; fr_int count; fr_token ids[6]; } mixed[] = {
    { "ab<x>", 3, { 97, 98, 256 } }, { "ab<xab<x>", 6, { 97, 98, 60, 120, 97, 98 } }, { "<x>ab<x", 5, { 256, 97, 98, 60, 120 } } };
  CHECK(place_case(&p, "mixed_normalized.tokenizer.json", FR_SPLIT_UNKNOWN, &reason) == FR_OK);
  for (int form = 0; form < 3; form++) {
    if (form) case_again(&p, form == 1 ? FR_TOKENIZER_OWN : FR_TOKENIZER_JSON);
    open_coder(&c, &p.t, 100, 0);
    for (int i = 0; i < 3; i++) {
      count = encode(&c, mixed[i].text, (fr_int)strlen(mixed[i].text), FR_SPECIALS_MATCH, ids);
      CHECK(count >= mixed[i].count && !memcmp(ids, mixed[i].ids, (size_t)mixed[i].count * sizeof *ids));
    }
    CHECK(encode(&c, "ab<x>", 5, FR_SPECIALS_TEXT, ids) == 5);
    CHECK(fr_tokenizer_encode(&c.e, "ab<x>", 5, FR_SPECIALS_REFUSE, ids, 32, &count) == FR_FORMAT && strstr(c.e.reason.text, "token 256 at byte 2"));
    CHECK(fr_tokenizer_find(&p.t, as_text("ab<x>")) == 257 && fr_tokenizer_find(&p.t, as_text("<x>")) == 256);
    close_coder(&c);
  }
  drop(&p);

  CHECK(place_case(&p, "utf8_bytes_only.tokenizer.json", FR_SPLIT_UNKNOWN, &reason) == FR_OK);
  for (int form = 0; form < 3; form++) {
    if (form) case_again(&p, form == 1 ? FR_TOKENIZER_OWN : FR_TOKENIZER_JSON);
    open_coder(&c, &p.t, 100, 8);
    CHECK(encode(&c, "h\xC3\xA9", 3, FR_SPECIALS_MATCH, ids) == 3 && ids[0] == 104 && ids[1] == 193 && ids[2] == 169);
    for (int byte = 0; byte < 256; byte++) {
      char text[3] = { 'a', (char)byte, 'b' }, words[60];
      const int never = byte == 0xC0 || byte == 0xC1 || byte >= 0xF5;
      snprintf(words, sizeof words, "no token for byte %d, which is at byte 1", byte);
      const fr_status status = fr_tokenizer_encode(&c.e, text, 3, FR_SPECIALS_TEXT, ids, 32, &count);
      CHECK(status == (never ? FR_FORMAT : FR_OK) && (!never || strstr(c.e.reason.text, words)));
      CHECK(fr_tokenizer_encode(&c.e, text + 1, 1, FR_SPECIALS_TEXT, ids, 32, &count) == status);
    }
    close_coder(&c);
  }
  drop(&p);

  // The empty token keeps its id, so that what is added comes behind it, and nothing says it.
  CHECK(place_case(&p, "empty_last_token.tiktoken", FR_SPLIT_GPT2, &reason) == FR_OK);
  for (int form = 0; form < 2; form++) {
    if (form) case_again(&p, FR_TOKENIZER_OWN);
    CHECK(p.t.vocab == 257 && !fr_tokenizer_token(&p.t, 256).bytes && p.t.merge_count == 0);
    open_coder(&c, &p.t, 100, 0);
    CHECK(encode(&c, "ab", 2, FR_SPECIALS_MATCH, ids) == 2 && ids[0] == 'a' && ids[1] == 'b');
    close_coder(&c);
  }
  drop(&p);
  static const char *const bad[] = { "IQ== 0\n= 1\nIg== 2\n", "IQ== 0\n== 1\n", "IQ== 0\n= 0\n", "IQ== 0\n=\n", "IQ== 0\n 1\n",
                                     "IQ== 0\n= 1\n\r\n\n" };
  static const char *const why[] = { "line 2: base64", "line 2: base64", "line 2: two tokens have the same id", "line 2: a blank and a rank", "line 2: base64",
                                     "no token for byte 10" };  // the last is empty, and that is well
  for (int i = 0; i < 6; i++) {
    fr_tokenizer_source source;
    memset(&source, 0, sizeof source);
    source.split = FR_SPLIT_GPT2;
    source.file = as_text(bad[i]);
    if (!CHECK(place(&p, &source, &reason) == (i < 5 ? FR_FORMAT : FR_UNSUPPORTED) && strstr(reason.text, why[i]))) fprintf(stderr, "empty %d: %s\n", i, reason.text);
    drop(&p);
  }
}

// Random specials over two letters, some normalized, against the rule written down: everywhere the leftmost and longest of those
// that are not; in what is left, of those that are.
static int slow_specials(const char *const *names, const int *late, int count, int pass, const char *text, int from, int to, int base, fr_token *ids)
{
  int n = 0;
  while (from < to) {
    int at = from, found = -1;
    for (; at < to && found < 0; at += found < 0)
      for (int i = 0; i < count; i++) {
        const int length = (int)strlen(names[i]);
        if (late[i] == pass && at + length <= to && !memcmp(names[i], text + at, (size_t)length) &&
            (found < 0 || length > (int)strlen(names[found]))) found = i;
      }
    if (pass == 0) n += slow_specials(names, late, count, 1, text, from, at, base, ids + n);
    else for (int i = from; i < at; i++) ids[n++] = text[i];
    if (found < 0) break;
    ids[n++] = base + found;
    from = at + (int)strlen(names[found]);
  }
  return n;
}
static void mixed_specials(void)
{
  static char file[8000], vocab[5000];
  size_t length = 0;
  int between = 0;
  for (int byte = 0; byte < 256; byte++)
    length += (size_t)snprintf(vocab + length, sizeof vocab - length, "%s\"\\u%04X\":%d", byte ? "," : "", fr__byte_char(byte), byte);
  for (int round = 0; round < 200; round++) {
    char made[6][8], added[800];
    const char *names[6];
    int late[6], count = 0;
    size_t used = 0;
    fr_tokenizer_source source;
    placed p;
    coder c;
    while (count < 1 + round % 6) {
      const int bytes = 2 + (int)test_below_int(4);  // one letter is a token of the vocabulary
      int same = 0;
      for (int k = 0; k < bytes; k++) made[count][k] = (char)('a' + test_below_int(2));
      made[count][bytes] = 0;
      for (int i = 0; i < count; i++) same = same || !strcmp(made[i], made[count]);
      if (same) continue;
      names[count] = made[count];
      late[count] = (int)test_below_int(2);
      used += (size_t)snprintf(added + used, sizeof added - used, "%s{\"id\":%d,\"content\":\"%s\",\"normalized\":%s}", count ? "," : "", 256 + count,
                               made[count], late[count] ? "true" : "false");
      count++;
    }
    snprintf(file, sizeof file, "{\"added_tokens\":[%s],\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":false},"
             "\"model\":{\"merges\":[],\"vocab\":{%s}}}", added, vocab);
    memset(&source, 0, sizeof source);
    source.file = as_text(file);
    if (!CHECK(place(&p, &source, NULL) == FR_OK)) continue;
    open_coder(&c, &p.t, 100, 0);
    for (int k = 0; k < 20; k++) {
      char text[40];
      fr_token ids[41], expected[41];
      const int bytes = (int)test_below_int(41);
      for (int i = 0; i < bytes; i++) text[i] = (char)('a' + test_below_int(2));
      const int n = slow_specials(names, late, count, 0, text, 0, bytes, 256, expected);
      CHECK(encode(&c, text, bytes, FR_SPECIALS_MATCH, ids) == n && !memcmp(ids, expected, (size_t)n * sizeof *ids));
      for (int i = 0; i < n; i++) between += ids[i] >= 256 && late[ids[i] - 256];
    }
    close_coder(&c);
    drop(&p);
  }
  CHECK(between > 1000);
  // Normalized or not, an added token may be in the vocabulary too. One of the caller's that is written like another token cannot be
  // written.
  for (int i = 0; i < 4; i++) {
    const char *const word = i & 1 ? "true" : "false";
    const fr_special blank = { { "\xC4\xA0", 2 }, -1 };  // the name of a blank
    fr_tokenizer_source source;
    placed p;
    fr_reason reason;
    fr_int bytes = 0;
    snprintf(file, sizeof file, "{\"added_tokens\":[{\"id\":257,\"content\":\"yq\",\"normalized\":%s},{\"id\":259,\"content\":\"zq\",\"normalized\":%s}],"
             "\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":false},\"model\":{\"merges\":[],\"vocab\":{%s,\"xq\":256,\"yq\":257,\"te\":258}}}",
             word, word, vocab);
    memset(&source, 0, sizeof source);
    source.file = as_text(file);
    source.specials = &blank;
    source.special_count = i > 1;
    if (!CHECK(place(&p, &source, &reason) == FR_OK)) { fprintf(stderr, "%s\n", reason.text); continue; }
    CHECK(fr__name_id(p.t.body, "yq", 2) == 257 && fr__name_id(p.t.body, "zq", 2) == 0xFFFFFFFFu && is_special(&p.t, 257));
    CHECK(fr_tokenizer_write(&p.t, FR_TOKENIZER_JSON, NULL, 0, &bytes, &reason) == (i > 1 ? FR_UNSUPPORTED : FR_OK));
    char *memory = (char *)test_alloc((size_t)bytes + 1);
    memory[bytes] = 0;
    if (i < 2) CHECK(fr_tokenizer_write(&p.t, FR_TOKENIZER_JSON, memory, bytes, &bytes, &reason) == FR_OK && strstr(memory, "\"id\":259,\"content\":\"zq\""));
    else CHECK(strstr(reason.text, "special 260 is written as another token is"));
    free(memory);
    drop(&p);
  }
  // Ids that Hugging Face's library (0.23.3) gives, whatever the file says: of a token that the vocabulary lists under that name, the
  // next one behind all else; and a normal form.
  static const struct { const char *added, *words; int nfc; } ids[] = {
    { "{\"id\":256,\"content\":\"a\"}", "added token 256: the id that Hugging Face's library gives it is 97", 0 },
    { "{\"id\":256,\"content\":\"\\u00e9\",\"normalized\":true}", "added token 256: the id that Hugging Face's library gives it is 233", 1 },
    { "{\"id\":256,\"content\":\"e\\u0301\",\"normalized\":true}", "added token 256 is normalized, and not ASCII", 1 },
    { "{\"id\":256,\"content\":\"e\\u0301\",\"normalized\":false}", NULL, 1 },
    { "{\"id\":256,\"content\":\"e\\u0301\",\"normalized\":true}", NULL, 0 },
    { "{\"id\":261,\"content\":\"<x>\"}", "added token 261: the id that Hugging Face's library gives it is 256", 0 },
    { "{\"id\":257,\"content\":\"<x>\"},{\"id\":256,\"content\":\"<xy>\"}", "added token 257: the id that Hugging Face's library gives it is 256", 0 },
    { "{\"id\":256,\"content\":\"<x>\"},{\"id\":97,\"content\":\"a\"},{\"id\":257,\"content\":\"<xy>\"}", NULL, 0 },
    { "{\"id\":256,\"content\":\"<x>\"},{\"id\":258,\"content\":\"<xy>\"}", "added token 258: the id that Hugging Face's library gives it is 257", 0 } };
  for (size_t i = 0; i < sizeof ids / sizeof *ids; i++) {
    fr_tokenizer_source source;
    placed p;
    fr_reason reason;
    snprintf(file, sizeof file, "{\"added_tokens\":[%s],%s\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":false},"
             "\"model\":{\"merges\":[],\"vocab\":{%s}}}", ids[i].added, ids[i].nfc ? "\"normalizer\":{\"type\":\"NFC\"}," : "", vocab);
    memset(&source, 0, sizeof source);
    source.file = as_text(file);
    if (!CHECK(place(&p, &source, &reason) == (ids[i].words ? FR_UNSUPPORTED : FR_OK) && (!ids[i].words || strstr(reason.text, ids[i].words))))
      fprintf(stderr, "ids %d: %s\n", (int)i, reason.text);
    drop(&p);
  }
}

// ---- files made to be slow: with a seed that is fr__hash of the file, all their names, or all their merges, meet in one place
static size_t put_byte_char(char *out, int byte)
{
  const uint32_t c = fr__byte_char(byte);
  if (c < 128) { out[0] = (char)c; return 1; }
  out[0] = (char)(0xC0 | c >> 6);
  out[1] = (char)(0x80 | (c & 63));
  return 2;
}
static void hostile(void)
{
  enum { NAMES = 20000, ROOM = 40 * NAMES };
  char *file = (char *)test_alloc(ROOM);
  fr_tokenizer_source source;
  fr_reason reason;
  placed p;
  size_t n = (size_t)snprintf(file, ROOM, "{\"x\":\"  0123456789abcdef\",\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":false},"
                              "\"model\":{\"type\":\"BPE\",\"merges\":[],\"vocab\":{");
  for (int i = 0; i < NAMES + 256; i++) {
    const uint64_t name = i < 256 ? (uint64_t)i : meeting_name(i - 256);
    file[n++] = '"';
    for (int k = 0; k < (i < 256 ? 1 : 8); k++) {
      const int byte = (int)(name >> (8 * k) & 255);
      if (byte == '"' || byte == '\\') file[n++] = '\\';
      n += put_byte_char(file + n, byte);
    }
    n += (size_t)snprintf(file + n, ROOM - n, "\":%d%s", i, i + 1 < NAMES + 256 ? "," : "}}}");
  }
  steer((uint64_t)n, file, (fr_int)n, 0);
  CHECK(fr__hash((uint64_t)n, file, (fr_int)n) == 0);
  memset(&source, 0, sizeof source);
  source.file.bytes = file;
  source.file.count = (fr_int)n;
  if (!CHECK(place(&p, &source, &reason) == FR_OK)) fprintf(stderr, "%s\n", reason.text);
  else CHECK(p.t.vocab == NAMES + 256 && farthest(&p.t) < 128);
  drop(&p);

  n = (size_t)snprintf(file, ROOM, "#version0123456789abcdef\n");
  for (int pair = 0; pair < 65536; pair++) {
    const uint64_t left = fr__gpt2_id(pair >> 8), right = fr__gpt2_id(pair & 255);
    if ((uint32_t)fr__mix(left << 32 | right) >> 30) continue;  // a quarter of the pairs, to a quarter of the table
    n += put_byte_char(file + n, pair >> 8);
    file[n++] = ' ';
    n += put_byte_char(file + n, pair & 255);
    file[n++] = '\n';
  }
  steer(0, file, (fr_int)n, 1);
  CHECK(fr__hash(0, file, (fr_int)n) == 0);
  memset(&source, 0, sizeof source);
  source.merges.bytes = file;
  source.merges.count = (fr_int)n;
  if (!CHECK(place(&p, &source, &reason) == FR_OK)) fprintf(stderr, "%s\n", reason.text);
  else CHECK(p.t.merge_count > 10000 && farthest(&p.t) < 128);
  drop(&p);
  free(file);
}

int main(void)
{
  cases();
  mixed_specials();
  hostile();
  vectors();
  classes();
  normal_form();
  cuts();
  round_trips();
  ranks();
  odd_merges();
  specials();
  streaming();
  llama2();
  tok512();
  files();
  refusals();
  forms();
  begins();
  gguf();
  memory();
  if (!test_brief()) times();  // how they grow, and nothing else
  return test_done("test_bpe");
}
