/* SPDX-License-Identifier: BSD-2-Clause */
/* Who lives on: survivors, which slept before the death, and a second victim
 * that goes on after it. */
#ifndef STEP_LIVING_H
#define STEP_LIVING_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* -- survivors; each call returns when it sleeps */
void living_start_worker(void);
void living_start_submitter(uint32_t number, int status); /* waits for its job, which ends so */
void living_start_loop(uint32_t number);                  /* polls for its job */
void living_start_reserver(void);                         /* waits for room */
void living_start_room_loop(void);                        /* polls for room */

/* A victim that lives, and runs freely, from here on. */
void living_add_victim(uint32_t victim, pid_t pid);

/* Once all are at rest: nobody sleeps beside what it waits for. For the time
 * when another victim stands still: what that one is at does not count. */
void living_check_sleepers(uint32_t still);

/* In a walk, while the victim sleeps: once all the others are at rest, does something that
 * lets it go on. False: there is nothing left to do. */
bool living_help(void);

/* Waits until all who end by themselves have ended and no job is left. Nothing
 * that wakes anybody is done before those who should be awake by now have
 * gone on. */
void living_settle(void);

/* Sends workers home by a job that says so; kills all if something failed. */
void living_dismiss(void);

/* Forgets all; they are reaped. */
void living_clear(void);

#endif
