// Included plainly, then again with the implementation, then once more, as happens through other headers.
#include "forkreason.h"
#define FORKREASON_IMPLEMENTATION
#include "forkreason.h"
#undef FORKREASON_IMPLEMENTATION
#include "forkreason.h"
fr_status twice(void);
fr_status twice(void) { return fr_config_check(NULL, NULL, NULL); }
