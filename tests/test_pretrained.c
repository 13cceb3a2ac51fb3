// Models of others: folders of safetensors and config.json, llama2.c files; what is refused, and with which words.
#define FORKREASON_IMPLEMENTATION
#include "../forkreason.h"
#include "folder.h"


// A float as float16 or bfloat16, nearest even, by arithmetic on doubles; the values here are neither huge nor infinite.
static uint16_t to_half(float x, int bfloat)
{
  const int digits = bfloat ? 8 : 11, least = bfloat ? -126 : -14;
  double size = fabs((double)x), unit;
  uint16_t sign = (uint16_t)(x < 0.0f ? 0x8000 : 0);
  int exponent;
  frexp(size, &exponent);  // size = m 2^exponent, m in [.5, 1)
  if (exponent - 1 < least) exponent = least + 1;
  unit = ldexp(1.0, exponent - digits);
  size = rint(size / unit);  // a whole number of units
  if (size >= ldexp(1.0, digits)) { size /= 2.0; exponent++; }
  if (size < ldexp(1.0, digits - 1)) return (uint16_t)(sign | (uint16_t)size);
  return (uint16_t)(sign | (uint16_t)((exponent - 1 - least + 1) << (digits - 1)) | ((uint16_t)size & ((1u << (digits - 1)) - 1u)));
}

// A safetensors file of tensors of a store, as F32, F16 or BF16, those whose index is in from .. to-1, with one change.
enum { AS_F32, AS_F16, AS_BF16 };
typedef struct change {
  const char *name;            // what is changed: [NULL: nothing]
  const char *called;          // its name [left out]
  int turned, again, unequal;  // its shape the other way round; there twice, the second time under `called`; one bit flipped
} change;

static void folder_build(folder *f, const char *file, const store *s, int as, fr_int from, fr_int to, const change *how)
{
  static const char *const types[] = { "F32", "F16", "BF16" };
  char *head = (char *)test_alloc((size_t)s->size + 40000);
  unsigned char *data = (unsigned char *)test_alloc((size_t)s->size * 2);
  size_t length = 0, bytes = 0;
  length += (size_t)sprintf(head + 8, "{\"__metadata__\":{\"format\":\"pt\"}");
  for (fr_int i = from; i < to; i++)
    for (int copy = 0; copy < 2; copy++) {
      const store_entry *e = &s->entries[i];
      const int changed = how && how->name && !strcmp(how->name, e->name);
      const char *name = changed && (copy || !how->again) ? how->called : e->name;
      const size_t begin = bytes;
      if ((copy && !(changed && how->again)) || !name) continue;
      for (ptrdiff_t j = 0; j < e->count; j++) {
        const float x = (float)store_at(s, e, j);
        uint32_t bits;
        memcpy(&bits, &x, 4);
        if (as != AS_F32) bits = to_half(x, as == AS_BF16);
        if (copy && how->unequal && j == e->count - 1) bits ^= 1;
        for (int k = 0; k < (as == AS_F32 ? 4 : 2); k++) data[bytes++] = (unsigned char)(bits >> (8 * k));
      }
      length += (size_t)sprintf(head + 8 + length, ",\"%s\":{\"dtype\":\"%s\",\"shape\":[", name, types[as]);
      for (int d = 0; d < e->dims; d++)
        length += (size_t)sprintf(head + 8 + length, "%s%ld", d ? "," : "", (long)e->dim[changed && how->turned ? e->dims - 1 - d : d]);
      length += (size_t)sprintf(head + 8 + length, "],\"data_offsets\":[%ld,%ld]}", (long)begin, (long)bytes);
    }
  head[8 + length++] = '}';
  while (length % 8) head[8 + length++] = ' ';
  for (int k = 0; k < 8; k++) head[k] = (char)((uint64_t)length >> (8 * k));
  {
    unsigned char *all = (unsigned char *)test_alloc(8 + length + bytes);
    memcpy(all, head, 8 + length);
    memcpy(all + 8 + length, data, bytes);
    folder_put(f, file, all, 8 + length + bytes);
    free(all);
  }
  free(head);
  free(data);
}

// ---- the references: each folder loads, as floats and as views, and gives its logits
static void check_logits(const fr_model *model, const store *s, double bound)
{
  const store_entry *lengths = store_get(s, "", "lengths"), *want = store_get(s, "", "logits");
  const fr_int sequences = (fr_int)store_scalar(s, "", "batch"), longest = (fr_int)store_scalar(s, "", "tmax"), V = model->config.vocab;
  int32_t *ids = store_ints(s, store_get(s, "", "ids"));
  fr_int at = 0;
  double worst = 0.0, largest = 0.0;
  for (fr_int i = 0; i < sequences; i++) {
    const fr_int length = (fr_int)store_at(s, lengths, i);
    float *logits = logits_of(model, ids + i * longest, length);
    for (fr_int j = 0; j < length * V; j++, at++) {
      worst = fmax(worst, fabs((double)logits[j] - store_at(s, want, at)));
      largest = fmax(largest, fabs(store_at(s, want, at)));
    }
    free(logits);
  }
  CHECK(at == want->count);
  CHECK_BELOW(worst / largest, bound);
  free(ids);
}

static void references(void)
{
  static const struct { const char *name; int half; } models[] = { { "llama_a", 0 },  { "qwen2_a", 0 }, { "qwen3_a", 0 },
    { "llama_ssft", 0 }, { "qwen3_ssft", 0 }, { "llama_a_bf16", 1 }, { "llama_a_f16", 2 } };
  for (int m = 0; m < 7; m++) {
    char path[200];
    folder f;
    fr_pretrained p;
    fr_reason reason;
    fr_pretrained_options options;
    fr_model whole, viewed, halved;
    fr_found found;
    fr_int stays = 0;
    store s;
    memset(&f, 0, sizeof f);
    memset(&options, 0, sizeof options);
    snprintf(path, sizeof path, "tests/data/model/%s", models[m].half ? "llama_a" : models[m].name);
    folder_read_model(&f, path);
    if (models[m].half) {  // the reference's files of half the size have these values
      store floats = store_safetensors("tests/data/model/llama_a/model.safetensors");
      folder_build(&f, "model.safetensors", &floats, models[m].half == 1 ? AS_BF16 : AS_F16, 0, floats.count, NULL);
      store_close(&floats);
    }
    if (!CHECK(folder_place(&f, &p, &reason) == FR_OK)) { fprintf(stderr, "%s: %s\n", path, reason.text); folder_free(&f); continue; }
    CHECK(p.form == FR_FOLDER && p.wrong == 0 && p.begin == 1 && p.end_count == 1 && p.ends[0] == 2 && p.context > 0);
    CHECK(!strncmp(models[m].name, p.family, 5));
    for (fr_int i = 0; i < p.tensor_count; i++) {
      CHECK(fr_pretrained_tensor(&p, i, &found) == FR_OK && found.fit == FR_FITS);
      CHECK(found.bytes == found.rows * found.cols * (models[m].half ? 2 : 4));
      CHECK(!strcmp(found.type, models[m].half == 0 ? "F32" : models[m].half == 1 ? "BF16" : "F16"));
      stays += found.stays;
    }
    CHECK(fr_pretrained_tensor(&p, p.tensor_count, &found) == FR_RANGE);
    CHECK(stays == (models[m].half == 2 ? 0 : 7 * p.config.layers + 2 - p.config.tied));
    options.whole = 1;
    CHECK(fr_pretrained_model_new(&p, &options, &whole, &reason) == FR_OK);
    CHECK(!whole.views && whole.count > 0);
    if (!models[m].half) {  // the same floats as the tests' own reader
      void *memory;
      const fr_config config = hf_config(path);
      fr_model own = fixture_model(&config, &memory);
      hf_load(&own, path);
      CHECK(own.count == whole.count && !memcmp(own.params, whole.params, (size_t)own.count * sizeof(float)));
      free(memory);
    }
    options.whole = 0;
    CHECK(fr_pretrained_model_new(&p, &options, &viewed, &reason) == FR_OK);
    CHECK(viewed.views && viewed.count < whole.count / 4);
    options.type = FR_BFLOAT16;
    CHECK(fr_pretrained_model_new(&p, &options, &halved, &reason) == FR_OK);
    snprintf(path, sizeof path, "tests/data/model/%s/ntp", models[m].name);
    if (!strstr(path, "ssft")) {
      s = store_open(path);
      check_logits(&whole, &s, 1e-5);
      check_logits(&viewed, &s, 1e-5);
      if (models[m].half == 1) check_logits(&halved, &s, 1e-5);  // they are bfloat16 already
      store_close(&s);
    }
    fr_model_free(&whole);
    fr_model_free(&viewed);
    fr_model_free(&halved);
    fr_pretrained_free(&p);
    folder_free(&f);
  }
}

// Rows behind those of the file: the mean of the others, as floats and beside views.
static void more_rows(void)
{
  folder f;
  fr_pretrained p;
  fr_reason reason;
  fr_pretrained_options options;
  memset(&f, 0, sizeof f);
  memset(&options, 0, sizeof options);
  folder_read_model(&f, "tests/data/model/llama_a");
  CHECK(folder_place(&f, &p, &reason) == FR_OK);
  options.vocab = p.config.vocab + 3;
  for (int whole = 0; whole < 2; whole++) {
    fr_model model, plain;
    const fr_token ids[] = { 5, 6, 300, 7, 302 };
    float *logits, *first;
    options.whole = whole;
    CHECK(fr_pretrained_model_new(&p, &options, &model, &reason) == FR_OK);
    CHECK(fr_pretrained_model_new(&p, NULL, &plain, &reason) == FR_OK);
    CHECK(model.config.vocab == p.config.vocab + 3);
    logits = logits_of(&model, ids, 5);
    first = logits_of(&plain, ids, 2);
    for (fr_int i = 0; i < 300; i++) CHECK_BELOW(fabs((double)logits[303 + i] - (double)first[300 + i]), 1e-5);
    for (int row = 0; row < 5; row++) {  // a row that is the mean of all gives the mean of their logits
      double sum = 0.0;
      for (int i = 0; i < 300; i++) sum += (double)logits[row * 303 + i];
      for (int i = 300; i < 303; i++) CHECK_BELOW(fabs((double)logits[row * 303 + i] - sum / 300.0), 1e-5);
    }
    free(logits);
    free(first);
    fr_model_free(&model);
    fr_model_free(&plain);
  }
  options.vocab = p.config.vocab - 1;
  {
    fr_model model;
    CHECK(fr_pretrained_model_new(&p, &options, &model, &reason) == FR_INVALID && strstr(reason.text, "299"));
  }
  fr_pretrained_free(&p);
  folder_free(&f);
}

// ---- what does not fit is named; shards; a head beside a tied embedding
static fr_status built(const change *how, const char *config_folder, fr_reason *reason, fr_int *wrong)
{
  folder f;
  fr_pretrained p;
  fr_model model;
  fr_status status;
  char path[200];
  store s;
  memset(&f, 0, sizeof f);
  snprintf(path, sizeof path, "tests/data/model/%s", config_folder);
  folder_read_model(&f, path);
  snprintf(path, sizeof path, "tests/data/model/%s/model.safetensors", config_folder);
  s = store_safetensors(path);
  folder_build(&f, "model.safetensors", &s, AS_F32, 0, s.count, how);
  status = folder_place(&f, &p, reason);
  *wrong = status ? 0 : p.wrong;
  if (!status) status = fr_pretrained_model_new(&p, NULL, &model, reason);
  if (!status) fr_model_free(&model);
  fr_pretrained_free(&p);
  folder_free(&f);
  store_close(&s);
  return status;
}

static void misfits(void)
{
  static const struct { const char *folder; change how; fr_status status; fr_int wrong; const char *says; } cases[] = {
    { "llama_a", { NULL, NULL, 0, 0, 0 }, FR_OK, 0, "" },
    { "llama_a", { "model.norm.weight", NULL, 0, 0, 0 }, FR_FORMAT, 1, "missing model.norm.weight" },
    { "llama_a", { "model.layers.1.mlp.up_proj.weight", "model.layers.01.mlp.up_proj.weight", 0, 0, 0 }, FR_FORMAT, 2,
      "missing model.layers.1.mlp.up_proj.weight; left over model.layers.01.mlp.up_proj.weight" },
    { "llama_a", { "model.layers.1.mlp.up_proj.weight", "model.layers.2.mlp.up_proj.weight", 0, 0, 0 }, FR_FORMAT, 2, "left over model.layers.2" },
    { "llama_a", { "model.layers.1.mlp.up_proj.weight", "model.layers.18446744073709551617.mlp.up_proj.weight", 0, 0, 0 }, FR_FORMAT, 2,
      "left over" },
    { "llama_a", { "model.layers.0.mlp.down_proj.weight", "model.layers.0.mlp.down_proj.weight", 1, 0, 0 }, FR_FORMAT, 1,
      "misshapen model.layers.0.mlp.down_proj.weight" },
    { "llama_a", { "model.layers.0.self_attn.q_proj.weight", "model.layers.0.self_attn.rotary_emb.inv_freq", 0, 1, 0 }, FR_OK, 0, "" },
    { "llama_a", { "model.norm.weight", "model.layers.0.self_attn.q_proj.bias", 0, 1, 0 }, FR_FORMAT, 1, "left over model.layers.0.self_attn.q_proj.bias" },
    { "llama_a", { "model.norm.weight", "model.norm.weight", 0, 1, 0 }, FR_FORMAT, 0, "model.norm.weight is there twice" },
    { "llama_a", { "lm_head.weight", NULL, 0, 0, 0 }, FR_FORMAT, 1, "missing lm_head.weight" },
    { "qwen2_a", { "model.embed_tokens.weight", "lm_head.weight", 0, 1, 0 }, FR_OK, 0, "" },
    { "qwen2_a", { "model.embed_tokens.weight", "lm_head.weight", 0, 1, 1 }, FR_FORMAT, 0, "row 299 of lm_head" },
    { "qwen2_a", { "model.layers.2.self_attn.k_proj.bias", NULL, 0, 0, 0 }, FR_FORMAT, 1, "missing model.layers.2.self_attn.k_proj.bias" },
    { "qwen3_a", { "model.layers.1.self_attn.k_norm.weight", NULL, 0, 0, 0 }, FR_FORMAT, 1, "missing model.layers.1.self_attn.k_norm.weight" },
  };
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    fr_reason reason;
    fr_int wrong;
    CHECK(built(&cases[i].how, cases[i].folder, &reason, &wrong) == cases[i].status);
    CHECK(wrong == cases[i].wrong);
    if (!CHECK(strstr(reason.text, cases[i].says) != NULL)) fprintf(stderr, "  case %d said: %s\n", (int)i, reason.text);
  }
}

static void shards(void)
{
  static const char *const names[] = { "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors" };
  enum { RIGHT, SWAPPED, LACKS_ONE, NO_FILE, OUTSIDE, TWICE, CASES };
  for (int which = 0; which < CASES; which++) {
    store s = store_safetensors("tests/data/model/llama_a/model.safetensors");
    const fr_int half = s.count / 2;
    char *index = (char *)test_alloc(20000);
    size_t at = 0;
    folder f;
    fr_pretrained p;
    fr_reason reason;
    fr_status status;
    change twice;
    memset(&f, 0, sizeof f);
    memset(&twice, 0, sizeof twice);
    twice.name = "model.norm.weight";
    twice.called = s.entries[0].name;
    twice.again = 1;
    folder_read(&f, "config.json", "tests/data/model/llama_a/config.json");
    folder_build(&f, names[0], &s, AS_F32, 0, half, NULL);
    if (which != NO_FILE) folder_build(&f, names[1], &s, AS_F32, half, s.count, which == TWICE ? &twice : NULL);
    at += (size_t)sprintf(index, "{\"metadata\":{\"total_size\":1},\"weight_map\":{");
    for (fr_int i = 0; i < s.count; i++) {
      if (which == LACKS_ONE && i == 3) continue;
      at += (size_t)sprintf(index + at, "%s\"%s\":\"%s%s\"", i ? "," : "", s.entries[i].name, which == OUTSIDE ? "../" : "",
                            names[(i >= half) ^ (which == SWAPPED && i == 3)]);
    }
    sprintf(index + at, "}}");
    folder_put_text(&f, "model.safetensors.index.json", index);
    status = folder_place(&f, &p, &reason);
    CHECK((status == FR_OK) == (which == RIGHT));
    if (which == RIGHT) {
      fr_model model, whole;
      fr_pretrained_options options;
      folder one;
      fr_pretrained q;
      memset(&options, 0, sizeof options);
      memset(&one, 0, sizeof one);
      options.whole = 1;
      CHECK(p.wrong == 0 && fr_pretrained_model_new(&p, &options, &model, &reason) == FR_OK);
      folder_read_model(&one, "tests/data/model/llama_a");
      CHECK(folder_place(&one, &q, &reason) == FR_OK && fr_pretrained_model_new(&q, &options, &whole, &reason) == FR_OK);
      CHECK(model.count == whole.count && !memcmp(model.params, whole.params, (size_t)model.count * sizeof(float)));
      fr_model_free(&model);
      fr_model_free(&whole);
      fr_pretrained_free(&q);
      folder_free(&one);
    } else if (which != TWICE) {
      CHECK(strstr(reason.text, "model.safetensors.index.json: ") == reason.text);
    } else {
      CHECK(strstr(reason.text, "is there twice") != NULL);
    }
    if (which == SWAPPED) CHECK(strstr(reason.text, "not in this file") != NULL);
    if (which == LACKS_ONE) CHECK(strstr(reason.text, "20 tensors, its files have 21") != NULL);
    if (which == NO_FILE || which == OUTSIDE) CHECK(strstr(reason.text, "no such file") != NULL);
    fr_pretrained_free(&p);
    folder_free(&f);
    free(index);
    store_close(&s);
  }
}

// ---- config.json: other spellings; what beside it is read
static void configs(void)
{
  static const char common[] = "\"hidden_size\":64,\"intermediate_size\":172,\"num_hidden_layers\":2,\"num_attention_heads\":4,"
    "\"num_key_value_heads\":2,\"vocab_size\":300";
  static const struct { const char *more, *says; double theta, factor, eps; int dim; } cases[] = {
    { "\"model_type\":\"llama\"", "", 10000, 0, 1e-6, 16 },
    { "\"model_type\":\"llama\",\"rope_theta\":500000,\"rms_norm_eps\":1e-05", "", 500000, 0, 1e-5, 16 },
    { "\"model_type\":\"llama\",\"rope_parameters\":{\"rope_theta\":500000.0,\"rope_type\":\"default\"},\"rope_theta\":7.0", "", 500000, 0, 1e-6, 16 },
    { "\"model_type\":\"llama\",\"rope_parameters\":null,\"rope_theta\":7.5", "", 7.5, 0, 1e-6, 16 },
    { "\"model_type\":\"llama\",\"rope_theta\":5e5,\"rope_scaling\":{\"factor\":8.0,\"low_freq_factor\":1.0,\"high_freq_factor\":4.0,"
      "\"original_max_position_embeddings\":8192,\"type\":\"llama3\"}", "", 500000, 8, 1e-6, 16 },
    { "\"model_type\":\"llama\",\"rope_parameters\":{\"rope_theta\":5e5,\"factor\":32.0,\"low_freq_factor\":1.0,\"high_freq_factor\":4.0,"
      "\"original_max_position_embeddings\":8192,\"rope_type\":\"llama3\"}", "", 500000, 32, 1e-6, 16 },
    { "\"model_type\":\"llama\",\"rope_scaling\":{\"low_freq_factor\":1.0,\"high_freq_factor\":4.0,"
      "\"original_max_position_embeddings\":8192,\"rope_type\":\"llama3\"}", "there is no factor", 0, 0, 0, 0 },
    { "\"model_type\":\"llama\",\"rope_scaling\":{\"factor\":4.0,\"rope_type\":\"yarn\"}", "rope_type other than", 0, 0, 0, 0 },
    { "\"model_type\":\"llama\",\"rope_scaling\":{\"factor\":4.0,\"type\":\"linear\"}", "rope_type other than", 0, 0, 0, 0 },
    { "\"model_type\":\"llama\",\"rope_scaling\":{\"factor\":4.0}", "rope_type", 0, 0, 0, 0 },
    { "\"model_type\":\"qwen3\",\"head_dim\":null", "", 10000, 0, 1e-6, 128 },
    { "\"model_type\":\"qwen2\",\"use_sliding_window\":true", "sliding window", 0, 0, 0, 0 },
    { "\"model_type\":\"qwen2\",\"sliding_window\":4096,\"layer_types\":[\"full_attention\",\"full_attention\"]", "", 10000, 0, 1e-6, 16 },
    { "\"model_type\":\"qwen2\",\"layer_types\":[\"full_attention\",\"sliding_attention\"]", "layer type", 0, 0, 0, 0 },
    { "\"model_type\":\"llama\",\"attention_bias\":true", "attention_bias", 0, 0, 0, 0 },
    { "\"model_type\":\"llama\",\"mlp_bias\":true", "biases in the MLP", 0, 0, 0, 0 },
    { "\"model_type\":\"gemma\"", "model_type other than", 0, 0, 0, 0 },
    { "\"model_type\":7", "model_type other than", 0, 0, 0, 0 },
    { "\"hidden_act\":\"silu\"", "there is no model_type", 0, 0, 0, 0 },
    { "\"model_type\":\"llama\",\"quantization_config\":{\"bits\":4}", "quantised", 0, 0, 0, 0 },
    { "\"model_type\":\"llama\",\"eos_token_id\":[1,2,-3]", "token id", 0, 0, 0, 0 },
    { "\"model_type\":\"llama\",\"eos_token_id\":[1,2,3,4,5,6,7,8,9]", "more than 8", 0, 0, 0, 0 },
    { "\"model_type\":\"llama\",\"eos_token_id\":null,\"tie_word_embeddings\":1", "true or false", 0, 0, 0, 0 },
  };
  folder f;
  fr_pretrained p;
  fr_reason reason;
  memset(&f, 0, sizeof f);
  folder_read_model(&f, "tests/data/model/llama_a");
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    char text[2000];
    fr_status status;
    sprintf(text, "{%s,%s}", common, cases[i].more);
    folder_put_text(&f, "config.json", text);
    status = folder_place(&f, &p, &reason);
    if (!CHECK(cases[i].says[0] ? status && strstr(reason.text, cases[i].says) != NULL : status == FR_OK))
      fprintf(stderr, "  %s\n  said: %s\n", cases[i].more, reason.text);
    if (!status) {
      CHECK(p.config.rope_theta == (float)cases[i].theta && p.config.rope_factor == (float)cases[i].factor);
      CHECK(p.config.norm_eps == (float)cases[i].eps && p.config.head_dim == cases[i].dim && p.context == 2048 && p.begin == -1);
    }
    fr_pretrained_free(&p);
  }
  folder_read_model(&f, "tests/data/model/llama_a");
  folder_put_text(&f, "generation_config.json", "{\"eos_token_id\": [7, 2, 9], \"temperature\": 0.6}");
  folder_put_text(&f, "tokenizer_config.json", "{\"chat_template\": \"{{ a\\n }}\", \"eos_token\": {\"content\": \"<|\\u0065nd|>\", \"lstrip\": false}}");
  CHECK(folder_place(&f, &p, &reason) == FR_OK);
  CHECK(p.end_count == 3 && p.ends[0] == 2 && p.ends[1] == 7 && p.ends[2] == 9);
  CHECK(p.chat.count == 8 && !memcmp(p.chat.bytes, "{{ a\n }}", 8) && p.end.count == 7 && !memcmp(p.end.bytes, "<|end|>", 7));
  fr_pretrained_free(&p);
  folder_put_text(&f, "chat_template.jinja", "{{ b }}");
  folder_put_text(&f, "tokenizer_config.json", "{\"eos_token\": \"</s>\", \"chat_template\": 5}");
  CHECK(folder_place(&f, &p, &reason) == FR_OK);
  CHECK(p.chat.count == 7 && !memcmp(p.chat.bytes, "{{ b }}", 7) && p.end.count == 4);
  fr_pretrained_free(&p);
  folder_put_text(&f, "generation_config.json", "[]");
  CHECK(folder_place(&f, &p, &reason) == FR_FORMAT && strstr(reason.text, "generation_config.json: line 1, column 1") != NULL);
  folder_free(&f);
  CHECK(folder_place(&f, &p, &reason) == FR_FORMAT && strstr(reason.text, "config.json") != NULL);
}

// ---- hostile files: what the manifest says of each
static void hostile(void)
{
  ptrdiff_t size;
  char *manifest = (char *)store_file("tests/data/safetensors/MANIFEST.tsv", &size), *line = strtok(manifest, "\n");
  int counts[3] = { 0, 0, 0 };
  for (; line; line = strtok(NULL, "\n")) {
    char name[100], word[20], path[200];
    const int config = !strncmp(line, "config/", 7);
    folder f;
    fr_pretrained p;
    fr_reason reason;
    fr_status status;
    int expect;
    if (sscanf(line, "%99s %19s", name, word) != 2) store_die("bad line", line);
    expect = !strcmp(word, "ok") ? 0 : !strcmp(word, "reject") ? 1 : 2;
    counts[expect]++;
    memset(&f, 0, sizeof f);
    snprintf(path, sizeof path, "tests/data/%s", name);
    folder_read_model(&f, "tests/data/model/llama_a");
    folder_read(&f, config ? "config.json" : "model.safetensors", path);
    memset(&p, 0x5A, sizeof p);
    status = folder_place(&f, &p, &reason);
    if (!test_check(expect == 2 || (status != FR_OK) == expect, line, __FILE__, __LINE__)) fprintf(stderr, "  said: %s\n", reason.text);
    if (status) CHECK(strstr(reason.text, config ? "config.json" : "model.safetensors") != NULL);
    else CHECK(reason.text[0] == 0);
    if (!status && !config) CHECK(p.wrong > 0);  // whatever is in them is no such model
    if (!status && !config) {
      fr_model model;
      CHECK(fr_pretrained_model_new(&p, NULL, &model, &reason) == FR_FORMAT && strstr(reason.text, "missing model.layers.0."));
    }
    fr_pretrained_free(&p);
    folder_free(&f);
  }
  CHECK(counts[0] > 8 && counts[1] > 40 && counts[2] > 10);
  free(manifest);
  {  // an overlap and a gap of one size
    static const char head[] = "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},\"b\":{\"dtype\":\"F32\",\"shape\":[1],"
      "\"data_offsets\":[0,4]},\"c\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[8,12]}}";
    char text[300];
    folder f;
    fr_pretrained p;
    fr_reason reason;
    memset(&f, 0, sizeof f);
    memset(text, 0, sizeof text);
    text[0] = (char)strlen(head);
    memcpy(text + 8, head, strlen(head));
    folder_read(&f, "config.json", "tests/data/model/llama_a/config.json");
    folder_put(&f, "model.safetensors", text, 8 + strlen(head) + 12);
    CHECK(strlen(head) < 256 && folder_place(&f, &p, &reason) == FR_FORMAT && strstr(reason.text, "overlap") != NULL);
    folder_free(&f);
  }
  for (int objects = 0; objects < 2; objects++) {  // 60,000 levels
    const char *level = objects ? "{\"a\":" : "[";
    const size_t each = strlen(level), head = 5 + 60000 * each;
    char *text = (char *)test_alloc(8 + head);
    folder f;
    fr_pretrained p;
    fr_reason reason;
    memset(&f, 0, sizeof f);
    folder_read(&f, "config.json", "tests/data/model/llama_a/config.json");
    for (int k = 0; k < 8; k++) text[k] = (char)((uint64_t)head >> (8 * k));
    memcpy(text + 8, "{\"a\":", 5);
    for (int i = 0; i < 60000; i++) memcpy(text + 13 + (size_t)i * each, level, each);
    folder_put(&f, "model.safetensors", text, 8 + head);
    CHECK(folder_place(&f, &p, &reason) != FR_OK && strstr(reason.text, "model.safetensors") != NULL);
    folder_free(&f);
    free(text);
  }
}

// ---- llama2.c: the story model, third-party data which is not part of the project
static const char story[] = "Once upon a time, there was a little girl named Lily. She loved to play outside in the park. One day, she saw a big, red "
  "ball. She wanted to play with it, but it was too high.\nLily's mom said, \"Lily, let's go to the park.\" Lily was sad and didn't "
  "know what to do.";

static fr_text shared_file(const char *name)
{
  char path[300];
  fr_text text = { NULL, 0 };
  FILE *file;
  ptrdiff_t size;
  snprintf(path, sizeof path, "../shared/data/%s", name);
  file = fopen(path, "rb");
  if (!file) { printf("skipped: there is no %s\n", path); return text; }
  fclose(file);
  text.bytes = (const char *)store_file(path, &size);
  text.count = (fr_int)size;
  return text;
}

static void stories(void)
{
  fr_pretrained_source source;
  fr_pretrained p;
  fr_reason reason;
  memset(&source, 0, sizeof source);
  source.file = shared_file("stories260K.bin");
  if (!source.file.bytes) return;
  CHECK(fr_pretrained_new(&p, &source, &reason) == FR_OK && p.form == FR_LLAMA2C && p.wrong == 0);
  CHECK(p.config.dim == 64 && p.config.ffn == 172 && p.config.layers == 5 && p.config.kv_heads == 4 && p.config.vocab == 512 && p.context == 512);
  for (int whole = 0; whole < 2; whole++) {
    fr_pretrained_options options;
    fr_tokenizer_source text_source;
    fr_tokenizer tokenizer;
    fr_encoder encoder;
    fr_model model;
    fr_work work;
    fr_limits limits;
    fr_tree tree;
    fr_span span;
    fr_sampling sampling;
    fr_leaf leaf;
    fr_token ids[32], more[200];
    char told[1000];
    fr_int count = 0, bytes = 0, need;
    const fr_token stop = 1;
    memset(&options, 0, sizeof options);
    memset(&text_source, 0, sizeof text_source);
    memset(&tree, 0, sizeof tree);
    memset(&span, 0, sizeof span);
    memset(&sampling, 0, sizeof sampling);
    memset(&leaf, 0, sizeof leaf);
    text_source.file = shared_file("tok512.bin");
    if (!text_source.file.bytes) break;
    CHECK(fr_tokenizer_new(&tokenizer, &text_source, &reason) == FR_OK);
    CHECK(fr_encoder_new(&encoder, &tokenizer, 1000, 0) == FR_OK);
    options.whole = whole;
    CHECK(fr_pretrained_model_new(&p, &options, &model, &reason) == FR_OK);
    ids[0] = 1;
    CHECK(fr_tokenizer_encode(&encoder, "Once upon a time", 16, FR_SPECIALS_TEXT, ids + 1, 30, &count) == FR_OK);
    span.parent = -1;
    span.tokens.ids = ids;
    span.tokens.count = count + 1;
    tree.spans = &span;
    tree.span_count = 1;
    sampling.max_tokens = 150;
    sampling.stops = &stop;
    sampling.stop_count = 1;
    leaf.tokens = more;
    CHECK(fr_generate_limits(&tree, &sampling, 1, &limits) == FR_OK);
    CHECK(fr_work_new(&work, &model.config, &limits) == FR_OK);
    CHECK(fr_generate(&model, &work, &tree, &sampling, &leaf, 1) == FR_OK);
    CHECK(fr_tokenizer_decode(&tokenizer, more, leaf.count, told, sizeof told, &bytes, &reason) == FR_OK);
    need = (fr_int)strlen(story) - 16;
    if (!CHECK(bytes >= need && !memcmp(told, story + 16, (size_t)need))) fprintf(stderr, "%.*s\n", (int)bytes, told);
    fr_work_free(&work);
    fr_model_free(&model);
    fr_encoder_free(&encoder);
    fr_tokenizer_free(&tokenizer);
    free((void *)(uintptr_t)text_source.file.bytes);
  }
  for (fr_int cut = 0; cut < source.file.count; cut += cut < 40 ? 1 : 4099) {  // cut anywhere it is refused
    fr_pretrained q;
    fr_pretrained_source less = source;
    char *copy = (char *)test_alloc((size_t)cut);
    memcpy(copy, source.file.bytes, (size_t)cut);
    less.file.bytes = copy;
    less.file.count = cut;
    CHECK(fr_pretrained_new(&q, &less, &reason) == FR_FORMAT);
    free(copy);
  }
  fr_pretrained_free(&p);
  free((void *)(uintptr_t)source.file.bytes);
}

int main(void)
{
  stories();
  references();
  more_rows();
  misfits();
  shards();
  configs();
  hostile();
  return test_done("pretrained");
}
