/* SPDX-License-Identifier: BSD-2-Clause */
/* After a death repair signals no eventfd. */
#include "base/fd.h"
#include "../mutant.h"

const struct mutant mutant = {.name = "repair wakes no loop", .scene = "completes; the submitter's loop polls"};

#define pfk_fd_event_signal(fd) (fd)
#include "../../../framework/job/repair.c"
