/* The executable that libFuzzer drives: an interpreter for the parsers that make Python objects, and the way into
 * harness.pyx, which is compiled into it. Built and started by run.py; the target's name comes in the environment,
 * because libFuzzer owns the arguments. One thread, which holds the GIL from its start to its end. */
#include <Python.h>

extern PyObject *PyInit_harness(void);
extern int harness_choose(const char *target);
extern int harness_run(const unsigned char *data, size_t size);

static void start_interpreter(void) {
    PyConfig config;
    PyConfig_InitPythonConfig(&config);
    config.install_signal_handlers = 0; /* libFuzzer has its own */
    PyConfig_SetBytesString(&config, &config.program_name, getenv("RINGLINE_FUZZ_PYTHON"));
    PyStatus status = Py_InitializeFromConfig(&config);
    if (PyStatus_Exception(status))
        Py_ExitStatusException(status);
    PyConfig_Clear(&config);
}

int LLVMFuzzerInitialize(int *argc, char ***argv) {
    (void)argc, (void)argv;
    PyImport_AppendInittab("harness", PyInit_harness);
    start_interpreter();
    if (PyImport_ImportModule("harness") == NULL || harness_choose(getenv("RINGLINE_FUZZ_TARGET")) < 0) {
        PyErr_Print();
        exit(2);
    }
    return 0;
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size) {
    if (harness_run(data, size) < 0) {
        PyErr_Print();
        abort();
    }
    return 0;
}
