/* The one counter that all modules of a fault-point build share: loaded globally before them, so that "the n-th store" is
 * counted across extensions. Kills the process with SIGKILL just before the store that was asked for. */
#include <signal.h>
#include <unistd.h>

static long left = 0;   /* 0: nobody dies */
static long passed = 0; /* stores so far */

void ringline_fault_point(void);
void ringline_fault_arm(long stores);
long ringline_fault_passed(void);

void ringline_fault_point(void) {
    passed++;
    if (left > 0 && --left == 0) {
        kill(getpid(), SIGKILL);
    }
}

void ringline_fault_arm(long stores) {
    left = stores;
    passed = 0;
}

long ringline_fault_passed(void) { return passed; }
