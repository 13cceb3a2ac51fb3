// record.h - small results kept in files: numbers by name, one a line, written whole or not at all.
//
//     record r;  record_clear(&r);
//     record_put(&r, 0.5, "fork %d", 3);
//     record_save(&r, path);                          // by way of PATH.tmp and a rename
//     if (record_load(&r, path)) x = record_get(&r, "fork %d", 3);
#ifndef RECORD_H
#define RECORD_H

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { RECORD_MOST = 500, RECORD_NAME = 48 };

typedef struct record {
  int count;
  char name[RECORD_MOST][RECORD_NAME];
  double value[RECORD_MOST];
} record;

static inline void record_clear(record *r) { r->count = 0; }

static inline void record_put(record *r, double value, const char *format, ...)
{
  va_list list;
  if (r->count == RECORD_MOST) return;
  va_start(list, format);
  vsnprintf(r->name[r->count], RECORD_NAME, format, list);
  va_end(list);
  r->value[r->count++] = value;
}

static inline double record_get(const record *r, const char *format, ...)  // NaN if there is no such name
{
  char name[RECORD_NAME];
  va_list list;
  va_start(list, format);
  vsnprintf(name, sizeof name, format, list);
  va_end(list);
  for (int i = 0; i < r->count; i++)
    if (!strcmp(r->name[i], name)) return r->value[i];
  return NAN;
}

// The last line counts the others, so that a file cut short by a crash of the machine is not taken for a whole one.
static inline int record_save(const record *r, const char *path)
{
  char other[1024];
  snprintf(other, sizeof other, "%s.tmp", path);
  FILE *file = fopen(other, "w");
  if (!file) return 0;
  for (int i = 0; i < r->count; i++) fprintf(file, "%.17g %s\n", r->value[i], r->name[i]);
  fprintf(file, "%d end\n", r->count);
  const int written = !ferror(file);
  if (!fclose(file) && written && !rename(other, path)) return 1;
  remove(other);
  return 0;
}

static inline int record_load(record *r, const char *path)
{
  char line[RECORD_NAME + 40];
  int whole = 0;
  FILE *file = fopen(path, "r");
  r->count = 0;
  if (!file) return 0;
  while (!whole && r->count < RECORD_MOST && fgets(line, sizeof line, file)) {
    char *name, *end = strchr(line, '\n');
    const double value = strtod(line, &name);
    if (!end || *name++ != ' ') break;
    *end = '\0';
    if (!strcmp(name, "end")) whole = r->count == (int)value;
    else {
      snprintf(r->name[r->count], RECORD_NAME, "%.*s", RECORD_NAME - 1, name);
      r->value[r->count++] = value;
    }
  }
  fclose(file);
  return whole;
}

#endif
