// The assignment against scipy's results, against brute force, and at its edges.
#define FORKREASON_IMPLEMENTATION
#include "../forkreason.h"
#include "store.h"

#define MOST 1000

// Cost of an assignment in row order; NaN if it is no injective map or leaves out more than it has to.
static double cost_of(const double *cost, fr_int rs, fr_int cs, fr_int rows, fr_int cols,
                      const fr_int *col_of_row)
{
  static char taken[MOST];
  double total = 0.0;
  fr_int matched = 0;
  memset(taken, 0, sizeof taken);
  for (fr_int r = 0; r < rows; r++) {
    if (col_of_row[r] == -1) continue;
    if (col_of_row[r] < 0 || col_of_row[r] >= cols || taken[col_of_row[r]]) return NAN;
    taken[col_of_row[r]] = 1;
    matched++;
    total += cost[r * rs + col_of_row[r] * cs];
  }
  return matched == (rows < cols ? rows : cols) ? total : (double)NAN;
}

static fr_status assign(const double *cost, fr_int rs, fr_int cs, fr_int rows, fr_int cols, fr_int *out,
                        double *total)
{
  fr_int bytes = 0;
  fr_status status = fr_assign(NULL, 0, 0, rows, cols, NULL, NULL, NULL, 0, &bytes);
  void *memory;
  if (status) return status;
  memory = test_alloc((size_t)bytes);
  status = fr_assign(cost, rs, cs, rows, cols, out, total, memory, bytes, NULL);
  free(memory);
  return status;
}

// ---- refs: small.txt
static void small_cases(void)
{
  ptrdiff_t size;
  char *text = (char *)store_file("tests/data/assignment/small.txt", &size), *at = text;
  fr_int cases = 0, tied = 0;
  while ((at = strstr(at, "\ncase ")) != NULL) {
    char name[128];
    int rows, cols, used = 0;
    double cost[64], want, total = 0.0, got;
    fr_int found[8], perm[8];
    char unique;
    at++;
    if (sscanf(at, "case %127s %d %d%n", name, &rows, &cols, &used) != 3 || rows > 8 || cols > 8)
      store_die("bad case", at);
    for (at += used; at[1] == '#'; at = strchr(at + 1, '\n')) {}  // comments between the lines
    for (int i = 0; i < rows * cols; i++) cost[i] = strtod(at, &at);
    at = strstr(at, "total") + 5;
    want = strtod(at, &at);
    at = strstr(at, "perm") + 4;
    for (int i = 0; i < rows; i++) perm[i] = (fr_int)strtol(at, &at, 10);
    unique = strstr(at, "unique")[7];
    CHECK(assign(cost, cols, 1, rows, cols, found, &total) == FR_OK);
    got = cost_of(cost, cols, 1, rows, cols, found);
    if (!CHECK(fabs(got - want) <= 1e-12 * fabs(want)))
      fprintf(stderr, "  case %s: %.17g, optimum %.17g\n", name, got, want);
    CHECK(total == got);  // the total is the sum in row order, the same additions
    if (unique == '1') CHECK(!memcmp(found, perm, (size_t)rows * sizeof(fr_int))); else tied++;
    cases++;
  }
  CHECK(cases == 155);
  CHECK(tied > 0 && tied < cases);
  free(text);
}

// ---- refs: large.txt
static double draw(const char *formula, uint64_t *s, fr_int i, fr_int j)
{
  uint64_t u31;
  if (!strcmp(formula, "product")) return (double)((i + 1) * (j + 1));
  *s = *s * 6364136223846793005u + 1442695040888963407u;
  u31 = *s >> 33;
  if (!strcmp(formula, "int10")) return (double)(u31 % 10);
  if (!strcmp(formula, "int1000")) return (double)(u31 % 1000);
  if (!strcmp(formula, "int1e6")) return (double)(u31 % 1000000);
  if (!strcmp(formula, "sint1e6")) return (double)(u31 % 2000001) - 1000000.0;
  if (!strcmp(formula, "unit24")) return (double)(*s >> 40) / 16777216.0;
  if (!strcmp(formula, "geom")) return (double)(u31 % 1000) + (i == j ? 0.0 : 1000.0);
  if (!strcmp(formula, "block")) return (double)(u31 % 5) + 100.0 * ((i * 7 + j * 13) % 11 != 0);
  store_die("unknown formula", formula);
  return 0.0;
}

static void large_cases(void)
{
  ptrdiff_t size;
  char *text = (char *)store_file("tests/data/assignment/large.txt", &size), *line = strtok(text, "\n");
  fr_int cases = 0;
  for (; line; line = strtok(NULL, "\n")) {
    char formula[16], fnv[20];
    int rows, cols;
    unsigned seed;
    double sum, want, total = 0.0, *cost;
    uint64_t state, hash = 0xcbf29ce484222325u;
    fr_int found[MOST];
    if (line[0] == '#') continue;
    if (sscanf(line, "%15s %d %d %u %16s %lf %lf", formula, &rows, &cols, &seed, fnv, &sum, &want) != 7)
      store_die("bad line", line);
    cost = (double *)test_alloc((size_t)(rows * cols) * sizeof(double));
    state = seed;
    for (int i = 0; i < rows * cols; i++) {
      uint64_t bits;
      cost[i] = draw(formula, &state, i / cols, i % cols);
      memcpy(&bits, &cost[i], 8);
      for (int b = 0; b < 8; b++) hash = (hash ^ (bits >> (8 * b) & 255)) * 0x100000001b3u;
    }
    CHECK(hash == strtoull(fnv, NULL, 16));  // the generator makes the instance that was solved
    CHECK(assign(cost, cols, 1, rows, cols, found, &total) == FR_OK);
    if (!CHECK(fabs(cost_of(cost, cols, 1, rows, cols, found) - want) <= 1e-12 * fabs(want)))
      fprintf(stderr, "  %s: %.17g\n", line, total);
    CHECK(fabs(total - want) <= 1e-12 * fabs(want));
    free(cost);
    cases++;
  }
  CHECK(cases >= 10);
  free(text);
}

// ---- brute force
static double best_of(const double *cost, fr_int rs, fr_int cs, fr_int rows, fr_int cols, fr_int row,
                      unsigned taken)
{
  double best = HUGE_VAL;
  if (row == rows) return 0.0;
  for (fr_int c = 0; c < cols; c++)
    if (!(taken >> c & 1)) {
      const double rest = cost[row * rs + c * cs] + best_of(cost, rs, cs, rows, cols, row + 1, taken | 1u << c);
      if (rest < best) best = rest;
    }
  return best;
}

static void brute_force(void)
{
  for (int trial = 0; trial < 4000; trial++) {
    const fr_int rows = 1 + test_below_int(6), cols = 1 + test_below_int(6);
    const fr_int cs = 1 + test_below_int(3), rs = cols * cs + test_below_int(3);
    const int transposed = (int)test_below_int(2);
    const fr_int a = transposed ? 1 : rs, b = transposed ? rows : cs;  // row and column stride
    double cost[200], total = 0.0, again = 0.0, want;
    fr_int found[8], repeated[8], packed[8];
    for (int i = 0; i < 200; i++)
      cost[i] = trial % 3 == 0   ? (double)test_below_int(4)
                : trial % 3 == 1 ? (double)test_below_int(1000) - 500.0
                                 : test_normal();
    want = rows <= cols ? best_of(cost, a, b, rows, cols, 0, 0) : best_of(cost, b, a, cols, rows, 0, 0);
    CHECK(assign(cost, a, b, rows, cols, found, &total) == FR_OK);
    CHECK(fabs(cost_of(cost, a, b, rows, cols, found) - want) <= 1e-12 * (fabs(want) + 1.0));
    CHECK(total == cost_of(cost, a, b, rows, cols, found));
    // Ties are broken by the rule, not by what was in memory, nor by how the matrix lies there.
    CHECK(assign(cost, a, b, rows, cols, repeated, &again) == FR_OK);
    CHECK(!memcmp(found, repeated, (size_t)rows * sizeof(fr_int)) && again == total);
    {
      double copy[64];
      for (fr_int r = 0; r < rows; r++)
        for (fr_int c = 0; c < cols; c++) copy[r * cols + c] = cost[r * a + c * b];
      CHECK(assign(copy, cols, 1, rows, cols, packed, NULL) == FR_OK);
      CHECK(!memcmp(found, packed, (size_t)rows * sizeof(fr_int)));
    }
  }
}

// ---- the tie rule, worked by hand
static void ties(void)
{
  static const double equal[30] = { 0 };
  static const double choice[6] = { 0, 0, 9, 0, 5, 0 };
  static const double shifted[9] = { 1, 1, 2, 1, 1, 2, 0, 0, 0 };
  fr_int found[6];
  double total = 1.0;
  CHECK(assign(equal, 6, 1, 5, 6, found, &total) == FR_OK && total == 0.0);
  for (fr_int r = 0; r < 5; r++) CHECK(found[r] == r);
  CHECK(assign(equal, 1, 6, 6, 5, found, NULL) == FR_OK);  // the last row is left over
  for (fr_int r = 0; r < 6; r++) CHECK(found[r] == (r < 5 ? r : -1));
  // Rows 0 and 1 take columns 0 and 1. Row 2 reaches them at 0 and the free column 2 at 0: the free one wins.
  CHECK(assign(shifted, 3, 1, 3, 3, found, &total) == FR_OK && total == 2.0);
  CHECK(found[0] == 0 && found[1] == 1 && found[2] == 2);
  // Row 0 takes column 0. Row 1 could take column 2, or column 0 and send row 0 to column 1, at the same price.
  CHECK(assign(choice, 3, 1, 2, 3, found, &total) == FR_OK && total == 0.0);
  CHECK(found[0] == 0 && found[1] == 2);
}

// ---- errors
static void errors(void)
{
  static const double bad[3] = { NAN, HUGE_VAL, -HUGE_VAL };
  double cost[12], total = 42.0;
  fr_int found[4] = { 7, 7, 7, 7 }, bytes = 0, size = 0;
  void *memory;
  for (int i = 0; i < 12; i++) cost[i] = (double)(i * 5 % 7);
  CHECK(fr_assign(NULL, 0, 0, 3, 4, NULL, NULL, NULL, 0, &bytes) == FR_OK && bytes >= 0);
  memory = test_alloc((size_t)bytes + 8);
  for (int b = 0; b < 3; b++)
    for (int at = 0; at < 12; at++) {
      const double kept = cost[at];
      cost[at] = bad[b];
      CHECK(fr_assign(cost, 4, 1, 3, 4, found, &total, memory, bytes, NULL) == FR_NONFINITE);
      CHECK(fr_assign(cost, 1, 4, 4, 3, found, &total, memory, bytes, NULL) == FR_NONFINITE);
      CHECK(total == 42.0 && found[0] == 7 && found[1] == 7 && found[2] == 7 && found[3] == 7);
      cost[at] = kept;
    }
  CHECK(fr_assign(cost, 4, 1, 3, 4, found, &total, memory, bytes - 1, NULL) == FR_MEMORY);
  CHECK(fr_assign(cost, 4, 1, 3, 4, found, &total, NULL, 0, NULL) != FR_OK);
  CHECK(fr_assign(NULL, 4, 1, 3, 4, found, &total, memory, bytes, NULL) != FR_OK);
  CHECK(fr_assign(cost, 4, 1, 3, 4, NULL, &total, memory, bytes, NULL) != FR_OK);
  CHECK(fr_assign(cost, 4, 1, -1, 4, found, &total, memory, bytes, NULL) != FR_OK);
  CHECK(total == 42.0 && found[0] == 7 && found[1] == 7 && found[2] == 7 && found[3] == 7);
  CHECK(fr_assign(NULL, 0, 0, -1, 4, NULL, NULL, NULL, 0, &size) != FR_OK && fr_assign(NULL, 0, 0, 3, -4, NULL, NULL, NULL, 0, &size) != FR_OK && size == 0);
  CHECK(fr_assign(NULL, 0, 0, PTRDIFF_MAX, 4, NULL, NULL, NULL, 0, &size) == FR_OVERFLOW &&
        fr_assign(NULL, 0, 0, 4, PTRDIFF_MAX / 2, NULL, NULL, NULL, 0, &size) == FR_OVERFLOW && size == 0);
  // Finite costs whose differences overflow: either refused with nothing changed, or solved.
  {
    double huge[4] = { 1.7e308, -1.7e308, -1.7e308, 1.7e308 };
    const fr_status status = fr_assign(huge, 2, 1, 2, 2, found, &total, memory, bytes, NULL);
    CHECK(status == FR_OK ? found[0] == 1 && found[1] == 0
                          : status == FR_NONFINITE && total == 42.0 && found[0] == 7);
    total = 42.0;
    found[0] = found[1] = 7;
  }
  {  // the sum overflows
    const double huge[4] = { 1e308, 1.1e308, 1.1e308, 1e308 };
    CHECK(fr_assign(huge, 2, 1, 2, 2, found, &total, memory, bytes, NULL) == FR_NONFINITE && total == 42.0 && found[0] == 7);
  }
  // Scratch may start anywhere.
  for (int shift = 0; shift < 8; shift++) {
    CHECK(fr_assign(cost, 4, 1, 3, 4, found, &total, (char *)memory + shift, bytes, NULL) == FR_OK);
    CHECK(total == best_of(cost, 4, 1, 3, 4, 0, 0));
  }
  // Nothing to assign.
  total = 42.0;
  CHECK(fr_assign(cost, 4, 1, 0, 4, found, &total, memory, bytes, NULL) == FR_OK && total == 0.0);
  CHECK(fr_assign(cost, 4, 1, 3, 0, found, &total, memory, bytes, NULL) == FR_OK && total == 0.0);
  CHECK(found[0] == -1 && found[1] == -1 && found[2] == -1);
  free(memory);
}

int main(void)
{
  small_cases();
  large_cases();
  brute_force();
  ties();
  errors();
  return test_done("assign");
}
