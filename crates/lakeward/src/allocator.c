/* Read before main: how the C library's allocator shares out its memory (docs/adr/0006).
 *
 * glibc gives every thread that allocates an arena of its own, up to eight for each core, and what the buffers of a fetch or a
 * column chunk took in one of them is kept there for that thread. As many arenas as there are cores, and one more, keep it a few
 * times, and threads that run at once seldom wait for each other's lock. Whoever sets MALLOC_ARENA_MAX or GLIBC_TUNABLES has
 * decided for themselves.
 */
#include <stdlib.h>
#if defined(__GLIBC__)
#include <malloc.h>
#include <unistd.h>

__attribute__((constructor)) static void few_arenas(void) {
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    if (getenv("MALLOC_ARENA_MAX") == NULL && getenv("GLIBC_TUNABLES") == NULL)
        mallopt(M_ARENA_MAX, cores > 0 ? (int)(cores + 1) : 2);
}
#endif
