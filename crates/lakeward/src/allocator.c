/* Read before main: how the C library's allocator shares out its memory (docs/adr/0006).
 *
 * glibc gives every thread that allocates an arena of its own, up to eight for each core, and what the buffers of a fetch or a
 * column chunk took in one of them is kept there for that thread. One arena for every four cores keeps it once. Whoever sets
 * MALLOC_ARENA_MAX or GLIBC_TUNABLES has decided for themselves.
 */
#include <stdlib.h>
#if defined(__GLIBC__)
#include <malloc.h>
#include <unistd.h>

__attribute__((constructor)) static void few_arenas(void) {
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    if (getenv("MALLOC_ARENA_MAX") == NULL && getenv("GLIBC_TUNABLES") == NULL)
        mallopt(M_ARENA_MAX, cores > 4 ? (int)(cores / 4) : 1);
}
#endif
