// The header as a book: every section that README's "Read it in an afternoon" sends a reader to is there, once, and in that order;
// the contents at the top of the header name every section, and no other.
#include "test.h"

#include <ctype.h>

static char *whole_file(const char *path)
{
  FILE *file = fopen(path, "rb");
  char *text = (char *)test_alloc(1 << 20);
  size_t count;
  if (!file) { fprintf(stderr, "%s cannot be opened\n", path); exit(2); }
  count = fread(text, 1, (1 << 20) - 1, file);
  text[count] = 0;
  fclose(file);
  return text;
}

// Copies the tag behind the next ">>" of text and returns what follows it, or NULL.
static const char *next_tag(const char *text, char tag[40])
{
  int n = 0;
  text = strstr(text, ">>");
  if (!text) return NULL;
  for (text += 2; n < 39 && (islower((unsigned char)*text) || isdigit((unsigned char)*text) || *text == '-'); text++) tag[n++] = *text;
  tag[n] = 0;
  return text;
}

// How many sections this tag heads; *where: the last of them.
static int headed_by(const char *header, const char *tag, const char **where)
{
  char bar[60];
  int count = 0;
  snprintf(bar, sizeof bar, "\n// ---- >>%s -", tag);
  for (const char *at = strstr(header, bar); at; at = strstr(at + 1, bar), count++) *where = at;
  return count;
}

int main(void)
{
  char *header = whole_file("forkreason.h"), *readme = whole_file("README.md"), tag[40], end;
  const char *where = NULL, *before = header, *at;
  char *first, *last;
  int stops = 0, sections = 0, listed = 0;
  first = strstr(readme, "\n## Read it in an afternoon\n");
  if (CHECK(first != NULL)) {
    last = strstr(first + 1, "\n## ");
    CHECK(last != NULL);
    if (last) *last = 0;
    for (at = first; (at = next_tag(at, tag)) != NULL; stops++) {
      if (!CHECK(headed_by(header, tag, &where) == 1)) fprintf(stderr, "README sends a reader to >>%s\n", tag);
      CHECK(where >= before);
      before = where;
    }
    CHECK(stops >= 10 && stops <= 14);
  }
  first = strstr(header, "// Contents (search for the tag)");
  last = first ? strstr(first, "#ifndef FORKREASON_H") : NULL;
  if (CHECK(last != NULL)) {
    end = *last;
    *last = 0;
    for (at = first; (at = next_tag(at, tag)) != NULL; listed++) {
      *last = end;
      if (!CHECK(headed_by(header, tag, &where) == 1)) fprintf(stderr, "the contents name >>%s\n", tag);
      *last = 0;
    }
    *last = end;
  }
  for (at = header; (at = strstr(at, "\n// ---- >>")) != NULL; at++) sections++;
  CHECK(sections == listed);
  free(header);
  free(readme);
  return test_done("book");
}
