#define _GNU_SOURCE
#include "measuring.h"

#include <stdio.h>
#include <stdlib.h>

#include "websocket_client.h"

double seconds(clockid_t clock) {
    struct timespec time;
    clock_gettime(clock, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

double now(void) { return seconds(CLOCK_MONOTONIC); }

void samples_add(Samples *samples, double value) {
    if (samples->count == samples->capacity) {
        samples->capacity = samples->capacity ? 2 * samples->capacity : 1 << 16;
        samples->values = realloc(samples->values, samples->capacity * sizeof *samples->values);
        if (!samples->values)
            die("no memory");
    }
    samples->values[samples->count++] = (float)value;
}

static int compare(const void *left, const void *right) {
    float a = *(const float *)left, b = *(const float *)right;
    return (a > b) - (a < b);
}

void samples_sort(Samples *samples) {
    if (samples->count)
        qsort(samples->values, samples->count, sizeof *samples->values, compare);
}

double percentile_us(const Samples *samples, double share) {
    size_t rank = (size_t)(share * (double)samples->count + 0.999999);
    return samples->count ? 1e6 * (double)samples->values[rank ? rank - 1 : 0] : 0;
}

double cpu_seconds(int pid) {
    clockid_t clock;
    if (clock_getcpuclockid(pid, &clock))
        die("no process %d", pid);
    double sum = seconds(clock);
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/task/%d/children", pid, pid);
    FILE *file = fopen(path, "r");
    for (int child; file && fscanf(file, "%d", &child) == 1;)
        sum += cpu_seconds(child);
    if (file)
        fclose(file);
    return sum;
}

Scheduled scheduled(int pid) {
    char path[64];
    unsigned long long ran = 0, waited = 0;
    snprintf(path, sizeof path, "/proc/%d/schedstat", pid);
    FILE *file = fopen(path, "r");
    if (file && fscanf(file, "%llu %llu", &ran, &waited) != 2)
        ran = waited = 0;
    if (file)
        fclose(file);
    return (Scheduled){(double)ran / 1e9, (double)waited / 1e9};
}
