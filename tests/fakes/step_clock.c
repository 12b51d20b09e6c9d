/* A wall clock that a test can step, preloaded into a real process.
 *
 * The file that STEP_CLOCK_FILE names holds one signed 64-bit number, nanoseconds, which is added to
 * every reading of CLOCK_REALTIME. Waits until an instant of that clock are moved with it. All other
 * clocks (steady, process, thread) are the kernel's own.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define NS_PER_S 1000000000LL
/* Instants before 2001 are not the wall clock's: a steady clock counts from the last boot. */
#define EARLIEST_WALL_S 1000000000LL

static const int64_t none;
static volatile const int64_t *offset_ns = &none;

__attribute__((constructor)) static void open_offset(void)
{
    const char *path = getenv("STEP_CLOCK_FILE");
    int file = path != NULL ? open(path, O_RDONLY) : -1;
    void *mapped;
    if (file < 0)
        return;
    mapped = mmap(NULL, sizeof(int64_t), PROT_READ, MAP_SHARED, file, 0);
    close(file);
    if (mapped != MAP_FAILED)
        offset_ns = mapped;
}

static struct timespec moved(const struct timespec *time, int64_t by_ns)
{
    int64_t whole = (int64_t)time->tv_sec * NS_PER_S + time->tv_nsec + by_ns;
    struct timespec result = {whole / NS_PER_S, whole % NS_PER_S};
    return result;
}

int clock_gettime(clockid_t id, struct timespec *time)
{
    static int (*real)(clockid_t, struct timespec *);
    int answer;
    if (real == NULL)
        real = dlsym(RTLD_NEXT, "clock_gettime");
    answer = real != NULL ? real(id, time) : (int)syscall(SYS_clock_gettime, id, time);
    if (answer == 0 && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE))
        *time = moved(time, *offset_ns);
    return answer;
}

int gettimeofday(struct timeval *restrict time, void *restrict zone)
{
    struct timespec now;
    (void)zone;
    if (clock_gettime(CLOCK_REALTIME, &now) != 0)
        return -1;
    time->tv_sec = now.tv_sec;
    time->tv_usec = now.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *kept)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (kept != NULL)
        *kept = now.tv_sec;
    return now.tv_sec;
}

/* What waits until an instant of the wall clock waits until the same instant of the kernel's. */
static struct timespec kernels(const struct timespec *until)
{
    return until->tv_sec < EARLIEST_WALL_S
               ? *until
               : moved(until, -*offset_ns);
}

int pthread_cond_timedwait(pthread_cond_t *restrict cond, pthread_mutex_t *restrict mutex,
                           const struct timespec *restrict until)
{
    static int (*real)(pthread_cond_t *, pthread_mutex_t *, const struct timespec *);
    struct timespec then = kernels(until);
    if (real == NULL) /* dlsym alone may find the version of before 2002 */
        real = dlvsym(RTLD_NEXT, "pthread_cond_timedwait", "GLIBC_2.3.2");
    if (real == NULL)
        real = dlsym(RTLD_NEXT, "pthread_cond_timedwait");
    return real(cond, mutex, &then);
}

int pthread_cond_clockwait(pthread_cond_t *restrict cond, pthread_mutex_t *restrict mutex,
                           clockid_t id, const struct timespec *restrict until)
{
    static int (*real)(pthread_cond_t *, pthread_mutex_t *, clockid_t, const struct timespec *);
    struct timespec then = id == CLOCK_REALTIME ? kernels(until) : *until;
    if (real == NULL)
        real = dlsym(RTLD_NEXT, "pthread_cond_clockwait");
    return real(cond, mutex, id, &then);
}

int sem_timedwait(sem_t *restrict semaphore, const struct timespec *restrict until)
{
    static int (*real)(sem_t *, const struct timespec *);
    struct timespec then = kernels(until);
    if (real == NULL)
        real = dlsym(RTLD_NEXT, "sem_timedwait");
    return real(semaphore, &then);
}

int sem_clockwait(sem_t *restrict semaphore, clockid_t id, const struct timespec *restrict until)
{
    static int (*real)(sem_t *, clockid_t, const struct timespec *);
    struct timespec then = id == CLOCK_REALTIME ? kernels(until) : *until;
    if (real == NULL)
        real = dlsym(RTLD_NEXT, "sem_clockwait");
    return real(semaphore, id, &then);
}

int pthread_mutex_timedlock(pthread_mutex_t *restrict mutex, const struct timespec *restrict until)
{
    static int (*real)(pthread_mutex_t *, const struct timespec *);
    struct timespec then = kernels(until);
    if (real == NULL)
        real = dlsym(RTLD_NEXT, "pthread_mutex_timedlock");
    return real(mutex, &then);
}
