/* SPDX-License-Identifier: BSD-2-Clause */
/* What installcheck compiles while there is no examples/upper_server.c. */
#include <prefork.h>

#include <stdio.h>

int main(void)
{
    printf("libprefork %s\n", prefork_version());
    return 0;
}
