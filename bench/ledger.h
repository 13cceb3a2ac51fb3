// ledger.h - small results kept in files: numbers by name, one a line, written whole or not at all.
//
//     ledger r;  ledger_clear(&r);
//     ledger_put(&r, 0.5, "fork %d", 3);
//     ledger_save(&r, path);                          // by way of PATH.tmp; after the implementation of forkreason.h
//     if (ledger_load(&r, path)) x = ledger_get(&r, "fork %d", 3);
#ifndef LEDGER_H
#define LEDGER_H

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LEDGER_MOST = 500, LEDGER_NAME = 48 };

typedef struct ledger {
  int count;
  char name[LEDGER_MOST][LEDGER_NAME];
  double value[LEDGER_MOST];
} ledger;

static inline void ledger_clear(ledger *r) { r->count = 0; }

static inline void ledger_put(ledger *r, double value, const char *format, ...)
{
  va_list list;
  if (r->count == LEDGER_MOST) return;
  va_start(list, format);
  vsnprintf(r->name[r->count], LEDGER_NAME, format, list);
  va_end(list);
  r->value[r->count++] = value;
}

static inline double ledger_get(const ledger *r, const char *format, ...)  // NaN if there is no such name
{
  char name[LEDGER_NAME];
  va_list list;
  va_start(list, format);
  vsnprintf(name, sizeof name, format, list);
  va_end(list);
  for (int i = 0; i < r->count; i++)
    if (!strcmp(r->name[i], name)) return r->value[i];
  return NAN;
}

// The last line counts the others, so that a file cut short by a crash of the machine is not taken for a whole one.
static inline int ledger_save(const ledger *r, const char *path)
{
  char other[1024];
  snprintf(other, sizeof other, "%s.tmp", path);
  FILE *file = fopen(other, "w");
  if (!file) return 0;
  for (int i = 0; i < r->count; i++) fprintf(file, "%.17g %s\n", r->value[i], r->name[i]);
  fprintf(file, "%d end\n", r->count);
  const int written = !ferror(file);
  if (!fclose(file) && written && fr__replace(other, path)) return 1;
  remove(other);
  return 0;
}

static inline int ledger_load(ledger *r, const char *path)
{
  char line[LEDGER_NAME + 40];
  int whole = 0;
  FILE *file = fopen(path, "r");
  r->count = 0;
  if (!file) return 0;
  while (!whole && r->count < LEDGER_MOST && fgets(line, sizeof line, file)) {
    char *name, *end = strchr(line, '\n');
    const double value = strtod(line, &name);
    if (!end || *name++ != ' ') break;
    *end = '\0';
    if (!strcmp(name, "end")) whole = r->count == (int)value;
    else {
      snprintf(r->name[r->count], LEDGER_NAME, "%.*s", LEDGER_NAME - 1, name);
      r->value[r->count++] = value;
    }
  }
  fclose(file);
  return whole;
}

#endif
