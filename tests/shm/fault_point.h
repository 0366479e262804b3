/* The body of RINGLINE_FAULT_POINT for test builds: included once by a harness that is compiled with
 * -DRINGLINE_FAULT_POINTS. Counts the stores that a peer could see half of something through, and kills the process
 * with SIGKILL just before the one that was asked for. */
#ifndef RINGLINE_TESTS_FAULT_POINT_H
#define RINGLINE_TESTS_FAULT_POINT_H

#include <signal.h>
#include <unistd.h>

static long ringline_fault_left = 0;   /* 0: nobody dies */
static long ringline_fault_passed = 0; /* stores so far */

#ifdef RINGLINE_FAULT_POINTS
void ringline_fault_point(void) {
    ringline_fault_passed++;
    if (ringline_fault_left > 0 && --ringline_fault_left == 0) {
        kill(getpid(), SIGKILL);
    }
}
#endif

#endif
