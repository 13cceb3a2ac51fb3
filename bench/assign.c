// assign.c - fr_assign against scipy's linear_sum_assignment, which is the same algorithm in C++.
//
//     cc -O2 -I. bench/assign.c -o assign -lm && ./assign            (or: make bench ONLY=assign)
//
// 1000 x 1000 of several families, and 4 x 6, the size of a matching in training: there the time is that of a call as the
// user makes it, in C for us and from Python for scipy. Both sides solve the same costs, and the totals must agree.
#define _POSIX_C_SOURCE 200809L
#define FORKREASON_IMPLEMENTATION
#include "forkreason.h"
#include "bench.h"

enum { LARGE = 1000, SMALL_ROWS = 4, SMALL_COLS = 6, SMALL_COUNT = 1000 };

typedef struct family {
  const char *name, *key;
  double (*cost)(fr_int row, fr_int col);
} family;

static double u(fr_int i) { return bench_uniform((uint64_t)i); }

static double cost_uniform(fr_int row, fr_int col) { return u(row * LARGE + col); }
static double cost_ties(fr_int row, fr_int col) { return floor(100.0 * u(row * LARGE + col)); }
// Squared distances of points in the plane: neighbours compete for the same columns.
static double cost_points(fr_int row, fr_int col)
{
  const double x = u(2 * row) - u(2 * (LARGE + col)), y = u(2 * row + 1) - u(2 * (LARGE + col) + 1);
  return x * x + y * y;
}
// The hard case of Machol and Wien: every row wants the columns of the rows before it.
static double cost_products(fr_int row, fr_int col) { return (double)((row + 1) * (col + 1)); }

static const family families[] = {
  { "uniform", "uniform", cost_uniform },
  { "whole numbers below 100, many ties", "ties", cost_ties },
  { "squared distances in the plane", "points", cost_points },
  { "products of indices", "products", cost_products }
};
enum { FAMILIES = sizeof families / sizeof families[0] };

typedef struct job {
  const double *cost;
  fr_int rows, cols, count, *columns;  // `count` matrices, one after the other
  double total;                        // of all
  void *memory;
  fr_int bytes;
} job;

static job job_new(const double *cost, fr_int rows, fr_int cols, fr_int count)
{
  job j;
  memset(&j, 0, sizeof j);
  j.cost = cost;
  j.rows = rows;
  j.cols = cols;
  j.count = count;
  j.columns = (fr_int *)bench_memory(rows, sizeof *j.columns);
  bench_require(fr_assign(NULL, 0, 0, rows, cols, NULL, NULL, NULL, 0, &j.bytes), NULL);
  j.memory = bench_memory(j.bytes, 1);
  return j;
}

static void job_free(job *j)
{
  bench_free(j->columns);
  bench_free(j->memory);
}

static void run(void *arg)
{
  job *j = (job *)arg;
  j->total = 0.0;
  for (fr_int i = 0; i < j->count; i++) {
    double total;
    const double *cost = j->cost + i * j->rows * j->cols;
    bench_require(fr_assign(cost, j->cols, 1, j->rows, j->cols, j->columns, &total, j->memory, j->bytes, NULL), NULL);
    j->total += total;
  }
}

static void compare(job *j, const char *name, const char *unit, double scale, double first, const bench_peer *scipy,
                    const char *key, double target)
{
  const double best = fmin(first, bench_best(run, j, 0.5));
  char total[60];
  snprintf(total, sizeof total, "%s_total", key);
  if (scipy->version[0] && !(fabs(bench_peer_value(scipy, total) - j->total) <= 1e-9 * fabs(j->total)))
    bench_fail("fr_assign and scipy disagree on the least total");
  bench_row(name, unit, BENCH_TIME, scale * best / (double)j->count, scale * bench_peer_value(scipy, key),
            scipy->version[0] ? "scipy" : "skipped: no scipy", target);
}

int main(void)
{
  double *large = (double *)bench_memory(FAMILIES * LARGE * LARGE, sizeof(double));
  double *small = (double *)bench_memory(SMALL_COUNT * SMALL_ROWS * SMALL_COLS, sizeof(double));
  double first[FAMILIES], first_small;
  job jobs[FAMILIES], tiny;
  bench_peer scipy;

  bench_title("assign: least-cost matching");
  for (int f = 0; f < FAMILIES; f++) {
    double *cost = large + (fr_int)f * LARGE * LARGE;
    for (fr_int row = 0; row < LARGE; row++)
      for (fr_int col = 0; col < LARGE; col++) cost[row * LARGE + col] = families[f].cost(row, col);
    jobs[f] = job_new(cost, LARGE, LARGE, 1);
    first[f] = bench_best(run, &jobs[f], 0.5);
  }
  for (fr_int i = 0; i < SMALL_COUNT * SMALL_ROWS * SMALL_COLS; i++) small[i] = u(i);
  tiny = job_new(small, SMALL_ROWS, SMALL_COLS, SMALL_COUNT);
  first_small = bench_best(run, &tiny, 0.3);

  bench_peer_run(&scipy, "BENCH_SCIPY", "peer_scipy.py");
  if (scipy.version[0]) printf("peer: %s\n", scipy.version);
  bench_section("1000 x 1000");
  for (int f = 0; f < FAMILIES; f++) {
    char name[80];
    snprintf(name, sizeof name, "assign 1000 x 1000, %s", families[f].name);
    compare(&jobs[f], name, "ms", 1e3, first[f], &scipy, families[f].key, 1.0);
    job_free(&jobs[f]);
  }
  bench_section("4 x 6, a thousand different ones; a call of each side as it is made");
  compare(&tiny, "assign 4 x 6", "us", 1e6, first_small, &scipy, "small", 3.0);
  job_free(&tiny);
  bench_free(large);
  bench_free(small);
  return 0;
}
