/* Clocks of processes, and percentiles of many short times. */

#ifndef MEASURING_H
#define MEASURING_H

#include <stddef.h>
#include <time.h>

typedef struct {
    float *values; /* seconds, in the order they came until a percentile is asked for */
    size_t count, capacity;
} Samples;

typedef struct {
    double ran, waited;
} Scheduled;

/* The seconds that a clock tells. */
double seconds(clockid_t clock);

/* Seconds since some moment, as CLOCK_MONOTONIC has it. */
double now(void);

void samples_add(Samples *samples, double value);

/* Sort samples, so that percentiles can be asked for. */
void samples_sort(Samples *samples);

/* The smallest value that at least ``share`` of the samples do not exceed, in microseconds. */
double percentile_us(const Samples *samples, double share);

/* The CPU time of all threads of a process and of its living children, to the nanosecond. */
double cpu_seconds(int pid);

/* How long a process's main thread ran, and how long it could have, had its CPU been free. */
Scheduled scheduled(int pid);

#endif
