/* A double of NVIDIA's management library (NVML) whose energy is known exactly. testing/nvml.py builds it as
   libnvidia-ml.so.1 and describes the knobs; whatever loads the library through LD_LIBRARY_PATH sees its GPUs.

   Every GPU draws 100 W, and 300 W more in the first 0.2 s of each second of CLOCK_MONOTONIC, so that all processes
   and the test itself agree on the truth without talking to each other. Like the real library it must be initialised
   in the very process that asks, and knows no board before. Knobs are read at each call, so a program can turn them
   while it runs. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

typedef int Answer;
typedef void *Board;
enum { OK = 0, UNINITIALISED = 1, INVALID = 2, NOT_SUPPORTED = 3, NO_PERMISSION = 4, NOT_FOUND = 6, TOO_SMALL = 7, NOT_LOADED = 9, LOST = 15 };
enum { UNSIGNED_INT = 1, UNSIGNED_LONG_LONG = 3 };

#define MAX_GPUS 64
#define MAX_PROCESSES 64
#define HELD (2ULL << 30)
#define MEMORY (80ULL << 30)

typedef struct { unsigned pid; unsigned long long used; unsigned gpu_instance, compute_instance; } Process;
typedef struct { unsigned pid; unsigned long long time_us; unsigned sm, memory, encoder, decoder; } ProcessShare;
typedef struct {
    unsigned field, scope;
    long long time_us, latency_us;
    unsigned type;
    Answer answer;
    union { double d; unsigned ui; unsigned long ul; unsigned long long ull; long long sll; } value;
} FieldValue;
_Static_assert(sizeof(Process) == 24, "nvmlProcessInfo_t of version 3");
_Static_assert(sizeof(ProcessShare) == 32, "nvmlProcessUtilizationSample_t");
_Static_assert(sizeof(FieldValue) == 40, "nvmlFieldValue_t");

static int users;
static pid_t owner;
static double loaded_s;

static double now_s(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}
__attribute__((constructor)) static void loaded(void) { loaded_s = now_s(); }

static const char *knob(const char *name) {
    char full[64];
    snprintf(full, sizeof full, "JOULEWISE_FAKE_NVML_%s", name);
    const char *value = getenv(full);
    return value && *value ? value : NULL;
}
static double number(const char *name, double otherwise) {
    const char *value = knob(name);
    return value ? atof(value) : otherwise;
}
static int on(const char *name) { return number(name, 0) != 0; }

static double joules(double t) { /* since the zero of CLOCK_MONOTONIC */
    double whole = floor(t), part = t - whole;
    return 100 * t + 300 * (0.2 * whole + (part < 0.2 ? part : 0.2));
}
static double watts(double t) { /* of the moment; +-0.5 W of noise, so that no two readings are equal */
    return (t - floor(t) < 0.2 ? 400 : 100) + fmod(t * 7919.0, 1.0) - 0.5;
}
static double busy_s(double t) { /* its multiprocessors work while it draws more, all of them */
    double whole = floor(t), part = t - whole;
    return 0.2 * whole + (part < 0.2 ? part : 0.2);
}
static double mean_watts(double t) { return joules(t) - joules(t - 1); }
static double refreshed_s(void) { /* the moment whose values are shown */
    double t = now_s(), step = number("REFRESH_S", 0);
    return step > 0 ? floor(t / step) * step : t;
}
static unsigned gpus(void) {
    double n = number("GPUS", 1);
    return n < 0 ? 0 : n > MAX_GPUS ? MAX_GPUS : (unsigned)n;
}
static unsigned architecture(void) { return (unsigned)number("ARCHITECTURE", 9); }
static unsigned number_of(Board board) { return (unsigned)(size_t)board - 1; }

static Answer ready(void) {
    if (number("DRIVER_FAULT", 0)) return (Answer)number("DRIVER_FAULT", 0);
    return users > 0 && owner == getpid() ? OK : UNINITIALISED;
}
static Answer reach(Board board) {
    Answer answer = ready();
    if (answer) return answer;
    if (!board || number_of(board) >= gpus()) return INVALID;
    double since = now_s() - loaded_s, from = number("LOSE_AFTER_S", -1);
    if (from >= 0 && since >= from && since < from + number("LOSE_FOR_S", 1e18))
        if (!knob("LOSE_GPU") || number("LOSE_GPU", 0) == number_of(board)) return (Answer)number("FAULT", LOST);
    return OK;
}
#define REACH(board) do { Answer answer_ = reach(board); if (answer_) return answer_; } while (0)
#define READY() do { Answer answer_ = ready(); if (answer_) return answer_; } while (0)

Answer nvmlInitWithFlags(unsigned flags) {
    (void)flags;
    if (number("DRIVER_FAULT", 0)) return (Answer)number("DRIVER_FAULT", 0);
    if (owner != getpid()) users = 0;
    owner = getpid();
    users++;
    return OK;
}
Answer nvmlInit_v2(void) { return nvmlInitWithFlags(0); }
Answer nvmlInit(void) { return nvmlInitWithFlags(0); }
Answer nvmlShutdown(void) {
    READY();
    users--;
    return OK;
}
const char *nvmlErrorString(Answer answer) {
    switch (answer) {
    case OK: return "Success";
    case UNINITIALISED: return "Uninitialized";
    case INVALID: return "Invalid Argument";
    case NOT_SUPPORTED: return "Not Supported";
    case NOT_LOADED: return "Driver Not Loaded";
    case LOST: return "GPU is lost";
    default: return "Unknown Error";
    }
}
static Answer text(char *out, unsigned size, const char *value) {
    if (strlen(value) >= size) return TOO_SMALL;
    strcpy(out, value);
    return OK;
}
Answer nvmlSystemGetDriverVersion(char *out, unsigned size) { READY(); return text(out, size, "580.00"); }
Answer nvmlSystemGetNVMLVersion(char *out, unsigned size) { READY(); return text(out, size, "13.580.00"); }
Answer nvmlSystemGetCudaDriverVersion(int *out) { READY(); *out = 13000; return OK; }
Answer nvmlSystemGetCudaDriverVersion_v2(int *out) { return nvmlSystemGetCudaDriverVersion(out); }

Answer nvmlDeviceGetCount_v2(unsigned *out) { READY(); *out = gpus(); return OK; }
Answer nvmlDeviceGetCount(unsigned *out) { return nvmlDeviceGetCount_v2(out); }
Answer nvmlDeviceGetHandleByIndex_v2(unsigned index, Board *out) {
    READY();
    if (index >= gpus()) return INVALID;
    *out = (Board)(size_t)(index + 1);
    return reach(*out);
}
Answer nvmlDeviceGetHandleByIndex(unsigned index, Board *out) { return nvmlDeviceGetHandleByIndex_v2(index, out); }
static void uuid(unsigned index, char out[64]) { snprintf(out, 64, "GPU-6a6f756c-6577-6973-6500-%012u", index); }
Answer nvmlDeviceGetHandleByUUID(const char *wanted, Board *out) {
    READY();
    for (unsigned i = 0; i < gpus(); i++) {
        char own[64];
        uuid(i, own);
        if (!strcmp(own, wanted)) { *out = (Board)(size_t)(i + 1); return reach(*out); }
    }
    return NOT_FOUND;
}
Answer nvmlDeviceGetUUID(Board board, char *out, unsigned size) {
    REACH(board);
    char own[64];
    uuid(number_of(board), own);
    return text(out, size, own);
}
Answer nvmlDeviceGetIndex(Board board, unsigned *out) { REACH(board); *out = number_of(board); return OK; }
Answer nvmlDeviceGetMinorNumber(Board board, unsigned *out) { return nvmlDeviceGetIndex(board, out); }
Answer nvmlDeviceGetName(Board board, char *out, unsigned size) {
    REACH(board);
    return text(out, size, knob("NAME") ? knob("NAME") : "NVIDIA Double H100");
}
Answer nvmlDeviceGetSerial(Board board, char *out, unsigned size) { REACH(board); return text(out, size, "1"); }
Answer nvmlDeviceGetBrand(Board board, int *out) { REACH(board); *out = 2; return OK; }
Answer nvmlDeviceGetArchitecture(Board board, unsigned *out) { REACH(board); *out = architecture(); return OK; }
Answer nvmlDeviceGetVirtualizationMode(Board board, unsigned *out) { REACH(board); *out = on("VIRTUAL") ? 2 : 0; return OK; }
Answer nvmlDeviceGetMultiGpuBoard(Board board, unsigned *out) { REACH(board); *out = (unsigned)on("SHARED_BOARD"); return OK; }
Answer nvmlDeviceGetMigMode(Board board, unsigned *current, unsigned *pending) {
    REACH(board);
    if (architecture() < 7) return NOT_SUPPORTED;
    *current = *pending = (unsigned)on("MIG");
    return OK;
}
Answer nvmlDeviceGetMaxMigDeviceCount(Board board, unsigned *out) { REACH(board); *out = on("MIG") ? 7 : 0; return OK; }
Answer nvmlDeviceGetPciInfo_v3(Board board, void *out) { REACH(board); memset(out, 0, 68); return OK; }

Answer nvmlDeviceGetTotalEnergyConsumption(Board board, unsigned long long *out) {
    REACH(board);
    if (on("NO_COUNTER")) return NOT_SUPPORTED;
    double t = refreshed_s(), reset_s = number("RESET_AT_S", -1);
    double used = reset_s >= 0 && t >= reset_s ? joules(t) - joules(reset_s) : joules(t) + 1e4 * number_of(board);
    *out = (unsigned long long)(1000 * used);
    return OK;
}
Answer nvmlDeviceGetPowerUsage(Board board, unsigned *out) {
    REACH(board);
    if (on("NO_POWER")) return NOT_SUPPORTED;
    int mean = architecture() >= 7 && !(knob("NAME") && strstr(knob("NAME"), "A100"));
    double t = refreshed_s();
    *out = (unsigned)(1000 * (mean ? mean_watts(t) : watts(t)));
    return OK;
}
Answer nvmlDeviceGetFieldValues(Board board, int count, FieldValue *fields) {
    REACH(board);
    if (on("NO_FIELDS")) return NOT_SUPPORTED;
    double t = refreshed_s();
    for (int i = 0; i < count; i++) {
        FieldValue *f = fields + i;
        f->time_us = (long long)(t * 1e6);
        f->latency_us = 1;
        f->type = UNSIGNED_INT;
        f->answer = OK;
        if (f->field == 185 && architecture() >= 7 && !on("NO_POWER")) f->value.ui = (unsigned)(1000 * mean_watts(t));
        else if (f->field == 186 && !on("NO_POWER")) f->value.ui = (unsigned)(1000 * watts(t));
        else if (f->field == 83 && !on("NO_COUNTER")) {
            f->type = UNSIGNED_LONG_LONG;
            f->answer = nvmlDeviceGetTotalEnergyConsumption(board, &f->value.ull);
        } else f->answer = NOT_SUPPORTED;
    }
    return OK;
}

Answer nvmlDeviceGetUtilizationRates(Board board, unsigned out[2]) {
    REACH(board);
    if (on("MIG")) return NOT_SUPPORTED;
    out[0] = (unsigned)(100 * number("UTILISATION", 0.7) + 0.5);
    out[1] = out[0] / 2;
    return OK;
}
static unsigned processes(unsigned *pids) {
    const char *list = knob("PROCESS");
    unsigned n = 0;
    while (list && *list && n < MAX_PROCESSES) {
        char *end;
        unsigned long pid = strtoul(list, &end, 10);
        if (end == list) break;
        pids[n++] = (unsigned)pid;
        list = *end ? end + 1 : end;
    }
    return n;
}
Answer nvmlDeviceGetMemoryInfo(Board board, unsigned long long out[3]) {
    REACH(board);
    unsigned pids[MAX_PROCESSES];
    out[0] = MEMORY;
    out[2] = HELD * processes(pids);
    out[1] = out[0] - out[2];
    return OK;
}
Answer nvmlDeviceGetMemoryInfo_v2(Board board, unsigned long long out[5]) {
    unsigned long long plain[3];
    Answer answer = nvmlDeviceGetMemoryInfo(board, plain);
    if (answer) return answer;
    out[1] = plain[0];
    out[2] = 0;
    out[3] = plain[1];
    out[4] = plain[2];
    return OK;
}
Answer nvmlDeviceGetComputeRunningProcesses_v3(Board board, unsigned *count, Process *out) {
    REACH(board);
    unsigned pids[MAX_PROCESSES], n = processes(pids), room = *count;
    *count = n;
    if (room < n) return TOO_SMALL;
    for (unsigned i = 0; i < n; i++) out[i] = (Process){pids[i], HELD, ~0u, ~0u};
    return OK;
}
Answer nvmlDeviceGetGraphicsRunningProcesses_v3(Board board, unsigned *count, Process *out) {
    REACH(board);
    (void)out;
    *count = 0;
    return OK;
}
Answer nvmlDeviceGetProcessUtilization(Board board, ProcessShare *out, unsigned *count, unsigned long long since_us) {
    REACH(board);
    unsigned pids[MAX_PROCESSES], n = processes(pids), room = *count;
    unsigned long long time_us = (unsigned long long)(now_s() * 1e6);
    if (!n || time_us <= since_us) return NOT_FOUND;
    *count = n;
    if (!out || room < n) return TOO_SMALL;
    for (unsigned i = 0; i < n; i++) /* the first is twice as busy as each of the others */
        out[i] = (ProcessShare){pids[i], time_us, i ? 20 : 40, 10, 0, 0};
    return OK;
}

/* GPU performance monitoring: Hopper and later, not under MIG, with a driver that knows it */
typedef struct { double t; } Sample;
typedef struct { unsigned metric; Answer answer; double value; const char *names[3]; } Metric;
typedef struct { unsigned version, count; Sample *before, *after; Metric metrics[]; } Metrics;
_Static_assert(sizeof(Metric) == 40 && sizeof(Metrics) == 24, "nvmlGpmMetric_t and the head of nvmlGpmMetricsGet_t");
static int gpm(void) { return architecture() >= 9 && !on("NO_GPM"); }
Answer nvmlGpmQueryDeviceSupport(Board board, unsigned out[2]) { REACH(board); out[1] = (unsigned)gpm(); return OK; }
Answer nvmlGpmSampleAlloc(Sample **out) { READY(); *out = calloc(1, sizeof **out); return OK; }
Answer nvmlGpmSampleFree(Sample *sample) { READY(); free(sample); return OK; }
Answer nvmlGpmSampleGet(Board board, Sample *sample) {
    REACH(board);
    if (on("NO_GPM_PERMISSION")) return NO_PERMISSION;
    if (!gpm() || on("MIG")) return NOT_SUPPORTED;
    if (!sample) return INVALID;
    sample->t = now_s();
    return OK;
}
Answer nvmlGpmMetricsGet(Metrics *out) {
    READY();
    if (out->version != 1 || !out->before || !out->after || out->after->t <= out->before->t) return INVALID;
    double from = out->before->t, to = out->after->t;
    for (unsigned i = 0; i < out->count; i++) {
        int known = out->metrics[i].metric == 2; /* SM activity, in percent */
        out->metrics[i].answer = known ? OK : NOT_SUPPORTED;
        out->metrics[i].value = known ? 100 * (busy_s(to) - busy_s(from)) / (to - from) : 0;
    }
    return OK;
}

Answer nvmlDeviceGetTemperature(Board board, int sensor, unsigned *out) { (void)sensor; REACH(board); *out = 50; return OK; }
Answer nvmlDeviceGetClockInfo(Board board, int kind, unsigned *out) { (void)kind; REACH(board); *out = 1500; return OK; }
Answer nvmlDeviceGetComputeMode(Board board, int *out) { REACH(board); *out = 0; return OK; }
Answer nvmlDeviceGetPersistenceMode(Board board, int *out) { REACH(board); *out = 1; return OK; }
Answer nvmlDeviceGetEnforcedPowerLimit(Board board, unsigned *out) { REACH(board); *out = 700000; return OK; }
Answer nvmlDeviceGetPowerManagementLimit(Board board, unsigned *out) { return nvmlDeviceGetEnforcedPowerLimit(board, out); }
Answer nvmlDeviceGetPowerManagementDefaultLimit(Board board, unsigned *out) { return nvmlDeviceGetEnforcedPowerLimit(board, out); }
Answer nvmlDeviceGetPowerManagementLimitConstraints(Board board, unsigned *low, unsigned *high) {
    REACH(board);
    *low = 200000;
    *high = 700000;
    return OK;
}
