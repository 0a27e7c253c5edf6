# SPDX-License-Identifier: BSD-2-Clause
# What configure.ac asks, one macro for each question. None of them runs a
# program that it built, so all of them hold when cross-compiling.

# PFK_MISSING(WHAT, DEBIAN-PACKAGE)
AC_DEFUN([PFK_MISSING], [AC_MSG_ERROR([$1 is missing.
  On Debian and Ubuntu: apt-get install $2
  If it lies elsewhere: ./configure CPPFLAGS=-I<include folder> LDFLAGS=-L<lib folder>])])

# PFK_CHECK_LINUX: pidfd, eventfd and signalfd have no portable twin.
AC_DEFUN([PFK_CHECK_LINUX], [
AC_CACHE_CHECK([for Linux], [pfk_cv_linux],
    [AC_COMPILE_IFELSE([AC_LANG_SOURCE([[
#ifndef __linux__
#error this is not Linux
#endif
int linux_it_is;
]])], [pfk_cv_linux=yes], [pfk_cv_linux=no])])
AS_IF([test "x$pfk_cv_linux" = xno],
    [AC_MSG_ERROR([libprefork needs Linux: pidfd, eventfd and signalfd have no counterpart elsewhere])])
])

# PFK_CHECK_ATOMICS: only an atomic that is lock-free works between processes.
AC_DEFUN([PFK_CHECK_ATOMICS], [
AC_CACHE_CHECK([whether 64-bit atomics are lock-free], [pfk_cv_atomics],
    [AC_COMPILE_IFELSE([AC_LANG_SOURCE([[
#include <stdatomic.h>
#include <stdint.h>
#if ATOMIC_INT_LOCK_FREE != 2 || ATOMIC_LLONG_LOCK_FREE != 2
#error a lock stands in for the atomic
#endif
_Static_assert(sizeof(_Atomic uint64_t) == 8, "no room for a lock in it");
int lock_free_they_are;
]])], [pfk_cv_atomics=yes], [pfk_cv_atomics=no])])
AS_IF([test "x$pfk_cv_atomics" = xno], [AC_MSG_ERROR([64-bit atomics are not always lock-free here.
  libprefork keeps its job table in memory that processes share, and a lock that stands in for
  an atomic is private to each process, so the table would break without a sign.
  On 32-bit x86 build for a processor with cmpxchg8b (CFLAGS="-O2 -march=i586" or newer);
  otherwise build for a 64-bit platform, with a compiler that has C11 <stdatomic.h>.])])
])

# PFK_CHECK_HTTP: the condition HAVE_HTTP, HTTP_LIBS, and what to tell of it.
# The package has no pkg-config file.
AC_DEFUN([PFK_CHECK_HTTP], [
AC_ARG_ENABLE([http], [AS_HELP_STRING([--disable-http], [leave out libprefork-http and its examples])],
    [], [enable_http=auto])
AC_SUBST([HTTP_LIBS])
AS_IF([test "x$enable_http" != xno], [
    AC_CHECK_HEADER([http_parser.h],
        [AC_CHECK_LIB([http_parser], [http_parser_execute], [HTTP_LIBS=-lhttp_parser], [])], [])])
AS_IF([test "x$HTTP_LIBS" != x], [http=yes],
    [test "x$enable_http" = xno], [http='no, as asked for'],
    [test "x$enable_http" = xyes], [PFK_MISSING([http-parser], [libhttp-parser-dev])],
    [http='no: neither libprefork-http nor its examples are built; install the package libhttp-parser-dev'])
AM_CONDITIONAL([HAVE_HTTP], [test "x$HTTP_LIBS" != x])
])

# PFK_APPEND_IF_ACCEPTED(VARIABLE, FLAG, compile|link)
AC_DEFUN([PFK_APPEND_IF_ACCEPTED], [
AC_MSG_CHECKING([whether $CC takes $2])
pfk_saved_CFLAGS=$CFLAGS
pfk_saved_LDFLAGS=$LDFLAGS
m4_if([$3], [link], [LDFLAGS="$LDFLAGS $2"], [CFLAGS="$CFLAGS -Werror $2"])
AC_LINK_IFELSE([AC_LANG_PROGRAM([[#include <string.h>]], [[return (int)strlen("")]])],
    [$1="$$1 $2"; AC_MSG_RESULT([yes])], [AC_MSG_RESULT([no])])
CFLAGS=$pfk_saved_CFLAGS
LDFLAGS=$pfk_saved_LDFLAGS
])

# PFK_ARG_SANITIZER: sets SANITIZER_FLAGS for the compiler and the linker.
AC_DEFUN([PFK_ARG_SANITIZER], [
AC_ARG_ENABLE([sanitizer],
    [AS_HELP_STRING([--enable-sanitizer=LIST], [build with address,undefined or thread or none @<:@none@:>@])],
    [], [enable_sanitizer=none])
SANITIZER_FLAGS=
AS_CASE([$enable_sanitizer],
    [no|none], [enable_sanitizer=none],
    [yes], [AC_MSG_ERROR([--enable-sanitizer wants a list: address,undefined or thread])],
    [SANITIZER_FLAGS="-fsanitize=$enable_sanitizer -fno-sanitize-recover=all -fno-omit-frame-pointer"
     AC_MSG_CHECKING([whether $CC builds with $SANITIZER_FLAGS])
     pfk_saved_CFLAGS=$CFLAGS
     CFLAGS="$CFLAGS $SANITIZER_FLAGS"
     AC_LINK_IFELSE([AC_LANG_PROGRAM], [AC_MSG_RESULT([yes])], [AC_MSG_RESULT([no])
        AC_MSG_ERROR([$CC does not build with -fsanitize=$enable_sanitizer; see config.log.
  Thread goes with neither address nor leak. For clang on Debian: apt-get install libclang-rt-14-dev])])
     CFLAGS=$pfk_saved_CFLAGS])
AC_SUBST([SANITIZER_FLAGS])
AM_CONDITIONAL([SANITIZED], [test "x$enable_sanitizer" != xnone])
AM_CONDITIONAL([THREAD_SANITIZED], [test "x$enable_sanitizer" = xthread])
])

# PFK_ARG_WERROR: sets WERROR_FLAGS.
AC_DEFUN([PFK_ARG_WERROR], [
AC_ARG_ENABLE([werror], [AS_HELP_STRING([--enable-werror], [warnings are errors])], [], [enable_werror=no])
WERROR_FLAGS=
AS_IF([test "x$enable_werror" != xno], [WERROR_FLAGS=-Werror])
AC_SUBST([WERROR_FLAGS])
])

# PFK_ARG_HARDENING: sets HARDENING_CFLAGS and HARDENING_LDFLAGS. Position
# independent programs are the default of the compilers of today's systems, and
# an explicit -fPIE would meet libtool's -fPIC.
AC_DEFUN([PFK_ARG_HARDENING], [
AC_ARG_ENABLE([hardening],
    [AS_HELP_STRING([--disable-hardening], [leave out stack protector, fortified libc calls, full relro])],
    [], [enable_hardening=yes])
HARDENING_CFLAGS=
HARDENING_LDFLAGS=
AS_IF([test "x$enable_sanitizer" != xnone], [enable_hardening="no (sanitized)"])
AS_IF([test "x$enable_hardening" = xyes], [
    PFK_APPEND_IF_ACCEPTED([HARDENING_CFLAGS], [-fstack-protector-strong])
    PFK_APPEND_IF_ACCEPTED([HARDENING_CFLAGS], [-fstack-clash-protection])
    PFK_APPEND_IF_ACCEPTED([HARDENING_CFLAGS], [-fcf-protection])
    # without optimisation libc warns about it; a second definition too
    AS_CASE([" $CFLAGS $CPPFLAGS "], [*FORTIFY_SOURCE*|*" -O0 "*], [],
        [*" -O"*], [PFK_APPEND_IF_ACCEPTED([HARDENING_CFLAGS], [-D_FORTIFY_SOURCE=2])])
    PFK_APPEND_IF_ACCEPTED([HARDENING_LDFLAGS], [-Wl,-z,relro,-z,now], [link])
    PFK_APPEND_IF_ACCEPTED([HARDENING_LDFLAGS], [-Wl,-z,noexecstack], [link])
])
AC_SUBST([HARDENING_CFLAGS])
AC_SUBST([HARDENING_LDFLAGS])
])

# PFK_CHECK_VERSION_SCRIPT: the condition HAVE_VERSION_SCRIPT.
AC_DEFUN([PFK_CHECK_VERSION_SCRIPT], [
AC_CACHE_CHECK([whether the linker takes a version script], [pfk_cv_version_script], [
AS_ECHO(["PROBE_1 { global: main; local: *; };"]) >conftest.map
pfk_saved_LDFLAGS=$LDFLAGS
LDFLAGS="$LDFLAGS -Wl,--version-script=conftest.map"
AC_LINK_IFELSE([AC_LANG_PROGRAM], [pfk_cv_version_script=yes], [pfk_cv_version_script=no])
LDFLAGS=$pfk_saved_LDFLAGS
rm -f conftest.map])
AM_CONDITIONAL([HAVE_VERSION_SCRIPT], [test "x$pfk_cv_version_script" = xyes])
])
