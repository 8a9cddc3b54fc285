/* Read before main: how the C library's allocator shares out its memory, and when it gives some back (docs/adr/0006).
 *
 * glibc gives every thread that allocates an arena of its own, up to eight for each core, and what the buffers of a fetch or a
 * column chunk took in one of them is kept there for that thread. As many arenas as there are cores, and one more, keep it a few
 * times, and threads that run at once seldom wait for each other's lock. Whoever sets MALLOC_ARENA_MAX or GLIBC_TUNABLES has
 * decided for themselves.
 *
 * An arena gives back only what is free at its end, so one small block that lives on keeps all that a burst took below it. So a
 * process that rests, and has worked since it last did this, gives back every free page. It is not done under load: the pages
 * would be asked for again at once.
 */
#include <stdlib.h>
#if defined(__GLIBC__)
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

/* Processor seconds in one second below which a process rests, and of work after which there may be something to give back. */
static const double RESTS = 0.05, WORKED = 0.2;

static double processor_seconds(void) {
    struct timespec spent;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &spent);
    return (double)spent.tv_sec + (double)spent.tv_nsec * 1e-9;
}

static void *give_back(void *unused) {
    double before = processor_seconds(), given = before;
    for (;;) {
        sleep(1);
        double now = processor_seconds();
        if (now - before < RESTS && now - given > WORKED) {
            malloc_trim(0);
            given = now = processor_seconds();
        }
        before = now;
    }
    return unused;
}

static void give_back_at_rest(void) {
    sigset_t all, were;
    pthread_t thread;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &were); /* signals are for the program's own threads */
    if (pthread_create(&thread, NULL, give_back, NULL) == 0)
        pthread_detach(thread); /* without it the memory is kept, as the C library would by itself */
    pthread_sigmask(SIG_SETMASK, &were, NULL);
}

__attribute__((constructor)) static void allocator(void) {
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    if (getenv("MALLOC_ARENA_MAX") == NULL && getenv("GLIBC_TUNABLES") == NULL)
        mallopt(M_ARENA_MAX, cores > 0 ? (int)(cores + 1) : 2);
    give_back_at_rest();
}
#endif
