/* SPDX-License-Identifier: BSD-2-Clause */
/* Addresses and sets of trusted ones: what was read is written so that it is
 * read alike. Input: one byte that chooses, then the text. */
#include "target.h"

#include <string.h>

#include "io/address.h"
#include "io/trust.h"

static void check_address(const char *text)
{
    struct pfk_address address, again;
    char written[PFK_ADDRESS_TEXT_BYTES], twice[PFK_ADDRESS_TEXT_BYTES];

    if (pfk_address_parse(text, &address) != 0)
        return;
    FUZZ_CHECK(address.length <= sizeof(address.socket));
    pfk_address_format(&address, written);
    FUZZ_CHECK(pfk_address_parse(written, &again) == 0);
    FUZZ_CHECK(memcmp(&address, &again, sizeof(address)) == 0);
    pfk_address_format(&again, twice);
    FUZZ_CHECK(strcmp(written, twice) == 0);
    pfk_address_unmap(&address);
    pfk_address_format(&address, written);
}

static void check_trust(const char *text)
{
    static const char *const asked[] = {"tcp:127.0.0.1:1", "tcp:[2001:db8::1]:1", "tcp:[::ffff:10.0.0.1]:1", "unix:x"};
    struct pfk_address address;
    struct pfk_trust *trust;

    if (pfk_trust_open(text, &trust) != 0)
        return;
    for (size_t i = 0; i < sizeof(asked) / sizeof(asked[0]); i++) {
        FUZZ_CHECK(pfk_address_parse(asked[i], &address) == 0);
        (void)pfk_trust_has(trust, &address);
    }
    pfk_trust_close(&trust);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text;

    if (size == 0)
        return 0;
    text = malloc(size);
    memcpy(text, data + 1, size - 1);
    text[size - 1] = '\0';
    if (data[0] % 2 == 0)
        check_address(text);
    else
        check_trust(text);
    free(text);
    return 0;
}
