/* SPDX-License-Identifier: BSD-2-Clause */
/* What a worker tells its master, one byte each, on a pipe of its own. The
 * master reads it as gossip: in bounded pieces, and an unknown byte is nothing. */
#ifndef PFK_WORKER_REPORT_H
#define PFK_WORKER_REPORT_H

enum pfk_report {
    PFK_REPORT_READY = 'R',   /* accepts connections and claims jobs */
    PFK_REPORT_DRAINED = 'D', /* has no connection left and accepts none */
};

#endif
