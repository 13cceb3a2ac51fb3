// The header with its implementation and nothing else: compiled for its warnings, symbols, macros and compile time.
#define FORKREASON_IMPLEMENTATION
#include "forkreason.h"
