/* Runs a stopped child one instruction at a time and keeps every state that shared memory passes through: what a process
 * killed between any two instructions leaves behind, of the program as it was compiled. See stepper.py. */
#include <stddef.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/wait.h>

/* `areas` pieces of memory, one after the other in each kept state. Gives how many states were kept, the first as it was
 * before the first instruction; -1: the child did not end by itself with status 0, or `most` were not enough. */
int ringline_step(int pid, int areas, const char **at, const size_t *size, char *kept, int most) {
    size_t whole = 0;
    int states = 0, status;
    for (int area = 0; area < areas; area++) whole += size[area];
    for (;;) {
        char *next = kept + (size_t)states * whole;
        size_t offset = 0;
        int changed = states == 0;
        if (states == most) return -1;
        for (int area = 0; area < areas; area++) {
            if (!changed && memcmp(next - whole + offset, at[area], size[area])) changed = 1;
            offset += size[area];
        }
        if (changed) {
            offset = 0;
            for (int area = 0; area < areas; area++) {
                memcpy(next + offset, at[area], size[area]);
                offset += size[area];
            }
            states++;
        }
        if (ptrace(PTRACE_SINGLESTEP, pid, 0, 0) < 0) return -1;
        if (waitpid(pid, &status, 0) != pid) return -1;
        if (WIFEXITED(status)) return WEXITSTATUS(status) == 0 ? states : -1;
        if (!WIFSTOPPED(status)) return -1;
    }
}
