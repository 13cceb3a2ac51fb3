// Majority votes, pass@k, and the random streams that sampling stands on.
#define FORKREASON_IMPLEMENTATION
#include "../forkreason.h"
#include "test.h"

// ---- votes
static int same_text(void *user, fr_int a, fr_int b)
{
  const char *const *answers = (const char *const *)user;
  return answers[a] && answers[b] && !strcmp(answers[a], answers[b]);
}

static fr_vote_result vote(fr_int count, const char *const *answers)
{
  fr_vote_result result;
  memset(&result, 1, sizeof result);
  CHECK(fr_vote(count, same_text, (void *)(uintptr_t)answers, &result) == FR_OK);
  return result;
}

static void votes(void)
{
  static const char *const plain[] = { "8", "12", "8", "12", "12", "7" };
  static const char *const tie[] = { "5", "9", "3", "9", "3", "5" };
  static const char *const holes[] = { NULL, "4", NULL, "4", NULL, "6" };
  static const char *const nothing[] = { NULL, NULL };
  fr_vote_result r = vote(6, plain);
  CHECK(r.winner == 1 && r.votes == 3 && r.distinct == 3 && r.valid == 6);
  r = vote(6, tie);  // three classes of two: the earliest first answer wins
  CHECK(r.winner == 0 && r.votes == 2 && r.distinct == 3 && r.valid == 6);
  r = vote(5, tie);
  CHECK(r.winner == 1 && r.votes == 2 && r.distinct == 3 && r.valid == 5);
  r = vote(6, holes);  // three that are no answer do not make a class
  CHECK(r.winner == 1 && r.votes == 2 && r.distinct == 2 && r.valid == 3);
  r = vote(2, nothing);
  CHECK(r.winner == -1 && r.votes == 0 && r.distinct == 0 && r.valid == 0);
  r = vote(0, nothing);
  CHECK(r.winner == -1 && r.votes == 0 && r.distinct == 0 && r.valid == 0);
  {
    fr_vote_result kept = vote(6, plain), before = kept;
    CHECK(fr_vote(-1, same_text, NULL, &kept) == FR_INVALID);
    CHECK(fr_vote(2, NULL, NULL, &kept) == FR_INVALID);
    CHECK(fr_vote(2, same_text, (void *)(uintptr_t)plain, NULL) == FR_INVALID);
    CHECK(!memcmp(&kept, &before, sizeof kept));
  }
}

// Against counting by value.
static int same_number(void *user, fr_int a, fr_int b)
{
  const int *answers = (const int *)user;
  return answers[a] >= 0 && answers[a] == answers[b];
}

static void random_votes(void)
{
  for (int trial = 0; trial < 3000; trial++) {
    int answers[40], votes_of[6] = { 0 };
    const fr_int count = test_below_int(41);
    fr_int valid = 0, distinct = 0, winner = -1;
    fr_vote_result r;
    for (fr_int i = 0; i < count; i++) {
      answers[i] = (int)test_below_int(7) - 1;
      if (answers[i] >= 0) { valid++; distinct += votes_of[answers[i]]++ == 0; }
    }
    for (fr_int i = count; i-- > 0;)  // from the back, so that an earlier one of equal size replaces
      if (answers[i] >= 0 && (winner < 0 || votes_of[answers[i]] >= votes_of[answers[winner]])) winner = i;
    CHECK(fr_vote(count, same_number, answers, &r) == FR_OK);
    CHECK(r.winner == winner && r.valid == valid && r.distinct == distinct &&
          r.votes == (winner < 0 ? 0 : votes_of[answers[winner]]));
  }
}

// ---- pass@k: 1 - C(n-c,k)/C(n,k) with exact binomials
static double binomial(fr_int n, fr_int k)
{
  double row[64] = { 1.0 };
  for (fr_int i = 1; i <= n; i++) for (fr_int j = i; j > 0; j--) row[j] += row[j - 1];
  return k <= n ? row[k] : 0.0;
}

static void pass_at_k(void)
{
  for (fr_int n = 1; n <= 50; n++)  // every binomial here is below 2^53, so exact
    for (fr_int c = 0; c <= n; c++)
      for (fr_int k = 1; k <= n; k++) {
        const double want = 1.0 - binomial(n - c, k) / binomial(n, k), got = fr_pass_at_k(n, c, k);
        CHECK(fabs(got - want) <= 1e-14);
        if (c == 0) CHECK(got == 0.0);
        if (n - c < k) CHECK(got == 1.0);
      }
  CHECK(fabs(fr_pass_at_k(1000000, 1, 500000) - 0.5) <= 1e-9);  // one correct sample of n is in a half of them
  CHECK(fabs(fr_pass_at_k(10000, 300, 1) - 0.03) <= 1e-14);
  CHECK(isnan(fr_pass_at_k(5, 6, 1)) && isnan(fr_pass_at_k(5, -1, 1)) && isnan(fr_pass_at_k(5, 2, 0)));
  CHECK(isnan(fr_pass_at_k(5, 2, 6)) && isnan(fr_pass_at_k(0, 0, 1)) && isnan(fr_pass_at_k(-3, 0, 1)));
}

// ---- random streams
// The known answers of Philox 4x32-10 published with Random123.
static void philox(void)
{
  static const uint32_t known[3][10] = {
    { 0, 0, 0, 0, 0, 0, 0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8 },
    { 0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff, 0x408f276d, 0x41c83b0e,
      0xa20bc7c6, 0x6d5451fd },
    { 0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344, 0xa4093822, 0x299f31d0, 0xd16cfe09, 0x94fdcceb,
      0x5001e420, 0x24126ea1 },
  };
  for (int i = 0; i < 3; i++) {
    uint32_t out[4];
    fr__philox(out, known[i], known[i] + 4);
    CHECK(!memcmp(out, known[i] + 6, sizeof out));
  }
  // The public stream is Philox over its own counter.
  {
    fr_random random = fr_random_stream(1, 2, 3);
    const fr_random start = random;
    for (uint32_t block = 0; block < 3; block++) {
      uint32_t counter[4], out[4];
      memcpy(counter, start.counter, sizeof counter);
      counter[0] += block;
      fr__philox(out, counter, start.key);
      for (int i = 0; i < 4; i++) CHECK(fr_random_bits(&random) == out[i]);
    }
  }
}

static void streams(void)
{
  uint32_t first[4 * 4 * 4];
  int count = 0;
  for (uint64_t seed = 0; seed < 4; seed++)
    for (uint64_t question = 0; question < 4; question++)
      for (uint64_t leaf = 0; leaf < 4; leaf++) {
        fr_random a = fr_random_stream(seed, question << 32, leaf),
                  b = fr_random_stream(seed, question << 32, leaf);
        first[count] = fr_random_bits(&a);
        CHECK(first[count] == fr_random_bits(&b));
        for (int i = 0; i < count; i++)
          CHECK(first[i] != first[count]);  // 64 of 2^32: no two are equal by chance
        count++;
      }
}

static void distributions(void)
{
  enum { DRAWS = 200000, BINS = 64 };
  fr_random random = fr_random_stream(7, 8, 9);
  fr_int bins[BINS] = { 0 }, bits[32] = { 0 };
  double sum = 0.0, square = 0.0, chi = 0.0, previous = 0.0, serial = 0.0;
  for (int i = 0; i < DRAWS; i++) {
    const float u = fr_random_uniform(&random);
    CHECK(u >= 0.0f && u < 1.0f && u * 16777216.0f == floorf(u * 16777216.0f));
    bins[(int)(u * (float)BINS)]++;
    serial += ((double)u - 0.5) * (previous - 0.5);
    previous = (double)u;
  }
  for (int b = 0; b < BINS; b++)
    chi += pow((double)bins[b] - (double)DRAWS / BINS, 2.0) / ((double)DRAWS / BINS);
  CHECK(chi > 20.0 && chi < 130.0);  // 63 degrees of freedom, standard deviation 11.2: six of them
  CHECK(fabs(serial / DRAWS) < 6.0 / 12.0 / sqrt(DRAWS));
  for (int i = 0; i < DRAWS; i++) {
    const uint32_t x = fr_random_bits(&random);
    for (int b = 0; b < 32; b++) bits[b] += x >> b & 1;
  }
  for (int b = 0; b < 32; b++) CHECK(fabs((double)bits[b] - DRAWS / 2.0) < 3.0 * sqrt(DRAWS));
  for (int i = 0; i < DRAWS; i++) {
    const double z = (double)fr_random_normal(&random);
    sum += z;
    square += z * z;
    CHECK(fabs(z) < 7.0);
  }
  CHECK(fabs(sum / DRAWS) < 6.0 / sqrt(DRAWS));
  CHECK(fabs(square / DRAWS - 1.0) < 6.0 * sqrt(2.0 / DRAWS));
}

static void below(void)
{
  fr_random random = fr_random_stream(3, 1, 4);
  static const fr_int bounds[] = { 1, 2, 3, 7, 10, 100 };
  for (int b = 0; b < 6; b++) {
    const fr_int bound = bounds[b];
    fr_int hits[100] = { 0 };
    for (int i = 0; i < 60000; i++) {
      const fr_int x = fr_random_below(&random, bound);
      if (CHECK(x >= 0 && x < bound)) hits[x]++;
    }
    for (fr_int x = 0; x < bound; x++) {
      const double expected = 60000.0 / (double)bound;
      CHECK(fabs((double)hits[x] - expected) <= 6.0 * sqrt(expected));
    }
  }
  // A bound of 3/4 of the range: by a plain remainder the lower third would come twice as often as it should.
  if (sizeof(fr_int) == 8) {
    const fr_int bound = PTRDIFF_MAX / 4 * 3;
    fr_int low = 0;
    for (int i = 0; i < 30000; i++) {
      const fr_int x = fr_random_below(&random, bound);
      CHECK(x >= 0 && x < bound);
      low += x < bound / 3;
    }
    CHECK(fabs((double)low - 10000.0) < 6.0 * sqrt(10000.0 * 2.0 / 3.0));
  }
}

int main(void)
{
  votes();
  random_votes();
  pass_at_k();
  philox();
  streams();
  distributions();
  below();
  return test_done("vote");
}
