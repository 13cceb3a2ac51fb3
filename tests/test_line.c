// test_line.c - the number line task of bench/compare.c: its traces, its ways, and how many questions meet the deadline.
#define FORKREASON_IMPLEMENTATION
#include "../examples/number_line.h"
#include "test.h"

// The exact traces of 43*38, as people read them and as the model does.
static void traces(void)
{
  static const char *const read[WAYS] = {
    "1:43;2:86;3:129;4:172;5:215;6:258;7:301;8:344;18:774;28:1204;38#1634",
    "10:430;20:860;30:1290;40:1720;39:1677;38#1634",
    "1:38;2:76;3:114;13:494;23:874;33:1254;43#1634",
    "10:380;20:760;30:1140;40:1520;50:1900;49:1862;48:1824;47:1786;46:1748;45:1710;44:1672;43#1634",
  };
  static const char written[] = "01:034;02:068;03:0921;04:0271;93:7761;83#4361";
  const pair q = { 43, 38 };
  char text[ROOM], back[ROOM];
  fr_token tokens[ROOM];
  CHECK(strlen(line_letters) == strlen(alphabet));
  for (int way = 0; way < WAYS; way++) {
    write_walk(text, q, way);
    CHECK(!strcmp(text, read[way]));
    CHECK(walk_way_of(text, q) == way);
    CHECK(answer_of(text) == 1634);
    const fr_int count = encode_letters(tokens, text, line_letters);
    CHECK(count == (fr_int)strlen(text));
    decode_letters(back, tokens, count, line_letters);
    CHECK(!strcmp(back, text));
    if (way == 1)
      for (fr_int i = 0; i < count; i++) CHECK(line_letters[tokens[i]] == written[i]);
  }
  walk w = walk_of(q, 1);
  write_entries(text, &w, 2, 3, ';');
  CHECK(!strcmp(text, "30:1290;40:1720;39:1677;"));
  write_entries(text, &w, 3, 3, ';');
  CHECK(!strcmp(text, "40:1720;39:1677;38:1634;"));
}

static void ways(void)
{
  const pair q = { 43, 38 };
  // Wrong totals behind the first do not change the way, nor does it matter where the clock cuts it off ...
  CHECK(walk_way_of("10:430;20:1;30:2;40:3;39:4;38#5", q) == 1);
  CHECK(answer_of("10:430;20:1;30:2;40:3;39:4;38#5") == 5);
  CHECK(walk_way_of("10:430;20:860;30:1290;40:1720;39:1677;", q) == 1);
  CHECK(walk_way_of("10:430;20:860;30:12", q) == 1);
  CHECK(walk_way_of("10:430;20:860;30:00", q) == 1);
  CHECK(walk_way_of("10:430;20:860;30:", q) == 1);
  CHECK(walk_way_of("10:430;20:860;3", q) == 1);
  CHECK(walk_way_of("10:430", q) == 1);
  CHECK(walk_way_of("1:43;2:86", q) == 0 && walk_way_of("1:38;2:76", q) == 2 && walk_way_of("10:380;20:", q) == 3);
  // ... another first total, another multiple or an early end is no way.
  CHECK(walk_way_of("10:431;20:860;30:1290;40:1720;39:1677;38#1634", q) == NONE);
  CHECK(walk_way_of("10:430;20:860;40:1720;39:1677;38#1634", q) == NONE);
  CHECK(walk_way_of("10:430;20:860;30#1290", q) == NONE);
  CHECK(walk_way_of("10:430;20:860;30:1290;40:1720;39:1677;38:1634", q) == NONE);
  CHECK(walk_way_of("10:430;20:860;30:1290;40:1720;39:1677;37:1591;", q) == NONE);
  CHECK(walk_way_of("10#430", q) == NONE && walk_way_of("10:", q) == NONE && walk_way_of("10", q) == NONE);
  CHECK(walk_way_of("", q) == NONE && walk_way_of("#", q) == NONE && walk_way_of(";1:43", q) == NONE);
  CHECK(walk_way_of("1:43;2:86;3:129;4:172;5:215;6:258;7:301;8:344;9:1;10:1;11:1;12:1;13:1;14:1;15:1;16:1;17:1;"
                    "18:1;19:1;20:1;21:1", q) == NONE);
}

// What a model without mistakes would get: the share of questions that each way, and any way, brings in within `deadline`
// tokens, the end included.
static void limits(int largest, size_t deadline, const double expected[WAYS + 1])
{
  double met[WAYS + 1] = { 0.0 }, all = 0.0;
  size_t longest = 0;
  for (int a = 11; a <= largest; a++)
    for (int b = 11; b <= largest; b++) {
      const pair q = { a, b };
      int any = 0;
      if (a == b || a % 10 == 0 || b % 10 == 0) continue;
      for (int way = 0; way < WAYS; way++) {
        char text[ROOM];
        write_walk(text, q, way);
        if (strlen(text) > longest) longest = strlen(text);
        CHECK(walk_way_of(text, q) == way && answer_of(text) == a * b);
        if (strlen(text) + 1 > deadline) continue;
        met[way] += 1.0;
        any = 1;
      }
      met[WAYS] += any;
      all += 1.0;
    }
  CHECK(longest < ROOM - 1);
  for (int way = 0; way <= WAYS; way++) CHECK_BELOW(fabs(met[way] / all - expected[way]), .0006);
  printf("operands up to %d, %d tokens: the ways meet the deadline on %.3f %.3f %.3f %.3f of the questions, any on "
         "%.3f\n", largest, (int)deadline, met[0] / all, met[1] / all, met[2] / all, met[3] / all, met[WAYS] / all);
}

int main(void)
{
  static const double to_49[WAYS + 1] = { .573, .278, .573, .278, .948 },
                      to_69[WAYS + 1] = { .551, .308, .551, .308, .906 },
                      to_99[WAYS + 1] = { .253, .123, .253, .123, .571 };
  traces();
  ways();
  limits(49, 48, to_49);
  limits(69, 56, to_69);
  limits(99, 48, to_99);
  return test_done("test_line");
}
