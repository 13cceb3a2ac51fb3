// GGUF files: blocks of every type to the bit, whole models with their logits and text, damaged files.
#define FORKREASON_IMPLEMENTATION
#include "../forkreason.h"
#include "folder.h"
#include "hostile.h"

static fr_pretrained_source file_source(const void *bytes, fr_int count)
{
  fr_pretrained_source source;
  memset(&source, 0, sizeof source);
  source.file.bytes = (const char *)bytes;
  source.file.count = count;
  return source;
}

// ---- blocks: the floats of each type, bit for bit
static void blocks(void)
{
  for (int type = FR__F16; type < FR__TYPES; type++) {
    const fr__type_row *of = &fr__types[type];
    char path[200];
    ptrdiff_t size, floats;
    unsigned char *from, *want;
    float *got;
    snprintf(path, sizeof path, "tests/data/gguf/blocks/%s.bin", of->name);
    from = store_file(path, &size);
    snprintf(path, sizeof path, "tests/data/gguf/blocks/%s.f32", of->name);
    want = store_file(path, &floats);
    CHECK(size % of->bytes == 0 && size / of->bytes * of->weights * 4 == floats && size / of->bytes > 10);
    got = (float *)test_alloc((size_t)floats);
    fr__dequantize(type, from, floats / 4, got);
    for (ptrdiff_t i = 0; i < floats / 4; i++) {
      const float x = store_f32(want + 4 * i);
      if (!CHECK(got[i] == x && (x != 0.0f || type > FR__BF16 || !memcmp(got + i, &x, 4)))) { fprintf(stderr, "  %s, value %d\n", of->name, (int)i); break; }
    }
    free(from); free(want); free(got);
  }
}

// Every float16 and back; floats between two are rounded to the nearer, ties to even; the same of bfloat16.
static void halves(void)
{
  for (uint32_t h = 0; h < 65536; h++) {
    const unsigned char at[2] = { (unsigned char)h, (unsigned char)(h >> 8) };
    const float x = fr__from_float16(at);
    const uint32_t exponent = h >> 10 & 31;
    if (exponent == 31 && (h & 1023)) { CHECK(x != x && (fr__to_float16(x) & 0x7E00) == 0x7E00); continue; }
    CHECK(fr__to_float16(x) == h);
    if (exponent < 31) CHECK((double)x == (h & 0x8000 ? -1.0 : 1.0) * ldexp((h & 1023) + (exponent ? 1024.0 : 0.0), exponent ? (int)exponent - 25 : -24));
    if (exponent < 30) {
      const unsigned char next[2] = { (unsigned char)(h + 1), (unsigned char)((h + 1) >> 8) };
      const double a = (double)x, b = (double)fr__from_float16(next), half = (a + b) / 2.0;
      CHECK(fr__to_float16((float)half) == (h % 2 ? h + 1 : h));
      CHECK(fr__to_float16((float)(half + (a - half) * 1e-3)) == h && fr__to_float16((float)(half + (b - half) * 1e-3)) == h + 1);
    }
  }
  CHECK(fr__to_float16(65519.0f) == 0x7BFF && fr__to_float16(65520.0f) == 0x7C00 && fr__to_float16(-1e30f) == 0xFC00 && fr__to_float16(1e-9f) == 0);
  for (int i = 0; i < 100000; i++) {
    const uint32_t bits = (uint32_t)test_bits() & (i % 3 ? 0xFFFFFFFFu : 0xFFFF8000u);
    uint32_t below = bits & 0xFFFF0000u, above = below + 0x10000u;
    float x, low, high;
    uint16_t got;
    memcpy(&x, &bits, 4); memcpy(&low, &below, 4); memcpy(&high, &above, 4);
    got = fr__to_bfloat16(x);
    if (x != x) { CHECK((got & 0x7FC0) == 0x7FC0); continue; }
    if (!isfinite(high)) continue;
    {
      const double to_low = fabs((double)x - (double)low), to_high = fabs((double)high - (double)x);
      CHECK(got == (to_low < to_high || (to_low == to_high && !(below >> 16 & 1)) ? below >> 16 : above >> 16));
    }
  }
}

// ---- whole models: the head of a reference's file, with the data of the folder that it was made from
typedef struct reader { const unsigned char *at; } reader;
static uint64_t number(reader *r, int bytes) { const uint64_t x = store_little(r->at, bytes); r->at += bytes; return x; }
static void skip_value(reader *r, uint64_t type)
{
  static const int sizes[13] = { 1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8 };
  if (type == 8) { const uint64_t n = number(r, 8); r->at += n; }
  else if (type == 9) {
    const uint64_t of = number(r, 4), n = number(r, 8);
    for (uint64_t i = 0; i < n; i++) skip_value(r, of);
  } else r->at += sizes[type];
}

static uint16_t half_of(float x, int bfloat) { return bfloat ? fr__to_bfloat16(x) : fr__to_float16(x); }

static const char *folder_name(const char *name, char *out)
{
  static const char *const names[][2] = { { "attn_norm", "input_layernorm" }, { "attn_q", "self_attn.q_proj" }, { "attn_k", "self_attn.k_proj" },
    { "attn_v", "self_attn.v_proj" }, { "attn_output", "self_attn.o_proj" }, { "attn_q_norm", "self_attn.q_norm" },
    { "attn_k_norm", "self_attn.k_norm" }, { "ffn_norm", "post_attention_layernorm" }, { "ffn_gate", "mlp.gate_proj" },
    { "ffn_up", "mlp.up_proj" }, { "ffn_down", "mlp.down_proj" } };
  char part[40], what[10];
  int layer;
  if (!strcmp(name, "token_embd.weight")) return "model.embed_tokens.weight";
  if (!strcmp(name, "output_norm.weight")) return "model.norm.weight";
  if (!strcmp(name, "output.weight")) return "lm_head.weight";
  if (sscanf(name, "blk.%d.%39[a-z_].%9s", &layer, part, what) == 3)
    for (int i = 0; i < 11; i++)
      if (!strcmp(part, names[i][0])) { snprintf(out, 100, "model.layers.%d.%s.%s", layer, names[i][1], what); return out; }
  store_die("unknown name", name);
  return NULL;
}

static unsigned char *compose(const char *name, const char *from, fr_int *count)
{
  char path[200], text[100], called[100];
  ptrdiff_t size;
  unsigned char *head, *file;
  fr_int heads[2], end;
  reader r;
  uint64_t tensors, keys;
  store s;
  const int turned = !strncmp(from, "llama", 5);
  fr_config config;
  snprintf(path, sizeof path, "tests/data/gguf/models/%s.head", name);
  head = store_file(path, &size);
  snprintf(path, sizeof path, "tests/data/model/%s/model.safetensors", from);
  s = store_safetensors(path);
  snprintf(path, sizeof path, "tests/data/model/%s", from);
  config = hf_config(path);
  heads[0] = config.heads;
  heads[1] = config.kv_heads;
  file = (unsigned char *)test_alloc((size_t)(size + s.size + 10000));
  memset(file, 0, (size_t)(size + s.size + 10000));
  memcpy(file, head, (size_t)size);
  end = size;
  r.at = head + 8;
  tensors = number(&r, 8);
  keys = number(&r, 8);
  for (uint64_t i = 0; i < keys; i++) { skip_value(&r, 8); skip_value(&r, number(&r, 4)); }
  for (uint64_t i = 0; i < tensors; i++) {
    const uint64_t length = number(&r, 8);
    uint64_t dims, type, offset;
    const store_entry *e;
    unsigned char *to;
    memcpy(called, r.at, length);
    called[length] = 0;
    r.at += length;
    dims = number(&r, 4);
    r.at += 8 * dims;
    type = number(&r, 4);
    offset = number(&r, 8);
    e = store_get(&s, "", folder_name(called, text));
    to = file + size + offset;
    for (ptrdiff_t j = 0; j < e->count; j++) {
      const int which = strstr(called, "attn_q.") ? 0 : strstr(called, "attn_k.") ? 1 : -1;
      const ptrdiff_t cols = e->dims == 2 ? e->dim[1] : 1, rows = e->count / cols;
      ptrdiff_t row = j / cols;
      float x;
      uint32_t bits;
      if (turned && which >= 0) {  // row 2r of a head is our r, row 2r + 1 our D/2 + r
        const ptrdiff_t D = rows / heads[which], in = row % D;
        row = row - in + (in % 2 ? D / 2 + in / 2 : in / 2);
      }
      x = (float)store_at(&s, e, row * cols + j % cols);
      memcpy(&bits, &x, 4);
      if (type == 0) for (int k = 0; k < 4; k++) *to++ = (unsigned char)(bits >> (8 * k));
      else if (type == 8) {  // blocks of 32: a scale, and whole numbers
        float block[32], largest = 0.0f, scale;
        uint16_t d;
        if (j % 32) continue;
        for (int k = 0; k < 32; k++) {
          const ptrdiff_t at = j + k, D = which >= 0 ? rows / heads[which] : 1, in = at / cols % D, base = at / cols - in;
          const ptrdiff_t source = turned && which >= 0 ? base + (in % 2 ? D / 2 + in / 2 : in / 2) : at / cols;
          block[k] = (float)store_at(&s, e, source * cols + at % cols);
          largest = fmaxf(largest, fabsf(block[k]));
        }
        scale = largest / 127.0f;
        d = half_of(scale, 0);
        scale = largest > 0.0f ? 1.0f / scale : 0.0f;
        *to++ = (unsigned char)d; *to++ = (unsigned char)(d >> 8);
        for (int k = 0; k < 32; k++) *to++ = (unsigned char)(int)roundf(block[k] * scale);
      } else { const uint16_t h = half_of(x, type == 30); *to++ = (unsigned char)h; *to++ = (unsigned char)(h >> 8); }
    }
    end = to - file;
    end = (end - size + 31) / 32 * 32 + size;
  }
  *count = end;
  store_close(&s);
  free(head);
  return file;
}

static const char *const files[7][2] = { { "llama_a.F32", "llama_a" }, { "llama_a.F16", "llama_a" }, { "llama_a.BF16", "llama_a" },
  { "llama_a.Q8_0", "llama_a" }, { "qwen2_a.F32", "qwen2_a" }, { "qwen3_a.F32", "qwen3_a" }, { "llama3_rope.F32", NULL } };

static unsigned char *model_file(int which, fr_int *count)
{
  ptrdiff_t size;
  unsigned char *bytes;
  if (files[which][1]) return compose(files[which][0], files[which][1], count);
  bytes = store_file("tests/data/gguf/models/llama3_rope.F32.gguf", &size);
  *count = size;
  return bytes;
}

static void models(void)
{
  ptrdiff_t size;
  char *text = (char *)store_file("tests/data/gguf/models/expected.txt", &size), *line = strtok(text, "\n");
  fr_token prompt[24], greedy[20];
  double logits[16], sum = 0.0;
  int which = -1, seen = 0;
  for (; line; line = strtok(NULL, "\n")) {
    char *at = line + strcspn(line, " ");
    if (!strncmp(line, "file ", 5)) {
      for (which = 0; which < 7 && strncmp(line + 5, files[which][0], strlen(files[which][0]));) which++;
      if (which == 7) store_die("unknown file", line);
    }
    if (!strncmp(line, "prompt ", 7)) for (int i = 0; i < 24; i++) prompt[i] = (fr_token)strtol(at, &at, 10);
    if (!strncmp(line, "greedy ", 7)) for (int i = 0; i < 20; i++) greedy[i] = (fr_token)strtol(at, &at, 10);
    if (!strncmp(line, "logits16 ", 9)) for (int i = 0; i < 16; i++) logits[i] = strtod(at, &at);
    if (!strncmp(line, "logsumexp ", 10)) sum = strtod(at, &at);
    if (strcmp(line, "end")) continue;
    seen++;
    for (int whole = 0; whole < 2; whole++) {
      fr_int count;
      unsigned char *bytes = model_file(which, &count);
      const fr_pretrained_source source = file_source(bytes, count);
      fr_pretrained p;
      fr_pretrained_options options;
      fr_reason reason;
      fr_model model;
      fr_work work;
      fr_limits limits;
      fr_tree tree;
      fr_span span;
      fr_sampling sampling;
      fr_leaf leaf;
      fr_token more[20];
      float *got;
      double most = 0.0, total = 0.0, worst = 0.0;
      memset(&options, 0, sizeof options);
      options.whole = whole;
      if (!CHECK(fr_pretrained_new(&p, &source, &reason) == FR_OK && fr_pretrained_model_new(&p, &options, &model, &reason) == FR_OK)) {
        fprintf(stderr, "  %s: %s\n", files[which][0], reason.text);
        free(bytes);
        continue;
      }
      CHECK(p.form == FR_GGUF && p.wrong == 0 && p.end_count == 1 && p.ends[0] == 2 && p.begin == 1);
      CHECK(p.config.rope_factor == (which == 6 ? 8.0f : 0.0f));
      if (which == 6) CHECK(p.config.rope_original == 256);
      got = logits_of(&model, prompt, 24) + 23 * p.config.vocab;
      for (fr_int i = 0; i < p.config.vocab; i++) most = fmax(most, fabs((double)got[i]));
      for (int i = 0; i < 16; i++) worst = fmax(worst, fabs((double)got[i] - logits[i]));
      for (fr_int i = 0; i < p.config.vocab; i++) total += exp((double)got[i]);
      if (!CHECK_BELOW(worst / most, 1e-5)) fprintf(stderr, "  %s\n", files[which][0]);
      CHECK_BELOW(fabs(log(total) - sum), 1e-5);
      free(got - 23 * p.config.vocab);
      memset(&tree, 0, sizeof tree);
      memset(&span, 0, sizeof span);
      memset(&sampling, 0, sizeof sampling);
      memset(&leaf, 0, sizeof leaf);
      span.parent = -1;
      span.tokens.ids = prompt;
      span.tokens.count = 24;
      tree.spans = &span;
      tree.span_count = 1;
      sampling.max_tokens = 20;
      leaf.tokens = more;
      CHECK(fr_generate_limits(&tree, &sampling, 1, &limits) == FR_OK && fr_work_new(&work, &model.config, &limits) == FR_OK);
      CHECK(fr_generate(&model, &work, &tree, &sampling, &leaf, 1) == FR_OK && leaf.count == 20 && !memcmp(more, greedy, sizeof greedy));
      fr_work_free(&work);
      fr_model_free(&model);
      fr_pretrained_free(&p);
      free(bytes);
    }
  }
  CHECK(seen == 7);
  free(text);
}

// ---- damaged files, as changes of a small one. A model without a tokenizer runs on ids, so its reader looks at no token and no merge:
// what is wrong in those alone is the tokenizer's to refuse.
static const char *const tokens_alone[][2] = { { "merges_absent.gguf", "GGUF, merge 1: a merge is of tokens that are not there" },
  { "token_bad_utf8.gguf", "GGUF, token 190: it is not written in the characters of ByteLevel" } };

static void try_file(const unsigned char *bytes, fr_int count, int refuse, const char *what)
{
  unsigned char *copy = (unsigned char *)test_alloc((size_t)count);
  const char *words = NULL;
  fr_pretrained_source source;
  fr_tokenizer_source text;
  fr_pretrained p;
  fr_reason reason, why;
  fr_model model;
  fr_tokenizer tokenizer;
  fr_status status, tokens;
  if (count) memcpy(copy, bytes, (size_t)count);
  source = file_source(copy, count);
  status = fr_pretrained_new(&p, &source, &reason);
  if (!status) status = fr_pretrained_model_new(&p, NULL, &model, &reason);
  if (!status) fr_model_free(&model);
  memset(&text, 0, sizeof text);
  text.file = source.file;
  tokens = fr_tokenizer_new(&tokenizer, &text, &why);
  for (int i = 0; i < 2; i++) if (!strncmp(what, tokens_alone[i][0], strlen(tokens_alone[i][0]))) words = tokens_alone[i][1];
  if (refuse >= 0 && !CHECK((status || words) == refuse)) fprintf(stderr, "  %s: %s\n", what, reason.text);
  if (words && !CHECK(!status && tokens == FR_FORMAT && !strcmp(why.text, words))) fprintf(stderr, "  %s: %s; %s\n", what, reason.text, why.text);
  if (refuse == 0 && !CHECK(!tokens)) fprintf(stderr, "  %s: %s\n", what, why.text);
  CHECK(status ? reason.text[0] != 0 : reason.text[0] == 0);
  CHECK(tokens ? why.text[0] != 0 : why.text[0] == 0);
  if (getenv("SHOW")) printf("%-100.100s %s; %s\n", what, reason.text, why.text);
  fr_tokenizer_free(&tokenizer);
  fr_pretrained_free(&p);
  free(copy);
}

static void damaged(void)
{
  hostile h = hostile_open();
  unsigned char *const small = h.small, *const file = h.bytes;
  const fr_int small_size = h.small_size;
  int counted[3] = { 0, 0, 0 };
  while (hostile_next(&h)) {
    try_file(file, h.count, h.refuse, h.name);
    counted[h.refuse + 1]++;
  }
  CHECK(counted[0] == 3 && counted[1] == 4 && counted[2] > 55);
  for (int i = 0; i < 7; i++) {  // keys put before the others: what would change the model is not passed over
    static const struct { const char *bytes; int count, keys; fr_status status; const char *words; } more[] = {
      { "\x19\0\0\0\0\0\0\0llama.rope.scaling.factor\6\0\0\0\0\0\x80\x3F", 41, 1, FR_OK, "" },  // 1
      { "\x19\0\0\0\0\0\0\0llama.rope.scaling.factor\6\0\0\0\0\0\0@", 41, 1, FR_UNSUPPORTED, "llama.rope.scaling.factor: only" },  // 2
      { "\x17\0\0\0\0\0\0\0llama.rope.scaling.type\4\0\0\0\1\0\0\0", 39, 1, FR_FORMAT, "llama.rope.scaling.type: a string" },
      { "\x1B\0\0\0\0\0\0\0tokenizer.ggml.eot_token_id\6\0\0\0\0\0\x80\x3F", 43, 1, FR_FORMAT, "tokenizer.ggml.eot_token_id: a whole" },
      { "\3\0\0\0\0\0\0\0one\4\0\0\0\1\0\0\0\3\0\0\0\0\0\0\0two\4\0\0\0\1\0\0\0", 38, 2, FR_OK, "" },
      { "\3\0\0\0\0\0\0\0one\4\0\0\0\1\0\0\0\3\0\0\0\0\0\0\0one\4\0\0\0\1\0\0\0", 38, 2, FR_FORMAT, "byte 54, one: this key is there twice" },
      { "\4\0\0\0", 4, 0, FR_UNSUPPORTED, "version 4 is not supported" },  // put where the version is
    };
    const fr_int at = i == 6 ? 4 : 24, rest = i == 6 ? 8 : at;
    fr_reason reason;
    fr_pretrained p;
    fr_pretrained_source source;
    memcpy(file, small, (size_t)at);
    memcpy(file + at, more[i].bytes, (size_t)more[i].count);
    memcpy(file + at + more[i].count, small + rest, (size_t)(small_size - rest));
    file[16] = (unsigned char)(file[16] + more[i].keys);
    source = file_source(file, small_size - rest + at + more[i].count);
    if (!CHECK(fr_pretrained_new(&p, &source, &reason) == more[i].status && strstr(reason.text, more[i].words))) fprintf(stderr, "  %s\n", reason.text);
    fr_pretrained_free(&p);
  }
  for (fr_int times = 1; times < 3; times++) {  // rope_freqs.weight, behind all other tensors, whose infos end at 4054
    unsigned char info[49] = "\x11\0\0\0\0\0\0\0rope_freqs.weight\1\0\0\0\2\0\0\0\0\0\0\0\0\0\0\0\xA0\x09\0\0\0\0\0";
    const fr_int data = (4054 + 49 * times + 31) / 32 * 32;
    fr_reason reason;
    fr_pretrained p;
    fr_pretrained_source source;
    memset(file, 0, 20000);
    memcpy(file, small, 4054);
    file[8] = (unsigned char)(file[8] + times);
    memcpy(file + data, small + 4064, 2464);
    for (fr_int i = 0; i < times; i++, info[41] += 32) {
      memcpy(file + 4054 + 49 * i, info, 49);
      memcpy(file + data + 2464 + 32 * i, "\0\0\x80\x3F\0\0\x80\x3F", 8);
    }
    source = file_source(file, data + 2464 + 32 * times);
    CHECK(fr_pretrained_new(&p, &source, &reason) == (times == 1 ? FR_OK : FR_FORMAT));
    CHECK(strstr(reason.text, times == 1 ? "" : "rope_freqs.weight: it is there twice") != NULL);
    fr_pretrained_free(&p);
  }
  for (fr_int cut = 0; cut <= small_size - 24; cut++) try_file(small, cut, cut < small_size - 24, "cut");
  for (int i = 0; i < 3000; i++) {  // any byte may be any other: an error or a model, never more
    memcpy(file, small, (size_t)small_size);
    for (int k = 0; k < 1 + i % 3; k++) file[test_bits() % (uint64_t)small_size] = (unsigned char)test_bits();
    try_file(file, small_size, -1, "changed");
  }
  hostile_close(&h);
}

int main(void)
{
  blocks();
  halves();
  models();
  damaged();
  return test_done("gguf");
}
