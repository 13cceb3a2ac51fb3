// folder.h - a folder of a model in memory, each file of which ends where its memory ends; logits of a sequence.
// Include after forkreason.h.
#ifndef FR_TEST_FOLDER_H
#define FR_TEST_FOLDER_H

#include "hf.h"

// ---- a folder in memory; each file ends where its memory ends
enum { FILES = 8 };
typedef struct folder { const char *name[FILES]; fr_text text[FILES]; int count; } folder;

static inline int folder_open(void *user, const char *name, fr_text *text)
{
  const folder *f = (const folder *)user;
  for (int i = 0; i < f->count; i++)
    if (!strcmp(f->name[i], name)) { *text = f->text[i]; return 1; }
  return 0;
}

static inline void folder_put(folder *f, const char *name, const void *bytes, size_t count)
{
  int i = 0;
  char *copy = (char *)test_alloc(count);
  if (count) memcpy(copy, bytes, count);
  while (i < f->count && strcmp(f->name[i], name)) i++;
  if (i < f->count) free((void *)(uintptr_t)f->text[i].bytes);
  else f->count++;
  f->name[i] = name;
  f->text[i].bytes = copy;
  f->text[i].count = (fr_int)count;
}

static inline void folder_put_text(folder *f, const char *name, const char *text) { folder_put(f, name, text, strlen(text)); }

static inline void folder_read(folder *f, const char *name, const char *path)
{
  ptrdiff_t size;
  unsigned char *bytes = store_file(path, &size);
  folder_put(f, name, bytes, (size_t)size);
  free(bytes);
}

static inline void folder_read_model(folder *f, const char *path)
{
  char full[300];
  snprintf(full, sizeof full, "%s/config.json", path);
  folder_read(f, "config.json", full);
  snprintf(full, sizeof full, "%s/model.safetensors", path);
  folder_read(f, "model.safetensors", full);
}

static inline void folder_free(folder *f)
{
  for (int i = 0; i < f->count; i++) free((void *)(uintptr_t)f->text[i].bytes);
  memset(f, 0, sizeof *f);
}

static inline fr_pretrained_source folder_source(folder *f)
{
  fr_pretrained_source source;
  memset(&source, 0, sizeof source);
  source.open = folder_open;
  source.user = f;
  return source;
}

static inline fr_status folder_place(folder *f, fr_pretrained *p, fr_reason *reason)
{
  const fr_pretrained_source source = folder_source(f);
  return fr_pretrained_new(p, &source, reason);
}

// ---- logits of a sequence, of all its rows
static inline float *logits_of(const fr_model *model, const fr_token *ids, fr_int count)
{
  fr_limits limits;
  fr_tree tree;
  fr_span span;
  fr_work work;
  void *memory;
  float *logits = (float *)test_alloc((size_t)(count * model->config.vocab) * sizeof(float));
  fr_int *rows = (fr_int *)test_alloc((size_t)count * sizeof(fr_int));
  memset(&tree, 0, sizeof tree);
  memset(&span, 0, sizeof span);
  span.parent = -1;
  span.tokens.ids = ids;
  span.tokens.count = count;
  tree.spans = &span;
  tree.span_count = 1;
  for (fr_int i = 0; i < count; i++) rows[i] = i;
  CHECK(fr_tree_limits(&tree, &limits) == FR_OK);
  limits.grad_rows = 0;
  limits.rows = count;
  work = fixture_work(&model->config, &limits, &memory);
  CHECK(fr_forward(model, &work, &tree, NULL, 0) == FR_OK);
  CHECK(fr_logits(model, &work, rows, count, logits, NULL) == FR_OK);
  free(memory);
  free(rows);
  return logits;
}

#endif
