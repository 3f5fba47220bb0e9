#include "options.h"
#include <stdlib.h>
#include <string.h>

// The host hands over valid JSON, so this only has to find its way through it;
// it never reads past the end all the same.
struct text {
    const char *at;
    const char *end;
};

static bool next_is(struct text *text, char wanted) {
    while (text->at < text->end && strchr(" \t\r\n", *text->at) != NULL) {
        text->at++;
    }
    if (text->at == text->end || *text->at != wanted) {
        return false;
    }
    text->at++;
    return true;
}

// What is between the quotes, as it is written.
static struct text string(struct text *text) {
    struct text inside = {text->at, text->at};
    while (text->at < text->end && *text->at != '"') {
        text->at += *text->at == '\\' && text->end - text->at > 1 ? 2 : 1;
    }
    inside.end = text->at;
    if (text->at < text->end) {
        text->at++;
    }
    return inside;
}

// To the comma or bracket after a value, over what is nested in it.
static void skip_value(struct text *text) {
    int depth = 0;
    while (text->at < text->end) {
        char found = *text->at;
        if (depth == 0 && (found == ',' || found == '}')) {
            return;
        }
        text->at++;
        if (found == '"') {
            string(text);
        } else if (found == '{' || found == '[') {
            depth++;
        } else if (found == '}' || found == ']') {
            depth--;
        }
    }
}

enum option option_number(const check_string_t *json, const char *name, double *number) {
    struct text text = {(const char *)json->ptr, (const char *)json->ptr + json->len};
    if (!next_is(&text, '{')) {
        return OPTION_ABSENT;
    }
    while (next_is(&text, '"')) {
        struct text key = string(&text);
        if (!next_is(&text, ':')) {
            return OPTION_ABSENT;
        }
        size_t length = (size_t)(key.end - key.at);
        if (length == strlen(name) && memcmp(key.at, name, length) == 0) {
            while (text.at < text.end && *text.at == ' ') {
                text.at++;
            }
            struct text value = text;
            skip_value(&text);
            // No number is longer; strtod needs its end marked.
            char digits[32] = {0};
            length = (size_t)(text.at - value.at);
            if (length == 0 || length >= sizeof digits || strchr("-0123456789", *value.at) == NULL) {
                return OPTION_WRONG;
            }
            memcpy(digits, value.at, length);
            *number = strtod(digits, NULL);
            return OPTION_FOUND;
        }
        skip_value(&text);
        if (!next_is(&text, ',')) {
            break;
        }
    }
    return OPTION_ABSENT;
}
