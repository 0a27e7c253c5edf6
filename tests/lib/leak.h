/* SPDX-License-Identifier: BSD-2-Clause */
/* What only the process itself can see of its own leaks. Segments, processes
 * and files left behind are found from outside, by build-aux/run-test. */
#ifndef PFK_TESTS_LIB_LEAK_H
#define PFK_TESTS_LIB_LEAK_H

/* Counts the descriptors that this process holds now; the call itself leaves
 * none. Compare before and after. */
int pfk_test_fds_open(void);

#endif
