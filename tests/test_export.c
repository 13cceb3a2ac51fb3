// Models given back: what is written is read again with the same bits, in every form; what a form cannot hold is named.
#define FORKREASON_IMPLEMENTATION
#include "../forkreason.h"
#include "folder.h"

static char *written(const fr_export *e, fr_export_file file, fr_int *bytes)
{
  fr_reason reason;
  char *text;
  fr_int again = 0;
  if (!CHECK(fr_export_write(e, file, NULL, 0, bytes, &reason) == FR_OK)) { fprintf(stderr, "  %s\n", reason.text); exit(2); }
  text = (char *)test_alloc((size_t)*bytes);
  if (*bytes > 0) {
    CHECK(fr_export_write(e, file, text, *bytes - 1, &again, &reason) == FR_MEMORY && again == *bytes);
    CHECK(strstr(reason.text, "bytes") != NULL);
  }
  CHECK(fr_export_write(e, file, text, *bytes, &again, &reason) == FR_OK && again == *bytes && reason.text[0] == 0);
  return text;
}

static void put_folder(folder *f, const fr_export *e)
{
  for (int file = FR_EXPORT_CONFIG; file <= FR_EXPORT_CARD; file++) {
    const int words = file == FR_EXPORT_TOKENIZER || file == FR_EXPORT_TOKENIZER_CONFIG;
    fr_int bytes;
    char *text;
    if (words && !e->tokenizer) continue;
    text = written(e, (fr_export_file)file, &bytes);
    if (file != FR_EXPORT_CHAT || bytes) folder_put(f, fr_export_name((fr_export_file)file), text, (size_t)bytes);
    free(text);
  }
  CHECK(fr_export_name(FR_EXPORT_GGUF) == NULL && fr_export_name((fr_export_file)99) == NULL);
}

static fr_tokenizer tiny_tokenizer(void)
{
  fr_tokenizer tokenizer;
  fr_tokenizer_source source;
  fr_reason reason;
  ptrdiff_t size;
  memset(&source, 0, sizeof source);
  source.file.bytes = (const char *)store_file("tests/data/tokenizer/tiny/qwenstyle/tokenizer.json", &size);
  source.file.count = (fr_int)size;
  source.forks = 3;
  if (fr_tokenizer_new(&tokenizer, &source, &reason)) store_die("no tokenizer", reason.text);
  free((void *)(uintptr_t)source.file.bytes);
  return tokenizer;
}

// ---- load, save, load
static void round_trips(void)
{
  static const char *const names[] = { "llama_a", "qwen2_a", "qwen3_a", "llama_ssft", "qwen3_ssft" };
  static const char template_text[] = "{% for m in messages %}\t\"quoted\" \\ back\n{% endfor %}";
  const fr_token ends[] = { 2, 5 };
  fr_tokenizer tokenizer = tiny_tokenizer();
  for (int m = 0; m < 5; m++)
    for (int viewed = 0; viewed < 2; viewed++)
      for (int type = FR_EXPORT_F32; type <= FR_EXPORT_BF16; type++) {
        char path[200];
        folder f, g;
        fr_pretrained p, q;
        fr_pretrained_options options;
        fr_model model, again, whole;
        fr_export e;
        fr_reason reason;
        const uint32_t *a, *b;
        fr_int worst = 0;
        memset(&f, 0, sizeof f);
        memset(&g, 0, sizeof g);
        memset(&e, 0, sizeof e);
        memset(&options, 0, sizeof options);
        snprintf(path, sizeof path, "tests/data/model/%s", names[m]);
        folder_read_model(&f, path);
        CHECK(folder_place(&f, &p, &reason) == FR_OK);
        options.vocab = viewed ? (tokenizer.vocab > p.config.vocab ? tokenizer.vocab : p.config.vocab) + 3 : 0;
        options.whole = !viewed;
        CHECK(fr_pretrained_model_new(&p, &options, &model, &reason) == FR_OK);
        options.whole = 1;
        CHECK(fr_pretrained_model_new(&p, &options, &whole, &reason) == FR_OK);
        e.model = &model;
        if (tokenizer.vocab <= model.config.vocab) e.tokenizer = &tokenizer;
        e.type = (fr_export_type)type;
        e.context = 77;
        e.begin = 1;
        e.pad = -1;
        e.ends = ends;
        e.end_count = 2;
        e.name = "a \"name\"";
        e.base = "base/of it";
        e.license = "apache-2.0";
        e.chat.bytes = template_text;
        e.chat.count = (fr_int)strlen(template_text);
        put_folder(&g, &e);
        if (!CHECK(folder_place(&g, &q, &reason) == FR_OK)) { fprintf(stderr, "%s: %s\n", path, reason.text); exit(1); }
        CHECK(!viewed || (e.tokenizer && g.count == 7));
        CHECK(q.wrong == 0 && q.begin == 1 && q.end_count == 2 && q.ends[0] == 2 && q.ends[1] == 5 && q.context == 77);
        CHECK(!strcmp(p.family, q.family) && q.chat.count == e.chat.count && !memcmp(q.chat.bytes, e.chat.bytes, (size_t)q.chat.count));
        CHECK(!memcmp(&q.config, &model.config, sizeof q.config));
        CHECK(fr_pretrained_model_new(&q, &options, &again, &reason) == FR_OK && again.count == whole.count);
        a = (const uint32_t *)(const void *)whole.params;
        b = (const uint32_t *)(const void *)again.params;
        for (fr_int i = 0; i < whole.count; i++) {
          const fr_int bits = type == FR_EXPORT_F32 ? 0 : type == FR_EXPORT_BF16 ? 0x8000 : 0x1000;  // at most half a unit
          const fr_int apart = (fr_int)(a[i] & 0x7fffffff) - (fr_int)(b[i] & 0x7fffffff);
          const float tiny = fabsf(whole.params[i] - again.params[i]);
          if (apart > bits || -apart > bits) worst += !(type == FR_EXPORT_F16 && tiny <= 2.98023224e-8f);  // half of 2^-24
        }
        CHECK(worst == 0);
        if (type == FR_EXPORT_F32) {  // and written again, the same bytes
          folder h;
          memset(&h, 0, sizeof h);
          e.model = &again;
          put_folder(&h, &e);
          for (int i = 0; i < g.count; i++)
            CHECK(h.text[i].count == g.text[i].count && !memcmp(h.text[i].bytes, g.text[i].bytes, (size_t)g.text[i].count));
          folder_free(&h);
        }
        fr_model_free(&model);
        fr_model_free(&again);
        fr_model_free(&whole);
        fr_pretrained_free(&p);
        fr_pretrained_free(&q);
        folder_free(&f);
        folder_free(&g);
      }
  fr_tokenizer_free(&tokenizer);
}

// ---- llama2.c: written and read; the floats of a folder come back
static void llama2c(void)
{
  for (int tied = 0; tied < 2; tied++) {
    fr_config c;
    fr_model model, again;
    fr_pretrained p;
    fr_pretrained_source source;
    fr_pretrained_options options;
    fr_export e;
    fr_reason reason;
    fr_int bytes;
    char *text;
    memset(&c, 0, sizeof c);
    memset(&e, 0, sizeof e);
    memset(&source, 0, sizeof source);
    memset(&options, 0, sizeof options);
    c.layers = 3; c.dim = 32; c.heads = 4; c.kv_heads = 2; c.ffn = 40; c.vocab = 50; c.tied = tied;
    CHECK(fr_model_new(&model, &c) == FR_OK);
    fr_model_init(&model, 3);
    e.model = &model;
    e.context = 16;
    e.begin = e.pad = -1;
    text = written(&e, FR_EXPORT_LLAMA2C, &bytes);
    CHECK(bytes == 28 + 4 * (model.count + 16 * 8));
    source.file.bytes = text;
    source.file.count = bytes;
    options.whole = 1;
    CHECK(fr_pretrained_new(&p, &source, &reason) == FR_OK && p.form == FR_LLAMA2C && p.config.tied == tied && p.context == 16);
    CHECK(fr_pretrained_model_new(&p, &options, &again, &reason) == FR_OK);
    CHECK(model.count == again.count && !memcmp(model.params, again.params, (size_t)model.count * sizeof(float)));
    {  // row 1 of a head of q in the file is row D/2 of ours
      float x;
      const fr_tensor qkv = fixture_tensor(&model, "w_qkv");
      memcpy(&x, text + 28 + 4 * (c.vocab * c.dim + 3 * c.dim + c.dim), 4);
      CHECK(x == model.params[qkv.offset + 4 * c.dim]);
    }
    fr_model_free(&again);
    fr_model_free(&model);
    fr_pretrained_free(&p);
    free(text);
  }
}

// ---- GGUF: written and read, of floats the same bits; the three families, a tokenizer, llama3's rope
static void ggufs(void)
{
  static const char *const names[] = { "llama_a", "qwen2_a", "qwen3_a", "llama_a" };
  fr_tokenizer tokenizer = tiny_tokenizer();
  const fr_token ends[] = { 2, 5 };
  for (int m = 0; m < 4; m++)
    for (int type = FR_EXPORT_F32; type <= FR_EXPORT_BF16; type++) {
      char path[200];
      folder f;
      fr_pretrained p, q;
      fr_pretrained_options options;
      fr_pretrained_source source;
      fr_model model, again;
      fr_export e;
      fr_tokenizer read;
      fr_tokenizer_source named;
      fr_reason reason;
      fr_int bytes, off = 0;
      char *text;
      memset(&f, 0, sizeof f);
      memset(&e, 0, sizeof e);
      memset(&options, 0, sizeof options);
      memset(&source, 0, sizeof source);
      snprintf(path, sizeof path, "tests/data/model/%s", names[m]);
      folder_read_model(&f, path);
      CHECK(folder_place(&f, &p, &reason) == FR_OK);
      options.whole = 1;
      options.vocab = tokenizer.vocab + 5 > p.config.vocab ? tokenizer.vocab + 5 : 0;
      CHECK(fr_pretrained_model_new(&p, &options, &model, &reason) == FR_OK);
      if (m == 3) { model.config.rope_factor = 8.0f; model.config.rope_original = 64; model.config.rope_theta = 5e5f; }
      e.model = &model;
      tokenizer.begins = m == 1 ? 1 : m == 2 ? 2 : -1;
      e.tokenizer = &tokenizer;
      e.type = (fr_export_type)type;
      e.context = 99;
      e.begin = 1;
      e.pad = 3;
      e.ends = ends;
      e.end_count = 2;
      e.name = "n";
      e.base = "b";
      e.license = "mit";
      e.data = "d";
      text = written(&e, FR_EXPORT_GGUF, &bytes);
      CHECK(bytes % 32 == 0);
      source.file.bytes = text;
      source.file.count = bytes;
      if (!CHECK(fr_pretrained_new(&q, &source, &reason) == FR_OK)) { fprintf(stderr, "%s: %s\n", path, reason.text); exit(1); }
      CHECK(q.form == FR_GGUF && q.wrong == 0 && q.begin == 1 && q.end_count == 2 && q.ends[0] == 2 && q.ends[1] == 5 && q.context == 99);
      memset(&named, 0, sizeof named);
      named.file = source.file;
      CHECK(fr_tokenizer_new(&read, &named, &reason) == FR_OK && read.begins == (m == 1 ? 1 : -1));  // 2 is not its bos
      fr_tokenizer_free(&read);
      CHECK(!strcmp(p.family, q.family) && !memcmp(&q.config, &model.config, sizeof q.config));
      options.vocab = 0;
      CHECK(fr_pretrained_model_new(&q, &options, &again, &reason) == FR_OK && again.count == model.count);
      for (fr_int i = 0; i < model.count; i++) {
        const uint32_t *a = (const uint32_t *)(const void *)&model.params[i], *b = (const uint32_t *)(const void *)&again.params[i];
        const fr_int apart = (fr_int)(*a & 0x7fffffff) - (fr_int)(*b & 0x7fffffff), most = type == FR_EXPORT_F32 ? 0 : type == FR_EXPORT_BF16 ? 0x8000 : 0x1000;
        off += (apart > most || -apart > most) && !(type == FR_EXPORT_F16 && fabsf(model.params[i] - again.params[i]) <= 2.98023224e-8f);
      }
      CHECK(off == 0);
      fr_model_free(&model);
      fr_model_free(&again);
      fr_pretrained_free(&p);
      fr_pretrained_free(&q);
      folder_free(&f);
      free(text);
    }
  fr_tokenizer_free(&tokenizer);
}

// ---- what a form cannot hold
static void refused(void)
{
  static const struct { int bias, norm, head_dim; float theta, eps, factor, scale; int file, type; const char *says; } cases[] = {
    { 0, 0, 0, 0, 0, 0, 0, FR_EXPORT_LLAMA2C, FR_EXPORT_F32, NULL },
    { 1, 0, 0, 0, 0, 0, 0, FR_EXPORT_LLAMA2C, FR_EXPORT_F32, "not have biases" },   { 0, 1, 0, 0, 0, 0, 0, FR_EXPORT_LLAMA2C, FR_EXPORT_F32, "not have norms of heads" },
    { 0, 0, 6, 0, 0, 0, 0, FR_EXPORT_LLAMA2C, FR_EXPORT_F32, "size of heads" },   { 0, 0, 0, 5e5f, 0, 0, 0, FR_EXPORT_LLAMA2C, FR_EXPORT_F32, "theta" },
    { 0, 0, 0, 0, 1e-6f, 0, 0, FR_EXPORT_LLAMA2C, FR_EXPORT_F32, "eps" }, { 0, 0, 0, 0, 0, 8, 0, FR_EXPORT_LLAMA2C, FR_EXPORT_F32, "scaled rope" },
    { 0, 0, 0, 0, 0, 0, 0, FR_EXPORT_LLAMA2C, FR_EXPORT_F16, "other than float32" },   { 0, 0, 0, 0, 0, 0, 2, FR_EXPORT_CONFIG, FR_EXPORT_F32, "embed_scale" },
    { 1, 1, 0, 0, 0, 0, 0, FR_EXPORT_CONFIG, FR_EXPORT_F32, "biases and norms" }, { 0, 0, 0, 0, 0, 0, 0, FR_EXPORT_TOKENIZER, FR_EXPORT_F32, "no tokenizer" },
    { 0, 0, 0, 0, 0, 0, 0, 99, FR_EXPORT_F32, "out of range" },              { 0, 0, 0, 0, 0, 0, 0, FR_EXPORT_CONFIG, 7, "out of range" },
  };
  const fr_token far = 50;
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    fr_config c;
    fr_model model;
    fr_export e;
    fr_reason reason;
    fr_int bytes = -5;
    memset(&c, 0, sizeof c);
    memset(&e, 0, sizeof e);
    c.layers = 1; c.dim = 16; c.heads = 4; c.ffn = 8; c.vocab = 50;
    c.qkv_bias = cases[i].bias; c.qk_norm = cases[i].norm; c.head_dim = cases[i].head_dim; c.rope_theta = cases[i].theta;
    c.norm_eps = cases[i].eps; c.rope_factor = cases[i].factor; c.embed_scale = cases[i].scale;
    CHECK(fr_model_new(&model, &c) == FR_OK);
    e.model = &model;
    e.begin = e.pad = -1;
    e.type = (fr_export_type)cases[i].type;
    if (!cases[i].says) {
      CHECK(fr_export_write(&e, (fr_export_file)cases[i].file, NULL, 0, &bytes, &reason) == FR_OK && bytes > 0);
      for (int big = 0; big < 2; big++) {  // the largest that float16 rounds to 65504, and the next
        fr_tensor out;
        fr_reason said;
        char path[500];
        snprintf(path, sizeof path, "%.400s/test_export.f16", getenv("TEST_BUILD") ? getenv("TEST_BUILD") : "build");
        CHECK(fr_model_tensor(&model, FR__AT_w_out, &out) == FR_OK);
        model.params[out.offset + 3] = big ? -65520.0f : -65519.99f;
        for (int type = FR_EXPORT_F32; type <= FR_EXPORT_BF16; type++) {
          const int wrong = big && type == FR_EXPORT_F16;
          e.type = (fr_export_type)type;
          bytes = -5;
          CHECK(fr_export_write(&e, FR_EXPORT_WEIGHTS, NULL, 0, &bytes, &reason) == (wrong ? FR_RANGE : FR_OK) && (bytes == -5) == wrong);
          CHECK(fr_export_save(path, &e, FR_EXPORT_WEIGHTS, &said) == (wrong ? FR_RANGE : FR_OK) && !strcmp(said.text, reason.text));
          CHECK(!wrong || strstr(reason.text, "65504"));
          CHECK(remove(path) == 0 || wrong);
        }
        e.type = FR_EXPORT_F32;
      }
      e.ends = &far;
      e.end_count = 1;
      CHECK(fr_export_write(&e, FR_EXPORT_CONFIG, NULL, 0, &bytes, &reason) == FR_RANGE && strstr(reason.text, "50"));
      CHECK(fr_export_write(NULL, FR_EXPORT_CONFIG, NULL, 0, &bytes, &reason) == FR_INVALID);
    } else if (!CHECK(fr_export_write(&e, (fr_export_file)cases[i].file, NULL, 0, &bytes, &reason) != FR_OK && bytes == -5 &&
                      strstr(reason.text, cases[i].says))) {
      fprintf(stderr, "  case %d: %s\n", (int)i, reason.text);
    }
    fr_model_free(&model);
  }
}

int main(void)
{
  round_trips();
  llama2c();
  ggufs();
  refused();
  return test_done("export");
}
