/* SPDX-License-Identifier: BSD-2-Clause */
/* A complete server: answers each line in capitals. upper_server [ADDRESS] */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>

#include <prefork.h>

static int upper(struct prefork_job *job, void *context)
{
    size_t length, capacity;
    const unsigned char *in = prefork_job_request(job, &length);   /* where it lies in shared memory */
    unsigned char *out = prefork_job_reply_buffer(job, &capacity); /* as large as a request, by default */

    (void)context;
    for (size_t i = 0; i < length; i++)
        out[i] = (unsigned char)toupper(in[i]);
    return prefork_job_reply(job, length);
}

int main(int argc, char **argv)
{
    const char *address = argc > 1 ? argv[1] : "tcp:127.0.0.1:7007";
    struct prefork_pool *pool;
    int rc = prefork_pool_create(&pool);

    if (rc == 0)
        rc = prefork_pool_handle(pool, "upper", upper, NULL);
    if (rc == 0)
        rc = prefork_pool_listen(pool, address, prefork_protocol_lines("upper"));
    if (rc == 0)
        rc = prefork_pool_run(pool);
    if (rc != 0)
        fprintf(stderr, "%s\n", prefork_last_error());
    prefork_pool_destroy(&pool);
    return rc == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
