/* SPDX-License-Identifier: BSD-2-Clause */
#include "handoff_series.h"

#include <string.h>

#include "load_clock.h"

void series_start(struct series *series_out, const struct transport *transport, const struct shape *shape)
{
    memset(series_out, 0, sizeof(*series_out));
    series_out->transport = transport;
    series_out->shape = *shape;
    series_out->refusal = transport->refuses(shape);
    if (series_out->refusal == NULL && transport->max_window != NULL && shape->window > 0) {
        const uint32_t room = transport->max_window(shape);

        if (room < shape->window)
            series_out->shape.window = room;
    }
}

static void histogram_add(struct histogram *sum, const struct histogram *part)
{
    sum->total += part->total;
    if (part->max > sum->max)
        sum->max = part->max;
    for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++)
        sum->buckets[i] += part->buckets[i];
}

static void series_set(struct series *series, enum series_figure figure, double value)
{
    series->figures[figure][series->rounds] = value;
}

void series_add(struct series *series, const struct round_result *result)
{
    const double jobs = (double)result->jobs;

    series_set(series, SERIES_CPU_NS, (double)result->cpu_ns / jobs);
    series_set(series, SERIES_RATE, jobs * (double)NS_PER_S / (double)result->wall_ns);
    series_set(series, SERIES_FUTEX,
               result->futex_calls == ROUND_UNCOUNTED ? -1 : 1000 * (double)result->futex_calls / jobs);
    series_set(series, SERIES_SWITCHES, 1000 * (double)result->switches / jobs);
    series_set(series, SERIES_TAKEN_P50_NS, (double)histogram_percentile(&result->taken_ns, 50));
    series_set(series, SERIES_ANSWERED_P50_NS, (double)histogram_percentile(&result->answered_ns, 50));
    histogram_add(&series->taken_ns, &result->taken_ns);
    histogram_add(&series->answered_ns, &result->answered_ns);
    series->rounds++;
}

struct spread series_spread(const struct series *series, enum series_figure figure)
{
    double values[HANDOFF_MAX_ROUNDS];

    memcpy(values, series->figures[figure], sizeof(values));
    return spread_of(values, series->rounds);
}

struct spread series_ratio(const struct series *series, const struct series *base, enum series_figure figure)
{
    double values[HANDOFF_MAX_ROUNDS] = {0};

    for (uint32_t i = 0; i < series->rounds; i++)
        values[i] = series->figures[figure][i] / base->figures[figure][i];
    return spread_of(values, series->rounds);
}
