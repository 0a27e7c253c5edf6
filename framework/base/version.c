/* SPDX-License-Identifier: BSD-2-Clause */
#include "prefork/version.h"

#include "base/compiler.h"

PFK_EXPORT const char *prefork_version(void)
{
    return PREFORK_VERSION_STRING;
}
