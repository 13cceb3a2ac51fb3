// hostile.h - damaged GGUF files, each told as changes of a small one: tests/data/gguf/malformed.txt.
#ifndef FR_TEST_HOSTILE_H
#define FR_TEST_HOSTILE_H

#include "store.h"

typedef struct hostile {
  unsigned char *small, *bytes;  // the file that is changed, and what came of it
  ptrdiff_t small_size, count;
  char *text, *line;             // line: of the next one
  char name[120];                // and what its line in the manifest says
  int refuse;                    // 1; 0: it is sound; -1: either
} hostile;

static inline hostile hostile_open(void)
{
  hostile h;
  ptrdiff_t size;
  memset(&h, 0, sizeof h);
  h.text = (char *)store_file("tests/data/gguf/malformed.txt", &size);
  h.small = store_file("tests/data/gguf/ok_small.gguf", &h.small_size);
  h.bytes = (unsigned char *)test_alloc(20000);
  h.line = strtok(h.text, "\n");
  return h;
}

static inline int hostile_next(hostile *h)
{
  if (!h->line) return 0;
  snprintf(h->name, sizeof h->name, "%s", h->line + 5);
  h->refuse = strstr(h->line, ".gguf refuse ") ? 1 : strstr(h->line, ".gguf accept ") ? 0 : -1;
  h->count = 0;
  while ((h->line = strtok(NULL, "\n")) != NULL && strncmp(h->line, "file ", 5)) {
    char *at = h->line + 5;
    if (!strncmp(h->line, "copy ", 5)) {
      const long from = strtol(at, &at, 10), bytes = strtol(at, &at, 10);
      memcpy(h->bytes + h->count, h->small + from, (size_t)bytes);
      h->count += bytes;
    } else {
      for (at = h->line + 4; at[0] && at[1]; at += 2) {
        const char pair[3] = { at[0], at[1], 0 };
        h->bytes[h->count++] = (unsigned char)strtol(pair, NULL, 16);
      }
    }
  }
  return 1;
}

static inline void hostile_close(hostile *h) { free(h->text); free(h->small); free(h->bytes); }

#endif
