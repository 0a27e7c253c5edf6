#!/bin/sh
# Makes configure and Makefile.in out of their sources.
set -e
cd "$(dirname "$0")"
exec autoreconf --install --warnings=all,no-obsolete
