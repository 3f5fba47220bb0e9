// How much of this host's memory is used.
//
// check.h and what belongs to it are made by the build, in build/bindings; it
// has everything that the host offers: look for hostler_host_.

#include "check.h"
#include "options.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

// What stands under `with:`, in percent.
struct limits {
    double warn;
    double critical;
};

// What is wrong with them; pointer is NULL if nothing is.
struct problem {
    const char *pointer;
    const char *message;
};

static struct problem read_limits(const check_string_t *json, struct limits *limits) {
    *limits = (struct limits){.warn = 80, .critical = 90};
    if (option_number(json, "warn", &limits->warn) == OPTION_WRONG) {
        return (struct problem){"/warn", "is not a number"};
    }
    if (option_number(json, "critical", &limits->critical) == OPTION_WRONG) {
        return (struct problem){"/critical", "is not a number"};
    }
    if (limits->warn > limits->critical) {
        return (struct problem){"/warn", "is above critical, so it would never be reached"};
    }
    return (struct problem){NULL, NULL};
}

// Called when a spec is applied and before each run: true means that the
// configuration can be worked with. What is handed back is freed by the bindings.
bool exports_hostler_plugin_lifecycle_configure(check_string_t *config_json,
                                                exports_hostler_plugin_lifecycle_list_config_error_t *err) {
    struct limits limits;
    struct problem problem = read_limits(config_json, &limits);
    check_string_free(config_json);
    if (problem.pointer == NULL) {
        return true;
    }
    err->ptr = calloc(1, sizeof *err->ptr);
    err->len = 1;
    check_string_dup(&err->ptr[0].pointer, problem.pointer);
    check_string_dup(&err->ptr[0].message, problem.message);
    return false;
}

// What the host says, as a person reads it: `denied: grants.system`.
static void host_error(const hostler_host_types_error_t *error, check_string_t *text) {
    const char *word = "other";
    int word_length = -1;
    check_string_t said = {NULL, 0};
    switch (error->tag) {
    case HOSTLER_HOST_TYPES_ERROR_DENIED:
        word = "denied";
        said = error->val.denied;
        break;
    case HOSTLER_HOST_TYPES_ERROR_INVALID:
        word = "invalid";
        said = error->val.invalid;
        break;
    case HOSTLER_HOST_TYPES_ERROR_TIMEOUT:
        word = "timeout";
        break;
    case HOSTLER_HOST_TYPES_ERROR_UNREACHABLE:
        word = "unreachable";
        said = error->val.unreachable;
        break;
    case HOSTLER_HOST_TYPES_ERROR_LIMIT:
        word = "limit";
        said = error->val.limit;
        break;
    case HOSTLER_HOST_TYPES_ERROR_OTHER:
        word = (const char *)error->val.other.key.ptr;
        word_length = (int)error->val.other.key.len;
        said = error->val.other.value;
        break;
    }
    char line[256];
    snprintf(line, sizeof line, "%.*s%s%.*s", word_length, word, said.len > 0 ? ": " : "", (int)said.len,
             (const char *)said.ptr);
    check_string_dup(text, line);
}

// One run. true with a report; false means that the check itself broke, which
// is shown as unknown.
bool exports_hostler_plugin_check_api_run(exports_hostler_plugin_check_api_report_t *ret, check_string_t *err) {
    check_string_t json;
    hostler_host_config_json(&json);
    struct limits limits;
    struct problem problem = read_limits(&json, &limits);
    check_string_free(&json);
    if (problem.pointer != NULL) {
        char line[256];
        snprintf(line, sizeof line, "%s %s", problem.pointer, problem.message);
        check_string_dup(err, line);
        return false;
    }

    hostler_host_system_memory_t memory;
    hostler_host_types_error_t error;
    if (!hostler_host_system_get_memory(&memory, &error)) {
        host_error(&error, err);
        hostler_host_types_error_free(&error);
        return false;
    }
    if (memory.total == 0) {
        check_string_dup(err, "this host does not say how much memory it has");
        return false;
    }

    uint64_t used = (memory.used * 100 + memory.total / 2) / memory.total;
    ret->status = used >= limits.critical ? HOSTLER_HOST_TYPES_STATUS_CRITICAL
                  : used >= limits.warn   ? HOSTLER_HOST_TYPES_STATUS_WARNING
                                          : HOSTLER_HOST_TYPES_STATUS_OK;
    char line[64];
    snprintf(line, sizeof line, "%" PRIu64 " %% of memory used", used);
    check_string_dup(&ret->summary, line);
    check_string_dup(&ret->details, "");
    ret->attrs.ptr = calloc(1, sizeof *ret->attrs.ptr);
    ret->attrs.len = 1;
    check_string_dup(&ret->attrs.ptr[0].key, "used_percent");
    snprintf(line, sizeof line, "%" PRIu64, used);
    check_string_dup(&ret->attrs.ptr[0].value, line);
    return true;
}
