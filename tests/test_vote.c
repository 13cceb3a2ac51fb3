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
  CHECK(fr_vote(count, same_text, (void *)(uintptr_t)answers, NULL, &result, NULL) == FR_OK);
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
    CHECK(fr_vote(-1, same_text, NULL, NULL, &kept, NULL) == FR_INVALID);
    CHECK(fr_vote(2, NULL, NULL, NULL, &kept, NULL) == FR_INVALID);
    CHECK(fr_vote(2, same_text, (void *)(uintptr_t)plain, NULL, NULL, NULL) == FR_INVALID);
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
    CHECK(fr_vote(count, same_number, answers, NULL, &r, NULL) == FR_OK);
    CHECK(r.winner == winner && r.valid == valid && r.distinct == distinct &&
          r.votes == (winner < 0 ? 0 : votes_of[answers[winner]]) && r.weight == (double)r.votes);
  }
}

// ---- weights
static int same_result(const fr_vote_result *a, const fr_vote_result *b)
{
  return a->winner == b->winner && a->votes == b->votes && a->distinct == b->distinct && a->valid == b->valid &&
         a->weight == b->weight;
}

// By value: classes 0 .. 5, their weights summed in the order of the index; -1 is no answer.
static fr_vote_result weighed(fr_int count, const int *answers, const double *weight)
{
  fr_vote_result r = { -1, 0, 0, 0, 0.0 };
  double sum[6] = { 0.0 };
  fr_int votes[6] = { 0 }, first[6] = { 0 };
  for (fr_int i = 0; i < count; i++) {
    const int c = answers[i];
    if (c < 0) continue;
    if (!votes[c]++) { first[c] = i; r.distinct++; }
    sum[c] += weight[i];
    r.valid++;
  }
  for (fr_int i = 0; i < count; i++) {  // classes in the order of their first answers
    const int c = answers[i];
    if (c < 0 || first[c] != i || (r.winner >= 0 && sum[c] <= r.weight)) continue;
    r.winner = i;
    r.votes = votes[c];
    r.weight = sum[c];
  }
  return r;
}

static fr_poll poll_of(fr_vote_class *classes, fr_int room)
{
  fr_poll poll;
  memset(&poll, 0, sizeof poll);
  poll.classes = classes;
  poll.room = room;
  return poll;
}

static void weights(void)
{
  int answers[12];
  double weight[12];
  fr_vote_class classes[12];
  fr_reason reason;
  fr_vote_result r, kept;
  {
    static const int two[4] = { 0, 1, 0, 1 };
    static const double sure[4] = { .2, .5, .2, .25 }, even[4] = { .5, .25, .25, .5 }, none[4] = { 0, 0, 0, 0 };
    CHECK(fr_vote(4, same_number, (void *)(uintptr_t)two, sure, &r, NULL) == FR_OK);
    CHECK(r.winner == 1 && r.votes == 2 && r.distinct == 2 && r.valid == 4 && r.weight == .75);
    CHECK(fr_vote(4, same_number, (void *)(uintptr_t)two, even, &r, NULL) == FR_OK);
    CHECK(r.winner == 0 && r.weight == .75);  // a tie: the earlier first answer
    CHECK(fr_vote(4, same_number, (void *)(uintptr_t)two, none, &r, NULL) == FR_OK);
    CHECK(r.winner == 0 && r.votes == 2 && r.weight == 0.0);
  }
  for (int trial = 0; trial < 3000; trial++) {
    const fr_int count = test_below_int(13);
    fr_poll poll = poll_of(classes, 12);
    for (fr_int i = 0; i < count; i++) {
      answers[i] = (int)test_below_int(5) - 1;
      weight[i] = trial % 2 ? test_uniform(0.0, 1.0) : (double)test_below_int(4) / 4.0;  // many ties, or rounding
    }
    for (fr_int n = 0; n <= count; n++) {  // the poll at each moment is the vote over what it has seen
      const fr_vote_result want = weighed(n, answers, weight);
      CHECK(fr_vote(n, same_number, answers, weight, &r, &reason) == FR_OK && same_result(&r, &want));
      CHECK(poll.count == n && (n ? same_result(&poll.result, &want) : poll.result.valid == 0 && poll.result.distinct == 0));
      if (n < count) CHECK(fr_poll_add(&poll, same_number, answers, weight[n], &reason) == FR_OK);
    }
  }
  for (int i = 0; i < 12; i++) { answers[i] = i / 6; weight[i] = 1.0; }
  memset(&r, 7, sizeof r);
  kept = r;
  weight[5] = NAN;
  CHECK(fr_vote(12, same_number, answers, weight, &r, &reason) == FR_NONFINITE && strstr(reason.text, "answer 5"));
  weight[5] = HUGE_VAL;
  CHECK(fr_vote(12, same_number, answers, weight, &r, NULL) == FR_NONFINITE);
  weight[5] = -1e-300;
  CHECK(fr_vote(12, same_number, answers, weight, &r, &reason) == FR_INVALID && strstr(reason.text, "answer 5"));
  weight[5] = weight[4] = 1.7e308;
  CHECK(fr_vote(12, same_number, answers, weight, &r, &reason) == FR_NONFINITE && reason.text[0]);
  CHECK(fr_vote(-1, same_number, answers, weight, &r, NULL) == FR_INVALID);
  CHECK(fr_vote(2, NULL, answers, weight, &r, NULL) == FR_INVALID);
  CHECK(fr_vote(2, same_number, answers, weight, NULL, NULL) == FR_INVALID);
  CHECK(!memcmp(&r, &kept, sizeof r));
}

static void confidence(void)
{
  fr_leaf leaf;
  memset(&leaf, 0, sizeof leaf);
  leaf.count = 3;
  leaf.stop = 7;
  leaf.logp = log(.5 * .25 * .5 * 1.0);
  CHECK(fabs(fr_leaf_confidence(&leaf) - .5) < 1e-15);  // the stop is a token, too
  leaf.stop = -1;
  leaf.logp = log(.5 * .25 * 1.0);
  CHECK(fabs(fr_leaf_confidence(&leaf) - .5) < 1e-15);
  leaf.logp = 1e-12;
  CHECK(fr_leaf_confidence(&leaf) == 1.0);
  leaf.logp = -HUGE_VAL;
  CHECK(fr_leaf_confidence(&leaf) == 0.0);
  leaf.logp = NAN;
  CHECK(isnan(fr_leaf_confidence(&leaf)));  // a vote refuses it
  leaf.count = 0;
  CHECK(fr_leaf_confidence(&leaf) == 0.0 && fr_leaf_confidence(NULL) == 0.0);
}

// ---- when to stop: against all that the answers to come could say
// Can the winner of answers[0..n) still become another one by answers of weights 0, most/2 and most?
static int can_change(int *answers, double *weight, fr_int n, fr_int count, double most, fr_int winner)
{
  if (n == count) return weighed(count, answers, weight).winner != winner;
  for (int c = -1; c < 5; c++)
    for (int w = 0; w < 3; w++) {
      if (c < 0 && w) continue;
      answers[n] = c;
      weight[n] = most * (double)w / 2.0;
      if (can_change(answers, weight, n + 1, count, most, winner)) return 1;
    }
  return 0;
}

static void stopping(void)
{
  int answers[12], told = 0, early = 0;
  double weight[12];
  for (int trial = 0; trial < 3000; trial++) {
    const int plain = trial % 2;
    const fr_int n = test_below_int(9), count = n + test_below_int(4);
    const double most = plain ? 1.0 : trial % 4 ? .3 : 1.0;
    fr_vote_class classes[9];
    fr_poll poll = poll_of(classes, 9);
    for (fr_int i = 0; i < n; i++) {
      answers[i] = (int)test_below_int(trial % 3 ? 3 : 5) - 1;
      if (answers[i] < 0 && test_below_int(2)) answers[i] = 0;
      weight[i] = plain ? 1.0 : most * (trial % 8 < 4 ? (double)test_below_int(4) / 3.0 : test_uniform(0.0, 1.0));
      CHECK(fr_poll_add(&poll, same_number, answers, weight[i], NULL) == FR_OK);
    }
    told = fr_poll_decided(&poll, count - n, most);
    early += told && count > n;
    CHECK(told == !can_change(answers, weight, n, count, most, n ? poll.result.winner : -1));
  }
  CHECK(early > 300);  // of both kinds there were many
  {
    static const int lead[5] = { 0, 0, 1, 0, 1 }, nobody[1] = { -1 };
    fr_vote_class classes[2];
    fr_poll poll = poll_of(classes, 2), kept;
    fr_reason reason;
    CHECK(!fr_poll_decided(&poll, 1, 1.0) && fr_poll_decided(&poll, 0, 1.0));
    for (int i = 0; i < 4; i++) CHECK(fr_poll_add(&poll, same_number, (void *)(uintptr_t)lead, 1.0, NULL) == FR_OK);
    // 3 to 1: two more cannot turn it, since the leader was first in a tie.
    CHECK(fr_poll_decided(&poll, 2, 1.0) && !fr_poll_decided(&poll, 3, 1.0));
    CHECK(!fr_poll_decided(&poll, 1, NAN) && !fr_poll_decided(&poll, 1, -1.0) && !fr_poll_decided(NULL, 0, 1.0));
    // What does not vote counts as come: the caller says how many there still are.
    {
      static const int blank[5] = { 0, 0, 1, 0, -1 };
      CHECK(fr_poll_add(&poll, same_number, (void *)(uintptr_t)blank, 1.0, NULL) == FR_OK);
      CHECK(poll.count == 5 && poll.result.valid == 4);
    }
    {
      static const int third[6] = { 0, 0, 1, 0, -1, 2 };
      kept = poll;
      CHECK(fr_poll_add(&poll, same_number, (void *)(uintptr_t)third, 1.0, &reason) == FR_LIMIT && strstr(reason.text, "answer 5"));
      CHECK(fr_poll_add(&poll, same_number, (void *)(uintptr_t)lead, NAN, &reason) == FR_NONFINITE);
      CHECK(fr_poll_add(&poll, same_number, (void *)(uintptr_t)third, -1.0, &reason) == FR_INVALID);
      CHECK(fr_poll_add(&poll, NULL, NULL, 1.0, &reason) == FR_INVALID && fr_poll_add(NULL, same_number, NULL, 1.0, NULL) == FR_INVALID);
      CHECK(!memcmp(&poll, &kept, sizeof poll) && classes[0].votes == 3 && classes[1].votes == 1);
      poll = poll_of(NULL, 2);
      CHECK(fr_poll_add(&poll, same_number, (void *)(uintptr_t)lead, 1.0, &reason) == FR_INVALID && poll.count == 0);
      poll = poll_of(classes, -1);
      CHECK(fr_poll_add(&poll, same_number, (void *)(uintptr_t)lead, 1.0, &reason) == FR_INVALID && poll.count == 0);
      poll = poll_of(NULL, 0);  // room for nobody: who gives no answer may come
      CHECK(fr_poll_add(&poll, same_number, (void *)(uintptr_t)lead, 1.0, &reason) == FR_LIMIT && poll.count == 0);
      CHECK(fr_poll_add(&poll, same_number, (void *)(uintptr_t)nobody, 1.0, NULL) == FR_OK && poll.count == 1 &&
            poll.result.winner == -1);
    }
  }
}

// ---- the budget
static void budget(void)
{
  fr_int fork[40];
  fr_random random = fr_random_stream(5, 6, 7), before = random;
  for (fr_int N = 1; N <= 8; N++)
    for (fr_int k = N; k <= 4 * N; k++) {
      fr_int each[8] = { 0 };
      CHECK(fr_fork_spread(k, N, NULL, fork) == FR_OK);
      for (fr_int j = 0; j < k; j++) each[fork[j]]++;
      for (fr_int f = 0; f < N; f++) CHECK(each[f] == k / N + (f < k % N));
      for (fr_int j = 0; j < N; j++) CHECK(fork[j] == j);  // any prefix is spread as evenly
    }
  CHECK(fr_fork_spread(8, 8, &random, fork) == FR_OK && !memcmp(&random, &before, sizeof random));
  CHECK(fr_fork_spread(0, 8, NULL, NULL) == FR_OK);
  {  // 3 of 5: ten subsets, ascending, each as often as the others
    fr_int seen[32] = { 0 }, subsets = 0;
    for (int i = 0; i < 60000; i++) {
      CHECK(fr_fork_spread(3, 5, &random, fork) == FR_OK);
      if (CHECK(fork[0] >= 0 && fork[0] < fork[1] && fork[1] < fork[2] && fork[2] < 5))
        seen[1 << fork[0] | 1 << fork[1] | 1 << fork[2]]++;
    }
    for (int s = 0; s < 32; s++)
      if (seen[s]) { subsets++; CHECK(fabs((double)seen[s] - 6000.0) < 6.0 * sqrt(6000.0)); }
    CHECK(subsets == 10);
    random = before;
    CHECK(fr_fork_spread(2, 5, &random, fork) == FR_OK && fr_fork_spread(2, 5, &before, fork + 2) == FR_OK);
    CHECK(fork[0] == fork[2] && fork[1] == fork[3]);  // the stream alone says which
  }
  fork[0] = 77;
  CHECK(fr_fork_spread(-1, 5, &random, fork) == FR_INVALID && fr_fork_spread(3, 0, &random, fork) == FR_INVALID);
  CHECK(fr_fork_spread(3, 5, NULL, fork) == FR_INVALID && fr_fork_spread(3, 2, &random, NULL) == FR_INVALID && fork[0] == 77);
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
  CHECK(fr_random_below(&random, 0) == 0 && fr_random_below(&random, -3) == 0);  // no division by zero
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
  weights();
  confidence();
  stopping();
  budget();
  pass_at_k();
  philox();
  streams();
  distributions();
  below();
  return test_done("vote");
}
