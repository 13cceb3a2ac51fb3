// The implementation after the headers of C that define I, and functions that are macros.
#include <complex.h>
#ifndef __cplusplus
#include <tgmath.h>
#endif
#define FORKREASON_IMPLEMENTATION
#include "forkreason.h"
int main(void) { return 0; }
