// The implementation after the macros of windows.h, where there is one.
#ifdef _WIN32
#include <windows.h>
#endif
#define FORKREASON_IMPLEMENTATION
#include "forkreason.h"
int main(void) { return 0; }
