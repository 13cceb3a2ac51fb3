// store.h - reads the reference results in tests/data: BASE.idx/BASE.bin, safetensors, config.json.
//
//   BASE.idx   text:  scalar NAME VALUE
//                     array NAME f32|f64|i32 NDIM d0 .. d(n-1) BYTE_OFFSET
//   BASE.bin   the arrays, little-endian, row-major
// Test data is trusted: anything unexpected ends the program with a message.
#ifndef FR_TEST_STORE_H
#define FR_TEST_STORE_H

#include "test.h"

#define STORE_NAME 160

typedef struct store_entry {
  char name[STORE_NAME];
  char type;          // 'f' f32, 'd' f64, 'i' i32, 's' scalar
  int dims;
  ptrdiff_t dim[4];
  ptrdiff_t count;
  ptrdiff_t offset;   // bytes
  double value;       // of a scalar
} store_entry;

typedef struct store {
  unsigned char *bytes;
  ptrdiff_t size, count, room;
  store_entry *entries;
} store;

static inline void store_die(const char *what, const char *name)
{
  fprintf(stderr, "test data: %s: %s (run from the root of the repository)\n", what, name);
  exit(2);
}

// The whole file, with a zero byte after it.
static inline unsigned char *store_file(const char *path, ptrdiff_t *size)
{
  FILE *file = fopen(path, "rb");
  unsigned char *bytes;
  long length = 0;
  if (!file) store_die("cannot open", path);
  if (fseek(file, 0, SEEK_END) || (length = ftell(file)) < 0 || fseek(file, 0, SEEK_SET))
    store_die("cannot measure", path);
  bytes = (unsigned char *)test_alloc((size_t)length + 1);
  if (fread(bytes, 1, (size_t)length, file) != (size_t)length) store_die("cannot read", path);
  bytes[length] = 0;
  fclose(file);
  *size = (ptrdiff_t)length;
  return bytes;
}

static inline store_entry *store_add(store *s)
{
  if (s->count == s->room) {
    s->room = s->room ? 2 * s->room : 64;
    s->entries = (store_entry *)realloc(s->entries, (size_t)s->room * sizeof *s->entries);
    if (!s->entries) store_die("out of memory", "realloc");
  }
  memset(&s->entries[s->count], 0, sizeof *s->entries);
  return &s->entries[s->count++];
}

static inline uint64_t store_little(const unsigned char *bytes, int count)
{
  uint64_t value = 0;
  while (count--) value = value << 8 | bytes[count];
  return value;
}

static inline float store_f32(const unsigned char *bytes)
{
  const uint32_t bits = (uint32_t)store_little(bytes, 4);
  float value;
  memcpy(&value, &bits, 4);
  return value;
}

static inline double store_f64(const unsigned char *bytes)
{
  const uint64_t bits = store_little(bytes, 8);
  double value;
  memcpy(&value, &bits, 8);
  return value;
}

static inline store store_open(const char *base)
{
  store s;
  char path[300];
  ptrdiff_t size;
  char *text, *line, *next;
  memset(&s, 0, sizeof s);
  snprintf(path, sizeof path, "%s.bin", base);
  s.bytes = store_file(path, &s.size);
  snprintf(path, sizeof path, "%s.idx", base);
  text = (char *)store_file(path, &size);
  for (line = text; *line; line = next) {
    char kind[16], name[STORE_NAME], type[8];
    int used = 0;
    next = strchr(line, '\n');
    if (next) *next++ = 0; else next = line + strlen(line);
    if (sscanf(line, "%15s %159s%n", kind, name, &used) != 2) continue;
    if (!strcmp(kind, "scalar")) {
      store_entry *entry = store_add(&s);
      memcpy(entry->name, name, sizeof name);
      entry->type = 's';
      entry->value = strtod(line + used, NULL);
    } else {
      store_entry *entry = store_add(&s);
      char *at;
      int more = 0;
      memcpy(entry->name, name, sizeof name);
      if (sscanf(line + used, "%7s %d%n", type, &entry->dims, &more) != 2 || entry->dims < 0 || entry->dims > 4)
        store_die("bad line", line);
      entry->type = !strcmp(type, "f32") ? 'f' : !strcmp(type, "f64") ? 'd' : 'i';
      entry->count = 1;
      at = line + used + more;
      for (int d = 0; d < entry->dims; d++) entry->count *= entry->dim[d] = (ptrdiff_t)strtol(at, &at, 10);
      entry->offset = (ptrdiff_t)strtol(at, NULL, 10);
      if (entry->offset + entry->count * (entry->type == 'd' ? 8 : 4) > s.size)
        store_die("array outside of the file", name);
    }
  }
  free(text);
  return s;
}

static inline void store_close(store *s)
{
  free(s->bytes);
  free(s->entries);
  memset(s, 0, sizeof *s);
}

// NULL if there is no entry of that name.
static inline const store_entry *store_find(const store *s, const char *name)
{
  for (ptrdiff_t i = 0; i < s->count; i++) if (!strcmp(s->entries[i].name, name)) return &s->entries[i];
  return NULL;
}

// The entry PREFIX + NAME, which has to be there.
static inline const store_entry *store_get(const store *s, const char *prefix, const char *name)
{
  char whole[2 * STORE_NAME];
  const store_entry *entry;
  snprintf(whole, sizeof whole, "%s%s", prefix, name);
  entry = store_find(s, whole);
  if (!entry) store_die("no such entry", whole);
  return entry;
}

static inline double store_scalar(const store *s, const char *prefix, const char *name)
{
  return store_get(s, prefix, name)->value;
}

static inline double store_at(const store *s, const store_entry *entry, ptrdiff_t i)
{
  if (entry->type == 'd') return store_f64(s->bytes + entry->offset + 8 * i);
  if (entry->type == 'f') return (double)store_f32(s->bytes + entry->offset + 4 * i);
  return (double)(int32_t)(uint32_t)store_little(s->bytes + entry->offset + 4 * i, 4);
}

// A copy as floats, to be freed.
static inline float *store_floats(const store *s, const store_entry *entry)
{
  float *copy = (float *)test_alloc((size_t)entry->count * sizeof(float));
  for (ptrdiff_t i = 0; i < entry->count; i++) copy[i] = (float)store_at(s, entry, i);
  return copy;
}

static inline int32_t *store_ints(const store *s, const store_entry *entry)
{
  int32_t *copy = (int32_t *)test_alloc((size_t)entry->count * sizeof(int32_t));
  for (ptrdiff_t i = 0; i < entry->count; i++) copy[i] = (int32_t)store_at(s, entry, i);
  return copy;
}

// -- safetensors, F32 only: 8 bytes of header length, a flat JSON header, the data. Opened as a store.
static inline store store_safetensors(const char *path)
{
  store s;
  char *header, *at;
  ptrdiff_t length;
  memset(&s, 0, sizeof s);
  s.bytes = store_file(path, &s.size);
  length = (ptrdiff_t)store_little(s.bytes, 8);
  if (length < 2 || length > s.size - 8) store_die("bad safetensors header", path);
  header = (char *)test_alloc((size_t)length + 1);
  memcpy(header, s.bytes + 8, (size_t)length);
  header[length] = 0;
  // "NAME":{"dtype":"F32","shape":[a,b],"data_offsets":[from,to]}
  for (at = header; (at = strstr(at, ":{\"dtype\":\"")) != NULL; at++) {
    store_entry *entry = store_add(&s);
    char *name = at - 1, *shape = strstr(at, "\"shape\":["), *data = strstr(at, "\"data_offsets\":[");
    if (strncmp(at + 11, "F32\"", 4) || !shape || !data) store_die("not an F32 tensor", path);
    while (name > header && name[-1] != '"') name--;
    snprintf(entry->name, sizeof entry->name, "%.*s", (int)(at - 1 - name), name);
    entry->type = 'f';
    entry->count = 1;
    for (shape += 9; *shape != ']' && entry->dims < 4; shape += *shape == ',')
      entry->count *= entry->dim[entry->dims++] = (ptrdiff_t)strtol(shape, &shape, 10);
    entry->offset = 8 + length + (ptrdiff_t)strtol(data + 16, NULL, 10);
    if (entry->offset + 4 * entry->count > s.size) store_die("tensor outside of the file", entry->name);
  }
  free(header);
  return s;
}

// -- config.json: the number, `true` (1) or `false`/`null` (0) after "KEY":, or `absent` if there is no such key.
static inline double store_json_number(const char *json, const char *key, double absent)
{
  char quoted[64];
  const char *at;
  snprintf(quoted, sizeof quoted, "\"%s\":", key);
  at = strstr(json, quoted);
  if (!at) return absent;
  at += strlen(quoted);
  while (*at == ' ' || *at == '\n') at++;
  if (!strncmp(at, "true", 4)) return 1.0;
  if (!strncmp(at, "false", 5) || !strncmp(at, "null", 4)) return 0.0;
  return strtod(at, NULL);
}

#endif
