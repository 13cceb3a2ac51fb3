// number_line.h - the second task of bench/compare.c: multiplying by jumps on the number line, against the clock. An entry
// is multiple:total, and the next one is one jump further or, after the tens, one jump back; the last one has a '#'. There
// is more than one way to reach 43*38:
//     up on b     1:43;2:86;3:129;4:172;5:215;6:258;7:301;8:344;18:774;28:1204;38#1634
//     back on b   10:430;20:860;30:1290;40:1720;39:1677;38#1634
//     up on a     1:38;2:76;3:114;13:494;23:874;33:1254;43#1634
//     back on a   10:380;20:760;30:1140;40:1520;50:1900;49:1862;48:1824;47:1786;46:1748;45:1710;44:1672;43#1634
// All of them are right, and all are trained on. But an answer has to be there within a number of tokens, and which way
// is short enough depends on the last digits: walk up to a low one, back to a high one. The traces do not say so; only
// trying does.
#ifndef NUMBER_LINE_H
#define NUMBER_LINE_H

#include "multiply.h"  // questions, numbers and answers are the same, and there are four ways here, too

static const char *const line_way_names[WAYS + 1] = { "up on b", "back on b", "up on a", "back on a", "none" };
static const char line_letters[] = "0123456789*:-=;#";  // the alphabet, with ':' in the place of '+'

enum { JUMPS = 20 };  // more than the entries of the longest trace

typedef struct walk { int number, count, multiple[JUMPS]; } walk;  // the number that is jumped by, the multiples in order

static inline walk walk_of(pair q, int way)
{
  const int target = way < 2 ? q.b : q.a, ones = target % 10, tens = target / 10 * 10;
  walk w;
  w.number = way < 2 ? q.a : q.b;
  w.count = 0;
  if (way % 2 == 0) {
    for (int i = 1; i <= ones; i++) w.multiple[w.count++] = i;
    for (int i = 10; i <= tens; i += 10) w.multiple[w.count++] = ones + i;
  } else {
    for (int i = 10; i <= tens + 10; i += 10) w.multiple[w.count++] = i;
    for (int i = 9; i >= ones; i--) w.multiple[w.count++] = tens + i;
  }
  return w;
}

// Entries first .. first+count-1 of a walk, in reading order. `last` stands in the place of the '#' and behind the end.
static inline void write_entries(char text[ROOM], const walk *w, int first, int count, char last)
{
  int used = 0;
  for (int i = first; i < first + count; i++) {
    const int ends = i + 1 == w->count;
    used += snprintf(text + used, (size_t)(ROOM - used), "%d%c%d%s", w->multiple[i], ends && last == '#' ? '#' : ':',
                     w->multiple[i] * w->number, ends && last == '#' ? "" : ";");
  }
}

static inline void write_walk(char text[ROOM], pair q, int way)
{
  const walk w = walk_of(q, way);
  write_entries(text, &w, 0, w.count, '#');
}

// The way of a trace is the walk that it writes: the number it jumps by, which is its first total, and its multiples; other
// totals may be wrong. A trace that breaks off, or that the clock cut off, has the way that it was on.
static inline int walk_way_of(const char *text, pair q)
{
  int multiple[JUMPS], total, first = -1, count = 0;
  char behind = '\0', after = ';';
  while (count < JUMPS && behind != '#' && after == ';') {
    if (!read_number(&text, &multiple[count], &behind) || (behind != ':' && behind != '#')) break;
    if (!read_number(&text, &total, &after)) after = '\0';
    else if (count == 0) first = total;
    count++;
  }
  for (int way = 0; way < WAYS; way++) {
    const walk w = walk_of(q, way);
    int same = behind == '#' ? count == w.count : count > 0 && count < w.count;
    for (int i = 0; same && i < count; i++) same = multiple[i] == w.multiple[i];
    if (same && first == w.multiple[0] * w.number) return way;
  }
  return NONE;
}

#endif
