/* SPDX-License-Identifier: BSD-2-Clause */
/* PROXY headers of both versions: what the first bytes say must hold when more
 * of them have come. */
#include "target.h"

#include <stdbool.h>
#include <string.h>

#include "io/proxy_header.h"

static int64_t read_part(const uint8_t *data, size_t length, struct pfk_proxy_header *header)
{
    uint8_t *const part = malloc(length > 0 ? length : 1);
    int64_t size;

    memcpy(part, data, length);
    size = pfk_proxy_header_read(part, length, header);
    free(part);
    return size;
}

static void check_peer(const struct pfk_proxy_header *header)
{
    char text[PFK_ADDRESS_TEXT_BYTES];

    if (!header->announced)
        return;
    FUZZ_CHECK(header->peer.length <= sizeof(header->peer.socket));
    pfk_address_format(&header->peer, text);
    FUZZ_CHECK(strlen(text) < sizeof(text));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct pfk_proxy_header header, part_header;
    const int64_t whole = pfk_proxy_header_read(data, size, &header);
    /* each part of a long header would take too long */
    const size_t step = size > 1024 ? size / 64 : 1;

    FUZZ_CHECK(whole <= (int64_t)size);
    FUZZ_CHECK(whole <= PFK_PROXY_HEADER_BYTES_MAX);
    if (whole > 0)
        check_peer(&header);
    for (size_t length = 0; length <= size; length += step) {
        const int64_t part = read_part(data, length, &part_header);

        if (whole > 0)
            FUZZ_CHECK(part == (length >= (size_t)whole ? whole : 0));
        else
            FUZZ_CHECK(part == 0 || part == whole);
    }
    return 0;
}
