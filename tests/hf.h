// hf.h - models of the references, in Hugging Face layout: config.json, tensor names, weights.
// Include after forkreason.h.
#ifndef FR_TEST_HF_H
#define FR_TEST_HF_H

#include "fixture.h"
#include "store.h"

static inline fr_config hf_config(const char *folder)
{
  char path[300];
  ptrdiff_t size;
  char *json;
  fr_config c;
  snprintf(path, sizeof path, "%s/config.json", folder);
  json = (char *)store_file(path, &size);
  memset(&c, 0, sizeof c);
  c.layers = (fr_int)store_json_number(json, "num_hidden_layers", 0);
  c.dim = (fr_int)store_json_number(json, "hidden_size", 0);
  c.heads = (fr_int)store_json_number(json, "num_attention_heads", 0);
  c.kv_heads = (fr_int)store_json_number(json, "num_key_value_heads", 0);
  c.head_dim = (fr_int)store_json_number(json, "head_dim", 0);
  c.ffn = (fr_int)store_json_number(json, "intermediate_size", 0);
  c.vocab = (fr_int)store_json_number(json, "vocab_size", 0);
  c.norm_eps = (float)store_json_number(json, "rms_norm_eps", 0);
  c.rope_theta = (float)store_json_number(json, "rope_theta", 0);
  c.tied = store_json_number(json, "tie_word_embeddings", 0) > 0;
  c.qkv_bias = strstr(json, "\"qwen2\"") != NULL;
  c.qk_norm = strstr(json, "\"qwen3\"") != NULL;
  free(json);
  return c;
}

// Where a Hugging Face tensor lies in the parameter block; all of them are contiguous there. *count: floats.
static inline fr_int hf_offset(const fr_model *model, const char *name, fr_int *count)
{
  static const struct { const char *hf, *ours; int part; } table[] = {
    { "input_layernorm.weight", "norm_att", 0 },     { "post_attention_layernorm.weight", "norm_mlp", 0 },
    { "self_attn.q_proj.weight", "w_qkv", 1 },       { "self_attn.k_proj.weight", "w_qkv", 2 },
    { "self_attn.v_proj.weight", "w_qkv", 3 },       { "self_attn.q_proj.bias", "b_qkv", 1 },
    { "self_attn.k_proj.bias", "b_qkv", 2 },         { "self_attn.v_proj.bias", "b_qkv", 3 },
    { "self_attn.q_norm.weight", "norm_q", 0 },      { "self_attn.k_norm.weight", "norm_k", 0 },
    { "self_attn.o_proj.weight", "w_out", 0 },       { "mlp.gate_proj.weight", "w_gate_up", 4 },
    { "mlp.up_proj.weight", "w_gate_up", 5 },        { "mlp.down_proj.weight", "w_down", 0 },
  };
  const fr_config *c = &model->config;
  fr_tensor t;
  if (!strcmp(name, "model.embed_tokens.weight") || !strcmp(name, "model.norm.weight") ||
      !strcmp(name, "lm_head.weight")) {
    t = fixture_tensor(model, name[0] == 'l' ? "head" : name[6] == 'e' ? "tok_emb" : "norm_final");
    *count = t.rows * t.cols;
    return t.offset;
  }
  if (!strncmp(name, "model.layers.", 13)) {
    char *rest;
    const fr_int layer = (fr_int)strtol(name + 13, &rest, 10), q = c->heads * c->head_dim,
                 kv = c->kv_heads * c->head_dim;
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++)
      if (!strcmp(rest + 1, table[i].hf)) {
        fr_int width, first = 0, rows;
        t = fixture_tensor(model, table[i].ours);
        rows = t.rows;
        width = t.cols;
        if (!strcmp(table[i].ours, "b_qkv")) { rows = t.cols; width = 1; }
        switch (table[i].part) {
          case 1: rows = q; break;
          case 2: first = q; rows = kv; break;
          case 3: first = q + kv; rows = kv; break;
          case 4: rows = c->ffn; break;
          case 5: first = rows = c->ffn; break;
          default: break;
        }
        *count = rows * width;
        return t.offset + layer * t.rows * t.cols + first * width;
      }
  }
  store_die("no place for tensor", name);
  return -1;
}

// Every parameter has to come from the file, exactly once.
static inline void hf_load(fr_model *model, const char *folder)
{
  char path[300];
  store s;
  fr_int filled = 0;
  snprintf(path, sizeof path, "%s/model.safetensors", folder);
  s = store_safetensors(path);
  for (fr_int i = 0; i < s.count; i++) {
    fr_int count;
    const fr_int offset = hf_offset(model, s.entries[i].name, &count);
    if (count != s.entries[i].count) store_die("another shape than expected", s.entries[i].name);
    for (fr_int j = 0; j < count; j++) model->params[offset + j] = (float)store_at(&s, &s.entries[i], j);
    filled += count;
  }
  if (filled != model->count) store_die("not all parameters are in", path);
  store_close(&s);
}

// The largest |ours * scale - reference| / |reference| over the tensors whose name starts with `prefix`; *tensors is
// set to their number.
static inline double hf_gradient_error(const fr_model *model, const store *s, const char *prefix,
                                       const float *grads, double scale, fr_int *tensors)
{
  const size_t length = strlen(prefix);
  double worst = 0.0;
  *tensors = 0;
  for (fr_int i = 0; i < s->count; i++) {
    const store_entry *entry = &s->entries[i];
    double difference = 0.0, norm = 0.0;
    fr_int count, offset;
    if (strncmp(entry->name, prefix, length)) continue;
    offset = hf_offset(model, entry->name + length, &count);
    if (count != entry->count) store_die("another shape than expected", entry->name);
    for (fr_int j = 0; j < count; j++) {
      const double want = store_at(s, entry, j), delta = (double)grads[offset + j] * scale - want;
      difference += delta * delta;
      norm += want * want;
    }
    difference = norm > 0.0 ? sqrt(difference / norm) : sqrt(difference);
    if (!(difference <= worst)) worst = difference == difference ? difference : HUGE_VAL;
    ++*tensors;
  }
  return worst;
}

#endif
