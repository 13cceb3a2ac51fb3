// The implementation after macros of public headers: complex.h, windows.h, Arduino.h, Xlib.h, Qt, Perl, termios.h, sysmacros.h.
// The headers that forkreason.h includes come first, as they may use these words themselves.
#include <float.h>
#include <limits.h>
#include <math.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#if defined(__x86_64__) || defined(__i386__)
#include <immintrin.h>
#endif
#define I (1.0fi)
#define max(a, b) ((a) > (b) ? (a) : (b))
#define min(a, b) ((a) < (b) ? (a) : (b))
#define abs(x) ((x) > 0 ? (x) : -(x))
#define round(x) ((long)((x) + 0.5))
#define bit(b) (1UL << (b))
#define F(text) (text)
#define small char
#define hyper long long
#define near
#define far
#define interface struct
#define IN
#define OUT
#define ERROR 0
#define TRUE 1
#define FALSE 0
#define None 0L
#define Bool int
#define Status int
#define Success 0
#define Always 2
#define word(...) makeWord(__VA_ARGS__)
#define B0 0
#define B1 1
#define ECHO 8
#define OK 0
#define ERR (-1)
#define slots
#define signals public
#define emit
#define foreach(a, b) for (a : b)
#define INPUT 0
#define OUTPUT 1
#define HIGH 1
#define LOW 0
#define DEFAULT 1
#define PI 3.1415926535897932384626433832795
#define major(x) ((x) >> 8)
#define minor(x) ((x) & 255)
#undef unix
#define unix 1
#undef linux
#define linux 1
#define FORKREASON_IMPLEMENTATION
#include "forkreason.h"
int main(void) { return 0; }
