// Numbers from what stands under `with:`.
//
// This is all that options of plain numbers need. For lists and maps put a JSON
// library of one file beside it, such as cJSON or yyjson.

#ifndef OPTIONS_H
#define OPTIONS_H

#include "check.h"

enum option { OPTION_ABSENT, OPTION_FOUND, OPTION_WRONG };

// Leaves *number as it is unless the option is there and a number.
enum option option_number(const check_string_t *json, const char *name, double *number);

#endif
