// multiply.h - the task of four_ways.c: two-digit multiplication in one's head. There is more than one good way to work
// out 57*34:
//     split b     57*30=1710;57*4=228;1710+228=1938#1938
//     split a     50*34=1700;7*34=238;1700+238=1938#1938
//     round b up  40*57=2280;6*57=342;2280-342=1938#1938
//     round a up  60*34=2040;3*34=102;2040-102=1938#1938
// This is how a person reads them. One character is one token, and the model reads and writes every number units first
// (75*43= for 57*34=), because carries go that way: so it learns several times faster.
#ifndef MULTIPLY_H
#define MULTIPLY_H

#include "../forkreason.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WAYS = 4, NONE = WAYS };    // NONE: a trace of no known way
enum { QUESTION = 6, ROOM = 160 };  // tokens of 75*43=, room for the longest trace of this task and of number_line.h
static const char *const way_names[WAYS + 1] = { "split b", "split a", "round b up", "round a up", "none" };

static const char alphabet[] = "0123456789*+-=;#";
enum { END = sizeof alphabet - 1, FORK };  // tokens behind the alphabet: end of text, then the forks

typedef struct pair { int a, b; } pair;
typedef struct plan { int left[2], right[2]; char sign; } plan;  // two products, then their sum or difference

static inline plan plan_of(pair q, int way)
{
  const int a_tens = q.a / 10 * 10, b_tens = q.b / 10 * 10;
  const plan plans[WAYS] = {
    { { q.a, q.a }, { b_tens, q.b - b_tens }, '+' },
    { { a_tens, q.a - a_tens }, { q.b, q.b }, '+' },
    { { b_tens + 10, b_tens + 10 - q.b }, { q.a, q.a }, '-' },
    { { a_tens + 10, a_tens + 10 - q.a }, { q.b, q.b }, '-' },
  };
  return plans[way];
}

static inline void write_trace(char text[ROOM], pair q, int way)  // in reading order
{
  const plan p = plan_of(q, way);
  const int first = p.left[0] * p.right[0], second = p.left[1] * p.right[1];
  snprintf(text, ROOM, "%d*%d=%d;%d*%d=%d;%d%c%d=%d#%d", p.left[0], p.right[0], first, p.left[1], p.right[1],
           second, first, p.sign, second, q.a * q.b, q.a * q.b);
}

// Reads a number without leading zeros and the character behind it; 0 if they are not there.
static inline int read_number(const char **text, int *number, char *behind)
{
  const size_t digits = strspn(*text, "0123456789");
  if (digits < 1 || digits > 7 || (digits > 1 && **text == '0')) return 0;
  *number = atoi(*text);
  *behind = (*text)[digits];
  *text += digits + (*behind != '\0');
  return 1;
}

// The way of a trace is the plan that it writes: operands and sign, be the results right or wrong.
static inline int way_of(const char *text, pair q)
{
  static const char shape[11] = "*=;*=;?=#";  // what stands behind each of the ten numbers; ? is the sign
  int numbers[10];
  char behind[10];
  for (int i = 0; i < 10; i++) {
    if (!read_number(&text, &numbers[i], &behind[i])) return NONE;
    if (shape[i] != '?' && behind[i] != shape[i]) return NONE;
  }
  for (int way = 0; way < WAYS; way++) {
    const plan p = plan_of(q, way);
    if (numbers[0] == p.left[0] && numbers[1] == p.right[0] && numbers[3] == p.left[1] &&
        numbers[4] == p.right[1] && behind[6] == p.sign) return way;
  }
  return NONE;
}

// What follows the '#', or -1.
static inline int answer_of(const char *text)
{
  int answer;
  char behind;
  text = strchr(text, '#');
  if (!text) return -1;
  text++;
  return read_number(&text, &answer, &behind) && behind == '\0' ? answer : -1;
}

// Reverses every stretch of digits: reading order to units first, and back.
static inline void reverse_numbers(char *text)
{
  while (*text) {
    const size_t digits = strspn(text, "0123456789");
    for (size_t i = 0; i < digits / 2; i++) {
      const char digit = text[i];
      text[i] = text[digits - 1 - i];
      text[digits - 1 - i] = digit;
    }
    text += digits ? digits : 1;
  }
}

// Text in reading order to tokens, units first; returns their number. `letters` is the alphabet, or another of that length.
static inline fr_int encode_letters(fr_token *tokens, const char *text, const char *letters)
{
  char reversed[ROOM];
  fr_int count = 0;
  snprintf(reversed, sizeof reversed, "%s", text);
  reverse_numbers(reversed);
  for (const char *c = reversed; *c; c++) tokens[count++] = (fr_token)(strchr(letters, *c) - letters);
  return count;
}

static inline fr_int encode(fr_token *tokens, const char *text) { return encode_letters(tokens, text, alphabet); }

static inline fr_int encode_question(fr_token *tokens, pair q)
{
  char text[ROOM];
  snprintf(text, sizeof text, "%d*%d=", q.a, q.b);
  return encode(tokens, text);
}

static inline void decode_letters(char text[ROOM], const fr_token *tokens, fr_int count, const char *letters)
{
  for (fr_int i = 0; i < count; i++) text[i] = tokens[i] < END ? letters[tokens[i]] : '?';
  text[count] = '\0';
  reverse_numbers(text);
}

static inline void decode(char text[ROOM], const fr_token *tokens, fr_int count)
{
  decode_letters(text, tokens, count, alphabet);
}

// ---- the data: every ordered pair once, split by unordered pair, so that of a pair held out neither order is trained on

typedef struct data_set {
  pair *all, *test, *validation, *train;
  fr_int test_count, validation_count, train_count;
  fr_int longest;  // tokens of the longest trace, with its end
} data_set;

static inline void shuffle(fr_int *items, fr_int count, fr_random *random)
{
  for (fr_int i = count - 1; i > 0; i--) {
    const fr_int j = fr_random_below(random, i + 1), item = items[i];
    items[i] = items[j];
    items[j] = item;
  }
}

// Operands 11 .. largest (at most 99) that do not end in 0. Returns 0 if there is no memory, or fewer pairs than asked for.
static inline int data_new(data_set *t, int largest, fr_int test, fr_int validation, fr_random random)
{
  fr_int order[89 * 88 / 2], pairs = 0;
  memset(t, 0, sizeof *t);
  for (int a = 11; a <= largest; a++)
    for (int b = a + 1; b <= largest; b++)
      if (a % 10 && b % 10) order[pairs++] = a * 100 + b;
  if (pairs <= test + validation) return 0;
  shuffle(order, pairs, &random);
  pair *next = t->all = (pair *)malloc(2 * (size_t)pairs * sizeof *t->all);
  if (!next) return 0;
  for (fr_int i = 0; i < pairs; i++) {
    pair q = { (int)order[i] / 100, (int)order[i] % 100 }, other = { q.b, q.a };
    if (fr_random_below(&random, 2)) { const pair first = q; q = other; other = first; }
    *next++ = q;
    if (i >= test + validation) *next++ = other;
    for (int way = 0; way < WAYS; way++) {
      char text[ROOM];
      write_trace(text, q, way);
      if ((fr_int)strlen(text) + 1 > t->longest) t->longest = (fr_int)strlen(text) + 1;
    }
  }
  t->test = t->all;
  t->test_count = test;
  t->validation = t->test + test;
  t->validation_count = validation;
  t->train = t->validation + validation;
  t->train_count = next - t->train;
  return 1;
}

static inline void data_free(data_set *t) { free(t->all); }

#endif
