/* LD_PRELOAD library: shifts the wall clock of a process, as an operator or a broken time server does. The monotonic clock and
 * timers are left alone, as the kernel leaves them alone.
 *
 *   CLOCK_SHIFT_FILE  holds the shift in whole seconds, for example -3600; none while it is missing or empty
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static int (*real_clock_gettime)(clockid_t, struct timespec *);
static int (*real_gettimeofday)(struct timeval *, void *);
static const char *path;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void set_up(void)
{
    real_clock_gettime = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    real_gettimeofday = (int (*)(struct timeval *, void *))dlsym(RTLD_NEXT, "gettimeofday");
    path = getenv("CLOCK_SHIFT_FILE");
}

static long shift(void)
{
    char text[32];
    ssize_t length;
    int descriptor = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;

    if (descriptor < 0)
        return 0;
    length = read(descriptor, text, sizeof text - 1);
    close(descriptor);
    text[length > 0 ? length : 0] = 0;
    return atol(text);
}

int clock_gettime(clockid_t clock, struct timespec *now)
{
    int answer;

    pthread_once(&once, set_up);
    answer = real_clock_gettime(clock, now);
    if (answer == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
        now->tv_sec += shift();
    return answer;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone)
{
    int answer;

    pthread_once(&once, set_up);
    answer = real_gettimeofday(now, zone);
    if (answer == 0)
        now->tv_sec += shift();
    return answer;
}
